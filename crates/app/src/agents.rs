//! The agents, as the embedder sees and controls them.
//!
//! - `view`: the view of one agent, from the reports of its actor and its supervisor
//! - `next_step`: an agent's next step as a sentence
//! - `outdated`: restarts the agents that name the address of an earlier start of the backend

pub(crate) mod events;
pub(crate) mod messages;
mod next_step;
pub(crate) mod outdated;
mod view;

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::agent::{AgentCommand, DriverError};
use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::AdminError;
use mainstay_runtime::journal::Record;

use crate::admin_error::AdminTarget::Agent;
use crate::config::{AgentConfig, AgentsConfig};
use crate::inner::Inner;
use crate::status::AgentView;
use crate::suggestion::unknown_name;
use crate::time_point::TimePoint;
use crate::tree_builder::agents::AgentHandle;
use view::view;

/// The longest wait for the restart of an agent before the caller gets a timeout.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for a restart with a login, which a person may have to complete.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(12 * 60);

/// The message for a person about a restart whose program needs the address of a backend that is not ready.
const AWAITS_BACKEND: &str =
    "The agent waits for the backend, and starts once that is ready. Look at its state.";

/// The number of events that an agent is shown with.
const LAST_EVENTS: usize = 5;

/// The agents of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Agents(pub(crate) Arc<Inner>);

impl Agents {
    /// Returns all agents, in the order in which they were added.
    #[must_use]
    pub fn list(&self) -> Vec<AgentView> {
        let time_point = self.0.time_point();
        let names = self.0.handles.agents.names();
        names.iter().filter_map(|id| self.view(&self.handle(id).ok()?, id, &time_point)).collect()
    }

    /// Returns the view of agent `id`.
    ///
    /// # Errors
    /// `agent_unknown` when there is none of that id.
    pub fn get(&self, id: &str) -> Result<AgentView, Error> {
        let handle = self.handle(id)?;
        let view = self.view(&handle, id, &self.0.time_point()).ok_or_else(|| self.unknown_error(id))?;
        let Some(log) = self.0.handles.logs.get(id) else { return Ok(view) };
        let (output, is_of_predecessor) = (log.excerpt(), log.is_of_predecessor());
        let output_is_old = !output.is_empty() && (view.report.process.is_none() || is_of_predecessor);
        Ok(AgentView { output, output_is_old, ..view })
    }

    /// Returns the agent's last events, at most five, oldest first. Those that are no longer in memory are left out.
    pub(crate) fn last_events(&self, id: &str) -> Vec<Record> {
        let path = self.0.handles.agents.path().and_then(|path| path.child(id).ok());
        path.map(|path| self.0.runtime.journal().last_events(&path, LAST_EVENTS)).unwrap_or_default()
    }

    /// Restarts the agent now, healthy or not, with its saved state, and returns when the restart is complete. It uses
    /// no budget.
    ///
    /// # Errors
    /// `agent_unknown`; `agent_failed` if the restart failed; `disconnected` if the backend is away, or the agent's program
    /// needs its address and it is not ready: the restart goes on when the backend is back.
    pub async fn restart(&self, id: &str) -> Result<(), Error> {
        let handle = self.handle(id)?;
        self.restart_within(id, &handle, RESTART_TIMEOUT).await
    }

    /// Restarts an ACP agent that needs a login, and logs in by a method that it offers, or by the only one for `None`.
    /// Returns when the agent has a session; a login may wait up to ten minutes for a person.
    ///
    /// # Errors
    /// As [`restart`](Self::restart); `invalid_request` if the agent does not offer that.
    pub async fn log_in(&self, id: &str, method: Option<String>) -> Result<(), Error> {
        let handle = self.handle(id)?;
        handle.driver.log_in_at_start(method)?;
        self.restart_within(id, &handle, LOGIN_TIMEOUT).await
    }

