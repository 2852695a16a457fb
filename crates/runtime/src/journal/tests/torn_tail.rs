//! A crash in the middle of a line costs that line and nothing else.

use std::fs::OpenOptions;
use std::io::Write;

use super::*;

/// What a reader gets, with what is missing as it is told.
fn seq_ranges(entries: impl IntoIterator<Item = Entry>) -> Vec<(u64, u64)> {
    let part = |entry| match entry {
        Entry::Event(record, _) => (record.seq, record.seq),
        Entry::Missing { from, to } => (from, to),
        Entry::Damaged { .. } => panic!("{entry:?}"),
    };
    entries.into_iter().map(part).collect()
}

fn next_entries(reader: &mut Reader) -> Vec<Entry> {
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

#[tokio::test]
async fn torn_tail_costs_at_most_the_last_line() {
    let whole = tempfile::tempdir().unwrap();
    let journal = open(whole.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    let content = fs::read(only_segment(whole.path())).unwrap();
    let begins = content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;

    for cut in begins..=content.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(only_segment(whole.path()).file_name().unwrap());
        fs::write(&path, &content[..cut]).unwrap();
        as_if_killed(dir.path(), 100);
        let left = if cut == content.len() { 3 } else { 2 };
        let mut follower = Reader::after(dir.path(), 0);
        assert_eq!(seqs(&next_entries(&mut follower)), seq_range(1..=left), "cut at {cut}");

        let journal = open(dir.path(), JournalConfig::default());
        record_and_flush(&journal, [3]).await;
        let rest = [(left + 1, 100), (101, 101), (102, 102)];
        assert_eq!(seq_ranges(next_entries(&mut follower)), rest, "cut at {cut}");
        let all: Vec<_> = (1..=left).map(|seq| (seq, seq)).chain(rest).collect();
        assert_eq!(seq_ranges(entries(dir.path(), 0)), all, "cut at {cut}");
        assert_eq!(degradations(&journal, 100).await[0].lost_from, Some(left + 1), "cut at {cut}");
    }
}

#[tokio::test]
async fn reader_waits_for_the_end_of_a_line() {
    let whole = tempfile::tempdir().unwrap();
    let journal = open(whole.path(), JournalConfig::default());
    record_numbers(&journal, 0..2);
    journal.close().await.unwrap();
    let content = fs::read(only_segment(whole.path())).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(only_segment(whole.path()).file_name().unwrap());
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut follower = Reader::after(dir.path(), 0);
    let mut got = Vec::new();
    for byte in content {
        file.write_all(&[byte]).unwrap();
        let entries = next_entries(&mut follower);
        assert!(entries.is_empty() || byte == b'\n');
        got.extend(entries);
    }
    assert_eq!(seqs(&got), [1, 2]);
}

#[tokio::test]
async fn line_cut_after_clean_shutdown_is_reported_lost() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    let file = OpenOptions::new().write(true).open(only_segment(dir.path())).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_and_flush(&journal, [3]).await;
    assert_eq!(seq_ranges(entries(dir.path(), 0)), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    assert_eq!(entries(dir.path(), 2)[0], Entry::Missing { from: 3, to: 3 });
    assert_eq!(degradations(&journal, 3).await[0].lost_to, Some(3));
}
