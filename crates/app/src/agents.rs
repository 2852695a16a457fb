//! The agents, as the embedder sees and steers them.
//!
//! - `view`: one agent as it is shown, from what its actor and its supervisor know
//! - `next_step`: what happens to it next, in plain words

pub(crate) mod messages;
mod next_step;
mod view;

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::agent::{AgentCommand, AgentStatus, DriverError};
use mainstay_actors::error::{Error, Reason, of_call};
use mainstay_runtime::AdminError;
use mainstay_runtime::journal::{Event, Level, word};
use serde::{Deserialize, Serialize};

use crate::config::{AgentConfig, AgentsConfig};
use crate::inner::Inner;
use crate::status::AgentView;
use crate::time_point::TimePoint;
use crate::tree_builder::agents::AgentHandle;
use view::view;

/// How long the restart of an agent may take before its caller is told that it is not over yet.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// How many agents an error names.
const KNOWN_LISTED_MAX: usize = 20;

/// A command has reset an agent's restart budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReset {
    /// The agent's status before.
    pub from: AgentStatus,
}

impl Event for AgentReset {
    const KIND: &'static str = "agent_reset";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        format!("a command has reset the restart budget of the agent, which was {}", word(&self.from))
    }
}

/// The agents of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Agents(pub(crate) Arc<Inner>);

impl Agents {
    /// All agents, in the order in which they were added.
    #[must_use]
    pub fn list(&self) -> Vec<AgentView> {
        let moment = self.0.time_point();
        let names = self.0.handles.agents.names();
        names.iter().filter_map(|id| self.view(&self.handle(id).ok()?, id, moment)).collect()
    }

    /// The agent `id`. Looks at no other.
    ///
    /// # Errors
    /// `agent_unknown` when there is none of that id.
    pub fn get(&self, id: &str) -> Result<AgentView, Error> {
        let line = self.handle(id)?;
        self.view(&line, id, self.0.time_point()).ok_or_else(|| self.unknown_error(id))
    }

