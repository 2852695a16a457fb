//! Tests a full disk: the process may not grow its files beyond a limit.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::state::{RedbConfig, RedbStore, StateStore};
use mainstay_runtime::{Address, Runtime};

use crate::another_process;
use crate::numbers::{NumberMessage, start_numbers};
use crate::probe::JournalFollower;

/// Starts a tree with one worker, whose state has as many kilobytes as its number says.
async fn start_sized(file: &Path) -> (Arc<RedbStore>, Runtime, Address<NumberMessage>) {
    let kilobytes = |_: &str, number| "x".repeat(usize::try_from(number).unwrap() * 1024);
    let (store, runtime, [worker]) =
        start_numbers(file, RedbConfig::default(), ChildPolicy::default(), ["worker"], kilobytes).await;
    (store, runtime, worker)
}

/// Runs a test of this binary in a process whose files may not grow beyond `bytes_max`.
fn run_with_file_limit(bytes_max: u64, name: &str, file: &Path) -> (ExitStatus, String) {
    let mut shell = Command::new("sh");
    // The write fails as on a full disk, and no signal ends the process. The limit counts blocks of 512 bytes.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f "$0"; exec "$@""#]);
    shell.arg((bytes_max / 512).to_string()).arg(another_process::test_binary());
    let output = another_process::with_test(shell, name, file).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&printed).into_owned())
}

async fn next_degraded_reason(events: &mut JournalFollower) -> String {
    events.next("state_degraded").await.fields["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn process_exceeds_disk_then_shrinks() {
    let Some(file) = another_process::state_file() else { return };
    let (store, runtime, worker) = start_sized(&file).await;
    let mut events = JournalFollower::from_start(&runtime);
    let mut kilobytes = 0;
    loop {
        kilobytes += 256;
        worker.cast(NumberMessage::Set(kilobytes)).await.unwrap();
        assert_eq!(worker.call(NumberMessage::Get).await, Ok(kilobytes));
        if store.flush().await.is_err() {
            break;
        }
        assert!(kilobytes < 8000, "the limit does not hold");
    }
    let refused = next_degraded_reason(&mut events).await;
    assert!(refused.starts_with("the disk refuses states, they wait in memory: "), "{refused}");
    // Nothing else stops, and there is no second event.
    for more in 1..=100 {
        worker.cast(NumberMessage::Set(kilobytes + more)).await.unwrap();
    }
    assert_eq!(worker.call(NumberMessage::Get).await, Ok(kilobytes + 100));
    store.flush().await.unwrap_err();
    assert_eq!(runtime.state_degraded().as_deref(), Some("the disk refuses states"));
    worker.cast(NumberMessage::Set(7)).await.unwrap();
    assert_eq!(worker.call(NumberMessage::Get).await, Ok(7));
    assert_eq!(next_degraded_reason(&mut events).await, "the disk takes states again");
    store.flush().await.unwrap();
    assert_eq!(runtime.state_degraded(), None);
    runtime.shutdown().await;
    store.close().await;
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn process_opens_file_on_full_disk() {
    let Some(file) = another_process::state_file() else { return };
    let (store, runtime, worker) = start_sized(&file).await;
    assert_eq!(worker.call(NumberMessage::Get).await, Ok(300));
    worker.cast(NumberMessage::Set(2000)).await.unwrap();
    assert_eq!(worker.call(NumberMessage::Get).await, Ok(2000));
    store.flush().await.unwrap_err();
    next_degraded_reason(&mut JournalFollower::from_start(&runtime)).await;
}

#[tokio::test]
async fn full_disk_is_recorded_once_and_writing_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let name = "full_disk::process_exceeds_disk_then_shrinks";
    let (status, printed) = run_with_file_limit(4 * 1024 * 1024, name, &file);
    assert!(status.success() && printed.contains("1 passed"), "{printed}");
    let (_store, _runtime, worker) = start_sized(&file).await;
    assert_eq!(worker.call(NumberMessage::Get).await, Ok(7));
}

#[tokio::test]
async fn full_disk_still_loads_states() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let (store, runtime, worker) = start_sized(&file).await;
    worker.cast(NumberMessage::Set(300)).await.unwrap();
    runtime.shutdown().await;
    store.close().await;
    let bytes = std::fs::metadata(&file).unwrap().len();
    let name = "full_disk::process_opens_file_on_full_disk";
    for limit in [0, 512, bytes] {
        let (status, printed) = run_with_file_limit(limit, name, &file);
        assert!(status.success() && printed.contains("1 passed"), "{limit} of {bytes} bytes: {printed}");
    }
}
