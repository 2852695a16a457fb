//! The state that every connection shares, and the socket faults that WebSockets follow.

use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use super::{
    agents::{AgentError, AgentStore, HealthBody},
    events::{AgentEvent, EventLog},
    faults::{Fault, FaultError, FaultHit, FaultInjector},
};

/// The socket faults that apply to every WebSocket at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketFaults {
    /// Rises whenever all sockets that are open are to be cut.
    pub(super) drop_count: u64,
    /// Until then sockets neither read nor write.
    pub(super) silent_until: Instant,
}

/// Everything that connections share.
///
/// A mutex is held for one synchronous step and never over an await. Events are published while the agents are locked,
/// so they are in the order in which things happened.
#[derive(Debug)]
pub(super) struct BackendState {
    agents: Mutex<AgentStore>,
    /// Wakes the requests that wait for a hung agent.
    changes: watch::Sender<()>,
    faults: Mutex<FaultInjector>,
    socket_faults: watch::Sender<SocketFaults>,
    pub(super) events: EventLog,
}

impl BackendState {
    pub(super) fn new(agents: &[String], history_max: usize, now: Instant) -> Self {
        Self {
            agents: Mutex::new(AgentStore::new(agents, now)),
            changes: watch::Sender::new(()),
            faults: Mutex::default(),
            socket_faults: watch::Sender::new(SocketFaults { drop_count: 0, silent_until: now }),
            events: EventLog::new(history_max),
        }
    }

    /// Returns the agent's health; waits while it hangs.
    pub(super) async fn health(&self, id: &str) -> Result<HealthBody, AgentError> {
        self.query(id, |agents| agents.health(id, Instant::now())).await
    }

    /// Returns the agent's memory; waits while it hangs.
    pub(super) async fn state(&self, id: &str) -> Result<Value, AgentError> {
        self.query(id, |agents| agents.state(id)).await
    }

    /// Replaces what the agent remembers; waits while it hangs.
    pub(super) async fn write_state(&self, id: &str, state: Value) -> Result<(), AgentError> {
        self.query(id, |agents| {
            agents.write_state(id, state.clone())?;
            self.events.publish(&AgentEvent::StateWritten { agent: id });
            Ok(())
        })
        .await
    }

    /// Gives the agent a message, and says how many it has counted; waits while it hangs.
    pub(super) async fn message(&self, id: &str, message: &Value) -> Result<u64, AgentError> {
        self.query(id, |agents| {
            let count = agents.message(id, message)?;
            self.events.publish(&AgentEvent::Message { agent: id, count, message });
            Ok(count)
        })
        .await
    }

    /// Restarts the agent, hung or not.
    pub(super) fn restart(&self, id: &str) -> Result<HealthBody, AgentError> {
        self.update(|agents| {
            let health = agents.restart(id, Instant::now())?;
            let error_count = health.error_count;
            self.events.publish(&AgentEvent::Restarted { agent: id, error_count });
            Ok(health)
        })
    }

    /// Returns the agent's memory in any condition.
    pub(super) fn memory(&self, id: &str) -> Option<Value> {
        self.agents().memory(id)
    }

