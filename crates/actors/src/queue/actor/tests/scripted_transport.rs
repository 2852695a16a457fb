//! A transport with planned responses that watches its requests.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    queue::permits::SLOW_AFTER,
    request::Request,
    transport::{
        FailureKind, FullResponse, ResponseBody, ResponseHead, SendProgress, StreamingResponse, Transport,
        TransportError,
    },
};

/// The planned response to one attempt.
#[derive(Debug, Clone)]
pub(super) enum ScriptedResponse {
    /// The backend answers with this status.
    Respond(u16),
    /// The backend answers 200 after a delay.
    After(Duration),
    /// The backend answers 503 with this `Retry-After` in seconds.
    RetryAfter(u64),
    /// The connection is refused.
    Refuse,
    /// The connection breaks; the request may have been sent.
    Reset,
    /// The same after a delay.
    ResetAfter(Duration),
    /// The backend answers 200 with this many parts of four bytes, each after a delay, and then this end.
    Stream(usize, Duration, ScriptedEnd),
    /// No response comes.
    Hang,
    /// The transport panics.
    Panic,
}

/// The end of a streamed response.
#[derive(Debug, Clone, Copy)]
pub(super) enum ScriptedEnd {
    Complete,
    Break,
    Hang,
    Panic,
}

/// An attempt, as the transport saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenAttempt {
    pub(super) path: String,
    pub(super) key: Option<String>,
    /// The time since the transport was created.
    pub(super) at: Duration,
}

/// The transport. A path without a plan gets 200 at once; the last response of a plan repeats.
pub(super) struct ScriptedTransport {
    state: Arc<Mutex<ScriptProgress>>,
    started_at: Instant,
}

#[derive(Default)]
struct ScriptProgress {
    responses: HashMap<String, VecDeque<ScriptedResponse>>,
    refuses_all: bool,
    seen: Vec<SeenAttempt>,
    keys: HashMap<String, Option<String>>,
    /// Whether the last attempt at a path may have reached the backend.
    in_doubt: HashMap<String, bool>,
    /// The starts of the attempts in flight.
    starts: Vec<Instant>,
    peak: usize,
    parts: usize,
    violations: Vec<String>,
}

impl ScriptedTransport {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one")]
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Arc::default(), started_at: Instant::now() })
    }

    pub(super) fn on(&self, path: &str, plays: impl IntoIterator<Item = ScriptedResponse>) {
        self.state.lock().responses.insert(path.to_owned(), plays.into_iter().collect());
    }

    /// Whether every connection is refused.
    pub(super) fn refuse_all(&self, refuses: bool) {
        self.state.lock().refuses_all = refuses;
    }

    pub(super) fn seen(&self) -> Vec<SeenAttempt> {
        self.state.lock().seen.clone()
    }

    /// Returns the requested paths, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// Returns the start of each attempt at `path`, in seconds since the transport was created.
    pub(super) fn times(&self, path: &str) -> Vec<u64> {
        self.seen().iter().filter(|seen| seen.path == path).map(|seen| seen.at.as_secs()).collect()
    }

    pub(super) fn running(&self) -> usize {
        self.state.lock().starts.len()
    }

    /// Returns the most attempts that were ever in flight at once, without slow ones: those may run beside the limit.
    pub(super) fn peak(&self) -> usize {
        self.state.lock().peak
    }

    /// Returns the number of parts read from responses.
    pub(super) fn parts(&self) -> usize {
        self.state.lock().parts
    }

    /// Returns the violations of the promises.
    pub(super) fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }

    fn next(&self, path: &str) -> ScriptedResponse {
        let mut state = self.state.lock();
        if state.refuses_all {
            return ScriptedResponse::Refuse;
        }
        match state.responses.get_mut(path) {
            Some(plays) if plays.len() > 1 => plays.pop_front().unwrap(),
            Some(plays) => plays.front().cloned().unwrap(),
            None => ScriptedResponse::Respond(200),
        }
    }

    /// Checks and counts an attempt.
    fn start(&self, request: &Request) -> ScriptedAttempt {
        let path = request.path_without_query().to_owned();
        let key = request.idempotency_key().map(|key| key.to_str().unwrap().to_owned());
        let mut state = self.state.lock();
        if state.in_doubt.get(&path) == Some(&true) && !request.is_repeatable() {
            state.violations.push(format!("{path} was sent again though it may have arrived"));
        }
        if *state.keys.entry(path.clone()).or_insert_with(|| key.clone()) != key {
            state.violations.push(format!("{path} changed its key"));
        }
        state.seen.push(SeenAttempt { path: path.clone(), key, at: self.started_at.elapsed() });
        let started_at = Instant::now();
        state.starts.push(started_at);
        let recent = state.starts.iter().filter(|at| at.elapsed() < SLOW_AFTER).count();
        state.peak = state.peak.max(recent);
        ScriptedAttempt { state: Arc::clone(&self.state), path, started_at, may_have_arrived: true }
    }
}

