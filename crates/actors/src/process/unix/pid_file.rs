//! Records the running processes on disk, for the run after one that was killed with its watchdog.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mainstay_runtime::private_files::PathKind;
use serde::{Deserialize, Serialize};

use super::super::manager::OpenError;

/// The file's name in the data folder.
const FILE: &str = "processes";

/// The largest file that is read. We write no larger one.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A process. Each line of the file is one, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PidFileEntry {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) started: String,
    pub(super) boot: String,
    pub(super) marker: String,
}

/// The content of a PID file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ParsedPidFile {
    pub(super) entries: Vec<PidFileEntry>,
    /// The number of lines that we did not write.
    pub(super) damaged_lines: usize,
}

impl ParsedPidFile {
    fn parse(bytes: &[u8]) -> Self {
        let mut parsed = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(entry) => parsed.entries.push(entry),
                Err(_) => parsed.damaged_lines += 1,
            }
        }
        parsed
    }
}

/// The PID file of this run.
#[derive(Debug)]
pub(super) struct PidFile {
    file: Option<PathBuf>,
    entries: Vec<PidFileEntry>,
    /// Held so that one runtime uses the file. The system releases it with this process, however that ends.
    lock: Option<File>,
}

impl PidFile {
    /// Takes the folder's PID file over, and returns its content. Without a folder nothing is recorded.
    pub(super) fn open(folder: Option<&Path>) -> Result<(Self, ParsedPidFile), OpenError> {
        let Some(folder) = folder else {
            return Ok((Self { file: None, entries: Vec::new(), lock: None }, ParsedPidFile::default()));
        };
        let file = folder.join(FILE);
        let lock = lock_file(&file.with_extension("lock"))?;
        let parsed = match read_file(&file) {
            Ok(bytes) => ParsedPidFile::parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ParsedPidFile::default(),
            Err(source) => return Err(unreadable(&file, source)),
        };
        if parsed.damaged_lines > 0 {
            // One copy is enough to examine the damage.
            let _ = fs::copy(&file, file.with_extension("damaged"));
        }
        Ok((Self { file: Some(file), entries: Vec::new(), lock: Some(lock) }, parsed))
    }

    /// Leaves the file to the next run. Later changes are not recorded.
    pub(super) fn close(&mut self) {
        self.file = None;
        if let Some(lock) = self.lock.take() {
            // Closing the file is not enough: a process that is being started holds a copy of it until it executes its
            // program, and the lock with it. Where unlocking fails, closing has to do.
            let _ = lock.unlock();
        }
    }

    /// Changes the records, and writes the file in one step.
    pub(super) async fn update(&mut self, change: impl FnOnce(&mut Vec<PidFileEntry>)) -> io::Result<()> {
        change(&mut self.entries);
        let Some(file) = self.file.clone() else { return Ok(()) };
        let mut bytes = Vec::new();
        for entry in &self.entries {
            serde_json::to_writer(&mut bytes, entry)?;
            bytes.push(b'\n');
        }
        let written = tokio::task::spawn_blocking(move || replace_file(&file, &bytes));
        written.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        self.close();
    }
}

fn read_file(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(file)?, BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

/// Writes without a sync, because no process outlives a crash of the system.
fn replace_file(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    private_file_options().truncate(true).open(&beside)?.write_all(bytes)?;
    fs::rename(&beside, file)
}

fn unreadable(file: &Path, error: io::Error) -> OpenError {
    OpenError::Unreadable { file: file.to_owned(), source: PathKind::File.error_at(file)(error) }
}

fn lock_file(file: &Path) -> Result<File, OpenError> {
    let lock = private_file_options().open(file).map_err(|error| unreadable(file, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { file: file.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unreadable(file, source)),
    }
}

fn private_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(pid: u32) -> PidFileEntry {
        let text = |text: &str| text.to_owned();
        let (started, boot) = (text("77"), text("b"));
        PidFileEntry { name: text("planner"), pid, started, boot, marker: format!("m-{pid}") }
    }

    #[tokio::test]
    async fn pid_file_is_read_by_the_next_run_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let (mut pid_file, parsed) = PidFile::open(Some(folder.path())).unwrap();
        assert_eq!(parsed, ParsedPidFile::default());
        pid_file.update(|entries| entries.extend([entry(7), entry(8)])).await.unwrap();
        pid_file.update(|entries| entries.retain(|entry| entry.pid != 7)).await.unwrap();
        drop(pid_file);
        let (_, parsed) = PidFile::open(Some(folder.path())).unwrap();
        assert_eq!(parsed, ParsedPidFile { entries: vec![entry(8)], damaged_lines: 0 });
        let mode = folder.path().join(FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn pid_file_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = PidFile::open(Some(folder.path())).unwrap();
        let error = PidFile::open(Some(folder.path())).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    }

    #[test]
    fn damaged_lines_are_skipped_and_the_file_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let good = serde_json::to_string(&entry(7)).unwrap();
        let text = format!("{{\"name\":\"pl\n\u{0}\u{1}\n{good}\n{{}}\n[1]\n{}", &good[..20]);
        fs::write(folder.path().join(FILE), &text).unwrap();
        let (_, parsed) = PidFile::open(Some(folder.path())).unwrap();
        assert_eq!(parsed, ParsedPidFile { entries: vec![entry(7)], damaged_lines: 5 });
        assert_eq!(fs::read_to_string(folder.path().join("processes.damaged")).unwrap(), text);
    }

    #[tokio::test]
    async fn failed_write_is_an_error_and_keeps_its_entries() {
        let folder = tempfile::tempdir().unwrap();
        let (mut pid_file, _) = PidFile::open(Some(folder.path())).unwrap();
        fs::create_dir(folder.path().join("processes.new")).unwrap();
        pid_file.update(|entries| entries.push(entry(7))).await.unwrap_err();
        fs::remove_dir(folder.path().join("processes.new")).unwrap();
        pid_file.update(|entries| entries.push(entry(8))).await.unwrap();
        drop(pid_file);
        assert_eq!(PidFile::open(Some(folder.path())).unwrap().1.entries, [entry(7), entry(8)]);
    }
}
