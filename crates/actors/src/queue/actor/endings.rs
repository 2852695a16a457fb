//! Ends requests: each waiter gets one response or one error, and the journal one event.

use std::time::Duration;

use http::StatusCode;
use mainstay_runtime::journal::millis;

use super::{QueueActor, QueueContext};
use crate::{
    error::{Code, Error, Reason},
    queue::{
        attempt::{AttemptCount, AttemptResult},
        events::{EventSink, QueueOverflow, RequestDone, RequestFailed, RequestRef, RequestTimedOut},
        latency::counts_as_failed,
        request_entry::{RequestEntry, Waiter},
        responder::Responder,
        state::State,
    },
    request::{Request, RequestId, Response},
    transport::FullResponse,
};

impl QueueActor {
    pub(super) fn respond(&self, ctx: &QueueContext, now: Duration, id: RequestId, result: AttemptResult) {
        let AttemptResult::Answered(FullResponse { status, headers, body, is_redirected }) = result else {
            return self.fail(ctx, now, id, Error::new(Reason::Internal));
        };
        let Some(entry) = self.finish_request(ctx, now, id, status, body.len() as u64) else { return };
        let (cached, attempts) = (false, entry.attempts.made);
        let secrets = entry.request.secrets(self.transport.secrets());
        // The last waiter takes the original, the others get copies.
        let copies = std::iter::repeat_n((headers, body, secrets), entry.waiters.len());
        for (waiter, (headers, body, secrets)) in entry.waiters.into_iter().zip(copies) {
            let Waiter { id, responder, queued_at, .. } = waiter;
            let lasted = now.saturating_sub(queued_at);
            self.view.record_end(now, lasted, entry.request.priority(), false);
            let ms = millis(lasted);
            match responder {
                Responder::Response(responder) => {
                    let request_id = id;
                    let response = Response {
                        status,
                        headers,
                        body,
                        ms,
                        cached,
                        attempts,
                        is_redirected,
                        request_id,
                        secrets,
                    };
                    responder.send(Ok(response));
                }
                // Streamed responses do not come this way.
                other => other.fail(Error::new(Reason::Internal).with_request_id(id)),
            }
        }
    }

    /// Removes a request that succeeded and records its end for each waiter. The caller of this function answers the
    /// waiters.
    pub(super) fn finish_request(
        &self,
        ctx: &QueueContext,
        now: Duration,
        id: RequestId,
        status: StatusCode,
        bytes: u64,
    ) -> Option<RequestEntry> {
        let entry = self.requests.remove(id)?;
        let informed = if ctx.should_record::<RequestDone>() { &entry.waiters[..] } else { &[] };
        for Waiter { id, queued_at, .. } in informed {
            let ms = millis(now.saturating_sub(*queued_at));
            let subject = self.request_ref(*id, &entry.request);
            let (status, attempts) = (status.as_u16(), entry.attempts.made);
            ctx.record(&RequestDone { request: subject, status, ms, cached: false, attempts, bytes });
        }
        Some(entry)
    }

    /// Cancels a request. Returns `false` if it has ended already.
    pub(super) fn cancel(&self, ctx: &QueueContext, state: &mut State, id: RequestId) -> bool {
        let Some(entry_id) = self.requests.find_by_waiter(id) else { return false };
        self.remove_waiters(ctx, state, entry_id, || Error::new(Reason::Cancelled), |waiter| waiter.id == id);
        true
    }

    /// Removes the waiters that `leaves` selects and answers them with `error`. Cancels the request if none remains,
    /// and then returns `false`.
    pub(super) fn remove_waiters(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        id: RequestId,
        error: impl FnOnce() -> Error,
        leaves: impl Fn(&Waiter) -> bool,
    ) -> bool {
        let leaving = |entry: &RequestEntry| entry.waiters.iter().filter(|waiter| leaves(waiter)).count();
        let seen = |entry: &RequestEntry| (leaving(entry), entry.waiters.len(), entry.attempts);
        let Some((leaving, all, attempts)) = self.requests.with_entry(id, seen) else { return false };
        if leaving == all {
            state.cancel(id);
            self.fail(ctx, state.now, id, error());
            return false;
        }
        if leaving > 0
            && let Some((request, removed)) = self.requests.remove_waiters(id, leaves)
        {
            let error = error();
            // The announced attempt is made, for those who stay.
            let attempts = AttemptCount { announced: 0, ..attempts };
            for waiter in removed {
                self.respond_error(ctx, state.now, &request, attempts, waiter, error.clone());
            }
        }
        true
    }

    pub(super) fn expire(&self, ctx: &QueueContext, state: &mut State) {
        for id in state.take_expired() {
            self.fail_expired(ctx, state, id);
        }
    }

