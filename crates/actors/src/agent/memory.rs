//! What is remembered of an agent across the incarnations of its actor and the runs of the runtime.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::state::Durable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mail::Mail;

/// How far the start of an agent, reckoned from its uptime and the wall clock, may differ from one run of the runtime to
/// the next, before it says that the agent was started anew: clocks are set.
const BIRTH_SLACK: SignedDuration = SignedDuration::from_secs(60);

/// See the module's documentation. Kept twice for each agent, so what is seldom there is boxed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AgentMemory {
    /// The state that the agent is given back.
    pub(super) kept: Option<KeptState>,
    /// One that the agent ended over, time and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) set_aside: Option<Box<KeptState>>,
    /// Found out anew by each process: another version of the backend may have states.
    #[serde(skip)]
    pub(super) has_no_state: bool,
    /// When the agent was started, as it says itself.
    pub(super) born_at: Option<Timestamp>,
    /// How its conversation is taken up again.
    pub(super) session: Option<Box<Value>>,
    /// The letters that have no answer yet.
    pub(super) mail: Mail,
}

/// A state that was read from the agent while it was well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptState {
    /// As JSON: there may be many, and mostly they only lie there.
    json: Arc<str>,
    pub(super) read_at: Timestamp,
}

impl KeptState {
    pub(super) fn new(value: &Value, read_at: Timestamp) -> Self {
        Self { json: value.to_string().into(), read_at }
    }

    pub(super) fn json(&self) -> &Arc<str> {
        &self.json
    }

    /// The same state in the same memory, read once more.
    pub(super) fn read_again(&self, read_at: Timestamp) -> Self {
        Self { json: Arc::clone(&self.json), read_at }
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Durable for AgentMemory {
    const VERSION: u32 = 1;
}

impl AgentMemory {
    /// Takes in the agent's uptime, and says whether it is another start of the agent than the remembered one.
    pub(super) fn note_uptime(&mut self, uptime_s: Option<f64>, wall: Timestamp) -> bool {
        let Some(age) = uptime_s.and_then(|age| SignedDuration::try_from_secs_f64(age).ok()) else {
            return false;
        };
        let Ok(born_at) = wall.checked_sub(age) else { return false };
        match self.born_at {
            Some(before) if born_at.duration_since(before).abs() <= BIRTH_SLACK => false,
            before => {
                self.born_at = Some(born_at);
                before.is_some_and(|before| born_at > before)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_younger_than_it_could_be_was_started_anew_and_a_clock_that_is_set_a_little_says_nothing()
     {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let mut memory = AgentMemory::default();
        assert!(!memory.note_uptime(Some(10.0), at(10)), "nothing is known of an earlier start");
        assert!(!memory.note_uptime(Some(100.0), at(100)));
        assert!(!memory.note_uptime(Some(200.0), at(250)));
        assert!(!memory.note_uptime(None, at(1000)));
        assert!(memory.note_uptime(Some(5.0), at(1000)));
        assert!(!memory.note_uptime(Some(15.0), at(1010)));
        // Older than it was: a clock was set, and nothing is lost.
        assert!(!memory.note_uptime(Some(9000.0), at(1020)));
        for odd in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
            assert!(!memory.note_uptime(Some(odd), at(1030)), "{odd}");
        }
    }
}
