//! Tests the queue over real sockets.

use super::*;

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
async fn a_request_goes_out_and_its_answer_comes_back() {
    let mut server = ScriptedServer::start([vec![Receive, ok_response(r#"{"a":1}"#)]]).await;
    let (_runtime, queue, _) = queue_for(&server).await;
    let answer = queue.request(get("/thing?x=1")).await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().unwrap(), serde_json::json!({"a": 1}));
    assert!(server.next_request().await.starts_with("GET /thing?x=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_post_with_a_key_is_repeated_over_the_wire_with_that_key() {
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

#[tokio::test]
async fn cancel_closes_the_connection() {
    let mut server = ScriptedServer::start([vec![Receive, AwaitClose]]).await;
    let (_runtime, queue, _) = queue_for(&server).await;
    let (id, answer) = queue.submit(get("/slow"));
    server.next_request().await;
    assert_eq!(queue.cancel(id).await, Ok(true));
    assert_eq!(answer.await.unwrap_err().reason, Reason::Cancelled);
    server.wait_closed(0).await;
}

#[tokio::test]
async fn crash_closes_connections_and_repeats_the_request() {
    let mut server =
        ScriptedServer::start([vec![Receive, AwaitClose], vec![Receive, ok_response("again")]]).await;
    let (_runtime, queue, address) = queue_for(&server).await;
    let (_, answer) = queue.submit(get("/x"));
    server.next_request().await;
    drop(address.inject_panic().unwrap());
    let answer = answer.await.unwrap();
    assert_eq!((&answer.body[..], answer.attempts), (&b"again"[..], 2));
    server.wait_closed(0).await;
}
