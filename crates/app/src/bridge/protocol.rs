//! The messages of the protocol: everything that a client gets, and the replies that all parts of a session make.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mainstay_actors::agent::{AgentUpdate, MessageId};
use mainstay_actors::cache::watch::FileChange;
use mainstay_actors::connection::resumption::Gap;
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use mainstay_actors::logs::LogLine;
use mainstay_runtime::TreeNode;
use mainstay_runtime::journal::{Cursor, Record};
use serde::Serialize;
use serde_json::json;

use super::request_pushes::{AcceptedRequest, BodyEnd, RequestProgress};
use crate::status::StatusReport;

/// A text that goes to the client. The members of each variant distinguish it from the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(untagged)]
pub enum ServerMessage {
    /// The reply to a command that succeeded: `{"id":1,"ok":…}`.
    Reply {
        /// The command's id; `None` if the text had none.
        id: Option<u64>,
        /// The result.
        #[cfg_attr(feature = "typescript", ts(type = "BridgeReply"))]
        ok: Json,
    },
    /// The reply to a command that failed: `{"id":1,"error":…}`.
    ErrorReply {
        /// The command's id; `None` if the text had none.
        id: Option<u64>,
        /// The reason.
        error: Error,
    },
    /// The state at the start of a subscription: `{"snapshot":{"status":…,"tree":…},"cursor":"RUN.SEQ"}`.
    Snapshot {
        /// The state.
        snapshot: Box<StateSnapshot>,
        /// The newest event that the state includes.
        cursor: Cursor,
    },
    /// A batch of events, at most 1000: `{"events":[…],"cursor":"RUN.SEQ"}`.
    Events {
        /// The events, in order.
        #[cfg_attr(feature = "typescript", ts(type = "Array<EventRecord>"))]
        events: Vec<Record>,
        /// The last of them.
        cursor: Option<Cursor>,
    },
    /// A gap in the events: `{"lagged":{"after":"RUN.SEQ","before":"RUN.SEQ"},"cursor":"RUN.SEQ"}`.
    Lagged {
        /// The gap.
        lagged: EventGap,
        /// The place after the gap.
        cursor: Cursor,
    },
    /// An agent has accepted a message: `{"agent":ID,"accepted":{"id":…,"message_id":N}}`.
    Accepted {
        /// The agent's id.
        agent: String,
        /// The message.
        accepted: AcceptedMessage,
    },
    /// An agent sends an update, beside its answers: `{"agent":ID,"update":{…}}`.
    Update {
        /// The agent's id.
        agent: String,
        /// The update.
        update: Arc<AgentUpdate>,
    },
    /// The client was too slow for an agent's updates: `{"agent":ID,"lagged":N}`.
    UpdatesLagged {
        /// The agent's id.
        agent: String,
        /// The number of updates that are missing.
        lagged: u64,
    },
    /// The queue has accepted a request: `{"request":ID,"accepted":{"request_id":N}}`.
    RequestAccepted {
        /// The id of the command that made the request.
        request: u64,
        /// The request.
        accepted: AcceptedRequest,
    },
    /// The progress of a request, at most every 50 ms: `{"request":ID,"progress":{"attempt":1,"sent":N,"received":N}}`.
    RequestProgress {
        /// The id of the command that made the request.
        request: u64,
        /// The progress.
        progress: RequestProgress,
    },
    /// A part of a response's body, at most 64 KiB: `{"request":ID,"chunk":"BASE64"}`.
    RequestChunk {
        /// The id of the command that made the request.
        request: u64,
        /// The bytes, as base64.
        chunk: String,
    },
    /// A response's body came whole: `{"request":ID,"end":{"bytes":N}}`.
    RequestEnd {
        /// The id of the command that made the request.
        request: u64,
        /// The end.
        end: BodyEnd,
    },
    /// A response's body broke off: `{"request":ID,"error":…}`.
    RequestFailed {
        /// The id of the command that made the request.
        request: u64,
        /// The reason.
        error: Error,
    },
    /// A frame of the backend, or a marker between frames: `{"frame":{"text":…}}`, `{"frame":{"base64":…}}`,
    /// `{"frame":{"gap":{"after":N,"next":N}}}` or `{"frame":{"lagged":N}}`.
    Frame {
        /// The frame.
        frame: FrameItem,
    },
    /// A file changed in a watched folder: `{"file":{"kind":…,"root":…,"path":…}}`.
    File {
        /// The change.
        file: Arc<FileChange>,
    },
    /// The client was too slow for the changes of files: `{"file":{"lagged":N}}`.
    FilesLagged {
        /// The marker.
        file: LagMarker,
    },
    /// Lines of a log, at most 256: `{"log":ID,"lines":[…]}`.
    LogLines {
        /// The log's id.
        log: String,
        /// The lines, in order.
        lines: Vec<LogLine>,
    },
    /// The client was too slow for a log: `{"log":ID,"lagged":N}`.
    LogLagged {
        /// The log's id.
        log: String,
        /// The number of files that were deleted before their lines came to the client.
        lagged: u64,
    },
    /// The lines of a log end, since the runtime has stopped or a file cannot be read: `{"log":ID,"ended":true}`.
    LogEnded {
        /// The log's id.
        log: String,
        /// Always `true`.
        #[cfg_attr(feature = "typescript", ts(type = "true"))]
        ended: bool,
    },
    /// The agent was removed, so its updates end: `{"agent":ID,"ended":true}`.
    Ended {
        /// The agent's id.
        agent: String,
        /// Always `true`.
        #[cfg_attr(feature = "typescript", ts(type = "true"))]
        ended: bool,
    },
}

