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
use super::private;
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
    fn conclude(&mut self, last: u64) -> io::Result<()>;
}

/// The files on disk.
pub(super) struct Files {
    dir: PathBuf,
    tail: Tail,
    /// The file takes no more bytes, whatever its size.
    is_tail_full: bool,
    segment_bytes_max: u64,
    segments_max: usize,
    numbers: Numbers,
    group: Vec<u8>,
    _lock: File,
}

/// How the last run left the folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Legacy {
    /// The last number that may have been given.
    pub(super) seq: u64,
    /// Numbers that may have been given, and whose lines are not here.
    pub(super) lost: Option<(u64, u64)>,
    pub(super) is_concluded: bool,
}

impl Files {
    /// Locks `dir` and takes up its last segment.
    pub(super) fn open(dir: &Path, config: &JournalConfig) -> Result<(Self, Legacy), JournalError> {
        let io = |source| JournalError::Io { dir: dir.to_owned(), source };
        private::folder(dir).map_err(io)?;
        let lock = lock(dir)?;
        let segments = segment::list(dir).map_err(io)?;
        let last = segments.last().cloned().unwrap_or_else(|| Segment::new(dir, 1));
        let (tail, seq_on_disk) = Tail::take_up(&last).map_err(io)?;
        let (numbers, standing) = Numbers::open(dir).map_err(io)?;
        sync_folder(dir);
        let legacy = legacy(seq_on_disk, standing);
        if legacy.seq > SEQ_MAX - RESERVED_NUMBERS {
            let said = format!("it has reached number {}, and no number may exceed {SEQ_MAX}", legacy.seq);
            return Err(io(io::Error::new(io::ErrorKind::InvalidData, said)));
        }
        let files = Self {
            dir: dir.to_owned(),
            tail,
            is_tail_full: false,
            segment_bytes_max: config.segment_bytes_max.max(1),
            segments_max: config.segments_max.max(1),
            numbers,
            group: Vec::new(),
            _lock: lock,
        };
        Ok((files, legacy))
    }

    fn begin_segment(&mut self, first_seq: u64) -> io::Result<()> {
        (self.tail, _) = Tail::take_up(&Segment::new(&self.dir, first_seq))?;
        self.is_tail_full = false;
        sync_folder(&self.dir);
        if let Err(error) = self.retire() {
            // New lines matter more; the next change of segments tries again.
            tracing::warn!(target: "mainstay", %error, "an old segment of the journal cannot be deleted");
        }
        Ok(())
    }

    fn retire(&self) -> io::Result<()> {
        let segments = segment::list(&self.dir)?;
        let surplus = segments.len().saturating_sub(self.segments_max);
        segments[..surplus].iter().try_for_each(|old| fs::remove_file(&old.path))
    }
}

impl Disk for Files {
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> (usize, io::Result<()>) {
        if (self.tail.bytes >= self.segment_bytes_max || self.is_tail_full)
            && let Err(error) = self.begin_segment(first_seq)
        {
            return (0, Err(error));
        }
        self.group.clear();
        for line in lines {
            self.group.extend_from_slice(line.as_bytes());
            self.group.push(b'\n');
        }
        let (bytes, outcome) = self.tail.append(&self.group);
        let is_too_large = |error: &io::Error| error.kind() == io::ErrorKind::FileTooLarge;
        self.is_tail_full = self.tail.bytes > 0 && outcome.as_ref().is_err_and(is_too_large);
        let whole = self.group[..bytes].iter().filter(|byte| **byte == b'\n').count();
        (whole, outcome)
    }

    fn reserve(&mut self, through: u64) -> io::Result<()> {
        self.numbers.reserve(through)
    }

    fn conclude(&mut self, last: u64) -> io::Result<()> {
        self.numbers.conclude(last)
    }
}

impl Legacy {
    /// What there is to say of the numbers that are not here.
    pub(super) fn account(&self) -> Option<JournalDegraded> {
        let reason = if self.is_concluded {
            "the disk refused the last lines of the last run"
        } else {
            "the last run did not end in order; what it recorded under these numbers, if anything, is lost"
        };
        self.lost.map(|lost| JournalDegraded::new(reason, Some(lost)))
    }
}

/// What follows from the last line on disk and the note on numbers.
fn legacy(seq_on_disk: u64, standing: Standing) -> Legacy {
    let (through, is_concluded) = match standing {
        // A journal that was never written to, or by a version that reserved nothing.
        Standing::Unused => (seq_on_disk, true),
        Standing::Unreadable => (seq_on_disk.saturating_add(RESERVED_NUMBERS), false),
        Standing::Known(note) => (note.through, note.is_concluded),
    };
    let lost = (through > seq_on_disk).then_some((seq_on_disk.saturating_add(1), through));
    Legacy { seq: through.max(seq_on_disk), lost, is_concluded }
}

/// One writer a folder: the lock goes with the process, however that ends.
fn lock(dir: &Path) -> Result<File, JournalError> {
    let io = |source| JournalError::Io { dir: dir.to_owned(), source };
    let file = private::file().write(true).open(dir.join("journal.lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Makes sure that files which were made or deleted stay so. What is in them does not depend on it, so a system that
/// cannot do this is left alone.
fn sync_folder(dir: &Path) {
    #[cfg(unix)]
    let _ = File::open(dir).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = dir;
}
