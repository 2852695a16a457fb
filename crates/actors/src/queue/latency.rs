//! Counts how long requests took: pure, and bounded in memory.
//!
//! Durations are kept as histograms, one for each span of 10 s in which a request ended. The oldest span makes room for the
//! 31st. Nothing expires by time, so the figures change only when a request ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::millis;
use serde::{Deserialize, Serialize};

use crate::error::Reason;
use crate::request::Priority;

/// The length of a span.
const SPAN: Duration = Duration::from_secs(10);
/// The most spans.
const SPANS_MAX: usize = 30;
/// The bits of a duration that its bucket keeps: 16 buckets for each doubling, so that a duration is at most 3 % off.
const BUCKET_BITS: u32 = 4;

/// The durations of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestLatency {
    /// The durations of all requests.
    pub all: LatencyFigures,
    /// The durations of the requests of each priority.
    pub by_priority: LatencyByPriority,
    /// The durations by time, oldest first: at most 30 spans of 10 s, without those in which no request ended.
    pub spans: Vec<LatencySpan>,
}

/// The durations of the requests of each priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LatencyByPriority {
    /// With priority high.
    pub high: LatencyFigures,
    /// With priority normal.
    pub normal: LatencyFigures,
    /// With priority low.
    pub low: LatencyFigures,
}

/// Durations, each from the acceptance of a request to its response or error. A streamed response counts when it begins.
///
/// A request that was cancelled, refused by a full queue or ended by the runtime's stop does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LatencyFigures {
    /// The number of requests since the runtime's start.
    pub count: u64,
    /// The number of these that ended with an error.
    pub failed: u64,
    /// The sum of their durations, in milliseconds.
    pub total_ms: u64,
    /// The median of the requests in the spans, in milliseconds, at most 3 % off; none before the first one.
    pub p50_ms: Option<u64>,
    /// The duration that 95 % of them did not exceed.
    pub p95_ms: Option<u64>,
}

/// The durations of the requests that ended within a span of 10 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LatencySpan {
    /// The beginning.
    pub from: WallTime,
    /// The number of requests.
    pub count: u64,
    /// The number of these that ended with an error.
    pub failed: u64,
    /// The median, in milliseconds, at most 3 % off.
    pub p50_ms: u64,
    /// The duration that 95 % of them did not exceed.
    pub p95_ms: u64,
}

/// Returns whether a failure for this reason ends a request that counts.
pub(super) const fn counts_as_failed(reason: Reason) -> bool {
    !matches!(reason, Reason::Cancelled | Reason::QueueFull | Reason::Evicted | Reason::Stopped)
}

/// Collects the durations.
#[derive(Debug, Default)]
pub(super) struct LatencyLog {
    /// The counts since the start, by priority.
    totals: [LatencyTotal; 3],
    spans: VecDeque<SpanDurations>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LatencyTotal {
    count: u64,
    failed: u64,
    total_ms: u64,
}

/// The durations of one span.
#[derive(Debug)]
struct SpanDurations {
    from: Duration,
    failed: u64,
    /// The histograms, by priority.
    durations: [Histogram; 3],
}

impl LatencyLog {
    /// Counts a request that ended at `now`.
    pub(super) fn record(&mut self, now: Duration, lasted: Duration, priority: Priority, is_failed: bool) {
        let (ms, failed, index) = (millis(lasted), u64::from(is_failed), index(priority));
        let total = &mut self.totals[index];
        total.count += 1;
        total.failed += failed;
        total.total_ms = total.total_ms.saturating_add(ms);
        let from = SPAN.saturating_mul(u32::try_from(now.as_secs() / SPAN.as_secs()).unwrap_or(u32::MAX));
        if self.spans.back().is_none_or(|span| span.from < from) {
            if self.spans.len() == SPANS_MAX {
                self.spans.pop_front();
            }
            self.spans.push_back(SpanDurations { from, failed: 0, durations: Default::default() });
        }
        if let Some(span) = self.spans.back_mut() {
            span.failed += failed;
            span.durations[index].record(ms);
        }
    }

    /// Returns the figures. `wall_time` dates a time since the runtime's start.
    pub(super) fn report(&self, wall_time: impl Fn(Duration) -> WallTime) -> RequestLatency {
        let mut merged = <[Histogram; 3]>::default();
        let mut spans = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let mut all = Histogram::default();
            for (durations, merged) in span.durations.iter().zip(&mut merged) {
                all.add(durations);
                merged.add(durations);
            }
            let (count, failed) = (all.count(), span.failed);
            if let (Some(p50_ms), Some(p95_ms)) = (all.quantile(50), all.quantile(95)) {
                spans.push(LatencySpan { from: wall_time(span.from), count, failed, p50_ms, p95_ms });
            }
        }
        let mut all = (LatencyTotal::default(), Histogram::default());
        for (total, durations) in self.totals.iter().zip(&merged) {
            all.0.count += total.count;
            all.0.failed += total.failed;
            all.0.total_ms = all.0.total_ms.saturating_add(total.total_ms);
            all.1.add(durations);
        }
        let of = |priority| figures(&self.totals[index(priority)], &merged[index(priority)]);
        let by_priority = LatencyByPriority {
            high: of(Priority::High),
            normal: of(Priority::Normal),
            low: of(Priority::Low),
        };
        RequestLatency { all: figures(&all.0, &all.1), by_priority, spans }
    }
}

