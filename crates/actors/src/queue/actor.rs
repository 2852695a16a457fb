//! Runs the queue: starts attempts in order and answers each caller exactly once.
//!
//! The queue is an actor because the waiting requests and the permits need one owner, and because attempts must end
//! with that owner. Every attempt is a task of its incarnation and reports by a message. The actor itself never
//! waits.
//!
//! A request is accepted once it is in the `request_table`, which survives a crash. The next incarnation restores the
//! waiting requests to their old positions. An attempt that the crash interrupted ends by the rules for a failure
//! that may have reached the backend: a retry if that is safe, else `outcome_unknown`. A streamed response
//! (`streams`) gets no other attempt: its reader gets the error at once, and the next incarnation records it.
//!
//! When the actor stops or is given up, every remaining caller gets an error.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use mainstay_runtime::{Context, Failure, FinalizeContext, Worker, journal::millis};
use tokio::sync::watch;

use super::{
    absence::{BackendAbsence, ObserveAbsence},
    attempt::{AttemptResult, ReachabilityEvidence, open_stream, run},
    events::{
        EventSink, QueueHeld, QueueOverflow, QueueReleased, RequestDone, RequestFailed, RequestJoined,
        RequestRef, RequestRetry, RequestStarted, RequestTimedOut,
    },
    gate::{GateChange, Outage},
    groups::{GroupLimit, GroupPermits, GroupSet},
    message::QueueMessage,
    policy::QueuePolicy,
    priority_queue::{PopOutcome, PushOutcome},
    request_entry::{RequestEntry, RequestPhase, Waiter},
    request_table::{Attempt, RequestTable},
    responder::Responder,
    retry::{RetryContext, RetryDecision, decide_after_attempt},
    retry_budget::RetryBudget,
    state::{QueueStats, QueueView, State},
};
use crate::{
    error::{Code, Error, Reason},
    network::{BackendAvailability, BackendEnds},
    request::{Request, RequestId, Response},
    transport::{FullResponse, Transport},
};

/// The shortest `wait_timeout`. With less, a request would expire before its turn could come.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The queue's actor: its settings, and the requests that outlive an incarnation.
pub struct QueueActor {
    transport: Arc<dyn Transport>,
    policy: QueuePolicy,
    limits: Arc<[GroupLimit]>,
    view: QueueView,
    requests: RequestTable,
    availability: Option<watch::Receiver<BackendAvailability>>,
    observe_absence: Option<ObserveAbsence>,
    backend_ends: Option<watch::Receiver<BackendEnds>>,
}

/// The part of the state that survives an incarnation, beside the requests.
#[derive(Debug, Clone)]
pub struct QueueSnapshot {
    budget: RetryBudget,
    outage: Option<Outage>,
}

type QueueContext = Context<QueueMessage>;

impl Worker for QueueActor {
    type Message = QueueMessage;
    type State = State;
    type Snapshot = QueueSnapshot;

    async fn start(&self, ctx: &mut QueueContext, kept: Option<QueueSnapshot>) -> Result<State, Failure> {
        // Before the value is read, so that no change in between is missed.
        self.watch_availability(ctx);
        let limits = Arc::clone(&self.limits);
        let mut state = State::new(&self.policy, limits, self.current_availability(), ctx.now());
        state.absence = self.current_absence(state.now);
        // A gate that starts closed reports no change, but it holds requests from now on.
        self.record_gate_change(ctx, &state, state.gate.outage().map(GateChange::Held));
        match kept {
            Some(kept) => {
                state.budget = kept.budget;
                // The new gate finds out for itself whether the backend can be reached.
                let is_over = state.gate.outage().is_none();
                self.record_gate_change(
                    ctx,
                    &state,
                    kept.outage.filter(|_| is_over).map(GateChange::Released),
                );
                self.restore_requests(ctx, &mut state);
            }
            // This is the first incarnation, or a snapshot could not be restored.
            None => self.fail_all(ctx, state.now, Reason::Crashed),
        }
        self.schedule(ctx, &mut state);
        Ok(state)
    }

