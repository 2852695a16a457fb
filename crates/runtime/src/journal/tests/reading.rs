//! Readers find what was recorded.

use super::*;

#[tokio::test]
async fn recorded_events_are_read_back_in_order() {
    let (dir, journal) = open_temp(JournalOptions::default());
    record_and_flush(&journal, 0..5).await;
    let entries = all_entries(dir.path());
    assert_eq!(seqs(&entries), [1, 2, 3, 4, 5]);
    let Entry::Event(third, line) = &entries[2] else { panic!() };
    assert_eq!(third.decode::<NumberedEvent>().unwrap().n, 2);
    assert_eq!(Record::parse(line).as_ref(), Ok(&**third));
}

#[tokio::test]
async fn reader_reports_a_damaged_line_and_continues() {
    let (dir, journal) = open_temp(JournalOptions::default());
    record_and_flush(&journal, 0..3).await;
    let path = only_segment(dir.path());
    let damaged = fs::read_to_string(&path).unwrap().replace("\"n\":1", "\"n\":7");
    fs::write(&path, damaged).unwrap();
    let entries = all_entries(dir.path());
    assert!(matches!(&entries[1], Entry::Damaged { reason, .. } if reason.contains("checksum")));
    assert_eq!(entries[2], Entry::Missing { after: at(1, 1), before: at(1, 3) });
    assert!(matches!(&entries[3], Entry::Event(record, _) if record.seq == 3));
}

#[tokio::test]
async fn second_writer_is_refused_until_the_first_closes() {
    let (dir, first) = open_temp(JournalOptions::default());
    let second = Journal::open(dir.path(), "b", Arc::new(SystemClock), JournalOptions::default());
    assert!(matches!(second, Err(JournalError::InUse { .. })));
    first.close().await.unwrap();
    open(dir.path(), JournalOptions::default());
}
