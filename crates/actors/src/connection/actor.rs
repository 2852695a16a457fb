//! The connection actor: obeys the state machine with real sockets.
//!
//! It is an actor because it owns a socket that must not outlive a crash, and because what waits to be sent must
//! have one owner. Every dial, read and write is a task of its incarnation that comes back as a message under the
//! socket's generation; no message waits for the network.

use std::mem;

use mainstay_runtime::{Context, Failure, RestContext, Worker};
use tokio::time::timeout;

use super::events::{ConnectionChanged, IgnoredReason};
use super::fault::Fault;
use super::feed::Inbound;
use super::frames::{Gap, Observed, Opening, Resumption};
use super::invalidation;
use super::link::{Heritage, Link};
use super::machine::{Action, Event, Machine};
use super::message::{ConnectionMessage, Reader, Writer};
use super::open_socket::{OpenSocket, Order};
use super::policy::ConnectionPolicy;
use super::socket::{Frame, SendError, SocketLimits, dial};
use super::target::SocketTarget;
use super::view::{ConnectionView, Untold};
use crate::cache::{CacheHandle, Invalidation};

/// What every incarnation of the connection's actor is made from.
pub struct ConnectionActor {
    /// Where to connect.
    pub target: SocketTarget,
    /// When, and how often.
    pub policy: ConnectionPolicy,
    /// Where it shows what it knows.
    pub view: ConnectionView,
    /// What the backend may say is no longer true.
    pub cache: Option<CacheHandle>,
}

/// What survives an incarnation.
#[derive(Debug, Clone)]
pub struct ConnectionMemory {
    resumption: Resumption,
    is_wanted: bool,
}

type Ctx = Context<ConnectionMessage>;

impl Worker for ConnectionActor {
    type Message = ConnectionMessage;
    type State = Link;
    type Snapshot = ConnectionMemory;

    async fn start(&self, ctx: &mut Ctx, kept: Option<ConnectionMemory>) -> Result<Link, Failure> {
        let kept = kept.unwrap_or(ConnectionMemory { resumption: Resumption::default(), is_wanted: true });
        let Untold { change, unsent } = self.view.take_untold();
        change.iter().for_each(|change| ctx.record(change));
        unsent.iter().for_each(|unsent| ctx.record(unsent));
        let left = self.view.status.borrow().clone();
        let heritage = Heritage {
            machine: Machine::succeeding(self.policy.clone(), &left),
            resumption: kept.resumption,
            is_wanted: kept.is_wanted,
        };
        let mut link = Link::new(heritage, &self.policy, &self.view, (ctx.wall_time(), ctx.now()));
        if link.is_wanted {
            self.tell(ctx, &mut link, Event::Connect);
        }
        self.settle(ctx, &mut link);
        Ok(link)
    }

    async fn handle(
        &self,
        ctx: &mut Ctx,
        message: ConnectionMessage,
        link: &mut Link,
    ) -> Result<(), Failure> {
        // Before the message: what was under way before a sleep is no proof of life after it.
        self.notice_sleep(ctx, link);
        match message {
            ConnectionMessage::Connect => {
                link.is_wanted = true;
                self.tell(ctx, link, Event::Connect);
            }
            ConnectionMessage::Disconnect => {
                link.is_wanted = false;
                self.tell(ctx, link, Event::Disconnect);
            }
            ConnectionMessage::BackendSeen => self.tell(ctx, link, Event::BackendSeen),
            ConnectionMessage::Send { text, patience, reply } => {
                link.accept(text, reply, patience, ctx.now());
            }
            ConnectionMessage::TakeSocket { generation, outcome } => {
                self.take_socket(ctx, link, generation, *outcome).await;
            }
            ConnectionMessage::TakeFrames { generation, reader, frames } => {
                self.take_frames(ctx, link, generation, reader, frames).await;
            }
            ConnectionMessage::TakeWriter { generation, writer, outcome, is_message } => {
                self.take_writer(ctx, link, generation, writer, outcome, is_message);
            }
            // Messages are dealt with in order, so all before this one have been.
            ConnectionMessage::Settle(reply) => reply.send(()),
            ConnectionMessage::MindTime => {
                link.alarm = None;
                self.tell_of_bytes(ctx, link);
                self.tell(ctx, link, Event::Tick);
            }
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            ConnectionMessage::Panic => panic!("asked to panic"),
        }
        self.settle(ctx, link);
        Ok(())
    }

