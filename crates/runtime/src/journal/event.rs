//! The kinds of events, and their sentences.

use serde::Serialize;

use super::wording::escape_controls;

/// The attention that an event deserves; also the level of its `tracing` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Of interest for diagnosis only.
    Debug,
    /// A normal change.
    Info,
    /// Something went wrong and is being handled.
    Warn,
    /// Something was given up.
    Error,
}

/// A kind of event: plain data that serialises to a JSON object.
///
/// The journal adds `run`, `seq`, `at`, `mono_ms`, `actor`, `generation`, `kind` and `crc`, so the event's own fields
/// must not have these names.
pub trait Event: Serialize {
    /// The stable name of the kind, in snake case.
    const KIND: &'static str;
    /// The attention that events of the kind deserve.
    const LEVEL: Level = Level::Info;
    /// True if the kind is recorded only when the journal is verbose.
    const VERBOSE: bool = false;

    /// Returns the attention that this event deserves.
    fn level(&self) -> Level {
        Self::LEVEL
    }

    /// Returns what happened, as one plain sentence about the actor, without a full stop. Texts of others stand in it
    /// as they are: [`summary`](Self::summary) is the sentence to show.
    fn describe(&self) -> String;

    /// Returns what happened, as one plain sentence that is safe to show: control characters are escaped.
    fn summary(&self) -> String {
        escape_controls(&self.describe())
    }
}

/// Passes the event on to `tracing`.
pub(super) fn trace(kind: &str, level: Level, actor: &str, generation: u64, fields: &str) {
    match level {
        Level::Debug => tracing::debug!(target: "mainstay", kind, %actor, generation, "{fields}"),
        Level::Info => tracing::info!(target: "mainstay", kind, %actor, generation, "{fields}"),
        Level::Warn => tracing::warn!(target: "mainstay", kind, %actor, generation, "{fields}"),
        Level::Error => tracing::error!(target: "mainstay", kind, %actor, generation, "{fields}"),
    }
}
