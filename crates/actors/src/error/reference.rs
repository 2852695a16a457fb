//! docs/errors.md: every reason, and every cause of an error with what callers see of it, row by row.
//!
//! The rows are made here, from the code. That the causes really lead there is shown where they can be brought about:
//! by the tests called `errors` of the queue and the connection, and of `call`, which look their rows up here.

use std::{collections::BTreeSet, fs, sync::LazyLock};

use expect_test::expect_file;
use http::{HeaderMap, StatusCode, header};
use mainstay_runtime::CallError;

use super::{Error, Reason, of_call, words::assert_helps};
use crate::{
    connection::{
        fault::{Fault, FaultKind},
        outbound::Fate,
    },
    queue::{
        gate::Evidence,
        retry::{Acted, Outcome, acted},
    },
    transport::{Answer, AnswerHead, FailureKind, Reach, TransportError},
};

/// Where a cause belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// An attempt at a request that gave no answer, or none that could be read.
    Failure,
    /// An answer with a failing status.
    Status,
    /// What becomes of a request in the queue.
    Queue,
    /// A dial or a socket of the connection.
    Fault,
    /// A handshake that was answered with a status.
    Handshake,
    /// A close frame.
    Close,
    /// A message to be sent over the connection.
    Fate,
    /// A call that an actor did not answer.
    Call,
    /// Agents, the start, and the rest.
    Rest,
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) part: Part,
    /// What happened; no two causes of a part say the same.
    pub(crate) what: String,
    pub(crate) error: Error,
    /// Whether the other side may have acted; `None` where there is nothing to act on.
    pub(crate) acted: Option<&'static str>,
    /// What the message is about, where it is not always the same.
    words: Option<&'static str>,
}

impl Cause {
    fn new(part: Part, what: impl Into<String>, error: Error) -> Self {
        Self { part, what: what.into(), error, acted: None, words: None }
    }

    fn acted(self, acted: &'static str) -> Self {
        Self { acted: Some(acted), ..self }
    }

    fn in_words_about(self, words: &'static str) -> Self {
        Self { words: Some(words), ..self }
    }
}

/// Checks that a cause that was really brought about gave the error that its row has.
pub(crate) fn assert_row(part: Part, what: &str, error: &Error) {
    let row = row(part, what);
    let facts = |error: &Error| (error.code, error.reason, error.retryable);
    assert_eq!(facts(error), facts(&row.error), "{what}: {error:?}");
    if row.words.is_none() {
        assert_eq!(error.message, row.error.message, "{what}");
    }
    assert_helps(&error.message);
}

/// The row of a cause.
pub(crate) fn row(part: Part, what: &str) -> &'static Cause {
    let own = |cause: &Cause| cause.part == part && cause.what == what;
    CAUSES.iter().find(|cause| own(cause)).unwrap_or_else(|| panic!("no row of {part:?} says {what:?}"))
}

/// Checks that these are all the causes of a part.
pub(crate) fn assert_all(part: Part, seen: &BTreeSet<&str>) {
    let all: BTreeSet<&str> =
        CAUSES.iter().filter(|cause| cause.part == part).map(|cause| &*cause.what).collect();
    assert_eq!(*seen, all);
}

/// Every cause.
static CAUSES: LazyLock<Vec<Cause>> = LazyLock::new(|| {
    let mut causes: Vec<Cause> = FailureKind::ALL.iter().map(|kind| of_failure(*kind)).collect();
    causes.extend(by_number(Part::Status, of_answered_status));
    causes.extend(of_the_queue());
    causes.extend(FaultKind::ALL.iter().map(|kind| of_fault(*kind)));
    causes.extend(by_number(Part::Handshake, |status| {
        let error = Error::from(&Fault::from_status(status, None));
        Some((Error { status: None, details: None, ..error }, None))
    }));
    causes.extend(of_closes());
    causes.extend(Fate::ALL.iter().filter_map(|fate| of_fate(*fate)));
    causes.extend(of_calls());
    causes.extend(of_the_rest());
    causes
});

