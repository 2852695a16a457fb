//! Follows a journal from a sequence number on.

use std::collections::VecDeque;
use std::io;

use tokio::sync::watch;

use super::log::Place;
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
    shown: watch::Receiver<()>,
    last_seq: u64,
    fetched: VecDeque<Box<Record>>,
    /// Where reading from disk stands, while memory is ahead of it.
    disk: Option<Reader>,
}

impl Subscription {
    pub(super) fn new(journal: Journal, after: u64) -> Self {
        let shown = journal.0.ledger.shown();
        Self { journal, shown, last_seq: after, fetched: VecDeque::new(), disk: None }
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
            let _ = self.shown.changed().await;
        }
    }

    /// The next delivery if there is one already, which may have to be read from disk. Cancel safe.
    pub async fn try_next(&mut self) -> Option<Delivery> {
        // What is seen below need not wake `next` again.
        self.shown.borrow_and_update();
        loop {
            if !self.fetched.is_empty() {
                return self.next_fetched();
            }
            let place = self.journal.0.ledger.log().place(self.last_seq + 1);
            match place {
                Place::Ahead => return None,
                Place::Memory(line) => return Some(self.parsed(&line)),
                Place::Gone(to) => return Some(self.lagged(to)),
                Place::Disk => {
                    if let Some(lagged) = self.fetch().await {
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
        let place = self.journal.0.ledger.log().place(self.last_seq + 1);
        match place {
            Place::Memory(line) => Some(self.parsed(&line)),
            _ => None,
        }
    }

    fn next_fetched(&mut self) -> Option<Delivery> {
        let seq = self.fetched.front()?.seq;
        if seq > self.last_seq + 1 {
            return Some(self.lagged(seq - 1));
        }
        self.last_seq = seq;
        self.fetched.pop_front().map(Delivery::Event)
    }

    fn parsed(&mut self, line: &str) -> Delivery {
        self.disk = None;
        match Record::parse(line) {
            Ok(record) => {
                self.last_seq = record.seq;
                Delivery::Event(Box::new(record))
            }
            // An event whose own fields bear the names that the journal gives cannot be read by anybody.
            Err(_) => self.lagged(self.last_seq + 1),
        }
    }

    fn lagged(&mut self, to: u64) -> Delivery {
        let from = self.last_seq + 1;
        self.last_seq = to;
        Delivery::Lagged { from, to }
    }

    /// Fetches lines that memory no longer has. If the disk has nothing of them either, says which are missing.
    async fn fetch(&mut self) -> Option<Delivery> {
        // A reader is kept only while everything that it has read is on its way from here.
        let reader = self.disk.take();
        let after = self.last_seq;
        let to = self.journal.0.ledger.log().last_on_disk_alone();
        if let Some(dir) = self.journal.dir() {
            let reader = reader.unwrap_or_else(|| Reader::after(dir, after));
            let read = tokio::task::spawn_blocking(move || read(reader)).await;
            if let Ok((reader, records, outcome)) = read {
                if let Err(error) = &outcome {
                    tracing::warn!(target: "mainstay", %error, "the journal cannot be read back from disk");
                }
                self.disk = outcome.is_ok().then_some(reader);
                self.fetched.extend(records.into_iter().filter(|record| record.seq > after));
            }
        }
        if self.fetched.is_empty() {
            self.disk = None;
            return Some(self.lagged(to));
        }
        None
    }
}

/// Reads on, and returns the reader where it stands.
fn read(mut reader: Reader) -> (Reader, VecDeque<Box<Record>>, io::Result<()>) {
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
