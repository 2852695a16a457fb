//! Publishes what an agent says beside its answers.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::agent_message::MessageId;
use super::update_history::UpdateHistory;
use crate::broadcast::{Broadcast, BroadcastItem, BroadcastLimits, BroadcastSubscription};
use crate::error::{Error, excerpt};
use crate::json::Json;

/// The most updates of one agent that are kept for slow subscribers. A subscriber gets the number of those it lost.
pub const UPDATES_BUFFERED_MAX: usize = 1024;

/// The most memory of one agent's updates, in bytes. A single larger update is kept alone, so that a fast subscriber
/// misses none; its reader bounds its size.
pub(crate) const UPDATE_BYTES_BUFFERED_MAX: usize = 4 << 20;

/// The kind of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
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
    /// A message that goes to the agent now, with its body. It comes once for each delivery.
    Sent,
    /// The outcome of a message: `{"answer":…}` or `{"error":…}`.
    Ended,
}

/// The end of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum QuestionOutcome {
    /// An answer came.
    Answered,
    /// The agent withdrew it, or asked something else by the same name.
    Withdrawn,
    /// No answer can come any more: its message, its session or the agent ended, or too many were open.
    Cancelled,
}

/// An update that an agent sent unasked, or one about a message to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentUpdate {
    /// The update's number among those of the agent in this run of the runtime, from 1; 0 until it is published.
    #[serde(default)]
    pub seq: u64,
    /// The kind of the update.
    pub kind: UpdateKind,
    /// The message that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub message_id: Option<MessageId>,
    /// The name of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub ask: Option<String>,
    /// The end of the question, if the update says that it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub outcome: Option<QuestionOutcome>,
    /// True if it repeats an earlier update, since a session is being resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_replay: bool,
    /// The content, as the agent wrote it.
    pub body: Json,
}

impl AgentUpdate {
    /// Creates an update that concerns no message.
    #[must_use]
    pub fn new(kind: UpdateKind, body: impl Into<Json>) -> Self {
        Self { seq: 0, kind, message_id: None, ask: None, outcome: None, is_replay: false, body: body.into() }
    }

    /// Creates the update that says how question `ask` ended.
    pub(super) fn settled(
        ask: String,
        message_id: Option<MessageId>,
        outcome: QuestionOutcome,
        body: impl Into<Json>,
    ) -> Self {
        let (ask, outcome) = (Some(ask), Some(outcome));
        Self { message_id, ask, outcome, ..Self::new(UpdateKind::Settled, body) }
    }

    /// Estimates its memory, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ask.as_ref().map_or(0, String::len) + self.body.as_str().len()
    }
}

/// An item of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateEvent {
    /// An update.
    Update(Arc<AgentUpdate>),
    /// The number of updates that this slow subscriber lost here.
    Lagged(u64),
}

impl BroadcastItem for UpdateEvent {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Update(update) => update.memory_bytes(),
            Self::Lagged(_) => 0,
        }
    }

    fn lagged(count: u64) -> Self {
        Self::Lagged(count)
    }
}

/// The outcome of a message, as the body of an update.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum MessageEnd<'a> {
    /// The agent's answer.
    Answer(&'a Json),
    /// The reason why there is none.
    Error(&'a Error),
}

/// A subscription to one agent's updates.
#[derive(Debug)]
pub struct UpdateSubscription {
    events: BroadcastSubscription<UpdateEvent>,
    start_seq: u64,
}

impl UpdateSubscription {
    /// Waits for the next item; returns `None` once the agent was removed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<UpdateEvent> {
        self.events.next().await
    }

    /// Returns the number after which its updates begin. Only open questions may have an earlier one.
    #[must_use]
    pub const fn start_seq(&self) -> u64 {
        self.start_seq
    }
}

/// Broadcasts one agent's updates to its subscribers, and keeps its open questions. Cheap to clone, and small until the
/// first subscription: most agents never have one.
#[derive(Debug, Clone, Default)]
pub struct UpdateBroadcast(Arc<BroadcastState>);

#[derive(Debug, Default)]
struct BroadcastState {
    updates: OnceLock<Broadcast<UpdateEvent>>,
    /// Kept from the first message or subscription on: most agents have neither.
    history: OnceLock<Box<Mutex<UpdateHistory<Arc<AgentUpdate>>>>>,
    kept: Mutex<KeptUpdates>,
    /// Notified when something kept has changed.
    changed: Notify,
}

