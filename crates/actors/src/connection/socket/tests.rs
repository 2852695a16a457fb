//! Tests dials and sockets against real servers on the loopback.

use std::{net::SocketAddr, pin::pin};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};
use tokio_tungstenite::accept_async;

use super::*;
use crate::tests::{listen, read_head};

const LIMITS: SocketLimits = SocketLimits { message_max_bytes: 1024 };
const TOKEN: &str = "s3cret-t0ken";

type PeerSocket = WebSocketStream<TcpStream>;

fn target(address: SocketAddr) -> SocketTarget {
    SocketTarget::new(&format!("http://{address}"), "/ws").unwrap().with_bearer(TOKEN).unwrap()
}

/// A socket and the server's end of it.
async fn connected(
    limits: SocketLimits,
) -> (SocketWriter<BoxedStream>, SocketReader<BoxedStream>, PeerSocket) {
    let (listener, address) = listen().await;
    let target = target(address);
    let server = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
    let (dialled, server) = tokio::join!(dial(&target, limits), server);
    let (writer, reader) = dialled.unwrap();
    (writer, reader, server)
}

// === the dial ===

#[tokio::test]
async fn handshake_carries_the_path_the_headers_and_the_token() {
    let (listener, address) = listen().await;
    let target = target(address).with_header("x-client", "mainstay").unwrap();
    let server = async { read_head(&mut listener.accept().await.unwrap().0).await };
    let (_, head) = tokio::join!(dial(&target, LIMITS), server);
    assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("Host: {address}\r\n")), "{head}");
    assert!(head.contains("x-client: mainstay\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{head}");
}

// === the open socket ===

#[tokio::test]
async fn frames_arrive_typed_and_pong_carries_its_number() {
    let (mut writer, mut reader, mut server) = connected(LIMITS).await;
    server.send(Message::text("{}")).await.unwrap();
    server.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    server.send(Message::Ping("are you there".into())).await.unwrap();
    server.send(Message::Pong("unasked".into())).await.unwrap();
    let expected = [
        SocketFrame::Text("{}".into()),
        SocketFrame::Binary(vec![1, 2, 3].into()),
        SocketFrame::Ping,
        SocketFrame::Pong(None),
    ];
    for frame in expected {
        assert_eq!(reader.read().await, Ok(frame));
    }
    writer.ping(7).await.unwrap();
    let mut server_side = JoinSet::new();
    server_side.spawn(async move { while server.next().await.is_some() {} });
    assert_eq!(reader.read().await, Ok(SocketFrame::Pong(Some(7))));
}

#[tokio::test]
async fn pending_write_does_not_keep_frames_from_being_read() {
    const HUGE: SocketLimits = SocketLimits { message_max_bytes: 64 << 20 };
    let (mut writer, mut reader, mut server) = connected(HUGE).await;
    server.send(Message::text("news")).await.unwrap();
    // The server never reads, and no socket buffer takes this much.
    let mut write = pin!(writer.send_frame("x".repeat(HUGE.message_max_bytes).into()));
    tokio::select! {
        biased;
        result = &mut write => panic!("the write ended: {result:?}"),
        frame = reader.read() => assert_eq!(frame, Ok(SocketFrame::Text("news".into()))),
    }
}

#[tokio::test]
async fn message_above_the_limit_ends_the_socket_with_that_reason() {
    let (_writer, mut reader, mut server) = connected(LIMITS).await;
    server.send(Message::text("x".repeat(1024))).await.unwrap();
    server.send(Message::text("x".repeat(1025))).await.unwrap();
    assert!(matches!(reader.read().await, Ok(SocketFrame::Text(_))), "the limit itself is allowed");
    let error = reader.read().await.unwrap_err();
    assert_eq!(error.kind, ConnectionErrorKind::MessageTooLarge);
    assert!(error.details.contains("1024"), "{error:?}");
}

#[tokio::test]
async fn frame_above_the_limit_is_refused_by_its_header_alone() {
    let (_writer, mut reader, mut server) = connected(LIMITS).await;
    let header = [&[0x81, 127][..], &1_000_000u64.to_be_bytes()].concat();
    server.get_mut().write_all(&header).await.unwrap();
    assert_eq!(reader.read().await.unwrap_err().kind, ConnectionErrorKind::MessageTooLarge);
}

#[tokio::test]
async fn close_by_the_peer_is_answered_and_reported_with_its_code() {
    let (_writer, mut reader, mut server) = connected(LIMITS).await;
    let frame = CloseFrame { code: CloseCode::Library(4401), reason: "token expired".into() };
    server.close(Some(frame.clone())).await.unwrap();
    let error = reader.read().await.unwrap_err();
    assert_eq!((error.kind, error.close_code), (ConnectionErrorKind::Unauthenticated, Some(4401)));
    assert!(error.details.contains("token expired"), "{error:?}");
    assert_eq!(server.next().await.unwrap().unwrap(), Message::Close(Some(frame)));
}

#[tokio::test]
async fn graceful_close_ends_with_the_peers_answer() {
    let (mut writer, mut reader, mut server) = connected(LIMITS).await;
    writer.close().await.unwrap();
    let mut server_side = JoinSet::new();
    server_side.spawn(async move { while server.next().await.is_some() {} });
    let error = reader.read().await.unwrap_err();
    assert_eq!((error.kind, error.close_code), (ConnectionErrorKind::Closed, Some(1000)));
    assert!(matches!(writer.send_frame("late".into()).await, Err(WriteError::Lost(_))));
}

#[tokio::test]
async fn peer_that_goes_without_a_close_frame_is_lost() {
    let (_writer, mut reader, server) = connected(LIMITS).await;
    drop(server);
    assert_eq!(reader.read().await.unwrap_err().kind, ConnectionErrorKind::Lost);
    assert_eq!(reader.read().await.unwrap_err().kind, ConnectionErrorKind::Lost, "and stays so");
}
