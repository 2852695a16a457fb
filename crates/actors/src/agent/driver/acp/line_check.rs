//! Classifies a line of an agent. Pure.

use agent_client_protocol::v1::schema::CLIENT_METHOD_NAMES;
use agent_client_protocol::{RawJsonRpcError, RawJsonRpcId, RawJsonRpcMessage, TransportFrame};
use serde_json::Value;
use serde_json::value::RawValue;

use super::as_written::wrap;
use crate::json::{Json, Members};
use crate::json_text::{BrokenObject, whole_number};

/// The kind of a line.
#[derive(Debug)]
pub(super) enum LineKind {
    /// A request or notification of the agent, and whether it requires an answer.
    Message { frame: TransportFrame, is_request: bool },
    /// An answer to a request of ours.
    Response(IncomingResponse),
    /// A request or notification that cannot be read. A request has an id, and is refused.
    Unreadable { id: Option<RawJsonRpcId> },
    /// A line outside the protocol, such as a line of a log. It can be skipped without loss.
    Stray,
}

/// An answer to a request of ours.
#[derive(Debug, PartialEq)]
pub(super) struct IncomingResponse {
    /// The number of the request, if it has one.
    pub(super) number: Option<u64>,
    /// True if it is an answer for sure, and false if it only looks like one.
    pub(super) is_certain: bool,
    /// The result or error, or why neither can be read.
    pub(super) answer: Result<RpcResult, &'static str>,
}

/// A result as it was written, or an error.
type RpcResult = Result<Json, Box<RawJsonRpcError>>;

/// Classifies a line, without its end. Mostly that is one message; an array of messages is taken as several.
pub(super) fn classify_line(line: &str) -> Vec<LineKind> {
    let json = match Json::parse(line) {
        Ok(json) => json,
        Err(error) => {
            // All halves of surrogate pairs are repaired.
            let why = if error.is_data() { "it is nested too deeply" } else { "it is no JSON" };
            return vec![response_after_text(line).unwrap_or_else(|| classify_broken(line, line, why))];
        }
    };
    let is_rpc =
        |item: &&RawValue| Members::parse(item.get()).is_ok_and(|item| item.get("jsonrpc").is_some());
    match json.read::<Vec<&RawValue>>() {
        Ok(items) if items.iter().any(is_rpc) => {
            items.into_iter().map(|item| classify_value(item.get())).collect()
        }
        _ => vec![classify_value(json.as_str())],
    }
}

fn classify_value(json: &str) -> LineKind {
    let Ok(members) = Members::parse(json) else { return LineKind::Stray };
    let is_rpc = members.get("jsonrpc").is_some();
    if members.get("method").is_some() {
        // Lines of a log have methods too.
        return if is_rpc { classify_call(&members) } else { LineKind::Stray };
    }
    let number = members.read::<Value>("id").as_ref().and_then(whole_number);
    let answer: Result<RpcResult, _> = match (members.read::<Json>("result"), members.get("error")) {
        (None, None) if is_rpc => return LineKind::Unreadable { id: None },
        (None, None) => return LineKind::Stray,
        // Some agents write both members.
        (Some(result), None | Some("null")) => Ok(Ok(result)),
        (result, Some(error))
            if error != "null" && result.as_ref().is_none_or(|result| result.as_str() == "null") =>
        {
            read_error(error).map(|error| Err(Box::new(error))).ok_or("its error needs a code and a message")
        }
        (None, Some(_)) => Err("it has neither a result nor an error"),
        (Some(_), Some(_)) => Err("it has both a result and an error"),
    };
    LineKind::Response(IncomingResponse { number, is_certain: is_rpc, answer })
}

fn read_error(error: &str) -> Option<RawJsonRpcError> {
    let members = Members::parse(error).ok()?;
    let error = RawJsonRpcError::new(members.read("code")?, members.read::<String>("message")?);
    Some(match members.get("data") {
        // It is only shown.
        Some(data) => error.data(serde_json::from_str(data).map_or_else(|_| data.into(), Value::String)),
        None => error,
    })
}

fn classify_call(members: &Members<'_>) -> LineKind {
    match read_call(members) {
        Some(message @ (RawJsonRpcMessage::Request(_) | RawJsonRpcMessage::Notification(_))) => {
            let is_request = matches!(message, RawJsonRpcMessage::Request(_));
            LineKind::Message { frame: TransportFrame::Single(message), is_request }
        }
        _ => LineKind::Unreadable { id: members.read("id") },
    }
}

