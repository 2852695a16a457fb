//! The state that all handles of one runtime share.

use std::sync::Arc;

use dashmap::DashMap;
use mainstay_actors::agent::AgentReports;
use mainstay_actors::cache::watch::FileFeed;
use mainstay_actors::cache::{CacheHandle, CacheMessage, FileCache};
use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::credentials::Credentials;
use mainstay_actors::logs::LogStore;
use mainstay_actors::process::{LoginPath, ProcessManager};
use mainstay_actors::queue::{QueueHandle, QueueMessage, QueueView};
use mainstay_actors::response_cache::ResponseCache;
use mainstay_runtime::state::RedbStore;
use mainstay_runtime::{Address, Runtime, SupervisorHandle};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::history::HistoryLog;
use crate::incidents::IncidentLog;
use crate::journal_folds::JournalFold;
use crate::time_point::TimePoint;
use crate::tree_builder::agents::{AgentFactory, AgentHandle};
use crate::tree_builder::owned_backend::OwnedBackendParts;

/// The actors of a runtime: their addresses and their views.
pub(crate) struct Handles {
    pub(crate) connection: Address<ConnectionMessage>,
    pub(crate) connection_view: ConnectionView,
    pub(crate) queue: QueueHandle,
    #[cfg_attr(not(debug_assertions), allow(dead_code, reason = "fault injection of debug builds uses it"))]
    pub(crate) queue_address: Address<QueueMessage>,
    pub(crate) queue_view: QueueView,
    pub(crate) cache: CacheHandle,
    pub(crate) cache_address: Address<CacheMessage>,
    pub(crate) files: FileCache,
    pub(crate) file_feed: FileFeed,
    pub(crate) responses: ResponseCache,
    pub(crate) agents: SupervisorHandle,
    pub(crate) reports: AgentReports,
    /// Clone entries: a guard must not be held across an await.
    pub(crate) agent_handles: DashMap<String, AgentHandle>,
    pub(crate) factory: AgentFactory,
    pub(crate) process_manager: ProcessManager,
    pub(crate) logs: LogStore,
    pub(crate) credentials: Credentials,
    /// The login shell's `PATH`, if the configuration wants it.
    pub(crate) login_path: Option<LoginPath>,
    /// The backend, if the runtime starts it.
    pub(crate) owned_backend: Option<OwnedBackendParts>,
}

/// The shared state of a runtime.
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    pub(crate) handles: Handles,
    /// The store of states, unless the embedder supplied one.
    pub(crate) states: Option<Arc<RedbStore>>,
    /// True if the backend is the embedded one of a demo.
    pub(crate) is_demo: bool,
    /// The incidents of the journal. Nothing is read before the first call.
    pub(crate) incidents: Mutex<JournalFold<IncidentLog>>,
    /// The history of the tree. Nothing is read before the first call. Readers take a reference, and release the lock.
    pub(crate) history: Mutex<JournalFold<Arc<HistoryLog>>>,
    /// Ends the subscriptions.
    pub(crate) has_stopped: watch::Sender<bool>,
    /// The tasks that run beside the tree. They end when this is dropped.
    pub(crate) _tasks: JoinSet<()>,
}

impl Inner {
    /// Closes the files of the data folder after the tree has ended, so that another runtime may open it.
    pub(crate) async fn close(&self) {
        self.handles.process_manager.close().await;
        self.handles.logs.close().await;
        if let Some(states) = &self.states {
            states.close().await;
        }
    }

    pub(crate) fn time_point(&self) -> TimePoint {
        let now = self.runtime.now();
        TimePoint { now, timeline: self.runtime.journal().timeline() }
    }
}
