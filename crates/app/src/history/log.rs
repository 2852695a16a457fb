//! The fold of events into steps. Pure.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_runtime::journal::{Cursor, LineHead, Record};

use super::lanes::{HistoryLanes, LanesBuilder};
use super::moment::{HistoryMoment, States};
use super::step::{EventSource, HistoryStep, LineEvent, StateChange, TextPool};

/// The longest line that is read, as by the journal's reader.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;
/// The most steps that are kept, about 30 MiB. The oldest go first, and what they led to is kept.
const STEPS_MAX: usize = 300_000;

/// Keeps the changes of the actors' states. It takes the events in order, across runs.
#[derive(Debug, Default)]
pub struct HistoryLog {
    paths: Vec<String>,
    places: HashMap<String, u32>,
    /// The states before the first step.
    base: States,
    steps: VecDeque<HistoryStep>,
    texts: TextPool,
    /// The time of the first event that the steps include, and of the last event.
    span: Option<(Timestamp, Timestamp)>,
    /// The first event of all, and the last one.
    ends: Option<(Cursor, Cursor)>,
}

impl HistoryLog {
    /// Takes the next event.
    pub fn apply(&mut self, record: &Record) {
        let Ok(at) = record.at.parse() else { return };
        self.apply_event(record, record.cursor(), at, &record.actor, record.generation);
        self.limit_steps();
    }

    /// Takes the next event as a line of the journal. A damaged line is skipped.
    fn apply_line(&mut self, text: &str) {
        match LineHead::parse(text) {
            Ok(Some(head)) => {
                let Ok(at) = head.at.parse() else { return };
                let LineHead { cursor, actor, generation, .. } = head;
                self.apply_event(&LineEvent { head, text }, cursor, at, actor, generation);
            }
            Ok(None) => {
                if let Ok(record) = Record::parse(text) {
                    let Ok(at) = record.at.parse() else { return };
                    self.apply_event(&record, record.cursor(), at, &record.actor, record.generation);
                }
            }
            Err(_) => {}
        }
    }

    fn apply_event(
        &mut self,
        event: &impl EventSource,
        cursor: Cursor,
        at: Timestamp,
        actor: &str,
        generation: u64,
    ) {
        self.note((cursor, at), (cursor, at));
        let Some((change, mark)) = StateChange::of(event, at, &mut self.texts) else { return };
        let actor = self.place(actor);
        self.steps.push_back(HistoryStep { at, cursor, actor, generation, change, mark });
    }

    /// Notes that events follow, from `first` to `last`.
    fn note(&mut self, first: (Cursor, Timestamp), last: (Cursor, Timestamp)) {
        if let (Some((_, cursor)), Some((_, at))) = (self.ends, self.span)
            && cursor.run != first.0.run
        {
            // A run that was killed has no event of its end.
            let change = StateChange::RunEnded;
            self.steps.push_back(HistoryStep { at, cursor, actor: 0, generation: 0, change, mark: None });
        }
        self.ends = Some((self.ends.map_or(first.0, |(cursor, _)| cursor), last.0));
        self.span = Some((self.span.map_or(first.1, |(at, _)| at), last.1));
    }

    fn limit_steps(&mut self) {
        let surplus = self.steps.len().saturating_sub(STEPS_MAX);
        for oldest in self.steps.drain(..surplus) {
            self.base.apply(&oldest);
            if let Some((first, _)) = &mut self.span {
                *first = oldest.at;
            }
        }
    }

    /// Folds a file of the journal, to be appended to the fold of those before it.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut log = Self::default();
        let mut file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
        let mut line = Vec::new();
        while file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
            // A last line without an end is still being written.
            if let Some(text) = line.strip_suffix(b"\n").and_then(|line| str::from_utf8(line).ok()) {
                log.apply_line(text);
            }
            line.clear();
        }
        Ok(log)
    }

    /// Takes the events of a later part of the journal, which were folded on their own.
    pub(crate) fn append(&mut self, later: Self) {
        let (Some((first, last)), Some((begin, end))) = (later.ends, later.span) else { return };
        self.note((first, begin), (last, end));
        let places: Vec<u32> = later.paths.iter().map(|path| self.place(path)).collect();
        self.steps.extend(later.steps.into_iter().map(|step| HistoryStep {
            actor: places.get(step.actor as usize).copied().unwrap_or_default(),
            ..step
        }));
        self.limit_steps();
    }

    /// Returns the last event.
    pub(crate) fn cursor(&self) -> Cursor {
        self.ends.map_or(Cursor::START, |(_, last)| last)
    }

    /// Returns the tree and the verdict as they were at `at`. Times of day in the verdict are those of `zone`.
    #[must_use]
    pub fn at(&self, at: Timestamp, zone: &TimeZone) -> HistoryMoment {
        let is_known = self.span.is_some_and(|(first, _)| first <= at);
        let steps = self.steps.iter().rposition(|step| step.at <= at).map_or(0, |last| last + 1);
        let mut states = if is_known { self.base.clone() } else { States::default() };
        for step in self.steps.iter().take(steps) {
            states.apply(step);
        }
        states.moment(at, zone, &self.paths)
    }

    /// Returns the states of the actors from `from` to `to`; without one of these, from the first event that is kept, or to
    /// the last one.
    #[must_use]
    pub fn lanes(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> HistoryLanes {
        let Some((first, last)) = self.span else { return HistoryLanes::default() };
        let (from, to) = (from.unwrap_or(first).max(first), to.unwrap_or(last).min(last));
        let mut lanes = LanesBuilder::new(from, to);
        let mut states = self.base.clone();
        lanes.begin(first, &states);
        for step in &self.steps {
            lanes.step(step, &mut states);
        }
        lanes.finish(last, &self.paths)
    }

    fn place(&mut self, path: &str) -> u32 {
        if let Some(place) = self.places.get(path) {
            return *place;
        }
        let place = self.paths.len() as u32;
        self.paths.push(path.to_owned());
        self.places.insert(path.to_owned(), place);
        place
    }
}
