//! The options with which a caller stores or loads an entry.

use std::time::Duration;

/// Says how long an entry is kept and when it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryOptions {
    /// The time for which the entry is fresh.
    pub ttl: Duration,
    /// The time after that for which it is still served, while a refresh runs.
    pub stale_for: Duration,
    /// The time for which a failed load is cached: until then callers get its error, and no load starts.
    pub negative_ttl: Duration,
    /// True if the entry is dropped when a message of the backend may have been missed over the connection.
    pub depends_on_connection: bool,
}
