//! Each send is an attempt, whatever a server does: what arrives there is what the journal counts.
//!
//! A server on the loopback follows a drawn plan: it answers, resets or ends the connection, or dies, before its answer,
//! within its head or within its body; dead, it refuses connections until as many trials as drawn have failed.
//! A failure prints the smallest plan that fails, and its seed.
//!
//! What is counted is the arrival of a request's head. A hop to where an answer redirects is no attempt of its own: the
//! server asked for it, once for each redirect that it answered.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use http::Method;
use mainstay_runtime::{
    Child, Runtime, SupervisorSpec,
    clock::SystemClock,
    journal::{Cursor, Delivery, Record, Subscription},
    policy::Delay,
};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    fixture::{policy, restart_policy, verbose_journal},
    single_outcome::END_EVENTS,
};
use crate::{
    error::Reason,
    quarantine::DEATHS_MAX,
    queue::{QueueActor, QueueHandle, QueuePolicy, QueueView, RetryPolicy},
    request::Request,
    transport::{HttpSettings, HttpTransport},
};

const QUICK_CASES: u32 = 40;
const CASES: u32 = 300;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

/// How far an answer comes that is not given whole.
#[derive(Debug, Clone, Copy)]
enum Point {
    BeforeAnswer,
    WithinHead,
    WithinBody,
}

impl Point {
    fn bytes(self) -> &'static [u8] {
        let length = match self {
            Self::BeforeAnswer => 0,
            Self::WithinHead => 20,
            Self::WithinBody => ANSWER.len() - 2,
        };
        &ANSWER.as_bytes()[..length]
    }
}

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer,
    /// It answers, and then ends the connection without having said so.
    AnswerAndEnd,
    Fail,
    Redirect,
    End(Point),
    Reset(Point),
    Die(Point),
}

#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    has_key: bool,
    retries: u32,
    /// Whether the server is down when it is asked for.
    meets_nobody: bool,
    acts: Vec<Act>,
    /// How many trials find a dead server dead.
    trials: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Up,
    /// It is about to close its listener.
    Dying,
    Down,
}

/// The server, up and down.
struct Mortal {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<HashMap<String, ProcessInfo>>,
    lives: Mutex<JoinSet<()>>,
}

/// What the server saw of one path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct ProcessInfo {
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

impl Mortal {
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

    /// Closes the listener, and then every connection. Nobody can connect in between and be reset.
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
                            // The one that dies closes its own last.
                            _ = server.play(socket) => (),
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

    fn note(&self, path: &str, note: impl FnOnce(&mut ProcessInfo)) {
        note(self.seen.lock().entry(path.to_owned()).or_default());
    }

    /// Plays one connection to its end.
    async fn play(&self, mut socket: TcpStream) -> std::io::Result<()> {
        loop {
            let path = receive(&mut socket).await?;
            self.note(&path, |seen| seen.arrived += 1);
            let act = self.acts.lock().pop_front().unwrap_or(Act::Answer);
            match act {
                Act::Answer => socket.write_all(ANSWER.as_bytes()).await?,
                Act::AnswerAndEnd => {
                    socket.write_all(ANSWER.as_bytes()).await?;
                    socket.shutdown().await?;
                    // What was on its way arrives all the same.
                    while let Ok(path) = receive(&mut socket).await {
                        self.note(&path, |seen| seen.arrived += 1);
                    }
                    return Ok(());
                }
                Act::Fail => socket.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await?,
                Act::Redirect => {
                    self.note(&path, |seen| seen.redirected += 1);
                    let head =
                        format!("HTTP/1.1 307 Moved\r\nlocation: {path}+\r\ncontent-length: 0\r\n\r\n");
                    socket.write_all(head.as_bytes()).await?;
                }
                Act::End(point) => return socket.write_all(point.bytes()).await,
                Act::Reset(point) => {
                    socket.write_all(point.bytes()).await?;
                    return socket.set_zero_linger();
                }
                Act::Die(point) => {
                    self.note(&path, |seen| seen.deaths += 1);
                    socket.write_all(point.bytes()).await?;
                    self.die().await;
                    return Ok(());
                }
            }
        }
    }
}

/// The path of the next request, once its head is whole. None has a body.
async fn receive(socket: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned())
}

