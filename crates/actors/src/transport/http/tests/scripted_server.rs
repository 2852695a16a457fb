//! Runs a server on the loopback that follows a script for each connection.

use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Barrier, mpsc, watch},
    task::JoinSet,
};

/// A step of the server on one connection.
#[derive(Debug, Clone)]
pub(crate) enum ServerStep {
    /// Reads one whole request and reports it.
    Receive,
    /// Waits until a second connection has come this far.
    Rendezvous,
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Ends the connection with a reset.
    Reset,
    /// Ends the connection in order.
    Close,
    /// Keeps the connection open until the server is dropped.
    Hold,
    /// Waits until the client ends the connection.
    AwaitClose,
    /// Takes no further connection.
    StopListening,
}

/// Returns a response with this body.
pub(crate) fn ok_response(body: &str) -> ServerStep {
    ServerStep::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into())
}

/// The scripted server. Dropping it ends everything.
pub(crate) struct ScriptedServer {
    address: std::net::SocketAddr,
    tasks: JoinSet<()>,
    requests: mpsc::Receiver<String>,
    inner: Arc<Inner>,
}

struct Inner {
    requests: mpsc::Sender<String>,
    connections: AtomicUsize,
    closed: watch::Sender<Vec<usize>>,
    listener: Mutex<Option<Arc<TcpListener>>>,
    rendezvous: Barrier,
}

impl ScriptedServer {
    /// Serves the first connection by the first script, and so on; then accepts no more.
    pub(crate) async fn start(scripts: impl Into<VecDeque<Vec<ServerStep>>>) -> Self {
        let mut scripts = scripts.into();
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(64);
        let shared = Arc::new(Inner {
            requests: sender,
            connections: AtomicUsize::new(0),
            closed: watch::Sender::new(Vec::new()),
            listener: Mutex::new(Some(listener)),
            rendezvous: Barrier::new(2),
        });
        let mut tasks = JoinSet::new();
        let state = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(script) = scripts.pop_front() {
                let Some(listener) = state.listener.lock().clone() else { break };
                let (socket, _) = listener.accept().await.unwrap();
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&state);
                connections.spawn(async move { run_script(number, socket, script, &state).await });
            }
            while connections.join_next().await.is_some() {}
            std::future::pending::<()>().await;
        });
        Self { address, tasks, requests, inner: shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the next request that was received, head and body.
    pub(crate) async fn next_request(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// Waits for the end of the script of the connection with that number.
    pub(crate) async fn wait_closed(&self, number: usize) {
        self.inner.closed.subscribe().wait_for(|closed| closed.contains(&number)).await.unwrap();
    }

    /// Ends the server; from then on connections are refused.
    pub(crate) async fn stop(mut self) {
        self.inner.listener.lock().take();
        self.tasks.shutdown().await;
    }
}

async fn run_script(number: usize, mut socket: TcpStream, script: Vec<ServerStep>, shared: &Inner) {
    for step in script {
        match step {
            ServerStep::Receive => {
                let Some(request) = read_request(&mut socket).await else { break };
                shared.requests.send(request).await.unwrap();
            }
            ServerStep::Rendezvous => _ = shared.rendezvous.wait().await,
            // A client that has gone meanwhile shows at the next step.
            ServerStep::Send(bytes) => drop(socket.write_all(&bytes).await),
            ServerStep::Reset => {
                socket.set_zero_linger().unwrap();
                break;
            }
            ServerStep::Close => break,
            ServerStep::Hold => std::future::pending().await,
            ServerStep::AwaitClose => while socket.read_u8().await.is_ok() {},
            ServerStep::StopListening => drop(shared.listener.lock().take()),
        }
    }
    drop(socket);
    shared.closed.send_modify(|closed| closed.push(number));
}

/// Reads one request with its body; `None` if the client ends the connection instead.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut length = None;
    while length.is_none_or(|length| bytes.len() < length) {
        bytes.push(socket.read_u8().await.ok()?);
        if length.is_none() && bytes.ends_with(b"\r\n\r\n") {
            length = Some(bytes.len() + body_length(&bytes));
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn body_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap().to_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |length| length.parse().unwrap())
}
