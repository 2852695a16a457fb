//! `mainstay events`: reads the journal, whether a runtime is running or not.

use std::path::PathBuf;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Entry, Reader, Record};
use tokio::time::sleep;

use super::event_format;
use super::args::EventsArgs;
use super::error::CliError;
use super::output::Output;
use crate::{DataDir, Reason};

/// How often a follower looks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
// What happens is to be seen within a second.
const _: () = assert!(FOLLOW_INTERVAL.as_millis() <= 500);

/// Which events are wanted.
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

/// The folder of the journal, which is there.
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

/// Says on stderr what is wrong with the journal.
pub(super) fn report_flaw(entry: &Entry) {
    match entry {
        Entry::Event(..) => {}
        Entry::Damaged { file, offset_bytes, reason } => {
            eprintln!("mainstay: {} is damaged at byte {offset_bytes}: {reason}", file.display());
        }
        Entry::Missing { from, to } => {
            eprintln!(
                "mainstay: the journal has no events {from} to {to}: they are too old to be kept, or a run that was killed left \
                 these numbers unused"
            );
        }
    }
}
