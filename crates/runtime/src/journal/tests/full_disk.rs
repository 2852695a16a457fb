//! A disk that is full for real: the system lets no file of this process grow beyond a limit.
//!
//! The limit cannot be set from within, so each test starts itself once more under a shell that sets it. A limit is one
//! of each file: a segment that has reached it takes nothing more, and the next one does.

use std::env;
use std::process::Command;

use super::*;
use crate::journal::writer::RETRY_DELAY;

const DIR: &str = "MAINSTAY_TEST_FULL_DISK_DIR";

/// The folder, in the process that the limit holds for.
fn limited_dir() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

/// Runs the test named `test` once more, with no file allowed more than `blocks` blocks of 512 or 1024 bytes.
fn run_limited(test: &str, blocks: u32, dir: &Path) {
    // What it says goes through pipes: the limit would hold for a file that this process writes to as well.
    let output = Command::new("sh")
        .arg("-c")
        // Without the trap the system would end the process, and not fail the write.
        .arg(format!("trap '' XFSZ; ulimit -f {blocks} && exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap())
        .args([&format!("journal::tests::full_disk::{test}"), "--exact", "--nocapture"])
        .env(DIR, dir)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// As [`open`], but with a chosen patience with the disk.
fn open_with_retry(dir: &Path, retry_after: Duration) -> Journal {
    let config = JournalConfig { segments_max: 1000, ..JournalConfig::default() };
    let opened = JournalFiles::open(dir, &config).unwrap();
    let clock = Arc::new(SystemClock);
    Journal::on_disk(Some(dir.to_owned()), "boot".to_owned(), clock, &config, opened, retry_after).unwrap()
}

#[derive(Serialize)]
struct LongEvent {
    text: String,
}

impl Event for LongEvent {
    const KIND: &'static str = "long";
}

#[tokio::test]
async fn full_file_is_reported_and_next_segment_takes_the_rest() {
    if let Some(dir) = limited_dir() {
        return fill_files(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    run_limited("a_full_file_is_told_of_and_the_next_segment_takes_what_waited", 16, dir.path());
    // Whoever reads it later finds every line where it should be, and so does the next run.
    let entries = all_entries(dir.path());
    let seqs = seqs(&entries);
    assert_eq!(seqs, seq_range(1..=seqs.len() as u64));
    assert!(segments(dir.path()).len() > 3);
    assert_eq!(open(dir.path(), JournalConfig::default()).run(), 2);
}

async fn fill_files(dir: &Path) {
    let journal = open_with_retry(dir, Duration::from_millis(1));
    let mut subscription = journal.subscribe();
    let mut follower = Reader::after(dir, Cursor::START);
    let mut followed = Vec::new();
    record_numbers(&journal, 0..1000);
    let mut told = Vec::new();
    let mut noted = 0;
    // A segment is far from its own limit: what ends it is the system's.
    while noted < 1000 || !told.ends_with(&[true]) {
        let Delivery::Event(record) = subscription.next().await else { panic!("lines are missing") };
        followed.extend(follower.next_entry().unwrap());
        if record.kind == JournalDegraded::KIND {
            let account: JournalDegraded = record.decode().unwrap();
            assert_eq!((account.lost_from, account.lost_to), (None, None));
            told.push(account.reason == "the disk takes lines again");
        } else {
            assert_eq!(record.decode::<NumberedEvent>().unwrap().n, noted);
            noted += 1;
        }
    }
    assert!(told.chunks(2).all(|pair| pair == [false, true]), "{told:?}");
    // What is told last may be what finds the file full.
    journal.close().await.unwrap();
    // Nor does one who has read while lines were written, cut off and written anew.
    followed.extend(std::iter::from_fn(|| follower.next_entry().unwrap()));
    assert_eq!(seqs(&followed), seq_range(1..=journal.cursor().seq));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_stops_nothing_and_the_next_run_begins_without_a_hole() {
    if let Some(dir) = limited_dir() {
        return record_on_a_full_disk(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), JournalConfig::default());
    record_numbers(&journal, 0..2);
    stop(&journal).await;
    run_limited(
        "a_disk_that_takes_nothing_stops_nothing_and_the_next_run_begins_without_a_hole",
        4,
        dir.path(),
    );

    // Nothing of run 2 is on disk, as that run has warned, so its number is given again.
    let journal = open(dir.path(), JournalConfig::default());
    assert_eq!(journal.run(), 2);
    record_and_flush(&journal, [3]).await;
    assert_eq!(degraded_events(&journal, Cursor::START).await, []);
    assert_eq!(cursors(&all_entries(dir.path())), [at(1, 1), at(1, 2), at(1, 3), at(2, 1)]);
}

async fn record_on_a_full_disk(dir: &Path) {
    // No file has room for any of these lines.
    let journal = open_with_retry(dir, RETRY_DELAY);
    let mut subscription = journal.subscribe_after(at(1, 3));
    for n in 0..2000 {
        journal.record(&actor(), n, &LongEvent { text: "x".repeat(5000) });
    }
    journal.flush().await;
    let accounts = degraded_events(&journal, at(1, 3)).await;
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    assert!(accounts[0].reason.contains("refuses lines, they wait in memory"), "{accounts:?}");
    assert!(accounts[0].reason.contains("a later run has this run's number"), "{accounts:?}");
    let loss = journal.close().await.unwrap_err();
    assert_eq!((loss.from, loss.to), (at(2, 1), at(2, 2001)), "{loss}");
    // Nobody who follows in this process misses any of it.
    for seq in 1..=2001 {
        assert!(
            matches!(subscription.next().await, Delivery::Event(record) if record.cursor() == at(2, seq))
        );
    }
}

#[tokio::test]
async fn journal_opens_on_a_full_disk() {
    if let Some(dir) = limited_dir() {
        let journal = open_with_retry(&dir, RETRY_DELAY);
        record_and_flush(&journal, 0..3).await;
        let reasons: Vec<_> =
            degraded_events(&journal, Cursor::START).await.into_iter().map(|told| told.reason).collect();
        assert!(reasons[0].contains("refuses lines"), "{reasons:?}");
        let loss = journal.close().await.unwrap_err();
        assert_eq!((loss.from, loss.to), (at(1, 1), at(1, 4)), "{loss}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    run_limited("a_journal_is_opened_on_a_disk_that_takes_not_a_byte", 0, dir.path());
    assert_eq!(open(dir.path(), JournalConfig::default()).run(), 1);
}
