//! The agent actor: watches one agent, and has it restarted with the state that it had.
//!
//! - `health`: how checks add up, pure
//! - [`Driver`]: how an agent is reached; `http` reaches one behind the backend
//! - [`AgentBoard`]: what is known of the agents, for all to see
//!
//! It is an actor because its restarts are a supervisor's business: an agent that has failed ends the actor's
//! incarnation with an error, the supervisor decides by its policy, and the next incarnation brings the agent back.
//! It never restarts an agent for which no incarnation was spent, never has two checks in flight, and never sends
//! an agent's health down the queue of people's requests.

mod board;
mod driver;
mod health;
mod http;

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{Event, Level};
use mainstay_runtime::{Context, Failure, Message, Reply, TaskHandle, Worker};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

pub use board::{AgentBoard, AgentReport};
pub use driver::{AgentState, Driver, DriverError};
pub use health::{AgentStatus, Change, Health, HealthPolicy, Observation, Outcome, Reported};
pub use http::HttpDriver;

/// An agent's status has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHealth {
    /// The status before.
    pub from: AgentStatus,
    /// The status after.
    pub to: AgentStatus,
    /// Checks missed in a row.
    pub misses: u32,
    /// What is wrong, if something is.
    pub reason: Option<String>,
}

impl Event for AgentHealth {
    const KIND: &'static str = "agent_health";
    const LEVEL: Level = Level::Info;
}

/// An agent actor's messages.
#[derive(Debug)]
pub enum AgentMessage {
    /// It is time for a check.
    Check,
    /// A check has ended.
    TakeObservation(Observation),
    /// The agent's state was read, or could not be.
    TakeState(Result<AgentState, DriverError>),
    /// The link to the backend came or went.
    MindLink,
    /// Whoever comes next restarts the agent, well or not: somebody asked for it.
    ExpectRestart(Reply<()>),
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    Panic,
}

impl Message for AgentMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Check => "Check",
            Self::TakeObservation(_) => "TakeObservation",
            Self::TakeState(_) => "TakeState",
            Self::MindLink => "MindLink",
            Self::ExpectRestart(_) => "ExpectRestart",
            #[cfg(debug_assertions)]
            Self::Panic => "Panic",
        }
    }
}

/// What every incarnation of an agent's actor is made from.
pub struct AgentActor {
    /// The agent's id.
    pub id: String,
    /// How it is reached.
    pub driver: Arc<dyn Driver>,
    /// When it counts as ill or well.
    pub health: HealthPolicy,
    /// Whether the backend's link is up. An agent that does not answer while it is down is `unknown`.
    pub link_is_up: watch::Receiver<bool>,
    /// Where it publishes what it knows.
    pub board: AgentBoard,
}

/// What survives an incarnation.
#[derive(Debug, Clone, Default)]
pub struct AgentMemory {
    kept: Option<KeptState>,
    has_no_state: bool,
    is_restart_wanted: bool,
}

/// A state that was read from the agent while it was well.
#[derive(Debug, Clone)]
struct KeptState {
    value: Arc<Value>,
    read_at: Duration,
}

/// The state of one incarnation.
pub struct AgentWatch {
    health: Health,
    memory: AgentMemory,
    /// Read after the last check, and kept once the next check finds the same life of the agent well.
    candidate: Option<(KeptState, Option<u64>)>,
    is_checking: bool,
    /// The link changed while a check was in flight, so another one follows at once.
    is_check_outdated: bool,
    next_check: Option<TaskHandle>,
}

type Ctx = Context<AgentMessage>;

impl Worker for AgentActor {
    type Message = AgentMessage;
    type State = AgentWatch;
    type Snapshot = AgentMemory;

    async fn start(&self, ctx: &mut Ctx, kept: Option<AgentMemory>) -> Result<AgentWatch, Failure> {
        let mut memory = kept.unwrap_or_default();
        if memory.is_restart_wanted {
            self.restart(&memory).await?;
        } else if ctx.generation() > 1 {
            self.revive(&memory).await?;
        }
        memory.is_restart_wanted = false;
        let mut watch = AgentWatch {
            health: Health::new(self.health, ctx.now()),
            memory,
            candidate: None,
            is_checking: false,
            is_check_outdated: false,
            next_check: None,
        };
        self.await_link_change(ctx);
        self.publish(&watch);
        self.begin_check(ctx, &mut watch);
        Ok(watch)
    }

    async fn handle(
        &self,
        ctx: &mut Ctx,
        message: AgentMessage,
        watch: &mut AgentWatch,
    ) -> Result<(), Failure> {
        match message {
            AgentMessage::Check => self.begin_check(ctx, watch),
            AgentMessage::TakeObservation(observation) => self.take_observation(ctx, watch, observation)?,
            AgentMessage::TakeState(read) => watch.take_state(ctx.now(), read),
            AgentMessage::MindLink => {
                self.await_link_change(ctx);
                watch.is_check_outdated = watch.is_checking;
                self.begin_check(ctx, watch);
            }
            AgentMessage::ExpectRestart(reply) => {
                watch.memory.is_restart_wanted = true;
                reply.send(());
            }
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            AgentMessage::Panic => panic!("asked to panic"),
        }
        self.publish(watch);
        Ok(())
    }

