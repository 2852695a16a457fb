//! Tests what drops values from the cache: writes, the backend's invalidations, gaps in them, and changes of files.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use mainstay::backend::{Backend, BackendOptions, Fault};
use mainstay::config::Config;
use mainstay::transport::{
    FailureKind, FullResponse, ResponseBody, SendProgress, StreamingResponse, Transport, TransportError,
};
use mainstay::{
    Cache, ConnectionState, Error, Inbound, Mainstay, MainstayBuilder, Request, Selection, Subscription,
    WriteRule,
};
use serde_json::Value;
use support::{TEST_TIMEOUT, next_of_kind};
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
        assert_eq!(read(&mainstay, "/n").await, now, "{end:?}");
        assert_eq!(read(&mainstay, "/n?x").await, now, "{end:?}");
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
    let fields = next_of_kind(&mut events, "cache_invalidated").await.fields;
    assert_eq!(fields["by"], "write");
    assert_eq!(fields["pattern"], "/n");
    assert_eq!(fields["entries"], 1);
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
    assert_eq!(early, "0", "an earlier read may get the earlier value");
    assert_eq!(read(&mainstay, "/n").await, "1");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn write_drops_what_the_embedders_rules_name() {
    let counter = CounterTransport::new();
    let rule = WriteRule::after("/tasks/**", [Selection::glob("http:/tasks*").unwrap()]).unwrap();
    let mainstay = start(&counter, |builder| builder.invalidate_after(rule)).await;
    for path in ["/tasks?open", "/others"] {
        assert_eq!(read(&mainstay, path).await, "0");
    }
    mainstay.request(write("/tasks/7/notes?secret")).await.unwrap();
    assert_eq!(read(&mainstay, "/tasks?open").await, "1");
    assert_eq!(read(&mainstay, "/others").await, "0");
    mainstay.shutdown().await;
}

/// A pattern has no numbers: an embedder that keeps pages of a feed drops the later ones by a function.
#[tokio::test]
async fn embedder_drops_entries_by_a_function_of_their_keys() {
    let mainstay = start(&CounterTransport::new(), |builder| builder).await;
    let mut events = mainstay.events();
    let cache = mainstay.cache();
    let keys = ["page:2", "page:9", "page:10", "note:10"];
    for key in keys {
        cache.put(key, "text", cache.default_options()).unwrap();
    }
    let is_later = |key: &str| key.strip_prefix("page:").and_then(|page| page.parse().ok()) > Some(8);
    assert_eq!(cache.invalidate_where("pages after the 8th", is_later).await.unwrap(), 2);
    assert_eq!(keys.map(|key| cache.get(key).is_some()), [true, false, false, true]);
    let fields = next_of_kind(&mut events, "cache_invalidated").await.fields;
    assert_eq!((&fields["by"], &fields["pattern"]), (&"predicate".into(), &"pages after the 8th".into()));
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
        let fixture = Self { backend, mainstay, events };
        fixture.connected().await;
        fixture
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
        support::http_client().post(url).body("\"hi\"").send().await.unwrap().error_for_status().unwrap();
    }
}

#[tokio::test]
async fn invalidation_applies_before_listeners_get_the_event() {
    let mut fixture = ConnectedFixture::start().await;
    let mut frames = fixture.mainstay.connection().frames();
    for count in 1..=20 {
        assert_eq!(fixture.state().await["count"], count - 1);
        fixture.change().await;
        loop {
            let frame = timeout(TEST_TIMEOUT, frames.next()).await.unwrap().unwrap();
            if matches!(&frame, Inbound::Text(text) if text.contains("agent_message")) {
                break;
            }
        }
        assert_eq!(fixture.state().await["count"], count);
    }
    let fields = next_of_kind(&mut fixture.events, "cache_invalidated").await.fields;
    assert_eq!((&fields["by"], &fields["entries"]), (&"backend".into(), &1.into()));
    fixture.mainstay.shutdown().await;
    fixture.backend.stop().await;
}

#[tokio::test]
async fn connection_gap_drops_dependent_entries() {
    let mut fixture = ConnectedFixture::start().await;
    let cache = fixture.mainstay.cache();
    cache.put("own:apart", "kept", cache.default_options()).unwrap();
    let mut dependent = cache.default_options();
    dependent.depends_on_connection = true;
    cache.put("own:of-the-link", "dropped", dependent).unwrap();
    assert_eq!(fixture.state().await["count"], 0);

    fixture.backend.inject(Fault::RefuseWs { for_ms: 3_600_000 }).unwrap();
    fixture.backend.inject(Fault::DropWs).unwrap();
    let mut status = fixture.mainstay.connection().watch();
    let wait = status.wait_for(|status| status.state != ConnectionState::Connected);
    timeout(TEST_TIMEOUT, wait).await.unwrap().unwrap();
    fixture.change().await;
    assert_eq!(fixture.state().await["count"], 0, "no event says that it has changed");
    fixture.backend.inject(Fault::RefuseWs { for_ms: 0 }).unwrap();
    // A dial from before may still be refused; the next one follows by itself.
    let _ = fixture.mainstay.connection().reconnect().await;
    fixture.connected().await;

    let fields = next_of_kind(&mut fixture.events, "cache_invalidated").await.fields;
    assert_eq!((&fields["by"], &fields["entries"]), (&"gap".into(), &2.into()));
    assert_eq!(fixture.state().await["count"], 1);
    assert_eq!((cache.get("own:apart"), cache.get("own:of-the-link")), (Some("kept".into()), None));
    fixture.mainstay.shutdown().await;
    fixture.backend.stop().await;
}

// === watched folders ===

async fn search(cache: &Cache, folder: &std::path::Path, says: &'static str) -> Result<Bytes, Error> {
    cache.search(folder, "words", move || async move { Ok(Bytes::from_static(says.as_bytes())) }).await
}

#[tokio::test]
async fn watched_file_is_cached_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path(), folder.path().join("notes.txt"));
    std::fs::write(&file, "old").unwrap();
    let mut config = offline_config();
    config.cache.watch = vec![root.to_owned()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut events = mainstay.events();
    assert_eq!(next_of_kind(&mut events, "watch_started").await.fields["root"], root.display().to_string());
    let cache = mainstay.cache();
    assert_eq!(cache.watched(), [(root.to_owned(), true)]);
    let shown = mainstay.status().await.cache.folders;
    assert_eq!((&shown[0].path, shown[0].is_watched), (&root.display().to_string(), true));
    assert_eq!(cache.file(&file).await.unwrap(), "old");
    assert_eq!(cache.file(&file).await.unwrap(), "old");
    assert_eq!(search(&cache, root, "found before").await.unwrap(), "found before");
    assert_eq!(search(&cache, root, "not asked").await.unwrap(), "found before");
    assert_eq!(cache.stats().loads, 2);

    // The change is a rename, and so one event.
    std::fs::write(folder.path().with_extension("beside"), "new").unwrap();
    std::fs::rename(folder.path().with_extension("beside"), &file).unwrap();
    let invalidated = next_of_kind(&mut events, "cache_invalidated").await.fields;
    assert_eq!((&invalidated["by"], &invalidated["entries"]), (&"files".into(), &2.into()));
    assert_eq!(cache.file(&file).await.unwrap(), "new");
    assert_eq!(search(&cache, root, "found after").await.unwrap(), "found after");
    mainstay.shutdown().await;
    assert_eq!(cache.watched(), [(root.to_owned(), false)]);
    assert_eq!(cache.file(&file).await.unwrap(), "new", "it is read all the same");
}
