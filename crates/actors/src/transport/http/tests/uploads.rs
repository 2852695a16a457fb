//! Tests bodies from files and streams, as a server sees them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    raw_server::{RawConnection, RawServer, content_length},
    *,
};
use crate::request::TransferProgress;
use crate::request::body::BODY_PART_BYTES_MAX;

const MIB: u64 = 1024 * 1024;

/// More than any connection buffers: hyper, and the system on both sides.
const LARGE: u64 = 64 * MIB;

fn transport_to(peer: &RawServer) -> HttpTransport {
    HttpTransport::new(&HttpSettings::new(peer.url())).unwrap()
}

/// Creates a file of that many zeros, which take no room on the disk.
fn sparse_file(bytes: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    (dir, path)
}

fn put_file(path: &Path) -> Request {
    Request::put("/files").file(path).build().unwrap()
}

fn part_stream<const N: usize>(parts: [&'static str; N]) -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter(parts.map(|part| Ok(Bytes::from_static(part.as_bytes()))))
}

/// Starts a server that keeps everything until the client ends the connection.
async fn capture_server() -> (RawServer, mpsc::Receiver<String>) {
    let (sender, kept) = mpsc::channel(8);
    let peer = RawServer::start(move |_, mut wire| {
        let sender = sender.clone();
        async move {
            let rest = String::from_utf8(wire.read_to_end().await).unwrap().to_lowercase();
            sender.send(rest).await.unwrap();
        }
    });
    (peer.await, kept)
}

#[tokio::test]
async fn file_arrives_with_its_length_even_when_empty() {
    let mut server =
        ScriptedServer::start([vec![Receive, ok_response("1"), Receive, ok_response("2")]]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let transport = transport(&server);
    for content in ["0123456789".repeat(20_000), String::new()] {
        fs::write(&path, &content).unwrap();
        let mut request = put_file(&path);
        let progress = request.progress();
        transport.collect(&request, LONG).await.unwrap();
        let received = server.next_request().await;
        assert!(received.contains(&format!("\r\ncontent-length: {}\r\n", content.len())), "{received}");
        assert!(received.ends_with(&format!("\r\n\r\n{content}")) && !received.contains("chunked"));
        let length = content.len() as u64;
        let TransferProgress { sent, to_send, received, to_receive, .. } = *progress.borrow();
        assert_eq!((sent, to_send, received, to_receive), (length, Some(length), 1, Some(1)));
    }
}

#[tokio::test]
async fn stream_of_unknown_length_is_sent_in_chunks() {
    let peer = RawServer::start(|_, mut wire| async move {
        assert!(wire.read_head().await.contains("\r\ntransfer-encoding: chunked\r\n"));
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.extend_from_slice(&wire.read_some().await);
        }
        assert_eq!(body, b"4\r\nfour\r\n4\r\nmore\r\n0\r\n\r\n");
        wire.send_ok_head(0).await;
    });
    let peer = peer.await;
    let request =
        Request::post("/x").body_stream(None, || part_stream(["four", "", "more"])).build().unwrap();
    assert_eq!(transport_to(&peer).collect(&request, LONG).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn file_that_cannot_be_opened_makes_no_connection() {
    let server = ScriptedServer::start([vec![Receive, ok_response("")]]).await;
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing"), dir.path().to_owned()] {
        let failure = send_failure(&transport(&server), &put_file(&path), LONG).await;
        assert_eq!((failure.kind, failure.progress), (FailureKind::UploadUnreadable, NotSent));
        let error = Error::from(&failure);
        assert_eq!((error.code, error.reason), (Code::InvalidInput, Reason::BodyUnreadable));
        assert!(!error.message.contains(path.to_str().unwrap()));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn failed_body_aborts_and_never_looks_complete() {
    let fails = || part_stream(["four"]).chain(stream::iter([Err(io::Error::other("worn out"))]));
    let too_long = || part_stream(["four", "more", "and more"]);
    let too_short = || part_stream(["four"]);
    let cases = [
        (Request::post("/x").body_stream(Some(8), fails), FailureKind::UploadUnreadable),
        (Request::post("/x").body_stream(None, fails), FailureKind::UploadUnreadable),
        (Request::post("/x").body_stream(Some(8), too_long), FailureKind::UploadChanged),
        (Request::post("/x").body_stream(Some(8), too_short), FailureKind::UploadChanged),
    ];
    let (peer, mut kept) = capture_server().await;
    for (request, kind) in cases {
        let failure = send_failure(&transport_to(&peer), &request.build().unwrap(), LONG).await;
        assert_eq!((failure.kind, failure.progress), (kind, MaybeSent), "{failure}");
        let received = kept.recv().await.unwrap();
        let body = received.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if received.contains("chunked") {
            assert!(!body.contains("0\r\n"), "{received}");
        } else {
            assert!(body.len() < 8, "{received}");
        }
    }
}

/// Sends a large file and changes it once the server has its beginning. Returns the attempt's result, and the
/// server's bytes.
async fn change_during_upload(change: impl FnOnce(&fs::File) + Send) -> (TransportError, u64) {
    let (begun, mut has_begun) = mpsc::channel(1);
    let (go_on, may_go_on) = mpsc::channel::<()>(1);
    let (count, mut counted) = mpsc::channel(1);
    let may_go_on = Arc::new(tokio::sync::Mutex::new(may_go_on));
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        let (begun, count, may_go_on) = (begun.clone(), count.clone(), Arc::clone(&may_go_on));
        async move {
            assert_eq!(content_length(&wire.read_head().await), Some(LARGE));
            let start = wire.count_bytes(1).await;
            begun.send(()).await.unwrap();
            may_go_on.lock().await.recv().await;
            count.send(start + wire.count_bytes(LARGE).await).await.unwrap();
        }
    });
    let (peer, (_dir, path)) = (peer.await, sparse_file(LARGE));
    let changed = async {
        has_begun.recv().await.unwrap();
        change(&fs::File::options().append(true).open(&path).unwrap());
        go_on.send(()).await.unwrap();
    };
    let (transport, request) = (transport_to(&peer), put_file(&path));
    let (failure, ()) = tokio::join!(send_failure(&transport, &request, LONG), changed);
    (failure, counted.recv().await.unwrap())
}

#[tokio::test]
async fn resized_file_aborts_before_the_server_has_it_all() {
    let shrink = |file: &fs::File| file.set_len(MIB).unwrap();
    let grow = |file: &fs::File| file.set_len(LARGE + 1).unwrap();
    for change in [&shrink as &(dyn Fn(&fs::File) + Send + Sync), &grow] {
        let (failure, received) = change_during_upload(change).await;
        assert_eq!((failure.kind, failure.progress), (FailureKind::UploadChanged, MaybeSent), "{failure}");
        assert_eq!(Error::from(&failure).reason, Reason::BodyChanged);
        assert!(received < LARGE);
    }
}

#[tokio::test]
async fn redirect_that_keeps_the_body_opens_it_again() {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    let mut server =
        ScriptedServer::start([vec![Receive, ServerStep::Send(moved.into()), Receive, ok_response("")]])
            .await;
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let open = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        part_stream(["four"])
    };
    let mut request = Request::put("/here").body_stream(Some(4), open).build().unwrap();
    let progress = request.progress();
    transport(&server).collect(&request, LONG).await.unwrap();
    assert!(server.next_request().await.ends_with("\r\n\r\nfour"));
    let again = server.next_request().await;
    assert!(again.starts_with("PUT /there ") && again.ends_with("\r\n\r\nfour"), "{again}");
    assert_eq!((opened.load(Ordering::SeqCst), progress.borrow().sent), (2, 4));
}

#[tokio::test]
async fn redirect_needing_a_spent_body_is_not_followed() {
    let moved = "HTTP/1.1 308 Permanent Redirect\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    let server =
        ScriptedServer::start([vec![Receive, ServerStep::Send(moved.into()), Receive, ok_response("")]])
            .await;
    let request = Request::put("/here").body_stream_once(Some(4), part_stream(["four"])).build().unwrap();
    let answer = transport(&server).collect(&request, LONG).await.unwrap();
    assert_eq!(answer.status.as_u16(), 308);
}

/// Returns a body without end, and a counter of its bytes.
fn endless_body() -> (Request, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let open = move || {
        let counter = Arc::clone(&counter);
        stream::repeat_with(move || {
            counter.fetch_add(BODY_PART_BYTES_MAX as u64, Ordering::SeqCst);
            Ok(Bytes::from(vec![0; BODY_PART_BYTES_MAX]))
        })
    };
    (Request::post("/x").body_stream(None, open).build().unwrap(), taken)
}

#[tokio::test]
async fn early_response_is_returned_and_ends_the_upload() {
    let (closed, mut has_closed) = mpsc::channel(1);
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        let closed = closed.clone();
        async move {
            wire.read_head().await;
            wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
            wire.count_bytes(u64::MAX).await;
            closed.send(()).await.unwrap();
        }
    });
    let (peer, (request, _)) = (peer.await, endless_body());
    let answer = transport_to(&peer).collect(&request, LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (403, &b"no"[..]));
    has_closed.recv().await.unwrap();
}

