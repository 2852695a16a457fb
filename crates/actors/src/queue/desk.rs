//! What one incarnation of the queue works on. It follows from the book and ends with the incarnation, all but the budget.

use std::time::Duration;

use mainstay_runtime::{Context, TaskHandle};
use tokio::sync::oneshot;

use super::{
    budget::RetryBudget,
    gate::{Gate, LinkHint},
    lanes::Lanes,
    message::QueueMessage,
    permits::Permits,
    policy::QueuePolicy,
    view::{QueueStats, WaitingByPriority},
};
use crate::request::{Priority, RequestId};

/// The state of one incarnation.
pub struct Desk {
    /// When the message at hand came up. One time for all that it entails.
    pub(super) now: Duration,
    pub(super) lanes: Lanes<()>,
    /// Each with what calls the attempt off when dropped; `None` where that has been done.
    pub(super) permits: Permits<Option<oneshot::Sender<()>>>,
    pub(super) budget: RetryBudget,
    pub(super) gate: Gate,
    alarm: Option<(Duration, TaskHandle)>,
}

impl Desk {
    pub(super) fn new(policy: &QueuePolicy, link: LinkHint, now: Duration) -> Self {
        Self {
            now,
            lanes: Lanes::new(policy.lanes),
            permits: Permits::new(policy.max_concurrent),
            budget: RetryBudget::new(policy.budget),
            gate: Gate::new(policy.retry.delay, link, now),
            alarm: None,
        }
    }

    /// Whether an attempt at the request is under way. One that was called off is, until it has let go.
    pub(super) fn is_running(&self, id: RequestId) -> bool {
        self.permits.is_held_by(id)
    }

    /// Takes a permit for an attempt; what it returns resolves when the attempt is called off. `None` if there is no
    /// permit for it.
    pub(super) fn begin_attempt(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (call_off, called_off) = oneshot::channel();
        self.permits.take(id, Some(call_off)).then_some(called_off)
    }

    /// Lets an attempt whose answer has begun go on with its permit; what it returns resolves when the attempt is called
    /// off. `None` if no attempt is under way.
    pub(super) fn go_on(&mut self, id: RequestId) -> Option<oneshot::Receiver<()>> {
        let (call_off, called_off) = oneshot::channel();
        *self.permits.holder(id)? = Some(call_off);
        Some(called_off)
    }

    /// Gives the permit back: nothing of the attempt is left.
    pub(super) fn end_attempt(&mut self, id: RequestId) {
        self.permits.give_back(id);
    }

    /// Lets a request leave the line, and calls off the attempt at it. Its permit comes back when the attempt has let
    /// go, so that there is never one more connection than may be.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.lanes.cancel(id);
        if let Some(call_off) = self.permits.holder(id) {
            *call_off = None;
        }
    }

    /// Keeps a timer that does not go off later than something is due. One that goes off too early costs a look, and
    /// less than a new timer for every message.
    pub(super) fn set_alarm(&mut self, ctx: &mut Context<QueueMessage>) {
        // Without a permit nothing can run, however due it is; the permit's return is looked at anyway.
        let due = if self.permits.is_free() { self.next_start() } else { None };
        let Some(due) = due.into_iter().chain(self.lanes.next_deadline()).min() else { return };
        if self.alarm.as_ref().is_some_and(|(at, _)| *at <= due) {
            return;
        }
        self.drop_alarm();
        self.alarm = Some((due, ctx.send_at(due, QueueMessage::MindTime)));
    }

    /// When the next attempt can start, as far as permits go. What may run and is not held has started already.
    fn next_start(&self) -> Option<Duration> {
        match self.gate.hold() {
            None => self.lanes.next_due(),
            Some(hold) => Some(self.lanes.next_ready(self.now)?.max(hold.next_trial_at)),
        }
    }

    pub(super) fn drop_alarm(&mut self) {
        if let Some((_, timer)) = self.alarm.take() {
            timer.abort();
        }
    }

    pub(super) fn stats(&self, max_concurrent: usize) -> QueueStats {
        QueueStats {
            waiting: self.lanes.len(),
            backing_off: self.lanes.parked(),
            running: self.permits.held(),
            max_concurrent: max_concurrent.max(1),
            hold: self.gate.hold(),
            by_priority: WaitingByPriority {
                high: self.lanes.count(Priority::High),
                normal: self.lanes.count(Priority::Normal),
                low: self.lanes.count(Priority::Low),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_is_called_off_keeps_its_permit_until_it_has_let_go() {
        let policy = QueuePolicy { max_concurrent: 1, ..QueuePolicy::default() };
        let (mut desk, id) = (Desk::new(&policy, LinkHint::Silent, Duration::ZERO), RequestId(1));
        let mut called_off = desk.begin_attempt(id).unwrap();
        assert!(called_off.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        desk.forget(id);
        assert!(called_off.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(desk.is_running(id) && !desk.permits.is_free());
        assert!(desk.begin_attempt(RequestId(2)).is_none());
        desk.end_attempt(id);
        assert!(!desk.is_running(id) && desk.begin_attempt(RequestId(2)).is_some());
    }
}
