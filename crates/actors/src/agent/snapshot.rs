//! What is remembered of an agent across the incarnations of its actor and the runs of the runtime.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::state::Durable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message_queue::MessageQueue;

/// How far the start of an agent, reckoned from its uptime and the wall clock, may differ from one run of the runtime to
/// the next, before it says that the agent was started anew: clocks are set.
const START_TIME_SLACK: SignedDuration = SignedDuration::from_secs(60);

/// See the module's documentation. Kept twice for each agent, so what is seldom there is boxed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AgentSnapshot {
    /// The state that the agent is given back.
    pub(super) saved_state: Option<SavedState>,
    /// One that the agent ended over, time and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quarantined: Option<Box<SavedState>>,
    /// Found out anew by each process: another version of the backend may have states.
    #[serde(skip)]
    pub(super) is_state_unsupported: bool,
    /// When the agent was started, as it says itself.
    pub(super) started_at: Option<Timestamp>,
    /// How its conversation is taken up again.
    pub(super) session: Option<Box<Value>>,
    /// The letters that have no answer yet.
    pub(super) messages: MessageQueue,
}

/// A state that was read from the agent while it was well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SavedState {
    /// As JSON: there may be many, and mostly they only lie there.
    json: Arc<str>,
    pub(super) read_at: Timestamp,
}

impl SavedState {
    pub(super) fn new(value: &Value, read_at: Timestamp) -> Self {
        Self { json: value.to_string().into(), read_at }
    }

    pub(super) fn json(&self) -> &Arc<str> {
        &self.json
    }

    /// The same state in the same memory, read once more.
    pub(super) fn with_read_at(&self, read_at: Timestamp) -> Self {
        Self { json: Arc::clone(&self.json), read_at }
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Durable for AgentSnapshot {
    const VERSION: u32 = 1;
}

impl AgentSnapshot {
    /// Takes in the agent's uptime, and says whether it is another start of the agent than the remembered one.
    pub(super) fn record_uptime(&mut self, uptime_s: Option<f64>, wall: Timestamp) -> bool {
        let Some(age) = uptime_s.and_then(|age| SignedDuration::try_from_secs_f64(age).ok()) else {
            return false;
        };
        let Ok(born_at) = wall.checked_sub(age) else { return false };
        match self.started_at {
            Some(before) if born_at.duration_since(before).abs() <= START_TIME_SLACK => false,
            before => {
                self.started_at = Some(born_at);
                before.is_some_and(|before| born_at > before)
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
        let mut memory = AgentSnapshot::default();
        assert!(!memory.record_uptime(Some(10.0), at(10)), "nothing is known of an earlier start");
        assert!(!memory.record_uptime(Some(100.0), at(100)));
        assert!(!memory.record_uptime(Some(200.0), at(250)));
        assert!(!memory.record_uptime(None, at(1000)));
        assert!(memory.record_uptime(Some(5.0), at(1000)));
        assert!(!memory.record_uptime(Some(15.0), at(1010)));
        // Older than it was: a clock was set, and nothing is lost.
        assert!(!memory.record_uptime(Some(9000.0), at(1020)));
        for odd in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
            assert!(!memory.record_uptime(Some(odd), at(1030)), "{odd}");
        }
    }
}
