//! The queue actor: gives each request its turn, and each caller exactly one answer.
//!
//! It is an actor because the line and the permits must have one owner, and because attempts must end with whoever
//! counts them. Every attempt is a task of its incarnation that comes back as a message; the actor itself never
//! waits.
//!
//! A request is accepted once it stands in the `book`, which survives a crash. The next incarnation puts those that
//! waited back into their old places. Those whose attempt was cut off end by the same rules as after a failure that
//! may have reached the backend: repeated if that is safe, else `outcome_unknown`. No caller notices more than that.
//! Where the beginning of an answer was handed out (`streams`), there is no other attempt: the reader learns of the
//! crash at once, and the next incarnation writes it down.
//! When the actor comes to rest, stopped or given up, whoever still waits is told.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use mainstay_runtime::{Context, Failure, FinalizeContext, Worker, journal::millis};
use tokio::sync::watch;

use super::{
    attempt::{AttemptResult, open_stream, run},
    events::{
        EventSink, QueueHeld, QueueOverflow, QueueReleased, RequestDone, RequestFailed, RequestJoined,
        RequestRef, RequestRetry, RequestStarted, RequestTimedOut,
    },
    gate::{BackendAvailability, GateChange, Outage, ReachabilityEvidence},
    message::QueueMessage,
    policy::QueuePolicy,
    priority_queue::{PopOutcome, PushOutcome},
    request_entry::{Attempt, RequestEntry, RequestPhase, Waiter},
    request_table::RequestTable,
    responder::Responder,
    retry::{RetryContext, RetryDecision, decide_after_attempt},
    retry_budget::RetryBudget,
    state::State,
    stats::{QueueStats, QueueView},
};
use crate::{
    connection::status::ConnectionStatus,
    error::{Code, Error, Reason},
    quarantine::DEATHS_MAX,
    request::{Request, RequestId, Response},
    transport::{FullResponse, Transport},
};

/// The shortest time that a request may wait: with less it would expire before its turn could come.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// What every incarnation of the queue's actor is made from, and the requests that outlive each.
pub struct QueueActor {
    transport: Arc<dyn Transport>,
    policy: QueuePolicy,
    view: QueueView,
    requests: RequestTable,
    link_status: Option<watch::Receiver<ConnectionStatus>>,
}

/// What survives an incarnation beside the requests.
#[derive(Debug, Clone)]
pub struct QueueSnapshot {
    budget: RetryBudget,
    outage: Option<Outage>,
}

type Ctx = Context<QueueMessage>;

impl Worker for QueueActor {
    type Message = QueueMessage;
    type State = State;
    type Snapshot = QueueSnapshot;

    async fn start(&self, ctx: &mut Ctx, kept: Option<QueueSnapshot>) -> Result<State, Failure> {
        // Before it is read: what changes in between is not missed.
        self.watch_link(ctx);
        let mut desk = State::new(&self.policy, self.availability(), ctx.now());
        // A gate that begins closed has not changed, and yet it holds requests from now on.
        self.record_gate_change(ctx, &desk, desk.gate.outage().map(GateChange::Held));
        match kept {
            Some(memory) => {
                desk.budget = memory.budget;
                // This one finds out anew whether the backend can be reached.
                let is_over = desk.gate.outage().is_none();
                self.record_gate_change(
                    ctx,
                    &desk,
                    memory.outage.filter(|_| is_over).map(GateChange::Released),
                );
                self.restore_requests(ctx, &mut desk);
            }
            // There was no incarnation before, or its successors could not start from what it left.
            None => self.fail_all(ctx, desk.now, Reason::Crashed),
        }
        self.schedule(ctx, &mut desk);
        Ok(desk)
    }

