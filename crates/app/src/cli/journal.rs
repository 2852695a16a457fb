//! `mainstay events`: reads the journal, whether a runtime is running or not.

use std::path::PathBuf;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Entry, Reader, Record};
use tokio::time::sleep;

use super::account;
use super::args::EventsArgs;
use super::failure::Failure;
use super::output::Output;
use crate::{DataDir, Reason};

/// How often a follower looks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
// What happens is to be seen within a second.
const _: () = assert!(FOLLOW_INTERVAL.as_millis() <= 500);

/// Which events are wanted.
struct Filter {
    since: Option<Timestamp>,
    actor: Option<GlobMatcher>,
    kinds: Vec<String>,
}

impl Filter {
    fn of(args: &EventsArgs) -> Result<Self, Failure> {
        let since = args.since.map(|span| {
            let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
            SystemClock.now().checked_sub(span).unwrap_or(Timestamp::MIN)
        });
        let actor = args.actor.as_deref().map(|pattern| {
            let glob = Glob::new(pattern)
                .map_err(|error| Failure::usage(format!("--actor: {pattern:?} is no pattern: {error}")))?;
            Ok::<_, Failure>(glob.compile_matcher())
        });
        Ok(Self { since, actor: actor.transpose()?, kinds: args.kind.clone() })
    }

    fn wants(&self, record: &Record) -> bool {
        let is_recent = |since: &Timestamp| record.at.parse::<Timestamp>().is_ok_and(|at| at >= *since);
        self.since.as_ref().is_none_or(is_recent)
            && self.actor.as_ref().is_none_or(|actor| actor.is_match(&record.actor))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
    }
}

pub(super) async fn events(out: &mut Output, args: EventsArgs, data: DataDir) -> Result<(), Failure> {
    let filter = Filter::of(&args)?;
    let dir = if args.follow { data.journal() } else { folder(&data)? };
    let mut reader = Reader::after(&dir, args.after);
    loop {
        while let Some(entry) = reader.next_entry()? {
            show(out, entry, &filter, args.json)?;
        }
        if !args.follow {
            return Ok(());
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

/// The folder of the journal, which is there.
pub(super) fn folder(data: &DataDir) -> Result<PathBuf, Failure> {
    let dir = data.journal();
    if dir.exists() {
        Ok(dir)
    } else {
        Err(Failure::failed(Reason::NotFound, format!("there is no journal in {}", data.path().display())))
    }
}

/// Events go to stdout. What is wrong with the journal goes to stderr, so that stdout stays what was asked for.
fn show(out: &mut Output, entry: Entry, filter: &Filter, json: bool) -> Result<(), Failure> {
    match entry {
        Entry::Event(record, line) if filter.wants(&record) => {
            if json {
                out.line(&line)
            } else {
                account::tell(out, &record)
            }
        }
        Entry::Event(..) => Ok(()),
        flaw => {
            tell_flaw(&flaw);
            Ok(())
        }
    }
}

/// Says on stderr what is wrong with the journal.
pub(super) fn tell_flaw(entry: &Entry) {
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