/// Reads a call. Parameters that are passed on are kept as they were written.
fn read_call(members: &Members<'_>) -> Option<RawJsonRpcMessage> {
    let method: String = members.read("method")?;
    let is_passed_on = [CLIENT_METHOD_NAMES.session_update, CLIENT_METHOD_NAMES.session_request_permission]
        .contains(&method.as_str());
    let mut call = serde_json::Map::new();
    for name in ["jsonrpc", "id", "method", "params"] {
        let Some(text) = members.get(name) else { continue };
        let is_kept = is_passed_on && name == "params" && text.starts_with('{');
        call.insert(name.to_owned(), if is_kept { wrap(text) } else { serde_json::from_str(text).ok()? });
    }
    serde_json::from_value(Value::Object(call)).ok()
}

/// Classifies a line that is no JSON, or of which only the ends are known.
pub(super) fn classify_broken(head: &str, tail: &str, why: &'static str) -> LineKind {
    let object = BrokenObject::from_ends(head, tail);
    let Some(object) = object.filter(|object| object.value("jsonrpc").is_some()) else {
        return LineKind::Stray;
    };
    let number = object.number("id");
    if object.value("method").is_some() {
        let in_quotes = || {
            let text = object.value("id")?.strip_prefix('"')?.split_once('"')?.0;
            (!text.contains('\\')).then(|| RawJsonRpcId::Str(text.to_owned()))
        };
        let id = in_quotes().or_else(|| Some(RawJsonRpcId::Number(number?.try_into().ok()?)));
        return LineKind::Unreadable { id };
    }
    if object.value("result").is_some() || object.value("error").is_some() {
        return LineKind::Response(IncomingResponse { number, is_certain: true, answer: Err(why) });
    }
    LineKind::Unreadable { id: None }
}

