//! The state of one session: its turn, and the questions that wait for a person. Pure.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::error::AcpError;
use crate::agent::MessageId;

/// The state of one session.
#[derive(Debug, Default)]
pub(super) struct SessionState {
    session: Option<String>,
    is_replaying: bool,
    turn: Option<ActiveTurn>,
    turns: u64,
    asks: BTreeMap<String, PendingQuestion>,
}

/// A turn: from a prompt until the agent ends it.
#[derive(Debug)]
struct ActiveTurn {
    number: u64,
    message_id: MessageId,
    is_cancelled: bool,
    text: TurnText,
}

/// The agent's text in a turn, up to a limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TurnText {
    pub(super) text: String,
    pub(super) is_cut: bool,
}

/// A question of the agent that has no answer yet.
#[derive(Debug)]
pub(super) struct PendingQuestion {
    pub(super) message_id: Option<MessageId>,
    options: Vec<String>,
    answer: oneshot::Sender<AskOutcome>,
}

/// The outcome of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AskOutcome {
    /// The person selected this option.
    Selected(String),
    /// The question was cancelled.
    Cancelled,
}

/// Says why a question is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskRejection {
    /// The question belongs to another session.
    OtherSession,
    /// The maximum of questions is open already.
    TooMany,
    /// The turn of the question was cancelled.
    Cancelled,
}

/// Says which turn or replay an update belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UpdateOrigin {
    pub(super) message_id: Option<MessageId>,
    pub(super) is_replay: bool,
}

impl SessionState {
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Sets the session.
    pub(super) fn set_session(&mut self, session: &str) {
        self.session = Some(session.to_owned());
        self.is_replaying = false;
    }

    /// Notes that the agent was asked to load this session and repeats its updates.
    pub(super) fn begin_replay(&mut self, session: &str) {
        self.session = Some(session.to_owned());
        self.is_replaying = true;
    }

    /// Clears the session.
    pub(super) fn clear_session(&mut self) {
        self.session = None;
        self.is_replaying = false;
    }

    /// Begins a turn, and returns its number.
    pub(super) fn begin_turn(&mut self, message: MessageId) -> u64 {
        self.turns += 1;
        let number = self.turns;
        self.turn =
            Some(ActiveTurn { number, message_id: message, is_cancelled: false, text: TurnText::default() });
        number
    }

    /// Ends the turn. Returns its text, and its questions that are now obsolete.
    pub(super) fn end_turn(&mut self) -> (TurnText, Vec<(String, PendingQuestion)>) {
        let text = self.turn.take().map(|turn| turn.text).unwrap_or_default();
        (text, self.take_asks())
    }

    /// Cancels the turn of this number, or the running one for `None`, if it was not cancelled yet. Returns its
    /// questions.
    pub(super) fn cancel_turn(&mut self, number: Option<u64>) -> Option<Vec<(String, PendingQuestion)>> {
        let is_meant = |turn: &&mut ActiveTurn| number.is_none_or(|number| turn.number == number);
        let turn = self.turn.as_mut().filter(is_meant).filter(|turn| !turn.is_cancelled)?;
        turn.is_cancelled = true;
        Some(self.take_asks())
    }

    /// Removes all open questions.
    pub(super) fn take_asks(&mut self) -> Vec<(String, PendingQuestion)> {
        std::mem::take(&mut self.asks).into_iter().collect()
    }

    pub(super) fn has_asks(&self) -> bool {
        !self.asks.is_empty()
    }

    /// Records an update with its part of the agent's message, and returns the turn that it belongs to. Keeps the
    /// message up to `text_bytes_max`.
    pub(super) fn record_update(
        &mut self,
        session: &str,
        text: Option<&str>,
        text_bytes_max: usize,
    ) -> UpdateOrigin {
        if self.session() != Some(session) {
            return UpdateOrigin { message_id: None, is_replay: false };
        }
        if self.is_replaying {
            return UpdateOrigin { message_id: None, is_replay: true };
        }
        let Some(turn) = &mut self.turn else {
            return UpdateOrigin { message_id: None, is_replay: false };
        };
        if let Some(text) = text {
            turn.text.append(text, text_bytes_max);
        }
        UpdateOrigin { message_id: Some(turn.message_id), is_replay: false }
    }

