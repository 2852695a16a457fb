//! The session of one client, from its first text to its last.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mainstay_actors::cache::watch::{FileEvent, FileSubscription};
use mainstay_actors::json::Json;
use mainstay_runtime::journal::{Cursor, Delivery, Record};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::agent::{AgentAction, BridgeAgentCommand, send_options};
use super::agent_streams::{PendingMessages, UpdateStreams};
use super::command::{self, BridgeCommand, ConnectionAction, ListenAction};
use super::frames::{self, FrameStream};
use super::logs::{LogStreams, LogsCommand};
use super::protocol::{EventGap, ServerMessage, StateSnapshot};
use super::requests::PendingRequests;
use crate::mainstay::Mainstay;
use crate::subscription::Subscription;

/// The most commands of one client, besides requests and messages, that run side by side. Further ones wait to be read.
const COMMANDS_MAX: usize = 64;
/// The most events in one batch.
const BATCH_EVENTS_MAX: usize = 1000;
/// The shortest time between two batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Serves one client until `incoming` ends or `outgoing` is closed.
///
/// Both channels should be short: a full one makes the session wait. Nothing is lost then but updates of agents, and the
/// client gets their number. The end of a session cancels its messages and requests that are in flight.
pub async fn serve(mainstay: Mainstay, mut incoming: mpsc::Receiver<String>, outgoing: mpsc::Sender<String>) {
    let mut running = FuturesUnordered::new();
    let mut events: Option<EventStream> = None;
    let (mut messages, mut updates) = (PendingMessages::default(), UpdateStreams::default());
    let (mut requests, mut frame_stream) = (PendingRequests::default(), FrameStream::default());
    let mut files: Option<FileSubscription> = None;
    let mut logs = LogStreams::default();
    let reply = ServerMessage::reply;
    loop {
        let message = tokio::select! {
            text = incoming.recv(), if running.len() < COMMANDS_MAX => {
                let Some(text) = text else { return };
                let (id, command) = command::parse(&text);
                match command {
                    Err(error) => reply(id, Err(error)),
                    Ok(BridgeCommand::Subscribe { after }) => {
                        let (opened, snapshot) = EventStream::open(&mainstay, after).await;
                        events = Some(opened);
                        if outgoing.send(reply(id, Ok(Json::default())).to_text()).await.is_err() {
                            return;
                        }
                        snapshot
                    }
                    Ok(BridgeCommand::Agent(BridgeAgentCommand { agent, action: AgentAction::Listen {} })) => {
                        reply(id, updates.listen(&mainstay.agents(), agent).map(|()| Json::default()))
                    }
                    Ok(BridgeCommand::Agent(BridgeAgentCommand { agent, action: AgentAction::Unlisten {} })) => {
                        updates.unlisten(&agent);
                        reply(id, Ok(Json::default()))
                    }
                    Ok(BridgeCommand::Agent(BridgeAgentCommand {
                        agent,
                        action: AgentAction::Send { body, may_repeat, wait_timeout_ms, timeout_ms, deadline_ms },
                    })) => {
                        let options = send_options(may_repeat, wait_timeout_ms, timeout_ms, deadline_ms);
                        match messages.send(mainstay.agents(), agent, id, body, options) {
                            Ok(()) => continue,
                            Err(error) => reply(id, Err(error)),
                        }
                    }
                    Ok(BridgeCommand::Request(command)) => {
                        let mainstay = mainstay.clone();
                        let work = async move { command::send_request(&mainstay, *command).await };
                        match requests.start(id, work) {
                            Ok(()) => continue,
                            Err(error) => reply(id, Err(error)),
                        }
                    }
                    Ok(BridgeCommand::Connection(ConnectionAction::Send { text, base64, wait_ms })) => {
                        let connection = mainstay.connection();
                        let started = frames::to_frame(text, base64)
                            .and_then(|frame| requests.start(id, frames::send(connection, frame, wait_ms)));
                        match started {
                            Ok(()) => continue,
                            Err(error) => reply(id, Err(error)),
                        }
                    }
                    Ok(BridgeCommand::Connection(ConnectionAction::Listen { types })) => {
                        reply(id, frame_stream.listen(&mainstay.connection(), &types).map(|()| Json::default()))
                    }
                    Ok(BridgeCommand::Connection(ConnectionAction::Unlisten {})) => {
                        frame_stream.unlisten();
                        reply(id, Ok(Json::default()))
                    }
                    Ok(BridgeCommand::Files { action }) => {
                        files = (action == ListenAction::Listen).then(|| files.take().unwrap_or_else(|| mainstay.files()));
                        reply(id, Ok(Json::default()))
                    }
                    Ok(BridgeCommand::Logs(LogsCommand::Listen { log, lines, since_ms })) => {
                        reply(id, logs.listen(&mainstay, log, lines, since_ms).await.map(|()| Json::default()))
                    }
                    Ok(BridgeCommand::Logs(LogsCommand::Unlisten { log })) => {
                        logs.unlisten(&log);
                        reply(id, Ok(Json::default()))
                    }
                    Ok(BridgeCommand::Cancel { request }) => {
                        reply(id, Ok(json!({ "cancelled": requests.cancel(request) }).into()))
                    }
                    Ok(command) => {
                        let mainstay = mainstay.clone();
                        running.push(async move { reply(id, command::execute(&mainstay, command).await) });
                        continue;
                    }
                }
            }
            Some(message) = running.next() => message,
            Some(message) = requests.next() => message,
            Some(message) = messages.next() => message,
            Some(message) = updates.next() => message,
            Some(message) = frame_stream.next() => message,
            Some(change) = next_change(&mut files) => change,
            Some(message) = logs.next() => message,
            batch = next_batch(&mut events) => batch,
        };
        if outgoing.send(message.to_text()).await.is_err() {
            return;
        }
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
        FileEvent::Missed(files_missed) => ServerMessage::FilesMissed { files_missed },
    })
}

async fn next_batch(events: &mut Option<EventStream>) -> ServerMessage {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
