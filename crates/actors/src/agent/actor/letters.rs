//! Letters: taken in, handed out one after the other, answered.
//!
//! A letter is handed out in two steps. First it counts as handed out, which the snapshot after that message says; then,
//! once the store has that snapshot, it is. So whatever is killed in between, no letter is handed out twice whose sender
//! did not allow it.

use std::sync::Arc;

use mainstay_runtime::{RestContext, TaskHandle};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{AgentActor, AgentWatch, Ctx};
use crate::agent::callers::not_handed_out;
use crate::agent::events::{AgentSessionLost, LetterAgain, LetterAnswered, LetterFailed, LetterSent};
use crate::agent::health::AgentStatus;
use crate::agent::letter::{Letter, LetterId};
use crate::agent::mail::{ATTEMPTS_MAX, Broken, LETTERS_WAITING_MAX, Pending};
use crate::agent::memory::AgentMemory;
use crate::agent::message::{AgentMessage, Post};
use crate::error::{Error, Reason};

/// The largest body of a letter, in bytes of JSON.
const BODY_BYTES_MAX: usize = 1 << 20;

impl AgentActor {
    /// Settles what an earlier incarnation, or an earlier run, left of the mail.
    pub(super) fn take_up_mail(&self, ctx: &Ctx, memory: &mut AgentMemory, is_first: bool) {
        for id in self.callers.take_told() {
            memory.mail.end(id);
        }
        for broken in memory.mail.break_off_all() {
            self.settle(ctx, broken, &in_doubt("its delivery broke off"));
        }
        if is_first {
            // Their senders went with the earlier run.
            for pending in memory.mail.part(|pending| !pending.may_repeat) {
                self.fail(ctx, &pending, not_handed_out(Reason::Stopped));
            }
        }
    }

    /// Settles what is under way with an agent that has failed: who waits for it need not wait for the restart. False where
    /// there is nothing.
    pub(super) fn break_mail_off(&self, ctx: &Ctx, watch: &mut AgentWatch) -> bool {
        let broken = watch.memory.mail.break_off_all();
        if broken.is_empty() {
            return false;
        }
        watch.is_dirty = true;
        std::mem::take(&mut watch.deliveries).values().for_each(TaskHandle::abort);
        for broken in broken {
            self.settle(ctx, broken, &in_doubt("the agent failed meanwhile"));
        }
        true
    }

    /// Takes a letter in, or turns it away.
    pub(super) fn accept(&self, ctx: &mut Ctx, watch: &mut AgentWatch, post: Post) {
        let Post { body, may_repeat, deadline, accepted, reply } = post;
        if accepted.is_closed() {
            // Its sender has gone, and was never told that it had been accepted.
            return;
        }
        let size = serde_json::to_vec(&body).map_or(usize::MAX, |bytes| bytes.len());
        if size > BODY_BYTES_MAX {
            let details = format!("a letter has at most {BODY_BYTES_MAX} bytes, and this one {size}");
            return accepted.send(Err(Error::new(Reason::RequestTooLarge).with_details(&details)));
        }
        let deadline =
            deadline.map(|at| ctx.now().saturating_add(at.saturating_duration_since(Instant::now())));
        match watch.memory.mail.post(body, may_repeat, deadline) {
            Some(id) => {
                self.callers.add(id, reply);
                if !accepted.offer(Ok(id)) {
                    self.callers.forget(id);
                    watch.memory.mail.end(id);
                    return;
                }
                watch.is_dirty = true;
                if watch.health.status() == AgentStatus::Unknown {
                    // It need not wait for the next check if the backend is back.
                    self.begin_check(ctx, watch);
                }
            }
            None => {
                let details = format!("{LETTERS_WAITING_MAX} letters are waiting for the agent already");
                accepted.send(Err(Error::new(Reason::QueueFull).with_details(&details)));
            }
        }
    }

    /// What follows every message: what has waited too long leaves, and what can be handed out is.
    pub(super) fn mind_mail(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        let now = ctx.now();
        let mail = &mut watch.memory.mail;
        for id in self.callers.take_told() {
            watch.is_dirty |= mail.end(id).is_some();
        }
        if mail.next_deadline().is_some_and(|at| at <= now) {
            for pending in mail.part(|pending| pending.deadline.is_some_and(|at| at <= now)) {
                // One that broke off and was to be handed out again may have been acted on.
                let error = match pending.attempts {
                    0 => not_handed_out(Reason::Expired),
                    _ => in_doubt("it waited too long to be handed out again"),
                };
                self.fail(ctx, &pending, error);
            }
            watch.is_dirty = true;
        }
        // What is handed to an agent behind a backend that is away would wait all the same, and be in doubt.
        let is_away = watch.health.status() == AgentStatus::Unknown;
        let may_hand_out = !watch.is_reviving && !watch.is_shut && !is_away;
        while may_hand_out && let Some(id) = watch.memory.mail.next(self.driver.letters_max()) {
            watch.is_dirty = true;
            if !self.callers.note_handed_out(id) {
                watch.memory.mail.end(id);
                continue;
            }
            ctx.spawn(std::future::ready(AgentMessage::HandOut(id)));
        }
        self.set_mail_alarm(ctx, watch);
    }

    fn set_mail_alarm(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        let Some(due) = watch.memory.mail.next_deadline() else { return };
        if watch.mail_alarm.as_ref().is_some_and(|(at, _)| *at <= due) {
            return;
        }
        let alarm = ctx.send_at(due, AgentMessage::MindMail);
        if let Some((_, later)) = watch.mail_alarm.replace((due, alarm)) {
            later.abort();
        }
    }

