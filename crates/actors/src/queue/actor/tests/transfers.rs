//! Bodies of any size, up and down, through the queue and over real sockets.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use mainstay_runtime::{Runtime, journal::Delivery};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::{fates::ENDS, scene::read, wire::by_http};
use crate::{
    error::{Code, Reason},
    queue::{Download, QueueHandle, QueueMessage},
    request::{Progress, Request, RequestId},
    transport::{
        peer::{Peer, Wire, announced},
        server::{Server, Step},
    },
};

const MIB: u64 = 1024 * 1024;

/// Far more than may be in memory at once.
const LARGE: u64 = 256 * MIB;

/// More than may ever be on the way: our parts, what hyper holds back, and what the system holds on both sides.
const ON_THE_WAY: u64 = 32 * MIB;

/// For attempts that are meant to time out: the servers there never go on, so no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

const PART: &[u8] = &[7; 64 * 1024];

fn sparse(bytes: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    (dir, path)
}

fn get() -> Request {
    Request::get("/files/x").build().unwrap()
}

/// The kinds of the events about request `id` once it has ended, without that an attempt began.
async fn journalled(runtime: &Runtime, id: RequestId) -> Vec<String> {
    let mut subscription = runtime.journal().subscribe_after(0);
    let mut kinds: Vec<String> = Vec::new();
    while !kinds.iter().any(|kind| ENDS.contains(&kind.as_str())) {
        let Delivery::Event(record) = subscription.next().await else { panic!("events are missing") };
        if record.fields.get("request_id") == Some(&id.0.into()) && record.kind != "request_started" {
            kinds.push(record.kind);
        }
    }
    kinds
}

/// Follows progress to the end of the request; fails if it ever goes back. Returns the last of it.
async fn follow(mut progress: watch::Receiver<Progress>) -> Progress {
    let mut last = *progress.borrow();
    while progress.changed().await.is_ok() {
        let now = *progress.borrow_and_update();
        assert!(now.sent >= last.sent && now.received >= last.received, "{last:?} then {now:?}");
        last = now;
    }
    last
}

