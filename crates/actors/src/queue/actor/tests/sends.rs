//! Tests that each send is an attempt: the server's deliveries equal the journal's attempts.
//!
//! A server on the loopback follows a random plan: it answers, resets or ends the connection, or dies, before its
//! response, within its head or within its body. A dead server refuses connections until a drawn number of probes has
//! failed. A failure prints the smallest plan that fails, and its
//! seed.
//!
//! The server counts the heads of requests. A hop of a redirect is no attempt: the server asked for it, once for each
//! redirect that it sent.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use http::Method;
use mainstay_runtime::journal::{Cursor, Delivery, JournalSubscription, Record};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

use self::{
    BreakPoint::*,
    ServerAct::{Answer, AnswerAndEnd, Die, End, Fail, Redirect, Reset},
};
use super::{single_outcome::END_EVENTS, *};

const QUICK_CASES: u32 = 40;
const CASES: u32 = 300;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

/// The point at which an incomplete response breaks off.
#[derive(Debug, Clone, Copy)]
enum BreakPoint {
    BeforeAnswer,
    WithinHead,
    WithinBody,
}

impl BreakPoint {
    fn bytes(self) -> &'static [u8] {
        let length = match self {
            Self::BeforeAnswer => 0,
            Self::WithinHead => 20,
            Self::WithinBody => ANSWER.len() - 2,
        };
        &ANSWER.as_bytes()[..length]
    }
}

/// The server's behaviour for one request.
#[derive(Debug, Clone, Copy)]
enum ServerAct {
    Answer,
    /// Answers, and then ends the connection without notice.
    AnswerAndEnd,
    Fail,
    Redirect,
    End(BreakPoint),
    Reset(BreakPoint),
    Die(BreakPoint),
}

#[derive(Debug, Clone)]
struct SendPlan {
    method: Method,
    has_key: bool,
    retries: u32,
    /// Whether the server is down at the start.
    starts_down: bool,
    acts: Vec<ServerAct>,
    /// The number of probes that find the server dead.
    probes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Up,
    /// The server is about to close its listener.
    Dying,
    Down,
}

/// The server, up and down.
struct MortalServer {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    acts: Mutex<VecDeque<ServerAct>>,
    seen: Mutex<HashMap<String, PathRecord>>,
    lives: Mutex<JoinSet<()>>,
}

/// The server's record of one path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct PathRecord {
    arrived: u32,
    redirected: u32,
    deaths: u32,
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(16).unwrap()
}

impl MortalServer {
    fn start() -> Arc<Self> {
        let listener = listen("127.0.0.1:0".parse().unwrap());
        let address = listener.local_addr().unwrap();
        let phase = watch::Sender::new(Phase::Up);
        let server = Arc::new(Self {
            address,
            phase,
            acts: Mutex::default(),
            seen: Mutex::default(),
            lives: Mutex::default(),
        });
        server.live(listener);
        server
    }

    fn is_down(&self) -> bool {
        *self.phase.borrow() == Phase::Down
    }

    fn live(self: &Arc<Self>, listener: TcpListener) {
        self.lives.lock().spawn(Arc::clone(self).serve(listener));
    }

    fn rise(self: &Arc<Self>) {
        let listener = listen(self.address);
        self.phase.send_replace(Phase::Up);
        self.live(listener);
    }

