//! What every handle of one runtime shares.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_actors::agent::{AgentBoard, AgentDebts, AgentMessage};
use mainstay_actors::cache::CacheMessage;
use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::queue::{QueueHandle, QueueMessage, QueueView};
use mainstay_runtime::{Address, Runtime, SupervisorHandle};

use crate::moment::Moment;

/// How one agent's actor is spoken to.
pub(crate) struct AgentLine {
    pub(crate) address: Address<AgentMessage>,
    pub(crate) debts: Arc<AgentDebts>,
}

/// The actors of a runtime: how they are spoken to, and what they show.
pub(crate) struct Members {
    pub(crate) connection: Address<ConnectionMessage>,
    pub(crate) connection_view: ConnectionView,
    pub(crate) queue: QueueHandle,
    #[cfg_attr(
        not(debug_assertions),
        allow(dead_code, reason = "the fault switch of debug builds speaks to it")
    )]
    pub(crate) queue_address: Address<QueueMessage>,
    pub(crate) queue_view: QueueView,
    pub(crate) cache: Address<CacheMessage>,
    pub(crate) agents: SupervisorHandle,
    pub(crate) board: AgentBoard,
    pub(crate) agent_lines: HashMap<String, AgentLine>,
}

/// Everything behind a handle.
pub(crate) struct Parts {
    pub(crate) runtime: Runtime,
    pub(crate) members: Members,
}

impl Parts {
    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.runtime.now(), wall: self.runtime.journal().wall_time() }
    }
}