// === what is on the way ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_stream_goes_up_and_only_a_little_of_it_is_on_the_way_at_a_time() {
    let (given, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (arrived, peak) = (Arc::clone(&taken), Arc::new(AtomicU64::new(0)));
    let peer = Peer::start(move |_, mut wire: Wire| {
        let arrived = Arc::clone(&arrived);
        async move {
            let length = announced(&wire.head().await).unwrap();
            while arrived.load(Ordering::SeqCst) < length {
                let some = wire.some().await.len() as u64;
                assert!(some > 0, "the body was cut");
                arrived.fetch_add(some, Ordering::SeqCst);
            }
            wire.begin(0).await;
        }
    });
    let peer = peer.await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
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
    let progress = follow(request.progress());
    let (answer, progress) = tokio::join!(queue.request(request), progress);
    assert_eq!(answer.unwrap().status.as_u16(), 200);
    assert_eq!((progress.attempt, progress.sent, progress.to_send), (1, LARGE, Some(LARGE)));
    assert_eq!(given.load(Ordering::SeqCst), LARGE);
    assert!(peak.load(Ordering::SeqCst) < ON_THE_WAY, "{peak:?} bytes were on the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_up_whole() {
    let peer = Peer::start(|_, mut wire| async move {
        let length = announced(&wire.head().await).unwrap();
        assert_eq!(wire.count(length).await, length);
        wire.begin(0).await;
    });
    let peer = peer.await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let (_dir, path) = sparse(LARGE);
    let mut request = Request::put("/files/x").file(path).build().unwrap();
    let progress = follow(request.progress());
    let (answer, progress) = tokio::join!(queue.request(request), progress);
    assert_eq!(answer.unwrap().attempts, 1);
    assert_eq!((progress.sent, progress.to_send), (LARGE, Some(LARGE)));
}

/// A server that answers with a body of that many bytes, and what it has written of it so far.
async fn pouring(length: u64) -> (Peer, Arc<AtomicU64>, mpsc::Receiver<&'static str>) {
    let (written, (news, heard)) = (Arc::new(AtomicU64::new(0)), mpsc::channel(4));
    let counter = Arc::clone(&written);
    let peer = Peer::start(move |_, mut wire: Wire| {
        let (counter, news) = (Arc::clone(&counter), news.clone());
        async move {
            wire.head().await;
            wire.begin(length).await;
            for _ in 0..length / PART.len() as u64 {
                if !wire.send(PART).await {
                    return news.send("broken off").await.unwrap();
                }
                counter.fetch_add(PART.len() as u64, Ordering::SeqCst);
            }
            news.send("poured").await.unwrap();
        }
    });
    (peer.await, written, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_comes_down_and_only_a_little_of_it_is_on_the_way_at_a_time() {
    let (peer, written, _news) = pouring(LARGE).await;
    let (runtime, queue, _) = by_http(&peer.url()).await;
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
    let ((), progress) = tokio::join!(reads, follow(progress));
    assert_eq!((bytes, progress.received, progress.to_receive), (LARGE, LARGE, Some(LARGE)));
    assert!(peak < ON_THE_WAY, "{peak} bytes were on the way");
    assert_eq!(journalled(&runtime, RequestId(1)).await, ["request_done"]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_server_back_and_loses_nothing() {
    let (peer, written, mut news) = pouring(LARGE).await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let mut download = queue.open(get()).await.unwrap();
    let mut bytes = download.chunk().await.unwrap().unwrap().len() as u64;
    // Until the server stands still: whenever it got on, it is given another chance.
    let mut before = u64::MAX;
    while std::mem::replace(&mut before, written.load(Ordering::SeqCst)) != before {
        assert!(tokio::time::timeout(Duration::from_millis(200), news.recv()).await.is_err());
    }
    assert!(before < ON_THE_WAY, "the server wrote {before} bytes that nobody read");
    bytes += read(&mut download).await.0;
    assert_eq!((bytes, news.recv().await), (LARGE, Some("poured")));
}

// === how answers end ===

async fn begun(queue: &QueueHandle, request: Request) -> Download {
    let mut download = queue.open(request).await.unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    download
}

#[tokio::test]
async fn a_reader_that_goes_away_closes_the_connection() {
    let (peer, _, mut news) = pouring(LARGE).await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    drop(begun(&queue, get()).await);
    assert_eq!(news.recv().await, Some("broken off"));
    // There is one place only, and it is free again.
    drop(begun(&queue, get()).await);
}

#[tokio::test]
async fn a_request_that_is_called_off_while_its_answer_is_read_closes_the_connection() {
    let (peer, _, mut news) = pouring(LARGE).await;
    let (runtime, queue, _) = by_http(&peer.url()).await;
    let mut download = begun(&queue, get()).await;
    assert_eq!(queue.cancel(download.request_id).await, Ok(true));
    assert_eq!(news.recv().await, Some("broken off"));
    assert_eq!(read(&mut download).await.1.unwrap_err().reason, Reason::Cancelled);
    assert_eq!(journalled(&runtime, download.request_id).await, ["request_failed"]);
    drop(begun(&queue, get()).await);
}

#[tokio::test]
async fn a_crash_of_the_queue_closes_the_connection_and_reaches_the_reader() {
    let (peer, _, mut news) = pouring(LARGE).await;
    let (runtime, queue, address) = by_http(&peer.url()).await;
    let mut download = begun(&queue, get()).await;
    address.cast(QueueMessage::Panic).await.unwrap();
    assert_eq!(read(&mut download).await.1.unwrap_err().reason, Reason::Crashed);
    assert_eq!(news.recv().await, Some("broken off"));
    drop(begun(&queue, get()).await);
    assert_eq!(journalled(&runtime, download.request_id).await, ["request_failed"]);
}

/// A server that begins an answer of ten bytes, and ends it as `end` does once its beginning has been read.
async fn ending(end: fn(Wire)) -> (Peer, mpsc::Sender<()>) {
    let (go_on, may_go_on) = mpsc::channel(1);
    let may_go_on = Arc::new(tokio::sync::Mutex::new(may_go_on));
    let peer = Peer::start(move |_, mut wire: Wire| {
        let may_go_on = Arc::clone(&may_go_on);
        async move {
            wire.head().await;
            wire.begin(10).await;
            wire.send("half").await;
            may_go_on.lock().await.recv().await;
            end(wire);
        }
    });
    (peer.await, go_on)
}

#[tokio::test]
async fn an_answer_that_is_cut_or_reset_in_the_middle_is_a_network_error_and_never_whole() {
    for end in [drop, Wire::reset] {
        let (peer, go_on) = ending(end).await;
        let (runtime, queue, _) = by_http(&peer.url()).await;
        let mut download = queue.open(get()).await.unwrap();
        assert_eq!(download.chunk().await.unwrap().unwrap(), "half");
        go_on.send(()).await.unwrap();
        let error = download.chunk().await.unwrap_err();
        assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::ConnectionReset));
        assert_eq!((error.status, error.attempts), (Some(200), 1));
        assert_eq!(journalled(&runtime, RequestId(1)).await, ["request_failed"]);
    }
}

#[tokio::test]
async fn an_answer_that_stands_still_in_the_middle_times_out() {
    let (peer, _go_on) = ending(drop).await;
    let (runtime, queue, _) = by_http(&peer.url()).await;
    let request = Request::get("/x").timeout(SHORT).retries(0).build().unwrap();
    let (bytes, ended) = match queue.open(request).await {
        Ok(mut download) => read(&mut download).await,
        // On a machine that stands still itself even the beginning can come too late.
        Err(error) => (4, Err(error)),
    };
    let error = ended.unwrap_err();
    assert_eq!((bytes, error.code, error.reason), (4, Code::Timeout, Reason::TimedOut));
    assert_eq!(journalled(&runtime, RequestId(1)).await, ["request_timed_out"]);
}

// === what is sent again ===

/// A stream of eight bytes that counts how often it is opened.
fn counted() -> (Arc<AtomicUsize>, impl Fn() -> Parts + Send + Sync + 'static) {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let open = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        stream::iter([Ok(Bytes::from_static(b"four")), Ok(Bytes::from_static(b"more"))]).boxed()
    };
    (opened, open)
}

type Parts = std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

fn ok() -> Step {
    Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
}

#[tokio::test]
async fn an_attempt_that_is_made_again_sends_a_fresh_body() {
    let mut server = Server::start([vec![Step::Receive, Step::Reset], vec![Step::Receive, ok()]]).await;
    let (_runtime, queue, _) = by_http(&server.url()).await;
    let (opened, open) = counted();
    let request = Request::post("/x").generated_idempotency_key().body_stream(Some(8), open);
    assert_eq!(queue.request(request.build().unwrap()).await.unwrap().attempts, 2);
    for _ in 0..2 {
        assert!(server.received().await.ends_with("\r\n\r\nfourmore"));
    }
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

/// A server that ends each connection once some of the body has come, and how many there were.
async fn breaking() -> (Peer, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let peer = Peer::start(move |_, mut wire: Wire| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            wire.head().await;
            wire.count(MIB).await;
            wire.reset();
        }
    });
    (peer.await, connections)
}

fn endless() -> impl Stream<Item = io::Result<Bytes>> {
    stream::repeat_with(|| Ok(Bytes::from_static(PART)))
}

#[tokio::test]
async fn a_post_without_a_key_that_broke_while_it_was_sent_is_not_sent_again_and_its_outcome_is_unknown() {
    let (peer, connections) = breaking().await;
    let (runtime, queue, _) = by_http(&peer.url()).await;
    let request = Request::post("/x").body_stream(None, endless).build().unwrap();
    let error = queue.request(request).await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::OutcomeUnknown));
    assert_eq!((error.attempts, connections.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(journalled(&runtime, RequestId(1)).await, ["request_failed"]);
}

#[tokio::test]
async fn a_body_that_is_there_once_is_not_sent_again_even_where_the_method_would_allow_it() {
    let (peer, connections) = breaking().await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let request = Request::put("/x").body_once(None, endless()).build().unwrap();
    let error = queue.request(request).await.unwrap_err();
    // A repeat would do no harm, so the caller may make one with a new stream.
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::ConnectionReset, true, 1));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let request = Request::put("/x").body_stream(None, endless).retries(1).build().unwrap();
    assert_eq!(queue.request(request).await.unwrap_err().attempts, 2);
}

