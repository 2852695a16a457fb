//! Runs a server on the loopback that follows a plan for each path, and may crash over a request: then it refuses
//! connections until it is restarted.
//!
//! The server keeps a log of the requests whose head has arrived. A hop of a redirect has the path of its request with a
//! `+` behind it, and follows the same plan.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Instant,
};

use self::{
    BreakPoint::{AfterHead, BeforeAnswer, WithinBody, WithinHead},
    ServerAct::{Answer, AnswerAndEnd, Crash, End, Fail, Redirect, Reject, Reset},
};
use super::raw_server::content_length;
use crate::{
    credentials::{CredentialRequest, Credentials},
    network::BackendEnds,
    tests::try_read_head,
};

/// A good answer to any request, also to a check of an agent.
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"status\":\"healthy\"}";

/// The point at which an exchange breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakPoint {
    /// The head of the request was read, and not its body.
    AfterHead,
    BeforeAnswer,
    WithinHead,
    WithinBody,
}

impl BreakPoint {
    /// Returns the part of the answer that is still sent.
    fn bytes(self) -> &'static [u8] {
        let length = match self {
            AfterHead | BeforeAnswer => 0,
            WithinHead => 20,
            WithinBody => ANSWER.len() - 2,
        };
        &ANSWER.as_bytes()[..length]
    }
}

/// The server's behaviour for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerAct {
    Answer,
    /// Answers, and then ends the connection without notice.
    AnswerAndEnd,
    Fail,
    /// Rejects the token, whatever it is.
    Reject,
    Redirect,
    End(BreakPoint),
    Reset(BreakPoint),
    Crash(BreakPoint),
}

impl ServerAct {
    /// Returns any behaviour.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let point = || prop::sample::select(vec![AfterHead, BeforeAnswer, WithinHead, WithinBody]);
        prop_oneof![
            1 => Just(Answer),
            1 => Just(AnswerAndEnd),
            1 => Just(Fail),
            2 => Just(Reject),
            1 => Just(Redirect),
            2 => point().prop_map(End),
            2 => point().prop_map(Reset),
            4 => point().prop_map(Crash),
        ]
    }

    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Answer | AnswerAndEnd)
    }

    fn reads_body(self) -> bool {
        !matches!(self, End(AfterHead) | Reset(AfterHead) | Crash(AfterHead))
    }
}

/// A request that has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) at: Instant,
    /// The `authorization` header.
    pub(crate) token: Option<String>,
    /// `None` if it arrived on a connection that the server had ended.
    pub(crate) act: Option<ServerAct>,
}

/// The requests that have arrived, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct ArrivalLog(pub(crate) Vec<Arrival>);

impl ArrivalLog {
    /// Returns the requests at `path` and their hops.
    pub(crate) fn with_hops(&self, path: &str) -> impl Iterator<Item = &Arrival> {
        self.0.iter().filter(move |arrival| base(&arrival.path) == path)
    }

    /// Returns the requests with this method at exactly this path.
    pub(crate) fn with_method(&self, method: &str, path: &str) -> Vec<&Arrival> {
        self.0.iter().filter(|arrival| arrival.method == method && arrival.path == path).collect()
    }

    /// Returns the number of requests at exactly this path.
    pub(crate) fn arrived(&self, path: &str) -> u32 {
        self.0.iter().filter(|arrival| arrival.path == path).count().try_into().unwrap()
    }

    /// Returns the number of the server's crashes over requests at `path` and their hops.
    pub(crate) fn crashes(&self, path: &str) -> u32 {
        let crashes = self.with_hops(path).filter(|arrival| matches!(arrival.act, Some(Crash(_))));
        crashes.count().try_into().unwrap()
    }

