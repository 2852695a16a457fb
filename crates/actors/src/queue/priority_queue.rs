//! The line of waiting requests: bounded, in priority lanes, with ageing.
//!
//! **Order.** The entry with the highest effective priority goes first; among equals the one with the lowest id, that
//! is the oldest. An entry moves up one lane for every `age_after` that it has waited.
//!
//! **Bound.** A low entry reaches the top lane after `2 * age_after`. From then on nothing that arrives later goes
//! before it: it is preceded by older entries alone, at most `queue_max - 1`. So under any load it starts within
//! `2 * age_after` and the time that the backend needs for `queue_max` requests.
//!
//! **Cost.** Within one lane of arrival the oldest entry has both the highest effective priority and the lowest id,
//! so the next to go is one of three heads and nothing ever has to be moved between lanes. Everything costs at most
//! O(log n).
//!
//! **Parked entries.** A request that waits for its next attempt is parked until a time: it holds no place among the
//! running, counts against `queue_max`, and then goes on in its old place.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::request::{
    Priority,
    id::{IdMap, RequestId},
};

/// What happens when an entry arrives and the line is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The newcomer is turned away.
    #[default]
    Reject,
    /// The oldest entry, whatever its priority, makes room.
    DropOldest,
    /// The newest entry of the lowest effective priority makes room. If that is the newcomer, it is turned away.
    DropLowest,
}

/// The limits of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityQueuePolicy {
    /// The most entries that wait, parked ones included; 0 counts as 1.
    pub queue_max: usize,
    /// What happens to one more.
    pub overflow: Overflow,
    /// How long an entry waits before it moves up one lane. Zero turns ageing off.
    pub age_after: Duration,
}

impl Default for PriorityQueuePolicy {
    fn default() -> Self {
        Self { queue_max: 1000, overflow: Overflow::Reject, age_after: Duration::from_secs(5) }
    }
}

/// One waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueItem<T> {
    /// Its id. Ids must grow with `queued_at`: they are the order of arrival.
    pub id: RequestId,
    /// The lane that it arrived in.
    pub priority: Priority,
    /// When it first arrived; ageing counts from here.
    pub queued_at: Duration,
    /// When it has waited too long; `None` if it may wait for ever.
    pub deadline: Option<Duration>,
    /// What waits.
    pub payload: T,
}

/// What became of an arriving entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a displaced or rejected entry has a caller to be told"]
pub enum PushOutcome<T> {
    /// It waits.
    Queued,
    /// It waits, and this one had to leave.
    Displaced(QueueItem<T>),
    /// It was turned away: the line is full.
    Rejected(QueueItem<T>),
    /// It was turned away: its id waits already.
    Duplicate(QueueItem<T>),
}

/// What came out of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an expired entry has a caller to be told"]
pub enum PopOutcome<T> {
    /// The next to run.
    Ready(QueueItem<T>),
    /// It waited too long and must not be sent.
    Expired(QueueItem<T>),
}

/// The line itself. Holds at most `queue_max` entries plus those that were put back from running.
#[derive(Debug)]
pub struct PriorityQueue<T> {
    policy: PriorityQueuePolicy,
    entries: IdMap<ScheduledItem<T>>,
    /// By priority of arrival: the ids that may run now, the oldest first.
    ready: [BTreeSet<RequestId>; 3],
    /// By priority of arrival: how many entries there are, parked ones included.
    counts: [usize; 3],
    /// By the time at which they may run again.
    delayed: BTreeSet<(Duration, RequestId)>,
    deadlines: BTreeSet<(Duration, RequestId)>,
}

#[derive(Debug)]
struct ScheduledItem<T> {
    item: QueueItem<T>,
    delayed_until: Option<Duration>,
}

