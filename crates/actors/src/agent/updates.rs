//! Publishes what an agent says beside its answers.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::agent_message::MessageId;

/// The most updates of one agent that are kept for slow subscribers. A subscriber is notified of those it missed.
pub const UPDATES_BUFFERED_MAX: usize = 1024;

/// The most memory of one agent's updates, in bytes. A single larger update is kept alone, so that a fast subscriber
/// misses none; its reader bounds its size.
pub const UPDATE_BYTES_BUFFERED_MAX: usize = 4 << 20;

/// The kind of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateKind {
    /// A message.
    Message,
    /// Progress.
    Progress,
    /// A question, answered by the name in [`ask`](AgentUpdate::ask).
    Ask,
    /// A question that was answered, or needs no answer any more.
    Settled,
    /// A session that started, resumed, or replaced another.
    Session,
}

/// An update that an agent sent unasked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentUpdate {
    /// The kind of the update.
    pub kind: UpdateKind,
    /// The message that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The name of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// True if it repeats an earlier update, since a session is being resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_replay: bool,
    /// The content.
    pub body: Value,
}

impl AgentUpdate {
    /// Creates an update that concerns no message.
    #[must_use]
    pub fn new(kind: UpdateKind, body: Value) -> Self {
        Self { kind, message_id: None, ask: None, is_replay: false, body }
    }

    /// Estimates its memory, in bytes.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ask.as_ref().map_or(0, String::len) + heap_bytes(&self.body)
    }
}

/// Estimates the memory of a value beyond itself, in bytes. A small value takes many times the bytes of its text.
fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(values) => {
            values.capacity() * size_of::<Value>() + values.iter().map(heap_bytes).sum::<usize>()
        }
        Value::Object(members) => {
            let of_member =
                |(name, value): (&String, &Value)| OBJECT_MEMBER_BYTES + name.capacity() + heap_bytes(value);
            members.iter().map(of_member).sum()
        }
    }
}

/// The memory of an object's member beside its texts: name, value, and its places in the map.
const OBJECT_MEMBER_BYTES: usize = size_of::<String>() + size_of::<Value>() + 4 * size_of::<usize>();

/// Broadcasts one agent's updates to its subscribers. Cheap to clone, and small until the first subscription.
#[derive(Debug, Clone, Default)]
pub struct UpdateBroadcast(Arc<OnceLock<UpdateChannel>>);

#[derive(Debug)]
struct UpdateChannel {
    sender: broadcast::Sender<Arc<UpdateSlot>>,
    /// Locked while an update is published, so that both have the same order.
    unread: Mutex<UnreadUpdates>,
}

/// A buffered update; `None` once it was evicted.
type UpdateSlot = Mutex<Option<Arc<AgentUpdate>>>;

/// The updates that subscribers have not read, and their memory.
#[derive(Debug, Default)]
struct UnreadUpdates {
    waiting: VecDeque<(Weak<UpdateSlot>, usize)>,
    bytes: usize,
}

/// The next item of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateEvent {
    /// An update.
    Update(Arc<AgentUpdate>),
    /// The number of updates that this slow subscriber missed here.
    Missed(u64),
}

/// Subscribes to one agent's updates.
#[derive(Debug)]
pub struct UpdateSubscription {
    receiver: broadcast::Receiver<Arc<UpdateSlot>>,
    /// The missed updates that are not reported yet.
    missed: u64,
    /// The update that follows them.
    next: Option<Arc<UpdateSlot>>,
}

impl UpdateBroadcast {
    /// Publishes an update, which is dropped without subscribers. Old updates of slow subscribers are evicted for it,
    /// oldest first.
    pub fn publish(&self, update: AgentUpdate) {
        let Some(channel) = self.0.get() else { return };
        let bytes = update.memory_bytes();
        let slot = Arc::new(Mutex::new(Some(Arc::new(update))));
        let handle = Arc::downgrade(&slot);
        let mut unread = channel.unread.lock();
        // An error says that there are no subscribers, which is no failure.
        if channel.sender.send(slot).is_ok() {
            unread.push(handle, bytes);
        }
    }

    /// Subscribes to the updates from now on.
    #[must_use]
    pub fn subscribe(&self) -> UpdateSubscription {
        // The channel allocates its whole capacity, and most agents never have a subscriber.
        let channel = self.0.get_or_init(|| UpdateChannel {
            sender: broadcast::Sender::new(UPDATES_BUFFERED_MAX),
            unread: Mutex::default(),
        });
        UpdateSubscription { receiver: channel.sender.subscribe(), missed: 0, next: None }
    }
}

