//! Classifies a line of an agent. Pure.

use agent_client_protocol::{RawJsonRpcId, RawJsonRpcMessage, RawJsonRpcResponse, TransportFrame};
use serde_json::Value;

/// The kind of a line.
#[derive(Debug)]
pub(super) enum LineKind {
    /// A message, and whether it requires an answer.
    Message { frame: TransportFrame, is_request: bool },
    /// A line outside the protocol, such as a line of a log. It can be skipped without loss.
    Stray,
    /// A message that breaks the protocol, with the violation.
    Violation(&'static str),
}

/// Classifies a line, without its end.
pub(super) fn classify_line(line: &str) -> LineKind {
    let frame = TransportFrame::parse_json(line);
    let TransportFrame::Single(message) = &frame else { return classify_malformed(line) };
    let is_request = match message {
        RawJsonRpcMessage::Request(_) => true,
        RawJsonRpcMessage::Notification(_) => false,
        RawJsonRpcMessage::Response(
            RawJsonRpcResponse::Result { id, .. } | RawJsonRpcResponse::Error { id, .. },
        ) if *id == RawJsonRpcId::Null => {
            // Without an id the request that it answers would never end.
            return LineKind::Violation("it answers nothing that it was asked, or could not read a message");
        }
        RawJsonRpcMessage::Response(_) => false,
    };
    LineKind::Message { frame, is_request }
}

/// Classifies a line that does not parse. A line that resembles a message must not be skipped: a caller may wait for
/// it.
fn classify_malformed(line: &str) -> LineKind {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(members)) if is_message_like(&members) => {
            LineKind::Violation("it wrote a message that is not valid")
        }
        Ok(Value::Array(items)) if items.iter().any(|item| item.get("jsonrpc").is_some()) => {
            LineKind::Violation("it wrote several messages as one, which the protocol does not allow")
        }
        Err(_) if line.contains("\"jsonrpc\"") => LineKind::Violation("it wrote a message that is not JSON"),
        _ => LineKind::Stray,
    }
}

fn is_message_like(members: &serde_json::Map<String, Value>) -> bool {
    let has = |name| members.contains_key(name);
    has("jsonrpc") || has("method") || has("id") && (has("result") || has("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(line: &str) -> &'static str {
        match classify_line(line) {
            LineKind::Message { is_request: true, .. } => "request",
            LineKind::Message { is_request: false, .. } => "message",
            LineKind::Stray => "stray",
            LineKind::Violation(_) => "violation",
        }
    }

    #[test]
    fn classify_line_distinguishes_messages_from_requests() {
        let expected = "request";
        assert_eq!(kind_of(r#"{"jsonrpc":"2.0","id":0,"method":"fs/read_text_file","params":{}}"#), expected);
        assert_eq!(kind_of(r#"{"jsonrpc":"2.0","method":"session/update","params":{}}"#), "message");
        assert_eq!(kind_of(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#), "message");
        assert_eq!(kind_of(r#"{"jsonrpc":"2.0","id":"7","error":{"code":-1,"message":"no"}}"#), "message");
    }

    #[test]
    fn classify_line_log_output_is_stray() {
        for line in
            ["Loading model...", "", "42", "[]", r#"{"level":30,"msg":"ready"}"#, r#"{"id":7,"msg":"x"}"#]
        {
            assert_eq!(kind_of(line), "stray", "{line}");
        }
    }

    #[test]
    fn classify_line_broken_message_is_violation() {
        for line in [
            r#"Loading... {"jsonrpc":"2.0","id":"7","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"7","result":{}"#,
            r#"{"jsonrpc":"1.0","id":"7","result":{}}"#,
            r#"{"id":"7","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
            r#"[{"jsonrpc":"2.0","id":"7","result":{}}]"#,
            r#"{"jsonrpc":"2.0","id":"7","result":{},"error":{"code":1,"message":""}}"#,
        ] {
            assert_eq!(kind_of(line), "violation", "{line}");
        }
    }

    #[test]
    fn classify_line_deep_nesting_does_not_overflow() {
        let deep = "[".repeat(100_000);
        assert_eq!(kind_of(&deep), "stray");
        assert_eq!(kind_of(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}"#)), "violation");
    }
}
