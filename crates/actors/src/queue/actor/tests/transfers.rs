//! Tests bodies of any size, up and down, through the queue and over real sockets.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use mainstay_runtime::journal::Delivery;
use tokio::sync::{mpsc, watch};

use super::{over_http::queue_over_http, single_outcome::END_EVENTS, *};
use crate::{
    tests::error_table::{CauseGroup, assert_row},
    transport::raw_server::{RawConnection, RawServer, content_length},
};

const MIB: u64 = 1024 * 1024;

/// Far more than may be in memory at once.
const LARGE: u64 = 256 * MIB;

/// More than may ever be in flight: the queue's parts, hyper's buffers, and the system's buffers on both sides.
const IN_FLIGHT_MAX: u64 = 32 * MIB;

const PART: &[u8] = &[7; 64 * 1024];

fn get() -> Request {
    Request::get("/files/x").build().unwrap()
}

/// Returns the kinds of the events about request `id` once it has ended, without the starts of attempts.
async fn recorded_kinds(runtime: &Runtime, id: RequestId) -> Vec<String> {
    let mut subscription = runtime.journal().subscribe();
    let mut kinds: Vec<String> = Vec::new();
    while !kinds.iter().any(|kind| END_EVENTS.contains(&kind.as_str())) {
        let Delivery::Event(record) = subscription.next().await else { panic!("events are missing") };
        if record.fields.get("request_id") == Some(&id.0.into()) && record.kind != "request_started" {
            kinds.push(record.kind);
        }
    }
    kinds
}

/// Follows the progress to the end of the request and returns its last value; fails if it ever decreases.
async fn follow_progress(mut progress: watch::Receiver<TransferProgress>) -> TransferProgress {
    let mut last = *progress.borrow();
    while progress.changed().await.is_ok() {
        let now = *progress.borrow_and_update();
        assert!(now.sent >= last.sent && now.received >= last.received, "{last:?} then {now:?}");
        last = now;
    }
    last
}

// === memory in flight ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_upload_keeps_few_bytes_in_flight() {
    let (given, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (arrived, peak) = (Arc::clone(&taken), Arc::new(AtomicU64::new(0)));
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        let arrived = Arc::clone(&arrived);
        async move {
            let length = content_length(&wire.read_head().await).unwrap();
            while arrived.load(Ordering::SeqCst) < length {
                let some = wire.read_some().await.len() as u64;
                assert!(some > 0, "the body was cut");
                arrived.fetch_add(some, Ordering::SeqCst);
            }
            wire.send_ok_head(0).await;
        }
    });
    let peer = peer.await;
    let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
    let (giver, watcher) = (Arc::clone(&given), Arc::clone(&peak));
    let open = move || {
        let (giver, taken, watcher) = (Arc::clone(&giver), Arc::clone(&taken), Arc::clone(&watcher));
        stream::iter(0..LARGE / PART.len() as u64).map(move |_| {
            let given = giver.fetch_add(PART.len() as u64, Ordering::SeqCst) + PART.len() as u64;
            watcher.fetch_max(given.saturating_sub(taken.load(Ordering::SeqCst)), Ordering::SeqCst);
            Ok(Bytes::from_static(PART))
        })
    };
    let mut request = Request::put("/files/x").body_stream(Some(LARGE), open).build().unwrap();
    let progress = follow_progress(request.progress());
    let (answer, progress) = tokio::join!(queue.request(request), progress);
    assert_eq!(answer.unwrap().status.as_u16(), 200);
    assert_eq!((progress.attempt, progress.sent, progress.to_send), (1, LARGE, Some(LARGE)));
    assert_eq!(given.load(Ordering::SeqCst), LARGE);
    assert!(peak.load(Ordering::SeqCst) < IN_FLIGHT_MAX, "{peak:?} bytes were on the way");
}

