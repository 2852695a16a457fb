//! The events about agents that this crate records.

use mainstay_runtime::journal::{Event, Level};
use serde::{Deserialize, Serialize};

/// The agent is restarted, which uses no budget, because its program names the address or the secret of an earlier start of
/// the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentOutdated {}

impl Event for AgentOutdated {
    const KIND: &'static str = "agent_outdated";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        "the backend has another address and secret since its last start, so the agent is restarted with them"
            .to_owned()
    }
}
