//! A transport that does as it is told, and keeps watch over what it is asked to do.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    request::Request,
    transport::{Answer, FailureKind, Reach, Transport, TransportError},
};

/// What becomes of one attempt.
#[derive(Debug, Clone)]
pub(super) enum Play {
    /// The backend answers with this status.
    Answer(u16),
    /// It answers with this status after so long.
    AnswerAfter(Duration, u16),
    /// It answers 503 and asks to wait so many seconds.
    AskToWait(u64),
    /// The connection is refused.
    Refuse,
    /// The connection breaks off, with the request maybe sent.
    Reset,
    /// Nothing comes back.
    Hang,
    /// The transport panics.
    Panic,
}

/// One attempt, as the transport saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) key: Option<String>,
    /// Since the script was made.
    pub(super) at: Duration,
}

/// The script. What it does not name is answered at once with 200; the last play of a path goes on.
pub(super) struct Script {
    plays: Mutex<HashMap<String, VecDeque<Play>>>,
    seen: Mutex<Vec<Seen>>,
    keys: Mutex<HashMap<String, Option<String>>>,
    /// Paths whose last attempt may have reached the backend.
    in_doubt: Arc<Mutex<HashMap<String, bool>>>,
    running: Arc<AtomicUsize>,
    peak: AtomicUsize,
    wrongs: Mutex<Vec<String>>,
    refuses_all: AtomicBool,
    began: Instant,
}

impl Script {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one")]
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            plays: Mutex::default(),
            seen: Mutex::default(),
            keys: Mutex::default(),
            in_doubt: Arc::default(),
            running: Arc::default(),
            peak: AtomicUsize::new(0),
            wrongs: Mutex::default(),
            refuses_all: AtomicBool::new(false),
            began: Instant::now(),
        })
    }

    pub(super) fn on(&self, path: &str, plays: impl IntoIterator<Item = Play>) {
        self.plays.lock().unwrap().insert(path.to_owned(), plays.into_iter().collect());
    }

    /// Whether nobody is there at all.
    pub(super) fn refuse_all(&self, refuses: bool) {
        self.refuses_all.store(refuses, Ordering::SeqCst);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The paths that were asked for, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// When each attempt at `path` began, in seconds since the script was made.
    pub(super) fn times(&self, path: &str) -> Vec<u64> {
        self.seen().iter().filter(|seen| seen.path == path).map(|seen| seen.at.as_secs()).collect()
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// The most attempts that were ever under way at once.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    /// What must never happen and did.
    pub(super) fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().unwrap().clone()
    }

    fn next(&self, path: &str) -> Play {
        if self.refuses_all.load(Ordering::SeqCst) {
            return Play::Refuse;
        }
        let mut plays = self.plays.lock().unwrap();
        match plays.get_mut(path) {
            Some(plays) if plays.len() > 1 => plays.pop_front().unwrap(),
            Some(plays) => plays.front().cloned().unwrap(),
            None => Play::Answer(200),
        }
    }

    fn watch(&self, request: &Request) {
        let path = request.path_without_query().to_owned();
        let key = request.idempotency_key().map(|key| key.to_str().unwrap().to_owned());
        let mut wrongs = self.wrongs.lock().unwrap();
        let is_doubtful = self.in_doubt.lock().unwrap().get(&path) == Some(&true);
        if is_doubtful && !request.is_repeatable() {
            wrongs.push(format!("{path} was sent again though it may have arrived"));
        }
        if *self.keys.lock().unwrap().entry(path.clone()).or_insert_with(|| key.clone()) != key {
            wrongs.push(format!("{path} changed its key"));
        }
        self.seen.lock().unwrap().push(Seen { path, key, at: self.began.elapsed() });
    }
}

/// Counts an attempt as long as it is under way, and knows whether it may have reached the backend.
struct Running {
    running: Arc<AtomicUsize>,
    in_doubt: Arc<Mutex<HashMap<String, bool>>>,
    path: String,
    may_have_arrived: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        let path = std::mem::take(&mut self.path);
        self.in_doubt.lock().unwrap().insert(path, self.may_have_arrived);
    }
}

impl Transport for Script {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        async move {
            self.watch(request);
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.peak.fetch_max(running, Ordering::SeqCst);
            let path = request.path_without_query();
            let mut attempt = Running {
                running: Arc::clone(&self.running),
                in_doubt: Arc::clone(&self.in_doubt),
                path: path.to_owned(),
                may_have_arrived: true,
            };
            let ended = timeout(patience, play(self.next(path))).await.unwrap_or_else(|_| {
                Err(TransportError::new(FailureKind::TimedOut, Reach::MaybeSent, "nothing came"))
            });
            attempt.may_have_arrived = match &ended {
                Ok(answer) => answer.status.is_server_error(),
                Err(failure) => failure.reach != Reach::NotSent,
            };
            ended
        }
        .boxed()
    }
}

async fn play(play: Play) -> Result<Answer, TransportError> {
    match play {
        Play::Answer(status) => Ok(answer(status, HeaderMap::new())),
        Play::AnswerAfter(delay, status) => {
            sleep(delay).await;
            Ok(answer(status, HeaderMap::new()))
        }
        Play::AskToWait(seconds) => {
            Ok(answer(503, HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from(seconds))])))
        }
        Play::Refuse => Err(TransportError::new(FailureKind::Refused, Reach::NotSent, "refused")),
        Play::Reset => Err(TransportError::new(FailureKind::Reset, Reach::MaybeSent, "reset")),
        Play::Hang => std::future::pending().await,
        Play::Panic => panic!("the transport panics on purpose"),
    }
}

fn answer(status: u16, headers: HeaderMap) -> Answer {
    Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(b"{}") }
}
