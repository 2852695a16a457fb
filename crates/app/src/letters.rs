//! Letters to agents, as the embedder sends them.

use std::time::Duration;

use mainstay_actors::agent::{AgentListener, AgentMessage, LetterId, Post};
use mainstay_actors::error::{Error, of_call};
use mainstay_runtime::{Address, CallError, Promise, Reply};
use serde_json::Value;

use crate::agents::Agents;

/// How long a letter waits to be handed to an agent, where its sender does not say it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the agent's actor may take at least to accept a letter.
const ACCEPTANCE: Duration = Duration::from_secs(10);

/// How a letter is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterOptions {
    /// Whether it may be handed to the agent again if the agent or the runtime ends over it. Else it ends as
    /// `outcome_unknown` then.
    pub may_repeat: bool,
    /// How long it may wait to be handed to the agent, counted from when it was accepted; an agent that is being
    /// restarted may take as long to accept it.
    pub wait: Duration,
}

impl Default for LetterOptions {
    /// Handed out once at most, within a minute.
    fn default() -> Self {
        Self { may_repeat: false, wait: PATIENCE }
    }
}

/// A letter that was accepted. Dropping it calls the letter off; [`answer`](Self::answer) waits for what becomes of it.
#[must_use = "dropping it calls the letter off"]
pub struct SentLetter {
    address: Address<AgentMessage>,
    id: LetterId,
    answer: Option<Promise<Result<Value, Error>>>,
}

impl SentLetter {
    /// What it is known by, in the journal and for [`Agents::call_off`].
    #[must_use]
    pub fn id(&self) -> LetterId {
        self.id
    }

    /// Waits for the agent's answer. Dropping the future calls the letter off.
    ///
    /// # Errors
    /// Whatever became of it instead: `expired` and `stopped` where the agent did not get it, `outcome_unknown` where the
    /// agent may have acted on it, `cancelled`, or what the agent itself says.
    pub async fn answer(mut self) -> Result<Value, Error> {
        let Some(answer) = &mut self.answer else { return Err(of_call(CallError::Unanswered)) };
        let told = answer.await;
        self.answer = None;
        told.unwrap_or_else(|error| Err(of_call(error)))
    }
}

impl Drop for SentLetter {
    fn drop(&mut self) {
        if self.answer.is_some() {
            // With a full mailbox the agent works on for nobody: that is no harm.
            let _ = self.address.try_cast(AgentMessage::Abandon(self.id));
        }
    }
}

impl Agents {
    /// Hands the agent a letter, and returns once it has been accepted: from then on its fate is known whatever happens.
    /// What a letter may say is a matter between sender and agent: for `http` it is the body of a POST to
    /// `/api/agents/{id}/message`, for `process` a line of JSON, for `acp` a prompt.
    ///
    /// # Errors
    /// `agent_unknown`; `queue_full` when too many wait for this agent; `request_too_large`; `stopped` when the agent is
    /// stopped.
    pub async fn send(&self, id: &str, body: Value, options: LetterOptions) -> Result<SentLetter, Error> {
        let line = self.line(id)?;
        let (reply, answer) = Reply::channel();
        let post = |accepted| {
            let patience = Some(options.wait);
            AgentMessage::Post(Box::new(Post {
                body,
                may_repeat: options.may_repeat,
                patience,
                accepted,
                reply,
            }))
        };
        // One that is being restarted takes letters in when it is back, and that may take its time.
        let patience = options.wait.max(ACCEPTANCE);
        let id = line.address.call_within(patience, post).await.map_err(of_call)??;
        Ok(SentLetter { address: line.address, id, answer: Some(answer) })
    }

    /// Calls a letter off. `false` if it had ended already.
    ///
    /// # Errors
    /// `agent_unknown`; `stopped` or `crashed` when the agent's actor could not answer.
    pub async fn call_off(&self, agent: &str, id: LetterId) -> Result<bool, Error> {
        let line = self.line(agent)?;
        line.address.call(|reply| AgentMessage::CallOff { id, reply }).await.map_err(of_call)
    }

    /// Hands the agent what somebody answered to its question `ask`.
    ///
    /// # Errors
    /// `agent_unknown`; `not_found` where it does not ask that any more; `invalid_request` where that is no answer to it.
    pub fn answer(&self, agent: &str, ask: &str, answer: Value) -> Result<(), Error> {
        self.line(agent)?.driver.answer(ask, answer)
    }

    /// Listens to what the agent says beside its answers, from now on.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub fn listen(&self, agent: &str) -> Result<AgentListener, Error> {
        Ok(self.line(agent)?.feed.listen())
    }
}
