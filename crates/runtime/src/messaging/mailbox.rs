//! The queue of an actor's messages. It belongs to the slot, so it outlives every incarnation.

use std::collections::VecDeque;
#[cfg(debug_assertions)]
use std::convert::Infallible;
use std::mem;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::{Mutex, MutexGuard};
use ractor::ActorRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actor::panics::{self, Panic};
use crate::actor::wake::Wake;
use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;
use crate::messaging::message::{Message, type_label};
#[cfg(debug_assertions)]
use crate::messaging::reply::Reply;
use crate::supervisor::ActorProgress;

/// Messages that a mailbox holds if nothing else is said.
pub(crate) const CAPACITY_DEFAULT: usize = 1024;
/// Room that an emptied mailbox keeps for the next burst.
const CAPACITY_KEPT: usize = 32;

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// There is no room.
    Full,
    /// The actor is stopped, or has failed for good.
    Stopped,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    /// After this it is no longer handled.
    pub(crate) expires_at: Option<Instant>,
    /// What is known of it if an incarnation has begun to handle it before.
    pub(crate) redelivery: Option<RedeliveryState>,
}

/// What is known of a message that is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RedeliveryState {
    /// Crashes on it so far.
    pub(crate) crashes: u32,
    /// With this many it is poison.
    pub(crate) crashes_max: u32,
}

impl<M: Message> Envelope<M> {
    pub(crate) fn new(message: M, expires_at: Option<Instant>) -> Self {
        Self { message, expires_at, redelivery: None }
    }

    /// What the journal calls the message, even if the message itself panics when it is asked.
    pub(crate) fn label(&self) -> &'static str {
        panics::catch(|| self.message.label()).unwrap_or_else(|_| type_label::<M>())
    }
}

/// What waits in a mailbox.
#[derive(Debug)]
pub(crate) enum Entry<M> {
    Message(Envelope<M>),
    /// Makes the incarnation panic when it comes to this; see [`Address::inject_panic`](crate::Address::inject_panic).
    #[cfg(debug_assertions)]
    InjectedPanic(Reply<Infallible>),
}

/// What the journal calls an injected panic.
#[cfg(debug_assertions)]
pub(crate) const INJECTED_PANIC: &str = "InjectedPanic";

impl<M: Message> Entry<M> {
    /// See [`Envelope::label`].
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Message(envelope) => envelope.label(),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => INJECTED_PANIC,
        }
    }

    fn returned(&mut self) -> Option<&mut RedeliveryState> {
        match self {
            Self::Message(envelope) => envelope.redelivery.as_mut(),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => None,
        }
    }

    fn into_envelope(self) -> Option<Envelope<M>> {
        match self {
            Self::Message(envelope) => Some(envelope),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => None,
        }
    }
}

