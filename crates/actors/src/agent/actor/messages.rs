//! Messages: accepted, delivered one after the other, answered.
//!
//! A delivery has two steps. First the message counts as delivered, which the next snapshot says. Once that snapshot
//! is stored, the message is sent. So a message is never sent twice without its sender's permission, whatever is
//! killed in between.

use std::sync::Arc;

use mainstay_runtime::journal::count;
use mainstay_runtime::{FinalizeContext, TaskHandle};
use serde::Deserialize;
use tokio::time::Instant;

use super::{AgentActor, AgentContext, AgentRunState, Phase};
use crate::agent::agent_message::{AgentMessage, MessageId};
use crate::agent::command::{AgentCommand, SendRequest};
use crate::agent::events::{
    AgentSessionLost, MessageAnswered, MessageFailed, MessageRedelivered, MessageSent,
};
use crate::agent::health::{AgentStatus, Observation, is_break};
use crate::agent::message_queue::{DELIVERY_ATTEMPTS_MAX, MESSAGES_WAITING_MAX, QueuedMessage};
use crate::agent::pending_replies::{not_delivered, outcome_unknown_error};
use crate::agent::snapshot::AgentSnapshot;
use crate::error::{Error, Reason};
use crate::json::Json;

/// The largest body of a message, in bytes of JSON.
const BODY_BYTES_MAX: usize = 1 << 20;

impl AgentActor {
    /// Settles the messages that an earlier incarnation or run left in the queue.
    pub(super) fn resume_messages(&self, ctx: &AgentContext, snapshot: &mut AgentSnapshot, is_first: bool) {
        snapshot.messages.note_start_of_all(self.message_ends());
        for id in self.pending_replies.take_answered() {
            snapshot.messages.remove(id);
        }
        let error = outcome_unknown("its delivery broke off");
        for queued in snapshot.messages.fail_all_deliveries(error.reason) {
            self.fail_message(ctx, &queued, error.clone());
        }
        if is_first {
            // Their senders ended with the earlier run.
            for queued in snapshot.messages.extract_waiting(|queued| !queued.may_repeat) {
                self.fail_message(ctx, &queued, not_delivered(Reason::Stopped));
            }
        }
    }

    /// Fails the deliveries in flight of a failed agent, so that their senders need not wait for the restart. Returns
    /// false if there are none.
    pub(super) fn fail_in_flight_messages(&self, ctx: &AgentContext, run: &mut AgentRunState) -> bool {
        if run.snapshot.messages.in_flight_count() == 0 {
            return false;
        }
        run.is_dirty = true;
        std::mem::take(&mut run.deliveries).values().for_each(TaskHandle::abort);
        let unknown = || Error::new(Reason::AgentFailed).with_details("the agent failed");
        let error = outcome_unknown_error(&run.health.last_error().cloned().unwrap_or_else(unknown));
        for queued in run.snapshot.messages.fail_all_deliveries(error.reason) {
            self.fail_message(ctx, &queued, error.clone());
        }
        true
    }

    /// Accepts a message or rejects it.
    pub(super) fn accept_message(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        request: SendRequest,
    ) {
        let SendRequest { body, may_repeat, deadline, limits, accepted, reply } = request;
        if accepted.is_closed() {
            // The sender has gone, and never learnt that the message was accepted.
            return;
        }
        let size = body.as_str().len();
        if size > BODY_BYTES_MAX {
            let details = format!("a message has at most {BODY_BYTES_MAX} bytes, and this one {size}");
            return accepted.send(Err(Error::new(Reason::RequestTooLarge).with_details(&details)));
        }
        let deadline = deadline.into_iter().chain(limits.ends_at).min();
        let deadline =
            deadline.map(|at| ctx.now().saturating_add(at.saturating_duration_since(Instant::now())));
        match run.snapshot.messages.enqueue(body, may_repeat, deadline) {
            Some(id) => {
                run.snapshot.messages.set_limits(id, limits);
                self.pending_replies.add(id, reply);
                if !accepted.send_if_waiting(Ok(id)) {
                    self.pending_replies.remove(id);
                    run.snapshot.messages.remove(id);
                    return;
                }
                run.is_dirty = true;
                if run.health.status() == AgentStatus::Unknown {
                    // If the backend is back, the message need not wait for the next check.
                    self.start_early_check(ctx, run);
                }
            }
            None => {
                let details = format!("{MESSAGES_WAITING_MAX} messages are waiting for the agent already");
                accepted.send(Err(Error::new(Reason::QueueFull).with_details(&details)));
            }
        }
    }

