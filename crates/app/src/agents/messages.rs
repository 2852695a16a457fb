//! Messages to agents, as the embedder sends them.

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::agent::{
    AgentCommand, MESSAGE_TIMEOUT, MessageFailed, MessageId, MessageLimits, PendingReplies, SendRequest,
    UpdateBroadcast, UpdateSubscription, not_delivered,
};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use mainstay_runtime::{ActorPath, ActorStatus, Address, CallError, Promise, Reply};
use tokio::time::{Instant, sleep_until};

use crate::agents::Agents;
use crate::tree_builder::agents::AgentHandle;

/// The default of [`SendOptions::wait`].
const REPLY_WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// The options of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOptions {
    /// Permits up to two more deliveries if the agent or the runtime ends before the answer. Without it such a message ends as
    /// `outcome_unknown`. A message over which its agent, or the backend, dies `quarantine_after` times ends as
    /// `quarantined`.
    pub may_repeat: bool,
    /// The longest wait for its delivery, counted from the call. A message that is not delivered by then ends as
    /// `expired`, also while its agent restarts or its backend is away.
    pub wait_timeout: Duration,
    /// The longest silence of the agent while it works on the message; zero for no limit. Progress, states and questions
    /// break the silence; other lines of a `process` do not. The wait for a person's answer has no limit. The message then
    /// ends as `outcome_unknown` with the code `TIMEOUT`, and is cancelled at the agent.
    pub timeout: Duration,
    /// The longest time in all, counted from the call; zero for no limit. The message then ends as `expired` if it was not
    /// delivered, and as `outcome_unknown` otherwise.
    pub deadline: Duration,
    /// True if the message goes on when its [`PendingReply`] is dropped. Its outcome is then an update of the agent, as
    /// that of every message.
    pub detached: bool,
}

impl Default for SendOptions {
    /// Returns the options of at most one delivery, within a minute, and 10 minutes of silence.
    fn default() -> Self {
        Self {
            may_repeat: false,
            wait_timeout: REPLY_WAIT_DEFAULT,
            timeout: MESSAGE_TIMEOUT,
            deadline: Duration::ZERO,
            detached: false,
        }
    }
}

/// An accepted message. Dropping it cancels the message, unless it is [`detached`](SendOptions::detached).
/// [`answer`](Self::answer) waits for the outcome.
#[must_use = "dropping it cancels the message"]
pub struct PendingReply {
    agents: Agents,
    address: Address<AgentCommand>,
    pending_replies: Arc<PendingReplies>,
    updates: UpdateBroadcast,
    is_detached: bool,
    id: MessageId,
    /// The end of its wait; `None` if the time is out of range.
    deadline: Option<Instant>,
    answer: Option<Promise<Result<Json, Error>>>,
}

impl PendingReply {
    /// Returns its number, for the journal and for [`Agents::cancel`].
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Waits for the agent's answer. Dropping the future cancels the message, unless it is detached.
    ///
    /// # Errors
    /// `expired` and `stopped` if the agent did not get it; `outcome_unknown` if the agent may have acted on it;
    /// `cancelled`; or the agent's own error.
    pub async fn answer(mut self) -> Result<Json, Error> {
        let Some(answer) = &mut self.answer else { return Err(Error::from(CallError::NoReply)) };
        let in_time = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = &mut *answer => outcome,
            () = in_time => {
                // The agent's actor does the same, unless it is down.
                if let Some(error) = self.pending_replies.expire(self.id) {
                    self.agents.record_message_failed(&self.address, self.id, &error);
                    self.updates.publish_end(self.id, Err(&error));
                }
                answer.await
            }
        };
        self.answer = None;
        match outcome {
            Ok(Err(error)) if error.reason == Reason::Stopped => {
                Err(self.agents.not_running_error(&self.address, error))
            }
            Ok(outcome) => outcome,
            Err(error) => Err(self.agents.call_error(&self.address, error)),
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if self.answer.is_some() && !self.is_detached {
            // With a full mailbox the agent finishes the message in vain, which does no harm.
            let _ = self.address.try_cast(AgentCommand::SenderGone(self.id));
        }
    }
}

