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
use mainstay_runtime::{Context, Failure, RestContext, Worker, journal::millis};
use tokio::sync::watch;

use super::{
    attempt::{Attempted, make, open},
    book::Book,
    budget::RetryBudget,
    caller::Caller,
    desk::Desk,
    events::{
        QueueHeld, QueueOverflow, QueueReleased, RequestDone, RequestFailed, RequestJoined, RequestRetry,
        RequestStarted, RequestTimedOut, Scribe, Subject,
    },
    gate::{Change, Evidence, Hold, LinkHint},
    lanes::{Popped, Pushed},
    message::QueueMessage,
    page::{Attempt, Page, Phase, Waiter},
    policy::QueuePolicy,
    retry::{Moment, Verdict, after_attempt},
    view::{QueueStats, QueueView},
};
use crate::{
    connection::status::ConnectionStatus,
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
    link: Option<watch::Receiver<ConnectionStatus>>,
}

/// What survives an incarnation beside the requests.
#[derive(Debug, Clone)]
pub struct QueueMemory {
    budget: RetryBudget,
    hold: Option<Hold>,
}

type Ctx = Context<QueueMessage>;

impl Worker for QueueActor {
    type Message = QueueMessage;
    type State = Desk;
    type Snapshot = QueueMemory;

    async fn start(&self, ctx: &mut Ctx, kept: Option<QueueMemory>) -> Result<Desk, Failure> {
        // Before it is read: what changes in between is not missed.
        self.await_link_change(ctx);
        let mut desk = Desk::new(&self.policy, self.link_hint(), ctx.now());
        // A gate that begins closed has not changed, and yet it holds requests from now on.
        self.announce(ctx, &desk, desk.gate.hold().map(Change::Held));
        match kept {
            Some(memory) => {
                desk.budget = memory.budget;
                // This one finds out anew whether the backend can be reached.
                let is_over = desk.gate.hold().is_none();
                self.announce(ctx, &desk, memory.hold.filter(|_| is_over).map(Change::Released));
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
            QueueMessage::Enqueue { id, request, reply } => {
                self.accept(ctx, desk, id, request, Caller::Response(reply));
            }
            QueueMessage::Open { id, request, reply } => {
                self.accept(ctx, desk, id, request, Caller::Download(reply));
            }
            QueueMessage::Cancel { id, reply } => reply.send(self.call_off(ctx, desk, id)),
            QueueMessage::Abandon { id } => drop(self.call_off(ctx, desk, id)),
            QueueMessage::TakeOutcome { id, attempted } => {
                desk.end_attempt(id);
                let evidence = Evidence::of(attempted.outcome());
                let change = desk.gate.on_end(id, evidence, desk.now, ctx.random_unit());
                self.conclude(ctx, desk, id, *attempted);
                self.announce(ctx, desk, change);
            }
            QueueMessage::MindLink => {
                self.await_link_change(ctx);
                let change = desk.gate.on_link(self.link_hint(), desk.now);
                self.announce(ctx, desk, change);
            }
            QueueMessage::BackendSeen => {
                let change = desk.gate.on_backend_seen();
                self.announce(ctx, desk, change);
            }
            QueueMessage::TakeHead { id, answer } => {
                let change = desk.gate.on_end(id, Evidence::Answered, desk.now, ctx.random_unit());
                self.hand_over(ctx, desk, id, *answer);
                self.announce(ctx, desk, change);
            }
            QueueMessage::TakeEnd { id, pumped } => self.close(ctx, desk, id, *pumped),
            QueueMessage::MindTime => desk.drop_alarm(),
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            QueueMessage::Panic => panic!("asked to panic"),
        }
        self.settle(ctx, desk);
        Ok(())
    }

    fn snapshot(&self, desk: &Desk) -> Option<QueueMemory> {
        Some(QueueMemory { budget: desk.budget, hold: desk.gate.hold() })
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
        Self { transport, policy, view, book: Book::default(), link: None }
    }

    /// The same, minding what the link says: while it is down, requests are held as if one had reached nobody.
    #[must_use]
    pub fn minding(mut self, link: watch::Receiver<ConnectionStatus>) -> Self {
        self.link = Some(link);
        self
    }

    // === in ===

    /// Takes a request in, or turns it away. Once it is admitted, a crash of this handler does not lose it.
    fn accept(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, mut request: Arc<Request>, caller: Caller) {
        if self.book.holds(id) || desk.is_running(id) {
            let error = Error::new(Reason::Internal).with_details("another request has the same id");
            return caller.refuse(error.with_request_id(id));
        }
        if request.wants_key() {
            let random = u128::from(ctx.random_bits()) << 64 | u128::from(ctx.random_bits());
            Arc::make_mut(&mut request).settle_key(random);
        }
        // What has expired takes up no room.
        self.expire(ctx, desk);
        let deadline = desk.now.saturating_add(self.patience(&request));
        let waiter = Waiter { id, caller, queued_at: desk.now, deadline };
        if let Some(page) = self.book.same_as(&request, &waiter.caller) {
            return self.join(ctx, desk, page, &request, waiter);
        }
        let entry = self.book.admit(request, waiter);
        match desk.lanes.push(entry, desk.now) {
            Pushed::Queued => {}
            Pushed::Displaced(left) => {
                let message = "The request had to make room for another before its next attempt. Try again in a moment.";
                self.fail(ctx, desk.now, left.id, self.parting(left.id, Reason::Evicted, message));
            }
            Pushed::Rejected(_) => self.fail(ctx, desk.now, id, Error::new(Reason::QueueFull)),
            Pushed::Duplicate(_) => self.fail(ctx, desk.now, id, Error::new(Reason::Internal)),
        }
    }

    /// Lets a caller wait for a request that is under way already.
    fn join(&self, ctx: &Ctx, desk: &mut Desk, page: RequestId, request: &Request, waiter: Waiter) {
        let (id, subject) = (waiter.id, Subject::new(waiter.id, request));
        if self.book.joined() >= self.policy.lanes.queue_max {
            return self.tell(ctx, desk.now, request, 0, waiter, Error::new(Reason::QueueFull));
        }
        self.book.join(page, request, waiter);
        let with = self.book.look(page, |page| page.lead(id)).unwrap_or(page);
        ctx.record(&RequestJoined { subject, with });
        // It may have become more urgent, or have somebody less patient.
        self.line_up_again(desk, page);
    }

    fn patience(&self, request: &Request) -> Duration {
        request.wait_timeout().unwrap_or(self.policy.wait_timeout).max(WAIT_MIN)
    }

    /// Takes up what the last incarnation left.
    fn take_up(&self, ctx: &Ctx, desk: &mut Desk) {
        for (id, phase) in self.book.phases() {
            match phase {
                Phase::Waiting { not_before } => self.line_up(desk, id, not_before),
                Phase::Running => self.conclude(ctx, desk, id, Attempted::Lost),
                Phase::Reading => self.fail_lost(ctx, desk.now, id, Reason::Crashed),
            }
        }
    }

    /// Puts a request that waits into its place in line.
    fn line_up(&self, desk: &mut Desk, id: RequestId, not_before: Duration) {
        if let Some(entry) = self.book.entry(id) {
            // What is replaced is the same request, with another priority or deadline.
            desk.lanes.put_back(entry, not_before);
        }
    }

    /// The same for one that may have its place already, and whose callers are others than before.
    fn line_up_again(&self, desk: &mut Desk, id: RequestId) {
        if let Some(Phase::Waiting { not_before }) = self.book.look(id, |page| page.phase) {
            self.line_up(desk, id, not_before);
        }
    }

    // === in turn ===

    /// What follows every message: what has expired leaves, whoever's turn it is runs, and the timer and the view
    /// are brought up to date.
    fn settle(&self, ctx: &mut Ctx, desk: &mut Desk) {
        self.expire(ctx, desk);
        while desk.permits.is_free() && desk.gate.admits(desk.now) {
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
        let has_gone = |waiter: &Waiter| waiter.caller.is_closed();
        if !self.part(ctx, desk, id, || Error::new(Reason::Cancelled), has_gone) {
            return;
        }
        let Some(called_off) = desk.begin_attempt(id) else {
            return self.fail(ctx, desk.now, id, Error::new(Reason::Internal));
        };
        let Some(attempt) = self.book.begin(id) else { return desk.end_attempt(id) };
        desk.gate.on_start(id, desk.now, ctx.random_unit());
        if attempt.is_first {
            desk.budget.count_request(desk.now);
        }
        if ctx.records::<RequestStarted>() {
            ctx.record(&RequestStarted {
                subject: Subject::new(attempt.lead, &attempt.request),
                attempt: attempt.number,
                waited_ms: millis(desk.now.saturating_sub(attempt.queued_at)),
            });
        }
        let transport = Arc::clone(&self.transport);
        let timeout = attempt.request.timeout().unwrap_or(self.policy.timeout);
        let Attempt { request, number, wants_parts, .. } = attempt;
        request.meter().begin(number);
        if wants_parts {
            ctx.spawn(async move {
                match open(&*transport, &request, timeout, called_off).await {
                    Ok(answer) => QueueMessage::TakeHead { id, answer: Box::new(answer) },
                    Err(attempted) => QueueMessage::TakeOutcome { id, attempted: Box::new(attempted) },
                }
            });
            return;
        }
        ctx.spawn(async move {
            let attempted = Box::new(make(&*transport, &request, timeout, called_off).await);
            QueueMessage::TakeOutcome { id, attempted }
        });
    }

    /// Does what follows from an attempt that has ended.
    fn conclude(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, attempted: Attempted) {
        // Without a page it was called off meanwhile.
        let Some((facts, number)) = self.book.facts(id) else { return };
        let outcome = attempted.outcome();
        if outcome.is_good() {
            return self.answer(ctx, desk.now, id, attempted);
        }
        let moment = Moment { now: desk.now, wall: ctx.wall_time().into(), jitter: ctx.random_unit() };
        match after_attempt(&self.policy.retry, &facts, number, outcome, &mut desk.budget, moment) {
            Verdict::Done => self.answer(ctx, desk.now, id, attempted),
            Verdict::RetryIn { delay, reason } => self.put_off(ctx, desk, id, delay, reason),
            Verdict::Hold { reason } => {
                self.book.hold(id, reason);
                self.line_up(desk, id, Duration::ZERO);
            }
            Verdict::Fail(error) => self.fail(ctx, desk.now, id, error),
        }
    }

    fn put_off(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, delay: Duration, reason: Reason) {
        let seen = |page: &Page| {
            (Subject::new(page.lead(id), &page.request), page.attempts, self.patience(&page.request))
        };
        let Some((subject, attempts, patience)) = self.book.look(id, seen) else { return };
        let not_before = desk.now.saturating_add(delay);
        self.book.put_off(id, reason, not_before, not_before.saturating_add(patience));
        let attempt = attempts.saturating_add(1);
        ctx.record(&RequestRetry { subject, attempt, delay_ms: millis(delay), reason });
        self.line_up(desk, id, not_before);
    }

    // === held ===

    fn link_hint(&self) -> LinkHint {
        self.link.as_ref().map_or(LinkHint::Silent, |link| LinkHint::from(&*link.borrow()))
    }

    fn await_link_change(&self, ctx: &mut Ctx) {
        let Some(mut link) = self.link.clone() else { return };
        link.mark_unchanged();
        ctx.spawn_maybe(async move {
            // The link's view outlives its actor; an error says that the whole tree is going.
            link.changed().await.ok().map(|()| QueueMessage::MindLink)
        });
    }

    fn announce(&self, ctx: &Ctx, desk: &Desk, change: Option<Change>) {
        match change {
            Some(Change::Held(hold)) => ctx.record(&QueueHeld::new(&hold, desk.now, desk.lanes.len())),
            Some(Change::Released(hold)) => {
                ctx.record(&QueueReleased::new(&hold, desk.now, desk.lanes.len()));
            }
            None => {}
        }
    }

    // === out ===

    fn answer(&self, ctx: &Ctx, now: Duration, id: RequestId, attempted: Attempted) {
        let Attempted::Answered(Answer { status, headers, body, is_redirected }) = attempted else {
            return self.fail(ctx, now, id, Error::new(Reason::Internal));
        };
        let Some(page) = self.finish(ctx, now, id, status, body.len() as u64) else { return };
        let (cached, attempts) = (false, page.attempts);
        let secrets = page.request.secrets(self.transport.secrets());
        // The last one takes what the others are given a copy of.
        let copies = std::iter::repeat_n((headers, body, secrets), page.waiters.len());
        for (waiter, (headers, body, secrets)) in page.waiters.into_iter().zip(copies) {
            let Waiter { id, caller, queued_at, .. } = waiter;
            let ms = millis(now.saturating_sub(queued_at));
            match caller {
                Caller::Response(caller) => {
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
                other => other.refuse(Error::new(Reason::Internal).with_request_id(id)),
            }
        }
    }

    /// Ends a request with its answer, once: writes it down for all who wait for it, who are for the caller to tell.
    fn finish(
        &self,
        ctx: &Ctx,
        now: Duration,
        id: RequestId,
        status: StatusCode,
        bytes: u64,
    ) -> Option<Page> {
        let page = self.book.strike(id)?;
        let told = if ctx.records::<RequestDone>() { &page.waiters[..] } else { &[] };
        for Waiter { id, queued_at, .. } in told {
            let ms = millis(now.saturating_sub(*queued_at));
            let subject = Subject::new(*id, &page.request);
            let (status, attempts) = (status.as_u16(), page.attempts);
            ctx.record(&RequestDone { subject, status, ms, cached: false, attempts, bytes });
        }
        Some(page)
    }

    /// Calls a request off; `false` if it has ended already.
    fn call_off(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId) -> bool {
        let Some(page) = self.book.page_of(id) else { return false };
        self.part(ctx, desk, page, || Error::new(Reason::Cancelled), |waiter| waiter.id == id);
        true
    }

    /// Lets those callers leave a request of whom `leaves` holds, with `error`. The last one to leave calls it off;
    /// `false` if there is none left.
    fn part(
        &self,
        ctx: &Ctx,
        desk: &mut Desk,
        id: RequestId,
        error: impl FnOnce() -> Error,
        leaves: impl Fn(&Waiter) -> bool,
    ) -> bool {
        let leaving = |page: &Page| page.waiters.iter().filter(|waiter| leaves(waiter)).count();
        let seen = |page: &Page| (leaving(page), page.waiters.len(), page.attempts);
        let Some((leaving, all, attempts)) = self.book.look(id, seen) else { return false };
        if leaving == all {
            desk.forget(id);
            self.fail(ctx, desk.now, id, error());
            return false;
        }
        if leaving > 0
            && let Some((request, parted)) = self.book.part(id, leaves)
        {
            let error = error();
            for waiter in parted {
                self.tell(ctx, desk.now, &request, attempts, waiter, error.clone());
            }
        }
        true
    }

    fn expire(&self, ctx: &Ctx, desk: &mut Desk) {
        for entry in desk.lanes.expire(desk.now) {
            self.fail_expired(ctx, desk, entry.id);
        }
    }

    /// Somebody has waited too long for a request; whoever else waits for it goes on waiting.
    fn fail_expired(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId) {
        let message = "The request waited too long for another attempt. Try again in a moment.";
        let error = match desk.gate.hold() {
            // What kept it waiting tells a person more than that it waited.
            Some(hold) => {
                let message = hold.reason.message();
                self.parting(id, Reason::Disconnected, message).with_message(message)
            }
            None => self.parting(id, Reason::Expired, message),
        };
        let now = desk.now;
        self.part(ctx, desk, id, || error, |waiter| waiter.deadline <= now);
        self.line_up_again(desk, id);
    }

    /// Why a request has to leave the line. The table's words for it say that it was not sent; where it has been
    /// attempted, `message` is said instead.
    fn parting(&self, id: RequestId, reason: Reason, message: &str) -> Error {
        match self.book.look(id, |page| page.setback).flatten() {
            None => Error::new(reason),
            Some(setback) => Error::new(reason)
                .with_message(message)
                .with_details(&format!("the last attempt failed: {setback}")),
        }
    }

    /// Tells every caller that nothing more can be done, for `reason`.
    fn let_go(&self, scribe: &impl Scribe, now: Duration, reason: Reason) {
        for (id, _) in self.book.phases() {
            self.fail_lost(scribe, now, id, reason);
        }
    }

    fn fail_lost(&self, scribe: &impl Scribe, now: Duration, id: RequestId, reason: Reason) {
        if let Some(error) = self.book.look(id, |page| page.loss(reason)) {
            self.fail(scribe, now, id, error);
        }
    }

    /// Ends a request without an answer, once, for all who wait for it.
    fn fail(&self, scribe: &impl Scribe, now: Duration, id: RequestId, error: Error) {
        let Some(Page { request, waiters, attempts, .. }) = self.book.strike(id) else { return };
        for waiter in waiters {
            self.tell(scribe, now, &request, attempts, waiter, error.clone());
        }
    }

    /// Writes down why a caller gets no answer, and tells it.
    fn tell(
        &self,
        scribe: &impl Scribe,
        now: Duration,
        request: &Request,
        attempts: u32,
        Waiter { id, caller, queued_at, .. }: Waiter,
        error: Error,
    ) {
        // Whatever became of it goes this way, so nothing that the request sent is told again.
        let secrets = request.secrets(self.transport.secrets());
        let error = error.without(&secrets).with_attempts(attempts).with_request_id(id);
        let subject = Subject::new(id, request);
        let lasted = now.saturating_sub(queued_at);
        match (error.reason, error.code) {
            (reason @ (Reason::QueueFull | Reason::Evicted), _) => scribe.write(&QueueOverflow {
                subject,
                reason,
                priority: request.priority(),
                overflow: self.policy.lanes.overflow,
                queue_max: self.policy.lanes.queue_max,
            }),
            (reason, Code::Timeout) if reason != Reason::Cancelled => {
                scribe.write(&RequestTimedOut(RequestFailed::new(subject, &error, lasted)));
            }
            _ => scribe.write(&RequestFailed::new(subject, &error, lasted)),
        }
        caller.refuse(error);
    }
}

fn idle(policy: &QueuePolicy) -> QueueStats {
    QueueStats { max_concurrent: policy.max_concurrent.max(1), ..QueueStats::default() }
}

mod streams;
#[cfg(test)]
mod tests;
