//! A log as a stream: the last lines, then each line when it was written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::files::list_logs;
use super::reader::{LogItem, LogRange, LogReader};
use super::store::LogStore;

/// The most items that wait for a slow subscriber. The files hold the rest.
const ITEMS_MAX: usize = 256;

/// A log, item by item. The stream ends with the runtime, or after an error.
///
/// A subscriber that is so slow that files are deleted before it comes to them gets [`LogItem::Lagged`].
#[derive(Debug)]
#[must_use = "a subscription does nothing until it is polled"]
pub struct LogSubscription {
    items: mpsc::Receiver<io::Result<LogItem>>,
    /// Owns the task that reads.
    _tasks: JoinSet<()>,
}

impl LogStore {
    /// Follows the log `id` from the beginning of a range, until the runtime `has_stopped`. Returns `None` if there is no
    /// such log in the folder.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub async fn follow(
        &self,
        id: &str,
        range: LogRange,
        has_stopped: watch::Receiver<bool>,
    ) -> io::Result<Option<LogSubscription>> {
        let written = self.written();
        let Some(reader) = self.open_reader(id, range).await? else { return Ok(None) };
        let (sender, items) = mpsc::channel(ITEMS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_items(reader, sender, written, has_stopped));
        Ok(Some(LogSubscription { items, _tasks: tasks }))
    }

    /// Reads a range of the log `id`. Returns `None` if there is no such log in the folder.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub async fn read(&self, id: &str, range: LogRange) -> io::Result<Option<Vec<LogItem>>> {
        let Some(mut reader) = self.open_reader(id, range).await? else { return Ok(None) };
        blocking(move || {
            let mut items = Vec::new();
            while let Some(item) = reader.next_item()? {
                items.push(item);
            }
            Ok(Some(items))
        })
        .await
    }

    /// Returns the ids of the logs in the folder, in order.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub async fn ids(&self) -> io::Result<Vec<String>> {
        let Some(dir) = self.dir().map(ToOwned::to_owned) else { return Ok(Vec::new()) };
        blocking(move || list_logs(&dir)).await
    }

    async fn open_reader(&self, id: &str, range: LogRange) -> io::Result<Option<LogReader>> {
        let Some(dir) = self.dir().map(ToOwned::to_owned) else { return Ok(None) };
        let id = id.to_owned();
        blocking(move || LogReader::open(&dir, &id, &range)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

async fn read_items(
    mut reader: LogReader,
    sender: mpsc::Sender<io::Result<LogItem>>,
    mut written: watch::Receiver<u64>,
    mut has_stopped: watch::Receiver<bool>,
) {
    loop {
        written.mark_unchanged();
        let is_last = *has_stopped.borrow();
        loop {
            let read = blocking(move || {
                let mut items = Vec::new();
                while items.len() < ITEMS_MAX
                    && let Some(item) = reader.next_item()?
                {
                    items.push(item);
                }
                Ok((reader, items))
            });
            let items = match read.await {
                Ok((same_reader, items)) => {
                    reader = same_reader;
                    items
                }
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            if items.is_empty() {
                break;
            }
            for item in items {
                if sender.send(Ok(item)).await.is_err() {
                    return;
                }
            }
        }
        if is_last {
            return;
        }
        tokio::select! {
            changed = written.changed() => if changed.is_err() { return },
            _ = has_stopped.wait_for(|has_stopped| *has_stopped) => {}
        }
    }
}

impl LogSubscription {
    /// Waits for the next item; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// Fails if a file cannot be read. Nothing follows.
    pub async fn next(&mut self) -> Option<io::Result<LogItem>> {
        self.items.recv().await
    }

    /// Returns the next item if it is there already.
    pub fn try_next(&mut self) -> Option<io::Result<LogItem>> {
        self.items.try_recv().ok()
    }
}

impl Stream for LogSubscription {
    type Item = io::Result<LogItem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_recv(context)
    }
}
