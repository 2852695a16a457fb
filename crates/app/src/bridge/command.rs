//! The commands of a client, and their replies.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use mainstay_actors::error::Error;
use mainstay_actors::json::{Json, Members, explain_syntax, parse_json};
use mainstay_runtime::journal::Cursor;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::agent::{self, BridgeAgentCommand};
use super::bodies::BodyCommand;
use super::cache::{self, CacheAction};
use super::frames;
use super::hello::Hello;
use super::history::{self, HistoryCommand};
use super::logs::{self, LogsCommand};
use super::malformed;
use super::protocol::{decode_base64, invalid_command, to_json};
use super::replies::{
    CancelReply, IncidentStory, IncidentsReply, PrioritizeReply, ReadyReply, ReconnectReply, ReloadReply,
    ResponseReply,
};
use crate::admin_error::AdminTarget;
use crate::mainstay::Mainstay;
use crate::{Priority, Request, RequestBuilder, RequestId};

/// The incidents of a list without a limit.
const INCIDENTS_SHOWN: usize = 50;
/// The most requests of one list.
const REQUESTS_SHOWN_MAX: usize = 1000;

/// A command, as it comes in beside its `id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum BridgeCommand {
    /// Say who answers, and what it can do. The reply is a [`Hello`].
    Hello {},
    /// Everything in one view.
    Status {},
    /// The supervision tree.
    Tree {},
    /// Say at once whether everything has started, and if not what is missing: see [`Mainstay::pending`].
    Ready {},
    /// Show all agents.
    Agents {},
    /// Show or change one agent.
    Agent(BridgeAgentCommand),
    /// The backend's own process, if the runtime starts it.
    Backend {
        /// The action.
        action: BackendAction,
    },
    /// The WebSocket.
    Connection(ConnectionAction),
    /// The backend's token.
    Credentials {
        /// The action.
        action: CredentialsAction,
    },
    /// The cache.
    Cache(CacheAction),
    /// The changes of files in the watched folders: pushed from now on, `{"file":{…}}`, or not any more. A client that is
    /// too slow gets the number of lost ones, `{"file":{"lagged":N}}`.
    Files {
        /// The action.
        action: ListenAction,
    },
    /// The log of the backend or of an agent.
    Logs(LogsCommand),
    /// The incidents of the journal, newest first: see [`incidents`](crate::incidents).
    Incidents {
        /// The most incidents; 50 if absent, and at most 200.
        #[serde(default)]
        limit: Option<usize>,
    },
    /// The tree and the states of the actors in the past: see [`history`](crate::history).
    History(HistoryCommand),
    /// Send a request through the queue.
    Request(Box<RequestCommand>),
    /// A body of a request of this session that passes in parts.
    Body(BodyCommand),
    /// The requests of all clients that have not ended: lists them, oldest first; or cancels or moves one by its id.
    Requests(RequestsCommand),
    /// Cancels a request of this session.
    Cancel {
        /// The id of the command that made it.
        request: u64,
    },
    /// The stream of events, from the one after `after` on, or from now on.
    Subscribe {
        /// The cursor of the last batch that the client has, `RUN.SEQ`.
        #[serde(default)]
        after: Option<Cursor>,
    },
    /// Makes an actor panic, to demonstrate its supervision. Only in debug builds.
    #[cfg(debug_assertions)]
    #[cfg_attr(feature = "typescript", ts(skip))]
    Panic {
        /// `connection`, `queue`, `cache`, or an agent's id; or `bridge`, for the handler of this command.
        actor: String,
    },
}

/// An action on the backend's own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum BackendAction {
    /// Show its state.
    Show,
    /// Start it after a stop, or after it was given up.
    Start,
    /// Stop it.
    Stop,
    /// Stop it and start it again.
    Restart,
    /// Restore its restart budget, and start it if it was given up.
    Reset,
}