#[tokio::test]
async fn dropped_upload_closes_its_connection() {
    let (news, mut events) = mpsc::channel(2);
    let peer = RawServer::start(move |_, mut wire: RawConnection| {
        let news = news.clone();
        async move {
            wire.read_head().await;
            wire.count_bytes(MIB).await;
            news.send("begun").await.unwrap();
            wire.count_bytes(u64::MAX).await;
            news.send("closed").await.unwrap();
        }
    });
    let (peer, (request, _)) = (peer.await, endless_body());
    let transport = transport_to(&peer);
    tokio::select! {
        outcome = transport.collect(&request, LONG) => panic!("it ended: {outcome:?}"),
        news = events.recv() => assert_eq!(news, Some("begun")),
    }
    assert_eq!(events.recv().await, Some("closed"));
}

#[tokio::test]
async fn stalled_server_applies_backpressure_then_times_out() {
    let peer = RawServer::start(|_, wire| async move {
        std::future::pending::<()>().await;
        drop(wire);
    });
    let (peer, (request, taken)) = (peer.await, endless_body());
    let failure = send_failure(&transport_to(&peer), &request, SHORT).await;
    assert_eq!((failure.kind, failure.progress), (FailureKind::TimedOut, MaybeSent));
    assert!(taken.load(Ordering::SeqCst) < LARGE);
}

#[tokio::test]
async fn body_may_be_sent_while_its_answer_is_read() {
    // The server answers each part with its length; the client sends the next part only after that.
    let peer = RawServer::start(|_, mut wire| async move {
        wire.read_head().await;
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            while !wire.read_some().await.ends_with(b"\r\n") {}
            wire.send("1\r\n.\r\n").await;
        }
        wire.read_some().await;
        wire.send("0\r\n\r\n").await;
    });
    let (next, asked) = mpsc::channel(1);
    let source = stream::unfold(asked, |mut asked: mpsc::Receiver<()>| async move {
        asked.recv().await.map(|()| (Ok(Bytes::from_static(b"part")), asked))
    });
    let (peer, request) = (peer.await, Request::post("/x").body_stream_once(None, source).build().unwrap());
    next.send(()).await.unwrap();
    let mut answer = transport_to(&peer).send(&request, LONG).await.unwrap();
    for _ in 0..2 {
        assert_eq!(answer.body.next().await.unwrap().unwrap(), ".");
        next.send(()).await.unwrap();
    }
    assert_eq!(answer.body.next().await.unwrap().unwrap(), ".");
    drop(next);
    assert!(answer.body.next().await.is_none());
}
