//! Tests the queue over real sockets.

use mainstay_runtime::journal::{Delivery, Event};

use super::*;
use crate::credentials::{CredentialRequest, Credentials};

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
async fn send_that_the_transport_repeats_is_a_recorded_attempt() {
    let no = ServerStep::Send("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".into());
    let server = ScriptedServer::start([vec![Receive, no], vec![Receive, ok_response("in")]]).await;
    let credentials = Credentials::from_callback(|request| {
        let token = if request == CredentialRequest::Renew { "new" } else { "old" };
        async move { Ok(Some(token.to_owned())) }
    });
    let settings = HttpSettings { credentials, ..HttpSettings::new(server.url()) };
    let (runtime, queue, _) = start_over_http(&settings, Delay::NONE).await;
    let answer = queue.request(post("/pay").body("1").build().unwrap()).await.unwrap();
    assert_eq!((&answer.body[..], answer.attempts), (&b"in"[..], 2));
    let mut events = runtime.journal().subscribe();
    let retry = loop {
        match events.try_next().await {
            Some(Delivery::Event(record)) if record.kind == RequestRetry::KIND => break record,
            Some(_) => {}
            None => panic!("the second send is not in the journal"),
        }
    };
    let retry: RequestRetry = retry.decode().unwrap();
    assert_eq!((retry.attempt, retry.delay_ms, retry.reason), (2, 0, Reason::Unauthenticated));
}