    async fn handle(
        &self,
        ctx: &mut QueueContext,
        message: QueueMessage,
        state: &mut State,
    ) -> Result<(), Failure> {
        state.now = ctx.now();
        state.absence = self.current_absence(state.now);
        // An end is noted before anything that the next process does.
        self.note_backend_ends(ctx, state);
        match message {
            QueueMessage::Enqueue { id, request, reply } => {
                self.accept(ctx, state, id, request, Responder::Response(reply));
            }
            QueueMessage::OpenStream { id, request, reply } => {
                self.accept(ctx, state, id, request, Responder::Download(reply));
            }
            QueueMessage::Cancel { id, reply } => reply.send(self.cancel(ctx, state, id)),
            QueueMessage::SetPriority { id, priority, reply } => {
                let moved = self.requests.set_priority(id, priority);
                moved.into_iter().for_each(|entry_id| self.requeue(state, entry_id));
                reply.send(moved.is_some());
            }
            QueueMessage::List { count, reply } => reply.send(self.requests.list(count, state.now)),
            QueueMessage::Abandon { id } => drop(self.cancel(ctx, state, id)),
            QueueMessage::AttemptFinished { id, result } => {
                state.end_attempt(id);
                let evidence = ReachabilityEvidence::from_outcome(result.outcome());
                let change = state.gate.on_end(id, evidence, state.now, ctx.random_unit());
                let poison = self.requests.note_evidence(evidence, self.policy.quarantine_after);
                self.finish_attempt(ctx, state, id, *result);
                self.quarantine(ctx, state, poison);
                self.record_gate_change(ctx, state, change);
            }
            QueueMessage::AvailabilityChanged => {
                self.watch_availability(ctx);
                let availability = self.current_availability();
                let change = state.gate.on_availability(availability, state.now);
                if availability == BackendAvailability::Down {
                    let poison = self.requests.note_gone(self.policy.quarantine_after);
                    self.quarantine(ctx, state, poison);
                }
                self.record_gate_change(ctx, state, change);
            }
            // What follows is decided after every message.
            QueueMessage::AbsenceChanged => {}
            QueueMessage::BackendSeen => {
                let change = state.gate.on_backend_seen();
                self.requests.note_alive();
                self.record_gate_change(ctx, state, change);
            }
            QueueMessage::ResponseStarted { id, response } => {
                let change =
                    state.gate.on_end(id, ReachabilityEvidence::Answered, state.now, ctx.random_unit());
                self.requests.note_alive();
                self.start_stream(ctx, state, id, *response);
                self.record_gate_change(ctx, state, change);
            }
            QueueMessage::BodyFinished { id, transfer } => self.finish_stream(ctx, state, id, *transfer),
            QueueMessage::TimerElapsed => state.timer.clear_due(state.now),
        }
        self.schedule(ctx, state);
        Ok(())
    }

    fn snapshot(&self, state: &State) -> Option<QueueSnapshot> {
        Some(QueueSnapshot { budget: state.budget, outage: state.gate.outage() })
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.fail_all(ctx, ctx.now(), Reason::Stopped);
        self.view.publish(self.idle_stats());
    }
}

