//! Commands about one agent, and their replies.

use std::time::Duration;

use mainstay_actors::agent::MessageId;
use mainstay_actors::error::Error;
use mainstay_actors::json::Json;
use mainstay_runtime::journal::Record;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::protocol::{invalid_command, to_json};
use super::replies::{AnswerReply, CancelReply};
use crate::agents::Agents;
use crate::agents::messages::SendOptions;
use crate::config::AgentConfig;
use crate::status::AgentView;

/// A command about one agent: `{"agent":ID,"action":…}`, with the members of the action beside them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BridgeAgentCommand {
    /// The agent's id.
    pub agent: String,
    /// The action.
    #[serde(flatten)]
    pub action: AgentAction,
}

/// An action on one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
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
    /// id of this command. A session that ends cancels its messages, unless they are `detached`.
    Send {
        /// The message.
        #[serde(deserialize_with = "read_placeholder")]
        body: Json,
        /// Permits up to two more deliveries if the agent or the runtime ends before the answer.
        #[serde(default)]
        #[cfg_attr(feature = "typescript", ts(optional = nullable))]
        may_repeat: bool,
        /// The longest wait for its delivery in milliseconds; a minute if absent.
        #[serde(default)]
        wait_timeout_ms: Option<u64>,
        /// The longest silence of the agent in milliseconds, 0 for no limit; 10 minutes if absent. The wait for a person's
        /// answer does not count.
        #[serde(default)]
        timeout_ms: Option<u64>,
        /// The longest time in all in milliseconds; no limit if absent or 0.
        #[serde(default)]
        deadline_ms: Option<u64>,
        /// True if the message goes on when the session ends. Its outcome is then an update of the agent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        #[cfg_attr(feature = "typescript", ts(optional = nullable))]
        detached: bool,
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
        #[serde(deserialize_with = "read_placeholder")]
        body: Json,
    },
    /// Push its updates from now on: `{"agent":ID,"update":{…}}`. A client that is too slow gets the number of lost
    /// ones, `{"agent":ID,"lagged":N}`. When the agent is removed, it gets `{"agent":ID,"ended":true}`. The reply,
    /// `{"seq":N}`, has the number after which the updates begin: the `after` of a client that comes back before the
    /// first one.
    Listen {
        /// The number of the last update of this run that the client has. Those after it come first, as far as they are
        /// kept: a client may come back without a gap. The command then replaces an earlier one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Stop pushing its updates.
    Unlisten {},
    /// Add it to the agents of the configuration, and start it.
    Add {
        /// The keys of an `[[agent]]` block. The id is the agent's, and need not be repeated.
        #[cfg_attr(feature = "typescript", ts(type = "{ [name: string]: Json }"))]
        config: Map<String, Value>,
    },
    /// Stop it, and delete it with its state.
    Remove {},
}

/// Reads a body beside a tag, where serde keeps no text. `parse_command` puts the text there.
fn read_placeholder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
    Value::deserialize(deserializer).map(Json::from)
}

impl<'de> Deserialize<'de> for BridgeAgentCommand {
    /// Rejects unknown members, which serde cannot do beside a flattened field.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::deserialize(deserializer)?;
        let agent = members.remove("agent").ok_or_else(|| D::Error::missing_field("agent"))?;
        let agent = String::deserialize(agent).map_err(D::Error::custom)?;
        let action = AgentAction::deserialize(Value::Object(members)).map_err(D::Error::custom)?;
        Ok(Self { agent, action })
    }
}

impl AgentAction {
    /// Returns the place of the action's body, if it has one.
    pub(super) fn body_mut(&mut self) -> Option<&mut Json> {
        match self {
            Self::Send { body, .. } | Self::Answer { body, .. } => Some(body),
            _ => None,
        }
    }
}

/// Returns the options of a message.
pub(super) fn send_options(
    may_repeat: bool,
    wait_timeout_ms: Option<u64>,
    timeout_ms: Option<u64>,
    deadline_ms: Option<u64>,
    detached: bool,
) -> SendOptions {
    let usual = SendOptions::default();
    let or = |ms: Option<u64>, usual| ms.map_or(usual, Duration::from_millis);
    SendOptions {
        may_repeat,
        wait_timeout: or(wait_timeout_ms, usual.wait_timeout),
        timeout: or(timeout_ms, usual.timeout),
        deadline: or(deadline_ms, usual.deadline),
        detached,
    }
}

/// An agent and its last events: the reply to `show`, and to the commands that change its state.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentDetails {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentView,
    /// The last events, at most five, oldest first.
    #[cfg_attr(feature = "typescript", ts(type = "Array<EventRecord>"))]
    pub events: Vec<Record>,
}

impl<'de> Deserialize<'de> for AgentDetails {
    /// Reads each part from the text, as [`AgentView`] does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct DetailsMembers {
            #[serde(default)]
            events: Vec<Record>,
        }
        let text = Json::deserialize(deserializer)?;
        let DetailsMembers { events } = text.read().map_err(D::Error::custom)?;
        Ok(Self { agent: text.read().map_err(D::Error::custom)?, events })
    }
}

/// Executes a command; see [`execute`](super::execute).
pub(super) async fn execute(agents: &Agents, command: BridgeAgentCommand) -> Result<Json, Error> {
    let BridgeAgentCommand { agent, action } = command;
    match action {
        AgentAction::Show {} => {}
        AgentAction::Restart {} => agents.restart(&agent).await?,
        AgentAction::Login { method } => agents.log_in(&agent, method).await?,
        AgentAction::Stop {} => agents.stop(&agent).await?,
        AgentAction::Start {} => agents.start(&agent).await?,
        AgentAction::Reset {} => agents.reset(&agent).await?,
        AgentAction::Add { config } => add(agents, &agent, config).await?,
        AgentAction::Remove {} => return agents.remove(&agent).await.map(|()| Json::default()),
        AgentAction::Send { body, may_repeat, wait_timeout_ms, timeout_ms, deadline_ms, detached } => {
            let options = send_options(may_repeat, wait_timeout_ms, timeout_ms, deadline_ms, detached);
            let sent = agents.send(&agent, body, options).await?;
            let message_id = sent.id();
            return sent
                .answer()
                .await
                .and_then(|answer| to_json(&AnswerReply { message_id, answer: &answer }));
        }
        AgentAction::Cancel { message_id } => {
            return to_json(&CancelReply { cancelled: agents.cancel(&agent, message_id).await? });
        }
        AgentAction::Answer { ask, body } => {
            return agents.answer(&agent, &ask, body).map(|()| Json::default());
        }
        AgentAction::Listen { .. } | AgentAction::Unlisten {} => return Ok(Json::default()),
    }
    to_json(&AgentDetails { agent: agents.get(&agent)?, events: agents.last_events(&agent) })
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
