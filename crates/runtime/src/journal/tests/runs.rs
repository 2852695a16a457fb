//! Runs are numbered 1, 2, 3 … and their events as well, and a run that ended without notice is reported once.

use super::*;

/// Returns the reports of interrupted runs, with their places.
fn interruptions(dir: &Path) -> Vec<(Cursor, RunInterrupted)> {
    let of = |entry| match entry {
        Entry::Event(record, _) if record.kind == RunInterrupted::KIND => {
            Some((record.cursor(), record.decode().unwrap()))
        }
        _ => None,
    };
    all_entries(dir).into_iter().filter_map(of).collect()
}

#[tokio::test]
async fn run_numbers_from_one_and_orderly_stop_is_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    for run in 1..=3 {
        let journal = open(dir.path(), JournalOptions::default());
        assert_eq!((journal.run(), journal.run_start()), (run, at(run, 0)));
        record_and_flush(&journal, [0]).await;
        assert_eq!(journal.cursor(), at(run, 1));
        stop(&journal).await;
    }
    let all = [at(1, 1), at(1, 2), at(2, 1), at(2, 2), at(3, 1), at(3, 2)];
    assert_eq!(cursors(&all_entries(dir.path())), all);
}

#[tokio::test]
async fn interrupted_run_is_reported_once_with_its_last_event() {
    let dir = tempfile::tempdir().unwrap();
    for notes in [3, 2] {
        let journal = open(dir.path(), JournalOptions::default());
        record_numbers(&journal, 0..notes);
        journal.close().await.unwrap();
    }
    let journal = open(dir.path(), JournalOptions::default());
    assert_eq!(degraded_events(&journal, Cursor::START).await, [], "it is no alarm");
    stop(&journal).await;
    open(dir.path(), JournalOptions::default()).close().await.unwrap();
    let reports = [(at(2, 1), at(1, 3)), (at(3, 1), at(2, 3))];
    assert_eq!(
        interruptions(dir.path()),
        reports.map(|(at, last_event)| (at, RunInterrupted { last_event }))
    );
}

#[tokio::test]
async fn journal_events_after_run_end_do_not_interrupt_it() {
    let (dir, journal) = open_temp(JournalOptions::default());
    journal.record(&actor(), 0, &Stopped {});
    journal.record(&actor(), 0, &JournalDegraded::new("the disk takes lines again", None));
    journal.close().await.unwrap();
    open(dir.path(), JournalOptions::default()).close().await.unwrap();
    assert_eq!(interruptions(dir.path()), []);
}

#[tokio::test]
async fn empty_run_leaves_its_number_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let journal = open(dir.path(), JournalOptions::default());
        assert_eq!(journal.run(), 1);
        journal.close().await.unwrap();
    }
    assert_eq!(all_entries(dir.path()), []);
}

#[tokio::test]
async fn folder_without_segments_begins_with_run_one() {
    let (dir, journal) = open_temp(JournalOptions::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    fs::remove_file(only_segment(dir.path())).unwrap();
    let journal = open(dir.path(), JournalOptions::default());
    record_and_flush(&journal, [0]).await;
    assert_eq!(seqs(&all_entries(dir.path())), [1]);
}

#[tokio::test]
async fn empty_segment_name_reserves_its_run() {
    let (dir, journal) = open_temp(JournalOptions::default());
    record_numbers(&journal, 0..3);
    journal.close().await.unwrap();
    // The run had just begun the segment when it was killed.
    fs::write(segment::Segment::new(dir.path(), at(1, 4)).path, "").unwrap();
    let journal = open(dir.path(), JournalOptions::default());
    journal.flush().await;
    assert_eq!(journal.run(), 2);
    assert_eq!(interruptions(dir.path()), [(at(2, 1), RunInterrupted { last_event: at(1, 3) })]);
    drop(journal);
    let alone = tempfile::tempdir().unwrap();
    fs::write(segment::Segment::new(alone.path(), at(7, 4)).path, "").unwrap();
    assert_eq!(open(alone.path(), JournalOptions::default()).run(), 8);
}

#[tokio::test]
async fn damaged_end_skips_a_run_number() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let journal = open(dir.path(), JournalOptions::default());
        record_numbers(&journal, [5]);
        stop(&journal).await;
    }
    let path = only_segment(dir.path());
    let text = fs::read_to_string(&path).unwrap();
    let damaged: Vec<String> =
        text.lines().map(|line| line.replace(r#"{"run":2,"#, r#"{"run":3,"#)).collect();
    fs::write(&path, damaged.join("\n") + "\n").unwrap();
    assert_eq!(open(dir.path(), JournalOptions::default()).run(), 3);
}

#[tokio::test]
async fn largest_run_is_refused_and_larger_numbers_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let largest = cursor::NUMBER_MAX;
    let line = |run, seq| {
        let unsequenced = line::UnsequencedLine::new("root", 0, "noted", "{}");
        line::LineEncoder::new(run).encode(seq, Timestamp::UNIX_EPOCH, 0, &unsequenced)
    };
    let path = segment::Segment::new(dir.path(), at(1, 1)).path;
    let lines = [line(1, 1), line(1, u64::MAX), line(1, 2), line(u64::MAX, u64::MAX), line(largest, largest)];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let entries = entries(dir.path(), Cursor::START);
    let reports = entries.iter().map(|entry| match entry {
        Entry::Event(record, _) => record.cursor().to_string(),
        Entry::Damaged { reason, .. } => reason.clone(),
        Entry::OlderFormat { file } => file.display().to_string(),
        Entry::Missing { after, before } => format!("{after} to {before}"),
    });
    expect_test::expect![[r"
        1.1
        its seq is 18446744073709551615, and 9007199254740991 is the largest that a journal gives
        1.2
        its run is 18446744073709551615, and 9007199254740991 is the largest that a journal gives
        1.2 to 9007199254740991.9007199254740991
        9007199254740991.9007199254740991"]]
    .assert_eq(&reports.collect::<Vec<_>>().join("\n"));
    assert_eq!(self::entries(dir.path(), at(u64::MAX, u64::MAX)).len(), 2, "what is damaged is named");
    let refused = Journal::open(dir.path(), "b", Arc::new(SystemClock), JournalOptions::default());
    let Err(error) = refused else { panic!("it was opened") };
    assert!(error.to_string().contains("has reached run 9007199254740992"), "{error}");
}

#[tokio::test]
async fn earlier_format_file_is_named_once_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let older = dir.path().join("journal-00000000000000000001.jsonl");
    fs::write(&older, "{\"seq\":1,\"boot\":\"b\"}\n{\"seq\":2,\"boot\":\"b\"}\n").unwrap();
    let journal = open(dir.path(), JournalOptions { segments_max: 1, ..JournalOptions::default() });
    assert_eq!(journal.run(), 1);
    record_and_flush(&journal, 0..2).await;
    let entries = all_entries(dir.path());
    assert_eq!(entries[0], Entry::OlderFormat { file: older.clone() });
    assert_eq!(seqs(&entries[1..]), [1, 2]);
    let mut subscription = journal.subscribe();
    assert_eq!(next_cursor(&mut subscription).await, at(1, 1));
    assert!(older.exists());
}
