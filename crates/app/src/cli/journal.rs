//! `mainstay events`: reads the journal, whether a runtime is running or not.

use std::path::PathBuf;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Cursor, Entry, Reader, Record, escape_controls};
use tokio::time::sleep;

use super::args::EventsArgs;
use super::error::CliError;
use super::event_format;
use super::output::Output;
use super::stderr::error_line;
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
        Ok(Self { since, actor: actor.transpose()?, kinds: args.kind.clone() })
    }

    fn matches(&self, record: &Record) -> bool {
        let is_recent = |since: &Timestamp| record.at.parse::<Timestamp>().is_ok_and(|at| at >= *since);
        self.since.as_ref().is_none_or(is_recent)
            && self.actor.as_ref().is_none_or(|actor| actor.is_match(&record.actor))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
    }
}

pub(super) async fn events(out: &mut Output, args: EventsArgs, data: DataDir) -> Result<(), CliError> {
    let filter = EventFilter::from_args(&args)?;
    let dir = if args.follow { data.journal() } else { journal_folder(&data)? };
    let mut reader = Reader::after(&dir, args.after);
    loop {
        while let Some(entry) = reader.next_entry()? {
            print_entry(out, entry, &filter, args.json)?;
        }
        if !args.follow {
            return Ok(());
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

/// Returns the folder of the journal, which must exist.
pub(super) fn journal_folder(data: &DataDir) -> Result<PathBuf, CliError> {
    let dir = data.journal();
    if dir.exists() {
        Ok(dir)
    } else {
        Err(CliError::failed(Reason::NotFound, format!("there is no journal in {}", data.path().display())))
    }
}

/// Events go to stdout. What is wrong with the journal goes to stderr, so that stdout stays what was asked for.
fn print_entry(out: &mut Output, entry: Entry, filter: &EventFilter, json: bool) -> Result<(), CliError> {
    match entry {
        Entry::Event(record, line) if filter.matches(&record) => {
            if json {
                out.line(&line)
            } else {
                event_format::print(out, &record)
            }
        }
        Entry::Event(..) => Ok(()),
        flaw => {
            report_flaw(&flaw);
            Ok(())
        }
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

/// Says on stderr what is wrong with the journal.
pub(super) fn report_flaw(entry: &Entry) {
    let flaw = match entry {
        Entry::Event(..) => return,
        Entry::Damaged { file, offset_bytes, reason } => {
            format!("{} is damaged at byte {offset_bytes}: {reason}", file.display())
        }
        Entry::OlderFormat { file } => {
            let file = file.display();
            format!("{file} was written by an earlier version; its events have no run and are not read")
        }
        Entry::Missing { after, before } => {
            let missing = gap(*after, *before);
            format!("the journal does not have {missing}: too old to be kept, or lost")
        }
    };
    error_line(&format!("mainstay: {}", escape_controls(&flaw)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_its_events_and_across_runs_its_ends() {
        assert_eq!(gap(Cursor::new(3, 1), Cursor::new(3, 3)), "event 3.2");
        assert_eq!(gap(Cursor::new(3, 0), Cursor::new(3, 18)), "events 3.1 to 3.17");
        assert_eq!(gap(Cursor::new(3, 5), Cursor::new(5, 1)), "the events after 3.5 and before 5.1");
    }
}