/// Counts an attempt while it is in flight, and knows whether it may have reached the backend.
struct ScriptedAttempt {
    state: Arc<Mutex<ScriptProgress>>,
    path: String,
    started_at: Instant,
    may_have_arrived: bool,
}

impl Drop for ScriptedAttempt {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let at = state.starts.iter().position(|at| *at == self.started_at).unwrap();
        state.starts.swap_remove(at);
        state.in_doubt.insert(std::mem::take(&mut self.path), self.may_have_arrived);
    }
}

impl Transport for ScriptedTransport {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        wait_timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        async move {
            let mut attempt = self.start(request);
            let response = self.next(&attempt.path);
            if let ScriptedResponse::Stream(parts, gap, then) = response {
                let trickle =
                    ScriptedStream { left: parts, gap, then, wait_timeout, state: Arc::clone(&self.state) };
                return Ok(trickle.open(attempt));
            }
            let ended = timeout(wait_timeout, respond_whole(response)).await.unwrap_or_else(|_| {
                Err(TransportError::new(FailureKind::TimedOut, SendProgress::MaybeSent, "nothing came"))
            });
            attempt.may_have_arrived = match &ended {
                Ok(answer) => answer.status.is_server_error(),
                Err(failure) => failure.progress != SendProgress::NotSent,
            };
            ended.map(StreamingResponse::from)
        }
        .boxed()
    }
}

/// A streamed response.
struct ScriptedStream {
    left: usize,
    gap: Duration,
    then: ScriptedEnd,
    wait_timeout: Duration,
    state: Arc<Mutex<ScriptProgress>>,
}

impl ScriptedStream {
    fn open(self, attempt: ScriptedAttempt) -> StreamingResponse {
        let length = (self.left * 4) as u64;
        let body = stream::try_unfold((self, attempt), |(mut trickle, attempt)| async move {
            let part = trickle.next().await?;
            Ok(part.map(|part| (part, (trickle, attempt))))
        });
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(length))]);
        StreamingResponse {
            status: StatusCode::OK,
            headers,
            length: Some(length),
            is_end_marked: true,
            is_redirected: false,
            body: ResponseBody::new(body),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        let fail = |kind, details: &str| {
            let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
            Err(TransportError::in_body(kind, head, details))
        };
        let gap = match self.left {
            0 if matches!(self.then, ScriptedEnd::Hang) => Duration::MAX,
            _ => self.gap,
        };
        if timeout(self.wait_timeout, sleep(gap)).await.is_err() {
            return fail(FailureKind::BodyTimedOut, "it stood still");
        }
        if self.left > 0 {
            self.left -= 1;
            self.state.lock().parts += 1;
            return Ok(Some(Bytes::from_static(b"part")));
        }
        match self.then {
            ScriptedEnd::Complete | ScriptedEnd::Hang => Ok(None),
            ScriptedEnd::Break => fail(FailureKind::BodyReset, "it broke off"),
            ScriptedEnd::Panic => panic!("the answer panics on purpose"),
        }
    }
}

async fn respond_whole(response: ScriptedResponse) -> Result<FullResponse, TransportError> {
    match response {
        ScriptedResponse::Respond(status) => Ok(answer(status, HeaderMap::new())),
        ScriptedResponse::After(delay) => {
            sleep(delay).await;
            Ok(answer(200, HeaderMap::new()))
        }
        ScriptedResponse::RetryAfter(seconds) => {
            Ok(answer(503, HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from(seconds))])))
        }
        ScriptedResponse::Refuse => {
            Err(TransportError::new(FailureKind::Refused, SendProgress::NotSent, "refused"))
        }
        ScriptedResponse::Reset => Err(reset()),
        ScriptedResponse::ResetAfter(delay) => {
            sleep(delay).await;
            Err(reset())
        }
        ScriptedResponse::Hang => std::future::pending().await,
        ScriptedResponse::Panic => panic!("the transport panics on purpose"),
        ScriptedResponse::Stream(..) => unreachable!("it is played in parts"),
    }
}

fn reset() -> TransportError {
    TransportError::new(FailureKind::Reset, SendProgress::MaybeSent, "reset")
}

fn answer(status: u16, headers: HeaderMap) -> FullResponse {
    FullResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::from_static(b"{}"),
        is_redirected: false,
    }
}
