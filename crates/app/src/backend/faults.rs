//! The faults that can be injected, and those that are armed. Plain data; time is passed in.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::agents::AgentError;

/// No fault lasts or delays longer than this: one hour, in milliseconds.
pub(super) const SPAN_MS_MAX: u64 = 3_600_000;
/// A fault hits at most this many requests.
pub(super) const TIMES_MAX: u32 = 1_000_000;
/// At most this many faults are armed at once.
pub(super) const ARMED_MAX: usize = 256;
/// A path prefix has at most this many bytes.
pub(super) const PATH_BYTES_MAX: usize = 1024;
/// `Retry-After` is at most this many seconds: a hundred years, for clients that must not believe it.
pub(super) const RETRY_AFTER_MAX: u64 = 3_155_760_000;

/// A fault: the body of `POST /_fault`, as JSON `{"kind":"crash_agent","agent":"planner"}`.
///
/// A `path` is compared, as it is in the request and without its query, with the beginning of the path of each later
/// request. `/_fault` itself is never hit. If several faults fit one request, the oldest `slow` delays it, and the
/// oldest `status` or `reset` then ends it. Each hits `times` requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The agent fails and loses its memory: its health says so, and it refuses messages until it is restarted
    /// or healed.
    CrashAgent {
        /// The agent's id.
        agent: String,
    },
    /// The agent gives no answer to anything but a restart: requests stay open until the client goes or the
    /// agent is healed.
    HangAgent {
        /// The agent's id.
        agent: String,
    },
    /// The agent is healthy again; its memory stays what it is.
    HealAgent {
        /// The agent's id.
        agent: String,
    },
    /// Every open WebSocket is cut without a close handshake.
    DropWs,
    /// WebSocket handshakes are answered with 503.
    RefuseWs {
        /// For how many milliseconds from now, up to an hour; 0 ends it.
        for_ms: u64,
    },
    /// WebSockets, open and new, stay open, but nothing is read from them, answered or sent.
    HalfOpenWs {
        /// For how many milliseconds from now, up to an hour; 0 ends it.
        for_ms: u64,
    },
    /// Requests are answered with an error and not carried out.
    Status {
        /// The beginning of their path.
        path: String,
        /// The HTTP status, 400 to 599.
        status: u16,
        /// The number of requests: 1 to a million.
        times: u32,
        /// Seconds for a `Retry-After` header; none without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Requests wait before they are looked at.
    Slow {
        /// The beginning of their path.
        path: String,
        /// The delay in milliseconds, up to an hour.
        ms: u64,
        /// The number of requests: 1 to a million.
        times: u32,
    },
    /// The TCP connection of a request is reset, without an answer and without carrying it out.
    Reset {
        /// The beginning of their path.
        path: String,
        /// The number of requests: 1 to a million.
        times: u32,
    },
}

