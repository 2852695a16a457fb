//! The journal as a whole: on real files, and on disks that do as they are told.

mod following;
#[cfg(unix)]
mod full_disk;
mod numbering;
mod reading;
mod recording;
mod failing_disk;
mod retention;
mod secrets;
mod fake_disk;
mod subscribing;
mod torn_tail;

use std::fs;

use serde::{Deserialize, Serialize};

use super::*;
use crate::clock::SystemClock;

#[derive(Serialize, Deserialize)]
struct NumberedEvent {
    n: u64,
}

impl Event for NumberedEvent {
    const KIND: &'static str = "noted";
}

fn actor() -> ActorPath {
    ActorPath::root("root").unwrap()
}

fn open(dir: &Path, config: JournalConfig) -> Journal {
    Journal::open(dir, "boot", Arc::new(SystemClock), config).unwrap()
}

fn in_memory(config: JournalConfig) -> Journal {
    Journal::in_memory("boot", Arc::new(SystemClock), config)
}

fn record_numbers(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        journal.record(&actor(), 1, &NumberedEvent { n });
    }
}

/// Records and waits for the disk.
async fn record_and_flush(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
    record_numbers(journal, numbers);
    journal.flush().await;
}

fn entries(dir: &Path, after: u64) -> Vec<Entry> {
    let mut reader = Reader::after(dir, after);
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    let seq = |entry: &Entry| match entry {
        Entry::Event(record, _) => record.seq,
        other => panic!("not an event: {other:?}"),
    };
    entries.iter().map(seq).collect()
}

fn seq_range(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    segment::list_segments(dir).unwrap().into_iter().map(|segment| segment.path).collect()
}

fn only_segment(dir: &Path) -> PathBuf {
    let segments = segments(dir);
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].clone()
}

/// Makes the folder look as if its run had not ended in order.
fn as_if_killed(dir: &Path, reserved: u64) {
    numbers::Numbers::open(dir).unwrap().0.reserve(reserved).unwrap();
}

/// What the journal has said of itself, from the event after `after` on.
async fn degradations(journal: &Journal, after: u64) -> Vec<JournalDegraded> {
    let mut subscription = journal.subscribe_after(after);
    let mut accounts = Vec::new();
    while let Some(delivery) = subscription.try_next().await {
        if let Delivery::Event(record) = delivery
            && record.kind == JournalDegraded::KIND
        {
            accounts.push(record.decode().unwrap());
        }
    }
    accounts
}
