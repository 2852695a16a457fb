//! Reads a journal's files, also while another process writes them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::record::Record;
use super::segment::{self, Segment};
use crate::private_files::PathKind;

/// The longest line that is read, in bytes. A longer text without a line break counts as damage.
pub(super) const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// The next item in a journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An event, with the text of its line.
    Event(Box<Record>, String),
    /// A line that is torn or was changed.
    Damaged {
        /// The file that holds the line.
        file: PathBuf,
        /// The line's offset in the file.
        offset_bytes: u64,
        /// The fault of the line.
        reason: String,
    },
    /// A file of an earlier format, whose events have no run. It is skipped. Such files are named first.
    OlderFormat {
        /// The file.
        file: PathBuf,
    },
    /// Events that should come next and are missing: deleted with an old segment, damaged, or never written.
    Missing {
        /// The last place before the gap.
        after: Cursor,
        /// The first event after the gap. If it belongs to a later run, the number of missing events is not known,
        /// and may be 0.
        before: Cursor,
    },
}

impl Entry {
    /// Parses `line`, which begins at `offset_bytes` of `file` and is passed without its line break.
    pub(super) fn from_line(line: Vec<u8>, file: &Path, offset_bytes: u64) -> Self {
        let damaged = |reason| Self::Damaged { file: file.to_owned(), offset_bytes, reason };
        let text = match String::from_utf8(line) {
            Ok(text) => text,
            Err(_) => return damaged("the line is not UTF-8".to_owned()),
        };
        match Record::parse(&text) {
            Ok(record) => Self::Event(Box::new(record), text),
            Err(error) => damaged(error.to_string()),
        }
    }
}

/// A reader of a journal's events in order, in this process or another. It never writes.
///
/// A run that ended without notice is no gap. Its last event on disk is followed by the first event of the next run,
/// which reports it ([`RunInterrupted`](super::RunInterrupted)).
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    open: Option<OpenSegment>,
    /// The last place that was returned or skipped; `None` before the first.
    last: Option<Cursor>,
    after: Cursor,
    /// Events may be missing after `last`, and only numbers of the same run can tell.
    is_doubtful: bool,
    has_begun: bool,
    /// Entries that were found and are returned first.
    pending: VecDeque<Entry>,
}

#[derive(Debug)]
struct OpenSegment {
    segment: Segment,
    file: File,
    /// The offset in the file of the first byte of `buffer`.
    offset_bytes: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads the events after `after` in the journal in `dir`. [`Cursor::START`] reads all that are kept.
    ///
    /// The folder need not exist yet.
    #[must_use]
    pub fn after(dir: &Path, after: Cursor) -> Self {
        Self {
            dir: dir.to_owned(),
            open: None,
            last: (after > Cursor::START).then_some(after),
            after,
            is_doubtful: false,
            has_begun: false,
            pending: VecDeque::new(),
        }
    }