    fn snapshot(&self, watch: &AgentWatch) -> Option<AgentMemory> {
        Some(watch.memory.clone())
    }
}

impl AgentActor {
    /// Brings the agent back, unless it is well: then it was the actor that had crashed, or somebody was faster.
    async fn revive(&self, memory: &AgentMemory) -> Result<(), Failure> {
        match self.driver.check().await {
            Observation::Answered { reported: Reported::Healthy | Reported::Degraded, .. } => Ok(()),
            // Nobody is restarted while the backend is away; the checks go on and will tell.
            Observation::Unreachable { .. } => Ok(()),
            Observation::Answered { .. } | Observation::Missed { .. } => self.restart(memory).await,
        }
    }

    /// Restarts the agent and gives it its state back. A backend that went away is no failure of this agent's.
    async fn restart(&self, memory: &AgentMemory) -> Result<(), Failure> {
        let restarted = match self.driver.restart().await {
            Ok(()) => match &memory.kept {
                Some(kept) => self.driver.write_state(Value::clone(&kept.value)).await,
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        match restarted {
            Ok(()) | Err(DriverError::Unreachable(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts a check, unless one is in flight.
    fn begin_check(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if std::mem::replace(&mut watch.is_checking, true) {
            return;
        }
        if let Some(planned) = watch.next_check.take() {
            planned.abort();
        }
        let driver = Arc::clone(&self.driver);
        ctx.spawn(async move { AgentMessage::TakeObservation(driver.check().await) });
    }

    fn take_observation(
        &self,
        ctx: &mut Ctx,
        watch: &mut AgentWatch,
        observation: Observation,
    ) -> Result<(), Failure> {
        watch.is_checking = false;
        let observation = self.in_the_light_of_the_link(observation);
        watch.settle_candidate(&observation);
        let outcome = watch.health.observe(observation, ctx.now());
        if let Some(Change { from, to }) = outcome.change {
            let reason = watch.health.last_error().map(str::to_owned);
            ctx.record(&AgentHealth { from, to, misses: watch.health.misses(), reason });
        }
        if let Some(reason) = outcome.restart {
            self.publish(watch);
            return Err(reason.into());
        }
        if watch.health.status() == AgentStatus::Healthy && !watch.memory.has_no_state {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move { AgentMessage::TakeState(driver.read_state().await) });
        }
        if std::mem::take(&mut watch.is_check_outdated) {
            self.begin_check(ctx, watch);
        } else {
            watch.next_check = Some(ctx.send_after(self.health.interval, AgentMessage::Check));
        }
        Ok(())
    }

    /// A check that was missed while the link is down says nothing about the agent.
    fn in_the_light_of_the_link(&self, observation: Observation) -> Observation {
        match observation {
            Observation::Missed { why } if !*self.link_is_up.borrow() => Observation::Unreachable { why },
            other => other,
        }
    }

    fn await_link_change(&self, ctx: &mut Ctx) {
        let mut link_is_up = self.link_is_up.clone();
        link_is_up.mark_unchanged();
        ctx.spawn_maybe(async move {
            // The link's actor outlives its own restarts; an error says that the whole tree is going.
            link_is_up.changed().await.ok().map(|()| AgentMessage::MindLink)
        });
    }

    fn publish(&self, watch: &AgentWatch) {
        let health = &watch.health;
        self.board.publish(AgentReport {
            id: self.id.clone(),
            driver: self.driver.kind().to_owned(),
            status: health.status(),
            since: health.since(),
            misses: health.misses(),
            last_check: health.last_check(),
            last_error: health.last_error().map(str::to_owned),
            uptime_s: health.uptime_s(),
            error_count: health.error_count(),
            state_kept_at: watch.memory.kept.as_ref().map(|kept| kept.read_at),
        });
    }
}

impl AgentWatch {
    /// A state that was read between two checks is kept only if both found the same life of the agent well: one
    /// that had just crashed would give an empty state.
    fn settle_candidate(&mut self, observation: &Observation) {
        let Some((candidate, errors_then)) = self.candidate.take() else { return };
        let Observation::Answered { reported: Reported::Healthy, error_count, .. } = observation else {
            return;
        };
        if *error_count == errors_then {
            self.memory.kept = Some(candidate);
        }
    }

    fn take_state(&mut self, now: Duration, read: Result<AgentState, DriverError>) {
        match read {
            Ok(AgentState::Known(value)) => {
                let kept = KeptState { value: Arc::new(value), read_at: now };
                self.candidate = Some((kept, self.health.error_count()));
            }
            Ok(AgentState::Unsupported) => self.memory.has_no_state = true,
            // The next check will tell what is wrong; the last state stays.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
