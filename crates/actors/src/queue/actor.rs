//! The queue actor: gives each request its turn, and each caller exactly one answer.
//!
//! It is an actor because the line and the permits must have one owner, and because attempts must end with whoever
//! counts them. Every attempt is a task of its incarnation that comes back as a message; the actor itself never
//! waits.
//!
//! A request is accepted once it stands in the `book`, which survives a crash. The next incarnation puts those that
//! waited back into their old places. Those whose attempt was cut off end by the same rules as after a failure that
//! may have reached the backend: repeated if that is safe, else `outcome_unknown`. No caller notices more than that.
//! When the actor comes to rest, stopped or given up, whoever still waits is told.

use std::{sync::Arc, time::Duration};

use mainstay_runtime::{Context, Failure, RestContext, Worker};

use super::{
    attempt::{Attempted, make},
    book::{Book, Caller, Page, Phase},
    budget::RetryBudget,
    desk::Desk,
    events::{
        QueueOverflow, RequestDone, RequestFailed, RequestRetry, RequestStarted, RequestTimedOut, Scribe,
        Subject, millis,
    },
    lanes::{Popped, Pushed},
    message::QueueMessage,
    policy::QueuePolicy,
    retry::{Moment, Verdict, after_attempt},
    view::{QueueStats, QueueView},
};
use crate::{
    error::{Code, Error, Reason},
    request::{Request, RequestId, Response},
    transport::{Answer, Transport},
};

/// The shortest time that a request may wait: with less it would expire before its turn could come.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// What every incarnation of the queue's actor is made from, and the requests that outlive each.
pub struct QueueActor {
    transport: Arc<dyn Transport>,
    policy: QueuePolicy,
    view: QueueView,
    book: Book,
}

/// What survives an incarnation beside the requests.
#[derive(Debug, Clone)]
pub struct QueueMemory {
    budget: RetryBudget,
}

type Ctx = Context<QueueMessage>;

impl Worker for QueueActor {
    type Message = QueueMessage;
    type State = Desk;
    type Snapshot = QueueMemory;

    async fn start(&self, ctx: &mut Ctx, kept: Option<QueueMemory>) -> Result<Desk, Failure> {
        let mut desk = Desk::new(&self.policy, ctx.now());
        match kept {
            Some(memory) => {
                desk.budget = memory.budget;
                self.take_up(ctx, &mut desk);
            }
            // There was no incarnation before, or its successors could not start from what it left.
            None => self.let_go(ctx, desk.now, Reason::Crashed),
        }
        self.settle(ctx, &mut desk);
        Ok(desk)
    }

    async fn handle(&self, ctx: &mut Ctx, message: QueueMessage, desk: &mut Desk) -> Result<(), Failure> {
        desk.now = ctx.now();
        match message {
            QueueMessage::Enqueue { id, request, reply } => self.accept(ctx, desk, id, *request, reply),
            QueueMessage::Cancel { id, reply } => reply.send(self.call_off(ctx, desk, id)),
            QueueMessage::Abandon { id } => drop(self.call_off(ctx, desk, id)),
            QueueMessage::TakeOutcome { id, attempted } => {
                desk.end_attempt(id);
                self.conclude(ctx, desk, id, *attempted);
            }
            QueueMessage::MindTime => desk.drop_alarm(),
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            QueueMessage::Panic => panic!("asked to panic"),
        }
        self.settle(ctx, desk);
        Ok(())
    }

    fn snapshot(&self, desk: &Desk) -> Option<QueueMemory> {
        Some(QueueMemory { budget: desk.budget.clone() })
    }

    fn rest(&self, ctx: &RestContext<'_>) {
        self.let_go(ctx, ctx.now(), Reason::Stopped);
        self.view.publish(idle(&self.policy));
    }
}

