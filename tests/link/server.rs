//! A WebSocket server that sends and reads raw bytes.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A frame as it stands on the wire, without its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// The first byte: FIN, the reserved bits and the opcode.
    pub head: u8,
    pub payload: Vec<u8>,
}

/// Accepts the next connection and reads the head of its request.
pub async fn accept_request(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Accepts the next connection, and answers its request with this status line.
pub async fn answer(listener: &TcpListener, status: &str) -> (TcpStream, String) {
    let (mut stream, head) = accept_request(listener).await;
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    (stream, head)
}

/// Answers the next opening handshake.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, head) = accept_request(listener).await;
    stream.write_all(handshake(&head, "").as_bytes()).await.unwrap();
    stream
}

/// Returns the answer to an opening handshake, with these further lines.
pub fn handshake(head: &str, lines: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Yes\r\nupgrade: websocket\r\nconnection: upgrade\r\n{lines}\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
}

/// Encodes a frame of a server.
pub fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    match payload.len() {
        length @ 0..126 => bytes.push(u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// Reads the next frame of the client; `None` at the end of the connection.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<RawFrame> {
    let head = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.ok()?;
    assert!(second & 0x80 != 0, "the client must mask its frames");
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        length => u64::from(length),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await.ok()?;
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(RawFrame { head, payload })
}
