//! Generates docs/errors.md (every reason) and docs/conformance/errors.md (every cause, row by row).
//!
//! The rows are made here, from the code. The tests called `errors` of the queue and the connection, and those of
//! `call`, bring each cause about and look up its row here.

use std::{collections::BTreeSet, fs, sync::LazyLock};

use expect_test::expect_file;
use http::{HeaderMap, StatusCode, header};
use mainstay_runtime::CallError;

use crate::{
    connection::{
        error::{ConnectionError, ConnectionErrorKind},
        outbound::SendFailure,
    },
    error::{Error, Reason, tests::words::assert_message_helps},
    queue::{
        AttemptResult, ReachabilityEvidence,
        retry::{SideEffect, side_effect},
    },
    transport::{FailureKind, FullResponse, ResponseHead, SendProgress, TransportError},
};

/// The part of the page to which a cause belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CauseGroup {
    /// An attempt at a request that got no response, or an unreadable one.
    Transport,
    /// A response with a failing status.
    Status,
    /// The outcome of a request in the queue.
    Queue,
    /// A dial or a socket of the connection.
    Connection,
    /// A WebSocket handshake that was answered with a status.
    Handshake,
    /// A close frame.
    Close,
    /// A message to send over the connection.
    Send,
    /// A call that an actor did not answer.
    Call,
    /// Agents, the start, and the rest.
    Other,
}

/// A row of the page.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) group: CauseGroup,
    /// The event that causes the error; each of a part is unique.
    pub(crate) description: String,
    pub(crate) error: Error,
    /// True if the other side may have acted; `None` if there is nothing to act on.
    pub(crate) acted: Option<&'static str>,
    /// The subject of the message, if it varies.
    message_topic: Option<&'static str>,
}

impl Cause {
    fn new(part: CauseGroup, what: impl Into<String>, error: Error) -> Self {
        Self { group: part, description: what.into(), error, acted: None, message_topic: None }
    }

    fn with_acted(self, acted: &'static str) -> Self {
        Self { acted: Some(acted), ..self }
    }

    fn with_message_topic(self, words: &'static str) -> Self {
        Self { message_topic: Some(words), ..self }
    }
}

/// Checks that a cause that a test brought about gave the error in its row.
pub(crate) fn assert_row(part: CauseGroup, what: &str, error: &Error) {
    let row = find_row(part, what);
    let facts = |error: &Error| (error.code, error.reason, error.retryable);
    assert_eq!(facts(error), facts(&row.error), "{what}: {error:?}");
    if row.message_topic.is_none() {
        assert_eq!(error.message, row.error.message, "{what}");
    }
    assert_message_helps(&error.message);
}

/// Returns the row of a cause.
pub(crate) fn find_row(part: CauseGroup, what: &str) -> &'static Cause {
    let own = |cause: &Cause| cause.group == part && cause.description == what;
    CAUSES.iter().find(|cause| own(cause)).unwrap_or_else(|| panic!("no row of {part:?} says {what:?}"))
}

/// Checks that `seen` holds all causes of a part.
pub(crate) fn assert_all_seen(part: CauseGroup, seen: &BTreeSet<&str>) {
    let all: BTreeSet<&str> =
        CAUSES.iter().filter(|cause| cause.group == part).map(|cause| &*cause.description).collect();
    assert_eq!(*seen, all);
}

/// Returns every cause.
static CAUSES: LazyLock<Vec<Cause>> = LazyLock::new(|| {
    let mut causes: Vec<Cause> = FailureKind::ALL.iter().map(|kind| transport_cause(*kind)).collect();
    causes.extend(group_by_status(CauseGroup::Status, status_error));
    causes.extend(queue_causes());
    causes.extend(ConnectionErrorKind::ALL.iter().map(|kind| connection_cause(*kind)));
    causes.extend(group_by_status(CauseGroup::Handshake, |status| {
        let error = Error::from(&ConnectionError::from_status(status, None));
        Some((Error { status: None, details: None, ..error }, None))
    }));
    causes.extend(close_causes());
    causes.extend(SendFailure::ALL.iter().map(|failure| send_cause(*failure)));
    causes.extend(call_causes());
    causes.extend(other_causes());
    causes
});

// === requests ===

