//! Follows a journal from a sequence number on.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::memory::Line;
use super::reader::{Entry, Reader};
use super::{Journal, Record};

/// How many lines are fetched from disk at a time.
const DISK_LINES_MAX: usize = 256;

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The next event.
    Event(Box<Record>),
    /// Events that this subscriber can no longer get, because they are kept neither in memory nor on disk.
    Lagged {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
}

/// A subscriber's place in the journal: each event after its start once, in order, or a word on what is missing.
pub struct Subscription {
    journal: Journal,
    newest: watch::Receiver<u64>,
    last_seq: u64,
    fetched: VecDeque<Delivery>,
    /// Where reading from disk stands, while memory is behind it.
    disk: Option<Reader>,
}

impl Subscription {
    pub(super) fn new(journal: Journal, after: u64) -> Self {
        let newest = journal.0.newest.subscribe();
        Self { journal, newest, last_seq: after, fetched: VecDeque::new(), disk: None }
    }

    /// The next delivery. Waits until there is one: a runtime's last event is `runtime_stopped`.
    ///
    /// Cancel safe: an event that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.try_next().await {
                return delivery;
            }
            // The sender lives in the journal that this subscription holds, so the wait cannot fail.
            let _ = self.newest.changed().await;
        }
    }

    /// The next delivery if there is one already.
    pub async fn try_next(&mut self) -> Option<Delivery> {
        if let Some(delivery) = self.try_next_in_memory() {
            return Some(delivery);
        }
        // What has been seen up to here need not wake `next` again.
        let newest = *self.newest.borrow_and_update();
        let until = self.journal.log().memory.first().unwrap_or(newest + 1);
        // Equal where the line has come into memory since the look above.
        if self.last_seq < newest && until > self.last_seq + 1 {
            self.fetch_from_disk(until).await;
        }
        self.try_next_in_memory()
    }

    /// The next delivery if it is in memory already. Never waits, and never reads from disk.
    pub fn try_next_in_memory(&mut self) -> Option<Delivery> {
        if self.fetched.is_empty() {
            let line = self.journal.log().memory.get(self.last_seq + 1);
            if line.is_some() {
                self.disk = None;
            }
            self.fetched.extend(line.as_ref().and_then(parsed));
        }
        let delivery = self.fetched.pop_front()?;
        self.last_seq = match &delivery {
            Delivery::Event(record) => record.seq,
            Delivery::Lagged { to, .. } => *to,
        };
        Some(delivery)
    }

    /// Fetches lines that memory no longer has, up to but not including number `until`.
    async fn fetch_from_disk(&mut self, until: u64) {
        let after = self.last_seq;
        if let Some(dir) = self.journal.dir().map(Path::to_owned) {
            self.journal.flush().await;
            let reader = self.disk.take().unwrap_or_else(|| Reader::after(&dir, after));
            let read = tokio::task::spawn_blocking(move || read(reader, until)).await;
            if let Ok((reader, deliveries)) = read {
                self.disk = Some(reader);
                self.fetched.extend(deliveries);
            }
        }
        if self.fetched.is_empty() {
            self.disk = None;
            self.fetched.push_back(Delivery::Lagged { from: after + 1, to: until - 1 });
        }
    }
}

fn parsed(line: &Arc<Line>) -> Option<Delivery> {
    Record::parse(&line.text).ok().map(|record| Delivery::Event(Box::new(record)))
}

/// Reads on, and returns the reader where it stands.
fn read(mut reader: Reader, until: u64) -> (Reader, Vec<Delivery>) {
    let mut deliveries = Vec::new();
    while deliveries.len() < DISK_LINES_MAX {
        match reader.next_entry() {
            Ok(Some(Entry::Event(record, _))) if record.seq < until => {
                let is_last = record.seq + 1 == until;
                deliveries.push(Delivery::Event(record));
                if is_last {
                    break;
                }
            }
            Ok(Some(Entry::Missing { from, to })) if from < until => {
                deliveries.push(Delivery::Lagged { from, to: to.min(until - 1) });
            }
            Ok(Some(Entry::Damaged { .. })) => {}
            Ok(Some(Entry::Event(..) | Entry::Missing { .. }) | None) | Err(_) => break,
        }
    }
    (reader, deliveries)
}
