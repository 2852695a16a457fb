//! Follows a journal from a sequence number on.

use std::collections::VecDeque;
use std::io;

use tokio::sync::watch;

use super::log::LineLocation;
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
    visible_changed: watch::Receiver<()>,
    last_seq: u64,
    fetched: VecDeque<Box<Record>>,
    /// Where reading from disk stands, while memory is ahead of it.
    disk_reader: Option<Reader>,
}

impl Subscription {
    pub(super) fn new(journal: Journal, after: u64) -> Self {
        let shown = journal.0.shared_log.subscribe_visible();
        Self { journal, visible_changed: shown, last_seq: after, fetched: VecDeque::new(), disk_reader: None }
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
            let _ = self.visible_changed.changed().await;
        }
    }

    /// The next delivery if there is one already, which may have to be read from disk. Cancel safe.
    pub async fn try_next(&mut self) -> Option<Delivery> {
        // What is seen below need not wake `next` again.
        self.visible_changed.borrow_and_update();
        loop {
            if !self.fetched.is_empty() {
                return self.next_fetched();
            }
            let place = self.journal.0.shared_log.log().locate(self.last_seq + 1);
            match place {
                LineLocation::Pending => return None,
                LineLocation::Memory(line) => return Some(self.deliver_line(&line)),
                LineLocation::Lost(to) => return Some(self.deliver_lag(to)),
                LineLocation::Disk => {
                    if let Some(lagged) = self.fetch_from_disk().await {
                        return Some(lagged);
                    }
                }
            }
        }
    }

    /// The next delivery if it is in memory already. Never waits, and never reads from disk.
    pub fn try_next_in_memory(&mut self) -> Option<Delivery> {
        if !self.fetched.is_empty() {
            return self.next_fetched();
        }
        let place = self.journal.0.shared_log.log().locate(self.last_seq + 1);
        match place {
            LineLocation::Memory(line) => Some(self.deliver_line(&line)),
            _ => None,
        }
    }

    fn next_fetched(&mut self) -> Option<Delivery> {
        let seq = self.fetched.front()?.seq;
        if seq > self.last_seq + 1 {
            return Some(self.deliver_lag(seq - 1));
        }
        self.last_seq = seq;
        self.fetched.pop_front().map(Delivery::Event)
    }

    fn deliver_line(&mut self, line: &str) -> Delivery {
        self.disk_reader = None;
        match Record::parse(line) {
            Ok(record) => {
                self.last_seq = record.seq;
                Delivery::Event(Box::new(record))
            }
            // An event whose own fields bear the names that the journal gives cannot be read by anybody.
            Err(_) => self.deliver_lag(self.last_seq + 1),
        }
    }

    fn deliver_lag(&mut self, to: u64) -> Delivery {
        let from = self.last_seq + 1;
        self.last_seq = to;
        Delivery::Lagged { from, to }
    }

    /// Fetches lines that memory no longer has. If the disk has nothing of them either, says which are missing.
    async fn fetch_from_disk(&mut self) -> Option<Delivery> {
        // A reader is kept only while everything that it has read is on its way from here.
        let reader = self.disk_reader.take();
        let after = self.last_seq;
        let to = self.journal.0.shared_log.log().last_disk_only_seq();
        if let Some(dir) = self.journal.dir() {
            let reader = reader.unwrap_or_else(|| Reader::after(dir, after));
            let read = tokio::task::spawn_blocking(move || read_batch(reader)).await;
            if let Ok((reader, records, outcome)) = read {
                if let Err(error) = &outcome {
                    tracing::warn!(target: "mainstay", %error, "the journal cannot be read back from disk");
                }
                self.disk_reader = outcome.is_ok().then_some(reader);
                self.fetched.extend(records.into_iter().filter(|record| record.seq > after));
            }
        }
        if self.fetched.is_empty() {
            self.disk_reader = None;
            return Some(self.deliver_lag(to));
        }
        None
    }
}

/// Reads on, and returns the reader where it stands.
fn read_batch(mut reader: Reader) -> (Reader, VecDeque<Box<Record>>, io::Result<()>) {
    let mut records = VecDeque::new();
    while records.len() < DISK_LINES_MAX {
        match reader.next_entry() {
            Ok(Some(Entry::Event(record, _))) => records.push_back(record),
            // The number of the next event says what is missing.
            Ok(Some(Entry::Missing { .. } | Entry::Damaged { .. })) => {}
            Ok(None) => break,
            Err(error) => return (reader, records, Err(error)),
        }
    }
    (reader, records, Ok(()))
}
