//! The opening handshake of RFC 6455, on the client's side.
//!
//! Headers that are lists are read as RFC 9110, 5.6.1 says: in one line or several, whatever the case. Interim responses
//! before the final one are skipped. The library's own handshake compares whole lines.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::io_error;
use crate::connection::error::{ConnectionError, ConnectionErrorKind};
use crate::error::retry_after;

/// The most bytes of all heads that a server sends before its first frame.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most lines of one head.
const HEADERS_MAX: usize = 1024;
/// The room for one read.
const READ_BYTES: usize = 4 << 10;
/// The most reads until the head is complete, since each of them parses what there is.
const READS_MAX: usize = 1024;

/// Sends the handshake's request, and returns what came behind the response that opens the socket.
pub(super) async fn open<S>(stream: &mut S, request: Request) -> Result<Bytes, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offered = list_items(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
    let (bytes, key) = generate_request(request).map_err(|_| {
        let details = "the address cannot be asked for a WebSocket";
        ConnectionError::new(ConnectionErrorKind::InvalidTarget, details)
    })?;
    stream.write_all(&bytes).await.map_err(|error| io_error::from_handshake(&error))?;
    stream.flush().await.map_err(|error| io_error::from_handshake(&error))?;
    let (response, rest) = read_response(stream).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let wait = retry_after(response.headers(), None);
        return Err(ConnectionError::from_status(response.status().as_u16(), wait));
    }
    check(&response, &derive_accept_key(key.as_bytes()), offered).map_err(not_websocket)?;
    Ok(rest)
}

/// Checks the response against RFC 6455, 4.1. `accept` is the value that proves that the server has read the request.
/// A server that chooses no subprotocol speaks none of those offered, which it may.
fn check(response: &Response<()>, accept: &str, offered: Vec<String>) -> Result<(), &'static str> {
    let headers = response.headers();
    if response.version() < Version::HTTP_11 {
        return Err("the HTTP version must be 1.1");
    }
    if !has_item(headers, &header::UPGRADE, "websocket") {
        return Err("no \"Upgrade: websocket\" header");
    }
    if !has_item(headers, &header::CONNECTION, "upgrade") {
        return Err("no \"Connection: upgrade\" header");
    }
    let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
    if accepts.next().is_none_or(|value| value.as_bytes() != accept.as_bytes()) || accepts.next().is_some() {
        return Err("the \"Sec-WebSocket-Accept\" header is not the right one");
    }
    if list_items(headers, &header::SEC_WEBSOCKET_EXTENSIONS).next().is_some() {
        return Err("an extension that was not asked for");
    }
    if list_items(headers, &header::SEC_WEBSOCKET_PROTOCOL)
        .any(|chosen| !offered.iter().any(|it| it == chosen))
    {
        return Err("a subprotocol that was not offered");
    }
    Ok(())
}

fn has_item(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    list_items(headers, name).any(|found| found.eq_ignore_ascii_case(item))
}

/// Returns the items of a header that is a list, from all its lines.
fn list_items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// Reads the head of the final response, and returns what came behind it.
async fn read_response<S>(stream: &mut S) -> Result<(Response<()>, Bytes), ConnectionError>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = BytesMut::new();
    let mut bytes_read = 0;
    for _ in 0..READS_MAX {
        while let Some((response, length)) = parse(&buffer)? {
            let rest = buffer.split_off(length);
            if !response.status().is_informational() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((response, rest.freeze()));
            }
            buffer = rest;
        }
        buffer.reserve(READ_BYTES);
        match stream.read_buf(&mut buffer).await {
            Ok(0) => {
                let details = "the peer hung up during the handshake";
                return Err(ConnectionError::new(ConnectionErrorKind::Lost, details));
            }
            Ok(bytes) => bytes_read += bytes,
            Err(error) => return Err(io_error::from_handshake(&error)),
        }
        if bytes_read > HEAD_BYTES_MAX {
            break;
        }
    }
    Err(not_websocket("the answer is no handshake, or one of excessive size"))
}

