//! The queue of an actor's messages. It belongs to the slot, so it outlives every incarnation.

use std::collections::VecDeque;
#[cfg(debug_assertions)]
use std::convert::Infallible;
use std::mem::{self, Discriminant};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::{Mutex, MutexGuard};
use ractor::ActorRef;
use tokio::sync::Notify;

use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;
use crate::messaging::envelope::{Envelope, INJECTED_PANIC, MailboxEntry};
use crate::messaging::label::Label;
use crate::messaging::message::Message;
use crate::messaging::panics::Panic;
use crate::messaging::progress::ActorProgress;
#[cfg(debug_assertions)]
use crate::messaging::reply::Reply;
use crate::messaging::wake::Wake;

/// The default capacity of a mailbox, in messages.
pub(crate) const CAPACITY_DEFAULT: usize = 1024;
/// The room that an emptied mailbox keeps for the next burst.
const CAPACITY_KEPT: usize = 32;

/// The reason for which a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// There is no room.
    Full,
    /// The actor is stopped, or has failed for good.
    Stopped,
}

/// The result of reading a mailbox.
#[derive(Debug)]
pub(crate) enum ReadOutcome<M> {
    /// A message from outside.
    Message(Envelope<M>),
    /// An injected panic, and the reply to its caller.
    #[cfg(debug_assertions)]
    InjectedPanic(Reply<Infallible>),
    /// The result of a task of this incarnation.
    TaskResult(TaskResult<M>),
    /// Nothing for now; the next push wakes the incarnation.
    Empty,
    /// The incarnation has to stop before it takes another message from outside.
    Stop,
}

/// The result of a task of an incarnation.
#[derive(Debug)]
pub(crate) enum TaskResult<M> {
    /// A message for the incarnation.
    Message(M),
    /// A panic, which counts as the incarnation's own. Boxed because it is rare, and each actor keeps room for
    /// several results.
    Panic(Box<Panic>),
}

/// The remains in a mailbox when its incarnation stops reading.
pub(crate) struct Detached<M> {
    /// The label of the message from outside that was being handled.
    pub(crate) in_flight: Option<Label>,
    /// The task results that were not handled.
    pub(crate) unhandled: VecDeque<TaskResult<M>>,
}

/// A bounded queue in order. Every pushed message is popped, returned or drained; none is lost.
///
/// Senders and a busy reader seldom contend for a lock: the reader takes everything that waits, and comes back when
/// that is handled. Where both locks are needed, the reader's comes first.
#[repr(C)]
pub(crate) struct Mailbox<M> {
    read_side: Mutex<ReadSide<M>>,
    /// The number of messages that the reader has taken. Changed under its lock, and raised under both.
    buffered: AtomicUsize,
    /// True when the reader has to check the write side before it continues with its own queue.
    recheck: AtomicBool,
    room: Notify,
    write_side: CacheAligned<WriteSide<M>>,
}

/// A lock that begins a cache line, with the fields that senders read, so that no write of the reader slows them.
#[repr(align(64))]
struct CacheAligned<T> {
    capacity: usize,
    lock: Mutex<T>,
}

/// The reader's part; the lock is for those who only inspect it.
struct ReadSide<M> {
    /// The incarnation that reads.
    reader: Option<u64>,
    /// The messages that it has taken. They come before those in [`WriteSide`].
    queue: VecDeque<MailboxEntry<M>>,
    /// The variant of the message from outside that was taken last, and its label. Most messages are of the variant
    /// before, and need no new label.
    last_variant: Option<(Discriminant<M>, Label)>,
    /// The number of entries and task results taken so far, and the one that is still being handled.
    taken: u64,
    work: ReaderWork,
    /// The number of senders that wait for room.
    waiting_senders: usize,
}

/// The work of the incarnation that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderWork {
    None,
    TaskResult,
    Entry,
}

struct WriteSide<M> {
    queue: VecDeque<MailboxEntry<M>>,
    /// The results of the incarnation's own tasks. Bounded by the number of those tasks.
    task_results: VecDeque<TaskResult<M>>,
    /// The incarnation whose task results are accepted: from its launch, so before it reads, to its end.
    owner: Option<u64>,
    reader: Option<MailboxReader>,
    closed: bool,
    /// The length of the last refill; the reader has at most this many messages.
    last_refill_len: usize,
}

/// The incarnation that reads.
struct MailboxReader {
    actor: ActorRef<Wake>,
    /// True when a wake-up has been sent and not yet handled.
    woken: bool,
    stopping: bool,
}

