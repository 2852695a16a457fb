//! The data folder of a runtime: its journal, its states, its logs, and its address while it runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_runtime::private_files::{PathKind, create_private_dir};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The beginning of the name of a file that becomes `control.json`.
#[cfg(feature = "control")]
const CONTROL_TEMP_PREFIX: &str = "control.json.";

/// The address of a running runtime: the content of `control.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlFile {
    /// The process.
    pub pid: u32,
    /// The port of the control server on 127.0.0.1.
    pub port: u16,
    /// The token that every request must carry.
    pub token: String,
    /// The id of the run.
    pub boot: String,
    /// True if the runtime is that of `mainstay demo`, whose backend has faults on demand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub demo: bool,
}

impl std::fmt::Debug for ControlFile {
    /// Omits the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlFile")
            .field("pid", &self.pid)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The reasons why the data folder cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The system refused.
    #[error("the data folder cannot be used: {source}")]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// The system's error, with the path.
        source: io::Error,
    },
    /// `control.json` exists and cannot be read.
    #[error(
        "{path} is no control file: {reason}. If no runtime uses this folder, delete that file; each start writes it",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
}

/// The data folder of a runtime. Only one runtime at a time writes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Returns the data folder at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the journal's path.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Returns the path of the states that outlive the process.
    #[must_use]
    pub fn states(&self) -> PathBuf {
        self.0.join("state.redb")
    }

    /// Returns the folder of the logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    fn control(&self) -> PathBuf {
        self.0.join("control.json")
    }

    /// Makes the folder, for this user alone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(&self) -> Result<(), DataDirError> {
        create_private_dir(&self.0).map_err(|error| io_error(PathKind::Folder, self.0.clone(), error))
    }

    /// Writes the address of the runtime: atomically, and readable for this user only. Removes what killed runtimes left
    /// of theirs, which holds a token: the caller has locked the folder.
    #[cfg(feature = "control")]
    pub(crate) fn write_control(&self, control: &ControlFile) -> Result<(), DataDirError> {
        let write = || -> io::Result<()> {
            for entry in fs::read_dir(&self.0)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(CONTROL_TEMP_PREFIX) {
                    fs::remove_file(entry.path())?;
                }
            }
            let mut file = tempfile::Builder::new().prefix(CONTROL_TEMP_PREFIX).tempfile_in(&self.0)?;
            serde_json::to_writer_pretty(&mut file, control)?;
            file.as_file().sync_all()?;
            file.persist(self.control())?;
            Ok(())
        };
        write().map_err(|error| io_error(PathKind::File, self.control(), error))
    }

    /// Writes the address of the runtime if it is missing or emptied, for example because the whole folder was deleted.
    #[cfg(feature = "control")]
    pub(crate) fn restore_control(&self, control: &ControlFile) -> Result<(), DataDirError> {
        if matches!(self.read_control(), Ok(None) | Err(DataDirError::Malformed { .. })) {
            self.create()?;
            self.write_control(control)?;
        }
        Ok(())
    }

    /// Returns the address of the runtime; `None` if the folder has none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read_control(&self) -> Result<Option<ControlFile>, DataDirError> {
        Self::read_control_at(self.control())
    }

    /// Returns the address of the last run, which has ended in order or was killed: the caller has locked the folder.
    #[cfg(feature = "control")]
    pub(crate) fn last_control(&self) -> Option<ControlFile> {
        let read = |path| Self::read_control_at(path).ok().flatten();
        read(self.control()).or_else(|| read(self.last_control_path()))
    }

    #[cfg(feature = "control")]
    fn last_control_path(&self) -> PathBuf {
        self.0.join("control-last.json")
    }

    fn read_control_at(path: PathBuf) -> Result<Option<ControlFile>, DataDirError> {
        match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content)
                .map(Some)
                .map_err(|_| DataDirError::Malformed { path, reason: control_fault(&content) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(PathKind::File, path, error)),
        }
    }

    /// Renames `control.json`, if it is that of the run `boot`, so that the next run can have the same address.
    #[cfg(feature = "control")]
    pub(crate) fn clear_control(&self, boot: &str) {
        if let Ok(Some(control)) = self.read_control()
            && control.boot == boot
        {
            // A file that stays behind names a port on which no server answers.
            let _ = fs::rename(self.control(), self.last_control_path());
        }
    }
}

/// Returns what is wrong with the content of a `control.json` that cannot be read.
fn control_fault(content: &[u8]) -> String {
    match serde_json::from_slice::<Value>(content) {
        Err(_) if content.trim_ascii().is_empty() => "it is empty".to_owned(),
        Err(error) if error.is_eof() => format!("it breaks off in line {}", error.line()),
        Err(error) => format!("line {} is no JSON", error.line()),
        Ok(Value::Object(members)) => {
            let missing =
                ["pid", "port", "token", "boot"].into_iter().find(|name| !members.contains_key(*name));
            missing.map_or_else(
                || "pid and port are to be numbers, token and boot texts".to_owned(),
                |name| format!("it has no \"{name}\""),
            )
        }
        Ok(_) => "it holds no JSON object".to_owned(),
    }
}

fn io_error(kind: PathKind, path: PathBuf, error: io::Error) -> DataDirError {
    let source = kind.error_at(&path)(error);
    DataDirError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(boot: &str) -> ControlFile {
        ControlFile { pid: 7, port: 8, token: "secret".to_owned(), boot: boot.to_owned(), demo: false }
    }

    #[cfg(feature = "control")]
    #[test]
    fn control_file_round_trips_and_only_its_run_clears_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path().join("deep/er"));
        data.create().unwrap();
        assert_eq!(data.read_control().unwrap(), None);
        let left_by_a_kill = data.0.join(format!("{CONTROL_TEMP_PREFIX}x1y2z3"));
        fs::write(&left_by_a_kill, "secret").unwrap();
        data.write_control(&control("a")).unwrap();
        assert!(!left_by_a_kill.exists());
        assert_eq!(data.read_control().unwrap(), Some(control("a")));
        data.clear_control("b");
        assert!(data.read_control().unwrap().is_some());
        data.clear_control("a");
        assert_eq!(data.read_control().unwrap(), None);
    }

    #[cfg(all(feature = "control", unix))]
    #[test]
    fn folder_and_control_file_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path().join("data"));
        data.create().unwrap();
        data.write_control(&control("a")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(data.path()), mode(&data.control())), (0o700, 0o600));
    }

    #[test]
    fn control_file_that_makes_no_sense_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        for (content, fault) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("{", "it breaks off in line 1"),
            ("{\n no", "line 2 is no JSON"),
            ("7", "it holds no JSON object"),
            (r#"{"pid":7,"token":"secret"}"#, "it has no \"port\""),
            (
                r#"{"pid":7,"port":"secret","token":"t","boot":"b"}"#,
                "pid and port are to be numbers, token and boot texts",
            ),
        ] {
            fs::write(data.control(), content).unwrap();
            let error = data.read_control().unwrap_err().to_string();
            let expected = format!(
                "{} is no control file: {fault}. If no runtime uses this folder, delete that file; each start writes it",
                data.control().display()
            );
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn token_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", control("a")).contains("secret"));
    }
}
