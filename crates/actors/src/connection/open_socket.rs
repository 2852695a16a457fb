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

use super::fault::{Fault, FaultKind};
use super::message::{ConnectionMessage, Reader, Writer};
use super::policy::ConnectionPolicy;
use super::socket::{self, Frame, Pulse, SendError};

/// Frames taken from the socket before other messages have their turn.
const READ_FRAMES_MAX: usize = 64;
/// Likewise in bytes: no further frame is taken once these came in. A peer that sends faster than we work fills this and
/// one message more, then the system's buffers, and then it waits.
const READ_BYTES_MAX: usize = 256 << 10;

/// The open socket. Dropping it, with its tasks aborted, closes it.
pub(super) struct OpenSocket {
    generation: u64,
    /// Here while nothing is being written.
    writer: Option<Box<Writer>>,
    /// What goes before any message that waits.
    orders: VecDeque<Order>,
    pulse: Arc<Pulse>,
    /// How long a write may go without a byte that the peer takes; `None`: for ever.
    stall_max: Option<Duration>,
    /// Here until what goes first has been written: see [`begin_reading`](Self::begin_reading).
    unread: Option<Box<Reader>>,
    reading: Option<TaskHandle>,
    writing: Option<TaskHandle>,
}

/// What the machine wants written.
#[derive(Debug)]
pub(super) enum Order {
    Text(String),
    Ping(u64),
    Close,
}

type Ctx = Context<ConnectionMessage>;

impl OpenSocket {
    pub(super) fn new(
        generation: u64,
        (writer, reader): (Writer, Reader),
        policy: &ConnectionPolicy,
    ) -> Self {
        Self {
            generation,
            pulse: Arc::clone(writer.pulse()),
            stall_max: policy.stall_max(),
            writer: Some(Box::new(writer)),
            orders: VecDeque::new(),
            unread: Some(Box::new(reader)),
            reading: None,
            writing: None,
        }
    }

    /// Reads on a socket that is new, once what goes first has been written. To read is to answer pings, and a backend
    /// may take any word for the sign that nothing more is to come: had it heard a pong before it was asked for what was
    /// missed, it could send newer events before those.
    pub(super) fn begin_reading(&mut self, ctx: &mut Ctx) {
        if self.orders.is_empty()
            && self.writing.is_none()
            && let Some(reader) = self.unread.take()
        {
            self.read_on(ctx, reader);
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The half that writes, if it is here.
    pub(super) fn writer(&mut self) -> Option<&mut Writer> {
        self.writer.as_deref_mut()
    }

    /// To be written ahead of messages.
    pub(super) fn order(&mut self, order: Order) {
        enqueue(&mut self.orders, order);
    }

    /// Reads what there is, as a task that comes back with the reader.
    pub(super) fn read_on(&mut self, ctx: &mut Ctx, mut reader: Box<Reader>) {
        let generation = self.generation;
        self.reading = Some(ctx.spawn(async move {
            let frames = read_batch(&mut reader).await;
            ConnectionMessage::TakeFrames { generation, reader, frames }
        }));
    }

    /// Writes what is next in line, if the writer is here: an order, or else what `message` gives.
    pub(super) fn write_next(&mut self, ctx: &mut Ctx, message: impl FnOnce() -> Option<String>) {
        if self.writer.is_none() {
            return;
        }
        let (order, is_message) = match self.orders.pop_front() {
            Some(order) => (order, false),
            None => match message() {
                Some(text) => (Order::Text(text), true),
                None => return,
            },
        };
        let Some(mut writer) = self.writer.take() else { return };
        let (generation, pulse, stall_max) = (self.generation, Arc::clone(&self.pulse), self.stall_max);
        self.writing = Some(ctx.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = write(&mut writer, order) => outcome,
                () = pulse.stalled(stall_max.unwrap_or_default()), if stall_max.is_some() => {
                    Err(SendError::Lost(Fault::new(FaultKind::Unanswered, "the peer takes nothing any more")))
                }
            };
            ConnectionMessage::TakeWriter { generation, writer, outcome, is_message }
        }));
    }

    /// A write has ended, and its half is back.
    pub(super) fn take_back(&mut self, writer: Box<Writer>) {
        self.writer = Some(writer);
        self.writing = None;
    }

    /// Writes a close frame with this code, if there is room for it at once and nothing else is being written.
    pub(super) fn say_why(&mut self, code: u16) {
        if let Some(writer) = &mut self.writer {
            let _ = writer.close_with(code).now_or_never();
        }
    }

    /// For how long no byte has moved; `None`: none ever did.
    pub(super) fn still_for(&self) -> Option<Duration> {
        self.pulse.moved_at().map(|at| Instant::now().duration_since(at))
    }

    pub(super) fn abort(self) {
        for task in [self.reading, self.writing].into_iter().flatten() {
            task.abort();
        }
    }
}

/// A ping takes the place of one that still waits, whose answer would mean nothing any more. So a write that takes long
/// lets no pings pile up behind it.
fn enqueue(orders: &mut VecDeque<Order>, order: Order) {
    if matches!(order, Order::Ping(_)) {
        orders.retain(|waiting| !matches!(waiting, Order::Ping(_)));
    }
    orders.push_back(order);
}

async fn write(writer: &mut Writer, order: Order) -> Result<(), SendError> {
    match order {
        Order::Text(text) => writer.send_text(text).await,
        Order::Ping(number) => writer.ping(number).await.map_err(SendError::Lost),
        Order::Close => writer.close().await.map_err(SendError::Lost),
    }
}

/// The next frame, and those behind it that are here already, within limits.
async fn read_batch<S>(reader: &mut socket::Reader<S>) -> Vec<Result<Frame, Fault>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut frames = Vec::new();
    let mut bytes = 0usize;
    let mut next = Some(reader.read().await);
    while let Some(frame) = next {
        bytes = bytes.saturating_add(frame.as_ref().map_or(0, Frame::size_bytes));
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
    async fn batches(texts: Vec<String>) -> Vec<usize> {
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
    fn pings_do_not_pile_up_behind_a_write_that_takes_long() {
        let mut orders = VecDeque::new();
        for order in [Order::Text("resume".into()), Order::Ping(1), Order::Ping(2), Order::Close] {
            enqueue(&mut orders, order);
        }
        enqueue(&mut orders, Order::Ping(3));
        let [Order::Text(_), Order::Close, Order::Ping(3)] = orders.make_contiguous() else {
            panic!("{orders:?}");
        };
    }

    #[tokio::test]
    async fn frames_that_are_here_already_are_taken_together_but_not_without_end() {
        assert_eq!(batches(vec!["x".to_owned(); 150]).await, [64, 64, 22]);
    }

    #[tokio::test]
    async fn a_batch_of_large_frames_is_small() {
        let large = "x".repeat(READ_BYTES_MAX / 2);
        assert_eq!(batches(vec![large; 5]).await, [2, 2, 1]);
        let huge = "x".repeat(1 << 20);
        assert_eq!(batches(vec![huge; 3]).await, [1, 1, 1]);
    }
}
