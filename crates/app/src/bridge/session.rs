//! The session of one client, from its first text to its last.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mainstay_actors::cache::watch::{FileEvent, FileSubscription};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use mainstay_runtime::journal::{Cursor, Delivery, Record};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::agent::{AgentAction, BridgeAgentCommand, send_options};
use super::agent_streams::{PendingMessages, UpdateStreams};
use super::byte_limit::ByteLimit;
use super::command::{self, BridgeCommand, ConnectionAction, ListenAction};
use super::frames::{self, FrameStream};
use super::logs::{LogStreams, LogsCommand};
use super::panics::catch_panic;
use super::protocol::{EventGap, LagMarker, ServerMessage, StateSnapshot, to_json};
use super::replies::{AgentListenReply, CancelReply};
use super::requests::PendingRequests;
use crate::mainstay::Mainstay;
use crate::subscription::Subscription;

/// The most commands of one client, besides requests and messages, that run side by side. Further ones wait to be read.
const COMMANDS_MAX: usize = 64;
/// The most events in one batch.
const BATCH_EVENTS_MAX: usize = 1000;
/// The message of an error whose cause is the stop of the runtime.
const STOPPING_MESSAGE: &str =
    "The runtime is stopping, so this gets no answer. Try again once it runs again.";
/// The shortest time between two batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Serves one client until `incoming` ends or `outgoing` is closed.
///
/// Both channels should be short: a full one makes the session wait. Nothing is lost then but updates of agents, and the
/// client gets their number. The end of a session cancels its requests that are in flight, and its messages, unless they are
/// detached.
pub async fn serve(mainstay: Mainstay, mut incoming: mpsc::Receiver<String>, outgoing: mpsc::Sender<String>) {
    let mut session = Session::new(mainstay);
    loop {
        let messages = tokio::select! {
            text = incoming.recv(), if session.commands.len() < COMMANDS_MAX => {
                let Some(text) = text else { return };
                session.receive(&text).await
            }
            messages = session.next() => messages,
        };
        for mut message in messages {
            session.explain_stop(&mut message);
            if outgoing.send(message.to_text()).await.is_err() {
                return;
            }
        }
    }
}

/// The commands of one client that run, and the streams that it has asked for.
pub(super) struct Session {
    mainstay: Mainstay,
    byte_limit: ByteLimit,
    commands: FuturesUnordered<BoxFuture<'static, ServerMessage>>,
    requests: PendingRequests,
    messages: PendingMessages,
    events: Option<EventStream>,
    updates: UpdateStreams,
    frames: FrameStream,
    files: Option<FileSubscription>,
    logs: LogStreams,
}

impl Session {
    pub(super) fn new(mainstay: Mainstay) -> Self {
        Self {
            mainstay,
            byte_limit: ByteLimit::default(),
            commands: FuturesUnordered::new(),
            requests: PendingRequests::default(),
            messages: PendingMessages::default(),
            events: None,
            updates: UpdateStreams::default(),
            frames: FrameStream::default(),
            files: None,
            logs: LogStreams::default(),
        }
    }

    /// Returns the next messages that no text of the client waits for. Cancel safe.
    pub(super) async fn next(&mut self) -> Vec<ServerMessage> {
        let message = tokio::select! {
            Some(message) = self.commands.next() => message,
            Some(message) = self.requests.next() => message,
            Some(message) = self.messages.next() => message,
            Some(message) = self.updates.next() => message,
            Some(message) = self.frames.next() => message,
            Some(change) = next_change(&mut self.files) => change,
            Some(message) = self.logs.next() => message,
            batch = next_batch(&mut self.events) => batch,
        };
        let mut messages = match &message {
            // The agent's actor accepts a message before its first update, so the client gets to know both in this order.
            ServerMessage::Update { update, .. } if update.message_id.is_some() => self.messages.ready(),
            _ => Vec::new(),
        };
        messages.push(message);
        messages
    }

    /// Says in the error of a part that has stopped that the whole runtime is stopping, if it is.
    fn explain_stop(&self, message: &mut ServerMessage) {
        let (ServerMessage::ErrorReply { error, .. } | ServerMessage::RequestFailed { error, .. }) = message
        else {
            return;
        };
        let is_general = error.reason == Reason::Stopped && error.message == Reason::Stopped.message();
        if is_general && self.mainstay.is_stopping() {
            error.message = STOPPING_MESSAGE.to_owned();
        }
    }

