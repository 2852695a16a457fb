//! `mainstay replay`: decides a journal's decisions again.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use mainstay_actors::json::Json;
use mainstay_runtime::journal::{Cursor, Entry, Lines, Reader};
use mainstay_runtime::private_files::{PathKind, explain_unread};
use mainstay_runtime::replay::{Replay, Report};

use super::args::{DataDirArg, ReplayArgs};
use super::error::CliError;
use super::journal;
use super::output::Output;
use crate::{DataDir, Reason};

/// The journal to replay.
enum ReplaySource {
    Folder(PathBuf),
    File(PathBuf),
    Stdin,
}

impl ReplaySource {
    fn from_argument(named: Option<PathBuf>, data: &DataDirArg) -> Result<Self, CliError> {
        match named {
            None => Self::folder_of(&data.folder()?),
            Some(path) if path.as_os_str() == "-" => Ok(Self::Stdin),
            Some(path) => {
                let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
                if !metadata.is_dir() {
                    Ok(Self::File(path))
                } else if Reader::after(&path, Cursor::START)
                    .next_entry()
                    .map_err(journal::unreadable)?
                    .is_some()
                {
                    Ok(Self::Folder(path))
                } else {
                    Self::folder_of(&DataDir::new(path))
                }
            }
        }
    }

    fn folder_of(data: &DataDir) -> Result<Self, CliError> {
        let dir = data.journal();
        match PathKind::Folder.check(&dir) {
            Ok(()) => Ok(Self::Folder(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let place = data.path().display();
                let known = "name its folder, a file of events, or - for stdin";
                Err(CliError::failed(Reason::NotFound, format!("there is no journal in {place}: {known}")))
            }
            Err(error) => Err(journal::unreadable(error)),
        }
    }

    fn read(&self, replay: &mut Replay) -> Result<(), CliError> {
        match self {
            Self::Folder(dir) => {
                let mut reader = Reader::after(dir, Cursor::START);
                read(replay, || reader.next_entry())
            }
            Self::File(path) => {
                let file = File::open(path).map_err(|error| unreadable(path, &error))?;
                let mut lines = Lines::new(BufReader::new(file), path);
                read(replay, || lines.next_entry())
            }
            Self::Stdin => {
                let mut lines = Lines::new(io::stdin().lock(), "stdin");
                read(replay, || lines.next_entry())
            }
        }
    }
}

fn read(replay: &mut Replay, mut next: impl FnMut() -> io::Result<Option<Entry>>) -> Result<(), CliError> {
    while let Some(entry) = next().map_err(journal::unreadable)? {
        replay.add_entry(&entry);
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::usage(format!("{} {}", path.display(), explain_unread(error)))
}

pub(super) fn replay(out: &mut Output, args: ReplayArgs, data: &DataDirArg) -> Result<(), CliError> {
    let source = ReplaySource::from_argument(args.source, data)?;
    let mut replay = Replay::new();
    source.read(&mut replay)?;
    let report = replay.into_report();
    if args.json {
        out.json(&Json::from_serialize(&report).map_err(CliError::internal)?)?;
    }
    match first_difference(&report) {
        Some(difference) if report.events == 0 => {
            Err(CliError::CheckFailed(format!("there is no event, so this is no journal: {difference}")))
        }
        Some(difference) => Err(CliError::CheckFailed(difference)),
        None if args.json => Ok(()),
        None => out.line(&summary(&report)),
    }
}

fn first_difference(report: &Report) -> Option<String> {
    let first = report.differences.first()?;
    let others = report.differences.len() as u64 - 1 + report.differences_omitted;
    let others = match others {
        0 => String::new(),
        1 => " (and one more difference)".to_owned(),
        _ => format!(" (and {others} more differences)"),
    };
    Some(format!("{first}{others}"))
}

/// Prints a line with the number of events, if all of them agree.
fn summary(report: &Report) -> String {
    let (Some(first), Some(last)) = (report.first, report.last) else {
        return "there are no events".to_owned();
    };
    let count = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let events = count(report.events, "event", "events");
    let runs = count(report.runs, "run", "runs");
    let mut line = match report.replayed {
        0 => format!("{events} ({first} to {last}, {runs}): no decisions"),
        1 => format!("{events} ({first} to {last}, {runs}): 1 decision, recomputed with the same result"),
        n => format!(
            "{events} ({first} to {last}, {runs}): {n} decisions, each recomputed with the same result"
        ),
    };
    if report.not_replayable > 0 {
        let decisions = count(report.not_replayable, "decision is", "decisions are");
        line.push_str(&format!("; {decisions} of an older format and cannot be recomputed"));
    }
    if report.missing > 0 {
        let numbers = count(report.missing, "number is", "numbers are");
        line.push_str(&format!("; {numbers} missing in between"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_read_as_a_sentence_whatever_was_found() {
        let (first, last) = (Some(Cursor::new(1, 1)), Some(Cursor::new(2, 120)));
        let report = Report { events: 240, first, last, runs: 2, ..Report::default() };
        let lines = [
            Report::default(),
            report.clone(),
            Report { decisions: 1, replayed: 1, ..report.clone() },
            Report { decisions: 7, replayed: 6, not_replayable: 1, missing: 3, ..report },
        ];
        let lines: Vec<String> = lines.iter().map(summary).collect();
        expect_test::expect![[r"
            there are no events
            240 events (1.1 to 2.120, 2 runs): no decisions
            240 events (1.1 to 2.120, 2 runs): 1 decision, recomputed with the same result
            240 events (1.1 to 2.120, 2 runs): 6 decisions, each recomputed with the same result; 1 decision is of an older format and cannot be recomputed; 3 numbers are missing in between"]]
        .assert_eq(&lines.join("\n"));
    }
}
