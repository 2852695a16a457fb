//! The lines of JSON in both directions. Pure.

use serde::Serialize;
use serde_json::Value;

use crate::agent::agent_message::{AgentMessage, MessageId};
use crate::agent::health::ReportedHealth;
use crate::error::body_start;
use crate::json::{Json, Members};
use crate::json_text::{BrokenObject, DEPTH_MAX, repair_line, whole_number, without_bom};
use crate::process::OutputLine;

/// The longest line that is read from an agent, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// A line of an agent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum IncomingLine {
    /// The answer to a message, or why there is none.
    Reply { id: MessageId, answer: Result<Json, String> },
    /// Progress, perhaps on a message.
    Progress { id: Option<MessageId>, body: Json },
    /// A state to restore after its end.
    State(Json),
    /// The agent's health.
    Health(ReportedHealth),
    /// A question, perhaps about a message.
    Ask { ask: String, id: Option<MessageId>, body: Json },
    /// A sign of life.
    Pong,
    /// Any other JSON.
    Message(Json),
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnreadableLine {
    pub(super) why: CodecError,
    pub(super) reply_to: ReplyTarget,
    /// The start of the line.
    pub(super) start: String,
}

/// The message that an unreadable line was to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTarget {
    /// The line is no reply.
    None,
    /// The line is a reply to this message.
    Message(MessageId),
    /// The line is a reply, and does not say to which message.
    Unnamed,
}

/// Says why a line is invalid, for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is no JSON")]
    NotJson,
    #[error("it has more than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("a reply needs the \"id\" of the message that it answers, and a \"body\" or an \"error\"")]
    Reply,
    #[error("it answers a message that waits for no answer")]
    NotAwaited,
    #[error("it answers a message that was never sent")]
    NeverSent,
    #[error("a state needs a \"state\"")]
    State,
    #[error("a health needs a \"status\": \"healthy\", \"degraded\" or \"failed\"")]
    Health,
    #[error("an ask needs a name in \"ask\", of at most 128 bytes")]
    Ask,
}

/// The longest name of a question, in bytes.
const ASK_BYTES_MAX: usize = 128;

impl IncomingLine {
    /// Returns whether the line shows that the agent works on its messages. A report of its health, or a line for people, may
    /// also come from one that is stuck.
    pub(super) fn is_progress(&self) -> bool {
        match self {
            Self::Reply { .. } | Self::Progress { .. } | Self::State(_) | Self::Ask { .. } => true,
            Self::Health(_) | Self::Message(_) | Self::Pong => false,
        }
    }

    /// Parses one line. What can be repaired without a guess is repaired: text that is not quite UTF-8, an id that is
    /// a number in quotes.
    pub(super) fn parse(line: &OutputLine<'_>) -> Result<Self, UnreadableLine> {
        let unreadable = |why, reply_to| UnreadableLine { why, reply_to, start: line_start(line) };
        match line {
            OutputLine::Complete(text) => {
                let text = repair_line(text);
                Self::parse_text(&text).map_err(|(why, reply_to)| {
                    unreadable(why, reply_to.unwrap_or_else(|| ReplyTarget::guess(&text, &text)))
                })
            }
            OutputLine::TooLong { head, tail } => {
                let reply_to = ReplyTarget::guess(&repair_line(head), &repair_line(tail));
                Err(unreadable(CodecError::TooLong, reply_to))
            }
        }
    }

    /// Returns the reply behind other text of a line that the agent had not ended, or alone in an array. It may also be a
    /// log of what was sent, so it counts only if it is awaited.
    pub(super) fn reply_within(line: &OutputLine<'_>) -> Option<Self> {
        let OutputLine::Complete(line) = line else { return None };
        let line = repair_line(line);
        let is_start = |rest: &str| rest.trim_start().starts_with("\"type\"");
        // Only the first is tried, so that the cost is that of one line.
        let (start, _) = line.match_indices('{').find(|(at, _)| is_start(&line[at + 1..]))?;
        let (before, object) = (line[..start].trim(), line[start..].trim_end());
        let object = if before == "[" { object.strip_suffix(']')? } else { object };
        let reply = Self::parse_text(object.trim_end()).ok()?;
        matches!(reply, Self::Reply { .. }).then_some(reply)
    }

