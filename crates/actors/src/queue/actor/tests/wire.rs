//! The queue over real sockets.

use std::{sync::Arc, time::Duration};

use mainstay_runtime::{Address, Child, Runtime, SupervisorSpec, clock::SystemClock, policy::Delay};

use super::scene::{policy, post, status, upkeep, verbose_journal};
use crate::{
    error::{Code, Reason},
    queue::{QueueActor, QueueHandle, QueueMessage, QueuePolicy, QueueView, RetryPolicy},
    request::Request,
    transport::{
        HttpSettings, HttpTransport,
        server::{Server, Step, ok},
    },
};

async fn queue_before(server: &Server) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    by_http(&server.url()).await
}

/// A queue before the server there, with one place, no delay between attempts and a verbose journal.
pub(super) async fn by_http(url: &str) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    let transport = Arc::new(HttpTransport::new(&HttpSettings::new(url)).unwrap());
    let retry = RetryPolicy { delay: Delay::NONE, ..RetryPolicy::default() };
    let policy = QueuePolicy { retry, max_concurrent: 1, ..policy() };
    let actor = QueueActor::new(transport, policy, QueueView::default());
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("queue", actor).policy(upkeep())).unwrap();
    let runtime =
        Runtime::builder().journal(verbose_journal(Arc::new(SystemClock))).start(root).await.unwrap();
    (runtime, QueueHandle::new(address.clone()), address)
}

fn get(path: &str) -> Request {
    Request::get(path).build().unwrap()
}

fn busy() -> Step {
    Step::Send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec())
}

fn key_of(received: &str) -> &str {
    let line = received.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
    line.unwrap_or_else(|| panic!("no key in {received}"))
}

#[tokio::test]
async fn a_request_goes_out_and_its_answer_comes_back() {
    let mut server = Server::start([vec![Step::Receive, ok(r#"{"a":1}"#)]]).await;
    let (_runtime, queue, _) = queue_before(&server).await;
    let answer = queue.request(get("/thing?x=1")).await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().unwrap(), serde_json::json!({"a": 1}));
    assert!(server.received().await.starts_with("GET /thing?x=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_post_with_a_key_is_repeated_over_the_wire_with_that_key() {
    let scripts = [
        vec![Step::Receive, busy(), Step::Close],
        vec![Step::Receive, Step::Reset],
        vec![Step::Receive, ok("done")],
    ];
    let mut server = Server::start(scripts).await;
    let (_runtime, queue, _) = queue_before(&server).await;
    let request = post("/pay").body("1").generated_idempotency_key().build().unwrap();
    let answer = queue.request(request).await.unwrap();
    assert_eq!((&answer.body[..], answer.attempts), (&b"done"[..], 3));
    let received = [server.received().await, server.received().await, server.received().await];
    assert!(received.iter().all(|one| key_of(one) == key_of(&received[0])));
}

#[tokio::test]
async fn a_post_without_a_key_whose_connection_breaks_is_sent_once() {
    let mut server = Server::start([vec![Step::Receive, Step::Reset], vec![Step::Receive, ok("next")]]).await;
    let (_runtime, queue, _) = queue_before(&server).await;
    let error = queue.request(post("/pay").body("1").build().unwrap()).await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::OutcomeUnknown));
    assert_eq!(status(queue.request(get("/next")).await), 200);
    assert!(server.received().await.starts_with("POST /pay "));
    assert!(server.received().await.starts_with("GET /next "));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_backend_that_stands_still_times_out_and_the_next_request_has_its_place() {
    let server = Server::start([vec![Step::Receive, Step::AwaitClose], vec![Step::Receive, ok("")]]).await;
    let (_runtime, queue, _) = queue_before(&server).await;
    let request = Request::get("/slow").timeout(Duration::from_millis(50)).retries(0).build().unwrap();
    let (slow, next) = tokio::join!(queue.request(request), queue.request(get("/next")));
    assert_eq!(slow.unwrap_err().reason, Reason::TimedOut);
    assert_eq!(status(next), 200);
    server.closed(0).await;
}

#[tokio::test]
async fn calling_a_request_off_closes_its_connection() {
    let mut server = Server::start([vec![Step::Receive, Step::AwaitClose]]).await;
    let (_runtime, queue, _) = queue_before(&server).await;
    let (id, answer) = queue.submit(get("/slow"));
    server.received().await;
    assert_eq!(queue.cancel(id).await, Ok(true));
    assert_eq!(answer.await.unwrap_err().reason, Reason::Cancelled);
    server.closed(0).await;
}

#[tokio::test]
async fn a_crash_closes_the_connections_of_the_dead_and_the_request_is_made_again() {
    let mut server =
        Server::start([vec![Step::Receive, Step::AwaitClose], vec![Step::Receive, ok("again")]]).await;
    let (_runtime, queue, address) = queue_before(&server).await;
    let (_, answer) = queue.submit(get("/x"));
    server.received().await;
    address.cast(QueueMessage::Panic).await.unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((&answer.body[..], answer.attempts), (&b"again"[..], 2));
    server.closed(0).await;
}
