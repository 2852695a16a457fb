//! A turn: from a prompt until the agent ends it.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::handler::SharedConnection;
use super::session_state::TurnText;
use crate::agent::{ActivityGuard, MessageId};

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TurnEnd {
    /// The agent's reason to stop, in the protocol's words: `end_turn`, `max_tokens`, `max_turn_requests`, `refusal`,
    /// `cancelled`.
    pub stop_reason: String,
    /// The text of the turn.
    pub text: String,
    /// True if the text was cut at the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_text_cut: bool,
}

/// A running turn, until the agent has ended it.
pub(super) struct TurnGuard {
    shared: Arc<SharedConnection>,
    is_ended: bool,
    _work: ActivityGuard,
    _permit: OwnedSemaphorePermit,
}

impl TurnGuard {
    pub(super) fn begin(
        shared: &Arc<SharedConnection>,
        message: MessageId,
        permit: OwnedSemaphorePermit,
    ) -> (Self, u64) {
        let number = shared.lock_state().begin_turn(message);
        let turn = Self {
            shared: Arc::clone(shared),
            is_ended: false,
            _work: shared.meter.begin(),
            _permit: permit,
        };
        (turn, number)
    }

    pub(super) fn end(mut self) -> TurnText {
        self.close()
    }

    fn close(&mut self) -> TurnText {
        self.is_ended = true;
        let (text, open) = self.shared.lock_state().end_turn();
        self.shared.cancel_asks(open);
        text
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        if !self.is_ended {
            self.close();
        }
    }
}
