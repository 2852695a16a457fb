//! Bodies from files and streams, as a server sees them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    peer::{Peer, Wire, announced},
    server::{Server, Step, ok},
    *,
};
use crate::request::{BODY_PART_BYTES_MAX, Progress};

const MIB: u64 = 1024 * 1024;

/// More than any connection holds back by itself: hyper, and the system on both sides.
const LARGE: u64 = 64 * MIB;

fn to(peer: &Peer) -> HttpTransport {
    HttpTransport::new(&HttpSettings::new(peer.url())).unwrap()
}

/// A file of that many zeros, which take no room on the disk.
fn sparse(bytes: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    (dir, path)
}

fn put_file(path: &Path) -> Request {
    Request::put("/files").file(path).build().unwrap()
}

fn parts<const N: usize>(parts: [&'static str; N]) -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter(parts.map(|part| Ok(Bytes::from_static(part.as_bytes()))))
}

/// A server that keeps everything that it is sent until the client ends the connection.
async fn keeper() -> (Peer, mpsc::Receiver<String>) {
    let (sender, kept) = mpsc::channel(8);
    let peer = Peer::start(move |_, mut wire| {
        let sender = sender.clone();
        async move {
            let rest = String::from_utf8(wire.rest().await).unwrap().to_lowercase();
            sender.send(rest).await.unwrap();
        }
    });
    (peer.await, kept)
}

#[tokio::test]
async fn a_file_arrives_whole_with_its_length_and_an_empty_one_as_an_empty_body() {
    let mut server = Server::start([vec![Step::Receive, ok("1"), Step::Receive, ok("2")]]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let transport = transport(&server);
    for content in ["0123456789".repeat(20_000), String::new()] {
        fs::write(&path, &content).unwrap();
        let mut request = put_file(&path);
        let progress = request.progress();
        transport.attempt(&request, LONG).await.unwrap();
        let received = server.received().await;
        assert!(received.contains(&format!("\r\ncontent-length: {}\r\n", content.len())), "{received}");
        assert!(received.ends_with(&format!("\r\n\r\n{content}")) && !received.contains("chunked"));
        let length = content.len() as u64;
        let Progress { sent, to_send, received, to_receive, .. } = *progress.borrow();
        assert_eq!((sent, to_send, received, to_receive), (length, Some(length), 1, Some(1)));
    }
}

#[tokio::test]
async fn a_stream_of_known_length_is_sent_with_that_length() {
    let mut server = Server::start([vec![Step::Receive, ok("")]]).await;
    let request = Request::post("/x").body_stream(Some(8), || parts(["four", "", "more"])).build().unwrap();
    transport(&server).attempt(&request, LONG).await.unwrap();
    let received = server.received().await;
    assert!(received.contains("\r\ncontent-length: 8\r\n") && received.ends_with("\r\n\r\nfourmore"));
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_sent_in_chunks() {
    let peer = Peer::start(|_, mut wire| async move {
        assert!(wire.head().await.contains("\r\ntransfer-encoding: chunked\r\n"));
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.extend_from_slice(&wire.some().await);
        }
        assert_eq!(body, b"4\r\nfour\r\n4\r\nmore\r\n0\r\n\r\n");
        wire.begin(0).await;
    });
    let peer = peer.await;
    let request = Request::post("/x").body_stream(None, || parts(["four", "", "more"])).build().unwrap();
    assert_eq!(to(&peer).attempt(&request, LONG).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_makes_no_connection() {
    let server = Server::start([vec![Step::Receive, ok("")]]).await;
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing"), dir.path().to_owned()] {
        let failure = failure(&transport(&server), &put_file(&path), LONG).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::UploadUnreadable, Reach::NotSent));
        let error = Error::from(&failure);
        assert_eq!((error.code, error.reason), (Code::InvalidInput, Reason::BodyUnreadable));
        assert!(!error.message.contains(path.to_str().unwrap()));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_body_that_fails_in_the_middle_is_broken_off_and_never_looks_whole() {
    let fails = || parts(["four"]).chain(stream::iter([Err(io::Error::other("worn out"))]));
    let too_long = || parts(["four", "more", "and more"]);
    let too_short = || parts(["four"]);
    let cases = [
        (Request::post("/x").body_stream(Some(8), fails), FailureKind::UploadUnreadable),
        (Request::post("/x").body_stream(None, fails), FailureKind::UploadUnreadable),
        (Request::post("/x").body_stream(Some(8), too_long), FailureKind::UploadChanged),
        (Request::post("/x").body_stream(Some(8), too_short), FailureKind::UploadChanged),
    ];
    let (peer, mut kept) = keeper().await;
    for (request, kind) in cases {
        let failure = failure(&to(&peer), &request.build().unwrap(), LONG).await;
        assert_eq!((failure.kind, failure.reach), (kind, Reach::MaybeSent), "{failure}");
        let received = kept.recv().await.unwrap();
        let body = received.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if received.contains("chunked") {
            assert!(!body.contains("0\r\n"), "{received}");
        } else {
            assert!(body.len() < 8, "{received}");
        }
    }
}

/// Sends a large file, and changes it once the server has its beginning: what became of the attempt, and how much of
/// the file the server got.
async fn change_midway(change: impl FnOnce(&fs::File) + Send) -> (TransportError, u64) {
    let (begun, mut has_begun) = mpsc::channel(1);
    let (go_on, may_go_on) = mpsc::channel::<()>(1);
    let (count, mut counted) = mpsc::channel(1);
    let may_go_on = Arc::new(tokio::sync::Mutex::new(may_go_on));
    let peer = Peer::start(move |_, mut wire: Wire| {
        let (begun, count, may_go_on) = (begun.clone(), count.clone(), Arc::clone(&may_go_on));
        async move {
            assert_eq!(announced(&wire.head().await), Some(LARGE));
            let start = wire.count(1).await;
            begun.send(()).await.unwrap();
            may_go_on.lock().await.recv().await;
            count.send(start + wire.count(LARGE).await).await.unwrap();
        }
    });
    let (peer, (_dir, path)) = (peer.await, sparse(LARGE));
    let changed = async {
        has_begun.recv().await.unwrap();
        change(&fs::File::options().append(true).open(&path).unwrap());
        go_on.send(()).await.unwrap();
    };
    let (transport, request) = (to(&peer), put_file(&path));
    let (failure, ()) = tokio::join!(failure(&transport, &request, LONG), changed);
    (failure, counted.recv().await.unwrap())
}

#[tokio::test]
async fn a_file_that_shrinks_or_grows_while_it_is_sent_is_broken_off_before_the_server_has_it_whole() {
    let shrink = |file: &fs::File| file.set_len(MIB).unwrap();
    let grow = |file: &fs::File| file.set_len(LARGE + 1).unwrap();
    for change in [&shrink as &(dyn Fn(&fs::File) + Send + Sync), &grow] {
        let (failure, received) = change_midway(change).await;
        assert_eq!(
            (failure.kind, failure.reach),
            (FailureKind::UploadChanged, Reach::MaybeSent),
            "{failure}"
        );
        assert_eq!(Error::from(&failure).reason, Reason::BodyChanged);
        assert!(received < LARGE);
    }
}

#[tokio::test]
async fn a_redirect_that_keeps_the_body_opens_it_again() {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    let mut server =
        Server::start([vec![Step::Receive, Step::Send(moved.into()), Step::Receive, ok("")]]).await;
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let open = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        parts(["four"])
    };
    let mut request = Request::put("/here").body_stream(Some(4), open).build().unwrap();
    let progress = request.progress();
    transport(&server).attempt(&request, LONG).await.unwrap();
    assert!(server.received().await.ends_with("\r\n\r\nfour"));
    let again = server.received().await;
    assert!(again.starts_with("PUT /there ") && again.ends_with("\r\n\r\nfour"), "{again}");
    assert_eq!((opened.load(Ordering::SeqCst), progress.borrow().sent), (2, 4));
}

#[tokio::test]
async fn a_redirect_that_would_need_a_body_again_that_is_there_once_is_not_followed() {
    let moved = "HTTP/1.1 308 Permanent Redirect\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start([vec![Step::Receive, Step::Send(moved.into()), Step::Receive, ok("")]]).await;
    let request = Request::put("/here").body_once(Some(4), parts(["four"])).build().unwrap();
    let answer = transport(&server).attempt(&request, LONG).await.unwrap();
    assert_eq!(answer.status.as_u16(), 308);
}

/// A body without end, and how much was taken of it.
fn endless() -> (Request, Arc<AtomicU64>) {
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
async fn an_answer_before_the_body_is_sent_is_the_answer_and_ends_the_sending() {
    let (closed, mut has_closed) = mpsc::channel(1);
    let peer = Peer::start(move |_, mut wire: Wire| {
        let closed = closed.clone();
        async move {
            wire.head().await;
            wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
            wire.count(u64::MAX).await;
            closed.send(()).await.unwrap();
        }
    });
    let (peer, (request, _)) = (peer.await, endless());
    let answer = to(&peer).attempt(&request, LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (403, &b"no"[..]));
    has_closed.recv().await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_is_dropped_while_it_sends_closes_its_connection() {
    let (news, mut heard) = mpsc::channel(2);
    let peer = Peer::start(move |_, mut wire: Wire| {
        let news = news.clone();
        async move {
            wire.head().await;
            wire.count(MIB).await;
            news.send("begun").await.unwrap();
            wire.count(u64::MAX).await;
            news.send("closed").await.unwrap();
        }
    });
    let (peer, (request, _)) = (peer.await, endless());
    let transport = to(&peer);
    tokio::select! {
        outcome = transport.attempt(&request, LONG) => panic!("it ended: {outcome:?}"),
        news = heard.recv() => assert_eq!(news, Some("begun")),
    }
    assert_eq!(heard.recv().await, Some("closed"));
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_the_body_back_and_then_the_attempt_times_out() {
    let peer = Peer::start(|_, wire| async move {
        std::future::pending::<()>().await;
        drop(wire);
    });
    let (peer, (request, taken)) = (peer.await, endless());
    let failure = failure(&to(&peer), &request, SHORT).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::TimedOut, Reach::MaybeSent));
    assert!(taken.load(Ordering::SeqCst) < LARGE);
}

#[tokio::test]
async fn a_body_may_be_sent_while_its_answer_is_read() {
    // Each part that comes is answered with its length; none is sent before the last was answered.
    let peer = Peer::start(|_, mut wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            while !wire.some().await.ends_with(b"\r\n") {}
            wire.send("1\r\n.\r\n").await;
        }
        wire.some().await;
        wire.send("0\r\n\r\n").await;
    });
    let (next, asked) = mpsc::channel(1);
    let source = stream::unfold(asked, |mut asked: mpsc::Receiver<()>| async move {
        asked.recv().await.map(|()| (Ok(Bytes::from_static(b"part")), asked))
    });
    let (peer, request) = (peer.await, Request::post("/x").body_once(None, source).build().unwrap());
    next.send(()).await.unwrap();
    let mut answer = to(&peer).open(&request, LONG).await.unwrap();
    for _ in 0..2 {
        assert_eq!(answer.body.next().await.unwrap().unwrap(), ".");
        next.send(()).await.unwrap();
    }
    assert_eq!(answer.body.next().await.unwrap().unwrap(), ".");
    drop(next);
    assert!(answer.body.next().await.is_none());
}
