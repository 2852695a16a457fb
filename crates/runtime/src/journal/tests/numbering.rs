//! No number is given twice, however a run ends.

use super::fake_disk::FakeDisk;
use super::*;

const UNCLEAN_SHUTDOWN: &str =
    "the last run did not end in order; what it recorded under these numbers, if anything, is lost";

#[tokio::test]
async fn next_run_continues_the_numbering() {
    let dir = tempfile::tempdir().unwrap();
    for run in 0..3 {
        let journal = open(dir.path(), JournalConfig::default());
        assert_eq!(journal.seq_before_run(), run * 2);
        record_numbers(&journal, 0..2);
        journal.close().await.unwrap();
    }
    assert_eq!(seqs(&entries(dir.path(), 0)), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn after_a_run_that_did_not_end_in_order_its_reserved_numbers_are_left_out_and_everybody_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    as_if_killed(dir.path(), 4096);

    let journal = open(dir.path(), JournalConfig::default());
    assert_eq!(journal.seq_before_run(), 4096);
    record_and_flush(&journal, 3..4).await;
    let account = JournalDegraded::new(UNCLEAN_SHUTDOWN, Some((4, 4096)));
    assert_eq!(degradations(&journal, journal.seq_before_run()).await, [account]);

    let entries = entries(dir.path(), 0);
    assert_eq!(seqs(&entries[..3]), [1, 2, 3]);
    assert_eq!(entries[3], Entry::Missing { from: 4, to: 4096 });
    assert_eq!(seqs(&entries[4..]), [4097, 4098]);

    let mut subscription = journal.subscribe_after(2);
    assert!(matches!(subscription.next().await, Delivery::Event(record) if record.seq == 3));
    assert_eq!(subscription.next().await, Delivery::Lagged { from: 4, to: 4096 });
    assert!(matches!(subscription.next().await, Delivery::Event(record) if record.seq == 4097));
}

#[tokio::test]
async fn numbering_continues_after_segments_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    fs::remove_file(only_segment(dir.path())).unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_and_flush(&journal, 0..1).await;
    assert_eq!(seqs(&entries(dir.path(), 0)), [4, 5]);
    let account = JournalDegraded::new("the disk refused the last lines of the last run", Some((1, 3)));
    assert_eq!(degradations(&journal, 3).await, [account]);
}

#[tokio::test]
async fn a_note_on_numbers_that_cannot_be_read_counts_as_a_run_that_did_not_end_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    fs::write(dir.path().join("journal.numbers"), "something else").unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    let account = JournalDegraded::new(UNCLEAN_SHUTDOWN, Some((4, 3 + RESERVED_NUMBERS)));
    assert_eq!(degradations(&journal, journal.seq_before_run()).await, [account]);
}

#[tokio::test]
async fn a_journal_that_has_no_note_on_numbers_yet_goes_on_after_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    fs::remove_file(dir.path().join("journal.numbers")).unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_and_flush(&journal, 3..4).await;
    assert_eq!(seqs(&entries(dir.path(), 0)), [1, 2, 3, 4]);
}

#[tokio::test]
async fn damaged_last_lines_count_as_one_seq_each() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    fs::remove_file(dir.path().join("journal.numbers")).unwrap();
    let path = only_segment(dir.path());
    let damaged =
        fs::read_to_string(&path).unwrap().replace("\"n\":1", "\"n\":7").replace("\"n\":2", "\"n\":8");
    fs::write(&path, damaged).unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    assert_eq!(journal.seq_before_run(), 3);
}

#[tokio::test]
async fn open_fails_when_the_numbers_are_used_up() {
    let dir = tempfile::tempdir().unwrap();
    as_if_killed(dir.path(), u64::MAX);
    let refused = Journal::open(dir.path(), "b", Arc::new(SystemClock), JournalConfig::default());
    let Err(error) = refused else { panic!("it was opened") };
    assert!(error.to_string().contains("it has reached number 18446744073709551615"), "{error}");
}

#[tokio::test]
async fn nothing_is_shown_under_a_number_that_is_not_reserved() {
    let disk = FakeDisk::new();
    let journal = disk.journal(JournalConfig::default());
    disk.hold_numbers(true);
    record_numbers(&journal, 0..RESERVED_NUMBERS + 100);
    assert_eq!(journal.seq(), RESERVED_NUMBERS);
    let mut subscription = journal.subscribe_after(RESERVED_NUMBERS - 1);
    assert!(matches!(subscription.try_next().await, Some(Delivery::Event(_))));
    assert_eq!(subscription.try_next().await, None);
    disk.hold_numbers(false);
    assert!(
        matches!(subscription.next().await, Delivery::Event(record) if record.seq == RESERVED_NUMBERS + 1)
    );
    assert_eq!(journal.seq(), RESERVED_NUMBERS + 100);
}

#[tokio::test]
async fn a_subscriber_to_a_flood_is_never_ahead_of_the_reservation() {
    let disk = FakeDisk::new();
    let journal = disk.journal(JournalConfig::default());
    let last = 5 * RESERVED_NUMBERS;
    std::thread::scope(|scope| {
        for half in [1..last / 2, last / 2..last + 1] {
            scope.spawn(|| record_numbers(&journal, half));
        }
        while journal.seq() < last {
            let shown = journal.seq();
            assert!(shown <= disk.reserved(), "{shown} is shown");
        }
    });
}

#[tokio::test]
async fn where_no_numbers_can_be_reserved_lines_are_shown_all_the_same_and_it_is_told_once() {
    let disk = FakeDisk::new();
    disk.refuse_numbers(true);
    let journal = disk.journal(JournalConfig::default());
    for n in 0..10 {
        record_and_flush(&journal, [n]).await;
    }
    let accounts = degradations(&journal, 0).await;
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    assert!(accounts[0].reason.contains("no numbers can be reserved"), "{accounts:?}");
    assert_eq!(journal.seq(), 11);
    disk.refuse_numbers(false);
    record_and_flush(&journal, [10]).await;
    assert!(disk.reserved() > 12, "it is tried again with the next lines");
}
