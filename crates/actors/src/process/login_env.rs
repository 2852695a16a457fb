//! Reads `PATH` from the login shell of the user.
//!
//! A shell that was started from a desktop has the session's `PATH`, without what the user's shell adds to it: Homebrew,
//! nvm, pyenv. Programs are then not found that a terminal finds.

use std::ffi::OsStr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use thiserror::Error;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest time that the shell may take.
const SHELL_TIMEOUT: Duration = Duration::from_secs(3);

/// Stands before and behind the value, because a shell's start files may print something as well.
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
        let mut command = Command::new(shell);
        command.arg("-lic").arg(format!("printf '%s%s%s' {MARK} \"$PATH\" {MARK}"));
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let run = timeout(SHELL_TIMEOUT, command.output()).await;
        let output = run
            .map_err(|_| LoginEnvError::TimedOut)?
            .map_err(|error| LoginEnvError::NotRun(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        marked_value(&text).map(Arc::<str>::from).ok_or(LoginEnvError::NoValue)
    }
    .boxed()
    .shared()
}

/// Returns the text between the two marks, if there is one.
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
    async fn shell_that_hangs_is_ended() {
        assert_eq!(read("exec sleep 1000").await, Err(LoginEnvError::TimedOut));
    }
}