/// A frame of the backend, or a marker between frames.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum FrameItem {
    /// A text frame as the backend sent it.
    Text(Arc<str>),
    /// A binary frame.
    Base64(String),
    /// Events are or may be missing here: see [`Inbound::Gap`](crate::Inbound::Gap).
    Gap(Gap),
    /// The client was too slow and lost this many frames and gaps.
    Lagged(u64),
}

/// A place where items are missing, because the client was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LagMarker {
    /// The number of items that are missing.
    pub lagged: u64,
}

/// The state of the runtime.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StateSnapshot {
    /// Everything in one view.
    pub status: StatusReport,
    /// The supervision tree.
    pub tree: TreeNode,
}

/// A gap in the events. `before` in a later run than `after` leaves the number of missing events unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct EventGap {
    /// The last event before the gap.
    pub after: Cursor,
    /// The first event that may follow.
    pub before: Cursor,
}

/// A message that an agent has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AcceptedMessage {
    /// The id of the command that sent it.
    pub id: Option<u64>,
    /// The message's number.
    pub message_id: MessageId,
}

impl ServerMessage {
    /// Makes the reply to command `id`.
    pub(super) fn reply(id: Option<u64>, outcome: Result<Json, Error>) -> Self {
        match outcome {
            Ok(ok) => Self::Reply { id, ok },
            Err(error) => Self::ErrorReply { id, error },
        }
    }

    /// Returns the message as JSON. A value that JSON cannot hold becomes an error reply without an id.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|error| json!({ "id": null, "error": internal_error(&error) }).to_string())
    }
}

pub(super) fn invalid_command(details: &str) -> Error {
    Error::new(Reason::InvalidRequest).with_details(details)
}

/// Reads the bytes of a command.
pub(super) fn decode_base64(base64: &str) -> Result<Bytes, Error> {
    let bytes = STANDARD.decode(base64);
    bytes.map(Bytes::from).map_err(|error| invalid_command(&format!("\"base64\": {error}")))
}

/// Writes a value as JSON, straight to its text.
pub(super) fn to_json<T: Serialize>(value: &T) -> Result<Json, Error> {
    Json::from_serialize(value).map_err(|error| internal_error(&error))
}

fn internal_error(error: &serde_json::Error) -> Error {
    Error::new(Reason::Internal).with_details(&error.to_string())
}
