//! The driver for an agent that the runtime starts as a process and talks to in lines of JSON.
//!
//! - [`ProcessDriver`] is the driver.
//! - `instance` is one process, from its start to its end.
//! - `conversation` matches answers to messages; pure.
//! - `codec` encodes and parses lines; pure.
//! - `memory` watches its memory; `errors` are the errors of a process that is not there.
//!
//! docs/agents.md describes the lines in both directions.

mod instance;
mod codec;
pub(in crate::agent) mod memory;
mod conversation;
#[cfg(test)]
#[cfg(unix)]
mod tests;
pub(in crate::agent) mod errors;

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use self::instance::JsonlInstance;
use self::memory::wait_until_over_ceiling;
use self::errors::{not_running_error, start_error};
use crate::agent::activity::ActivityMeter;
use crate::agent::agent_message::AgentMessage;
use crate::agent::driver::{Activity, AgentState, Driver, DriverError, ProcessUsage};
use crate::agent::health::Observation;
use crate::agent::updates::UpdateBroadcast;
use crate::error::{Error, Secrets};
use crate::process::{Launch, ProcessManager};

/// The default interval of memory measurements.
const MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// The time within which an agent must have room for its restored state. It has to read the state, not to process it.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts an agent's process, talks to it, and ends it.
///
/// When the driver is dropped, the process is killed with all that it started.
pub struct ProcessDriver {
    launch: Launch,
    manager: ProcessManager,
    updates: UpdateBroadcast,
    meter: ActivityMeter,
    secrets: Secrets,
    memory_bytes_max: Option<u64>,
    memory_interval: Duration,
    /// Allows one restart at a time.
    restart_lock: tokio::sync::Mutex<()>,
    instance: Mutex<Option<Arc<JsonlInstance>>>,
}

impl ProcessDriver {
    /// Creates a driver that starts agents by `launch`; `manager` cleans up processes that would be left behind.
    #[must_use]
    pub fn new(launch: Launch, warden: ProcessManager) -> Self {
        Self {
            secrets: Secrets::default().with_environment(&launch.spec.env),
            launch,
            manager: warden,
            updates: UpdateBroadcast::default(),
            meter: ActivityMeter::default(),
            memory_bytes_max: None,
            memory_interval: MEMORY_INTERVAL,
            restart_lock: tokio::sync::Mutex::default(),
            instance: Mutex::default(),
        }
    }

    /// Publishes there what the agent says beside its answers.
    #[must_use]
    pub fn with_updates(mut self, feed: UpdateBroadcast) -> Self {
        self.updates = feed;
        self
    }

