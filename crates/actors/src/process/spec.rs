//! Describes the process to start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use thiserror::Error;

use crate::error::Secrets;

/// The variable in a process's environment that names its owner, even when the process leaves its group.
pub(super) const MARKER_VARIABLE: &str = "MAINSTAY_PROCESS";

/// A process to start, and the way to end it.
#[derive(Clone)]
pub struct ProcessSpec {
    /// The name in the PID file and in logs.
    pub name: String,
    /// The program, then its arguments. A program without a slash is searched in `PATH`; a relative one with a slash
    /// is found from `cwd`.
    pub command: Vec<String>,
    /// The folder in which it runs; the runtime's own if there is none.
    pub cwd: Option<PathBuf>,
    /// Variables that are added to the runtime's environment.
    pub env: BTreeMap<String, String>,
    /// The time between the request to end and the kill. Zero kills at once.
    pub grace: Duration,
    /// The secrets that its output may repeat, beside those in `env`.
    pub secrets: Secrets,
}

impl ProcessSpec {
    /// Creates a spec for a command in the runtime's own folder and environment, with a grace of 5 s.
    pub fn new(name: impl Into<String>, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
            grace: Duration::from_secs(5),
            secrets: Secrets::default(),
        }
    }

    /// Returns all secrets that its output may repeat.
    pub(crate) fn known_secrets(&self) -> Secrets {
        self.secrets.clone().with_environment(&self.env).materialize()
    }

    /// Checks that the process can start, so that a defect is reported before anything runs.
    pub(super) fn check(&self) -> Result<(), SpawnError> {
        let Some(program) = self.command.first().filter(|program| !program.is_empty()) else {
            return Err(SpawnError::NoCommand);
        };
        if let Some(name) = self.env.keys().find(|name| !is_variable_name(name)) {
            return Err(SpawnError::InvalidVariable { name: name.clone() });
        }
        let mut texts = self.command.iter().chain(self.env.values());
        if texts.any(|text| text.contains('\0')) {
            return Err(SpawnError::ContainsNul);
        }
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
            return Err(SpawnError::NoWorkingDir { cwd: cwd.clone() });
        }
        self.find(program)
    }

    #[cfg(not(unix))]
    fn find(&self, _: &str) -> Result<(), SpawnError> {
        // Spawning reports the rest.
        Ok(())
    }

    #[cfg(unix)]
    fn find(&self, program: &str) -> Result<(), SpawnError> {
        use std::os::unix::ffi::OsStrExt;
        use std::path::Path;

        let places: Vec<PathBuf> = if program.contains('/') {
            vec![PathBuf::from(program)]
        } else {
            let path = self.env.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH"));
            // A shell's default if `PATH` is not set.
            let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            let folders = path.as_bytes().split(|byte| *byte == b':');
            folders.map(|folder| Path::new(std::ffi::OsStr::from_bytes(folder)).join(program)).collect()
        };
        let from = self.cwd.clone().unwrap_or_default();
        let found: Vec<std::fs::Metadata> =
            places.iter().filter_map(|place| from.join(place).metadata().ok()).collect();
        if found.iter().any(is_runnable) {
            return Ok(());
        }
        let program = program.to_owned();
        match found.is_empty() {
            true => Err(SpawnError::NoProgram { program }),
            false => Err(SpawnError::NotRunnable { program }),
        }
    }
}

impl fmt::Debug for ProcessSpec {
    /// Arguments and values of the environment may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSpec")
            .field("name", &self.name)
            .field("program", &self.command.first())
            .field("arguments", &self.command.len().saturating_sub(1))
            .field("cwd", &self.cwd)
            .field("env", &self.env.keys())
            .field("grace", &self.grace)
            .finish()
    }
}

#[cfg(unix)]
fn is_runnable(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    file.is_file() && file.permissions().mode() & 0o111 != 0
}

/// Returns whether a shell passes a variable of this name on.
fn is_variable_name(name: &str) -> bool {
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name != MARKER_VARIABLE
}

