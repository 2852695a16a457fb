//! What one incarnation of the queue works on. It follows from the book and ends with the incarnation, all but the budget.

use std::time::Duration;

use mainstay_runtime::{Context, Timer};
use tokio::sync::oneshot;

use super::{
    gate::{BackendAvailability, Gate},
    message::QueueMessage,
    permits::Permits,
    policy::QueuePolicy,
    priority_queue::PriorityQueue,
    retry_budget::RetryBudget,
    stats::{QueueStats, WaitingByPriority},
};
use crate::request::{Priority, RequestId};

/// The state of one incarnation.
pub struct State {
    /// When the message at hand came up. One time for all that it entails.
    pub(super) now: Duration,
    pub(super) queue: PriorityQueue<()>,
    /// Each with what calls the attempt off when dropped; `None` where that has been done.
    pub(super) permits: Permits<Option<oneshot::Sender<()>>>,
    pub(super) budget: RetryBudget,
    pub(super) gate: Gate,
    pub(super) timer: Timer,
    /// The request under way over which the backend died before, if it still is.
    suspect: Option<RequestId>,
    /// Others of that kind, which wait for it to end.
    suspects_waiting: Vec<RequestId>,
}

impl State {
    pub(super) fn new(policy: &QueuePolicy, link: BackendAvailability, now: Duration) -> Self {
        Self {
            now,
            queue: PriorityQueue::new(policy.queue),
            permits: Permits::new(policy.max_concurrent),
            budget: RetryBudget::new(policy.budget),
            gate: Gate::new(policy.retry.delay, link, now),
            timer: Timer::default(),
            suspect: None,
            suspects_waiting: Vec::new(),
        }
    }

    /// Whether an attempt at the request is under way. One that was called off is, until it has let go.
    pub(super) fn is_running(&self, id: RequestId) -> bool {
        self.permits.is_held_by(id)
    }

    /// Lets a request under way over which the backend died before, if no other such request is. Two at once could not be
    /// told apart if it dies again. One that has to wait is given out by [`suspects_to_line_up`](Self::suspects_to_line_up).
    pub(super) fn admit_suspect(&mut self, id: RequestId) -> bool {
        if self.suspect_is_running() {
            self.suspects_waiting.push(id);
            return false;
        }
        self.suspect = Some(id);
        true
    }

    /// Gives out those that waited for a suspect which has ended.
    pub(super) fn suspects_to_line_up(&mut self) -> Vec<RequestId> {
        if self.suspect_is_running() { Vec::new() } else { std::mem::take(&mut self.suspects_waiting) }
    }

    fn suspect_is_running(&self) -> bool {
        self.suspect.is_some_and(|id| self.is_running(id))
    }

    /// Takes a permit for an attempt; what it returns resolves when the attempt is called off. `None` if there is no
    /// permit for it.
    pub(super) fn begin_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (call_off, called_off) = oneshot::channel();
        self.permits.try_acquire(id, Some(call_off)).then_some(called_off)
    }

    /// Lets an attempt whose answer has begun go on with its permit; what it returns resolves when the attempt is called
    /// off. `None` if no attempt is under way.
    pub(super) fn continue_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (call_off, called_off) = oneshot::channel();
        *self.permits.get_mut(id)? = Some(call_off);
        Some(called_off)
    }

    /// Gives the permit back: nothing of the attempt is left.
    pub(super) fn end_attempt(&mut self, id: RequestId) {
        self.permits.release(id);
    }

    /// Lets a request leave the line, and calls off the attempt at it. Its permit comes back when the attempt has let
    /// go, so that there is never one more connection than may be.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.queue.cancel(id);
        if let Some(call_off) = self.permits.get_mut(id) {
            *call_off = None;
        }
    }

    /// Has the actor look again when something is due.
    pub(super) fn schedule_tick(&mut self, ctx: &mut Context<QueueMessage>) {
        // Without a permit nothing can run, however due it is; the permit's return is looked at anyway.
        let due = if self.permits.is_available() { self.next_start() } else { None };
        if let Some(due) = due.into_iter().chain(self.queue.next_deadline()).min() {
            self.timer.wake_by(ctx, due, QueueMessage::TimerElapsed);
        }
    }

    /// When the next attempt can start, as far as permits go. What may run and is not held has started already.
    fn next_start(&self) -> Option<Duration> {
        match self.gate.outage() {
            None => self.queue.next_due(),
            Some(hold) => Some(self.queue.next_ready(self.now)?.max(hold.next_probe_at)),
        }
    }

    pub(super) fn stats(&self, max_concurrent: usize) -> QueueStats {
        QueueStats {
            waiting: self.queue.len(),
            backing_off: self.queue.delayed(),
            running: self.permits.held_count(),
            max_concurrent: max_concurrent.max(1),
            outage: self.gate.outage(),
            by_priority: WaitingByPriority {
                high: self.queue.count(Priority::High),
                normal: self.queue.count(Priority::Normal),
                low: self.queue.count(Priority::Low),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_attempt_keeps_its_permit_until_it_ends() {
        let policy = QueuePolicy { max_concurrent: 1, ..QueuePolicy::default() };
        let (mut desk, id) =
            (State::new(&policy, BackendAvailability::Unknown, Duration::ZERO), RequestId(1));
        let mut called_off = desk.begin_attempt(id).unwrap();
        assert!(called_off.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        desk.cancel(id);
        assert!(called_off.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(desk.is_running(id) && !desk.permits.is_available());
        assert!(desk.begin_attempt(RequestId(2)).is_none());
        desk.end_attempt(id);
        assert!(!desk.is_running(id) && desk.begin_attempt(RequestId(2)).is_some());
    }
}
