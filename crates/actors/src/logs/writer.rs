//! The thread that writes lines to the files. It is a thread and not a task because file systems block.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mainstay_runtime::ActorPath;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{FaultPhase, Journal};

use super::events::LogsDegraded;
use super::files::{FileLimits, LogFile, LogFiles, remove_forgotten};
use super::line::{LogLine, LogStream};
use super::writer_link::{LineSource, Started, WriterLink, is_same_source, now};

/// The time that the thread waits before it tries a disk again that refused.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The interval at which it looks whether a flood has ended.
const FLOOD_INTERVAL: Duration = Duration::from_secs(1);

/// The most logs that are kept of programs that are no longer configured.
const FORGOTTEN_MAX: usize = 64;

/// The path of the events about all logs.
const PATH: &str = "logs";

/// Starts the thread.
pub(super) fn spawn(link: Arc<WriterLink>) -> io::Result<()> {
    let run = move || {
        let _end = EndGuard(Arc::clone(&link));
        LogWriter { link, logs: BTreeMap::new() }.run();
    };
    thread::Builder::new().name("mainstay-logs".to_owned()).spawn(run).map(drop)
}

/// Reports the end of the thread, also by a panic.
struct EndGuard(Arc<WriterLink>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.mark_ended();
    }
}

struct LogWriter {
    link: Arc<WriterLink>,
    logs: BTreeMap<String, WrittenLog>,
}

/// A log as the writer knows it.
struct WrittenLog {
    source: Arc<dyn LineSource>,
    file: Option<LogFile>,
    /// The lines that the disk has not taken, as the file is to have them.
    backlog: String,
    /// The refusal of the disk.
    refusal: Option<Refusal>,
}

struct Refusal {
    retry_at: Instant,
    reason: String,
}

impl LogWriter {
    /// Writes until it is asked to end.
    fn run(mut self) {
        let link = Arc::clone(&self.link);
        let Some(Started { journal, dir }) = link.started() else { return };
        loop {
            let (waiting, is_closing) = self.next_tasks();
            match dir {
                Some(dir) => self.write(waiting, is_closing, dir, journal),
                None => waiting.iter().for_each(|source| drop(source.take_lines())),
            }
            self.report_health(journal);
            self.end_floods();
            if is_closing && self.link.tasks().waiting.is_empty() {
                return;
            }
        }
    }

    /// Waits for a task, and returns the logs with new lines, and whether the writer ends after them.
    fn next_tasks(&self) -> (Vec<Arc<dyn LineSource>>, bool) {
        let retry_at = self.logs.values().filter_map(|log| Some(log.refusal.as_ref()?.retry_at)).min();
        let retry_in = retry_at.map(|at| at.saturating_duration_since(now()));
        let mut tasks = self.link.tasks();
        if tasks.waiting.is_empty() && !tasks.is_closing && retry_in != Some(Duration::ZERO) {
            let flood_check = (!tasks.noisy.is_empty()).then_some(FLOOD_INTERVAL);
            tasks = self.link.wait(tasks, [retry_in, flood_check].into_iter().flatten().min());
        }
        (std::mem::take(&mut tasks.waiting), tasks.is_closing)
    }

    /// Writes the lines of these logs, and of those whose disk is to be tried again.
    fn write(&mut self, waiting: Vec<Arc<dyn LineSource>>, is_closing: bool, dir: &Path, journal: &Journal) {
        let mut due: Vec<String> = waiting.iter().map(|source| source.id().to_owned()).collect();
        for source in waiting {
            if !self.logs.contains_key(source.id()) {
                self.make_room(dir);
            }
            match self.logs.get_mut(source.id()) {
                // A program that was removed and added again has another source.
                Some(log) => log.source = source,
                None => drop(self.logs.insert(source.id().to_owned(), WrittenLog::new(source))),
            }
        }
        due.extend(self.logs.iter().filter(|(_, log)| log.refusal.is_some()).map(|(id, _)| id.clone()));
        let limits = self.link.limits();
        let mut has_written = false;
        for id in due {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            // What comes before the next attempt waits in the queue of the log.
            if is_closing || log.refusal.as_ref().is_none_or(|refusal| refusal.retry_at <= now()) {
                has_written |= log.write(limits, dir, journal);
            }
        }
        if has_written {
            self.link.notify_readers();
        }
    }

