//! The state of the runtime in one sentence, with the command that helps. Pure.
//!
//! - `facts`: the facts, of now or of an earlier moment
//! - `finding`: the worst of what is not well, its level and the command that helps
//! - `text`: the sentence

mod facts;
mod finding;
#[cfg(test)]
mod tests;
mod text;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::count;
use serde::{Deserialize, Serialize};

use crate::supervision_report::RestartAttempt;

pub(crate) use facts::{
    ChildCondition, ChildFacts, ConnectionFacts, OutageFacts, StoppingFacts, VerdictFacts,
};

/// The state of the runtime in one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Verdict {
    /// The level.
    pub level: VerdictLevel,
    /// The sentence. Times of day are in the local time zone.
    pub text: String,
    /// The finding of which the sentence tells.
    pub finding: Finding,
    /// The requests that wait because of it.
    pub requests_waiting: usize,
    /// The command that helps, if one does.
    pub action: Option<VerdictAction>,
}

/// The level of a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum VerdictLevel {
    /// Everything is as it should be.
    #[default]
    Ok,
    /// Something is not at work that need not be, or a person is asked.
    Notice,
    /// Something is wrong, and the runtime is mending it.
    Warning,
    /// Something is wrong that the runtime cannot mend.
    Error,
}

/// The worst of what is not well. A name is an agent's id, or `backend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Finding {
    /// Nothing is wrong.
    Well {},
    /// The runtime is being stopped.
    Stopping {
        /// Since when.
        since: WallTime,
        /// The first names of those that were asked to end and have not.
        names: Vec<String>,
        /// The number of the others.
        more: usize,
    },
    /// A file of the runtime does not take what is written.
    Storage {
        /// The file: `journal`, `state` or `logs`.
        part: String,
        /// The reason.
        message: String,
    },
    /// These are given up.
    GivenUp {
        /// The first names.
        names: Vec<String>,
        /// The number of the others.
        more: usize,
    },
    /// A signal or a debugger keeps a process stopped.
    Suspended {
        /// The name.
        name: String,
        /// Since when.
        since: WallTime,
    },
    /// A restart is due or under way.
    Restarting {
        /// The name of the next one.
        name: String,
        /// The time of the restart; none while it is under way.
        at: Option<WallTime>,
        /// The number of this restart within its budget, and the whole budget; none without a limit.
        attempt: Option<RestartAttempt>,
        /// The number of others that are being restarted.
        more: usize,
    },
    /// A first start is under way.
    Starting {
        /// The first names.
        names: Vec<String>,
        /// The number of the others.
        more: usize,
        /// The start of the first.
        since: WallTime,
        /// The sign that the first waits for, as the rest of "it is ready when", if it is the backend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "typescript", ts(optional = nullable))]
        awaits: Option<String>,
        /// The last line that the first has printed, if it is the backend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "typescript", ts(optional = nullable))]
        last_line: Option<String>,
    },
    /// The backend cannot be reached, and requests are held.
    BackendAway {
        /// Since when.
        since: WallTime,
        /// The time of the next attempt to reach it, if one is planned.
        next_probe_at: Option<WallTime>,
        /// True unless the configuration switches the connection off.
        is_connection_enabled: bool,
    },
    /// The connection is lost.
    Unconnected {
        /// Since when.
        since: WallTime,
        /// The running or next attempt.
        attempt: u32,
        /// The most failures in a row.
        max: u32,
        /// The time of the next attempt, if one is planned.
        next_attempt_at: Option<WallTime>,
        /// True if the quick attempts are used up.
        has_failed: bool,
    },
    /// The backend has answered the handshake of the WebSocket as a server without one, so that there is no connection.
    NoWebsocket {
        /// Since when.
        since: WallTime,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// These agents miss checks, or report trouble.
    Unwell {
        /// The first names.
        names: Vec<String>,
        /// The number of the others.
        more: usize,
    },
    /// The backend of these agents cannot be reached, so that their health is unknown.
    Unknown {
        /// The first names.
        names: Vec<String>,
        /// The number of the others.
        more: usize,
    },
    /// An agent waits for a person's answer.
    Asks {
        /// The agent's id.
        name: String,
        /// The question's id.
        ask: String,
        /// The number of further questions.
        more: usize,
    },
    /// A folder of the cache is not watched.
    Unwatched {
        /// The path as configured.
        path: String,
    },
    /// A command has stopped these.
    Stopped {
        /// The first names.
        names: Vec<String>,
        /// The number of the others.
        more: usize,
    },
    /// A command has closed the connection.
    Disconnected {
        /// Since when.
        since: WallTime,
    },
}

/// A command that helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum VerdictAction {
    /// Open the connection now.
    Reconnect {},
    /// Start the backend.
    StartBackend {},
    /// Restore the backend's restart budget, and start it.
    ResetBackend {},
    /// Restart the backend now, instead of after the delay.
    RestartBackend {},
    /// Restart an agent now, instead of after the delay.
    RestartAgent {
        /// The agent's id.
        id: String,
    },
    /// Start an agent now.
    StartAgent {
        /// The agent's id.
        id: String,
    },
    /// Restore an agent's restart budget, and start it.
    ResetAgent {
        /// The agent's id.
        id: String,
    },
    /// Answer an agent's question.
    AnswerAgent {
        /// The agent's id.
        id: String,
        /// The question's id.
        ask: String,
    },
}

impl VerdictAction {
    /// Returns the command line that does it.
    #[must_use]
    pub fn command(&self) -> String {
        match self {
            Self::Reconnect {} => "mainstay reconnect".to_owned(),
            Self::StartBackend {} => "mainstay backend start".to_owned(),
            Self::ResetBackend {} => "mainstay backend reset".to_owned(),
            Self::RestartBackend {} => "mainstay backend restart".to_owned(),
            Self::RestartAgent { id } => format!("mainstay agent restart {id}"),
            Self::StartAgent { id } => format!("mainstay agent start {id}"),
            Self::ResetAgent { id } => format!("mainstay agent reset {id}"),
            Self::AnswerAgent { id, ask } => {
                format!("mainstay agent answer {id} {} VALUE", ask.escape_debug())
            }
        }
    }
}

impl Verdict {
    /// Finds the worst of what is not well, and says it as of `now`.
    pub(crate) fn of(facts: &VerdictFacts, now: Timestamp, zone: &TimeZone) -> Self {
        let finding = finding::find(facts);
        let requests_waiting = if finding.holds_requests() { facts.requests_waiting } else { 0 };
        let mut text = finding.describe(now, zone);
        if requests_waiting > 0 {
            let verb = if requests_waiting == 1 { "waits" } else { "wait" };
            text = format!("{text}; {} {verb}", count(requests_waiting, "request"));
        }
        Self { level: finding.level(), text, requests_waiting, action: finding.action(facts), finding }
    }
}

impl Default for Finding {
    fn default() -> Self {
        Self::Well {}
    }
}
