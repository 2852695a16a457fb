//! Follows a journal from a cursor.

use std::collections::VecDeque;
use std::io;

use tokio::sync::watch;

use super::log::LineLocation;
use super::reader::{Entry, Reader};
use super::{Cursor, Journal, Record};

/// The number of lines that are fetched from disk at a time.
const DISK_LINES_MAX: usize = 256;

/// An item that a subscriber gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The next event.
    Event(Box<Record>),
    /// Events that this subscriber can no longer get, because neither memory nor the disk has them.
    Lagged {
        /// The subscriber's place before the gap.
        after: Cursor,
        /// The first event that may follow. If it belongs to a later run, the number of missing events is not known,
        /// and may be 0.
        before: Cursor,
    },
}

/// A subscriber's place in the journal. It delivers each event after its start once, in order, or reports what is
/// missing.
pub struct JournalSubscription {
    journal: Journal,
    run: u64,
    visible_changed: watch::Receiver<()>,
    last: Cursor,
    fetched: VecDeque<Delivery>,
    /// The reader of lines that memory no longer has.
    disk_reader: Option<Reader>,
}

impl JournalSubscription {
    pub(super) fn new(journal: Journal, after: Cursor) -> Self {
        let (visible_changed, run) = (journal.0.log.visible_changed(), journal.run());
        Self { journal, run, visible_changed, last: after, fetched: VecDeque::new(), disk_reader: None }
    }