fn figures(total: &LatencyTotal, durations: &Histogram) -> LatencyFigures {
    let LatencyTotal { count, failed, total_ms } = *total;
    let (p50_ms, p95_ms) = (durations.quantile(50), durations.quantile(95));
    LatencyFigures { count, failed, total_ms, p50_ms, p95_ms }
}

const fn index(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

/// The numbers of durations, by the bucket. There are fewer than 1,000 buckets.
#[derive(Debug, Default)]
struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    fn record(&mut self, ms: u64) {
        *self.0.entry(bucket(ms)).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns a quantile by the nearest rank; `None` without durations.
    fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        let reaches = |(_, count): &(&u16, &u64)| {
            seen += **count;
            seen >= rank
        };
        self.0.iter().find(reaches).map(|(bucket, _)| bucket_ms(*bucket))
    }
}

/// Returns the bucket of a duration. Below 32 ms each millisecond has its own.
fn bucket(ms: u64) -> u16 {
    let shift = u64::BITS.saturating_sub(ms.leading_zeros() + BUCKET_BITS + 1);
    (shift << BUCKET_BITS) as u16 + (ms >> shift) as u16
}

/// Returns the middle of a bucket.
fn bucket_ms(bucket: u16) -> u64 {
    let shift = (u32::from(bucket) >> BUCKET_BITS).saturating_sub(1);
    let first = u64::from(bucket) - u64::from(shift << BUCKET_BITS);
    (first << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::s;

    fn report(log: &LatencyLog) -> RequestLatency {
        log.report(|at| WallTime(jiff::Timestamp::UNIX_EPOCH + at))
    }

    #[test]
    fn figures_are_kept_by_priority_and_by_span() {
        let mut log = LatencyLog::default();
        assert_eq!(report(&log), RequestLatency::default());
        log.record(s(1), Duration::from_millis(10), Priority::High, false);
        log.record(s(9), Duration::from_millis(20), Priority::Low, true);
        log.record(s(10), Duration::from_millis(30), Priority::Low, false);
        log.record(s(95), Duration::from_millis(5), Priority::Low, false);
        let RequestLatency { all, by_priority, spans } = report(&log);
        let of = |count, failed, total_ms, p50_ms, p95_ms| LatencyFigures {
            count,
            failed,
            total_ms,
            p50_ms: Some(p50_ms),
            p95_ms: Some(p95_ms),
        };
        assert_eq!((all, by_priority.high), (of(4, 1, 65, 10, 30), of(1, 0, 10, 10, 10)));
        assert_eq!((by_priority.normal, by_priority.low), (LatencyFigures::default(), of(3, 1, 55, 20, 30)));
        let spans: Vec<_> = spans
            .iter()
            .map(|span| (span.from.0.as_second(), span.count, span.failed, span.p50_ms, span.p95_ms))
            .collect();
        assert_eq!(spans, [(0, 2, 1, 10, 20), (10, 1, 0, 30, 30), (90, 1, 0, 5, 5)]);
    }

    #[test]
    fn oldest_span_makes_room_and_the_totals_stay() {
        let mut log = LatencyLog::default();
        for span in 0..40 {
            log.record(
                s(span * 10),
                Duration::from_millis(if span < 10 { 5000 } else { 1 }),
                Priority::Normal,
                false,
            );
        }
        let RequestLatency { all, spans, .. } = report(&log);
        assert_eq!((spans.len(), spans[0].from.0.as_second()), (30, 100));
        assert_eq!((all.count, all.total_ms, all.p95_ms), (40, 50_030, Some(1)));
    }

    proptest! {
        #[test]
        fn quantile_is_at_most_3_percent_off(
            mut durations in prop::collection::vec(prop_oneof![0..100_u64, 0..100_000_u64, any::<u64>()], 1..60),
            percent in 1..=100_u64,
        ) {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|ms| histogram.record(*ms));
            durations.sort_unstable();
            let rank = (durations.len() as u64 * percent).div_ceil(100) as usize;
            let exact = durations[rank - 1];
            let shown = histogram.quantile(percent).unwrap();
            prop_assert!(shown.abs_diff(exact) <= exact / 32, "{shown} for {exact}");
        }
    }
}
