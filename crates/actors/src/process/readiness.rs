//! Detects that a process is ready.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lines::OutputLine;
use crate::logs::shown_text;
use crate::network::urls::BaseUrl;

/// The time limit of one probe.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between a probe that found nothing and the next.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// The sign that a process is ready.
#[derive(Clone, Default)]
pub enum Readiness {
    /// The process is ready once it runs.
    #[default]
    None,
    /// The process prints a line that contains this text, on stdout or stderr. In the place of `{url}` the line has the
    /// URL at which the process is reached on this computer.
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

/// Recognises the line of a process's output that says that it is ready. The readers of stdout and stderr show it each
/// line.
#[derive(Debug, Default)]
pub(crate) struct ReadySignal {
    line: Option<ReadyLine>,
    state: watch::Sender<SignalState>,
}

/// The line to wait for.
#[derive(Debug)]
enum ReadyLine {
    /// A line that contains this text.
    Text(String),
    /// A line with a URL behind the first text, and the second text behind that.
    Url(String, String),
}

#[derive(Debug, Clone, PartialEq)]
enum SignalState {
    Waiting,
    Ready { url: Option<BaseUrl> },
}

impl Default for SignalState {
    fn default() -> Self {
        Self::Ready { url: None }
    }
}

/// Stands in the ready text for the URL that the process reports.
const URL_PLACEHOLDER: &str = "{url}";

impl ReadySignal {
    /// Returns whether this line is the one that reports readiness.
    pub(crate) fn observe_line(&self, line: &OutputLine<'_>) -> bool {
        let (OutputLine::Complete(line), Some(ready_line)) = (line, &self.line) else { return false };
        if !self.is_waiting() {
            return false;
        }
        let Some(url) = ready_line.find_in(line) else { return false };
        self.state.send_replace(SignalState::Ready { url });
        true
    }

    /// Returns whether the line is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        *self.state.borrow() == SignalState::Waiting
    }

    /// Returns the URL that the process has reported, if it was to report one.
    pub(super) fn reported_url(&self) -> Option<BaseUrl> {
        match &*self.state.borrow() {
            SignalState::Ready { url } => url.clone(),
            SignalState::Waiting => None,
        }
    }

    async fn wait(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.state.subscribe().wait_for(|state| *state != SignalState::Waiting).await;
    }
}

impl ReadyLine {
    fn new(text: &str) -> Self {
        match text.split_once(URL_PLACEHOLDER) {
            Some((before, after)) => Self::Url(before.to_owned(), after.to_owned()),
            None => Self::Text(text.to_owned()),
        }
    }

    /// Returns the URL in the line, or none if none is looked for; `None` if it is another line. The line counts as it
    /// was printed, and as people see it: without colours.
    fn find_in(&self, line: &[u8]) -> Option<Option<BaseUrl>> {
        self.find_in_text(&String::from_utf8_lossy(line)).or_else(|| self.find_in_text(&shown_text(line)))
    }

    fn find_in_text(&self, line: &str) -> Option<Option<BaseUrl>> {
        match self {
            Self::Text(text) => line.contains(text).then_some(None),
            Self::Url(before, after) => find_url(line, before, after).map(Some),
        }
    }
}

/// Returns the URL on this computer that stands between these two texts.
fn find_url(line: &str, before: &str, after: &str) -> Option<BaseUrl> {
    let ends_url = |c: char| c.is_whitespace() || c.is_control() || "\"'<>(),;".contains(c);
    let begins = line.match_indices(before).map(|(at, _)| &line[at + before.len()..]);
    begins.into_iter().find_map(|rest| {
        let end = rest.find(ends_url).unwrap_or(rest.len());
        // A text that goes on within the URL's characters, such as a dot at the end of a sentence.
        let end = if after.is_empty() { end } else { rest[..end].rfind(after).unwrap_or(end) };
        let url = BaseUrl::parse(&rest[..end]).ok()?.on_this_computer()?;
        rest[end..].contains(after).then_some(url)
    })
}

impl Readiness {
    /// Returns the signal to which the lines of output are shown.
    #[must_use]
    pub(crate) fn ready_signal(&self) -> ReadySignal {
        let line = match self {
            Self::Stdout(text) if !text.is_empty() => Some(ReadyLine::new(text)),
            _ => None,
        };
        let state = if line.is_some() { SignalState::Waiting } else { SignalState::default() };
        ReadySignal { line, state: watch::Sender::new(state) }
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
        assert!(signal.observe_line(&OutputLine::Complete(b"now \x1b[1mlistening\x1b[0m on 127.0.0.1")));
        assert_eq!(readiness.wait_until_ready(&signal).now_or_never(), Some(()));
        assert!(!signal.observe_line(&OutputLine::Complete(b"listening on another")));
    }

    #[test]
    fn reported_url_is_taken_from_the_line() {
        let reported = |text: &str, line: &str| {
            let signal = Readiness::Stdout(text.to_owned()).ready_signal();
            let is_ready = signal.observe_line(&OutputLine::Complete(line.as_bytes()));
            let url = signal.reported_url().map(|url| url.to_string());
            assert_eq!(is_ready, url.is_some(), "{line}");
            url
        };
        let uvicorn = "INFO: Uvicorn running on http://0.0.0.0:41234 (Press CTRL+C to quit)";
        let at = |url: &str| Some(url.to_owned());
        assert_eq!(reported("running on {url}", uvicorn), at("http://127.0.0.1:41234/"));
        assert_eq!(reported("{url} (Press", uvicorn), at("http://127.0.0.1:41234/"));
        assert_eq!(reported("on {url} (Press X", uvicorn), None);
        assert_eq!(reported("on {url}.", "listens on http://localhost:81/a."), at("http://localhost:81/a"));
        let coloured = "on \u{1b}[1mhttp://[::1]:82\u{1b}[0m";
        assert_eq!(reported("\u{1b}[1m{url}", coloured), at("http://[::1]:82/"));
        assert_eq!(
            reported("on {url} now", "on \u{1b}[1mhttp://[::1]:82\u{1b}[0m now"),
            at("http://[::1]:82/")
        );
        let uvicorn_coloured =
            "\u{1b}[32mINFO\u{1b}[0m:     Uvicorn running on \u{1b}[1mhttp://127.0.0.1:83\u{1b}[0m";
        assert_eq!(reported("running on {url}", uvicorn_coloured), at("http://127.0.0.1:83/"));
        for other in ["listening on port 80", "on http://example.com:80", "on http://127.0.0.1:99999", "on "]
        {
            assert_eq!(reported("on {url}", other), None, "{other}");
        }
    }

    #[test]
    fn readiness_none_is_ready_at_once() {
        let signal = Readiness::None.ready_signal();
        assert_eq!(Readiness::None.wait_until_ready(&signal).now_or_never(), Some(()));
        assert!(!signal.observe_line(&OutputLine::Complete(b"listening")));
    }
}
