//! The connection actor: obeys the state machine with real sockets.
//!
//! It is an actor because it owns a socket that must not outlive a crash, and because what waits to be sent must
//! have one owner. Every dial, read and write is a task of its incarnation that comes back as a message under the
//! socket's generation; no message waits for the network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::journal::{Event as JournalEvent, Level};
use mainstay_runtime::{Context, Failure, Message, Reply, RestContext, TaskHandle, Worker};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};

use super::fault::Fault;
use super::frames::{Gap, Observed, Resumption};
use super::machine::{Action, Event, Machine};
use super::outbound::{Ended, Fate, OutboundBuffer, OutboundLimits};
use super::policy::ConnectionPolicy;
use super::socket::{Frame, SendError, SocketLimits, dial};
use super::status::{ConnectionState, ConnectionStatus, Reason, Transition};
use super::target::SocketTarget;
use crate::error::Code;

type Reader = super::socket::Reader<TcpStream>;
type Writer = super::socket::Writer<TcpStream>;

/// Frames taken from the socket before other messages have their turn.
const READ_FRAMES_MAX: usize = 64;
/// A jump between wall and monotonic time that only sleep explains.
const SLEEP_MIN: Duration = Duration::from_secs(5);
/// How often such a jump is looked for while the machine waits for anything: a person who opens a laptop does not
/// wait for the next ping.
const SLEEP_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The connection's state has changed, or its next attempt has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionChanged {
    /// The state before.
    pub from: ConnectionState,
    /// The state after.
    pub to: ConnectionState,
    /// The attempt under way or next.
    pub attempt: u32,
    /// How many may fail in a row.
    pub max: u32,
    /// When the next attempt begins: RFC 3339, in UTC.
    pub next_attempt_at: Option<String>,
    /// In how many milliseconds that is.
    pub next_attempt_in_ms: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// The kind of failure, as errors have it, where something went wrong.
    #[serde(default)]
    pub code: Option<Code>,
    /// What went wrong, where something did.
    pub error: Option<Fault>,
}

impl JournalEvent for ConnectionChanged {
    const KIND: &'static str = "connection_state";
    const LEVEL: Level = Level::Info;
}

impl JournalEvent for Gap {
    const KIND: &'static str = "connection_gap";
    const LEVEL: Level = Level::Warn;
}

/// What the outside sees of the connection.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// The status, as it changes.
    pub status: watch::Sender<ConnectionStatus>,
    /// Whether the link is up, as it changes; no later than the status says so.
    pub is_up: watch::Sender<bool>,
    /// Whether the backend seems to be away, as it changes.
    pub seems_away: watch::Sender<bool>,
    /// The backend's text frames, each once. Who falls behind is told so and misses frames.
    pub frames: broadcast::Sender<Arc<str>>,
    /// The change that an incarnation brought about by its end, and so could not record.
    untold: Arc<Mutex<Option<ConnectionChanged>>>,
}

impl ConnectionView {
    /// The view of a connection that nobody has asked for yet. `frames_max` are kept for a slow subscriber.
    #[must_use]
    pub fn new(policy: &ConnectionPolicy, frames_max: usize) -> Self {
        Self {
            status: watch::Sender::new(Machine::new(policy.clone()).status()),
            is_up: watch::Sender::new(false),
            seems_away: watch::Sender::new(false),
            frames: broadcast::Sender::new(frames_max.max(1)),
            untold: Arc::default(),
        }
    }

    fn untold(&self) -> MutexGuard<'_, Option<ConnectionChanged>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An incarnation has ended at `now`, and any socket or dial with it.
    fn abandon(&self, now: Duration) {
        let before = self.status.borrow().clone();
        let from = before.state;
        let after = before.abandoned(now);
        if after.state != from {
            *self.untold() = Some(ConnectionChanged {
                from,
                to: after.state,
                attempt: after.attempt,
                max: after.max,
                next_attempt_at: None,
                next_attempt_in_ms: None,
                reason: after.reason,
                code: None,
                error: None,
            });
        }
        self.show(after);
    }

    fn show(&self, status: ConnectionStatus) {
        let is_up = status.state == ConnectionState::Connected;
        let seems_away = status.suggests_absence();
        self.is_up.send_if_modified(|shown| std::mem::replace(shown, is_up) != is_up);
        self.seems_away.send_if_modified(|shown| std::mem::replace(shown, seems_away) != seems_away);
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            if is_new {
                *shown = status;
            }
            is_new
        });
    }
}

