//! Describes the process to start.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
#[cfg(unix)]
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use thiserror::Error;

use super::program::{FileKind, SearchPlaces, TriedPlaces, find_program, is_sidecar};
use crate::error::Secrets;
use crate::logs::ProcessLog;

/// The variable in a process's environment that names its owner, even when the process leaves its group.
pub(super) const MARKER_VARIABLE: &str = "MAINSTAY_PROCESS";

/// The longest beginning of a script in which its interpreter is looked for, as in Linux.
#[cfg(unix)]
const FIRST_LINE_BYTES_MAX: u64 = 256;

/// A process to start, and the way to end it.
#[derive(Clone)]
pub struct ProcessSpec {
    /// The name in the PID file and in logs.
    pub name: String,
    /// The program, then its arguments. A program without a slash is searched in `PATH`; a relative one with a slash
    /// is found from `cwd`. `sidecar:NAME` comes with the application: it is searched beside this executable, with and
    /// without the target's name, then among the application's resources, then in `PATH`.
    pub command: Vec<String>,
    /// The folder in which it runs; the runtime's own if there is none.
    pub cwd: Option<PathBuf>,
    /// Variables that are added to the runtime's environment.
    pub env: BTreeMap<String, String>,
    /// The time between the request to end and the kill. Zero kills at once.
    pub grace: Duration,
    /// The part of the grace between the end of the input and the signal to end. A program can save its state then. It
    /// has no effect on Windows, where the end of the input is the only request.
    pub input_grace: Duration,
    /// The secrets that its output may repeat, beside those in `env`.
    pub secrets: Secrets,
    /// The log to which its output goes. Clones of this spec share it.
    pub log: ProcessLog,
}

impl ProcessSpec {
    /// Creates a spec for a command in the runtime's own folder and environment, with a grace of 5 s. Of its output, only
    /// the last lines are kept.
    pub fn new(name: impl Into<String>, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
            grace: Duration::from_secs(5),
            input_grace: Duration::ZERO,
            secrets: Secrets::default(),
            log: ProcessLog::default(),
        }
    }

    /// Returns all secrets that its output may repeat.
    pub(crate) fn known_secrets(&self) -> Secrets {
        self.secrets.clone().with_environment(&self.env).materialize()
    }

    /// Checks that the process can start, so that a defect is reported before anything runs.
    fn check(&self) -> Result<(), SpawnError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(SpawnError::NoCommand);
        }
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
        Ok(())
    }

    /// Checks whether the process could start now. Nothing runs.
    ///
    /// # Errors
    /// As the start, as far as it can be foreseen: a wrong description, a folder or a program that is not there.
    pub fn check_start(&self) -> Result<(), SpawnError> {
        self.resolve().map(drop)
    }

    /// Checks the spec, and returns it with the place of a program that comes with the application; on Windows, of any
    /// program.
    pub(super) fn resolve(&self) -> Result<Cow<'_, Self>, SpawnError> {
        self.check()?;
        let Some(program) = self.command.first() else { return Err(SpawnError::NoCommand) };
        let found = find_program(program, &self.search_places(), look);
        let place = found.map_err(|failure| {
            let (program, tried) = (program.clone(), failure.tried);
            match failure.is_present {
                true => SpawnError::NotRunnable { program, tried },
                false => SpawnError::NoProgram { program, tried },
            }
        })?;
        #[cfg(unix)]
        if let Some(interpreter) = self.missing_interpreter(&place) {
            return Err(SpawnError::NoInterpreter { script: place.display().to_string(), interpreter });
        }
        if !cfg!(windows) && !is_sidecar(program) {
            // The system finds it by its name, which the program itself may look at. Windows may find another file.
            return Ok(Cow::Borrowed(self));
        }
        let mut resolved = self.clone();
        resolved.command[0] = place.to_string_lossy().into_owned();
        Ok(Cow::Owned(resolved))
    }

    /// Returns the interpreter that a script names and that does not exist.
    #[cfg(unix)]
    fn missing_interpreter(&self, script: &Path) -> Option<String> {
        let interpreter = read_interpreter(script)?;
        find_program(&interpreter, &self.search_places(), look).is_err().then_some(interpreter)
    }

    fn search_places(&self) -> SearchPlaces {
        let path = self.env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
        // A shell's default if `PATH` is not set.
        let path =
            path.unwrap_or_else(|| if cfg!(windows) { "" } else { "/usr/local/bin:/usr/bin:/bin" }.into());
        SearchPlaces {
            executable: std::env::current_exe().ok(),
            working_dir: self.cwd.clone().unwrap_or_default(),
            path: std::env::split_paths(&path).collect(),
            suffix: std::env::consts::EXE_SUFFIX,
        }
    }
}

