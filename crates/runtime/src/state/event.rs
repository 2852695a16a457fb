//! The events of stored states.

use serde::{Deserialize, Serialize};

use crate::journal::{Event, FaultPhase, Level};

/// An actor begins from a stored checkpoint. An agent's own state is only a part of it, if the agent has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StateLoaded {
    /// The version of its schema, as it was stored.
    pub version: u32,
    /// The size of the encoded state, in bytes.
    pub bytes: usize,
}

impl Event for StateLoaded {
    const KIND: &'static str = "state_loaded";

    fn describe(&self) -> String {
        format!("begins from its stored checkpoint of version {} ({} bytes)", self.version, self.bytes)
    }
}

/// A stored state of an older version was migrated to the current version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StateMigrated {
    /// The stored version.
    pub from: u32,
    /// The version that the actor knows.
    pub to: u32,
}

impl Event for StateMigrated {
    const KIND: &'static str = "state_migrated";

    fn describe(&self) -> String {
        format!("the stored state is migrated from version {} to version {}", self.from, self.to)
    }
}

/// A stored state cannot be used. It is quarantined, and the actor starts fresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StateRefused {
    /// The stored version, if that much can be read.
    pub version: Option<u32>,
    /// The version that the actor knows.
    pub expected: u32,
    /// The reason, for a person.
    pub message: String,
}

impl Event for StateRefused {
    const KIND: &'static str = "state_refused";
    const LEVEL: Level = Level::Error;

    fn describe(&self) -> String {
        format!("the stored state is quarantined, and the actor starts fresh: {}", self.message)
    }
}

/// States are not being saved, or are saved again. The store records it, under an actor's path if it concerns one actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StateDegraded {
    /// The fault, or its end, for a person.
    pub message: String,
    /// The part of the fault that this reports.
    #[serde(default)]
    pub phase: FaultPhase,
}

impl Event for StateDegraded {
    const KIND: &'static str = "state_degraded";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        self.phase.level()
    }

    fn describe(&self) -> String {
        format!("stored states: {}", self.message)
    }
}
