//! What can be recorded.

use serde::Serialize;

/// How much an event deserves a person's attention; also the level of its `tracing` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Of interest when something is being looked into.
    Debug,
    /// A normal change.
    Info,
    /// Something went wrong and is being dealt with.
    Warn,
    /// Something was given up.
    Error,
}

/// One kind of event: plain data that serialises to a JSON object.
///
/// The journal adds `run`, `seq`, `at`, `mono_ms`, `actor`, `generation`, `kind` and `crc`; the event's own
/// fields must not bear these names.
pub trait Event: Serialize {
    /// The stable name of the kind, in snake case.
    const KIND: &'static str;
    /// How much attention it deserves.
    const LEVEL: Level = Level::Info;
    /// Whether it is recorded only when the journal is verbose.
    const VERBOSE: bool = false;
}

/// Hands the event on to `tracing`.
pub(super) fn trace<E: Event>(actor: &str, generation: u64, fields: &str) {
    match E::LEVEL {
        Level::Debug => tracing::debug!(target: "mainstay", kind = E::KIND, %actor, generation, "{fields}"),
        Level::Info => tracing::info!(target: "mainstay", kind = E::KIND, %actor, generation, "{fields}"),
        Level::Warn => tracing::warn!(target: "mainstay", kind = E::KIND, %actor, generation, "{fields}"),
        Level::Error => tracing::error!(target: "mainstay", kind = E::KIND, %actor, generation, "{fields}"),
    }
}