    /// Closes the listener, and then every connection. No client can connect in between and be reset.
    async fn die(&self) {
        self.phase.send_if_modified(|phase| {
            *phase == Phase::Up && {
                *phase = Phase::Dying;
                true
            }
        });
        self.phase.subscribe().wait_for(|phase| *phase == Phase::Down).await.unwrap();
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (mut phase, mut connections) = (self.phase.subscribe(), JoinSet::new());
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == Phase::Dying) => break,
                accepted = listener.accept() => {
                    let server = Arc::clone(&self);
                    let mut phase = self.phase.subscribe();
                    let (socket, _) = accepted.unwrap();
                    connections.spawn(async move {
                        tokio::select! {
                            // The connection that caused the death closes last.
                            _ = server.response(socket) => (),
                            _ = phase.wait_for(|phase| *phase == Phase::Down) => (),
                        }
                    });
                }
            }
        }
        drop(listener);
        self.phase.send_replace(Phase::Down);
        while connections.join_next().await.is_some() {}
    }

    fn note(&self, path: &str, note: impl FnOnce(&mut PathRecord)) {
        note(self.seen.lock().entry(path.to_owned()).or_default());
    }

    /// Serves one connection to its end.
    async fn response(&self, mut socket: TcpStream) -> std::io::Result<()> {
        loop {
            let path = receive(&mut socket).await?;
            self.note(&path, |seen| seen.arrived += 1);
            let act = self.acts.lock().pop_front().unwrap_or(Answer);
            match act {
                Answer => socket.write_all(ANSWER.as_bytes()).await?,
                AnswerAndEnd => {
                    socket.write_all(ANSWER.as_bytes()).await?;
                    socket.shutdown().await?;
                    // Bytes in flight arrive all the same.
                    while let Ok(path) = receive(&mut socket).await {
                        self.note(&path, |seen| seen.arrived += 1);
                    }
                    return Ok(());
                }
                Fail => socket.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await?,
                Redirect => {
                    self.note(&path, |seen| seen.redirected += 1);
                    let head =
                        format!("HTTP/1.1 307 Moved\r\nlocation: {path}+\r\ncontent-length: 0\r\n\r\n");
                    socket.write_all(head.as_bytes()).await?;
                }
                End(point) => return socket.write_all(point.bytes()).await,
                Reset(point) => {
                    socket.write_all(point.bytes()).await?;
                    return socket.set_zero_linger();
                }
                Die(point) => {
                    self.note(&path, |seen| seen.deaths += 1);
                    socket.write_all(point.bytes()).await?;
                    self.die().await;
                    return Ok(());
                }
            }
        }
    }
}

/// Returns the path of the next request, once its head is complete. No request has a body.
async fn receive(socket: &mut TcpStream) -> std::io::Result<String> {
    Ok(try_read_head(socket).await?.split(' ').nth(1).unwrap().to_owned())
}

fn act() -> impl Strategy<Value = ServerAct> {
    let point = || prop::sample::select(vec![BeforeAnswer, WithinHead, WithinBody]);
    prop_oneof![
        3 => Just(Answer),
        2 => Just(AnswerAndEnd),
        1 => Just(Fail),
        1 => Just(Redirect),
        2 => point().prop_map(End),
        2 => point().prop_map(Reset),
        4 => point().prop_map(Die),
    ]
}

fn asked() -> impl Strategy<Value = SendPlan> {
    let methods =
        vec![(Method::GET, false), (Method::PUT, false), (Method::POST, false), (Method::POST, true)];
    let acts = prop::collection::vec(act(), 0..6);
    let drawn = (prop::sample::select(methods), 0..5_u32, prop::bool::weighted(0.2), acts, 1..4_u64);
    drawn.prop_map(|((method, has_key), retries, starts_down, acts, probes)| SendPlan {
        method,
        has_key,
        retries,
        starts_down,
        acts,
        probes,
    })
}

async fn start(server: &MortalServer, quarantine_after: u32) -> (Runtime, QueueHandle) {
    let settings = HttpSettings::new(format!("http://{}", server.address));
    let ms = Duration::from_millis;
    let delay = Delay::Exponential { min: ms(1), max: ms(2), factor: 2.0, jitter: false };
    let retry = RetryPolicy { delay, ..RetryPolicy::default() };
    let policy = QueuePolicy { retry, quarantine_after, ..policy() };
    let (runtime, queue, _) = start_over_http_with(&settings, policy).await;
    (runtime, queue)
}

async fn next(subscription: &mut JournalSubscription) -> Record {
    match subscription.next().await {
        Delivery::Event(record) => *record,
        other => panic!("events are missing: {other:?}"),
    }
}