    fn snapshot(&self, link: &Link) -> Option<ConnectionMemory> {
        Some(ConnectionMemory { resumption: link.resumption.clone(), is_wanted: link.is_wanted })
    }

    /// Closes in order as far as that can be done at once: the peer gets a close frame, its answer is not awaited.
    async fn stop(&self, ctx: &mut Ctx, link: &mut Link) {
        self.tell(ctx, link, Event::Disconnect);
        link.record_rest(ctx);
        self.view.show(link.machine.status());
        if let Some(writer) = link.socket.as_mut().and_then(OpenSocket::writer) {
            // A peer that takes no close frame in time loses the socket without one.
            let _ = timeout(self.policy.close_timeout, writer.close()).await;
        }
    }

    /// No incarnation follows that could tell what the last one left behind.
    fn rest(&self, ctx: &RestContext<'_>) {
        let Untold { change, unsent } = self.view.take_untold();
        change.iter().for_each(|change| ctx.record(change));
        unsent.iter().for_each(|unsent| ctx.record(unsent));
    }
}

impl ConnectionActor {
    /// Tells the machine what happened, and obeys.
    fn tell(&self, ctx: &mut Ctx, link: &mut Link, event: Event) {
        for action in link.machine.on_event(ctx.now(), event, ctx.random_unit()) {
            match action {
                Action::Changed(transition) => {
                    ctx.record(&ConnectionChanged::new(transition, ctx.now(), ctx.wall_time()));
                }
                Action::Dial { generation } => self.dial(ctx, link, generation),
                Action::Drop { generation } => link.drop_socket(generation),
                Action::SayWhy { generation, code } => {
                    if let Some(socket) = link.open(generation) {
                        socket.say_why(code);
                    }
                }
                Action::CloseGracefully { generation } => link.order(generation, Order::Close),
                Action::SendPing { generation, number } => link.order(generation, Order::Ping(number)),
                Action::Resume { generation } => match link.resumption.open() {
                    Opening::Resume(text) => link.order(generation, Order::Text(text)),
                    Opening::Gap(gap) => self.tell_of_gap(ctx, gap),
                    Opening::Fresh => {}
                },
                // Whatever can be written is written once the message has been dealt with.
                Action::FlushOutbound { .. } => {}
            }
        }
    }

    /// Before the machine judges a peer by its silence, it is to know whether bytes moved.
    fn tell_of_bytes(&self, ctx: &mut Ctx, link: &mut Link) {
        let moved = link.socket.as_ref().and_then(|socket| Some((socket.generation(), socket.still_for()?)));
        if let Some((generation, still_for)) = moved {
            let at = ctx.now().saturating_sub(still_for);
            self.tell(ctx, link, Event::Moved { generation, at });
        }
    }

    fn dial(&self, ctx: &mut Ctx, link: &mut Link, generation: u64) {
        let target = self.target.clone();
        let limits = SocketLimits { message_max_bytes: self.policy.message_max_bytes };
        let dialling = ctx.spawn(async move {
            let outcome = Box::new(dial(&target, limits).await);
            ConnectionMessage::TakeSocket { generation, outcome }
        });
        link.dial = Some((generation, dialling));
    }

