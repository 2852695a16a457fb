//! One client's session, from its first text to its last.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mainstay_actors::error::Error;
use mainstay_runtime::journal::{Cursor, Delivery, Record, Subscription};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::agent::{AgentAction, BridgeAgentCommand, send_options};
use super::agent_streams::{PendingMessages, UpdateStreams};
use super::command::{self, BridgeCommand};
use super::requests::PendingRequests;
use crate::mainstay::Mainstay;

/// Commands of one client, but for requests and letters, that run side by side; further ones wait to be read.
const COMMANDS_MAX: usize = 64;
/// Events in one batch.
const BATCH_EVENTS_MAX: usize = 1000;
/// The shortest time between two batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Serves one client until it has nothing more to say (`incoming` ends) or does not listen any more (`outgoing` is
/// closed). Both channels should be short: a full one makes the session wait, and loses nothing but what agents say
/// meanwhile, of which it is told how much. The letters and requests that it has under way are called off at its
/// end.
pub async fn serve(mainstay: Mainstay, mut incoming: mpsc::Receiver<String>, outgoing: mpsc::Sender<String>) {
    let mut running = FuturesUnordered::new();
    let mut feed: Option<EventStream> = None;
    let (mut letters, mut ears) = (PendingMessages::default(), UpdateStreams::default());
    let mut requests = PendingRequests::default();
    loop {
        let text = tokio::select! {
            text = incoming.recv(), if running.len() < COMMANDS_MAX => {
                let Some(text) = text else { return };
                let (id, command) = command::parse(&text);
                match command {
                    Err(error) => reply(id, Err(error)),
                    Ok(BridgeCommand::Subscribe { after }) => {
                        let (opened, snapshot) = EventStream::open(&mainstay, after).await;
                        feed = Some(opened);
                        if outgoing.send(reply(id, Ok(Value::Null))).await.is_err() {
                            return;
                        }
                        snapshot
                    }
                    Ok(BridgeCommand::Agent(BridgeAgentCommand { agent, action: AgentAction::Listen {} })) => {
                        reply(id, ears.listen(&mainstay.agents(), agent).map(|()| Value::Null))
                    }
                    Ok(BridgeCommand::Agent(BridgeAgentCommand { agent, action: AgentAction::Unlisten {} })) => {
                        ears.unlisten(&agent);
                        reply(id, Ok(Value::Null))
                    }
                    Ok(BridgeCommand::Agent(BridgeAgentCommand {
                        agent,
                        action: AgentAction::Send { body, may_repeat, wait_ms },
                    })) => {
                        let options = send_options(may_repeat, wait_ms);
                        match letters.send(mainstay.agents(), agent, id, body, options) {
                            Ok(()) => continue,
                            Err(error) => reply(id, Err(error)),
                        }
                    }
                    Ok(BridgeCommand::Request(command)) => match requests.start(mainstay.clone(), id, *command) {
                        Ok(()) => continue,
                        Err(error) => reply(id, Err(error)),
                    },
                    Ok(BridgeCommand::Cancel { request }) => {
                        reply(id, Ok(json!({ "cancelled": requests.cancel(request) })))
                    }
                    Ok(command) => {
                        let mainstay = mainstay.clone();
                        running.push(async move { reply(id, command::execute(&mainstay, command).await) });
                        continue;
                    }
                }
            }
            Some(reply) = running.next() => reply,
            Some(reply) = requests.next() => reply,
            Some(text) = letters.next() => text,
            Some(text) = ears.next() => text,
            batch = next_batch(&mut feed) => batch,
        };
        if outgoing.send(text).await.is_err() {
            return;
        }
    }
}

pub(super) fn reply(id: Option<u64>, outcome: Result<Value, Error>) -> String {
    match outcome {
        Ok(value) => json!({ "id": id, "ok": value }),
        Err(error) => json!({ "id": id, "error": error }),
    }
    .to_string()
}

/// A client's place in the stream of events.
struct EventStream {
    subscription: Subscription,
    not_before: Instant,
    /// Read, and not yet part of a batch.
    pending: Option<Delivery>,
}

impl EventStream {
    async fn open(mainstay: &Mainstay, after: Option<Cursor>) -> (Self, String) {
        let status = mainstay.status().await;
        let cursor = status.runtime.cursor();
        let snapshot = json!({ "snapshot": { "status": status, "tree": mainstay.tree() }, "cursor": cursor });
        let subscription = mainstay.events_after(after.unwrap_or(cursor));
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let not_before = Instant::now();
        (Self { subscription, not_before, pending: None }, snapshot.to_string())
    }

    /// The next batch, or the word that events are missing. Cancel safe.
    async fn next(&mut self) -> String {
        if self.pending.is_none() {
            self.pending = Some(self.subscription.next().await);
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
                    return json!({ "lagged": { "after": after, "before": before }, "cursor": cursor })
                        .to_string();
                }
                None => break,
            }
            if events.len() == BATCH_EVENTS_MAX {
                break;
            }
            self.pending = self.subscription.try_next_in_memory();
        }
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let now = Instant::now();
        self.not_before = now + BATCH_INTERVAL;
        let cursor = events.last().map(Record::cursor);
        json!({ "events": events, "cursor": cursor }).to_string()
    }
}

async fn next_batch(feed: &mut Option<EventStream>) -> String {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}