/// An action on the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum ConnectionAction {
    /// Show its state.
    Show {},
    /// Open a new socket now, also in place of an open one. The reply comes with the outcome of the dial: the state and
    /// what was done, `"reconnected":"opened"` or `"replaced"`, or the error.
    Reconnect {},
    /// Close it, and keep it closed.
    Disconnect {},
    /// Send a frame. The reply comes with its outcome: `{"outcome":"sent"}`, or the error.
    Send {
        /// The text of a text frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The bytes of a binary frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
        /// The longest wait for an open socket in milliseconds; a minute if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_timeout_ms: Option<u64>,
    },
    /// Push the backend's frames from now on: `{"frame":…}`. A second one changes the patterns, also for the frames that
    /// have not gone to the client yet, and loses none.
    Listen {
        /// Patterns for the `type` of frames, as in `chat.*`; without any, every frame is pushed. With some, binary
        /// frames and those without a type are left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "typescript", ts(optional = nullable))]
        types: Vec<String>,
    },
    /// Stop pushing frames.
    Unlisten {},
}

/// An action on the backend's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum CredentialsAction {
    /// Ask for a new token, and let a waiting or failed connection try it. The reply is `{"changed":…}`.
    Reload,
}

/// An action on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ListenAction {
    /// Push its items from now on.
    Listen,
    /// Stop pushing them.
    Unlisten,
}

/// A command about requests that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum RequestsCommand {
    /// List them, at most 1000.
    Show {},
    /// Cancel one. The reply is `{"cancelled":false}` if it had ended already.
    Cancel {
        /// The request's id, as responses, errors, events and the list have it.
        request_id: RequestId,
    },
    /// Change the priority of a waiting one. The reply is `{"prioritized":false}` if it does not wait.
    Prioritize {
        /// The request's id.
        request_id: RequestId,
        /// The new priority.
        priority: Priority,
    },
}

/// A request through the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(deny_unknown_fields)]
pub struct RequestCommand {
    /// The method, in capitals.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The body: JSON.
    #[serde(default, deserialize_with = "optional_body")]
    pub body: Option<Json>,
    /// The body: any bytes, as base64. The headers say what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// True if the body comes by `body` commands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub stream_body: bool,
    /// True if the response's body goes to the client in chunks, after a reply without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub stream: bool,
    /// True if the progress is pushed, at most every 50 ms.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub progress: bool,
    /// The headers.
    #[serde(default)]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub headers: BTreeMap<String, String>,
    /// The priority in the queue.
    #[serde(default)]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub priority: Priority,
    /// The longest time in milliseconds that one attempt may make no progress.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The longest wait in milliseconds, in the queue and for the backend.
    #[serde(default)]
    pub wait_timeout_ms: Option<u64>,
    /// The longest time in milliseconds in all; 0 for no limit.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// The number of retries.
    #[serde(default)]
    pub retries: Option<u32>,
    /// Follows 301, 302 and 303 after a write, mostly with a GET.
    #[serde(default)]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub follow_redirected_writes: bool,
    /// Permits to share the response of an equal GET that is in flight.
    #[serde(default)]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub shared: bool,
    /// The highest age in milliseconds of a cached response; the cache is not used if absent.
    #[serde(default)]
    pub cache_ms: Option<u64>,
    /// The idempotency key.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

/// Reads one text of a client: its id, and its command or its fault.
pub(super) fn parse(text: &str) -> (Option<u64>, Result<BridgeCommand, Error>) {
    let members: Option<Members<'_>> = match parse_json::<&RawValue>(text) {
        Ok(text) => Members::parse(text.get()).ok(),
        Err(error) => {
            return (None, Err(invalid_command(&format!("the text {}", explain_syntax(text, &error)))));
        }
    };
    let Some((id, members)) = members.and_then(|members| Some((members.read("id")?, members))) else {
        return (None, Err(invalid_command("a command is an object with a whole number as its \"id\"")));
    };
    let name = if members.get("body").is_some() { "body" } else { "value" };
    let body = members.get(name).map(Json::parse).transpose();
    let body = body.map_err(|error| invalid_command(&format!("the {name} cannot be passed on: {error}")));
    (Some(id), body.and_then(|body| parse_command(&members, name, body)))
}

