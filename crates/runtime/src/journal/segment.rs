//! The files of a journal: their names, their order, and how one that a crash left behind is taken up again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::private;
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

    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix("journal-")?.strip_suffix(".jsonl")?;
        let first_seq = digits.parse().ok()?;
        Some(Self { first_seq, path })
    }
}

/// The segments in `dir`, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        segments.extend(Segment::of(entry?.path()));
    }
    segments.sort();
    Ok(segments)
}

/// A segment open for appending.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: File,
    /// The length up to the last whole line.
    pub(super) bytes: u64,
    /// The last number in it.
    pub(super) last_seq: u64,
}

/// Opens `segment` for appending, cuts off a torn last line, and finds out where the numbering stands.
///
/// Whole lines that are damaged stay where they are, and each counts as one number, so that none is used twice.
pub(super) fn take_up(segment: &Segment) -> io::Result<Tail> {
    let mut file = private::file().read(true).append(true).open(&segment.path)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < content.len() {
        file.set_len(whole as u64)?;
    }
    let mut last_seq = segment.first_seq.saturating_sub(1);
    for line in content[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let parsed = std::str::from_utf8(line).ok().and_then(|text| Record::parse(text).ok());
        last_seq = parsed.map_or(last_seq + 1, |record| record.seq);
    }
    Ok(Tail { file, bytes: whole as u64, last_seq })
}
