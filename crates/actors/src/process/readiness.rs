//! How one sees that a process is ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lines::Line;
use crate::request::Request;
use crate::transport::{FailureKind, Transport};

/// How long one look at an address may take.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// How long after one look that found nothing the next begins.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

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
enum Sight {
    /// Nobody.
    Nobody,
    /// Somebody who does not say that all is well.
    Somebody,
    /// Somebody who answers 2xx.
    Ready,
}

impl HttpProbe {
    /// Looks at `path` by a transport that reaches the process.
    pub fn new(transport: Arc<dyn Transport>, path: impl Into<String>) -> Self {
        Self { transport, path: path.into() }
    }

    async fn look(&self) -> Sight {
        let Ok(request) = Request::get(&self.path).build() else { return Sight::Nobody };
        match timeout(LOOK_WITHIN, self.transport.attempt(&request, LOOK_WITHIN)).await {
            Ok(Ok(answer)) if answer.status.is_success() => Sight::Ready,
            Ok(Err(failure)) if means_nobody(failure.kind) => Sight::Nobody,
            // Who takes a connection is there, whatever comes of it.
            Ok(_) | Err(_) => Sight::Somebody,
        }
    }

    /// Whether somebody is there.
    pub(super) async fn is_taken(&self) -> bool {
        self.look().await != Sight::Nobody
    }

    /// Returns once it answers 2xx.
    async fn answers(&self) {
        while self.look().await != Sight::Ready {
            sleep(LOOK_INTERVAL).await;
        }
    }
}

fn means_nobody(kind: FailureKind) -> bool {
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
pub struct Cue {
    text: Option<Box<[u8]>>,
    was_heard: watch::Sender<bool>,
}

impl Cue {
    /// Whether the line is the one that says that the process is ready.
    pub(crate) fn hears(&self, line: &Line<'_>) -> bool {
        let (Line::Whole(line), Some(text)) = (line, &self.text) else { return false };
        if *self.was_heard.borrow() || !line.windows(text.len()).any(|part| part == &**text) {
            return false;
        }
        self.was_heard.send_replace(true);
        true
    }

    async fn heard(&self) {
        // Its other end is here.
        let _ = self.was_heard.subscribe().wait_for(|was_heard| *was_heard).await;
    }
}

impl Readiness {
    /// What lines of output are to be shown to.
    #[must_use]
    pub fn cue(&self) -> Cue {
        let text = match self {
            Self::Stdout(text) if !text.is_empty() => Some(text.as_bytes().into()),
            _ => None,
        };
        Cue { was_heard: watch::Sender::new(text.is_none()), text }
    }

    /// Returns once the process is ready, to whose output `cue` listens.
    pub(super) async fn reached(&self, cue: &Cue) {
        match self {
            Self::None => {}
            Self::Stdout(_) => cue.heard().await,
            Self::Http(probe) => probe.answers().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_line_that_contains_the_text_is_the_one_and_later_ones_are_mere_lines() {
        let readiness = Readiness::Stdout("listening on".to_owned());
        let cue = readiness.cue();
        for line in [&b"listening"[..], b"", b"is not LISTENING ON anything"] {
            assert!(!cue.hears(&Line::Whole(line)));
        }
        assert!(!cue.hears(&Line::TooLong));
        assert_eq!(readiness.reached(&cue).now_or_never(), None);
        assert!(cue.hears(&Line::Whole(b"now listening on 127.0.0.1")));
        assert_eq!(readiness.reached(&cue).now_or_never(), Some(()));
        assert!(!cue.hears(&Line::Whole(b"listening on another")));
    }

    #[test]
    fn one_that_waits_for_nothing_is_ready_at_once_and_takes_no_line_away() {
        let cue = Readiness::None.cue();
        assert_eq!(Readiness::None.reached(&cue).now_or_never(), Some(()));
        assert!(!cue.hears(&Line::Whole(b"listening")));
    }
}
