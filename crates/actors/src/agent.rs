//! The agent actor: watches one agent, and has it restarted with the state that it had.
//!
//! - `health`: how checks add up, pure
//! - `revival`: how an agent is brought back, and what it is still owed
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
mod revival;

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
use revival::revive;
pub use revival::{AgentDebts, Revival};

use crate::error::Error;

/// An agent's status has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHealth {
    /// The status before.
    pub from: AgentStatus,
    /// The status after.
    pub to: AgentStatus,
    /// Checks missed in a row.
    pub misses: u32,
    /// What is wrong, if something is, for a person.
    pub reason: Option<String>,
    /// The same as an error.
    #[serde(default)]
    pub error: Option<Error>,
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
    /// The attempt to bring the agent back has ended.
    TakeRevival(Revival),
    /// The backend seems to have gone, or to be back.
    MindLink,
    /// Say when the agent has been brought back, or why it has not been so far.
    AwaitRevival(Reply<Result<(), DriverError>>),
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
            Self::TakeRevival(_) => "TakeRevival",
            Self::AwaitRevival(_) => "AwaitRevival",
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
    /// What the agent still has to get, whoever is there to see to it.
    pub debts: Arc<AgentDebts>,
    /// Whether the backend seems to be away. An agent that does not answer meanwhile is `unknown`.
    pub backend_seems_away: watch::Receiver<bool>,
    /// Where it publishes what it knows.
    pub board: AgentBoard,
}

/// What survives an incarnation.
#[derive(Debug, Clone, Default)]
pub struct AgentMemory {
    kept: Option<KeptState>,
    has_no_state: bool,
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
    /// Whether the agent has still to be looked after before it is merely checked.
    is_reviving: bool,
    waiting: Vec<Reply<Result<(), DriverError>>>,
    /// A check or an attempt to bring the agent back is in flight.
    is_busy: bool,
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
        let mut watch = AgentWatch {
            health: Health::new(self.health, ctx.now()),
            memory: kept.unwrap_or_default(),
            candidate: None,
            is_reviving: ctx.generation() > 1 || self.debts.any(),
            waiting: Vec::new(),
            is_busy: false,
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
            AgentMessage::TakeRevival(revival) => self.take_revival(ctx, watch, revival)?,
            AgentMessage::TakeState(read) => {
                watch.take_state(ctx.now(), read);
                // The first state is worth a check of its own; later ones wait for the next.
                if watch.memory.kept.is_none() && watch.candidate.is_some() {
                    self.begin_check(ctx, watch);
                }
            }
            AgentMessage::MindLink => {
                self.await_link_change(ctx);
                watch.is_check_outdated = watch.is_busy;
                self.begin_check(ctx, watch);
            }
            AgentMessage::AwaitRevival(reply) if watch.is_reviving => watch.waiting.push(reply),
            AgentMessage::AwaitRevival(reply) => reply.send(Ok(())),
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
    /// Starts a check, or an attempt to bring the agent back if that is still to be done, unless one is in flight.
    fn begin_check(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if std::mem::replace(&mut watch.is_busy, true) {
            return;
        }
        if let Some(planned) = watch.next_check.take() {
            planned.abort();
        }
        let driver = Arc::clone(&self.driver);
        if watch.is_reviving {
            let debts = Arc::clone(&self.debts);
            let kept = watch.memory.kept.as_ref().map(|kept| Arc::clone(&kept.value));
            ctx.spawn(async move { AgentMessage::TakeRevival(revive(&*driver, &debts, kept).await) });
        } else {
            ctx.spawn(async move { AgentMessage::TakeObservation(driver.check().await) });
        }
    }

    fn take_revival(&self, ctx: &mut Ctx, watch: &mut AgentWatch, revival: Revival) -> Result<(), Failure> {
        watch.is_busy = false;
        let error = match revival {
            Revival::Done => {
                watch.end_revival(&Ok(()));
                self.begin_check(ctx, watch);
                return Ok(());
            }
            Revival::Failed(DriverError::Failed(why)) if *self.backend_seems_away.borrow() => {
                DriverError::Unreachable(why)
            }
            Revival::Failed(error) => error,
        };
        for reply in watch.waiting.drain(..) {
            reply.send(Err(error.clone()));
        }
        match error {
            // Nobody is given up because the backend is away: it is tried again with the next check.
            DriverError::Unreachable(why) => {
                self.observe(ctx, watch, Observation::Unreachable { why })?;
                self.plan_check(ctx, watch);
                Ok(())
            }
            DriverError::Failed(why) => Err(why.for_log().into()),
        }
    }

    fn take_observation(
        &self,
        ctx: &mut Ctx,
        watch: &mut AgentWatch,
        observation: Observation,
    ) -> Result<(), Failure> {
        watch.is_busy = false;
        let observation = self.in_the_light_of_the_link(observation);
        watch.settle_candidate(&observation);
        self.observe(ctx, watch, observation)?;
        if watch.health.status() == AgentStatus::Healthy && !watch.is_reviving && !watch.memory.has_no_state {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move { AgentMessage::TakeState(driver.read_state().await) });
        }
        self.plan_check(ctx, watch);
        Ok(())
    }

    /// Takes in what a check brought, records a change, and fails where the agent is to be restarted.
    fn observe(&self, ctx: &Ctx, watch: &mut AgentWatch, observation: Observation) -> Result<(), Failure> {
        let outcome = watch.health.observe(observation, ctx.now());
        if let Some(Change { from, to }) = outcome.change {
            let error = watch.health.last_error().cloned();
            let reason = error.as_ref().map(|error| error.message.clone());
            ctx.record(&AgentHealth { from, to, misses: watch.health.misses(), reason, error });
        }
        if outcome.was_restarted_elsewhere && watch.memory.kept.is_some() {
            self.debts.owe_state();
            watch.candidate = None;
            watch.is_reviving = true;
            watch.is_check_outdated = true;
        }
        match outcome.restart {
            Some(reason) => {
                self.publish(watch);
                Err(reason.into())
            }
            None => Ok(()),
        }
    }

    fn plan_check(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if std::mem::take(&mut watch.is_check_outdated) {
            self.begin_check(ctx, watch);
        } else {
            watch.next_check = Some(ctx.send_after(self.health.interval, AgentMessage::Check));
        }
    }

    /// A check that was missed while the backend seems away says nothing about the agent.
    fn in_the_light_of_the_link(&self, observation: Observation) -> Observation {
        match observation {
            Observation::Missed { why } if *self.backend_seems_away.borrow() => {
                Observation::Unreachable { why }
            }
            other => other,
        }
    }

    fn await_link_change(&self, ctx: &mut Ctx) {
        let mut backend_seems_away = self.backend_seems_away.clone();
        backend_seems_away.mark_unchanged();
        ctx.spawn_maybe(async move {
            // The link's view outlives its actor; an error says that the whole tree is going.
            backend_seems_away.changed().await.ok().map(|()| AgentMessage::MindLink)
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
            last_error: health.last_error().cloned(),
            uptime_s: health.uptime_s(),
            error_count: health.error_count(),
            state_kept_at: watch.memory.kept.as_ref().map(|kept| kept.read_at),
        });
    }
}

impl AgentWatch {
    fn end_revival(&mut self, outcome: &Result<(), DriverError>) {
        self.is_reviving = false;
        for reply in self.waiting.drain(..) {
            reply.send(outcome.clone());
        }
    }

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