    /// Redacts these secrets from the agent's texts, beside those in the agent's own environment.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets.with_environment(&self.launch.spec.env);
        self
    }

    /// Restarts the agent when it and its descendants hold more memory than this, in bytes, at three measurements in
    /// a row.
    #[must_use]
    pub fn with_memory_ceiling(mut self, bytes_max: u64) -> Self {
        self.memory_bytes_max = Some(bytes_max);
        self
    }

    /// Measures the memory at this interval, in place of every 10 s.
    #[must_use]
    pub fn with_memory_interval(mut self, interval: Duration) -> Self {
        self.memory_interval = interval;
        self
    }

    fn instance(&self) -> Option<Arc<JsonlInstance>> {
        self.lock_instance().clone()
    }

    fn lock_instance(&self) -> MutexGuard<'_, Option<Arc<JsonlInstance>>> {
        self.instance.lock()
    }

    async fn observe(&self) -> Observation {
        match self.instance() {
            Some(life) => life.observe().await,
            None => Observation::Exited { why: not_running_error("its process does not run") },
        }
    }

    /// Resolves when the process has exited, or takes too much memory.
    async fn wait_for_exit(&self) -> Observation {
        let Some(life) = self.instance() else { return self.observe().await };
        let over = life.ended();
        // A weak reference, so that this does not keep the agent alive.
        let life = Arc::downgrade(&life);
        let memory = wait_until_over_ceiling(self.memory_bytes_max, self.memory_interval, || {
            let life = life.clone();
            async move { Some(life.upgrade()?.measure_memory().await) }
        });
        let memory = async {
            let why = memory.await;
            if let Some(life) = life.upgrade() {
                life.mark_for_kill(&why);
                // It must not grow until its restart is due.
                life.stop().await;
            }
            why
        };
        tokio::select! {
            () = over => self.observe().await,
            why = memory => Observation::Exited { why },
        }
    }

    async fn start(&self) -> Result<(), DriverError> {
        let _turn = self.restart_lock.lock().await;
        self.stop_current().await;
        let started =
            JsonlInstance::start(&self.launch, &self.manager, &self.updates, &self.meter, &self.secrets)
                .await;
        let life = Arc::new(
            started.map_err(|fault| DriverError::Failed(start_error(&fault).redacted(&self.secrets)))?,
        );
        *self.lock_instance() = Some(Arc::clone(&life));
        let ready = life.wait_ready(&self.launch).await;
        if ready.is_err() {
            self.stop_instance(&life).await;
        }
        ready.map_err(|fault| DriverError::Failed(start_error(&fault).redacted(&self.secrets)))
    }

    /// Stops the current instance. Returns the last state that it reported.
    async fn stop_current(&self) -> Option<Value> {
        let life = self.instance()?;
        self.stop_instance(&life).await;
        life.state()
    }

    async fn stop_instance(&self, life: &Arc<JsonlInstance>) {
        life.stop().await;
        // Another instance may have started meanwhile.
        self.lock_instance().take_if(|now| Arc::ptr_eq(now, life));
    }

    async fn restore(&self, state: Value) -> Result<(), DriverError> {
        let Some(life) = self.instance() else {
            return Err(DriverError::Failed(not_running_error("its process does not run")));
        };
        let restored = timeout(RESTORE_TIMEOUT, life.conversation().restore(&state)).await;
        restored
            .unwrap_or_else(|_| Err(not_running_error("its process does not read what it is given")))
            .map_err(DriverError::Failed)
    }

    async fn deliver_message(&self, letter: AgentMessage) -> Result<Value, Error> {
        // The whole time counts as work: an agent that does not read its input is stuck.
        let _at_work = self.meter.begin();
        let desk = self.instance().map(|life| life.conversation().clone());
        desk.ok_or_else(|| not_running_error("its process does not run"))?.deliver(letter).await
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

    fn wait_for_failure(&self) -> BoxFuture<'_, Observation> {
        self.wait_for_exit().boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.start().boxed()
    }

    fn stop(&self) -> BoxFuture<'_, Option<Value>> {
        self.stop_current().boxed()
    }

    fn abandon(&self) {
        if let Some(life) = self.lock_instance().take() {
            life.kill();
        }
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        let state = self.instance().and_then(|life| life.state());
        std::future::ready(Ok(state.map_or(AgentState::None, AgentState::Known))).boxed()
    }

    fn wait_for_state(&self) -> BoxFuture<'_, ()> {
        let said = self.instance().map(|life| life.wait_for_state());
        async move {
            match said {
                Some(said) => said.await,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        self.restore(state).boxed()
    }

    fn process(&self) -> Option<ProcessUsage> {
        self.instance()?.usage()
    }

    /// An agent that waits for a person's answer is not stuck.
    fn activity(&self) -> Activity {
        let activity = self.meter.activity();
        let asks = self.instance().is_some_and(|life| life.conversation().has_asks());
        if asks { Activity { progressed_at: Some(Instant::now()), ..activity } } else { activity }
    }

    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        self.meter.wait_for_work().boxed()
    }

    fn deliver(&self, letter: AgentMessage) -> BoxFuture<'_, Result<Value, Error>> {
        self.deliver_message(letter).boxed()
    }

    fn answer(&self, ask: &str, answer: Value) -> Result<(), Error> {
        let desk = self.instance().map(|life| life.conversation().clone());
        desk.ok_or_else(|| not_running_error("its process does not run"))?.answer(ask, &answer)?;
        // The agent is working again from now on.
        self.meter.note_progress();
        Ok(())
    }
}
