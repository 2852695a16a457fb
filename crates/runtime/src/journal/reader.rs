//! Reads a journal's files, also while another process writes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::record::Record;
use super::segment::{self, Segment};

/// The longest line that is read; a longer run without a line break counts as damage.
pub(super) const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// What stands next in a journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An event, with the line that it stood in.
    Event(Box<Record>, String),
    /// A line that is torn or was changed.
    Damaged {
        /// The file that it stands in.
        file: PathBuf,
        /// Where in the file it begins.
        offset_bytes: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Numbers that should come next and are not there: deleted with an old segment, or lost.
    Missing {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
}

impl Entry {
    /// What stands in `line`, which begins at `offset_bytes` of `file` and is given without its line break.
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

/// Reads a journal in order, from one process or another. Never writes.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    open: Option<OpenSegment>,
    /// The last number that was returned or skipped; `None` before the first.
    last_seq: Option<u64>,
    after: u64,
    pending_entry: Option<Entry>,
}

#[derive(Debug)]
struct OpenSegment {
    segment: Segment,
    file: File,
    /// Where the first byte of `buffer` stands in the file.
    offset_bytes: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads the events after number `after` (0: all that are kept) of the journal in `dir`.
    ///
    /// The folder need not exist yet.
    #[must_use]
    pub fn after(dir: &Path, after: u64) -> Self {
        let last_seq = (after > 0).then_some(after);
        Self { dir: dir.to_owned(), open: None, last_seq, after, pending_entry: None }
    }

    /// The next entry; `None` when there is nothing more for now. A later call may find more.
    ///
    /// # Errors
    /// When a file of the journal cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.pending_entry.take() {
            return Ok(Some(entry));
        }
        loop {
            let Some(entry) = self.read_entry()? else { return Ok(None) };
            let Entry::Event(record, _) = &entry else { return Ok(Some(entry)) };
            let seq = record.seq;
            if seq <= self.after {
                continue;
            }
            let expected = self.last_seq.replace(seq).map_or(seq, |last| last + 1);
            if seq > expected {
                self.pending_entry = Some(entry);
                return Ok(Some(Entry::Missing { from: expected, to: seq - 1 }));
            }
            return Ok(Some(entry));
        }
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
            // The end of this file: either the writer has gone on to the next one, or there is no more yet.
            let current = open.segment.first_seq;
            let has_later = segments(&self.dir)?.iter().any(|later| later.first_seq > current);
            // What is there of a line may have been cut off or finished since it was read, so it is read again.
            open.discard_partial_line();
            if !has_later {
                return Ok(None);
            }
            if let Some(entry) = open.next_line()? {
                return Ok(Some(entry));
            }
            let torn = open.take_torn_line();
            self.open_next_segment()?;
            if torn.is_some() {
                return Ok(torn);
            }
        }
    }

    /// Opens the segment that follows; false when there is none.
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
                    // Retention took it between the listing and now; the numbers will tell what is missing.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // If all of them went, there are newer ones by now.
            if following == gone {
                return Ok(false);
            }
            gone = following;
        }
    }

    /// Where to read on, the first choice first.
    fn following_segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = segments(&self.dir)?;
        let first = match &self.open {
            Some(open) => segments.iter().position(|later| later.first_seq > open.segment.first_seq),
            None => {
                let wanted = self.after.saturating_add(1);
                Some(segments.iter().rposition(|segment| segment.first_seq <= wanted).unwrap_or(0))
            }
        };
        Ok(segments.split_off(first.unwrap_or(segments.len()).min(segments.len())))
    }
}

fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    match segment::list_segments(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

impl OpenSegment {
    /// The next whole line; `None` when there is no whole one yet.
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
            self.file.seek(SeekFrom::Start(self.offset_bytes + self.buffer.len() as u64))?;
            let read = self.file.read(&mut chunk)?;
            if read == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// What is left without a line break, as damage; it is passed over.
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
