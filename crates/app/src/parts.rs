//! What every handle of one runtime shares.

use std::sync::Arc;

use dashmap::DashMap;
use mainstay_actors::agent::AgentBoard;
use mainstay_actors::cache::{CacheHandle, CacheMessage, Files, Responses};
use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::process::Warden;
use mainstay_actors::queue::{QueueHandle, QueueMessage, QueueView};
use mainstay_runtime::state::RedbStore;
use mainstay_runtime::{Address, Runtime, SupervisorHandle};
use tokio::task::JoinSet;

use crate::agent_factory::{AgentFactory, AgentLine};
use crate::moment::Moment;

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
    pub(crate) cache: CacheHandle,
    pub(crate) cache_address: Address<CacheMessage>,
    pub(crate) files: Files,
    pub(crate) responses: Responses,
    pub(crate) agents: SupervisorHandle,
    pub(crate) board: AgentBoard,
    /// Clone out of it: a guard must not be held over an await.
    pub(crate) agent_lines: DashMap<String, AgentLine>,
    pub(crate) factory: AgentFactory,
    pub(crate) warden: Warden,
}

/// Everything behind a handle.
pub(crate) struct Parts {
    pub(crate) runtime: Runtime,
    pub(crate) members: Members,
    /// The store of states, where the embedder brought none.
    pub(crate) states: Option<Arc<RedbStore>>,
    /// What runs beside the tree; never looked at.
    pub(crate) _tasks: JoinSet<()>,
}

impl Parts {
    /// Leaves the data folder to the next runtime, when the tree has ended.
    pub(crate) async fn close(&self) {
        self.members.warden.close().await;
        if let Some(states) = &self.states {
            states.close().await;
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.runtime.now(), wall: self.runtime.journal().wall_time() }
    }
}
