//! One event, read back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cursor::{Cursor, NUMBER_MAX};
use super::line::{self, LineError};

/// The kind of the event that ends a run in order. A run without it ended without notice.
pub(crate) const RUN_END_KIND: &str = "runtime_stopped";

/// One event as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run that it belongs to: 1, 2, 3 … per data folder.
    pub run: u64,
    /// Its number within the run: 1, 2, 3 …
    pub seq: u64,
    /// Wall time, RFC 3339 in UTC.
    pub at: String,
    /// Milliseconds since the run began.
    pub mono_ms: u64,
    /// The actor's path.
    pub actor: String,
    /// The actor's incarnation, 0 where there is none.
    pub generation: u64,
    /// The kind of event.
    pub kind: String,
    /// The kind's own fields.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Record {
    /// Reads a line, without its line break, and checks its checksum.
    ///
    /// # Errors
    /// When the line is torn, was changed, or is no event, and when its run or number is larger than 2^53 - 1.
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

    /// Returns its place in the journal.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.run, self.seq)
    }

    /// Reads the kind's own fields as the type that was recorded.
    ///
    /// # Errors
    /// When the fields are not those of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.fields.clone()))
    }
}