    /// Parses a line of text. An error comes with the message that the line was to answer, if that is known.
    fn parse_text(line: &str) -> Result<Self, (CodecError, Option<ReplyTarget>)> {
        let json = Json::parse(line).map_err(|error| (CodecError::of_json(&error), None))?;
        let Ok(members) = Members::parse(json.as_str()) else { return Ok(Self::Message(json)) };
        let id = members.read::<Value>("id").as_ref().and_then(whole_number).map(MessageId);
        // The levels of a part are fewer than those of the line.
        let part = |name| members.read::<Json>(name);
        let no_reply = |why| (why, Some(ReplyTarget::None));
        match members.read::<String>("type").as_deref() {
            Some("reply") => {
                let id = id.ok_or((CodecError::Reply, Some(ReplyTarget::Unnamed)))?;
                let answer = match (part("error").filter(|error| *error != Json::default()), part("body")) {
                    (None, Some(body)) => Ok(body),
                    (None, None) => return Err((CodecError::Reply, Some(ReplyTarget::Message(id)))),
                    (Some(error), _) => Err(error.read().unwrap_or_else(|_| error.to_string())),
                };
                Ok(Self::Reply { id, answer })
            }
            Some("pong") => Ok(Self::Pong),
            Some("progress") => {
                let body = members.rebuild(|name, value| (!["type", "id"].contains(&name)).then_some(value));
                let body = Json::parse(&body).map_err(|error| no_reply(CodecError::of_json(&error)))?;
                Ok(Self::Progress { id, body })
            }
            Some("state") => part("state").map(Self::State).ok_or_else(|| no_reply(CodecError::State)),
            Some("health") => {
                members.read("status").map(Self::Health).ok_or_else(|| no_reply(CodecError::Health))
            }
            Some("ask") => match members.read::<String>("ask") {
                Some(ask) if (1..=ASK_BYTES_MAX).contains(&ask.len()) => {
                    Ok(Self::Ask { ask, id, body: part("body").unwrap_or_default() })
                }
                _ => Err(no_reply(CodecError::Ask)),
            },
            _ => Ok(Self::Message(json)),
        }
    }
}

impl CodecError {
    /// Returns why a text is no JSON that is passed on.
    fn of_json(error: &serde_json::Error) -> Self {
        // All halves of surrogate pairs are repaired.
        if error.is_data() { Self::TooDeep } else { Self::NotJson }
    }
}

/// Returns the start of a line, as much as is kept until it is redacted.
pub(super) fn line_start(line: &OutputLine<'_>) -> String {
    let (OutputLine::Complete(start) | OutputLine::TooLong { head: start, .. }) = line;
    body_start(without_bom(start)).into_owned()
}

impl ReplyTarget {
    /// Returns the message that a line was to answer which is no JSON, or of which only the ends are known.
    fn guess(head: &str, tail: &str) -> Self {
        match BrokenObject::from_ends(head, tail) {
            Some(line) if line.value("type").is_some_and(|value| value.starts_with("\"reply\"")) => {
                line.number("id").map_or(Self::Unnamed, |id| Self::Message(MessageId(id)))
            }
            _ => Self::None,
        }
    }
}

