//! Starts this test binary as another process, with a file to use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STATE_FILE_VAR: &str = "MAINSTAY_TEST_STATE_FILE";

/// Returns the file to use in the other process; `None` in this one.
pub(crate) fn state_file() -> Option<PathBuf> {
    std::env::var_os(STATE_FILE_VAR).map(PathBuf::from)
}

/// Returns `command`, extended so that it runs the test `name` of this binary on `file`.
pub(crate) fn with_test(mut command: Command, name: &str, file: &Path) -> Command {
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command.env(STATE_FILE_VAR, file).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Returns the path of this test binary.
pub(crate) fn test_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}