/// A connection actor's messages.
#[derive(Debug)]
pub enum ConnectionMessage {
    /// Connect, try now, or start over.
    Connect,
    /// Stay away until asked.
    Disconnect,
    /// The backend has answered elsewhere: try again, if all attempts had been spent.
    BackendSeen,
    /// Send a text frame; answered with what became of it.
    Send {
        /// The frame.
        text: String,
        /// How long it may wait for an open socket.
        patience: Duration,
        /// Where its fate goes.
        reply: Reply<Fate>,
    },
    /// A dial has ended.
    TakeSocket {
        /// The dial's generation.
        generation: u64,
        /// The two halves, or what went wrong.
        outcome: Box<Result<(Writer, Reader), Fault>>,
    },
    /// Frames came in.
    TakeFrames {
        /// The socket's generation.
        generation: u64,
        /// The half to read on with.
        reader: Box<Reader>,
        /// What came, in order; after an error nothing comes.
        frames: Vec<Result<Frame, Fault>>,
    },
    /// A write has ended.
    TakeWriter {
        /// The socket's generation.
        generation: u64,
        /// The half to write on with.
        writer: Box<Writer>,
        /// How it went.
        outcome: Result<(), SendError>,
        /// Whether it was a message that somebody waits for.
        is_message: bool,
    },
    /// Say when everything that was sent before this has been dealt with, and shows.
    Settle(Reply<()>),
    /// The time that was waited for has come.
    MindTime,
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    Panic,
}

impl Message for ConnectionMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::BackendSeen => "BackendSeen",
            Self::Send { .. } => "Send",
            Self::TakeSocket { .. } => "TakeSocket",
            Self::TakeFrames { .. } => "TakeFrames",
            Self::TakeWriter { .. } => "TakeWriter",
            Self::Settle(_) => "Settle",
            Self::MindTime => "MindTime",
            #[cfg(debug_assertions)]
            Self::Panic => "Panic",
        }
    }
}

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
    /// Wall and monotonic time when they were last compared.
    seen: (Timestamp, Duration),
}

/// Whichever way an incarnation ends, the view does not go on showing what ended with it.
struct Presence {
    view: ConnectionView,
    /// An instant and the runtime's time then: a destructor has no context to ask.
    since: (Instant, Duration),
}

impl Drop for Presence {
    fn drop(&mut self) {
        let (instant, then) = self.since;
        let now = then.saturating_add(instant.elapsed());
        let whole_millis = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        self.view.abandon(whole_millis);
    }
}

