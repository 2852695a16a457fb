//! The results of checks of an agent, and its activity beside them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Reason};
use crate::transport::FailureKind;

/// The agent's activity, apart from answers to checks: a busy agent is not dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ActivitySigns {
    /// True if it is working on a request.
    pub is_working: bool,
    /// The time of its last progress, or of its last new request.
    pub progressed_at: Option<Duration>,
}

/// The health that an agent reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedHealth {
    /// The agent works.
    Healthy,
    /// The agent works with problems.
    Degraded,
    /// The agent does not work.
    Failed,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The agent answered.
    Answered {
        /// The health that it reports.
        reported: ReportedHealth,
        /// The seconds since its start, as it reports.
        uptime_s: Option<f64>,
        /// The number of its errors, as it reports.
        error_count: Option<u64>,
    },
    /// The agent did not answer, or its answer was unreadable.
    Missed {
        /// The error.
        why: Error,
    },
    /// The agent can do nothing, not even work: its process is stopped by a signal or a debugger.
    Suspended {
        /// The error.
        why: Error,
    },
    /// The backend was unreachable.
    Unreachable {
        /// The error.
        why: Error,
    },
    /// The agent has exited, or must be ended.
    Exited {
        /// The error.
        why: Error,
    },
}

impl Observation {
    /// Returns whether the connection broke while the backend had the check.
    pub(in crate::agent) fn is_break(&self) -> bool {
        match self {
            Self::Missed { why } => is_break(why),
            // A program that the runtime starts is not missed when the backend that is asked about it breaks off.
            Self::Unreachable { why } => is_break(why) && !is_refusal(why.reason),
            Self::Answered { .. } | Self::Suspended { .. } | Self::Exited { .. } => false,
        }
    }

    /// Returns whether the agent or its backend answered, if only with an error.
    pub(in crate::agent) fn is_answer(&self) -> bool {
        match self {
            Self::Answered { .. } => true,
            Self::Missed { why } => is_answer(why),
            Self::Suspended { .. } | Self::Unreachable { .. } | Self::Exited { .. } => false,
        }
    }

    /// Returns whether no connection to the backend could be made. That alone shows that the backend is gone. A check
    /// that was missed while the WebSocket reconnects is `Unreachable` too, but the backend may live: the WebSocket
    /// also reconnects after a network's hiccup, or for ever where its path does not exist.
    pub(in crate::agent) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreachable { why } if is_refusal(why.reason))
    }
}

/// Returns whether an error says that the connection broke before a whole answer. The head of a good answer is none: a
/// backend that dies while it answers died over the question.
pub(in crate::agent) fn is_break(error: &Error) -> bool {
    let is_bad = |status| Reason::from_status(status).is_some();
    error.code == Code::NetworkError && !error.status.is_some_and(is_bad)
}

/// Returns whether an error is the backend's answer.
pub(super) fn is_answer(error: &Error) -> bool {
    error.status.is_some() && !is_break(error)
}

/// Returns whether a failure with this reason made no connection. The queue takes the same failures as evidence.
pub(super) fn is_refusal(reason: Reason) -> bool {
    FailureKind::ALL.iter().any(|kind| kind.is_unreachable() && kind.reason() == reason)
}
