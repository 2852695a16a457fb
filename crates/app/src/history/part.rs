//! The steps of a part of the journal. The reader of events is pure.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_runtime::journal::{Cursor, LineHead, Record};

use super::step::{EventSource, HistoryStep, LineEvent, StateChange, TextPool};

/// The longest line that is read, as by the journal's reader.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// The steps of an event: the end of a killed run, which has no event of its own, and the event's change.
pub(super) type EventSteps = [Option<HistoryStep>; 2];

/// Makes steps of events.
#[derive(Debug, Clone, Default)]
pub(super) struct StepReader {
    /// The actors' paths, in the order in which they appeared.
    pub(super) paths: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
    texts: TextPool,
    /// The time of the first event that the steps include, and of the last event.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// The first event of all, and the last one.
    pub(super) ends: Option<(Cursor, Cursor)>,
}

impl StepReader {
    /// Reads the steps of the next event.
    pub(super) fn read(&mut self, record: &Record) -> EventSteps {
        let Ok(at) = record.at.parse() else { return EventSteps::default() };
        self.read_event(record, (record.cursor(), at), &record.actor, record.generation)
    }

    /// Reads the steps of the next event from its line. A damaged line has none.
    fn read_line(&mut self, text: &str) -> EventSteps {
        match LineHead::parse(text) {
            Ok(Some(head)) => {
                let Ok(at) = head.at.parse() else { return EventSteps::default() };
                let LineHead { cursor, actor, generation, .. } = head;
                self.read_event(&LineEvent { head, text }, (cursor, at), actor, generation)
            }
            Ok(None) => {
                Record::parse(text).map_or_else(|_| EventSteps::default(), |record| self.read(&record))
            }
            Err(_) => EventSteps::default(),
        }
    }

    fn read_event(
        &mut self,
        event: &impl EventSource,
        place: (Cursor, Timestamp),
        actor: &str,
        generation: u64,
    ) -> EventSteps {
        let run_end = self.note(place, place);
        let (cursor, at) = place;
        let step = StateChange::of(event, at, &mut self.texts).map(|(change, mark)| {
            let actor = self.place(actor);
            HistoryStep { at, cursor, actor, generation, change, mark }
        });
        [run_end, step]
    }

    /// Notes that events follow, from `first` to `last`. Returns the end of the run before them, if it was killed.
    pub(super) fn note(
        &mut self,
        first: (Cursor, Timestamp),
        last: (Cursor, Timestamp),
    ) -> Option<HistoryStep> {
        let before = self.ends.zip(self.span);
        let run_end =
            before.filter(|((_, cursor), _)| cursor.run != first.0.run).map(|((_, cursor), (_, at))| {
                HistoryStep { at, cursor, actor: 0, generation: 0, change: StateChange::RunEnded, mark: None }
            });
        self.ends = Some((self.ends.map_or(first.0, |(cursor, _)| cursor), last.0));
        self.span = Some((self.span.map_or(first.1, |(at, _)| at), last.1));
        run_end
    }

    /// Returns the place of a path in the list.
    pub(super) fn place(&mut self, path: &str) -> u32 {
        if let Some(place) = self.places.get(path) {
            return *place;
        }
        let (place, path) = (self.paths.len() as u32, Arc::from(path));
        self.paths.push(Arc::clone(&path));
        self.places.insert(path, place);
        place
    }
}

/// The steps of a part of the journal that was read apart from the others. The states before it are not known.
#[derive(Debug, Default)]
pub(crate) struct HistoryPart {
    pub(super) reader: StepReader,
    pub(super) steps: Vec<HistoryStep>,
}

impl HistoryPart {
    /// Reads a file of the journal.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut part = Self::default();
        let mut file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
        let mut line = Vec::new();
        while file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
            // A last line without an end is still being written.
            if let Some(text) = line.strip_suffix(b"\n").and_then(|line| str::from_utf8(line).ok()) {
                part.steps.extend(part.reader.read_line(text).into_iter().flatten());
            }
            line.clear();
        }
        Ok(part)
    }
}
