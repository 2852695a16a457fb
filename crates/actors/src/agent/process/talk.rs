//! The conversation with one life of an agent's process: who waits for what. Pure, but for the channels of those who wait.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::oneshot;

use super::lines::Said;
use super::words::in_doubt;
use crate::agent::feed::{AgentUpdate, UpdateKind};
use crate::agent::health::Reported;
use crate::agent::letter::LetterId;
use crate::error::{Error, Reason};

/// So many questions of an agent are open at once; with one more, the oldest is dropped.
const ASKS_MAX: usize = 64;

/// What becomes of a letter.
pub(super) type Answer = Result<Value, Error>;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Talk {
    letters: BTreeMap<LetterId, Waiting>,
    asks: Vec<Asked>,
    state: Option<Value>,
    reported: Reported,
    lines_dropped: u64,
    /// Why there is nobody to talk to any more.
    over: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Answer>,
    /// Some of it may have reached the agent.
    is_sent: bool,
}

#[derive(Debug)]
struct Asked {
    ask: String,
    letter: Option<LetterId>,
}

impl Talk {
    pub(super) fn new() -> Self {
        Self {
            letters: BTreeMap::new(),
            asks: Vec::new(),
            state: None,
            reported: Reported::Healthy,
            lines_dropped: 0,
            over: None,
        }
    }

    // === letters ===

