//! The state of an agent's actor that outlives its incarnations and the runtime's runs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::state::Durable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message_queue::MessageQueue;
use crate::json::Json;

/// The most by which an agent's start time, computed from uptime and wall clock, may differ between two runs before
/// it indicates a restart: clocks are adjusted.
const START_TIME_SLACK: SignedDuration = SignedDuration::from_secs(60);

/// The snapshot of one agent. Each agent holds it twice, so its rare parts are boxed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AgentSnapshot {
    /// The state to restore.
    pub(super) saved_state: Option<SavedState>,
    /// A state over which the agent ended repeatedly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quarantined: Option<Box<SavedState>>,
    /// Determined by each process: another version of the backend may support states.
    #[serde(skip)]
    pub(super) is_state_unsupported: bool,
    /// The agent's start time, as it reports.
    pub(super) started_at: Option<Timestamp>,
    /// The data with which its session resumes.
    pub(super) session: Option<Box<Value>>,
    /// The messages without an answer.
    pub(super) messages: MessageQueue,
}

/// A state that was read from a healthy agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SavedState {
    /// The text as the agent wrote it.
    json: Arc<str>,
    pub(super) read_at: Timestamp,
}

impl SavedState {
    pub(super) fn new(state: &Json, read_at: Timestamp) -> Self {
        Self { json: state.as_str().into(), read_at }
    }

    pub(super) fn json(&self) -> &Arc<str> {
        &self.json
    }

    /// Returns the same state in the same memory, with a new time.
    pub(super) fn with_read_at(&self, read_at: Timestamp) -> Self {
        Self { json: Arc::clone(&self.json), read_at }
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Durable for AgentSnapshot {
    /// Version 2 renames the fields of version 1, which no release has written. A store of version 1 starts empty.
    const VERSION: u32 = 2;
}

impl AgentSnapshot {
    /// Returns whether it holds anything that a restart would restore.
    pub(super) fn is_worth_restoring(&self) -> bool {
        let messages = self.messages.waiting_count() + self.messages.in_flight_count();
        self.saved_state.is_some() || self.session.is_some() || messages > 0
    }

    /// Records the agent's uptime. Returns whether the agent was restarted since the recorded start.
    pub(super) fn record_uptime(&mut self, uptime_s: Option<f64>, wall: Timestamp) -> bool {
        let Some(age) = uptime_s.and_then(|age| SignedDuration::try_from_secs_f64(age).ok()) else {
            return false;
        };
        let Ok(started_at_now) = wall.checked_sub(age) else { return false };
        match self.started_at {
            Some(before) if started_at_now.duration_since(before).abs() <= START_TIME_SLACK => false,
            before => {
                self.started_at = Some(started_at_now);
                before.is_some_and(|before| started_at_now > before)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_uptime_detects_restart_beyond_clock_slack() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let mut snapshot = AgentSnapshot::default();
        assert!(!snapshot.record_uptime(Some(10.0), at(10)), "nothing is known of an earlier start");
        assert!(!snapshot.record_uptime(Some(100.0), at(100)));
        assert!(!snapshot.record_uptime(Some(200.0), at(250)));
        assert!(!snapshot.record_uptime(None, at(1000)));
        assert!(snapshot.record_uptime(Some(5.0), at(1000)));
        assert!(!snapshot.record_uptime(Some(15.0), at(1010)));
        // A greater uptime than expected: a clock was adjusted, and nothing is lost.
        assert!(!snapshot.record_uptime(Some(9000.0), at(1020)));
        for odd in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
            assert!(!snapshot.record_uptime(Some(odd), at(1030)), "{odd}");
        }
    }
}
