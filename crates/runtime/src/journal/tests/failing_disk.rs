//! A disk that refuses lines, or is too slow: the reports, the losses, and the recovery.

use super::fake_disk::{FakeDisk, NEVER};
use super::*;
use crate::journal::recent_lines::UNWRITTEN_LINES_MAX;

/// Returns the journal's next event about itself.
async fn next_degradation(subscription: &mut JournalSubscription) -> JournalDegraded {
    loop {
        if let Delivery::Event(record) = subscription.next().await
            && record.kind == JournalDegraded::KIND
        {
            return record.decode().unwrap();
        }
    }
}

#[tokio::test]
async fn disk_failure_and_recovery_are_reported_without_loss() {
    let disk = FakeDisk::new();
    disk.set_room(0);
    let journal = disk.journal(JournalOptions::default());
    let mut subscription = journal.subscribe();
    record_numbers(&journal, 0..10);
    let refused = next_degradation(&mut subscription).await;
    assert!(refused.message.contains("refuses lines"), "{refused:?}");
    assert!(refused.message.contains(&journal.degraded().unwrap()), "{:?}", journal.degraded());
    record_numbers(&journal, 10..20);
    disk.remove_limit();
    let recovered = next_degradation(&mut subscription).await;
    assert_eq!(
        recovered,
        JournalDegraded::new("the disk takes lines again", None).with_phase(FaultPhase::Ends)
    );
    assert_eq!(journal.degraded(), None);
    journal.close().await.unwrap();
    assert_eq!(disk.seqs(), seq_range(1..=22), "twenty notes and two words of the journal itself");
}

#[tokio::test]
async fn partial_write_resumes_without_duplicates() {
    for room in 0..10 {
        let disk = FakeDisk::new();
        let journal = disk.journal(JournalOptions::default());
        let mut subscription = journal.subscribe();
        disk.block_writes();
        disk.set_room(room);
        record_numbers(&journal, 0..10);
        disk.unblock_writes();
        assert!(next_degradation(&mut subscription).await.message.contains("refuses"), "room for {room}");
        disk.remove_limit();
        assert!(next_degradation(&mut subscription).await.message.contains("again"), "room for {room}");
        journal.close().await.unwrap();
        assert_eq!(disk.seqs(), seq_range(1..=12), "room for {room}");
    }
}

#[tokio::test]
async fn failing_disk_is_not_retried_before_its_delay() {
    let disk = FakeDisk::new();
    disk.set_room(0);
    let journal = disk.journal_with_retry(NEVER, JournalOptions::default());
    for n in 0..100 {
        // The first call waits for the disk to refuse, later ones return at once.
        record_and_flush(&journal, [n]).await;
    }
    assert_eq!(disk.appends(), 1);
    disk.remove_limit();
    journal.close().await.unwrap();
    assert_eq!(
        disk.appends(),
        4,
        "at the end come what was refused, the others, and the word that it goes on"
    );
    assert_eq!(disk.seqs(), seq_range(1..=102));
}

#[tokio::test]
async fn failing_disk_reports_the_exact_lost_range() {
    let disk = FakeDisk::new();
    disk.set_room(0);
    let config = JournalOptions { memory_lines_max: 16, ..JournalOptions::default() };
    let journal = disk.journal(config);
    let mut subscription = journal.subscribe();
    record_and_flush(&journal, [0]).await;
    let last = 2 * UNWRITTEN_LINES_MAX as u64;
    record_numbers(&journal, 1..last);
    while !next_degradation(&mut subscription).await.message.contains("lost so far") {}
    disk.remove_limit();
    while !next_degradation(&mut subscription).await.message.contains("again") {}
    journal.close().await.unwrap();
    let reports: Vec<_> = degraded_events(&journal, Cursor::START)
        .await
        .iter()
        .filter_map(|reports| Some((reports.lost_from?, reports.lost_to?)))
        .collect();
    let [(from, to)] = reports[..] else { panic!("{reports:?}") };
    assert!(to - from > UNWRITTEN_LINES_MAX as u64 / 2, "{from} to {to}");
    let on_disk: Vec<_> = (1..from).chain(to + 1..=journal.cursor().seq).collect();
    assert_eq!(disk.seqs(), on_disk);
}

#[tokio::test]
async fn slow_disk_reports_the_exact_lost_range() {
    let disk = FakeDisk::new();
    let journal = disk.blocked_journal();
    let last = UNWRITTEN_LINES_MAX as u64 + 100;
    record_numbers(&journal, 1..last);
    disk.unblock_writes();
    journal.close().await.unwrap();
    let lost =
        JournalDegraded::new("the disk could not follow; these lines were never written", Some((2, 100)));
    assert_eq!(degraded_events(&journal, at(1, 101)).await, [lost]);
    assert_eq!(disk.seqs(), [vec![1], seq_range(101..=last + 1)].concat());
}

#[tokio::test]
async fn close_returns_the_lines_that_the_disk_refused() {
    let disk = FakeDisk::new();
    let journal = disk.journal_with_retry(NEVER, JournalOptions::default());
    record_and_flush(&journal, 0..5).await;
    disk.set_room(0);
    record_numbers(&journal, 5..10);
    let loss = journal.close().await.unwrap_err();
    assert_eq!((loss.from, loss.to), (at(1, 6), journal.cursor()));
    assert_eq!(disk.seqs(), seq_range(1..=5));
    assert_eq!(journal.close().await, Err(loss), "it is reports as often as one asks");
    let mut subscription = journal.subscribe_after(at(1, 5));
    assert_eq!(next_cursor(&mut subscription).await, at(1, 6));
}

#[tokio::test]
async fn close_writes_as_much_as_the_disk_takes() {
    let disk = FakeDisk::new();
    let journal = disk.journal_with_retry(NEVER, JournalOptions::default());
    disk.set_room(7);
    record_numbers(&journal, 0..20);
    let loss = journal.close().await.unwrap_err();
    assert_eq!((loss.from, loss.to), (at(1, 8), journal.cursor()));
    assert_eq!(disk.seqs(), seq_range(1..=7));
}
