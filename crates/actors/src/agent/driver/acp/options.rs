//! The options and limits of a connection.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::agent::ActivityMeter;
use crate::error::Secrets;
use crate::logs::ProcessLog;

/// Limits on what an agent sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcpLimits {
    /// The most bytes of one message, in either direction. Two or three times as much is held in memory for a moment. A
    /// longer line is skipped, and one that is four times as long ends the connection.
    pub message_bytes_max: usize,
    /// The most lines in a row that are skipped since they are not messages; `None` for no limit.
    pub stray_lines_max: Option<usize>,
    /// The most questions that may be open at once. More are refused.
    pub asks_max: usize,
    /// The most requests of the agent without an answer.
    pub unanswered_max: usize,
    /// The most bytes of a turn's text that are kept for [`TurnEnd::text`](super::TurnEnd::text).
    pub text_bytes_max: usize,
}

impl Default for AcpLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 * 1024 * 1024,
            stray_lines_max: Some(10_000),
            asks_max: 16,
            unanswered_max: 256,
            text_bytes_max: 1024 * 1024,
        }
    }
}

/// The options of a connection.
#[derive(Debug, Clone)]
pub struct AcpOptions {
    /// The limits on what the agent sends.
    pub limits: AcpLimits,
    /// The time limit for initialization, and for starting or resuming a session.
    pub setup_timeout: Duration,
    /// The time limit for loading a whole session.
    pub load_timeout: Duration,
    /// The time limit for a login, which may wait for a person.
    pub login_timeout: Duration,
    /// The time for which a turn waits for the end of a cancelled previous one.
    pub previous_turn_timeout: Duration,
    /// Counts questions. Share it among the connections to one agent, so that no answer meets another question.
    pub ask_counter: Arc<AtomicU64>,
    /// Counts the agent's work and notes its progress.
    pub meter: ActivityMeter,
    /// The secrets that the agent may repeat.
    pub secrets: Secrets,
    /// The log to which its lines go that are no messages.
    pub log: ProcessLog,
}

impl Default for AcpOptions {
    fn default() -> Self {
        Self {
            limits: AcpLimits::default(),
            setup_timeout: Duration::from_secs(60),
            load_timeout: Duration::from_secs(300),
            login_timeout: Duration::from_secs(600),
            previous_turn_timeout: Duration::from_secs(10),
            ask_counter: Arc::default(),
            meter: ActivityMeter::default(),
            secrets: Secrets::default(),
            log: ProcessLog::default(),
        }
    }
}
