//! What is recorded about stored states.

use serde::{Deserialize, Serialize};

use crate::journal::{Event, Level};

/// An actor begins from a state that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateLoaded {
    /// The version of its schema, as it was stored.
    pub version: u32,
    /// Its size, encoded.
    pub bytes: usize,
}

impl Event for StateLoaded {
    const KIND: &'static str = "state_loaded";
}

/// A stored state of an older version was turned into one of the present version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateMigrated {
    /// The version that was stored.
    pub from: u32,
    /// The version that the actor knows.
    pub to: u32,
}

impl Event for StateMigrated {
    const KIND: &'static str = "state_migrated";
}

/// A stored state is not used. It is kept aside, and the actor starts fresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRefused {
    /// The version that was stored, if that much can be read.
    pub version: Option<u32>,
    /// The version that the actor knows.
    pub expected: u32,
    /// Why it is not used.
    pub reason: String,
}

impl Event for StateRefused {
    const KIND: &'static str = "state_refused";
    const LEVEL: Level = Level::Error;
}

/// States are not being saved, or are again. Recorded by a store: under an actor's path where it concerns one actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDegraded {
    /// What is wrong, or that it is mended.
    pub reason: String,
}

impl Event for StateDegraded {
    const KIND: &'static str = "state_degraded";
    const LEVEL: Level = Level::Warn;
}
