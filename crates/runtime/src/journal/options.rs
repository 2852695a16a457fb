//! The settings of a journal.

use super::known_secrets::KnownSecrets;

/// The settings of a journal.
#[derive(Clone)]
pub struct JournalOptions {
    /// The size in bytes at which a segment is closed and the next one begins.
    pub segment_bytes_max: u64,
    /// The number of segments that are kept; older ones are deleted.
    pub segments_max: usize,
    /// The number of lines that memory keeps for subscribers. Lines that are not on disk yet are kept beyond it, up
    /// to 8192.
    pub memory_lines_max: usize,
    /// True if verbose events are recorded.
    pub verbose: bool,
    /// Texts that must never reach a file. Each occurrence is replaced before a line is made, also as JSON or an
    /// address writes it. What is added to this list later counts from then on.
    pub secrets: KnownSecrets,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: 16 * 1024 * 1024,
            segments_max: 8,
            memory_lines_max: 4096,
            verbose: false,
            secrets: KnownSecrets::default(),
        }
    }
}