/// What an incarnation finds when it looks into its mailbox.
#[derive(Debug)]
pub(crate) enum ReadOutcome<M> {
    /// A message from outside, and what it calls itself; `None` if it panicked when it was asked.
    Message(Envelope<M>, Option<&'static str>),
    /// An order to panic, and who waits for that.
    #[cfg(debug_assertions)]
    InjectedPanic(Reply<Infallible>),
    /// What a task of this incarnation came back with.
    TaskResult(TaskResult<M>),
    /// Nothing for now; the next push wakes the incarnation.
    Empty,
    /// The incarnation is to stop before it takes another message from outside.
    Stop,
}

/// What a task of an incarnation ended with.
#[derive(Debug)]
pub(crate) enum TaskResult<M> {
    /// A message for the incarnation.
    Message(M),
    /// A panic, which is the incarnation's own. It is rare, and each actor keeps room for several of these.
    Panic(Box<Panic>),
}

/// What an incarnation leaves in its mailbox when its reading ends.
pub(crate) struct Detached<M> {
    /// The label of the message from outside that it has in hand.
    pub(crate) in_flight: Option<&'static str>,
    /// What its tasks had brought and nobody handled.
    pub(crate) unhandled: VecDeque<TaskResult<M>>,
}

/// Bounded, ordered, and never without a word: what is pushed is popped, or handed back, or emptied out.
///
/// Senders and a reader that has much to do seldom meet at a lock: the reader takes over everything that waits, and comes
/// back when that is handled. Where both locks are needed, the reader's comes first.
#[repr(C)]
pub(crate) struct Mailbox<M> {
    read_side: Mutex<ReadSide<M>>,
    /// How many messages the reader has taken over. Changed under its lock, and raised under both.
    buffered: AtomicUsize,
    /// Whether the reader has to look into `inner` before it goes on with what it has taken over.
    recheck: AtomicBool,
    // These change seldom. They keep what the reader writes off the cache lines that senders write.
    room: Notify,
    capacity: usize,
    _padding: [u64; 3],
    write_side: Mutex<WriteSide<M>>,
}

/// What is the reader's; the lock is for those who look on.
struct ReadSide<M> {
    /// The incarnation that reads.
    reader: Option<u64>,
    /// What it has taken over. It goes before what is in [`Inner`].
    queue: VecDeque<Entry<M>>,
    /// The label of the message from outside that the reader is handling.
    current_label: Option<&'static str>,
    /// What the reader has taken so far, and whether it is still at work on the last of it.
    taken: u64,
    is_busy: bool,
    /// How many senders wait for room.
    waiting_senders: usize,
}

struct WriteSide<M> {
    queue: VecDeque<Entry<M>>,
    /// What the incarnation's own tasks brought. Bounded by the number of those tasks.
    task_results: VecDeque<TaskResult<M>>,
    /// The incarnation whose tasks may bring something: from its birth, so before it reads, to its end.
    owner: Option<u64>,
    reader: Option<MailboxReader>,
    closed: bool,
    /// How many messages the reader took over the last time; it has no more than these.
    last_refill_len: usize,
}

/// The incarnation that reads.
struct MailboxReader {
    actor: ActorRef<Wake>,
    /// Whether a wake-up is already on its way.
    woken: bool,
    stopping: bool,
}

impl MailboxReader {
    fn wake(&mut self) {
        if !mem::replace(&mut self.woken, true) {
            // An incarnation that has just ended does not hear it; its successor looks in when it attaches.
            let _ = self.actor.send_message(Wake::Message);
        }
    }
}

impl<M> ReadSide<M> {
    /// Notes that the reader is at work on something.
    fn mark_busy(&mut self, label: Option<&'static str>) {
        self.current_label = label;
        self.is_busy = true;
        self.taken += 1;
    }

    /// Notes that the reader is at work on nothing.
    fn mark_idle(&mut self) {
        self.current_label = None;
        self.is_busy = false;
    }
}

impl<M> WriteSide<M> {
    fn accept(&mut self, entry: Entry<M>) {
        self.queue.push_back(entry);
        if let Some(reader) = &mut self.reader {
            reader.wake();
        }
    }

    fn is_stopping(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| reader.stopping)
    }

    /// The reader has nothing to do: the next push wakes it.
    fn mark_asleep(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.woken = false;
        }
    }
}

