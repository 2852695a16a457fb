//! The part of a session about logs: lines to read, and subscriptions.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use jiff::SignedDuration;
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use mainstay_actors::logs::{LogItem, LogRange, LogSubscription};
use mainstay_runtime::clock::WallTime;
use serde::{Deserialize, Serialize};

use super::protocol::{ServerMessage, to_json};
use super::replies::{LogIdsReply, LogReply};
use crate::mainstay::Mainstay;

/// The number of lines unless the command says otherwise, and the most.
const LINES_DEFAULT: usize = 100;
const LINES_MAX: usize = 10_000;
/// The most lines in one text.
const BATCH_LINES_MAX: usize = 256;
/// The most logs that one client may listen to.
const STREAMS_MAX: usize = 256;

/// A command about the log of the backend, `backend`, or of an agent, which has the agent's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum LogsCommand {
    /// List the ids of all logs. The reply is `{"ids":[…]}`.
    Ids {},
    /// Read lines. The reply is `{"lines":[{"at":…,"stream":"out","text":…}]}`.
    Read {
        /// The log.
        log: String,
        /// The number of last lines, at most 10,000; 100 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<usize>,
        /// The highest age of a line, in milliseconds; no limit if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<u64>,
    },
    /// Push lines from now on, `{"log":…,"lines":[…]}`, of which the first are those that `read` returns. A second one
    /// for the same log replaces the first.
    Listen {
        /// The log.
        log: String,
        /// As for `read`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<usize>,
        /// As for `read`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<u64>,
    },
    /// Stop pushing lines of a log.
    Unlisten {
        /// The log.
        log: String,
    },
}

/// Executes a command. `listen` and `unlisten` belong to the session.
pub(super) async fn execute(mainstay: &Mainstay, command: LogsCommand) -> Result<Json, Error> {
    match command {
        LogsCommand::Ids {} => to_json(&LogIdsReply { ids: mainstay.logs().ids().await? }),
        LogsCommand::Read { log, lines, since_ms } => {
            let lines = mainstay.logs().read(&log, range(mainstay, lines, since_ms)).await?;
            to_json(&LogReply { lines })
        }
        LogsCommand::Listen { .. } | LogsCommand::Unlisten { .. } => Ok(Json::default()),
    }
}

fn range(mainstay: &Mainstay, lines: Option<usize>, since_ms: Option<u64>) -> LogRange {
    let since = since_ms.map(|age| {
        let age = SignedDuration::try_from(Duration::from_millis(age)).unwrap_or(SignedDuration::MAX);
        WallTime(mainstay.journal().wall_time().checked_sub(age).unwrap_or(jiff::Timestamp::MIN))
    });
    LogRange { lines: Some(lines.unwrap_or(LINES_DEFAULT).min(LINES_MAX)), since }
}

/// The items of one log that are there at once. The stream of a log ends with `None`.
type Batch = (String, Option<Vec<io::Result<LogItem>>>);

/// The logs that a session listens to.
#[derive(Default)]
pub(super) struct LogStreams {
    streams: SelectAll<BoxStream<'static, Batch>>,
    logs: HashMap<String, AbortHandle>,
    /// Texts of a batch that was taken.
    pending: Vec<ServerMessage>,
}

impl LogStreams {
    /// Listens to a log, in place of an earlier subscription to it.
    ///
    /// # Errors
    /// `not_found`; `queue_full` when the client listens to too many.
    pub(super) async fn listen(
        &mut self,
        mainstay: &Mainstay,
        log: String,
        lines: Option<usize>,
        since_ms: Option<u64>,
    ) -> Result<(), Error> {
        self.unlisten(&log);
        if self.logs.len() >= STREAMS_MAX {
            let details = format!("a session listens to at most {STREAMS_MAX} logs");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let subscription = mainstay.logs().follow(&log, range(mainstay, lines, since_ms)).await?;
        let (batches, handle) = stream::abortable(batches_of(subscription, log.clone()));
        self.streams.push(batches.boxed());
        self.logs.insert(log, handle);
        Ok(())
    }

    /// Stops listening to a log.
    pub(super) fn unlisten(&mut self, log: &str) {
        if let Some(handle) = self.logs.remove(log) {
            handle.abort();
        }
    }

    /// Returns the next text; `None` while the session listens to no log. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        while self.pending.is_empty() {
            let (log, batch) = self.streams.next().await?;
            let ended = batch.as_ref().is_none_or(|items| items.iter().any(Result::is_err));
            self.pending = texts_of(&log, batch.unwrap_or_default());
            if ended && self.logs.contains_key(&log) {
                self.unlisten(&log);
                self.pending.push(ServerMessage::LogEnded { log, ended });
            }
            self.pending.reverse();
        }
        self.pending.pop()
    }
}

fn batches_of(subscription: LogSubscription, log: String) -> impl Stream<Item = Batch> + Send {
    let batches = subscription.ready_chunks(BATCH_LINES_MAX).map(Some).chain(stream::iter([None]));
    batches.map(move |batch| (log.clone(), batch))
}

/// Returns the texts for items, up to the first error.
fn texts_of(log: &str, items: Vec<io::Result<LogItem>>) -> Vec<ServerMessage> {
    let (mut texts, mut lines) = (Vec::new(), Vec::new());
    for item in items.into_iter().map_while(Result::ok) {
        match item {
            LogItem::Line(line) => lines.push(line),
            LogItem::Lagged(lagged) => {
                if !lines.is_empty() {
                    let lines = std::mem::take(&mut lines);
                    texts.push(ServerMessage::LogLines { log: log.to_owned(), lines });
                }
                texts.push(ServerMessage::LogLagged { log: log.to_owned(), lagged });
            }
        }
    }
    if !lines.is_empty() {
        texts.push(ServerMessage::LogLines { log: log.to_owned(), lines });
    }
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lag_stands_between_the_lines_around_it() {
        let line = |n: u32| {
            let line = json!({ "at": "2026-03-01T12:00:00.000Z", "stream": "out", "text": n.to_string() });
            Ok(LogItem::Line(serde_json::from_value(line).unwrap()))
        };
        let items =
            vec![line(1), line(2), Ok(LogItem::Lagged(3)), line(4), Err(io::Error::other("gone")), line(5)];
        let texts: Vec<String> = texts_of("planner", items).iter().map(ServerMessage::to_text).collect();
        let text =
            |n: u32| format!("{{\"at\":\"2026-03-01T12:00:00.000Z\",\"stream\":\"out\",\"text\":\"{n}\"}}");
        assert_eq!(
            texts,
            [
                format!("{{\"log\":\"planner\",\"lines\":[{},{}]}}", text(1), text(2)),
                "{\"log\":\"planner\",\"lagged\":3}".to_owned(),
                format!("{{\"log\":\"planner\",\"lines\":[{}]}}", text(4)),
            ]
        );
    }
}
