//! The queue of an actor's messages. It belongs to the slot, so it outlives every incarnation.

use std::collections::VecDeque;
use std::mem;
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
    /// A panic, which is the incarnation's own.
    Panic(Panic),
}

/// Bounded, ordered, and never without a word: what is pushed is popped, or handed back, or emptied out.
pub(crate) struct Mailbox<M> {
    inner: Mutex<Inner<M>>,
    room: Notify,
    capacity: usize,
}

struct Inner<M> {
    queue: VecDeque<Envelope<M>>,
    /// What the incarnation's own tasks brought. Bounded by the number of those tasks.
    own: VecDeque<Own<M>>,
    /// The incarnation whose tasks may bring something: from its birth, so before it reads, to its end.
    owner: Option<u64>,
    reader: Option<Reader>,
    /// The label of the message from outside that the reader has in hand.
    in_hand: Option<&'static str>,
    /// What the reader has taken so far, and whether it is still at work on the last of it.
    taken: u64,
    at_work: bool,
    /// How many senders wait for room.
    waiting: usize,
    closed: bool,
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

impl<M> Inner<M> {
    /// Notes that the reader is at work on something.
    fn take(&mut self, label: Option<&'static str>) {
        self.in_hand = label;
        self.at_work = true;
        self.taken += 1;
    }
}

impl<M: Message> Mailbox<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            own: VecDeque::new(),
            owner: None,
            reader: None,
            in_hand: None,
            taken: 0,
            at_work: false,
            waiting: 0,
            closed: false,
        };
        Self { inner: Mutex::new(inner), room: Notify::new(), capacity: capacity.max(1) }
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
        if inner.queue.len() >= self.capacity {
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
        self.lock().queue.len()
    }

    // === for the incarnation ===

    /// Keeps what the tasks of incarnation `generation` bring from now on, until it reads.
    pub(crate) fn own_by(&self, generation: u64) {
        self.lock().owner = Some(generation);
    }

    /// Lets the owner read, and wakes it if messages wait.
    pub(crate) fn attach(&self, wake: ActorRef<Wake>) {
        let mut inner = self.lock();
        let mut reader = Reader { wake, woken: false, stopping: false };
        if !inner.queue.is_empty() || !inner.own.is_empty() {
            reader.wake();
        }
        inner.reader = Some(reader);
    }

    /// Ends the reading of incarnation `generation`, and returns what its tasks had brought and nobody handled.
    pub(crate) fn detach(&self, generation: u64) -> VecDeque<Own<M>> {
        let mut inner = self.lock();
        if inner.owner != Some(generation) {
            return VecDeque::new();
        }
        inner.owner = None;
        inner.reader = None;
        inner.in_hand = None;
        inner.at_work = false;
        mem::take(&mut inner.own)
    }

    /// The next message for the reader. After `Empty` the next push wakes it.
    pub(crate) fn pop(&self) -> Next<M> {
        let mut inner = self.lock();
        inner.in_hand = None;
        inner.at_work = false;
        // What is its own an incarnation sees even while it stops: a supervisor hears of its last children so.
        if let Some(own) = inner.own.pop_front() {
            inner.take(None);
            return Next::Own(own);
        }
        if inner.reader.as_ref().is_none_or(|reader| reader.stopping) {
            if let Some(reader) = &mut inner.reader {
                reader.woken = false;
            }
            return Next::Stop;
        }
        let Some(envelope) = inner.queue.pop_front() else {
            if let Some(reader) = &mut inner.reader {
                reader.woken = false;
            }
            return Next::Empty;
        };
        let label = panics::attempt(|| envelope.message.label()).ok();
        inner.take(Some(label.unwrap_or_else(name_of::<M>)));
        if inner.queue.is_empty() && inner.queue.capacity() > ROOM_KEPT {
            inner.queue.shrink_to(ROOM_KEPT);
        }
        let waiting = inner.waiting > 0;
        drop(inner);
        if waiting {
            self.room.notify_one();
        }
        Next::Mail(envelope, label)
    }

    /// Wakes the reader once more, because it ends its turn with messages left.
    pub(crate) fn wake_again(&self) {
        let mut inner = self.lock();
        inner.at_work = false;
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
        if let Some(reader) = &mut inner.reader {
            reader.wake();
        }
        None
    }

    /// Takes a message back from an incarnation that has ended: in front of all others, room or no room. A mailbox
    /// that is closed hands it back.
    pub(crate) fn give_back(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(envelope);
        }
        inner.queue.push_front(envelope);
        Ok(())
    }

    // === for the supervisor ===

    /// Counts a crash on the message that was given back, and takes it out if that was one too many.
    ///
    /// Nobody reads between the return of a message and the account of the exit, so it is still in front. A mailbox
    /// that was closed meanwhile has told of it already.
    pub(crate) fn blame_returned(&self) -> Option<Envelope<M>> {
        let mut inner = self.lock();
        let returned = inner.queue.front_mut()?.returned.as_mut()?;
        returned.crashes = returned.crashes.saturating_add(1);
        if returned.crashes < returned.crashes_max {
            return None;
        }
        inner.queue.pop_front()
    }

    /// Lets the reader take no further message from outside.
    pub(crate) fn stop_reading(&self) {
        if let Some(reader) = &mut self.lock().reader {
            reader.stopping = true;
        }
    }

    /// How far the reader has come. One that does not read yet is at work on its start.
    pub(crate) fn progress(&self) -> Progress {
        let inner = self.lock();
        Progress { steps: inner.taken, is_busy: inner.at_work || inner.reader.is_none() }
    }

    /// The label of the message from outside that the reader has in hand.
    pub(crate) fn in_hand(&self) -> Option<&'static str> {
        self.lock().in_hand
    }

    /// Whether the reader has been told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().reader.as_ref().is_none_or(|reader| reader.stopping)
    }

    /// Refuses messages from now on, and returns those that wait.
    pub(crate) fn close(&self) -> VecDeque<Envelope<M>> {
        let emptied = {
            let mut inner = self.lock();
            inner.closed = true;
            mem::take(&mut inner.queue)
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
        mailbox.lock().waiting += 1;
        Self(mailbox)
    }
}

impl<M: Message> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        let left = {
            let mut inner = self.0.lock();
            inner.waiting -= 1;
            inner.waiting > 0 && inner.queue.len() < self.0.capacity
        };
        // A sender that was woken for a place and gave up passes the word on.
        if left {
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