    async fn handle(&self, ctx: &mut Ctx, message: QueueMessage, desk: &mut State) -> Result<(), Failure> {
        desk.now = ctx.now();
        match message {
            QueueMessage::Enqueue { id, request, reply } => {
                self.accept(ctx, desk, id, request, Responder::Response(reply));
            }
            QueueMessage::OpenStream { id, request, reply } => {
                self.accept(ctx, desk, id, request, Responder::Download(reply));
            }
            QueueMessage::Cancel { id, reply } => reply.send(self.cancel(ctx, desk, id)),
            QueueMessage::Abandon { id } => drop(self.cancel(ctx, desk, id)),
            QueueMessage::AttemptFinished { id, result: attempted } => {
                desk.end_attempt(id);
                let evidence = ReachabilityEvidence::from_outcome(attempted.outcome());
                let change = desk.gate.on_end(id, evidence, desk.now, ctx.random_unit());
                let poison = self.requests.note_evidence(evidence);
                self.finish_attempt(ctx, desk, id, *attempted);
                self.quarantine(ctx, desk, poison);
                self.record_gate_change(ctx, desk, change);
            }
            QueueMessage::LinkChanged => {
                self.watch_link(ctx);
                let change = desk.gate.on_availability(self.availability(), desk.now);
                self.record_gate_change(ctx, desk, change);
            }
            QueueMessage::BackendSeen => {
                let change = desk.gate.on_backend_seen();
                self.requests.note_alive();
                self.record_gate_change(ctx, desk, change);
            }
            QueueMessage::ResponseStarted { id, response: answer } => {
                let change =
                    desk.gate.on_end(id, ReachabilityEvidence::Answered, desk.now, ctx.random_unit());
                self.requests.note_alive();
                self.start_stream(ctx, desk, id, *answer);
                self.record_gate_change(ctx, desk, change);
            }
            QueueMessage::BodyFinished { id, transfer: pumped } => self.finish_stream(ctx, desk, id, *pumped),
            QueueMessage::TimerElapsed => desk.timer.clear_due(desk.now),
        }
        self.schedule(ctx, desk);
        Ok(())
    }

    fn snapshot(&self, desk: &State) -> Option<QueueSnapshot> {
        Some(QueueSnapshot { budget: desk.budget, outage: desk.gate.outage() })
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.fail_all(ctx, ctx.now(), Reason::Stopped);
        self.view.publish(idle_stats(&self.policy));
    }
}