    /// Begins what a text of the client asks for. Returns the messages that answer it at once; without one, the answer
    /// comes from [`next`](Self::next).
    pub(super) async fn receive(&mut self, text: &str) -> Vec<ServerMessage> {
        let (id, command) = command::parse(text);
        let answer = match command {
            Ok(BridgeCommand::Subscribe { after }) => {
                match catch_panic(EventStream::open(&self.mainstay, after)).await {
                    Ok((opened, snapshot)) => {
                        self.events = Some(opened);
                        return vec![ServerMessage::reply(id, Ok(Json::default())), snapshot];
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(command) => catch_panic(self.begin(id, command, text.len())).await.flatten(),
            Err(error) => Err(error),
        };
        answer.transpose().map(|answer| ServerMessage::reply(id, answer)).into_iter().collect()
    }

    /// Begins a command. Returns its answer, or `None` if that comes later.
    async fn begin(
        &mut self,
        id: Option<u64>,
        command: BridgeCommand,
        bytes: usize,
    ) -> Result<Option<Json>, Error> {
        let mainstay = self.mainstay.clone();
        match command {
            BridgeCommand::Agent(BridgeAgentCommand { agent, action: AgentAction::Listen { after } }) => {
                let seq = self.updates.listen(&mainstay.agents(), agent, after)?;
                return to_json(&AgentListenReply { seq }).map(Some);
            }
            BridgeCommand::Agent(BridgeAgentCommand { agent, action: AgentAction::Unlisten {} }) => {
                self.updates.unlisten(&agent);
            }
            BridgeCommand::Agent(BridgeAgentCommand {
                agent,
                action:
                    AgentAction::Send { body, may_repeat, wait_timeout_ms, timeout_ms, deadline_ms, detached },
            }) => {
                let options = send_options(may_repeat, wait_timeout_ms, timeout_ms, deadline_ms, detached);
                let held = self.byte_limit.hold(bytes)?;
                self.messages.send(mainstay.agents(), agent, id, body, options, held)?;
                return Ok(None);
            }
            BridgeCommand::Request(command) => {
                let held = self.byte_limit.hold(bytes)?;
                self.requests.send(&mainstay, id, held, *command)?;
                return Ok(None);
            }
            BridgeCommand::Body(command) => {
                let is_done = self.requests.pass_body(id, command, &self.byte_limit)?;
                return Ok(is_done.then(Json::default));
            }
            BridgeCommand::Connection(ConnectionAction::Send { text, base64, wait_timeout_ms }) => {
                let frame = frames::to_frame(text, base64)?;
                let held = self.byte_limit.hold(bytes)?;
                self.requests.start(id, held, frames::send(mainstay.connection(), frame, wait_timeout_ms))?;
                return Ok(None);
            }
            BridgeCommand::Connection(ConnectionAction::Listen { types }) => {
                self.frames.listen(&mainstay.connection(), &types)?;
            }
            BridgeCommand::Connection(ConnectionAction::Unlisten {}) => self.frames.unlisten(),
            BridgeCommand::Files { action: ListenAction::Listen } => {
                self.files.get_or_insert_with(|| mainstay.files());
            }
            BridgeCommand::Files { action: ListenAction::Unlisten } => self.files = None,
            BridgeCommand::Logs(LogsCommand::Listen { log, lines, since_ms }) => {
                self.logs.listen(&mainstay, log, lines, since_ms).await?;
            }
            BridgeCommand::Logs(LogsCommand::Unlisten { log }) => self.logs.unlisten(&log),
            BridgeCommand::Cancel { request } => {
                return to_json(&CancelReply { cancelled: self.requests.cancel(request) }).map(Some);
            }
            command => {
                let work = async move {
                    let reply = catch_panic(command::execute(&mainstay, command)).await;
                    ServerMessage::reply(id, reply.flatten())
                };
                self.commands.push(work.boxed());
                return Ok(None);
            }
        }
        Ok(Some(Json::default()))
    }
}

/// A client's place in the stream of events.
struct EventStream {
    subscription: Subscription,
    not_before: Instant,
    /// A delivery that is read and not yet part of a batch.
    pending: Option<Delivery>,
}

impl EventStream {
    async fn open(mainstay: &Mainstay, after: Option<Cursor>) -> (Self, ServerMessage) {
        let status = mainstay.status().await;
        let cursor = status.runtime.cursor();
        let snapshot = Box::new(StateSnapshot { status, tree: mainstay.tree() });
        let subscription = mainstay.events_after(after.unwrap_or(cursor));
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let not_before = Instant::now();
        (Self { subscription, not_before, pending: None }, ServerMessage::Snapshot { snapshot, cursor })
    }

    /// Returns the next batch, or the gap before it. Cancel safe.
    async fn next(&mut self) -> ServerMessage {
        if self.pending.is_none() {
            match self.subscription.next().await {
                Some(delivery) => self.pending = Some(delivery),
                // The runtime has stopped. The client may still ask for its last state.
                None => std::future::pending().await,
            }
        }
        sleep_until(self.not_before).await;
        let mut events: Vec<Record> = Vec::new();
        loop {
            match self.pending.take() {
                Some(Delivery::Event(record)) => events.push(*record),
                Some(lagged @ Delivery::Lagged { .. }) if !events.is_empty() => {
                    self.pending = Some(lagged);
                    break;
                }
                Some(Delivery::Lagged { after, before }) => {
                    let cursor = self.subscription.cursor();
                    return ServerMessage::Lagged { lagged: EventGap { after, before }, cursor };
                }
                None => break,
            }
            if events.len() == BATCH_EVENTS_MAX {
                break;
            }
            self.pending = self.subscription.try_next();
        }
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let now = Instant::now();
        self.not_before = now + BATCH_INTERVAL;
        let cursor = events.last().map(Record::cursor);
        ServerMessage::Events { events, cursor }
    }
}

async fn next_change(files: &mut Option<FileSubscription>) -> Option<ServerMessage> {
    Some(match files.as_mut()?.next().await? {
        FileEvent::Change(file) => ServerMessage::File { file },
        FileEvent::Lagged(lagged) => ServerMessage::FilesLagged { file: LagMarker { lagged } },
    })
}

async fn next_batch(events: &mut Option<EventStream>) -> ServerMessage {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
