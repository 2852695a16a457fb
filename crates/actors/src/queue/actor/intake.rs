//! Accepts requests, lets callers share one, and puts requests into the queue.

use std::{sync::Arc, time::Duration};

use super::{QueueActor, QueueContext};
use crate::{
    error::{Error, Reason},
    queue::{
        attempt::{AttemptCount, AttemptResult},
        events::RequestJoined,
        groups::GroupSet,
        priority_queue::PushOutcome,
        request_entry::{RequestEntry, RequestPhase, Waiter},
        responder::Responder,
        state::State,
    },
    request::{Request, RequestId},
};

/// The shortest `wait_timeout`. With less, a request would expire before its turn could come.
const WAIT_MIN: Duration = Duration::from_millis(1);

impl QueueActor {
    /// Accepts or rejects a request. Once it is in the table, a crash of this handler does not lose it.
    pub(super) fn accept(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        id: RequestId,
        mut request: Arc<Request>,
        responder: Responder,
    ) {
        if self.requests.contains_id(id) || state.is_running(id) {
            let error = Error::new(Reason::Internal).with_details("another request has the same id");
            return responder.fail(error.with_request_id(id));
        }
        if request.needs_generated_key() {
            let random = u128::from(ctx.random_bits()) << 64 | u128::from(ctx.random_bits());
            Arc::make_mut(&mut request).generate_key(random);
        }
        if request.retries().is_none() && self.policy.retry.retries == 0 {
            // The transport chooses its connection by the number of retries.
            Arc::make_mut(&mut request).settle_retries(0);
        }
        // Expired requests must not take up room.
        self.expire(ctx, state);
        let deadline = state.now.saturating_add(self.wait_timeout(&request));
        let ends_at = self.time_limit(&request).map(|limit| state.now.saturating_add(limit));
        let waiter = Waiter { id, responder, queued_at: state.now, deadline, ends_at };
        if let Some(entry_id) = self.requests.find_matching(&request, &waiter.responder) {
            return self.join(ctx, state, entry_id, &request, waiter);
        }
        let groups = GroupSet::of_path(&self.limits, request.path_without_query());
        let item = self.requests.insert(request, waiter, groups);
        match state.queue.push(item, state.now) {
            PushOutcome::Queued => {}
            PushOutcome::Displaced(left) => {
                let message = "The request had to make room for another before its next attempt. Try again in a moment.";
                self.fail(ctx, state.now, left.id, self.eviction_error(left.id, Reason::Evicted, message));
            }
            PushOutcome::Rejected(_) => self.fail(ctx, state.now, id, Error::new(Reason::QueueFull)),
            PushOutcome::Duplicate(_) => self.fail(ctx, state.now, id, Error::new(Reason::Internal)),
        }
    }

    /// Lets a caller share a request that is pending already.
    pub(super) fn join(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        entry_id: RequestId,
        request: &Request,
        waiter: Waiter,
    ) {
        let (id, subject) = (waiter.id, self.request_ref(waiter.id, request));
        if self.requests.joined_count() >= self.policy.queue.queue_max {
            let attempts = AttemptCount::default();
            return self.respond_error(
                ctx,
                state.now,
                request,
                attempts,
                waiter,
                Error::new(Reason::QueueFull),
            );
        }
        self.requests.join(entry_id, request, waiter);
        let with = self.requests.with_entry(entry_id, |entry| entry.lead_id(id)).unwrap_or(entry_id);
        ctx.record(&RequestJoined { request: subject, with });
        // Its priority or its deadline may have changed.
        self.requeue(state, entry_id);
        state.set_end(entry_id, self.requests.with_entry(entry_id, RequestEntry::ends_at).flatten());
    }

    /// Returns the longest time of a request in all, if it has a limit.
    pub(super) fn time_limit(&self, request: &Request) -> Option<Duration> {
        Some(request.deadline().unwrap_or(self.policy.deadline)).filter(|limit| !limit.is_zero())
    }

    pub(super) fn wait_timeout(&self, request: &Request) -> Duration {
        request.wait_timeout().unwrap_or(self.policy.wait_timeout).max(WAIT_MIN)
    }

    /// Restores the requests that the last incarnation left.
    pub(super) fn restore_requests(&self, ctx: &QueueContext, state: &mut State) {
        for (id, phase) in self.requests.phases() {
            match phase {
                RequestPhase::Waiting { not_before } => self.enqueue(state, id, not_before),
                RequestPhase::Running => self.finish_attempt(ctx, state, id, AttemptResult::Lost),
                RequestPhase::Streaming => self.fail_aborted(ctx, state.now, id, Reason::Crashed),
            }
        }
    }

    /// Puts a waiting request into the queue.
    pub(super) fn enqueue(&self, state: &mut State, id: RequestId, not_before: Duration) {
        if let Some(item) = self.requests.queue_item(id) {
            // An item that this replaces is the same request with another priority or deadline.
            state.queue.requeue(item, not_before);
        }
    }

    /// Updates the queue after a change of a request's waiters.
    pub(super) fn requeue(&self, state: &mut State, id: RequestId) {
        if let Some(RequestPhase::Waiting { not_before }) = self.requests.with_entry(id, |entry| entry.phase)
        {
            self.enqueue(state, id, not_before);
        }
    }
}
