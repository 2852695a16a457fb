//! Who is running: never more than may run at once, and each place is given back exactly once.

use crate::request::id::{IdMap, RequestId};

/// The places of the running requests, each with something that belongs to the one who holds it. A request that waits
/// for its next attempt holds none.
#[derive(Debug)]
pub struct Permits<T = ()> {
    max: usize,
    held: IdMap<T>,
}

impl<T> Permits<T> {
    /// Places for `max` requests; 0 counts as 1.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), held: IdMap::default() }
    }

    /// Whether another may run.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.held.len() < self.max
    }

    /// How many run.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// What belongs to a request that holds a place; `None` if it holds none.
    pub fn get_mut(&mut self, id: RequestId) -> Option<&mut T> {
        self.held.get_mut(&id)
    }

    /// Whether the request holds a place.
    #[must_use]
    pub fn is_held_by(&self, id: RequestId) -> bool {
        self.held.contains_key(&id)
    }

    /// Takes a place; `false` if none is free or the request holds one already.
    #[must_use]
    pub fn try_acquire(&mut self, id: RequestId, item: T) -> bool {
        let may = self.is_available() && !self.is_held_by(id);
        if may {
            self.held.insert(id, item);
        }
        may
    }

    /// Gives the place back; `None` if the request held none, so that whoever asks twice changes nothing.
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
        fn whatever_comes_there_are_never_too_many(
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
