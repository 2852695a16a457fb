//! The state of one incarnation of the queue, and the figures that it publishes.
//!
//! The state is derived from the request table and ends with the incarnation, except the retry budget.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mainstay_runtime::clock::WallTime;
use mainstay_runtime::{Context, Timer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::{
    absence::BackendAbsence,
    expiry::ExpiryClock,
    gate::{Gate, Outage},
    groups::{GroupLimit, GroupPermits, GroupSet, GroupStats},
    latency::{LatencyLog, RequestLatency},
    message::QueueMessage,
    permits::{Permits, Resource},
    policy::QueuePolicy,
    priority_queue::{PopOutcome, PriorityQueue},
    retry_budget::RetryBudget,
};
use crate::{
    network::BackendAvailability,
    request::Priority,
    request_id::{IdMap, RequestId},
    standstill::{DRAIN_TIME, LATE_MIN},
};

/// The state of one incarnation.
pub struct State {
    /// The time of the current message, used for everything that follows from it.
    pub(super) now: Duration,
    pub(super) queue: PriorityQueue<()>,
    pub(super) expiry: ExpiryClock,
    /// The attempts in flight. A request in a backoff has none.
    running: IdMap<RunningAttempt>,
    permits: Permits,
    /// The attempts that have a deadline, earliest first.
    ends: BTreeSet<(Duration, RequestId)>,
    groups: GroupPermits,
    pub(super) budget: RetryBudget,
    pub(super) gate: Gate,
    /// The absence of the backend at `now`. Nothing starts while there is one.
    pub(super) absence: Option<BackendAbsence>,
    pub(super) timer: Timer,
    /// The running request over which the backend died before.
    suspect: Option<RequestId>,
    /// Further such requests, which wait for it to end.
    suspects_waiting: Vec<RequestId>,
}

/// An attempt in flight.
struct RunningAttempt {
    /// Dropped, this cancels the attempt; `None` once cancelled.
    cancel: Option<oneshot::Sender<()>>,
    groups: GroupSet,
    ends_at: Option<Duration>,
    /// True if the deadline was noticed late, and what came meanwhile is being read.
    is_draining: bool,
}

impl State {
    pub(super) fn new(
        policy: &QueuePolicy,
        limits: Arc<[GroupLimit]>,
        availability: BackendAvailability,
        now: Duration,
    ) -> Self {
        Self {
            now,
            queue: PriorityQueue::new(policy.queue),
            expiry: ExpiryClock::new(now),
            running: IdMap::default(),
            ends: BTreeSet::new(),
            groups: GroupPermits::new(limits),
            permits: Permits::new(policy.max_concurrent),
            budget: RetryBudget::new(policy.budget),
            gate: Gate::new(policy.retry.delay, availability, now),
            absence: None,
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
        self.permits.is_any_free(self.now)
    }

    /// Returns the number of attempts in flight that do not count, because they are slow ones of one path.
    pub(super) fn slow_attempts(&self) -> usize {
        self.permits.uncounted(self.now)
    }

    /// Returns whether an attempt may start now, if it has a permit.
    pub(super) fn admits(&self) -> bool {
        self.absence.is_none() && self.gate.admits(self.now)
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
    /// permit is free, its resource has no room, or the request holds one already.
    pub(super) fn begin_attempt(
        &mut self,
        id: RequestId,
        groups: GroupSet,
        resource: Resource,
    ) -> Option<oneshot::Receiver<()>> {
        if !self.permits.acquire(id, resource, self.now) {
            return None;
        }
        let (cancel, cancelled) = oneshot::channel();
        self.groups.acquire(groups);
        let attempt = RunningAttempt { cancel: Some(cancel), groups, ends_at: None, is_draining: false };
        self.running.insert(id, attempt);
        Some(cancelled)
    }

    /// Removes the next item that may run, or that has expired.
    pub(super) fn pop(&mut self) -> Option<PopOutcome<()>> {
        let Self { queue, expiry, groups, now, permits, .. } = self;
        queue.pop(*now, expiry.judged_to(), |of| groups.have_room(of), &permits.full_resources())
    }

    /// Removes and returns the requests whose wait has ended.
    pub(super) fn take_expired(&mut self) -> Vec<RequestId> {
        let mut expired = Vec::new();
        loop {
            let ended_by = self.expiry.advance(self.queue.next_deadline(), self.now);
            let items = self.queue.expire(ended_by);
            if items.is_empty() {
                return expired;
            }
            expired.extend(items.into_iter().map(|item| item.id));
        }
    }

    /// Sets the deadline of an attempt in flight.
    pub(super) fn set_end(&mut self, id: RequestId, ends_at: Option<Duration>) {
        let Some(attempt) = self.running.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut attempt.ends_at, ends_at) {
            self.ends.remove(&(before, id));
        }
        self.ends.extend(ends_at.map(|at| (at, id)));
    }

    /// Removes and returns the next attempt whose deadline has passed. One whose deadline is noticed late gets some
    /// more time, in which its response is read if that lies there already.
    pub(super) fn next_overdue(&mut self) -> Option<RequestId> {
        while let Some((ends_at, id)) = self.ends.first().copied().filter(|(ends_at, _)| *ends_at <= self.now)
        {
            let is_late = self.now.saturating_sub(ends_at) >= LATE_MIN;
            let drains = match self.running.get_mut(&id) {
                Some(attempt) => is_late && !std::mem::replace(&mut attempt.is_draining, is_late),
                None => false,
            };
            self.set_end(id, drains.then(|| self.now.saturating_add(DRAIN_TIME)));
            self.ends.remove(&(ends_at, id));
            if !drains {
                return Some(id);
            }
        }
        None
    }

    /// Continues an attempt whose response has started, with its permit. The receiver resolves when it is cancelled.
    /// Returns `None` if no attempt is in flight.
    pub(super) fn continue_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        self.running.get_mut(&id)?.cancel = Some(cancel);
        Some(cancelled)
    }

    /// Releases the permit of an attempt that has ended, if it holds one.
    pub(super) fn end_attempt(&mut self, id: RequestId) {
        let Some(ended) = self.running.remove(&id) else { return };
        self.permits.release(id);
        self.groups.release(ended.groups);
        if let Some(ends_at) = ended.ends_at {
            self.ends.remove(&(ends_at, id));
        }
    }

    /// Removes a request from the queue and cancels its attempt. The permit is released when the attempt's task has
    /// ended, so that the limit of connections holds.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.queue.cancel(id);
        if let Some(attempt) = self.running.get_mut(&id) {
            attempt.cancel = None;
        }
    }

    /// Schedules the next wake-up.
    pub(super) fn schedule_tick(&mut self, ctx: &mut Context<QueueMessage>) {
        // Without a backend nothing can start, and a message reports its return.
        let due = if self.absence.is_none() { self.next_start() } else { None };
        let next_end = self.ends.first().map(|(ends_at, _)| *ends_at);
        let next_expiry = self.expiry.next_look(self.queue.next_deadline());
        if let Some(due) = due.into_iter().chain(next_expiry).chain(next_end).min() {
            self.timer.wake_by(ctx, due, QueueMessage::TimerElapsed);
        }
    }

    /// Returns the earliest start of the next attempt, as far as no message reports it. Requests that may run outside an
    /// outage have started already.
    fn next_start(&self) -> Option<Duration> {
        if !self.has_free_permit() {
            // A message reports a permit's release, but not that an attempt no longer counts.
            return self.permits.next_slow(self.now).filter(|_| !self.queue.is_empty());
        }
        match self.gate.outage() {
            None => self.queue.next_due(),
            Some(outage) => {
                let ready = self.queue.next_ready(
                    self.now,
                    |groups| self.groups.have_room(groups),
                    &self.permits.full_resources(),
                )?;
                Some(ready.max(outage.next_probe_at))
            }
        }
    }

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats {
            waiting: self.queue.len(),
            backing_off: self.queue.delayed(),
            running: self.permits.in_flight(),
            slow: self.slow_attempts(),
            max_concurrent: self.permits.max_concurrent(),
            outage: self.gate.outage(),
            by_priority: WaitingByPriority {
                high: self.queue.count(Priority::High),
                normal: self.queue.count(Priority::Normal),
                low: self.queue.count(Priority::Low),
            },
            groups: self.groups.stats(self.queue.group_counts()),
        }
    }
}

