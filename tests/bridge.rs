//! Tests the bridge over real sockets: bodies in parts, limits, panics, and clients that come back.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use mainstay::DataDir;
use mainstay::journal::{Cursor, Entry, Reader};
use serde_json::{Value, json};
use support::{MainstayProcess, TEST_TIMEOUT, read_head, serve_connections, start_demo, start_runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

/// A session with a runtime.
struct PageSession {
    socket: Socket,
    last_id: u64,
    /// The replies so far, by the ids of the commands.
    replies: BTreeMap<u64, Value>,
}

async fn connect(data: &Path) -> Socket {
    let control: Value = serde_json::from_slice(&std::fs::read(data.join("control.json")).unwrap()).unwrap();
    let url =
        format!("ws://127.0.0.1:{}/bridge?token={}", control["port"], control["token"].as_str().unwrap());
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

impl PageSession {
    async fn open(data: &Path) -> Self {
        Self { socket: connect(data).await, last_id: 0, replies: BTreeMap::new() }
    }

    /// Sends a command, and returns its id.
    async fn send(&mut self, mut command: Value) -> u64 {
        self.last_id += 1;
        command["id"] = self.last_id.into();
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        self.last_id
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(TEST_TIMEOUT, self.socket.next()).await.expect("a message came");
            if let Message::Text(text) = message.unwrap().unwrap() {
                let message: Value = serde_json::from_str(text.as_str()).unwrap();
                if let Some(id) = message["id"].as_u64() {
                    self.replies.insert(id, message.clone());
                }
                return message;
            }
        }
    }

    /// Returns the next message for which `wanted` holds.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    async fn reply(&mut self, id: u64) -> Value {
        while !self.replies.contains_key(&id) {
            self.next().await;
        }
        self.replies[&id].clone()
    }

    /// Sends a command, and returns its reply.
    async fn command(&mut self, command: Value) -> Value {
        let id = self.send(command).await;
        self.reply(id).await
    }

    /// Writes a part of a request's body. Returns the id of the command.
    async fn write(&mut self, request: u64, bytes: &[u8]) -> u64 {
        let base64 = STANDARD.encode(bytes);
        self.send(json!({"type": "body", "action": "write", "request": request, "base64": base64})).await
    }

    async fn ack(&mut self, request: u64, chunks: usize) {
        self.send(json!({"type": "body", "action": "ack", "request": request, "chunks": chunks})).await;
    }
}

/// A runtime in a process of its own, before a backend in this one.
struct BodyFixture {
    data: tempfile::TempDir,
    _runtime: MainstayProcess,
    _backend: JoinSet<()>,
}

impl BodyFixture {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (port, backend) = serve_connections(serve).await;
        let data = tempfile::tempdir().unwrap();
        let config: PathBuf = data.path().join("mainstay.toml");
        let text = format!("[backend]\nurl = 'http://127.0.0.1:{port}'\n[connection]\nenabled = false\n");
        std::fs::write(&config, text).unwrap();
        let runtime = start_runtime(data.path(), &config);
        let control = data.path().join("control.json");
        support::eventually("the runtime runs", async || control.exists()).await;
        Self { data, _runtime: runtime, _backend: backend }
    }

    async fn session(&self) -> PageSession {
        PageSession::open(self.data.path()).await
    }
}

/// Sends one megabyte after the other, and counts its bytes, until the connection ends.
async fn send_without_end(mut socket: TcpStream, written: Arc<AtomicUsize>, ended: mpsc::Sender<()>) {
    read_head(&mut socket).await;
    socket.write_all(b"HTTP/1.1 200 OK\r\nx-kind: endless\r\n\r\n").await.unwrap();
    let part = vec![7; 1 << 16];
    while socket.write_all(&part).await.is_ok() {
        written.fetch_add(part.len(), Ordering::Relaxed);
    }
    // Only some tests wait for it.
    let _ = ended.send(()).await;
}