impl<M: Message> Mailbox<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        let hand = ReadSide {
            reader: None,
            queue: VecDeque::new(),
            current_label: None,
            taken: 0,
            is_busy: false,
            waiting_senders: 0,
        };
        let inner = WriteSide {
            queue: VecDeque::new(),
            task_results: VecDeque::new(),
            owner: None,
            reader: None,
            closed: false,
            last_refill_len: 0,
        };
        Self {
            read_side: Mutex::new(hand),
            write_side: Mutex::new(inner),
            _padding: [0; 3],
            buffered: AtomicUsize::new(0),
            recheck: AtomicBool::new(false),
            room: Notify::new(),
            capacity: capacity.max(1),
        }
    }

    fn lock_read_side(&self) -> MutexGuard<'_, ReadSide<M>> {
        self.read_side.lock()
    }

    fn lock_write_side(&self) -> MutexGuard<'_, WriteSide<M>> {
        self.write_side.lock()
    }

    // === for senders ===

    /// Accepts a message, or hands it back.
    pub(crate) fn push(&self, envelope: Envelope<M>) -> Result<(), (Envelope<M>, SendErrorKind)> {
        let mut inner = self.lock_write_side();
        if let Err(refusal) = self.check_room(&inner) {
            return Err((envelope, refusal));
        }
        inner.accept(Entry::Message(envelope));
        Ok(())
    }

    /// Accepts a message as soon as there is room.
    pub(crate) async fn push_when_room(
        &self,
        envelope: Envelope<M>,
    ) -> Result<(), (Envelope<M>, SendErrorKind)> {
        match self.push(envelope) {
            // A sender that gives up while it waits drops a message that nobody had room for.
            Err((envelope, SendErrorKind::Full)) => {
                drop_reason::with_drop_reason(|| CallError::Full, self.wait_for_room(envelope)).await
            }
            settled => settled,
        }
    }

    async fn wait_for_room(&self, mut envelope: Envelope<M>) -> Result<(), (Envelope<M>, SendErrorKind)> {
        let _waiting = SendWaiter::register(self);
        loop {
            let room = self.room.notified();
            envelope = match self.push(envelope) {
                Err((envelope, SendErrorKind::Full)) => envelope,
                settled => return settled,
            };
            room.await;
        }
    }

    /// Accepts an order to panic.
    #[cfg(debug_assertions)]
    pub(crate) fn push_injected_panic(&self, caller: Reply<Infallible>) -> Result<(), SendErrorKind> {
        let mut inner = self.lock_write_side();
        self.check_room(&inner)?;
        inner.accept(Entry::InjectedPanic(caller));
        Ok(())
    }

    fn check_room(&self, inner: &WriteSide<M>) -> Result<(), SendErrorKind> {
        if inner.closed {
            return Err(SendErrorKind::Stopped);
        }
        let is_full = inner.queue.len() + inner.last_refill_len >= self.capacity
            && self.len_locked(inner) >= self.capacity;
        if is_full { Err(SendErrorKind::Full) } else { Ok(()) }
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.len_locked(&self.lock_write_side())
    }

    fn len_locked(&self, inner: &WriteSide<M>) -> usize {
        self.buffered.load(Acquire) + inner.queue.len()
    }

    // === for the incarnation ===

    /// Keeps what the tasks of incarnation `generation` bring from now on, until it reads.
    pub(crate) fn set_owner(&self, generation: u64) {
        self.lock_write_side().owner = Some(generation);
    }

    /// Lets incarnation `generation` read, and wakes it if messages wait; not if the mailbox has another owner by now.
    pub(crate) fn attach(&self, generation: u64, wake: ActorRef<Wake>) {
        let mut hand = self.lock_read_side();
        let mut inner = self.lock_write_side();
        if inner.owner != Some(generation) {
            return;
        }
        hand.reader = Some(generation);
        let mut reader = MailboxReader { actor: wake, woken: false, stopping: false };
        if self.len_locked(&inner) > 0 || !inner.task_results.is_empty() {
            reader.wake();
        }
        inner.reader = Some(reader);
    }

    /// Ends the reading of incarnation `generation`; `None` if that was done before. It takes no message from outside
    /// after the one that it has in hand.
    pub(crate) fn detach(&self, generation: u64) -> Option<Detached<M>> {
        let mut hand = self.lock_read_side();
        let mut inner = self.lock_write_side();
        if inner.owner != Some(generation) {
            return None;
        }
        inner.owner = None;
        inner.reader = None;
        hand.reader = None;
        let label = hand.current_label;
        hand.mark_idle();
        self.recheck.store(true, Release);
        Some(Detached { in_flight: label, unhandled: mem::take(&mut inner.task_results) })
    }

    /// The next message for incarnation `generation`. After `Empty` the next push wakes it.
    pub(crate) fn pop(&self, generation: u64) -> ReadOutcome<M> {
        let mut hand = self.lock_read_side();
        // One that was abandoned in a handler and has come back: what is here is its successor's.
        if hand.reader != Some(generation) {
            return ReadOutcome::Stop;
        }
        hand.mark_idle();
        // Asked under the reader's lock, so that it takes no message any more once `stop_reading` has returned.
        if (self.recheck.load(Acquire) || hand.queue.is_empty())
            && let Some(other) = self.refill(&mut hand)
        {
            return other;
        }
        let Some(entry) = hand.queue.pop_front() else { return ReadOutcome::Empty };
        self.buffered.store(hand.queue.len(), Release);
        let next = match entry {
            Entry::Message(envelope) => {
                let label = panics::catch_nested(|| envelope.message.label()).ok();
                hand.mark_busy(Some(label.unwrap_or_else(type_label::<M>)));
                ReadOutcome::Message(envelope, label)
            }
            #[cfg(debug_assertions)]
            Entry::InjectedPanic(caller) => {
                hand.mark_busy(Some(INJECTED_PANIC));
                ReadOutcome::InjectedPanic(caller)
            }
        };
        let waiting = hand.waiting_senders > 0;
        drop(hand);
        if waiting {
            self.room.notify_one();
        }
        next
    }

    /// Returns what the reader does instead of taking the next message from outside; else there is one in its hand.
    fn refill(&self, hand: &mut ReadSide<M>) -> Option<ReadOutcome<M>> {
        let mut inner = self.lock_write_side();
        // What is its own an incarnation sees even while it stops: a supervisor hears of its last children so.
        if let Some(own) = inner.task_results.pop_front() {
            hand.mark_busy(None);
            return Some(ReadOutcome::TaskResult(own));
        }
        if inner.is_stopping() {
            inner.mark_asleep();
            return Some(ReadOutcome::Stop);
        }
        self.recheck.store(false, Release);
        if hand.queue.is_empty() {
            mem::swap(&mut hand.queue, &mut inner.queue);
            // Before senders can look again: else they would count these messages neither here nor there.
            self.buffered.store(hand.queue.len(), Release);
            inner.last_refill_len = hand.queue.len();
        }
        if hand.queue.is_empty() {
            inner.mark_asleep();
            hand.queue.shrink_to(CAPACITY_KEPT);
            inner.queue.shrink_to(CAPACITY_KEPT);
            return Some(ReadOutcome::Empty);
        }
        None
    }

    /// Wakes incarnation `generation` once more, because it ends its turn with messages left.
    pub(crate) fn reschedule(&self, generation: u64) {
        let mut hand = self.lock_read_side();
        if hand.reader != Some(generation) {
            return;
        }
        hand.mark_idle();
        drop(hand);
        let mut inner = self.lock_write_side();
        if let Some(reader) = &mut inner.reader {
            reader.woken = false;
            reader.wake();
        }
    }

    /// Hands incarnation `generation` what is its own; a later incarnation never sees it, and it comes back.
    pub(crate) fn push_task_result(&self, generation: u64, own: TaskResult<M>) -> Option<TaskResult<M>> {
        let mut inner = self.lock_write_side();
        if inner.owner != Some(generation) {
            return Some(own);
        }
        inner.task_results.push_back(own);
        self.recheck.store(true, Release);
        if let Some(reader) = &mut inner.reader {
            reader.wake();
        }
        None
    }

    /// Incarnation `generation` takes no further message from outside.
    pub(crate) fn finish_reading(&self, generation: u64) {
        let hand = self.lock_read_side();
        if hand.reader == Some(generation) {
            self.mark_stopping(&hand);
        }
    }

    /// With the reader's lock held: a reader that is about to take a message has taken it, or does not.
    fn mark_stopping(&self, _hand: &ReadSide<M>) {
        if let Some(reader) = &mut self.lock_write_side().reader {
            reader.stopping = true;
            self.recheck.store(true, Release);
        }
    }

    /// Takes a message back from an incarnation that has ended: in front of all others, room or no room. A mailbox
    /// that is closed hands it back.
    pub(crate) fn push_front(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        let mut hand = self.lock_read_side();
        // Held, so that nobody closes it meanwhile, or counts.
        let mut inner = self.lock_write_side();
        if inner.closed {
            return Err(envelope);
        }
        inner.last_refill_len = hand.queue.len() + 1;
        hand.queue.push_front(Entry::Message(envelope));
        self.buffered.store(hand.queue.len(), Release);
        Ok(())
    }

    // === for the supervisor ===

    /// Counts a crash on the message that was given back, and takes it out if that was one too many.
    ///
    /// Nobody reads between the return of a message and the account of the exit, so it is still in front. A mailbox
    /// that was closed meanwhile has told of it already.
    pub(crate) fn count_redelivery_crash(&self) -> Option<Envelope<M>> {
        let mut hand = self.lock_read_side();
        let returned = hand.queue.front_mut().and_then(Entry::returned)?;
        returned.crashes = returned.crashes.saturating_add(1);
        if returned.crashes < returned.crashes_max {
            return None;
        }
        let poison = hand.queue.pop_front();
        self.buffered.store(hand.queue.len(), Release);
        poison.and_then(Entry::into_envelope)
    }

    /// Lets the reader take no further message from outside.
    pub(crate) fn stop_reading(&self) {
        self.mark_stopping(&self.lock_read_side());
    }

    /// How far the reader has come. One that does not read yet is at work on its start.
    pub(crate) fn progress(&self) -> ActorProgress {
        let hand = self.lock_read_side();
        ActorProgress { steps: hand.taken, is_busy: hand.is_busy || self.lock_write_side().reader.is_none() }
    }

    /// Whether the reader has been told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock_write_side().is_stopping()
    }

    /// Refuses messages from now on, and returns those that wait.
    pub(crate) fn close(&self) -> VecDeque<Entry<M>> {
        let emptied = {
            let mut hand = self.lock_read_side();
            let mut inner = self.lock_write_side();
            inner.closed = true;
            self.buffered.store(0, Release);
            let mut emptied = mem::take(&mut hand.queue);
            emptied.append(&mut inner.queue);
            emptied
        };
        self.room.notify_waiters();
        emptied
    }

    /// Accepts messages again.
    pub(crate) fn open(&self) {
        self.lock_write_side().closed = false;
    }
}