    /// Restarts the agent now, well or not, with the state that it has; its budget stays as it is. Returns when it has
    /// been restarted.
    ///
    /// # Errors
    /// `agent_unknown`; `agent_failed` when the restart failed; `disconnected` when the backend is away: the agent is
    /// restarted as soon as it is back.
    pub async fn restart(&self, id: &str) -> Result<(), Error> {
        let line = self.handle(id)?;
        line.pending_recovery.request_restart();
        self.0.handles.agents.restart(id).await.map_err(|error| self.admin_error(&error))?;
        match line.address.call_within(RESTART_TIMEOUT, AgentCommand::AwaitRecovery).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(DriverError::Unreachable(why))) => Err(Error {
                status: why.status,
                ..Error::new(Reason::Disconnected).with_details(why.log_text())
            }),
            Ok(Err(DriverError::Failed(why))) => {
                let error = start_failed_error(
                    "The agent could not be restarted. Look into its last error, then try again.",
                );
                Err(Error { status: why.status, ..error.with_details(why.log_text()) })
            }
            Err(error) => Err(of_call(error)),
        }
    }

    /// Stops watching the agent. Idempotent.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub async fn stop(&self, id: &str) -> Result<(), Error> {
        self.0.handles.agents.stop(id).await.map_err(|error| self.admin_error(&error))
    }

    /// Starts an agent that was stopped or has failed. One that runs is left alone.
    ///
    /// # Errors
    /// `agent_unknown`, or `agent_failed` when it does not start.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        match self.0.handles.agents.start(id).await {
            Ok(()) | Err(AdminError::Running { .. }) => Ok(()),
            Err(error) => Err(self.admin_error(&error)),
        }
    }

    /// Gives the agent its whole budget back, and starts it if it had been given up.
    ///
    /// # Errors
    /// `agent_unknown`, or `agent_failed` when it does not start.
    pub async fn reset(&self, id: &str) -> Result<(), Error> {
        let before = self.get(id)?;
        if let Some(path) = self.0.handles.agents.path().and_then(|path| path.child(id).ok()) {
            self.0.runtime.journal().record(&path, before.generation, &AgentReset { from: before.status });
        }
        self.0.handles.agents.reset(id).await.map_err(|error| self.admin_error(&error))
    }

    /// Takes in one more agent and starts it, beside those of the configuration. It is forgotten when the runtime ends:
    /// whoever wants it again adds it again, and it goes on with what it is remembered by. [`AgentConfig::from_json`] with
    /// [`usual`](Self::usual) reads one as in an `[[agent]]` block.
    ///
    /// # Errors
    /// `conflict` when there is an agent of that id; `invalid_config` when it cannot be as it is described; `stopped` when
    /// the runtime is stopping.
    pub async fn add(&self, config: &AgentConfig) -> Result<(), Error> {
        let members = &self.0.handles;
        if members.agent_handles.contains_key(&config.id) {
            return Err(self.already_exists_error(&config.id));
        }
        let draft = members.factory.make(config, 1).map_err(|error| Error::from(&error))?;
        let (child, line) = draft.split();
        let address = members.agents.add(child).await.map_err(|error| match error {
            AdminError::AlreadyRunning { .. } | AdminError::AlreadyPresent { .. } => {
                self.already_exists_error(&config.id)
            }
            AdminError::Spec(error) => Error::new(Reason::InvalidConfig).with_details(&error.to_string()),
            error => self.admin_error(&error),
        })?;
        members.agent_handles.insert(config.id.clone(), line(address));
        Ok(())
    }

    /// Stops an agent and forgets it, with its state.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        self.0.handles.agents.remove(id).await.map_err(|error| self.admin_error(&error))?;
        self.0.handles.agent_handles.remove(id);
        self.0.handles.factory.remove(id);
        Ok(())
    }

    /// What the configuration says for an agent that does not say otherwise itself.
    #[must_use]
    pub fn defaults(&self) -> &AgentsConfig {
        &self.0.handles.factory.defaults
    }

    fn already_exists_error(&self, id: &str) -> Error {
        Error::new(Reason::Conflict)
            .with_message("There is an agent of that name already. Choose another, or remove that one first.")
            .with_details(&format!("there is an agent {id:?}"))
    }

    pub(crate) fn handle(&self, id: &str) -> Result<AgentHandle, Error> {
        self.0.handles.agent_handles.get(id).map(|line| line.clone()).ok_or_else(|| self.unknown_error(id))
    }

    fn view(&self, line: &AgentHandle, id: &str, moment: TimePoint) -> Option<AgentView> {
        let mut report = self.0.handles.reports.get(id)?;
        // The actor does not see its end while it is down itself.
        report.process = line.driver.process();
        Some(view(report, &line.address.info(moment.now), &line.restart_limits, moment))
    }

    fn unknown_error(&self, id: &str) -> Error {
        let mut known = self.0.handles.agents.names();
        let untold = known.len().saturating_sub(KNOWN_LISTED_MAX);
        known.truncate(KNOWN_LISTED_MAX);
        let more = if untold == 0 { String::new() } else { format!(" and {untold} more") };
        let details = format!("there is no agent {id:?}; known are: {}{more}", known.join(", "));
        Error::new(Reason::AgentUnknown).with_details(&details)
    }

    fn admin_error(&self, error: &AdminError) -> Error {
        match error {
            AdminError::NotFound { name } => self.unknown_error(name),
            AdminError::StartFailed { .. } => start_failed_error(
                "The agent could not be started. Look into its last error, then try again.",
            )
            .with_details(&error.to_string()),
            AdminError::Unavailable(call) => of_call(*call),
            AdminError::Running { .. } | AdminError::Restarting { .. } | AdminError::Superseded { .. } => {
                Error::new(Reason::Conflict)
                    .with_message(
                        "The agent is being started or stopped just now. Wait for that, then try again.",
                    )
                    .with_details(&error.to_string())
            }
            // Whoever adds an agent has told these apart already.
            AdminError::AlreadyRunning { .. } | AdminError::AlreadyPresent { .. } | AdminError::Spec(_) => {
                Error::new(Reason::Internal).with_details(&error.to_string())
            }
        }
    }
}

fn start_failed_error(message: &str) -> Error {
    Error::new(Reason::AgentFailed).with_message(message)
}