/// Looks at one place of a program.
fn look(place: &Path) -> FileKind {
    match place.metadata() {
        Err(_) => FileKind::Missing,
        Ok(file) if is_runnable(&file) => FileKind::Runnable,
        Ok(_) => FileKind::NotRunnable,
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
            .field("input_grace", &self.input_grace)
            .finish()
    }
}

/// Returns the program that runs this file, if it is a script that names one in its first line.
#[cfg(unix)]
fn read_interpreter(file: &Path) -> Option<String> {
    let mut line = Vec::new();
    // A program that may be run and not read says nothing.
    std::fs::File::open(file).ok()?.take(FIRST_LINE_BYTES_MAX).read_to_end(&mut line).ok()?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    interpreter_of(std::str::from_utf8(line).ok()?)
}

/// Returns the program that the first line of a script names: its interpreter, or the one that `env` searches in `PATH`.
#[cfg(unix)]
fn interpreter_of(first_line: &str) -> Option<String> {
    let mut words = first_line.strip_prefix("#!")?.split([' ', '\t']).filter(|word| !word.is_empty());
    let interpreter = words.next()?;
    if interpreter != "/usr/bin/env" {
        return Some(interpreter.to_owned());
    }
    // Options but `-S` take words of their own.
    let named = words.find(|word| *word != "-S" && !word.contains('='))?;
    (!named.starts_with('-')).then(|| named.to_owned())
}

#[cfg(unix)]
fn is_runnable(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    file.is_file() && file.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_runnable(file: &std::fs::Metadata) -> bool {
    file.is_file()
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
    #[error("there is no program `{program}`: check its name, its place and PATH (tried: {tried})")]
    NoProgram {
        /// The program, as in the command.
        program: String,
        /// The places that were tried.
        tried: TriedPlaces,
    },
    /// The file exists, but cannot be executed.
    #[error(
        "`{program}` cannot be run: it is no program, or its permission to be run is missing (tried: {tried})"
    )]
    NotRunnable {
        /// The program, as in the command.
        program: String,
        /// The places that were tried.
        tried: TriedPlaces,
    },
    /// The script names an interpreter that does not exist.
    #[error("`{script}` cannot be run: its interpreter `{}` does not exist (see its first line)", interpreter.escape_debug())]
    NoInterpreter {
        /// The script.
        script: String,
        /// The interpreter, as the script names it.
        interpreter: String,
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
    /// The command names the backend's address, and the backend is not ready.
    #[error("its command names the address of the backend, which is not ready yet")]
    NoAddress,
    /// The system did not start it.
    #[error("the system did not start it: {0}")]
    Io(#[source] io::Error),
    /// No watchdog would end the process if the runtime were killed, so it was not started.
    #[error("it was not started, because nothing would end it if this program were killed: {0}")]
    NoWatchdog(String),
    /// The runtime is stopping.
    #[error("it was not started, because everything is being stopped")]
    Stopping,
}

impl SpawnError {
    /// Returns whether a later start of the same spec would fail as well, until a person changes something.
    #[must_use]
    pub(crate) fn is_unrecoverable(&self) -> bool {
        match self {
            Self::NoCommand
            | Self::NoProgram { .. }
            | Self::NotRunnable { .. }
            | Self::NoInterpreter { .. }
            | Self::NoWorkingDir { .. }
            | Self::InvalidVariable { .. }
            | Self::ContainsNul => true,
            Self::Io(error) => is_bad_format(error),
            Self::NoAddress | Self::NoWatchdog(_) | Self::Stopping => false,
        }
    }
}

/// Returns whether the file is no program of this system. On other systems, the launcher's exit says so.
fn is_bad_format(error: &io::Error) -> bool {
    const ERROR_BAD_EXE_FORMAT: i32 = 193;
    cfg!(windows) && error.raw_os_error() == Some(ERROR_BAD_EXE_FORMAT)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check_command(command: &[&str]) -> String {
        check_text(&ProcessSpec::new("it", command.iter().copied()))
    }

    fn check_text(spec: &ProcessSpec) -> String {
        spec.resolve().map_or_else(|fault| fault.to_string(), |_| "fine".to_owned())
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
    fn script_without_its_interpreter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        let check = |first_line: &str| {
            std::fs::write(&file, format!("{first_line}\nexit 0\n")).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
            check_command(&[file.to_str().unwrap()])
        };
        for fine in [
            "#!/bin/sh",
            "#! /bin/sh -e",
            "#!/usr/bin/env sh",
            "#!/usr/bin/env -S A=b sh -e",
            "no script",
            "",
        ] {
            assert_eq!(check(fine), "fine", "{fine}");
        }
        for missing in ["#!/mainstay/no/such -x", "#!/usr/bin/env mainstay-no-such", "#!/bin/sh\r"] {
            assert!(check(missing).contains("its interpreter `"), "{missing}: {}", check(missing));
        }
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
