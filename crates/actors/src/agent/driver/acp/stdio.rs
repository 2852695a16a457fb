//! Carries messages between the pipes and the protocol's task, line by line and within limits.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_client_protocol::{Channel, RawJsonRpcMessage, TransportFrame};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::AcpError;
use super::line_check::{LineKind, classify_line};
use super::options::AcpLimits;
use crate::process::{LineSplitter, OutputLine};

/// The time for which the output of an agent that reads no more is still read: a crashed one may have left its last messages in
/// the pipe.
const FINAL_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The size of one read.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Observes what passes, apart from the messages themselves.
pub(super) trait TransportObserver {
    /// Handles a message of the agent.
    fn on_message(&self);
    /// Handles a line that is not a message.
    fn on_stray_line(&self, line: &str);
}

/// Carries messages both ways until the agent ends it or breaks a rule, and returns the reason. All messages from
/// before the end are in the channel by then.
pub(super) async fn relay(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    channel: Channel,
    limits: &AcpLimits,
    observer: &impl TransportObserver,
) -> AcpError {
    let (mut rx, tx) = channel.into_parts();
    // Counts the agent's requests without an answer.
    let unanswered = AtomicUsize::new(0);

    let incoming = async {
        let mut lines = LineSplitter::new(limits.message_bytes_max);
        let mut checker =
            LimitChecker { limits, observer, unanswered: &unanswered, stray_lines: 0, frames: Vec::new() };
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        loop {
            let count = read.read(&mut buffer).await;
            let mut end = None;
            let mut hear = |line: OutputLine<'_>| {
                if end.is_none() {
                    end = checker.check(&line).err();
                }
            };
            match count {
                Ok(count @ 1..) => {
                    lines.push(&buffer[..count], &mut hear);
                    if lines.is_skipping() {
                        hear(OutputLine::TooLong);
                    }
                }
                Ok(0) => {
                    std::mem::replace(&mut lines, LineSplitter::new(0)).finish(hear);
                    end = end.or(Some(AcpError::Closed));
                }
                Err(error) => end = Some(AcpError::Io(error.to_string())),
            }
            for frame in checker.frames.drain(..) {
                if tx.unbounded_send(frame).is_err() {
                    return AcpError::Closed;
                }
                // The channel is unbounded, so the next message waits until this one was taken. The same task polls
                // the receiver, which never waits.
                while !tx.is_empty() && !tx.is_closed() {
                    tokio::task::yield_now().await;
                }
            }
            if let Some(end) = end {
                return end;
            }
        }
    };
    let outgoing = async {
        while let Some(frame) = rx.next().await {
            let sent = match frame.to_json() {
                Ok(line) => write_line(&mut write, line).await,
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = sent {
                return AcpError::Io(error.to_string());
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
        error = &mut incoming => error,
        error = outgoing => tokio::time::timeout(FINAL_READ_TIMEOUT, incoming).await.unwrap_or(error),
    }
}

async fn write_line(write: &mut (impl AsyncWrite + Unpin), line: String) -> io::Result<()> {
    let mut bytes = line.into_bytes();
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    write.flush().await
}

/// Applies the limits to incoming lines.
struct LimitChecker<'a, N> {
    limits: &'a AcpLimits,
    observer: &'a N,
    unanswered: &'a AtomicUsize,
    /// The number of lines in a row that were not messages.
    stray_lines: usize,
    /// The messages of one buffer.
    frames: Vec<TransportFrame>,
}

impl<N: TransportObserver> LimitChecker<'_, N> {
    fn check(&mut self, line: &OutputLine<'_>) -> Result<(), AcpError> {
        let OutputLine::Complete(line) = line else {
            let what = format!("it wrote a line of more than {} bytes", self.limits.message_bytes_max);
            return Err(AcpError::violation(what, ""));
        };
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(AcpError::violation(
                "it wrote a line that is not UTF-8",
                &String::from_utf8_lossy(line),
            ));
        };
        if line.trim().is_empty() {
            return Ok(());
        }
        match classify_line(line) {
            LineKind::Message { frame, is_request } => {
                self.stray_lines = 0;
                self.observer.on_message();
                if is_request && self.unanswered.fetch_add(1, Ordering::Relaxed) >= self.limits.unanswered_max
                {
                    let what = format!(
                        "it asked more than {} things without reading or waiting for an answer",
                        self.limits.unanswered_max
                    );
                    return Err(AcpError::violation(what, line));
                }
                self.frames.push(frame);
                Ok(())
            }
            LineKind::Stray => {
                self.stray_lines += 1;
                if self.stray_lines > self.limits.stray_lines_max {
                    let what = format!(
                        "it wrote more than {} lines that are no messages",
                        self.limits.stray_lines_max
                    );
                    return Err(AcpError::violation(what, line));
                }
                self.observer.on_stray_line(line);
                Ok(())
            }
            LineKind::Violation(what) => Err(AcpError::violation(what, line)),
        }
    }
}