/// A sender that waits for room, counted for as long as it waits.
struct SendWaiter<'a, M: Message>(&'a Mailbox<M>);

impl<'a, M: Message> SendWaiter<'a, M> {
    fn register(mailbox: &'a Mailbox<M>) -> Self {
        // Under the reader's lock: the places that it made before are seen now, and those that it makes later are told of.
        mailbox.lock_read_side().waiting_senders += 1;
        Self(mailbox)
    }
}

impl<M: Message> Drop for SendWaiter<'_, M> {
    fn drop(&mut self) {
        let others = {
            let mut hand = self.0.lock_read_side();
            hand.waiting_senders -= 1;
            hand.waiting_senders > 0
        };
        // A sender that was woken for a place and gave up passes the word on.
        if others && self.0.len() < self.0.capacity {
            self.0.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::reply::Reply;

    impl Message for u32 {}

    fn envelope(message: u32) -> Envelope<u32> {
        Envelope::new(message, None)
    }

    #[test]
    fn full_mailbox_returns_the_message() {
        let mailbox = Mailbox::new(1);
        assert!(mailbox.push(envelope(1)).is_ok());
        assert!(matches!(mailbox.push(envelope(2)), Err((Envelope { message: 2, .. }, SendErrorKind::Full))));
    }

    #[test]
    fn closed_mailbox_is_emptied_and_refuses_until_opened() {
        let mailbox = Mailbox::new(4);
        mailbox.push(envelope(1)).unwrap();
        assert_eq!(mailbox.close().len(), 1);
        assert!(matches!(mailbox.push(envelope(2)), Err((_, SendErrorKind::Stopped))));
        mailbox.open();
        assert!(mailbox.push(envelope(3)).is_ok());
    }

    #[tokio::test]
    async fn waiting_sender_is_refused_when_mailbox_closes() {
        let mailbox = Mailbox::new(1);
        mailbox.push(envelope(1)).unwrap();
        let mut waiting = Box::pin(mailbox.push_when_room(envelope(2)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        mailbox.close();
        assert!(matches!(waiting.await, Err((Envelope { message: 2, .. }, SendErrorKind::Stopped))));
    }

    fn redelivered_envelope(message: u32, crashes_max: u32) -> Envelope<u32> {
        Envelope { redelivery: Some(RedeliveryState { crashes: 0, crashes_max }), ..envelope(message) }
    }

    #[test]
    fn push_front_precedes_others_even_when_full() {
        let mailbox = Mailbox::new(1);
        mailbox.push(envelope(2)).unwrap();
        mailbox.push_front(redelivered_envelope(1, 2)).unwrap();
        assert!(matches!(mailbox.push(envelope(3)), Err((_, SendErrorKind::Full))));
        let waiting = mailbox.close().into_iter().filter_map(Entry::into_envelope);
        let order: Vec<u32> = waiting.map(|envelope| envelope.message).collect();
        assert_eq!(order, [1, 2]);
        assert!(mailbox.push_front(redelivered_envelope(4, 2)).is_err());
    }

    #[test]
    fn redelivery_crash_limit_removes_the_message_alone() {
        let mailbox = Mailbox::new(4);
        mailbox.push(envelope(2)).unwrap();
        mailbox.push_front(redelivered_envelope(1, 2)).unwrap();
        assert!(mailbox.count_redelivery_crash().is_none());
        assert_eq!(mailbox.count_redelivery_crash().map(|envelope| envelope.message), Some(1));
        assert!(mailbox.count_redelivery_crash().is_none(), "a message that was never handled was blamed");
        assert_eq!(mailbox.len(), 1);
    }

    #[tokio::test]
    async fn waiting_sender_dropped_answers_full() {
        struct HeldReply(#[allow(dead_code, reason = "held, never answered")] Option<Reply<()>>);
        impl Message for HeldReply {}
        let mailbox = Mailbox::new(1);
        assert!(mailbox.push(Envelope::new(HeldReply(None), None)).is_ok());
        let (reply, promise) = Reply::channel();
        let mut waiting = Box::pin(mailbox.push_when_room(Envelope::new(HeldReply(Some(reply)), None)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        assert_eq!(promise.await, Err(CallError::Full));
        assert_eq!(mailbox.len(), 1);
    }
}
