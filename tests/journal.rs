//! The journal, read from outside: while it is written, after a SIGKILL, and across runs.

mod support;

use mainstay::DataDir;
use mainstay::runtime::journal::{Entry, JournalDegraded, Reader};
use support::{Program, Story, post};

/// Everything that is in the journal, or the first thing that is wrong with it. Numbers may be missing only where the next
/// run says so.
fn read_seqs(data: &std::path::Path) -> Vec<u64> {
    let mut reader = Reader::after(&DataDir::new(data).journal(), 0);
    let mut missing = None;
    let mut seqs = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry {
            Entry::Event(record, _) => {
                if let Some((from, to)) = missing.take() {
                    assert_eq!((&*record.kind, record.seq), ("journal_degraded", to + 1));
                    let told: JournalDegraded = record.decode().unwrap();
                    assert_eq!((told.lost_from, told.lost_to), (Some(from), Some(to)));
                }
                seqs.push(record.seq);
            }
            Entry::Missing { from, to } => missing = Some((from, to)),
            Entry::Damaged { .. } => panic!("the journal is not whole: {entry:?}"),
        }
    }
    assert!(seqs.is_sorted_by(|before, after| before < after), "{seqs:?}");
    seqs
}

#[tokio::test]
async fn follower_process_sees_events_live_in_order() {
    let data = tempfile::tempdir().unwrap();
    let mut story = Story::follow(data.path());
    let mut demo = Program::start(data.path(), &["demo", "--agents", "1"]);
    let backend = demo.line().await.rsplit(' ').next().unwrap().to_owned();
    story.agent_becomes("planner", "healthy").await;
    post(&format!("{backend}/_fault"), serde_json::json!({"kind": "crash_agent", "agent": "planner"})).await;
    story.agent_becomes("planner", "failed").await;
    let (status, _) = demo.stop().await;
    assert!(status.success());
    story.next("root", "runtime_stopped").await;
    let seqs: Vec<u64> = story.told.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "each event once, in order");
}

#[tokio::test]
async fn journal_after_sigkill_reads_and_names_skipped_seqs()
 {
    let data = tempfile::tempdir().unwrap();
    let mut newest = 0;
    // Each run is killed a little later in its life than the one before: after its first, second, third … line.
    for lines in 1..=10 {
        let mut demo = Program::start(data.path(), &["demo", "--agents", "2"]);
        for _ in 0..lines * 2 {
            demo.line().await;
        }
        demo.kill().await;
        let seqs = read_seqs(data.path());
        // What is told comes from memory; how much of it the disk has by then is a matter of luck.
        assert!(seqs.len() >= newest, "run {lines} took something away");
        newest = seqs.len();
    }
    assert_eq!(support::run(data.path(), &["demo", "--for", "100ms"]).await.code, Some(0));
    let seqs = read_seqs(data.path());
    assert!(seqs.len() > newest + 10, "the last run told its whole story");
}

#[tokio::test]
async fn filters_choose_by_actor_by_kind_and_by_number() {
    let data = tempfile::tempdir().unwrap();
    support::run(data.path(), &["demo", "--agents", "2", "--for", "500ms"]).await;
    let chosen = |args: &'static [&'static str]| {
        let data = data.path().to_owned();
        async move {
            let ended = support::run(&data, &[&["events", "--json"], args].concat()).await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
            ended.stdout.lines().map(parse).collect::<Vec<_>>()
        }
    };
    let agents = chosen(&["--actor", "root/agents/*"]).await;
    assert!(!agents.is_empty());
    assert!(agents.iter().all(|event| event["actor"].as_str().unwrap().starts_with("root/agents/")));
    let ready = chosen(&["--kind", "actor_ready,runtime_started"]).await;
    assert_eq!(ready.len(), 8, "the runtime, root, connection, queue, cache, agents and two agents");
    assert_eq!(chosen(&["--after", "3"]).await[0]["seq"], 4);
    assert!(chosen(&["--since", "1h"]).await.len() > 10);
}
