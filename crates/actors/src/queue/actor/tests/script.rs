//! A transport that does as it is told, and keeps watch over what it is asked to do.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    request::Request,
    transport::{Answer, AnswerBody, AnswerHead, FailureKind, OpenAnswer, Reach, Transport, TransportError},
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
    /// It answers 200 with this many parts of four bytes, each after so long, and then ends as said.
    Trickle(usize, Duration, Then),
    /// Nothing comes back.
    Hang,
    /// The transport panics.
    Panic,
}

/// How an answer in parts ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    End,
    Break,
    Hang,
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
    parts: Arc<AtomicUsize>,
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
            parts: Arc::default(),
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

    /// How many parts of answers were taken.
    pub(super) fn parts(&self) -> usize {
        self.parts.load(Ordering::SeqCst)
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

    /// Counts the attempt in.
    fn start(&self, request: &Request) -> Running {
        self.watch(request);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(running, Ordering::SeqCst);
        Running {
            running: Arc::clone(&self.running),
            in_doubt: Arc::clone(&self.in_doubt),
            path: request.path_without_query().to_owned(),
            may_have_arrived: true,
        }
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
            let OpenAnswer { status, headers, mut body, .. } = self.open(request, patience).await?;
            let mut whole = BytesMut::new();
            while let Some(part) = body.next().await {
                whole.extend_from_slice(&part?);
            }
            Ok(Answer { status, headers, body: whole.freeze(), is_redirected: false })
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        request: &'a Request,
        patience: Duration,
    ) -> BoxFuture<'a, Result<OpenAnswer, TransportError>> {
        async move {
            let mut attempt = self.start(request);
            let play = self.next(&attempt.path);
            if let Play::Trickle(parts, gap, then) = play {
                let trickle = Trickle { left: parts, gap, then, patience, taken: Arc::clone(&self.parts) };
                return Ok(trickle.open(attempt));
            }
            let ended = timeout(patience, play_whole(play)).await.unwrap_or_else(|_| {
                Err(TransportError::new(FailureKind::TimedOut, Reach::MaybeSent, "nothing came"))
            });
            attempt.may_have_arrived = match &ended {
                Ok(answer) => answer.status.is_server_error(),
                Err(failure) => failure.reach != Reach::NotSent,
            };
            ended.map(OpenAnswer::from)
        }
        .boxed()
    }
}

/// An answer in parts.
struct Trickle {
    left: usize,
    gap: Duration,
    then: Then,
    patience: Duration,
    taken: Arc<AtomicUsize>,
}

impl Trickle {
    fn open(self, attempt: Running) -> OpenAnswer {
        let length = (self.left * 4) as u64;
        let body = stream::try_unfold((self, attempt), |(mut trickle, attempt)| async move {
            let part = trickle.next().await?;
            Ok(part.map(|part| (part, (trickle, attempt))))
        });
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(length))]);
        OpenAnswer {
            status: StatusCode::OK,
            headers,
            length: Some(length),
            is_end_marked: true,
            body: AnswerBody::new(body),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        let fail = |kind, details: &str| {
            let head = AnswerHead { status: StatusCode::OK, headers: HeaderMap::new() };
            Err(TransportError::within(kind, head, details))
        };
        let gap = match self.left {
            0 if matches!(self.then, Then::Hang) => Duration::MAX,
            _ => self.gap,
        };
        if timeout(self.patience, sleep(gap)).await.is_err() {
            return fail(FailureKind::BodyTimedOut, "it stood still");
        }
        if self.left > 0 {
            self.left -= 1;
            self.taken.fetch_add(1, Ordering::SeqCst);
            return Ok(Some(Bytes::from_static(b"part")));
        }
        match self.then {
            Then::End | Then::Hang => Ok(None),
            Then::Break => fail(FailureKind::BodyReset, "it broke off"),
            Then::Panic => panic!("the answer panics on purpose"),
        }
    }
}

async fn play_whole(play: Play) -> Result<Answer, TransportError> {
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
        Play::Trickle(..) => unreachable!("it is played in parts"),
    }
}

fn answer(status: u16, headers: HeaderMap) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::from_static(b"{}"),
        is_redirected: false,
    }
}
