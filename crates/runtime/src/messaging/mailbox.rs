//! The queue of an actor's messages. It belongs to the slot, so it outlives every incarnation.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ractor::ActorRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actor::panics::{self, Panic};
use crate::actor::wake::Wake;
use crate::messaging::call_error::CallError;
use crate::messaging::message::{Message, name_of};
use crate::messaging::teardown;
use crate::supervisor::Progress;

/// Messages that a mailbox holds if nothing else is said.
pub(crate) const CAPACITY_DEFAULT: usize = 1024;
/// Room that an emptied mailbox keeps for the next burst.
const ROOM_KEPT: usize = 32;

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
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
    pub(crate) returned: Option<Returned>,
}

/// What is known of a message that is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Returned {
    /// Crashes on it so far.
    pub(crate) crashes: u32,
    /// With this many it is poison.
    pub(crate) crashes_max: u32,
}

impl<M: Message> Envelope<M> {
    pub(crate) fn new(message: M, expires_at: Option<Instant>) -> Self {
        Self { message, expires_at, returned: None }
    }

    /// What the journal calls the message, even if the message itself panics when it is asked.
    pub(crate) fn label(&self) -> &'static str {
        panics::attempt(|| self.message.label()).unwrap_or_else(|_| name_of::<M>())
    }
}

/// What an incarnation finds when it looks into its mailbox.
#[derive(Debug)]
pub(crate) enum Next<M> {
    /// A message from outside, and what it calls itself; `None` if it panicked when it was asked.
    Mail(Envelope<M>, Option<&'static str>),
    /// What a task of this incarnation came back with.
    Own(Own<M>),
    /// Nothing for now; the next push wakes the incarnation.
    Empty,
    /// The incarnation is to stop before it takes another message from outside.
    Stop,
}

/// What a task of an incarnation ended with.
#[derive(Debug)]
pub(crate) enum Own<M> {
    /// A message for the incarnation.
    Message(M),
    /// A panic, which is the incarnation's own. It is rare, and each actor keeps room for several of these.
    Panic(Box<Panic>),
}

/// What an incarnation leaves in its mailbox when its reading ends.
pub(crate) struct Detached<M> {
    /// The label of the message from outside that it has in hand.
    pub(crate) in_hand: Option<&'static str>,
    /// What its tasks had brought and nobody handled.
    pub(crate) unhandled: VecDeque<Own<M>>,
}

/// Bounded, ordered, and never without a word: what is pushed is popped, or handed back, or emptied out.
///
/// Senders and a reader that has much to do seldom meet at a lock: the reader takes over everything that waits, and comes
/// back when that is handled. Where both locks are needed, the reader's comes first.
#[repr(C)]
pub(crate) struct Mailbox<M> {
    hand: Mutex<Hand<M>>,
    /// How many messages the reader has taken over. Changed under its lock, and raised under both.
    ahead: AtomicUsize,
    /// Whether the reader has to look into `inner` before it goes on with what it has taken over.
    alert: AtomicBool,
    // These change seldom. They keep what the reader writes off the cache lines that senders write.
    room: Notify,
    capacity: usize,
    _apart: [u64; 3],
    inner: Mutex<Inner<M>>,
}

/// What is the reader's; the lock is for those who look on.
struct Hand<M> {
    /// The incarnation that reads.
    reader: Option<u64>,
    /// What it has taken over. It goes before what is in [`Inner`].
    queue: VecDeque<Envelope<M>>,
    /// The label of the message from outside that the reader is handling.
    label: Option<&'static str>,
    /// What the reader has taken so far, and whether it is still at work on the last of it.
    taken: u64,
    at_work: bool,
    /// How many senders wait for room.
    waiting: usize,
}

struct Inner<M> {
    queue: VecDeque<Envelope<M>>,
    /// What the incarnation's own tasks brought. Bounded by the number of those tasks.
    own: VecDeque<Own<M>>,
    /// The incarnation whose tasks may bring something: from its birth, so before it reads, to its end.
    owner: Option<u64>,
    reader: Option<Reader>,
    closed: bool,
    /// How many messages the reader took over the last time; it has no more than these.
    ahead_max: usize,
}

/// The incarnation that reads.
struct Reader {
    wake: ActorRef<Wake>,
    /// Whether a wake-up is already on its way.
    woken: bool,
    stopping: bool,
}

impl Reader {
    fn wake(&mut self) {
        if !mem::replace(&mut self.woken, true) {
            // An incarnation that has just ended does not hear it; its successor looks in when it attaches.
            let _ = self.wake.send_message(Wake::Mail);
        }
    }
}

impl<M> Hand<M> {
    /// Notes that the reader is at work on something.
    fn take(&mut self, label: Option<&'static str>) {
        self.label = label;
        self.at_work = true;
        self.taken += 1;
    }

