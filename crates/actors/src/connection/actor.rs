//! The connection actor: obeys the state machine with real sockets.
//!
//! It is an actor because it owns a socket that must not outlive a crash, and because what waits to be sent must
//! have one owner. Every dial, read and write is a task of its incarnation that comes back as a message under the
//! socket's generation; no message waits for the network.

use std::time::Duration;

use mainstay_runtime::{Context, Failure, Reply, RestContext, TaskHandle, Worker};
use tokio::time::timeout;

use super::events::ConnectionChanged;
use super::fault::Fault;
use super::frames::{Observed, Resumption};
use super::machine::{Action, Event, Machine};
use super::message::{ConnectionMessage, Reader, Writer};
use super::open_socket::{OpenSocket, Order};
use super::outbound::{Ended, Fate, OutboundBuffer, OutboundLimits};
use super::policy::ConnectionPolicy;
use super::sleep::{SLEEP_CHECK_INTERVAL, SleepWatch};
use super::socket::{Frame, SendError, SocketLimits, dial};
use super::target::SocketTarget;
use super::view::{ConnectionView, Presence};

/// What every incarnation of the connection's actor is made from.
pub struct ConnectionActor {
    /// Where to connect.
    pub target: SocketTarget,
    /// When, and how often.
    pub policy: ConnectionPolicy,
    /// Where it shows what it knows.
    pub view: ConnectionView,
}

/// What survives an incarnation.
#[derive(Debug, Clone)]
pub struct ConnectionMemory {
    resumption: Resumption,
    is_wanted: bool,
}

/// The state of one incarnation.
pub struct Link {
    /// First to go, so that whoever hears of the end finds a view that knows of it.
    _presence: Presence,
    machine: Machine,
    resumption: Resumption,
    outbound: OutboundBuffer<String, Reply<Fate>>,
    is_wanted: bool,
    /// The dial under way, with its generation.
    dial: Option<(u64, TaskHandle)>,
    socket: Option<OpenSocket>,
    alarm: Option<(Duration, TaskHandle)>,
    sleep: SleepWatch,
}
type Ctx = Context<ConnectionMessage>;

impl Worker for ConnectionActor {
    type Message = ConnectionMessage;
    type State = Link;
    type Snapshot = ConnectionMemory;

    async fn start(&self, ctx: &mut Ctx, kept: Option<ConnectionMemory>) -> Result<Link, Failure> {
        let kept = kept.unwrap_or(ConnectionMemory { resumption: Resumption::default(), is_wanted: true });
        if let Some(change) = self.view.untold().take() {
            ctx.record(&change);
        }
        let left = self.view.status.borrow().clone();
        let mut link = Link {
            _presence: Presence::new(self.view.clone(), ctx.now()),
            machine: Machine::succeeding(self.policy.clone(), &left),
            resumption: kept.resumption,
            outbound: OutboundBuffer::new(OutboundLimits {
                entries_max: self.policy.outbound_max,
                bytes_max: self.policy.outbound_bytes_max,
            }),
            is_wanted: kept.is_wanted,
            dial: None,
            socket: None,
            alarm: None,
            sleep: SleepWatch::new(ctx.wall_time(), ctx.now()),
        };
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
                self.accept(link, ctx.now(), text, patience, reply);
            }
            ConnectionMessage::TakeSocket { generation, outcome } => {
                self.take_socket(ctx, link, generation, *outcome);
            }
            ConnectionMessage::TakeFrames { generation, reader, frames } => {
                self.take_frames(ctx, link, generation, reader, frames);
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
        let nothing = OutboundBuffer::new(OutboundLimits { entries_max: 0, bytes_max: 0 });
        answer(std::mem::replace(&mut link.outbound, nothing).shut_down());
        self.view.show(link.machine.status());
        if let Some(writer) = link.socket.as_mut().and_then(OpenSocket::writer) {
            // A peer that takes no close frame in time loses the socket without one.
            let _ = timeout(self.policy.close_timeout, writer.close()).await;
        }
    }

