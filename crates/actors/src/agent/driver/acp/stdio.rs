//! Carries messages between the pipes and the protocol's task, line by line and within limits.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_client_protocol::{Channel, RawJsonRpcMessage, TransportFrame};
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::as_written::to_line;
use super::error::AcpError;
use super::line_check::{LineKind, classify_broken, classify_line};
use super::options::AcpLimits;
use super::sent_requests::{ResponseOutcome, SentRequests, refusal_frame};
use crate::error::raw_excerpt;
use crate::json_text::repair_line;
use crate::process::{LineSplitter, OutputLine, pause};

/// The time for which the output of an agent that reads no more is still read: a crashed one may have left its last messages in
/// the pipe.
const FINAL_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The size of one read.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Observes what passes, apart from the messages themselves.
pub(super) trait TransportObserver {
    /// Handles a message of the agent.
    fn on_message(&self);
    /// Handles a line that is not a message, and returns the pause before the next read.
    fn on_stray_line(&self, line: &str) -> Duration;
    /// Handles a request or notification that cannot be read.
    fn on_unreadable_line(&self);
    /// Handles a response that no caller got, with the start of its line.
    fn on_lost_response(&self, why: &str, start: &str);
}

/// The most refusals that wait to be written. With more, the agent reads nothing.
const REFUSALS_MAX: usize = 16;

/// The times by which a line that is skipped may be longer than a message.
const SKIPPED_TIMES_MAX: usize = 4;

/// Carries messages both ways until the agent ends it or breaks a rule, and returns the reason. All messages from
/// before the end are in the channel by then.
pub(super) async fn relay(
    mut read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    channel: Channel,
    limits: &AcpLimits,
    observer: &impl TransportObserver,
) -> AcpError {
    let (rx, tx) = channel.into_parts();
    // Counts the agent's requests without an answer.
    let unanswered = AtomicUsize::new(0);
    let pending = Mutex::new(SentRequests::default());
    let (refuse, refusals) = mpsc::channel(REFUSALS_MAX);
    let mut checker = LimitChecker {
        limits,
        observer,
        unanswered: &unanswered,
        pending: &pending,
        refuse,
        stray_lines: 0,
        frames: Vec::new(),
        flood_pause: Duration::ZERO,
    };
    let incoming = async {
        let mut lines = LineSplitter::new(limits.message_bytes_max);
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        loop {
            let count = read.read(&mut buffer).await;
            let end = checker.check_output(&mut lines, count.map(|count| &buffer[..count])).err();
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
            pause(std::mem::take(&mut checker.flood_pause)).await;
        }
    };
    let mut incoming = std::pin::pin!(incoming);
    tokio::select! {
        biased;
        error = &mut incoming => error,
        error = write_messages(write, rx, refusals, &unanswered, &pending) => {
            tokio::time::timeout(FINAL_READ_TIMEOUT, incoming).await.unwrap_or(error)
        }
    }
}

