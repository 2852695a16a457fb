//! A file of the journal is deleted, replaced or emptied while it is written to.

use super::*;

#[tokio::test]
async fn deleted_segment_is_reported_with_its_lines_at_next_write() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("moved", |path| fs::rename(path, path.with_extension("1")).unwrap()),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "").unwrap();
        }),
        ("emptied", |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap()),
    ];
    for (harm, strike) in harms {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), JournalOptions::default());
        record_and_flush(&journal, 0..5).await;
        strike(&only_segment(dir.path()));
        record_and_flush(&journal, 5..8).await;
        journal.flush().await;
        let reports = degraded_events(&journal, Cursor::START).await;
        assert_eq!(reports.len(), 1, "{harm}: {reports:?}");
        assert_eq!((reports[0].lost_from, reports[0].lost_to), (Some(1), Some(5)), "{harm}");
        assert!(reports[0].message.contains("was deleted, replaced or emptied"), "{reports:?}");
        stop(&journal).await;
        assert_eq!(seqs(&all_entries(dir.path())), seq_range(6..=10), "{harm}");
        // Memory still has them.
        let mut subscription = journal.subscribe();
        for seq in 1..=10 {
            assert_eq!(next_cursor(&mut subscription).await, at(1, seq), "{harm}");
        }
        let next = open(dir.path(), JournalOptions::default());
        assert_eq!(next.run(), 2, "{harm}");
    }
}

#[tokio::test]
async fn folder_named_like_a_segment_is_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let name = "journal-0000000001-0000000000000001.jsonl";
    fs::create_dir(dir.path().join(name)).unwrap();
    let read = Reader::after(dir.path(), Cursor::START).next_entry().unwrap_err().to_string();
    let clock = Arc::new(SystemClock);
    let opened = Journal::open(dir.path(), "b".to_owned(), clock, JournalOptions::default());
    let opened = std::error::Error::source(&opened.err().unwrap()).unwrap().to_string();
    for error in [read, opened] {
        assert!(error.contains(name) && error.contains("move it away"), "{error}");
    }
}

#[tokio::test]
async fn deleted_folder_is_created_and_locked_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("journal");
    let config = JournalOptions { segment_bytes_max: 500, ..JournalOptions::default() };
    let journal = open(&dir, config);
    for n in 0..10 {
        record_and_flush(&journal, [n]).await;
    }
    fs::remove_dir_all(&dir).unwrap();
    record_and_flush(&journal, [10]).await;
    journal.flush().await;
    let reports = degraded_events(&journal, Cursor::START).await;
    assert_eq!(
        reports.iter().map(|reports| (reports.lost_from, reports.lost_to)).collect::<Vec<_>>(),
        [(Some(1), Some(10))]
    );
    let second = Journal::open(&dir, "b", Arc::new(SystemClock), JournalOptions::default());
    assert!(matches!(second, Err(JournalError::InUse { .. })));
    stop(&journal).await;
    assert_eq!(seqs(&all_entries(&dir)), seq_range(11..=13));
}

#[tokio::test]
async fn folder_taken_by_another_runtime_is_not_written() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("journal");
    let first = open(&dir, JournalOptions::default());
    record_and_flush(&first, 0..3).await;
    fs::remove_dir_all(&dir).unwrap();
    let second = open(&dir, JournalOptions::default());
    record_and_flush(&second, 0..2).await;
    record_and_flush(&first, 3..5).await;
    let reports = degraded_events(&first, Cursor::START).await;
    assert!(
        reports.iter().any(|reports| reports.message.contains("another runtime is using")),
        "{reports:?}"
    );
    assert!(first.close().await.is_err());
    second.close().await.unwrap();
    assert_eq!(seqs(&all_entries(&dir)), [1, 2]);
}