// === requests ===

fn of_failure(kind: FailureKind) -> Cause {
    let (what, reach) = match kind {
        FailureKind::Refused => ("nothing listens at the backend's address", Reach::NotSent),
        FailureKind::HostNotFound => ("the backend's host name does not resolve", Reach::NotSent),
        FailureKind::ProxyUnreachable => {
            ("the proxy cannot be reached, or what answers there is none", Reach::NotSent)
        }
        FailureKind::ProxyUnauthenticated => ("the proxy wants a login, or another one", Reach::NotSent),
        FailureKind::ProxyRefused => ("the proxy does not get through to the backend", Reach::NotSent),
        FailureKind::ProxyDenied => (
            "the proxy says that it may not connect to the backend, or not to such an address",
            Reach::NotSent,
        ),
        FailureKind::ConnectTimedOut => {
            ("the connection, proxy and TLS included, was not made in time", Reach::NotSent)
        }
        FailureKind::Tls => {
            ("TLS failed: a certificate that is not trusted, or no TLS there", Reach::NotSent)
        }
        FailureKind::Connect => ("the connection could not be made, for another cause", Reach::NotSent),
        FailureKind::TimedOut => ("no answer began within the timeout", Reach::MaybeSent),
        FailureKind::BodyTimedOut => ("the answer began, then stood still for the timeout", Reach::Answered),
        FailureKind::Reset => ("the connection broke before an answer had begun", Reach::MaybeSent),
        FailureKind::BodyReset => ("the connection broke within the answer", Reach::Answered),
        FailureKind::TooLarge => ("the answer is larger than the limit", Reach::Answered),
        FailureKind::BadResponse => ("what came back is not HTTP, or breaks its rules", Reach::MaybeSent),
        FailureKind::BadRequest => ("the request could not be made into HTTP", Reach::NotSent),
        FailureKind::UploadUnreadable => {
            ("the request's body could not be read to its end", Reach::MaybeSent)
        }
        FailureKind::UploadChanged => (
            "the request's body changed while it was sent, or is not as long as was announced",
            Reach::MaybeSent,
        ),
    };
    let failure = match reach {
        Reach::Answered => {
            let head = AnswerHead { status: StatusCode::OK, headers: HeaderMap::new() };
            TransportError::within(kind, head, "")
        }
        reach => TransportError::new(kind, reach, ""),
    };
    let told = match acted(Outcome::Failed(&failure)) {
        // The body, if there was one, may not have left even then; the attempt knows.
        Some(Acted::Maybe) if reach == Reach::MaybeSent => "yes, unless its body had not left",
        acted => told(acted),
    };
    let error = match Evidence::of(Outcome::Failed(&failure)) {
        // It is held, and this is what it ends with if nothing changes.
        Evidence::Unreachable(reason) => Error::new(Reason::Disconnected).with_message(reason.message()),
        _ => Error::from(&failure),
    };
    Cause::new(Part::Failure, what, error).acted(told)
}

fn told(acted: Option<Acted>) -> &'static str {
    match acted {
        Some(Acted::No) | None => "no",
        Some(Acted::Maybe) => "yes",
        Some(Acted::InPart) => "on a part of it at most",
        Some(Acted::Yes) => "it did",
    }
}

fn of_answered_status(status: u16) -> Option<(Error, Option<&'static str>)> {
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        is_redirected: false,
    };
    let error = Error::of_answer(answer.status, &answer.headers, &answer.body)?;
    let told = told(acted(Outcome::Answered(&answer)));
    Some((Error { status: None, details: None, ..error }, Some(told)))
}

