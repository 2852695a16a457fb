//! A disk that is really full: the system lets no file of this process grow beyond a limit.
//!
//! The limit cannot be set from within, so each test starts itself again under a shell that sets it. The limit
//! applies to each file: a full segment takes nothing more, and the next one does.

use std::env;
use std::process::Command;

use super::*;
use crate::journal::writer::RETRY_DELAY;

const DIR: &str = "MAINSTAY_TEST_FULL_DISK_DIR";

/// Returns the folder, in the process that the limit applies to.
fn limited_dir() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

/// Runs the test named `test` once more, with no file allowed more than `blocks` blocks of 512 or 1024 bytes.
fn run_limited(test: &str, blocks: u32, dir: &Path) {
    // Its output goes through pipes, because the limit would apply to a file as well.
    let output = Command::new("sh")
        .arg("-c")
        // Without the trap the system would end the process instead of failing the write.
        .arg(format!("trap '' XFSZ; ulimit -f {blocks} && exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap())
        .args([&format!("journal::tests::full_disk::{test}"), "--exact", "--nocapture"])
        .env(DIR, dir)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

/// Opens the journal as [`open`] does, with another retry delay.
fn open_with_retry(dir: &Path, retry_after: Duration) -> Journal {
    let config = JournalOptions { segments_max: 1000, ..JournalOptions::default() };
    let opened = JournalFiles::open(dir, &config).unwrap();
    let clock = Arc::new(SystemClock);
    Journal::on_disk(Some(dir.to_owned()), "boot".to_owned(), clock, &config, opened, retry_after).unwrap()
}

#[tokio::test]
async fn full_file_is_reported_and_next_segment_takes_the_rest() {
    if let Some(dir) = limited_dir() {
        return fill_files(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    run_limited("full_file_is_reported_and_next_segment_takes_the_rest", 16, dir.path());
    // A later reader finds every line in its place, and so does the next run.
    let entries = all_entries(dir.path());
    let seqs = seqs(&entries);
    assert_eq!(seqs, seq_range(1..=seqs.len() as u64));
    assert!(segments(dir.path()).len() > 3);
    assert_eq!(open(dir.path(), JournalOptions::default()).run(), 2);
}

async fn fill_files(dir: &Path) {
    let journal = open_with_retry(dir, Duration::from_millis(1));
    let mut subscription = journal.subscribe();
    let mut follower = Reader::after(dir, Cursor::START);
    let mut followed = Vec::new();
    record_numbers(&journal, 0..1000);
    let mut reports = Vec::new();
    let mut noted = 0;
    // A segment is far from its own limit: the system's limit ends it.
    while noted < 1000 || !reports.ends_with(&[true]) {
        let Delivery::Event(record) = subscription.next().await else { panic!("lines are missing") };
        followed.extend(follower.next_entry().unwrap());
        if record.kind == JournalDegraded::KIND {
            let report: JournalDegraded = record.decode().unwrap();
            assert_eq!((report.lost_from, report.lost_to), (None, None));
            reports.push(report.message == "the disk takes lines again");
        } else {
            assert_eq!(record.decode::<NumberedEvent>().unwrap().n, noted);
            noted += 1;
        }
    }
    assert!(reports.chunks(2).all(|pair| pair == [false, true]), "{reports:?}");
    // The last report may be the one that finds the file full.
    journal.close().await.unwrap();
    // A reader that read while lines were written, cut off and written again has missed none either.
    followed.extend(next_entries(&mut follower));
    assert_eq!(seqs(&followed), seq_range(1..=journal.cursor().seq));
}

#[tokio::test]
async fn refusing_disk_stops_nothing_and_leaves_no_hole() {
    if let Some(dir) = limited_dir() {
        return record_on_a_full_disk(&dir).await;
    }
    let (dir, journal) = open_temp(JournalOptions::default());
    record_numbers(&journal, 0..2);
    stop(&journal).await;
    run_limited("refusing_disk_stops_nothing_and_leaves_no_hole", 4, dir.path());

    // Nothing of run 2 is on disk, as that run has warned, so its number is used again.
    let journal = open(dir.path(), JournalOptions::default());
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
        journal.record(&actor(), n, &TextEvent { text: "x".repeat(5000) });
    }
    journal.flush().await;
    let reports = degraded_events(&journal, at(1, 3)).await;
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].message.contains("refuses lines, they wait in memory"), "{reports:?}");
    assert!(reports[0].message.contains("a later run has this run's number"), "{reports:?}");
    let loss = journal.close().await.unwrap_err();
    assert_eq!((loss.from, loss.to), (at(2, 1), at(2, 2001)), "{loss}");
    // A subscriber in this process misses none of it.
    for seq in 1..=2001 {
        assert_eq!(next_cursor(&mut subscription).await, at(2, seq));
    }
}

#[tokio::test]
async fn journal_opens_on_a_full_disk() {
    if let Some(dir) = limited_dir() {
        let journal = open_with_retry(&dir, RETRY_DELAY);
        record_and_flush(&journal, 0..3).await;
        let reasons = degraded_reasons(&journal).await;
        assert!(reasons[0].contains("refuses lines"), "{reasons:?}");
        let loss = journal.close().await.unwrap_err();
        assert_eq!((loss.from, loss.to), (at(1, 1), at(1, 4)), "{loss}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    run_limited("journal_opens_on_a_full_disk", 0, dir.path());
    assert_eq!(open(dir.path(), JournalOptions::default()).run(), 1);
}