fn transport_cause(kind: FailureKind) -> Cause {
    let (what, progress) = match kind {
        FailureKind::Refused => ("nothing listens at the backend's address", SendProgress::NotSent),
        FailureKind::HostNotFound => ("the backend's host name does not resolve", SendProgress::NotSent),
        FailureKind::ProxyUnreachable => {
            ("the proxy cannot be reached, or the server at its address is no proxy", SendProgress::NotSent)
        }
        FailureKind::ProxyUnauthenticated => {
            ("the proxy needs a login, or rejects the given one", SendProgress::NotSent)
        }
        FailureKind::ProxyRefused => ("the proxy does not reach the backend", SendProgress::NotSent),
        FailureKind::ProxyDenied => (
            "the proxy says that it may not connect to the backend, or not to such an address",
            SendProgress::NotSent,
        ),
        FailureKind::NoCredentials => {
            ("the source of the token fails: its file, command or callback", SendProgress::NotSent)
        }
        FailureKind::TokenRenewed => {
            ("HTTP 401, and the source of the token gives another one", SendProgress::Answered)
        }
        FailureKind::ConnectTimedOut => {
            ("the connection, proxy and TLS included, was not made in time", SendProgress::NotSent)
        }
        FailureKind::Tls => {
            ("TLS failed: a certificate that is not trusted, or no TLS there", SendProgress::NotSent)
        }
        FailureKind::Connect => {
            ("the connection could not be made, for another cause", SendProgress::NotSent)
        }
        FailureKind::TimedOut => ("the response did not begin within the timeout", SendProgress::MaybeSent),
        FailureKind::BodyTimedOut => {
            ("the response began, then no part of it came within the timeout", SendProgress::Answered)
        }
        FailureKind::Reset => ("the connection broke before the response began", SendProgress::MaybeSent),
        FailureKind::BodyReset => ("the connection broke within the response", SendProgress::Answered),
        FailureKind::TooLarge => ("the response is larger than the limit", SendProgress::Answered),
        FailureKind::BadResponse => {
            ("the response is not HTTP, or breaks its rules", SendProgress::MaybeSent)
        }
        FailureKind::UnknownEncoding => {
            ("the response's body has a content coding that is not known", SendProgress::Answered)
        }
        FailureKind::BadRequest => ("the request could not be made into HTTP", SendProgress::NotSent),
        FailureKind::UploadUnreadable => {
            ("the request's body could not be read to its end", SendProgress::MaybeSent)
        }
        FailureKind::UploadChanged => (
            "the request's body changed while it was sent, or its length differs from the announced one",
            SendProgress::MaybeSent,
        ),
    };
    let failure = match progress {
        SendProgress::Answered => {
            let is_rejected = kind == FailureKind::TokenRenewed;
            let status = if is_rejected { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            TransportError::in_body(kind, ResponseHead { status, headers: HeaderMap::new() }, "")
        }
        progress => TransportError::new(kind, progress, ""),
    };
    let error = Error::from(&failure);
    let result = AttemptResult::Failed(failure);
    let acted = match side_effect(&result) {
        // The body, if there was one, may not have left even then; the attempt knows.
        Some(SideEffect::Possible) if progress == SendProgress::MaybeSent => {
            "yes, unless its body had not left"
        }
        acted => acted_text(acted),
    };
    let error = match ReachabilityEvidence::from_result(&result) {
        // The request is held. It ends with this if nothing changes.
        ReachabilityEvidence::Unreachable(reason) => {
            Error::new(Reason::Disconnected).with_message(reason.message())
        }
        _ => error,
    };
    Cause::new(CauseGroup::Transport, what, error).with_acted(acted)
}

fn acted_text(acted: Option<SideEffect>) -> &'static str {
    match acted {
        Some(SideEffect::None) | None => "no",
        Some(SideEffect::Possible) => "yes",
        Some(SideEffect::Partial) => "on a part of it at most",
        Some(SideEffect::Certain) => "it did",
    }
}

fn status_error(status: u16) -> Option<(Error, Option<&'static str>)> {
    let answer = FullResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        is_redirected: false,
    };
    let error = Error::from_response(answer.status, &answer.headers, &answer.body)?;
    let acted = acted_text(side_effect(&AttemptResult::Answered(answer)));
    Some((Error { status: None, details: None, ..error }, Some(acted)))
}

