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
    pub fn is_free(&self) -> bool {
        self.held.len() < self.max
    }

    /// How many run.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What belongs to a request that holds a place; `None` if it holds none.
    pub fn holder(&mut self, id: RequestId) -> Option<&mut T> {
        self.held.get_mut(&id)
    }

    /// Whether the request holds a place.
    #[must_use]
    pub fn is_held_by(&self, id: RequestId) -> bool {
        self.held.contains_key(&id)
    }

    /// Takes a place; `false` if none is free or the request holds one already.
    #[must_use]
    pub fn take(&mut self, id: RequestId, item: T) -> bool {
        let may = self.is_free() && !self.is_held_by(id);
        if may {
            self.held.insert(id, item);
        }
        may
    }

    /// Gives the place back; `None` if the request held none, so that whoever asks twice changes nothing.
    pub fn give_back(&mut self, id: RequestId) -> Option<T> {
        self.held.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_more_run_than_may() {
        let mut permits = Permits::new(2);
        assert!(permits.take(RequestId(1), ()) && permits.take(RequestId(2), ()));
        assert!(!permits.is_free() && !permits.take(RequestId(3), ()));
        assert!(permits.give_back(RequestId(1)).is_some() && permits.take(RequestId(3), ()));
    }

    #[test]
    fn a_place_is_given_back_once_however_often_one_asks() {
        let mut permits = Permits::new(2);
        assert!(permits.take(RequestId(1), ()) && permits.take(RequestId(2), ()));
        assert!(permits.give_back(RequestId(1)).is_some());
        assert!(permits.give_back(RequestId(1)).is_none());
        assert_eq!(permits.held(), 1);
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
                    prop_assert_eq!(permits.take(RequestId(id), ()), granted);
                    if granted { running.insert(id); }
                } else {
                    prop_assert_eq!(permits.give_back(RequestId(id)).is_some(), running.remove(&id));
                }
                prop_assert_eq!(permits.held(), running.len());
            }
        }
    }
}
