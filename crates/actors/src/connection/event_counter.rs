//! Sums up events that are too frequent to be recorded one by one, and reports each kind at most once a second.

use std::collections::BTreeMap;
use std::time::Duration;

/// The least time between two reports of a kind.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The sums that are not reported yet.
#[derive(Debug)]
pub(super) struct RateLimitedCounter<K> {
    entries: BTreeMap<K, CounterEntry>,
}

/// A sum of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EventCount {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) largest_bytes: u64,
    /// The number of messages whose sender no longer waited.
    pub(super) unawaited: u64,
}

#[derive(Debug, Default)]
struct CounterEntry {
    sum: EventCount,
    last_reported_at: Option<Duration>,
}

impl CounterEntry {
    /// Returns the time of the next report; `None` if there is nothing to report.
    fn due(&self) -> Option<Duration> {
        let since_then =
            self.last_reported_at.map_or(Duration::ZERO, |at| at.saturating_add(REPORT_INTERVAL));
        (self.sum.count > 0).then_some(since_then)
    }
}

impl<K: Ord + Copy> RateLimitedCounter<K> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, kind: K, bytes: usize, is_awaited: bool) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let sum = &mut self.entries.entry(kind).or_default().sum;
        sum.count = sum.count.saturating_add(1);
        sum.bytes = sum.bytes.saturating_add(bytes);
        sum.largest_bytes = sum.largest_bytes.max(bytes);
        sum.unawaited = sum.unawaited.saturating_add(u64::from(!is_awaited));
    }

    /// Returns the time of the next report, if nothing is added.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.entries.values().filter_map(CounterEntry::due).min()
    }

    /// Returns the sums to report now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(K, EventCount)> {
        self.take(now, |due| due <= now)
    }

    /// Returns all sums, due or not.
    pub(super) fn take_all(&mut self, now: Duration) -> Vec<(K, EventCount)> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Duration, is_due: impl Fn(Duration) -> bool) -> Vec<(K, EventCount)> {
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.due().is_some_and(&is_due));
        due.map(|(kind, entry)| {
            entry.last_reported_at = Some(now);
            (*kind, std::mem::take(&mut entry.sum))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);
    const MS: Duration = Duration::from_millis(1);

    fn count(count: u64, bytes: u64, largest_bytes: u64, unawaited: u64) -> EventCount {
        EventCount { count, bytes, largest_bytes, unawaited }
    }

    #[test]
    fn first_event_reports_at_once_and_later_ones_together() {
        let mut counter = RateLimitedCounter::new();
        counter.add('a', 3, true);
        assert_eq!(counter.next_due(), Some(Duration::ZERO));
        assert_eq!(counter.take_due(START), [('a', count(1, 3, 3, 0))]);
        assert_eq!(counter.next_due(), None);
        for bytes in [5, 9, 1] {
            counter.add('a', bytes, bytes != 9);
        }
        let due = START + REPORT_INTERVAL;
        assert_eq!(counter.next_due(), Some(due));
        assert_eq!(counter.take_due(due - MS), []);
        assert_eq!(counter.take_due(due), [('a', count(3, 15, 9, 1))]);
    }

    #[test]
    fn burst_of_events_reports_once() {
        let mut counter = RateLimitedCounter::new();
        for _ in 0..1000 {
            counter.add('a', 2, true);
        }
        assert_eq!(counter.take_due(START), [('a', count(1000, 2000, 2, 0))]);
    }

    #[test]
    fn kinds_are_reported_independently() {
        let mut counter = RateLimitedCounter::new();
        counter.add('a', 1, true);
        counter.take_due(START);
        counter.add('b', 1, true);
        counter.add('a', 1, true);
        assert_eq!(counter.take_due(START + MS), [('b', count(1, 1, 1, 0))]);
    }

    #[test]
    fn take_all_leaves_nothing_unreported() {
        let mut counter = RateLimitedCounter::new();
        counter.add('a', 1, true);
        counter.take_due(START);
        counter.add('a', 1, true);
        assert_eq!(counter.take_all(START + MS), [('a', count(1, 1, 1, 0))]);
        assert_eq!(counter.take_all(START + MS), []);
    }
}
