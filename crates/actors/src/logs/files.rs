//! The files of a log: `ID.log`, which is written to, and the older `ID.1.log`, `ID.2.log` and so on.
//!
//! The highest number is the newest of the older files. A number is never used twice, so a reader notices each change
//! of files, and knows which file comes next.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mainstay_runtime::private_files::{PathKind, create_private_dir, is_same_file, private_file_options};

/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 64;

/// Names that Windows gives to devices, with any extension.
const DEVICE_NAMES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Marks the id of a file that would have the name of a device. No id has it.
const DEVICE_MARK: char = '~';

/// The places of the files of one log.
#[derive(Debug, Clone)]
pub(super) struct LogFiles {
    dir: PathBuf,
    stem: String,
}

impl LogFiles {
    /// Returns the files of the log `id` in a folder; `None` if that can be no id.
    pub(super) fn new(dir: &Path, id: &str) -> Option<Self> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(is_valid) {
            return None;
        }
        let stem = if is_device(id) { format!("{id}{DEVICE_MARK}") } else { id.to_owned() };
        Some(Self { dir: dir.to_owned(), stem })
    }

    /// Returns the path of the file that is written to.
    pub(super) fn current(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.stem))
    }

    /// Returns the path of an older file.
    pub(super) fn older(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{}.{number}.log", self.stem))
    }

    /// Returns the numbers of the older files, oldest first. A folder that is missing has none.
    pub(super) fn older_numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers: Vec<u64> = file_names(&self.dir)?
            .iter()
            .filter_map(|name| {
                name.strip_prefix(&*self.stem)?.strip_prefix('.')?.strip_suffix(".log")?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn remove(&self) -> io::Result<()> {
        for number in self.older_numbers()? {
            fs::remove_file(self.older(number))?;
        }
        fs::remove_file(self.current())
    }
}

/// Returns the ids of the logs in a folder, in order. A folder that is missing has none.
///
/// # Errors
/// Fails if the folder cannot be read.
pub fn list_logs(dir: &Path) -> io::Result<Vec<String>> {
    let mut ids: Vec<String> = file_names(dir)?
        .iter()
        .filter_map(|name| {
            let stem = name.strip_suffix(".log")?;
            let id = stem.strip_suffix(DEVICE_MARK).unwrap_or(stem);
            LogFiles::new(dir, id).filter(|files| files.stem == stem).map(|_| id.to_owned())
        })
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Deletes the logs that are not among `known`, except the `kept_max` that were written to last.
pub(super) fn remove_forgotten(dir: &Path, known: impl Fn(&str) -> bool, kept_max: usize) -> io::Result<()> {
    let forgotten = list_logs(dir)?.into_iter().filter(|id| !known(id));
    let mut forgotten: Vec<(SystemTime, LogFiles)> = forgotten
        .filter_map(|id| {
            let files = LogFiles::new(dir, &id)?;
            Some((fs::metadata(files.current()).and_then(|file| file.modified()).ok()?, files))
        })
        .collect();
    forgotten.sort_unstable_by_key(|(written_at, _)| *written_at);
    let surplus = forgotten.len().saturating_sub(kept_max);
    forgotten.iter().take(surplus).try_for_each(|(_, files)| files.remove())
}

fn file_names(dir: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(PathKind::Folder.error_at(dir)(error)),
    }
}

fn is_device(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    let is_port = |name: &str| {
        id.strip_prefix(name)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    DEVICE_NAMES.contains(&&*id) || is_port("com") || is_port("lpt")
}

/// The limits of the files of one log.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileLimits {
    /// The size at which a new file begins.
    pub(super) file_bytes: u64,
    /// The most files, the one that is written to included.
    pub(super) files: usize,
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct LogFile {
    files: LogFiles,
    file: File,
    /// The bytes of whole lines in it.
    bytes: u64,
    /// True if there may be a part of a line behind them.
    is_torn: bool,
    /// The number of the last file that was renamed.
    last_number: u64,
}

impl LogFile {
    /// Opens the file, and creates it and its folder if they do not exist.
    pub(super) fn open(files: LogFiles) -> io::Result<Self> {
        create_private_dir(&files.dir).map_err(PathKind::Folder.error_at(&files.dir))?;
        let path = files.current();
        let mut file = private_file_options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(PathKind::File.error_at(&path))?;
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut opened = Self { files, file, bytes, is_torn: false, last_number: 0 };
        if bytes > 0 {
            let mut last = [0];
            opened.file.seek(SeekFrom::End(-1))?;
            opened.file.read_exact(&mut last)?;
            if last != [b'\n'] {
                // A crash has cut the last line. What is left of it stays.
                opened.file.write_all(b"\n")?;
                opened.bytes += 1;
            }
        }
        Ok(opened)
    }

    /// Appends whole lines straight to the file, in new files as far as the limits demand. Also returns how many bytes
    /// of whole lines are in the files: all, unless there is an error.
    pub(super) fn append(&mut self, lines: &str, limits: FileLimits) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < lines.len() {
            let rest = &lines[done..];
            let room = limits.file_bytes.saturating_sub(self.bytes);
            let part = &rest[..whole_lines_within(rest, room)];
            let outcome = if part.is_empty() && self.bytes > 0 {
                self.rotate(limits)
            } else {
                let part = if part.is_empty() { &rest[..first_line_end(rest)] } else { part };
                let outcome = self.write(part.as_bytes());
                done += if outcome.is_ok() { part.len() } else { 0 };
                outcome
            };
            if outcome.is_err() {
                return (done, outcome);
            }
        }
        (done, Ok(()))
    }

    /// Returns whether the file at the path is still the open one, with everything that was written. It may have been
    /// deleted, replaced or emptied.
    pub(super) fn is_in_place(&self) -> bool {
        let Ok(at_path) = fs::metadata(self.files.current()) else { return false };
        at_path.len() >= self.bytes && is_same_file(&self.file, &at_path)
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        self.file.seek(SeekFrom::Start(self.bytes))?;
        if let Err(error) = self.file.write_all(lines) {
            // A reader must not take what was written of it for a line.
            self.is_torn = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, limits: FileLimits) -> io::Result<()> {
        let older = self.files.older_numbers()?;
        // Older files may have been deleted, and their numbers are not used again.
        let number = older.last().copied().unwrap_or_default().max(self.last_number) + 1;
        fs::rename(self.files.current(), self.files.older(number))?;
        self.last_number = number;
        let file = private_file_options().read(true).write(true).open(self.files.current())?;
        (self.file, self.bytes, self.is_torn) = (file, 0, false);
        // The file that was just renamed and the new one count as well.
        let surplus = (older.len() + 2).saturating_sub(limits.files);
        older.iter().take(surplus).try_for_each(|number| fs::remove_file(self.files.older(*number)))
    }
}

/// Returns the bytes of the whole lines at the beginning of `lines` that have room in so many bytes.
fn whole_lines_within(lines: &str, room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    lines.as_bytes()[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn first_line_end(lines: &str) -> usize {
    lines.find('\n').map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FileLimits = FileLimits { file_bytes: 10, files: 3 };

    fn open(dir: &Path) -> LogFile {
        LogFile::open(LogFiles::new(dir, "it").unwrap()).unwrap()
    }

    fn content(dir: &Path) -> Vec<(String, String)> {
        let mut names = file_names(dir).unwrap();
        names.sort();
        names.into_iter().map(|name| (name.clone(), fs::read_to_string(dir.join(&name)).unwrap())).collect()
    }

    #[test]
    fn files_are_bounded_in_size_and_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(&dir.path().join("logs"));
        let lines: String = (10..30).map(|n| format!("l{n}\n")).collect();
        assert_eq!(file.append(&lines, LIMITS).0, lines.len());
        let expected = [("it.8.log", "l26\nl27\n"), ("it.9.log", "l28\nl29\n")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()));
        let found = content(&dir.path().join("logs"));
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0].1, "l24\nl25\n");
        assert_eq!(found[2], ("it.log".to_owned(), expected[1].1.clone()));
        // A line that is longer than a file has one of its own.
        file.append("a long line of its own\nx\n", LIMITS).1.unwrap();
        let found = content(&dir.path().join("logs"));
        assert_eq!(found[1].1, "a long line of its own\n");
        assert_eq!((found.len(), &*found[2].1), (3, "x\n"));
    }

    #[test]
    fn torn_line_of_a_crash_gets_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let limits = FileLimits { file_bytes: 1000, files: 2 };
        open(dir.path()).append("one\n", limits).1.unwrap();
        fs::write(dir.path().join("it.log"), "one\ntw").unwrap();
        open(dir.path()).append("three\n", limits).1.unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("it.log")).unwrap(), "one\ntw\nthree\n");
    }

    #[cfg(unix)]
    #[test]
    fn deleted_replaced_or_emptied_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.log");
        let changes: [fn(&Path); 3] = [
            |path| fs::remove_file(path).unwrap(),
            |path| {
                fs::rename(path, path.with_extension("old")).unwrap();
                fs::write(path, "other and longer\n").unwrap();
            },
            |path| fs::write(path, "").unwrap(),
        ];
        for change in changes {
            let mut file = open(dir.path());
            file.append("one\n", LIMITS).1.unwrap();
            assert!(file.is_in_place());
            change(&path);
            assert!(!file.is_in_place());
        }
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        open(&folder).append(&"line\n".repeat(9), LIMITS).1.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert!(fs::read_dir(&folder).unwrap().all(|entry| mode(&entry.unwrap().path()) == 0o600));
    }

    #[test]
    fn ids_are_names_of_files_within_the_folder() {
        let dir = Path::new("logs");
        for id in ["", ".", "..", "../x", "a/b", "a\\b", "a.b", "a b", "ä", &"x".repeat(65)] {
            assert!(LogFiles::new(dir, id).is_none(), "{id:?}");
        }
        for (id, name) in [
            ("planner-1", "planner-1.log"),
            ("Con", "Con~.log"),
            ("com1", "com1~.log"),
            ("com10", "com10.log"),
        ] {
            assert_eq!(LogFiles::new(dir, id).unwrap().current(), dir.join(name));
        }
    }

    #[test]
    fn forgotten_logs_are_bounded_and_known_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in
            ["a.log", "a.1.log", "known.log", "b.log", "nul~.log", "c.log", "notes.txt"].iter().enumerate()
        {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64)).unwrap();
        }
        assert_eq!(list_logs(dir.path()).unwrap(), ["a", "b", "c", "known", "nul"]);
        remove_forgotten(dir.path(), |id| id == "known", 2).unwrap();
        assert_eq!(list_logs(dir.path()).unwrap(), ["c", "known", "nul"]);
        assert_eq!(content(dir.path()).len(), 4);
        assert!(list_logs(&dir.path().join("absent")).unwrap().is_empty());
    }
}