impl Agents {
    /// Sends the agent a message, and returns once it is accepted. From then on the message has exactly one outcome.
    /// The body's meaning is up to sender and agent: for `http` it is the body of a POST to
    /// `/api/agents/{id}/message`, for `process` a line of JSON, for `acp` a prompt. A [`Json`] passes on as it is
    /// written, numbers of any size included.
    ///
    /// # Errors
    /// `agent_unknown`; `queue_full` if too many wait for this agent; `request_too_large`; `stopped` if the agent is
    /// stopped or given up; `expired` if it did not accept the message in time, for example during a restart.
    pub async fn send(
        &self,
        id: &str,
        body: impl Into<Json>,
        options: SendOptions,
    ) -> Result<PendingReply, Error> {
        let body = body.into();
        let handle = self.handle(id)?;
        let (reply, answer) = Reply::channel();
        let may_repeat = options.may_repeat;
        let now = Instant::now();
        let ends_at = (!options.deadline.is_zero()).then(|| now.checked_add(options.deadline)).flatten();
        let wait = ends_at.map_or(options.wait_timeout, |_| options.wait_timeout.min(options.deadline));
        let deadline = now.checked_add(wait);
        let limits = MessageLimits { timeout: options.timeout, ends_at };
        let to_command = |accepted| {
            AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, limits, accepted, reply }))
        };
        // An agent that restarts accepts messages when it is back.
        let accepted = handle.address.call_within(wait, to_command).await;
        let id = accepted.map_err(|error| self.not_accepted_error(&handle.address, error))??;
        let AgentHandle { address, pending_replies, updates, .. } = handle;
        Ok(PendingReply {
            agents: self.clone(),
            address,
            pending_replies,
            updates,
            is_detached: options.detached,
            id,
            deadline,
            answer: Some(answer),
        })
    }

    /// Returns the reason why a message was not accepted.
    fn not_accepted_error(&self, address: &Address<AgentCommand>, error: CallError) -> Error {
        match error {
            // The actor accepts a message only while its sender waits, so it has not and will not.
            CallError::TimedOut | CallError::Expired => {
                not_delivered(Reason::Expired).with_details(&error.to_string())
            }
            error => self.call_error(address, error),
        }
    }

    /// Returns the error for a call that the agent's actor did not answer.
    fn call_error(&self, address: &Address<AgentCommand>, error: CallError) -> Error {
        let error = Error::from(error);
        if error.reason == Reason::Stopped { self.not_running_error(address, error) } else { error }
    }

    /// Explains a `stopped` error: why the agent does not run, and how to start it.
    fn not_running_error(&self, address: &Address<AgentCommand>, error: Error) -> Error {
        let info = address.info(self.0.runtime.now());
        let summary = match info.status {
            ActorStatus::Failed if info.next_step.is_some() => {
                "The agent was given up, since no restart can help. Look into its last error, and start it with \
                 'mainstay agent start'."
            }
            ActorStatus::Failed => {
                "The agent was given up, as its restarts are used up. Start it with 'mainstay agent reset'."
            }
            ActorStatus::Stopping | ActorStatus::Stopped => {
                "The agent was stopped. Start it with 'mainstay agent start'."
            }
            ActorStatus::Starting | ActorStatus::Running | ActorStatus::Restarting => return error,
        };
        // The actor's own words are that it is stopped, which does not say why.
        let error = match info.last_error.filter(|_| info.status == ActorStatus::Failed) {
            Some(cause) => error.with_details(&cause).with_message(summary),
            None => error.with_message(summary),
        };
        let Ok(agent) = self.get(address.path().map(ActorPath::name).unwrap_or_default()) else {
            return error;
        };
        // An id that looks like a token is for the log. A message for a person has no backticks.
        error.with_message(&format!("The agent is {}.", agent.next_step.replace('`', "'")))
    }

    /// Records the end of a message that was never delivered.
    fn record_message_failed(&self, address: &Address<AgentCommand>, message_id: MessageId, error: &Error) {
        let Some(path) = address.path() else { return };
        let generation = address.info(self.0.runtime.now()).generation;
        let failed = MessageFailed { message_id, attempts: 0, code: error.code, reason: error.reason };
        self.0.runtime.journal().record(path, generation, &failed);
    }

    /// Cancels a message. Returns `false` if it had ended already.
    ///
    /// # Errors
    /// `agent_unknown`; `stopped` or `crashed` when the agent's actor could not answer.
    pub async fn cancel(&self, agent: &str, id: MessageId) -> Result<bool, Error> {
        let handle = self.handle(agent)?;
        let cancelled = handle.address.call(|reply| AgentCommand::Cancel { id, reply }).await;
        cancelled.map_err(|error| self.call_error(&handle.address, error))
    }

    /// Answers the agent's question `ask`.
    ///
    /// # Errors
    /// `agent_unknown`; `not_found` if the agent does not ask this any more; `invalid_request` if the answer does not
    /// fit the question.
    pub fn answer(&self, agent: &str, ask: &str, answer: impl Into<Json>) -> Result<(), Error> {
        self.handle(agent)?.driver.answer(ask, answer.into())
    }

    /// Subscribes to the agent's updates, from now on: everything that it sends beside its answers.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub fn listen(&self, agent: &str) -> Result<UpdateSubscription, Error> {
        Ok(self.handle(agent)?.updates.subscribe())
    }

    /// Subscribes to the agent's updates after number `seq` of this run, of which the kept ones come first. The last
    /// 1,024 are kept from the first message on, and at most 1 MiB of them.
    ///
    /// # Errors
    /// `agent_unknown`.
    pub fn listen_after(&self, agent: &str, seq: u64) -> Result<UpdateSubscription, Error> {
        Ok(self.handle(agent)?.updates.subscribe_after(seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_ten_minutes_of_silence_and_no_deadline() {
        let SendOptions { may_repeat, wait_timeout, timeout, deadline, detached } = SendOptions::default();
        assert_eq!((wait_timeout, timeout), (Duration::from_secs(60), Duration::from_secs(600)));
        assert_eq!(deadline, Duration::ZERO, "a person may take any time");
        assert!(!may_repeat && !detached);
        let limits = MessageLimits::default();
        assert_eq!((limits.timeout, limits.ends_at), (timeout, None));
    }
}