// === figures ===

/// The figures of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct QueueStats {
    /// The number of waiting requests, those in a backoff included.
    pub waiting: usize,
    /// The number of requests in a backoff.
    pub backing_off: usize,
    /// The number of attempts in flight.
    pub running: usize,
    /// The number of those that leave their permits to requests of other paths, since one path is slow.
    #[serde(default)]
    pub slow: usize,
    /// The most attempts in flight, without those.
    pub max_concurrent: usize,
    /// The number of waiting requests by priority.
    pub by_priority: WaitingByPriority,
    /// The groups with a limit of their own.
    #[serde(default)]
    pub groups: Vec<GroupStats>,
    /// The outage that holds all requests, while there is one.
    #[serde(skip)]
    pub outage: Option<Outage>,
}

/// The number of waiting requests, by their priority at arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
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
pub struct QueueView {
    stats: watch::Sender<QueueStats>,
    /// The durations of requests. They outlive an incarnation, and are summed up only for a report.
    latency: Arc<Mutex<LatencyLog>>,
}

impl QueueView {
    /// Returns the current figures.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.stats.borrow().clone()
    }

    /// Returns the outage that holds all requests, while there is one.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.stats.borrow().outage
    }

    /// Returns how long requests took. `wall_time` dates a time since the runtime's start.
    #[must_use]
    pub fn latency(&self, wall_time: impl Fn(Duration) -> WallTime) -> RequestLatency {
        self.latency.lock().report(wall_time)
    }

    /// Counts a request that ended at `now`.
    pub(super) fn record_end(&self, now: Duration, lasted: Duration, priority: Priority, is_failed: bool) {
        self.latency.lock().record(now, lasted, priority, is_failed);
    }

    /// Subscribes to the figures.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn subscribe(&self) -> watch::Receiver<QueueStats> {
        self.stats.subscribe()
    }

    pub(super) fn publish(&self, stats: QueueStats) {
        self.stats.send_if_modified(|shown| {
            let is_new = *shown != stats;
            *shown = stats;
            // A wake-up without receivers costs time. A later subscriber starts with the current value.
            is_new && self.stats.receiver_count() > 0
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
        State::new(&policy, Arc::new([]), BackendAvailability::Unknown, Duration::ZERO)
    }

    #[test]
    fn cancelled_attempt_keeps_its_permit_until_it_ends() {
        let (mut state, id) = (state(1), RequestId(1));
        let mut cancelled = state.begin_attempt(id, GroupSet::default(), Resource::default()).unwrap();
        assert!(cancelled.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        state.cancel(id);
        assert!(cancelled.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(state.is_running(id) && !state.has_free_permit());
        assert!(state.begin_attempt(RequestId(2), GroupSet::default(), Resource::default()).is_none());
        state.end_attempt(id);
        assert!(
            !state.is_running(id)
                && state.begin_attempt(RequestId(2), GroupSet::default(), Resource::default()).is_some()
        );
    }

    #[test]
    fn overdue_attempt_is_drained_once_if_noticed_late() {
        let (mut state, id) = (state(1), RequestId(1));
        let _cancelled = state.begin_attempt(id, GroupSet::default(), Resource::default()).unwrap();
        let at = Duration::from_secs;
        state.set_end(id, Some(at(10)));
        state.now = at(9);
        assert_eq!(state.next_overdue(), None);
        state.now = at(60);
        assert_eq!(state.next_overdue(), None, "its response may lie in the socket");
        state.now = at(61);
        assert_eq!(state.next_overdue(), Some(id));
        assert_eq!(state.next_overdue(), None);
        state.set_end(id, Some(at(61)));
        assert_eq!(state.next_overdue(), Some(id), "one that is noticed in time is overdue at once");
        state.set_end(id, Some(at(62)));
        state.end_attempt(id);
        assert!(state.ends.is_empty());
    }

    #[test]
    fn permit_is_released_once() {
        let mut state = state(2);
        assert!(
            state.begin_attempt(RequestId(1), GroupSet::default(), Resource::default()).is_some()
                && state.begin_attempt(RequestId(2), GroupSet::default(), Resource::default()).is_some()
        );
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
                    prop_assert_eq!(state.begin_attempt(RequestId(id), GroupSet::default(), Resource::default()).is_some(), granted);
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
