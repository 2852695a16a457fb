//! The files of a journal: their names, their order, and the repair of one that a crash left behind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, NUMBER_MAX};
use crate::private_files::{PathKind, is_same_file, private_file_options};

/// A file of a journal, named after the first event that it may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) first: Cursor,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(dir: &Path, first: Cursor) -> Self {
        Self { first, path: dir.join(format!("journal-{:010}-{:016}.jsonl", first.run, first.seq)) }
    }

    fn from_path(path: PathBuf) -> Option<Self> {
        let (run, seq) = name(&path)?.split_once('-')?;
        let first = Cursor::new(number(run)?, number(seq)?);
        Some(Self { first, path })
    }
}

/// Returns the part of a file's name that says which events it holds.
fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix("journal-")?.strip_suffix(".jsonl")
}

fn number(digits: &str) -> Option<u64> {
    let is_safe_prose = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_safe_prose.then(|| digits.parse().ok()).flatten().filter(|number| *number <= NUMBER_MAX)
}

/// Lists the segments in `dir`, oldest first.
pub(super) fn list_segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(PathKind::Folder.error_at(dir))? {
        segments.extend(Segment::from_path(entry?.path()));
    }
    segments.sort();
    Ok(segments)
}

/// Lists the files in `dir` of the previous format, whose events have no run. They are neither read nor deleted.
pub(super) fn list_older_format(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(PathKind::Folder.error_at(dir))? {
        let path = entry?.path();
        if name(&path).is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A segment open for appending.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    path: PathBuf,
    /// The length up to the end of the last whole line.
    pub(super) bytes: u64,
    /// Bytes may follow the last whole line.
    is_torn: bool,
}

impl Tail {
    /// Opens `segment` for appending, cuts off a torn last line, and returns its whole lines as well.
    ///
    /// Whole lines that are damaged stay where they are.
    pub(super) fn open(segment: &Segment) -> io::Result<(Self, Vec<u8>)> {
        let located = PathKind::File.error_at(&segment.path);
        let options = private_file_options();
        let mut file = options.clone().read(true).append(true).open(&segment.path).map_err(&located)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(&located)?;
        let whole = complete_bytes(&content);
        let is_torn = whole < content.len();
        let mut tail = Self { file, path: segment.path.clone(), bytes: whole as u64, is_torn };
        tail.truncate_torn()?;
        content.truncate(whole);
        Ok((tail, content))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines and syncs them. Also returns how many bytes of whole lines are safely on disk: all, unless
    /// there is an error.
    ///
    /// The rest must be passed again before any other lines, because readers may have seen it.
    pub(super) fn append(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if let Err(error) = self.truncate_torn() {
            return (0, Err(error));
        }
        self.is_torn = true;
        let (written, outcome) = write_counted(&mut self.file, lines);
        let whole = complete_bytes(&lines[..written]);
        // A sync that fails may have lost any of it, so all of it is written again, at the same place.
        if let Err(error) = self.file.sync_data() {
            return (0, outcome.and(Err(error)));
        }
        self.bytes += whole as u64;
        self.is_torn = whole < written;
        let outcome = outcome.and(self.truncate_torn());
        (whole, outcome)
    }

    /// Returns whether the file at the path is still the open one, with everything that was written. It may have been
    /// deleted, replaced or emptied.
    pub(super) fn is_in_place(&self) -> bool {
        let Ok(at_path) = fs::metadata(&self.path) else { return false };
        at_path.len() >= self.bytes && is_same_file(&self.file, &at_path)
    }

    fn truncate_torn(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        Ok(())
    }
}

/// Writes as much as fits, and returns how much that was.
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

/// Returns how many bytes of `content` are whole lines.
pub(super) fn complete_bytes(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_listed_by_run_then_seq() {
        let dir = tempfile::tempdir().unwrap();
        let firsts = [(2, 1), (1, 900), (10, 1), (1, 1)].map(|(run, seq)| Cursor::new(run, seq));
        for first in firsts {
            fs::write(Segment::new(dir.path(), first).path, "").unwrap();
        }
        let older = "journal-00000000000000000001.jsonl";
        let beyond = "journal-18446744073709551615-0000000000000001.jsonl";
        for name in
            [older, beyond, "journal.lock", "journal-.jsonl", "journal-a-b.jsonl", "journal-+1-+1.jsonl"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let listed: Vec<_> =
            list_segments(dir.path()).unwrap().into_iter().map(|segment| segment.first).collect();
        assert_eq!(listed, [(1, 1), (1, 900), (2, 1), (10, 1)].map(|(run, seq)| Cursor::new(run, seq)));
        assert_eq!(list_older_format(dir.path()).unwrap(), [dir.path().join(older)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn unsynced_bytes_do_not_count_as_written() {
        // This device takes every byte, and refuses to sync.
        let path = PathBuf::from("/dev/null");
        let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut tail = Tail { file, path, bytes: 0, is_torn: false };
        let (bytes, outcome) = tail.append(b"one\ntwo\n");
        assert!(outcome.is_err());
        assert_eq!((bytes, tail.bytes, tail.is_torn), (0, 0, true));
    }
}
