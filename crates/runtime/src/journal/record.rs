//! An event that was read back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cursor::{Cursor, NUMBER_MAX};
use super::event::Event;
use super::line::{self, LineError};

/// The kind of the event that ends a run in order. A run without it ended without notice.
pub(crate) const RUN_END_KIND: &str = "runtime_stopped";

/// An event as the journal holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(rename = "EventHead"))]
pub struct Record {
    /// The run that the event belongs to: 1, 2, 3 … per data folder.
    pub run: u64,
    /// The event's number within the run: 1, 2, 3 …
    pub seq: u64,
    /// The wall time, RFC 3339 in UTC.
    pub at: String,
    /// The milliseconds since the run began.
    pub mono_ms: u64,
    /// The actor's path.
    pub actor: String,
    /// The actor's incarnation, 0 if there is none.
    pub generation: u64,
    /// The kind of event.
    #[cfg_attr(feature = "typescript", ts(skip))]
    pub kind: String,
    /// The kind's own fields.
    #[serde(flatten)]
    #[cfg_attr(feature = "typescript", ts(skip))]
    pub fields: Map<String, Value>,
}

impl Record {
    /// Parses a line, without its line break, and checks its checksum.
    ///
    /// # Errors
    /// Returns an error if the line is torn, was changed, or is no event, or if its run or number is larger than 2^53
    /// - 1.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let content = line::verify_checksum(text)?;
        let record: Self =
            serde_json::from_str(&content).map_err(|error| LineError::NotAnEvent(error.to_string()))?;
        match [("run", record.run), ("seq", record.seq)].into_iter().find(|(_, number)| *number > NUMBER_MAX)
        {
            Some((name, number)) => Err(LineError::TooLarge { name, number }),
            None => Ok(record),
        }
    }

    /// Returns the event's place in the journal.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.run, self.seq)
    }

    /// Reads the record as an event of type `E`; `None` if it is of another kind, or has fields that another version
    /// wrote.
    ///
    /// ```
    /// use mainstay_runtime::events::ActorReady;
    /// use mainstay_runtime::journal::Record;
    ///
    /// let line = r#"{"run":1,"seq":4,"at":"2026-01-02T03:04:05.678Z","mono_ms":12,"actor":"root/a","generation":1,
    ///     "kind":"actor_ready","start_ms":7}"#;
    /// let record: Record = serde_json::from_str(line).unwrap();
    /// assert_eq!(record.event(), Some(ActorReady { start_ms: 7 }));
    /// ```
    #[must_use]
    pub fn event<E: Event + DeserializeOwned>(&self) -> Option<E> {
        if self.kind == E::KIND { self.decode().ok() } else { None }
    }

    /// Reads the kind's own fields as `T`, whatever the kind. [`event`](Self::event) checks the kind too.
    ///
    /// # Errors
    /// Returns an error if the fields are not those of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.fields.clone()))
    }
}