/// The statuses from 200 to 599, those that come to the same in one row.
fn by_number(part: Part, of: impl Fn(u16) -> Option<(Error, Option<&'static str>)>) -> Vec<Cause> {
    let mut rows: Vec<(Vec<u16>, Error, Option<&'static str>)> = Vec::new();
    for status in 200..=599 {
        let Some((error, acted)) = of(status) else { continue };
        match rows.iter_mut().find(|(_, known, known_acted)| *known == error && *known_acted == acted) {
            Some((statuses, ..)) => statuses.push(status),
            None => rows.push((vec![status], error, acted)),
        }
    }
    let cause = |(statuses, error, acted): (Vec<u16>, Error, _)| Cause {
        part,
        what: row_of_statuses(&statuses),
        error,
        acted,
        words: None,
    };
    rows.into_iter().map(cause).collect()
}

fn row_of_statuses(statuses: &[u16]) -> String {
    let mut spans: Vec<(u16, u16)> = Vec::new();
    for status in statuses {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *status => *last = *status,
            _ => spans.push((*status, *status)),
        }
    }
    let spans = spans.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}–{last}"),
    });
    format!("HTTP {}", spans.collect::<Vec<_>>().join(", "))
}

/// What the row of a status says.
pub(crate) fn what_of_status(part: Part, status: u16) -> &'static str {
    let own = |cause: &&Cause| cause.part == part && statuses_of(&cause.what).contains(&status);
    &CAUSES.iter().find(own).unwrap().what
}

fn statuses_of(what: &str) -> BTreeSet<u16> {
    let spans = what.strip_prefix("HTTP ").into_iter().flat_map(|spans| spans.split(", "));
    let span = |span: &str| {
        let (first, last) = span.split_once('–').unwrap_or((span, span));
        first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap()
    };
    spans.flat_map(span).collect()
}

fn of_the_queue() -> Vec<Cause> {
    let cause = |what: &str, error| Cause::new(Part::Queue, what, error);
    let new = Error::new;
    let unknown = Error::outcome_unknown(new(Reason::TimedOut));
    let late = "The request waited too long for another attempt. Try again in a moment.";
    vec![
        cause("the queue is full, and overflow is `reject`", new(Reason::QueueFull)).acted("no"),
        cause("it had to make room for another (`drop-oldest`, `drop-lowest`)", new(Reason::Evicted)).acted("no"),
        cause("it waited longer than wait_timeout for its turn", new(Reason::Expired)).acted("no"),
        cause(
            "it waited longer than wait_timeout for its next attempt",
            new(Reason::Expired).with_message(late),
        )
        .acted("no"),
        cause(
            "it waited longer than wait_timeout for a backend that is away, or for the link to be up",
            new(Reason::Disconnected),
        )
        .acted("no")
        .in_words_about("what keeps it waiting, in the words of that reason"),
        cause("its caller called it off, or went away", new(Reason::Cancelled)).acted("yes, if it was running"),
        cause(
            "the server may have acted, and a repeat could act twice: a POST or PATCH without an idempotency key",
            unknown,
        )
        .acted("yes"),
        cause("the queue's actor, or the transport, crashed under its last attempt", new(Reason::Crashed))
            .acted("yes"),
        cause("the queue's actor was stopped before it was sent", new(Reason::Stopped)).acted("no"),
        cause(
            "the request breaks a rule of its own (a method, path, header or limit)",
            new(Reason::InvalidRequest),
        )
        .acted("no")
        .in_words_about("the rule, and what would be right"),
        cause("the request is larger than the runtime's own limits", new(Reason::RequestTooLarge))
            .acted("no")
            .in_words_about("the limit, and what can be done"),
        cause("`Response::json`: the body is not JSON, or of another shape", new(Reason::BadResponse))
            .acted("it did"),
        cause("`Download::save_to`: the file cannot be written", new(Reason::NotSaved)).acted("it did"),
    ]
}

// === the connection ===

