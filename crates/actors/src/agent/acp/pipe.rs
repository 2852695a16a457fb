//! Carries messages between the pipes and the protocol's bookkeeping, line by line and within limits.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_client_protocol::{Channel, RawJsonRpcMessage, TransportFrame};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::fault::AcpFault;
use super::options::AcpLimits;
use super::verdict::{Verdict, judge};
use crate::process::{Line, Lines};

/// How long an agent that does not read any more is still listened to: one that has crashed has said its last words
/// before, and they are in the pipe.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(5);

/// So much is read at once.
const PIECE_BYTES: usize = 64 * 1024;

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
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    channel: Channel,
    limits: &AcpLimits,
    notices: &impl Notices,
) -> AcpFault {
    let (mut rx, tx) = channel.into_parts();
    // What the agent has asked and not been sent an answer to.
    let unanswered = AtomicUsize::new(0);

    let incoming = async {
        let mut lines = Lines::new(limits.message_bytes_max);
        let mut judging = Judging { limits, notices, unanswered: &unanswered, strays: 0, frames: Vec::new() };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = read.read(&mut piece).await;
            let mut end = None;
            let mut hear = |line: Line<'_>| {
                if end.is_none() {
                    end = judging.take(&line).err();
                }
            };
            match count {
                Ok(count @ 1..) => {
                    lines.take(&piece[..count], &mut hear);
                    if lines.is_skipping() {
                        hear(Line::TooLong);
                    }
                }
                Ok(0) => {
                    std::mem::replace(&mut lines, Lines::new(0)).end(hear);
                    end = end.or(Some(AcpFault::Closed));
                }
                Err(error) => end = Some(AcpFault::Broken(error.to_string())),
            }
            for frame in judging.frames.drain(..) {
                if tx.unbounded_send(frame).is_err() {
                    return AcpFault::Closed;
                }
                // The channel has no bound of its own, so the next message follows when this one has been taken. Whoever
                // takes it is polled by the same task, and never waits for anything.
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
    /// The messages of one piece.
    frames: Vec<TransportFrame>,
}

impl<N: Notices> Judging<'_, N> {
    fn take(&mut self, line: &Line<'_>) -> Result<(), AcpFault> {
        let Line::Whole(line) = line else {
            let what = format!("it wrote a line of more than {} bytes", self.limits.message_bytes_max);
            return Err(AcpFault::violation(what, ""));
        };
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(AcpFault::violation(
                "it wrote a line that is not UTF-8",
                &String::from_utf8_lossy(line),
            ));
        };
        if line.trim().is_empty() {
            return Ok(());
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
                self.frames.push(frame);
                Ok(())
            }
            Verdict::Stray => {
                self.strays += 1;
                if self.strays > self.limits.strays_max {
                    let what =
                        format!("it wrote more than {} lines that are no messages", self.limits.strays_max);
                    return Err(AcpFault::violation(what, line));
                }
                self.notices.stray(line);
                Ok(())
            }
            Verdict::Violation(what) => Err(AcpFault::violation(what, line)),
        }
    }
}
