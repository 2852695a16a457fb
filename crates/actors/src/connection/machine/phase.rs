//! The machine's phases.

use std::time::Duration;

use crate::connection::{liveness::Liveness, status::ConnectionState};

#[derive(Debug, Clone)]
pub(super) enum MachinePhase {
    /// No connection is ever wanted.
    Disabled,
    /// The previous socket may still be closing.
    Disconnected {
        closing: Option<ClosingSocket>,
    },
    Dialling {
        purpose: DialPurpose,
        deadline: Duration,
    },
    Connected {
        attempt: u32,
        liveness: Liveness,
    },
    Waiting {
        until: Duration,
    },
    Failed {
        probe_at: Option<Duration>,
    },
}

/// The purpose of a dial, which decides the state that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialPurpose {
    First,
    Retry,
    /// A dial on a hint, ahead of the retry that is planned for `until`. It is no attempt: if it fails, the wait goes on.
    Early {
        until: Duration,
    },
    Probe,
}

/// A closing socket, and its deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClosingSocket {
    pub(super) generation: u64,
    pub(super) deadline: Duration,
}

impl DialPurpose {
    pub(super) fn state(self) -> ConnectionState {
        match self {
            Self::First => ConnectionState::Connecting,
            Self::Retry | Self::Early { .. } => ConnectionState::Reconnecting,
            Self::Probe => ConnectionState::Failed,
        }
    }
}
