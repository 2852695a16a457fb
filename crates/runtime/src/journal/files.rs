//! A journal's folder, as held by the one process that writes to it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{Cursor, NUMBER_MAX};
use super::degraded::JournalDegraded;
use super::error::JournalError;
use super::event::Event;
use super::options::JournalOptions;
use super::record::{RUN_END_KIND, Record};
use super::segment::{self, Segment, Tail};
use crate::private_files::{PathKind, create_private_dir, is_same_file, private_file_options};

/// The number of lines, from the last one back, among which the end of a run is searched. Few events follow
/// `runtime_stopped`, if any.
const END_RECORDS_MAX: usize = 256;
/// The number of new files that a group is written to in turn, if each is gone by the time it is synced.
const PLACES_MAX: usize = 3;

/// The destination of lines. Tests replace it with a fake disk.
pub(super) trait Disk: Send + 'static {
    /// Writes lines to disk, whole and in order; the first has number `first_seq`. Lines that were not written must
    /// be passed again before any others.
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> WriteOutcome;
}

/// The result of writing a group.
pub(super) struct WriteOutcome {
    /// The number of lines, from the first, that are safely on disk: all of them, unless there is an error.
    pub(super) written: usize,
    /// Earlier lines that are no longer on disk.
    pub(super) lost: Option<JournalDegraded>,
    pub(super) result: io::Result<()>,
}

impl WriteOutcome {
    pub(super) fn nothing() -> Self {
        Self { written: 0, lost: None, result: Ok(()) }
    }
}

/// The files on disk.
pub(super) struct JournalFiles {
    dir: PathBuf,
    run: u64,
    /// The segment that is written to. `None` while it is lost and the next one cannot be created.
    tail: Option<Tail>,
    /// The number of this run's first line in the tail.
    tail_first_seq: u64,
    /// The file takes no more bytes, whatever its size.
    is_tail_full: bool,
    segment_bytes_max: u64,
    segments_max: usize,
    write_buffer: Vec<u8>,
    lock: File,
}

/// The facts that the folder holds about earlier runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecoveredState {
    /// The number of the run that begins now.
    pub(super) run: u64,
    /// The last event of the previous run, if that one ended without notice.
    pub(super) interrupted_after: Option<Cursor>,
}

impl JournalFiles {
    /// Locks `dir`, continues its last segment, and finds the number of the run that begins.
    pub(super) fn open(dir: &Path, options: &JournalOptions) -> Result<(Self, RecoveredState), JournalError> {
        let io = |source| JournalError::Io { dir: dir.to_owned(), source };
        create_private_dir(dir).map_err(PathKind::Folder.error_at(dir)).map_err(io)?;
        let lock = lock_dir(dir)?;
        let (recovered, tail) = recover(dir).map_err(io)?;
        sync_dir(dir);
        let files = Self {
            dir: dir.to_owned(),
            run: recovered.run,
            tail: Some(tail),
            tail_first_seq: 1,
            is_tail_full: false,
            segment_bytes_max: options.segment_bytes_max.max(1),
            segments_max: options.segments_max.max(1),
            write_buffer: Vec::new(),
            lock,
        };
        Ok((files, recovered))
    }

    /// Returns the segment for the next line, which is numbered `first_seq`.
    fn tail_for(&mut self, first_seq: u64) -> io::Result<&mut Tail> {
        let is_full = |tail: &Tail| self.is_tail_full || tail.bytes >= self.segment_bytes_max;
        let tail = match self.tail.take().filter(|tail| !is_full(tail)) {
            Some(tail) => tail,
            None => self.start_segment(first_seq)?,
        };
        Ok(self.tail.insert(tail))
    }

    fn start_segment(&mut self, first_seq: u64) -> io::Result<Tail> {
        create_private_dir(&self.dir)?;
        self.keep_lock()?;
        let (tail, _) = Tail::open(&Segment::new(&self.dir, Cursor::new(self.run, first_seq)))?;
        self.is_tail_full = false;
        self.tail_first_seq = first_seq;
        sync_dir(&self.dir);
        if let Err(error) = self.delete_old_segments() {
            // New lines matter more, and the next change of segments tries again.
            tracing::warn!(target: "mainstay", %error, "an old segment of the journal cannot be deleted");
        }
        Ok(tail)
    }

