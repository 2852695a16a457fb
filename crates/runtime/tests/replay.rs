//! Replays journals on disk: each decision agrees with the policy, over several runs and without the first segments.
//!
//! The journals of random trees are replayed by the tests of messages, in `delivery`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;

use std::sync::Arc;

use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Cursor, Entry, Journal, JournalOptions, Reader};
use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::replay::Replay;
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use probe::{ProbeMessage, TestProbe, advance, immediate_policy, s};

#[tokio::test(start_paused = true)]
async fn replay_from_disk_spans_runs_and_missing_segments() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes_max: 60_000, segments_max: 3, ..JournalOptions::default() };
    for seed in 0..4 {
        let journal =
            Journal::open(dir.path(), seed.to_string(), Arc::new(SystemClock), options.clone()).unwrap();
        let mut root = SupervisorSpec::new("root");
        let policy = ChildPolicy { budget: None, ..immediate_policy() };
        let probe = root.child(Child::new("probe", TestProbe::default()).policy(policy)).unwrap();
        let runtime = Runtime::builder().seed(seed).journal(journal).start(root).await.unwrap();
        for _ in 0..40 {
            probe.cast(ProbeMessage::Panic).await.unwrap();
            advance(s(1)).await;
        }
        runtime.shutdown().await;
    }
    let mut reader = Reader::after(dir.path(), Cursor::START);
    let mut replay = Replay::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert!(matches!(entry, Entry::Event(..)), "{entry:?}");
        replay.add_entry(&entry);
    }
    let report = replay.into_report();
    assert_eq!(report.differences.first().map(ToString::to_string), None);
    assert!(report.first > Some(Cursor::new(1, 1)), "the first segments are gone");
    assert!(report.runs > 1 && report.replayed > 10, "{report:?}");
}
