//! Carries messages between the pipes and the protocol's bookkeeping, line by line and within limits.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_client_protocol::{Channel, RawJsonRpcMessage, TransportFrame};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::fault::AcpFault;
use super::options::AcpLimits;
use super::verdict::{Verdict, judge};

/// How long an agent that does not read any more is still listened to: one that has crashed has said its last words
/// before, and they are in the pipe.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(5);

/// A line's buffer that has grown beyond this is given back once the line has been dealt with.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;

/// What is noticed on the way, apart from the messages themselves.
pub(super) trait Notices {
    /// The agent sent a message.
    fn message(&self);
    /// It wrote a line that is none.
    fn stray(&self, line: &str);
}

/// Carries messages both ways until the agent ends it or breaks a rule, and returns why. What came before that is in the
/// channel by then.
pub(super) async fn carry(
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    channel: Channel,
    limits: &AcpLimits,
    notices: &impl Notices,
) -> AcpFault {
    let (mut rx, tx) = channel.into_parts();
    // What the agent has asked and not been sent an answer to.
    let unanswered = AtomicUsize::new(0);

    let incoming = async {
        let mut lines = Lines::new(read, limits.message_bytes_max);
        let mut judge_of = Judging { limits, notices, unanswered: &unanswered, strays: 0 };
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return AcpFault::Closed,
                Err(error) => return AcpFault::Broken(error.to_string()),
            };
            match judge_of.take(line) {
                Ok(Some(frame)) => {
                    if tx.unbounded_send(frame).is_err() {
                        return AcpFault::Closed;
                    }
                }
                Ok(None) => {}
                Err(fault) => return fault,
            }
            // The channel has no bound of its own, so the next message is read when this one has been taken. Whoever
            // takes it is polled by the same task, and never waits for anything.
            while !tx.is_empty() && !tx.is_closed() {
                tokio::task::yield_now().await;
            }
        }
    };
    let outgoing = async {
        while let Some(frame) = rx.next().await {
            let sent = match frame.to_json() {
                Ok(line) => send(&mut write, line).await,
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = sent {
                return AcpFault::Broken(error.to_string());
            }
            if matches!(frame, TransportFrame::Single(RawJsonRpcMessage::Response(_))) {
                let _ = unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            }
        }
        std::future::pending().await
    };

    let mut incoming = std::pin::pin!(incoming);
    tokio::select! {
        biased;
        fault = &mut incoming => fault,
        fault = outgoing => tokio::time::timeout(LAST_WORDS_WITHIN, incoming).await.unwrap_or(fault),
    }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), line: String) -> io::Result<()> {
    let mut bytes = line.into_bytes();
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    write.flush().await
}

/// Applies the limits to what comes in.
struct Judging<'a, N> {
    limits: &'a AcpLimits,
    notices: &'a N,
    unanswered: &'a AtomicUsize,
    /// Lines in a row that were no messages.
    strays: usize,
}

impl<N: Notices> Judging<'_, N> {
    fn take(&mut self, line: Line<'_>) -> Result<Option<TransportFrame>, AcpFault> {
        let line = match line {
            Line::Whole(bytes) => bytes,
            Line::TooLong(start) => {
                let what = format!("it wrote a line of more than {} bytes", self.limits.message_bytes_max);
                return Err(AcpFault::violation(what, &String::from_utf8_lossy(start)));
            }
        };
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(AcpFault::violation(
                "it wrote a line that is not UTF-8",
                &String::from_utf8_lossy(line),
            ));
        };
        if line.trim().is_empty() {
            return Ok(None);
        }
        match judge(line) {
            Verdict::Message { frame, is_request } => {
                self.strays = 0;
                self.notices.message();
                if is_request && self.unanswered.fetch_add(1, Ordering::Relaxed) >= self.limits.unanswered_max
                {
                    let what = format!(
                        "it asked more than {} things without reading or waiting for an answer",
                        self.limits.unanswered_max
                    );
                    return Err(AcpFault::violation(what, line));
                }
                Ok(Some(frame))
            }
            Verdict::Stray => {
                self.strays += 1;
                if self.strays > self.limits.strays_max {
                    let what =
                        format!("it wrote more than {} lines that are no messages", self.limits.strays_max);
                    return Err(AcpFault::violation(what, line));
                }
                self.notices.stray(line);
                Ok(None)
            }
            Verdict::Violation(what) => Err(AcpFault::violation(what, line)),
        }
    }
}

/// One line, without its end.
enum Line<'a> {
    Whole(&'a [u8]),
    /// It is longer than it may be: its beginning.
    TooLong(&'a [u8]),
}

/// Reads lines of a bounded length.
struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(read: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::new(read), bytes_max, line: Vec::new() }
    }

    /// The next line; at the end, what stands there without a line's end counts as one. `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.line.shrink_to(BUFFER_KEPT_BYTES);
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok((!self.line.is_empty()).then_some(Line::Whole(&self.line)));
            }
            let (part, end) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&chunk[..end], Some(end)),
                None => (chunk, None),
            };
            let is_too_long = self.line.len() + part.len() > self.bytes_max;
            if !is_too_long || self.line.is_empty() {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(part.len(), |end| end + 1);
            self.reader.consume(used);
            if is_too_long {
                return Ok(Some(Line::TooLong(&self.line)));
            }
            if end.is_some() {
                return Ok(Some(Line::Whole(&self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8], bytes_max: usize) -> Vec<String> {
        let mut lines = Lines::new(bytes, bytes_max);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(match line {
                Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                Line::TooLong(start) => {
                    read.push(format!("too long: {}", start.len()));
                    return read;
                }
            });
        }
        read
    }

    #[tokio::test]
    async fn lines_are_read_one_by_one_and_the_last_one_needs_no_end() {
        assert_eq!(lines(b"a\n\nbc\nd", 10).await, ["a", "", "bc", "d"]);
        assert_eq!(lines(b"", 10).await, [""; 0]);
        assert_eq!(lines(b"1234567890\nx\n", 10).await, ["1234567890", "x"]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_kept_beyond_its_limit() {
        let endless = vec![b'x'; 1 << 20];
        let read = lines(&endless, 100_000).await;
        assert_eq!(read.len(), 1);
        let kept: usize = read[0].strip_prefix("too long: ").unwrap().parse().unwrap();
        assert!((1..=100_000).contains(&kept), "{kept}");
        assert_eq!(lines(b"12345678901\n", 10).await, ["too long: 11"]);
    }
}
