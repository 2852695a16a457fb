//! Old segments are deleted, and a late reader gets a report of what is missing.

use super::*;

/// Returns a configuration with about six lines a segment.
fn small(segments_max: usize) -> JournalOptions {
    JournalOptions { segment_bytes_max: 1000, segments_max, ..JournalOptions::default() }
}

#[tokio::test]
async fn segments_rotate_by_size_and_expire_by_count() {
    let (dir, journal) = open_temp(small(3));
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
    let (dir, journal) = open_temp(small(2));
    for n in 0..60 {
        record_and_flush(&journal, [n]).await;
    }
    let kept = seqs(&all_entries(dir.path()));
    let first = kept[0];
    assert!(first > 30, "{kept:?}");
    assert_eq!(kept, seq_range(first..=60));
    for after in 1..=60 {
        let entries = entries(dir.path(), at(1, after));
        let is_late = after + 1 < first;
        if is_late {
            assert_eq!(entries[0], Entry::Missing { after: at(1, after), before: at(1, first) });
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
        let mut reader = Reader::after(dir.path(), Cursor::START);
        let mut got = Vec::new();
        for n in 0..60 {
            record_and_flush(&journal, [n]).await;
            if n < stop {
                got.push(reader.next_entry().unwrap().unwrap());
            }
        }
        got.extend(next_entries(&mut reader));
        let mut next = 1;
        for entry in &got {
            match entry {
                Entry::Event(record, _) => {
                    assert_eq!((record.seq, record.decode::<NumberedEvent>().unwrap().n), (next, next - 1));
                    next += 1;
                }
                Entry::Missing { after, before } => {
                    assert_eq!(*after, at(1, next - 1));
                    next = before.seq;
                }
                Entry::Damaged { .. } | Entry::OlderFormat { .. } => panic!("{entry:?}"),
            }
        }
        assert_eq!(next, 61, "stopped after {stop}");
    }
}

#[tokio::test]
async fn undeletable_segment_does_not_stop_the_journal() {
    let (dir, journal) = open_temp(small(2));
    // This has the name of a segment, and is a folder.
    fs::create_dir(segment::Segment::new(dir.path(), at(0, 1)).path).unwrap();
    for n in 0..30 {
        record_and_flush(&journal, [n]).await;
    }
    assert_eq!(degraded_events(&journal, Cursor::START).await, []);
    assert_eq!(seqs(&entries(dir.path(), at(1, 25))), seq_range(26..=30));
}

#[tokio::test]
async fn retention_limit_holds_across_runs_and_leaves_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    for run in 1..=20 {
        let journal = open(dir.path(), small(3));
        assert_eq!(journal.run(), run, "also when older runs are gone");
        record_and_flush(&journal, 0..3).await;
        stop(&journal).await;
        assert!(segments(dir.path()).len() <= 3);
    }
    let kept = cursors(&all_entries(dir.path()));
    let runs: std::collections::BTreeSet<u64> = kept.iter().map(|cursor| cursor.run).collect();
    assert!(runs.len() > 3, "a short run takes no segment of its own: {kept:?}");
    assert_eq!(kept.last(), Some(&at(20, 4)));
    // The cursor of a deleted run gets the gap, and then the oldest event.
    let oldest = kept[0];
    let kept = all_entries(dir.path());
    let read = entries(dir.path(), at(2, 2));
    assert_eq!(read[0], Entry::Missing { after: at(2, 2), before: oldest });
    assert_eq!(read[1..], kept);
    let journal = open(dir.path(), small(3));
    let mut subscription = journal.subscribe_after(at(2, 2));
    assert_eq!(subscription.next().await, Delivery::Lagged { after: at(2, 2), before: oldest });
    assert_eq!(next_cursor(&mut subscription).await, oldest);
}