/// Reads a command. Beside a tag serde reads trees, which would change a body, or the value of an entry of the cache:
/// the content of the member `kept` gets its place afterwards.
fn parse_command(members: &Members<'_>, kept: &str, body: Option<Json>) -> Result<BridgeCommand, Error> {
    let placeholder = if body == Some(Json::default()) { "null" } else { "true" };
    let rest = members.rebuild(|name, value| match name {
        "id" => None,
        name if name == kept => Some(placeholder),
        _ => Some(value),
    });
    let tree: Value = parse_json(&rest).map_err(|_| {
        invalid_command("a number of the command is too large, or its values have too many levels")
    })?;
    let read = serde_json::from_value::<BridgeCommand>;
    let mut command = read(tree.clone()).map_err(|error| {
        invalid_command(&malformed::explain(&tree, &error.to_string(), |tree| read(tree).map(drop)))
    })?;
    let place = match &mut command {
        BridgeCommand::Request(request) => request.body.as_mut(),
        BridgeCommand::Agent(command) => command.action.body_mut(),
        BridgeCommand::Cache(action) => action.value_mut(),
        _ => None,
    };
    if let (Some(place), Some(body)) = (place, body) {
        *place = body;
    }
    Ok(command)
}

/// Reads a body that may be absent or `null`.
fn optional_body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.map(Json::from))
}

/// Executes a command. `subscribe`, `cancel`, `body`, `listen` and `unlisten` belong to the session, and reply `null`
/// here. Requests whose bodies pass in parts belong to it as well, and fail here.
///
/// # Errors
/// The error of the command.
pub async fn execute(mainstay: &Mainstay, command: BridgeCommand) -> Result<Json, Error> {
    match command {
        BridgeCommand::Hello {} => to_json(&Hello::of(mainstay)),
        BridgeCommand::Status {} => to_json(&mainstay.status().await),
        BridgeCommand::Tree {} => to_json(&mainstay.tree()),
        BridgeCommand::Ready {} => {
            let pending = mainstay.pending().await;
            to_json(&ReadyReply { is_ready: pending.is_none(), pending })
        }
        BridgeCommand::Agents {} => to_json(&mainstay.agents().list()),
        BridgeCommand::Agent(command) => agent::execute(&mainstay.agents(), command).await,
        BridgeCommand::Backend { action } => backend_action(mainstay, action).await,
        BridgeCommand::Connection(action) => connection_action(mainstay, action).await,
        BridgeCommand::Credentials { action: CredentialsAction::Reload } => {
            to_json(&ReloadReply { changed: mainstay.reload_credentials().await? })
        }
        BridgeCommand::Incidents { limit } => {
            let incidents = mainstay.incidents().await;
            let newest = incidents.into_iter().rev().take(limit.unwrap_or(INCIDENTS_SHOWN));
            to_json(&IncidentsReply { incidents: newest.map(IncidentStory::from).collect() })
        }
        BridgeCommand::Cache(action) => cache::execute(&mainstay.cache(), action).await,
        BridgeCommand::Request(command) => send_request(mainstay, *command).await,
        BridgeCommand::History(command) => history::execute(mainstay, command).await,
        BridgeCommand::Logs(command) => logs::execute(mainstay, command).await,
        BridgeCommand::Requests(command) => manage_requests(mainstay, command).await,
        BridgeCommand::Subscribe { .. }
        | BridgeCommand::Cancel { .. }
        | BridgeCommand::Body(_)
        | BridgeCommand::Files { .. } => Ok(Json::default()),
        #[cfg(debug_assertions)]
        #[allow(clippy::panic, reason = "fault injection of debug builds")]
        BridgeCommand::Panic { actor } if actor == "bridge" => panic!("a panic injected into a command"),
        #[cfg(debug_assertions)]
        BridgeCommand::Panic { actor } => mainstay.inject_panic(&actor).await.map(|()| Json::default()),
    }
}

async fn backend_action(mainstay: &Mainstay, action: BackendAction) -> Result<Json, Error> {
    let Some(backend) = mainstay.backend() else {
        let details = "the configuration has no backend.command";
        return Err(AdminTarget::Backend.not_found_error().with_details(details));
    };
    match action {
        BackendAction::Show => {}
        BackendAction::Start => backend.start().await?,
        BackendAction::Stop => backend.stop().await?,
        BackendAction::Restart => backend.restart().await?,
        BackendAction::Reset => backend.reset().await?,
    }
    to_json(&backend.report())
}