/// The open socket. Dropping it, with its tasks aborted, closes it.
struct OpenSocket {
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
enum Order {
    Text(String),
    Ping(u64),
    Close,
}

impl OpenSocket {
    fn abort(self) {
        for task in [self.reading, self.writing].into_iter().flatten() {
            task.abort();
        }
    }
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
            _presence: Presence { view: self.view.clone(), since: (Instant::now(), ctx.now()) },
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
            seen: (ctx.wall_time(), ctx.now()),
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
        if let Some(writer) = link.socket.as_mut().and_then(|socket| socket.writer.as_mut()) {
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
        for action in link.machine.on(event, ctx.now(), ctx.random_unit()) {
            match action {
                Action::Changed(transition) => record(ctx, transition),
                Action::Dial { generation } => self.dial(ctx, link, generation),
                Action::Drop { generation } => link.drop_socket(generation),
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
        let (writer, reader) = match outcome {
            Ok(halves) => halves,
            Err(fault) => return self.tell(ctx, link, Event::DialFailed { generation, fault }),
        };
        // Where one is open already it is a later one, and what came too late ends here.
        if link.socket.is_none() {
            let reading = Some(read(ctx, generation, Box::new(reader)));
            let writer = Some(Box::new(writer));
            let orders = VecDeque::new();
            link.socket = Some(OpenSocket { generation, writer, orders, reading, writing: None });
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
        if !link.is_open(generation) {
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
        if !has_ended && let Some(socket) = link.socket.as_mut().filter(|open| open.generation == generation)
        {
            socket.reading = Some(read(ctx, generation, reader));
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
        if !link.is_open(generation) {
            return;
        }
        if is_message {
            answer(link.outbound.settle(outcome.is_ok()));
        }
        if let Some(socket) = &mut link.socket {
            socket.writer = Some(writer);
            socket.writing = None;
        }
        if let Err(SendError::Lost(fault)) = outcome {
            self.tell(ctx, link, Event::SendFailed { generation, fault });
        }
    }

    fn accept(&self, link: &mut Link, now: Duration, text: String, patience: Duration, reply: Reply<Fate>) {
        answer(link.outbound.expire(now));
        let refused = if text.len() > self.policy.message_max_bytes {
            Some(Ended { ticket: reply, fate: Fate::TooLarge })
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

    /// Monotonic time stands still while the machine sleeps, wall time does not.
    fn notice_sleep(&self, ctx: &mut Ctx, link: &mut Link) {
        let (wall, now) = (ctx.wall_time(), ctx.now());
        let (wall_before, before) = std::mem::replace(&mut link.seen, (wall, now));
        let passed = Duration::try_from(wall.duration_since(wall_before)).unwrap_or_default();
        if passed.saturating_sub(now.saturating_sub(before)) >= SLEEP_MIN {
            self.tell(ctx, link, Event::Woke);
        }
    }
}

impl Link {
    fn is_open(&self, generation: u64) -> bool {
        self.socket.as_ref().is_some_and(|open| open.generation == generation)
    }

    fn drop_socket(&mut self, generation: u64) {
        if let Some((_, dial)) = self.dial.take_if(|(dialled, _)| *dialled == generation) {
            dial.abort();
        }
        if self.is_open(generation)
            && let Some(socket) = self.socket.take()
        {
            // A message in the hands of a writer that is dropped may or may not have arrived.
            if socket.writing.is_some() {
                answer(self.outbound.settle(false));
            }
            socket.abort();
        }
    }

    fn order(&mut self, generation: u64, order: Order) {
        if let Some(socket) = self.socket.as_mut().filter(|open| open.generation == generation) {
            socket.orders.push_back(order);
        }
    }

    /// Writes what is next in line, if the writer is here and the socket is believed.
    fn write_next(&mut self, ctx: &mut Ctx) {
        let open = self.machine.open_generation();
        let Some(socket) = &mut self.socket else { return };
        if socket.writer.is_none() {
            return;
        }
        let (order, is_message) = match socket.orders.pop_front() {
            Some(order) => (order, false),
            None if open == Some(socket.generation) => match self.outbound.take(ctx.now()) {
                Some(text) => (Order::Text(text), true),
                None => return,
            },
            None => return,
        };
        let Some(mut writer) = socket.writer.take() else { return };
        let generation = socket.generation;
        socket.writing = Some(ctx.spawn(async move {
            let outcome = match order {
                Order::Text(text) => writer.send_text(text).await,
                Order::Ping(number) => writer.ping(number).await.map_err(SendError::Lost),
                Order::Close => writer.close().await.map_err(SendError::Lost),
            };
            ConnectionMessage::TakeWriter { generation, writer, outcome, is_message }
        }));
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

fn record(ctx: &Ctx, transition: Transition) {
    let Transition { from, to, attempt, max, next_attempt_at, reason, error } = transition;
    let wait = next_attempt_at.map(|at| at.saturating_sub(ctx.now()));
    let at = wait.and_then(|wait| {
        let wait = SignedDuration::try_from(wait).ok()?;
        ctx.wall_time().checked_add(wait).ok()
    });
    ctx.record(&ConnectionChanged {
        from,
        to,
        attempt,
        max,
        next_attempt_at: at.map(|at| format!("{at:.3}")),
        next_attempt_in_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        reason,
        code: error.as_ref().map(|fault| fault.reason().code()),
        error,
    });
}

/// Reads what there is, as a task that comes back with the reader.
fn read(ctx: &mut Ctx, generation: u64, mut reader: Box<Reader>) -> TaskHandle {
    ctx.spawn(async move {
        let mut frames = vec![reader.read().await];
        while frames.len() < READ_FRAMES_MAX && frames.last().is_some_and(Result::is_ok) {
            match reader.read().now_or_never() {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        ConnectionMessage::TakeFrames { generation, reader, frames }
    })
}

fn answer(ended: impl IntoIterator<Item = Ended<Reply<Fate>>>) {
    for Ended { ticket, fate } in ended {
        ticket.send(fate);
    }
}

#[cfg(test)]
mod tests;
