//! What becomes of an event when it is recorded, and how lines are brought to disk together.

use super::staged_disk::StagedDisk;
use super::*;

#[derive(Serialize)]
struct Chatter {}

impl Event for Chatter {
    const KIND: &'static str = "chatter";
    const VERBOSE: bool = true;
}

#[derive(Serialize)]
struct Bare(String);

impl Event for Bare {
    const KIND: &'static str = "bare";
}

#[derive(Serialize)]
struct Misnamed {
    seq: u64,
}

impl Event for Misnamed {
    const KIND: &'static str = "misnamed";
}

#[tokio::test]
async fn verbose_events_are_recorded_only_when_asked_for() {
    for (verbose, seq) in [(false, 0), (true, 1)] {
        let journal = in_memory(JournalConfig { verbose, ..JournalConfig::default() });
        journal.record(&actor(), 1, &Chatter {});
        assert_eq!(journal.seq(), seq);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_a_line_is_replaced_by_the_word_that_it_was_left_out() {
    #[derive(Serialize)]
    struct Long {
        text: String,
    }
    impl Event for Long {
        const KIND: &'static str = "long";
    }
    let journal = in_memory(JournalConfig::default());
    journal.record(&actor(), 1, &Bare("text".to_owned()));
    journal.record(&actor(), 1, &Long { text: "x".repeat(EVENT_BYTES_MAX) });
    let reasons: Vec<_> = accounts(&journal, 0).await.into_iter().map(|account| account.reason).collect();
    assert!(reasons[0].contains("kind bare") && reasons[0].contains("JSON object"), "{reasons:?}");
    assert!(reasons[1].contains("kind long") && reasons[1].contains("1048576 are allowed"), "{reasons:?}");
}

#[tokio::test]
async fn an_event_that_takes_the_journals_own_names_is_missing_and_hides_no_other() {
    let journal = in_memory(JournalConfig::default());
    journal.record(&actor(), 1, &Misnamed { seq: 5 });
    note(&journal, [0]);
    let mut subscription = journal.subscribe_after(0);
    assert_eq!(subscription.next().await, Delivery::Lagged { from: 1, to: 1 });
    assert!(matches!(subscription.next().await, Delivery::Event(record) if record.seq == 2));
}

#[tokio::test]
async fn lines_that_come_while_the_disk_is_busy_are_written_and_synced_together() {
    let disk = StagedDisk::new();
    let journal = disk.journal(JournalConfig::default());
    disk.hold();
    note(&journal, [0]);
    disk.wait_until_held();
    note(&journal, 1..1001);
    disk.release();
    journal.flush().await;
    assert_eq!(disk.seqs(), numbers(1..=1001));
    assert_eq!(disk.appends(), 3, "the first line, then groups of 512");
}

#[tokio::test]
async fn a_group_of_long_lines_is_bounded_by_its_bytes() {
    #[derive(Serialize)]
    struct Long {
        text: String,
    }
    impl Event for Long {
        const KIND: &'static str = "long";
    }
    let disk = StagedDisk::new();
    let journal = disk.journal(JournalConfig::default());
    disk.hold();
    note(&journal, [0]);
    disk.wait_until_held();
    for _ in 0..6 {
        journal.record(&actor(), 1, &Long { text: "x".repeat(500_000) });
    }
    disk.release();
    journal.flush().await;
    assert_eq!(disk.appends(), 3, "the first line, then three and three");
}

#[tokio::test]
async fn after_the_end_an_event_is_not_numbered_and_lines_can_still_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 0..3);
    journal.close().await.unwrap();
    note(&journal, 3..5);
    assert_eq!(journal.seq(), 3);
    assert_eq!(seqs(&entries(dir.path(), 0)), [1, 2, 3]);
    let mut subscription = journal.subscribe_after(2);
    assert!(matches!(subscription.try_next().await, Some(Delivery::Event(record)) if record.seq == 3));
    assert_eq!(subscription.try_next().await, None);
    journal.close().await.unwrap();
}

#[tokio::test]
async fn a_journal_that_is_dropped_writes_what_it_has_and_ends_in_order() {
    let disk = StagedDisk::new();
    let journal = disk.journal(JournalConfig::default());
    note(&journal, 0..100);
    drop(journal);
    disk.wait_until_concluded();
    assert_eq!(disk.seqs(), numbers(1..=100));
}