    /// Notes that the reader is at work on nothing.
    fn rest(&mut self) {
        self.label = None;
        self.at_work = false;
    }
}

impl<M> Inner<M> {
    fn is_stopping(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| reader.stopping)
    }

    /// The reader has nothing to do: the next push wakes it.
    fn sleep(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.woken = false;
        }
    }
}

impl<M: Message> Mailbox<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        let hand =
            Hand { reader: None, queue: VecDeque::new(), label: None, taken: 0, at_work: false, waiting: 0 };
        let inner = Inner {
            queue: VecDeque::new(),
            own: VecDeque::new(),
            owner: None,
            reader: None,
            closed: false,
            ahead_max: 0,
        };
        Self {
            hand: Mutex::new(hand),
            inner: Mutex::new(inner),
            _apart: [0; 3],
            ahead: AtomicUsize::new(0),
            alert: AtomicBool::new(false),
            room: Notify::new(),
            capacity: capacity.max(1),
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand<M>> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === for senders ===

    /// Accepts a message, or hands it back.
    pub(crate) fn push(&self, envelope: Envelope<M>) -> Result<(), (Envelope<M>, Refusal)> {
        let mut inner = self.lock();
        self.accept(&mut inner, envelope)
    }

    /// Accepts a message as soon as there is room.
    pub(crate) async fn push_when_room(&self, envelope: Envelope<M>) -> Result<(), (Envelope<M>, Refusal)> {
        match self.push(envelope) {
            // A sender that gives up while it waits drops a message that nobody had room for.
            Err((envelope, Refusal::Full)) => {
                teardown::scoped(|| CallError::Full, self.wait_for_room(envelope)).await
            }
            settled => settled,
        }
    }

    async fn wait_for_room(&self, mut envelope: Envelope<M>) -> Result<(), (Envelope<M>, Refusal)> {
        let _waiting = Waiting::register(self);
        loop {
            let room = self.room.notified();
            envelope = match self.push(envelope) {
                Err((envelope, Refusal::Full)) => envelope,
                settled => return settled,
            };
            room.await;
        }
    }

    fn accept(&self, inner: &mut Inner<M>, envelope: Envelope<M>) -> Result<(), (Envelope<M>, Refusal)> {
        if inner.closed {
            return Err((envelope, Refusal::Stopped));
        }
        if inner.queue.len() + inner.ahead_max >= self.capacity && self.len_in(inner) >= self.capacity {
            return Err((envelope, Refusal::Full));
        }
        inner.queue.push_back(envelope);
        if let Some(reader) = &mut inner.reader {
            reader.wake();
        }
        Ok(())
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.len_in(&self.lock())
    }

    fn len_in(&self, inner: &Inner<M>) -> usize {
        self.ahead.load(Acquire) + inner.queue.len()
    }

    // === for the incarnation ===

    /// Keeps what the tasks of incarnation `generation` bring from now on, until it reads.
    pub(crate) fn own_by(&self, generation: u64) {
        self.lock().owner = Some(generation);
    }

    /// Lets incarnation `generation` read, and wakes it if messages wait; not if the mailbox has another owner by now.
    pub(crate) fn attach(&self, generation: u64, wake: ActorRef<Wake>) {
        let mut hand = self.hand();
        let mut inner = self.lock();
        if inner.owner != Some(generation) {
            return;
        }
        hand.reader = Some(generation);
        let mut reader = Reader { wake, woken: false, stopping: false };
        if self.len_in(&inner) > 0 || !inner.own.is_empty() {
            reader.wake();
        }
        inner.reader = Some(reader);
    }

    /// Ends the reading of incarnation `generation`; `None` if that was done before. It takes no message from outside
    /// after the one that it has in hand.
    pub(crate) fn detach(&self, generation: u64) -> Option<Detached<M>> {
        let mut hand = self.hand();
        let mut inner = self.lock();
        if inner.owner != Some(generation) {
            return None;
        }
        inner.owner = None;
        inner.reader = None;
        hand.reader = None;
        let label = hand.label;
        hand.rest();
        self.alert.store(true, Release);
        Some(Detached { in_hand: label, unhandled: mem::take(&mut inner.own) })
    }

    /// The next message for incarnation `generation`. After `Empty` the next push wakes it.
    pub(crate) fn pop(&self, generation: u64) -> Next<M> {
        let mut hand = self.hand();
        // One that was abandoned in a handler and has come back: what is here is its successor's.
        if hand.reader != Some(generation) {
            return Next::Stop;
        }
        hand.rest();
        // Asked under the reader's lock, so that it takes no message any more once `stop_reading` has returned.
        if (self.alert.load(Acquire) || hand.queue.is_empty())
            && let Some(other) = self.look_in(&mut hand)
        {
            return other;
        }
        let Some(envelope) = hand.queue.pop_front() else { return Next::Empty };
        self.ahead.store(hand.queue.len(), Release);
        let label = panics::attempt_again(|| envelope.message.label()).ok();
        hand.take(Some(label.unwrap_or_else(name_of::<M>)));
        let waiting = hand.waiting > 0;
        drop(hand);
        if waiting {
            self.room.notify_one();
        }
        Next::Mail(envelope, label)
    }

    /// Returns what the reader does instead of taking the next message from outside; else there is one in its hand.
    fn look_in(&self, hand: &mut Hand<M>) -> Option<Next<M>> {
        let mut inner = self.lock();
        // What is its own an incarnation sees even while it stops: a supervisor hears of its last children so.
        if let Some(own) = inner.own.pop_front() {
            hand.take(None);
            return Some(Next::Own(own));
        }
        if inner.is_stopping() {
            inner.sleep();
            return Some(Next::Stop);
        }
        self.alert.store(false, Release);
        if hand.queue.is_empty() {
            mem::swap(&mut hand.queue, &mut inner.queue);
            // Before senders can look again: else they would count these messages neither here nor there.
            self.ahead.store(hand.queue.len(), Release);
            inner.ahead_max = hand.queue.len();
        }
        if hand.queue.is_empty() {
            inner.sleep();
            hand.queue.shrink_to(ROOM_KEPT);
            inner.queue.shrink_to(ROOM_KEPT);
            return Some(Next::Empty);
        }
        None
    }

    /// Wakes incarnation `generation` once more, because it ends its turn with messages left.
    pub(crate) fn wake_again(&self, generation: u64) {
        let mut hand = self.hand();
        if hand.reader != Some(generation) {
            return;
        }
        hand.rest();
        drop(hand);
        let mut inner = self.lock();
        if let Some(reader) = &mut inner.reader {
            reader.woken = false;
            reader.wake();
        }
    }

    /// Hands incarnation `generation` what is its own; a later incarnation never sees it, and it comes back.
    pub(crate) fn push_own(&self, generation: u64, own: Own<M>) -> Option<Own<M>> {
        let mut inner = self.lock();
        if inner.owner != Some(generation) {
            return Some(own);
        }
        inner.own.push_back(own);
        self.alert.store(true, Release);
        if let Some(reader) = &mut inner.reader {
            reader.wake();
        }
        None
    }

    /// Incarnation `generation` takes no further message from outside.
    pub(crate) fn finish_reading(&self, generation: u64) {
        let hand = self.hand();
        if hand.reader == Some(generation) {
            self.halt(&hand);
        }
    }

    /// With the reader's lock held: a reader that is about to take a message has taken it, or does not.
    fn halt(&self, _hand: &Hand<M>) {
        if let Some(reader) = &mut self.lock().reader {
            reader.stopping = true;
            self.alert.store(true, Release);
        }
    }

    /// Takes a message back from an incarnation that has ended: in front of all others, room or no room. A mailbox
    /// that is closed hands it back.
    pub(crate) fn give_back(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        let mut hand = self.hand();
        // Held, so that nobody closes it meanwhile, or counts.
        let mut inner = self.lock();
        if inner.closed {
            return Err(envelope);
        }
        inner.ahead_max = hand.queue.len() + 1;
        hand.queue.push_front(envelope);
        self.ahead.store(hand.queue.len(), Release);
        Ok(())
    }

    // === for the supervisor ===

    /// Counts a crash on the message that was given back, and takes it out if that was one too many.
    ///
    /// Nobody reads between the return of a message and the account of the exit, so it is still in front. A mailbox
    /// that was closed meanwhile has told of it already.
    pub(crate) fn blame_returned(&self) -> Option<Envelope<M>> {
        let mut hand = self.hand();
        let returned = hand.queue.front_mut()?.returned.as_mut()?;
        returned.crashes = returned.crashes.saturating_add(1);
        if returned.crashes < returned.crashes_max {
            return None;
        }
        let poison = hand.queue.pop_front();
        self.ahead.store(hand.queue.len(), Release);
        poison
    }

    /// Lets the reader take no further message from outside.
    pub(crate) fn stop_reading(&self) {
        self.halt(&self.hand());
    }

    /// How far the reader has come. One that does not read yet is at work on its start.
    pub(crate) fn progress(&self) -> Progress {
        let hand = self.hand();
        Progress { steps: hand.taken, is_busy: hand.at_work || self.lock().reader.is_none() }
    }

    /// Whether the reader has been told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().is_stopping()
    }

    /// Refuses messages from now on, and returns those that wait.
    pub(crate) fn close(&self) -> VecDeque<Envelope<M>> {
        let emptied = {
            let mut hand = self.hand();
            let mut inner = self.lock();
            inner.closed = true;
            self.ahead.store(0, Release);
            let mut emptied = mem::take(&mut hand.queue);
            emptied.append(&mut inner.queue);
            emptied
        };
        self.room.notify_waiters();
        emptied
    }

    /// Accepts messages again.
    pub(crate) fn open(&self) {
        self.lock().closed = false;
    }
}