    async fn restart_within(&self, id: &str, handle: &AgentHandle, limit: Duration) -> Result<(), Error> {
        handle.pending_recovery.end_pauses();
        handle.pending_recovery.request_restart();
        self.0.handles.agents.restart(id).await.map_err(|error| self.command_error(&error))?;
        let recovered = tokio::select! {
            biased;
            () = handle.wait_for_absence() => return Err(Error::new(Reason::Disconnected).with_message(AWAITS_BACKEND)),
            recovered = handle.address.call_within(limit, AgentCommand::AwaitRecovery) => recovered,
        };
        match recovered {
            Ok(Ok(())) => Ok(()),
            Ok(Err(DriverError::Unreachable(why))) => Err(Error {
                status: why.status,
                ..Error::new(Reason::Disconnected).with_details(why.log_text())
            }),
            Ok(Err(DriverError::Failed(why))) => {
                let error = Error::new(Reason::AgentFailed).with_message(
                    "The agent could not be restarted. Look into its last error, then try again.",
                );
                Err(Error { status: why.status, ..error.with_details(why.log_text()) })
            }
            Ok(Err(DriverError::Unrecoverable(why))) => Err(why),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Stops the agent and its health checks. Idempotent.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub async fn stop(&self, id: &str) -> Result<(), Error> {
        self.0.handles.agents.stop(id).await.map_err(|error| self.command_error(&error))
    }

    /// Starts an agent that was stopped or has failed. Changes nothing for one that runs.
    ///
    /// # Errors
    /// `agent_unknown`, or `agent_failed` when it does not start.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        match self.0.handles.agents.start(id).await {
            Ok(()) | Err(AdminError::Running { .. }) => Ok(()),
            Err(error) => Err(self.command_error(&error)),
        }
    }

    /// Resets the agent's budget, and starts the agent if it had been given up.
    ///
    /// # Errors
    /// `agent_unknown`, or `agent_failed` when it does not start.
    pub async fn reset(&self, id: &str) -> Result<(), Error> {
        self.0.handles.agents.reset(id).await.map_err(|error| self.command_error(&error))
    }

    /// Adds an agent to those of the configuration, and starts it. The next run of the runtime does not know it. If the
    /// embedder adds it again, it begins from its saved state. [`AgentConfig::from_json`] with
    /// [`defaults`](Self::defaults) reads one as in an `[[agent]]` block.
    ///
    /// # Errors
    /// `conflict` if there is an agent of that id; `invalid_config` if its configuration is wrong; `stopped` if the runtime
    /// is stopping.
    pub async fn add(&self, config: &AgentConfig) -> Result<(), Error> {
        let handles = &self.0.handles;
        if handles.agent_handles.contains_key(&config.id) {
            return Err(Agent.exists_error().with_details(&format!("there is an agent {:?}", config.id)));
        }
        let (child, to_handle) = handles.factory.make(config, 1).map_err(|error| Error::from(&error))?;
        let address = handles.agents.add(child).await.map_err(|error| self.command_error(&error))?;
        handles.agent_handles.insert(config.id.clone(), to_handle(address));
        Ok(())
    }

    /// Stops an agent, and deletes it with its state.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        self.0.handles.agents.remove(id).await.map_err(|error| self.command_error(&error))?;
        if let Some((_, handle)) = self.0.handles.agent_handles.remove(id) {
            handle.updates.close();
        }
        self.0.handles.factory.remove(id);
        Ok(())
    }

    /// Returns the configuration's settings for agents that have none of their own.
    #[must_use]
    pub fn defaults(&self) -> &AgentsConfig {
        &self.0.handles.factory.defaults
    }

    pub(crate) fn handle(&self, id: &str) -> Result<AgentHandle, Error> {
        self.0
            .handles
            .agent_handles
            .get(id)
            .map(|handle| handle.clone())
            .ok_or_else(|| self.unknown_error(id))
    }

    /// Returns the view of an agent with a suspended process; `None` for any other.
    pub(crate) fn suspended(&self, id: &str) -> Option<AgentView> {
        // Most agents have none, and need no whole view.
        self.0
            .handles
            .reports
            .is_suspended(id)
            .then(|| self.get(id).ok())?
            .filter(|view| view.report.suspended)
    }

    fn view(&self, handle: &AgentHandle, id: &str, time_point: &TimePoint) -> Option<AgentView> {
        let mut report = self.0.handles.reports.get(id)?;
        // While the agent's actor is down, it does not notice that the process has ended.
        report.process = handle.driver.process();
        let noisy = self.0.handles.logs.get(id).is_some_and(|log| log.is_noisy());
        let awaits_backend = report.process.is_none() && handle.awaits_backend();
        let info = handle.address.info(time_point.now);
        let view = view(report, &info, &handle.restart_limits, awaits_backend, time_point);
        Some(AgentView { noisy, ..view })
    }

    fn command_error(&self, error: &AdminError) -> Error {
        match error {
            AdminError::NotFound { name } => self.unknown_error(name),
            error => Agent.admin_error(error),
        }
    }

    fn unknown_error(&self, id: &str) -> Error {
        let known = self.0.handles.agents.names();
        let details = unknown_name("agent", id, known.iter().map(String::as_str));
        Agent.not_found_error().with_details(&details)
    }
}