#[tokio::test]
async fn a_file_that_is_missing_or_a_folder_ends_the_request_with_its_own_reason_and_no_second_attempt() {
    let server = Server::start([vec![Step::Receive, ok()]]).await;
    let (runtime, queue, _) = by_http(&server.url()).await;
    let dir = tempfile::tempdir().unwrap();
    for (id, path) in [(1, dir.path().join("missing")), (2, dir.path().to_owned())] {
        let request = Request::post("/x").file(&path).build().unwrap();
        let error = queue.request(request).await.unwrap_err();
        assert_eq!((error.code, error.reason), (Code::InvalidInput, Reason::BodyUnreadable));
        assert_eq!((error.retryable, error.attempts, error.request_id), (false, 1, Some(RequestId(id))));
        assert_eq!(journalled(&runtime, RequestId(id)).await, ["request_failed"]);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_posted_ends_the_request_with_its_own_reason() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let peer = Peer::start(move |_, mut wire: Wire| {
        let begun = begun.clone();
        async move {
            wire.head().await;
            wire.count(1).await;
            let (go_on, changed) = tokio::sync::oneshot::channel::<()>();
            begun.send(go_on).await.unwrap();
            changed.await.unwrap();
            wire.count(u64::MAX).await;
        }
    });
    let peer = peer.await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let (_dir, path) = sparse(LARGE);
    let request = Request::post("/x").file(&path).build().unwrap();
    let changes = async {
        let go_on = has_begun.recv().await.unwrap();
        fs::File::options().append(true).open(&path).unwrap().set_len(MIB).unwrap();
        go_on.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(queue.request(request), changes);
    let error = answer.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::InvalidInput, Reason::BodyChanged, 1));
}