    /// Hands out a letter that counts as handed out.
    pub(super) fn deliver(&self, ctx: &mut Ctx, watch: &mut AgentWatch, id: LetterId) {
        let Some(pending) = watch.memory.mail.under_way(id) else { return };
        ctx.record(&LetterSent { letter: id, attempt: pending.attempts });
        let (driver, saved) = (Arc::clone(&self.driver), ctx.saved());
        let deadline =
            pending.deadline.and_then(|at| Instant::now().checked_add(at.saturating_sub(ctx.now())));
        let letter = Letter { deadline, ..pending.letter.clone() };
        let delivery = ctx.spawn(async move {
            // A disk that takes nothing is told of by the store, and is no reason to keep letters back.
            let _ = saved.await;
            let answer = Box::new(driver.deliver(letter).await);
            AgentMessage::TakeAnswer { id, answer }
        });
        watch.deliveries.insert(id, delivery);
    }

    pub(super) fn take_answer(
        &self,
        ctx: &mut Ctx,
        watch: &mut AgentWatch,
        id: LetterId,
        answer: Result<Value, Error>,
    ) {
        watch.deliveries.remove(&id);
        watch.is_dirty = true;
        self.note_session(ctx, watch);
        // What it said before it answered is noted together with the answer.
        self.note_state(ctx, watch);
        match answer {
            // It reached nobody: the agent is not there just now, and will be told to come back.
            Err(error) if error.reason == Reason::AgentFailed => {
                watch.is_shut = true;
                if watch.memory.mail.put_back(id) == Some(0) {
                    self.callers.note_put_back(id);
                }
                self.begin_check(ctx, watch);
            }
            // It reached nobody, and its time is over: as one that waited here.
            Err(error) if error.reason == Reason::Expired => {
                if let Some(mut pending) = watch.memory.mail.end(id) {
                    pending.attempts = pending.attempts.saturating_sub(1);
                    let error = match pending.attempts {
                        0 => not_handed_out(Reason::Expired).with_details(error.for_log()),
                        _ => in_doubt("it waited too long to be handed out again"),
                    };
                    self.fail(ctx, &pending, error);
                }
            }
            Err(error) if error.reason == Reason::OutcomeUnknown => {
                if self.driver.owns_agent() {
                    // Mostly the agent has ended. Those behind it wait until it is known whether it has.
                    watch.is_shut = true;
                    self.begin_check(ctx, watch);
                }
                if let Some(broken) = watch.memory.mail.break_off(id) {
                    self.settle(ctx, broken, &error);
                }
            }
            Err(error) => {
                if let Some(pending) = watch.memory.mail.end(id) {
                    self.fail(ctx, &pending, error);
                }
            }
            Ok(answer) => {
                // One that was called off meanwhile has its fate.
                if watch.memory.mail.end(id).is_some()
                    && let Some(claim) = self.callers.claim(id)
                {
                    ctx.record(&LetterAnswered { letter: id });
                    claim.tell(Ok(answer));
                }
            }
        }
    }

    /// Calls a letter off: it leaves the line, or its delivery is dropped, which calls it off at the agent.
    pub(super) fn call_off(&self, ctx: &Ctx, watch: &mut AgentWatch, id: LetterId) -> bool {
        if let Some(delivery) = watch.deliveries.remove(&id) {
            delivery.abort();
        }
        let Some(pending) = watch.memory.mail.end(id) else { return false };
        watch.is_dirty = true;
        self.fail(ctx, &pending, Error::new(Reason::Cancelled))
    }

    /// Nobody is left to hand letters out: tells all who wait.
    pub(super) fn send_back_mail(&self, ctx: &RestContext<'_>) {
        let doubt = in_doubt("the agent was stopped meanwhile");
        let error =
            |is_handed_out| if is_handed_out { doubt.clone() } else { not_handed_out(Reason::Stopped) };
        for (id, error) in self.callers.tell_all(error) {
            // How often it was handed out is known to the incarnation that has gone.
            ctx.record(&LetterFailed::new(id, u32::from(error.reason == Reason::OutcomeUnknown), &error));
        }
    }

    /// Notes how the agent's conversation would be taken up again.
    pub(super) fn note_session(&self, ctx: &Ctx, watch: &mut AgentWatch) {
        let session = self.driver.session().map(Box::new);
        if session.is_some() && session != watch.memory.session {
            let lost = session.as_ref().and_then(|session| session.get("lost"));
            if let Some(lost) = lost.and_then(|lost| AgentSessionLost::deserialize(lost).ok()) {
                ctx.record(&lost);
            }
            watch.memory.session = session;
            watch.is_dirty = true;
        }
    }

    fn settle(&self, ctx: &Ctx, broken: Broken, error: &Error) {
        match broken {
            Broken::Again(Pending { letter, attempts, .. }) => {
                ctx.record(&LetterAgain { letter: letter.id, attempts, attempts_max: ATTEMPTS_MAX });
            }
            Broken::InDoubt(pending) => {
                self.fail(ctx, &pending, error.clone());
            }
        }
    }

    /// Records what became of a letter, and tells its sender; false where that has been done already.
    fn fail(&self, ctx: &Ctx, pending: &Pending, error: Error) -> bool {
        let Some(claim) = self.callers.claim(pending.letter.id) else { return false };
        let error = error.with_attempts(pending.attempts);
        ctx.record(&LetterFailed::new(pending.letter.id, pending.attempts, &error));
        claim.tell(Err(error));
        true
    }
}

fn in_doubt(why: &str) -> Error {
    Error::outcome_unknown(Error::new(Reason::Crashed).with_details(why)).with_message(
        "The agent went away while it was working on this, and may have done it. Look before sending it again.",
    )
}