    /// Expires and delivers messages; called after every command.
    pub(super) fn dispatch_messages(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        let now = ctx.now();
        let queue = &mut run.snapshot.messages;
        for id in self.pending_replies.take_answered() {
            run.is_dirty |= queue.remove(id).is_some();
        }
        if queue.next_deadline().is_some_and(|at| at <= now) {
            for queued in queue.extract_waiting(|queued| queued.deadline.is_some_and(|at| at <= now)) {
                // A message that waits for its redelivery may have been acted on.
                let error = if queued.may_have_arrived() {
                    outcome_unknown("it waited too long for its next delivery")
                } else {
                    not_delivered(Reason::Expired)
                };
                self.fail_message(ctx, &queued, error);
            }
            run.is_dirty = true;
        }
        // With the backend unavailable a sent message would wait too, and its outcome would be unknown.
        let is_away = run.health.status() == AgentStatus::Unknown && !self.driver.owns_agent();
        let ends = self.message_ends();
        let may_deliver = matches!(run.phase, Phase::Serving) && !is_away;
        while may_deliver
            && let Some(id) = run.snapshot.messages.start_next(self.driver.messages_in_flight_max(), ends)
        {
            run.is_dirty = true;
            let attempts = run.snapshot.messages.in_flight(id).map_or(1, |queued| queued.attempts);
            if !self.pending_replies.mark_delivered(id, attempts) {
                run.snapshot.messages.remove(id);
                continue;
            }
            ctx.spawn(std::future::ready(AgentCommand::Deliver(id)));
        }
        if let Some(due) = run.snapshot.messages.next_deadline() {
            run.message_timer.wake_by(ctx, due, AgentCommand::DeadlineReached);
        }
    }

    /// Applies an observation to the messages, and quarantines those over which the agent or its backend died too
    /// often.
    pub(super) fn note_deaths(&self, ctx: &AgentContext, run: &mut AgentRunState, observation: &Observation) {
        let (messages, deaths) = (&mut run.snapshot.messages, self.health.quarantine_after);
        match observation {
            answer if answer.is_answer() => run.is_dirty |= messages.note_alive(),
            // For an agent behind a backend `Exited` only says that the restart failed. For another, a backend that is
            // gone says nothing.
            gone if (gone.is_refusal() && !self.driver.owns_agent())
                || (self.driver.owns_agent() && matches!(gone, Observation::Exited { .. })) =>
            {
                if self.driver.owns_agent() {
                    // The exit may be seen before the deliveries break.
                    messages.note_break_of_all(self.message_ends());
                }
                let (has_changed, poison) = messages.note_gone(deaths);
                run.is_dirty |= has_changed;
                for queued in poison {
                    if let Some(delivery) = run.deliveries.remove(&queued.message.id) {
                        delivery.abort();
                    }
                    let error = quarantined_error(self.driver.owns_agent(), deaths);
                    self.fail_message(ctx, &queued, error);
                }
            }
            // Silence, or another broken connection, shows neither life nor death.
            _ => {}
        }
    }

    /// Sends a message that counts as delivered.
    pub(super) fn deliver_message(&self, ctx: &mut AgentContext, run: &mut AgentRunState, id: MessageId) {
        let Some(queued) = run.snapshot.messages.in_flight(id) else { return };
        // Only now is it certain that the message is sent again: while it waited, it might have been quarantined.
        if let Some(reason) = queued.last_failure {
            ctx.record(&MessageRedelivered {
                message_id: id,
                attempts: queued.attempts.saturating_sub(1),
                attempts_max: DELIVERY_ATTEMPTS_MAX,
                reason,
            });
        }
        ctx.record(&MessageSent { message_id: id, attempt: queued.attempts });
        self.updates.publish_sent(id, queued.message.body.clone());
        let (driver, saved) = (Arc::clone(&self.driver), ctx.flush_state());
        let deadline =
            queued.deadline.and_then(|at| Instant::now().checked_add(at.saturating_sub(ctx.now())));
        let message = AgentMessage { deadline, ..queued.message.clone() };
        let delivery = ctx.spawn(async move {
            // The store reports a failing disk itself; messages are delivered all the same.
            let _ = saved.await;
            let limits = message.limits;
            let answer = Box::new(limits.enforce(&*driver, driver.deliver(message)).await);
            AgentCommand::DeliveryFinished { id, answer }
        });
        run.deliveries.insert(id, delivery);
    }

