//! How a connection is used, and within what limits.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::agent::ActivityMeter;

/// Limits on what an agent sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcpLimits {
    /// The bytes of one message, either way. Two or three times as much is held in memory for a moment.
    pub message_bytes_max: usize,
    /// The lines in a row that may be no messages, and are passed over.
    pub stray_lines_max: usize,
    /// The questions that may be open at once. More are refused.
    pub asks_max: usize,
    /// What the agent may have asked in all without having been sent an answer.
    pub unanswered_max: usize,
    /// The bytes of what it says in a turn that are kept for [`TurnEnd::text`](super::TurnEnd::text).
    pub text_bytes_max: usize,
}

impl Default for AcpLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 * 1024 * 1024,
            stray_lines_max: 100,
            asks_max: 16,
            unanswered_max: 256,
            text_bytes_max: 1024 * 1024,
        }
    }
}

/// How a connection is used.
#[derive(Debug, Clone)]
pub struct AcpOptions {
    /// Limits on what the agent sends.
    pub limits: AcpLimits,
    /// Within what time the agent introduces itself, and begins or resumes a conversation.
    pub setup_timeout: Duration,
    /// Within what time it tells a whole conversation again.
    pub load_timeout: Duration,
    /// How long a turn waits for the end of the one before it, which was called off.
    pub previous_turn_timeout: Duration,
    /// Counts questions up. Share it among the connections to one agent: then no answer meets another question.
    pub ask_counter: Arc<AtomicU64>,
    /// Notes that the agent is at work, and its progress.
    pub meter: ActivityMeter,
}

impl Default for AcpOptions {
    fn default() -> Self {
        Self {
            limits: AcpLimits::default(),
            setup_timeout: Duration::from_secs(60),
            load_timeout: Duration::from_secs(300),
            previous_turn_timeout: Duration::from_secs(10),
            ask_counter: Arc::default(),
            meter: ActivityMeter::default(),
        }
    }
}
