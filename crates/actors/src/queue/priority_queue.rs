//! Orders waiting requests: a bounded queue with priority lanes and ageing.
//!
//! **Order.** The item with the highest effective priority goes first; among equals the one with the lowest id, which
//! is the oldest. An item moves up one lane for every `age_after` that it has waited.
//!
//! **Bound.** A low item reaches the top lane after `2 * age_after`. From then on no later arrival goes before it: it
//! is preceded by older items alone, at most `queue_max - 1`. So under any load it starts within `2 * age_after` and
//! the time that the backend needs for `queue_max` requests.
//!
//! **Cost.** Within one lane of arrival the oldest item has both the highest effective priority and the lowest id. So
//! the next item is one of three heads, and no item ever moves between lanes. Every operation costs at most O(log n).
//!
//! **Groups.** The items of each set of groups have lanes of their own. A full group thus holds no item outside it,
//! and its own items keep their order. A step looks at three heads for each set that occurs.
//!
//! **Full resources.** An item whose resource has no room moves into lanes of that resource, once, when its turn comes.
//! Its rank stays the same, so it is overtaken only while there is no room for it.
//!
//! **Delayed items.** A request that waits for its next attempt is delayed until a time: it holds no permit, counts
//! against `queue_max`, and then continues at its old position.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{groups::GroupSet, permits::Resource};
use crate::request::Priority;
use crate::request_id::{IdMap, RequestId};

/// The policy for a new item when the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The new item is rejected.
    #[default]
    Reject,
    /// The oldest item of any priority is evicted.
    DropOldest,
    /// The newest item of the lowest effective priority is evicted. If that is the new item, it is rejected.
    DropLowest,
}

/// The limits of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityQueuePolicy {
    /// The most waiting items, delayed ones included; 0 counts as 1.
    pub queue_max: usize,
    /// The policy for one item more.
    pub overflow: Overflow,
    /// The waiting time after which an item moves up one lane. Zero turns ageing off.
    pub age_after: Duration,
}

impl Default for PriorityQueuePolicy {
    fn default() -> Self {
        Self { queue_max: 1000, overflow: Overflow::Reject, age_after: Duration::from_secs(5) }
    }
}

/// A waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueItem<T> {
    /// The request's id. Ids must grow with `queued_at`: they are the order of arrival.
    pub id: RequestId,
    /// The priority at arrival.
    pub priority: Priority,
    /// The time of arrival; ageing counts from here.
    pub queued_at: Duration,
    /// The time at which the item expires; `None` if it may wait for ever.
    pub deadline: Option<Duration>,
    /// The groups that need room for it.
    pub groups: GroupSet,
    /// The resource that needs room for it.
    pub resource: Resource,
    /// The caller's data.
    pub payload: T,
}

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "answer the caller of a displaced or rejected entry"]
pub(crate) enum PushOutcome<T> {
    /// The item waits.
    Queued,
    /// The item waits, and this one was evicted.
    Displaced(QueueItem<T>),
    /// The item was rejected: the queue is full.
    Rejected(QueueItem<T>),
    /// The item was rejected: its id waits already.
    Duplicate(QueueItem<T>),
}

/// The result of a pop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "answer the caller of an expired entry"]
pub(crate) enum PopOutcome<T> {
    /// The next item to run.
    Ready(QueueItem<T>),
    /// An item that has expired and must not be sent.
    Expired(QueueItem<T>),
}

/// The queue. It holds at most `queue_max` items plus those requeued after an attempt.
#[derive(Debug)]
pub(crate) struct PriorityQueue<T> {
    policy: PriorityQueuePolicy,
    entries: IdMap<ScheduledItem<T>>,
    /// The ids that may run now.
    ready: BTreeMap<LaneKey, Lanes>,
    /// The number of items, delayed ones included, by priority of arrival.
    counts: [usize; 3],
    /// The number of items, delayed ones included, of each set of groups that is not empty.
    group_counts: BTreeMap<GroupSet, usize>,
    /// The delayed ids, by the time at which they may run.
    delayed: BTreeSet<(Duration, RequestId)>,
    deadlines: BTreeSet<(Duration, RequestId)>,
}

/// The ids of each priority of arrival, oldest first.
type Lanes = [BTreeSet<RequestId>; 3];

/// The groups of all items in some lanes, and their resource if it was full when the turn of one came.
type LaneKey = (GroupSet, Option<Resource>);

#[derive(Debug)]
struct ScheduledItem<T> {
    item: QueueItem<T>,
    position: Position,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    Delayed(Duration),
    Ready(LaneKey),
}