impl QueueActor {
    /// A queue that sends by `transport` and shows in `view` how it is doing.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, policy: QueuePolicy, view: QueueView) -> Self {
        view.publish(idle_stats(&policy));
        Self { transport, policy, view, requests: RequestTable::default(), link_status: None }
    }

    /// The same, minding what the link says: while it is down, requests are held as if one had reached nobody.
    #[must_use]
    pub fn with_link_status(mut self, link: watch::Receiver<ConnectionStatus>) -> Self {
        self.link_status = Some(link);
        self
    }

    // === in ===

    /// Takes a request in, or turns it away. Once it is admitted, a crash of this handler does not lose it.
    fn accept(
        &self,
        ctx: &Ctx,
        desk: &mut State,
        id: RequestId,
        mut request: Arc<Request>,
        caller: Responder,
    ) {
        if self.requests.contains_id(id) || desk.is_running(id) {
            let error = Error::new(Reason::Internal).with_details("another request has the same id");
            return caller.fail(error.with_request_id(id));
        }
        if request.needs_generated_key() {
            let random = u128::from(ctx.random_bits()) << 64 | u128::from(ctx.random_bits());
            Arc::make_mut(&mut request).generate_key(random);
        }
        if request.retries().is_none() && self.policy.retry.retries == 0 {
            // The transport chooses its connection by that.
            Arc::make_mut(&mut request).settle_retries(0);
        }
        // What has expired takes up no room.
        self.expire(ctx, desk);
        let deadline = desk.now.saturating_add(self.wait_timeout(&request));
        let waiter = Waiter { id, responder: caller, queued_at: desk.now, deadline };
        if let Some(page) = self.requests.find_matching(&request, &waiter.responder) {
            return self.join(ctx, desk, page, &request, waiter);
        }
        let entry = self.requests.insert(request, waiter);
        match desk.queue.push(entry, desk.now) {
            PushOutcome::Queued => {}
            PushOutcome::Displaced(left) => {
                let message = "The request had to make room for another before its next attempt. Try again in a moment.";
                self.fail(ctx, desk.now, left.id, self.eviction_error(left.id, Reason::Evicted, message));
            }
            PushOutcome::Rejected(_) => self.fail(ctx, desk.now, id, Error::new(Reason::QueueFull)),
            PushOutcome::Duplicate(_) => self.fail(ctx, desk.now, id, Error::new(Reason::Internal)),
        }
    }

    /// Lets a caller wait for a request that is under way already.
    fn join(&self, ctx: &Ctx, desk: &mut State, page: RequestId, request: &Request, waiter: Waiter) {
        let (id, subject) = (waiter.id, RequestRef::new(waiter.id, request));
        if self.requests.joined_count() >= self.policy.queue.queue_max {
            return self.respond_error(ctx, desk.now, request, 0, waiter, Error::new(Reason::QueueFull));
        }
        self.requests.join(page, request, waiter);
        let with = self.requests.with_entry(page, |page| page.lead_id(id)).unwrap_or(page);
        ctx.record(&RequestJoined { request: subject, with });
        // It may have become more urgent, or have somebody less patient.
        self.requeue(desk, page);
    }

    fn wait_timeout(&self, request: &Request) -> Duration {
        request.wait_timeout().unwrap_or(self.policy.wait_timeout).max(WAIT_MIN)
    }

    /// Takes up what the last incarnation left.
    fn restore_requests(&self, ctx: &Ctx, desk: &mut State) {
        for (id, phase) in self.requests.phases() {
            match phase {
                RequestPhase::Waiting { not_before } => self.enqueue(desk, id, not_before),
                RequestPhase::Running => self.finish_attempt(ctx, desk, id, AttemptResult::Lost),
                RequestPhase::Streaming => self.fail_aborted(ctx, desk.now, id, Reason::Crashed),
            }
        }
    }

    /// Puts a request that waits into its place in line.
    fn enqueue(&self, desk: &mut State, id: RequestId, not_before: Duration) {
        if let Some(entry) = self.requests.queue_item(id) {
            // What is replaced is the same request, with another priority or deadline.
            desk.queue.requeue(entry, not_before);
        }
    }

    /// The same for one that may have its place already, and whose callers are others than before.
    fn requeue(&self, desk: &mut State, id: RequestId) {
        if let Some(RequestPhase::Waiting { not_before }) = self.requests.with_entry(id, |page| page.phase) {
            self.enqueue(desk, id, not_before);
        }
    }

    // === in turn ===

    /// What follows every message: what has expired leaves, whoever's turn it is runs, and the timer and the view
    /// are brought up to date.
    fn schedule(&self, ctx: &mut Ctx, desk: &mut State) {
        self.expire(ctx, desk);
        for id in desk.suspects_to_line_up() {
            self.requeue(desk, id);
        }
        while desk.permits.is_available() && desk.gate.admits(desk.now) {
            match desk.queue.pop(desk.now) {
                Some(PopOutcome::Ready(entry)) => self.start_attempt(ctx, desk, entry.id),
                Some(PopOutcome::Expired(entry)) => self.fail_expired(ctx, desk, entry.id),
                None => break,
            }
        }
        desk.schedule_tick(ctx);
        self.view.publish(desk.stats(self.policy.max_concurrent));
    }

    fn start_attempt(&self, ctx: &mut Ctx, desk: &mut State, id: RequestId) {
        let has_gone = |waiter: &Waiter| waiter.responder.is_closed();
        if !self.remove_waiters(ctx, desk, id, || Error::new(Reason::Cancelled), has_gone) {
            return;
        }
        if self.requests.is_suspect(id) && !desk.admit_suspect(id) {
            // Out of its turn, but with its deadline.
            return self.enqueue(desk, id, Duration::MAX);
        }
        let Some(called_off) = desk.begin_attempt(id) else {
            return self.fail(ctx, desk.now, id, Error::new(Reason::Internal));
        };
        let Some(attempt) = self.requests.begin_attempt(id) else { return desk.end_attempt(id) };
        desk.gate.on_start(id, desk.now, ctx.random_unit());
        if attempt.is_first {
            desk.budget.deposit(desk.now);
        }
        if ctx.should_record::<RequestStarted>() {
            ctx.record(&RequestStarted {
                request: RequestRef::new(attempt.lead_id, &attempt.request),
                attempt: attempt.number,
                waited_ms: millis(desk.now.saturating_sub(attempt.queued_at)),
            });
        }
        let transport = Arc::clone(&self.transport);
        let timeout = attempt.request.timeout().unwrap_or(self.policy.timeout);
        let Attempt { request, number, is_streaming: wants_parts, .. } = attempt;
        request.progress_sender().start_attempt(number);
        if wants_parts {
            ctx.spawn(async move {
                match open_stream(&*transport, &request, timeout, called_off).await {
                    Ok(answer) => QueueMessage::ResponseStarted { id, response: Box::new(answer) },
                    Err(attempted) => QueueMessage::AttemptFinished { id, result: Box::new(attempted) },
                }
            });
            return;
        }
        ctx.spawn(async move {
            let attempted = Box::new(run(&*transport, &request, timeout, called_off).await);
            QueueMessage::AttemptFinished { id, result: attempted }
        });
    }

    /// Does what follows from an attempt that has ended.
    fn finish_attempt(&self, ctx: &Ctx, desk: &mut State, id: RequestId, attempted: AttemptResult) {
        // Without a page it was called off meanwhile.
        let Some((facts, number)) = self.requests.facts(id) else { return };
        let outcome = attempted.outcome();
        if outcome.is_success() {
            return self.respond(ctx, desk.now, id, attempted);
        }
        let moment = RetryContext { now: desk.now, wall: ctx.wall_time().into(), jitter: ctx.random_unit() };
        match decide_after_attempt(&self.policy.retry, &facts, number, outcome, &mut desk.budget, moment) {
            RetryDecision::Done => self.respond(ctx, desk.now, id, attempted),
            RetryDecision::RetryIn { delay, reason } => {
                self.requests.record_end(id, outcome);
                self.schedule_retry(ctx, desk, id, delay, reason);
            }
            RetryDecision::Requeue { reason } => {
                self.requests.undo_attempt(id, reason);
                self.enqueue(desk, id, Duration::ZERO);
            }
            RetryDecision::Fail(error) => self.fail(ctx, desk.now, id, error),
        }
    }

    fn schedule_retry(&self, ctx: &Ctx, desk: &mut State, id: RequestId, delay: Duration, reason: Reason) {
        let seen = |page: &RequestEntry| {
            (
                RequestRef::new(page.lead_id(id), &page.request),
                page.attempts,
                self.wait_timeout(&page.request),
            )
        };
        let Some((subject, attempts, patience)) = self.requests.with_entry(id, seen) else { return };
        let not_before = desk.now.saturating_add(delay);
        self.requests.schedule_retry(id, reason, not_before, not_before.saturating_add(patience));
        let attempt = attempts.saturating_add(1);
        ctx.record(&RequestRetry { request: subject, attempt, delay_ms: millis(delay), reason });
        self.enqueue(desk, id, not_before);
    }

    /// Ends the requests over which the backend has died too often.
    fn quarantine(&self, ctx: &Ctx, desk: &mut State, poison: Vec<RequestId>) {
        for id in poison {
            desk.cancel(id);
            let details = format!("the backend died {DEATHS_MAX} times while it had this request");
            self.fail(ctx, desk.now, id, Error::new(Reason::Quarantined).with_details(&details));
        }
    }

    // === held ===

    fn availability(&self) -> BackendAvailability {
        self.link_status
            .as_ref()
            .map_or(BackendAvailability::Unknown, |link| BackendAvailability::from(&*link.borrow()))
    }

    fn watch_link(&self, ctx: &mut Ctx) {
        let Some(mut link) = self.link_status.clone() else { return };
        link.mark_unchanged();
        ctx.spawn_maybe(async move {
            // The link's view outlives its actor; an error says that the whole tree is going.
            link.changed().await.ok().map(|()| QueueMessage::LinkChanged)
        });
    }

    fn record_gate_change(&self, ctx: &Ctx, desk: &State, change: Option<GateChange>) {
        match change {
            Some(GateChange::Held(hold)) => ctx.record(&QueueHeld::new(&hold, desk.now, desk.queue.len())),
            Some(GateChange::Released(hold)) => {
                ctx.record(&QueueReleased::new(&hold, desk.now, desk.queue.len()));
            }
            None => {}
        }
    }

    // === out ===

    fn respond(&self, ctx: &Ctx, now: Duration, id: RequestId, attempted: AttemptResult) {
        let AttemptResult::Answered(FullResponse { status, headers, body, is_redirected }) = attempted else {
            return self.fail(ctx, now, id, Error::new(Reason::Internal));
        };
        let Some(page) = self.finish_request(ctx, now, id, status, body.len() as u64) else { return };
        let (cached, attempts) = (false, page.attempts);
        let secrets = page.request.secrets(self.transport.secrets());
        // The last one takes what the others are given a copy of.
        let copies = std::iter::repeat_n((headers, body, secrets), page.waiters.len());
        for (waiter, (headers, body, secrets)) in page.waiters.into_iter().zip(copies) {
            let Waiter { id, responder: caller, queued_at, .. } = waiter;
            let ms = millis(now.saturating_sub(queued_at));
            match caller {
                Responder::Response(caller) => {
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
                    caller.send(Ok(response));
                }
                // Their answers do not come this way.
                other => other.fail(Error::new(Reason::Internal).with_request_id(id)),
            }
        }
    }

    /// Ends a request with its answer, once: writes it down for all who wait for it, who are for the caller to tell.
    fn finish_request(
        &self,
        ctx: &Ctx,
        now: Duration,
        id: RequestId,
        status: StatusCode,
        bytes: u64,
    ) -> Option<RequestEntry> {
        let page = self.requests.remove(id)?;
        let told = if ctx.should_record::<RequestDone>() { &page.waiters[..] } else { &[] };
        for Waiter { id, queued_at, .. } in told {
            let ms = millis(now.saturating_sub(*queued_at));
            let subject = RequestRef::new(*id, &page.request);
            let (status, attempts) = (status.as_u16(), page.attempts);
            ctx.record(&RequestDone { request: subject, status, ms, cached: false, attempts, bytes });
        }
        Some(page)
    }

    /// Calls a request off; `false` if it has ended already.
    fn cancel(&self, ctx: &Ctx, desk: &mut State, id: RequestId) -> bool {
        let Some(page) = self.requests.find_by_waiter(id) else { return false };
        self.remove_waiters(ctx, desk, page, || Error::new(Reason::Cancelled), |waiter| waiter.id == id);
        true
    }

    /// Lets those callers leave a request of whom `leaves` holds, with `error`. The last one to leave calls it off;
    /// `false` if there is none left.
    fn remove_waiters(
        &self,
        ctx: &Ctx,
        desk: &mut State,
        id: RequestId,
        error: impl FnOnce() -> Error,
        leaves: impl Fn(&Waiter) -> bool,
    ) -> bool {
        let leaving = |page: &RequestEntry| page.waiters.iter().filter(|waiter| leaves(waiter)).count();
        let seen = |page: &RequestEntry| (leaving(page), page.waiters.len(), page.attempts);
        let Some((leaving, all, attempts)) = self.requests.with_entry(id, seen) else { return false };
        if leaving == all {
            desk.cancel(id);
            self.fail(ctx, desk.now, id, error());
            return false;
        }
        if leaving > 0
            && let Some((request, parted)) = self.requests.remove_waiters(id, leaves)
        {
            let error = error();
            for waiter in parted {
                self.respond_error(ctx, desk.now, &request, attempts, waiter, error.clone());
            }
        }
        true
    }

    fn expire(&self, ctx: &Ctx, desk: &mut State) {
        for entry in desk.queue.expire(desk.now) {
            self.fail_expired(ctx, desk, entry.id);
        }
    }

    /// Somebody has waited too long for a request; whoever else waits for it goes on waiting.
    fn fail_expired(&self, ctx: &Ctx, desk: &mut State, id: RequestId) {
        let message = "The request waited too long for another attempt. Try again in a moment.";
        let error = match desk.gate.outage() {
            // What kept it waiting tells a person more than that it waited.
            Some(hold) => {
                let message = hold.reason.message();
                self.eviction_error(id, Reason::Disconnected, message).with_message(message)
            }
            None => self.eviction_error(id, Reason::Expired, message),
        };
        let now = desk.now;
        self.remove_waiters(ctx, desk, id, || error, |waiter| waiter.deadline <= now);
        self.requeue(desk, id);
    }

    /// Why a request has to leave the line. The table's words for it say that it was not sent; where it has been
    /// attempted, `message` is said instead.
    fn eviction_error(&self, id: RequestId, reason: Reason, message: &str) -> Error {
        match self.requests.with_entry(id, |page| page.last_failure).flatten() {
            None => Error::new(reason),
            Some(setback) => Error::new(reason)
                .with_message(message)
                .with_details(&format!("the last attempt failed: {setback}")),
        }
    }

    /// Tells every caller that nothing more can be done, for `reason`.
    fn fail_all(&self, scribe: &impl EventSink, now: Duration, reason: Reason) {
        for (id, _) in self.requests.phases() {
            self.fail_aborted(scribe, now, id, reason);
        }
    }

    fn fail_aborted(&self, scribe: &impl EventSink, now: Duration, id: RequestId, reason: Reason) {
        if let Some(error) = self.requests.with_entry(id, |page| page.abort_error(reason)) {
            self.fail(scribe, now, id, error);
        }
    }

    /// Ends a request without an answer, once, for all who wait for it.
    fn fail(&self, scribe: &impl EventSink, now: Duration, id: RequestId, error: Error) {
        let Some(RequestEntry { request, waiters, attempts, .. }) = self.requests.remove(id) else { return };
        for waiter in waiters {
            self.respond_error(scribe, now, &request, attempts, waiter, error.clone());
        }
    }

    /// Writes down why a caller gets no answer, and tells it.
    fn respond_error(
        &self,
        scribe: &impl EventSink,
        now: Duration,
        request: &Request,
        attempts: u32,
        Waiter { id, responder: caller, queued_at, .. }: Waiter,
        error: Error,
    ) {
        // Whatever became of it goes this way, so nothing that the request sent is told again.
        let secrets = request.secrets(self.transport.secrets());
        let error = error.redacted(&secrets).with_attempts(attempts).with_request_id(id);
        let subject = RequestRef::new(id, request);
        let lasted = now.saturating_sub(queued_at);
        match (error.reason, error.code) {
            (reason @ (Reason::QueueFull | Reason::Evicted), _) => scribe.write(&QueueOverflow {
                request: subject,
                reason,
                priority: request.priority(),
                overflow: self.policy.queue.overflow,
                queue_max: self.policy.queue.queue_max,
            }),
            (reason, Code::Timeout) if reason != Reason::Cancelled => {
                scribe.write(&RequestTimedOut(RequestFailed::new(subject, &error, lasted)));
            }
            _ => scribe.write(&RequestFailed::new(subject, &error, lasted)),
        }
        caller.fail(error);
    }
}

fn idle_stats(policy: &QueuePolicy) -> QueueStats {
    QueueStats { max_concurrent: policy.max_concurrent.max(1), ..QueueStats::default() }
}

mod streams;
#[cfg(test)]
mod tests;
