//! Runs the tasks of the open socket: one reads, one writes, and commands go before messages.
//!
//! Each task returns its half of the socket to the actor by a message.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::TaskHandle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::error::{ConnectionError, ConnectionErrorKind};
use super::frame::Frame;
use super::message::{BackendReader, BackendWriter, ConnectionContext, ConnectionMessage};
use super::policy::ConnectionPolicy;
use super::socket::{self, IoActivity, SocketFrame, WriteError};

/// The most frames read before the actor handles other messages.
const READ_FRAMES_MAX: usize = 64;
/// Likewise in bytes: reading stops once this many came in. A peer that sends faster than we work fills this and one
/// message more, then the system's buffers, and then it waits.
const READ_BYTES_MAX: usize = 256 << 10;

/// The open socket. Dropping it after aborting its tasks closes it.
pub(super) struct OpenSocket {
    generation: u64,
    /// Present while nothing is being written.
    writer: Option<Box<BackendWriter>>,
    /// Commands go before any message.
    commands: VecDeque<WriteCommand>,
    activity: Arc<IoActivity>,
    /// The longest time without a byte written; `None` means no limit.
    stall_timeout: Option<Duration>,
    /// Present until the first commands are written: see [`begin_reading`](Self::begin_reading).
    pending_reader: Option<Box<BackendReader>>,
    read_task: Option<TaskHandle>,
    write_task: Option<TaskHandle>,
}

/// A command of the machine to the writer.
#[derive(Debug)]
pub(super) enum WriteCommand {
    Frame(Frame),
    Ping(u64),
    Close,
}

impl OpenSocket {
    pub(super) fn new(
        generation: u64,
        (writer, reader): (BackendWriter, BackendReader),
        policy: &ConnectionPolicy,
    ) -> Self {
        Self {
            generation,
            activity: Arc::clone(writer.activity()),
            stall_timeout: policy.stall_timeout(),
            writer: Some(Box::new(writer)),
            commands: VecDeque::new(),
            pending_reader: Some(Box::new(reader)),
            read_task: None,
            write_task: None,
        }
    }

    /// Starts to read a new socket once its first commands are written. Reading answers pings, and a backend may take
    /// any frame as the sign that no resume request follows. After a pong it could send newer events before the
    /// missed ones.
    pub(super) fn begin_reading(&mut self, ctx: &mut ConnectionContext) {
        if self.commands.is_empty()
            && self.write_task.is_none()
            && let Some(reader) = self.pending_reader.take()
        {
            self.spawn_read(ctx, reader);
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_writing(&self) -> bool {
        self.write_task.is_some()
    }

    /// Returns the writing half, if it is present.
    pub(super) fn writer(&mut self) -> Option<&mut BackendWriter> {
        self.writer.as_deref_mut()
    }

    /// Queues a command ahead of messages.
    pub(super) fn push_command(&mut self, command: WriteCommand) {
        enqueue(&mut self.commands, command);
    }

    /// Starts a task that reads the available frames and returns the reader.
    pub(super) fn spawn_read(&mut self, ctx: &mut ConnectionContext, mut reader: Box<BackendReader>) {
        let generation = self.generation;
        self.read_task = Some(ctx.spawn(async move {
            let frames = read_batch(&mut reader).await;
            ConnectionMessage::FramesReady { generation, reader, frames }
        }));
    }

    /// Writes the next command, or else the frame from `message`, if the writer is present.
    pub(super) fn write_next(
        &mut self,
        ctx: &mut ConnectionContext,
        message: impl FnOnce() -> Option<Frame>,
    ) {
        if self.writer.is_none() {
            return;
        }
        let (command, is_message) = match self.commands.pop_front() {
            Some(command) => (command, false),
            None => match message() {
                Some(frame) => (WriteCommand::Frame(frame), true),
                None => return,
            },
        };
        let Some(mut writer) = self.writer.take() else { return };
        let (generation, activity, stall_timeout) =
            (self.generation, Arc::clone(&self.activity), self.stall_timeout);
        self.write_task = Some(ctx.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = write(&mut writer, command) => outcome,
                () = activity.write_stalled(stall_timeout.unwrap_or_default()), if stall_timeout.is_some() => {
                    Err(WriteError::Lost(ConnectionError::new(ConnectionErrorKind::Unanswered, "the peer reads nothing any more")))
                }
            };
            ConnectionMessage::WriterReady { generation, writer, outcome, is_message }
        }));
    }

    /// Takes back the writing half after a write.
    pub(super) fn return_writer(&mut self, writer: Box<BackendWriter>) {
        self.writer = Some(writer);
        self.write_task = None;
    }

    /// Writes a close frame with this code, if there is room at once and nothing else is being written.
    pub(super) fn send_close_code(&mut self, code: u16) {
        if let Some(writer) = &mut self.writer {
            let _ = writer.close_with(code).now_or_never();
        }
    }

    /// Returns for how long no byte has moved; `None`: none ever did.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.activity.last_peer_activity().map(|at| Instant::now().duration_since(at))
    }

    pub(super) fn abort(self) {
        for task in [self.read_task, self.write_task].into_iter().flatten() {
            task.abort();
        }
    }
}

