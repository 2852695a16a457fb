//! Detects that a process is ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lines::OutputLine;
use crate::request::Request;
use crate::transport::{FailureKind, Transport};

/// The limit of one probe.
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
    /// The process answers 2xx at this address.
    Http(HttpProbe),
}

/// Probes an address at which a process answers once it is ready.
#[derive(Clone)]
pub struct HttpProbe {
    transport: Arc<dyn Transport>,
    path: String,
}

/// The result of one probe of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeResult {
    /// No server accepts connections.
    NoListener,
    /// A server is there, but does not report that it is ready.
    NotReady,
    /// A server answered 2xx.
    Ready,
}

impl HttpProbe {
    /// Creates a probe of `path`, over a transport that reaches the process.
    pub fn new(transport: Arc<dyn Transport>, path: impl Into<String>) -> Self {
        Self { transport, path: path.into() }
    }

    async fn probe(&self) -> ProbeResult {
        let Ok(request) = Request::get(&self.path).build() else { return ProbeResult::NoListener };
        match timeout(PROBE_TIMEOUT, self.transport.collect(&request, PROBE_TIMEOUT)).await {
            Ok(Ok(response)) if response.status.is_success() => ProbeResult::Ready,
            Ok(Err(failure)) if is_unreachable(failure.kind) => ProbeResult::NoListener,
            // A server that accepts a connection is there, whatever its answer.
            Ok(_) | Err(_) => ProbeResult::NotReady,
        }
    }

    /// Returns whether any server is there.
    pub(super) async fn is_address_in_use(&self) -> bool {
        self.probe().await != ProbeResult::NoListener
    }

    /// Returns once the address answers 2xx.
    async fn wait_until_healthy(&self) {
        while self.probe().await != ProbeResult::Ready {
            sleep(PROBE_INTERVAL).await;
        }
    }
}

fn is_unreachable(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Refused
            | FailureKind::HostNotFound
            | FailureKind::Connect
            | FailureKind::ConnectTimedOut
            | FailureKind::ProxyUnreachable
            | FailureKind::ProxyUnauthenticated
            | FailureKind::ProxyRefused
            | FailureKind::BadRequest
    )
}

/// Recognises the line of a process's output that says that it is ready. The reader of the output shows it each line.
#[derive(Debug)]
pub struct ReadySignal {
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
    pub fn ready_signal(&self) -> ReadySignal {
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
            Self::Http(probe) => probe.wait_until_healthy().await,
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
        assert!(!signal.observe_line(&OutputLine::TooLong));
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
