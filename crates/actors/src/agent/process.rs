//! An agent that is a process of the runtime's own, spoken to over its input and output in lines of JSON.
//!
//! - [`ProcessDriver`]: the driver
//! - `life`: one life of the process, from its start to its end
//! - `talk`: the conversation with it, pure
//! - `lines`: what is said, as lines, pure
//! - `memory`: when it takes too much of it; `words`: what is said of it when it is not there
//!
//! docs/agents.md says what an agent may say and is told.

mod life;
mod lines;
pub(super) mod memory;
mod talk;
#[cfg(test)]
#[cfg(unix)]
mod tests;
pub(super) mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use self::life::Life;
use self::memory::over_ceiling;
use self::words::{absent, not_started};
use super::activity::ActivityMeter;
use super::driver::{Activity, AgentState, Driver, DriverError, ProcessFacts};
use super::feed::AgentFeed;
use super::health::Observation;
use super::letter::Letter;
use crate::error::{Error, Secrets};
use crate::process::{Launch, Warden};

/// How often it is looked how much memory the process takes, where nothing else is said.
const MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// How long an agent may take to make room for what it is given back. It has to read it, not to do anything about it.
const RESTORED_WITHIN: Duration = Duration::from_secs(10);

/// Starts an agent's process, speaks to it, and ends it.
///
/// When this is dropped, the process is killed with all that it started.
pub struct ProcessDriver {
    launch: Launch,
    warden: Warden,
    feed: AgentFeed,
    meter: ActivityMeter,
    secrets: Secrets,
    memory_bytes_max: Option<u64>,
    memory_interval: Duration,
    /// One restart at a time.
    turn: tokio::sync::Mutex<()>,
    life: Mutex<Option<Arc<Life>>>,
}

impl ProcessDriver {
    /// An agent that is started like this, and whose processes `warden` keeps from being left behind.
    #[must_use]
    pub fn new(launch: Launch, warden: Warden) -> Self {
        Self {
            secrets: Secrets::default().with_environment(&launch.spec.env),
            launch,
            warden,
            feed: AgentFeed::default(),
            meter: ActivityMeter::default(),
            memory_bytes_max: None,
            memory_interval: MEMORY_INTERVAL,
            turn: tokio::sync::Mutex::default(),
            life: Mutex::default(),
        }
    }

    /// Publishes there what the agent says beside its answers.
    #[must_use]
    pub fn with_feed(mut self, feed: AgentFeed) -> Self {
        self.feed = feed;
        self
    }

