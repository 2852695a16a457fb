//! The requests to an agent that wait for an answer. Pure.

use std::collections::BTreeMap;

use agent_client_protocol::{
    RawJsonRpcError, RawJsonRpcId, RawJsonRpcMessage, RawJsonRpcResponse, TransportFrame,
};
use serde_json::json;

use super::as_written::wrap;
use super::line_check::IncomingResponse;
use crate::json::Json;

/// The requests that wait for an answer, under the numbers by which the agent knows them. Some agents need numbers.
#[derive(Debug, Default)]
pub(super) struct SentRequests {
    last: u64,
    waiting: BTreeMap<u64, RawJsonRpcId>,
}

/// The consequence of a response.
#[derive(Debug)]
pub(super) enum ResponseOutcome {
    /// The frames to pass on, and what is wrong with the response if that is so.
    Taken { frames: Vec<TransportFrame>, fault: Option<&'static str> },
    /// The line only looks like a response.
    Stray,
}

impl SentRequests {
    /// Adds a request, and returns its id for the agent.
    pub(super) fn add(&mut self, id: RawJsonRpcId) -> RawJsonRpcId {
        self.last += 1;
        self.waiting.insert(self.last, id);
        RawJsonRpcId::Number(i64::try_from(self.last).unwrap_or(i64::MAX))
    }

    /// Takes a response, which began with `start`.
    ///
    /// A response that cannot be read fails its own request. If it names no request that was sent, it fails all that wait:
    /// the agent takes one of them for answered, and a caller would wait for ever.
    pub(super) fn take(&mut self, response: IncomingResponse, start: &str) -> ResponseOutcome {
        let IncomingResponse { number, is_certain, answer } = response;
        if let Some(id) = number.and_then(|number| self.waiting.remove(&number)) {
            let fault = answer.as_ref().err().copied();
            let result = answer.unwrap_or_else(|why| Err(Box::new(unreadable_error(why, start))));
            return ResponseOutcome::Taken { frames: vec![response_frame(id, result)], fault };
        }
        if !is_certain {
            return ResponseOutcome::Stray;
        }
        let fault = match number {
            Some(number) if number <= self.last => "it answers a request that waits for no answer",
            Some(_) => "it answers a request that was never sent",
            None => "it does not say which request it answers",
        };
        let lost = if number.is_some_and(|number| number <= self.last) {
            BTreeMap::new()
        } else {
            std::mem::take(&mut self.waiting)
        };
        let error = || Err(Box::new(unreadable_error(fault, start)));
        let frames = lost.into_values().map(|id| response_frame(id, error())).collect();
        ResponseOutcome::Taken { frames, fault: Some(fault) }
    }
}

/// Returns the response with which an agent's request is refused that cannot be read.
pub(super) fn refusal_frame(id: RawJsonRpcId) -> TransportFrame {
    response_frame(id, Err(Box::new(RawJsonRpcError::new(INVALID_REQUEST, "Invalid request"))))
}

/// The code of JSON-RPC for an invalid request.
const INVALID_REQUEST: i32 = -32_600;

/// The code of JSON-RPC for an internal error.
const INTERNAL_ERROR: i32 = -32_603;

/// The member of an error's data that says that we made it in place of a response.
const UNREADABLE: &str = "mainstay_unreadable_response";

fn response_frame(id: RawJsonRpcId, result: Result<Json, Box<RawJsonRpcError>>) -> TransportFrame {
    let result = result.map(|result| wrap(result.as_str()));
    TransportFrame::Single(RawJsonRpcMessage::Response(RawJsonRpcResponse::new(id, result)))
}

fn unreadable_error(why: &str, start: &str) -> RawJsonRpcError {
    let data = json!({ UNREADABLE: format!("{why}: {start}") });
    RawJsonRpcError::new(INTERNAL_ERROR, "Unreadable response").data(data)
}

/// Returns the reason and the start of an unreadable response, if the error stands for one.
pub(super) fn unreadable_response(error: &agent_client_protocol::Error) -> Option<&str> {
    error.data.as_ref()?.get(UNREADABLE)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::super::line_check::{LineKind, classify_line};
    use super::*;

    fn taken(pending: &mut SentRequests, line: &str) -> (Vec<String>, Option<&'static str>) {
        let Some(LineKind::Response(response)) = classify_line(line).pop() else { panic!("{line}") };
        match pending.take(response, line) {
            ResponseOutcome::Taken { frames, fault } => {
                let texts = frames.iter().map(|frame| frame.to_json().unwrap());
                (texts.collect(), fault)
            }
            ResponseOutcome::Stray => (vec!["stray".to_owned()], None),
        }
    }

    fn pending() -> SentRequests {
        let mut pending = SentRequests::default();
        for (id, number) in [("a", 1), ("b", 2)] {
            assert_eq!(pending.add(RawJsonRpcId::Str(id.to_owned())), RawJsonRpcId::Number(number));
        }
        pending
    }

    #[test]
    fn response_gets_the_id_of_its_request() {
        let mut pending = pending();
        let line = r#"{"jsonrpc":"2.0","id":"2","result":7,"error":null}"#;
        let (frames, fault) = taken(&mut pending, line);
        assert_eq!((frames.len(), fault), (1, None));
        assert!(frames[0].contains(r#""id":"b""#) && frames[0].contains(r#":"7"}"#), "{frames:?}");
        let again = taken(&mut pending, line);
        assert_eq!(again, (Vec::new(), Some("it answers a request that waits for no answer")));
    }

    #[test]
    fn unreadable_response_fails_its_request_alone() {
        let mut pending = pending();
        let (frames, fault) = taken(&mut pending, r#"{"jsonrpc":"2.0","id":1,"result":NaN}"#);
        assert_eq!((frames.len(), fault), (1, Some("it is no JSON")));
        assert!(frames[0].contains(r#""id":"a""#) && frames[0].contains("it is no JSON"), "{frames:?}");
        assert_eq!(taken(&mut pending, r#"{"jsonrpc":"2.0","id":2,"result":7}"#).1, None);
    }

    #[test]
    fn response_without_a_known_request_fails_all() {
        for (line, words) in [
            (r#"{"jsonrpc":"2.0","id":99,"result":7}"#, "it answers a request that was never sent"),
            (r#"{"jsonrpc":"2.0","id":"x","result":7}"#, "it does not say which request it answers"),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#,
                "it does not say which",
            ),
        ] {
            let mut pending = pending();
            let (frames, fault) = taken(&mut pending, line);
            assert!(fault.unwrap().starts_with(words), "{line}: {fault:?}");
            assert_eq!(frames.len(), 2, "{line}");
            assert!(taken(&mut pending, line).0.is_empty(), "{line}");
        }
        let stray = taken(&mut pending(), r#"{"id":99,"error":"a line of a log"}"#);
        assert_eq!(stray.0, ["stray"]);
    }
}