impl<T> PriorityQueue<T> {
    /// An empty line.
    #[must_use]
    pub fn new(policy: PriorityQueuePolicy) -> Self {
        Self {
            policy: PriorityQueuePolicy { queue_max: policy.queue_max.max(1), ..policy },
            entries: IdMap::default(),
            ready: [const { BTreeSet::new() }; 3],
            counts: [0; 3],
            delayed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// How many wait, parked ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many wait for their next attempt.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// How many wait, parked ones included, by the priority that they arrived with.
    #[must_use]
    pub fn count(&self, priority: Priority) -> usize {
        self.counts[lane(priority)]
    }

    /// Takes in a new entry, or says who has to leave. Parked entries never make room. What has expired still takes
    /// up room, so [`expire`](Self::expire) first.
    pub fn push(&mut self, entry: QueueItem<T>, now: Duration) -> PushOutcome<T> {
        if self.entries.contains_key(&entry.id) {
            return PushOutcome::Duplicate(entry);
        }
        if self.len() < self.policy.queue_max {
            self.insert(entry, None);
            return PushOutcome::Queued;
        }
        self.promote_due(now);
        let leaves = match self.policy.overflow {
            Overflow::Reject => None,
            Overflow::DropOldest => self.oldest(),
            Overflow::DropLowest => {
                self.lowest_ranked(now).filter(|id| self.rank_of(*id, now) > Some(self.rank(&entry, now)))
            }
        };
        match leaves.and_then(|id| self.remove(id)) {
            Some(left) => {
                self.insert(entry, None);
                PushOutcome::Displaced(left)
            }
            None => PushOutcome::Rejected(entry),
        }
    }

    /// Puts an entry back that had been popped, to run again not before `not_before`; zero lets it run at once. It is
    /// never turned away: it was admitted once, and no more than what ran can come back. An entry of the same id is
    /// replaced and handed out.
    pub fn requeue(&mut self, entry: QueueItem<T>, not_before: Duration) -> Option<QueueItem<T>> {
        let replaced = self.remove(entry.id);
        self.insert(entry, (!not_before.is_zero()).then_some(not_before));
        replaced
    }

    /// Takes out the next entry that may run, or one that has expired. Expired ones come first, so that none of them
    /// can be taken for one that may run. `None` if nothing may run at `now`.
    pub fn pop(&mut self, now: Duration) -> Option<PopOutcome<T>> {
        if let Some(id) = self.first_expired(now) {
            return self.remove(id).map(PopOutcome::Expired);
        }
        self.promote_due(now);
        let heads = self.ready.iter().filter_map(BTreeSet::first).copied();
        let next = heads.min_by_key(|id| self.rank_of(*id, now))?;
        self.remove(next).map(PopOutcome::Ready)
    }

    /// Takes out the entry of that id, wherever it waits.
    pub fn cancel(&mut self, id: RequestId) -> Option<QueueItem<T>> {
        self.remove(id)
    }

    /// Takes out everything whose deadline has come, the earliest first.
    pub fn expire(&mut self, now: Duration) -> Vec<QueueItem<T>> {
        std::iter::from_fn(|| self.first_expired(now).and_then(|id| self.remove(id))).collect()
    }

    /// The next time at which something expires.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next time at which an entry may run: `now` if there is one that may already.
    #[must_use]
    pub fn next_ready(&self, now: Duration) -> Option<Duration> {
        let is_any_ready = self.ready.iter().any(|lane| !lane.is_empty());
        if is_any_ready { Some(now) } else { self.next_due() }
    }

    /// The next time at which a parked entry may run.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.delayed.first().map(|(due, _)| *due)
    }

    fn insert(&mut self, entry: QueueItem<T>, parked_until: Option<Duration>) {
        match parked_until {
            Some(due) => self.delayed.insert((due, entry.id)),
            None => self.ready[lane(entry.priority)].insert(entry.id),
        };
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, entry.id));
        }
        self.counts[lane(entry.priority)] += 1;
        self.entries.insert(entry.id, ScheduledItem { item: entry, delayed_until: parked_until });
    }

    fn remove(&mut self, id: RequestId) -> Option<QueueItem<T>> {
        let ScheduledItem { item: entry, delayed_until: parked_until } = self.entries.remove(&id)?;
        self.counts[lane(entry.priority)] -= 1;
        match parked_until {
            Some(due) => self.delayed.remove(&(due, id)),
            None => self.ready[lane(entry.priority)].remove(&id),
        };
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(entry)
    }

    /// Lets the parked entries whose time has come into their lanes.
    fn promote_due(&mut self, now: Duration) {
        while let Some((due, id)) = self.delayed.first().copied()
            && due <= now
        {
            self.delayed.pop_first();
            if let Some(waiting) = self.entries.get_mut(&id) {
                waiting.delayed_until = None;
                self.ready[lane(waiting.item.priority)].insert(id);
            }
        }
    }

    fn first_expired(&self, now: Duration) -> Option<RequestId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    fn oldest(&self) -> Option<RequestId> {
        self.ready.iter().filter_map(BTreeSet::first).min().copied()
    }

    /// The newest entry of the lowest effective priority; within a lane of arrival that is its tail.
    fn lowest_ranked(&self, now: Duration) -> Option<RequestId> {
        self.ready.iter().filter_map(BTreeSet::last).copied().max_by_key(|id| self.rank_of(*id, now))
    }

    fn rank_of(&self, id: RequestId, now: Duration) -> Option<Rank> {
        self.entries.get(&id).map(|waiting| self.rank(&waiting.item, now))
    }

    fn rank(&self, entry: &QueueItem<T>, now: Duration) -> Rank {
        (effective_lane(entry.priority, now.saturating_sub(entry.queued_at), self.policy.age_after), entry.id)
    }
}

/// What goes first is less: the effective lane, then the order of arrival.
type Rank = (usize, RequestId);

fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

/// The lane that an entry stands in after it has waited for `waited`.
fn effective_lane(priority: Priority, waited: Duration, age_after: Duration) -> usize {
    let lanes_up = match age_after {
        Duration::ZERO => 0,
        age_after if waited >= age_after.saturating_mul(2) => 2,
        age_after if waited >= age_after => 1,
        _ => 0,
    };
    lane(priority).saturating_sub(lanes_up)
}
