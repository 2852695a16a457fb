//! The open socket in its actor's hands: a task that reads, a task that writes, and what is to be written first.
//!
//! Each task comes back to the actor as a message, with its half of the socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::{Context, TaskHandle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::error::{ConnectionError, ConnectionErrorKind};
use super::message::{BackendReader, BackendWriter, ConnectionMessage};
use super::policy::ConnectionPolicy;
use super::socket::{self, IoActivity, SocketFrame, WriteError};

/// Frames taken from the socket before other messages have their turn.
const READ_FRAMES_MAX: usize = 64;
/// Likewise in bytes: no further frame is taken once these came in. A peer that sends faster than we work fills this and
/// one message more, then the system's buffers, and then it waits.
const READ_BYTES_MAX: usize = 256 << 10;

/// The open socket. Dropping it, with its tasks aborted, closes it.
pub(super) struct OpenSocket {
    generation: u64,
    /// Here while nothing is being written.
    writer: Option<Box<BackendWriter>>,
    /// What goes before any message that waits.
    commands: VecDeque<WriteCommand>,
    activity: Arc<IoActivity>,
    /// How long a write may go without a byte that the peer takes; `None`: for ever.
    stall_timeout: Option<Duration>,
    /// Here until what goes first has been written: see [`begin_reading`](Self::begin_reading).
    pending_reader: Option<Box<BackendReader>>,
    read_task: Option<TaskHandle>,
    write_task: Option<TaskHandle>,
}

/// What the machine wants written.
#[derive(Debug)]
pub(super) enum WriteCommand {
    Text(String),
    Ping(u64),
    Close,
}

type Ctx = Context<ConnectionMessage>;

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

    /// Reads on a socket that is new, once what goes first has been written. To read is to answer pings, and a backend
    /// may take any word for the sign that nothing more is to come: had it heard a pong before it was asked for what was
    /// missed, it could send newer events before those.
    pub(super) fn begin_reading(&mut self, ctx: &mut Ctx) {
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

    /// The half that writes, if it is here.
    pub(super) fn writer(&mut self) -> Option<&mut BackendWriter> {
        self.writer.as_deref_mut()
    }

    /// To be written ahead of messages.
    pub(super) fn push_command(&mut self, order: WriteCommand) {
        enqueue(&mut self.commands, order);
    }

    /// Reads what there is, as a task that comes back with the reader.
    pub(super) fn spawn_read(&mut self, ctx: &mut Ctx, mut reader: Box<BackendReader>) {
        let generation = self.generation;
        self.read_task = Some(ctx.spawn(async move {
            let frames = read_batch(&mut reader).await;
            ConnectionMessage::FramesReady { generation, reader, frames }
        }));
    }

    /// Writes what is next in line, if the writer is here: an order, or else what `message` gives.
    pub(super) fn write_next(&mut self, ctx: &mut Ctx, message: impl FnOnce() -> Option<String>) {
        if self.writer.is_none() {
            return;
        }
        let (order, is_message) = match self.commands.pop_front() {
            Some(order) => (order, false),
            None => match message() {
                Some(text) => (WriteCommand::Text(text), true),
                None => return,
            },
        };
        let Some(mut writer) = self.writer.take() else { return };
        let (generation, pulse, stall_max) =
            (self.generation, Arc::clone(&self.activity), self.stall_timeout);
        self.write_task = Some(ctx.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = write(&mut writer, order) => outcome,
                () = pulse.write_stalled(stall_max.unwrap_or_default()), if stall_max.is_some() => {
                    Err(WriteError::Lost(ConnectionError::new(ConnectionErrorKind::Unanswered, "the peer takes nothing any more")))
                }
            };
            ConnectionMessage::WriterReady { generation, writer, outcome, is_message }
        }));
    }

    /// A write has ended, and its half is back.
    pub(super) fn return_writer(&mut self, writer: Box<BackendWriter>) {
        self.writer = Some(writer);
        self.write_task = None;
    }

    /// Writes a close frame with this code, if there is room for it at once and nothing else is being written.
    pub(super) fn send_close_code(&mut self, code: u16) {
        if let Some(writer) = &mut self.writer {
            let _ = writer.close_with(code).now_or_never();
        }
    }

    /// For how long no byte has moved; `None`: none ever did.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.activity.last_peer_activity().map(|at| Instant::now().duration_since(at))
    }

    pub(super) fn abort(self) {
        for task in [self.read_task, self.write_task].into_iter().flatten() {
            task.abort();
        }
    }
}

/// A ping takes the place of one that still waits, whose answer would mean nothing any more. So a write that takes long
/// lets no pings pile up behind it.
fn enqueue(orders: &mut VecDeque<WriteCommand>, order: WriteCommand) {
    if matches!(order, WriteCommand::Ping(_)) {
        orders.retain(|waiting| !matches!(waiting, WriteCommand::Ping(_)));
    }
    orders.push_back(order);
}

async fn write(writer: &mut BackendWriter, order: WriteCommand) -> Result<(), WriteError> {
    match order {
        WriteCommand::Text(text) => writer.send_text(text).await,
        WriteCommand::Ping(number) => writer.ping(number).await.map_err(WriteError::Lost),
        WriteCommand::Close => writer.close().await.map_err(WriteError::Lost),
    }
}

/// The next frame, and those behind it that are here already, within limits.
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

    /// The sizes of the batches in which these texts are read, if they all lie there.
    async fn batch_sizes(texts: Vec<String>) -> Vec<usize> {
        let (near, far) = duplex(16 << 20);
        let target = SocketTarget::new("http://backend.example", "/ws").unwrap();
        let limits = SocketLimits { message_max_bytes: 1 << 20 };
        let (opened, server) = tokio::join!(handshake(&target, limits, near), accept_async(far));
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
        let mut orders = VecDeque::new();
        for order in [
            WriteCommand::Text("resume".into()),
            WriteCommand::Ping(1),
            WriteCommand::Ping(2),
            WriteCommand::Close,
        ] {
            enqueue(&mut orders, order);
        }
        enqueue(&mut orders, WriteCommand::Ping(3));
        let [WriteCommand::Text(_), WriteCommand::Close, WriteCommand::Ping(3)] = orders.make_contiguous()
        else {
            panic!("{orders:?}");
        };
    }

    #[tokio::test]
    async fn batch_takes_buffered_frames_up_to_the_limit() {
        assert_eq!(batch_sizes(vec!["x".to_owned(); 150]).await, [64, 64, 22]);
    }

    #[tokio::test]
    async fn a_batch_of_large_frames_is_small() {
        let large = "x".repeat(READ_BYTES_MAX / 2);
        assert_eq!(batch_sizes(vec![large; 5]).await, [2, 2, 1]);
        let huge = "x".repeat(1 << 20);
        assert_eq!(batch_sizes(vec![huge; 3]).await, [1, 1, 1]);
    }
}
