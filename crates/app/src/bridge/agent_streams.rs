//! The part of a session about agents: messages in flight, and subscriptions to updates. Both end with the session.

use std::collections::HashMap;

use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll};
use futures_util::{FutureExt, Stream, StreamExt};
use mainstay_actors::agent::{UpdateEvent, UpdateSubscription};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use tokio::task::unconstrained;

use super::byte_limit::HeldBytes;
use super::panics::catch_panic;
use super::protocol::{AcceptedMessage, ServerMessage, to_json};
use super::replies::AnswerReply;
use crate::agents::Agents;
use crate::agents::messages::{PendingReply, SendOptions};

/// The most messages of one client that may have no answer yet; further ones are rejected.
const PENDING_MESSAGES_MAX: usize = 1024;
/// The most agents that one client may listen to.
const UPDATE_STREAMS_MAX: usize = 256;

/// The messages of a session that are in flight, as the texts about them.
#[derive(Default)]
pub(super) struct PendingMessages(SelectAll<BoxStream<'static, ServerMessage>>);

/// The progress of a message.
enum SendState {
    Unsent(Agents, Json, SendOptions, HeldBytes),
    Sent(PendingReply, HeldBytes),
    Ended,
}

impl SendState {
    /// Returns the next text about the message of command `id`; `None` after the last.
    async fn proceed(self, id: Option<u64>, agent: String) -> Option<(ServerMessage, Self)> {
        match self {
            Self::Unsent(agents, body, options, held) => match agents.send(&agent, body, options).await {
                Ok(sent) => {
                    let accepted = AcceptedMessage { id, message_id: sent.id() };
                    Some((ServerMessage::Accepted { agent, accepted }, Self::Sent(sent, held)))
                }
                Err(error) => Some((ServerMessage::reply(id, Err(error)), Self::Ended)),
            },
            Self::Sent(sent, _held) => {
                let message_id = sent.id();
                let answer = sent.answer().await;
                let reply = answer.and_then(|answer| to_json(&AnswerReply { message_id, answer: &answer }));
                Some((ServerMessage::reply(id, reply), Self::Ended))
            }
            Self::Ended => None,
        }
    }
}

impl PendingMessages {
    /// Sends a message to an agent. [`next`](Self::next) returns its number once it is accepted, then the reply to
    /// command `id`.
    ///
    /// # Errors
    /// `queue_full` when the client has too many without an answer.
    pub(super) fn send(
        &mut self,
        agents: Agents,
        agent: String,
        id: Option<u64>,
        body: Json,
        options: SendOptions,
        held: HeldBytes,
    ) -> Result<(), Error> {
        if self.0.len() >= PENDING_MESSAGES_MAX {
            let details = format!("{PENDING_MESSAGES_MAX} messages of this session have no answer yet");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let texts = stream::unfold(SendState::Unsent(agents, body, options, held), move |state| {
            let step = catch_panic(state.proceed(id, agent.clone()));
            async move {
                let failed = |error| Some((ServerMessage::reply(id, Err(error)), SendState::Ended));
                step.await.unwrap_or_else(failed)
            }
        });
        self.0.push(texts.boxed());
        Ok(())
    }

    /// Returns the texts that are there now.
    pub(super) fn ready(&mut self) -> Vec<ServerMessage> {
        // Without tokio's budget, which may make a text wait that is there.
        std::iter::from_fn(|| unconstrained(self.next()).now_or_never().flatten()).collect()
    }

    /// Returns the next text; `None` while no message is in flight.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        self.0.next().await
    }
}

/// The agents that a session listens to.
#[derive(Default)]
pub(super) struct UpdateStreams {
    /// Each stream ends with `None` when its agent was removed.
    streams: SelectAll<BoxStream<'static, (String, Option<UpdateEvent>)>>,
    agents: HashMap<String, OpenUpdates>,
}

/// A subscription to the updates of one agent.
struct OpenUpdates {
    start_seq: u64,
    handle: AbortHandle,
}

impl UpdateStreams {
    /// Listens to an agent from now on, or from update `after` on, and returns the number after which the updates begin.
    /// Without a number it changes nothing if the session listens to the agent already.
    ///
    /// # Errors
    /// `agent_unknown`; `queue_full` when the client listens to too many.
    pub(super) fn listen(
        &mut self,
        agents: &Agents,
        agent: String,
        after: Option<u64>,
    ) -> Result<u64, Error> {
        if after.is_none()
            && let Some(open) = self.agents.get(&agent)
        {
            return Ok(open.start_seq);
        }
        let subscription = match after {
            Some(seq) => agents.listen_after(&agent, seq)?,
            None => agents.listen(&agent)?,
        };
        self.unlisten(&agent);
        if self.agents.len() >= UPDATE_STREAMS_MAX {
            let details = format!("a session listens to at most {UPDATE_STREAMS_MAX} agents");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let start_seq = subscription.start_seq();
        let (updates, handle) = stream::abortable(updates_of(subscription, agent.clone()));
        self.streams.push(updates.boxed());
        self.agents.insert(agent, OpenUpdates { start_seq, handle });
        Ok(start_seq)
    }

    /// Stops listening to an agent.
    pub(super) fn unlisten(&mut self, agent: &str) {
        if let Some(open) = self.agents.remove(agent) {
            open.handle.abort();
        }
    }

    /// Returns the next text about an update; `None` while the session listens to no agent.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        let (agent, event) = self.streams.next().await?;
        Some(match event {
            Some(UpdateEvent::Update(update)) => ServerMessage::Update { agent, update },
            Some(UpdateEvent::Lagged(lagged)) => ServerMessage::UpdatesLagged { agent, lagged },
            None => {
                self.agents.remove(&agent);
                ServerMessage::Ended { agent, ended: true }
            }
        })
    }
}

/// Converts a subscription into a stream that ends with `None`.
fn updates_of(
    subscription: UpdateSubscription,
    agent: String,
) -> impl Stream<Item = (String, Option<UpdateEvent>)> + Send {
    stream::unfold(Some(subscription), move |subscription| {
        let agent = agent.clone();
        async move {
            let mut subscription = subscription?;
            let event = subscription.next().await;
            let goes_on = event.is_some();
            Some(((agent, event), goes_on.then_some(subscription)))
        }
    })
}
