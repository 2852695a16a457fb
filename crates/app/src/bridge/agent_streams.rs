//! What one session has under way with agents: its letters, and what it listens to. Both end with it.

use std::collections::HashMap;

use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use mainstay_actors::agent::{UpdateEvent, UpdateSubscription};
use mainstay_actors::error::{Error, Reason};
use serde_json::{Value, json};

use super::agent::reply_json;
use crate::agents::Agents;
use crate::agents::messages::{PendingReply, SendOptions};

/// Letters of one client that have no answer yet; further ones are turned away.
const PENDING_MESSAGES_MAX: usize = 1024;
/// Agents that one client listens to.
const UPDATE_STREAMS_MAX: usize = 256;

/// The letters of a session: the texts that go to its client about them.
#[derive(Default)]
pub(super) struct PendingMessages(SelectAll<BoxStream<'static, String>>);

/// How far a letter has come.
enum SendState {
    Unsent(Agents, Value, SendOptions),
    Sent(PendingReply),
    Ended,
}

impl PendingMessages {
    /// Sends a letter, of which [`next`](Self::next) tells: its number once it was accepted, then the reply to command `id`.
    ///
    /// # Errors
    /// `queue_full` when the client has too many without an answer.
    pub(super) fn send(
        &mut self,
        agents: Agents,
        agent: String,
        id: Option<u64>,
        body: Value,
        options: SendOptions,
    ) -> Result<(), Error> {
        if self.0.len() >= PENDING_MESSAGES_MAX {
            let details = format!("{PENDING_MESSAGES_MAX} letters of this session have no answer yet");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let texts = stream::unfold(SendState::Unsent(agents, body, options), move |stage| {
            let agent = agent.clone();
            async move {
                match stage {
                    SendState::Unsent(agents, body, options) => {
                        match agents.send(&agent, body, options).await {
                            Ok(sent) => {
                                let accepted = json!({ "id": id, "letter": sent.id() });
                                let text = json!({ "agent": agent, "accepted": accepted }).to_string();
                                Some((text, SendState::Sent(sent)))
                            }
                            Err(error) => Some((super::session::reply(id, Err(error)), SendState::Ended)),
                        }
                    }
                    SendState::Sent(sent) => {
                        let letter = sent.id();
                        let answer = sent.answer().await.map(|answer| reply_json(letter, &answer));
                        Some((super::session::reply(id, answer), SendState::Ended))
                    }
                    SendState::Ended => None,
                }
            }
        });
        self.0.push(texts.boxed());
        Ok(())
    }

    /// The next text; `None` while there is no letter.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.0.next().await
    }
}

/// The agents that a session listens to.
#[derive(Default)]
pub(super) struct UpdateStreams {
    /// With `None` at the end of an agent that was removed.
    streams: SelectAll<BoxStream<'static, (String, Option<UpdateEvent>)>>,
    agents: HashMap<String, AbortHandle>,
}

impl UpdateStreams {
    /// Listens to an agent from now on, or goes on doing so.
    ///
    /// # Errors
    /// `agent_unknown`; `queue_full` when the client listens to too many.
    pub(super) fn listen(&mut self, agents: &Agents, agent: String) -> Result<(), Error> {
        if self.agents.contains_key(&agent) {
            return Ok(());
        }
        let listener = agents.listen(&agent)?;
        if self.agents.len() >= UPDATE_STREAMS_MAX {
            let details = format!("a session listens to at most {UPDATE_STREAMS_MAX} agents");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let (heard, handle) = stream::abortable(updates_of(listener, agent.clone()));
        self.streams.push(heard.boxed());
        self.agents.insert(agent, handle);
        Ok(())
    }

    /// Listens to an agent no more.
    pub(super) fn unlisten(&mut self, agent: &str) {
        if let Some(handle) = self.agents.remove(agent) {
            handle.abort();
        }
    }

    /// The next text about something that was heard; `None` while nothing is listened to.
    pub(super) async fn next(&mut self) -> Option<String> {
        let (agent, heard) = self.streams.next().await?;
        let text = match heard {
            Some(UpdateEvent::Update(update)) => json!({ "agent": agent, "update": update }),
            Some(UpdateEvent::Missed(missed)) => json!({ "agent": agent, "missed": missed }),
            None => {
                self.agents.remove(&agent);
                json!({ "agent": agent, "ended": true })
            }
        };
        Some(text.to_string())
    }
}

/// Everything that a listener hears, and that it hears no more.
fn updates_of(
    listener: UpdateSubscription,
    agent: String,
) -> impl Stream<Item = (String, Option<UpdateEvent>)> + Send {
    stream::unfold(Some(listener), move |listener| {
        let agent = agent.clone();
        async move {
            let mut listener = listener?;
            let heard = listener.next().await;
            let goes_on = heard.is_some();
            Some(((agent, heard), goes_on.then_some(listener)))
        }
    })
}
