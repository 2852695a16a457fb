//! The replies that no other part of the runtime has a type for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use mainstay_actors::agent::MessageId;
use mainstay_actors::connection::outbound::SendOutcome;
use mainstay_actors::json::Json;
use mainstay_actors::logs::LogLine;
use serde::Serialize;
use serde_json::Value;

use crate::connection::Reconnected;
use crate::incidents::Incident;
use crate::status::ConnectionReport;
use crate::{Download, RequestId, Response};

/// The reply to each `cancel`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct CancelReply {
    /// False if there was nothing to cancel any more.
    pub(super) cancelled: bool,
}

/// The reply to `requests` `prioritize`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct PrioritizeReply {
    /// False if the request does not wait.
    pub(super) prioritized: bool,
}

/// The reply to `credentials` `reload`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct ReloadReply {
    /// True if the token is another one.
    pub(super) changed: bool,
}

/// The reply to `cache` `invalidate`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct InvalidateReply {
    /// The number of dropped entries.
    pub(super) entries: u64,
}

/// The reply to `connection` `send`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct SendReply {
    /// The outcome.
    pub(super) outcome: SendOutcome,
}

/// The reply to `incidents`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct IncidentsReply {
    /// The incidents, newest first.
    pub(super) incidents: Vec<IncidentStory>,
}

/// An incident, and its story.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(crate) struct IncidentStory {
    #[serde(flatten)]
    incident: Incident,
    /// The incident in about ten lines of plain English.
    story: Vec<String>,
}

impl From<Incident> for IncidentStory {
    fn from(incident: Incident) -> Self {
        Self { story: incident.story(), incident }
    }
}

/// The reply to `logs` `ids`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct LogIdsReply {
    /// The ids of all logs, in order: `backend`, and those of agents, also of former ones.
    pub(super) ids: Vec<String>,
}

/// The reply to `ready`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct ReadyReply {
    /// True once everything has started.
    pub(super) is_ready: bool,
    /// The part that is missing, in plain words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub(super) pending: Option<String>,
}

/// The reply to `agent` `listen`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct AgentListenReply {
    /// The number after which the updates begin. Only open questions may have an earlier one.
    pub(super) seq: u64,
}

/// The reply to `logs` `read`.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct LogReply {
    /// The lines, in order.
    pub(super) lines: Vec<LogLine>,
}

/// The connection after a dial, and the dial's effect.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct ReconnectReply {
    /// The connection.
    #[serde(flatten)]
    pub(super) connection: ConnectionReport,
    /// The effect of the dial.
    pub(super) reconnected: Reconnected,
}

/// The answer of an agent to a message.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct AnswerReply<'a> {
    /// The message's number.
    pub(super) message_id: MessageId,
    /// The answer, as the agent wrote it.
    pub(super) answer: &'a Json,
}

/// A response as `mainstay request --json` prints it.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub(super) struct ResponseReply {
    /// The HTTP status.
    status: u16,
    /// The headers.
    headers: BTreeMap<String, String>,
    /// The body as JSON if it is JSON, else as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    body: Option<Json>,
    /// The body, if it is neither JSON nor UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    base64: Option<String>,
    /// The time from acceptance to the last byte, in milliseconds.
    ms: u64,
    /// True if it came from the cache.
    cached: bool,
    /// The number of attempts.
    attempts: u32,
    /// The number of the request.
    request_id: RequestId,
}

impl From<&Response> for ResponseReply {
    fn from(response: &Response) -> Self {
        let text = || std::str::from_utf8(&response.body).ok().map(|text| Value::from(text).into());
        let body = Json::parse(&response.body).ok().or_else(text);
        Self {
            status: response.status.as_u16(),
            headers: header_texts(&response.headers),
            base64: body.is_none().then(|| STANDARD.encode(&response.body)),
            body,
            ms: response.ms,
            cached: response.cached,
            attempts: response.attempts,
            request_id: response.request_id,
        }
    }
}

/// The reply to a request whose response's body comes in chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ResponseStart {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// Always false: such a response does not come from the cache.
    pub cached: bool,
    /// The number of attempts.
    pub attempts: u32,
    /// The request's id.
    pub request_id: RequestId,
}

impl From<&Download> for ResponseStart {
    fn from(download: &Download) -> Self {
        Self {
            status: download.status.as_u16(),
            headers: header_texts(&download.headers),
            cached: false,
            attempts: download.attempts,
            request_id: download.request_id,
        }
    }
}

/// Returns the headers as texts. Bytes that are not UTF-8 are replaced.
fn header_texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}
