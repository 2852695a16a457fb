//! The conversation with one process of an agent: matches answers to callers. Pure, but for the callers' channels.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use super::codec::{CodecError, IncomingLine, ReplyTarget, UnreadableLine};
use crate::agent::agent_message::MessageId;
use crate::agent::health::ReportedHealth;
use crate::agent::pending_replies::outcome_unknown_error;
use crate::agent::updates::{AgentUpdate, QuestionOutcome, UpdateKind};
use crate::error::{Error, Reason};
use crate::json::Json;

/// The most open questions of an agent; with one more, the oldest is dropped.
const ASKS_MAX: usize = 64;

/// The most cancelled messages that are remembered, latest first.
const CANCELLED_MAX: usize = 64;

/// The result of a message.
pub(super) type MessageResult = Result<Json, Error>;

/// The state of a conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    replies: BTreeMap<MessageId, ReplyWaiter>,
    /// The latest message that was sent. Ids grow, so a reply to a later one is a mistake.
    last_sent: Option<MessageId>,
    /// Cancelled messages, of which a reply may still come.
    cancelled: BTreeSet<MessageId>,
    asks: Vec<UnansweredAsk>,
    state: Option<Json>,
    reported: ReportedHealth,
    lines_dropped: u64,
    /// The reason of its end, once it has ended.
    end_reason: Option<Error>,
}

#[derive(Debug)]
struct ReplyWaiter {
    reply: oneshot::Sender<MessageResult>,
    /// True if a part of it may have reached the agent.
    is_sent: bool,
}