impl MailboxReader {
    fn wake(&mut self) {
        if !mem::replace(&mut self.woken, true) {
            // An incarnation that has just ended does not get it; its successor checks the mailbox when it attaches.
            let _ = self.actor.send_message(Wake::Message);
        }
    }
}

impl<M: Message> ReadSide<M> {
    fn begin(&mut self, work: ReaderWork) {
        self.work = work;
        self.taken += 1;
    }

    fn begin_entry(&mut self, entry: &MailboxEntry<M>) {
        self.begin(ReaderWork::Entry);
        let variant = entry.variant();
        if self.last_variant.as_ref().map(|(last, _)| *last) != variant {
            self.last_variant = variant.map(|variant| (variant, entry.label()));
        }
    }

    /// Returns the label of the entry that is being handled.
    fn label_in_flight(&self) -> Option<Label> {
        let label = self.last_variant.as_ref().map(|(_, label)| *label);
        (self.work == ReaderWork::Entry).then(|| label.unwrap_or_else(|| Label::from_name(INJECTED_PANIC)))
    }
}

impl<M> WriteSide<M> {
    fn accept(&mut self, entry: MailboxEntry<M>) {
        self.queue.push_back(entry);
        if let Some(reader) = &mut self.reader {
            reader.wake();
        }
    }

    fn is_stopping(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| reader.stopping)
    }

    /// Marks the reader as asleep: the next push wakes it.
    fn mark_asleep(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.woken = false;
        }
    }
}

