//! Waits for the system's request to end.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

#[cfg(unix)]
type Streams = [Signal; 3];
#[cfg(windows)]
type Streams = (CtrlC, CtrlBreak, CtrlClose, CtrlShutdown);

/// On Unix, Ctrl-C, SIGTERM and SIGHUP. On Windows, Ctrl-C, Ctrl-Break, the closed console and the end of the session.
pub(super) struct Signals(Streams);

impl Signals {
    /// Takes the signals over from the system, which would end the process at once.
    pub(super) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        let streams = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        #[cfg(windows)]
        let streams = (ctrl_c()?, ctrl_break()?, ctrl_close()?, ctrl_shutdown()?);
        Ok(Self(streams))
    }

    /// Returns at the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate, hang_up] = &mut self.0;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        }
        #[cfg(windows)]
        {
            let (interrupt, terminate, hang_up, shut_down) = &mut self.0;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
                _ = shut_down.recv() => {}
            }
        }
    }
}