async fn connection_action(mainstay: &Mainstay, action: ConnectionAction) -> Result<Json, Error> {
    let connection = mainstay.connection();
    match action {
        ConnectionAction::Show {} => to_json(&connection.report()),
        ConnectionAction::Reconnect {} => {
            let reconnected = connection.reconnect().await?;
            to_json(&ReconnectReply { connection: connection.report(), reconnected })
        }
        ConnectionAction::Disconnect {} => {
            connection.disconnect().await?;
            to_json(&connection.report())
        }
        ConnectionAction::Send { text, base64, wait_timeout_ms } => {
            frames::send(connection, frames::to_frame(text, base64)?, wait_timeout_ms).await
        }
        ConnectionAction::Listen { .. } | ConnectionAction::Unlisten {} => Ok(Json::default()),
    }
}

async fn manage_requests(mainstay: &Mainstay, command: RequestsCommand) -> Result<Json, Error> {
    match command {
        RequestsCommand::Show {} => to_json(&mainstay.requests(REQUESTS_SHOWN_MAX).await?),
        RequestsCommand::Cancel { request_id } => {
            to_json(&CancelReply { cancelled: mainstay.cancel(request_id).await? })
        }
        RequestsCommand::Prioritize { request_id, priority } => {
            to_json(&PrioritizeReply { prioritized: mainstay.set_priority(request_id, priority).await? })
        }
    }
}

async fn send_request(mainstay: &Mainstay, command: RequestCommand) -> Result<Json, Error> {
    if command.stream || command.stream_body {
        return Err(invalid_command("a body passes in parts only within a session"));
    }
    let cache = command.cache_ms.map(Duration::from_millis);
    let request = command.into_request()?.build()?;
    let response = match cache {
        Some(ttl) => mainstay.request_cached(request, ttl).await?,
        None => mainstay.request(request).await?,
    };
    to_json(&ResponseReply::from(&response))
}

impl RequestCommand {
    /// Returns a request without a body, with the settings of the configuration.
    #[must_use]
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            body: None,
            base64: None,
            stream_body: false,
            stream: false,
            progress: false,
            headers: BTreeMap::new(),
            priority: Priority::default(),
            timeout_ms: None,
            wait_timeout_ms: None,
            deadline_ms: None,
            retries: None,
            follow_redirected_writes: false,
            shared: false,
            cache_ms: None,
            idempotency_key: None,
        }
    }

    /// Returns the request without its body, if that comes in parts.
    pub(super) fn into_request(self) -> Result<RequestBuilder, Error> {
        let bodies = [self.body.is_some(), self.base64.is_some(), self.stream_body];
        if bodies.into_iter().filter(|has_body| *has_body).count() > 1 {
            return Err(invalid_command("a request has one of \"body\", \"base64\" and \"stream_body\""));
        }
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| invalid_command("the method is not an HTTP method"))?;
        let mut builder = Request::builder(method, self.path).priority(self.priority);
        for (name, value) in self.headers {
            builder = builder.header(&name, &value);
        }
        if let Some(body) = self.body {
            builder = builder.json(&body);
        }
        if let Some(base64) = self.base64 {
            builder = builder.body(decode_base64(&base64)?);
        }
        if let Some(timeout) = self.timeout_ms {
            builder = builder.timeout(Duration::from_millis(timeout));
        }
        if let Some(wait) = self.wait_timeout_ms {
            builder = builder.wait_timeout(Duration::from_millis(wait));
        }
        if let Some(deadline) = self.deadline_ms {
            builder = builder.deadline(Duration::from_millis(deadline));
        }
        if let Some(retries) = self.retries {
            builder = builder.retries(retries);
        }
        if self.follow_redirected_writes {
            builder = builder.follow_redirected_writes();
        }
        if self.shared {
            builder = builder.shared();
        }
        if let Some(key) = self.idempotency_key {
            builder = builder.idempotency_key(&key);
        }
        Ok(builder)
    }
}