/// Writes messages and refusals to the agent until a write fails, and returns the failure.
async fn write_messages(
    mut write: impl AsyncWrite + Unpin,
    mut rx: impl Stream<Item = TransportFrame> + Unpin,
    mut refusals: mpsc::Receiver<TransportFrame>,
    unanswered: &AtomicUsize,
    pending: &Mutex<SentRequests>,
) -> AcpError {
    loop {
        let frame = tokio::select! {
            frame = rx.next() => frame.map(|frame| number_request(frame, pending)),
            Some(refusal) = refusals.recv() => Some(refusal),
        };
        // Without a sender only the end of the output ends the relay.
        let Some(frame) = frame else { return std::future::pending().await };
        let sent = match to_line(&frame) {
            Ok(line) => write_line(&mut write, line).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = sent {
            return AcpError::Io(error.to_string());
        }
        if matches!(frame, TransportFrame::Single(RawJsonRpcMessage::Response(_))) {
            // A refusal of an unreadable request was not counted, which the minimum of zero allows.
            let _ = unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }
}

async fn write_line(write: &mut (impl AsyncWrite + Unpin), line: String) -> io::Result<()> {
    let mut bytes = line.into_bytes();
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    write.flush().await
}

/// Gives a request the number by which the agent knows it.
fn number_request(mut frame: TransportFrame, pending: &Mutex<SentRequests>) -> TransportFrame {
    if let TransportFrame::Single(RawJsonRpcMessage::Request(request)) = &mut frame {
        request.id = pending.lock().add(request.id.clone());
    }
    frame
}

/// Applies the limits to incoming lines.
struct LimitChecker<'a, N> {
    limits: &'a AcpLimits,
    observer: &'a N,
    unanswered: &'a AtomicUsize,
    pending: &'a Mutex<SentRequests>,
    refuse: mpsc::Sender<TransportFrame>,
    /// The number of lines in a row that were not messages.
    stray_lines: usize,
    /// The messages of one buffer.
    frames: Vec<TransportFrame>,
    /// The pause before the next read.
    flood_pause: Duration,
}

impl<N: TransportObserver> LimitChecker<'_, N> {
    /// Checks what one read brought: its complete lines, or the end of the output. The messages before a fault are in
    /// `frames`.
    fn check_output(&mut self, lines: &mut LineSplitter, read: io::Result<&[u8]>) -> Result<(), AcpError> {
        let mut checked = Ok(());
        let mut check = |line: OutputLine<'_>| {
            if checked.is_ok() {
                checked = self.check(&line);
            }
        };
        match read {
            Ok([]) => {
                std::mem::replace(lines, LineSplitter::new(0)).finish(check);
                checked.and(Err(AcpError::Closed))
            }
            Ok(bytes) => {
                lines.push(bytes, &mut check);
                checked?;
                let bytes_max = self.limits.message_bytes_max.saturating_mul(SKIPPED_TIMES_MAX);
                match lines.skipped_bytes() > bytes_max {
                    true => {
                        let what = format!("it wrote a line of more than {bytes_max} bytes");
                        Err(AcpError::violation(what, ""))
                    }
                    false => Ok(()),
                }
            }
            Err(error) => Err(AcpError::Io(error.to_string())),
        }
    }

    fn check(&mut self, line: &OutputLine<'_>) -> Result<(), AcpError> {
        match line {
            OutputLine::Complete(line) => {
                let line = repair_line(line);
                if line.trim().is_empty() {
                    return Ok(());
                }
                classify_line(&line).into_iter().try_for_each(|kind| self.take(kind, &line))
            }
            OutputLine::TooLong { head, tail } => {
                let (head, tail) = (repair_line(head), repair_line(tail));
                self.take(classify_broken(&head, &tail, "it is too long"), &head)
            }
        }
    }

    fn take(&mut self, kind: LineKind, line: &str) -> Result<(), AcpError> {
        match kind {
            LineKind::Message { frame, is_request } => {
                self.note_message();
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
            LineKind::Response(response) => {
                let start = raw_excerpt(line);
                let outcome = self.pending.lock().take(response, &start);
                match outcome {
                    ResponseOutcome::Stray => return self.take_stray(line),
                    ResponseOutcome::Taken { frames, fault } => {
                        if let Some(why) = fault {
                            self.observer.on_lost_response(why, &start);
                        }
                        self.frames.extend(frames);
                    }
                }
                self.note_message();
                Ok(())
            }
            LineKind::Unreadable { id } => {
                self.observer.on_unreadable_line();
                if let Some(id) = id {
                    let _ = self.refuse.try_send(refusal_frame(id));
                }
                Ok(())
            }
            LineKind::Stray => self.take_stray(line),
        }
    }

    fn note_message(&mut self) {
        self.stray_lines = 0;
        self.observer.on_message();
    }

    fn take_stray(&mut self, line: &str) -> Result<(), AcpError> {
        self.stray_lines += 1;
        match self.limits.stray_lines_max {
            Some(max) if self.stray_lines > max => {
                let what = format!("it wrote more than {max} lines that are no messages");
                Err(AcpError::violation(what, line))
            }
            _ => {
                self.flood_pause += self.observer.on_stray_line(line);
                Ok(())
            }
        }
    }
}
