//! Tests a runtime that stands still for longer than a timeout while an answer lies in its socket.
#![cfg(unix)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::{
    EventFollower, MainstayProcess, in_time, quick_config, read_head, serve_connections, start_runtime,
    websocket_response,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The server's side of the test.
#[derive(Default)]
struct Held {
    /// Set once a request is being held.
    payment: Notify,
    check: Notify,
    /// The number of checks of the agent's health.
    checks: AtomicUsize,
    /// True as long as checks are held as well.
    holds_checks: AtomicBool,
    /// Lets a held request go.
    may_answer: Notify,
}

/// Serves the backend on the returned port, as long as its tasks live.
async fn serve(held: &Arc<Held>) -> (u16, JoinSet<()>) {
    let held = Arc::clone(held);
    serve_connections(move |mut socket| {
        let held = Arc::clone(&held);
        async move {
            while let Some(head) = read_head(&mut socket).await {
                if let Some(response) = websocket_response(&head) {
                    socket.write_all(response.as_bytes()).await.unwrap();
                    while socket.read_u8().await.is_ok() {}
                    continue;
                }
                let (kind, body) = if head.starts_with("POST /pay ") {
                    held.payment.notify_one();
                    held.may_answer.notified().await;
                    ("text/plain", "paid")
                } else {
                    held.checks.fetch_add(1, Ordering::SeqCst);
                    if held.holds_checks.swap(false, Ordering::SeqCst) {
                        held.check.notify_one();
                        held.may_answer.notified().await;
                    }
                    ("application/json", r#"{"id":"planner","status":"healthy"}"#)
                };
                let length = body.len();
                let response = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                socket.write_all(response.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

/// Stops the runtime for longer than `limit`, the timeout of a request and of a check whose answers come meanwhile.
/// Returns false if it took too long to get there: either may then have timed out before, which says nothing.
async fn stand_still(limit: Duration) -> bool {
    let held = Arc::<Held>::default();
    let (port, _server) = serve(&held).await;
    let data = tempfile::tempdir().unwrap();
    let seconds = limit.as_secs();
    let more = format!("health_timeout = '{seconds}s'\n[[agent]]\nid = 'planner'\n");
    let config = quick_config(data.path(), &format!("http://127.0.0.1:{port}"), &more);
    let runtime = start_runtime(data.path(), &config);
    let mut events = EventFollower::follow(data.path());
    events.wait_for_agent("planner", "healthy").await;
    let mark = events.mark();
    let timeout = format!("{seconds}s");
    let args = ["request", "POST", "/pay", "--timeout", &timeout, "--retries", "0", "--json"];
    let begun = Instant::now();
    let mut request = MainstayProcess::start(data.path(), &args);
    in_time(held.payment.notified()).await;
    held.holds_checks.store(true, Ordering::SeqCst);
    in_time(held.check.notified()).await;
    runtime.signal("STOP").await;
    if begun.elapsed() >= limit {
        return false;
    }
    held.may_answer.notify_waiters();
    // The length of the standstill, beyond the timeout. Nothing is expected to happen meanwhile.
    sleep(limit * 2).await;
    runtime.signal("CONT").await;
    let (status, output) = request.wait().await;
    assert!(status.success(), "{output}");
    let response: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(
        (&response["status"], &response["body"], &response["attempts"]),
        (&200.into(), &"paid".into(), &1.into())
    );
    let checks = held.checks.load(Ordering::SeqCst);
    let goes_on = async || held.checks.load(Ordering::SeqCst) > checks + 1;
    support::eventually("the agent is checked again", goes_on).await;
    runtime.stop().await;
    events.wait_for_event("root", "runtime_stopped").await;
    let changes = events.events[mark..].iter().filter(|event| event["kind"] == "agent_health");
    assert_eq!(changes.collect::<Vec<_>>(), Vec::<&Value>::new(), "the held check counts as answered");
    true
}

#[tokio::test]
async fn answer_that_came_during_a_standstill_counts() {
    for seconds in [3, 6, 12, 24, 48] {
        // A slow machine gets more time.
        if stand_still(Duration::from_secs(seconds)).await {
            return;
        }
    }
    panic!("a request and a check take longer than 48 s to begin");
}
