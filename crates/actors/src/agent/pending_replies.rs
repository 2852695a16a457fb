//! Who waits for the answers to letters. It outlives the incarnations of the agent's actor.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};

use mainstay_runtime::Reply;
use serde_json::Value;

use super::agent_message::MessageId;
use crate::error::{Error, Reason};

/// What the sender of a letter waits for.
pub type MessageReply = Reply<Result<Value, Error>>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct PendingReplies(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// With whether the letter has been handed out.
    replies: HashMap<MessageId, (MessageReply, bool)>,
    /// Letters whose fate was told while no incarnation was there to strike them from its mail.
    answered: BTreeSet<MessageId>,
}

impl PendingReplies {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    pub(super) fn add(&self, id: MessageId, reply: MessageReply) {
        self.lock().replies.insert(id, (reply, false));
    }

    /// Nobody has sent the letter after all.
    pub(super) fn remove(&self, id: MessageId) {
        self.lock().replies.remove(&id);
    }

    /// From now on the agent may be acting on the letter. False where the letter has had its fate, and must not be
    /// handed out.
    pub(super) fn mark_delivered(&self, id: MessageId) -> bool {
        let mut waiting = self.lock();
        if let Some((_, is_handed_out)) = waiting.replies.get_mut(&id) {
            *is_handed_out = true;
        }
        !waiting.answered.remove(&id)
    }

    /// The letter reached nobody, and waits as if it had never been handed out.
    pub(super) fn mark_requeued(&self, id: MessageId) {
        if let Some((_, is_handed_out)) = self.lock().replies.get_mut(&id) {
            *is_handed_out = false;
        }
    }

    /// The right to tell what became of a letter; `None` where that has been told already.
    pub(super) fn claim(&self, id: MessageId) -> Option<ReplyClaim> {
        let mut waiting = self.lock();
        if waiting.answered.remove(&id) {
            return None;
        }
        Some(ReplyClaim(waiting.replies.remove(&id).map(|(reply, _)| reply)))
    }

    /// Ends a letter whose time is over, unless the agent may be acting on it or it has ended already; returns what its
    /// sender is told. This needs no incarnation of the agent's actor, and so is to the point while there is none. Whoever
    /// calls it records the fate.
    #[must_use = "what became of the letter is to be recorded"]
    pub fn expire(&self, id: MessageId) -> Option<Error> {
        let mut waiting = self.lock();
        if waiting.replies.get(&id).is_none_or(|(_, is_handed_out)| *is_handed_out) {
            return None;
        }
        let (reply, _) = waiting.replies.remove(&id)?;
        waiting.answered.insert(id);
        drop(waiting);
        let error = not_delivered(Reason::Expired);
        reply.send(Err(error.clone()));
        Some(error)
    }

    /// Tells all who wait that their letters are not going to be answered, with the error for those that have been
    /// handed out, or for those that have not; returns what was told, in the order of the letters.
    pub(super) fn fail_all(&self, error: impl Fn(bool) -> Error) -> Vec<(MessageId, Error)> {
        let replies = std::mem::take(&mut self.lock().replies);
        self.lock().answered.extend(replies.keys().copied());
        let mut told = Vec::with_capacity(replies.len());
        for (id, (reply, is_handed_out)) in replies {
            let error = error(is_handed_out);
            told.push((id, error.clone()));
            reply.send(Err(error));
        }
        told.sort_unstable_by_key(|(id, _)| *id);
        told
    }

    /// The letters whose senders were told, with no incarnation to strike them from its mail, since this was last asked.
    pub(super) fn take_answered(&self) -> BTreeSet<MessageId> {
        std::mem::take(&mut self.lock().answered)
    }
}

/// The right to tell what became of one letter, which is done once.
#[derive(Debug)]
pub(super) struct ReplyClaim(Option<MessageReply>);

impl ReplyClaim {
    /// Tells the letter's sender, if one waits.
    pub(super) fn send(self, answer: Result<Value, Error>) {
        if let Some(reply) = self.0 {
            reply.send(answer);
        }
    }
}

/// What becomes of a letter that did not come to its turn.
#[must_use]
pub fn not_delivered(reason: Reason) -> Error {
    let message = match reason {
        Reason::Expired => "The agent did not get to this in time. It was not handed to it; try again later.",
        _ => "The agent was stopped before it got to this. Start it, then send it again.",
    };
    Error::new(reason).with_message(message)
}

impl Drop for PendingReplies {
    /// The runtime is gone without having stopped anything.
    fn drop(&mut self) {
        self.fail_all(|_| Error::new(Reason::Stopped));
    }
}