/// Makes a request, restarts the server once enough probes have failed, and returns the request's records.
async fn ask(
    server: &Arc<MortalServer>,
    queue: &QueueHandle,
    subscription: &mut JournalSubscription,
    path: &str,
    asked: &SendPlan,
) -> Vec<Record> {
    if asked.starts_down && !server.is_down() {
        server.die().await;
    } else if !asked.starts_down && server.is_down() {
        server.rise();
    }
    *server.acts.lock() = asked.acts.clone().into();
    let request = Request::builder(asked.method.clone(), path).retries(asked.retries);
    let request = if asked.has_key { request.idempotency_key("key") } else { request };
    let (id, answer) = queue.submit(request.build().unwrap());
    let (mut recorded, mut is_found_dead) = (Vec::new(), false);
    loop {
        let record = next(subscription).await;
        if record.kind == "queue_held" && server.is_down() {
            let failures = record.fields["failures"].as_u64().unwrap();
            // The first record of each outage; earlier ones belong to the previous outage.
            is_found_dead |= failures == 1;
            if is_found_dead && failures >= asked.probes {
                is_found_dead = false;
                server.rise();
            }
        }
        if record.fields.get("request_id") == Some(&id.0.into()) {
            let is_end = END_EVENTS.contains(&&*record.kind);
            recorded.push(record);
            if is_end {
                break;
            }
        }
    }
    let attempts = match answer.await {
        Ok(response) => response.attempts,
        Err(error) => error.attempts,
    };
    assert_eq!(recorded.last().unwrap().fields["attempts"], attempts);
    recorded
}

/// Checks the result of one request against its records and the server's count.
fn check(asked: &SendPlan, recorded: &[Record], seen: PathRecord, quarantine_after: u32) {
    let (end, before) = recorded.split_last().unwrap();
    let attempts = u32::try_from(end.fields["attempts"].as_u64().unwrap()).unwrap();
    assert_eq!(attempts, seen.arrived, "as many attempts as sends");
    assert!(attempts <= asked.retries + 1, "no more than its retries allow");
    let retries = before.iter().filter(|record| record.kind == "request_retry").count();
    let is_quarantined = end.fields.get("reason") == Some(&Reason::Quarantined.as_str().into());
    // A quarantined request had its next attempt announced.
    assert_eq!(retries, (attempts - u32::from(!is_quarantined)) as usize, "each repeat has its event");
    assert!(seen.deaths <= quarantine_after, "it killed too often");
    let has_retries = attempts <= asked.retries;
    let is_repeatable = asked.method != Method::POST || asked.has_key;
    let expected = seen.deaths == quarantine_after && has_retries && is_repeatable;
    assert_eq!(is_quarantined, expected, "what kills is quarantined, and nothing else");
    assert!(is_repeatable || attempts <= 1, "it was sent twice");
}

async fn live(plan: Vec<SendPlan>, quarantine_after: u32) {
    let server = MortalServer::start();
    let (runtime, queue) = start(&server, quarantine_after).await;
    let mut subscription = runtime.journal().subscribe_after(Cursor::START);
    for (number, asked) in plan.iter().enumerate() {
        let path = format!("/{number}");
        let recorded = ask(&server, &queue, &mut subscription, &path, asked).await;
        let seen = server.seen.lock().clone();
        let hops = seen.iter().filter(|(other, _)| other.trim_end_matches('+') == path);
        let deaths = hops.map(|(_, hop)| hop.deaths).sum();
        let record = PathRecord { deaths, ..seen.get(&path).copied().unwrap_or_default() };
        check(asked, &recorded, record, quarantine_after);
        // The server asked for each hop.
        for (path, of_path) in &seen {
            let hops = seen.get(&format!("{path}+")).copied().unwrap_or_default();
            assert!(hops.arrived <= of_path.redirected, "{path} was followed too often");
        }
    }
    runtime.shutdown().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(QUICK_CASES, CASES)))]

    #[test]
    fn every_send_is_an_attempt_and_never_above_the_limit(
        plan in prop::collection::vec(asked(), 1..4),
        quarantine_after in 1..4_u32,
    ) {
        block_on(live(plan, quarantine_after));
    }
}