/// Says why a process was not started. Nothing of it runs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The command has no program.
    #[error("the command is empty: it has to begin with a program")]
    NoCommand,
    /// There is no such program.
    #[error("there is no program `{program}`: check its name, its place and PATH")]
    NoProgram {
        /// The program, as in the command.
        program: String,
    },
    /// The file exists, but cannot be executed.
    #[error("`{program}` cannot be run: it is no program, or its permission to be run is missing")]
    NotRunnable {
        /// The program, as in the command.
        program: String,
    },
    /// The folder in which it was to run does not exist.
    #[error("the folder `{}` in which it is to run does not exist", cwd.display())]
    NoWorkingDir {
        /// The folder.
        cwd: PathBuf,
    },
    /// A name in the environment cannot be passed on.
    #[error(
        "the environment cannot have `{name}`: a name is letters, digits and `_`, does not begin with a digit, \
         and is not `{MARKER_VARIABLE}`"
    )]
    InvalidVariable {
        /// The name.
        name: String,
    },
    /// A text in the command or the environment contains a NUL.
    #[error("the command and the environment cannot contain a NUL character")]
    ContainsNul,
    /// The system did not start it.
    #[error("the system did not start it: {0}")]
    Io(#[source] io::Error),
    /// No watchdog would end the process if the runtime were killed, so it was not started.
    #[error("it was not started, for nothing would end it if this program were killed: {0}")]
    NoWatchdog(String),
    /// The runtime is stopping.
    #[error("it was not started, for everything is being stopped")]
    Stopping,
}

impl SpawnError {
    /// Returns whether a later start of the same spec would fail as well, until a person changes something.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoCommand
            | Self::NoProgram { .. }
            | Self::NotRunnable { .. }
            | Self::NoWorkingDir { .. }
            | Self::InvalidVariable { .. }
            | Self::ContainsNul => true,
            Self::Io(_) | Self::NoWatchdog(_) | Self::Stopping => false,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check_command(command: &[&str]) -> String {
        check_text(&ProcessSpec::new("it", command.iter().copied()))
    }

    fn check_text(spec: &ProcessSpec) -> String {
        spec.check().map_or_else(|fault| fault.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn program_is_found_by_path_and_working_dir() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(check_command(&["sh"]), "fine");
        assert_eq!(check_command(&["/bin/sh"]), "fine");
        assert_eq!(check_command(&[file.to_str().unwrap()]), "fine");
        let mut spec = ProcessSpec::new("it", ["./tool"]);
        assert!(check_text(&spec).starts_with("there is no program `./tool`"), "{}", check_text(&spec));
        spec.cwd = Some(folder.path().to_owned());
        assert_eq!(check_text(&spec), "fine");
        let mut spec = ProcessSpec::new("it", ["tool"]);
        assert!(check_text(&spec).starts_with("there is no program `tool`"));
        spec.env.insert("PATH".to_owned(), folder.path().to_str().unwrap().to_owned());
        assert_eq!(check_text(&spec), "fine");
    }

    #[test]
    fn unrunnable_file_differs_from_a_missing_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes");
        std::fs::write(&file, "text").unwrap();
        assert!(check_command(&[file.to_str().unwrap()]).contains("cannot be run"));
        assert!(check_command(&[folder.path().to_str().unwrap()]).contains("cannot be run"));
        assert!(check_command(&["mainstay-has-no-such-program"]).starts_with("there is no program"));
    }

    #[test]
    fn invalid_command_cwd_or_variable_is_refused() {
        assert!(check_command(&[]).contains("empty"));
        assert!(check_command(&[""]).contains("empty"));
        assert!(check_command(&["sh", "a\0b"]).contains("NUL"));
        let mut spec = ProcessSpec::new("it", ["sh"]);
        spec.cwd = Some("/mainstay/has/no/such/folder".into());
        assert!(check_text(&spec).contains("`/mainstay/has/no/such/folder`"));
        for name in ["", "1A", "A-B", "A=B", MARKER_VARIABLE] {
            let mut spec = ProcessSpec::new("it", ["sh"]);
            spec.env.insert(name.to_owned(), "x".to_owned());
            assert!(check_text(&spec).contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn spec_debug_shows_no_argument_or_value() {
        let mut spec = ProcessSpec::new("it", ["sh", "--token=hunter2"]);
        spec.env.insert("KEY".to_owned(), "hunter2".to_owned());
        let debug = format!("{spec:?}");
        assert!(debug.contains("KEY") && !debug.contains("hunter2"), "{debug}");
    }
}
