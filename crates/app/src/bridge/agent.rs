//! Commands about one agent, and their replies.

use std::time::Duration;

use mainstay_actors::agent::MessageId;
use mainstay_actors::error::Error;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::protocol::{invalid_command, to_json};
use crate::agents::Agents;
use crate::agents::messages::SendOptions;
use crate::config::AgentConfig;

/// A command about one agent: `{"agent":ID,"action":…}`, with the members of the action beside them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BridgeAgentCommand {
    /// The agent's id.
    pub agent: String,
    /// The action.
    #[serde(flatten)]
    pub action: AgentAction,
}

/// An action on one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentAction {
    /// Show the agent.
    Show {},
    /// Restart it now.
    Restart {},
    /// Restart it with a login, for ACP: by this method, or by the only one that it offers.
    Login {
        /// The id of the method.
        #[serde(default)]
        method: Option<String>,
    },
    /// Stop it.
    Stop {},
    /// Start it after a stop.
    Start {},
    /// Restore its restart budget, and start it if it was given up.
    Reset {},
    /// Send it a message. The reply holds the agent's answer, `{"message_id":N,"answer":…}`, or the error. Before it,
    /// the client gets the number of the accepted message, `{"agent":ID,"accepted":{"id":…,"message_id":N}}`, with the
    /// id of this command. A session that ends cancels its messages.
    Send {
        /// The message.
        body: Value,
        /// Permits up to two more deliveries if the agent or the runtime ends before the answer.
        #[serde(default)]
        may_repeat: bool,
        /// The longest wait for its delivery in milliseconds; a minute if absent.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Cancel a message of any sender. The reply is `{"cancelled":false}` if it had ended already.
    Cancel {
        /// The message's number.
        message_id: MessageId,
    },
    /// Answer a question of the agent.
    Answer {
        /// The question's name.
        ask: String,
        /// The answer.
        body: Value,
    },
    /// Push its updates from now on: `{"agent":ID,"update":{…}}`. A client that is too slow gets the number of missed
    /// ones, `{"agent":ID,"missed":N}`. When the agent is removed, it gets `{"agent":ID,"ended":true}`.
    Listen {},
    /// Stop pushing its updates.
    Unlisten {},
    /// Add it to the agents of the configuration, and start it.
    Add {
        /// The keys of an `[[agent]]` block. The id is the agent's, and need not be repeated.
        config: Map<String, Value>,
    },
    /// Stop it, and delete it with its state.
    Remove {},
}

impl<'de> Deserialize<'de> for BridgeAgentCommand {
    /// Rejects unknown members, which serde cannot do beside a flattened field.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::deserialize(deserializer)?;
        let agent = match members.remove("agent") {
            Some(Value::String(agent)) => agent,
            Some(_) => return Err(D::Error::custom("\"agent\" must be a string, the agent's id")),
            None => return Err(D::Error::missing_field("agent")),
        };
        let action = AgentAction::deserialize(Value::Object(members)).map_err(D::Error::custom)?;
        Ok(Self { agent, action })
    }
}

/// Returns the options of a message.
pub(super) fn send_options(may_repeat: bool, wait_ms: Option<u64>) -> SendOptions {
    let wait = wait_ms.map_or(SendOptions::default().wait, Duration::from_millis);
    SendOptions { may_repeat, wait }
}

/// Executes a command; see [`execute`](super::execute).
pub(super) async fn execute(agents: &Agents, command: BridgeAgentCommand) -> Result<Value, Error> {
    let BridgeAgentCommand { agent, action } = command;
    match action {
        AgentAction::Show {} => {}
        AgentAction::Restart {} => agents.restart(&agent).await?,
        AgentAction::Login { method } => agents.log_in(&agent, method).await?,
        AgentAction::Stop {} => agents.stop(&agent).await?,
        AgentAction::Start {} => agents.start(&agent).await?,
        AgentAction::Reset {} => agents.reset(&agent).await?,
        AgentAction::Add { config } => add(agents, &agent, config).await?,
        AgentAction::Remove {} => return agents.remove(&agent).await.map(|()| Value::Null),
        AgentAction::Send { body, may_repeat, wait_ms } => {
            let sent = agents.send(&agent, body, send_options(may_repeat, wait_ms)).await?;
            let message_id = sent.id();
            return sent.answer().await.map(|answer| reply_json(message_id, &answer));
        }
        AgentAction::Cancel { message_id } => {
            return Ok(json!({ "cancelled": agents.cancel(&agent, message_id).await? }));
        }
        AgentAction::Answer { ask, body } => return agents.answer(&agent, &ask, body).map(|()| Value::Null),
        AgentAction::Listen {} | AgentAction::Unlisten {} => return Ok(Value::Null),
    }
    to_json(&agents.get(&agent)?)
}

/// Makes the reply to a message's sender.
pub(super) fn reply_json(message_id: MessageId, answer: &Value) -> Value {
    json!({ "message_id": message_id, "answer": answer })
}

async fn add(agents: &Agents, id: &str, mut config: Map<String, Value>) -> Result<(), Error> {
    let named = config.entry("id").or_insert_with(|| id.into());
    // The check of the configuration reports an id that is not a string.
    if named.is_string() && named != id {
        return Err(invalid_command("the \"id\" in \"config\" must be the one in \"agent\", or left out"));
    }
    let config = AgentConfig::from_json(&Value::Object(config), agents.defaults());
    agents.add(&config.map_err(|error| Error::from(&error))?).await
}
