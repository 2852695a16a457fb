//! Records what clients sent: every request, every text frame, whether the proxy forwarded it or not.
//!
//! The reader takes bytes as they come: HTTP/1.1 requests, with a length or in chunks, and masked WebSocket frames.

use super::fault::TrafficKind;

/// The longest head that the reader accepts.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Everything that clients sent.
#[derive(Debug, Clone, Default)]
pub struct ObservedTraffic {
    /// The requests, in the order of their first bytes.
    pub requests: Vec<ObservedRequest>,
    /// The complete text frames from clients.
    pub texts: Vec<String>,
}

/// A request whose head was complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRequest {
    /// The number of its connection.
    pub connection: u64,
    pub method: String,
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// True if its last byte came, too.
    pub is_whole: bool,
}

impl ObservedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The result of a step of the reader.
#[derive(Debug, PartialEq, Eq)]
pub enum TrafficEvent {
    /// The head of a request, and whether the request ends with it.
    Request(ObservedRequest),
    /// The last byte of the last request of a connection.
    BodyEnd(u64),
    /// A complete text frame.
    Text(String),
}

/// Reads the bytes of one client.
#[derive(Debug)]
pub struct TrafficReader {
    connection: u64,
    pending: Vec<u8>,
    phase: ReadPhase,
}

#[derive(Debug)]
enum ReadPhase {
    Head,
    /// A body that ends after so many bytes.
    Body {
        left: usize,
    },
    /// The line with the length of the next chunk.
    ChunkSize,
    /// A chunk and the end of its last line.
    Chunk {
        left: usize,
    },
    /// The trailers after the last chunk.
    Trailer,
    Frames,
    /// An unknown form: the reader stops.
    Unreadable,
}

impl TrafficReader {
    pub fn new(connection: u64) -> Self {
        Self { connection, pending: Vec::new(), phase: ReadPhase::Head }
    }

    pub fn read(&mut self, bytes: &[u8]) -> Vec<TrafficEvent> {
        self.pending.extend_from_slice(bytes);
        let mut sights = Vec::new();
        while self.step(&mut sights) {}
        sights
    }

    /// Makes one step, and returns whether there was one.
    fn step(&mut self, sights: &mut Vec<TrafficEvent>) -> bool {
        match self.phase {
            ReadPhase::Head => self.read_head(sights),
            ReadPhase::Body { left } => {
                let is_over = self.skip(left, |left| ReadPhase::Body { left }, ReadPhase::Head);
                sights.extend(is_over.then_some(TrafficEvent::BodyEnd(self.connection)));
                is_over
            }
            ReadPhase::ChunkSize => self.read_chunk_size(),
            ReadPhase::Chunk { left } => {
                self.skip(left, |left| ReadPhase::Chunk { left }, ReadPhase::ChunkSize)
            }
            ReadPhase::Trailer => self.read_trailer(sights),
            ReadPhase::Frames => self.read_frame(sights),
            ReadPhase::Unreadable => {
                self.pending.clear();
                false
            }
        }
    }

    fn read_head(&mut self, sights: &mut Vec<TrafficEvent>) -> bool {
        let Some(end) = self.pending.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            if self.pending.len() > HEAD_BYTES_MAX {
                self.phase = ReadPhase::Unreadable;
            }
            return false;
        };
        let head: Vec<u8> = self.pending.drain(..end + 4).collect();
        let Some(request) = self.parse_head(&String::from_utf8_lossy(&head)) else {
            self.phase = ReadPhase::Unreadable;
            return true;
        };
        let left = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.phase = match left {
            _ if request.header("upgrade").is_some() => ReadPhase::Frames,
            _ if request.header("transfer-encoding") == Some("chunked") => ReadPhase::ChunkSize,
            0 => ReadPhase::Head,
            left => ReadPhase::Body { left },
        };
        let is_whole = matches!(self.phase, ReadPhase::Head | ReadPhase::Frames);
        sights.push(TrafficEvent::Request(ObservedRequest { is_whole, ..request }));
        true
    }

    fn parse_head(&self, head: &str) -> Option<ObservedRequest> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(header).collect();
        Some(ObservedRequest { connection: self.connection, method, path, headers, is_whole: false })
    }

    /// Skips the bytes of `left` that have come, and returns whether all have.
    fn skip(&mut self, left: usize, more: impl FnOnce(usize) -> ReadPhase, then: ReadPhase) -> bool {
        let taken = left.min(self.pending.len());
        self.pending.drain(..taken);
        let is_over = taken == left;
        self.phase = if is_over { then } else { more(left - taken) };
        is_over
    }

    /// Reads a chunk's length: RFC 9112, section 7.1.
    fn read_chunk_size(&mut self) -> bool {
        let Some(line) = self.line() else { return false };
        let digits = line.split(';').next().unwrap_or_default().trim();
        self.phase = match usize::from_str_radix(digits, 16) {
            Ok(0) => ReadPhase::Trailer,
            Ok(bytes) => ReadPhase::Chunk { left: bytes + 2 },
            Err(_) => ReadPhase::Unreadable,
        };
        true
    }

    fn read_trailer(&mut self, sights: &mut Vec<TrafficEvent>) -> bool {
        let Some(line) = self.line() else { return false };
        if line.is_empty() {
            self.phase = ReadPhase::Head;
            sights.push(TrafficEvent::BodyEnd(self.connection));
        }
        true
    }

    /// Returns the next line without its end, if it has come.
    fn line(&mut self) -> Option<String> {
        let end = self.pending.windows(2).position(|bytes| bytes == b"\r\n")?;
        let line: Vec<u8> = self.pending.drain(..end + 2).take(end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads a frame: RFC 6455, section 5.2. Clients mask. Fragments are not joined, since no client here sends any.
    fn read_frame(&mut self, sights: &mut Vec<TrafficEvent>) -> bool {
        let Some((payload, length)) = frame(&self.pending) else { return false };
        let opcode = self.pending[0] & 0x0f;
        if opcode == 0x1 {
            sights.push(TrafficEvent::Text(String::from_utf8_lossy(&payload).into_owned()));
        }
        self.pending.drain(..length);
        true
    }
}

/// Returns the first frame's payload without its mask, and the frame's length; `None` if it is incomplete.
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

/// Returns the kind of a connection with these first bytes.
pub fn kind_of(first: &[u8], websocket_path: &str) -> TrafficKind {
    let handshake = format!("GET {websocket_path} ");
    if first.starts_with(handshake.as_bytes()) { TrafficKind::WebSocket } else { TrafficKind::Http }
}
