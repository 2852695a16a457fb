//! The state of one incarnation of the queue, and the figures that it publishes.
//!
//! The state is derived from the request table and ends with the incarnation, except the retry budget.

use std::time::Duration;

use mainstay_runtime::{Context, Timer};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::{
    gate::{Gate, Outage},
    message::QueueMessage,
    policy::QueuePolicy,
    priority_queue::PriorityQueue,
    retry_budget::RetryBudget,
};
use crate::{
    network::BackendAvailability,
    request::Priority,
    request_id::{IdMap, RequestId},
};

/// The state of one incarnation.
pub struct State {
    /// The time of the current message, used for everything that follows from it.
    pub(super) now: Duration,
    pub(super) queue: PriorityQueue<()>,
    /// The attempts in flight, at most `max_concurrent`. Each has the sender whose drop cancels it; `None` once
    /// cancelled. A request in a backoff has none.
    running: IdMap<Option<oneshot::Sender<()>>>,
    max_concurrent: usize,
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
            running: IdMap::default(),
            max_concurrent: policy.max_concurrent.max(1),
            budget: RetryBudget::new(policy.budget),
            gate: Gate::new(policy.retry.delay, availability, now),
            timer: Timer::default(),
            suspect: None,
            suspects_waiting: Vec::new(),
        }
    }

    /// Returns whether an attempt at the request is in flight. A cancelled attempt is, until its task has ended.
    pub(super) fn is_running(&self, id: RequestId) -> bool {
        self.running.contains_key(&id)
    }

    /// Returns whether another attempt may be in flight.
    pub(super) fn has_free_permit(&self) -> bool {
        self.running.len() < self.max_concurrent
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

    /// Acquires a permit for an attempt. The receiver resolves when the attempt is cancelled. Returns `None` if no
    /// permit is free or the request holds one already.
    pub(super) fn begin_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        if !self.has_free_permit() || self.is_running(id) {
            return None;
        }
        let (cancel, cancelled) = oneshot::channel();
        self.running.insert(id, Some(cancel));
        Some(cancelled)
    }

    /// Continues an attempt whose response has started, with its permit. The receiver resolves when it is cancelled.
    /// Returns `None` if no attempt is in flight.
    pub(super) fn continue_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        *self.running.get_mut(&id)? = Some(cancel);
        Some(cancelled)
    }

    /// Releases the permit of an attempt that has ended, if it holds one.
    pub(super) fn end_attempt(&mut self, id: RequestId) {
        self.running.remove(&id);
    }

    /// Removes a request from the queue and cancels its attempt. The permit is released when the attempt's task has
    /// ended, so that the limit of connections holds.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.queue.cancel(id);
        if let Some(cancel) = self.running.get_mut(&id) {
            *cancel = None;
        }
    }

    /// Schedules the next wake-up.
    pub(super) fn schedule_tick(&mut self, ctx: &mut Context<QueueMessage>) {
        // Without a free permit nothing can start; a released permit triggers a check anyway.
        let due = if self.has_free_permit() { self.next_start() } else { None };
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

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats {
            waiting: self.queue.len(),
            backing_off: self.queue.delayed(),
            running: self.running.len(),
            max_concurrent: self.max_concurrent,
            outage: self.gate.outage(),
            by_priority: WaitingByPriority {
                high: self.queue.count(Priority::High),
                normal: self.queue.count(Priority::Normal),
                low: self.queue.count(Priority::Low),
            },
        }
    }
}

// === figures ===

/// The figures of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// The number of waiting requests, those in a backoff included.
    pub waiting: usize,
    /// The number of requests in a backoff.
    pub backing_off: usize,
    /// The number of attempts in flight.
    pub running: usize,
    /// The most attempts in flight.
    pub max_concurrent: usize,
    /// The number of waiting requests by priority.
    pub by_priority: WaitingByPriority,
    /// The outage that holds all requests, while there is one.
    #[serde(skip)]
    pub outage: Option<Outage>,
}

/// The number of waiting requests, by their priority at arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingByPriority {
    /// With priority high: a person waits for the result.
    pub high: usize,
    /// With priority normal.
    pub normal: usize,
    /// With priority low: background work.
    pub low: usize,
}

/// A shared view of a queue's figures. Cheap to clone; all clones show the same.
///
/// The queue's actor updates it after each message. While the actor is down, it shows the last figures.
#[derive(Debug, Clone, Default)]
pub struct QueueView(watch::Sender<QueueStats>);

impl QueueView {
    /// Returns the current figures.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        *self.0.borrow()
    }

    /// Subscribes to the figures.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn subscribe(&self) -> watch::Receiver<QueueStats> {
        self.0.subscribe()
    }

    pub(super) fn publish(&self, stats: QueueStats) {
        self.0.send_if_modified(|shown| {
            let is_new = std::mem::replace(shown, stats) != stats;
            // A wake-up without receivers costs time. A later subscriber starts with the current value.
            is_new && self.0.receiver_count() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn state(max_concurrent: usize) -> State {
        let policy = QueuePolicy { max_concurrent, ..QueuePolicy::default() };
        State::new(&policy, BackendAvailability::Unknown, Duration::ZERO)
    }

    #[test]
    fn cancelled_attempt_keeps_its_permit_until_it_ends() {
        let (mut state, id) = (state(1), RequestId(1));
        let mut cancelled = state.begin_attempt(id).unwrap();
        assert!(cancelled.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        state.cancel(id);
        assert!(cancelled.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(state.is_running(id) && !state.has_free_permit());
        assert!(state.begin_attempt(RequestId(2)).is_none());
        state.end_attempt(id);
        assert!(!state.is_running(id) && state.begin_attempt(RequestId(2)).is_some());
    }

    #[test]
    fn permit_is_released_once() {
        let mut state = state(2);
        assert!(state.begin_attempt(RequestId(1)).is_some() && state.begin_attempt(RequestId(2)).is_some());
        for _ in 0..2 {
            state.end_attempt(RequestId(1));
            assert_eq!(state.stats().running, 1);
        }
    }

    proptest! {
        #[test]
        fn permits_held_never_exceed_max(
            max in 0..4_usize,
            calls in prop::collection::vec((any::<bool>(), 0..6_u64), 0..60),
        ) {
            let mut state = state(max);
            let mut running = HashSet::new();
            for (begins, id) in calls {
                if begins {
                    let granted = running.len() < max.max(1) && !running.contains(&id);
                    prop_assert_eq!(state.begin_attempt(RequestId(id)).is_some(), granted);
                    if granted { running.insert(id); }
                } else {
                    state.end_attempt(RequestId(id));
                    running.remove(&id);
                }
                prop_assert_eq!(state.stats().running, running.len());
                prop_assert_eq!(state.has_free_permit(), running.len() < max.max(1));
            }
        }
    }
}