/// A response of 3 MiB arrives whole and in order, at most 16 chunks ahead of the acknowledgements.
#[tokio::test]
async fn response_comes_in_chunks_as_they_are_acknowledged() {
    let body: Arc<Vec<u8>> = Arc::new((0..3_u32 << 18).flat_map(u32::to_le_bytes).collect());
    let sent = Arc::clone(&body);
    let fixture = BodyFixture::start(move |mut socket| {
        let body = Arc::clone(&sent);
        async move {
            read_head(&mut socket).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-kind: large\r\n\r\n", body.len());
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(&body).await.unwrap();
        }
    })
    .await;
    let mut session = fixture.session().await;
    let id = session
        .send(json!({"type": "request", "method": "GET", "path": "/", "stream": true, "progress": true}))
        .await;
    let accepted = session.next().await;
    assert_eq!((&accepted["request"], accepted["accepted"]["request_id"].is_u64()), (&json!(id), true));
    let head = session.reply(id).await["ok"].take();
    assert_eq!(
        (&head["status"], &head["headers"]["x-kind"], &head["cached"]),
        (&json!(200), &json!("large"), &json!(false))
    );
    assert_eq!((head.get("body"), &head["request_id"]), (None, &accepted["accepted"]["request_id"]));
    let (mut got, mut open, mut progress) = (Vec::new(), 0, None);
    let end = loop {
        let message = session.until(|message| message["request"] == id).await;
        if let Some(chunk) = message["chunk"].as_str() {
            let bytes = STANDARD.decode(chunk).unwrap();
            assert!(bytes.len() <= 65_536);
            got.extend(bytes);
            open += 1;
            assert!(open <= 16);
        } else if !message["end"].is_null() {
            break message["end"].clone();
        } else {
            progress = Some(message["progress"].clone());
        }
        if open == 16 {
            session.ack(id, open).await;
            open = 0;
        }
    };
    assert!(got == *body && end == json!({"bytes": body.len()}), "{} {end}", got.len());
    let progress = progress.expect("there was some");
    assert_eq!(
        (&progress["attempt"], &progress["received_total"]),
        (&json!(1), &json!(body.len())),
        "{progress}"
    );
}

/// A client that acknowledges nothing holds the backend back, and not in the runtime's memory. Its other commands go on.
#[tokio::test]
async fn slow_client_slows_the_backend_and_cancel_reaches_it() {
    let written = Arc::new(AtomicUsize::new(0));
    let (ended, mut has_ended) = mpsc::channel(4);
    let counter = Arc::clone(&written);
    let fixture =
        BodyFixture::start(move |socket| send_without_end(socket, Arc::clone(&counter), ended.clone())).await;
    let mut session = fixture.session().await;
    let id = session.send(json!({"type": "request", "method": "GET", "path": "/", "stream": true})).await;
    let is_chunk = |message: &Value| message["chunk"].is_string();
    for _ in 0..16 {
        session.until(is_chunk).await;
    }
    let too_many =
        session.command(json!({"type": "body", "action": "ack", "request": id, "chunks": 17})).await;
    assert_eq!(too_many["error"]["reason"], "invalid_request", "{too_many}");
    // The backend has stopped once the buffers of the system and the runtime are full.
    let mut before = usize::MAX;
    support::eventually("the backend is held back", async || {
        session.command(json!({"type": "hello"})).await;
        std::mem::replace(&mut before, written.load(Ordering::Relaxed)) == before && before > 0
    })
    .await;
    assert!(before < 32 << 20, "{before}");
    session.ack(id, 1).await;
    session.until(is_chunk).await;
    assert_eq!(
        session.command(json!({"type": "cancel", "request": id})).await["ok"],
        json!({"cancelled": true})
    );
    let last = session.until(|message| message["request"] == id && !is_chunk(message)).await;
    assert_eq!(last["error"]["reason"], "cancelled", "{last}");
    timeout(TEST_TIMEOUT, has_ended.recv()).await.expect("the backend lost its connection");
    // So does the end of a session.
    let id = session.send(json!({"type": "request", "method": "GET", "path": "/", "stream": true})).await;
    session.reply(id).await;
    drop(session);
    timeout(TEST_TIMEOUT, has_ended.recv()).await.expect("the backend lost its connection");
}

/// Answers with the body that came, once it is whole. `seen` gets the size of each part, and `None` if the body breaks off.
async fn return_body(
    mut socket: TcpStream,
    may_read: Arc<tokio::sync::Semaphore>,
    seen: mpsc::Sender<Option<usize>>,
) {
    while read_head(&mut socket).await.is_some() {
        may_read.acquire().await.unwrap().forget();
        let mut body = Vec::new();
        loop {
            let Some(size) = read_line(&mut socket).await else {
                let _ = seen.send(None).await;
                return;
            };
            let mut part = vec![0; usize::from_str_radix(&size, 16).unwrap()];
            socket.read_exact(&mut part).await.unwrap();
            read_line(&mut socket).await;
            if part.is_empty() {
                break;
            }
            let _ = seen.send(Some(part.len())).await;
            body.extend(part);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        socket.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    }
}

async fn read_line(socket: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(line).unwrap().trim_end().to_owned())
}

const UPLOAD: &str = r#"{"type":"request","method":"POST","path":"/","stream_body":true}"#;

fn upload() -> Value {
    serde_json::from_str(UPLOAD).unwrap()
}

