//! What is known of the agents, for all to see without asking an actor.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::driver::ProcessUsage;
use super::health::AgentStatus;
use crate::error::Error;

/// What an agent's actor last said of it. While the actor itself is down, its supervisor knows more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The agent's id.
    pub id: String,
    /// How it is reached.
    pub driver: String,
    /// Its state.
    pub status: AgentStatus,
    /// Since when, counted from the start of the runtime.
    pub since: Duration,
    /// Checks missed in a row.
    pub misses: u32,
    /// When a check last ended.
    pub last_check: Option<Duration>,
    /// What is wrong, while something is. Boxed: mostly there is nothing.
    pub last_error: Option<Box<Error>>,
    /// Seconds since the agent was started, as it says.
    pub uptime_s: Option<f64>,
    /// The agent's errors so far, as it says.
    pub error_count: Option<u64>,
    /// When the state that would be given back was read; `None` while there is none.
    pub state_saved_at: Option<Timestamp>,
    /// Its process, if it has one of its own here.
    #[serde(default)]
    pub process: Option<ProcessUsage>,
    /// How many letters wait to be handed to it.
    #[serde(default)]
    pub messages_waiting: usize,
    /// How many letters it is at work on.
    #[serde(default)]
    pub messages_in_flight: usize,
}

/// The reports of all agents of one runtime. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AgentReports(Arc<DashMap<String, Box<AgentReport>>>);

impl AgentReports {
    /// Publishes a report in place of the agent's last one.
    pub fn publish(&self, report: AgentReport) {
        match self.0.get_mut(&report.id) {
            Some(mut known) => **known = report,
            None => drop(self.0.insert(report.id.clone(), Box::new(report))),
        }
    }

    /// Forgets agent `id`.
    pub fn remove(&self, id: &str) {
        self.0.remove(id);
    }

    /// The last report of agent `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<AgentReport> {
        self.0.get(id).map(|report| AgentReport::clone(&report))
    }
}
