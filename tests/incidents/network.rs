//! The incidents of the connection and of requests, against a server of the test or the embedded backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use mainstay::backend::{Backend, BackendOptions, Fault};
use mainstay::journal::Record;
use mainstay::{Error, Request};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::FaultyRuntime;
use crate::support::{TEST_TIMEOUT, read_head, serve_connections, websocket_response};

const LINK: &str = "root/connection";
const QUEUE: &str = "root/queue";

/// Short delays without chance.
const QUICK: &str = "[connection]\njitter = false\ndelay_min = '50ms'\ndelay_max = '50ms'\nmax_retries = 100000\n\
                     [requests]\nretry_delay_min = '10ms'\nretry_delay_max = '10ms'\nretries = 1\n";

async fn start(url: &str, more: &str) -> FaultyRuntime {
    let config = format!("[backend]\nurl = '{url}'\n{QUICK}{more}");
    FaultyRuntime::start(tempfile::tempdir().unwrap(), &config).await
}

async fn start_with_link(url: &str, link: &str) -> FaultyRuntime {
    let config =
        format!("[backend]\nurl = '{url}'\n{}", QUICK.replace("[requests]", &format!("{link}[requests]")));
    FaultyRuntime::start(tempfile::tempdir().unwrap(), &config).await
}

fn is_link(to: &str) -> impl Fn(&Record) -> bool {
    move |record| record.kind == "connection_state" && record.fields["to"] == to
}

/// Waits for the `count`th time that the connection is up.
async fn connected(runtime: &mut FaultyRuntime, after: u64) -> Record {
    runtime.wait_for(LINK, |record| is_link("connected")(record) && record.seq > after).await
}

async fn get(runtime: &FaultyRuntime, path: &str) -> Result<(), Error> {
    let answer = runtime.mainstay.request(Request::get(path).build().unwrap());
    timeout(TEST_TIMEOUT, answer).await.expect("it has an outcome").map(drop)
}

