//! Tests the queue over real sockets.

use mainstay_runtime::journal::Delivery;

use super::*;
use crate::transport::crashing_server::numbered_tokens;

async fn queue_for(server: &ScriptedServer) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    queue_over_http(&server.url()).await
}

/// Returns a queue for the server, with one permit, no delay between attempts and a verbose journal.
pub(super) async fn queue_over_http(url: &str) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    start_over_http(&HttpSettings::new(url), Delay::NONE).await
}

fn get(path: &str) -> Request {
    Request::get(path).build().unwrap()
}

fn busy_response() -> ServerStep {
    ServerStep::Send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec())
}

fn key_of(received: &str) -> &str {
    let queue = received.lines().find_map(|queue| queue.strip_prefix("idempotency-key: "));
    queue.unwrap_or_else(|| panic!("no key in {received}"))
}

#[tokio::test]
async fn post_with_a_key_is_repeated_over_the_wire_with_that_key() {
    let scripts = [
        vec![Receive, busy_response(), Close],
        vec![Receive, ServerStep::Reset],
        vec![Receive, ok_response("done")],
    ];
    let mut server = ScriptedServer::start(scripts).await;
    let (_runtime, queue, _) = queue_for(&server).await;
    let request = post("/pay").body("1").generated_idempotency_key().build().unwrap();
    let answer = queue.request(request).await.unwrap();
    assert_eq!((&answer.body[..], answer.attempts), (&b"done"[..], 3));
    let received = [server.next_request().await, server.next_request().await, server.next_request().await];
    assert!(received.iter().all(|one| key_of(one) == key_of(&received[0])));
}

#[tokio::test]
async fn stalled_backend_times_out_and_frees_its_permit() {
    let server = ScriptedServer::start([vec![Receive, AwaitClose], vec![Receive, ok_response("")]]).await;
    let (_runtime, queue, _) = queue_for(&server).await;
    let request = Request::get("/slow").timeout(Duration::from_millis(50)).retries(0).build().unwrap();
    let (slow, next) = tokio::join!(queue.request(request), queue.request(get("/next")));
    assert_eq!(slow.unwrap_err().reason, Reason::TimedOut);
    assert_eq!(status(next), 200);
    server.wait_closed(0).await;
}

fn rejection() -> ServerStep {
    ServerStep::Send("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".into())
}

fn with_renewed_tokens(server: &ScriptedServer) -> HttpSettings {
    HttpSettings { credentials: numbered_tokens(true), ..HttpSettings::new(server.url()) }
}

#[tokio::test]
async fn request_with_a_rejected_token_is_retried_with_the_new_one() {
    let mut server =
        ScriptedServer::start([vec![Receive, rejection()], vec![Receive, ok_response("in")]]).await;
    // The delay would outlast the test.
    let delay = Delay::Fixed { delay: Duration::from_secs(3600) };
    let (runtime, queue, _) = start_over_http(&with_renewed_tokens(&server), delay).await;
    let answer = queue.request(post("/pay").body("1").build().unwrap()).await.unwrap();
    assert_eq!((&answer.body[..], answer.attempts), (&b"in"[..], 2));
    for token in ["token-0", "token-1"] {
        assert!(server.next_request().await.contains(token), "{token}");
    }
    let mut events = runtime.journal().subscribe();
    let mut recorded = Vec::new();
    while let Some(Delivery::Event(record)) = events.try_next().await {
        if record.fields.contains_key("request_id") {
            recorded.push(record);
        }
    }
    let kinds: Vec<_> = recorded.iter().map(|record| &*record.kind).collect();
    let expected = ["request_started", "request_retry", "request_started", "request_done"];
    assert_eq!(kinds, expected);
    let retry: RequestRetry = recorded[1].decode().unwrap();
    assert_eq!((retry.attempt, retry.delay_ms, retry.reason), (2, 0, Reason::Unauthenticated));
}

#[tokio::test]
async fn without_retries_a_rejected_token_is_renewed_for_the_next() {
    let mut server =
        ScriptedServer::start([vec![Receive, rejection()], vec![Receive, ok_response("in")]]).await;
    let (_runtime, queue, _) = start_over_http(&with_renewed_tokens(&server), Delay::NONE).await;
    let once = || post("/pay").body("1").retries(0).build().unwrap();
    let error = queue.request(once()).await.unwrap_err();
    assert_eq!((error.reason, error.status, error.attempts), (Reason::Unauthenticated, Some(401), 1));
    assert!(error.retryable && error.message.contains("Try again"), "{error:?}");
    assert_eq!(queue.request(once()).await.unwrap().attempts, 1);
    assert!(server.next_request().await.contains("token-0"));
    assert!(server.next_request().await.contains("token-1"));
}
