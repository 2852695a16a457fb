//! The letters to one agent that have no answer yet: pure, with the time passed in.
//!
//! Letters are handed to the agent in the order in which they came. One that is under way when the agent, its actor or the
//! whole runtime goes may have been acted on, so it is not handed out again, unless its sender asked for that: then it
//! goes back to its place, [`ATTEMPTS_MAX`] times at most.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::letter::{Letter, LetterId};

/// How many letters may wait for one agent.
pub const LETTERS_WAITING_MAX: usize = 64;
/// How often a letter is handed to an agent that ends over it, where its sender asked for that.
pub const ATTEMPTS_MAX: u32 = 3;

/// A letter that has no answer yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The letter.
    pub(super) letter: Letter,
    /// Whether it may be handed out more than once.
    pub(super) may_repeat: bool,
    /// How often it has been handed out.
    pub(super) attempts: u32,
    /// Until when it may wait; in this process alone.
    #[serde(skip)]
    pub(super) deadline: Option<Duration>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mail {
    last_id: u64,
    waiting: VecDeque<Pending>,
    under_way: Vec<Pending>,
}

/// What becomes of a letter whose delivery broke off.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Broken {
    /// It waits again.
    Again(Pending),
    /// It may have been acted on, and is not handed out again.
    InDoubt(Pending),
}

impl Mail {
    /// Takes a letter in, to be handed out before `deadline`. `None` if there is no room for it.
    pub(super) fn post(
        &mut self,
        body: Value,
        may_repeat: bool,
        deadline: Option<Duration>,
    ) -> Option<LetterId> {
        if self.waiting.len() >= LETTERS_WAITING_MAX {
            return None;
        }
        self.last_id += 1;
        let id = LetterId(self.last_id);
        self.waiting.push_back(Pending {
            letter: Letter { id, body, deadline: None },
            may_repeat,
            attempts: 0,
            deadline,
        });
        Some(id)
    }

    /// The next letter to hand out, if fewer than `max` are under way. From now on it counts as handed out.
    pub(super) fn next(&mut self, max: usize) -> Option<LetterId> {
        if self.under_way.len() >= max.max(1) {
            return None;
        }
        let mut next = self.waiting.pop_front()?;
        next.attempts += 1;
        let id = next.letter.id;
        self.under_way.push(next);
        Some(id)
    }

    /// A letter that is under way.
    #[must_use]
    pub(super) fn under_way(&self, id: LetterId) -> Option<&Pending> {
        self.under_way.iter().find(|pending| pending.letter.id == id)
    }

    /// Takes a letter out, wherever it is: it has its fate.
    pub(super) fn end(&mut self, id: LetterId) -> Option<Pending> {
        if let Some(at) = self.under_way.iter().position(|pending| pending.letter.id == id) {
            return Some(self.under_way.swap_remove(at));
        }
        let at = self.waiting.iter().position(|pending| pending.letter.id == id)?;
        self.waiting.remove(at)
    }

    /// Puts a letter that reached nobody back into its place, as if it had not been handed out; how often it has been
    /// before.
    pub(super) fn put_back(&mut self, id: LetterId) -> Option<u32> {
        let at = self.under_way.iter().position(|pending| pending.letter.id == id)?;
        let mut pending = self.under_way.swap_remove(at);
        pending.attempts = pending.attempts.saturating_sub(1);
        let attempts = pending.attempts;
        self.line_up(pending);
        Some(attempts)
    }

    fn line_up(&mut self, pending: Pending) {
        let id = pending.letter.id;
        let place = self.waiting.iter().position(|other| other.letter.id > id).unwrap_or(self.waiting.len());
        self.waiting.insert(place, pending);
    }

    /// The delivery of a letter broke off, and nobody knows how far it had come.
    pub(super) fn break_off(&mut self, id: LetterId) -> Option<Broken> {
        let at = self.under_way.iter().position(|pending| pending.letter.id == id)?;
        let pending = self.under_way.swap_remove(at);
        if !pending.may_repeat || pending.attempts >= ATTEMPTS_MAX {
            return Some(Broken::InDoubt(pending));
        }
        self.line_up(pending.clone());
        Some(Broken::Again(pending))
    }