impl<M: Message> Mailbox<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        let read = ReadSide {
            reader: None,
            queue: VecDeque::new(),
            last_variant: None,
            taken: 0,
            work: ReaderWork::None,
            waiting_senders: 0,
        };
        let write = WriteSide {
            queue: VecDeque::new(),
            task_results: VecDeque::new(),
            owner: None,
            reader: None,
            closed: false,
            last_refill_len: 0,
        };
        Self {
            read_side: Mutex::new(read),
            write_side: CacheAligned { capacity: capacity.max(1), lock: Mutex::new(write) },
            buffered: AtomicUsize::new(0),
            recheck: AtomicBool::new(false),
            room: Notify::new(),
        }
    }

    fn lock_read_side(&self) -> MutexGuard<'_, ReadSide<M>> {
        self.read_side.lock()
    }

    fn lock_write_side(&self) -> MutexGuard<'_, WriteSide<M>> {
        self.write_side.lock.lock()
    }

    // === for senders ===

    /// Accepts a message, or returns it.
    pub(crate) fn push(&self, envelope: Envelope<M>) -> Result<(), (Envelope<M>, SendErrorKind)> {
        let mut write = self.lock_write_side();
        if let Err(kind) = self.check_room(&write) {
            return Err((envelope, kind));
        }
        write.accept(MailboxEntry::Message(envelope));
        Ok(())
    }

    /// Accepts a message as soon as there is room.
    pub(crate) async fn push_when_room(
        &self,
        envelope: Envelope<M>,
    ) -> Result<(), (Envelope<M>, SendErrorKind)> {
        match self.push(envelope) {
            // A sender that stops waiting drops a message for which there was no room.
            Err((envelope, SendErrorKind::Full)) => {
                drop_reason::with_drop_reason(|| CallError::Full, self.wait_for_room(envelope)).await
            }
            result => result,
        }
    }

    async fn wait_for_room(&self, mut envelope: Envelope<M>) -> Result<(), (Envelope<M>, SendErrorKind)> {
        let _waiting = SendWaiter::register(self);
        loop {
            let room = self.room.notified();
            envelope = match self.push(envelope) {
                Err((envelope, SendErrorKind::Full)) => envelope,
                result => return result,
            };
            room.await;
        }
    }

    /// Accepts an injected panic.
    #[cfg(debug_assertions)]
    pub(crate) fn push_injected_panic(&self, caller: Reply<Infallible>) -> Result<(), SendErrorKind> {
        let mut write = self.lock_write_side();
        self.check_room(&write)?;
        write.accept(MailboxEntry::InjectedPanic(caller));
        Ok(())
    }

    fn check_room(&self, write: &WriteSide<M>) -> Result<(), SendErrorKind> {
        if write.closed {
            return Err(SendErrorKind::Stopped);
        }
        let is_full = write.queue.len() + write.last_refill_len >= self.write_side.capacity
            && self.len_locked(write) >= self.write_side.capacity;
        if is_full { Err(SendErrorKind::Full) } else { Ok(()) }
    }

    /// Returns the number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.len_locked(&self.lock_write_side())
    }

    fn len_locked(&self, write: &WriteSide<M>) -> usize {
        self.buffered.load(Acquire) + write.queue.len()
    }

    // === for the incarnation ===

    /// Accepts the task results of incarnation `generation` from now on, until it reads.
    pub(crate) fn set_owner(&self, generation: u64) {
        self.lock_write_side().owner = Some(generation);
    }

    /// Lets incarnation `generation` read, and wakes it if messages wait; does nothing if the mailbox has another
    /// owner by now.
    pub(crate) fn attach(&self, generation: u64, wake: ActorRef<Wake>) {
        let mut read = self.lock_read_side();
        let mut write = self.lock_write_side();
        if write.owner != Some(generation) {
            return;
        }
        read.reader = Some(generation);
        let mut reader = MailboxReader { actor: wake, woken: false, stopping: false };
        if self.len_locked(&write) > 0 || !write.task_results.is_empty() {
            reader.wake();
        }
        write.reader = Some(reader);
    }

    /// Ends the reading of incarnation `generation`; `None` if that was done before. After this it takes no message
    /// from outside.
    pub(crate) fn detach(&self, generation: u64) -> Option<Detached<M>> {
        let mut read = self.lock_read_side();
        let mut write = self.lock_write_side();
        if write.owner != Some(generation) {
            return None;
        }
        write.owner = None;
        write.reader = None;
        read.reader = None;
        let in_flight = read.label_in_flight();
        read.work = ReaderWork::None;
        self.recheck.store(true, Release);
        Some(Detached { in_flight, unhandled: mem::take(&mut write.task_results) })
    }

    /// Returns the next entry for incarnation `generation`. After `Empty` the next push wakes it.
    pub(crate) fn pop(&self, generation: u64) -> ReadOutcome<M> {
        let mut read = self.lock_read_side();
        // An incarnation that was abandoned in a handler and has come back: the mailbox belongs to its successor.
        if read.reader != Some(generation) {
            return ReadOutcome::Stop;
        }
        read.work = ReaderWork::None;
        // Checked under the reader's lock, so that no message is taken once `stop_reading` has returned.
        if (self.recheck.load(Acquire) || read.queue.is_empty())
            && let Some(other) = self.refill(&mut read)
        {
            return other;
        }
        let Some(entry) = read.queue.pop_front() else { return ReadOutcome::Empty };
        self.buffered.store(read.queue.len(), Release);
        read.begin_entry(&entry);
        let next = match entry {
            MailboxEntry::Message(envelope) => ReadOutcome::Message(envelope),
            #[cfg(debug_assertions)]
            MailboxEntry::InjectedPanic(caller) => ReadOutcome::InjectedPanic(caller),
        };
        let waiting = read.waiting_senders > 0;
        drop(read);
        if waiting {
            self.room.notify_one();
        }
        next
    }

    /// Refills the reader's queue; returns the outcome to use instead of the next message from outside, if there is
    /// one.
    fn refill(&self, read: &mut ReadSide<M>) -> Option<ReadOutcome<M>> {
        let mut write = self.lock_write_side();
        // An incarnation gets its own results even while it stops: a supervisor sees its last children end so.
        if let Some(result) = write.task_results.pop_front() {
            read.begin(ReaderWork::TaskResult);
            return Some(ReadOutcome::TaskResult(result));
        }
        if write.is_stopping() {
            write.mark_asleep();
            return Some(ReadOutcome::Stop);
        }
        self.recheck.store(false, Release);
        if read.queue.is_empty() {
            mem::swap(&mut read.queue, &mut write.queue);
            // Set before senders can push again: else `len` would count these messages on neither side.
            self.buffered.store(read.queue.len(), Release);
            write.last_refill_len = read.queue.len();
        }
        if read.queue.is_empty() {
            write.mark_asleep();
            read.queue.shrink_to(CAPACITY_KEPT);
            write.queue.shrink_to(CAPACITY_KEPT);
            return Some(ReadOutcome::Empty);
        }
        None
    }

    /// Wakes incarnation `generation` once more, because it ends its batch with messages left.
    pub(crate) fn reschedule(&self, generation: u64) {
        let mut read = self.lock_read_side();
        if read.reader != Some(generation) {
            return;
        }
        read.work = ReaderWork::None;
        drop(read);
        let mut write = self.lock_write_side();
        if let Some(reader) = &mut write.reader {
            reader.woken = false;
            reader.wake();
        }
    }

    /// Passes incarnation `generation` a result of its own task; returns it if another incarnation owns the mailbox.
    pub(crate) fn push_task_result(&self, generation: u64, result: TaskResult<M>) -> Option<TaskResult<M>> {
        let mut write = self.lock_write_side();
        if write.owner != Some(generation) {
            return Some(result);
        }
        write.task_results.push_back(result);
        self.recheck.store(true, Release);
        if let Some(reader) = &mut write.reader {
            reader.wake();
        }
        None
    }

    /// Ends the taking of messages from outside by incarnation `generation`.
    pub(crate) fn finish_reading(&self, generation: u64) {
        let read = self.lock_read_side();
        if read.reader == Some(generation) {
            self.mark_stopping(&read);
        }
    }

    /// Marks the mailbox as stopping. The reader's lock is held, so a message is either taken before or not at all.
    fn mark_stopping(&self, _hand: &ReadSide<M>) {
        if let Some(reader) = &mut self.lock_write_side().reader {
            reader.stopping = true;
            self.recheck.store(true, Release);
        }
    }

    /// Returns a message of an ended incarnation to the front of the mailbox, regardless of room. A closed mailbox
    /// hands it back.
    pub(crate) fn push_front(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        let mut read = self.lock_read_side();
        // Held, so that the mailbox is not closed or counted meanwhile.
        let mut write = self.lock_write_side();
        if write.closed {
            return Err(envelope);
        }
        write.last_refill_len = read.queue.len() + 1;
        read.queue.push_front(MailboxEntry::Message(envelope));
        self.buffered.store(read.queue.len(), Release);
        Ok(())
    }

    // === for the supervisor ===

    /// Counts a crash on the message that was returned, and removes it at the limit.
    ///
    /// No incarnation reads between the return of a message and the record of the exit, so it is still in front. A
    /// mailbox that was closed meanwhile has already recorded it as a dead letter.
    pub(crate) fn count_redelivery_crash(&self) -> Option<Envelope<M>> {
        let mut read = self.lock_read_side();
        let returned = read.queue.front_mut().and_then(MailboxEntry::returned)?;
        returned.crashes = returned.crashes.saturating_add(1);
        if returned.crashes < returned.crashes_max {
            return None;
        }
        let poison = read.queue.pop_front();
        self.buffered.store(read.queue.len(), Release);
        poison.and_then(MailboxEntry::into_envelope)
    }

    /// Stops the reader from taking another message from outside.
    pub(crate) fn stop_reading(&self) {
        self.mark_stopping(&self.lock_read_side());
    }

    /// Returns the reader's progress. Before it reads, its start counts as one busy step.
    pub(crate) fn progress(&self) -> ActorProgress {
        let read = self.lock_read_side();
        let is_busy = read.work != ReaderWork::None || self.lock_write_side().reader.is_none();
        ActorProgress { steps: read.taken, is_busy }
    }

    /// Returns whether the reader has to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock_write_side().is_stopping()
    }

    /// Refuses messages from now on, and returns those that wait.
    pub(crate) fn close(&self) -> VecDeque<MailboxEntry<M>> {
        let drained = {
            let mut read = self.lock_read_side();
            let mut write = self.lock_write_side();
            write.closed = true;
            self.buffered.store(0, Release);
            let mut drained = mem::take(&mut read.queue);
            drained.append(&mut write.queue);
            drained
        };
        self.room.notify_waiters();
        drained
    }

    /// Accepts messages again.
    pub(crate) fn open(&self) {
        self.lock_write_side().closed = false;
    }
}

/// A sender that waits for room, and is counted while it waits.
struct SendWaiter<'a, M: Message>(&'a Mailbox<M>);

impl<'a, M: Message> SendWaiter<'a, M> {
    fn register(mailbox: &'a Mailbox<M>) -> Self {
        // Under the reader's lock: room that it made before is seen now, and room that it makes later is signalled.
        mailbox.lock_read_side().waiting_senders += 1;
        Self(mailbox)
    }
}

impl<M: Message> Drop for SendWaiter<'_, M> {
    fn drop(&mut self) {
        let others = {
            let mut read = self.0.lock_read_side();
            read.waiting_senders -= 1;
            read.waiting_senders > 0
        };
        // A sender that was woken and stopped waiting passes the signal on.
        if others && self.0.len() < self.0.write_side.capacity {
            self.0.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::envelope::RedeliveryState;
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
        let waiting = mailbox.close().into_iter().filter_map(MailboxEntry::into_envelope);
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
        #[derive(Debug)]
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