/// Each write is answered when the connection has taken it. Writes past the limits are refused, and the body goes on.
#[tokio::test]
async fn body_is_written_in_parts_with_backpressure() {
    let may_read = Arc::new(tokio::sync::Semaphore::new(0));
    let (seen, mut parts) = mpsc::channel(1024);
    let permits = Arc::clone(&may_read);
    let fixture =
        BodyFixture::start(move |socket| return_body(socket, Arc::clone(&permits), seen.clone())).await;
    let mut session = fixture.session().await;
    let id = session.send(upload()).await;
    let part = vec![0xfe; 1 << 18];
    let mut writes = Vec::new();
    // The backend does not read, so that the writes wait in the end, and one is refused.
    let refused = loop {
        writes.push(session.write(id, &part).await);
        session.command(json!({"type": "hello"})).await;
        if let Some(refused) =
            writes.pop_if(|last| session.replies.get(last).is_some_and(|it| it["error"].is_object()))
        {
            break refused;
        }
        assert!(writes.len() < 100);
    };
    assert_eq!(session.reply(refused).await["error"]["reason"], "queue_full");
    let waiting = writes.iter().filter(|write| !session.replies.contains_key(write)).count();
    assert!(waiting >= 16, "{waiting}");
    let large = session.write(id, &vec![0; (1 << 20) + 1]).await;
    assert_eq!(session.reply(large).await["error"]["reason"], "request_too_large");
    let bad = json!({"type": "body", "action": "write", "request": id, "base64": "%"});
    assert_eq!(session.command(bad).await["error"]["reason"], "invalid_request");
    let end = json!({"type": "body", "action": "end", "request": id});
    assert_eq!(session.command(end).await["ok"], Value::Null);
    let late = session.write(id, b"late").await;
    assert_eq!(session.reply(late).await["error"]["reason"], "invalid_request");
    may_read.add_permits(2);
    for write in &writes {
        assert_eq!(session.reply(*write).await, json!({"id": write, "ok": null}));
    }
    let returned = session.reply(id).await["ok"]["base64"].take();
    assert_eq!(STANDARD.decode(returned.as_str().unwrap()).unwrap().len(), writes.len() * part.len());

    let id = session.send(upload()).await;
    let written = session.write(id, b"half").await;
    session.reply(written).await;
    // The connection has taken it before the backend has it.
    let mut seen_part =
        async || timeout(TEST_TIMEOUT, parts.recv()).await.expect("the backend reads").unwrap();
    while seen_part().await != Some(b"half".len()) {}
    session.send(json!({"type": "body", "action": "abort", "request": id})).await;
    assert_eq!(session.reply(id).await["error"]["reason"], "cancelled");
    assert_eq!(seen_part().await, None, "the backend saw the body break off");
}

/// A write that no connection will take is answered when its request is cancelled.
#[tokio::test]
async fn waiting_write_ends_with_its_request() {
    let (held, _keep) = tokio::sync::watch::channel(());
    let fixture = BodyFixture::start(move |mut socket| {
        let mut held = held.subscribe();
        async move {
            read_head(&mut socket).await;
            let _ = held.changed().await;
        }
    })
    .await;
    let mut session = fixture.session().await;
    let mut command = upload();
    // Longer than the limit of the test, so that only the cancel ends the request.
    command["timeout_ms"] = json!(3_600_000);
    let id = session.send(command).await;
    let part = vec![1; 1 << 20];
    let mut writes = Vec::new();
    for _ in 0..16 {
        writes.push(session.write(id, &part).await);
    }
    session.send(json!({"type": "cancel", "request": id})).await;
    let mut outcomes = Vec::new();
    for write in writes {
        outcomes.push(session.reply(write).await["error"]["reason"].as_str().map(str::to_owned));
    }
    let failed = outcomes.iter().flatten();
    assert!(failed.clone().count() > 0 && failed.clone().all(|reason| reason == "not_found"), "{outcomes:?}");
}

#[tokio::test]
async fn body_that_is_no_text_comes_as_base64() {
    let fixture = BodyFixture::start(async |mut socket| {
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x00\xff").await.unwrap();
    })
    .await;
    let reply =
        fixture.session().await.command(json!({"type": "request", "method": "GET", "path": "/"})).await;
    assert_eq!((&reply["ok"]["base64"], reply["ok"].get("body")), (&json!("AP8="), None), "{reply}");
}

