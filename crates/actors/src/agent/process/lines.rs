//! What is said to an agent's process and what it says, as lines of JSON. Pure.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::agent::health::Reported;
use crate::agent::letter::{Letter, LetterId};

/// The longest line that is read from an agent, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// What an agent says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// Its answer to a letter, or why it has none.
    Reply { id: LetterId, answer: Result<Value, String> },
    /// It is getting on, perhaps with a letter.
    Progress { id: Option<LetterId>, body: Value },
    /// What it wants to be given back after its end.
    State(Value),
    /// How it is.
    Health(Reported),
    /// It asks something, perhaps about a letter.
    Ask { ask: String, id: Option<LetterId>, body: Value },
    /// Anything else.
    Message(Value),
}

/// Why a line is none that an agent says: for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is no JSON")]
    NoJson,
    #[error("a reply needs the \"id\" of the message that it answers, and a \"body\" or an \"error\"")]
    Reply,
    #[error("a state needs a \"state\"")]
    State,
    #[error("a health needs a \"status\": \"healthy\", \"degraded\" or \"failed\"")]
    Health,
    #[error("an ask needs a name in \"ask\", of at most 128 bytes")]
    Ask,
}

/// The longest name of a question, in bytes.
const ASK_BYTES_MAX: usize = 128;

impl Said {
    /// Reads one line.
    pub(super) fn read(line: &[u8]) -> Result<Self, Unreadable> {
        let value: Value = serde_json::from_slice(line).map_err(|_| Unreadable::NoJson)?;
        let Value::Object(mut said) = value else { return Ok(Self::Message(value)) };
        let id = said.get("id").and_then(Value::as_u64).map(LetterId);
        let mut take = |name: &str| said.remove(name);
        match said_type(&take("type")) {
            "reply" => {
                let id = id.ok_or(Unreadable::Reply)?;
                let answer = match (take("error"), take("body")) {
                    (None | Some(Value::Null), Some(body)) => Ok(body),
                    (None | Some(Value::Null), None) => return Err(Unreadable::Reply),
                    (Some(Value::String(words)), _) => Err(words),
                    (Some(other), _) => Err(other.to_string()),
                };
                Ok(Self::Reply { id, answer })
            }
            "progress" => {
                take("id");
                Ok(Self::Progress { id, body: Value::Object(said) })
            }
            "state" => take("state").map(Self::State).ok_or(Unreadable::State),
            "health" => {
                let status = take("status").and_then(|status| serde_json::from_value(status).ok());
                status.map(Self::Health).ok_or(Unreadable::Health)
            }
            "ask" => match take("ask") {
                Some(Value::String(ask)) if (1..=ASK_BYTES_MAX).contains(&ask.len()) => {
                    Ok(Self::Ask { ask, id, body: take("body").unwrap_or_default() })
                }
                _ => Err(Unreadable::Ask),
            },
            _ => Ok(Self::Message(whole(line, said))),
        }
    }
}

fn said_type(value: &Option<Value>) -> &str {
    value.as_ref().and_then(Value::as_str).unwrap_or_default()
}

/// A message as it was said, its type included.
fn whole(line: &[u8], rest: Map<String, Value>) -> Value {
    serde_json::from_slice(line).unwrap_or(Value::Object(rest))
}