/// The facts about an agent that are kept, for those who ask later.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptUpdates {
    /// The number of updates so far.
    last_seq: u64,
    /// The number of changes so far.
    pub(crate) version: u64,
    /// The questions without an answer, oldest first. The driver limits their number.
    pub(crate) questions: Vec<KeptQuestion>,
    /// The changes of questions that are not in the journal yet, oldest first.
    unrecorded: VecDeque<QuestionChange>,
    /// The replies that no message got.
    lost_replies: LostReplies,
    /// The number of them that are in the journal.
    lost_replies_recorded: u64,
}

/// A question that was asked or settled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuestionChange {
    pub(crate) question: KeptQuestion,
    /// The question's end; `None` if it was asked.
    pub(crate) outcome: Option<QuestionOutcome>,
}

/// The most changes of questions that wait for the journal. The oldest are dropped for more.
const UNRECORDED_MAX: usize = 64;

/// The lost replies that are all recorded; after them only each doubling of their number is.
const LOST_REPLIES_RECORDED_MIN: u64 = 16;

/// A question without an answer, and the time since which it is open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeptQuestion {
    pub(crate) update: Arc<AgentUpdate>,
    pub(crate) since: Instant,
}

/// The replies of an agent that no message got, since they could not be read or no message waited for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LostReplies {
    pub(crate) count: u64,
    /// The reason and the start of the last one.
    pub(crate) last: Option<Box<(String, String)>>,
}

/// The most characters that are kept of a lost reply.
const LOST_REPLY_CHARS_MAX: usize = 200;

impl UpdateBroadcast {
    /// Publishes an update, and numbers it. Old updates of slow subscribers are dropped for it, oldest first. A question
    /// is kept until an update settles it. From the first message to the agent on, the last updates are kept as well.
    pub fn publish(&self, update: AgentUpdate) {
        let is_kept = matches!(update.kind, UpdateKind::Ask | UpdateKind::Settled) && !update.is_replay;
        let mut kept = self.0.kept.lock();
        kept.last_seq += 1;
        let update = Arc::new(AgentUpdate { seq: kept.last_seq, ..update });
        if matches!(update.kind, UpdateKind::Sent | UpdateKind::Ended) {
            self.0.history.get_or_init(Box::default);
        }
        if let Some(history) = self.0.history.get() {
            history.lock().push(update.seq, update.memory_bytes(), Arc::clone(&update));
        }
        if is_kept {
            // Without an outcome it is a question, in place of another by the same name.
            kept.settle(update.ask.as_deref(), update.outcome.unwrap_or(QuestionOutcome::Withdrawn));
            if update.kind == UpdateKind::Ask {
                kept.open(KeptQuestion { update: Arc::clone(&update), since: Instant::now() });
            }
        }
        if let Some(broadcast) = self.0.updates.get() {
            broadcast.send(UpdateEvent::Update(update));
        }
        if is_kept {
            self.note_change(&mut kept);
        }
    }

    /// Publishes a message that goes to the agent.
    pub(crate) fn publish_sent(&self, id: MessageId, body: Json) {
        self.publish(AgentUpdate { message_id: Some(id), ..AgentUpdate::new(UpdateKind::Sent, body) });
    }

    /// Publishes the outcome of a message.
    pub fn publish_end(&self, id: MessageId, outcome: Result<&Json, &Error>) {
        let end = match outcome {
            Ok(answer) => MessageEnd::Answer(answer),
            Err(error) => MessageEnd::Error(error),
        };
        // JSON can hold every answer and every error.
        let body = Json::from_serialize(&end).unwrap_or_default();
        self.publish(AgentUpdate { message_id: Some(id), ..AgentUpdate::new(UpdateKind::Ended, body) });
    }

    /// Notes that a reply reached no message. `start` must be free of secrets.
    pub(crate) fn note_lost_reply(&self, why: String, start: &str) {
        let mut kept = self.0.kept.lock();
        kept.lost_replies.count += 1;
        kept.lost_replies.last = Some(Box::new((why, excerpt(start, LOST_REPLY_CHARS_MAX))));
        self.note_change(&mut kept);
    }

    fn note_change(&self, kept: &mut KeptUpdates) {
        kept.version += 1;
        self.0.changed.notify_waiters();
    }

    /// Subscribes to the open questions, and to the updates from now on. These are kept, so that the subscriber may come
    /// back.
    #[must_use]
    pub fn subscribe(&self) -> UpdateSubscription {
        // Locked, so that no question comes twice or not at all.
        let kept = self.0.kept.lock();
        self.0.history.get_or_init(Box::default);
        let open = kept.questions.iter().map(|question| UpdateEvent::Update(Arc::clone(&question.update)));
        let events = self.broadcast().subscribe_after(open.collect::<VecDeque<_>>());
        UpdateSubscription { events, start_seq: kept.last_seq }
    }