impl<T> PriorityQueue<T> {
    /// Creates an empty queue.
    #[must_use]
    pub(crate) fn new(policy: PriorityQueuePolicy) -> Self {
        Self {
            policy: PriorityQueuePolicy { queue_max: policy.queue_max.max(1), ..policy },
            entries: IdMap::default(),
            ready: BTreeMap::new(),
            counts: [0; 3],
            group_counts: BTreeMap::new(),
            delayed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Returns the number of waiting items, delayed ones included.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the queue is empty.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of delayed items.
    #[must_use]
    pub(crate) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Returns the number of waiting items that arrived with this priority, delayed ones included.
    #[must_use]
    pub(crate) fn count(&self, priority: Priority) -> usize {
        self.counts[lane(priority)]
    }

    /// Returns the number of waiting items of each set of groups, delayed ones included.
    pub(crate) fn group_counts(&self) -> impl Iterator<Item = (GroupSet, usize)> + Clone {
        self.group_counts.iter().map(|(groups, count)| (*groups, *count))
    }

    /// Adds a new item and returns the item that had to leave, if any. Delayed items are never evicted. Expired items
    /// still take up room, so call [`expire`](Self::expire) first.
    pub(crate) fn push(&mut self, item: QueueItem<T>, now: Duration) -> PushOutcome<T> {
        if self.entries.contains_key(&item.id) {
            return PushOutcome::Duplicate(item);
        }
        if self.len() < self.policy.queue_max {
            self.insert(item, None);
            return PushOutcome::Queued;
        }
        self.promote_due(now);
        let leaves = match self.policy.overflow {
            Overflow::Reject => None,
            Overflow::DropOldest => self.oldest(),
            Overflow::DropLowest => {
                self.lowest_ranked(now).filter(|id| self.rank_of(*id, now) > Some(self.rank(&item, now)))
            }
        };
        match leaves.and_then(|id| self.remove(id)) {
            Some(left) => {
                self.insert(item, None);
                PushOutcome::Displaced(left)
            }
            None => PushOutcome::Rejected(item),
        }
    }

    /// Puts a popped item back, to run no earlier than `not_before`; zero lets it run at once. It is never rejected,
    /// because it was admitted once. Replaces and returns an item of the same id.
    pub(crate) fn requeue(&mut self, item: QueueItem<T>, not_before: Duration) -> Option<QueueItem<T>> {
        let replaced = self.remove(item.id);
        self.insert(item, (!not_before.is_zero()).then_some(not_before));
        replaced
    }

    /// Removes the next item that may run, or one whose deadline is not after `expired_by`. Expired items come first, so
    /// that none of them is ever started. Returns `None` if nothing may run at `now`, or only items whose groups do not `have_room` or whose
    /// resource is `full`.
    pub(crate) fn pop(
        &mut self,
        now: Duration,
        expired_by: Duration,
        have_room: impl Fn(GroupSet) -> bool,
        full: &[Resource],
    ) -> Option<PopOutcome<T>> {
        if let Some(id) = self.first_expired(expired_by) {
            return self.remove(id).map(PopOutcome::Expired);
        }
        self.promote_due(now);
        loop {
            let open = self.ready.iter().filter(|(key, _)| is_open(**key, &have_room, full));
            let heads = open.flat_map(|(_, lanes)| lanes).filter_map(BTreeSet::first).copied();
            let item = self.remove(heads.min_by_key(|id| self.rank_of(*id, now))?)?;
            if !full.contains(&item.resource) {
                return Some(PopOutcome::Ready(item));
            }
            let key = (item.groups, Some(item.resource));
            self.ready.entry(key).or_default();
            self.insert(item, None);
        }
    }

    /// Removes the item of that id.
    pub(crate) fn cancel(&mut self, id: RequestId) -> Option<QueueItem<T>> {
        self.remove(id)
    }

    /// Removes all items whose deadline has passed, earliest first.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<QueueItem<T>> {
        std::iter::from_fn(|| self.first_expired(now).and_then(|id| self.remove(id))).collect()
    }

    /// Returns the next time at which an item expires.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Returns the next time at which an item may run: `now` if one may already, because its groups `have_room`.
    /// It may still turn out that its resource is `full`.
    #[must_use]
    pub(crate) fn next_ready(
        &self,
        now: Duration,
        have_room: impl Fn(GroupSet) -> bool,
        full: &[Resource],
    ) -> Option<Duration> {
        let is_any_ready = self.ready.keys().any(|key| is_open(*key, &have_room, full));
        if is_any_ready { Some(now) } else { self.next_due() }
    }

    /// Returns the next time at which a delayed item may run.
    #[must_use]
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.delayed.first().map(|(due, _)| *due)
    }

