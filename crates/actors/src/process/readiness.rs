//! How one sees that a process is ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lines::OutputLine;
use crate::request::Request;
use crate::transport::{FailureKind, Transport};

/// How long one look at an address may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after one look that found nothing the next begins.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// How one sees that a process is ready.
#[derive(Clone, Default)]
pub enum Readiness {
    /// It is ready once it runs.
    #[default]
    None,
    /// It prints a line that contains this text.
    Stdout(String),
    /// It answers 2xx there.
    Http(HttpProbe),
}

/// An address at which a process answers once it is ready.
#[derive(Clone)]
pub struct HttpProbe {
    transport: Arc<dyn Transport>,
    path: String,
}

/// What is found at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeResult {
    /// Nobody.
    NoListener,
    /// Somebody who does not say that all is well.
    NotReady,
    /// Somebody who answers 2xx.
    Ready,
}

impl HttpProbe {
    /// Looks at `path` by a transport that reaches the process.
    pub fn new(transport: Arc<dyn Transport>, path: impl Into<String>) -> Self {
        Self { transport, path: path.into() }
    }

    async fn probe(&self) -> ProbeResult {
        let Ok(request) = Request::get(&self.path).build() else { return ProbeResult::NoListener };
        match timeout(PROBE_TIMEOUT, self.transport.send(&request, PROBE_TIMEOUT)).await {
            Ok(Ok(answer)) if answer.status.is_success() => ProbeResult::Ready,
            Ok(Err(failure)) if is_unreachable(failure.kind) => ProbeResult::NoListener,
            // Who takes a connection is there, whatever comes of it.
            Ok(_) | Err(_) => ProbeResult::NotReady,
        }
    }

    /// Whether somebody is there.
    pub(super) async fn is_address_in_use(&self) -> bool {
        self.probe().await != ProbeResult::NoListener
    }

    /// Returns once it answers 2xx.
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

/// What whoever reads a process's output shows each line to, so that one is noticed which says that it is ready.
#[derive(Debug)]
pub struct ReadySignal {
    text: Option<Box<[u8]>>,
    is_ready: watch::Sender<bool>,
}

impl ReadySignal {
    /// Whether the line is the one that says that the process is ready.
    pub(crate) fn observe_line(&self, line: &OutputLine<'_>) -> bool {
        let (OutputLine::Complete(line), Some(text)) = (line, &self.text) else { return false };
        if *self.is_ready.borrow() || !line.windows(text.len()).any(|part| part == &**text) {
            return false;
        }
        self.is_ready.send_replace(true);
        true
    }

    async fn wait(&self) {
        // Its other end is here.
        let _ = self.is_ready.subscribe().wait_for(|was_heard| *was_heard).await;
    }
}

impl Readiness {
    /// What lines of output are to be shown to.
    #[must_use]
    pub fn ready_signal(&self) -> ReadySignal {
        let text = match self {
            Self::Stdout(text) if !text.is_empty() => Some(text.as_bytes().into()),
            _ => None,
        };
        ReadySignal { is_ready: watch::Sender::new(text.is_none()), text }
    }

    /// Returns once the process is ready, to whose output `cue` listens.
    pub(super) async fn wait_until_ready(&self, cue: &ReadySignal) {
        match self {
            Self::None => {}
            Self::Stdout(_) => cue.wait().await,
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
        let cue = readiness.ready_signal();
        for line in [&b"listening"[..], b"", b"is not LISTENING ON anything"] {
            assert!(!cue.observe_line(&OutputLine::Complete(line)));
        }
        assert!(!cue.observe_line(&OutputLine::TooLong));
        assert_eq!(readiness.wait_until_ready(&cue).now_or_never(), None);
        assert!(cue.observe_line(&OutputLine::Complete(b"now listening on 127.0.0.1")));
        assert_eq!(readiness.wait_until_ready(&cue).now_or_never(), Some(()));
        assert!(!cue.observe_line(&OutputLine::Complete(b"listening on another")));
    }

    #[test]
    fn readiness_none_is_ready_at_once() {
        let cue = Readiness::None.ready_signal();
        assert_eq!(Readiness::None.wait_until_ready(&cue).now_or_never(), Some(()));
        assert!(!cue.observe_line(&OutputLine::Complete(b"listening")));
    }
}
