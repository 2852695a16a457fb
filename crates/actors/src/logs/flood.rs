//! Limits the lines that one program may add to its log. Pure: time is an argument.
//!
//! Two token buckets, one of lines and one of bytes, let bursts pass and hold a lasting flood to a rate. Each stream has
//! its own pair: a flood on stdout leaves out nothing that comes on stderr. From the first line that is left out until
//! some seconds without one, the program counts as noisy.

use std::time::Duration;

use super::line::LogStream;

/// The time whose rate may come at once.
const BURST: Duration = Duration::from_secs(10);

/// The time without a dropped line after which a flood has ended.
const QUIET_AFTER: Duration = Duration::from_secs(5);

/// The rate that a log keeps up with for any time, for each of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRate {
    /// The lines in a second.
    pub lines_per_second: u32,
    /// The bytes in a second.
    pub bytes_per_second: u64,
}

/// The lines that were left out of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Dropped {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

impl Dropped {
    pub(super) fn add(&mut self, lines: u64, bytes: u64) {
        self.lines = self.lines.saturating_add(lines);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A flood that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FloodEnd {
    pub(super) dropped: Dropped,
    /// The time from the first to the last dropped line.
    pub(super) lasted: Duration,
}

/// The limiter of one log.
#[derive(Debug)]
pub(super) struct FloodLimiter {
    rate: LogRate,
    /// The allowances of stdout and of stderr.
    allowances: [Allowance; 2],
    flood: Option<Flood>,
}

/// The lines and bytes of one stream that may pass now. Bytes may be below zero after a long line.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    lines: f64,
    bytes: f64,
    refilled_at: Duration,
}

#[derive(Debug)]
struct Flood {
    began_at: Duration,
    dropped_at: Duration,
    dropped: Dropped,
}

impl FloodLimiter {
    pub(super) fn new(rate: LogRate) -> Self {
        let (lines, bytes) = burst(rate);
        Self { rate, allowances: [Allowance { lines, bytes, refilled_at: Duration::ZERO }; 2], flood: None }
    }

    /// Returns whether a further line of this stream may pass at `now`.
    pub(super) fn has_room(&mut self, stream: LogStream, now: Duration) -> bool {
        let rate = self.rate;
        let allowance = &mut self.allowances[stream.index()];
        let passed = now.saturating_sub(allowance.refilled_at).as_secs_f64();
        allowance.refilled_at = allowance.refilled_at.max(now);
        let (lines_max, bytes_max) = burst(rate);
        allowance.lines = (allowance.lines + passed * f64::from(rate.lines_per_second)).min(lines_max);
        allowance.bytes = (allowance.bytes + passed * rate.bytes_per_second as f64).min(bytes_max);
        allowance.lines >= 1.0 && allowance.bytes > 0.0
    }

    /// Counts a line that passes.
    pub(super) fn pass(&mut self, stream: LogStream, bytes: usize) {
        let allowance = &mut self.allowances[stream.index()];
        allowance.lines -= 1.0;
        allowance.bytes -= bytes as f64;
    }

    /// Counts lines that do not pass. Returns whether a flood begins with them.
    pub(super) fn drop_lines(&mut self, lines: u64, bytes: u64, now: Duration) -> bool {
        let begins = self.flood.is_none();
        let flood =
            self.flood.get_or_insert(Flood { began_at: now, dropped_at: now, dropped: Dropped::default() });
        flood.dropped_at = now;
        flood.dropped.add(lines, bytes);
        begins
    }

    pub(super) fn is_noisy(&self) -> bool {
        self.flood.is_some()
    }

    /// Ends a flood that is over at `now`.
    pub(super) fn end_if_quiet(&mut self, now: Duration) -> Option<FloodEnd> {
        let is_over = |flood: &mut Flood| now.saturating_sub(flood.dropped_at) >= QUIET_AFTER;
        self.flood.take_if(is_over).map(FloodEnd::from)
    }

    /// Ends a flood, since its program has ended.
    pub(super) fn end(&mut self) -> Option<FloodEnd> {
        self.flood.take().map(FloodEnd::from)
    }
}

impl From<Flood> for FloodEnd {
    fn from(flood: Flood) -> Self {
        Self { dropped: flood.dropped, lasted: flood.dropped_at.saturating_sub(flood.began_at) }
    }
}

/// Returns the most lines and bytes that may pass at once.
fn burst(rate: LogRate) -> (f64, f64) {
    let seconds = BURST.as_secs_f64();
    (f64::from(rate.lines_per_second) * seconds, rate.bytes_per_second as f64 * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: LogRate = LogRate { lines_per_second: 10, bytes_per_second: 1000 };

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns how many lines of this size pass at `now`.
    fn passing(limiter: &mut FloodLimiter, bytes: usize, now: Duration) -> u32 {
        let mut passed = 0;
        while limiter.has_room(LogStream::Out, now) {
            limiter.pass(LogStream::Out, bytes);
            passed += 1;
        }
        passed
    }

    #[test]
    fn burst_passes_and_flood_is_held_to_the_rate() {
        let mut limiter = FloodLimiter::new(RATE);
        assert_eq!(passing(&mut limiter, 1, ms(0)), 100);
        assert_eq!(passing(&mut limiter, 1, ms(99)), 0);
        assert!(limiter.has_room(LogStream::Err, ms(99)), "the other stream has an allowance of its own");
        assert_eq!(passing(&mut limiter, 1, ms(1101)), 11);
        assert_eq!(passing(&mut limiter, 1, ms(3_600_000)), 100, "a long silence earns no more than a burst");
        assert_eq!(passing(&mut limiter, 1, ms(0)), 0, "time that goes back earns nothing");
        // Few long lines are a flood as well.
        let mut limiter = FloodLimiter::new(RATE);
        assert_eq!(passing(&mut limiter, 4000, ms(0)), 3);
        assert_eq!(passing(&mut limiter, 4000, ms(2000)), 0);
        assert_eq!(passing(&mut limiter, 4000, ms(2001)), 1);
    }

    #[test]
    fn flood_begins_once_and_ends_after_silence() {
        let mut limiter = FloodLimiter::new(RATE);
        assert!(limiter.drop_lines(3, 30, ms(1000)));
        assert!(!limiter.drop_lines(2, 20, ms(4000)));
        assert_eq!(limiter.end_if_quiet(ms(8999)), None);
        assert!(limiter.is_noisy());
        let expected = FloodEnd { dropped: Dropped { lines: 5, bytes: 50 }, lasted: ms(3000) };
        assert_eq!(limiter.end_if_quiet(ms(9000)), Some(expected));
        assert!(!limiter.is_noisy());
        assert_eq!((limiter.end_if_quiet(ms(20_000)), limiter.end()), (None, None));
        assert!(limiter.drop_lines(1, 1, ms(30_000)));
        assert_eq!(limiter.end().unwrap().dropped.lines, 1, "the end of the program ends it at once");
    }
}