    /// Breaks something, at once.
    pub(super) fn inject(&self, fault: Fault, now: Instant) -> Result<(), FaultError> {
        fault.check()?;
        tracing::info!(?fault, "a fault is injected");
        let after = |ms| now + Duration::from_millis(ms);
        match fault {
            Fault::CrashAgent { agent } => Ok(self.crash(&agent, now)?),
            Fault::HangAgent { agent } => Ok(self.hang(&agent)?),
            Fault::HealAgent { agent } => Ok(self.heal(&agent)?),
            Fault::DropWs => {
                self.socket_faults.send_modify(|faults| faults.drop_count += 1);
                Ok(())
            }
            Fault::RefuseWs { for_ms } => {
                self.faults().refuse_handshakes(after(for_ms));
                Ok(())
            }
            Fault::HalfOpenWs { for_ms } => {
                self.socket_faults.send_modify(|faults| faults.silent_until = after(for_ms));
                Ok(())
            }
            Fault::Status { path, status, times, retry_after } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.faults().arm_status(path, times, status, retry_after)
            }
            Fault::Slow { path, ms, times } => {
                self.faults().arm_delay(path, times, Duration::from_millis(ms))
            }
            Fault::Reset { path, times } => self.faults().arm_reset(path, times),
        }
    }

    /// Returns the effect of the armed faults on a request for `path`.
    pub(super) fn take_hit(&self, path: &str) -> FaultHit {
        self.faults().take_hit(path)
    }

    /// Returns whether WebSocket handshakes are refused.
    pub(super) fn refuses_handshakes(&self) -> bool {
        self.faults().refuses_handshakes(Instant::now())
    }

    /// Returns the socket faults, as they are and as they change.
    pub(super) fn socket_faults(&self) -> watch::Receiver<SocketFaults> {
        self.socket_faults.subscribe()
    }

    fn crash(&self, agent: &str, now: Instant) -> Result<(), AgentError> {
        self.update(|agents| {
            let error_count = agents.crash(agent, now)?;
            self.events.publish(&AgentEvent::Crashed { agent, error_count });
            Ok(())
        })
    }

    fn hang(&self, agent: &str) -> Result<(), AgentError> {
        self.update(|agents| {
            agents.hang(agent)?;
            self.events.publish(&AgentEvent::Hung { agent });
            Ok(())
        })
    }

    fn heal(&self, agent: &str) -> Result<(), AgentError> {
        self.update(|agents| {
            agents.heal(agent)?;
            self.events.publish(&AgentEvent::Healed { agent });
            Ok(())
        })
    }

    /// Changes an agent's condition and wakes the requests that wait for it.
    fn update<T>(
        &self,
        change: impl FnOnce(&mut AgentStore) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let changed = change(&mut self.agents());
        self.changes.send_replace(());
        changed
    }

    /// Asks an agent, and again whenever a condition has changed, until it does not hang. A generation does not answer
    /// the questions to an earlier one.
    async fn query<T>(
        &self,
        id: &str,
        question: impl Fn(&mut AgentStore) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        // Subscribed before the first look, so that no change falls between a look and the wait.
        let mut changes = self.changes.subscribe();
        let generation = self.agents().generation(id)?;
        loop {
            match query_same_generation(&mut self.agents(), id, generation, &question) {
                Err(AgentError::Hung { .. }) => {}
                answer => return answer,
            }
            if changes.changed().await.is_err() {
                return Err(AgentError::Lost { agent: id.to_owned() });
            }
        }
    }

    fn agents(&self) -> MutexGuard<'_, AgentStore> {
        self.agents.lock()
    }

    fn faults(&self) -> MutexGuard<'_, FaultInjector> {
        self.faults.lock()
    }
}

/// Asks the agent if it is still in that generation.
fn query_same_generation<T>(
    agents: &mut AgentStore,
    id: &str,
    generation: u64,
    question: impl Fn(&mut AgentStore) -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    if agents.generation(id)? != generation {
        return Err(AgentError::Lost { agent: id.to_owned() });
    }
    question(agents)
}

/// Creates a state with one agent, `planner`.
#[cfg(test)]
pub(super) fn test_state(history_max: usize) -> std::sync::Arc<BackendState> {
    std::sync::Arc::new(BackendState::new(&["planner".to_owned()], history_max, Instant::now()))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;

    fn agent(of: fn(String) -> Fault) -> Fault {
        of("planner".to_owned())
    }

    fn crash() -> Fault {
        agent(|agent| Fault::CrashAgent { agent })
    }

    fn hang() -> Fault {
        agent(|agent| Fault::HangAgent { agent })
    }

    #[tokio::test]
    async fn request_to_a_hung_agent_is_lost_with_a_restart_or_a_crash() {
        for restarted in [true, false] {
            let state = test_state(8);
            state.inject(hang(), Instant::now()).unwrap();
            let message = json!("hi");
            let mut waiting = Box::pin(state.message("planner", &message));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            if restarted {
                assert_eq!(state.restart("planner").unwrap().status, "healthy");
            } else {
                state.inject(crash(), Instant::now()).unwrap();
            }
            assert_eq!(waiting.await, Err(AgentError::Lost { agent: "planner".to_owned() }));
            assert_eq!(state.memory("planner").unwrap()["count"], 0);
        }
    }

    #[tokio::test]
    async fn hung_agent_still_hangs_after_a_second_hang() {
        let state = test_state(8);
        state.inject(hang(), Instant::now()).unwrap();
        let mut waiting = Box::pin(state.health("planner"));
        assert!(waiting.as_mut().now_or_never().is_none());
        state.inject(hang(), Instant::now()).unwrap();
        assert!(waiting.as_mut().now_or_never().is_none());
    }

    #[test]
    fn fault_that_is_refused_changes_nothing() {
        let state = test_state(8);
        let unknown = Fault::CrashAgent { agent: "nobody".to_owned() };
        let error = state.inject(unknown, Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "there is no agent \"nobody\"; there is planner");
        let wrong = Fault::Reset { path: "/".to_owned(), times: 0 };
        assert!(state.inject(wrong, Instant::now()).is_err());
        assert_eq!(state.take_hit("/"), FaultHit::default());
        assert_eq!(*state.events.subscribe_last().borrow(), 0);
    }
}
