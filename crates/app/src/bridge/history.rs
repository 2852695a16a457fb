//! The command about the history of the tree.

use jiff::tz::TimeZone;
use mainstay_actors::error::Error;
use mainstay_actors::json::Json;
use mainstay_runtime::clock::WallTime;
use serde::{Deserialize, Serialize};

use super::protocol::to_json;
use crate::history::HistoryLog;
use crate::mainstay::Mainstay;

/// A command about the history of the tree: see [`history`](crate::history).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum HistoryCommand {
    /// Return the tree and the verdict at a moment.
    At {
        /// The moment.
        at: WallTime,
    },
    /// Return the states of the actors over a span of time.
    Lanes {
        /// The beginning; the first event that is kept if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<WallTime>,
        /// The end; now if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<WallTime>,
    },
}

/// Answers on a thread for work that blocks, because a tree of 10,000 actors is megabytes of text.
pub(super) async fn execute(mainstay: &Mainstay, command: HistoryCommand) -> Result<Json, Error> {
    let answer = move |log: &HistoryLog| match command {
        HistoryCommand::At { at } => to_json(&log.at(at.0, &TimeZone::system())),
        HistoryCommand::Lanes { from, to } => to_json(&log.lanes(from.map(|at| at.0), to.map(|at| at.0))),
    };
    mainstay.of_history(answer).await
}