    async fn take_socket(
        &self,
        ctx: &mut Ctx,
        link: &mut Link,
        generation: u64,
        outcome: Result<(Writer, Reader), Fault>,
    ) {
        let halves = match outcome {
            Ok(halves) => halves,
            Err(fault) => return self.tell(ctx, link, Event::DialFailed { generation, fault }),
        };
        // Where one is open already it is a later one, and what came too late ends here.
        if link.socket.is_none() {
            link.socket = Some(OpenSocket::new(generation, halves, &self.policy));
            // Invalidations have no numbers: without a socket any may have been missed. What is loaded from now on is
            // covered by this one.
            self.invalidate(ctx, invalidation::of_gap()).await;
        }
        self.tell(ctx, link, Event::Opened { generation });
    }

    async fn take_frames(
        &self,
        ctx: &mut Ctx,
        link: &mut Link,
        generation: u64,
        reader: Box<Reader>,
        frames: Vec<Result<Frame, Fault>>,
    ) {
        if link.open(generation).is_none() {
            return;
        }
        let mut has_ended = false;
        for frame in frames {
            let event = match frame {
                Ok(Frame::Pong(Some(number))) => Event::Ponged { generation, number },
                Ok(frame) => {
                    match frame {
                        Frame::Text(text) => self.take_text(ctx, link, text).await,
                        Frame::Binary(bytes) => link.ignored.add(IgnoredReason::Binary, bytes, true),
                        Frame::Ping | Frame::Pong(_) => {}
                    }
                    Event::Received { generation }
                }
                Err(fault) => {
                    has_ended = true;
                    Event::Closed { generation, fault }
                }
            };
            self.tell(ctx, link, event);
        }
        if !has_ended && let Some(socket) = link.open(generation) {
            socket.read_on(ctx, reader);
        }
    }

    /// What it invalidates is gone before a listener has the frame.
    async fn take_text(&self, ctx: &mut Ctx, link: &mut Link, text: String) {
        match link.resumption.observe(&text) {
            Observed::Duplicate { .. } => {
                return link.ignored.add(IgnoredReason::SeenBefore, text.len(), true);
            }
            Observed::NewAfterGap { gap, .. } => {
                self.invalidate(ctx, invalidation::of_gap()).await;
                self.tell_of_gap(ctx, gap);
            }
            Observed::Invalidation => self.invalidate(ctx, invalidation::of_frame(&text)).await,
            Observed::Unnumbered | Observed::New { .. } | Observed::Malformed => {}
        }
        self.view.frames.send(Inbound::Text(text.into()));
    }

    async fn invalidate(&self, ctx: &mut Ctx, mut invalidation: Invalidation) {
        let Some(cache) = &self.cache else { return };
        let entries = cache.drop_all(mem::take(&mut invalidation.selections)).await;
        invalidation::told(invalidation, entries).iter().for_each(|told| ctx.record(told));
    }

    fn tell_of_gap(&self, ctx: &Ctx, gap: Gap) {
        ctx.record(&gap);
        self.view.frames.send(Inbound::Gap(gap));
    }

    fn take_writer(
        &self,
        ctx: &mut Ctx,
        link: &mut Link,
        generation: u64,
        writer: Box<Writer>,
        outcome: Result<(), SendError>,
        is_message: bool,
    ) {
        let Some(socket) = link.open(generation) else { return };
        socket.take_back(writer);
        if is_message {
            let settled = link.outbound.settle(outcome.is_ok());
            link.answer(settled);
        }
        if let Err(SendError::Lost(fault)) = outcome {
            self.tell(ctx, link, Event::SendFailed { generation, fault });
        }
    }

    /// What follows every message: overdue messages are answered, the next one is written, the view and the timer
    /// are brought up to date.
    fn settle(&self, ctx: &mut Ctx, link: &mut Link) {
        link.expire(ctx.now());
        link.work(ctx);
        link.record_sums(ctx);
        link.set_alarm(ctx);
        self.view.show(link.machine.status());
    }

    fn notice_sleep(&self, ctx: &mut Ctx, link: &mut Link) {
        if link.has_slept(ctx.wall_time(), ctx.now()) {
            self.tell(ctx, link, Event::Woke);
        }
    }
}

#[cfg(test)]
mod tests;
