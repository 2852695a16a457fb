//! Restarts the agents whose programs name the address or the secret of an earlier start of the backend.
//!
//! The restart is that of a command: it uses no budget, and the agent keeps its messages and its saved state. An agent that
//! is stopped, given up or about to be restarted takes the present address by its own next start.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use mainstay_actors::network::BackendAddress;
use mainstay_runtime::ActorStatus;
use tokio::sync::watch;

use crate::agents::events::AgentOutdated;
use crate::inner::Inner;
use crate::tree_builder::agents::AgentHandle;
use crate::tree_builder::processes::NamedAddress;

/// Restarts outdated agents each time that another start of the backend is ready, until the runtime is dropped.
pub(crate) async fn restart_outdated(
    inner: Weak<Inner>,
    mut assigned: watch::Receiver<Option<BackendAddress>>,
) {
    while assigned.wait_for(Option::is_some).await.is_ok() {
        let Some(restarts) = inner.upgrade().map(|inner| start_restarts(&inner)) else { return };
        join_all(restarts).await;
        if assigned.changed().await.is_err() {
            return;
        }
    }
}

/// Records which agents are outdated, and returns their restarts.
fn start_restarts(inner: &Inner) -> Vec<impl Future<Output = ()> + Send + use<>> {
    let (now, supervisor) = (inner.runtime.now(), &inner.handles.agents);
    let outdated = inner.handles.agent_handles.iter().filter(|agent| is_outdated(agent.value(), now));
    let restarts = outdated.map(|agent| {
        if let Some(path) = agent.address.path() {
            let generation = agent.address.info(now).generation;
            inner.runtime.journal().record(path, generation, &AgentOutdated {});
        }
        agent.pending_recovery.request_restart();
        let (id, supervisor) = (agent.key().clone(), supervisor.clone());
        async move {
            // It fails if the agent is removed or the runtime stops meanwhile.
            let _ = supervisor.restart(&id).await;
        }
    });
    restarts.collect()
}

/// Returns whether the agent runs with the address of an earlier start of the backend.
fn is_outdated(agent: &AgentHandle, now: Duration) -> bool {
    let is_up = matches!(agent.address.info(now).status, ActorStatus::Starting | ActorStatus::Running);
    is_up && agent.named_address.as_ref().is_some_and(NamedAddress::is_outdated)
}