    /// Subscribes to the updates after number `seq`, of which the kept ones come first. [`UpdateEvent::Lagged`] stands
    /// for those that are gone, apart from the open questions. A number that is still to come is of another run, and
    /// counts as 0.
    #[must_use]
    pub fn subscribe_after(&self, seq: u64) -> UpdateSubscription {
        // Locked, so that no update comes twice or not at all.
        let kept = self.0.kept.lock();
        let after = if seq > kept.last_seq { 0 } else { seq };
        let history = self.0.history.get_or_init(Box::default).lock();
        let first_kept = history.first_seq().unwrap_or(kept.last_seq + 1);
        let asked = kept.questions.iter().map(|question| &question.update);
        let asked: Vec<_> = asked.filter(|ask| (after + 1..first_kept).contains(&ask.seq)).collect();
        let lost = (first_kept - 1).saturating_sub(after).saturating_sub(asked.len() as u64);
        let updates = asked.into_iter().chain(history.after(after)).cloned().map(UpdateEvent::Update);
        let first = (lost > 0).then_some(UpdateEvent::Lagged(lost)).into_iter().chain(updates);
        let events = self.broadcast().subscribe_after(first.collect::<VecDeque<_>>());
        UpdateSubscription { events, start_seq: after }
    }

    /// Ends the subscriptions once they have taken what is there. The agent is removed, and nothing more comes.
    pub fn close(&self) {
        self.broadcast().close();
    }

    fn broadcast(&self) -> &Broadcast<UpdateEvent> {
        let limits =
            BroadcastLimits { items_max: UPDATES_BUFFERED_MAX, bytes_max: UPDATE_BYTES_BUFFERED_MAX };
        self.0.updates.get_or_init(|| Broadcast::new(limits))
    }

    /// Returns whether the agent waits for an answer to a question.
    pub(crate) fn has_questions(&self) -> bool {
        !self.0.kept.lock().questions.is_empty()
    }

    /// Returns what is kept.
    pub(crate) fn kept(&self) -> KeptUpdates {
        self.0.kept.lock().clone()
    }

    /// Takes the changes that the journal is to have: of questions, and of the number of lost replies.
    pub(crate) fn take_unrecorded(&self) -> (VecDeque<QuestionChange>, Option<LostReplies>) {
        let mut kept = self.0.kept.lock();
        let (before, now) = (kept.lost_replies_recorded, kept.lost_replies.count);
        let is_due =
            now > before && (now <= LOST_REPLIES_RECORDED_MIN || before == 0 || now.ilog2() > before.ilog2());
        if is_due {
            kept.lost_replies_recorded = now;
        }
        (std::mem::take(&mut kept.unrecorded), is_due.then(|| kept.lost_replies.clone()))
    }

    /// Waits until something kept has changed since this version.
    pub(crate) async fn wait_for_change(&self, version: u64) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Enabled before the check, so that no change is missed.
            changed.as_mut().enable();
            if self.0.kept.lock().version != version {
                return;
            }
            changed.await;
        }
    }
}

impl KeptUpdates {
    fn open(&mut self, question: KeptQuestion) {
        self.questions.push(question.clone());
        self.note_unrecorded(question, None);
    }

    fn settle(&mut self, ask: Option<&str>, outcome: QuestionOutcome) {
        let settled: Vec<_> =
            self.questions.extract_if(.., |question| question.update.ask.as_deref() == ask).collect();
        settled.into_iter().for_each(|question| self.note_unrecorded(question, Some(outcome)));
    }

    fn note_unrecorded(&mut self, question: KeptQuestion, outcome: Option<QuestionOutcome>) {
        if self.unrecorded.len() >= UNRECORDED_MAX {
            self.unrecorded.pop_front();
        }
        self.unrecorded.push_back(QuestionChange { question, outcome });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn slow_subscriber_gets_lagged_count_then_the_rest() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        for number in 0..UPDATES_BUFFERED_MAX + 5 {
            updates.publish(AgentUpdate::new(UpdateKind::Message, json!(number)));
        }
        assert_eq!(subscription.next().await, Some(UpdateEvent::Lagged(5)));
        let next = AgentUpdate { seq: 6, ..AgentUpdate::new(UpdateKind::Message, json!(5)) };
        assert_eq!(subscription.next().await, Some(UpdateEvent::Update(Arc::new(next))));
        drop(updates);
        for _ in 6..UPDATES_BUFFERED_MAX + 5 {
            assert!(matches!(subscription.next().await, Some(UpdateEvent::Update(_))));
        }
        assert_eq!(subscription.next().await, None);
    }

