//! `mainstay events`: reads the journal, whether a runtime is running or not.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Cursor, Entry, Reader, Record, count, escape_controls};
use mainstay_runtime::private_files::PathKind;
use tokio::time::sleep;

use super::args::EventsArgs;
use super::error::CliError;
use super::event_format::EventLines;
use super::output::Output;
use super::stderr::error_line;
use crate::events;
use crate::suggestion::unknown_name;
use crate::{DataDir, Reason};

/// The interval at which a follower looks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
// What happens is to be seen within a second.
const _: () = assert!(FOLLOW_INTERVAL.as_millis() <= 500);

/// The filter for events.
struct EventFilter {
    since: Option<Timestamp>,
    actor: Option<GlobMatcher>,
    kinds: Vec<String>,
}

impl EventFilter {
    fn from_args(args: &EventsArgs) -> Result<Self, CliError> {
        let since = args.since.map(|span| {
            let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
            SystemClock.now().checked_sub(span).unwrap_or(Timestamp::MIN)
        });
        let actor = args.actor.as_deref().map(|pattern| {
            let glob = Glob::new(pattern)
                .map_err(|error| CliError::usage(format!("--actor: {pattern:?} is no pattern: {error}")))?;
            Ok::<_, CliError>(glob.compile_matcher())
        });
        let kinds = args.kind.iter().filter(|kind| !kind.is_empty()).cloned().collect();
        Ok(Self { since, actor: actor.transpose()?, kinds })
    }

    fn matches(&self, record: &Record) -> bool {
        let is_recent = |since: &Timestamp| record.at.parse::<Timestamp>().is_ok_and(|at| at >= *since);
        self.since.as_ref().is_none_or(is_recent)
            && self.actor.as_ref().is_none_or(|actor| actor.is_match(&record.actor))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
    }
}

/// The names of actors and kinds that an error chooses from. There are seldom more.
const NAMES_MAX: usize = 10_000;

/// Checks that there are such kinds and such an actor: in this version, or else in the journal, which may be that of an
/// embedder with events of its own. A journal without any event says nothing about actors.
fn check_names(dir: &Path, filter: &EventFilter, args: &EventsArgs) -> Result<(), CliError> {
    let mut kinds: BTreeSet<String> = events::types().map(|known| known.kind().to_owned()).collect();
    let mut unknown: Vec<&String> = filter.kinds.iter().filter(|kind| !kinds.contains(*kind)).collect();
    let mut actors = BTreeSet::new();
    let mut is_actor_known = filter.actor.is_none();
    let mut reader = Reader::after(dir, Cursor::START);
    while !(is_actor_known && unknown.is_empty())
        && let Some(entry) = reader.next_entry().map_err(unreadable)?
    {
        let Entry::Event(record, _) = entry else { continue };
        unknown.retain(|kind| **kind != record.kind);
        is_actor_known |= filter.actor.as_ref().is_none_or(|actor| actor.is_match(&record.actor));
        for (names, name) in [(&mut actors, record.actor), (&mut kinds, record.kind)] {
            if names.len() < NAMES_MAX {
                names.insert(name);
            }
        }
    }
    let fault = |option: &str, thing: &str, name: &str, known: &BTreeSet<String>| {
        let text = unknown_name(thing, name, known.iter().map(String::as_str));
        Err(CliError::usage(format!("{option}: {text}")))
    };
    match (unknown.first(), args.actor.as_deref()) {
        (Some(kind), _) => fault("--kind", "kind of event", kind, &kinds),
        (None, Some(actor)) if !is_actor_known && !actors.is_empty() => {
            fault("--actor", "actor", actor, &actors)
        }
        _ => Ok(()),
    }
}

/// Says on stderr that nothing can follow a cursor which the journal has not reached.
fn check_cursor(dir: &Path, after: Cursor) -> Result<(), CliError> {
    let mut reader = Reader::after(dir, Cursor::START);
    let mut end = None;
    while let Some(entry) = reader.next_entry().map_err(unreadable)? {
        if let Entry::Event(record, _) = entry {
            end = end.max(Some(record.cursor()));
        }
    }
    if let Some(end) = end.filter(|end| after > *end) {
        error_line(&format!("mainstay: --after {after} is beyond the end of the journal, which is {end}"));
    }
    Ok(())
}