/// Starts a server that answers with a body of this size; returns it with a counter of written bytes.
async fn large_response_server(length: u64) -> (RawServer, Arc<AtomicU64>, mpsc::Receiver<&'static str>) {
    let (written, (news, events)) = (Arc::new(AtomicU64::new(0)), mpsc::channel(4));
    let counter = Arc::clone(&written);
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        let (counter, news) = (Arc::clone(&counter), news.clone());
        async move {
            wire.read_head().await;
            wire.send_ok_head(length).await;
            for _ in 0..length / PART.len() as u64 {
                if !wire.send(PART).await {
                    return news.send("broken off").await.unwrap();
                }
                counter.fetch_add(PART.len() as u64, Ordering::SeqCst);
            }
            news.send("poured").await.unwrap();
        }
    });
    (peer.await, written, events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_download_keeps_few_bytes_in_flight() {
    let (peer, written, _news) = large_response_server(LARGE).await;
    let (runtime, queue, _) = queue_over_http(&peer.url()).await;
    let mut request = get();
    let progress = request.progress();
    let mut download = queue.open(request).await.unwrap();
    assert_eq!(download.length, Some(LARGE));
    let (mut bytes, mut peak) = (0, 0);
    let reads = async {
        while let Some(part) = download.chunk().await.unwrap() {
            bytes += part.len() as u64;
            peak = peak.max(written.load(Ordering::SeqCst).saturating_sub(bytes));
        }
    };
    let ((), progress) = tokio::join!(reads, follow_progress(progress));
    assert_eq!((bytes, progress.received, progress.to_receive), (LARGE, LARGE, Some(LARGE)));
    assert!(peak < IN_FLIGHT_MAX, "{peak} bytes were on the way");
    assert_eq!(recorded_kinds(&runtime, RequestId(1)).await, ["request_done"]);
}

#[tokio::test]
async fn idle_reader_applies_backpressure_and_loses_nothing() {
    let (peer, written, mut news) = large_response_server(LARGE).await;
    let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
    let mut download = queue.open(get()).await.unwrap();
    let mut bytes = download.chunk().await.unwrap().unwrap().len() as u64;
    // Waits until the server is blocked: it gets another chance whenever it wrote something.
    let mut before = u64::MAX;
    while std::mem::replace(&mut before, written.load(Ordering::SeqCst)) != before {
        assert!(tokio::time::timeout(Duration::from_millis(200), news.recv()).await.is_err());
    }
    assert!(before < IN_FLIGHT_MAX, "the server wrote {before} bytes without a reader");
    bytes += read_to_end(&mut download).await.0;
    assert_eq!((bytes, news.recv().await), (LARGE, Some("poured")));
}

// === ends of responses ===

async fn started_download(queue: &QueueHandle, request: Request) -> Download {
    let mut download = queue.open(request).await.unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    download
}

#[tokio::test]
async fn cancel_or_crash_closes_the_connection_and_fails_the_reader() {
    for reason in [Reason::Cancelled, Reason::Crashed] {
        let (peer, _, mut news) = large_response_server(LARGE).await;
        let (runtime, queue, address) = queue_over_http(&peer.url()).await;
        let mut download = started_download(&queue, get()).await;
        if reason == Reason::Cancelled {
            assert_eq!(queue.cancel(download.request_id).await, Ok(true));
        } else {
            drop(address.inject_panic().unwrap());
        }
        assert_eq!(read_to_end(&mut download).await.1.unwrap_err().reason, reason);
        assert_eq!(news.recv().await, Some("broken off"), "{reason}");
        drop(started_download(&queue, get()).await);
        assert_eq!(recorded_kinds(&runtime, download.request_id).await, ["request_failed"], "{reason}");
    }
}

/// Starts a server that begins a response of ten bytes, and ends it as `end` says once its beginning has been read.
async fn server_ending_with(end: fn(RawConnection)) -> (RawServer, mpsc::Sender<()>) {
    let (go_on, may_go_on) = mpsc::channel(1);
    let may_go_on = Arc::new(tokio::sync::Mutex::new(may_go_on));
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        let may_go_on = Arc::clone(&may_go_on);
        async move {
            wire.read_head().await;
            wire.send_ok_head(10).await;
            wire.send("half").await;
            may_go_on.lock().await.recv().await;
            end(wire);
        }
    });
    (peer.await, go_on)
}

// === repeated bodies ===

/// A stream of eight bytes that counts how often it is opened.
fn counted_body() -> (Arc<AtomicUsize>, impl Fn() -> PartsStream + Send + Sync + 'static) {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let open = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        stream::iter([Ok(Bytes::from_static(b"four")), Ok(Bytes::from_static(b"more"))]).boxed()
    };
    (opened, open)
}

type PartsStream = std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

fn ok() -> ServerStep {
    ServerStep::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
}

#[tokio::test]
async fn attempt_that_is_made_again_sends_a_fresh_body() {
    let mut server = ScriptedServer::start([vec![Receive, ServerStep::Reset], vec![Receive, ok()]]).await;
    let (_runtime, queue, _) = queue_over_http(&server.url()).await;
    let (opened, open) = counted_body();
    let request = Request::post("/x").generated_idempotency_key().body_stream(Some(8), open);
    assert_eq!(queue.request(request.build().unwrap()).await.unwrap().attempts, 2);
    for _ in 0..2 {
        assert!(server.next_request().await.ends_with("\r\n\r\nfourmore"));
    }
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

/// Starts a server that ends each connection once part of the body has come, and counts them.
async fn disconnecting_server() -> (RawServer, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            wire.read_head().await;
            wire.count_bytes(MIB).await;
            wire.reset();
        }
    });
    (peer.await, connections)
}