// === into a file ===

/// The names in a folder.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_saved_whole_in_the_place_of_what_was_there() {
    let (peer, _, _news) = pouring(8 * MIB).await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    // What a process that was killed left behind is in nobody's way.
    fs::write(dir.path().join(".file.1-0.part"), "left").unwrap();
    assert_eq!(queue.open(get()).await.unwrap().save_to(&path).await, Ok(8 * MIB));
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 * MIB);
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777,
        0o600
    );
    let mut names = names(dir.path());
    names.sort();
    assert_eq!(names, [".file.1-0.part", "file"]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_what_was_there_and_nothing_beside_it() {
    let (peer, go_on) = ending(drop).await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let download = queue.open(get()).await.unwrap();
    go_on.send(()).await.unwrap();
    assert_eq!(download.save_to(&path).await.unwrap_err().reason, Reason::ConnectionReset);
    assert_eq!((names(dir.path()), fs::read_to_string(&path).unwrap()), (vec!["file".into()], "old".into()));
}

#[tokio::test]
async fn saving_that_is_given_up_leaves_nothing_and_closes_the_connection() {
    let (peer, _, mut news) = pouring(LARGE).await;
    let (_runtime, queue, _) = by_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut request = get();
    let mut progress = request.progress();
    let download = queue.open(request).await.unwrap();
    tokio::select! {
        saved = download.save_to(dir.path().join("file")) => panic!("it ended: {saved:?}"),
        _ = progress.wait_for(|progress| progress.received > 32 * MIB) => {}
    }
    assert_eq!(news.recv().await, Some("broken off"));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn only_a_body_that_says_where_it_ends_is_never_whole_by_mistake() {
    for (head, is_marked) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n", true),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
    ] {
        // Killed in the middle.
        let peer = Peer::start(move |_, mut wire| async move {
            wire.head().await;
            wire.send(format!("{head}half")).await;
        })
        .await;
        let (_runtime, queue, _) = by_http(&peer.url()).await;
        let download = queue.open(get()).await.unwrap();
        assert_eq!(download.is_end_marked, is_marked, "{head}");
        let dir = tempfile::tempdir().unwrap();
        let saved = download.save_to(dir.path().join("file")).await;
        assert_eq!(saved.is_err(), is_marked, "{head}: {saved:?}");
    }
}

#[tokio::test]
async fn a_place_where_nothing_can_be_saved_is_told_and_ends_the_request() {
    let (peer, _, mut news) = pouring(LARGE).await;
    let (runtime, queue, _) = by_http(&peer.url()).await;
    let dir = tempfile::tempdir().unwrap();
    for (id, place) in [(1, dir.path().join("missing/file")), (2, dir.path().to_owned()), (3, "/".into())] {
        let error = queue.open(get()).await.unwrap().save_to(&place).await.unwrap_err();
        assert_eq!((error.code, error.reason), (Code::InvalidInput, Reason::NotSaved));
        assert_eq!((error.request_id, error.retryable), (Some(RequestId(id)), false));
        assert_eq!(news.recv().await, Some("broken off"));
        assert_eq!(journalled(&runtime, RequestId(id)).await, ["request_failed"]);
    }
    assert_eq!(names(dir.path()), [""; 0]);
}
