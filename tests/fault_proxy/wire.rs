//! What clients were seen to send: every request, every text frame, whether it went on or not.
//!
//! A small reader of HTTP/1.1 requests with a `Content-Length`, and of masked WebSocket frames, fed as bytes come.

use super::fault::Kind;

/// The longest head that is understood.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// In the order of their first bytes.
    pub requests: Vec<SeenRequest>,
    /// Text frames from clients that were seen to their last byte.
    pub texts: Vec<String>,
}

/// A request whose head was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// The number of its connection.
    pub connection: u64,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether its last byte was seen, too.
    pub is_whole: bool,
}

impl SeenRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a reader has just seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Sight {
    /// The head of a request, and whether that is all of it.
    Request(SeenRequest),
    /// The last byte of the last request of a connection.
    Rest(u64),
    /// A whole text frame.
    Text(String),
}

/// Reads what one client sends.
#[derive(Debug)]
pub struct WireReader {
    connection: u64,
    pending: Vec<u8>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Head,
    Body {
        left: usize,
    },
    Frames,
    /// Not understood: nothing more is read.
    Lost,
}

impl WireReader {
    pub fn new(connection: u64) -> Self {
        Self { connection, pending: Vec::new(), phase: Phase::Head }
    }

    pub fn read(&mut self, bytes: &[u8]) -> Vec<Sight> {
        self.pending.extend_from_slice(bytes);
        let mut sights = Vec::new();
        while self.step(&mut sights) {}
        sights
    }

    /// Whether it went on.
    fn step(&mut self, sights: &mut Vec<Sight>) -> bool {
        match self.phase {
            Phase::Head => self.read_head(sights),
            Phase::Body { left } => self.read_body(left, sights),
            Phase::Frames => self.read_frame(sights),
            Phase::Lost => {
                self.pending.clear();
                false
            }
        }
    }

    fn read_head(&mut self, sights: &mut Vec<Sight>) -> bool {
        let Some(end) = self.pending.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            if self.pending.len() > HEAD_BYTES_MAX {
                self.phase = Phase::Lost;
            }
            return false;
        };
        let head: Vec<u8> = self.pending.drain(..end + 4).collect();
        let Some(request) = self.parse_head(&String::from_utf8_lossy(&head)) else {
            self.phase = Phase::Lost;
            return true;
        };
        let left = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.phase = match (request.header("upgrade"), left) {
            (Some(_), _) => Phase::Frames,
            (None, 0) => Phase::Head,
            (None, left) => Phase::Body { left },
        };
        sights.push(Sight::Request(SeenRequest { is_whole: left == 0, ..request }));
        true
    }

    fn parse_head(&self, head: &str) -> Option<SeenRequest> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(header).collect();
        Some(SeenRequest { connection: self.connection, method, path, headers, is_whole: false })
    }

    fn read_body(&mut self, left: usize, sights: &mut Vec<Sight>) -> bool {
        let taken = left.min(self.pending.len());
        self.pending.drain(..taken);
        if taken < left {
            self.phase = Phase::Body { left: left - taken };
            return false;
        }
        self.phase = Phase::Head;
        sights.push(Sight::Rest(self.connection));
        true
    }

    /// RFC 6455, 5.2. Clients mask; fragments are not put together, as no client here sends any.
    fn read_frame(&mut self, sights: &mut Vec<Sight>) -> bool {
        let Some((payload, length)) = frame(&self.pending) else { return false };
        let opcode = self.pending[0] & 0x0f;
        if opcode == 0x1 {
            sights.push(Sight::Text(String::from_utf8_lossy(&payload).into_owned()));
        }
        self.pending.drain(..length);
        true
    }
}

/// The first frame's payload without its mask, and the frame's length; `None` if it has not all come yet.
fn frame(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let second = *bytes.get(1)?;
    let (payload_bytes, mut at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        mask = bytes.get(at..at + 4)?.try_into().ok()?;
        at += 4;
    }
    let masked = bytes.get(at..at.checked_add(payload_bytes)?)?;
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((payload, at + payload_bytes))
}

/// What a connection carries whose first bytes are these.
pub fn kind_of(first: &[u8], websocket_path: &str) -> Kind {
    let handshake = format!("GET {websocket_path} ");
    if first.starts_with(handshake.as_bytes()) { Kind::WebSocket } else { Kind::Http }
}
