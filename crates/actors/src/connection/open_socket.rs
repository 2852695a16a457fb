//! The open socket in its actor's hands: a task that reads, a task that writes, and what is to be written first.
//!
//! Each task comes back to the actor as a message, with its half of the socket.

use std::collections::VecDeque;

use futures_util::FutureExt;
use mainstay_runtime::{Context, TaskHandle};

use super::message::{ConnectionMessage, Reader, Writer};
use super::socket::SendError;

/// Frames taken from the socket before other messages have their turn.
const READ_FRAMES_MAX: usize = 64;

/// The open socket. Dropping it, with its tasks aborted, closes it.
pub(super) struct OpenSocket {
    generation: u64,
    /// Here while nothing is being written.
    writer: Option<Box<Writer>>,
    /// What goes before any message that waits.
    orders: VecDeque<Order>,
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
    /// Begins to read.
    pub(super) fn new(ctx: &mut Ctx, generation: u64, writer: Writer, reader: Reader) -> Self {
        let mut socket = Self {
            generation,
            writer: Some(Box::new(writer)),
            orders: VecDeque::new(),
            reading: None,
            writing: None,
        };
        socket.read_on(ctx, Box::new(reader));
        socket
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
        self.orders.push_back(order);
    }

    /// Reads what there is, as a task that comes back with the reader.
    pub(super) fn read_on(&mut self, ctx: &mut Ctx, mut reader: Box<Reader>) {
        let generation = self.generation;
        self.reading = Some(ctx.spawn(async move {
            let mut frames = vec![reader.read().await];
            while frames.len() < READ_FRAMES_MAX && frames.last().is_some_and(Result::is_ok) {
                match reader.read().now_or_never() {
                    Some(frame) => frames.push(frame),
                    None => break,
                }
            }
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
        let generation = self.generation;
        self.writing = Some(ctx.spawn(async move {
            let outcome = match order {
                Order::Text(text) => writer.send_text(text).await,
                Order::Ping(number) => writer.ping(number).await.map_err(SendError::Lost),
                Order::Close => writer.close().await.map_err(SendError::Lost),
            };
            ConnectionMessage::TakeWriter { generation, writer, outcome, is_message }
        }));
    }

    /// A write has ended, and its half is back.
    pub(super) fn take_back(&mut self, writer: Box<Writer>) {
        self.writer = Some(writer);
        self.writing = None;
    }

    pub(super) fn abort(self) {
        for task in [self.reading, self.writing].into_iter().flatten() {
            task.abort();
        }
    }
}