    /// Opens a question. The returned receiver gets its outcome.
    pub(super) fn open_ask(
        &mut self,
        name: &str,
        session: &str,
        options: Vec<String>,
        asks_max: usize,
    ) -> Result<(Option<MessageId>, oneshot::Receiver<AskOutcome>), AskRejection> {
        if self.session() != Some(session) {
            return Err(AskRejection::OtherSession);
        }
        if self.turn.as_ref().is_some_and(|turn| turn.is_cancelled) {
            return Err(AskRejection::Cancelled);
        }
        if self.asks.len() >= asks_max {
            return Err(AskRejection::TooMany);
        }
        let message = self.turn.as_ref().map(|turn| turn.message_id);
        let (answer, answered) = oneshot::channel();
        self.asks.insert(name.to_owned(), PendingQuestion { message_id: message, options, answer });
        Ok((message, answered))
    }

    /// Removes the question that this answers.
    pub(super) fn answer_ask(&mut self, name: &str, option: &str) -> Result<PendingQuestion, AcpError> {
        let ask = self.asks.get(name).ok_or_else(|| AcpError::UnknownAsk(name.to_owned()))?;
        if !ask.options.iter().any(|offered| offered == option) {
            return Err(AcpError::NoSuchOption { given: option.to_owned(), options: ask.options.clone() });
        }
        self.remove_ask(name).ok_or_else(|| AcpError::UnknownAsk(name.to_owned()))
    }

    /// Removes a question.
    pub(super) fn remove_ask(&mut self, name: &str) -> Option<PendingQuestion> {
        self.asks.remove(name)
    }
}

impl PendingQuestion {
    /// Sends the outcome to the agent.
    pub(super) fn settle(self, choice: AskOutcome) {
        // The send fails if the agent itself has gone.
        let _ = self.answer.send(choice);
    }
}

impl TurnText {
    fn append(&mut self, text: &str, bytes_max: usize) {
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
    use super::*;

    fn state_in_turn() -> SessionState {
        let mut state = SessionState::default();
        state.set_session("s1");
        state.begin_turn(MessageId(7));
        state
    }

    fn open_ask(state: &mut SessionState, name: &str) -> Result<oneshot::Receiver<AskOutcome>, AskRejection> {
        state.open_ask(name, "s1", vec!["yes".to_owned(), "no".to_owned()], 2).map(|(_, answered)| answered)
    }

    #[test]
    fn record_update_belongs_to_running_turn_of_its_session() {
        let mut state = state_in_turn();
        let of = |message| UpdateOrigin { message_id: message, is_replay: false };
        assert_eq!(state.record_update("s1", Some("a"), 10), of(Some(MessageId(7))));
        assert_eq!(state.record_update("s2", Some("b"), 10), of(None));
        assert_eq!(state.end_turn().0, TurnText { text: "a".to_owned(), is_cut: false });
        assert_eq!(state.record_update("s1", Some("c"), 10), of(None));
    }

    #[test]
    fn turn_text_is_cut_at_a_character_boundary() {
        let mut state = state_in_turn();
        for text in ["ab", "cé", "d"] {
            state.record_update("s1", Some(text), 4);
        }
        assert_eq!(state.end_turn().0, TurnText { text: "abc".to_owned(), is_cut: true });
    }

    #[test]
    fn open_ask_above_limit_is_rejected() {
        let mut state = state_in_turn();
        let _open = (open_ask(&mut state, "a1").unwrap(), open_ask(&mut state, "a2").unwrap());
        assert_eq!(open_ask(&mut state, "a3").unwrap_err(), AskRejection::TooMany);
        assert_eq!(state.open_ask("a4", "s2", Vec::new(), 9).unwrap_err(), AskRejection::OtherSession);
        assert_eq!(state.end_turn().1.len(), 2);
        assert!(open_ask(&mut state, "a5").is_ok());
    }

    #[test]
    fn cancel_turn_works_once_and_rejects_later_asks() {
        let mut state = state_in_turn();
        let _open = open_ask(&mut state, "a1").unwrap();
        assert_eq!(state.cancel_turn(Some(1)).unwrap().len(), 1);
        assert!(state.cancel_turn(None).is_none());
        assert_eq!(open_ask(&mut state, "a2").unwrap_err(), AskRejection::Cancelled);
        state.end_turn();
        assert!(state.cancel_turn(None).is_none());
        assert_eq!(state.begin_turn(MessageId(8)), 2);
        assert!(state.cancel_turn(Some(1)).is_none());
        assert!(state.cancel_turn(None).is_some());
    }
}
