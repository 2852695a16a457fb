//! What an agent says beside its answers, for all who listen.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::agent_message::MessageId;

/// How many updates of one agent are kept for listeners that are slow. What one misses, it is told.
pub const UPDATES_BUFFERED_MAX: usize = 1024;

/// How much memory they may hold, all of one agent together, in bytes. A single update that is larger is kept all the
/// same, alone: one who keeps up misses none, and how large one may be is bounded by who reads it.
pub const UPDATE_BYTES_BUFFERED_MAX: usize = 4 << 20;

/// What kind of update it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateKind {
    /// The agent says something.
    Message,
    /// It tells how far it has come.
    Progress,
    /// It asks something, which is answered by the name in [`ask`](AgentUpdate::ask).
    Ask,
    /// A question of its own is settled: it was answered, or nobody needs an answer any more.
    Settled,
    /// Its conversation began, was taken up again, or is another one.
    Session,
}

/// One thing that an agent said of its own accord.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentUpdate {
    /// What kind of update it is.
    pub kind: UpdateKind,
    /// The letter that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The name of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Whether it was said before already, and is repeated because a conversation is taken up again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_replay: bool,
    /// What it says.
    pub body: Value,
}

impl AgentUpdate {
    /// An update of this kind about nothing in particular.
    #[must_use]
    pub fn new(kind: UpdateKind, body: Value) -> Self {
        Self { kind, message_id: None, ask: None, is_replay: false, body }
    }

    /// About how much memory it holds, in bytes.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ask.as_ref().map_or(0, String::len) + heap_bytes(&self.body)
    }
}

/// About how much memory a value holds beside itself, in bytes. A small value takes many times the bytes of its text.
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

/// What a member of an object takes beside its texts: name, value, and its places in the map.
const OBJECT_MEMBER_BYTES: usize = size_of::<String>() + size_of::<Value>() + 4 * size_of::<usize>();

/// The updates of one agent: those who publish and those who listen. Cheap to clone, and small until somebody listens.
#[derive(Debug, Clone, Default)]
pub struct UpdateBroadcast(Arc<OnceLock<UpdateChannel>>);

#[derive(Debug)]
struct UpdateChannel {
    sender: broadcast::Sender<Arc<UpdateSlot>>,
    /// Locked while an update is published, so that both know them in the same order.
    unread: Mutex<UnreadUpdates>,
}

/// An update on its way; `None` once it had to make room.
type UpdateSlot = Mutex<Option<Arc<AgentUpdate>>>;

/// What waits for a listener, and how much memory it holds.
#[derive(Debug, Default)]
struct UnreadUpdates {
    waiting: VecDeque<(Weak<UpdateSlot>, usize)>,
    bytes: usize,
}

/// What a listener gets next.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateEvent {
    /// An update.
    Update(Arc<AgentUpdate>),
    /// So many updates were missed here, by a listener that was too slow.
    Missed(u64),
}

/// Listens to one agent.
#[derive(Debug)]
pub struct UpdateSubscription {
    receiver: broadcast::Receiver<Arc<UpdateSlot>>,
    /// What was missed and is to be told.
    missed: u64,
    /// What comes behind that.
    next: Option<Arc<UpdateSlot>>,
}

impl UpdateBroadcast {
    /// Publishes an update; one that nobody listens to is gone. Those that waited for a slow listener make room for it,
    /// the oldest first.
    pub fn publish(&self, update: AgentUpdate) {
        let Some(channel) = self.0.get() else { return };
        let bytes = update.memory_bytes();
        let slot = Arc::new(Mutex::new(Some(Arc::new(update))));
        let handle = Arc::downgrade(&slot);
        let mut ledger = channel.unread.lock();
        // An error says that nobody listens any more: that is no failure.
        if channel.sender.send(slot).is_ok() {
            ledger.push(handle, bytes);
        }
    }

    /// Listens to what is said from now on.
    #[must_use]
    pub fn subscribe(&self) -> UpdateSubscription {
        // The channel lays out room for all that it keeps, and most agents are never listened to.
        let channel = self.0.get_or_init(|| UpdateChannel {
            sender: broadcast::Sender::new(UPDATES_BUFFERED_MAX),
            unread: Mutex::default(),
        });
        UpdateSubscription { receiver: channel.sender.subscribe(), missed: 0, next: None }
    }
}

