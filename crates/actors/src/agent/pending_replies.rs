//! The senders that wait for answers. They outlive the incarnations of the agent's actor.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};

use mainstay_runtime::Reply;

use super::agent_message::MessageId;
use crate::error::{Error, Reason};
use crate::json::Json;

/// The reply that the sender of a message waits for.
pub(crate) type MessageReply = Reply<Result<Json, Error>>;

/// Holds the waiting senders of one agent.
#[derive(Debug, Default)]
pub struct PendingReplies(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The reply, and the number of the message's deliveries.
    replies: HashMap<MessageId, (MessageReply, u32)>,
    /// Messages that were answered while no incarnation could remove them from the queue.
    answered: BTreeSet<MessageId>,
}

impl PendingReplies {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    pub(super) fn add(&self, id: MessageId, reply: MessageReply) {
        self.lock().replies.insert(id, (reply, 0));
    }

    /// Removes a message that was not accepted after all.
    pub(super) fn remove(&self, id: MessageId) {
        self.lock().replies.remove(&id);
    }

    /// Notes that the agent may act on the message from now on, which is its delivery number `attempts`. Returns false
    /// if it has ended, and must not be delivered.
    pub(super) fn mark_delivered(&self, id: MessageId, attempts: u32) -> bool {
        let mut waiting = self.lock();
        if let Some((_, deliveries)) = waiting.replies.get_mut(&id) {
            *deliveries = attempts;
        }
        !waiting.answered.remove(&id)
    }

    /// Notes that the message's last delivery reached no agent. It waits with `attempts` deliveries.
    pub(super) fn mark_requeued(&self, id: MessageId, attempts: u32) {
        if let Some((_, deliveries)) = self.lock().replies.get_mut(&id) {
            *deliveries = attempts;
        }
    }

    /// Returns the right to answer a message; `None` if it has been answered already.
    pub(super) fn claim(&self, id: MessageId) -> Option<ReplyClaim> {
        let mut waiting = self.lock();
        if waiting.answered.remove(&id) {
            return None;
        }
        Some(ReplyClaim(waiting.replies.remove(&id).map(|(reply, _)| reply)))
    }

    /// Ends a message whose deadline has passed, unless it is being delivered or has ended. Returns the error that
    /// its sender gets. This works while no incarnation of the actor runs. The caller records the end.
    #[must_use = "record the end of the message"]
    pub fn expire(&self, id: MessageId) -> Option<Error> {
        let mut waiting = self.lock();
        if waiting.replies.get(&id).is_none_or(|(_, deliveries)| *deliveries > 0) {
            return None;
        }
        let (reply, _) = waiting.replies.remove(&id)?;
        waiting.answered.insert(id);
        drop(waiting);
        let error = not_delivered(Reason::Expired);
        reply.send(Err(error.clone()));
        Some(error)
    }

    /// Fails all waiting senders with the error for this number of deliveries. Returns the errors in the order of the
    /// messages.
    pub(super) fn fail_all(&self, error: impl Fn(u32) -> Error) -> Vec<(MessageId, Error)> {
        let replies = std::mem::take(&mut self.lock().replies);
        self.lock().answered.extend(replies.keys().copied());
        let mut failed = Vec::with_capacity(replies.len());
        for (id, (reply, deliveries)) in replies {
            let error = error(deliveries).with_attempts(deliveries);
            failed.push((id, error.clone()));
            reply.send(Err(error));
        }
        failed.sort_unstable_by_key(|(id, _)| *id);
        failed
    }

    /// Takes the messages that were answered while no incarnation could remove them from its queue.
    pub(super) fn take_answered(&self) -> BTreeSet<MessageId> {
        std::mem::take(&mut self.lock().answered)
    }
}

/// The right to answer one message, once.
#[derive(Debug)]
pub(super) struct ReplyClaim(Option<MessageReply>);

impl ReplyClaim {
    /// Answers the sender, if one waits.
    pub(super) fn send(self, answer: Result<Json, Error>) {
        if let Some(reply) = self.0 {
            reply.send(answer);
        }
    }
}

/// Returns the error for a message that was never delivered.
#[must_use]
pub fn not_delivered(reason: Reason) -> Error {
    let message = match reason {
        Reason::Expired => "This waited too long and was not sent to the agent. Try again later.",
        _ => "The agent was stopped before it got to this. Start it, then send it again.",
    };
    Error::new(reason).with_message(message)
}

/// Returns the error for a message that the agent had when it ended, and may have acted on. It is the same whether the
/// driver or a check finds that out first.
pub(super) fn outcome_unknown_error(why: &Error) -> Error {
    Error::outcome_unknown(why.clone()).with_message(
        "The agent ended or was restarted while it was working on this, and may have done it. Look before sending it again.",
    )
}

impl Drop for PendingReplies {
    /// Ends the messages of a runtime that ended without a stop.
    fn drop(&mut self) {
        self.fail_all(|_| Error::new(Reason::Stopped));
    }
}