/// A line to an agent. Its members are written in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum OutgoingLine<'a> {
    /// A message, which gets an answer.
    Message(&'a AgentMessage),
    /// Cancels a message.
    Cancel { id: MessageId },
    /// Asks for a sign of life.
    Ping {},
    /// The last state, to restore.
    Restore { state: &'a Json },
    /// The answer to a question.
    Answer { ask: &'a str, body: &'a Json },
}

impl OutgoingLine<'_> {
    /// Encodes it as one line with its end.
    pub(super) fn to_line(&self) -> String {
        // Serialization cannot fail, since all member names are text.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        // In what others wrote, the ends of lines are white space.
        if line.contains(['\n', '\r']) {
            line = line.replace(['\n', '\r'], " ");
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::agent::agent_message::MessageLimits;

    use super::*;

    fn parse(line: &str) -> Result<IncomingLine, CodecError> {
        IncomingLine::parse(&OutputLine::Complete(line.as_bytes())).map_err(|line| line.why)
    }

    fn reply_target(line: &OutputLine<'_>) -> (CodecError, ReplyTarget) {
        let UnreadableLine { why, reply_to, .. } = IncomingLine::parse(line).unwrap_err();
        (why, reply_to)
    }

    #[test]
    fn parse_reply_needs_id_and_body_or_error() {
        let reply = |answer| Ok(IncomingLine::Reply { id: MessageId(7), answer });
        assert_eq!(parse(r#"{"type":"reply","id":7,"body":{"a":1}}"#), reply(Ok(json!({"a": 1}).into())));
        assert_eq!(parse(r#"{"type":"reply","id":7,"body":null}"#), reply(Ok(Json::default())));
        assert_eq!(parse(r#"{"type":"reply","id":7,"error":"no model"}"#), reply(Err("no model".to_owned())));
        let big = r#"{"type":"reply","id":7,"body":{"b":12345678901234567890123, "a":1E2}}"#;
        let as_written = Json::parse(r#"{"b":12345678901234567890123, "a":1E2}"#).unwrap();
        assert_eq!(parse(big), reply(Ok(as_written.clone())));
        assert_eq!(parse(&format!("\u{feff}{big}")), reply(Ok(as_written)));
        let expected = reply(Err("{\"code\":3}".to_owned()));
        assert_eq!(parse(r#"{"type":"reply","id":7,"error":{"code":3}}"#), expected);
        for line in [r#"{"type":"reply","body":1}"#, r#"{"type":"reply","id":-1,"body":1}"#] {
            assert_eq!(parse(line), Err(CodecError::Reply), "{line}");
        }
        assert_eq!(parse(r#"{"type":"reply","id":7}"#), Err(CodecError::Reply));
    }

    /// Compares the page's examples, in its order: first the lines to the agent, then those from it.
    #[test]
    fn lines_of_the_page_are_written_and_read() {
        let page = include_str!("../../../../../../docs/agent-drivers.md");
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("{\"type\"")).collect();
        let id = MessageId(7);
        let body = json!({"text": "hello"}).into();
        let message = AgentMessage { id, body, deadline: None, limits: MessageLimits::default() };
        let outgoing = [
            OutgoingLine::Message(&message),
            OutgoingLine::Cancel { id },
            OutgoingLine::Answer { ask: "a1", body: &json!("yes").into() },
            OutgoingLine::Restore { state: &json!({"step": 3}).into() },
            OutgoingLine::Ping {},
        ];
        let written: Vec<_> = outgoing.iter().map(|line| line.to_line().trim_end().to_owned()).collect();
        assert_eq!(lines[..written.len()], written);
        let incoming = [
            IncomingLine::Reply { id, answer: Ok(json!({"text": "done"}).into()) },
            IncomingLine::Reply { id, answer: Err("no model".to_owned()) },
            IncomingLine::Progress { id: Some(id), body: json!({"percent": 40}).into() },
            IncomingLine::Ask {
                ask: "a1".to_owned(),
                id: Some(id),
                body: json!({"question": "Overwrite?"}).into(),
            },
            IncomingLine::State(json!({"step": 3}).into()),
            IncomingLine::Health(ReportedHealth::Degraded),
            IncomingLine::Pong,
        ];
        let read: Vec<_> = lines[written.len()..].iter().map(|line| parse(line).unwrap()).collect();
        assert_eq!(read, incoming);
    }

    #[test]
    fn parse_repairs_text_and_numeric_ids() {
        let reply = |text: &str| Ok(IncomingLine::Reply { id: MessageId(7), answer: Ok(json!(text).into()) });
        for line in [
            &br#"{"type":"reply","id":"7","body":"x"}"#[..],
            br#"{"type":"reply","id":7.0,"body":"x","error":null}"#,
            b"\xef\xbb\xbf{\"type\":\"reply\",\"id\":7,\"body\":\"x\"}\r",
        ] {
            assert_eq!(IncomingLine::parse(&OutputLine::Complete(line)), reply("x"));
        }
        for line in [
            &b"{\"type\":\"reply\",\"id\":7,\"body\":\"\xe9\"}"[..],
            br#"{"type":"reply","id":7,"body":"\ud800"}"#,
        ] {
            let Ok(IncomingLine::Reply { id: MessageId(7), answer: Ok(body) }) =
                IncomingLine::parse(&OutputLine::Complete(line))
            else {
                panic!("{line:?}");
            };
            assert_eq!(body, json!("\u{fffd}"));
        }
    }

    #[test]
    fn reply_within_other_text_is_found() {
        let within = |line: &str| IncomingLine::reply_within(&OutputLine::Complete(line.as_bytes()));
        let reply = Some(IncomingLine::Reply { id: MessageId(7), answer: Ok(json!("x").into()) });
        let text = r#"{ "type":"reply","id":7,"body":"x"}"#;
        for line in [&format!("50%… {text}"), &format!("log {{a}}: {text} "), &format!("[{text}]")] {
            assert_eq!(within(line), reply, "{line}");
        }
        let progress = text.replace("reply", "progress");
        for line in [&format!("log {text} end"), &format!("log {progress}"), &format!("[{text},1]")] {
            assert_eq!(within(line), None, "{line}");
        }
    }

    #[test]
    fn unreadable_reply_names_its_message_only_if_certain() {
        use ReplyTarget::{Message, None, Unnamed};
        let seven = Message(MessageId(7));
        for (line, expected) in [
            (r#"{"type":"reply","id":7}"#, (CodecError::Reply, seven)),
            (r#"{"type":"reply","id":null,"body":1}"#, (CodecError::Reply, Unnamed)),
            (r#"{"type":"reply","id":7,"body":NaN}"#, (CodecError::NotJson, seven)),
            (r#"{"type": "reply", "id": "7", "body": 1e}"#, (CodecError::NotJson, seven)),
            (r#"{"type":"reply","body":{"id":7},"n":NaN}"#, (CodecError::NotJson, Unnamed)),
            (r#"{"type":"log","line":{"type":"reply"},"n":NaN}"#, (CodecError::NotJson, None)),
            (r#"{"type":"reply","id":7"#, (CodecError::NotJson, Unnamed)),
            (r#"{"type":"progress","id":7,"n":NaN}"#, (CodecError::NotJson, None)),
            (r#"sending {"type":"reply","id":7,"body":1}"#, (CodecError::NotJson, None)),
            (r#"{"type":"state"}"#, (CodecError::State, None)),
        ] {
            assert_eq!(reply_target(&OutputLine::Complete(line.as_bytes())), expected, "{line}");
        }
        for (head, tail, expected) in [
            (r#"{"type":"reply","id":7,"body":"xx"#, "", seven),
            (r#"{"body":"xx"#, r#"xx","id":7,"type":"reply"}"#, seven),
            (r#"{"body":"xx"#, r#"xx","type":"reply"}"#, Unnamed),
            (r#"{"body":"xx"#, "xx", None),
        ] {
            let line = OutputLine::TooLong { head: head.as_bytes(), tail: tail.as_bytes() };
            assert_eq!(reply_target(&line), (CodecError::TooLong, expected), "{head}");
        }
    }

    #[test]
    fn parse_progress_state_health_and_ask() {
        let progress = parse(r#"{"type":"progress","id":7,"step":2,"of":3}"#);
        assert_eq!(
            progress,
            Ok(IncomingLine::Progress { id: Some(MessageId(7)), body: json!({"step": 2, "of": 3}).into() })
        );
        assert_eq!(parse(r#"{"type":"state","state":[1]}"#), Ok(IncomingLine::State(json!([1]).into())));
        let expected = Ok(IncomingLine::Health(ReportedHealth::Degraded));
        assert_eq!(parse(r#"{"type":"health","status":"degraded"}"#), expected);
        let ask =
            IncomingLine::Ask { ask: "a1".to_owned(), id: Some(MessageId(7)), body: json!("may I?").into() };
        assert_eq!(parse(r#"{"type":"ask","ask":"a1","id":7,"body":"may I?"}"#), Ok(ask));
    }

    #[test]
    fn parse_other_json_is_a_message() {
        for line in [r#"{"type":"hello","id":7}"#, r#"{"type":3}"#, "{}", "[1]", "7", "null", "\"words\""] {
            assert_eq!(parse(line), Ok(IncomingLine::Message(serde_json::from_str(line).unwrap())), "{line}");
        }
    }

    /// Returns texts that a reader and writer of trees changes or refuses.
    fn texts() -> Vec<String> {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let mut texts = vec![nested(DEPTH_MAX - 1)];
        texts.extend(
            [
                "9007199254740993",
                "18446744073709551616",
                "[1e999, -0.0,1.0, 1E2]",
                r#"{"b" :1.10,"a":{"k":1,"k":2},"b":"\u00e4\/"}"#,
            ]
            .map(str::to_owned),
        );
        texts
    }

    #[test]
    fn lines_carry_json_as_it_was_written() {
        for text in texts() {
            let body = Json::parse(&text).unwrap();
            let (id, ask) = (Some(MessageId(7)), "a1".to_owned());
            for (line, expected) in [
                (
                    format!(r#"{{"type":"reply","id":7, "body": {text} }}"#),
                    IncomingLine::Reply { id: MessageId(7), answer: Ok(body.clone()) },
                ),
                (format!(r#"{{"state":{text},"type":"state"}}"#), IncomingLine::State(body.clone())),
                (
                    format!(r#"{{"type":"ask","ask":"a1","id":7,"body":{text}}}"#),
                    IncomingLine::Ask { ask, id, body: body.clone() },
                ),
                (text.clone(), IncomingLine::Message(body.clone())),
            ] {
                assert_eq!(parse(&line), Ok(expected), "{line}");
            }
            let progress = format!(r#"{{"n":{text},"type":"progress","id":7,"n":{text}}}"#);
            let kept = Json::parse(&format!(r#"{{"n":{text},"n":{text}}}"#)).unwrap();
            assert_eq!(parse(&progress), Ok(IncomingLine::Progress { id, body: kept }));
            for line in
                [OutgoingLine::Restore { state: &body }, OutgoingLine::Answer { ask: "a", body: &body }]
            {
                assert!(line.to_line().contains(&text), "{line:?}");
            }
        }
    }

    #[test]
    fn line_above_the_depth_limit_is_unreadable_as_such() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let reply = format!(r#"{{"type":"reply","id":7,"body":{}}}"#, nested(DEPTH_MAX));
        let expected = (CodecError::TooDeep, ReplyTarget::Message(MessageId(7)));
        assert_eq!(reply_target(&OutputLine::Complete(reply.as_bytes())), expected);
        assert_eq!(parse(&nested(DEPTH_MAX + 1)), Err(CodecError::TooDeep));
        // Deep enough to overflow a stack.
        assert_eq!(parse(&nested(100_000)), Err(CodecError::TooDeep));
    }

    #[test]
    fn parse_malformed_line_errors() {
        for (line, why) in [
            ("loading model…", CodecError::NotJson),
            ("", CodecError::NotJson),
            ("{\"type\":\"reply\"", CodecError::NotJson),
            (r#"{"type":"state"}"#, CodecError::State),
            (r#"{"type":"health","status":"fine"}"#, CodecError::Health),
            (r#"{"type":"ask","body":1}"#, CodecError::Ask),
            (r#"{"type":"ask","ask":""}"#, CodecError::Ask),
        ] {
            assert_eq!(parse(line), Err(why), "{line}");
        }
        let line = OutputLine::Complete(b"\xff\xfe");
        assert_eq!(reply_target(&line), (CodecError::NotJson, ReplyTarget::None));
        let long = format!(r#"{{"type":"ask","ask":"{}"}}"#, "x".repeat(ASK_BYTES_MAX + 1));
        assert_eq!(parse(&long), Err(CodecError::Ask));
        // Deep enough to overflow a stack.
        assert_eq!(parse(&"[".repeat(100_000)), Err(CodecError::NotJson));
    }

    #[test]
    fn to_line_is_always_one_line() {
        let message = AgentMessage {
            id: MessageId(7),
            body: json!("two\nlines\u{2028}").into(),
            deadline: None,
            limits: MessageLimits::default(),
        };
        let lines = [
            OutgoingLine::Message(&message).to_line(),
            OutgoingLine::Cancel { id: MessageId(7) }.to_line(),
            OutgoingLine::Restore { state: &Json::parse("{\r\n\"n\":\n1}").unwrap() }.to_line(),
            OutgoingLine::Answer { ask: "a1", body: &json!(true).into() }.to_line(),
        ];
        assert_eq!(lines[0], "{\"type\":\"message\",\"id\":7,\"body\":\"two\\nlines\u{2028}\"}\n");
        for line in lines {
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
            assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line:?}");
        }
    }
}