/// Queues a command. A ping replaces a waiting one, whose pong would mean nothing any more, so a slow write does not
/// pile up pings.
fn enqueue(commands: &mut VecDeque<WriteCommand>, command: WriteCommand) {
    if matches!(command, WriteCommand::Ping(_)) {
        commands.retain(|waiting| !matches!(waiting, WriteCommand::Ping(_)));
    }
    commands.push_back(command);
}

async fn write(writer: &mut BackendWriter, command: WriteCommand) -> Result<(), WriteError> {
    match command {
        WriteCommand::Frame(frame) => writer.send_frame(frame).await,
        WriteCommand::Ping(number) => writer.ping(number).await.map_err(WriteError::Lost),
        WriteCommand::Close => writer.close().await.map_err(WriteError::Lost),
    }
}

/// Reads the next frame, and those behind it that are available, within limits.
async fn read_batch<S>(reader: &mut socket::SocketReader<S>) -> Vec<Result<SocketFrame, ConnectionError>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut frames = Vec::new();
    let mut bytes = 0usize;
    let mut next = Some(reader.read().await);
    while let Some(frame) = next {
        bytes = bytes.saturating_add(frame.as_ref().map_or(0, SocketFrame::size_bytes));
        let is_last = frame.is_err() || bytes >= READ_BYTES_MAX || frames.len() + 1 >= READ_FRAMES_MAX;
        frames.push(frame);
        next = if is_last { None } else { reader.read().now_or_never() };
    }
    frames
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use tokio::io::duplex;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::connection::socket::{SocketLimits, handshake};
    use crate::connection::target::SocketTarget;

    /// Returns the sizes of the batches in which these texts are read, if all of them are available.
    async fn batch_sizes(texts: Vec<String>) -> Vec<usize> {
        let (near, far) = duplex(16 << 20);
        let target = SocketTarget::new("http://backend.example", "/ws").unwrap();
        let limits = SocketLimits { message_max_bytes: 1 << 20 };
        let (opened, server) = tokio::join!(handshake(&target, None, limits, near), accept_async(far));
        let ((_writer, mut reader), mut server) = (opened.unwrap(), server.unwrap());
        let mut left = texts.len();
        for text in texts {
            server.send(Message::text(text)).await.unwrap();
        }
        let mut sizes = Vec::new();
        while left > 0 {
            sizes.push(read_batch(&mut reader).await.len());
            left -= sizes.last().unwrap();
        }
        sizes
    }

    #[test]
    fn ping_replaces_one_that_waits_behind_a_slow_write() {
        let mut commands = VecDeque::new();
        for command in [
            WriteCommand::Frame("resume".into()),
            WriteCommand::Ping(1),
            WriteCommand::Ping(2),
            WriteCommand::Close,
        ] {
            enqueue(&mut commands, command);
        }
        enqueue(&mut commands, WriteCommand::Ping(3));
        let [WriteCommand::Frame(_), WriteCommand::Close, WriteCommand::Ping(3)] = commands.make_contiguous()
        else {
            panic!("{commands:?}");
        };
    }

    #[tokio::test]
    async fn batch_takes_buffered_frames_up_to_the_limit() {
        assert_eq!(batch_sizes(vec!["x".to_owned(); 150]).await, [64, 64, 22]);
    }

    #[tokio::test]
    async fn batch_of_large_frames_is_small() {
        let large = "x".repeat(READ_BYTES_MAX / 2);
        assert_eq!(batch_sizes(vec![large; 5]).await, [2, 2, 1]);
        let huge = "x".repeat(1 << 20);
        assert_eq!(batch_sizes(vec![huge; 3]).await, [1, 1, 1]);
    }
}
