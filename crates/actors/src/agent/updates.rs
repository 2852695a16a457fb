//! Publishes what an agent says beside its answers.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent_message::MessageId;
use crate::broadcast::{Broadcast, BroadcastItem, BroadcastLimits, BroadcastSubscription};

/// The most updates of one agent that are kept for slow subscribers. A subscriber is notified of those it missed.
pub const UPDATES_BUFFERED_MAX: usize = 1024;

/// The most memory of one agent's updates, in bytes. A single larger update is kept alone, so that a fast subscriber
/// misses none; its reader bounds its size.
pub(crate) const UPDATE_BYTES_BUFFERED_MAX: usize = 4 << 20;

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

/// An item of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateEvent {
    /// An update.
    Update(Arc<AgentUpdate>),
    /// The number of updates that this slow subscriber missed here.
    Missed(u64),
}

impl BroadcastItem for UpdateEvent {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Update(update) => update.memory_bytes(),
            Self::Missed(_) => 0,
        }
    }

    fn lagged(count: u64) -> Self {
        Self::Missed(count)
    }
}

/// Subscribes to one agent's updates.
pub type UpdateSubscription = BroadcastSubscription<UpdateEvent>;

/// Broadcasts one agent's updates to its subscribers. Cheap to clone, and small until the first subscription: most
/// agents never have one.
#[derive(Debug, Clone, Default)]
pub struct UpdateBroadcast(Arc<OnceLock<Broadcast<UpdateEvent>>>);

impl UpdateBroadcast {
    /// Publishes an update, which is dropped without subscribers. Old updates of slow subscribers are dropped for it,
    /// oldest first.
    pub fn publish(&self, update: AgentUpdate) {
        if let Some(broadcast) = self.0.get() {
            broadcast.send(UpdateEvent::Update(Arc::new(update)));
        }
    }

    /// Subscribes to the updates from now on.
    #[must_use]
    pub fn subscribe(&self) -> UpdateSubscription {
        let limits =
            BroadcastLimits { items_max: UPDATES_BUFFERED_MAX, bytes_max: UPDATE_BYTES_BUFFERED_MAX };
        self.0.get_or_init(|| Broadcast::new(limits)).subscribe()
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

    fn number(event: Option<UpdateEvent>) -> Value {
        match event {
            Some(UpdateEvent::Update(update)) => update.body[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn unread_updates_are_bounded_by_bytes_oldest_first() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        for number in 0..100 {
            updates.publish(large_update(number));
            let (updates, bytes) = updates.0.get().unwrap().buffered();
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
    async fn oversized_update_is_buffered_alone() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        updates.publish(large_update(0));
        // A few bytes of text each, and together many times the bound.
        let many = json!([1, vec![json!(0); UPDATE_BYTES_BUFFERED_MAX / 8]]);
        updates.publish(AgentUpdate::new(UpdateKind::Message, many));
        assert_eq!(updates.0.get().unwrap().buffered().0, 1);
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