/// Returns the statuses from 200 to 599; those with equal results share a row.
fn group_by_status(
    part: CauseGroup,
    of: impl Fn(u16) -> Option<(Error, Option<&'static str>)>,
) -> Vec<Cause> {
    let mut rows: Vec<(Vec<u16>, Error, Option<&'static str>)> = Vec::new();
    for status in 200..=599 {
        let Some((error, acted)) = of(status) else { continue };
        match rows.iter_mut().find(|(_, known, known_acted)| *known == error && *known_acted == acted) {
            Some((statuses, ..)) => statuses.push(status),
            None => rows.push((vec![status], error, acted)),
        }
    }
    let cause = |(statuses, error, acted): (Vec<u16>, Error, _)| Cause {
        group: part,
        description: status_ranges(&statuses),
        error,
        acted,
        message_topic: None,
    };
    rows.into_iter().map(cause).collect()
}

fn status_ranges(statuses: &[u16]) -> String {
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

/// Returns the row of a status.
pub(crate) fn status_row_text(part: CauseGroup, status: u16) -> &'static str {
    let own =
        |cause: &&Cause| cause.group == part && parse_status_ranges(&cause.description).contains(&status);
    &CAUSES.iter().find(own).unwrap().description
}

fn parse_status_ranges(what: &str) -> BTreeSet<u16> {
    let spans = what.strip_prefix("HTTP ").into_iter().flat_map(|spans| spans.split(", "));
    let span = |span: &str| {
        let (first, last) = span.split_once('–').unwrap_or((span, span));
        first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap()
    };
    spans.flat_map(span).collect()
}

fn queue_causes() -> Vec<Cause> {
    let cause = |what: &str, error| Cause::new(CauseGroup::Queue, what, error);
    let new = Error::new;
    let unknown = Error::outcome_unknown(new(Reason::TimedOut));
    let late = "The request waited too long for another attempt. Try again in a moment.";
    vec![
        cause("the queue is full, and overflow is `reject`", new(Reason::QueueFull)).with_acted("no"),
        cause("it was evicted for another (`drop-oldest`, `drop-lowest`)", new(Reason::Evicted)).with_acted("no"),
        cause("it waited longer than wait_timeout for its turn", new(Reason::Expired)).with_acted("no"),
        cause(
            "it waited longer than wait_timeout for its next attempt",
            new(Reason::Expired).with_message(late),
        )
        .with_acted("yes, if an earlier attempt may have"),
        cause(
            "it waited longer than wait_timeout for an unreachable backend, or for the connection",
            new(Reason::Disconnected),
        )
        .with_acted("yes, if an earlier attempt may have")
        .with_message_topic("the cause of the wait, with that reason's message"),
        cause(
            "the backend died twice while it had the request: the connection broke, and it had ended",
            new(Reason::Quarantined),
        )
        .with_acted("yes"),
        cause("it took longer than its deadline in all", new(Reason::DeadlineExceeded))
            .with_acted("yes, if it was running"),
        cause("its caller cancelled it, or dropped it", new(Reason::Cancelled)).with_acted("yes, if it was running"),
        cause(
            "the server may have acted, and a repeat could act twice: a POST or PATCH without an idempotency key",
            unknown,
        )
        .with_acted("yes"),
        cause("the queue's actor or the transport crashed during its last attempt", new(Reason::Crashed))
            .with_acted("yes"),
        cause("the queue's actor was stopped before it was sent", new(Reason::Stopped)).with_acted("no"),
        cause(
            "the request breaks a rule of its own (a method, path, header or limit)",
            new(Reason::InvalidRequest),
        )
        .with_acted("no")
        .with_message_topic("the rule, and what would be right"),
        cause("the request is larger than the runtime's own limits", new(Reason::RequestTooLarge))
            .with_acted("no")
            .with_message_topic("the limit, and what can be done"),
        cause("`Response::json`: the body is not JSON, or of another shape", new(Reason::BadResponse))
            .with_acted("it did"),
        cause("`Download::save_to`: the file cannot be written", new(Reason::NotSaved)).with_acted("it did"),
    ]
}

// === the connection ===

fn connection_cause(kind: ConnectionErrorKind) -> Cause {
    let what = match kind {
        ConnectionErrorKind::InvalidTarget => "the address cannot be asked for a WebSocket",
        ConnectionErrorKind::Unresolved => "the host's name has no address",
        ConnectionErrorKind::Refused => "no server listens at the address",
        ConnectionErrorKind::Unreachable => "no route, or another failure below TCP",
        ConnectionErrorKind::ConnectTimedOut => "the handshake did not end within connect_timeout",
        ConnectionErrorKind::Tls => "TLS failed: a certificate that is not trusted, or no TLS there",
        ConnectionErrorKind::ProxyUnreachable => {
            "the proxy cannot be reached, or the server at its address is no proxy"
        }
        ConnectionErrorKind::ProxyUnauthenticated => "the proxy needs a login, or rejects the given one",
        ConnectionErrorKind::ProxyRefused => {
            "the proxy does not connect to the backend: it may not, or it cannot"
        }
        ConnectionErrorKind::Unauthenticated => {
            "the credentials were not accepted (see the handshake and close codes)"
        }
        ConnectionErrorKind::Forbidden => "the backend does not allow it (see the handshake and close codes)",
        ConnectionErrorKind::NotFound => "the path is not a WebSocket's (see the handshake)",
        ConnectionErrorKind::RateLimited => "the backend asks for fewer attempts (see the handshake)",
        ConnectionErrorKind::Unavailable => "the backend is not available (see the handshake)",
        ConnectionErrorKind::Rejected => "the handshake was refused (see there)",
        ConnectionErrorKind::NotWebsocket => {
            "the response is no handshake: a page, a wrong Sec-WebSocket-Accept, or no HTTP"
        }
        ConnectionErrorKind::Closed => "the peer closed in order (see the close codes)",
        ConnectionErrorKind::PolicyViolation => "the peer closed with 1008 (see the close codes)",
        ConnectionErrorKind::Lost => "the connection broke without a close frame",
        ConnectionErrorKind::Unanswered => "a ping was not answered within ping_timeout",
        ConnectionErrorKind::MessageTooLarge => "the peer sent a frame or message above the limit",
        ConnectionErrorKind::ProtocolViolation => "the peer broke the WebSocket protocol",
    };
    Cause::new(CauseGroup::Connection, what, Error::from(&ConnectionError::new(kind, "")))
}

fn close_causes() -> Vec<Cause> {
    let codes = [
        (None, "no code"),
        (Some(1000), "1000, 1001 and any code that is not named here"),
        (Some(1002), "1002, 1003, 1007, 1010: our message was not understood"),
        (Some(1008), "1008: against its policy"),
        (Some(1009), "1009: our message is too large"),
        (Some(1011), "1011: an error of the backend's own"),
        (Some(1012), "1012, 1013: it restarts, or is overloaded"),
        (Some(4401), "4401"),
        (Some(4403), "4403"),
    ];
    codes
        .map(|(code, what)| {
            Cause::new(CauseGroup::Close, what, Error::from(&ConnectionError::from_close(code, "")))
        })
        .into()
}

fn send_cause(failure: SendFailure) -> Cause {
    let (what, acted) = match failure {
        SendFailure::Expired => ("`expired`: its deadline passed before a socket was open", "no"),
        SendFailure::QueueFull => {
            ("`queue_full`: outbound_max messages, or the largest number of bytes, wait already", "no")
        }
        SendFailure::TooLarge => ("`too_large`: it is larger than a message may be", "no"),
        SendFailure::Dropped => ("`dropped`: the connection's actor stopped before it was sent", "no"),
        SendFailure::Disabled => ("`disabled`: the configuration has no WebSocket", "no"),
        SendFailure::Unknown => ("`unknown`: the socket failed while it was being written", "yes"),
    };
    Cause::new(CauseGroup::Send, what, failure.error()).with_acted(acted)
}

// === actors ===

fn call_causes() -> Vec<Cause> {
    use CallError::{Crashed, Expired, Full, NoReply, Stopped, TimedOut};
    let cause = |call| {
        let (what, acted) = match call {
            Crashed => ("its handler panicked or failed before it replied", "yes"),
            Stopped => ("it is stopped, or was given up", "no, if it was stopped before"),
            Expired => ("the message waited in the mailbox for longer than it may", "no"),
            Full => ("its mailbox has no room", "no"),
            TimedOut => ("it did not reply within the caller's timeout", "yes"),
            NoReply => ("its handler dropped the reply", "yes"),
        };
        Cause::new(CauseGroup::Call, what, Error::from(call)).with_acted(acted)
    };
    [Crashed, Stopped, Expired, Full, TimedOut, NoReply].map(cause).into()
}

fn other_causes() -> Vec<Cause> {
    let cause =
        |what: &str, reason, acted| Cause::new(CauseGroup::Other, what, Error::new(reason)).with_acted(acted);
    vec![
        cause("no agent has this id", Reason::AgentUnknown, "no"),
        cause("an agent reports itself as degraded or failed (its `error`)", Reason::AgentUnhealthy, "no"),
        cause("the backend died over several checks of the agent in a row", Reason::Quarantined, "yes"),
        cause("an agent did not start, or could not be restarted", Reason::AgentFailed, "yes"),
        cause(
            "an agent needs a restart and the backend is unreachable; it is restarted later",
            Reason::Disconnected,
            "no",
        ),
        cause("a command to an agent that is starting or stopping", Reason::Conflict, "no"),
        cause("the configuration is not valid", Reason::InvalidConfig, "no"),
        cause("another runtime uses the data folder, or another program the port", Reason::InUse, "no"),
        cause("the data folder or the journal cannot be opened", Reason::DataUnusable, "no"),
        cause("a command of the bridge that is unknown or incomplete", Reason::InvalidRequest, "no"),
        cause("a fault of the runtime itself", Reason::Internal, "yes"),
        cause(
            "quarantined after it crashed its handler; only for embedders' own actors",
            Reason::Poisoned,
            "yes",
        ),
        cause("an error read from JSON that a newer version wrote", Reason::Other, "yes"),
    ]
}

// === the page ===

fn yes_or_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn reason_table() -> String {
    let mut table = "| reason | code | retryable | message |\n|---|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let (code, retryable) = (reason.code(), yes_or_no(reason.is_retryable()));
        table.push_str(&format!("| `{reason}` | {code} | {retryable} | {} |\n", reason.message()));
    }
    table
}

fn cause_table(part: CauseGroup) -> String {
    let mut table = "| what happened | code | reason | retryable | may have acted | message |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|\n");
    for Cause { description: what, error, acted, message_topic: words, .. } in
        CAUSES.iter().filter(|cause| cause.group == part)
    {
        let Error { code, reason, retryable, message, .. } = error;
        let message = words.map_or(message.clone(), |words| format!("({words})"));
        let (retryable, acted) = (yes_or_no(*retryable), acted.unwrap_or("–"));
        table.push_str(&format!("| {what} | {code} | `{reason}` | {retryable} | {acted} | {message} |\n"));
    }
    table
}