/// A sender that waits for room, counted for as long as it waits.
struct Waiting<'a, M: Message>(&'a Mailbox<M>);

impl<'a, M: Message> Waiting<'a, M> {
    fn register(mailbox: &'a Mailbox<M>) -> Self {
        // Under the reader's lock: the places that it made before are seen now, and those that it makes later are told of.
        mailbox.hand().waiting += 1;
        Self(mailbox)
    }
}

impl<M: Message> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        let others = {
            let mut hand = self.0.hand();
            hand.waiting -= 1;
            hand.waiting > 0
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

    fn letter(message: u32) -> Envelope<u32> {
        Envelope::new(message, None)
    }

    #[test]
    fn a_full_mailbox_hands_the_message_back() {
        let mailbox = Mailbox::new(1);
        assert!(mailbox.push(letter(1)).is_ok());
        assert!(matches!(mailbox.push(letter(2)), Err((Envelope { message: 2, .. }, Refusal::Full))));
    }

    #[test]
    fn a_closed_mailbox_gives_up_what_it_held_and_refuses_until_it_is_opened() {
        let mailbox = Mailbox::new(4);
        mailbox.push(letter(1)).unwrap();
        assert_eq!(mailbox.close().len(), 1);
        assert!(matches!(mailbox.push(letter(2)), Err((_, Refusal::Stopped))));
        mailbox.open();
        assert!(mailbox.push(letter(3)).is_ok());
    }

