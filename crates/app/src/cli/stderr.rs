//! Writes lines to stderr, which may have no reader.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// The longest wait for stderr to take the last line of a command.
pub(super) const LAST_LINE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes a line, or loses it if stderr is closed.
pub(super) fn error_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes the last line of a command, and does not wait for ever until stderr takes it.
pub(super) fn last_error_line(line: String) {
    let (done, written) = sync_channel(1);
    thread::spawn(move || {
        error_line(&line);
        let _ = done.send(());
    });
    let _ = written.recv_timeout(LAST_LINE_TIMEOUT);
}