/// A valid fault of each kind, for errors.
const EXAMPLES: [(&str, &str); 9] = [
    ("crash_agent", r#"{"kind":"crash_agent","agent":"planner"}"#),
    ("hang_agent", r#"{"kind":"hang_agent","agent":"planner"}"#),
    ("heal_agent", r#"{"kind":"heal_agent","agent":"planner"}"#),
    ("drop_ws", r#"{"kind":"drop_ws"}"#),
    ("refuse_ws", r#"{"kind":"refuse_ws","for_ms":5000}"#),
    ("half_open_ws", r#"{"kind":"half_open_ws","for_ms":5000}"#),
    ("status", r#"{"kind":"status","path":"/api/files","status":503,"times":3,"retry_after":2}"#),
    ("slow", r#"{"kind":"slow","path":"/api/search","ms":2000,"times":3}"#),
    ("reset", r#"{"kind":"reset","path":"/api/echo","times":1}"#),
];

/// The reasons why a fault is not injected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// The JSON is not a fault.
    #[error("{reason}; valid would be {valid}")]
    Malformed {
        /// The problem.
        reason: String,
        /// An example: of this kind, or of each kind.
        valid: String,
    },
    /// There is no such agent.
    #[error("{0}")]
    UnknownAgent(
        /// The agent's error, with the known ids.
        String,
    ),
    /// A field is out of range.
    #[error("{field} is {given}; valid is {valid}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The value given.
        given: String,
        /// The permitted values.
        valid: String,
    },
    /// Too many faults are armed.
    #[error("{ARMED_MAX} faults are armed already: let requests use some up first")]
    TooMany,
}

impl From<AgentError> for FaultError {
    fn from(refusal: AgentError) -> Self {
        Self::UnknownAgent(refusal.to_string())
    }
}

impl Fault {
    /// Reads a fault from the body of a request.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, FaultError> {
        let malformed =
            |error: serde_json::Error, valid| FaultError::Malformed { reason: error.to_string(), valid };
        let value: Value = serde_json::from_slice(body).map_err(|error| malformed(error, examples(None)))?;
        let kind = value.get("kind").and_then(Value::as_str).map(str::to_owned);
        serde_json::from_value(value).map_err(|error| malformed(error, examples(kind.as_deref())))
    }

    /// Returns whether every number and path is in range. Agents are looked up later.
    pub(super) fn check(&self) -> Result<(), FaultError> {
        match self {
            Self::RefuseWs { for_ms } | Self::HalfOpenWs { for_ms } => check_span("for_ms", *for_ms),
            Self::Status { path, status, times, retry_after } => {
                check_path(path)?;
                check_range("status", (*status).into(), 400, 599)?;
                check_range("times", (*times).into(), 1, TIMES_MAX.into())?;
                check_range("retry_after", retry_after.unwrap_or(0), 0, RETRY_AFTER_MAX)
            }
            Self::Slow { path, ms, times } => {
                check_path(path)?;
                check_span("ms", *ms)?;
                check_range("times", (*times).into(), 1, TIMES_MAX.into())
            }
            Self::Reset { path, times } => {
                check_path(path)?;
                check_range("times", (*times).into(), 1, TIMES_MAX.into())
            }
            Self::CrashAgent { .. } | Self::HangAgent { .. } | Self::HealAgent { .. } | Self::DropWs => {
                Ok(())
            }
        }
    }
}

/// Returns the example of this kind, or all of them.
fn examples(kind: Option<&str>) -> String {
    let fits = |(name, _): &&(&str, &str)| kind.is_some_and(|kind| kind == *name);
    let found = EXAMPLES.iter().find(fits).map(|(_, example)| (*example).to_owned());
    found.unwrap_or_else(|| EXAMPLES.map(|(_, example)| example).join(" or "))
}

fn check_span(field: &'static str, ms: u64) -> Result<(), FaultError> {
    check_range(field, ms, 0, SPAN_MS_MAX)
}

fn check_range(field: &'static str, given: u64, min: u64, max: u64) -> Result<(), FaultError> {
    if (min..=max).contains(&given) {
        return Ok(());
    }
    Err(FaultError::OutOfRange { field, given: given.to_string(), valid: format!("{min} to {max}") })
}

fn check_path(path: &str) -> Result<(), FaultError> {
    let valid =
        || format!("a path's beginning: '/' first, at most {PATH_BYTES_MAX} bytes, without '?' and '#'");
    if path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains(['?', '#']) {
        return Ok(());
    }
    let given = format!("{:?}", path.chars().take(100).collect::<String>());
    Err(FaultError::OutOfRange { field: "path", given, valid: valid() })
}

/// The end of a request that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InjectedFailure {
    /// An answer with this status and, in seconds, this `Retry-After`.
    Status { status: StatusCode, retry_after: Option<u64> },
    /// A reset of its connection.
    Reset,
}

/// The effect of the armed faults on one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FaultHit {
    /// The delay before anything else.
    pub(super) delay: Duration,
    /// Then it ends so, or is carried out.
    pub(super) failure: Option<InjectedFailure>,
}

#[derive(Debug, Clone, Copy)]
enum FaultEffect {
    Delay(Duration),
    Failure(InjectedFailure),
}

#[derive(Debug)]
struct ArmedFault {
    path: String,
    left: u32,
    effect: FaultEffect,
}

/// The faults that wait for requests, oldest first, and until when handshakes are refused.
#[derive(Debug, Default)]
pub(super) struct FaultInjector {
    armed: Vec<ArmedFault>,
    handshakes_refused_until: Option<Instant>,
}

impl FaultInjector {
    /// Lets the next `times` requests whose path begins with `path` be answered with `status`.
    pub(super) fn arm_status(
        &mut self,
        path: String,
        times: u32,
        status: StatusCode,
        retry_after: Option<u64>,
    ) -> Result<(), FaultError> {
        self.arm(path, times, FaultEffect::Failure(InjectedFailure::Status { status, retry_after }))
    }

    /// Lets the next `times` requests whose path begins with `path` wait.
    pub(super) fn arm_delay(&mut self, path: String, times: u32, delay: Duration) -> Result<(), FaultError> {
        self.arm(path, times, FaultEffect::Delay(delay))
    }

    /// Resets the connections of the next `times` requests whose path begins with `path`.
    pub(super) fn arm_reset(&mut self, path: String, times: u32) -> Result<(), FaultError> {
        self.arm(path, times, FaultEffect::Failure(InjectedFailure::Reset))
    }

    fn arm(&mut self, path: String, left: u32, effect: FaultEffect) -> Result<(), FaultError> {
        if self.armed.len() >= ARMED_MAX {
            return Err(FaultError::TooMany);
        }
        self.armed.push(ArmedFault { path, left, effect });
        Ok(())
    }

    /// Returns the effect on a request for `path`, and uses up the faults that hit it.
    pub(super) fn take_hit(&mut self, path: &str) -> FaultHit {
        let delay = self.take_effect(path, |effect| match effect {
            FaultEffect::Delay(delay) => Some(delay),
            FaultEffect::Failure(_) => None,
        });
        let blow = self.take_effect(path, |effect| match effect {
            FaultEffect::Failure(blow) => Some(blow),
            FaultEffect::Delay(_) => None,
        });
        self.armed.retain(|armed| armed.left > 0);
        FaultHit { delay: delay.unwrap_or_default(), failure: blow }
    }

    /// Uses the oldest fault that fits `path` and that `select` wants.
    fn take_effect<T>(&mut self, path: &str, select: impl Fn(FaultEffect) -> Option<T>) -> Option<T> {
        let mut fitting = self.armed.iter_mut().filter(|armed| path.starts_with(&armed.path));
        fitting.find_map(|armed| {
            let taken = select(armed.effect)?;
            armed.left = armed.left.saturating_sub(1);
            Some(taken)
        })
    }

    /// Refuses WebSocket handshakes until then.
    pub(super) fn refuse_handshakes(&mut self, until: Instant) {
        self.handshakes_refused_until = Some(until);
    }

    /// Returns whether a WebSocket handshake is refused.
    pub(super) fn refuses_handshakes(&self, now: Instant) -> bool {
        self.handshakes_refused_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UNAVAILABLE: InjectedFailure =
        InjectedFailure::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Some(2) };

    fn parse(fault: &Value) -> Result<Fault, FaultError> {
        let fault = Fault::from_json(fault.to_string().as_bytes())?;
        fault.check().map(|()| fault)
    }

    fn error_text(fault: &Value) -> String {
        parse(fault).unwrap_err().to_string()
    }

    fn unavailable(book: &mut FaultInjector, path: &str, times: u32) {
        book.arm_status(path.to_owned(), times, StatusCode::SERVICE_UNAVAILABLE, Some(2)).unwrap();
    }

    #[test]
    fn every_example_is_valid_and_comes_back_as_it_was() {
        for (kind, example) in EXAMPLES {
            let value: Value = serde_json::from_str(example).unwrap();
            let fault = parse(&value).unwrap();
            assert_eq!(value["kind"], kind);
            assert_eq!(serde_json::to_value(fault).unwrap(), value);
        }
    }

    #[test]
    fn unknown_kind_is_refused_with_all_that_there_are() {
        for fault in [json!({ "kind": "explode" }), json!({}), json!([]), json!({ "kind": 3 })] {
            let complaint = error_text(&fault);
            assert!(EXAMPLES.iter().all(|(_, example)| complaint.contains(example)), "{complaint}");
        }
        assert!(error_text(&json!({ "kind": "explode" })).contains("unknown variant `explode`"));
        assert!(Fault::from_json(b"{").unwrap_err().to_string().contains("EOF"));
    }

    #[test]
    fn invalid_field_is_refused_with_example_of_its_kind() {
        let cases = [
            (json!({ "kind": "crash_agent" }), "missing field `agent`"),
            (json!({ "kind": "refuse_ws", "for_ms": -1 }), "invalid value: integer `-1`"),
            (json!({ "kind": "slow", "path": "/", "ms": 1 }), "missing field `times`"),
            (json!({ "kind": "reset", "path": 7, "times": 1 }), "invalid type: integer `7`"),
            (json!({ "kind": "reset", "path": "/", "times": 1, "tmes": 2 }), "unknown field `tmes`"),
        ];
        for (fault, wrong) in cases {
            let complaint = error_text(&fault);
            assert!(complaint.contains(wrong), "{complaint}");
            assert!(complaint.contains(&examples(fault["kind"].as_str())), "{complaint}");
        }
    }

    #[test]
    fn value_out_of_range_is_refused_with_the_range() {
        let cases = [
            (json!({ "kind": "status", "path": "/", "status": 200, "times": 1 }), "400 to 599"),
            (json!({ "kind": "status", "path": "/", "status": 600, "times": 1 }), "400 to 599"),
            (json!({ "kind": "status", "path": "/", "status": 503, "times": 0 }), "1 to 1000000"),
            (
                json!({ "kind": "status", "path": "/", "status": 503, "times": 1, "retry_after": u64::MAX }),
                "0 to 3155760000",
            ),
            (json!({ "kind": "slow", "path": "/", "ms": 3_600_001, "times": 1 }), "0 to 3600000"),
            (json!({ "kind": "half_open_ws", "for_ms": u64::MAX }), "0 to 3600000"),
            (json!({ "kind": "reset", "path": "api", "times": 1 }), "'/' first"),
            (json!({ "kind": "reset", "path": "/a?b", "times": 1 }), "without '?'"),
            (json!({ "kind": "reset", "path": "/".repeat(1025), "times": 1 }), "at most 1024 bytes"),
        ];
        for (fault, range) in cases {
            let complaint = error_text(&fault);
            assert!(complaint.contains(range), "{complaint}");
        }
    }

    #[test]
    fn of_two_failures_the_older_hits_first() {
        let mut book = FaultInjector::default();
        unavailable(&mut book, "/api", 1);
        book.arm_reset("/api/echo".to_owned(), 1).unwrap();
        assert_eq!(book.take_hit("/api/echo").failure, Some(UNAVAILABLE));
        assert_eq!(book.take_hit("/api/echo").failure, Some(InjectedFailure::Reset));
        assert_eq!(book.take_hit("/api/echo").failure, None);
    }

    #[test]
    fn delay_and_failure_hit_one_request_together() {
        let mut book = FaultInjector::default();
        book.arm_reset("/".to_owned(), 1).unwrap();
        book.arm_delay("/".to_owned(), 2, Duration::from_secs(1)).unwrap();
        let both = FaultHit { delay: Duration::from_secs(1), failure: Some(InjectedFailure::Reset) };
        assert_eq!(book.take_hit("/"), both);
        assert_eq!(book.take_hit("/"), FaultHit { delay: Duration::from_secs(1), failure: None });
        assert_eq!(book.take_hit("/"), FaultHit::default());
    }

    #[test]
    fn injector_is_bounded_and_frees_room_after_a_hit() {
        let mut book = FaultInjector::default();
        for _ in 0..ARMED_MAX {
            book.arm_reset("/".to_owned(), 1).unwrap();
        }
        assert_eq!(book.arm_reset("/".to_owned(), 1), Err(FaultError::TooMany));
        book.take_hit("/");
        assert_eq!(book.arm_reset("/".to_owned(), 1), Ok(()));
    }

    #[test]
    fn handshakes_are_refused_until_the_time_is_up() {
        let now = Instant::now();
        let mut book = FaultInjector::default();
        assert!(!book.refuses_handshakes(now));
        book.refuse_handshakes(now + Duration::from_millis(10));
        assert!(book.refuses_handshakes(now + Duration::from_millis(9)));
        assert!(!book.refuses_handshakes(now + Duration::from_millis(10)));
        book.refuse_handshakes(now);
        assert!(!book.refuses_handshakes(now));
    }
}
