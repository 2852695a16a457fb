//! Tests that each cause of an error, produced at a real server, gives the error of its row in docs/conformance/errors.md: in the
//! journal and in the status.

use std::collections::BTreeSet;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::*;
use crate::{
    error::Error,
    network::{Route, proxy::Proxy},
    tests::error_table::{CauseGroup, assert_all_seen, assert_row, status_row_text},
};

const SHORT: Duration = Duration::from_millis(50);

/// The server's behaviour on a connection.
enum ServerAction {
    /// Answers the handshake with these bytes.
    Answer(String),
    /// Sends this and reads nothing.
    WriteUnasked(&'static str),
    /// Never answers the handshake.
    Hold,
    /// Closes the connection during the handshake, in order or with a reset.
    HangUp { resets: bool },
    /// Opens the socket, writes these bytes on it, and continues with the given step.
    Write(Vec<u8>, SocketEnd),
}

enum SocketEnd {
    /// Keeps the connection without reading.
    Stay,
    /// Ends the connection without a close frame, in order or with a reset.
    Go { resets: bool },
}

/// Lets the server behave like this for a connection to `target`, and returns the resulting error.
async fn error_after(
    server: &WsServer,
    target: SocketTarget,
    policy: ConnectionPolicy,
    action: ServerAction,
) -> Error {
    let mut fixture = ConnectionFixture::start(target, policy).await;
    let mut kept = None;
    let mut stream = server.accept_raw().await;
    match action {
        ServerAction::Hold => kept = Some(stream),
        ServerAction::HangUp { resets } => {
            read_head(&mut stream).await;
            close_stream(stream, resets);
        }
        ServerAction::WriteUnasked(text) => {
            stream.write_all(text.as_bytes()).await.unwrap();
            kept = Some(stream);
        }
        ServerAction::Answer(bytes) => {
            read_head(&mut stream).await;
            // The client may hang up as soon as it has seen enough.
            let _ = stream.write_all(bytes.as_bytes()).await;
            kept = Some(stream);
        }
        ServerAction::Write(bytes, then) => {
            let mut peer = WsPeer::accept(stream).await;
            fixture.wait_for_state(Connected).await;
            peer.raw().write_all(&bytes).await.unwrap();
            match then {
                SocketEnd::Stay => kept = Some(peer.into_raw()),
                SocketEnd::Go { resets } => close_stream(peer.into_raw(), resets),
            }
        }
    }
    let error = fixture.next_error().await;
    drop(kept);
    error
}

fn close_stream(stream: TcpStream, resets: bool) {
    if resets {
        stream.set_zero_linger().unwrap();
    }
}

impl ConnectionFixture {
    /// Returns the error of the next change that has one; journal, status and machine must agree.
    async fn next_error(&mut self) -> Error {
        loop {
            let record = self.next_record(ConnectionChanged::KIND).await;
            let change: ConnectionChanged = record.decode().unwrap();
            let Some(error) = &change.error else {
                assert_eq!(change.code, None);
                continue;
            };
            let error = Error::from(error);
            let recorded: Error = serde_json::from_value(record.fields["error"].clone()).unwrap();
            assert_eq!(recorded, error);
            assert_eq!(change.code, Some(error.code));
            // No retry has been used yet, so the connection retries if that may help.
            let comes_back = matches!(change.to, Reconnecting);
            assert_eq!(comes_back, error.retryable, "{change:?}");
            let shown = self.wait_for_state(change.to).await.last_error.unwrap();
            assert_eq!(Error::from(&shown), error);
            return error;
        }
    }
}

/// Returns a target whose proxy is this server.
fn target_behind_proxy(proxy: &WsServer) -> SocketTarget {
    let proxy = Some(Proxy::parse(&proxy.url()).unwrap());
    let target = SocketTarget::new("http://backend.example", "/ws").unwrap();
    target.with_route(Route { proxy, ..Route::default() })
}

fn answer(head: &str) -> ServerAction {
    ServerAction::Answer(format!("{head}\r\n\r\n"))
}

fn write(bytes: impl Into<Vec<u8>>) -> ServerAction {
    ServerAction::Write(bytes.into(), SocketEnd::Stay)
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let length = u8::try_from(2 + reason.len()).unwrap();
    [&[0x88, length][..], &code.to_be_bytes(), reason.as_bytes()].concat()
}

fn server_actions() -> Vec<(&'static str, ServerAction)> {
    let refused = |status: u16| answer(&format!("HTTP/1.1 {status} Status\r\ncontent-length: 0"));
    let lost = "the connection broke without a close frame";
    let no_handshake = "the response is no handshake: a page, a wrong Sec-WebSocket-Accept, or no HTTP";
    let violation = "the peer broke the WebSocket protocol";
    let large = "the peer sent a frame or message above the limit";
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade";
    vec![
        ("the credentials were not accepted (see the handshake and close codes)", refused(401)),
        ("the backend does not allow it (see the handshake and close codes)", refused(403)),
        ("the path is not a WebSocket's (see the handshake)", refused(404)),
        ("the backend asks for fewer attempts (see the handshake)", refused(429)),
        ("the backend is not available (see the handshake)", refused(503)),
        ("the handshake was refused (see there)", refused(400)),
        (no_handshake, answer("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0")),
        (no_handshake, answer(&format!("{upgrade}\r\nsec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="))),
        (no_handshake, answer(upgrade)),
        (no_handshake, answer("HTTP/1.1 101 Switching Protocols")),
        (no_handshake, answer("SSH-2.0-OpenSSH_9.9")),
        (no_handshake, answer(&format!("HTTP/1.1 101 Yes\r\nx-long: {}", "x".repeat(100_000)))),
        (lost, ServerAction::HangUp { resets: false }),
        (lost, ServerAction::HangUp { resets: true }),
        (lost, ServerAction::Write(Vec::new(), SocketEnd::Go { resets: false })),
        (lost, ServerAction::Write(Vec::new(), SocketEnd::Go { resets: true })),
        // Five bytes are announced, and two come.
        (lost, ServerAction::Write(vec![0x81, 5, b'h', b'a'], SocketEnd::Go { resets: false })),
        ("the peer closed in order (see the close codes)", write(close_frame(1000, ""))),
        ("the peer closed with 1008 (see the close codes)", write(close_frame(1008, "no"))),
        (large, write([&[0x81, 127][..], &1_000_000_u64.to_be_bytes()].concat())),
        (large, write([&[0x01, 120][..], &[b'x'; 120], &[0x80, 120], &[b'x'; 120]].concat())),
        // Not UTF-8.
        (violation, write([0x81, 1, 0xff])),
        // A reserved bit, and reserved opcodes.
        (violation, write([0xc1, 1, b'x'])),
        (violation, write([0x83, 0])),
        (violation, write([0x8b, 0])),
        // A server masks nothing.
        (violation, write([0x81, 0x81, 1, 2, 3, 4, b'x' ^ 1])),
        // A ping that is too long, one in pieces, and a continuation of nothing.
        (violation, write([&[0x89, 126, 0, 126][..], &[0; 126]].concat())),
        (violation, write([0x09, 0])),
        (violation, write([0x80, 1, b'x'])),
        // A close frame with half a code. Of one whose reason is not UTF-8 the code counts.
        (violation, write([0x88, 1, 3])),
        ("the peer closed in order (see the close codes)", write([0x88, 3, 0x03, 0xe8, 0xff])),
    ]
}

#[tokio::test]
async fn connection_failure_gives_the_documented_error() {
    let server = WsServer::listening().await;
    let mut seen = BTreeSet::new();
    let mut check = |what: &'static str, error: Error| {
        assert_row(CauseGroup::Connection, what, &error);
        seen.insert(what);
    };
    let small = || ConnectionPolicy { message_max_bytes: 200, ..slow_retry_policy() };
    for (what, action) in server_actions() {
        check(what, error_after(&server, server.target(), small(), action).await);
    }

