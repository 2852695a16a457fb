//! Limits the number of concurrent attempts; each permit is released exactly once.

use crate::request::id::{IdMap, RequestId};

/// The permits of the running requests, each with a value of its holder. A request in a backoff holds none.
#[derive(Debug)]
pub struct Permits<T = ()> {
    max: usize,
    held: IdMap<T>,
}

impl<T> Permits<T> {
    /// Creates `max` permits; 0 counts as 1.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), held: IdMap::default() }
    }

    /// Returns whether a permit is free.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.held.len() < self.max
    }

    /// Returns the number of permits in use.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Returns the value of a request's permit; `None` if it holds none.
    pub fn get_mut(&mut self, id: RequestId) -> Option<&mut T> {
        self.held.get_mut(&id)
    }

    /// Returns whether the request holds a permit.
    #[must_use]
    pub fn is_held_by(&self, id: RequestId) -> bool {
        self.held.contains_key(&id)
    }

    /// Acquires a permit. Returns `false` if none is free or the request holds one already.
    #[must_use]
    pub fn try_acquire(&mut self, id: RequestId, item: T) -> bool {
        let may = self.is_available() && !self.is_held_by(id);
        if may {
            self.held.insert(id, item);
        }
        may
    }

    /// Releases the request's permit. Returns `None` and changes nothing if it held none.
    pub fn release(&mut self, id: RequestId) -> Option<T> {
        self.held.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn permits_are_limited_to_max() {
        let mut permits = Permits::new(2);
        assert!(permits.try_acquire(RequestId(1), ()) && permits.try_acquire(RequestId(2), ()));
        assert!(!permits.is_available() && !permits.try_acquire(RequestId(3), ()));
        assert!(permits.release(RequestId(1)).is_some() && permits.try_acquire(RequestId(3), ()));
    }

    #[test]
    fn permit_is_released_once() {
        let mut permits = Permits::new(2);
        assert!(permits.try_acquire(RequestId(1), ()) && permits.try_acquire(RequestId(2), ()));
        assert!(permits.release(RequestId(1)).is_some());
        assert!(permits.release(RequestId(1)).is_none());
        assert_eq!(permits.held_count(), 1);
    }

    proptest! {
        #[test]
        fn permits_held_never_exceed_max(
            max in 0..4_usize,
            calls in prop::collection::vec((any::<bool>(), 0..6_u64), 0..60),
        ) {
            let mut permits = Permits::new(max);
            let mut running = HashSet::new();
            for (take, id) in calls {
                if take {
                    let granted = running.len() < max.max(1) && !running.contains(&id);
                    prop_assert_eq!(permits.try_acquire(RequestId(id), ()), granted);
                    if granted { running.insert(id); }
                } else {
                    prop_assert_eq!(permits.release(RequestId(id)).is_some(), running.remove(&id));
                }
                prop_assert_eq!(permits.held_count(), running.len());
            }
        }
    }
}