pub(super) async fn events(out: &mut Output, args: EventsArgs, data: DataDir) -> Result<(), CliError> {
    let filter = EventFilter::from_args(&args)?;
    let dir = if args.follow { data.journal() } else { journal_folder(&data)? };
    check_names(&dir, &filter, &args)?;
    let mut reader = Reader::after(&dir, args.after);
    let (mut flaws, mut lines) = (FlawReport::default(), EventLines::default());
    let mut is_cursor_unchecked = args.after != Cursor::START;
    loop {
        while let Some(entry) = reader.next_entry().map_err(unreadable)? {
            is_cursor_unchecked = false;
            // Events go to stdout. What is wrong with the journal goes to stderr, so that stdout stays what was asked for.
            match entry {
                Entry::Event(record, line) if filter.matches(&record) && args.json => out.json_line(&line)?,
                Entry::Event(record, _) if filter.matches(&record) => lines.print(out, &record)?,
                entry => flaws.add(&entry),
            }
        }
        flaws.finish();
        if std::mem::take(&mut is_cursor_unchecked) {
            check_cursor(&dir, args.after)?;
        }
        if !args.follow {
            return Ok(());
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

/// Makes the error for a journal that the system does not let us read. The system's error names the file.
pub(super) fn unreadable(error: io::Error) -> CliError {
    CliError::failed(Reason::DataUnusable, error.to_string())
}

/// Returns the folder of the journal, which must exist.
pub(super) fn journal_folder(data: &DataDir) -> Result<PathBuf, CliError> {
    let dir = data.journal();
    match PathKind::Folder.check(&dir) {
        Ok(()) => Ok(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CliError::failed(
            Reason::NotFound,
            format!(
                "there is no journal in {}: `mainstay run` and `mainstay demo` write one; \
                 `--data-dir` names another folder",
                data.path().display()
            ),
        )),
        Err(error) => Err(unreadable(error)),
    }
}

/// Names the events of a gap.
pub(super) fn gap(after: Cursor, before: Cursor) -> String {
    let (first, last) = (after.seq.saturating_add(1), before.seq.saturating_sub(1));
    let run = before.run;
    if after.run != run {
        format!("the events after {after} and before {before}")
    } else if first == last {
        format!("event {run}.{first}")
    } else {
        format!("events {run}.{first} to {run}.{last}")
    }
}

/// Says on stderr what is wrong with the journal, and what to do. Of the damaged lines of one file the first is named, and
/// the others are counted.
#[derive(Debug, Default)]
pub(super) struct FlawReport {
    /// The file with the damage that was named last, and the number of its lines that were not.
    damaged: Option<(PathBuf, u64)>,
}

impl FlawReport {
    pub(super) fn add(&mut self, entry: &Entry) {
        for line in self.lines(entry) {
            error_line(&format!("mainstay: {}", escape_controls(&line)));
        }
    }

    /// Says what is counted and not said yet.
    pub(super) fn finish(&mut self) {
        for line in self.rest() {
            error_line(&format!("mainstay: {}", escape_controls(&line)));
        }
    }

    fn lines(&mut self, entry: &Entry) -> Vec<String> {
        let flaw = match entry {
            Entry::Event(..) => return Vec::new(),
            Entry::Damaged { file, offset_bytes, reason } => {
                if let Some((named, more)) = &mut self.damaged
                    && named == file
                {
                    *more += 1;
                    return Vec::new();
                }
                let flaw = format!(
                    "{} is damaged at byte {offset_bytes}: {reason}; that line is skipped",
                    file.display()
                );
                let mut lines = self.rest();
                self.damaged = Some((file.clone(), 0));
                lines.push(flaw);
                return lines;
            }
            Entry::OlderFormat { file } => {
                let file = file.display();
                format!(
                    "{file} was written by an earlier version; its events have no run and are not read: delete the file, or \
                     move it away"
                )
            }
            Entry::Missing { after, before } => {
                let missing = gap(*after, *before);
                format!("the journal does not have {missing}: too old to be kept, or lost")
            }
        };
        vec![flaw]
    }

    fn rest(&mut self) -> Vec<String> {
        let (file, more) = match self.damaged.take() {
            Some((file, more)) if more > 0 => (file, more),
            _ => return Vec::new(),
        };
        let lines = count(more, "more damaged line");
        vec![format!(
            "{}: {lines} skipped; if that file is not of this journal, move it away",
            file.display()
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_names_its_events_and_across_runs_its_ends() {
        assert_eq!(gap(Cursor::new(3, 1), Cursor::new(3, 3)), "event 3.2");
        assert_eq!(gap(Cursor::new(3, 0), Cursor::new(3, 18)), "events 3.1 to 3.17");
        assert_eq!(gap(Cursor::new(3, 5), Cursor::new(5, 1)), "the events after 3.5 and before 5.1");
    }

    #[test]
    fn damaged_lines_of_one_file_are_counted() {
        let damaged = |file: &str, offset_bytes| Entry::Damaged {
            file: file.into(),
            offset_bytes,
            reason: "the line has no end".to_owned(),
        };
        let mut flaws = FlawReport::default();
        let entries = [damaged("a", 0), damaged("a", 9), damaged("a", 20), damaged("b", 0)];
        let mut lines: Vec<String> = entries.iter().flat_map(|entry| flaws.lines(entry)).collect();
        lines.extend(flaws.rest());
        assert_eq!(
            lines,
            [
                "a is damaged at byte 0: the line has no end; that line is skipped",
                "a: 2 more damaged lines skipped; if that file is not of this journal, move it away",
                "b is damaged at byte 0: the line has no end; that line is skipped",
            ]
        );
    }
}
