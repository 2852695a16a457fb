//! The types of events, as data.

use serde::de::DeserializeOwned;
#[cfg(feature = "typescript")]
use ts_rs::TS;

use super::event::{Event, Level};
use super::record::Record;
#[cfg(feature = "typescript")]
use crate::typescript::Declarations;

/// A type of event, as data: describes the records of its kind.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    kind: &'static str,
    is_verbose: bool,
    read: fn(&Record) -> Option<(Level, String)>,
    #[cfg(feature = "typescript")]
    declare: fn(&mut Declarations) -> String,
}

impl EventType {
    /// Returns the type `E`.
    #[must_use]
    #[cfg(not(feature = "typescript"))]
    pub const fn of<E: Event + DeserializeOwned>() -> Self {
        Self { kind: E::KIND, is_verbose: E::VERBOSE, read: read::<E> }
    }

    /// Returns the type `E`.
    #[must_use]
    #[cfg(feature = "typescript")]
    pub const fn of<E: Event + DeserializeOwned + TS + 'static>() -> Self {
        Self { kind: E::KIND, is_verbose: E::VERBOSE, read: read::<E>, declare: Declarations::add::<E> }
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

    /// Declares the fields of the kind. Returns the name of their type.
    #[cfg(feature = "typescript")]
    pub fn declare(&self, declarations: &mut Declarations) -> String {
        (self.declare)(declarations)
    }
}

fn read<E: Event + DeserializeOwned>(record: &Record) -> Option<(Level, String)> {
    record.event::<E>().map(|event| (event.level(), event.summary()))
}