    /// Ends the wait of each waiter whose deadline has passed; the others go on waiting.
    pub(super) fn fail_expired(&self, ctx: &QueueContext, state: &mut State, id: RequestId) {
        let message = "The request waited too long for another attempt. Try again in a moment.";
        let error = |reason, message| match (&state.absence, state.gate.outage()) {
            // The cause of the outage helps a person more than the length of the wait.
            (Some(absence), _) => self.absence_error(id, absence),
            (None, Some(outage)) => {
                let message = outage.reason.message();
                self.eviction_error(id, Reason::Disconnected, message).with_message(message)
            }
            (None, None) => self.eviction_error(id, reason, message),
        };
        let expired = error(Reason::Expired, message);
        let overdue = error(Reason::DeadlineExceeded, Reason::DeadlineExceeded.message());
        let ended_by = state.expiry.judged_to();
        self.remove_waiters(
            ctx,
            state,
            id,
            || overdue,
            |waiter| waiter.ends_at.is_some_and(|at| at <= ended_by),
        );
        self.remove_waiters(ctx, state, id, || expired, |waiter| waiter.deadline <= ended_by);
        self.requeue(state, id);
    }

    /// Ends an attempt in flight for those waiters whose deadline has passed; the others go on waiting.
    pub(super) fn end_overdue(&self, ctx: &QueueContext, state: &mut State, id: RequestId) {
        let abort_error = |entry: &RequestEntry| entry.abort_error(Reason::DeadlineExceeded);
        let Some(error) = self.requests.with_entry(id, abort_error) else { return };
        let now = state.now;
        self.remove_waiters(ctx, state, id, || error, |waiter| waiter.ends_at.is_some_and(|at| at <= now));
        state.set_end(id, self.requests.with_entry(id, RequestEntry::ends_at).flatten());
    }

    /// Returns the error for a request that leaves the queue. The table's message for `reason` says that the request
    /// was not sent; if it was attempted, `message` replaces that.
    pub(super) fn eviction_error(&self, id: RequestId, reason: Reason, message: &str) -> Error {
        match self.requests.with_entry(id, |entry| entry.last_failure).flatten() {
            None => Error::new(reason),
            Some(last_failure) => Error::new(reason)
                .with_message(message)
                .with_details(&format!("the last attempt failed: {last_failure}")),
        }
    }

    /// Fails every remaining request for `reason`.
    pub(super) fn fail_all(&self, sink: &impl EventSink, now: Duration, reason: Reason) {
        for (id, _) in self.requests.phases() {
            self.fail_aborted(sink, now, id, reason);
        }
    }

    pub(super) fn fail_aborted(&self, sink: &impl EventSink, now: Duration, id: RequestId, reason: Reason) {
        if let Some(error) = self.requests.with_entry(id, |entry| entry.abort_error(reason)) {
            self.fail(sink, now, id, error);
        }
    }

    /// Fails a request, once, for all its waiters.
    pub(super) fn fail(&self, sink: &impl EventSink, now: Duration, id: RequestId, error: Error) {
        let Some(RequestEntry { request, waiters, attempts, .. }) = self.requests.remove(id) else { return };
        for waiter in waiters {
            self.respond_error(sink, now, &request, attempts, waiter, error.clone());
        }
    }

    pub(super) fn request_ref(&self, id: RequestId, request: &Request) -> RequestRef {
        RequestRef::new(id, request, || self.transport.secrets())
    }

    /// Records a failure and answers the waiter with it.
    pub(super) fn respond_error(
        &self,
        sink: &impl EventSink,
        now: Duration,
        request: &Request,
        attempts: AttemptCount,
        Waiter { id, responder, queued_at, .. }: Waiter,
        error: Error,
    ) {
        // Every error passes here, so no secret of the request is repeated to a caller or the journal.
        let secrets = request.secrets(self.transport.secrets());
        let error = error.redacted(&secrets).with_attempts(attempts.made).with_request_id(id);
        let subject = self.request_ref(id, request);
        let lasted = now.saturating_sub(queued_at);
        if counts_as_failed(error.reason) && !responder.has_begun() {
            self.view.record_end(now, lasted, request.priority(), true);
        }
        match (error.reason, error.code) {
            (reason @ (Reason::QueueFull | Reason::Evicted), _) => sink.write(&QueueOverflow {
                request: subject,
                reason,
                priority: request.priority(),
                overflow: self.policy.queue.overflow,
                queue_max: self.policy.queue.queue_max,
                dropped_attempt: attempts.dropped(),
            }),
            (reason, Code::Timeout) if reason != Reason::Cancelled => {
                sink.write(&RequestTimedOut(RequestFailed::new(subject, &error, lasted, attempts)));
            }
            _ => sink.write(&RequestFailed::new(subject, &error, lasted, attempts)),
        }
        responder.fail(error);
    }
}
