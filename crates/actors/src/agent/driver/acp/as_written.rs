//! Carries JSON as it was written past the protocol's crate, whose trees of values would change it: as a text in such a
//! tree. Pure.

use agent_client_protocol::{RawJsonRpcMessage, RawJsonRpcParams, TransportFrame};
use serde_json::{Value, json};

/// The only member of a tree that carries a text.
const AS_WRITTEN: &str = "mainstay_as_written";

/// Returns the tree that carries this JSON.
pub(super) fn wrap(json: &str) -> Value {
    json!({ AS_WRITTEN: json })
}

/// Returns the JSON that a tree carries; `None` if it is an ordinary tree.
pub(super) fn unwrap(tree: &Value) -> Option<&str> {
    tree.get(AS_WRITTEN)?.as_str()
}

/// Encodes a frame for the agent, with the parameters that a request carries.
pub(super) fn to_line(frame: &TransportFrame) -> Result<String, agent_client_protocol::Error> {
    let TransportFrame::Single(RawJsonRpcMessage::Request(request)) = frame else { return frame.to_json() };
    let Some(RawJsonRpcParams::Object(members)) = &request.params else { return frame.to_json() };
    let Some(params) = members.get(AS_WRITTEN).and_then(Value::as_str) else { return frame.to_json() };
    let mut bare = request.clone();
    bare.params = None;
    let mut line = TransportFrame::Single(RawJsonRpcMessage::Request(bare)).to_json()?;
    line.pop();
    // The ends of lines are white space in it.
    Ok(format!("{line},\"params\":{}}}", params.replace(['\n', '\r'], " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_json_is_unwrapped_as_it_was() {
        for text in [r#"{"a":1e999,"a":"\u00e4"}"#, "null", "-0.0"] {
            assert_eq!(unwrap(&wrap(text)), Some(text));
        }
        assert_eq!(unwrap(&json!({ "stopReason": "end_turn" })), None);
    }

    #[test]
    fn request_is_encoded_on_one_line_with_its_parameters() {
        let request = |params| {
            let message = RawJsonRpcMessage::request("session/prompt".to_owned(), params, 7).unwrap();
            to_line(&TransportFrame::Single(message)).unwrap()
        };
        let line = request(wrap("{\"n\":\n1e999, \"n\":1.0}"));
        assert!(
            line.contains(r#""method":"session/prompt""#)
                && line.ends_with(r#","params":{"n": 1e999, "n":1.0}}"#)
        );
        assert!(!line.contains(AS_WRITTEN) && !line.contains('\n'), "{line}");
        let plain = request(json!({ "n": 1 }));
        assert!(plain.ends_with(r#""params":{"n":1}}"#), "{plain}");
    }
}
