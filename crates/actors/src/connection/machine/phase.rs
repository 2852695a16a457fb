//! What a connection is in the midst of.

use std::time::Duration;

use crate::connection::{liveness::Liveness, status::ConnectionState};

#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// The socket that was open may still be closing.
    Disconnected {
        closing: Option<Closing>,
    },
    Dialling {
        purpose: Purpose,
        deadline: Duration,
    },
    Connected {
        attempt: u32,
        peer: Liveness,
    },
    Waiting {
        until: Duration,
    },
    Failed {
        probe_at: Option<Duration>,
    },
}

/// What a dial is for; it decides the state that is shown meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    First,
    Retry,
    Probe,
}

/// A socket that was asked to close, and until when it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub(super) generation: u64,
    pub(super) deadline: Duration,
}

impl Purpose {
    pub(super) fn state(self) -> ConnectionState {
        match self {
            Self::First => ConnectionState::Connecting,
            Self::Retry => ConnectionState::Reconnecting,
            Self::Probe => ConnectionState::Failed,
        }
    }
}
