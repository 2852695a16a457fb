//! The driver for an agent that the runtime starts as a process and talks to in lines of JSON.
//!
//! - [`ProcessDriver`] is the driver.
//! - `instance` is one process, from its start to its end.
//! - `conversation` matches answers to messages; pure.
//! - `codec` encodes and parses lines; pure.
//!
//! docs/agent-drivers.md describes the lines in both directions.

mod codec;
mod conversation;
mod instance;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use self::instance::JsonlInstance;
use crate::agent::activity::ActivityMeter;
use crate::agent::agent_message::AgentMessage;
use crate::agent::driver::process::errors::{not_running_error, start_error};
use crate::agent::driver::process::{Instance, ProcessHost, ProcessSetup};
use crate::agent::driver::{Activity, AgentState, Driver, DriverError, ProcessUsage, StopReport};
use crate::agent::health::Observation;
use crate::agent::updates::UpdateBroadcast;
use crate::error::Error;
use crate::json::Json;

/// The time within which an agent must have room for its restored state. It has to read the state, not to process it.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts an agent's process, talks to it, and ends it.
///
/// When the driver is dropped, the process is killed with all that it started.
pub struct ProcessDriver {
    host: ProcessHost<JsonlInstance>,
    meter: ActivityMeter,
}

impl ProcessDriver {
    /// Creates a driver that starts agents as `setup` says.
    #[must_use]
    pub fn new(setup: ProcessSetup) -> Self {
        Self { host: ProcessHost::new(setup), meter: ActivityMeter::default() }
    }

    async fn start(&self) -> Result<(), DriverError> {
        let setup = &self.host.setup;
        let ready = |instance: Arc<JsonlInstance>| async move {
            instance.wait_ready(&setup.launch).await.map_err(|error| start_error(&error))
        };
        self.host.restart(JsonlInstance::start(setup, &self.meter), ready).await
    }

    async fn restore(&self, state: Json) -> Result<(), DriverError> {
        let instance = self.host.running_instance().map_err(DriverError::Failed)?;
        let restored = timeout(RESTORE_TIMEOUT, instance.conversation().restore(&state)).await;
        restored
            .unwrap_or_else(|_| Err(not_running_error("its process does not read what it is given")))
            .map_err(DriverError::Failed)
    }

    async fn deliver_message(&self, message: AgentMessage) -> Result<Json, Error> {
        // The whole time counts as work: an agent that does not read its input is stuck.
        let _at_work = self.meter.begin();
        // The process must not live longer for the sake of a delivery.
        let conversation = self.host.running_instance()?.conversation().clone();
        conversation.deliver(message).await
    }
}

impl Driver for ProcessDriver {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn owns_agent(&self) -> bool {
        true
    }

    fn asks_backend(&self) -> bool {
        self.host.asks_backend()
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        self.host.observe().boxed()
    }

    fn wait_for_failure(&self) -> BoxFuture<'_, Observation> {
        self.host.wait_for_failure().boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.start().boxed()
    }

    fn stop(&self) -> BoxFuture<'_, StopReport> {
        async {
            let Some(instance) = self.host.stop().await else { return StopReport::default() };
            StopReport { state: instance.state(), killed: instance.managed().killed() }
        }
        .boxed()
    }

    fn ask_to_end(&self) {
        self.host.ask_to_end();
    }

    fn abandon(&self) {
        self.host.kill();
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        let state = self.host.instance().and_then(|instance| instance.state());
        std::future::ready(Ok(state.map_or(AgentState::None, AgentState::Known))).boxed()
    }

    fn wait_for_state(&self) -> BoxFuture<'_, ()> {
        let reported = self.host.instance().map(|instance| instance.wait_for_state());
        async move {
            match reported {
                Some(reported) => reported.await,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn write_state(&self, state: Json) -> BoxFuture<'_, Result<(), DriverError>> {
        self.restore(state).boxed()
    }

    fn is_unrunnable(&self) -> bool {
        self.host.is_unrunnable()
    }

    fn note_generation(&self, generation: u64) {
        self.host.setup.launch.spec.log.set_generation(generation);
    }

    fn process(&self) -> Option<ProcessUsage> {
        self.host.usage()
    }

    fn is_suspended(&self) -> BoxFuture<'_, bool> {
        self.host.is_suspended().boxed()
    }

    fn activity(&self) -> Activity {
        self.meter.activity().while_asking(self.host.setup.updates.has_questions())
    }

    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        self.meter.wait_for_work().boxed()
    }

    fn updates(&self) -> Option<&UpdateBroadcast> {
        Some(&self.host.setup.updates)
    }

    fn redact(&self, text: &str) -> String {
        self.host.secrets.redact(text).into_owned()
    }

    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Json, Error>> {
        self.deliver_message(message).boxed()
    }

    fn answer(&self, ask: &str, answer: Json) -> Result<(), Error> {
        self.host.running_instance()?.conversation().answer(ask, &answer)?;
        // The agent is working again from now on.
        self.meter.note_progress();
        Ok(())
    }
}