    #[tokio::test]
    async fn removed_agent_ends_its_subscriptions() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        updates.publish(AgentUpdate::new(UpdateKind::Message, json!("last")));
        updates.close();
        assert!(matches!(subscription.next().await, Some(UpdateEvent::Update(_))));
        assert_eq!(subscription.next().await, None);
        assert_eq!(updates.subscribe().next().await, None);
    }

    #[tokio::test]
    async fn late_subscriber_gets_open_questions_first() {
        let updates = UpdateBroadcast::default();
        let ask = |name: &str| AgentUpdate {
            ask: Some(name.to_owned()),
            ..AgentUpdate::new(UpdateKind::Ask, json!("may I?"))
        };
        let settled = |name: &str| AgentUpdate { kind: UpdateKind::Settled, ..ask(name) };
        let version = updates.kept().version;
        for update in [ask("a"), ask("b"), ask("c"), settled("b"), ask("a")] {
            updates.publish(update);
        }
        updates.publish(AgentUpdate { is_replay: true, ..ask("old") });
        updates.wait_for_change(version).await;
        let mut subscription = updates.subscribe();
        updates.publish(settled("a"));
        for (seq, update) in [(3, ask("c")), (5, ask("a")), (7, settled("a"))] {
            let expected = AgentUpdate { seq, ..update };
            assert_eq!(subscription.next().await, Some(UpdateEvent::Update(Arc::new(expected))));
        }
        assert!(updates.has_questions());
        updates.publish(settled("c"));
        assert!(!updates.has_questions());
    }

    #[test]
    fn settled_question_has_its_outcome() {
        use QuestionOutcome::{Answered, Cancelled, Withdrawn};

        let updates = UpdateBroadcast::default();
        let ask =
            || AgentUpdate { ask: Some("a1".to_owned()), ..AgentUpdate::new(UpdateKind::Ask, json!("?")) };
        let settled = |outcome| AgentUpdate::settled("a1".to_owned(), None, outcome, json!(null));
        for update in [ask(), settled(Answered), ask(), ask(), settled(Cancelled)] {
            updates.publish(update);
        }
        let outcomes: Vec<_> = updates.take_unrecorded().0.iter().map(|change| change.outcome).collect();
        assert_eq!(outcomes, [None, Some(Answered), None, Some(Withdrawn), None, Some(Cancelled)]);
    }

    fn spoken(number: u64) -> AgentUpdate {
        AgentUpdate::new(UpdateKind::Message, json!(number))
    }

    /// Returns what a subscription has at once: the numbers of updates, and the counts of missed ones as negatives.
    fn drain(subscription: &mut UpdateSubscription) -> Vec<i64> {
        std::iter::from_fn(|| subscription.events.try_next())
            .map(|event| match event {
                UpdateEvent::Update(update) => update.seq.cast_signed(),
                UpdateEvent::Lagged(count) => -count.cast_signed(),
            })
            .collect()
    }

    #[test]
    fn subscriber_that_comes_back_gets_the_rest_once() {
        let updates = UpdateBroadcast::default();
        updates.publish_sent(MessageId(1), json!("hello").into());
        let mut first = updates.subscribe_after(0);
        updates.publish(spoken(2));
        assert_eq!(drain(&mut first), [1, 2]);
        drop(first);
        updates.publish(spoken(3));
        updates.publish_end(MessageId(1), Ok(&json!("hi").into()));
        let mut second = updates.subscribe_after(2);
        updates.publish(spoken(5));
        assert_eq!(drain(&mut second), [3, 4, 5]);
        assert_eq!(drain(&mut updates.subscribe_after(5)), [] as [i64; 0]);
        assert_eq!(drain(&mut updates.subscribe_after(99)), [1, 2, 3, 4, 5], "99 is of another run");
        assert_eq!(drain(&mut updates.subscribe()), [] as [i64; 0], "without a number only later ones come");
    }

    #[test]
    fn updates_before_the_first_message_are_counted_not_kept() {
        let updates = UpdateBroadcast::default();
        updates.publish(spoken(1));
        updates.publish(spoken(2));
        assert!(updates.0.history.get().is_none());
        updates.publish_sent(MessageId(1), json!("hello").into());
        assert_eq!(drain(&mut updates.subscribe_after(0)), [-2, 3]);
    }

    #[test]
    fn kept_updates_are_bounded_by_count_and_bytes() {
        use crate::agent::update_history::{UPDATE_BYTES_KEPT_MAX, UPDATES_KEPT_MAX};

        let updates = UpdateBroadcast::default();
        updates.publish_sent(MessageId(1), json!("hello").into());
        (0..UPDATES_KEPT_MAX as u64 + 4).for_each(|number| updates.publish(spoken(number)));
        let got = drain(&mut updates.subscribe_after(0));
        assert_eq!((got[0], got.len()), (-5, UPDATES_KEPT_MAX + 1));
        for number in 0..10 {
            updates.publish(AgentUpdate::new(UpdateKind::Message, json!([number, "x".repeat(1 << 18)])));
            let kept =
                updates.0.history.get().unwrap().lock().after(0).map(|one| one.memory_bytes()).sum::<usize>();
            assert!(kept <= UPDATE_BYTES_KEPT_MAX, "{kept}");
        }
        assert_eq!(drain(&mut updates.subscribe_after(1000)).len(), 4, "the marker and three of them");
    }

    #[test]
    fn open_question_comes_again_although_it_is_not_kept() {
        let updates = UpdateBroadcast::default();
        let ask = AgentUpdate { ask: Some("a1".to_owned()), ..spoken(0) };
        updates.publish(AgentUpdate { kind: UpdateKind::Ask, ..ask });
        updates.publish(spoken(2));
        updates.publish_sent(MessageId(1), json!("hello").into());
        assert_eq!(drain(&mut updates.subscribe_after(0)), [-1, 1, 3]);
        assert_eq!(drain(&mut updates.subscribe_after(1)), [-1, 3], "it knows the question");
    }

    #[test]
    fn idle_agent_costs_at_most_300_bytes() {
        // Of 10,000 agents most never get a message.
        let updates = UpdateBroadcast::default();
        updates.publish(spoken(1));
        assert!(updates.0.history.get().is_none() && updates.0.updates.get().is_none());
        assert!(size_of::<BroadcastState>() <= 300, "{}", size_of::<BroadcastState>());
    }

    #[test]
    fn take_unrecorded_limits_a_flood_of_lost_replies() {
        let updates = UpdateBroadcast::default();
        let mut recorded = Vec::new();
        for number in 1..=200 {
            updates.note_lost_reply("it is no JSON".to_owned(), &format!("line {number}"));
            recorded.extend(updates.take_unrecorded().1.map(|lost| lost.count));
        }
        assert_eq!(recorded, (1..=16).chain([32, 64, 128]).collect::<Vec<_>>());
    }

    fn large_update(number: u8) -> AgentUpdate {
        AgentUpdate::new(UpdateKind::Message, json!([number, "x".repeat(1 << 20)]))
    }

    fn number(event: Option<UpdateEvent>) -> Value {
        match event {
            Some(UpdateEvent::Update(update)) => update.body.read::<Value>().unwrap()[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn unread_updates_are_bounded_by_bytes_oldest_first() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        for number in 0..10 {
            updates.publish(large_update(number));
            let (updates, bytes) = updates.0.updates.get().unwrap().buffered();
            assert!(updates <= 3 && bytes <= UPDATE_BYTES_BUFFERED_MAX, "{number}: {updates} {bytes}");
        }
        assert_eq!(subscription.next().await, Some(UpdateEvent::Lagged(7)));
        // Updates that it has not read are still evicted.
        updates.publish(large_update(10));
        assert_eq!(subscription.next().await, Some(UpdateEvent::Lagged(1)));
        assert_eq!(number(subscription.next().await), json!(8));
        assert_eq!(number(subscription.next().await), json!(9));
        drop(updates);
        assert_eq!(number(subscription.next().await), json!(10));
        assert_eq!(subscription.next().await, None);
    }

    #[tokio::test]
    async fn oversized_update_is_buffered_alone() {
        let updates = UpdateBroadcast::default();
        let mut subscription = updates.subscribe();
        updates.publish(large_update(0));
        let many = json!([1, vec![0; UPDATE_BYTES_BUFFERED_MAX / 2]]);
        updates.publish(AgentUpdate::new(UpdateKind::Message, many));
        assert_eq!(updates.0.updates.get().unwrap().buffered().0, 1);
        assert_eq!(subscription.next().await, Some(UpdateEvent::Lagged(1)));
        assert_eq!(number(subscription.next().await), json!(1));
        updates.publish(AgentUpdate::new(
            UpdateKind::Message,
            json!([2, "x".repeat(UPDATE_BYTES_BUFFERED_MAX)]),
        ));
        updates.publish(large_update(3));
        assert_eq!(subscription.next().await, Some(UpdateEvent::Lagged(1)));
        assert_eq!(number(subscription.next().await), json!(3));
    }
}
