//! Old segments go, and whoever comes too late is told what is missing.

use super::*;

/// About six lines a segment.
fn small(segments_max: usize) -> JournalConfig {
    JournalConfig { segment_bytes_max: 1000, segments_max, ..JournalConfig::default() }
}

#[tokio::test]
async fn segments_rotate_by_size_and_expire_by_count() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), small(3));
    let mut seen: Vec<PathBuf> = Vec::new();
    for n in 0..100 {
        record_and_flush(&journal, [n]).await;
        let segments = segments(dir.path());
        assert!(segments.len() <= 3, "{segments:?}");
        let (newest, older) = segments.split_last().unwrap();
        for full in older {
            let bytes = fs::metadata(full).unwrap().len();
            assert!((1000..1400).contains(&bytes), "{} has {bytes} bytes", full.display());
        }
        if seen.last() != Some(newest) {
            seen.push(newest.clone());
        }
        assert!(seen.ends_with(&segments), "those that are left are the newest: {segments:?} of {seen:?}");
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[tokio::test]
async fn reader_gets_kept_lines_and_the_exact_missing_range() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), small(2));
    for n in 0..60 {
        record_and_flush(&journal, [n]).await;
    }
    let kept = seqs(&entries(dir.path(), 0));
    let first = kept[0];
    assert!(first > 30, "{kept:?}");
    assert_eq!(kept, seq_range(first..=60));
    for after in 1..=60 {
        let entries = entries(dir.path(), after);
        let is_late = after + 1 < first;
        if is_late {
            assert_eq!(entries[0], Entry::Missing { from: after + 1, to: first - 1 });
        }
        assert_eq!(
            seqs(&entries[usize::from(is_late)..]),
            seq_range(first.max(after + 1)..=60),
            "after {after}"
        );
    }
}

#[tokio::test]
async fn overtaken_reader_reports_the_gap_and_continues() {
    // The reader stops after each possible number of lines, and goes on when its place is gone.
    for stop in 1..20 {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), small(2));
        let mut reader = Reader::after(dir.path(), 0);
        let mut got = Vec::new();
        for n in 0..60 {
            record_and_flush(&journal, [n]).await;
            if n < stop {
                got.push(reader.next_entry().unwrap().unwrap());
            }
        }
        got.extend(std::iter::from_fn(|| reader.next_entry().unwrap()));
        let mut next = 1;
        for entry in &got {
            match entry {
                Entry::Event(record, _) => {
                    assert_eq!((record.seq, record.decode::<NumberedEvent>().unwrap().n), (next, next - 1));
                    next += 1;
                }
                Entry::Missing { from, to } => {
                    assert_eq!(*from, next);
                    next = to + 1;
                }
                Entry::Damaged { .. } => panic!("{entry:?}"),
            }
        }
        assert_eq!(next, 61, "stopped after {stop}");
    }
}

#[tokio::test]
async fn undeletable_segment_does_not_stop_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), small(2));
    // It has the name of a segment, and is a folder.
    fs::create_dir(dir.path().join(format!("journal-{:020}.jsonl", 0))).unwrap();
    for n in 0..30 {
        record_and_flush(&journal, [n]).await;
    }
    assert_eq!(degradations(&journal, 0).await, []);
    assert_eq!(seqs(&entries(dir.path(), 25)), seq_range(26..=30));
}

#[tokio::test]
async fn retention_limits_hold_in_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..10 {
        let journal = open(dir.path(), small(2));
        for n in 0..10 {
            record_and_flush(&journal, [n]).await;
        }
        journal.close().await.unwrap();
        assert!(segments(dir.path()).len() <= 2);
    }
    let kept = seqs(&entries(dir.path(), 0));
    assert_eq!(kept, seq_range(kept[0]..=100));
}