#[derive(Debug)]
struct UnansweredAsk {
    ask: String,
    message_id: Option<MessageId>,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self {
            replies: BTreeMap::new(),
            last_sent: None,
            cancelled: BTreeSet::new(),
            asks: Vec::new(),
            state: None,
            reported: ReportedHealth::Healthy,
            lines_dropped: 0,
            end_reason: None,
        }
    }

    // === messages ===

    /// Registers a caller that is about to send a message and waits for the answer.
    pub(super) fn register_reply(
        &mut self,
        id: MessageId,
    ) -> Result<oneshot::Receiver<MessageResult>, Error> {
        if let Some(why) = &self.end_reason {
            return Err(why.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.replies.insert(id, ReplyWaiter { reply, is_sent: false });
        Ok(answer)
    }

    /// Notes that the message is being written; `false` if no caller waits for the answer any more, so that it is
    /// skipped.
    pub(super) fn mark_sent(&mut self, id: MessageId) -> bool {
        let Some(waiting) = self.replies.get_mut(&id) else { return false };
        waiting.is_sent = true;
        self.last_sent = self.last_sent.max(Some(id));
        self.cancelled.remove(&id);
        true
    }

    /// Removes a caller that no longer waits. Returns whether the agent needs a cancellation.
    pub(super) fn cancel(&mut self, id: MessageId) -> bool {
        let is_sent = self.replies.remove(&id).is_some_and(|waiting| waiting.is_sent);
        if is_sent {
            self.cancelled.insert(id);
            if self.cancelled.len() > CANCELLED_MAX {
                self.cancelled.pop_first();
            }
        }
        is_sent
    }

    /// Returns whether the agent has a message without an answer.
    pub(super) fn has_sent_messages(&self) -> bool {
        self.replies.values().any(|waiting| waiting.is_sent)
    }

    // === the agent's lines ===

    /// Returns why a reply to a message is a mistake; `None` if it is due, or the message was cancelled.
    pub(super) fn find_reply_fault(&self, id: MessageId) -> Option<CodecError> {
        if self.last_sent.is_none_or(|last| id > last) {
            return Some(CodecError::NeverSent);
        }
        let is_due = self.replies.contains_key(&id) || self.cancelled.contains(&id);
        (!is_due).then_some(CodecError::NotAwaited)
    }

    /// Handles a line of the agent, and returns the updates to publish.
    pub(super) fn handle(&mut self, line: IncomingLine) -> Vec<AgentUpdate> {
        match line {
            IncomingLine::Reply { id, answer } => {
                self.end_message(id, answer.map_err(|words| agent_error(&words)))
            }
            IncomingLine::Progress { id, body } => {
                vec![AgentUpdate { message_id: id, ..AgentUpdate::new(UpdateKind::Progress, body) }]
            }
            IncomingLine::State(state) => {
                self.state = Some(state);
                Vec::new()
            }
            IncomingLine::Health(reported) => {
                self.reported = reported;
                Vec::new()
            }
            IncomingLine::Ask { ask, id, body } => {
                let mut updates = self.settle_asks(QuestionOutcome::Withdrawn, |open| open.ask == ask);
                if self.asks.len() >= ASKS_MAX {
                    updates.push(settled_update(self.asks.remove(0), QuestionOutcome::Cancelled));
                }
                self.asks.push(UnansweredAsk { ask: ask.clone(), message_id: id });
                let update = AgentUpdate::new(UpdateKind::Ask, body);
                updates.push(AgentUpdate { message_id: id, ask: Some(ask), ..update });
                updates
            }
            IncomingLine::Pong => Vec::new(),
            IncomingLine::Message(body) => vec![AgentUpdate::new(UpdateKind::Message, body)],
        }
    }

    /// Fails each message that an unreadable line may have been to answer. A caller would wait for ever, since the
    /// agent takes it for answered.
    pub(super) fn fail_reply(&mut self, line: &UnreadableLine) -> Vec<AgentUpdate> {
        let ids: Vec<_> = match line.reply_to {
            ReplyTarget::None => Vec::new(),
            ReplyTarget::Message(id) if self.find_reply_fault(id) != Some(CodecError::NeverSent) => vec![id],
            ReplyTarget::Message(_) | ReplyTarget::Unnamed => {
                let sent = self.replies.iter().filter(|(_, waiting)| waiting.is_sent);
                sent.map(|(id, _)| *id).collect()
            }
        };
        let error = unreadable_error(line);
        ids.into_iter().flat_map(|id| self.end_message(id, Err(error.clone()))).collect()
    }

    /// Ends a message, whose questions need no answer any more.
    fn end_message(&mut self, id: MessageId, result: MessageResult) -> Vec<AgentUpdate> {
        // A cancelled message may be answered all the same.
        self.cancelled.remove(&id);
        if let Some(waiting) = self.replies.remove(&id) {
            let _ = waiting.reply.send(result);
        }
        self.settle_asks(QuestionOutcome::Cancelled, |ask| ask.message_id == Some(id))
    }

    /// Counts a dropped line, and returns their number.
    pub(super) fn count_dropped_line(&mut self) -> u64 {
        self.lines_dropped = self.lines_dropped.saturating_add(1);
        self.lines_dropped
    }

    /// Closes an answered question; `None` if it is not open.
    pub(super) fn close_ask(&mut self, ask: &str) -> Option<AgentUpdate> {
        self.settle_asks(QuestionOutcome::Answered, |open| open.ask == ask).pop()
    }

    /// Returns whether the question is open.
    pub(super) fn is_open(&self, ask: &str) -> bool {
        self.asks.iter().any(|open| open.ask == ask)
    }

    fn settle_asks(
        &mut self,
        outcome: QuestionOutcome,
        is_settled: impl Fn(&UnansweredAsk) -> bool,
    ) -> Vec<AgentUpdate> {
        self.asks.extract_if(.., |ask| is_settled(ask)).map(|ask| settled_update(ask, outcome)).collect()
    }

    /// Ends the conversation, and fails all callers with `why`.
    pub(super) fn end(&mut self, why: &Error) -> Vec<AgentUpdate> {
        if self.end_reason.is_none() {
            self.end_reason = Some(why.clone());
        }
        for (_, waiting) in std::mem::take(&mut self.replies) {
            let error = if waiting.is_sent { outcome_unknown_error(why) } else { why.clone() };
            let _ = waiting.reply.send(Err(error));
        }
        self.settle_asks(QuestionOutcome::Cancelled, |_| true)
    }

    // === queries ===

    pub(super) fn state(&self) -> Option<&Json> {
        self.state.as_ref()
    }

    pub(super) fn reported(&self) -> ReportedHealth {
        self.reported
    }

    pub(super) fn lines_dropped(&self) -> u64 {
        self.lines_dropped
    }

    pub(super) fn end_reason(&self) -> Option<&Error> {
        self.end_reason.as_ref()
    }
}

fn settled_update(ask: UnansweredAsk, outcome: QuestionOutcome) -> AgentUpdate {
    AgentUpdate::settled(ask.ask, ask.message_id, outcome, Json::default())
}

/// Returns the error of a message that the agent itself refused.
fn agent_error(words: &str) -> Error {
    let error = Error::new(Reason::ServerError)
        .with_message("The agent answered this with an error. Look into its log, then try again.")
        .with_message(words);
    // Only the agent knows whether it did a part of it.
    Error { retryable: false, ..error }
}

/// Returns the error of a message whose answer cannot be read.
fn unreadable_error(line: &UnreadableLine) -> Error {
    let UnreadableLine { why, start, .. } = line;
    Error::new(Reason::BadResponse)
        .with_message(
            "The agent's answer cannot be read, and it may have done this. Look before sending it again.",
        )
        .with_details(&format!("the agent's reply cannot be read: {why}: {start}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::tests::words::assert_message_helps;

    const ID: MessageId = MessageId(7);

    fn reply(id: u64, answer: Result<Value, String>) -> IncomingLine {
        let answer = answer.map(Json::from);
        IncomingLine::Reply { id: MessageId(id), answer }
    }

    fn ask(name: &str, id: Option<MessageId>) -> IncomingLine {
        IncomingLine::Ask { ask: name.to_owned(), id, body: json!("may I?").into() }
    }

    fn kinds(updates: &[AgentUpdate]) -> Vec<(UpdateKind, Option<&str>)> {
        updates.iter().map(|update| (update.kind, update.ask.as_deref())).collect()
    }

    fn exited() -> Error {
        Error::new(Reason::AgentFailed).with_details("it exited with code 1")
    }

    #[test]
    fn reply_reaches_its_waiter_and_another_is_a_fault() {
        let mut conversation = Conversation::new();
        let mut answer = conversation.register_reply(ID).unwrap();
        assert_eq!(conversation.find_reply_fault(ID), Some(CodecError::NeverSent));
        assert!(conversation.mark_sent(ID));
        let faults = [6, 7, 8].map(|id| conversation.find_reply_fault(MessageId(id)));
        assert_eq!(faults, [Some(CodecError::NotAwaited), None, Some(CodecError::NeverSent)]);
        assert_eq!(conversation.handle(reply(6, Ok(json!("other")))), []);
        assert!(answer.try_recv().is_err());
        assert_eq!(conversation.handle(reply(7, Ok(json!("done")))), []);
        assert_eq!(answer.try_recv().unwrap(), Ok(json!("done").into()));
        assert_eq!(conversation.find_reply_fault(ID), Some(CodecError::NotAwaited));
        assert_eq!(conversation.handle(reply(7, Ok(json!("again")))), []);
    }

    #[test]
    fn cancelled_message_may_be_answered_once() {
        let mut conversation = Conversation::new();
        let _waiting = conversation.register_reply(ID).unwrap();
        assert!(conversation.mark_sent(ID) && conversation.cancel(ID));
        assert_eq!(conversation.find_reply_fault(ID), None);
        conversation.handle(reply(7, Ok(json!("late"))));
        assert_eq!(conversation.find_reply_fault(ID), Some(CodecError::NotAwaited));
    }

    #[test]
    fn unreadable_reply_fails_its_message_or_all_sent() {
        let line = |reply_to| UnreadableLine {
            why: CodecError::NotJson,
            reply_to,
            start: r#"{"type":"reply","body":NaN}"#.to_owned(),
        };
        for (reply_to, expected) in [
            (ReplyTarget::None, [true, true, true]),
            (ReplyTarget::Message(ID), [false, true, true]),
            (ReplyTarget::Message(MessageId(5)), [true, true, true]),
            (ReplyTarget::Message(MessageId(99)), [false, false, true]),
            (ReplyTarget::Unnamed, [false, false, true]),
        ] {
            let mut conversation = Conversation::new();
            let mut answers = [7, 8, 9].map(|id| conversation.register_reply(MessageId(id)).unwrap());
            assert!(conversation.mark_sent(ID) && conversation.mark_sent(MessageId(8)));
            conversation.handle(ask("a", Some(ID)));
            let updates = conversation.fail_reply(&line(reply_to));
            assert_eq!(updates.len(), usize::from(!expected[0]), "{reply_to:?}");
            let waits = answers.each_mut().map(|answer| match answer.try_recv() {
                Ok(result) => {
                    let error = result.unwrap_err();
                    assert_eq!((error.reason, error.retryable), (Reason::BadResponse, false));
                    assert!(error.log_text().ends_with(r#"it is no JSON: {"type":"reply","body":NaN}"#));
                    assert_message_helps(&error.message);
                    false
                }
                Err(_) => true,
            });
            assert_eq!(waits, expected, "{reply_to:?}");
        }
    }

    #[test]
    fn agent_error_shows_agent_text_only_if_plain() {
        let plain = agent_error("There is no model");
        assert_eq!((plain.message.as_str(), plain.retryable), ("There is no model", false));
        let odd = agent_error("GET https://example.invalid/?key=1 failed");
        assert_message_helps(&odd.message);
        assert!(odd.log_text().contains("failed"));
    }

    #[test]
    fn end_unknown_for_sent_and_failed_for_unsent_messages() {
        let mut conversation = Conversation::new();
        let (mut sent, mut unsent) =
            (conversation.register_reply(ID).unwrap(), conversation.register_reply(MessageId(8)).unwrap());
        assert!(conversation.mark_sent(ID));
        conversation.end(&exited());
        let error = sent.try_recv().unwrap().unwrap_err();
        assert_eq!(error.reason, Reason::OutcomeUnknown);
        assert_message_helps(&error.message);
        assert_eq!(unsent.try_recv().unwrap().unwrap_err().reason, Reason::AgentFailed);
        assert_eq!(conversation.register_reply(MessageId(9)).unwrap_err(), exited());
    }

    #[test]
    fn cancel_notifies_agent_only_if_message_was_sent() {
        let mut conversation = Conversation::new();
        let _first = conversation.register_reply(ID).unwrap();
        assert!(!conversation.cancel(ID) && !conversation.mark_sent(ID));
        let _second = conversation.register_reply(ID).unwrap();
        assert!(conversation.mark_sent(ID) && conversation.cancel(ID));
        assert!(!conversation.cancel(ID));
    }

    #[test]
    fn ask_is_open_until_answer_reply_or_end() {
        let mut conversation = Conversation::new();
        assert_eq!(kinds(&conversation.handle(ask("a", None))), [(UpdateKind::Ask, Some("a"))]);
        conversation.handle(ask("b", Some(ID)));
        conversation.handle(ask("c", None));
        assert!(conversation.is_open("a") && !conversation.is_open("x"));
        let settled = |ask: &str, message_id, outcome| {
            AgentUpdate::settled(ask.to_owned(), message_id, outcome, Json::default())
        };
        assert_eq!(conversation.close_ask("a"), Some(settled("a", None, QuestionOutcome::Answered)));
        assert_eq!(conversation.close_ask("a"), None);
        let cancelled = QuestionOutcome::Cancelled;
        let ended = conversation.handle(reply(7, Ok(Value::Null)));
        assert_eq!(ended, [settled("b", Some(ID), cancelled)]);
        assert_eq!(conversation.end(&exited()), [settled("c", None, cancelled)]);
    }

    #[test]
    fn ask_repeat_replaces_and_too_many_drop_oldest() {
        let mut conversation = Conversation::new();
        conversation.handle(ask("0", None));
        let again = conversation.handle(ask("0", None));
        assert_eq!(kinds(&again), [(UpdateKind::Settled, Some("0")), (UpdateKind::Ask, Some("0"))]);
        assert_eq!(again[0].outcome, Some(QuestionOutcome::Withdrawn));
        for number in 1..ASKS_MAX {
            assert_eq!(conversation.handle(ask(&number.to_string(), None)).len(), 1);
        }
        let last = conversation.handle(ask("last", None));
        assert_eq!(kinds(&last), [(UpdateKind::Settled, Some("0")), (UpdateKind::Ask, Some("last"))]);
    }

    #[test]
    fn end_keeps_last_state_and_health() {
        let mut conversation = Conversation::new();
        assert_eq!((conversation.state(), conversation.reported()), (None, ReportedHealth::Healthy));
        conversation.handle(IncomingLine::State(json!(1).into()));
        conversation.handle(IncomingLine::State(json!(2).into()));
        conversation.handle(IncomingLine::Health(ReportedHealth::Degraded));
        conversation.end(&exited());
        let expected = (Some(&json!(2).into()), ReportedHealth::Degraded);
        assert_eq!((conversation.state(), conversation.reported()), expected);
    }
}