    fn insert(&mut self, item: QueueItem<T>, delayed_until: Option<Duration>) {
        let position = match delayed_until {
            Some(due) => {
                self.delayed.insert((due, item.id));
                Position::Delayed(due)
            }
            None => Position::Ready(self.add_to_lane(&item)),
        };
        if let Some(deadline) = item.deadline {
            self.deadlines.insert((deadline, item.id));
        }
        self.counts[lane(item.priority)] += 1;
        if !item.groups.is_empty() {
            *self.group_counts.entry(item.groups).or_default() += 1;
        }
        self.entries.insert(item.id, ScheduledItem { item, position });
    }

    fn remove(&mut self, id: RequestId) -> Option<QueueItem<T>> {
        let ScheduledItem { item, position } = self.entries.remove(&id)?;
        self.counts[lane(item.priority)] -= 1;
        if let Some(count) = self.group_counts.get_mut(&item.groups) {
            *count -= 1;
            if *count == 0 {
                self.group_counts.remove(&item.groups);
            }
        }
        match position {
            Position::Delayed(due) => {
                self.delayed.remove(&(due, id));
            }
            Position::Ready(key) => self.remove_from_lane(key, &item),
        }
        if let Some(deadline) = item.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(item)
    }

    /// Moves the delayed items that are due into their lanes.
    fn promote_due(&mut self, now: Duration) {
        while let Some((due, id)) = self.delayed.first().copied()
            && due <= now
        {
            self.delayed.pop_first();
            // It gets its position among those that are ready.
            if let Some(ScheduledItem { item, .. }) = self.entries.remove(&id) {
                let position = Position::Ready(self.add_to_lane(&item));
                self.entries.insert(id, ScheduledItem { item, position });
            }
        }
    }

    /// Adds an item to the lanes of its resource if there are some, else to those of its groups.
    fn add_to_lane(&mut self, item: &QueueItem<T>) -> LaneKey {
        let of_resource = (item.groups, Some(item.resource));
        let key = if self.ready.contains_key(&of_resource) { of_resource } else { (item.groups, None) };
        self.ready.entry(key).or_default()[lane(item.priority)].insert(item.id);
        key
    }

    /// Removes an item from its lane, and lanes that are empty then.
    fn remove_from_lane(&mut self, key: LaneKey, item: &QueueItem<T>) {
        let Some(lanes) = self.ready.get_mut(&key) else { return };
        lanes[lane(item.priority)].remove(&item.id);
        if lanes.iter().all(BTreeSet::is_empty) {
            self.ready.remove(&key);
        }
    }

    fn first_expired(&self, now: Duration) -> Option<RequestId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    fn oldest(&self) -> Option<RequestId> {
        self.ready.values().flatten().filter_map(BTreeSet::first).min().copied()
    }

    /// Returns the newest item of the lowest effective priority; within a lane of arrival that is the last one.
    fn lowest_ranked(&self, now: Duration) -> Option<RequestId> {
        let last = self.ready.values().flatten().filter_map(BTreeSet::last).copied();
        last.max_by_key(|id| self.rank_of(*id, now))
    }

    fn rank_of(&self, id: RequestId, now: Duration) -> Option<Rank> {
        self.entries.get(&id).map(|waiting| self.rank(&waiting.item, now))
    }

    fn rank(&self, item: &QueueItem<T>, now: Duration) -> Rank {
        (effective_lane(item.priority, now.saturating_sub(item.queued_at), self.policy.age_after), item.id)
    }
}

/// Returns whether the items of these lanes may run, as far as the key says.
fn is_open((groups, resource): LaneKey, have_room: impl Fn(GroupSet) -> bool, full: &[Resource]) -> bool {
    have_room(groups) && resource.is_none_or(|resource| !full.contains(&resource))
}

/// The order of items, first ones least: the effective lane, then the order of arrival.
type Rank = (usize, RequestId);

fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

/// Returns the lane of an item that has waited for `waited`.
fn effective_lane(priority: Priority, waited: Duration, age_after: Duration) -> usize {
    let lanes_up = match age_after {
        Duration::ZERO => 0,
        age_after if waited >= age_after.saturating_mul(2) => 2,
        age_after if waited >= age_after => 1,
        _ => 0,
    };
    lane(priority).saturating_sub(lanes_up)
}