    /// Locks the folder again if the lock file was deleted.
    fn keep_lock(&mut self) -> io::Result<()> {
        let is_cached = fs::metadata(lock_path(&self.dir)).is_ok_and(|at| is_same_file(&self.lock, &at));
        if !is_cached {
            self.lock = lock_dir(&self.dir).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn delete_old_segments(&self) -> io::Result<()> {
        let segments = segment::list_segments(&self.dir)?;
        let surplus = segments.len().saturating_sub(self.segments_max);
        segments[..surplus].iter().try_for_each(|old| fs::remove_file(&old.path))
    }

    /// Drops the tail if its file is no longer the one at its path. Returns which lines before `first_seq` were lost
    /// with it.
    fn drop_lost_tail(&mut self, first_seq: u64) -> Option<JournalDegraded> {
        let tail = self.tail.take_if(|tail| !tail.is_in_place())?;
        let has_others = segment::list_segments(&self.dir).is_ok_and(|segments| !segments.is_empty());
        let lost = (if has_others { self.tail_first_seq } else { 1 }, first_seq - 1);
        let name = tail.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let reason = format!(
            "{name} was deleted, replaced or emptied while it was written to; another file follows it"
        );
        Some(JournalDegraded::new(reason, (lost.0 <= lost.1).then_some(lost)))
    }
}

impl Drop for JournalFiles {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being started holds a copy of it until it executes its
        // program, and the lock with it. Where unlocking fails, closing has to do.
        let _ = self.lock.unlock();
    }
}

impl Disk for JournalFiles {
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> WriteOutcome {
        self.write_buffer.clear();
        for line in lines {
            self.write_buffer.extend_from_slice(line.as_bytes());
            self.write_buffer.push(b'\n');
        }
        let write_buffer = std::mem::take(&mut self.write_buffer);
        let outcome = self.append_group(first_seq, &write_buffer);
        self.write_buffer = write_buffer;
        outcome
    }
}

impl JournalFiles {
    fn append_group(&mut self, first_seq: u64, write_buffer: &[u8]) -> WriteOutcome {
        let mut lost = None;
        for _ in 0..PLACES_MAX {
            lost = lost.or(self.drop_lost_tail(first_seq));
            let tail = match self.tail_for(first_seq) {
                Ok(tail) => tail,
                Err(error) => return WriteOutcome { written: 0, lost, result: Err(error) },
            };
            let (bytes, result) = tail.append(write_buffer);
            // No reader finds a file that has lost its name.
            if bytes == 0 || tail.is_in_place() {
                let is_too_large = |error: &io::Error| error.kind() == io::ErrorKind::FileTooLarge;
                self.is_tail_full = tail.bytes > 0 && result.as_ref().is_err_and(is_too_large);
                let written = write_buffer[..bytes].iter().filter(|byte| **byte == b'\n').count();
                return WriteOutcome { written, lost, result };
            }
        }
        let error = io::Error::other("each new file of the journal is deleted at once");
        WriteOutcome { written: 0, lost, result: Err(error) }
    }
}

/// Reads the end of the earlier runs in `dir`, and opens the last segment or creates the first one.
fn recover(dir: &Path) -> io::Result<(RecoveredState, Tail)> {
    let mut segments = segment::list_segments(dir)?;
    let Some(last) = segments.pop() else {
        let (tail, _) = Tail::open(&Segment::new(dir, Cursor::new(1, 1)))?;
        return Ok((RecoveredState { run: 1, interrupted_after: None }, tail));
    };
    let (tail, lines) = Tail::open(&last)?;
    let mut end = RunEnd::of(&lines);
    // A segment's name reserves its numbers, even if the segment is empty.
    let named = last.first.run + u64::from(last.first.seq > 1);
    while end.last.is_none()
        && let Some(earlier) = segments.pop()
    {
        let content = fs::read(&earlier.path).map_err(PathKind::File.error_at(&earlier.path))?;
        let earlier = RunEnd::of(&content[..segment::complete_bytes(&content)]);
        end = RunEnd { is_damaged: end.is_damaged || earlier.is_damaged, ..earlier };
    }
    // A damaged line may belong to a run that has no other lines.
    let run = end.last.map_or(1, |last| last.run + 1).max(named) + u64::from(end.is_damaged);
    if run > NUMBER_MAX {
        let reason = format!("{} has reached run {run}, and no run may exceed {NUMBER_MAX}", dir.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let interrupted_after = end.last.filter(|_| !end.is_in_order);
    Ok((RecoveredState { run, interrupted_after }, tail))
}

/// The end of the last run among some lines.
struct RunEnd {
    /// The run's last event.
    last: Option<Cursor>,
    /// The run recorded that it stopped.
    is_in_order: bool,
    /// Damaged lines follow the run's last event.
    is_damaged: bool,
}

impl RunEnd {
    fn of(whole_lines: &[u8]) -> Self {
        let mut end = Self { last: None, is_in_order: false, is_damaged: false };
        let lines = whole_lines.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty());
        for line in lines.take(END_RECORDS_MAX) {
            let record = std::str::from_utf8(line).ok().and_then(|text| Record::parse(text).ok());
            match (record, end.last) {
                (None, None) => end.is_damaged = true,
                (None, Some(_)) => {}
                (Some(record), Some(last)) if record.run != last.run => break,
                (Some(record), _) => {
                    end.last.get_or_insert(record.cursor());
                    end.is_in_order = record.kind == RUN_END_KIND;
                    if record.kind != JournalDegraded::KIND {
                        break;
                    }
                }
            }
        }
        end
    }
}

/// Locks the folder, so that it has one writer. The lock ends with the process, also when that is killed.
fn lock_dir(dir: &Path) -> Result<File, JournalError> {
    let path = lock_path(dir);
    let io =
        |source| JournalError::Io { dir: dir.to_owned(), source: PathKind::File.error_at(&path)(source) };
    let file = private_file_options().write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("journal.lock")
}

/// Syncs the folder, so that created and deleted files stay so. Their content does not depend on it, so a failure is
/// ignored.
fn sync_dir(dir: &Path) {
    #[cfg(unix)]
    let _ = File::open(dir).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = dir;
}
