//! The journal as a whole: on real files, and on fake disks.

mod failing_disk;
mod fake_disk;
mod following;
#[cfg(unix)]
mod full_disk;
#[cfg(unix)]
mod lost_files;
mod reading;
mod recording;
mod resuming;
mod retention;
mod runs;
mod secrets;
mod subscribing;
mod torn_tail;
mod traces;

use std::fs;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;

/// Makes a type an event of this kind.
macro_rules! test_event {
    ($event:ty, $kind:expr $(, VERBOSE = $verbose:expr)?) => {
        impl Event for $event {
            const KIND: &'static str = $kind;
            $(const VERBOSE: bool = $verbose;)?

            fn describe(&self) -> String {
                Self::KIND.to_owned()
            }
        }
    };
}
use test_event;

#[derive(Serialize, Deserialize)]
struct NumberedEvent {
    n: u64,
}

/// The last event of a runtime.
#[derive(Serialize)]
struct Stopped {}

#[derive(Serialize)]
struct TextEvent {
    text: String,
}

test_event!(NumberedEvent, "noted");
test_event!(Stopped, RUN_END_KIND);
test_event!(TextEvent, "said");

fn actor() -> ActorPath {
    ActorPath::root("root").unwrap()
}

fn open(dir: &Path, config: JournalOptions) -> Journal {
    Journal::open(dir, "boot", Arc::new(SystemClock), config).unwrap()
}

/// Opens a journal in a folder of its own.
fn open_temp(options: JournalOptions) -> (TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), options);
    (dir, journal)
}

fn in_memory(config: JournalOptions) -> Journal {
    Journal::in_memory("boot", Arc::new(SystemClock), config)
}

fn record_numbers(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        journal.record(&actor(), 1, &NumberedEvent { n });
    }
}

/// Ends a run in order.
async fn stop(journal: &Journal) {
    journal.record(&actor(), 0, &Stopped {});
    journal.close().await.unwrap();
}

/// Records and waits for the disk.
async fn record_and_flush(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
    record_numbers(journal, numbers);
    journal.flush().await;
}

fn at(run: u64, seq: u64) -> Cursor {
    Cursor::new(run, seq)
}

/// Returns every entry that is kept.
fn all_entries(dir: &Path) -> Vec<Entry> {
    entries(dir, Cursor::START)
}

fn entries(dir: &Path, after: Cursor) -> Vec<Entry> {
    next_entries(&mut Reader::after(dir, after))
}

/// Returns what a reader finds up to the present end.
fn next_entries(reader: &mut Reader) -> Vec<Entry> {
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn cursors(entries: &[Entry]) -> Vec<Cursor> {
    let cursor = |entry: &Entry| match entry {
        Entry::Event(record, _) => record.cursor(),
        other => panic!("not an event: {other:?}"),
    };
    entries.iter().map(cursor).collect()
}

/// Returns the cursor of the next delivery, which must be an event.
async fn next_cursor(subscription: &mut JournalSubscription) -> Cursor {
    match subscription.next().await {
        Delivery::Event(record) => record.cursor(),
        lagged => panic!("events are missing: {lagged:?}"),
    }
}

/// Returns the numbers of events that are all of run 1.
fn seqs(entries: &[Entry]) -> Vec<u64> {
    let cursors = cursors(entries);
    assert!(cursors.iter().all(|cursor| cursor.run == 1), "{cursors:?}");
    cursors.iter().map(|cursor| cursor.seq).collect()
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

/// Returns the reasons of the journal's events about itself.
async fn degraded_reasons(journal: &Journal) -> Vec<String> {
    degraded_events(journal, Cursor::START).await.into_iter().map(|report| report.message).collect()
}

/// Returns the journal's events about itself, from the event after `after` on.
async fn degraded_events(journal: &Journal, after: Cursor) -> Vec<JournalDegraded> {
    let mut subscription = journal.subscribe_after(after);
    let mut events = Vec::new();
    while let Some(delivery) = subscription.try_next().await {
        if let Delivery::Event(record) = delivery
            && record.kind == JournalDegraded::KIND
        {
            events.push(record.decode().unwrap());
        }
    }
    events
}