impl UnreadUpdates {
    fn push(&mut self, slot: Weak<UpdateSlot>, bytes: usize) {
        // Everybody hears them in their order, so those that nobody waits for any more come first.
        while self.waiting.front().is_some_and(|(slot, _)| slot.strong_count() == 0) {
            self.pop_oldest();
        }
        self.waiting.push_back((slot, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        // One that was asked for and not given out yet is counted too, so there can be one more than the channel keeps.
        let is_too_much = |ledger: &Self| {
            ledger.waiting.len() > UPDATES_BUFFERED_MAX
                || ledger.bytes > UPDATE_BYTES_BUFFERED_MAX && ledger.waiting.len() > 1
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
    /// The next update; `None` once the agent is gone for good. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<UpdateEvent> {
        loop {
            let received = match self.next.take() {
                Some(slot) => Ok(slot),
                // What was missed is told as one, and at once where nothing comes behind it.
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
        let feed = UpdateBroadcast::default();
        let mut listener = feed.subscribe();
        for number in 0..UPDATES_BUFFERED_MAX + 5 {
            feed.publish(AgentUpdate::new(UpdateKind::Message, json!(number)));
        }
        assert_eq!(listener.next().await, Some(UpdateEvent::Missed(5)));
        let next = AgentUpdate::new(UpdateKind::Message, json!(5));
        assert_eq!(listener.next().await, Some(UpdateEvent::Update(Arc::new(next))));
        drop(feed);
        for _ in 6..UPDATES_BUFFERED_MAX + 5 {
            assert!(matches!(listener.next().await, Some(UpdateEvent::Update(_))));
        }
        assert_eq!(listener.next().await, None);
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

    /// How many updates the feed still holds, and how much memory they hold.
    fn buffered(feed: &UpdateBroadcast) -> (usize, usize) {
        let ledger = feed.0.get().unwrap().unread.lock();
        let held: Vec<usize> = ledger
            .waiting
            .iter()
            .filter_map(|(slot, _)| Some(slot.upgrade()?.lock().as_ref()?.memory_bytes()))
            .collect();
        (held.len(), held.iter().sum())
    }

    #[tokio::test]
    async fn unread_updates_are_bounded_by_bytes_oldest_first() {
        let feed = UpdateBroadcast::default();
        let mut listener = feed.subscribe();
        for number in 0..100 {
            feed.publish(large_update(number));
            let (updates, bytes) = buffered(&feed);
            assert!(updates <= 3 && bytes <= UPDATE_BYTES_BUFFERED_MAX, "{number}: {updates} {bytes}");
        }
        assert_eq!(listener.next().await, Some(UpdateEvent::Missed(97)));
        // Whatever it has not been given goes on making room.
        feed.publish(large_update(100));
        assert_eq!(listener.next().await, Some(UpdateEvent::Missed(1)));
        assert_eq!(number(listener.next().await), json!(98));
        assert_eq!(number(listener.next().await), json!(99));
        drop(feed);
        assert_eq!(number(listener.next().await), json!(100));
        assert_eq!(listener.next().await, None);
    }

    #[tokio::test]
    async fn fast_subscriber_misses_nothing_beside_a_slow_one() {
        let feed = UpdateBroadcast::default();
        let (mut quick, mut slow) = (feed.subscribe(), feed.subscribe());
        for told in 0..10 {
            feed.publish(large_update(told));
            assert_eq!(number(quick.next().await), json!(told));
        }
        assert_eq!(slow.next().await, Some(UpdateEvent::Missed(7)));
        assert_eq!(number(slow.next().await), json!(7));
        drop(slow);
        feed.publish(large_update(10));
        assert_eq!(buffered(&feed).0, 1, "nobody waits for the others any more");
    }

    #[tokio::test]
    async fn oversized_update_is_buffered_alone() {
        let feed = UpdateBroadcast::default();
        let mut listener = feed.subscribe();
        feed.publish(large_update(0));
        // A few bytes of text each, and together many times the bound.
        let many = json!([1, vec![json!(0); UPDATE_BYTES_BUFFERED_MAX / 8]]);
        feed.publish(AgentUpdate::new(UpdateKind::Message, many));
        assert_eq!(buffered(&feed).0, 1);
        assert_eq!(listener.next().await, Some(UpdateEvent::Missed(1)));
        assert_eq!(number(listener.next().await), json!(1));
        feed.publish(AgentUpdate::new(
            UpdateKind::Message,
            json!([2, "x".repeat(UPDATE_BYTES_BUFFERED_MAX)]),
        ));
        feed.publish(large_update(3));
        assert_eq!(listener.next().await, Some(UpdateEvent::Missed(1)));
        assert_eq!(number(listener.next().await), json!(3));
    }
}