#[tokio::test]
async fn dropped_connection_tells_its_story() {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let mut runtime = start(&backend.url(), "").await;
    let first = connected(&mut runtime, 0).await;
    backend.inject(Fault::DropWs).unwrap();
    connected(&mut runtime, first.seq).await;
    runtime.check_all("connection_dropped");
    runtime.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn silent_connection_tells_its_story() {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let mut runtime = start_with_link(&backend.url(), "ping_interval = '100ms'\nping_timeout = '2s'\n").await;
    let first = connected(&mut runtime, 0).await;
    backend.inject(Fault::HalfOpenWs { for_ms: 600_000 }).unwrap();
    let lost = runtime.wait_for(LINK, is_link("reconnecting")).await;
    backend.inject(Fault::HalfOpenWs { for_ms: 0 }).unwrap();
    connected(&mut runtime, lost.seq.max(first.seq)).await;
    runtime.check_all("connection_silent");
    runtime.stop().await;
    backend.stop().await;
}

/// A backend that answers WebSockets with one status and requests with another.
struct AnsweringServer {
    url: String,
    socket: Arc<AtomicU16>,
    _tasks: JoinSet<()>,
}

impl AnsweringServer {
    async fn start(socket: u16, request: u16) -> Self {
        let (socket, request) = (Arc::new(AtomicU16::new(socket)), Arc::new(AtomicU16::new(request)));
        let statuses = (Arc::clone(&socket), Arc::clone(&request));
        let (port, tasks) = serve_connections(move |mut stream| {
            let (socket, request) = statuses.clone();
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let upgrade = websocket_response(&head);
                    let status = if upgrade.is_some() { &socket } else { &request }.load(Ordering::SeqCst);
                    let answer = match (status, upgrade) {
                        (0, _) => std::future::pending().await,
                        (101, Some(upgrade)) => upgrade,
                        _ => format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"),
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        })
        .await;
        Self { url: format!("http://127.0.0.1:{port}"), socket, _tasks: tasks }
    }
}

#[tokio::test]
async fn refused_handshake_tells_its_story() {
    for (status, name) in
        [(403, "connection_forbidden"), (404, "connection_not_found"), (401, "connection_unauthenticated")]
    {
        let server = AnsweringServer::start(status, 200).await;
        let mut runtime = start(&server.url, "").await;
        let refused = runtime
            .wait_for(LINK, |record| ["reconnecting", "failed"].iter().any(|to| is_link(to)(record)))
            .await;
        runtime.check_all(name);
        if status == 404 {
            server.socket.store(101, Ordering::SeqCst);
            runtime.mainstay.connection().reconnect().await.unwrap();
            connected(&mut runtime, refused.seq).await;
            runtime.check_all("connection_not_found_then_open");
        }
        runtime.stop().await;
    }
}

#[tokio::test]
async fn failing_requests_tell_their_story() {
    let server = AnsweringServer::start(101, 500).await;
    let mut runtime = start(&server.url, "timeout = '200ms'\nqueue_max = 1\nmax_concurrent = 1\n").await;
    connected(&mut runtime, 0).await;
    get(&runtime, "/broken").await.unwrap_err();
    runtime.wait_for(QUEUE, |record| record.kind == "request_failed").await;
    runtime.check_all("request_fails");
    runtime.stop().await;
}

#[tokio::test]
async fn slow_request_tells_its_story() {
    let server = AnsweringServer::start(101, 0).await;
    let mut runtime = start(&server.url, "timeout = '200ms'\n").await;
    connected(&mut runtime, 0).await;
    get(&runtime, "/slow").await.unwrap_err();
    runtime
        .wait_for(QUEUE, |record| ["request_failed", "request_timed_out"].contains(&record.kind.as_str()))
        .await;
    runtime.check_all("request_times_out");
    let post = runtime.mainstay.request(Request::post("/pay").build().unwrap());
    timeout(TEST_TIMEOUT, post).await.unwrap().unwrap_err();
    runtime
        .wait_for(QUEUE, |record| {
            ["request_failed", "request_timed_out"].contains(&record.kind.as_str())
                && record.fields["path"] == "/pay"
        })
        .await;
    runtime.check_all("request_outcome_unknown");
    runtime.stop().await;
}

#[tokio::test]
async fn full_queue_tells_its_story() {
    let server = AnsweringServer::start(101, 0).await;
    let mut runtime = start(&server.url, "queue_max = 1\nmax_concurrent = 1\n").await;
    connected(&mut runtime, 0).await;
    let mut requests = JoinSet::new();
    for n in 0..3 {
        let mainstay = runtime.mainstay.clone();
        requests.spawn(async move { mainstay.request(Request::get(format!("/{n}")).build().unwrap()).await });
    }
    timeout(TEST_TIMEOUT, requests.join_next()).await.unwrap().unwrap().unwrap().unwrap_err();
    runtime.wait_for_kind(QUEUE, "queue_overflow").await;
    runtime.check_all("queue_full");
    runtime.stop().await;
}

/// The backend goes away with a request waiting, and comes back. The WebSocket opens last, so that the events have one order.
#[tokio::test]
async fn absent_backend_tells_its_story() {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let (url, port) = (backend.url(), backend.address().port());
    let mut runtime = start(&url, "").await;
    connected(&mut runtime, 0).await;
    backend.stop().await;
    let lost = runtime.wait_for(LINK, is_link("reconnecting")).await;
    let mainstay = runtime.mainstay.clone();
    let mut requests = JoinSet::new();
    requests.spawn(async move { mainstay.request(Request::get("/api/search?q=x").build().unwrap()).await });
    let is_held = |record: &Record| {
        record.kind == "queue_held"
            && record.fields["waiting"] == 1
            && record.fields["reason"] == "connection_refused"
    };
    runtime.wait_for(QUEUE, is_held).await;
    runtime.check_all("backend_away");
    let backend = Backend::bind(BackendOptions { port, ..BackendOptions::default() }).await.unwrap();
    backend.inject(Fault::RefuseWs { for_ms: 600_000 }).unwrap();
    timeout(TEST_TIMEOUT, requests.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    runtime.wait_for_kind(QUEUE, "queue_released").await;
    backend.inject(Fault::RefuseWs { for_ms: 0 }).unwrap();
    connected(&mut runtime, lost.seq).await;
    runtime.check_all("backend_away_and_back");
    runtime.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn agents_in_the_backend_tell_their_story() {
    let agents = ["crashing", "hanging"].map(str::to_owned).to_vec();
    let backend = Backend::bind(BackendOptions { agents, ..BackendOptions::default() }).await.unwrap();
    let more = "[agents]\nhealth_interval = '100ms'\nhealth_timeout = '1s'\nfail_after = 2\nrestart_delay = '10ms'\n\
                restart_delay_max = '10ms'\n[[agent]]\nid = 'crashing'\n[[agent]]\nid = 'hanging'\n";
    let mut runtime = start(&backend.url(), more).await;
    for agent in ["crashing", "hanging"] {
        runtime.wait_for_agent(agent, 1, "healthy").await;
    }
    backend.inject(Fault::CrashAgent { agent: "crashing".to_owned() }).unwrap();
    backend.inject(Fault::HangAgent { agent: "hanging".to_owned() }).unwrap();
    for agent in ["crashing", "hanging"] {
        runtime.wait_for_agent(agent, 2, "healthy").await;
        runtime.check(&format!("http_agent_{agent}"), &format!("root/agents/{agent}"));
    }
    runtime.stop().await;
    backend.stop().await;
}
