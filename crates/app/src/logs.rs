//! The logs of the backend and of the agents, as the embedder reads them.

use std::io;
use std::sync::Arc;

use mainstay_actors::error::{Error, Reason};
use mainstay_actors::logs::{LogItem, LogLine, LogRange, LogSubscription};

use crate::inner::Inner;
use crate::suggestion::unknown_name;

/// The handle of the logs: of what the backend's own process and the agents' processes print. Cheap to clone.
///
/// The log of the backend has the id `backend`, and that of an agent has the agent's id. The files are in the data
/// folder, so a runtime without one has no logs.
#[derive(Clone)]
pub struct Logs(pub(crate) Arc<Inner>);

impl Logs {
    /// Reads lines of a log. All lines of its files may be much: see [`LogRange`].
    ///
    /// # Errors
    /// `not_found` if there is no such log; `data_unusable` if a file cannot be read.
    pub async fn read(&self, id: &str, range: LogRange) -> Result<Vec<LogLine>, Error> {
        let items = self.0.handles.logs.read(id, range).await.map_err(|error| unreadable(&error))?;
        let Some(items) = items else { return Err(self.unknown(id).await) };
        let line = |item| match item {
            LogItem::Line(line) => Some(line),
            LogItem::Lagged(_) => None,
        };
        Ok(items.into_iter().filter_map(line).collect())
    }

    /// Reads lines of a log, and then each line when it was written. The stream ends when the runtime has stopped.
    ///
    /// ```no_run
    /// # async fn example(mainstay: mainstay::Mainstay) -> Result<(), Box<dyn std::error::Error>> {
    /// use mainstay::{LogItem, LogRange};
    ///
    /// let range = LogRange { lines: Some(100), since: None };
    /// let mut log = mainstay.logs().follow("backend", range).await?;
    /// while let Some(item) = log.next().await {
    ///     if let LogItem::Line(line) = item? {
    ///         println!("{line}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn follow(&self, id: &str, range: LogRange) -> Result<LogSubscription, Error> {
        let followed = self.0.handles.logs.follow(id, range, self.0.has_stopped.subscribe()).await;
        match followed.map_err(|error| unreadable(&error))? {
            Some(subscription) => Ok(subscription),
            None => Err(self.unknown(id).await),
        }
    }

    /// Returns the ids of all logs, in order. Logs of agents that are no longer configured count as well.
    ///
    /// # Errors
    /// `data_unusable` if the folder cannot be read.
    pub async fn ids(&self) -> Result<Vec<String>, Error> {
        self.0.handles.logs.ids().await.map_err(|error| unreadable(&error))
    }

    async fn unknown(&self, id: &str) -> Error {
        match self.0.handles.logs.dir() {
            Some(_) => unknown_log(id, &self.ids().await.unwrap_or_default()),
            None => Error::new(Reason::NotFound)
                .with_message("There are no logs, since this runtime has no data folder.")
                .with_details("logs are kept in the data folder, and this runtime has none"),
        }
    }
}

/// Makes the error for a log that does not exist.
pub(crate) fn unknown_log(id: &str, known: &[String]) -> Error {
    let details = unknown_name("log", id, known.iter().map(String::as_str));
    Error::new(Reason::NotFound)
        .with_message("There is no such log. Only programs that the runtime has started have one.")
        .with_details(&details)
}

/// Makes the error for logs that the system does not let us read. The system's error names the file or the folder.
pub(crate) fn unreadable(error: &io::Error) -> Error {
    Error::new(Reason::DataUnusable).with_details(&format!("the log cannot be read: {error}"))
}
