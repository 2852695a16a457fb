//! The path of an event from its recording to the disk, alone and in groups.

use super::fake_disk::FakeDisk;
use super::*;

#[derive(Serialize)]
struct VerboseEvent {}

test_event!(VerboseEvent, "chatter", VERBOSE = true);

#[derive(Serialize)]
struct NonObjectEvent(String);

test_event!(NonObjectEvent, "bare");

#[derive(Serialize)]
struct ReservedFieldEvent {
    seq: u64,
}

test_event!(ReservedFieldEvent, "misnamed");

#[tokio::test]
async fn verbose_events_are_recorded_only_when_enabled() {
    for (verbose, seq) in [(false, 0), (true, 1)] {
        let journal = in_memory(JournalOptions { verbose, ..JournalOptions::default() });
        journal.record(&actor(), 1, &VerboseEvent {});
        assert_eq!(journal.cursor(), at(1, seq));
    }
}

#[tokio::test]
async fn unwritable_event_is_replaced_by_a_degraded_event() {
    let journal = in_memory(JournalOptions::default());
    journal.record(&actor(), 1, &NonObjectEvent("text".to_owned()));
    journal.record(&actor(), 1, &TextEvent { text: "x".repeat(EVENT_BYTES_MAX) });
    let reasons = degraded_reasons(&journal).await;
    assert!(reasons[0].contains("kind bare") && reasons[0].contains("JSON object"), "{reasons:?}");
    assert!(reasons[1].contains("kind said") && reasons[1].contains("1048576 are allowed"), "{reasons:?}");
}

#[tokio::test]
async fn event_with_reserved_field_names_is_skipped() {
    let journal = in_memory(JournalOptions::default());
    journal.record(&actor(), 1, &ReservedFieldEvent { seq: 5 });
    record_numbers(&journal, [0]);
    let mut subscription = journal.subscribe();
    assert_eq!(subscription.next().await, Delivery::Lagged { after: at(1, 0), before: at(1, 2) });
    assert_eq!(next_cursor(&mut subscription).await, at(1, 2));
}

#[tokio::test]
async fn lines_recorded_during_a_write_form_one_batch() {
    let disk = FakeDisk::new();
    let journal = disk.blocked_journal();
    record_numbers(&journal, 1..1001);
    disk.unblock_writes();
    journal.flush().await;
    assert_eq!(disk.seqs(), seq_range(1..=1001));
    assert_eq!(disk.appends(), 3, "the first line, then groups of 512");
}

#[tokio::test]
async fn batch_of_long_lines_is_bounded_by_bytes() {
    let disk = FakeDisk::new();
    let journal = disk.blocked_journal();
    for _ in 0..6 {
        journal.record(&actor(), 1, &TextEvent { text: "x".repeat(500_000) });
    }
    disk.unblock_writes();
    journal.flush().await;
    assert_eq!(disk.appends(), 3, "the first line, then three and three");
}

#[tokio::test]
async fn closed_journal_records_nothing_and_still_serves_lines() {
    let (dir, journal) = open_temp(JournalOptions::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    record_numbers(&journal, 3..5);
    assert_eq!(journal.cursor(), at(1, 3));
    assert_eq!(seqs(&all_entries(dir.path())), [1, 2, 3]);
    let mut subscription = journal.subscribe_after(at(1, 2));
    assert!(matches!(subscription.try_next().await, Some(Delivery::Event(record)) if record.seq == 3));
    assert_eq!(subscription.try_next().await, None);
    journal.close().await.unwrap();
}

#[tokio::test]
async fn dropped_journal_writes_its_lines_and_finishes() {
    let disk = FakeDisk::new();
    let journal = disk.journal(JournalOptions::default());
    record_numbers(&journal, 0..100);
    drop(journal);
    disk.wait_until_closed();
    assert_eq!(disk.seqs(), seq_range(1..=100));
}
