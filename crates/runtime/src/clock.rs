//! Wall time, passed in as a dependency.

use jiff::Timestamp;

/// A source of wall time. Durations come from tokio's clock, which tests can pause.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall time now.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