fn of_fault(kind: FaultKind) -> Cause {
    let what = match kind {
        FaultKind::InvalidTarget => "the address cannot be asked for a WebSocket",
        FaultKind::Unresolved => "the host's name has no address",
        FaultKind::Refused => "nobody listens there",
        FaultKind::Unreachable => "no route, or another failure below TCP",
        FaultKind::ConnectTimedOut => "the handshake did not end within connect_timeout",
        FaultKind::Tls => "TLS failed: a certificate that is not trusted, or no TLS there",
        FaultKind::ProxyUnreachable => "the proxy cannot be reached, or what answers there is none",
        FaultKind::ProxyUnauthenticated => "the proxy wants a login, or another one",
        FaultKind::ProxyRefused => "the proxy does not connect to the backend: it may not, or it cannot",
        FaultKind::Unauthenticated => "the credentials were not accepted (see the handshake and close codes)",
        FaultKind::Forbidden => "the backend does not allow it (see the handshake and close codes)",
        FaultKind::NotFound => "the path is not a WebSocket's (see the handshake)",
        FaultKind::RateLimited => "the backend asks for fewer attempts (see the handshake)",
        FaultKind::Unavailable => "the backend is not available (see the handshake)",
        FaultKind::Rejected => "the handshake was refused (see there)",
        FaultKind::NotWebsocket => {
            "the answer is no handshake: a page, a wrong Sec-WebSocket-Accept, or no HTTP"
        }
        FaultKind::Closed => "the peer closed in order (see the close codes)",
        FaultKind::PolicyViolation => "the peer closed with 1008 (see the close codes)",
        FaultKind::Lost => "the connection broke without a close frame",
        FaultKind::Unanswered => "a ping stayed without an answer for ping_timeout",
        FaultKind::MessageTooLarge => "the peer sent a frame or message above the limit",
        FaultKind::ProtocolViolation => "the peer broke the WebSocket protocol",
    };
    Cause::new(Part::Fault, what, Error::from(&Fault::new(kind, "")))
}

fn of_closes() -> Vec<Cause> {
    let codes = [
        (None, "no code"),
        (Some(1000), "1000, 1001 and any code that is not named here"),
        (Some(1002), "1002, 1003, 1007, 1010: what we sent was not understood"),
        (Some(1008), "1008: against its policy"),
        (Some(1009), "1009: what we sent is too large"),
        (Some(1011), "1011: an error of the backend's own"),
        (Some(1012), "1012, 1013: it restarts, or is overloaded"),
        (Some(4401), "4401"),
        (Some(4403), "4403"),
    ];
    codes.map(|(code, what)| Cause::new(Part::Close, what, Error::from(&Fault::from_close(code, "")))).into()
}

fn of_fate(fate: Fate) -> Option<Cause> {
    let (what, acted) = match fate {
        Fate::Sent => return None,
        Fate::Expired => ("`expired`: its patience was over before a socket was open", "no"),
        Fate::Rejected => ("`rejected`: outbound_max messages, or as many bytes as may, wait already", "no"),
        Fate::TooLarge => ("`too_large`: it is larger than a message may be", "no"),
        Fate::Dropped => ("`dropped`: the connection's owner stopped before its turn came", "no"),
        Fate::Unknown => ("`unknown`: the socket failed while it was being written", "yes"),
    };
    Some(Cause::new(Part::Fate, what, fate.error()?).acted(acted))
}

// === actors ===

fn of_calls() -> Vec<Cause> {
    use CallError::{Crashed, Expired, Full, Stopped, TimedOut, Unanswered};
    let cause = |call| {
        let (what, acted) = match call {
            Crashed => ("its handler panicked or failed on the message, or before it answered", "yes"),
            Stopped => ("it is stopped, or was given up", "no, if it was stopped before"),
            Expired => ("the message waited in the mailbox for longer than it may", "no"),
            Full => ("its mailbox has no room", "no"),
            TimedOut => ("it gave no answer within the caller's patience", "yes"),
            Unanswered => ("its handler let the caller go without an answer", "yes"),
        };
        Cause::new(Part::Call, what, of_call(call)).acted(acted)
    };
    [Crashed, Stopped, Expired, Full, TimedOut, Unanswered].map(cause).into()
}

