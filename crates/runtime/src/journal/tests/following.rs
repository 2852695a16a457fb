//! Several readers, in this process and another, while segments change.

use std::env;
use std::process::{Child, Command, Stdio};

use super::*;

const DIR: &str = "MAINSTAY_TEST_FOLLOWED_DIR";
const LAST: u64 = 400;

/// A guard that ends the other process, also when the test fails.
struct FollowerProcess(Child);

impl Drop for FollowerProcess {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Follows the journal up to the last event, in the other process, and fails at the first fault.
fn follow(dir: &Path) {
    let mut reader = Reader::after(dir, Cursor::START);
    let mut expected = 1;
    while expected <= LAST {
        match reader.next_entry().unwrap() {
            Some(Entry::Event(record, _)) => {
                assert_eq!((record.seq, record.decode::<NumberedEvent>().unwrap().n), (expected, expected));
                expected += 1;
            }
            Some(other) => panic!("{other:?} where {expected} should be"),
            None => std::thread::yield_now(),
        }
    }
}

#[tokio::test]
async fn readers_in_two_processes_see_each_line_once() {
    if let Some(dir) = env::var_os(DIR) {
        return follow(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let this_test = "journal::tests::following::readers_in_two_processes_see_each_line_once";
    let follower = Command::new(env::current_exe().unwrap())
        .args([this_test, "--exact"])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut follower = FollowerProcess(follower);
    let config = JournalOptions { segment_bytes_max: 2000, segments_max: 1000, ..JournalOptions::default() };
    let journal = open(dir.path(), config);
    let (mut eager, mut lazy) =
        (Reader::after(dir.path(), Cursor::START), Reader::after(dir.path(), Cursor::START));
    let (mut seen_eagerly, mut seen_lazily) = (Vec::new(), Vec::new());
    for n in 1..=LAST {
        journal.record(&actor(), 1, &NumberedEvent { n });
        // The eager reader also looks while lines are being written.
        seen_eagerly.extend(next_entries(&mut eager));
        if n % 3 == 0 {
            journal.flush().await;
        }
        if n % 7 == 0 {
            seen_lazily.extend(lazy.next_entry().unwrap());
        }
    }
    journal.close().await.unwrap();
    seen_eagerly.extend(next_entries(&mut eager));
    seen_lazily.extend(next_entries(&mut lazy));
    assert!(segments(dir.path()).len() > 10, "{:?}", segments(dir.path()));
    assert_eq!(seqs(&seen_eagerly), seq_range(1..=LAST));
    assert_eq!(seqs(&seen_lazily), seq_range(1..=LAST));
    let printed = std::io::read_to_string(follower.0.stdout.take().unwrap()).unwrap();
    assert!(follower.0.wait().unwrap().success() && printed.contains("1 passed"), "{printed}");
}
