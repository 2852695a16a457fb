//! Detects that a process is ready.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lines::OutputLine;

/// The time limit of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between a probe that found nothing and the next.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// The sign that a process is ready.
#[derive(Clone, Default)]
pub enum Readiness {
    /// The process is ready once it runs.
    #[default]
    None,
    /// The process prints a line that contains this text.
    Stdout(String),
    /// The process answers a probe of its address. Before the start, the probe finds no server there.
    Probe(Probe),
}

/// Probes the address of a process once, within a time limit.
pub type Probe = Arc<dyn Fn(Duration) -> BoxFuture<'static, ProbeResult> + Send + Sync>;

/// The result of one probe of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// No server accepts connections.
    NoListener,
    /// A server is there, but does not report that it is ready.
    NotReady,
    /// A server reports that it is ready.
    Ready,
}

/// Probes once. A server that accepts a connection and does not answer in time is there, but not ready.
pub(super) async fn run_probe(probe: &Probe) -> ProbeResult {
    timeout(PROBE_TIMEOUT, probe(PROBE_TIMEOUT)).await.unwrap_or(ProbeResult::NotReady)
}

/// Recognises the line of a process's output that says that it is ready. The reader of the output shows it each line.
#[derive(Debug)]
pub(crate) struct ReadySignal {
    text: Option<Box<[u8]>>,
    is_ready: watch::Sender<bool>,
}

impl ReadySignal {
    /// Returns whether this line is the one that reports readiness.
    pub(crate) fn observe_line(&self, line: &OutputLine<'_>) -> bool {
        let (OutputLine::Complete(line), Some(text)) = (line, &self.text) else { return false };
        if *self.is_ready.borrow() || !line.windows(text.len()).any(|part| part == &**text) {
            return false;
        }
        self.is_ready.send_replace(true);
        true
    }

    async fn wait(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.is_ready.subscribe().wait_for(|is_ready| *is_ready).await;
    }
}

impl Readiness {
    /// Returns the signal to which the lines of output are shown.
    #[must_use]
    pub(crate) fn ready_signal(&self) -> ReadySignal {
        let text = match self {
            Self::Stdout(text) if !text.is_empty() => Some(text.as_bytes().into()),
            _ => None,
        };
        ReadySignal { is_ready: watch::Sender::new(text.is_none()), text }
    }

    /// Returns once the process is ready, whose lines `ready_signal` observes.
    pub(super) async fn wait_until_ready(&self, signal: &ReadySignal) {
        match self {
            Self::None => {}
            Self::Stdout(_) => signal.wait().await,
            Self::Probe(probe) => {
                while run_probe(probe).await != ProbeResult::Ready {
                    sleep(PROBE_INTERVAL).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_the_first_matching_line_is_the_signal() {
        let readiness = Readiness::Stdout("listening on".to_owned());
        let signal = readiness.ready_signal();
        for line in [&b"listening"[..], b"", b"is not LISTENING ON anything"] {
            assert!(!signal.observe_line(&OutputLine::Complete(line)));
        }
        assert!(!signal.observe_line(&OutputLine::TooLong { head: b"listening on", tail: b"" }));
        assert_eq!(readiness.wait_until_ready(&signal).now_or_never(), None);
        assert!(signal.observe_line(&OutputLine::Complete(b"now listening on 127.0.0.1")));
        assert_eq!(readiness.wait_until_ready(&signal).now_or_never(), Some(()));
        assert!(!signal.observe_line(&OutputLine::Complete(b"listening on another")));
    }

    #[test]
    fn readiness_none_is_ready_at_once() {
        let signal = Readiness::None.ready_signal();
        assert_eq!(Readiness::None.wait_until_ready(&signal).now_or_never(), Some(()));
        assert!(!signal.observe_line(&OutputLine::Complete(b"listening")));
    }
}
