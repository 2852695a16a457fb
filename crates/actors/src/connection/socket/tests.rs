//! Tests dials and sockets against real servers on the loopback.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;

use super::*;
use crate::{
    network::{Route, tls::TlsTrust},
    tests::{listen, read_head, reserve_address},
};

/// Self-signed for `localhost`, until 2126: openssl req -x509 -newkey ec -pkeyopt
/// ec_paramgen_curve:prime256v1 -days 36500 -subj /CN=localhost -addext subjectAltName=DNS:localhost
/// -addext basicConstraints=critical,CA:FALSE
const CERTIFICATE: &[u8] = include_bytes!("tests/localhost.cert.der");
const KEY: &[u8] = include_bytes!("tests/localhost.key.der");

const LIMITS: SocketLimits = SocketLimits { message_max_bytes: 1024 };
const TOKEN: &str = "s3cret-t0ken";

type ServerSocket = WebSocketStream<TcpStream>;

fn target(address: SocketAddr) -> SocketTarget {
    SocketTarget::new(&format!("http://{address}"), "/ws").unwrap().with_bearer(TOKEN).unwrap()
}

/// A socket and the server's end of it.
async fn connected(
    limits: SocketLimits,
) -> (SocketWriter<BoxedStream>, SocketReader<BoxedStream>, ServerSocket) {
    let (listener, address) = listen().await;
    let target = target(address);
    let server = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
    let (dialled, server) = tokio::join!(dial(&target, limits), server);
    let (writer, reader) = dialled.unwrap();
    (writer, reader, server)
}

/// Asserts that an error's message and details name neither the address nor the token.
fn assert_redacted(error: &ConnectionError) {
    for secret in ["127.0.0.1", "localhost", "http", "ws:", "/ws", TOKEN] {
        assert!(!error.message.contains(secret), "{secret} in {error:?}");
    }
    assert!(!error.details.contains(TOKEN), "{error:?}");
}

// === the dial ===

#[tokio::test]
async fn the_handshake_carries_the_path_the_headers_and_the_token() {
    let (listener, address) = listen().await;
    let target = target(address).with_header("x-client", "mainstay").unwrap();
    let server = async { read_head(&mut listener.accept().await.unwrap().0).await };
    let (_, head) = tokio::join!(dial(&target, LIMITS), server);
    assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("Host: {address}\r\n")), "{head}");
    assert!(head.contains("x-client: mainstay\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{head}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let (_socket, down) = reserve_address();
    let error = dial(&target(down), LIMITS).await.unwrap_err();
    assert_eq!(error.kind, ConnectionErrorKind::Refused);
    assert_redacted(&error);
}

#[tokio::test]
async fn dropping_a_dial_drops_its_socket() {
    let (listener, address) = listen().await;
    let target = target(address);
    let mut stream = {
        let mut dialling = pin!(dial(&target, LIMITS));
        tokio::select! {
            _ = &mut dialling => panic!("no one answered the handshake"),
            accepted = listener.accept() => accepted.unwrap().0,
        }
    };
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_socket_opens_over_any_stream() {
    let (near, far) = duplex(1024);
    let target = SocketTarget::new("http://backend.example", "/ws").unwrap();
    let (opened, server) = tokio::join!(handshake(&target, LIMITS, near), accept_async(far));
    let ((mut writer, _reader), mut server) = (opened.unwrap(), server.unwrap());
    writer.send_text("hello".into()).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("hello"));
}

// === TLS ===

/// Accepts TLS connections and sends a greeting on each until dropped.
async fn serve_tls() -> (JoinSet<()>, SocketTarget) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], PrivatePkcs8KeyDer::from(KEY).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listen().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            // A client that does not trust the certificate closes during the handshake.
            let Ok(stream) = acceptor.accept(listener.accept().await.unwrap().0).await else { continue };
            let mut server = accept_async(stream).await.unwrap();
            server.send(Message::text("hello")).await.unwrap();
            while server.next().await.is_some() {}
        }
    });
    let target = SocketTarget::new(&format!("https://localhost:{}", address.port()), "/ws").unwrap();
    (tasks, target)
}

fn route_trusting_the_test_certificate() -> Route {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Route { trust: TlsTrust::preconfigured(Arc::new(config)), ..Route::default() }
}

#[tokio::test]
async fn wss_opens_where_the_certificate_is_trusted() {
    let (_server, target) = serve_tls().await;
    let (_writer, mut reader) =
        dial(&target.with_route(route_trusting_the_test_certificate()), LIMITS).await.unwrap();
    assert_eq!(reader.read().await, Ok(SocketFrame::Text("hello".into())));
}

