//! Waits for the system's request to end.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

/// Ctrl-C, SIGTERM and SIGHUP.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// Ctrl-C, Ctrl-Break, the closed console and the end of the session.
#[cfg(windows)]
pub(super) struct Signals {
    interrupt: CtrlC,
    terminate: CtrlBreak,
    hang_up: CtrlClose,
    shut_down: CtrlShutdown,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process at once.
    pub(super) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        };
        #[cfg(windows)]
        let signals = Self {
            interrupt: ctrl_c()?,
            terminate: ctrl_break()?,
            hang_up: ctrl_close()?,
            shut_down: ctrl_shutdown()?,
        };
        Ok(signals)
    }

    /// Returns at the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        let shut_down = std::future::pending::<Option<()>>();
        #[cfg(windows)]
        let shut_down = self.shut_down.recv();
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
            _ = shut_down => {}
        }
    }
}
