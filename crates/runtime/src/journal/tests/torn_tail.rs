//! A crash in the middle of a line costs that line and nothing else.

use std::fs::OpenOptions;
use std::io::Write;

use super::*;

/// Returns the name and the content of the only segment of a journal with so many events.
async fn segment_of(events: u64) -> (std::ffi::OsString, Vec<u8>) {
    let (dir, journal) = open_temp(JournalOptions::default());
    record_numbers(&journal, 0..events);
    journal.close().await.unwrap();
    let path = only_segment(dir.path());
    (path.file_name().unwrap().to_owned(), fs::read(path).unwrap())
}

#[tokio::test]
async fn torn_tail_costs_at_most_the_last_line() {
    let (name, content) = segment_of(3).await;
    let begins = content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;

    for cut in begins..=content.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(&name);
        fs::write(&path, &content[..cut]).unwrap();
        let left = if cut == content.len() { 3 } else { 2 };
        let mut follower = Reader::after(dir.path(), Cursor::START);
        assert_eq!(seqs(&next_entries(&mut follower)), seq_range(1..=left), "cut at {cut}");

        let journal = open(dir.path(), JournalOptions::default());
        record_and_flush(&journal, [3]).await;
        let rest = next_entries(&mut follower);
        assert_eq!(cursors(&rest), [at(2, 1), at(2, 2)], "cut at {cut}");
        let Entry::Event(first, _) = &rest[0] else { panic!("{rest:?}") };
        let interrupted = RunInterrupted { last_event: at(1, left) };
        assert_eq!(first.decode::<RunInterrupted>().unwrap(), interrupted, "cut at {cut}");
        let all: Vec<_> = (1..=left).map(|seq| at(1, seq)).chain([at(2, 1), at(2, 2)]).collect();
        assert_eq!(cursors(&all_entries(dir.path())), all, "cut at {cut}");
    }
}

#[tokio::test]
async fn reader_waits_for_the_end_of_a_line() {
    let (name, content) = segment_of(2).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(&name);
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut follower = Reader::after(dir.path(), Cursor::START);
    let mut got = Vec::new();
    for byte in content {
        file.write_all(&[byte]).unwrap();
        let entries = next_entries(&mut follower);
        assert!(entries.is_empty() || byte == b'\n');
        got.extend(entries);
    }
    assert_eq!(seqs(&got), [1, 2]);
}