    /// Returns the number of requests at `path`, with their hops, whose token was rejected. Checks that only a request
    /// with another token follows each.
    pub(crate) fn rejections(&self, path: &str) -> u32 {
        let arrivals: Vec<_> = self.with_hops(path).collect();
        for pair in arrivals.windows(2).filter(|pair| pair[0].act == Some(Reject)) {
            assert!(
                pair[1].token.is_some() && pair[1].token != pair[0].token,
                "the token was rejected before"
            );
        }
        arrivals.iter().filter(|arrival| arrival.act == Some(Reject)).count().try_into().unwrap()
    }

    /// Checks that no redirect was followed more than once.
    pub(crate) fn assert_hops_were_asked_for(&self) {
        for Arrival { path, .. } in &self.0 {
            let is_redirect = |arrival: &&Arrival| arrival.path == *path && arrival.act == Some(Redirect);
            let redirects = u32::try_from(self.0.iter().filter(is_redirect).count()).unwrap();
            assert!(self.arrived(&format!("{path}+")) <= redirects, "{path} was followed too often");
        }
    }
}

/// Returns the path of the request that was redirected to `path`.
fn base(path: &str) -> &str {
    path.trim_end_matches('+')
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerPhase {
    Running,
    /// The server is about to close its listener.
    Crashing,
    Stopped,
}

/// The server, running or stopped.
pub(crate) struct CrashingServer {
    address: SocketAddr,
    phase: watch::Sender<ServerPhase>,
    plans: Mutex<HashMap<String, VecDeque<ServerAct>>>,
    log: Mutex<ArrivalLog>,
    listeners: Mutex<JoinSet<()>>,
    /// Keeps the address while the server is stopped: no other server gets it meanwhile.
    reservation: Mutex<Option<TcpSocket>>,
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    bind(address).listen(16).unwrap()
}

impl CrashingServer {
    pub(crate) fn start() -> Arc<Self> {
        let listener = listen("127.0.0.1:0".parse().unwrap());
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            phase: watch::Sender::new(ServerPhase::Running),
            plans: Mutex::default(),
            log: Mutex::default(),
            listeners: Mutex::default(),
            reservation: Mutex::default(),
        });
        server.spawn_listener(listener);
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the behaviours for the next requests at `path`, or with a method if it begins with that, as in `PUT /state`.
    /// All others are answered.
    pub(crate) fn plan(&self, path: &str, acts: &[ServerAct]) {
        self.plans.lock().insert(path.to_owned(), acts.iter().copied().collect());
    }

    pub(crate) fn log(&self) -> ArrivalLog {
        self.log.lock().clone()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.phase.borrow() == ServerPhase::Stopped
    }

    /// Resolves when the server is stopped, or running again.
    pub(crate) async fn wait_until(&self, is_stopped: bool) {
        let is_so = |phase: &ServerPhase| (*phase == ServerPhase::Stopped) == is_stopped;
        self.phase.subscribe().wait_for(is_so).await.unwrap();
    }

    /// Restarts the server once it is stopped, as a runtime does that starts it: the exit is counted first.
    pub(crate) async fn restart_at_exit(self: &Arc<Self>, ends: &watch::Sender<BackendEnds>) {
        self.wait_until(true).await;
        ends.send_modify(|ends| ends.exits += 1);
        self.restart();
    }

    fn spawn_listener(self: &Arc<Self>, listener: TcpListener) {
        self.listeners.lock().spawn(Arc::clone(self).serve(listener));
    }

    pub(crate) fn restart(self: &Arc<Self>) {
        drop(self.reservation.lock().take());
        let listener = listen(self.address);
        self.phase.send_replace(ServerPhase::Running);
        self.spawn_listener(listener);
    }

    /// Closes the listener, and then every connection. No client can connect in between and be reset.
    pub(crate) async fn crash(&self) {
        self.phase.send_if_modified(|phase| {
            *phase == ServerPhase::Running && {
                *phase = ServerPhase::Crashing;
                true
            }
        });
        self.wait_until(true).await;
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (mut phase, mut connections) = (self.phase.subscribe(), JoinSet::new());
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == ServerPhase::Crashing) => break,
                accepted = listener.accept() => {
                    let server = Arc::clone(&self);
                    let mut phase = self.phase.subscribe();
                    let (socket, _) = accepted.unwrap();
                    connections.spawn(async move {
                        tokio::select! {
                            // The connection that caused the crash closes last.
                            _ = server.serve_connection(socket) => (),
                            _ = phase.wait_for(|phase| *phase == ServerPhase::Stopped) => (),
                        }
                    });
                }
            }
        }
        drop(listener);
        *self.reservation.lock() = Some(bind(self.address));
        self.phase.send_replace(ServerPhase::Stopped);
        while connections.join_next().await.is_some() {}
    }

    fn record(&self, head: RequestHead, act: Option<ServerAct>) {
        let RequestHead { method, path, token, .. } = head;
        self.log.lock().0.push(Arrival { method, path, at: Instant::now(), token, act });
    }

    fn next_act(&self, method: &str, path: &str) -> ServerAct {
        let mut plans = self.plans.lock();
        let keys = [format!("{method} {}", base(path)), base(path).to_owned()];
        keys.iter().find_map(|key| plans.get_mut(key)?.pop_front()).unwrap_or(Answer)
    }

    /// Returns whether each planned behaviour has been used.
    pub(crate) fn is_plan_used(&self, path: &str) -> bool {
        self.plans.lock().get(path).is_none_or(VecDeque::is_empty)
    }

    /// Serves one connection to its end.
    async fn serve_connection(&self, mut socket: TcpStream) -> std::io::Result<()> {
        loop {
            let head = receive_head(&mut socket).await?;
            let (path, body_length) = (head.path.clone(), head.body_length);
            let act = self.next_act(&head.method, &path);
            self.record(head, Some(act));
            if act.reads_body() {
                socket.read_exact(&mut vec![0; body_length]).await?;
            }
            match act {
                Answer => socket.write_all(ANSWER.as_bytes()).await?,
                AnswerAndEnd => {
                    socket.write_all(ANSWER.as_bytes()).await?;
                    socket.shutdown().await?;
                    // Bytes in flight arrive all the same.
                    while let Ok(head) = receive_head(&mut socket).await {
                        let body_length = head.body_length;
                        self.record(head, None);
                        socket.read_exact(&mut vec![0; body_length]).await?;
                    }
                    return Ok(());
                }
                Fail => socket.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await?,
                Reject => socket.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").await?,
                Redirect => {
                    let head =
                        format!("HTTP/1.1 307 Moved\r\nlocation: {path}+\r\ncontent-length: 0\r\n\r\n");
                    socket.write_all(head.as_bytes()).await?;
                }
                End(point) => return socket.write_all(point.bytes()).await,
                Reset(point) => {
                    socket.write_all(point.bytes()).await?;
                    return socket.set_zero_linger();
                }
                Crash(point) => {
                    socket.write_all(point.bytes()).await?;
                    self.crash().await;
                    return Ok(());
                }
            }
        }
    }
}

/// The head of a request.
struct RequestHead {
    method: String,
    path: String,
    token: Option<String>,
    body_length: usize,
}

/// Returns the next request, once its head is complete.
async fn receive_head(socket: &mut TcpStream) -> std::io::Result<RequestHead> {
    let head = try_read_head(socket).await?;
    let body_length = content_length(&head).unwrap_or_default();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    Ok(RequestHead {
        method: head.split(' ').next().unwrap().to_owned(),
        path: head.split(' ').nth(1).unwrap().to_owned(),
        token,
        body_length: usize::try_from(body_length).unwrap(),
    })
}

/// Returns credentials whose source gives another token after each rejection if `renews`, and else always the same.
pub(crate) fn numbered_tokens(renews: bool) -> Credentials {
    let last = AtomicU32::new(0);
    Credentials::from_callback(move |request| {
        let is_next = renews && request == CredentialRequest::Renew;
        let number = last.fetch_add(is_next.into(), Ordering::SeqCst) + u32::from(is_next);
        async move { Ok(Some(format!("token-{number}"))) }
    })
}
