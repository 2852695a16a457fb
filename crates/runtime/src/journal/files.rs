//! A journal's folder, as the one process that writes to it holds it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::JournalConfig;
use super::degraded::JournalDegraded;
use super::error::JournalError;
use super::log::RESERVED_NUMBERS;
use super::numbers::{Numbers, Standing};
use super::permissions;
use super::segment::{self, Segment, Tail};

/// The greatest number that is exact in every JSON reader.
const SEQ_MAX: u64 = (1 << 53) - 1;

/// Where lines go. Tests put a disk in its place that does as they say.
pub(super) trait Disk: Send + 'static {
    /// Brings lines to disk, whole and in order, the first of them numbered `first_seq`. Also says how many are there to
    /// stay: all, unless there is an error. The rest has to be given again before anything else.
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> (usize, io::Result<()>);

    /// Notes durably that numbers up to `through` may be given.
    fn reserve(&mut self, through: u64) -> io::Result<()>;

    /// Notes durably that the run ended in order with `last` as its last number.
    fn finish(&mut self, last: u64) -> io::Result<()>;
}

/// The files on disk.
pub(super) struct JournalFiles {
    dir: PathBuf,
    tail: Tail,
    /// The file takes no more bytes, whatever its size.
    is_tail_full: bool,
    segment_bytes_max: u64,
    segments_max: usize,
    numbers: Numbers,
    write_buffer: Vec<u8>,
    _lock: File,
}

/// How the last run left the folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecoveredState {
    /// The last number that may have been given.
    pub(super) last_seq: u64,
    /// Numbers that may have been given, and whose lines are not here.
    pub(super) lost_range: Option<(u64, u64)>,
    pub(super) is_clean_shutdown: bool,
}

impl JournalFiles {
    /// Locks `dir` and takes up its last segment.
    pub(super) fn open(dir: &Path, config: &JournalConfig) -> Result<(Self, RecoveredState), JournalError> {
        let io = |source| JournalError::Io { dir: dir.to_owned(), source };
        permissions::create_private_dir(dir).map_err(io)?;
        let lock = lock_dir(dir)?;
        let segments = segment::list_segments(dir).map_err(io)?;
        let last = segments.last().cloned().unwrap_or_else(|| Segment::new(dir, 1));
        let (tail, seq_on_disk) = Tail::open(&last).map_err(io)?;
        let (numbers, standing) = Numbers::open(dir).map_err(io)?;
        sync_dir(dir);
        let legacy = recover_state(seq_on_disk, standing);
        if legacy.last_seq > SEQ_MAX - RESERVED_NUMBERS {
            let said = format!("it has reached number {}, and no number may exceed {SEQ_MAX}", legacy.last_seq);
            return Err(io(io::Error::new(io::ErrorKind::InvalidData, said)));
        }
        let files = Self {
            dir: dir.to_owned(),
            tail,
            is_tail_full: false,
            segment_bytes_max: config.segment_bytes_max.max(1),
            segments_max: config.segments_max.max(1),
            numbers,
            write_buffer: Vec::new(),
            _lock: lock,
        };
        Ok((files, legacy))
    }

    fn start_segment(&mut self, first_seq: u64) -> io::Result<()> {
        (self.tail, _) = Tail::open(&Segment::new(&self.dir, first_seq))?;
        self.is_tail_full = false;
        sync_dir(&self.dir);
        if let Err(error) = self.delete_old_segments() {
            // New lines matter more; the next change of segments tries again.
            tracing::warn!(target: "mainstay", %error, "an old segment of the journal cannot be deleted");
        }
        Ok(())
    }

    fn delete_old_segments(&self) -> io::Result<()> {
        let segments = segment::list_segments(&self.dir)?;
        let surplus = segments.len().saturating_sub(self.segments_max);
        segments[..surplus].iter().try_for_each(|old| fs::remove_file(&old.path))
    }
}

impl Disk for JournalFiles {
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> (usize, io::Result<()>) {
        if (self.tail.bytes >= self.segment_bytes_max || self.is_tail_full)
            && let Err(error) = self.start_segment(first_seq)
        {
            return (0, Err(error));
        }
        self.write_buffer.clear();
        for line in lines {
            self.write_buffer.extend_from_slice(line.as_bytes());
            self.write_buffer.push(b'\n');
        }
        let (bytes, outcome) = self.tail.append(&self.write_buffer);
        let is_too_large = |error: &io::Error| error.kind() == io::ErrorKind::FileTooLarge;
        self.is_tail_full = self.tail.bytes > 0 && outcome.as_ref().is_err_and(is_too_large);
        let whole = self.write_buffer[..bytes].iter().filter(|byte| **byte == b'\n').count();
        (whole, outcome)
    }

    fn reserve(&mut self, through: u64) -> io::Result<()> {
        self.numbers.reserve(through)
    }

    fn finish(&mut self, last: u64) -> io::Result<()> {
        self.numbers.conclude(last)
    }
}

impl RecoveredState {
    /// What there is to say of the numbers that are not here.
    pub(super) fn to_event(&self) -> Option<JournalDegraded> {
        let reason = if self.is_clean_shutdown {
            "the disk refused the last lines of the last run"
        } else {
            "the last run did not end in order; what it recorded under these numbers, if anything, is lost"
        };
        self.lost_range.map(|lost| JournalDegraded::new(reason, Some(lost)))
    }
}

/// What follows from the last line on disk and the note on numbers.
fn recover_state(seq_on_disk: u64, standing: Standing) -> RecoveredState {
    let (through, is_concluded) = match standing {
        // A journal that was never written to, or by a version that reserved nothing.
        Standing::Unused => (seq_on_disk, true),
        Standing::Unreadable => (seq_on_disk.saturating_add(RESERVED_NUMBERS), false),
        Standing::Known(note) => (note.through, note.is_concluded),
    };
    let lost = (through > seq_on_disk).then_some((seq_on_disk.saturating_add(1), through));
    RecoveredState { last_seq: through.max(seq_on_disk), lost_range: lost, is_clean_shutdown: is_concluded }
}

/// One writer a folder: the lock goes with the process, however that ends.
fn lock_dir(dir: &Path) -> Result<File, JournalError> {
    let io = |source| JournalError::Io { dir: dir.to_owned(), source };
    let file = permissions::private_file_options().write(true).open(dir.join("journal.lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Makes sure that files which were made or deleted stay so. What is in them does not depend on it, so a system that
/// cannot do this is left alone.
fn sync_dir(dir: &Path) {
    #[cfg(unix)]
    let _ = File::open(dir).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = dir;
}