    /// Reads the next entry; `None` when there are no more for now. A later call may find more.
    ///
    /// # Errors
    /// Returns an error if a file of the journal cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        if !self.has_begun {
            self.pending.extend(older_format(&self.dir)?);
            self.has_begun = true;
        }
        loop {
            if let Some(entry) = self.pending.pop_front() {
                return Ok(Some(entry));
            }
            let Some(entry) = self.read_entry()? else { return Ok(None) };
            let Entry::Event(record, _) = &entry else {
                self.is_doubtful = true;
                return Ok(Some(entry));
            };
            let cursor = record.cursor();
            let is_doubtful = std::mem::replace(&mut self.is_doubtful, false);
            if cursor <= self.after {
                continue;
            }
            let gap = self.last.filter(|last| is_gap(*last, cursor, is_doubtful));
            self.last = Some(cursor);
            self.pending.extend(gap.map(|after| Entry::Missing { after, before: cursor }));
            self.pending.push_back(entry);
        }
    }

    /// Returns whether events may be missing after the last one that was returned.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    fn read_entry(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if self.open.is_none() && !self.open_next_segment()? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            if let Some(entry) = open.next_line()? {
                return Ok(Some(entry));
            }
            // At the end of this file the writer has either changed to the next one, or there is no more yet.
            let listed = segments(&self.dir)?;
            let has_later = listed.iter().any(|later| *later > open.segment);
            let is_cached = listed.contains(&open.segment);
            // A partial line may have been cut off or finished since it was read, so it is read again.
            open.discard_partial_line();
            if !has_later {
                return Ok(None);
            }
            if let Some(entry) = open.next_line()? {
                return Ok(Some(entry));
            }
            // Others may have been deleted with this one.
            self.is_doubtful |= !is_cached;
            let torn = open.take_torn_line();
            self.open_next_segment()?;
            if torn.is_some() {
                return Ok(torn);
            }
        }
    }

    /// Opens the next segment. Returns false if there is none.
    fn open_next_segment(&mut self) -> io::Result<bool> {
        let mut gone = Vec::new();
        loop {
            let following = self.following_segments()?;
            for segment in &following {
                match File::open(&segment.path) {
                    Ok(file) => {
                        let segment = segment.clone();
                        self.open = Some(OpenSegment { segment, file, offset_bytes: 0, buffer: Vec::new() });
                        return Ok(true);
                    }
                    // Retention deleted it after the listing, and maybe more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => self.is_doubtful = true,
                    Err(error) => return Err(PathKind::File.error_at(&segment.path)(error)),
                }
            }
            // If all of them are gone, there are newer ones by now.
            if following == gone {
                return Ok(false);
            }
            gone = following;
        }
    }

    /// Returns the segments from which to continue, the first choice first.
    fn following_segments(&mut self) -> io::Result<Vec<Segment>> {
        let mut segments = segments(&self.dir)?;
        let first = match &self.open {
            Some(open) => segments.iter().position(|later| *later > open.segment),
            None => {
                let wanted = self.after.next();
                let place = segments.iter().rposition(|segment| segment.first <= wanted);
                self.is_doubtful = self.last.is_some() && place.is_none() && !segments.is_empty();
                Some(place.unwrap_or(0))
            }
        };
        Ok(segments.split_off(first.unwrap_or(segments.len()).min(segments.len())))
    }
}

/// Returns whether events are missing between `last` and `next`, which was read after it.
fn is_gap(last: Cursor, next: Cursor, is_doubtful: bool) -> bool {
    if next.run == last.run {
        next > last.next()
    } else {
        next.run > last.run && (next.seq > 1 || is_doubtful)
    }
}

/// Names the files that an earlier version has left. They are skipped.
fn older_format(dir: &Path) -> io::Result<Vec<Entry>> {
    let files = match segment::list_older_format(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    Ok(files.into_iter().map(|file| Entry::OlderFormat { file }).collect())
}

/// Returns the files of the journal in `dir`, oldest first. A file may be deleted or cut off before it is read.
///
/// # Errors
/// Returns an error if the folder cannot be read.
pub fn segment_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(segments(dir)?.into_iter().map(|segment| segment.path).collect())
}

fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    match segment::list_segments(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

impl OpenSegment {
    /// Returns the next whole line; `None` if there is no whole one yet.
    fn next_line(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).take(at).collect();
                let offset_bytes = self.offset_bytes;
                self.offset_bytes += at as u64 + 1;
                return Ok(Some(Entry::from_line(line, &self.segment.path, offset_bytes)));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Ok(self.take_torn_line());
            }
            let mut chunk = [0; READ_BYTES];
            let located = PathKind::File.error_at(&self.segment.path);
            let offset = self.offset_bytes + self.buffer.len() as u64;
            self.file.seek(SeekFrom::Start(offset)).map_err(&located)?;
            let read = self.file.read(&mut chunk).map_err(&located)?;
            if read == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// Returns the rest without a line break as damage, and skips it.
    fn take_torn_line(&mut self) -> Option<Entry> {
        if self.buffer.is_empty() {
            return None;
        }
        let offset_bytes = self.offset_bytes;
        self.offset_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Some(self.damaged(offset_bytes, "the line has no end".to_owned()))
    }

    fn discard_partial_line(&mut self) {
        self.buffer.clear();
    }

    fn damaged(&self, offset_bytes: u64, reason: String) -> Entry {
        Entry::Damaged { file: self.segment.path.clone(), offset_bytes, reason }
    }
}
