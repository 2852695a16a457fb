//! Tests what drops responses from the cache: writes, the backend's invalidations, and gaps in them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use mainstay::ConnectionState;
use mainstay::Inbound;
use mainstay::backend::{Backend, BackendOptions, Fault};
use mainstay::config::Config;
use mainstay::journal::Delivery;
use mainstay::transport::{
    FailureKind, FullResponse, ResponseBody, SendProgress, StreamingResponse, Transport, TransportError,
};
use mainstay::{Mainstay, MainstayBuilder, Request, Selection, Subscription, WriteRule};
use serde_json::{Map, Value};
use support::TEST_TIMEOUT;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(3600);

/// The ways in which an attempt at a write ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteEnd {
    Status(u16),
    Streaming,
    Failure(SendProgress),
    Never,
}

/// A backend with one number. Every write raises it, except those that never arrive.
struct CounterTransport {
    value: AtomicU64,
    reads: AtomicU64,
    end: Mutex<WriteEnd>,
    /// Signals that a write was carried out, or a read has begun.
    began: Notify,
    /// Reads wait for this lock.
    gate: Mutex<()>,
    /// The last part of a streaming response waits for this.
    last_part: Arc<Notify>,
}

impl CounterTransport {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            value: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            end: Mutex::new(WriteEnd::Status(200)),
            began: Notify::new(),
            gate: Mutex::new(()),
            last_part: Arc::default(),
        })
    }

    fn answer(&self, status: u16) -> StreamingResponse {
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        let body = self.value.load(Ordering::SeqCst).to_string().into();
        FullResponse { status, headers, body, is_redirected: false }.into()
    }
}

impl Transport for CounterTransport {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        _: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        async move {
            if request.method().is_safe() {
                self.reads.fetch_add(1, Ordering::SeqCst);
                let answer = self.answer(200);
                self.began.notify_one();
                drop(self.gate.lock().await);
                return Ok(answer);
            }
            let end = *self.end.lock().await;
            if end != WriteEnd::Failure(SendProgress::NotSent) {
                self.value.fetch_add(1, Ordering::SeqCst);
            }
            self.began.notify_one();
            match end {
                WriteEnd::Status(status) => Ok(self.answer(status)),
                WriteEnd::Streaming => {
                    let response = self.answer(200);
                    let last_part = Arc::clone(&self.last_part);
                    let rest = stream::once(async move {
                        last_part.notified().await;
                        Ok("the last".into())
                    });
                    Ok(StreamingResponse {
                        body: ResponseBody::new(response.body.chain(rest)),
                        length: None,
                        ..response
                    })
                }
                WriteEnd::Failure(reach) => {
                    Err(TransportError::new(FailureKind::Reset, reach, "as the test says"))
                }
                WriteEnd::Never => std::future::pending().await,
            }
        }
        .boxed()
    }
}

/// The address has no listener, so there is no connection.
fn offline_config() -> Config {
    let mut config = Config::default();
    config.backend.url = "http://127.0.0.1:9".to_owned();
    config.requests.retries = 0;
    config
}

async fn start(
    counter: &Arc<CounterTransport>,
    with: impl FnOnce(MainstayBuilder) -> MainstayBuilder,
) -> Mainstay {
    let builder =
        Mainstay::builder().config(offline_config()).transport(Arc::clone(counter) as Arc<dyn Transport>);
    with(builder).start().await.unwrap()
}

async fn read(mainstay: &Mainstay, path: &str) -> String {
    let request = Request::get(path).build().unwrap();
    let response = timeout(TEST_TIMEOUT, mainstay.request_cached(request, LONG)).await.unwrap().unwrap();
    String::from_utf8(response.body.to_vec()).unwrap()
}

fn write(path: &str) -> Request {
    Request::post(path).build().unwrap()
}

async fn wait_for_fields(events: &mut Subscription, kind: &str) -> Map<String, Value> {
    loop {
        if let Some(Delivery::Event(event)) = timeout(TEST_TIMEOUT, events.next()).await.unwrap()
            && event.kind == kind
        {
            return event.fields;
        }
    }
}