    #[tokio::test]
    async fn a_sender_that_waits_for_room_learns_that_the_mailbox_was_closed() {
        let mailbox = Mailbox::new(1);
        mailbox.push(letter(1)).unwrap();
        let mut waiting = Box::pin(mailbox.push_when_room(letter(2)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        mailbox.close();
        assert!(matches!(waiting.await, Err((Envelope { message: 2, .. }, Refusal::Stopped))));
    }

    fn returned(message: u32, crashes_max: u32) -> Envelope<u32> {
        Envelope { returned: Some(Returned { crashes: 0, crashes_max }), ..letter(message) }
    }

    #[test]
    fn a_message_that_is_given_back_waits_in_front_of_all_others_even_if_there_is_no_room() {
        let mailbox = Mailbox::new(1);
        mailbox.push(letter(2)).unwrap();
        mailbox.give_back(returned(1, 2)).unwrap();
        assert!(matches!(mailbox.push(letter(3)), Err((_, Refusal::Full))));
        let order: Vec<u32> = mailbox.close().into_iter().map(|envelope| envelope.message).collect();
        assert_eq!(order, [1, 2]);
        assert!(mailbox.give_back(returned(4, 2)).is_err());
    }

    #[test]
    fn the_crash_that_is_one_too_many_takes_the_message_out_and_leaves_the_others() {
        let mailbox = Mailbox::new(4);
        mailbox.push(letter(2)).unwrap();
        mailbox.give_back(returned(1, 2)).unwrap();
        assert!(mailbox.blame_returned().is_none());
        assert_eq!(mailbox.blame_returned().map(|envelope| envelope.message), Some(1));
        assert!(mailbox.blame_returned().is_none(), "a message that was never handled was blamed");
        assert_eq!(mailbox.len(), 1);
    }

    #[tokio::test]
    async fn a_sender_that_gives_up_waiting_for_room_leaves_word_that_there_was_none() {
        struct Letter(#[allow(dead_code, reason = "held, never answered")] Option<Reply<()>>);
        impl Message for Letter {}
        let mailbox = Mailbox::new(1);
        assert!(mailbox.push(Envelope::new(Letter(None), None)).is_ok());
        let (reply, promise) = Reply::channel();
        let mut waiting = Box::pin(mailbox.push_when_room(Envelope::new(Letter(Some(reply)), None)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        assert_eq!(promise.await, Err(CallError::Full));
        assert_eq!(mailbox.len(), 1);
    }
}
