//! What is under way with one agent: the conversation, its turn, the questions that wait for a person. Pure.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::oneshot;

use super::fault::AcpFault;
use crate::agent::LetterId;

/// What stands on the desk.
#[derive(Debug, Default)]
pub(super) struct Desk {
    session: Option<String>,
    is_replaying: bool,
    turn: Option<Turn>,
    turns: u64,
    asks: BTreeMap<String, OpenAsk>,
}

/// A turn: from a prompt until the agent says that it is done with it.
#[derive(Debug)]
struct Turn {
    number: u64,
    letter: LetterId,
    is_called_off: bool,
    said: Said,
}

/// What the agent said in a turn, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) is_cut: bool,
}

/// A question of the agent's that nobody has answered yet.
#[derive(Debug)]
pub(super) struct OpenAsk {
    pub(super) letter: Option<LetterId>,
    options: Vec<String>,
    answer: oneshot::Sender<Choice>,
}

/// What a question comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// This option.
    Option(String),
    /// Nobody answers any more.
    CalledOff,
}

/// Why a question is not put to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotPut {
    /// It is about another conversation.
    OtherSession,
    /// As many as there may be are open already.
    TooMany,
    /// The turn that it belongs to has been called off.
    CalledOff,
}

/// Whose an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Belonging {
    pub(super) letter: Option<LetterId>,
    pub(super) is_replay: bool,
}

impl Desk {
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The conversation is this one from now on.
    pub(super) fn enter(&mut self, session: &str) {
        self.session = Some(session.to_owned());
        self.is_replaying = false;
    }

    /// The agent is asked to tell this conversation again.
    pub(super) fn begin_replay(&mut self, session: &str) {
        self.session = Some(session.to_owned());
        self.is_replaying = true;
    }

    /// No conversation is there.
    pub(super) fn leave(&mut self) {
        self.session = None;
        self.is_replaying = false;
    }

    /// A turn begins, and has the number that this returns.
    pub(super) fn begin_turn(&mut self, letter: LetterId) -> u64 {
        self.turns += 1;
        let number = self.turns;
        self.turn = Some(Turn { number, letter, is_called_off: false, said: Said::default() });
        number
    }

    /// The turn has ended: what was said in it, and the questions that nobody needs to answer any more.
    pub(super) fn end_turn(&mut self) -> (Said, Vec<(String, OpenAsk)>) {
        let said = self.turn.take().map(|turn| turn.said).unwrap_or_default();
        (said, self.take_asks())
    }

    /// The turn of this number, or whichever runs, is called off, if it has not been yet: its questions.
    pub(super) fn call_off(&mut self, number: Option<u64>) -> Option<Vec<(String, OpenAsk)>> {
        let is_meant = |turn: &&mut Turn| number.is_none_or(|number| turn.number == number);
        let turn = self.turn.as_mut().filter(is_meant).filter(|turn| !turn.is_called_off)?;
        turn.is_called_off = true;
        Some(self.take_asks())
    }

    /// Everything that waits for an answer.
    pub(super) fn take_asks(&mut self) -> Vec<(String, OpenAsk)> {
        std::mem::take(&mut self.asks).into_iter().collect()
    }

    pub(super) fn has_asks(&self) -> bool {
        !self.asks.is_empty()
    }

    /// Takes note of an update: whose it is. What the agent says is kept, up to `text_bytes_max`.
    pub(super) fn note(&mut self, session: &str, update: &Value, text_bytes_max: usize) -> Belonging {
        if self.session() != Some(session) {
            return Belonging { letter: None, is_replay: false };
        }
        if self.is_replaying {
            return Belonging { letter: None, is_replay: true };
        }
        let Some(turn) = &mut self.turn else {
            return Belonging { letter: None, is_replay: false };
        };
        if update["sessionUpdate"] == "agent_message_chunk"
            && let Some(text) = update["content"]["text"].as_str()
        {
            turn.said.add(text, text_bytes_max);
        }
        Belonging { letter: Some(turn.letter), is_replay: false }
    }

    /// Puts a question, which is answered through what this returns.
    pub(super) fn put(
        &mut self,
        name: &str,
        session: &str,
        options: Vec<String>,
        asks_max: usize,
    ) -> Result<(Option<LetterId>, oneshot::Receiver<Choice>), NotPut> {
        if self.session() != Some(session) {
            return Err(NotPut::OtherSession);
        }
        if self.turn.as_ref().is_some_and(|turn| turn.is_called_off) {
            return Err(NotPut::CalledOff);
        }
        if self.asks.len() >= asks_max {
            return Err(NotPut::TooMany);
        }
        let letter = self.turn.as_ref().map(|turn| turn.letter);
        let (answer, answered) = oneshot::channel();
        self.asks.insert(name.to_owned(), OpenAsk { letter, options, answer });
        Ok((letter, answered))
    }