#[tokio::test]
async fn read_after_any_write_outcome_is_current() {
    for end in [
        WriteEnd::Status(200),
        WriteEnd::Status(204),
        WriteEnd::Status(409),
        WriteEnd::Status(500),
        WriteEnd::Failure(SendProgress::MaybeSent),
        WriteEnd::Failure(SendProgress::Answered),
        WriteEnd::Failure(SendProgress::NotSent),
    ] {
        let counter = CounterTransport::new();
        let mainstay = start(&counter, |builder| builder).await;
        *counter.end.lock().await = end;
        assert_eq!((read(&mainstay, "/n").await, read(&mainstay, "/n?x").await), ("0".into(), "0".into()));
        let _ = mainstay.request(write("/n")).await;
        let now = counter.value.load(Ordering::SeqCst).to_string();
        assert_eq!(
            (read(&mainstay, "/n").await, read(&mainstay, "/n?x").await),
            (now.clone(), now),
            "{end:?}"
        );
        let was_sent = end != WriteEnd::Failure(SendProgress::NotSent);
        assert_eq!(counter.reads.load(Ordering::SeqCst), if was_sent { 4 } else { 2 }, "{end:?}");
        mainstay.shutdown().await;
    }
}

#[tokio::test]
async fn cancelled_write_still_invalidates() {
    let counter = CounterTransport::new();
    *counter.end.lock().await = WriteEnd::Never;
    let mainstay = start(&counter, |builder| builder).await;
    let mut events = mainstay.events();
    assert_eq!(read(&mainstay, "/n").await, "0");
    counter.began.notified().await;
    let (id, answer) = mainstay.submit(write("/n"));
    timeout(TEST_TIMEOUT, counter.began.notified()).await.unwrap();
    assert!(mainstay.cancel(id).await.unwrap());
    assert!(answer.await.is_err());
    let fields = wait_for_fields(&mut events, "cache_invalidated").await;
    assert_eq!(
        (&fields["by"], &fields["pattern"], &fields["entries"]),
        (&"write".into(), &"/n".into(), &1.into())
    );
    assert_eq!(read(&mainstay, "/n").await, "1");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn read_overlapping_a_write_is_not_cached() {
    let counter = CounterTransport::new();
    let mainstay = start(&counter, |builder| builder).await;
    let closed = counter.gate.lock().await;
    let early = read(&mainstay, "/n");
    let rest = async {
        counter.began.notified().await;
        mainstay.request(write("/n")).await.unwrap();
        drop(closed);
    };
    let (early, ()) = tokio::join!(early, rest);
    assert_eq!(early, "0", "who asked before may get what was before");
    assert_eq!(read(&mainstay, "/n").await, "1");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn a_write_drops_what_the_embedders_rules_name() {
    let counter = CounterTransport::new();
    let rule = WriteRule::after("/tasks/**", [Selection::glob("http:/tasks*").unwrap()]).unwrap();
    let mainstay = start(&counter, |builder| builder.invalidate_after(rule)).await;
    for path in ["/tasks?open", "/others"] {
        assert_eq!(read(&mainstay, path).await, "0");
    }
    mainstay.request(write("/tasks/7/notes?secret")).await.unwrap();
    assert_eq!(
        (read(&mainstay, "/tasks?open").await, read(&mainstay, "/others").await),
        ("1".into(), "0".into())
    );
    mainstay.shutdown().await;
}

#[tokio::test]
async fn streaming_write_invalidates_again_at_its_end() {
    let counter = CounterTransport::new();
    let mainstay = start(&counter, |builder| builder).await;
    *counter.end.lock().await = WriteEnd::Streaming;
    assert_eq!(read(&mainstay, "/n").await, "0");
    let mut answer = mainstay.open(write("/n")).await.unwrap();
    assert_eq!(read(&mainstay, "/n").await, "1");
    counter.value.store(7, Ordering::SeqCst);
    assert_eq!(read(&mainstay, "/n").await, "1");
    counter.last_part.notify_one();
    let mut parts = 0;
    while let Some(part) = answer.next().await {
        part.unwrap();
        parts += 1;
    }
    assert_eq!(parts, 2);
    assert_eq!(read(&mainstay, "/n").await, "7");
    mainstay.shutdown().await;
}

// === the link ===

const STATE: &str = "/api/agents/planner/state";

struct ConnectedFixture {
    backend: Backend,
    mainstay: Mainstay,
    events: Subscription,
}

impl ConnectedFixture {
    async fn start() -> Self {
        let backend = Backend::bind(BackendOptions::default()).await.unwrap();
        let mut config = Config::default();
        config.backend.url = backend.url();
        let mainstay = Mainstay::builder().config(config).start().await.unwrap();
        let events = mainstay.events();
        let linked = Self { backend, mainstay, events };
        linked.connected().await;
        linked
    }

    async fn connected(&self) {
        let mut status = self.mainstay.connection().watch();
        let wait = status.wait_for(|status| status.state == ConnectionState::Connected);
        timeout(TEST_TIMEOUT, wait).await.unwrap().unwrap();
    }

    async fn state(&self) -> Value {
        serde_json::from_str(&read(&self.mainstay, STATE).await).unwrap()
    }

    /// Sends another client's message to the agent, which changes its state.
    async fn change(&self) {
        let url = format!("{}/api/agents/planner/message", self.backend.url());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.post(url).body("\"hi\"").send().await.unwrap().error_for_status().unwrap();
    }
}

#[tokio::test]
async fn invalidation_applies_before_listeners_get_the_event() {
    let mut linked = ConnectedFixture::start().await;
    let mut frames = linked.mainstay.connection().frames();
    for count in 1..=20 {
        assert_eq!(linked.state().await["count"], count - 1);
        linked.change().await;
        loop {
            let frame = timeout(TEST_TIMEOUT, frames.next()).await.unwrap().unwrap();
            if matches!(&frame, Inbound::Text(text) if text.contains("agent_message")) {
                break;
            }
        }
        assert_eq!(linked.state().await["count"], count);
    }
    let fields = wait_for_fields(&mut linked.events, "cache_invalidated").await;
    assert_eq!((&fields["by"], &fields["entries"]), (&"backend".into(), &1.into()));
    linked.mainstay.shutdown().await;
    linked.backend.stop().await;
}

#[tokio::test]
async fn connection_gap_drops_dependent_entries() {
    let mut linked = ConnectedFixture::start().await;
    let cache = linked.mainstay.cache();
    cache.put("own:apart", "kept", cache.default_options()).unwrap();
    let mut of_the_link = cache.default_options();
    of_the_link.depends_on_connection = true;
    cache.put("own:of-the-link", "dropped", of_the_link).unwrap();
    assert_eq!(linked.state().await["count"], 0);

    linked.backend.inject(Fault::RefuseWs { for_ms: 3_600_000 }).unwrap();
    linked.backend.inject(Fault::DropWs).unwrap();
    let mut status = linked.mainstay.connection().watch();
    let wait = status.wait_for(|status| status.state != ConnectionState::Connected);
    timeout(TEST_TIMEOUT, wait).await.unwrap().unwrap();
    linked.change().await;
    assert_eq!(linked.state().await["count"], 0, "nobody said that it had changed");
    linked.backend.inject(Fault::RefuseWs { for_ms: 0 }).unwrap();
    linked.mainstay.connection().reconnect().await.unwrap();
    linked.connected().await;

    let fields = wait_for_fields(&mut linked.events, "cache_invalidated").await;
    assert_eq!((&fields["by"], &fields["entries"]), (&"gap".into(), &2.into()));
    assert_eq!(linked.state().await["count"], 1);
    assert_eq!((cache.get("own:apart"), cache.get("own:of-the-link")), (Some("kept".into()), None));
    linked.mainstay.shutdown().await;
    linked.backend.stop().await;
}
