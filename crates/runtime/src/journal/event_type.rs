//! The types of events, as data.

use serde::de::DeserializeOwned;

use super::event::{Event, Level};
use super::record::Record;

/// A type of event, as data: describes the records of its kind.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    kind: &'static str,
    is_verbose: bool,
    read: fn(&Record) -> Option<(Level, String)>,
}

impl EventType {
    /// Returns the type `E`.
    #[must_use]
    pub const fn of<E: Event + DeserializeOwned>() -> Self {
        let read = |record: &Record| record.event::<E>().map(|event| (event.level(), event.summary()));
        Self { kind: E::KIND, is_verbose: E::VERBOSE, read }
    }

    /// Returns the stable name of the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns whether the kind is recorded only when the journal is verbose.
    #[must_use]
    pub const fn is_verbose(&self) -> bool {
        self.is_verbose
    }

    /// Returns the level and the summary of a record of this kind; `None` for another kind, or for fields that another
    /// version wrote.
    #[must_use]
    pub fn read(&self, record: &Record) -> Option<(Level, String)> {
        (self.read)(record)
    }
}