fn act() -> impl Strategy<Value = Act> {
    let point = || prop::sample::select(vec![Point::BeforeAnswer, Point::WithinHead, Point::WithinBody]);
    prop_oneof![
        3 => Just(Act::Answer),
        2 => Just(Act::AnswerAndEnd),
        1 => Just(Act::Fail),
        1 => Just(Act::Redirect),
        2 => point().prop_map(Act::End),
        2 => point().prop_map(Act::Reset),
        4 => point().prop_map(Act::Die),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let methods =
        vec![(Method::GET, false), (Method::PUT, false), (Method::POST, false), (Method::POST, true)];
    let acts = prop::collection::vec(act(), 0..6);
    (prop::sample::select(methods), 0..5_u32, prop::bool::weighted(0.2), acts, 1..4_u64).prop_map(
        |((method, has_key), retries, meets_nobody, acts, trials)| Asked {
            method,
            has_key,
            retries,
            meets_nobody,
            acts,
            trials,
        },
    )
}

async fn start(server: &Mortal) -> (Runtime, QueueHandle) {
    let settings = HttpSettings::new(format!("http://{}", server.address));
    let transport = Arc::new(HttpTransport::new(&settings).unwrap());
    let ms = std::time::Duration::from_millis;
    let delay = Delay::Exponential { min: ms(1), max: ms(2), factor: 2.0, jitter: false };
    let policy = QueuePolicy { retry: RetryPolicy { delay, ..RetryPolicy::default() }, ..policy() };
    let mut root = SupervisorSpec::new("root");
    let actor = QueueActor::new(transport, policy, QueueView::default());
    let address = root.child(Child::new("queue", actor).policy(restart_policy())).unwrap();
    let journal = verbose_journal(Arc::new(SystemClock));
    let runtime = Runtime::builder().journal(journal).start(root).await.unwrap();
    (runtime, QueueHandle::new(address))
}

async fn next(subscription: &mut Subscription) -> Record {
    match subscription.next().await {
        Delivery::Event(record) => *record,
        other => panic!("events are missing: {other:?}"),
    }
}

/// Asks, raises the server from the dead once enough trials have failed, and returns what the journal tells of the
/// request.
async fn ask(
    server: &Arc<Mortal>,
    queue: &QueueHandle,
    subscription: &mut Subscription,
    path: &str,
    asked: &Asked,
) -> Vec<Record> {
    if asked.meets_nobody && !server.is_down() {
        server.die().await;
    } else if !asked.meets_nobody && server.is_down() {
        server.rise();
    }
    *server.acts.lock() = asked.acts.clone().into();
    let request = Request::builder(asked.method.clone(), path).retries(asked.retries);
    let request = if asked.has_key { request.idempotency_key("key") } else { request };
    let (id, answer) = queue.submit(request.build().unwrap());
    let (mut told, mut is_found_dead) = (Vec::new(), false);
    loop {
        let record = next(subscription).await;
        if record.kind == "queue_held" && server.is_down() {
            let failures = record.fields["failures"].as_u64().unwrap();
            // The first of each outage; what comes before belongs to the last one.
            is_found_dead |= failures == 1;
            if is_found_dead && failures >= asked.trials {
                is_found_dead = false;
                server.rise();
            }
        }
        if record.fields.get("request_id") == Some(&id.0.into()) {
            let is_end = END_EVENTS.contains(&&*record.kind);
            told.push(record);
            if is_end {
                break;
            }
        }
    }
    let attempts = match answer.await {
        Ok(response) => response.attempts,
        Err(error) => error.attempts,
    };
    assert_eq!(told.last().unwrap().fields["attempts"], attempts);
    told
}

/// Checks what became of one request, of which the journal tells so much and the server saw so much.
fn check(asked: &Asked, told: &[Record], seen: ProcessInfo) {
    let (end, before) = told.split_last().unwrap();
    let attempts = u32::try_from(end.fields["attempts"].as_u64().unwrap()).unwrap();
    assert_eq!(attempts, seen.arrived, "as many attempts as sends");
    assert!(attempts <= asked.retries + 1, "no more than its retries allow");
    let retries = before.iter().filter(|record| record.kind == "request_retry").count();
    let is_quarantined = end.fields.get("reason") == Some(&Reason::Quarantined.as_str().into());
    // One that was quarantined had its next attempt announced.
    assert_eq!(retries, (attempts - u32::from(!is_quarantined)) as usize, "each repeat has its event");
    assert!(seen.deaths <= DEATHS_MAX, "it killed too often");
    let has_retries = attempts <= asked.retries;
    let is_repeatable = asked.method != Method::POST || asked.has_key;
    assert_eq!(
        is_quarantined,
        seen.deaths == DEATHS_MAX && has_retries,
        "what kills is quarantined, and nothing else"
    );
    assert!(is_repeatable || attempts <= 1, "it was sent twice");
}

async fn live(plan: Vec<Asked>) {
    let server = Mortal::start();
    let (runtime, queue) = start(&server).await;
    let mut subscription = runtime.journal().subscribe_after(Cursor::START);
    for (number, asked) in plan.iter().enumerate() {
        let path = format!("/{number}");
        let told = ask(&server, &queue, &mut subscription, &path, asked).await;
        let seen = server.seen.lock().clone();
        let hops = seen.iter().filter(|(other, _)| other.trim_end_matches('+') == path);
        let deaths = hops.map(|(_, hop)| hop.deaths).sum();
        check(asked, &told, ProcessInfo { deaths, ..seen.get(&path).copied().unwrap_or_default() });
        // Each hop is one that the server asked for.
        for (path, of_path) in &seen {
            let hops = seen.get(&format!("{path}+")).copied().unwrap_or_default();
            assert!(hops.arrived <= of_path.redirected, "{path} was followed too often");
        }
    }
    runtime.shutdown().await;
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(QUICK_CASES, CASES)))]

    #[test]
    fn every_send_is_an_attempt_and_never_above_the_limit(plan in prop::collection::vec(asked(), 1..4)) {
        block_on(live(plan));
    }
}

/// The server dies over a request on a kept connection, whose retries are none.
#[test]
fn a_get_that_kills_the_backend_is_sent_once_without_retries() {
    block_on(async {
        let asked = |acts| Asked {
            method: Method::GET,
            has_key: false,
            retries: 0,
            meets_nobody: false,
            acts,
            trials: 1,
        };
        let server = Mortal::start();
        let (runtime, queue) = start(&server).await;
        let mut subscription = runtime.journal().subscribe_after(Cursor::START);
        ask(&server, &queue, &mut subscription, "/good", &asked(vec![Act::Answer])).await;
        let killer = asked(vec![Act::Die(Point::BeforeAnswer)]);
        let told = ask(&server, &queue, &mut subscription, "/kill", &killer).await;
        assert_eq!(told.last().unwrap().fields["reason"], Reason::ConnectionReset.as_str());
        server.rise();
        // Whatever was held would go before this one.
        ask(&server, &queue, &mut subscription, "/good", &asked(vec![])).await;
        let seen = server.seen.lock().clone();
        assert_eq!((seen["/kill"].arrived, seen["/good"].arrived), (1, 2));
        runtime.shutdown().await;
    });
}