    let hurried = ConnectionPolicy { connect_timeout: SHORT, ..slow_retry_policy() };
    let late = "the handshake did not end within connect_timeout";
    check(late, error_after(&server, server.target(), hurried, ServerAction::Hold).await);
    let tls = "TLS failed: a certificate that is not trusted, or no TLS there";
    let secure = SocketTarget::new(&server.url().replace("http:", "https:"), "/ws").unwrap();
    let plain = ServerAction::WriteUnasked("HTTP/1.1 400 Bad Request\r\n\r\n");
    check(tls, error_after(&server, secure, slow_retry_policy(), plain).await);

    let down = WsServer::refusing();
    let no_proxy = "the proxy cannot be reached, or the server at its address is no proxy";
    // A link-local address without a scope: the system refuses it before anything is sent.
    let linkless = SocketTarget::new("http://[fe80::1]:9", "/ws").unwrap();
    for (what, target) in [
        ("no server listens at the address", down.target()),
        ("the host's name has no address", unresolvable_target()),
        ("no route, or another failure below TCP", linkless),
        (no_proxy, target_behind_proxy(&down)),
    ] {
        check(what, ConnectionFixture::start(target, slow_retry_policy()).await.next_error().await);
    }

    let no_login = "the proxy needs a login, or rejects the given one";
    let no_way = "the proxy does not connect to the backend: it may not, or it cannot";
    for (what, status) in [(no_login, 407), (no_way, 403), (no_way, 502), (no_way, 503)] {
        let refusal = answer(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0"));
        check(what, error_after(&server, target_behind_proxy(&server), slow_retry_policy(), refusal).await);
    }

    let (mut fixture, _peer) = ConnectionFixture::connected_to(&server, slow_retry_policy()).await;
    tokio::time::pause();
    check("a ping was not answered within ping_timeout", fixture.next_error().await);

    // No valid target leads there, so this tests the socket's own check.
    seen.insert("the address cannot be asked for a WebSocket");
    assert_all_seen(CauseGroup::Connection, &seen);
}

#[tokio::test]
async fn handshake_status_gives_the_documented_error() {
    let server = WsServer::listening().await;
    for status in 200..=599 {
        let action = answer(&format!("HTTP/1.1 {status} Status\r\nretry-after: 7\r\ncontent-length: 0"));
        let error = error_after(&server, server.target(), slow_retry_policy(), action).await;
        assert_row(CauseGroup::Handshake, status_row_text(CauseGroup::Handshake, status), &error);
        assert_eq!((error.status, error.retry_after_ms), (Some(status), Some(7000)));
    }
}

#[tokio::test]
async fn close_code_gives_the_documented_error() {
    let server = WsServer::listening().await;
    let rows: [(&[u16], &str); 8] = [
        (&[1000, 1001, 3000, 4000, 4400, 4404, 4999], "1000, 1001 and any code that is not named here"),
        (&[1002, 1003, 1007, 1010], "1002, 1003, 1007, 1010: our message was not understood"),
        (&[1008], "1008: against its policy"),
        (&[1009], "1009: our message is too large"),
        (&[1011], "1011: an error of the backend's own"),
        (&[1012, 1013], "1012, 1013: it restarts, or is overloaded"),
        (&[4401], "4401"),
        (&[4403], "4403"),
    ];
    let mut seen = BTreeSet::new();
    for (codes, what) in rows {
        for code in codes {
            let frame = close_frame(*code, "because");
            let error = error_after(&server, server.target(), slow_retry_policy(), write(frame)).await;
            assert_row(CauseGroup::Close, what, &error);
            assert!(error.log_text().contains(&format!("code {code}: because")), "{error:?}");
        }
        seen.insert(what);
    }
    let error = error_after(&server, server.target(), slow_retry_policy(), write([0x88, 0])).await;
    assert_row(CauseGroup::Close, "no code", &error);
    seen.insert("no code");
    assert_all_seen(CauseGroup::Close, &seen);
}

#[tokio::test]
async fn close_code_that_must_not_be_sent_breaks_the_protocol() {
    let server = WsServer::listening().await;
    for code in [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, 65535] {
        let frame = write(close_frame(code, "x"));
        let error = error_after(&server, server.target(), slow_retry_policy(), frame).await;
        assert_row(CauseGroup::Connection, "the peer broke the WebSocket protocol", &error);
    }
}

#[tokio::test]
async fn send_outcome_gives_the_documented_error() {
    assert_eq!(SendOutcome::Sent.into_result(), Ok(()));
    let mut seen = BTreeSet::new();
    let mut check = |what: &'static str, answer: Result<SendOutcome, CallError>| {
        assert_row(CauseGroup::Send, what, &answer.unwrap().into_result().unwrap_err());
        seen.insert(what);
    };
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..slow_retry_policy() };
    let (_server, fixture, mut peer) = ConnectionFixture::connected(policy).await;
    let large = "x".repeat(LARGE_BYTES + 1);
    check("`too_large`: it is larger than a message may be", fixture.send_text(large, NEVER).await.await);
    // No socket buffer takes this much, so the write is still in progress when its first byte arrives.
    let broken = fixture.send_text("x".repeat(LARGE_BYTES), NEVER).await;
    peer.raw().read_u8().await.unwrap();
    drop(peer);
    check("`unknown`: the socket failed while it was being written", broken.await);

    let down = WsServer::refusing();
    let narrow = ConnectionPolicy { outbound_max: 1, ..slow_retry_policy() };
    let mut fixture = ConnectionFixture::start(down.target(), narrow).await;
    fixture.wait_for_change(Reconnecting).await;
    let hasty = fixture.send_text("hasty", Duration::ZERO).await.await;
    check("`expired`: its deadline passed before a socket was open", hasty);
    let kept = fixture.send_text("kept", NEVER).await;
    let too_many = fixture.send_text("too much", NEVER).await.await;
    check("`queue_full`: outbound_max messages, or the largest number of bytes, wait already", too_many);
    let off = ConnectionPolicy { enabled: false, ..slow_retry_policy() };
    let disabled = ConnectionFixture::start(down.target(), off).await;
    let refused = disabled.send_text("refused", NEVER).await.await;
    check("`disabled`: the configuration has no WebSocket", refused);
    fixture.runtime.shutdown().await;
    check("`dropped`: the connection's actor stopped before it was sent", kept.await);
    assert_all_seen(CauseGroup::Send, &seen);
}