    /// The same for all that are under way, in the order in which they came.
    pub(super) fn break_off_all(&mut self) -> Vec<Broken> {
        let mut ids: Vec<_> = self.under_way.iter().map(|pending| pending.letter.id).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.break_off(id)).collect()
    }

    /// Takes out those that wait and of whom `leaves` holds.
    pub(super) fn part(&mut self, leaves: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let (left, kept) = std::mem::take(&mut self.waiting).into_iter().partition(|pending| leaves(pending));
        self.waiting = kept;
        Vec::from_iter::<VecDeque<_>>(left)
    }

    /// When the first of those that wait has waited long enough.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.iter().filter_map(|pending| pending.deadline).min()
    }

    /// How many wait.
    #[must_use]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many are under way.
    #[must_use]
    pub(super) fn under_way_count(&self) -> usize {
        self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEVER: Option<Duration> = None;

    fn post(mail: &mut Mail, may_repeat: bool) -> LetterId {
        mail.post(json!("x"), may_repeat, NEVER).unwrap()
    }

    #[test]
    fn letters_are_handed_out_in_the_order_in_which_they_came_and_no_more_than_may_be_at_once() {
        let mut mail = Mail::default();
        let ids: Vec<_> = (0..3).map(|_| post(&mut mail, false)).collect();
        assert_eq!((mail.next(2), mail.next(2), mail.next(2)), (Some(ids[0]), Some(ids[1]), None));
        assert!(mail.end(ids[0]).is_some());
        assert_eq!(mail.next(2), Some(ids[2]));
        assert!(mail.end(ids[0]).is_none(), "a letter has one fate");
    }

    #[test]
    fn one_that_broke_off_is_in_doubt_unless_its_sender_allowed_a_repeat() {
        let mut mail = Mail::default();
        let (once, often, behind) = (post(&mut mail, false), post(&mut mail, true), post(&mut mail, false));
        assert_eq!((mail.next(2), mail.next(2)), (Some(once), Some(often)));
        let broken: Vec<_> = mail
            .break_off_all()
            .into_iter()
            .map(|broken| match broken {
                Broken::Again(pending) => (pending.letter.id, true),
                Broken::InDoubt(pending) => (pending.letter.id, false),
            })
            .collect();
        assert_eq!(broken, [(once, false), (often, true)]);
        assert_eq!(
            (mail.next(2), mail.next(2)),
            (Some(often), Some(behind)),
            "it goes before those behind it"
        );
    }

    #[test]
    fn a_letter_that_ends_the_agent_each_time_is_not_handed_out_for_ever() {
        let mut mail = Mail::default();
        let id = post(&mut mail, true);
        for _ in 1..ATTEMPTS_MAX {
            assert_eq!(mail.next(1), Some(id));
            assert!(matches!(mail.break_off(id), Some(Broken::Again(_))));
        }
        assert_eq!(mail.next(1), Some(id));
        assert!(matches!(mail.break_off(id), Some(Broken::InDoubt(_))));
        assert_eq!(mail.next(1), None);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut mail = Mail::default();
        for _ in 0..LETTERS_WAITING_MAX {
            post(&mut mail, false);
        }
        assert_eq!(mail.post(json!("x"), false, NEVER), None);
    }

    #[test]
    fn those_that_waited_long_enough_leave_and_the_others_keep_their_order() {
        let mut mail = Mail::default();
        let deadlines = [Some(5), None, Some(3), Some(9)].map(|s| s.map(Duration::from_secs));
        let ids = deadlines.map(|deadline| mail.post(json!("x"), false, deadline).unwrap());
        assert_eq!(mail.next_deadline(), Some(Duration::from_secs(3)));
        let left = mail.part(|pending| pending.deadline.is_some_and(|at| at <= Duration::from_secs(5)));
        assert_eq!(left.iter().map(|pending| pending.letter.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
        assert_eq!((mail.next(9), mail.next(9)), (Some(ids[1]), Some(ids[3])));
    }

    #[test]
    fn it_reads_back_as_it_was_written_but_for_the_deadlines() {
        let mut mail = Mail::default();
        post(&mut mail, true);
        post(&mut mail, false);
        mail.next(1);
        let read: Mail = serde_json::from_str(&serde_json::to_string(&mail).unwrap()).unwrap();
        assert_eq!(read, mail);
    }
}
