//! Who waits for the answers to letters. It outlives the incarnations of the agent's actor.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_runtime::Reply;
use serde_json::Value;

use super::letter::LetterId;
use crate::error::{Error, Reason};

/// What the sender of a letter waits for.
pub type LetterReply = Reply<Result<Value, Error>>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Callers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// With whether the letter has been handed out.
    replies: HashMap<LetterId, (LetterReply, bool)>,
    /// Letters whose fate was told while no incarnation was there to strike them from its mail.
    told: BTreeSet<LetterId>,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, id: LetterId, reply: LetterReply) {
        self.lock().replies.insert(id, (reply, false));
    }

    /// From now on the agent may be acting on the letter.
    pub(super) fn note_handed_out(&self, id: LetterId) {
        if let Some((_, is_handed_out)) = self.lock().replies.get_mut(&id) {
            *is_handed_out = true;
        }
    }

    /// Tells a letter's sender, if one waits.
    pub(super) fn tell(&self, id: LetterId, answer: Result<Value, Error>) {
        let reply = self.lock().replies.remove(&id);
        if let Some((reply, _)) = reply {
            reply.send(answer);
        }
    }

    /// Tells all who wait that their letters are not going to be answered, with the error for those that have been
    /// handed out, or for those that have not; returns what was told, in the order of the letters.
    pub(super) fn tell_all(&self, error: impl Fn(bool) -> Error) -> Vec<(LetterId, Error)> {
        let replies = std::mem::take(&mut self.lock().replies);
        self.lock().told.extend(replies.keys().copied());
        let mut told = Vec::with_capacity(replies.len());
        for (id, (reply, is_handed_out)) in replies {
            let error = error(is_handed_out);
            told.push((id, error.clone()));
            reply.send(Err(error));
        }
        told.sort_unstable_by_key(|(id, _)| *id);
        told
    }

    /// The letters whose senders were told since this was last asked.
    pub(super) fn take_told(&self) -> BTreeSet<LetterId> {
        std::mem::take(&mut self.lock().told)
    }
}

impl Drop for Callers {
    /// The runtime is gone without having stopped anything.
    fn drop(&mut self) {
        self.tell_all(|_| Error::new(Reason::Stopped));
    }
}
