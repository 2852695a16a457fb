//! Which numbers are spoken for, on disk: so that none is given twice, however a run ends.
//!
//! A run may show only numbers that it has reserved here. If it ends in order, it says so and names the last number that
//! it gave; if it does not, the next run goes on after all that were reserved.
//!
//! The file has its full size from the first day on and is overwritten in place, so that a full disk need not refuse it.
//! It holds the note twice, and they are overwritten in turn: a torn one leaves the one before.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::line;
use super::permissions;

/// A sector: what a disk writes as a whole.
const NOTE_BYTES: usize = 512;
const FILE_NAME: &str = "journal.numbers";

/// What is known of the runs so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Grows with each note.
    turn: u64,
    /// No number above this one was ever given.
    pub(super) through: u64,
    /// The last run ended in order, and `through` is the last number that it gave.
    pub(super) is_concluded: bool,
}

/// What the file said when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is new.
    Unused,
    /// It is not what this journal writes.
    Unreadable,
    Known(Note),
}

/// The file.
#[derive(Debug)]
pub(super) struct Numbers {
    file: File,
    turn: u64,
    /// Both notes have their room in the file.
    has_room: bool,
}

impl Numbers {
    /// Opens the file, or makes it. Whoever calls this holds the folder's lock.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Standing)> {
        let path = dir.join(FILE_NAME);
        let mut file = permissions::private_file_options().read(true).write(true).truncate(false).open(path)?;
        let mut content = Vec::new();
        Read::by_ref(&mut file).take(2 * NOTE_BYTES as u64).read_to_end(&mut content)?;
        let note = content.chunks_exact(NOTE_BYTES).filter_map(read).max_by_key(|note| note.turn);
        let standing = match note {
            Some(note) => Standing::Known(note),
            None if content.is_empty() => Standing::Unused,
            None => Standing::Unreadable,
        };
        let turn = note.map_or(0, |note| note.turn);
        Ok((Self { file, turn, has_room: content.len() == 2 * NOTE_BYTES }, standing))
    }

    /// Notes durably that numbers up to `through` may be given.
    pub(super) fn reserve(&mut self, through: u64) -> io::Result<()> {
        self.write(through, false)
    }

    /// Notes durably that this run has ended in order, and that `last` is the last number that it gave.
    pub(super) fn conclude(&mut self, last: u64) -> io::Result<()> {
        self.write(last, true)
    }

    fn write(&mut self, through: u64, is_concluded: bool) -> io::Result<()> {
        let note = Note { turn: self.turn + 1, through, is_concluded };
        let text = text(&note);
        if self.has_room {
            let place = note.turn % 2 * NOTE_BYTES as u64;
            self.file.seek(SeekFrom::Start(place))?;
            self.file.write_all(text.as_bytes())?;
        } else {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text.repeat(2).as_bytes())?;
        }
        self.file.sync_data()?;
        self.has_room = true;
        self.turn = note.turn;
        Ok(())
    }
}

fn text(note: &Note) -> String {
    // Plain data always serialises.
    let mut text = serde_json::to_string(note).unwrap_or_default();
    line::append_checksum(&mut text);
    format!("{text:width$}\n", width = NOTE_BYTES - 1)
}

fn read(note: &[u8]) -> Option<Note> {
    let sealed = std::str::from_utf8(note).ok()?.trim_end();
    serde_json::from_str(&line::verify_checksum(sealed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn standing(dir: &Path) -> Standing {
        Numbers::open(dir).unwrap().1
    }

    fn known(dir: &Path) -> (u64, bool) {
        let Standing::Known(note) = standing(dir) else { panic!("nothing is known") };
        (note.through, note.is_concluded)
    }

    #[test]
    fn the_newest_note_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(standing(dir.path()), Standing::Unused);
        for through in [10, 20, 30] {
            Numbers::open(dir.path()).unwrap().0.reserve(through).unwrap();
            assert_eq!(known(dir.path()), (through, false));
        }
        Numbers::open(dir.path()).unwrap().0.conclude(23).unwrap();
        assert_eq!(known(dir.path()), (23, true));
    }

    #[test]
    fn the_file_never_grows_after_the_first_note() {
        let dir = tempfile::tempdir().unwrap();
        let (mut numbers, _) = Numbers::open(dir.path()).unwrap();
        for through in [1, u64::MAX / 2] {
            numbers.reserve(through).unwrap();
            assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().len(), 2 * NOTE_BYTES as u64);
        }
    }

    #[test]
    fn a_note_that_is_torn_at_any_byte_leaves_it_or_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (mut numbers, _) = Numbers::open(dir.path()).unwrap();
        numbers.reserve(10).unwrap();
        numbers.reserve(20).unwrap();
        let before = fs::read(&path).unwrap();
        numbers.reserve(30).unwrap();
        let after = fs::read(&path).unwrap();
        let places: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        for torn in 0..=places.len() {
            let mut content = before.clone();
            places[..torn].iter().for_each(|at| content[*at] = after[*at]);
            fs::write(&path, content).unwrap();
            let expected = if torn == places.len() { 30 } else { 20 };
            assert_eq!(known(dir.path()).0, expected, "after {torn} bytes");
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_told_from_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "x".repeat(5000)).unwrap();
        assert_eq!(standing(dir.path()), Standing::Unreadable);
    }
}
