//! Starts attempts in order, and decides what follows each: an answer, a retry, a failure or the quarantine.

use std::{sync::Arc, time::Duration};

use mainstay_runtime::journal::{count, millis};

use super::{QueueActor, QueueContext};
use crate::{
    error::{Error, Reason},
    queue::{
        attempt::{AttemptResult, open_stream, run},
        events::{RequestRetry, RequestStarted},
        message::QueueMessage,
        priority_queue::PopOutcome,
        request_entry::{RequestEntry, Waiter},
        request_table::Attempt,
        retry::{RetryContext, RetryDecision, decide_after_attempt},
        state::State,
    },
    request::RequestId,
};

impl QueueActor {
    /// Ends expired requests, starts those that may run, and updates timer and view. Runs after every message.
    pub(super) fn schedule(&self, ctx: &mut QueueContext, state: &mut State) {
        self.expire(ctx, state);
        while let Some(id) = state.next_overdue() {
            self.end_overdue(ctx, state, id);
        }
        for id in state.take_waiting_suspects() {
            self.requeue(state, id);
        }
        self.fail_if_absent_for_good(ctx, state);
        while state.has_free_permit() && state.admits() {
            match state.pop() {
                Some(PopOutcome::Ready(item)) => self.start_attempt(ctx, state, item.id),
                Some(PopOutcome::Expired(item)) => self.fail_expired(ctx, state, item.id),
                None => break,
            }
        }
        state.schedule_tick(ctx);
        self.view.publish(state.stats());
    }

    pub(super) fn start_attempt(&self, ctx: &mut QueueContext, state: &mut State, id: RequestId) {
        let has_gone = |waiter: &Waiter| waiter.responder.is_closed();
        if !self.remove_waiters(ctx, state, id, || Error::new(Reason::Cancelled), has_gone) {
            return;
        }
        if self.requests.is_suspect(id) && !state.admit_suspect(id) {
            // It keeps its deadline, and runs once the other suspect has ended.
            return self.enqueue(state, id, Duration::MAX);
        }
        let (groups, resource) =
            self.requests.with_entry(id, |entry| (entry.groups, entry.resource)).unwrap_or_default();
        let slow = state.slow_attempts();
        let Some(cancelled) = state.begin_attempt(id, groups, resource) else {
            return self.fail(ctx, state.now, id, Error::new(Reason::Internal));
        };
        let Some(attempt) = self.requests.begin_attempt(id) else { return state.end_attempt(id) };
        state.set_end(id, attempt.ends_at);
        state.gate.on_start(id, state.now, ctx.random_unit());
        if attempt.is_first {
            state.budget.deposit(state.now);
        }
        if ctx.should_record::<RequestStarted>() {
            ctx.record(&RequestStarted {
                request: self.request_ref(attempt.lead_id, &attempt.request),
                attempt: attempt.number,
                waited_ms: millis(state.now.saturating_sub(attempt.queued_at)),
                slow,
            });
        }
        let transport = Arc::clone(&self.transport);
        let timeout = attempt.request.timeout().unwrap_or(self.policy.timeout);
        let Attempt { request, number, is_streaming, .. } = attempt;
        request.progress_sender().start_attempt(number);
        if is_streaming {
            ctx.spawn(async move {
                match open_stream(&*transport, &request, timeout, cancelled).await {
                    Ok(response) => QueueMessage::ResponseStarted { id, response: Box::new(response) },
                    Err(result) => QueueMessage::AttemptFinished { id, result: Box::new(result) },
                }
            });
            return;
        }
        ctx.spawn(async move {
            let result = Box::new(run(&*transport, &request, timeout, cancelled).await);
            QueueMessage::AttemptFinished { id, result }
        });
    }

    /// Answers, retries or fails a request whose attempt has ended.
    pub(super) fn finish_attempt(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        id: RequestId,
        result: AttemptResult,
    ) {
        // A request without an entry was cancelled meanwhile.
        let Some((facts, number)) = self.requests.facts(id) else { return };
        if result.is_success() {
            return self.respond(ctx, state.now, id, result);
        }
        let context = RetryContext {
            now: state.now,
            wall: ctx.wall_time().into(),
            jitter: ctx.random_unit(),
            time_left: self.requests.with_entry(id, |entry| entry.time_left(state.now)).flatten(),
        };
        match decide_after_attempt(&self.policy.retry, &facts, number, &result, &mut state.budget, context) {
            RetryDecision::Done => self.respond(ctx, state.now, id, result),
            RetryDecision::RetryIn { delay, reason } => {
                // First, so that a request that is quarantined announces no retry.
                let poison = self.requests.record_end(id, &result, self.policy.quarantine_after);
                let is_poison = poison.contains(&id);
                self.quarantine(ctx, state, poison);
                if !is_poison {
                    self.schedule_retry(ctx, state, id, delay, reason);
                }
            }
            RetryDecision::Requeue { reason } => {
                self.requests.undo_attempt(id, reason);
                self.enqueue(state, id, Duration::ZERO);
            }
            RetryDecision::Fail(error) => self.fail(ctx, state.now, id, error),
        }
    }

    pub(super) fn schedule_retry(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        id: RequestId,
        delay: Duration,
        reason: Reason,
    ) {
        let seen = |entry: &RequestEntry| {
            (self.request_ref(entry.lead_id(id), &entry.request), self.wait_timeout(&entry.request))
        };
        let Some((subject, wait_timeout)) = self.requests.with_entry(id, seen) else { return };
        let not_before = state.now.saturating_add(delay);
        let deadline = not_before.saturating_add(wait_timeout);
        let Some(attempt) = self.requests.schedule_retry(id, reason, not_before, deadline) else { return };
        ctx.record(&RequestRetry { request: subject, attempt, delay_ms: millis(delay), reason });
        self.enqueue(state, id, not_before);
    }

    /// Notes the ends of the backend's own process.
    pub(super) fn note_backend_ends(&self, ctx: &QueueContext, state: &mut State) {
        if let Some(ends) = &self.backend_ends {
            let ends = *ends.borrow();
            let poison = self.requests.note_ends(ends, self.policy.quarantine_after);
            self.quarantine(ctx, state, poison);
        }
    }

    /// Ends the requests over which the backend has died too often.
    pub(super) fn quarantine(&self, ctx: &QueueContext, state: &mut State, poison: Vec<RequestId>) {
        for id in poison {
            state.cancel(id);
            let deaths = self.policy.quarantine_after;
            let details = format!("the backend died {} while it had this request", count(deaths, "time"));
            self.fail(ctx, state.now, id, Error::new(Reason::Quarantined).with_details(&details));
        }
    }
}
