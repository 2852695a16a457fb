//! How what is loaded or put is kept, as its caller says.

use std::time::Duration;

/// How what is loaded or put is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryOptions {
    /// How long it is fresh.
    pub ttl: Duration,
    /// How long it is of use after that, while it is loaded anew.
    pub stale_for: Duration,
    /// How long a failure to load it is kept: until then whoever asks gets the error, and nothing is loaded.
    pub negative_ttl: Duration,
    /// Whether it is dropped when something that the backend said over the link may have been missed.
    pub depends_on_connection: bool,
}
