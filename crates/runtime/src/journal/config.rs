//! How a journal is kept.

/// How a journal is kept.
#[derive(Clone)]
pub struct JournalConfig {
    /// A segment that has reached this many bytes is closed and the next one begun.
    pub segment_bytes_max: u64,
    /// Segments kept; older ones are deleted.
    pub segments_max: usize,
    /// Lines kept in memory for subscribers. Lines that are not on disk yet are kept beyond it, up to 8192.
    pub memory_lines_max: usize,
    /// Whether events that are marked verbose are recorded.
    pub verbose: bool,
    /// Texts that must never reach a file: each occurrence is replaced before a line is made. An empty one is ignored.
    pub secrets: Vec<String>,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_bytes_max: 16 * 1024 * 1024,
            segments_max: 8,
            memory_lines_max: 4096,
            verbose: false,
            secrets: Vec::new(),
        }
    }
}
