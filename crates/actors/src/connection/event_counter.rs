//! What happens too often to be told each time: summed up by kind, and told at most once a second.

use std::collections::BTreeMap;
use std::time::Duration;

/// No kind is told again before this.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The sums that wait to be told.
#[derive(Debug)]
pub(super) struct RateLimitedCounter<K> {
    entries: BTreeMap<K, CounterEntry>,
}

/// What came together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EventCount {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) largest_bytes: u64,
    /// Of how many nobody waited for word.
    pub(super) abandoned: u64,
}

#[derive(Debug, Default)]
struct CounterEntry {
    sum: EventCount,
    last_reported_at: Option<Duration>,
}

impl CounterEntry {
    /// When its sum may be told; `None` where there is none.
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

    pub(super) fn add(&mut self, kind: K, bytes: usize, is_heard: bool) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let sum = &mut self.entries.entry(kind).or_default().sum;
        sum.count = sum.count.saturating_add(1);
        sum.bytes = sum.bytes.saturating_add(bytes);
        sum.largest_bytes = sum.largest_bytes.max(bytes);
        sum.abandoned = sum.abandoned.saturating_add(u64::from(!is_heard));
    }

    /// When there is something to tell, if nothing is added.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.entries.values().filter_map(CounterEntry::due).min()
    }

    /// What is to be told now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(K, EventCount)> {
        self.take(now, |due| due <= now)
    }

    /// What has not been told, due or not.
    pub(super) fn take_all(&mut self, now: Duration) -> Vec<(K, EventCount)> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Duration, is_wanted: impl Fn(Duration) -> bool) -> Vec<(K, EventCount)> {
        let due = self.entries.iter_mut().filter(|(_, line)| line.due().is_some_and(&is_wanted));
        due.map(|(kind, line)| {
            line.last_reported_at = Some(now);
            (*kind, std::mem::take(&mut line.sum))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);
    const MS: Duration = Duration::from_millis(1);

    fn count(count: u64, bytes: u64, largest_bytes: u64, unheard: u64) -> EventCount {
        EventCount { count, bytes, largest_bytes, abandoned: unheard }
    }

    #[test]
    fn first_event_reports_at_once_and_later_ones_together() {
        let mut tally = RateLimitedCounter::new();
        tally.add('a', 3, true);
        assert_eq!(tally.next_due(), Some(Duration::ZERO));
        assert_eq!(tally.take_due(START), [('a', count(1, 3, 3, 0))]);
        assert_eq!(tally.next_due(), None);
        for bytes in [5, 9, 1] {
            tally.add('a', bytes, bytes != 9);
        }
        let due = START + REPORT_INTERVAL;
        assert_eq!(tally.next_due(), Some(due));
        assert_eq!(tally.take_due(due - MS), []);
        assert_eq!(tally.take_due(due), [('a', count(3, 15, 9, 1))]);
    }

    #[test]
    fn burst_of_events_reports_once() {
        let mut tally = RateLimitedCounter::new();
        for _ in 0..1000 {
            tally.add('a', 2, true);
        }
        assert_eq!(tally.take_due(START), [('a', count(1000, 2000, 2, 0))]);
    }

    #[test]
    fn kinds_are_reported_independently() {
        let mut tally = RateLimitedCounter::new();
        tally.add('a', 1, true);
        tally.take_due(START);
        tally.add('b', 1, true);
        tally.add('a', 1, true);
        assert_eq!(tally.take_due(START + MS), [('b', count(1, 1, 1, 0))]);
    }

    #[test]
    fn take_all_leaves_nothing_unreported() {
        let mut tally = RateLimitedCounter::new();
        tally.add('a', 1, true);
        tally.take_due(START);
        tally.add('a', 1, true);
        assert_eq!(tally.take_all(START + MS), [('a', count(1, 1, 1, 0))]);
        assert_eq!(tally.take_all(START + MS), []);
    }
}
