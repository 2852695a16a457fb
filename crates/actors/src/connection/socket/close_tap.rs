//! Reads the code of a close frame from the bytes below the WebSocket.
//!
//! The library drops the whole frame if its reason is not valid UTF-8. But the code alone says whether to come back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const OPCODE_CLOSE: u8 = 8;

/// The code of the close frame that came in; `None` before it.
#[derive(Debug, Clone, Default)]
pub(super) struct CloseCodeSeen(Arc<AtomicU16>);

impl CloseCodeSeen {
    pub(super) fn get(&self) -> Option<u16> {
        Some(self.0.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}

/// A stream whose incoming bytes are frames. It begins with bytes that were read before it was created.
pub(super) struct CloseTap<S> {
    inner: S,
    read_before: Bytes,
    scan: FrameScan,
    code: CloseCodeSeen,
}

impl<S> CloseTap<S> {
    pub(super) fn new(inner: S, read_before: Bytes) -> (Self, CloseCodeSeen) {
        let code = CloseCodeSeen::default();
        (Self { inner, read_before, scan: FrameScan::default(), code: code.clone() }, code)
    }
}

/// The place within the frames.
#[derive(Debug, Default)]
struct FrameScan {
    header: Vec<u8>,
    payload_left: u64,
    /// The first bytes of a close frame's payload.
    close_code: Vec<u8>,
}

impl FrameScan {
    /// Passes over these bytes, and returns the code of a close frame whose code ends in them.
    fn advance(&mut self, mut bytes: &[u8]) -> Option<u16> {
        let mut found = None;
        while let Some(first) = bytes.first() {
            if self.payload_left == 0 {
                self.header.push(*first);
                bytes = &bytes[1..];
                self.begin_payload();
                continue;
            }
            let length = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(length);
            if self.header.first().is_some_and(|byte| byte & 0x0f == OPCODE_CLOSE) && found.is_none() {
                self.close_code.extend(part.iter().take(2_usize.saturating_sub(self.close_code.len())));
                found = self.close_code.as_slice().try_into().ok().map(u16::from_be_bytes);
            }
            self.payload_left -= length as u64;
            if self.payload_left == 0 {
                self.header.clear();
            }
            bytes = rest;
        }
        found
    }

    /// Begins the payload once the header is complete. A frame without payload ends at once.
    fn begin_payload(&mut self) {
        let Some(second) = self.header.get(1) else { return };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header.len() < 2 + length_bytes + mask_bytes {
            return;
        }
        self.payload_left = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => self.header[2..2 + length_bytes].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
        };
        if self.payload_left == 0 {
            self.header.clear();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CloseTap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buffer.filled().len();
        let polled = if this.read_before.is_empty() {
            Pin::new(&mut this.inner).poll_read(cx, buffer)
        } else {
            let length = this.read_before.len().min(buffer.remaining());
            buffer.put_slice(&this.read_before[..length]);
            this.read_before.advance(length);
            Poll::Ready(Ok(()))
        };
        if let Some(code) = this.scan.advance(&buffer.filled()[start..]) {
            this.code.0.store(code, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CloseTap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let length = match payload.len() {
            length @ 0..126 => vec![length as u8],
            length @ 126..65536 => [&[126][..], &(length as u16).to_be_bytes()].concat(),
            length => [&[127][..], &(length as u64).to_be_bytes()].concat(),
        };
        [&[0x80 | opcode][..], &length, payload].concat()
    }

    #[test]
    fn close_code_is_found_behind_frames_of_every_size() {
        let close_in_payload = frame(8, &4401_u16.to_be_bytes());
        let mut bytes = Vec::new();
        for size in [0, 1, 125, 126, 65_535, 65_536] {
            bytes.extend(frame(2, &close_in_payload.repeat(size / 4 + 1)[..size]));
        }
        bytes.extend(frame(9, b""));
        let before = bytes.len();
        bytes.extend(frame(8, b"\x0f\xa1\xff"));
        for step in [1, 7, 4096, bytes.len()] {
            let mut scan = FrameScan::default();
            let found: Vec<_> = bytes.chunks(step).filter_map(|part| scan.advance(part)).collect();
            assert_eq!(found.first(), Some(&4001), "in parts of {step} bytes");
        }
        assert_eq!(FrameScan::default().advance(&bytes[..before]), None);
        assert_eq!(FrameScan::default().advance(&frame(8, b"")), None);
        assert_eq!(FrameScan::default().advance(&frame(8, b"\x0f")), None);
    }
}
