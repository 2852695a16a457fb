//! The files of a journal: their names, their order, and how one that a crash left behind is taken up again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::permissions;
use super::record::Record;

/// One file of a journal, named after the first number that it may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(dir: &Path, first_seq: u64) -> Self {
        Self { first_seq, path: dir.join(format!("journal-{first_seq:020}.jsonl")) }
    }

    fn from_path(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix("journal-")?.strip_suffix(".jsonl")?;
        let first_seq = digits.parse().ok()?;
        Some(Self { first_seq, path })
    }
}

/// The segments in `dir`, oldest first.
pub(super) fn list_segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        segments.extend(Segment::from_path(entry?.path()));
    }
    segments.sort();
    Ok(segments)
}

/// A segment open for appending.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    /// The length up to the last whole line.
    pub(super) bytes: u64,
    /// There may be something behind the last whole line.
    is_torn: bool,
}

impl Tail {
    /// Opens `segment` for appending, cuts off a torn last line, and finds the last number in it.
    ///
    /// Whole lines that are damaged stay where they are, and each counts as one number, so that none is used twice.
    pub(super) fn open(segment: &Segment) -> io::Result<(Self, u64)> {
        let mut file = permissions::private_file_options().read(true).append(true).open(&segment.path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let whole = complete_bytes(&content);
        let mut tail = Self { file, bytes: whole as u64, is_torn: whole < content.len() };
        tail.truncate_torn()?;
        Ok((tail, last_seq(segment, &content[..whole])))
    }

    /// Adds whole lines and syncs them. Also says how many bytes of whole lines are there to stay: all, unless there is an
    /// error.
    ///
    /// What is not there to stay has to be given again before anything else: readers may have seen it.
    pub(super) fn append(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if let Err(error) = self.truncate_torn() {
            return (0, Err(error));
        }
        self.is_torn = true;
        let (written, outcome) = write_counted(&mut self.file, lines);
        let whole = complete_bytes(&lines[..written]);
        // A sync that fails may have lost any of it, so all of it is written anew, at the same place.
        if let Err(error) = self.file.sync_data() {
            return (0, outcome.and(Err(error)));
        }
        self.bytes += whole as u64;
        self.is_torn = whole < written;
        let outcome = outcome.and(self.truncate_torn());
        (whole, outcome)
    }

    fn truncate_torn(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        Ok(())
    }
}

/// Writes as much as there is room for. Also says how much that was.
fn write_counted(file: &mut File, content: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < content.len() {
        match file.write(&content[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// How much of `content` is whole lines.
fn complete_bytes(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn last_seq(segment: &Segment, whole_lines: &[u8]) -> u64 {
    let mut damaged = 0;
    for line in whole_lines.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
        if let Some(record) = std::str::from_utf8(line).ok().and_then(|text| Record::parse(text).ok()) {
            return record.seq.saturating_add(damaged);
        }
        damaged += 1;
    }
    segment.first_seq.saturating_sub(1).saturating_add(damaged)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn unsynced_bytes_do_not_count_as_written() {
        // It takes every byte, and refuses to sync.
        let file = OpenOptions::new().append(true).open("/dev/null").unwrap();
        let mut tail = Tail { file, bytes: 0, is_torn: false };
        let (bytes, outcome) = tail.append(b"one\ntwo\n");
        assert!(outcome.is_err());
        assert_eq!((bytes, tail.bytes, tail.is_torn), (0, 0, true));
    }
}
