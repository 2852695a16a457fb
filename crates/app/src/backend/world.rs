//! The world: the books, shared by every connection, and the orders that WebSockets obey.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use super::{
    agents::{AgentBook, Health, Refusal},
    events::{EventLog, Happening},
    faults::{Fault, FaultBook, FaultError, Strike},
};

/// What every WebSocket has to obey at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orders {
    /// Rises whenever all sockets that are open are to be cut.
    pub(super) cuts: u64,
    /// Until then sockets neither read nor write.
    pub(super) silent_until: Instant,
}

/// Everything that connections share.
///
/// The mutexes are std's, held for one synchronous step and never over an await. Events are published while
/// the agents are locked, so they stand in the order in which things happened.
#[derive(Debug)]
pub(super) struct World {
    agents: Mutex<AgentBook>,
    /// Wakes the requests that wait for a hung agent.
    turns: watch::Sender<()>,
    faults: Mutex<FaultBook>,
    orders: watch::Sender<Orders>,
    pub(super) events: EventLog,
}

impl World {
    pub(super) fn new(agents: &[String], history_max: usize, now: Instant) -> Self {
        Self {
            agents: Mutex::new(AgentBook::new(agents, now)),
            turns: watch::Sender::new(()),
            faults: Mutex::default(),
            orders: watch::Sender::new(Orders { cuts: 0, silent_until: now }),
            events: EventLog::new(history_max),
        }
    }

    /// How the agent is; waits while it hangs.
    pub(super) async fn health(&self, id: &str) -> Result<Health, Refusal> {
        self.ask(id, |agents| agents.health(id, Instant::now())).await
    }

    /// What the agent remembers; waits while it hangs.
    pub(super) async fn state(&self, id: &str) -> Result<Value, Refusal> {
        self.ask(id, |agents| agents.state(id)).await
    }

    /// Replaces what the agent remembers; waits while it hangs.
    pub(super) async fn write_state(&self, id: &str, state: Value) -> Result<(), Refusal> {
        self.ask(id, |agents| {
            agents.write_state(id, state.clone())?;
            self.events.publish(&Happening::StateWritten { agent: id });
            Ok(())
        })
        .await
    }

    /// Gives the agent a message, and says how many it has counted; waits while it hangs.
    pub(super) async fn message(&self, id: &str, message: &Value) -> Result<u64, Refusal> {
        self.ask(id, |agents| {
            let count = agents.message(id, message)?;
            self.events.publish(&Happening::Message { agent: id, count, message });
            Ok(count)
        })
        .await
    }

    /// Restarts the agent, hung or not.
    pub(super) fn restart(&self, id: &str) -> Result<Health, Refusal> {
        self.turn(|agents| {
            let health = agents.restart(id, Instant::now())?;
            let error_count = health.error_count;
            self.events.publish(&Happening::Restarted { agent: id, error_count });
            Ok(health)
        })
    }

