//! The state of one incarnation of the queue. It is derived from the request table and ends with the incarnation,
//! except the retry budget.

use std::time::Duration;

use mainstay_runtime::{Context, Timer};
use tokio::sync::oneshot;

use super::{
    gate::Gate,
    message::QueueMessage,
    permits::Permits,
    policy::QueuePolicy,
    priority_queue::PriorityQueue,
    retry_budget::RetryBudget,
    stats::{QueueStats, WaitingByPriority},
};
use crate::{
    network::BackendAvailability,
    request::{Priority, RequestId},
};

/// The state of one incarnation.
pub struct State {
    /// The time of the current message, used for everything that follows from it.
    pub(super) now: Duration,
    pub(super) queue: PriorityQueue<()>,
    /// Each with the sender whose drop cancels the attempt; `None` once cancelled.
    pub(super) permits: Permits<Option<oneshot::Sender<()>>>,
    pub(super) budget: RetryBudget,
    pub(super) gate: Gate,
    pub(super) timer: Timer,
    /// The running request over which the backend died before.
    suspect: Option<RequestId>,
    /// Further such requests, which wait for it to end.
    suspects_waiting: Vec<RequestId>,
}

impl State {
    pub(super) fn new(policy: &QueuePolicy, availability: BackendAvailability, now: Duration) -> Self {
        Self {
            now,
            queue: PriorityQueue::new(policy.queue),
            permits: Permits::new(policy.max_concurrent),
            budget: RetryBudget::new(policy.budget),
            gate: Gate::new(policy.retry.delay, availability, now),
            timer: Timer::default(),
            suspect: None,
            suspects_waiting: Vec::new(),
        }
    }

    /// Returns whether an attempt at the request is in flight. A cancelled attempt is, until its task has ended.
    pub(super) fn is_running(&self, id: RequestId) -> bool {
        self.permits.is_held_by(id)
    }

    /// Admits a request over which the backend died before, if no other such request runs. With two at once, the
    /// cause of another death would be unknown. One that has to wait is returned later by
    /// [`take_waiting_suspects`](Self::take_waiting_suspects).
    pub(super) fn admit_suspect(&mut self, id: RequestId) -> bool {
        if self.suspect_is_running() {
            self.suspects_waiting.push(id);
            return false;
        }
        self.suspect = Some(id);
        true
    }

    /// Returns the suspects that waited, once the running one has ended.
    pub(super) fn take_waiting_suspects(&mut self) -> Vec<RequestId> {
        if self.suspect_is_running() { Vec::new() } else { std::mem::take(&mut self.suspects_waiting) }
    }

    fn suspect_is_running(&self) -> bool {
        self.suspect.is_some_and(|id| self.is_running(id))
    }

    /// Acquires a permit for an attempt. The receiver resolves when the attempt is cancelled. Returns `None` without
    /// a free permit.
    pub(super) fn begin_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        self.permits.try_acquire(id, Some(cancel)).then_some(cancelled)
    }

    /// Continues an attempt whose response has started, with its permit. The receiver resolves when it is cancelled.
    /// Returns `None` if no attempt is in flight.
    pub(super) fn continue_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        *self.permits.get_mut(id)? = Some(cancel);
        Some(cancelled)
    }

    /// Releases the permit of an attempt that has ended.
    pub(super) fn end_attempt(&mut self, id: RequestId) {
        self.permits.release(id);
    }

    /// Removes a request from the queue and cancels its attempt. The permit is released when the attempt's task has
    /// ended, so that the limit of connections holds.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.queue.cancel(id);
        if let Some(cancel) = self.permits.get_mut(id) {
            *cancel = None;
        }
    }

    /// Schedules the next wake-up.
    pub(super) fn schedule_tick(&mut self, ctx: &mut Context<QueueMessage>) {
        // Without a free permit nothing can start; a released permit triggers a check anyway.
        let due = if self.permits.is_available() { self.next_start() } else { None };
        if let Some(due) = due.into_iter().chain(self.queue.next_deadline()).min() {
            self.timer.wake_by(ctx, due, QueueMessage::TimerElapsed);
        }
    }

    /// Returns the earliest start of the next attempt, permits aside. Requests that may run outside an outage have
    /// started already.
    fn next_start(&self) -> Option<Duration> {
        match self.gate.outage() {
            None => self.queue.next_due(),
            Some(outage) => Some(self.queue.next_ready(self.now)?.max(outage.next_probe_at)),
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
        let (mut state, id) =
            (State::new(&policy, BackendAvailability::Unknown, Duration::ZERO), RequestId(1));
        let mut cancelled = state.begin_attempt(id).unwrap();
        assert!(cancelled.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        state.cancel(id);
        assert!(cancelled.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(state.is_running(id) && !state.permits.is_available());
        assert!(state.begin_attempt(RequestId(2)).is_none());
        state.end_attempt(id);
        assert!(!state.is_running(id) && state.begin_attempt(RequestId(2)).is_some());
    }
}