fn endless_body() -> impl Stream<Item = io::Result<Bytes>> {
    stream::repeat_with(|| Ok(Bytes::from_static(PART)))
}

#[tokio::test]
async fn single_use_body_is_not_resent_for_any_method() {
    let (peer, connections) = disconnecting_server().await;
    let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
    let request = Request::put("/x").body_stream_once(None, endless_body()).build().unwrap();
    let error = queue.request(request).await.unwrap_err();
    // A repeat would be harmless, so the caller may make one with a new stream.
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::ConnectionReset, true, 1));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let request = Request::put("/x").body_stream(None, endless_body).retries(1).build().unwrap();
    assert_eq!(queue.request(request).await.unwrap_err().attempts, 2);
}

// === files ===

/// Returns the names in a folder.
fn file_names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn save_replaces_the_existing_file_when_complete() {
    let (peer, _, _news) = large_response_server(8 * MIB).await;
    let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(queue.open(get()).await.unwrap().save_to(&path).await, Ok(8 * MIB));
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 * MIB);
    assert_eq!(file_names(dir.path()), ["file"]);
    #[cfg(unix)]
    {
        let mode = |name: &str| {
            let permissions = fs::metadata(dir.path().join(name)).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777
        };
        assert_eq!(mode("file"), 0o600);
        // A new file gets the same permissions as any other.
        queue.open(get()).await.unwrap().save_to(dir.path().join("new")).await.unwrap();
        fs::write(dir.path().join("usual"), "").unwrap();
        assert_eq!(mode("new"), mode("usual"));
    }
}

#[tokio::test]
async fn interrupted_save_keeps_the_old_file_and_no_other() {
    let (peer, go_on) = server_ending_with(drop).await;
    let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let download = queue.open(get()).await.unwrap();
    go_on.send(()).await.unwrap();
    assert_eq!(download.save_to(&path).await.unwrap_err().reason, Reason::ConnectionReset);
    let expected = (vec!["file".into()], "old".into());
    assert_eq!((file_names(dir.path()), fs::read_to_string(&path).unwrap()), expected);
}

#[tokio::test]
async fn dropped_save_leaves_no_file_and_closes_the_connection() {
    let (peer, _, mut news) = large_response_server(LARGE).await;
    let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut request = get();
    let mut progress = request.progress();
    let download = queue.open(request).await.unwrap();
    tokio::select! {
        saved = download.save_to(dir.path().join("file")) => panic!("it ended: {saved:?}"),
        _ = progress.wait_for(|progress| progress.received > 32 * MIB) => {}
    }
    assert_eq!(news.recv().await, Some("broken off"));
    assert_eq!(file_names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn body_without_an_end_mark_may_look_complete() {
    for (head, is_marked) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n", true),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
    ] {
        // The process was killed in the middle.
        let peer = RawServer::start(move |_, mut wire| async move {
            wire.read_head().await;
            wire.send(format!("{head}half")).await;
        })
        .await;
        let (_runtime, queue, _) = queue_over_http(&peer.url()).await;
        let download = queue.open(get()).await.unwrap();
        assert_eq!(download.is_end_marked, is_marked, "{head}");
        let dir = tempfile::tempdir().unwrap();
        let saved = download.save_to(dir.path().join("file")).await;
        assert_eq!(saved.is_err(), is_marked, "{head}: {saved:?}");
    }
}

#[tokio::test]
async fn unwritable_path_fails_the_save_and_the_request() {
    let (peer, _, mut news) = large_response_server(LARGE).await;
    let (runtime, queue, _) = queue_over_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    for (id, place) in [(1, dir.path().join("missing/file")), (2, dir.path().to_owned()), (3, "/".into())] {
        let error = queue.open(get()).await.unwrap().save_to(&place).await.unwrap_err();
        assert_row(CauseGroup::Queue, "`Download::save_to`: the file cannot be written", &error);
        assert_eq!(error.request_id, Some(RequestId(id)));
        assert_eq!(news.recv().await, Some("broken off"));
        assert_eq!(recorded_kinds(&runtime, RequestId(id)).await, ["request_failed"]);
    }
    assert_eq!(file_names(dir.path()), [""; 0]);
}