#[tokio::test]
async fn session_past_the_limit_is_closed_with_1013() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = start_demo(data.path(), "1").await;
    let mut sessions = Vec::new();
    for _ in 0..64 {
        let mut session = PageSession::open(data.path()).await;
        session.command(json!({"type": "hello"})).await;
        sessions.push(session);
    }
    let mut refused = connect(data.path()).await;
    let message = timeout(TEST_TIMEOUT, refused.next()).await.expect("it is told").unwrap().unwrap();
    let Message::Close(Some(close)) = message else { panic!("{message:?}") };
    assert_eq!(u16::from(close.code), 1013);
    assert!(close.reason.contains("64 sessions"), "{close}");
    let command = support::run(data.path(), &["status"]).await;
    assert!(command.code == Some(1) && command.stderr.contains("64 sessions"), "{command:?}");
    assert_eq!(sessions[63].command(json!({"type": "hello"})).await["ok"]["protocol"], 1, "the others go on");
    sessions.pop();
    let is_admitted = async || support::run(data.path(), &["status"]).await.code == Some(0);
    support::eventually("there is room again", is_admitted).await;
}

/// The rest of the session goes on, and the log names the panic.
#[cfg(debug_assertions)]
#[tokio::test]
async fn panic_in_a_command_is_one_internal_error() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let demo = support::mainstay(data.path(), &["demo", "--agents", "1"])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let control = data.path().join("control.json");
    support::eventually("the runtime runs", async || control.exists()).await;
    let mut session = PageSession::open(data.path()).await;
    for _ in 0..2 {
        let reply = session.command(json!({"type": "panic", "actor": "bridge"})).await;
        assert_eq!(reply["error"]["reason"], "internal", "{reply}");
        let hello = session.send(json!({"type": "hello"})).await;
        assert_eq!(session.next().await["id"], hello, "there is one reply");
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("a panic injected into a command"), "{log}");
    drop(demo);
}

/// What a session keeps across the runs of a runtime.
#[derive(Default)]
struct Follower {
    seen: Vec<Cursor>,
    boots: Vec<String>,
}

impl Follower {
    /// Takes in events until one of this kind came in this session.
    async fn follow(&mut self, session: &mut PageSession, until: &str) {
        loop {
            let message = session.next().await;
            assert!(message.get("lagged").is_none(), "{message}");
            if let Some(boot) = message["snapshot"]["status"]["runtime"]["boot"].as_str() {
                self.boots.push(boot.to_owned());
            }
            let events = message["events"].as_array().cloned().unwrap_or_default();
            let number = |value: &Value| value.as_u64().unwrap();
            self.seen
                .extend(events.iter().map(|event| Cursor::new(number(&event["run"]), number(&event["seq"]))));
            if events.iter().any(|event| event["kind"] == until) {
                return;
            }
        }
    }

    async fn subscribe(&self, data: &Path) -> PageSession {
        let mut session = PageSession::open(data).await;
        let after = self.seen.last().copied().unwrap_or(Cursor::START).to_string();
        session.send(json!({"type": "subscribe", "after": after})).await;
        session
    }
}

/// Two sessions with each run, one of which comes back within the run. The runtime is killed three times.
#[tokio::test]
async fn two_sessions_resume_across_kills_without_gap_or_repeat() {
    let data = tempfile::tempdir().unwrap();
    let mut followers = [Follower::default(), Follower::default()];
    for run in 1..=4 {
        let (demo, _) = start_demo(data.path(), "1").await;
        let mut first = followers[0].subscribe(data.path()).await;
        let mut second = followers[1].subscribe(data.path()).await;
        followers[0].follow(&mut first, "agent_health").await;
        drop(first);
        let mut first = followers[0].subscribe(data.path()).await;
        let restart = json!({"type": "agent", "agent": "planner", "action": "restart"});
        second.send(restart).await;
        followers[0].follow(&mut first, "actor_restarted").await;
        followers[1].follow(&mut second, "actor_restarted").await;
        if run < 4 {
            demo.kill().await;
        } else {
            assert!(demo.stop().await.0.success());
        }
    }
    let mut reader = Reader::after(&DataDir::new(data.path()).journal(), Cursor::START);
    let mut durable = Vec::new();
    while let Some(Entry::Event(record, _)) = reader.next_entry().unwrap() {
        durable.push(record.cursor());
    }
    for follower in followers {
        let boots: BTreeSet<_> = follower.boots.iter().collect();
        assert_eq!(boots.len(), 4, "each run has another id");
        let seen = follower.seen;
        assert!(seen.is_sorted_by(|before, after| before < after), "nothing comes twice: {seen:?}");
        let last = *seen.last().unwrap();
        let expected: Vec<_> = durable.iter().copied().filter(|cursor| *cursor <= last).collect();
        let seen_durable: Vec<_> = seen.into_iter().filter(|cursor| durable.contains(cursor)).collect();
        assert_eq!(seen_durable, expected, "no gap");
    }
}
