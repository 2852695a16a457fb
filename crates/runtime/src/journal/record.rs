//! One event, read back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::line::{self, LineError};

/// One event as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number: never repeated, and skipped only after a run that did not end in order.
    pub seq: u64,
    /// The run that it belongs to.
    pub boot: String,
    /// Wall time, RFC 3339 in UTC.
    pub at: String,
    /// Milliseconds since that run began.
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
    /// When the line is torn, was changed, or is no event.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let content = line::verify_checksum(text)?;
        serde_json::from_str(&content).map_err(|error| LineError::NotAnEvent(error.to_string()))
    }

    /// The kind's own fields as the type that was recorded.
    ///
    /// # Errors
    /// When the fields are not those of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.fields.clone()))
    }
}
