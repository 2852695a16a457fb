//! The latest reports of the agents, readable without a message to an actor.

use std::sync::Arc;

use dashmap::DashMap;
use mainstay_runtime::clock::WallTime;
use serde::{Deserialize, Serialize};

use super::agent_message::MessageId;
use super::driver::ProcessUsage;
use super::health::AgentStatus;
use crate::error::Error;
use crate::json::Json;

/// The report of an agent, as its actor last published it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentReport {
    /// The agent's id.
    pub id: String,
    /// The name of its driver.
    pub driver: String,
    /// The agent's status.
    pub status: AgentStatus,
    /// The time since which it has that status.
    pub since: WallTime,
    /// The checks missed in a row.
    pub misses: u32,
    /// The time of the last check's end.
    pub last_check: Option<WallTime>,
    /// The current error. Boxed, since mostly there is none.
    #[serde(default)]
    pub error: Option<Box<Error>>,
    /// The seconds since the agent's start, as it reports.
    pub uptime_s: Option<f64>,
    /// The number of its errors, as it reports.
    pub error_count: Option<u64>,
    /// The time at which the saved state was read, which a restart restores; `None` without one.
    pub state_saved_at: Option<WallTime>,
    /// The agent's process here, if it has one.
    #[serde(default)]
    pub process: Option<ProcessUsage>,
    /// True if a signal or a debugger kept that process stopped at the last check.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The number of messages that wait for their delivery.
    #[serde(default)]
    pub messages_waiting: usize,
    /// The number of messages that it is working on.
    #[serde(default)]
    pub messages_in_flight: usize,
    /// The questions that wait for an answer, oldest first. While there is one, the agent never counts as stuck.
    #[serde(default)]
    pub questions: Vec<OpenQuestion>,
}

/// A question of an agent that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct OpenQuestion {
    /// The question's name.
    pub ask: String,
    /// The message that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub message_id: Option<MessageId>,
    /// The time since which it is open.
    pub since: WallTime,
    /// The question as the agent wrote it; of one of more than 64 KiB, a text with its start.
    pub body: Json,
}

/// The reports of all agents of one runtime. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AgentReports(Arc<DashMap<String, Box<AgentReport>>>);

impl AgentReports {
    /// Publishes a report in place of the agent's last one.
    pub(crate) fn publish(&self, report: AgentReport) {
        match self.0.get_mut(&report.id) {
            Some(mut known) => **known = report,
            None => drop(self.0.insert(report.id.clone(), Box::new(report))),
        }
    }

    /// Removes agent `id`.
    pub fn remove(&self, id: &str) {
        self.0.remove(id);
    }

    /// Returns whether agent `id` has a suspended process, by its last report.
    #[must_use]
    pub fn is_suspended(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|report| report.suspended)
    }

    /// Returns the last report of agent `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<AgentReport> {
        self.0.get(id).map(|report| AgentReport::clone(&report))
    }
}
