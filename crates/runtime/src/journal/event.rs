//! The kinds of events, and their sentences.

use serde::Serialize;
use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::redaction::Redaction;
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

/// Passes the event on to `tracing`: its sentence as the message, beside it `kind`, `actor`, `generation` and its `place`
/// as `run` and `seq`. Of the event's own `fields`, `cause` and `reason` stand beside them, and the others as one JSON
/// object. `actor` and `fields` are redacted already.
pub(super) fn trace<E: Event>(
    event: &E,
    place: Option<Cursor>,
    actor: &str,
    generation: u64,
    fields: &str,
    redaction: &Redaction,
) {
    macro_rules! trace_at {
        ($level:ident) => {
            // The sentence and the fields cost more than the rest, so they are made only if they are read.
            if tracing::enabled!(target: "mainstay", tracing::Level::$level) {
                let sentence = escape_controls(&redaction.redact(&event.describe()));
                let TracedFields { cause, reason, rest } = TracedFields::parse(fields);
                let (cause, reason, kind) = (cause.as_deref(), reason.as_deref(), E::KIND);
                let (run, seq) = (place.map(|place| place.run), place.map(|place| place.seq));
                tracing::event!(
                    target: "mainstay", tracing::Level::$level,
                    kind, %actor, generation, run, seq, cause, reason, fields = %rest, "{sentence}"
                );
            }
        };
    }
    match event.level() {
        Level::Debug => trace_at!(DEBUG),
        Level::Info => trace_at!(INFO),
        Level::Warn => trace_at!(WARN),
        Level::Error => trace_at!(ERROR),
    }
}

/// The fields of an event, as `tracing` gets them: it takes only names that are known when a program is compiled.
struct TracedFields {
    cause: Option<String>,
    reason: Option<String>,
    rest: String,
}

impl TracedFields {
    /// Takes the fields that many kinds of events have out of a JSON object.
    fn parse(fields: &str) -> Self {
        let mut rest: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
        let mut take = |name| {
            let text = rest.get(name)?.as_str()?.to_owned();
            rest.remove(name);
            Some(text)
        };
        let (cause, reason) = (take("cause"), take("reason"));
        Self { cause, reason, rest: Value::Object(rest).to_string() }
    }
}