    /// Deletes logs of programs that are no longer known, if they are too many.
    fn make_room(&self, dir: &Path) {
        let known = self.link.tasks().known.clone();
        // A log that cannot be deleted is tried again with the next program.
        let _ = remove_forgotten(dir, |id| known.contains(id), FORGOTTEN_MAX);
    }

    /// Shows whether all lines are being written, and records a change of that.
    fn report_health(&self, journal: &Journal) {
        let refusal = self.logs.values().find_map(|log| Some(log.refusal.as_ref()?.reason.clone()));
        let before = std::mem::replace(&mut self.link.tasks().failure, refusal.clone());
        let (message, phase) = match (before, refusal) {
            (None, Some(reason)) => {
                (format!("lines are not written, and wait in memory: {reason}"), FaultPhase::Begins)
            }
            (Some(_), None) => ("lines are written again".to_owned(), FaultPhase::Ends),
            (None, None) | (Some(_), Some(_)) => return,
        };
        if let Ok(path) = ActorPath::root(PATH) {
            journal.record(&path, 0, &LogsDegraded { message, phase });
        }
    }

    fn end_floods(&self) {
        let noisy = self.link.tasks().noisy.clone();
        let ended: Vec<_> =
            noisy.into_iter().filter(|source| !Arc::clone(source).end_flood_if_quiet()).collect();
        let has_ended =
            |source: &Arc<dyn LineSource>| ended.iter().any(|ended| is_same_source(ended, source));
        self.link.tasks().noisy.retain(|source| !has_ended(source));
        // A source has its own lock, under which it takes the one of the tasks.
        ended.into_iter().filter(|source| source.is_noisy()).for_each(|source| self.link.watch_flood(source));
    }
}

impl WrittenLog {
    fn new(source: Arc<dyn LineSource>) -> Self {
        Self { source, file: None, backlog: String::new(), refusal: None }
    }

    /// Writes all lines that wait. Returns whether it has written some.
    fn write(&mut self, limits: FileLimits, dir: &Path, journal: &Journal) -> bool {
        let mut has_written = false;
        loop {
            if self.backlog.is_empty() {
                for LogLine { at, stream, text } in self.source.take_lines() {
                    // A string takes what is written to it.
                    let _ = writeln!(self.backlog, "{at} {stream} {}", journal.redact(&text));
                }
            }
            if self.backlog.is_empty() {
                self.refusal = None;
                return has_written;
            }
            match self.write_backlog(limits, dir, journal) {
                Ok(()) => has_written = true,
                Err(error) => {
                    let reason = format!("logs/{}.log: {error}", self.source.id());
                    self.refusal = Some(Refusal { retry_at: now() + RETRY_DELAY, reason });
                    return has_written;
                }
            }
        }
    }

    fn write_backlog(&mut self, limits: FileLimits, dir: &Path, journal: &Journal) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| !file.is_in_place()) {
            self.file = None;
            let at = WallTime(journal.wall_time());
            let text = "the file of this log was deleted or replaced: lines before this one may be missing";
            self.backlog.insert_str(0, &format!("{at} {} {text}\n", LogStream::Note));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let files = LogFiles::new(dir, self.source.id());
                let files = files.ok_or_else(|| io::Error::other("this id cannot be the name of a file"))?;
                self.file.insert(LogFile::open(files)?)
            }
        };
        let (written, outcome) = file.append(&self.backlog, limits);
        self.backlog.drain(..written);
        if outcome.is_err() {
            // The next attempt finds out what is at the path by then.
            self.file = None;
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