fn of_the_rest() -> Vec<Cause> {
    let cause = |what: &str, reason, acted| Cause::new(Part::Rest, what, Error::new(reason)).acted(acted);
    vec![
        cause("no agent has this id", Reason::AgentUnknown, "no"),
        cause(
            "an agent says itself that it is degraded or failed (its `error`)",
            Reason::AgentUnhealthy,
            "no",
        ),
        cause("an agent did not start, or could not be restarted", Reason::AgentFailed, "yes"),
        cause(
            "an agent is to be restarted and the backend is away; it is restarted later",
            Reason::Disconnected,
            "no",
        ),
        cause("an order to an agent that is being started or stopped just now", Reason::Conflict, "no"),
        cause("the configuration cannot be carried out", Reason::InvalidConfig, "no"),
        cause("another runtime has the data folder, or another program the port", Reason::InUse, "no"),
        cause("the data folder or the journal cannot be opened", Reason::DataUnusable, "no"),
        cause("a command of the bridge that is none, or is incomplete", Reason::InvalidRequest, "no"),
        cause("a fault of the runtime's own", Reason::Internal, "yes"),
        cause(
            "set aside after crashing its handler; for embedders' own actors, the built-in ones never say so",
            Reason::Poisoned,
            "yes",
        ),
        cause("an error read from JSON that a newer version wrote", Reason::Other, "yes"),
    ]
}

// === the page ===

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn table_of_reasons() -> String {
    let mut table = "| reason | code | retryable | message |\n|---|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let (code, retryable) = (reason.code(), yes(reason.retryable()));
        table.push_str(&format!("| `{reason}` | {code} | {retryable} | {} |\n", reason.message()));
    }
    table
}

fn table_of(part: Part) -> String {
    let mut table = "| what happened | code | reason | retryable | may have acted | message |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|\n");
    for Cause { what, error, acted, words, .. } in CAUSES.iter().filter(|cause| cause.part == part) {
        let Error { code, reason, retryable, message, .. } = error;
        let message = words.map_or(message.clone(), |words| format!("({words})"));
        let (retryable, acted) = (yes(*retryable), acted.unwrap_or("–"));
        table.push_str(&format!("| {what} | {code} | `{reason}` | {retryable} | {acted} | {message} |\n"));
    }
    table
}

/// The page with what stands between the marks of `name` replaced.
fn filled(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: written by a test -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{name} has no place"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{name} has no end"));
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_page_has_every_reason_and_every_cause_as_they_are() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md")).unwrap();
    let mut page = filled(&page, "reasons", &table_of_reasons());
    for (name, part) in [
        ("failures", Part::Failure),
        ("statuses", Part::Status),
        ("queue", Part::Queue),
        ("faults", Part::Fault),
        ("handshakes", Part::Handshake),
        ("closes", Part::Close),
        ("fates", Part::Fate),
        ("calls", Part::Call),
        ("rest", Part::Rest),
    ] {
        page = filled(&page, name, &table_of(part));
    }
    expect_file!["../../../../docs/errors.md"].assert_eq(&page);
}

#[test]
fn every_reason_has_a_cause_and_every_cause_one_row() {
    let mut rows = BTreeSet::new();
    for cause in &*CAUSES {
        assert!(rows.insert((cause.part, &cause.what)), "{cause:?} stands twice");
        assert_helps(&cause.error.message);
        assert!(!cause.what.contains('|'), "{cause:?} would break the table");
    }
    for reason in Reason::ALL {
        assert!(CAUSES.iter().any(|cause| cause.error.reason == *reason), "{reason} has no cause");
    }
}

#[test]
fn a_problem_document_keeps_the_row_of_its_status_and_only_its_words_change() {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/problem+json".parse().unwrap())]);
    for status in (200..=599).filter_map(|status| StatusCode::from_u16(status).ok()) {
        let plain = Error::of_answer(status, &HeaderMap::new(), b"");
        let problem = Error::of_answer(status, &headers, br#"{"detail":"The disk is full."}"#);
        let facts = |error: Option<Error>| error.map(|it| (it.code, it.reason, it.retryable, it.status));
        assert_eq!(problem.as_ref().map(|it| &*it.message), plain.as_ref().map(|_| "The disk is full."));
        assert_eq!(facts(problem), facts(plain));
    }
}