/// Parses a head, and returns it with its length; `None` if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Response<()>, usize)>, ConnectionError> {
    let mut lines = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut lines);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(not_websocket(&format!("the answer is no HTTP: {error}"))),
    };
    let mut response = Response::new(());
    *response.version_mut() = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    *response.status_mut() = status.ok_or_else(|| not_websocket("the answer has no valid status"))?;
    for line in head.headers.iter() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(line.name.as_bytes()), HeaderValue::from_bytes(line.value))
        {
            response.headers_mut().append(name, value);
        }
    }
    Ok(Some((response, length)))
}

fn not_websocket(details: &str) -> ConnectionError {
    ConnectionError::new(ConnectionErrorKind::NotWebsocket, details)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::connection::target::SocketTarget;
    use crate::tests::read_head;

    const OPENS: &str = "HTTP/1.1 101 Yes\r\nupgrade: websocket\r\nconnection: upgrade\r\n";

    /// Returns what follows a handshake that is answered like this, `{}` being the right accept value.
    async fn answered(answer: &str, subprotocols: &[&str]) -> Result<Bytes, ConnectionError> {
        let (mut near, mut far) = duplex(1 << 20);
        let subprotocols = subprotocols.iter().map(|name| (*name).to_owned());
        let target = SocketTarget::new("http://backend.example", "/ws").unwrap();
        let target = target.with_subprotocols(subprotocols).unwrap();
        let server = async {
            let head = read_head(&mut far).await;
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let answer = answer.replace("{}", &derive_accept_key(key.as_bytes()));
            far.write_all(answer.as_bytes()).await.unwrap();
            far
        };
        tokio::join!(open(&mut near, target.handshake_request(None).unwrap()), server).0
    }

    #[tokio::test]
    async fn lists_of_headers_are_read_item_by_item() {
        for head in [
            "upgrade: WebSocket\r\nconnection: keep-alive, Upgrade",
            "connection: keep-alive\r\nupgrade: h2c, websocket\r\nconnection: UPGRADE",
            "upgrade:\r\nupgrade: websocket\r\nconnection: , upgrade ,",
        ] {
            let answer = format!("HTTP/1.1 101 Yes\r\n{head}\r\nsec-websocket-accept: {{}}\r\n\r\nframes");
            assert_eq!(answered(&answer, &[]).await.unwrap(), "frames", "{head}");
        }
    }

    #[tokio::test]
    async fn interim_responses_and_many_lines_come_before_the_socket() {
        let lines = "x-line: 1\r\n".repeat(500);
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        let answer = format!("{interim}{OPENS}{lines}sec-websocket-accept: {{}}\r\n\r\n");
        assert_eq!(answered(&answer, &[]).await.unwrap(), "");
    }

    #[tokio::test]
    async fn response_that_breaks_a_rule_is_no_handshake() {
        let accept = "sec-websocket-accept: {}\r\n";
        for (head, part) in [
            (format!("HTTP/1.1 101 Yes\r\nconnection: upgrade\r\n{accept}"), "Upgrade: websocket"),
            (
                format!("HTTP/1.1 101 Yes\r\nupgrade: websocket\r\nconnection: close\r\n{accept}"),
                "Connection",
            ),
            (format!("{}{accept}", OPENS.replace("1.1", "1.0")), "1.1"),
            (format!("{OPENS}sec-websocket-accept: {{}}x\r\n"), "Accept"),
            (format!("{OPENS}{accept}{accept}"), "Accept"),
            (format!("{OPENS}{accept}sec-websocket-extensions: permessage-deflate\r\n"), "extension"),
            (format!("{OPENS}{accept}sec-websocket-protocol: other\r\n"), "subprotocol"),
            (format!("{OPENS}x: {}\r\n{accept}", "x".repeat(HEAD_BYTES_MAX)), "excessive size"),
        ] {
            let error = answered(&format!("{head}\r\n"), &["chat"]).await.unwrap_err();
            assert_eq!(error.kind, ConnectionErrorKind::NotWebsocket, "{part}");
            assert!(error.details.contains(part), "{part}: {error:?}");
        }
    }

    #[tokio::test]
    async fn offered_subprotocol_may_be_chosen_or_none() {
        for chosen in ["", "sec-websocket-protocol: chat.v2\r\n"] {
            let answer = format!("{OPENS}{chosen}sec-websocket-accept: {{}}\r\n\r\n");
            answered(&answer, &["chat.v1", "chat.v2"]).await.unwrap();
        }
    }
}