    /// Returns the place of the last delivery. Another subscription can continue from it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.last
    }

    /// Returns the next delivery, and waits for it if necessary. A runtime's last event is `runtime_stopped`.
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

    /// Returns the next delivery if it exists already; reading it may need the disk. Cancel safe.
    pub async fn try_next(&mut self) -> Option<Delivery> {
        // A line that is seen below need not wake `next` again.
        self.visible_changed.borrow_and_update();
        loop {
            if let Some(delivery) = self.next_fetched() {
                return Some(delivery);
            }
            if self.last.run < self.run {
                self.fetch_earlier_runs().await;
                continue;
            }
            match self.locate_next() {
                LineLocation::Pending => return None,
                LineLocation::Memory(line) => return Some(self.deliver_line(&line)),
                LineLocation::Lost(to) => return Some(self.deliver_lag(Cursor::new(self.run, to).next())),
                LineLocation::Disk => {
                    if let Some(lagged) = self.fetch_from_disk().await {
                        return Some(lagged);
                    }
                }
            }
        }
    }

    /// Returns the next delivery if it is in memory already. Never waits, and never reads from disk.
    pub fn try_next_in_memory(&mut self) -> Option<Delivery> {
        if let Some(delivery) = self.next_fetched() {
            return Some(delivery);
        }
        match (self.last.run == self.run).then(|| self.locate_next()) {
            Some(LineLocation::Memory(line)) => Some(self.deliver_line(&line)),
            _ => None,
        }
    }

    /// Returns the place of the next line of this run.
    fn locate_next(&self) -> LineLocation {
        self.journal.0.log.log().locate(self.last.seq.saturating_add(1))
    }

    fn next_fetched(&mut self) -> Option<Delivery> {
        loop {
            let (before, is_event) = match self.fetched.front()? {
                Delivery::Event(record) => (record.cursor().next(), true),
                Delivery::Lagged { before, .. } => (*before, false),
            };
            if before <= self.last.next() {
                // The line was delivered from memory meanwhile.
                self.fetched.pop_front();
            } else if is_event {
                self.last = before.previous();
                return self.fetched.pop_front();
            } else {
                return Some(self.over_gap(before));
            }
        }
    }

    /// Skips a gap on disk, which ends before `before`. Memory may still have a part of it.
    fn over_gap(&mut self, before: Cursor) -> Delivery {
        if self.last.run < self.run {
            return self.deliver_lag(before);
        }
        match self.locate_next() {
            LineLocation::Memory(line) => self.deliver_line(&line),
            _ => {
                let in_memory = Cursor::new(self.run, self.journal.0.log.log().first_in_memory());
                self.deliver_lag(before.min(in_memory))
            }
        }
    }

    fn deliver_line(&mut self, line: &str) -> Delivery {
        self.disk_reader = None;
        match Record::parse(line) {
            Ok(record) => {
                self.last = record.cursor();
                Delivery::Event(Box::new(record))
            }
            // An event cannot be read if its own fields have names that the journal reserves.
            Err(_) => self.deliver_lag(self.last.next().next()),
        }
    }

    fn deliver_lag(&mut self, before: Cursor) -> Delivery {
        let after = std::mem::replace(&mut self.last, before.previous());
        Delivery::Lagged { after, before }
    }

    /// Fetches lines of earlier runs, or continues with this run if there are no more of them.
    async fn fetch_earlier_runs(&mut self) {
        let own_start = Cursor::new(self.run, 0);
        let Some(dir) = self.journal.dir() else {
            self.last = own_start;
            return;
        };
        let reader = self.disk_reader.take().unwrap_or_else(|| Reader::after(dir, self.last));
        let read = tokio::task::spawn_blocking(move || read_batch(reader)).await;
        let Ok((reader, deliveries, outcome)) = read else {
            self.fetched.push_back(self.gap_to(own_start.next()));
            return;
        };
        warn_of(&outcome);
        let is_end = deliveries.len() < DISK_LINES_MAX;
        let is_doubtful = outcome.is_err() || reader.is_doubtful();
        let is_earlier = |delivery: &Delivery| match delivery {
            Delivery::Event(record) => record.run < self.run,
            Delivery::Lagged { before, .. } => before.run < self.run,
        };
        let count = deliveries.len();
        let mut deliveries = deliveries.into_iter().peekable();
        self.fetched.extend(std::iter::from_fn(|| deliveries.next_if(is_earlier)));
        let reaches_own = self.fetched.len() < count;
        let is_gap = match deliveries.next() {
            Some(Delivery::Lagged { .. }) => true,
            Some(Delivery::Event(_)) => false,
            None => is_end && is_doubtful,
        };
        if is_gap {
            self.fetched.push_back(self.gap_to(own_start.next()));
        } else if !reaches_own && !is_end {
            self.disk_reader = Some(reader);
        }
        if self.fetched.is_empty() {
            self.last = own_start;
        }
    }

    fn gap_to(&self, before: Cursor) -> Delivery {
        Delivery::Lagged { after: self.last, before }
    }

    /// Fetches lines of this run that memory no longer has. If the disk has none of them, reports which are missing.
    async fn fetch_from_disk(&mut self) -> Option<Delivery> {
        // A reader is kept only while everything that it has read is being delivered from here.
        let reader = self.disk_reader.take();
        let after = self.last;
        let to = Cursor::new(self.run, self.journal.0.log.log().last_disk_only_seq());
        if let Some(dir) = self.journal.dir() {
            let reader = reader.unwrap_or_else(|| Reader::after(dir, after));
            let read = tokio::task::spawn_blocking(move || read_batch(reader)).await;
            if let Ok((reader, deliveries, outcome)) = read {
                warn_of(&outcome);
                self.disk_reader = outcome.is_ok().then_some(reader);
                self.fetched.extend(deliveries);
            }
        }
        if self.fetched.is_empty() {
            self.disk_reader = None;
            return Some(self.deliver_lag(to.next()));
        }
        None
    }
}

fn warn_of(outcome: &io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(target: "mainstay", %error, "the journal cannot be read back from disk");
    }
}

/// Reads a batch, and returns the reader with it.
fn read_batch(mut reader: Reader) -> (Reader, VecDeque<Delivery>, io::Result<()>) {
    let mut deliveries = VecDeque::new();
    while deliveries.len() < DISK_LINES_MAX {
        match reader.next_entry() {
            Ok(Some(Entry::Event(record, _))) => deliveries.push_back(Delivery::Event(record)),
            Ok(Some(Entry::Missing { after, before })) => {
                deliveries.push_back(Delivery::Lagged { after, before });
            }
            // The entry after it reports the gap.
            Ok(Some(Entry::Damaged { .. } | Entry::OlderFormat { .. })) => {}
            Ok(None) => break,
            Err(error) => return (reader, deliveries, Err(error)),
        }
    }
    (reader, deliveries, Ok(()))
}