impl UnreadUpdates {
    fn push(&mut self, slot: Weak<UpdateSlot>, bytes: usize) {
        // All subscribers read in order, so updates that none waits for any more come first.
        while self.waiting.front().is_some_and(|(slot, _)| slot.strong_count() == 0) {
            self.pop_oldest();
        }
        self.waiting.push_back((slot, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        // An update that was received but not returned yet counts too, so one more than the channel's capacity may be
        // held.
        let is_too_much = |unread: &Self| {
            unread.waiting.len() > UPDATES_BUFFERED_MAX
                || unread.bytes > UPDATE_BYTES_BUFFERED_MAX && unread.waiting.len() > 1
        };
        while is_too_much(self) {
            if let Some(slot) = self.pop_oldest() {
                *slot.lock() = None;
            }
        }
    }

    fn pop_oldest(&mut self) -> Option<Arc<UpdateSlot>> {
        let (slot, bytes) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        slot.upgrade()
    }
}

fn read_slot(slot: &UpdateSlot) -> Option<Arc<AgentUpdate>> {
    slot.lock().clone()
}

impl UpdateSubscription {
    /// Returns the next update; `None` once the agent is removed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<UpdateEvent> {
        loop {
            let received = match self.next.take() {
                Some(slot) => Ok(slot),
                // Missed updates are reported as one count, and at once if nothing follows them.
                None if self.missed > 0 => self.receiver.try_recv(),
                None => self.receiver.recv().await.map_err(|error| match error {
                    RecvError::Closed => TryRecvError::Closed,
                    RecvError::Lagged(missed) => TryRecvError::Lagged(missed),
                }),
            };
            let missed = match received {
                Ok(slot) => match read_slot(&slot) {
                    Some(update) if self.missed == 0 => return Some(UpdateEvent::Update(update)),
                    Some(_) => {
                        self.next = Some(slot);
                        return self.take_missed();
                    }
                    None => 1,
                },
                Err(TryRecvError::Lagged(missed)) => missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.take_missed(),
            };
            self.missed = self.missed.saturating_add(missed);
        }
    }

    fn take_missed(&mut self) -> Option<UpdateEvent> {
        let missed = std::mem::take(&mut self.missed);
        (missed > 0).then_some(UpdateEvent::Missed(missed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn slow_subscriber_gets_missed_count_then_the_rest() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        for number in 0..UPDATES_BUFFERED_MAX + 5 {
            updates.publish(AgentUpdate::new(UpdateKind::Message, json!(number)));
        }
        assert_eq!(subscription.next().await, Some(UpdateEvent::Missed(5)));
        let next = AgentUpdate::new(UpdateKind::Message, json!(5));
        assert_eq!(subscription.next().await, Some(UpdateEvent::Update(Arc::new(next))));
        drop(updates);
        for _ in 6..UPDATES_BUFFERED_MAX + 5 {
            assert!(matches!(subscription.next().await, Some(UpdateEvent::Update(_))));
        }
        assert_eq!(subscription.next().await, None);
    }
    fn large_update(number: u8) -> AgentUpdate {
        AgentUpdate::new(UpdateKind::Message, json!([number, "x".repeat(1 << 20)]))
    }

    fn number(heard: Option<UpdateEvent>) -> Value {
        match heard {
            Some(UpdateEvent::Update(update)) => update.body[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the number of updates that the broadcast holds, and their memory.
    fn buffered(updates: &UpdateBroadcast) -> (usize, usize) {
        let unread = updates.0.get().unwrap().unread.lock();
        let held: Vec<usize> = unread
            .waiting
            .iter()
            .filter_map(|(slot, _)| Some(slot.upgrade()?.lock().as_ref()?.memory_bytes()))
            .collect();
        (held.len(), held.iter().sum())
    }

    #[tokio::test]
    async fn unread_updates_are_bounded_by_bytes_oldest_first() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        for number in 0..100 {
            updates.publish(large_update(number));
            let (updates, bytes) = buffered(&updates);
            assert!(updates <= 3 && bytes <= UPDATE_BYTES_BUFFERED_MAX, "{number}: {updates} {bytes}");
        }
        assert_eq!(subscription.next().await, Some(UpdateEvent::Missed(97)));
        // Updates that it has not read are still evicted.
        updates.publish(large_update(100));
        assert_eq!(subscription.next().await, Some(UpdateEvent::Missed(1)));
        assert_eq!(number(subscription.next().await), json!(98));
        assert_eq!(number(subscription.next().await), json!(99));
        drop(updates);
        assert_eq!(number(subscription.next().await), json!(100));
        assert_eq!(subscription.next().await, None);
    }

    #[tokio::test]
    async fn fast_subscriber_misses_nothing_beside_a_slow_one() {
        let updates = UpdateBroadcast::default();
        let (mut quick, mut slow) = (updates.subscribe(), updates.subscribe());
        for index in 0..10 {
            updates.publish(large_update(index));
            assert_eq!(number(quick.next().await), json!(index));
        }
        assert_eq!(slow.next().await, Some(UpdateEvent::Missed(7)));
        assert_eq!(number(slow.next().await), json!(7));
        drop(slow);
        updates.publish(large_update(10));
        assert_eq!(buffered(&updates).0, 1, "nobody waits for the others any more");
    }

    #[tokio::test]
    async fn oversized_update_is_buffered_alone() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        updates.publish(large_update(0));
        // A few bytes of text each, and together many times the bound.
        let many = json!([1, vec![json!(0); UPDATE_BYTES_BUFFERED_MAX / 8]]);
        updates.publish(AgentUpdate::new(UpdateKind::Message, many));
        assert_eq!(buffered(&updates).0, 1);
        assert_eq!(subscription.next().await, Some(UpdateEvent::Missed(1)));
        assert_eq!(number(subscription.next().await), json!(1));
        updates.publish(AgentUpdate::new(
            UpdateKind::Message,
            json!([2, "x".repeat(UPDATE_BYTES_BUFFERED_MAX)]),
        ));
        updates.publish(large_update(3));
        assert_eq!(subscription.next().await, Some(UpdateEvent::Missed(1)));
        assert_eq!(number(subscription.next().await), json!(3));
    }
}