#[tokio::test]
async fn wss_fails_where_this_system_does_not_trust_the_certificate() {
    let (_server, target) = serve_tls().await;
    let error = dial(&target, LIMITS).await.unwrap_err();
    assert_eq!(error.kind, ConnectionErrorKind::Tls);
    assert_redacted(&error);
}

// === the open socket ===

#[tokio::test]
async fn frames_arrive_typed_and_pong_carries_its_number() {
    let (mut writer, mut reader, mut server) = connected(LIMITS).await;
    server.send(Message::text("{}")).await.unwrap();
    server.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    server.send(Message::Ping("are you there".into())).await.unwrap();
    server.send(Message::Pong("unasked".into())).await.unwrap();
    let expected =
        [SocketFrame::Text("{}".into()), SocketFrame::Binary(3), SocketFrame::Ping, SocketFrame::Pong(None)];
    for frame in expected {
        assert_eq!(reader.read().await, Ok(frame));
    }
    writer.ping(7).await.unwrap();
    let mut server_side = JoinSet::new();
    server_side.spawn(async move { while server.next().await.is_some() {} });
    assert_eq!(reader.read().await, Ok(SocketFrame::Pong(Some(7))));
}

#[tokio::test]
async fn a_pending_write_does_not_keep_frames_from_being_read() {
    const HUGE: SocketLimits = SocketLimits { message_max_bytes: 64 << 20 };
    let (mut writer, mut reader, mut server) = connected(HUGE).await;
    server.send(Message::text("news")).await.unwrap();
    // The server never reads, and no socket buffer takes this much.
    let mut write = pin!(writer.send_text("x".repeat(HUGE.message_max_bytes)));
    tokio::select! {
        biased;
        result = &mut write => panic!("the write ended: {result:?}"),
        frame = reader.read() => assert_eq!(frame, Ok(SocketFrame::Text("news".into()))),
    }
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_socket_with_that_reason() {
    let (_writer, mut reader, mut server) = connected(LIMITS).await;
    server.send(Message::text("x".repeat(1024))).await.unwrap();
    server.send(Message::text("x".repeat(1025))).await.unwrap();
    assert!(matches!(reader.read().await, Ok(SocketFrame::Text(_))), "the limit itself is allowed");
    let error = reader.read().await.unwrap_err();
    assert_eq!(error.kind, ConnectionErrorKind::MessageTooLarge);
    assert!(error.details.contains("1024"), "{error:?}");
}

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_by_its_header_alone() {
    let (_writer, mut reader, mut server) = connected(LIMITS).await;
    let header = [&[0x81, 127][..], &1_000_000u64.to_be_bytes()].concat();
    server.get_mut().write_all(&header).await.unwrap();
    assert_eq!(reader.read().await.unwrap_err().kind, ConnectionErrorKind::MessageTooLarge);
}

#[tokio::test]
async fn oversized_message_is_refused_and_the_socket_stays_open() {
    let (mut writer, _reader, mut server) = connected(LIMITS).await;
    let refused = writer.send_text("x".repeat(1025)).await;
    assert_eq!(refused, Err(WriteError::TooLarge { size_bytes: 1025, max_bytes: 1024 }));
    writer.send_text("x".repeat(1024)).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("x".repeat(1024)));
}

#[tokio::test]
async fn a_close_by_the_peer_is_answered_and_told_with_its_code() {
    let (_writer, mut reader, mut server) = connected(LIMITS).await;
    let frame = CloseFrame { code: CloseCode::Library(4401), reason: "token expired".into() };
    server.close(Some(frame.clone())).await.unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!((error.kind, error.close_code), (ConnectionErrorKind::Unauthenticated, Some(4401)));
    assert!(error.details.contains("token expired"), "{error:?}");
    assert_eq!(server.next().await.unwrap().unwrap(), Message::Close(Some(frame)));
}

#[tokio::test]
async fn a_graceful_close_ends_with_the_peers_answer() {
    let (mut writer, mut reader, mut server) = connected(LIMITS).await;
    writer.close().await.unwrap();
    let mut server_side = JoinSet::new();
    server_side.spawn(async move { while server.next().await.is_some() {} });
    let error = reader.read().await.unwrap_err();
    assert_eq!((error.kind, error.close_code), (ConnectionErrorKind::Closed, Some(1000)));
    assert!(matches!(writer.send_text("late".into()).await, Err(WriteError::Lost(_))));
}

#[tokio::test]
async fn a_peer_that_goes_without_a_close_frame_is_lost() {
    let (_writer, mut reader, server) = connected(LIMITS).await;
    drop(server);
    assert_eq!(reader.read().await.unwrap_err().kind, ConnectionErrorKind::Lost);
    assert_eq!(reader.read().await.unwrap_err().kind, ConnectionErrorKind::Lost, "and stays so");
}