/// Returns the answer at the end of a line that begins with other text, since the agent had not ended its last line.
fn response_after_text(line: &str) -> Option<LineKind> {
    let start = line.find("{\"jsonrpc\"").filter(|start| *start > 0)?;
    match classify_value(Json::parse(&line[start..]).ok()?.as_str()) {
        // It may also be a log of what was sent or received.
        LineKind::Response(response) => {
            Some(LineKind::Response(IncomingResponse { is_certain: false, ..response }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use agent_client_protocol::schema::MaybeUndefined;
    use agent_client_protocol::{RawJsonRpcNotification, RawJsonRpcRequest};
    use serde_json::json;

    use super::super::as_written::unwrap;
    use super::*;
    use crate::json_text::DEPTH_MAX;

    fn kind(kind: &LineKind) -> &'static str {
        match kind {
            LineKind::Message { is_request: true, .. } => "request",
            LineKind::Message { is_request: false, .. } => "notification",
            LineKind::Response(_) => "response",
            LineKind::Unreadable { id: Some(_) } => "unreadable request",
            LineKind::Unreadable { id: None } => "unreadable",
            LineKind::Stray => "stray",
        }
    }

    fn kind_of(line: &str) -> &'static str {
        let [only] = &classify_line(line)[..] else { panic!("{line}") };
        kind(only)
    }

    fn response(line: &str) -> IncomingResponse {
        match classify_line(line).pop() {
            Some(LineKind::Response(response)) => response,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn classify_line_distinguishes_calls_from_log_lines() {
        for (line, expected) in [
            (r#"{"jsonrpc":"2.0","id":0,"method":"fs/read_text_file","params":{}}"#, "request"),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{}}"#, "notification"),
            ("Loading model...", "stray"),
            ("", "stray"),
            ("42", "stray"),
            ("[]", "stray"),
            (r#"{"level":30,"msg":"ready"}"#, "stray"),
            (r#"{"level":30,"method":"GET","path":"/"}"#, "stray"),
            (r#"{"id":7,"msg":"x"}"#, "stray"),
            (r#"got {"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#, "stray"),
        ] {
            assert_eq!(kind_of(line), expected, "{line}");
        }
    }

    #[test]
    fn classify_line_skips_unreadable_calls() {
        let deep = "[".repeat(100_000);
        for (line, expected) in [
            (r#"{"jsonrpc":"2.0","method":"session/upd"#.to_owned(), "unreadable"),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"n":NaN}}"#.to_owned(), "unreadable"),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"n":1e}}"#.to_owned(), "unreadable"),
            (format!(r#"{{"jsonrpc":"2.0","method":"session/update","params":{deep}"#), "unreadable"),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":7}"#.to_owned(), "unreadable"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"n":NaN}}"#.to_owned(), "unreadable request"),
            (
                r#"{"jsonrpc":"2.0","id":"x","method":"x","params":{"n":NaN}}"#.to_owned(),
                "unreadable request",
            ),
            (r#"{"jsonrpc":"2.0","id":7,"method":7}"#.to_owned(), "unreadable request"),
            (r#"{"jsonrpc":"2.0"}"#.to_owned(), "unreadable"),
            (deep.clone(), "stray"),
        ] {
            assert_eq!(kind_of(&line), expected, "{}", &line[..line.len().min(80)]);
        }
    }

    #[test]
    fn classify_line_repairs_responses() {
        let answer = |number, is_certain| IncomingResponse {
            number: Some(number),
            is_certain,
            answer: Ok(Ok(json!({}).into())),
        };
        for (line, expected) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, answer(7, true)),
            (r#"{"jsonrpc":"2.0","id":"7","result":{},"error":null}"#, answer(7, true)),
            (r#"{"jsonrpc":"1.0","id":7.0,"result":{}}"#, answer(7, true)),
            (r#"{"id":7,"result":{}}"#, answer(7, false)),
            (r#"Loading... {"jsonrpc":"2.0","id":7,"result":{}}"#, answer(7, false)),
        ] {
            assert_eq!(response(line), expected, "{line}");
        }
        let refused =
            response(r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":-1,"message":"no"}}"#);
        assert_eq!(refused.answer.unwrap().unwrap_err().message, "no");
        let both = r#"[{"jsonrpc":"2.0","id":7,"result":{}},{"jsonrpc":"2.0","method":"x"}]"#;
        assert_eq!(classify_line(both).iter().map(kind).collect::<Vec<_>>(), ["response", "notification"]);
    }

    #[test]
    fn classify_line_keeps_what_is_passed_on_as_written() {
        let nested = "[".repeat(DEPTH_MAX - 2) + &"]".repeat(DEPTH_MAX - 2);
        for text in ["18446744073709551616", "1e999", "-0.0", r#"{"a":1.0,"a":{}}"#, &nested] {
            let params = format!(r#"{{"sessionId":"s1", "update":{text}}}"#);
            for (method, id) in [("session/update", ""), ("session/request_permission", r#""id":7,"#)] {
                let line = format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":{params}}}"#);
                let Some(LineKind::Message { frame: TransportFrame::Single(message), .. }) =
                    classify_line(&line).pop()
                else {
                    panic!("{line}");
                };
                let (RawJsonRpcMessage::Notification(RawJsonRpcNotification { params: passed, .. })
                | RawJsonRpcMessage::Request(RawJsonRpcRequest { params: passed, .. })) = message
                else {
                    panic!("{line}");
                };
                assert_eq!(unwrap(&passed.unwrap().into_value()), Some(&*params), "{line}");
            }
            let result = format!(r#"{{"stopReason":"end_turn","x":{text}}}"#);
            let line = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
            assert_eq!(response(&line).answer, Ok(Ok(Json::parse(&result).unwrap())), "{line}");
        }
        let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no","data":{"n":1e999}}}"#;
        let data = response(error).answer.unwrap().unwrap_err().data.clone();
        assert_eq!(data, MaybeUndefined::Value(json!(r#"{"n":1e999}"#)));
    }

    #[test]
    fn classify_line_says_why_a_response_is_unreadable() {
        let deep = "[".repeat(100_000);
        let too_deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        for (line, number, why) in [
            (
                &*format!(r#"{{"jsonrpc":"2.0","id":7,"result":{too_deep}}}"#),
                Some(7),
                "it is nested too deeply",
            ),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}"#, Some(7), "it is no JSON"),
            (r#"{"jsonrpc":"2.0","id":7,"result":NaN}"#, Some(7), "it is no JSON"),
            (r#"{"jsonrpc":"2.0","result":{"n":NaN},"id":7}"#, Some(7), "it is no JSON"),
            (&format!(r#"{{"jsonrpc":"2.0","id":7,"result":{deep}"#), Some(7), "it is no JSON"),
            (r#"{"jsonrpc":"2.0","id":7,"error":null}"#, Some(7), "it has neither a result nor an error"),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{}}"#,
                Some(7),
                "it has both a result and an error",
            ),
            (r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#, Some(7), "its error needs a code and a message"),
            (r#"{"jsonrpc":"2.0","id":null,"error":"no"}"#, None, "its error needs a code and a message"),
        ] {
            let expected = IncomingResponse { number, is_certain: true, answer: Err(why) };
            assert_eq!(response(line), expected, "{}", &line[..line.len().min(80)]);
        }
    }
}