/// Returns the page with the text between the marks of `name` replaced.
fn replace_section(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: written by a test -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{name} has no place"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{name} has no end"));
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn page_lists_every_reason_and_cause() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
    let page = fs::read_to_string(format!("{docs}/errors.md")).unwrap();
    expect_file!["../../../../docs/errors.md"].assert_eq(&replace_section(&page, "reasons", &reason_table()));
    let mut page = fs::read_to_string(format!("{docs}/conformance/errors.md")).unwrap();
    for (name, part) in [
        ("transport", CauseGroup::Transport),
        ("statuses", CauseGroup::Status),
        ("queue", CauseGroup::Queue),
        ("connection", CauseGroup::Connection),
        ("handshakes", CauseGroup::Handshake),
        ("closes", CauseGroup::Close),
        ("sends", CauseGroup::Send),
        ("calls", CauseGroup::Call),
        ("other", CauseGroup::Other),
    ] {
        page = replace_section(&page, name, &cause_table(part));
    }
    expect_file!["../../../../docs/conformance/errors.md"].assert_eq(&page);
}

#[test]
fn every_reason_has_a_cause_and_causes_are_unique() {
    let mut rows = BTreeSet::new();
    for cause in &*CAUSES {
        assert!(rows.insert((cause.group, &cause.description)), "{cause:?} stands twice");
        assert_message_helps(&cause.error.message);
        assert!(!cause.description.contains('|'), "{cause:?} would break the table");
    }
    for reason in Reason::ALL {
        assert!(CAUSES.iter().any(|cause| cause.error.reason == *reason), "{reason} has no cause");
    }
}

#[test]
fn problem_document_changes_only_the_message() {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/problem+json".parse().unwrap())]);
    for status in (200..=599).filter_map(|status| StatusCode::from_u16(status).ok()) {
        let plain = Error::from_response(status, &HeaderMap::new(), b"");
        let problem = Error::from_response(status, &headers, br#"{"detail":"The disk is full."}"#);
        let facts = |error: Option<Error>| error.map(|it| (it.code, it.reason, it.retryable, it.status));
        assert_eq!(problem.as_ref().map(|it| &*it.message), plain.as_ref().map(|_| "The disk is full."));
        assert_eq!(facts(problem), facts(plain));
    }
}
