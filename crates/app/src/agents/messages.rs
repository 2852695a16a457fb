//! Letters to agents, as the embedder sends them.

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::agent::{
    AgentCommand, MessageFailed, MessageId, PendingReplies, SendRequest, UpdateSubscription, not_delivered,
};
use mainstay_actors::error::{Error, Reason, of_call};
use mainstay_runtime::{ActorPath, ActorStatus, Address, CallError, Promise, Reply};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::agents::Agents;
use crate::tree_builder::agents::AgentHandle;

/// How long a letter waits to be handed to an agent, where its sender does not say it.
const REPLY_WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// How a letter is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOptions {
    /// Whether it may be handed to the agent again if the agent or the runtime ends over it. Else it ends as
    /// `outcome_unknown` then. One over which its agent, or the backend before it, dies twice ends as `quarantined`.
    pub may_repeat: bool,
    /// How long it may wait to be handed to the agent, counted from when it is sent. One that was not handed over by then
    /// ends as `expired`, also while its agent is being restarted or its backend is away; one that was is waited for.
    pub wait: Duration,
}

impl Default for SendOptions {
    /// Handed out once at most, within a minute.
    fn default() -> Self {
        Self { may_repeat: false, wait: REPLY_WAIT_DEFAULT }
    }
}

/// A letter that was accepted. Dropping it calls the letter off; [`answer`](Self::answer) waits for what becomes of it.
#[must_use = "dropping it calls the letter off"]
pub struct PendingReply {
    agents: Agents,
    address: Address<AgentCommand>,
    pending_replies: Arc<PendingReplies>,
    id: MessageId,
    /// Until when it may wait; `None` where no clock can tell.
    deadline: Option<Instant>,
    answer: Option<Promise<Result<Value, Error>>>,
}

impl PendingReply {
    /// What it is known by, in the journal and for [`Agents::call_off`].
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Waits for the agent's answer. Dropping the future calls the letter off.
    ///
    /// # Errors
    /// Whatever became of it instead: `expired` and `stopped` where the agent did not get it, `outcome_unknown` where the
    /// agent may have acted on it, `cancelled`, or what the agent itself says.
    pub async fn answer(mut self) -> Result<Value, Error> {
        let Some(answer) = &mut self.answer else { return Err(of_call(CallError::Unanswered)) };
        let in_time = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            biased;
            told = &mut *answer => told,
            () = in_time => {
                // The agent's actor sees to it as well, unless there is none just now.
                if let Some(error) = self.pending_replies.expire(self.id) {
                    self.agents.record_message_failed(&self.address, self.id, &error);
                }
                answer.await
            }
        };
        self.answer = None;
        match told {
            Ok(Err(error)) if error.reason == Reason::Stopped => {
                Err(self.agents.not_running_error(&self.address, error))
            }
            Ok(told) => told,
            Err(error) => Err(self.agents.call_error(&self.address, error)),
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if self.answer.is_some() {
            // With a full mailbox the agent works on for nobody: that is no harm.
            let _ = self.address.try_cast(AgentCommand::SenderGone(self.id));
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
    /// stopped, or was given up; `expired` when it did not come to accept it in time, as while it is being restarted.
    pub async fn send(&self, id: &str, body: Value, options: SendOptions) -> Result<PendingReply, Error> {
        let line = self.handle(id)?;
        let (reply, answer) = Reply::channel();
        let may_repeat = options.may_repeat;
        let deadline = Instant::now().checked_add(options.wait);
        let post = |accepted| {
            AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, accepted, reply }))
        };
        // One that is being restarted takes letters in when it is back, and that may take its time.
        let accepted = line.address.call_within(options.wait, post).await;
        let letter = accepted.map_err(|error| self.not_accepted_error(&line.address, error))??;
        let AgentHandle { address, pending_replies: callers, .. } = line;
        Ok(PendingReply {
            agents: self.clone(),
            address,
            pending_replies: callers,
            id: letter,
            deadline,
            answer: Some(answer),
        })
    }

    /// Why the letter was not taken in.
    fn not_accepted_error(&self, address: &Address<AgentCommand>, error: CallError) -> Error {
        match error {
            // An actor takes a letter in only while its sender waits for that, so it has not and will not.
            CallError::TimedOut | CallError::Expired => {
                not_delivered(Reason::Expired).with_details(&error.to_string())
            }
            error => self.call_error(address, error),
        }
    }

    /// What it means that the agent's actor gave no answer.
    fn call_error(&self, address: &Address<AgentCommand>, error: CallError) -> Error {
        let error = of_call(error);
        if error.reason == Reason::Stopped { self.not_running_error(address, error) } else { error }
    }

    /// The same error in words about an agent that does not run: why, and what starts it.
    fn not_running_error(&self, address: &Address<AgentCommand>, error: Error) -> Error {
        let id = address.path().map(ActorPath::name).unwrap_or_default();
        let (why, order) = match address.info(self.0.runtime.now()).status {
            ActorStatus::Failed => ("The agent was given up, as its restarts are used up.", "reset"),
            ActorStatus::Stopping | ActorStatus::Stopped => ("The agent was stopped.", "start"),
            ActorStatus::Starting | ActorStatus::Running | ActorStatus::Restarting => return error,
        };
        let words =
            |name: &str| format!("{why} Start it with 'mainstay agent {order}{name}', then send this again.");
        // An id that looks like a token is for the log.
        error.with_message(&words("")).with_message(&words(&format!(" {id}")))
    }

    /// Records what became of a letter that never was handed out.
    fn record_message_failed(&self, address: &Address<AgentCommand>, letter: MessageId, error: &Error) {
        let Some(path) = address.path() else { return };
        let generation = address.info(self.0.runtime.now()).generation;
        let failed =
            MessageFailed { message_id: letter, attempts: 0, code: error.code, reason: error.reason };
        self.0.runtime.journal().record(path, generation, &failed);
    }

    /// Calls a letter off. `false` if it had ended already.
    ///
    /// # Errors
    /// `agent_unknown`; `stopped` or `crashed` when the agent's actor could not answer.
    pub async fn cancel(&self, agent: &str, id: MessageId) -> Result<bool, Error> {
        let line = self.handle(agent)?;
        let called_off = line.address.call(|reply| AgentCommand::Cancel { id, reply }).await;
        called_off.map_err(|error| self.call_error(&line.address, error))
    }

    /// Hands the agent what somebody answered to its question `ask`.
    ///
    /// # Errors
    /// `agent_unknown`; `not_found` where it does not ask that any more; `invalid_request` where that is no answer to it.
    pub fn answer(&self, agent: &str, ask: &str, answer: Value) -> Result<(), Error> {
        self.handle(agent)?.driver.answer(ask, answer)
    }

    /// Listens to what the agent says beside its answers, from now on.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub fn listen(&self, agent: &str) -> Result<UpdateSubscription, Error> {
        Ok(self.handle(agent)?.updates.subscribe())
    }
}