    /// What the agent remembers, whatever its condition.
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
                self.orders.send_modify(|orders| orders.cuts += 1);
                Ok(())
            }
            Fault::RefuseWs { for_ms } => {
                self.faults().refuse_handshakes(after(for_ms));
                Ok(())
            }
            Fault::HalfOpenWs { for_ms } => {
                self.orders.send_modify(|orders| orders.silent_until = after(for_ms));
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

    /// What the armed faults do to a request for `path`.
    pub(super) fn strike(&self, path: &str) -> Strike {
        self.faults().strike(path)
    }

    /// Whether WebSocket handshakes are refused.
    pub(super) fn refuses_handshakes(&self) -> bool {
        self.faults().refuses_handshakes(Instant::now())
    }

    /// The orders, as they are and as they change.
    pub(super) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    fn crash(&self, agent: &str, now: Instant) -> Result<(), Refusal> {
        self.turn(|agents| {
            let error_count = agents.crash(agent, now)?;
            self.events.publish(&Happening::Crashed { agent, error_count });
            Ok(())
        })
    }

    fn hang(&self, agent: &str) -> Result<(), Refusal> {
        self.turn(|agents| {
            agents.hang(agent)?;
            self.events.publish(&Happening::Hung { agent });
            Ok(())
        })
    }

    fn heal(&self, agent: &str) -> Result<(), Refusal> {
        self.turn(|agents| {
            agents.heal(agent)?;
            self.events.publish(&Happening::Healed { agent });
            Ok(())
        })
    }

    /// Changes an agent's condition and wakes who waits for that.
    fn turn<T>(&self, change: impl FnOnce(&mut AgentBook) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let changed = change(&mut self.agents());
        self.turns.send_replace(());
        changed
    }

    /// Puts a question to an agent, and again whenever a condition has changed, until it does not hang. What
    /// was asked in one life is not answered by the next.
    async fn ask<T>(
        &self,
        id: &str,
        question: impl Fn(&mut AgentBook) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        // Subscribed before the first look, so that no change falls between a look and the wait.
        let mut turns = self.turns.subscribe();
        let life = self.agents().life(id)?;
        loop {
            match in_life(&mut self.agents(), id, life, &question) {
                Err(Refusal::Hung { .. }) => {}
                answer => return answer,
            }
            if turns.changed().await.is_err() {
                return Err(Refusal::Lost { agent: id.to_owned() });
            }
        }
    }

    fn agents(&self) -> MutexGuard<'_, AgentBook> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, FaultBook> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the question if the agent is still in that life.
fn in_life<T>(
    agents: &mut AgentBook,
    id: &str,
    life: u64,
    question: impl Fn(&mut AgentBook) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if agents.life(id)? != life {
        return Err(Refusal::Lost { agent: id.to_owned() });
    }
    question(agents)
}

/// A world with one agent, `planner`, for the tests of what is built on it.
#[cfg(test)]
pub(super) fn small_world(history_max: usize) -> std::sync::Arc<World> {
    std::sync::Arc::new(World::new(&["planner".to_owned()], history_max, Instant::now()))
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

    fn heal() -> Fault {
        agent(|agent| Fault::HealAgent { agent })
    }

    #[tokio::test]
    async fn a_request_to_a_hung_agent_waits_until_it_is_healed() {
        let world = small_world(8);
        world.inject(hang(), Instant::now()).unwrap();
        let message = json!("hi");
        let mut waiting = Box::pin(world.message("planner", &message));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        world.inject(heal(), Instant::now()).unwrap();
        assert_eq!(waiting.await, Ok(1));
    }

    #[tokio::test]
    async fn a_request_to_a_hung_agent_is_lost_with_a_restart_or_a_crash() {
        for restarted in [true, false] {
            let world = small_world(8);
            world.inject(hang(), Instant::now()).unwrap();
            let message = json!("hi");
            let mut waiting = Box::pin(world.message("planner", &message));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            if restarted {
                assert_eq!(world.restart("planner").unwrap().status, "healthy");
            } else {
                world.inject(crash(), Instant::now()).unwrap();
            }
            assert_eq!(waiting.await, Err(Refusal::Lost { agent: "planner".to_owned() }));
            assert_eq!(world.memory("planner").unwrap()["count"], 0);
        }
    }

    #[tokio::test]
    async fn a_hung_agent_can_be_told_to_hang_again_and_still_waits() {
        let world = small_world(8);
        world.inject(hang(), Instant::now()).unwrap();
        let mut waiting = Box::pin(world.health("planner"));
        assert!(waiting.as_mut().now_or_never().is_none());
        world.inject(hang(), Instant::now()).unwrap();
        assert!(waiting.as_mut().now_or_never().is_none());
    }

    #[test]
    fn a_fault_that_is_refused_changes_nothing() {
        let world = small_world(8);
        let unknown = Fault::CrashAgent { agent: "nobody".to_owned() };
        let error = world.inject(unknown, Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "there is no agent \"nobody\"; there is planner");
        let wrong = Fault::Reset { path: "/".to_owned(), times: 0 };
        assert!(world.inject(wrong, Instant::now()).is_err());
        assert_eq!(world.strike("/"), Strike::default());
        assert_eq!(*world.events.last().borrow(), 0);
    }
}