    /// Takes a question off the desk whose answer is this.
    pub(super) fn choose(&mut self, name: &str, option: &str) -> Result<OpenAsk, AcpFault> {
        let ask = self.asks.get(name).ok_or_else(|| AcpFault::NotAsked(name.to_owned()))?;
        if !ask.options.iter().any(|offered| offered == option) {
            return Err(AcpFault::NoSuchOption { given: option.to_owned(), options: ask.options.clone() });
        }
        self.withdraw(name).ok_or_else(|| AcpFault::NotAsked(name.to_owned()))
    }

    /// Takes a question off the desk.
    pub(super) fn withdraw(&mut self, name: &str) -> Option<OpenAsk> {
        self.asks.remove(name)
    }
}

impl OpenAsk {
    /// Tells the agent.
    pub(super) fn settle(self, choice: Choice) {
        // Nobody listens where the agent itself has gone.
        let _ = self.answer.send(choice);
    }
}

impl Said {
    fn add(&mut self, text: &str, bytes_max: usize) {
        let room = bytes_max.saturating_sub(self.text.len());
        if self.is_cut || text.len() > room {
            let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            if !self.is_cut {
                self.text.push_str(&text[..end]);
            }
            self.is_cut = true;
        } else {
            self.text.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn talking() -> Desk {
        let mut desk = Desk::default();
        desk.enter("s1");
        desk.begin_turn(LetterId(7));
        desk
    }

    fn chunk(text: &str) -> Value {
        json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "text", "text": text } })
    }

    fn put(desk: &mut Desk, name: &str) -> Result<oneshot::Receiver<Choice>, NotPut> {
        desk.put(name, "s1", vec!["yes".to_owned(), "no".to_owned()], 2).map(|(_, answered)| answered)
    }

    #[test]
    fn an_update_belongs_to_the_turn_that_runs_and_to_none_of_another_conversation() {
        let mut desk = talking();
        let of = |letter| Belonging { letter, is_replay: false };
        assert_eq!(desk.note("s1", &chunk("a"), 10), of(Some(LetterId(7))));
        assert_eq!(desk.note("s2", &chunk("b"), 10), of(None));
        assert_eq!(desk.end_turn().0, Said { text: "a".to_owned(), is_cut: false });
        assert_eq!(desk.note("s1", &chunk("c"), 10), of(None));
    }

    #[test]
    fn what_is_told_again_is_no_news() {
        let mut desk = Desk::default();
        desk.begin_replay("s1");
        assert_eq!(desk.note("s1", &chunk("old"), 10), Belonging { letter: None, is_replay: true });
        desk.enter("s1");
        assert_eq!(desk.note("s1", &chunk("new"), 10), Belonging { letter: None, is_replay: false });
    }

    #[test]
    fn what_the_agent_says_is_kept_up_to_its_limit_and_cut_at_a_character() {
        let mut desk = talking();
        for text in ["ab", "cé", "d"] {
            desk.note("s1", &chunk(text), 4);
        }
        assert_eq!(desk.end_turn().0, Said { text: "abc".to_owned(), is_cut: true });
    }

    #[test]
    fn a_question_takes_one_of_its_options_once() {
        let mut desk = talking();
        let mut answered = put(&mut desk, "a1").unwrap();
        assert_eq!(desk.choose("a2", "yes").unwrap_err(), AcpFault::NotAsked("a2".to_owned()));
        let wrong = desk.choose("a1", "maybe").unwrap_err();
        assert_eq!(wrong.to_string(), "\"maybe\" is no answer to that; it may be one of [\"yes\", \"no\"]");
        desk.choose("a1", "no").unwrap().settle(Choice::Option("no".to_owned()));
        assert_eq!(answered.try_recv(), Ok(Choice::Option("no".to_owned())));
        assert_eq!(desk.choose("a1", "no").unwrap_err(), AcpFault::NotAsked("a1".to_owned()));
    }

    #[test]
    fn questions_are_bounded_in_number() {
        let mut desk = talking();
        let _open = (put(&mut desk, "a1").unwrap(), put(&mut desk, "a2").unwrap());
        assert_eq!(put(&mut desk, "a3").unwrap_err(), NotPut::TooMany);
        assert_eq!(desk.put("a4", "s2", Vec::new(), 9).unwrap_err(), NotPut::OtherSession);
        assert_eq!(desk.end_turn().1.len(), 2);
        assert!(put(&mut desk, "a5").is_ok());
    }

    #[test]
    fn a_turn_is_called_off_once_and_asks_nothing_from_then_on() {
        let mut desk = talking();
        let _open = put(&mut desk, "a1").unwrap();
        assert_eq!(desk.call_off(Some(1)).unwrap().len(), 1);
        assert!(desk.call_off(None).is_none());
        assert_eq!(put(&mut desk, "a2").unwrap_err(), NotPut::CalledOff);
        desk.end_turn();
        assert!(desk.call_off(None).is_none());
        assert_eq!(desk.begin_turn(LetterId(8)), 2);
        assert!(desk.call_off(Some(1)).is_none());
        assert!(desk.call_off(None).is_some());
    }
}