    /// Cuts these out of what it tells of the agent's words, beside what is secret in the agent's own environment.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets.with_environment(&self.launch.spec.env);
        self
    }

    /// Has the agent restarted when it and what it started hold more memory than this, in bytes, three looks in a row.
    #[must_use]
    pub fn with_memory_ceiling(mut self, bytes_max: u64) -> Self {
        self.memory_bytes_max = Some(bytes_max);
        self
    }

    /// Looks at the memory that often, in place of every 10 s.
    #[must_use]
    pub fn with_memory_interval(mut self, interval: Duration) -> Self {
        self.memory_interval = interval;
        self
    }

    fn life(&self) -> Option<Arc<Life>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Life>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn observe(&self) -> Observation {
        match self.life() {
            Some(life) => life.observe().await,
            None => Observation::Gone { why: absent("its process does not run") },
        }
    }

    /// Resolves when the process has ended by itself, or takes too much memory.
    async fn mishap(&self) -> Observation {
        let Some(life) = self.life() else { return self.observe().await };
        let over = life.over();
        // Whoever ends the agent for good must not find it held up by this.
        let life = Arc::downgrade(&life);
        let memory = over_ceiling(self.memory_bytes_max, self.memory_interval, || {
            let life = life.clone();
            async move { Some(life.upgrade()?.look_at_memory().await) }
        });
        let memory = async {
            let why = memory.await;
            if let Some(life) = life.upgrade() {
                life.condemn(&why);
                // It is not to grow until its restart is due.
                life.stop().await;
            }
            why
        };
        tokio::select! {
            () = over => self.observe().await,
            why = memory => Observation::Gone { why },
        }
    }

    async fn start_anew(&self) -> Result<(), DriverError> {
        let _turn = self.turn.lock().await;
        self.end().await;
        let started = Life::begin(&self.launch, &self.warden, &self.feed, &self.meter, &self.secrets).await;
        let life = Arc::new(
            started.map_err(|fault| DriverError::Failed(not_started(&fault).without(&self.secrets)))?,
        );
        *self.slot() = Some(Arc::clone(&life));
        let ready = life.ready(&self.launch).await;
        if ready.is_err() {
            self.end_this(&life).await;
        }
        ready.map_err(|fault| DriverError::Failed(not_started(&fault).without(&self.secrets)))
    }

    /// Gives the state that it said last.
    async fn end(&self) -> Option<Value> {
        let life = self.life()?;
        self.end_this(&life).await;
        life.state()
    }

    async fn end_this(&self, life: &Arc<Life>) {
        life.stop().await;
        // Another may have been started meanwhile.
        self.slot().take_if(|now| Arc::ptr_eq(now, life));
    }

    async fn give_back(&self, state: Value) -> Result<(), DriverError> {
        let Some(life) = self.life() else {
            return Err(DriverError::Failed(absent("its process does not run")));
        };
        let restored = timeout(RESTORED_WITHIN, life.desk().restore(&state)).await;
        restored
            .unwrap_or_else(|_| Err(absent("its process does not read what it is given")))
            .map_err(DriverError::Failed)
    }

    async fn hand_over(&self, letter: Letter) -> Result<Value, Error> {
        // The whole time counts: one that does not read what it is given hangs.
        let _at_work = self.meter.begin();
        let desk = self.life().map(|life| life.desk().clone());
        desk.ok_or_else(|| absent("its process does not run"))?.deliver(letter).await
    }
}

impl Driver for ProcessDriver {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn owns_agent(&self) -> bool {
        true
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        self.observe().boxed()
    }

    fn incident(&self) -> BoxFuture<'_, Observation> {
        self.mishap().boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.start_anew().boxed()
    }

    fn stop(&self) -> BoxFuture<'_, Option<Value>> {
        self.end().boxed()
    }

    fn abandon(&self) {
        if let Some(life) = self.slot().take() {
            life.kill();
        }
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        let state = self.life().and_then(|life| life.state());
        std::future::ready(Ok(state.map_or(AgentState::None, AgentState::Known))).boxed()
    }

    fn state_said(&self) -> BoxFuture<'_, ()> {
        let said = self.life().map(|life| life.state_said());
        async move {
            match said {
                Some(said) => said.await,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        self.give_back(state).boxed()
    }

    fn process(&self) -> Option<ProcessFacts> {
        self.life()?.facts()
    }

    /// One that waits for a person's answer does not hang.
    fn activity(&self) -> Activity {
        let activity = self.meter.activity();
        let asks = self.life().is_some_and(|life| life.desk().has_asks());
        if asks { Activity { progressed_at: Some(Instant::now()), ..activity } } else { activity }
    }

    fn work_begun(&self) -> BoxFuture<'_, ()> {
        self.meter.begun().boxed()
    }

    fn deliver(&self, letter: Letter) -> BoxFuture<'_, Result<Value, Error>> {
        self.hand_over(letter).boxed()
    }

    fn answer(&self, ask: &str, answer: Value) -> Result<(), Error> {
        let desk = self.life().map(|life| life.desk().clone());
        desk.ok_or_else(|| absent("its process does not run"))?.answer(ask, &answer)?;
        // From now on it is the agent again that is waited for.
        self.meter.progress();
        Ok(())
    }
}