impl QueueActor {
    /// Creates a queue that sends by `transport` and publishes its figures in `view`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, policy: QueuePolicy, view: QueueView) -> Self {
        let (limits, requests) = (Arc::default(), RequestTable::default());
        let actor = Self {
            transport,
            policy,
            limits,
            view,
            requests,
            availability: None,
            observe_absence: None,
            backend_ends: None,
        };
        actor.view.publish(actor.idle_stats());
        actor
    }

    /// Limits groups of requests, at most [`GROUPS_MAX`](super::GROUPS_MAX) of them.
    #[must_use]
    pub fn with_limits(mut self, limits: impl IntoIterator<Item = GroupLimit>) -> Self {
        self.limits = limits.into_iter().collect();
        self.view.publish(self.idle_stats());
        self
    }

    /// Holds requests while `availability` is [`BackendAvailability::Down`], as after an attempt that could not
    /// connect.
    #[must_use]
    pub fn with_availability(mut self, availability: watch::Receiver<BackendAvailability>) -> Self {
        self.availability = Some(availability);
        self
    }

    /// Sends nothing while `observe_absence` says that the backend is absent. Requests wait, or fail at once if that is
    /// final. [`QueueMessage::AbsenceChanged`] reports a change.
    #[must_use]
    pub fn with_absence(mut self, observe_absence: ObserveAbsence) -> Self {
        self.observe_absence = Some(observe_absence);
        self
    }

    /// Takes the exits of the backend's own process as evidence that it died over a request.
    #[must_use]
    pub fn with_backend_ends(mut self, ends: watch::Receiver<BackendEnds>) -> Self {
        self.backend_ends = Some(ends);
        self
    }

    /// Returns the figures of a queue without requests.
    fn idle_stats(&self) -> QueueStats {
        QueueStats {
            max_concurrent: self.policy.max_concurrent.max(1),
            groups: GroupPermits::new(Arc::clone(&self.limits)).stats(std::iter::empty()),
            ..QueueStats::default()
        }
    }

    // === in ===

    /// Accepts or rejects a request. Once it is in the table, a crash of this handler does not lose it.
    fn accept(
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
    fn join(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        entry_id: RequestId,
        request: &Request,
        waiter: Waiter,
    ) {
        let (id, subject) = (waiter.id, self.request_ref(waiter.id, request));
        if self.requests.joined_count() >= self.policy.queue.queue_max {
            return self.respond_error(ctx, state.now, request, 0, waiter, Error::new(Reason::QueueFull));
        }
        self.requests.join(entry_id, request, waiter);
        let with = self.requests.with_entry(entry_id, |entry| entry.lead_id(id)).unwrap_or(entry_id);
        ctx.record(&RequestJoined { request: subject, with });
        // Its priority or its deadline may have changed.
        self.requeue(state, entry_id);
        state.set_end(entry_id, self.requests.with_entry(entry_id, RequestEntry::ends_at).flatten());
    }

    /// Returns the longest time of a request in all, if it has a limit.
    fn time_limit(&self, request: &Request) -> Option<Duration> {
        Some(request.deadline().unwrap_or(self.policy.deadline)).filter(|limit| !limit.is_zero())
    }

    fn wait_timeout(&self, request: &Request) -> Duration {
        request.wait_timeout().unwrap_or(self.policy.wait_timeout).max(WAIT_MIN)
    }

    /// Restores the requests that the last incarnation left.
    fn restore_requests(&self, ctx: &QueueContext, state: &mut State) {
        for (id, phase) in self.requests.phases() {
            match phase {
                RequestPhase::Waiting { not_before } => self.enqueue(state, id, not_before),
                RequestPhase::Running => self.finish_attempt(ctx, state, id, AttemptResult::Lost),
                RequestPhase::Streaming => self.fail_aborted(ctx, state.now, id, Reason::Crashed),
            }
        }
    }

    /// Puts a waiting request into the queue.
    fn enqueue(&self, state: &mut State, id: RequestId, not_before: Duration) {
        if let Some(item) = self.requests.queue_item(id) {
            // An item that this replaces is the same request with another priority or deadline.
            state.queue.requeue(item, not_before);
        }
    }

    /// Updates the queue after a change of a request's waiters.
    fn requeue(&self, state: &mut State, id: RequestId) {
        if let Some(RequestPhase::Waiting { not_before }) = self.requests.with_entry(id, |entry| entry.phase)
        {
            self.enqueue(state, id, not_before);
        }
    }

    // === in turn ===

    /// Ends expired requests, starts those that may run, and updates timer and view. Runs after every message.
    fn schedule(&self, ctx: &mut QueueContext, state: &mut State) {
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

    fn start_attempt(&self, ctx: &mut QueueContext, state: &mut State, id: RequestId) {
        let has_gone = |waiter: &Waiter| waiter.responder.is_closed();
        if !self.remove_waiters(ctx, state, id, || Error::new(Reason::Cancelled), has_gone) {
            return;
        }
        if self.requests.is_suspect(id) && !state.admit_suspect(id) {
            // It keeps its deadline, and runs once the other suspect has ended.
            return self.enqueue(state, id, Duration::MAX);
        }
        let groups = self.requests.with_entry(id, |entry| entry.groups).unwrap_or_default();
        let Some(cancelled) = state.begin_attempt(id, groups) else {
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
    fn finish_attempt(&self, ctx: &QueueContext, state: &mut State, id: RequestId, result: AttemptResult) {
        // A request without an entry was cancelled meanwhile.
        let Some((facts, number)) = self.requests.facts(id) else { return };
        let outcome = result.outcome();
        if outcome.is_success() {
            return self.respond(ctx, state.now, id, result);
        }
        let context = RetryContext {
            now: state.now,
            wall: ctx.wall_time().into(),
            jitter: ctx.random_unit(),
            time_left: self.requests.with_entry(id, |entry| entry.time_left(state.now)).flatten(),
        };
        match decide_after_attempt(&self.policy.retry, &facts, number, outcome, &mut state.budget, context) {
            RetryDecision::Done => self.respond(ctx, state.now, id, result),
            RetryDecision::RetryIn { delay, reason } => {
                self.schedule_retry(ctx, state, id, delay, reason);
                let poison = self.requests.record_end(id, outcome, self.policy.quarantine_after);
                self.quarantine(ctx, state, poison);
            }
            RetryDecision::Requeue { reason } => {
                self.requests.undo_attempt(id, reason);
                self.enqueue(state, id, Duration::ZERO);
            }
            RetryDecision::Fail(error) => self.fail(ctx, state.now, id, error),
        }
    }

    fn schedule_retry(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        id: RequestId,
        delay: Duration,
        reason: Reason,
    ) {
        let seen = |entry: &RequestEntry| {
            (
                self.request_ref(entry.lead_id(id), &entry.request),
                entry.attempts,
                self.wait_timeout(&entry.request),
            )
        };
        let Some((subject, attempts, wait_timeout)) = self.requests.with_entry(id, seen) else { return };
        let not_before = state.now.saturating_add(delay);
        self.requests.schedule_retry(id, reason, not_before, not_before.saturating_add(wait_timeout));
        let attempt = attempts.saturating_add(1);
        ctx.record(&RequestRetry { request: subject, attempt, delay_ms: millis(delay), reason });
        self.enqueue(state, id, not_before);
    }

    /// Notes the ends of the backend's own process.
    fn note_backend_ends(&self, ctx: &QueueContext, state: &mut State) {
        if let Some(ends) = &self.backend_ends {
            let ends = *ends.borrow();
            let poison = self.requests.note_ends(ends, self.policy.quarantine_after);
            self.quarantine(ctx, state, poison);
        }
    }

    /// Ends the requests over which the backend has died too often.
    fn quarantine(&self, ctx: &QueueContext, state: &mut State, poison: Vec<RequestId>) {
        for id in poison {
            state.cancel(id);
            let deaths = self.policy.quarantine_after;
            let details = format!("the backend died {deaths} times while it had this request");
            self.fail(ctx, state.now, id, Error::new(Reason::Quarantined).with_details(&details));
        }
    }

    // === held ===

    fn current_availability(&self) -> BackendAvailability {
        self.availability.as_ref().map_or(BackendAvailability::Unknown, |it| *it.borrow())
    }

    fn current_absence(&self, now: Duration) -> Option<BackendAbsence> {
        self.observe_absence.as_ref().and_then(|observe_absence| observe_absence(now))
    }

    /// Fails the requests that wait for a backend that nothing will start.
    fn fail_if_absent_for_good(&self, ctx: &QueueContext, state: &mut State) {
        let Some(absence) = state.absence.clone().filter(|absence| absence.is_final) else { return };
        for (id, phase) in self.requests.phases() {
            if matches!(phase, RequestPhase::Waiting { .. }) {
                state.cancel(id);
                self.fail(ctx, state.now, id, self.absence_error(id, &absence));
            }
        }
    }

    fn absence_error(&self, id: RequestId, absence: &BackendAbsence) -> Error {
        let error = self.eviction_error(id, Reason::Disconnected, &absence.summary);
        let error = error.with_message(&absence.summary).with_message(&absence.text);
        Error { retryable: error.retryable && !absence.is_final, ..error }
    }

    fn watch_availability(&self, ctx: &mut QueueContext) {
        let Some(mut availability) = self.availability.clone() else { return };
        availability.mark_unchanged();
        ctx.spawn_maybe(async move {
            // The sender outlives all incarnations; an error says that the runtime is stopping.
            availability.changed().await.ok().map(|()| QueueMessage::AvailabilityChanged)
        });
    }

    fn record_gate_change(&self, ctx: &QueueContext, state: &State, change: Option<GateChange>) {
        match change {
            Some(GateChange::Held(outage)) => {
                let (absence, waiting) = (state.absence.as_ref(), state.queue.len());
                ctx.record(&QueueHeld::new(&outage, absence, state.now, waiting));
            }
            Some(GateChange::Released(outage)) => {
                ctx.record(&QueueReleased::new(&outage, state.now, state.queue.len()));
            }
            None => {}
        }
    }

    // === out ===

    fn respond(&self, ctx: &QueueContext, now: Duration, id: RequestId, result: AttemptResult) {
        let AttemptResult::Answered(FullResponse { status, headers, body, is_redirected }) = result else {
            return self.fail(ctx, now, id, Error::new(Reason::Internal));
        };
        let Some(entry) = self.finish_request(ctx, now, id, status, body.len() as u64) else { return };
        let (cached, attempts) = (false, entry.attempts);
        let secrets = entry.request.secrets(self.transport.secrets());
        // The last waiter takes the original, the others get copies.
        let copies = std::iter::repeat_n((headers, body, secrets), entry.waiters.len());
        for (waiter, (headers, body, secrets)) in entry.waiters.into_iter().zip(copies) {
            let Waiter { id, responder, queued_at, .. } = waiter;
            let ms = millis(now.saturating_sub(queued_at));
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
    fn finish_request(
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
            let (status, attempts) = (status.as_u16(), entry.attempts);
            ctx.record(&RequestDone { request: subject, status, ms, cached: false, attempts, bytes });
        }
        Some(entry)
    }

    /// Cancels a request. Returns `false` if it has ended already.
    fn cancel(&self, ctx: &QueueContext, state: &mut State, id: RequestId) -> bool {
        let Some(entry_id) = self.requests.find_by_waiter(id) else { return false };
        self.remove_waiters(ctx, state, entry_id, || Error::new(Reason::Cancelled), |waiter| waiter.id == id);
        true
    }

    /// Removes the waiters that `leaves` selects and answers them with `error`. Cancels the request if none remains,
    /// and then returns `false`.
    fn remove_waiters(
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
            for waiter in removed {
                self.respond_error(ctx, state.now, &request, attempts, waiter, error.clone());
            }
        }
        true
    }

    fn expire(&self, ctx: &QueueContext, state: &mut State) {
        for item in state.queue.expire(state.now) {
            self.fail_expired(ctx, state, item.id);
        }
    }

    /// Ends the wait of each waiter whose deadline has passed; the others go on waiting.
    fn fail_expired(&self, ctx: &QueueContext, state: &mut State, id: RequestId) {
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
        let now = state.now;
        self.remove_waiters(ctx, state, id, || overdue, |waiter| waiter.ends_at.is_some_and(|at| at <= now));
        self.remove_waiters(ctx, state, id, || expired, |waiter| waiter.deadline <= now);
        self.requeue(state, id);
    }

    /// Ends an attempt in flight for those waiters whose deadline has passed; the others go on waiting.
    fn end_overdue(&self, ctx: &QueueContext, state: &mut State, id: RequestId) {
        let abort_error = |entry: &RequestEntry| entry.abort_error(Reason::DeadlineExceeded);
        let Some(error) = self.requests.with_entry(id, abort_error) else { return };
        let now = state.now;
        self.remove_waiters(ctx, state, id, || error, |waiter| waiter.ends_at.is_some_and(|at| at <= now));
        state.set_end(id, self.requests.with_entry(id, RequestEntry::ends_at).flatten());
    }

    /// Returns the error for a request that leaves the queue. The table's message for `reason` says that the request
    /// was not sent; if it was attempted, `message` replaces that.
    fn eviction_error(&self, id: RequestId, reason: Reason, message: &str) -> Error {
        match self.requests.with_entry(id, |entry| entry.last_failure).flatten() {
            None => Error::new(reason),
            Some(last_failure) => Error::new(reason)
                .with_message(message)
                .with_details(&format!("the last attempt failed: {last_failure}")),
        }
    }

    /// Fails every remaining request for `reason`.
    fn fail_all(&self, sink: &impl EventSink, now: Duration, reason: Reason) {
        for (id, _) in self.requests.phases() {
            self.fail_aborted(sink, now, id, reason);
        }
    }

    fn fail_aborted(&self, sink: &impl EventSink, now: Duration, id: RequestId, reason: Reason) {
        if let Some(error) = self.requests.with_entry(id, |entry| entry.abort_error(reason)) {
            self.fail(sink, now, id, error);
        }
    }

    /// Fails a request, once, for all its waiters.
    fn fail(&self, sink: &impl EventSink, now: Duration, id: RequestId, error: Error) {
        let Some(RequestEntry { request, waiters, attempts, .. }) = self.requests.remove(id) else { return };
        for waiter in waiters {
            self.respond_error(sink, now, &request, attempts, waiter, error.clone());
        }
    }

    fn request_ref(&self, id: RequestId, request: &Request) -> RequestRef {
        RequestRef::new(id, request, || self.transport.secrets())
    }

    /// Records a failure and answers the waiter with it.
    fn respond_error(
        &self,
        sink: &impl EventSink,
        now: Duration,
        request: &Request,
        attempts: u32,
        Waiter { id, responder, queued_at, .. }: Waiter,
        error: Error,
    ) {
        // Every error passes here, so no secret of the request is repeated to a caller or the journal.
        let secrets = request.secrets(self.transport.secrets());
        let error = error.redacted(&secrets).with_attempts(attempts).with_request_id(id);
        let subject = self.request_ref(id, request);
        let lasted = now.saturating_sub(queued_at);
        match (error.reason, error.code) {
            (reason @ (Reason::QueueFull | Reason::Evicted), _) => sink.write(&QueueOverflow {
                request: subject,
                reason,
                priority: request.priority(),
                overflow: self.policy.queue.overflow,
                queue_max: self.policy.queue.queue_max,
            }),
            (reason, Code::Timeout) if reason != Reason::Cancelled => {
                sink.write(&RequestTimedOut(RequestFailed::new(subject, &error, lasted)));
            }
            _ => sink.write(&RequestFailed::new(subject, &error, lasted)),
        }
        responder.fail(error);
    }
}

mod streams;
#[cfg(test)]
mod tests;
