//! A disk that refuses lines, or does not follow: what is told, what is lost, and how it goes on.

use super::staged_disk::{NEVER, StagedDisk};
use super::*;
use crate::journal::memory::OWED_LINES_MAX;

/// The next word of the journal on itself.
async fn next_account(subscription: &mut Subscription) -> JournalDegraded {
    loop {
        if let Delivery::Event(record) = subscription.next().await
            && record.kind == JournalDegraded::KIND
        {
            return record.decode().unwrap();
        }
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_of_at_once_and_so_is_its_recovery_and_nothing_is_lost() {
    let disk = StagedDisk::new();
    disk.has_room_for(0);
    let journal = disk.journal(JournalConfig::default());
    let mut subscription = journal.subscribe_after(0);
    note(&journal, 0..10);
    let refused = next_account(&mut subscription).await;
    assert!(refused.reason.contains("refuses lines"), "{refused:?}");
    note(&journal, 10..20);
    disk.has_room();
    let recovered = next_account(&mut subscription).await;
    assert_eq!(recovered, JournalDegraded::new("the disk takes lines again", None));
    journal.close().await.unwrap();
    assert_eq!(disk.seqs(), numbers(1..=22), "twenty notes and two words of the journal itself");
}

#[tokio::test]
async fn a_disk_that_took_a_part_of_a_group_gets_the_rest_and_no_line_twice() {
    for room in 0..10 {
        let disk = StagedDisk::new();
        let journal = disk.journal(JournalConfig::default());
        let mut subscription = journal.subscribe_after(0);
        disk.hold();
        disk.has_room_for(room);
        note(&journal, 0..10);
        disk.release();
        assert!(next_account(&mut subscription).await.reason.contains("refuses"), "room for {room}");
        disk.has_room();
        assert!(next_account(&mut subscription).await.reason.contains("again"), "room for {room}");
        journal.close().await.unwrap();
        assert_eq!(disk.seqs(), numbers(1..=12), "room for {room}");
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_not_tried_again_before_its_time_however_much_is_recorded() {
    let disk = StagedDisk::new();
    disk.has_room_for(0);
    let journal = disk.journal_that_tries_again(NEVER, JournalConfig::default());
    for n in 0..100 {
        // The first time this waits for the disk to refuse, and later for nothing.
        note_on_disk(&journal, [n]).await;
    }
    assert_eq!(disk.appends(), 1);
    disk.has_room();
    journal.close().await.unwrap();
    assert_eq!(
        disk.appends(),
        4,
        "at the end come what was refused, the others, and the word that it goes on"
    );
    assert_eq!(disk.seqs(), numbers(1..=102));
}

#[tokio::test]
async fn lines_that_memory_cannot_keep_for_a_disk_that_refuses_are_named_exactly() {
    let disk = StagedDisk::new();
    disk.has_room_for(0);
    let config = JournalConfig { memory_lines_max: 16, ..JournalConfig::default() };
    let journal = disk.journal(config);
    let mut subscription = journal.subscribe_after(0);
    note_on_disk(&journal, [0]).await;
    let last = 2 * OWED_LINES_MAX as u64;
    note(&journal, 1..last);
    while !next_account(&mut subscription).await.reason.contains("lost so far") {}
    disk.has_room();
    while !next_account(&mut subscription).await.reason.contains("again") {}
    journal.close().await.unwrap();
    let told: Vec<_> = accounts(&journal, 0)
        .await
        .iter()
        .filter_map(|told| Some((told.lost_from?, told.lost_to?)))
        .collect();
    let [(from, to)] = told[..] else { panic!("{told:?}") };
    assert!(to - from > OWED_LINES_MAX as u64 / 2, "{from} to {to}");
    let on_disk: Vec<_> = (1..from).chain(to + 1..=journal.seq()).collect();
    assert_eq!(disk.seqs(), on_disk);
}

#[tokio::test]
async fn lines_that_a_slow_disk_cannot_follow_are_named_exactly() {
    let disk = StagedDisk::new();
    let journal = disk.journal(JournalConfig::default());
    disk.hold();
    note(&journal, [0]);
    disk.wait_until_held();
    let last = OWED_LINES_MAX as u64 + 100;
    note(&journal, 1..last);
    disk.release();
    journal.close().await.unwrap();
    let lost =
        JournalDegraded::new("the disk could not follow; these lines were never written", Some((2, 100)));
    assert_eq!(accounts(&journal, 101).await, [lost]);
    assert_eq!(disk.seqs(), [vec![1], numbers(101..=last + 1)].concat());
}

#[tokio::test]
async fn what_a_disk_refuses_to_the_end_is_the_result_of_closing() {
    let disk = StagedDisk::new();
    let journal = disk.journal_that_tries_again(NEVER, JournalConfig::default());
    note_on_disk(&journal, 0..5).await;
    disk.has_room_for(0);
    note(&journal, 5..10);
    let loss = journal.close().await.unwrap_err();
    let newest = journal.seq();
    assert_eq!((loss.from, loss.to), (6, newest));
    assert_eq!(disk.seqs(), numbers(1..=5));
    assert_eq!(disk.concluded(), Some(newest), "the next run can name what is missing");
    assert_eq!(journal.close().await, Err(loss), "it is told as often as one asks");
    let mut subscription = journal.subscribe_after(5);
    assert!(matches!(subscription.next().await, Delivery::Event(record) if record.seq == 6));
}

#[tokio::test]
async fn at_the_end_a_disk_is_filled_as_far_as_it_goes() {
    let disk = StagedDisk::new();
    let journal = disk.journal_that_tries_again(NEVER, JournalConfig::default());
    disk.has_room_for(7);
    note(&journal, 0..20);
    let loss = journal.close().await.unwrap_err();
    assert_eq!((loss.from, loss.to), (8, journal.seq()));
    assert_eq!(disk.seqs(), numbers(1..=7));
}
