//! Tests a runtime that stands still for longer than a timeout while an answer lies in its socket.
#![cfg(unix)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use support::{
    MainstayProcess, quick_config, read_head, serve_connections, start_runtime, websocket_response,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn answer_that_came_during_a_standstill_counts() {
    let (received, answers) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let (has_received, may_answer) = (Arc::clone(&received), Arc::clone(&answers));
    let (port, _server) = serve_connections(move |mut socket| {
        let (received, answers) = (Arc::clone(&has_received), Arc::clone(&may_answer));
        async move {
            while let Some(head) = read_head(&mut socket).await {
                if let Some(response) = websocket_response(&head) {
                    socket.write_all(response.as_bytes()).await.unwrap();
                    while socket.read_u8().await.is_ok() {}
                } else if head.starts_with("POST /pay ") {
                    received.notify_one();
                    answers.notified().await;
                    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npaid";
                    socket.write_all(response).await.unwrap();
                }
            }
        }
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let config = quick_config(data.path(), &format!("http://127.0.0.1:{port}"), "");
    let runtime = start_runtime(data.path(), &config);
    support::eventually("the runtime runs", async || {
        support::run(data.path(), &["status"]).await.code == Some(0)
    })
    .await;
    let args = ["request", "POST", "/pay", "--timeout", "3s", "--retries", "0", "--json"];
    let mut request = MainstayProcess::start(data.path(), &args);
    received.notified().await;
    runtime.signal("STOP").await;
    answers.notify_one();
    // The length of the standstill, beyond the timeout. Nothing is expected to happen meanwhile.
    sleep(TIMEOUT * 2).await;
    runtime.signal("CONT").await;
    let (status, output) = request.wait().await;
    assert!(status.success(), "{output}");
    let response: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(
        (&response["status"], &response["body"], &response["attempts"]),
        (&200.into(), &"paid".into(), &1.into())
    );
    runtime.stop().await;
}
