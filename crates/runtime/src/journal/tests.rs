//! The journal as a whole, on real files.

use std::fs::{self, OpenOptions};
use std::io::Write;

use super::*;
use crate::clock::SystemClock;

#[derive(Serialize, Deserialize)]
struct Noted {
    n: u64,
}

impl Event for Noted {
    const KIND: &'static str = "noted";
}

#[derive(Serialize)]
struct Chatter {}

impl Event for Chatter {
    const KIND: &'static str = "chatter";
    const VERBOSE: bool = true;
}

fn actor() -> ActorPath {
    ActorPath::root("root").unwrap()
}

fn open(dir: &Path, config: JournalConfig) -> Journal {
    Journal::open(dir, "boot", Arc::new(SystemClock), config).unwrap()
}

async fn note(journal: &Journal, numbers: std::ops::Range<u64>) {
    for n in numbers {
        journal.record(&actor(), 1, &Noted { n });
    }
    journal.flush().await;
}

fn entries(dir: &Path, after: u64) -> Vec<Entry> {
    let mut reader = Reader::after(dir, after);
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries
        .iter()
        .map(|entry| match entry {
            Entry::Event(record, _) => record.seq,
            other => panic!("not an event: {other:?}"),
        })
        .collect()
}

fn only_segment(dir: &Path) -> PathBuf {
    segment::list(dir).unwrap().remove(0).path
}

#[tokio::test]
async fn what_was_recorded_is_read_back_in_order_by_another_reader() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 0..5).await;
    let entries = entries(dir.path(), 0);
    assert_eq!(seqs(&entries), [1, 2, 3, 4, 5]);
    let Entry::Event(third, line) = &entries[2] else { panic!() };
    assert_eq!(third.decode::<Noted>().unwrap().n, 2);
    assert_eq!(Record::parse(line).as_ref(), Ok(&**third));
}

#[tokio::test]
async fn the_next_run_goes_on_numbering() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let journal = open(dir.path(), JournalConfig::default());
        note(&journal, 0..2).await;
        journal.close().await;
    }
    assert_eq!(seqs(&entries(dir.path(), 0)), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_torn_tail_costs_its_last_line_alone_and_its_number_is_used_by_the_next_line() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 0..2).await;
    journal.close().await;
    let mut file = OpenOptions::new().append(true).open(only_segment(dir.path())).unwrap();
    file.write_all(br#"{"seq":3,"boot":"boot","at":"#).unwrap();
    assert_eq!(seqs(&entries(dir.path(), 0)), [1, 2]);

    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 2..3).await;
    assert_eq!(seqs(&entries(dir.path(), 0)), [1, 2, 3]);
}

#[tokio::test]
async fn a_follower_that_saw_a_torn_tail_reads_the_line_that_replaced_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 0..1).await;
    journal.close().await;
    OpenOptions::new()
        .append(true)
        .open(only_segment(dir.path()))
        .and_then(|mut file| file.write_all(b"{\"seq\":2,\"torn"))
        .unwrap();
    let mut follower = Reader::after(dir.path(), 0);
    assert!(matches!(follower.next_entry().unwrap(), Some(Entry::Event(..))));
    assert_eq!(follower.next_entry().unwrap(), None);

    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 1..2).await;
    assert!(matches!(follower.next_entry().unwrap(), Some(Entry::Event(record, _)) if record.seq == 2));
}

#[tokio::test]
async fn a_damaged_line_is_named_and_what_follows_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    note(&journal, 0..3).await;
    let path = only_segment(dir.path());
    let damaged = fs::read_to_string(&path).unwrap().replace("\"n\":1", "\"n\":7");
    fs::write(&path, damaged).unwrap();
    let entries = entries(dir.path(), 0);
    assert!(matches!(&entries[1], Entry::Damaged { reason, .. } if reason.contains("checksum")));
    assert_eq!(entries[2], Entry::Missing { from: 2, to: 2 });
    assert!(matches!(&entries[3], Entry::Event(record, _) if record.seq == 3));
}

#[tokio::test]
async fn segments_change_by_size_the_oldest_go_and_a_reader_is_told_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { segment_bytes_max: 1000, segments_max: 2, ..JournalConfig::default() };
    let journal = open(dir.path(), config);
    let mut follower = Reader::after(dir.path(), 0);
    let mut followed = Vec::new();
    for n in 0..100 {
        note(&journal, n..n + 1).await;
        followed.extend(std::iter::from_fn(|| follower.next_entry().unwrap()));
    }
    assert_eq!(seqs(&followed), (1..=100).collect::<Vec<_>>());
    assert_eq!(segment::list(dir.path()).unwrap().len(), 2);
    let late = entries(dir.path(), 3);
    let Entry::Missing { from: 4, to } = late[0] else { panic!("{:?}", late[0]) };
    assert_eq!(seqs(&late[1..]), (to + 1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_second_writer_on_the_same_folder_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), JournalConfig::default());
    let second = Journal::open(dir.path(), "b", Arc::new(SystemClock), JournalConfig::default());
    assert!(matches!(second, Err(JournalError::InUse { .. })));
    first.close().await;
    open(dir.path(), JournalConfig::default());
}

#[tokio::test]
async fn a_subscriber_gets_each_event_once_from_disk_then_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { memory_lines_max: 10, ..JournalConfig::default() };
    let journal = open(dir.path(), config);
    note(&journal, 0..700).await;
    let mut subscription = journal.subscribe_after(2);
    let mut got = Vec::new();
    while let Some(delivery) = subscription.try_next().await {
        let Delivery::Event(record) = delivery else { panic!("{delivery:?}") };
        got.push(record.seq);
    }
    assert_eq!(got, (3..=700).collect::<Vec<_>>());
    journal.record(&actor(), 1, &Noted { n: 700 });
    assert!(matches!(subscription.next().await, Delivery::Event(record) if record.seq == 701));
}

#[tokio::test]
async fn a_subscriber_that_memory_alone_cannot_serve_is_told_what_it_missed() {
    let config = JournalConfig { memory_lines_max: 10, ..JournalConfig::default() };
    let journal = Journal::in_memory("boot", Arc::new(SystemClock), config);
    note(&journal, 0..30).await;
    let mut subscription = journal.subscribe_after(0);
    assert_eq!(subscription.next().await, Delivery::Lagged { from: 1, to: 20 });
    assert!(matches!(subscription.next().await, Delivery::Event(record) if record.seq == 21));
}

#[tokio::test]
async fn secrets_never_reach_a_line() {
    #[derive(Serialize)]
    struct Said {
        text: String,
    }
    impl Event for Said {
        const KIND: &'static str = "said";
    }
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { secrets: vec!["to\"ken".to_owned()], ..JournalConfig::default() };
    let journal = open(dir.path(), config);
    journal.record(&actor(), 1, &Said { text: "bearer to\"ken!".to_owned() });
    journal.flush().await;
    let text = fs::read_to_string(only_segment(dir.path())).unwrap();
    assert!(text.contains(r#""text":"bearer [redacted]!""#), "{text}");
}

#[tokio::test]
async fn verbose_events_are_recorded_only_when_asked_for() {
    for (verbose, seq) in [(false, 0), (true, 1)] {
        let config = JournalConfig { verbose, ..JournalConfig::default() };
        let journal = Journal::in_memory("boot", Arc::new(SystemClock), config);
        journal.record(&actor(), 1, &Chatter {});
        assert_eq!(journal.seq(), seq);
    }
}