    /// Somebody is about to send a letter, and will wait for the answer.
    pub(super) fn expect(&mut self, id: LetterId) -> Result<oneshot::Receiver<Answer>, Error> {
        if let Some(why) = &self.over {
            return Err(why.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.letters.insert(id, Waiting { reply, is_sent: false });
        Ok(answer)
    }

    /// The letter is being written; `false` if nobody waits for its answer any more, so that it need not be.
    pub(super) fn note_sent(&mut self, id: LetterId) -> bool {
        self.letters.get_mut(&id).map(|waiting| waiting.is_sent = true).is_some()
    }

    /// Nobody waits for the answer any more; whether the agent has to be told.
    pub(super) fn call_off(&mut self, id: LetterId) -> bool {
        self.letters.remove(&id).is_some_and(|waiting| waiting.is_sent)
    }

    // === what the agent says ===

    /// Takes in what the agent said, and gives what others are to hear of it.
    pub(super) fn hear(&mut self, said: Said) -> Vec<AgentUpdate> {
        match said {
            Said::Reply { id, answer } => {
                // One that was called off may be answered all the same.
                if let Some(waiting) = self.letters.remove(&id) {
                    let _ = waiting.reply.send(answer.map_err(|words| refused(&words)));
                }
                self.settle(|asked| asked.letter == Some(id))
            }
            Said::Progress { id, body } => {
                vec![AgentUpdate { letter: id, ..AgentUpdate::new(UpdateKind::Progress, body) }]
            }
            Said::State(state) => {
                self.state = Some(state);
                Vec::new()
            }
            Said::Health(reported) => {
                self.reported = reported;
                Vec::new()
            }
            Said::Ask { ask, id, body } => {
                let mut updates = self.settle(|asked| asked.ask == ask);
                if self.asks.len() >= ASKS_MAX {
                    updates.push(settled(self.asks.remove(0)));
                }
                self.asks.push(Asked { ask: ask.clone(), letter: id });
                let update = AgentUpdate::new(UpdateKind::Ask, body);
                updates.push(AgentUpdate { letter: id, ask: Some(ask), ..update });
                updates
            }
            Said::Message(body) => vec![AgentUpdate::new(UpdateKind::Message, body)],
        }
    }

    /// A line was dropped; how many that makes.
    pub(super) fn drop_line(&mut self) -> u64 {
        self.lines_dropped = self.lines_dropped.saturating_add(1);
        self.lines_dropped
    }

    /// A question was answered; `None` if it is not open.
    pub(super) fn answer(&mut self, ask: &str) -> Option<AgentUpdate> {
        self.settle(|asked| asked.ask == ask).pop()
    }

    /// Whether the question is open.
    pub(super) fn asks(&self, ask: &str) -> bool {
        self.asks.iter().any(|asked| asked.ask == ask)
    }

    /// Whether any question is open.
    pub(super) fn has_asks(&self) -> bool {
        !self.asks.is_empty()
    }

    fn settle(&mut self, is_settled: impl Fn(&Asked) -> bool) -> Vec<AgentUpdate> {
        self.asks.extract_if(.., |asked| is_settled(asked)).map(settled).collect()
    }

    /// The agent is gone, as `why` says: tells all who wait.
    pub(super) fn end(&mut self, why: &Error) -> Vec<AgentUpdate> {
        if self.over.is_none() {
            self.over = Some(why.clone());
        }
        for (_, waiting) in std::mem::take(&mut self.letters) {
            let error = if waiting.is_sent { in_doubt(why) } else { why.clone() };
            let _ = waiting.reply.send(Err(error));
        }
        self.settle(|_| true)
    }

    // === what is known ===

    pub(super) fn state(&self) -> Option<&Value> {
        self.state.as_ref()
    }

    pub(super) fn reported(&self) -> Reported {
        self.reported
    }

    pub(super) fn lines_dropped(&self) -> u64 {
        self.lines_dropped
    }

    pub(super) fn over(&self) -> Option<&Error> {
        self.over.as_ref()
    }
}

fn settled(asked: Asked) -> AgentUpdate {
    let update = AgentUpdate::new(UpdateKind::Settled, Value::Null);
    AgentUpdate { letter: asked.letter, ask: Some(asked.ask), ..update }
}

/// What the agent itself says about a letter that it could not answer.
fn refused(words: &str) -> Error {
    let error = Error::new(Reason::ServerError)
        .with_message("The agent answered this with an error. Look into its log, then try again.")
        .with_message(words);
    // Whether it did a part of it only the agent knows.
    Error { retryable: false, ..error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::words::assert_helps;

    const ID: LetterId = LetterId(7);

    fn reply(id: u64, answer: Result<Value, String>) -> Said {
        Said::Reply { id: LetterId(id), answer }
    }

    fn ask(name: &str, id: Option<LetterId>) -> Said {
        Said::Ask { ask: name.to_owned(), id, body: json!("may I?") }
    }

    fn kinds(updates: &[AgentUpdate]) -> Vec<(UpdateKind, Option<&str>)> {
        updates.iter().map(|update| (update.kind, update.ask.as_deref())).collect()
    }

    fn gone() -> Error {
        Error::new(Reason::AgentFailed).with_details("it exited with code 1")
    }

    #[test]
    fn a_reply_reaches_the_one_who_waits_for_it_and_a_reply_to_nobody_is_no_harm() {
        let mut talk = Talk::new();
        let mut answer = talk.expect(ID).unwrap();
        assert!(talk.note_sent(ID));
        assert_eq!(talk.hear(reply(8, Ok(json!("other")))), []);
        assert!(answer.try_recv().is_err());
        assert_eq!(talk.hear(reply(7, Ok(json!("done")))), []);
        assert_eq!(answer.try_recv().unwrap(), Ok(json!("done")));
        assert_eq!(talk.hear(reply(7, Ok(json!("again")))), []);
    }

    #[test]
    fn what_the_agent_says_about_its_failure_is_shown_where_it_is_fit_to_be_shown() {
        let plain = refused("There is no model");
        assert_eq!((plain.message.as_str(), plain.retryable), ("There is no model", false));
        let odd = refused("GET https://example.invalid/?key=1 failed");
        assert_helps(&odd.message);
        assert!(odd.for_log().contains("failed"));
    }

    #[test]
    fn a_letter_that_was_not_sent_is_not_in_doubt_when_the_agent_ends_and_one_that_was_is() {
        let mut talk = Talk::new();
        let (mut sent, mut unsent) = (talk.expect(ID).unwrap(), talk.expect(LetterId(8)).unwrap());
        assert!(talk.note_sent(ID));
        talk.end(&gone());
        let error = sent.try_recv().unwrap().unwrap_err();
        assert_eq!(error.reason, Reason::OutcomeUnknown);
        assert_helps(&error.message);
        assert_eq!(unsent.try_recv().unwrap().unwrap_err().reason, Reason::AgentFailed);
        assert_eq!(talk.expect(LetterId(9)).unwrap_err(), gone());
    }

    #[test]
    fn the_agent_is_told_of_a_letter_that_is_called_off_only_if_it_got_it() {
        let mut talk = Talk::new();
        let _first = talk.expect(ID).unwrap();
        assert!(!talk.call_off(ID) && !talk.note_sent(ID));
        let _second = talk.expect(ID).unwrap();
        assert!(talk.note_sent(ID) && talk.call_off(ID));
        assert!(!talk.call_off(ID));
    }

    #[test]
    fn a_question_is_open_until_it_is_answered_its_letter_is_or_the_agent_ends() {
        let mut talk = Talk::new();
        assert_eq!(kinds(&talk.hear(ask("a", None))), [(UpdateKind::Ask, Some("a"))]);
        talk.hear(ask("b", Some(ID)));
        talk.hear(ask("c", None));
        assert!(talk.asks("a") && !talk.asks("x"));
        assert_eq!(talk.answer("a").map(|update| update.kind), Some(UpdateKind::Settled));
        assert_eq!(talk.answer("a"), None);
        assert_eq!(kinds(&talk.hear(reply(7, Ok(Value::Null)))), [(UpdateKind::Settled, Some("b"))]);
        assert_eq!(kinds(&talk.end(&gone())), [(UpdateKind::Settled, Some("c"))]);
    }

    #[test]
    fn a_question_that_is_asked_again_replaces_itself_and_too_many_drop_the_oldest() {
        let mut talk = Talk::new();
        talk.hear(ask("0", None));
        let again = talk.hear(ask("0", None));
        assert_eq!(kinds(&again), [(UpdateKind::Settled, Some("0")), (UpdateKind::Ask, Some("0"))]);
        for number in 1..ASKS_MAX {
            assert_eq!(talk.hear(ask(&number.to_string(), None)).len(), 1);
        }
        let last = talk.hear(ask("last", None));
        assert_eq!(kinds(&last), [(UpdateKind::Settled, Some("0")), (UpdateKind::Ask, Some("last"))]);
    }

    #[test]
    fn its_last_state_and_health_are_known_after_its_end() {
        let mut talk = Talk::new();
        assert_eq!((talk.state(), talk.reported()), (None, Reported::Healthy));
        talk.hear(Said::State(json!(1)));
        talk.hear(Said::State(json!(2)));
        talk.hear(Said::Health(Reported::Degraded));
        talk.end(&gone());
        assert_eq!((talk.state(), talk.reported()), (Some(&json!(2)), Reported::Degraded));
    }
}
