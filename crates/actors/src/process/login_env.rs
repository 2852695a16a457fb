//! Reads `PATH` from the login shell of the user.
//!
//! A shell that was started from a desktop has the session's `PATH`, without what the user's shell adds to it: Homebrew,
//! nvm, pyenv. Programs are then not found that a terminal finds.

use std::ffi::OsStr;
#[cfg(unix)]
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use thiserror::Error;

/// The longest time that the shell may take.
const SHELL_TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes of the shell's output that are read.
#[cfg(unix)]
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Stands before and behind the value, because a shell's start files may print something as well.
#[cfg(unix)]
const MARK: &str = "__mainstay_path__";

/// The `PATH` of the login shell. It is read once, when it is first awaited; clones share the result.
pub type LoginPath = Shared<BoxFuture<'static, Result<Arc<str>, LoginEnvError>>>;

/// Says why the login shell's `PATH` is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoginEnvError {
    /// No shell is named, or the system has none.
    #[error("SHELL names no login shell")]
    NoShell,
    /// The shell cannot be run.
    #[error("the login shell cannot be run: {0}")]
    NotRun(String),
    /// The shell was not ready in time.
    #[error("the login shell took longer than {} s", SHELL_TIMEOUT.as_secs())]
    TimedOut,
    /// The shell's output does not hold the value.
    #[error("the login shell did not print its PATH")]
    NoValue,
}

/// Returns the `PATH` of this shell, run as an interactive login shell.
pub fn login_path(shell: Option<&OsStr>) -> LoginPath {
    let shell = shell.filter(|shell| cfg!(unix) && !shell.is_empty()).map(OsStr::to_owned);
    async move {
        let shell = shell.ok_or(LoginEnvError::NoShell)?;
        run(shell).await
    }
    .boxed()
    .shared()
}

/// Runs the shell until it has printed its `PATH`. The shell has a session of its own: an interactive one would take the
/// terminal of this program, and Ctrl-C with it.
#[cfg(unix)]
async fn run(shell: OsString) -> Result<Arc<str>, LoginEnvError> {
    use std::io;
    use std::process::Stdio;

    use process_wrap::tokio::{CommandWrap, ProcessSession};
    use tokio::io::AsyncReadExt;
    use tokio::time::{Instant, timeout_at};

    let not_run = |error: io::Error| LoginEnvError::NotRun(error.to_string());
    let mut command = CommandWrap::with_new(shell, |command| {
        command.arg("-lic").arg(format!("printf '%s%s%s' {MARK} \"$PATH\" {MARK}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    });
    let deadline = Instant::now() + SHELL_TIMEOUT;
    let mut shell = Shell(command.wrap(ProcessSession).spawn().map_err(not_run)?);
    let stdout = shell.0.stdout().take().ok_or(LoginEnvError::NoValue)?;
    let read = async {
        let (mut stdout, mut output) = (stdout.take(OUTPUT_BYTES_MAX), Vec::new());
        // Programs that the shell leaves behind can hold its output open.
        while stdout.read_buf(&mut output).await.map_err(not_run)? > 0 {
            if let Some(value) = marked_value(&String::from_utf8_lossy(&output)) {
                return Ok(value.into());
            }
        }
        Err(LoginEnvError::NoValue)
    };
    let value = timeout_at(deadline, read).await.map_err(|_| LoginEnvError::TimedOut)??;
    // It has nothing left to do but to end. What it started in the background is the user's.
    let _ = timeout_at(deadline, shell.0.wait()).await;
    Ok(value)
}

#[cfg(not(unix))]
async fn run(_: std::ffi::OsString) -> Result<Arc<str>, LoginEnvError> {
    Err(LoginEnvError::NoShell)
}

/// A running shell, which is killed with what it waits for when this is dropped.
#[cfg(unix)]
struct Shell(Box<dyn process_wrap::tokio::ChildWrapper>);

#[cfg(unix)]
impl Drop for Shell {
    fn drop(&mut self) {
        // Without a terminal a shell has no job control, so its children are in its group.
        if let Some(pid) = self.0.id() {
            super::system::kill_group(pid);
        }
    }
}

/// Returns the text between the two marks, if there is one.
#[cfg(unix)]
fn marked_value(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(MARK)?;
    let (value, _) = rest.split_once(MARK)?;
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Makes a shell of this script, which gets the usual arguments.
    fn shell(folder: &tempfile::TempDir, script: &str) -> std::path::PathBuf {
        let file = folder.path().join("shell");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        file
    }

    async fn read(script: &str) -> Result<Arc<str>, LoginEnvError> {
        let folder = tempfile::tempdir().unwrap();
        login_path(Some(shell(&folder, script).as_os_str())).await
    }

    #[tokio::test]
    async fn path_is_read_between_the_marks() {
        let script = r#"echo "welcome back"; PATH=/opt/tools:$PATH; [ "$1" = -lic ] && eval "$2"; echo bye"#;
        let path = read(script).await.unwrap();
        assert!(path.starts_with("/opt/tools:") && !path.contains("bye"), "{path}");
    }

    #[tokio::test]
    async fn shell_without_value_is_an_error() {
        assert_eq!(read("echo nothing").await, Err(LoginEnvError::NoValue));
        assert_eq!(login_path(None).await, Err(LoginEnvError::NoShell));
        let missing = login_path(Some(OsStr::new("/mainstay/has/no/such/shell"))).await;
        assert!(matches!(missing, Err(LoginEnvError::NotRun(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn hanging_shell_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        let script = format!("(echo here; exec sleep 1000) >{} | cat", fifo.display());
        assert_eq!(read(&script).await, Err(LoginEnvError::TimedOut));
        let mut text = String::new();
        // The end of the text is the end of all that could write more.
        let end = tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut text);
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("its children end").unwrap();
        assert_eq!(text, "here\n");
    }

    #[tokio::test]
    async fn value_does_not_wait_for_what_the_shell_leaves_behind() {
        let path = read(r#"sleep 5 & PATH=/opt/tools; eval "$2""#).await.unwrap();
        assert_eq!(&*path, "/opt/tools");
        // A shell that does not end after it is ended within the same limit.
        let path = read(r#"PATH=/opt/tools; eval "$2"; exec sleep 1000"#).await.unwrap();
        assert_eq!(&*path, "/opt/tools");
    }

    /// Shows that an interactive shell cannot take the terminal of this program.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn shell_has_its_own_session() {
        let script = r#"read -r _ _ _ _ _ session _ </proc/$$/stat; PATH="$session of $$"; eval "$2""#;
        let text = read(script).await.unwrap();
        let (session, pid) = text.split_once(" of ").unwrap();
        assert_eq!(session, pid);
    }
}
