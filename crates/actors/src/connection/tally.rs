//! What happens too often to be told each time: summed up by kind, and told at most once a second.

use std::collections::BTreeMap;
use std::time::Duration;

/// No kind is told again before this.
pub(super) const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// The sums that wait to be told.
#[derive(Debug)]
pub(super) struct Tally<K> {
    lines: BTreeMap<K, Line>,
}

/// What came together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) largest_bytes: u64,
    /// Of how many nobody waited for word.
    pub(super) unheard: u64,
}

#[derive(Debug, Default)]
struct Line {
    sum: Sum,
    told_at: Option<Duration>,
}

impl Line {
    /// When its sum may be told; `None` where there is none.
    fn due(&self) -> Option<Duration> {
        let since_then = self.told_at.map_or(Duration::ZERO, |at| at.saturating_add(TELL_INTERVAL));
        (self.sum.count > 0).then_some(since_then)
    }
}

impl<K: Ord + Copy> Tally<K> {
    pub(super) fn new() -> Self {
        Self { lines: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, kind: K, bytes: usize, is_heard: bool) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let sum = &mut self.lines.entry(kind).or_default().sum;
        sum.count = sum.count.saturating_add(1);
        sum.bytes = sum.bytes.saturating_add(bytes);
        sum.largest_bytes = sum.largest_bytes.max(bytes);
        sum.unheard = sum.unheard.saturating_add(u64::from(!is_heard));
    }

    /// When there is something to tell, if nothing is added.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.lines.values().filter_map(Line::due).min()
    }

    /// What is to be told now.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(K, Sum)> {
        self.take(now, |due| due <= now)
    }

    /// What has not been told, due or not.
    pub(super) fn take_all(&mut self, now: Duration) -> Vec<(K, Sum)> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Duration, is_wanted: impl Fn(Duration) -> bool) -> Vec<(K, Sum)> {
        let due = self.lines.iter_mut().filter(|(_, line)| line.due().is_some_and(&is_wanted));
        due.map(|(kind, line)| {
            line.told_at = Some(now);
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

    fn sum(count: u64, bytes: u64, largest_bytes: u64, unheard: u64) -> Sum {
        Sum { count, bytes, largest_bytes, unheard }
    }

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_those_that_follow_together() {
        let mut tally = Tally::new();
        tally.add('a', 3, true);
        assert_eq!(tally.next_due(), Some(Duration::ZERO));
        assert_eq!(tally.take_due(START), [('a', sum(1, 3, 3, 0))]);
        assert_eq!(tally.next_due(), None);
        for bytes in [5, 9, 1] {
            tally.add('a', bytes, bytes != 9);
        }
        let due = START + TELL_INTERVAL;
        assert_eq!(tally.next_due(), Some(due));
        assert_eq!(tally.take_due(due - MS), []);
        assert_eq!(tally.take_due(due), [('a', sum(3, 15, 9, 1))]);
    }

    #[test]
    fn what_comes_at_once_is_told_at_once_as_one() {
        let mut tally = Tally::new();
        for _ in 0..1000 {
            tally.add('a', 2, true);
        }
        assert_eq!(tally.take_due(START), [('a', sum(1000, 2000, 2, 0))]);
    }

    #[test]
    fn kinds_do_not_keep_each_other_waiting() {
        let mut tally = Tally::new();
        tally.add('a', 1, true);
        tally.take_due(START);
        tally.add('b', 1, true);
        tally.add('a', 1, true);
        assert_eq!(tally.take_due(START + MS), [('b', sum(1, 1, 1, 0))]);
    }

    #[test]
    fn at_the_end_nothing_is_kept_back() {
        let mut tally = Tally::new();
        tally.add('a', 1, true);
        tally.take_due(START);
        tally.add('a', 1, true);
        assert_eq!(tally.take_all(START + MS), [('a', sum(1, 1, 1, 0))]);
        assert_eq!(tally.take_all(START + MS), []);
    }
}
