//! The incidents of a backend that the runtime starts, and of requests to it.

use mainstay::Request;
use mainstay::journal::Record;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::FaultyRuntime;
use crate::support::{TEST_TIMEOUT, mainstay_binary, read_head, send_signal, serve_connections};

const BACKEND: &str = "root/backend";
const NO_LINK: &str = "[connection]\nenabled = false\n";
const QUICK: &str =
    "[agents]\nrestart_delay = '10ms'\nrestart_delay_max = '10ms'\nhealth_interval = '50ms'\n";

/// Starts a runtime with this script as its backend, in a folder of its own. It is ready when it prints `up`.
async fn start(script: &str, more: &str) -> FaultyRuntime {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("backend.sh"), script).unwrap();
    let config = format!(
        "[backend]\nurl = 'http://127.0.0.1:9'\ncwd = '{{folder}}'\ncommand = ['/bin/sh', 'backend.sh']\n\
         ready = 'stdout:up'\n{more}"
    );
    FaultyRuntime::start(folder, &config).await
}

async fn pid(runtime: &mut FaultyRuntime, generation: u64) -> u64 {
    let is_started = |record: &Record| record.kind == "backend_started" && record.generation == generation;
    runtime.wait_for(BACKEND, is_started).await.fields["pid"].as_u64().unwrap()
}

/// Waits until this incarnation of the backend runs, and the queue sends requests again.
async fn restarted(runtime: &mut FaultyRuntime, generation: u64) {
    let is_exit = |record: &Record| record.kind == "actor_exited" && record.generation == generation - 1;
    let exit = runtime.wait_for(BACKEND, is_exit).await;
    let is_restart = |record: &Record| record.kind == "actor_restarted" && record.generation == generation;
    runtime.wait_for(BACKEND, is_restart).await;
    let is_release = |record: &Record| record.kind == "queue_released" && record.seq > exit.seq;
    runtime.wait_for("root/queue", is_release).await;
}

#[tokio::test]
async fn backend_that_is_never_ready_tells_its_story() {
    let more = format!("ready_within = '200ms'\n{QUICK}max_restarts = 1\n{NO_LINK}");
    let mut runtime = start("echo loading the model\nexec sleep 1000", &more).await;
    runtime.wait_for_kind(BACKEND, "gave_up").await;
    runtime.check_all("backend_never_ready");
    runtime.stop().await;
}

#[tokio::test]
async fn backend_that_is_suspended_tells_its_story() {
    let mut runtime =
        start("echo up\nexec sleep 1000", &format!("{QUICK}fail_after = 1000\n{NO_LINK}")).await;
    let process = pid(&mut runtime, 1).await;
    send_signal(process, "STOP").await;
    runtime.wait_for_kind(BACKEND, "backend_suspended").await;
    runtime.check_all("backend_suspended");
    send_signal(process, "CONT").await;
    runtime.wait_for_kind(BACKEND, "backend_resumed").await;
    runtime.check_all("backend_suspended_and_resumed");
    runtime.stop().await;
}

/// The backend ends over a request twice; a second request waits meanwhile.
#[tokio::test]
async fn request_that_ends_the_backend_tells_its_story() {
    let (arrived, mut arrivals) = mpsc::channel::<TcpStream>(8);
    let (port, _tasks) = serve_connections(move |mut stream| {
        let arrived = arrived.clone();
        async move {
            if read_head(&mut stream).await.is_some() {
                arrived.send(stream).await.unwrap();
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[backend]\nurl = 'http://127.0.0.1:{port}'\nready = 'stdout:up'\ncommand = ['sh', '-c', 'echo up; exec sleep 1000']\n\
         {NO_LINK}{QUICK}[requests]\nretries = 3\nretry_delay_min = '10ms'\nretry_delay_max = '10ms'\n"
    );
    let mut runtime = FaultyRuntime::start(folder, &config).await;
    let mainstay = runtime.mainstay.clone();
    let mut requests = JoinSet::new();
    requests.spawn(async move { mainstay.request(Request::get("/kill").build().unwrap()).await });

    for generation in 1..=2 {
        let process = pid(&mut runtime, generation).await;
        let connection = timeout(TEST_TIMEOUT, arrivals.recv()).await.unwrap().unwrap();
        send_signal(process, "KILL").await;
        // Otherwise the queue may see the end of the connection first, before there is an incident.
        let is_end = |record: &Record| record.kind == "actor_exited" && record.generation == generation;
        runtime.wait_for("root/backend", is_end).await;
        drop(connection);
    }
    requests.join_next().await.unwrap().unwrap().unwrap_err();
    restarted(&mut runtime, 3).await;
    runtime.wait_for_kind("root/queue", "request_failed").await;
    runtime.check_unordered("request_ends_backend");
    runtime.stop().await;
}

/// A request waits while the backend is started again.
#[tokio::test]
async fn backend_that_is_killed_tells_its_story() {
    let program = mainstay_binary();
    let config = format!(
        "[backend]\nurl = 'auto'\ncommand = ['{}', 'demo-backend', '--port', '{{port}}']\nready = 'stdout:listening on {{url}}'\n\
         {NO_LINK}[agents]\nrestart_delay = '300ms'\nrestart_delay_max = '300ms'\n",
        program.display()
    );
    let mut runtime = FaultyRuntime::start(tempfile::tempdir().unwrap(), &config).await;
    let process = pid(&mut runtime, 1).await;
    runtime.wait_for("root/queue", |record| record.kind == "queue_released").await;
    send_signal(process, "KILL").await;
    runtime.wait_for_kind(BACKEND, "actor_exited").await;
    let answer = runtime.mainstay.request(Request::get("/api/search?q=x").build().unwrap());
    timeout(TEST_TIMEOUT, answer).await.unwrap().unwrap();
    restarted(&mut runtime, 2).await;
    runtime.check_unordered("backend_killed");
    runtime.stop().await;
}

#[tokio::test]
async fn backend_without_a_program_tells_its_story() {
    let config = format!("[backend]\ncommand = ['{{folder}}/no-such-program']\nready = 'none'\n{NO_LINK}");
    let mut runtime = FaultyRuntime::start(tempfile::tempdir().unwrap(), &config).await;
    runtime.wait_for_kind(BACKEND, "gave_up").await;
    runtime.check("backend_program_missing", BACKEND);
    runtime.stop().await;
}