    pub(super) fn handle_answer(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        id: MessageId,
        answer: Result<Json, Error>,
    ) {
        run.deliveries.remove(&id);
        run.is_dirty = true;
        self.save_session(ctx, run);
        // The state reported before the answer is saved together with the answer.
        self.save_reported_state(ctx, run);
        match answer {
            // The agent did not get the message, since it is not running.
            Err(error) if error.reason == Reason::AgentFailed => {
                run.pause_deliveries();
                if let Some(attempts) = run.snapshot.messages.requeue(id) {
                    self.pending_replies.mark_requeued(id, attempts);
                }
                self.start_early_check(ctx, run);
            }
            // The agent did not get the message in time, as if it had expired in the queue.
            Err(error) if error.reason == Reason::Expired => {
                if let Some(mut queued) = run.snapshot.messages.remove(id) {
                    queued.attempts = queued.attempts.saturating_sub(1);
                    let error = if queued.may_have_arrived() {
                        outcome_unknown("it waited too long for its next delivery")
                    } else {
                        not_delivered(Reason::Expired).with_details(error.log_text())
                    };
                    self.fail_message(ctx, &queued, error);
                }
            }
            Err(error) if error.is_token_renewed() => {
                if let Some(queued) = run.snapshot.messages.renew_delivery(id, error.reason) {
                    self.fail_message(ctx, &queued, error.without_renewal());
                }
            }
            Err(error) if error.reason == Reason::OutcomeUnknown => {
                if self.driver.owns_agent() {
                    // Mostly the agent has ended. The messages behind it wait until that is known.
                    run.pause_deliveries();
                }
                let has_broken = self.driver.owns_agent() || is_break(&error);
                // If the agent is known to have failed, this break is not a second death.
                if has_broken && run.health.status() != AgentStatus::Failed {
                    run.snapshot.messages.note_break(id, self.message_ends());
                    // Also of a quarantine: only a check shows whether the receiver is gone.
                    self.start_check(ctx, run);
                }
                if let Some(queued) = run.snapshot.messages.fail_delivery(id, error.reason) {
                    self.fail_message(ctx, &queued, error);
                }
            }
            Err(error) => {
                if let Some(queued) = run.snapshot.messages.remove(id) {
                    self.fail_message(ctx, &queued, error);
                }
            }
            Ok(answer) => self.answer_message(ctx, run, id, answer),
        }
    }

    fn answer_message(&self, ctx: &AgentContext, run: &mut AgentRunState, id: MessageId, answer: Json) {
        // A message that was cancelled meanwhile has ended already.
        if run.snapshot.messages.remove(id).is_some()
            && let Some(claim) = self.pending_replies.claim(id)
        {
            ctx.record(&MessageAnswered { message_id: id });
            self.updates.publish_end(id, Ok(&answer));
            claim.send(Ok(answer));
        }
    }

    /// Cancels a message: removes it from the queue, or drops its delivery, which cancels it at the agent.
    pub(super) fn cancel_message(&self, ctx: &AgentContext, run: &mut AgentRunState, id: MessageId) -> bool {
        if let Some(delivery) = run.deliveries.remove(&id) {
            delivery.abort();
        }
        let Some(queued) = run.snapshot.messages.remove(id) else { return false };
        run.is_dirty = true;
        self.fail_message(ctx, &queued, Error::new(Reason::Cancelled))
    }

    /// Fails all messages, since no incarnation follows.
    pub(super) fn fail_all_messages(&self, ctx: &FinalizeContext<'_>) {
        let doubt = outcome_unknown("the agent was stopped meanwhile");
        let error = |attempts| if attempts > 0 { doubt.clone() } else { not_delivered(Reason::Stopped) };
        for (id, error) in self.pending_replies.fail_all(error) {
            ctx.record(&MessageFailed::new(id, error.attempts, &error));
            self.updates.publish_end(id, Err(&error));
        }
    }

    /// Saves the data with which the agent's session resumes.
    pub(super) fn save_session(&self, ctx: &AgentContext, run: &mut AgentRunState) {
        let session = self.driver.session().map(Box::new);
        if session.is_some() && session != run.snapshot.session {
            let lost = session.as_ref().and_then(|session| session.get("lost"));
            if let Some(lost) = lost.and_then(|lost| AgentSessionLost::deserialize(lost).ok()) {
                ctx.record(&lost);
            }
            run.snapshot.session = session;
            run.is_dirty = true;
        }
    }

    /// Records that a message failed, and answers its sender; false if that has been done already.
    fn fail_message(&self, ctx: &AgentContext, queued: &QueuedMessage, error: Error) -> bool {
        let Some(claim) = self.pending_replies.claim(queued.message.id) else { return false };
        let error = error.with_attempts(queued.attempts);
        ctx.record(&MessageFailed::new(queued.message.id, queued.attempts, &error));
        self.updates.publish_end(queued.message.id, Err(&error));
        claim.send(Err(error));
        true
    }
}

/// Returns the error for a message whose delivery was interrupted, for a reason that is none of the agent's own.
fn outcome_unknown(why: &str) -> Error {
    outcome_unknown_error(&Error::new(Reason::Crashed).with_details(why))
}

/// Returns the error for a message over which the agent died, or the backend with the agent in it.
fn quarantined_error(owns_agent: bool, deaths: u32) -> Error {
    let error = Error::new(Reason::Quarantined);
    let died = if owns_agent { "the agent" } else { "the backend" };
    let error =
        error.with_details(&format!("{died} died {} while it had this message", count(deaths, "time")));
    if !owns_agent {
        return error;
    }
    error.with_message(
        "The agent died repeatedly while it worked on this, so it is not sent again. Look into its log first.",
    )
}