/// What is said to an agent. Its members are written in this order, whatever order a map of them would have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Told<'a> {
    /// A letter, which is to be answered.
    Message(&'a Letter),
    /// A letter need not be answered any more.
    Cancel { id: LetterId },
    /// What it was about when it ended.
    Restore { state: &'a Value },
    /// What somebody answers to its question.
    Answer { ask: &'a str, body: &'a Value },
}

impl Told<'_> {
    /// As one line, its end included.
    pub(super) fn line(&self) -> String {
        // What has text alone for the names of its members can be written.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(line: &str) -> Result<Said, Unreadable> {
        Said::read(line.as_bytes())
    }

    #[test]
    fn a_reply_has_the_id_of_its_letter_and_an_answer_or_words_of_why_there_is_none() {
        let reply = |answer| Ok(Said::Reply { id: LetterId(7), answer });
        assert_eq!(read(r#"{"type":"reply","id":7,"body":{"a":1}}"#), reply(Ok(json!({"a": 1}))));
        assert_eq!(read(r#"{"type":"reply","id":7,"body":null}"#), reply(Ok(Value::Null)));
        assert_eq!(read(r#"{"type":"reply","id":7,"error":"no model"}"#), reply(Err("no model".to_owned())));
        assert_eq!(
            read(r#"{"type":"reply","id":7,"error":{"code":3}}"#),
            reply(Err("{\"code\":3}".to_owned()))
        );
        for line in [r#"{"type":"reply","body":1}"#, r#"{"type":"reply","id":-1,"body":1}"#] {
            assert_eq!(read(line), Err(Unreadable::Reply), "{line}");
        }
        assert_eq!(read(r#"{"type":"reply","id":7}"#), Err(Unreadable::Reply));
    }

    #[test]
    fn progress_states_health_and_questions_are_told_apart() {
        let progress = read(r#"{"type":"progress","id":7,"step":2,"of":3}"#);
        assert_eq!(progress, Ok(Said::Progress { id: Some(LetterId(7)), body: json!({"step": 2, "of": 3}) }));
        assert_eq!(read(r#"{"type":"state","state":[1]}"#), Ok(Said::State(json!([1]))));
        assert_eq!(read(r#"{"type":"health","status":"degraded"}"#), Ok(Said::Health(Reported::Degraded)));
        let ask = Said::Ask { ask: "a1".to_owned(), id: Some(LetterId(7)), body: json!("may I?") };
        assert_eq!(read(r#"{"type":"ask","ask":"a1","id":7,"body":"may I?"}"#), Ok(ask));
    }

    #[test]
    fn any_other_json_is_a_message_as_it_was_said() {
        for line in [r#"{"type":"hello","id":7}"#, r#"{"type":3}"#, "{}", "[1]", "7", "null", "\"words\""] {
            assert_eq!(read(line), Ok(Said::Message(serde_json::from_str(line).unwrap())), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_what_would_be_right() {
        for (line, why) in [
            ("loading model…", Unreadable::NoJson),
            ("", Unreadable::NoJson),
            ("{\"type\":\"reply\"", Unreadable::NoJson),
            (r#"{"type":"state"}"#, Unreadable::State),
            (r#"{"type":"health","status":"fine"}"#, Unreadable::Health),
            (r#"{"type":"ask","body":1}"#, Unreadable::Ask),
            (r#"{"type":"ask","ask":""}"#, Unreadable::Ask),
        ] {
            assert_eq!(read(line), Err(why), "{line}");
        }
        assert_eq!(Said::read(b"\xff\xfe"), Err(Unreadable::NoJson));
        let long = format!(r#"{{"type":"ask","ask":"{}"}}"#, "x".repeat(ASK_BYTES_MAX + 1));
        assert_eq!(read(&long), Err(Unreadable::Ask));
        // As deep as to overflow a stack.
        assert_eq!(read(&"[".repeat(100_000)), Err(Unreadable::NoJson));
    }

    #[test]
    fn what_is_told_is_one_line_whatever_is_in_it() {
        let letter = Letter { id: LetterId(7), body: json!("two\nlines\u{2028}"), deadline: None };
        let lines = [
            Told::Message(&letter).line(),
            Told::Cancel { id: LetterId(7) }.line(),
            Told::Restore { state: &json!({"n": 1}) }.line(),
            Told::Answer { ask: "a1", body: &json!(true) }.line(),
        ];
        assert_eq!(lines[0], "{\"type\":\"message\",\"id\":7,\"body\":\"two\\nlines\u{2028}\"}\n");
        for line in lines {
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
            assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line:?}");
        }
    }
}