    /// No incarnation follows that could tell what the last one left behind.
    fn rest(&self, ctx: &RestContext<'_>) {
        if let Some(change) = self.view.untold().take() {
            ctx.record(&change);
        }
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
                Action::Resume { generation } => {
                    if let Some(text) = link.resumption.reopened() {
                        link.order(generation, Order::Text(text));
                    }
                }
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

    fn take_socket(
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
            link.socket = Some(OpenSocket::new(ctx, generation, halves, &self.policy));
        }
        self.tell(ctx, link, Event::Opened { generation });
    }

    fn take_frames(
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
                    if let Frame::Text(text) = frame {
                        self.take_text(ctx, link, text);
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

    fn take_text(&self, ctx: &Ctx, link: &mut Link, text: String) {
        match link.resumption.observe(&text) {
            Observed::Duplicate { .. } => return,
            Observed::NewAfterGap { gap, .. } => ctx.record(&gap),
            Observed::Unnumbered | Observed::New { .. } | Observed::Malformed => {}
        }
        // Nobody may be listening.
        let _ = self.view.frames.send(text.into());
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
            answer(link.outbound.settle(outcome.is_ok()));
        }
        if let Err(SendError::Lost(fault)) = outcome {
            self.tell(ctx, link, Event::SendFailed { generation, fault });
        }
    }

    fn accept(&self, link: &mut Link, now: Duration, text: String, patience: Duration, reply: Reply<Fate>) {
        answer(link.outbound.expire(now));
        let refused = if text.len() > self.policy.message_max_bytes {
            Some(Ended { ticket: reply, fate: Fate::Rejected })
        } else {
            link.outbound.push(text, reply, now.saturating_add(patience), now).err()
        };
        answer(refused);
    }

    /// What follows every message: overdue messages are answered, the next one is written, the view and the timer
    /// are brought up to date.
    fn settle(&self, ctx: &mut Ctx, link: &mut Link) {
        answer(link.outbound.expire(ctx.now()));
        link.write_next(ctx);
        link.set_alarm(ctx);
        self.view.show(link.machine.status());
    }

    fn notice_sleep(&self, ctx: &mut Ctx, link: &mut Link) {
        if link.sleep.has_slept(ctx.wall_time(), ctx.now()) {
            self.tell(ctx, link, Event::Woke);
        }
    }
}

impl Link {
    /// The socket of this generation, if it is open.
    fn open(&mut self, generation: u64) -> Option<&mut OpenSocket> {
        self.socket.as_mut().filter(|open| open.generation() == generation)
    }

    fn drop_socket(&mut self, generation: u64) {
        if let Some((_, dial)) = self.dial.take_if(|(dialled, _)| *dialled == generation) {
            dial.abort();
        }
        if let Some(socket) = self.socket.take_if(|open| open.generation() == generation) {
            // A message in the hands of a writer that is dropped may or may not have arrived.
            if socket.is_writing() {
                answer(self.outbound.settle(false));
            }
            socket.abort();
        }
    }

    fn order(&mut self, generation: u64, order: Order) {
        if let Some(socket) = self.open(generation) {
            socket.order(order);
        }
    }

    /// Writes what is next in line: a message only if the socket is believed.
    fn write_next(&mut self, ctx: &mut Ctx) {
        let Some(socket) = &mut self.socket else { return };
        let is_believed = self.machine.open_generation() == Some(socket.generation());
        let (outbound, now) = (&mut self.outbound, ctx.now());
        socket.write_next(ctx, || if is_believed { outbound.take(now) } else { None });
    }

    /// An alarm that comes too early only leads to the next one.
    fn set_alarm(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let due = self.next_due(now);
        if let (Some((at, _)), Some(due)) = (&self.alarm, due)
            && *at <= due
        {
            return;
        }
        if let Some((_, timer)) = self.alarm.take() {
            timer.abort();
        }
        self.alarm = due.map(|at| (at, ctx.send_after(at.saturating_sub(now), ConnectionMessage::MindTime)));
    }

    fn next_due(&self, now: Duration) -> Option<Duration> {
        let sleep_check = now.saturating_add(SLEEP_CHECK_INTERVAL);
        let machine = self.machine.next_wake().map(|at| at.min(sleep_check));
        machine.into_iter().chain(self.outbound.next_expiry()).min()
    }
}

fn answer(ended: impl IntoIterator<Item = Ended<Reply<Fate>>>) {
    for Ended { ticket, fate } in ended {
        ticket.send(fate);
    }
}

#[cfg(test)]
mod tests;
