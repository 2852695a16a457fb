//! What a client can ask of one agent, and how it is answered.

use std::time::Duration;

use mainstay_actors::agent::MessageId;
use mainstay_actors::error::Error;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::command::{invalid_command, to_json};
use crate::agents::Agents;
use crate::agents::messages::SendOptions;
use crate::config::AgentConfig;

/// One agent, and what is to be done with it: `{"agent":ID,"action":…}`, with the members of the action beside them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BridgeAgentCommand {
    /// Its id.
    pub agent: String,
    /// What is to be done.
    #[serde(flatten)]
    pub action: AgentAction,
}

/// What is to be done with an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentAction {
    /// Show it.
    Show {},
    /// Restart it now.
    Restart {},
    /// Stop watching it.
    Stop {},
    /// Start it again.
    Start {},
    /// Give its budget back.
    Reset {},
    /// Hand it a letter. Answered once, with the agent's answer, `{"letter":N,"answer":…}`, or with what became of the
    /// letter instead. When the letter was accepted, its number is pushed: `{"agent":ID,"accepted":{"id":…,"letter":N}}`,
    /// with the id of this command. A session that ends calls its letters off.
    Send {
        /// What it says.
        body: Value,
        /// Whether it may be handed to the agent again if the agent or the runtime ends over it.
        #[serde(default)]
        may_repeat: bool,
        /// How long it may wait to be handed to the agent; a minute if it does not say.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Call a letter off, whoever sent it. Answered with `{"called_off":false}` if it had ended already.
    Cancel {
        /// Its number.
        message_id: MessageId,
    },
    /// Hand it what somebody answered to a question of its own.
    Answer {
        /// The question's name.
        ask: String,
        /// The answer.
        body: Value,
    },
    /// Push what it says beside its answers, from now on: `{"agent":ID,"update":{…}}`. A client that is too slow is told
    /// how many it missed, `{"agent":ID,"missed":N}`; of an agent that was removed, `{"agent":ID,"ended":true}`.
    Listen {},
    /// Push it no more.
    Unlisten {},
    /// Take it in, beside those of the configuration, and start it.
    Add {
        /// The keys of an `[[agent]]` block. The id is the agent's, and need not be repeated.
        config: Map<String, Value>,
    },
    /// Stop it and forget it, with its state.
    Remove {},
}

impl<'de> Deserialize<'de> for BridgeAgentCommand {
    /// By hand, so that a member that nothing is known of is refused beside the flattened ones too.
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

/// How a letter is to be treated that says this.
pub(super) fn send_options(may_repeat: bool, wait_ms: Option<u64>) -> SendOptions {
    let wait = wait_ms.map_or(SendOptions::default().wait, Duration::from_millis);
    SendOptions { may_repeat, wait }
}

/// Carries out a command; see [`execute`](super::execute).
pub(super) async fn execute(agents: &Agents, command: BridgeAgentCommand) -> Result<Value, Error> {
    let BridgeAgentCommand { agent, action } = command;
    match action {
        AgentAction::Show {} => {}
        AgentAction::Restart {} => agents.restart(&agent).await?,
        AgentAction::Stop {} => agents.stop(&agent).await?,
        AgentAction::Start {} => agents.start(&agent).await?,
        AgentAction::Reset {} => agents.reset(&agent).await?,
        AgentAction::Add { config } => add(agents, &agent, config).await?,
        AgentAction::Remove {} => return agents.remove(&agent).await.map(|()| Value::Null),
        AgentAction::Send { body, may_repeat, wait_ms } => {
            let sent = agents.send(&agent, body, send_options(may_repeat, wait_ms)).await?;
            let letter = sent.id();
            return sent.answer().await.map(|answer| reply_json(letter, &answer));
        }
        AgentAction::Cancel { message_id: letter } => {
            return Ok(json!({ "called_off": agents.cancel(&agent, letter).await? }));
        }
        AgentAction::Answer { ask, body } => return agents.answer(&agent, &ask, body).map(|()| Value::Null),
        AgentAction::Listen {} | AgentAction::Unlisten {} => return Ok(Value::Null),
    }
    to_json(&agents.get(&agent)?)
}

/// The reply to a letter's sender.
pub(super) fn reply_json(letter: MessageId, answer: &Value) -> Value {
    json!({ "letter": letter, "answer": answer })
}

async fn add(agents: &Agents, id: &str, mut config: Map<String, Value>) -> Result<(), Error> {
    let named = config.entry("id").or_insert_with(|| id.into());
    // That an id is none is told with all else that is wrong.
    if named.is_string() && named != id {
        return Err(invalid_command("the \"id\" in \"config\" must be the one in \"agent\", or left out"));
    }
    let config = AgentConfig::from_json(&Value::Object(config), agents.defaults());
    agents.add(&config.map_err(|error| Error::from(&error))?).await
}
