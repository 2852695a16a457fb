//! Waits for the system's request to end.

use std::io;
use std::time::Duration;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind as UnixSignal, signal};
#[cfg(windows)]
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::time::Instant;

#[cfg(unix)]
type Streams = [Signal; 3];
#[cfg(windows)]
type Streams = (CtrlC, CtrlBreak, CtrlClose, CtrlShutdown);

/// The time within which further signals belong to the first: `timeout` signals its child and then the group, and a
/// terminal that closes is followed by its shell.
const SAME_REQUEST_WITHIN: Duration = Duration::from_millis(500);

/// The kind of a request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSignal {
    /// Ctrl-C or Ctrl-Break: a person.
    Interrupt,
    /// SIGTERM, or the end of the session on Windows.
    Terminate,
    /// SIGHUP, or a closed console on Windows.
    HangUp,
}

impl StopSignal {
    /// Returns whether this signal, `elapsed` after `first`, asks for an end at once: a person's Ctrl-C, or a repeated
    /// request. Anything else is the same request in another form.
    fn demands_end(self, first: Self, elapsed: Duration) -> bool {
        elapsed >= SAME_REQUEST_WITHIN && (self == first || self == Self::Interrupt)
    }
}

/// On Unix, Ctrl-C, SIGTERM and SIGHUP. On Windows, Ctrl-C, Ctrl-Break, the closed console and the end of the session.
pub(super) struct Signals {
    streams: Streams,
    /// The first request to end, and its time.
    first: Option<(StopSignal, Instant)>,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process at once.
    pub(super) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        let streams = [
            signal(UnixSignal::interrupt())?,
            signal(UnixSignal::terminate())?,
            signal(UnixSignal::hangup())?,
        ];
        #[cfg(windows)]
        let streams = (ctrl_c()?, ctrl_break()?, ctrl_close()?, ctrl_shutdown()?);
        Ok(Self { streams, first: None })
    }

    /// Returns at the first request to end. Cancel safe.
    pub(super) async fn requested(&mut self) {
        if self.first.is_none() {
            let signal = self.next().await;
            self.first = Some((signal, Instant::now()));
        }
    }

    /// Returns at the first request and then at the second, which asks for an end at once. Cancel safe.
    pub(super) async fn demanded(&mut self) {
        self.requested().await;
        while let Some((first, at)) = self.first {
            if self.next().await.demands_end(first, at.elapsed()) {
                break;
            }
        }
    }

    async fn next(&mut self) -> StopSignal {
        #[cfg(unix)]
        {
            let [interrupt, terminate, hang_up] = &mut self.streams;
            tokio::select! {
                _ = interrupt.recv() => StopSignal::Interrupt,
                _ = terminate.recv() => StopSignal::Terminate,
                _ = hang_up.recv() => StopSignal::HangUp,
            }
        }
        #[cfg(windows)]
        {
            let (interrupt, ctrl_break, close, shut_down) = &mut self.streams;
            tokio::select! {
                _ = interrupt.recv() => StopSignal::Interrupt,
                _ = ctrl_break.recv() => StopSignal::Interrupt,
                _ = close.recv() => StopSignal::HangUp,
                _ = shut_down.recv() => StopSignal::Terminate,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StopSignal::{HangUp, Interrupt, Terminate};
    use super::*;

    #[test]
    fn only_a_later_signal_is_a_second_request() {
        let soon = SAME_REQUEST_WITHIN - Duration::from_millis(1);
        for (first, next) in [(HangUp, Terminate), (Terminate, Terminate), (Interrupt, Interrupt)] {
            assert!(!next.demands_end(first, soon), "{next:?} after {first:?}");
        }
        let later = [
            (Interrupt, Interrupt, true),
            (Terminate, Interrupt, true),
            (Terminate, Terminate, true),
            (Interrupt, Terminate, false),
            (HangUp, Terminate, false),
        ];
        for (first, next, expected) in later {
            assert_eq!(next.demands_end(first, SAME_REQUEST_WITHIN), expected, "{next:?} after {first:?}");
        }
    }
}