impl QueueActor {
    /// A queue that sends by `transport` and shows in `view` how it is doing.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, policy: QueuePolicy, view: QueueView) -> Self {
        view.publish(idle(&policy));
        Self { transport, policy, view, book: Book::default() }
    }

    // === in ===

    /// Takes a request in, or turns it away. Once it is admitted, a crash of this handler does not lose it.
    fn accept(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, mut request: Request, caller: Caller) {
        if self.book.holds(id) || desk.is_running(id) {
            let error = Error::new(Reason::Internal).with_details("another request has the same id");
            return caller.send(Err(error.with_request_id(id)));
        }
        request.settle_key(u128::from(ctx.random_bits()) << 64 | u128::from(ctx.random_bits()));
        // What has expired takes up no room.
        self.expire(ctx, desk);
        let deadline = desk.now.saturating_add(self.patience(&request));
        self.book.admit(id, request, caller, desk.now, deadline);
        let Some(entry) = self.book.entry(id) else { return };
        match desk.lanes.push(entry, desk.now) {
            Pushed::Queued => {}
            Pushed::Displaced(left) => self.fail(ctx, desk.now, left.id, Error::new(Reason::Evicted)),
            Pushed::Rejected(_) => self.fail(ctx, desk.now, id, Error::new(Reason::QueueFull)),
            Pushed::Duplicate(_) => self.fail(ctx, desk.now, id, Error::new(Reason::Internal)),
        }
    }

    fn patience(&self, request: &Request) -> Duration {
        request.wait_timeout().unwrap_or(self.policy.wait_timeout).max(WAIT_MIN)
    }

    /// Takes up what the last incarnation left.
    fn take_up(&self, ctx: &Ctx, desk: &mut Desk) {
        for (id, phase) in self.book.phases() {
            match phase {
                Phase::Waiting { not_before, .. } => self.line_up(desk, id, not_before),
                Phase::Running => self.conclude(ctx, desk, id, Attempted::Lost),
            }
        }
    }

    /// Puts a request that waits into its place in line.
    fn line_up(&self, desk: &mut Desk, id: RequestId, not_before: Duration) {
        if let Some(entry) = self.book.entry(id) {
            // Nothing can be replaced: what runs, or is not in line yet, is not in line.
            desk.lanes.put_back(entry, not_before);
        }
    }

    // === in turn ===

    /// What follows every message: what has expired leaves, whoever's turn it is runs, and the timer and the view
    /// are brought up to date.
    fn settle(&self, ctx: &mut Ctx, desk: &mut Desk) {
        self.expire(ctx, desk);
        while desk.permits.is_free() {
            match desk.lanes.pop(desk.now) {
                Some(Popped::Ready(entry)) => self.begin(ctx, desk, entry.id),
                Some(Popped::Expired(entry)) => self.fail_expired(ctx, desk, entry.id),
                None => break,
            }
        }
        desk.set_alarm(ctx);
        self.view.publish(desk.stats(self.policy.max_concurrent));
    }

    fn begin(&self, ctx: &mut Ctx, desk: &mut Desk, id: RequestId) {
        if self.book.look(id, |page| page.caller.is_closed()) == Some(true) {
            return self.fail(ctx, desk.now, id, Error::new(Reason::Cancelled));
        }
        let Some(called_off) = desk.begin_attempt(id) else {
            return self.fail(ctx, desk.now, id, Error::new(Reason::Internal));
        };
        let Some(attempt) = self.book.begin(id) else { return desk.end_attempt(id) };
        if attempt.number == 1 {
            desk.budget.count_request(desk.now);
        }
        ctx.record(&RequestStarted {
            subject: Subject::new(id, &attempt.request),
            attempt: attempt.number,
            waited_ms: millis(desk.now.saturating_sub(attempt.queued_at)),
        });
        let transport = Arc::clone(&self.transport);
        let timeout = attempt.request.timeout().unwrap_or(self.policy.timeout);
        ctx.spawn(async move {
            let attempted = Box::new(make(&*transport, &attempt.request, timeout, called_off).await);
            QueueMessage::TakeOutcome { id, attempted }
        });
    }

    /// Does what follows from an attempt that has ended.
    fn conclude(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, attempted: Attempted) {
        // Without a page it was called off meanwhile.
        let Some((facts, number)) = self.book.facts(id) else { return };
        let moment = Moment { now: desk.now, wall: ctx.wall_time().into(), jitter: ctx.random_unit() };
        let outcome = attempted.outcome();
        match after_attempt(&self.policy.retry, &facts, number, outcome, &mut desk.budget, moment) {
            Verdict::Done => self.answer(ctx, desk.now, id, attempted),
            Verdict::RetryIn { delay, reason } => self.put_off(ctx, desk, id, delay, reason),
            Verdict::Fail(error) => self.fail(ctx, desk.now, id, error),
        }
    }

    fn put_off(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, delay: Duration, reason: Reason) {
        let seen =
            |page: &Page| (Subject::new(id, &page.request), page.attempts, self.patience(&page.request));
        let Some((subject, attempts, patience)) = self.book.look(id, seen) else { return };
        let not_before = desk.now.saturating_add(delay);
        self.book.put_off(id, reason, not_before, not_before.saturating_add(patience));
        let attempt = attempts.saturating_add(1);
        ctx.record(&RequestRetry { subject, attempt, delay_ms: millis(delay), reason });
        self.line_up(desk, id, not_before);
    }

    // === out ===

    fn answer(&self, ctx: &Ctx, now: Duration, id: RequestId, attempted: Attempted) {
        let Attempted::Answered(Answer { status, headers, body }) = attempted else {
            return self.fail(ctx, now, id, Error::new(Reason::Internal));
        };
        let Some(Page { request, caller, queued_at, attempts, .. }) = self.book.strike(id) else { return };
        let ms = millis(now.saturating_sub(queued_at));
        let subject = Subject::new(id, &request);
        ctx.record(&RequestDone { subject, status: status.as_u16(), ms, cached: false, attempts });
        let secrets = request.secrets(self.transport.secrets());
        let cached = false;
        caller.send(Ok(Response { status, headers, body, ms, cached, attempts, request_id: id, secrets }));
    }

    /// Calls a request off; `false` if it has ended already.
    fn call_off(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId) -> bool {
        let is_open = self.book.holds(id);
        desk.forget(id);
        self.fail(ctx, desk.now, id, Error::new(Reason::Cancelled));
        is_open
    }

    fn expire(&self, ctx: &Ctx, desk: &mut Desk) {
        for entry in desk.lanes.expire(desk.now) {
            self.fail_expired(ctx, desk, entry.id);
        }
    }

    fn fail_expired(&self, ctx: &Ctx, desk: &Desk, id: RequestId) {
        let Some(setback) = self.book.look(id, |page| page.setback) else { return };
        let error = Error::new(Reason::Expired);
        let error = match setback {
            None => error,
            Some(setback) => error
                .with_message("The request waited too long for another attempt. Try again in a moment.")
                .with_details(&format!("the last attempt failed: {setback}")),
        };
        self.fail(ctx, desk.now, id, error);
    }

    /// Tells every caller that nothing more can be done, for `reason`.
    fn let_go(&self, scribe: &impl Scribe, now: Duration, reason: Reason) {
        for (id, _) in self.book.phases() {
            if let Some(error) = self.book.look(id, |page| page.loss(reason)) {
                self.fail(scribe, now, id, error);
            }
        }
    }

    /// Ends a request without an answer, once: writes down why, and tells its caller.
    fn fail(&self, scribe: &impl Scribe, now: Duration, id: RequestId, error: Error) {
        let Some(page) = self.book.strike(id) else { return };
        // Whatever became of it goes this way, so nothing that the request sent is told again.
        let secrets = page.request.secrets(self.transport.secrets());
        let error = error.without(&secrets).with_attempts(page.attempts).with_request_id(id);
        let subject = Subject::new(id, &page.request);
        let lasted = now.saturating_sub(page.queued_at);
        match (error.reason, error.code) {
            (reason @ (Reason::QueueFull | Reason::Evicted), _) => scribe.write(&QueueOverflow {
                subject,
                reason,
                priority: page.request.priority(),
                overflow: self.policy.lanes.overflow,
                queue_max: self.policy.lanes.queue_max,
            }),
            (reason, Code::Timeout) if reason != Reason::Cancelled => {
                scribe.write(&RequestTimedOut(RequestFailed::new(subject, &error, lasted)));
            }
            _ => scribe.write(&RequestFailed::new(subject, &error, lasted)),
        }
        page.caller.send(Err(error));
    }
}

fn idle(policy: &QueuePolicy) -> QueueStats {
    QueueStats { max_concurrent: policy.max_concurrent.max(1), ..QueueStats::default() }
}

#[cfg(test)]
mod tests;
