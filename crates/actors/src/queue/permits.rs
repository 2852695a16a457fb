//! Limits how many attempts run at the same time, and how much of that one slow path may take: pure.
//!
//! At most `max_concurrent` attempts count. A path may have as many in flight, and no more. Attempts in flight for
//! [`SLOW_AFTER`] or longer are slow. If a path has two or more, its slow attempts do not count; of several such
//! paths only one is left out. So a path whose requests all hang delays the others by no more than `SLOW_AFTER`. At
//! most twice `max_concurrent` attempts are in flight, and slow requests to different paths stay within the limit.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::request_id::{IdMap, RequestId};

/// The age at which an attempt is slow: the default of the first delay before a retry.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The fewest slow attempts of a path that do not count. A single one takes one permit at most.
const SLOW_ATTEMPTS_MIN: usize = 2;

/// The resource that a request is about: its path without the query, as a hash. Two paths of one hash share a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource(u64);

impl Resource {
    pub(super) fn of_path(path: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The permits of the attempts in flight.
#[derive(Debug)]
pub(super) struct Permits {
    max_concurrent: usize,
    held: IdMap<Permit>,
}

#[derive(Debug, Clone, Copy)]
struct Permit {
    resource: Resource,
    since: Duration,
}

impl Permit {
    fn slow_at(self) -> Duration {
        self.since.saturating_add(SLOW_AFTER)
    }
}

impl Permits {
    /// Creates the permits; 0 counts as 1.
    pub(super) fn new(max_concurrent: usize) -> Self {
        Self { max_concurrent: max_concurrent.max(1), held: IdMap::default() }
    }

    pub(super) fn max_concurrent(&self) -> usize {
        self.max_concurrent
    }

    /// Returns the number of attempts in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.held.len()
    }

    /// Returns whether an attempt at some resource may start. [`full_resources`](Self::full_resources) must wait all
    /// the same.
    pub(super) fn is_any_free(&self, now: Duration) -> bool {
        self.held.len() - self.uncounted(now) < self.max_concurrent
    }

    /// Returns the resources that have as many attempts in flight as they may. There are two at most.
    pub(super) fn full_resources(&self) -> Vec<Resource> {
        if self.held.len() < self.max_concurrent {
            return Vec::new();
        }
        let counts = self.counts(|_| true).into_iter();
        counts.filter(|(_, count)| *count >= self.max_concurrent).map(|(resource, _)| resource).collect()
    }

    /// Acquires a permit, if one is free and the request holds none already.
    pub(super) fn acquire(&mut self, id: RequestId, resource: Resource, now: Duration) -> bool {
        let may_start = self.is_any_free(now)
            && !self.held.contains_key(&id)
            && !self.full_resources().contains(&resource);
        if may_start {
            self.held.insert(id, Permit { resource, since: now });
        }
        may_start
    }

    pub(super) fn release(&mut self, id: RequestId) {
        self.held.remove(&id);
    }

    /// Returns the number of attempts in flight that do not count: the slow ones of the path that has most. While
    /// there are free permits, all attempts count.
    pub(super) fn uncounted(&self, now: Duration) -> usize {
        if self.held.len() < self.max_concurrent {
            return 0;
        }
        let slow = self.counts(|permit| permit.slow_at() <= now);
        slow.into_values().max().filter(|most| *most >= SLOW_ATTEMPTS_MIN).unwrap_or(0)
    }

    /// Returns the next time after `now` at which an attempt becomes slow.
    pub(super) fn next_slow(&self, now: Duration) -> Option<Duration> {
        self.held.values().map(|permit| permit.slow_at()).filter(|at| *at > now).min()
    }

    /// Returns the number of selected attempts of each resource.
    fn counts(&self, is_selected: impl Fn(&Permit) -> bool) -> BTreeMap<Resource, usize> {
        let mut counts = BTreeMap::new();
        for permit in self.held.values().filter(|permit| is_selected(permit)) {
            *counts.entry(permit.resource).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::s;

    const ZERO: Duration = Duration::ZERO;

    /// Acquires a permit for each of these resources at `now`, and returns the number of those that got one.
    fn acquire(permits: &mut Permits, first_id: u64, resources: &[u64], now: Duration) -> usize {
        let each = (first_id..).map(RequestId).zip(resources);
        each.filter(|(id, resource)| permits.acquire(*id, Resource(**resource), now)).count()
    }

    #[test]
    fn slow_attempts_of_one_path_stop_counting_after_a_second() {
        let mut permits = Permits::new(3);
        assert_eq!(acquire(&mut permits, 0, &[1; 4], ZERO), 3);
        let just_before = SLOW_AFTER - Duration::from_nanos(1);
        assert!(!permits.is_any_free(just_before));
        assert_eq!(permits.next_slow(just_before), Some(SLOW_AFTER));
        assert_eq!((permits.uncounted(SLOW_AFTER), permits.next_slow(SLOW_AFTER)), (3, None));
        assert_eq!(permits.full_resources(), [Resource(1)]);
        assert_eq!(acquire(&mut permits, 10, &[1, 1, 2, 3, 4, 5], SLOW_AFTER), 3, "none of the slow path");
        assert_eq!(permits.in_flight(), 6);
    }

    #[test]
    fn slow_attempts_of_different_paths_all_count() {
        let mut permits = Permits::new(3);
        assert_eq!(acquire(&mut permits, 0, &[1, 2, 3], ZERO), 3);
        assert!(!permits.is_any_free(s(60)));
    }

    #[test]
    fn only_one_slow_path_is_left_out() {
        let mut permits = Permits::new(4);
        assert_eq!(acquire(&mut permits, 0, &[1, 1, 2, 2], ZERO), 4);
        assert_eq!(permits.uncounted(s(9)), 2);
        assert_eq!(acquire(&mut permits, 10, &[3, 3, 3], s(9)), 2);
    }

    #[test]
    fn single_permit_is_never_exceeded() {
        let mut permits = Permits::new(0);
        assert_eq!(permits.max_concurrent(), 1);
        assert_eq!(acquire(&mut permits, 0, &[1, 2], ZERO), 1);
        assert_eq!(acquire(&mut permits, 2, &[2], s(60)), 0);
        permits.release(RequestId(0));
        assert_eq!(acquire(&mut permits, 2, &[2], s(60)), 1);
    }

    proptest! {
        /// Checks each bound of the module's documentation, for any order of starts and ends.
        #[test]
        fn permits_keep_each_documented_bound(
            max in 1..5_usize,
            steps in prop::collection::vec((0..4_u8, 0..3_u64, 0..1500_u64), 0..80),
        ) {
            let (mut permits, mut now, mut open) = (Permits::new(max), ZERO, Vec::new());
            for (id, (step, resource, millis)) in (0..).zip(steps) {
                now += Duration::from_millis(millis);
                if step == 0 && !open.is_empty() {
                    permits.release(open.remove(usize::try_from(resource).unwrap() % open.len()));
                } else if permits.acquire(RequestId(id), Resource(resource), now) {
                    open.push(RequestId(id));
                }
                prop_assert_eq!(permits.in_flight(), open.len());
                prop_assert!(open.len() <= 2 * max);
                prop_assert!(permits.counts(|_| true).values().all(|count| *count <= max));
                prop_assert!(permits.full_resources().len() <= 2);
                // One path alone is never enough to keep the others out for longer than a second.
                let others = open.len() - permits.counts(|_| true).into_values().max().unwrap_or(0);
                if others == 0 {
                    prop_assert!(max == 1 || permits.is_any_free(now + SLOW_AFTER));
                }
            }
        }
    }
}
