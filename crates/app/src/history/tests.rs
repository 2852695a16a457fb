use std::pin::pin;

use futures_util::poll;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_runtime::ActorPath;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::events::BudgetReset;
use mainstay_runtime::journal::{Delivery, Record};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::log::LogLimits;
use super::*;
use crate::config::Config;
use crate::incidents::{EXAMPLES, example_record};
use crate::mainstay::Mainstay;

const PLANNER: &str = "root/agents/planner";

/// Makes the records of run 1, one of each of these (milliseconds, actor, kind, fields).
fn fold(events: &[(u64, &str, &str, Value)]) -> HistoryLog {
    let mut log = HistoryLog::default();
    for (index, (mono_ms, actor, kind, fields)) in events.iter().enumerate() {
        log.apply(&example_record(1, index as u64 + 1, *mono_ms, actor, kind, fields));
    }
    log
}

/// Returns the moment at a time within the minute of the records.
fn moment(log: &HistoryLog, ms: u64) -> HistoryMoment {
    log.at(timestamp(ms), &TimeZone::UTC)
}

fn timestamp(ms: u64) -> Timestamp {
    format!("2026-03-01T12:00:{:02}.{:03}Z", ms / 1000 % 60, ms % 1000).parse().unwrap()
}

fn find<'n>(node: &'n HistoryNode, path: &str) -> Option<&'n HistoryNode> {
    if node.path == path { Some(node) } else { node.children.iter().find_map(|child| find(child, path)) }
}

fn crash_of_the_planner() -> HistoryLog {
    fold(&[
        (0, "root", "runtime_started", json!({})),
        (1, "root", "actor_ready", json!({})),
        (2, "root/agents", "actor_ready", json!({})),
        (3, PLANNER, "actor_ready", json!({})),
        (4, PLANNER, "agent_health", json!({ "to": "healthy", "error": null })),
        (
            10_000,
            PLANNER,
            "actor_exited",
            json!({ "cause": "error", "message": "no answer", "location": null }),
        ),
        (10_001, PLANNER, "decision", json!({ "scope": [PLANNER] })),
        (15_001, PLANNER, "actor_started", json!({ "generation": 2 })),
        (15_500, PLANNER, "actor_ready", json!({ "generation": 2 })),
        (20_000, "root", "runtime_stopped", json!({})),
    ])
}

#[test]
fn moment_has_the_tree_and_the_verdict_of_then() {
    let log = crash_of_the_planner();
    let at = |ms: u64| {
        let moment = moment(&log, ms);
        let tree = moment.tree.unwrap();
        let planner = find(&tree, PLANNER).unwrap();
        let text = moment.verdict.unwrap().text;
        (planner.state, planner.generation, planner.restarts, text)
    };
    let well = "All is well".to_owned();
    assert_eq!(at(5000), (HistoryState::Up, 1, 0, well.clone()));
    let restarts = "planner restarts in 4 s (attempt 1 of 5)".to_owned();
    assert_eq!(at(11_000), (HistoryState::Restarting, 1, 0, restarts));
    assert_eq!(at(15_200).0, HistoryState::Starting);
    assert_eq!(at(16_000), (HistoryState::Up, 2, 1, well));
    let stopped = moment(&log, 20_000);
    assert_eq!((stopped.tree, stopped.verdict), (None, None));
    let early = HistoryLog::default().at(timestamp(1), &TimeZone::UTC);
    assert_eq!((early.cursor, early.tree), (None, None));
}

#[test]
fn restart_by_command_is_no_attempt() {
    let log = fold(&[
        (0, "root", "actor_ready", json!({})),
        (1, PLANNER, "actor_ready", json!({})),
        (2, PLANNER, "decision", json!({ "scope": [PLANNER] })),
        (3, PLANNER, "actor_started", json!({ "generation": 2 })),
        (4, PLANNER, "actor_ready", json!({ "generation": 2 })),
        (5, PLANNER, "actor_exited", json!({ "cause": "normal", "message": null, "location": null })),
        (6, PLANNER, "actor_started", json!({ "generation": 3 })),
    ]);
    let text = |ms| moment(&log, ms).verdict.unwrap().text;
    assert_eq!(text(3), "planner is being restarted (attempt 1 of 5)");
    assert_eq!(text(6), "planner is being restarted");
}

#[test]
fn past_verdict_names_the_command_for_the_cause() {
    let command = |unrecoverable| {
        let log = fold(&[
            (0, "root", "actor_ready", json!({})),
            (1, PLANNER, "decision", json!({ "decision": "give_up", "scope": [PLANNER] })),
            (1, PLANNER, "gave_up", json!({ "unrecoverable": unrecoverable })),
        ]);
        moment(&log, 2).verdict.unwrap().action.unwrap().command()
    };
    assert_eq!(command(false), "mainstay agent reset planner");
    assert_eq!(command(true), "mainstay agent start planner");
}

#[test]
fn tree_is_nested_by_paths() {
    let log = fold(&[
        (0, "root", "actor_ready", json!({})),
        (1, "root/pool-b", "actor_ready", json!({})),
        (2, "root/pool", "actor_ready", json!({})),
        (3, "root/pool/a", "actor_ready", json!({})),
        (4, "root/agents", "actor_ready", json!({})),
    ]);
    let tree = moment(&log, 10).tree.unwrap();
    let names = |node: &HistoryNode| node.children.iter().map(|child| child.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&tree), ["agents", "pool", "pool-b"]);
    assert_eq!(names(&tree.children[1]), ["a"]);
}

#[test]
fn lanes_have_each_state_and_mark_the_exits_and_decisions() {
    let lanes = crash_of_the_planner().lanes(None, None);
    let planner = lanes.lanes.iter().find(|lane| lane.actor == PLANNER).unwrap();
    let states: Vec<_> = planner.spans.iter().map(|span| span.state).collect();
    use HistoryState::{Down, Restarting, Starting, Up};
    assert_eq!(states, [Up, Down, Restarting, Starting, Up]);
    let marks: Vec<_> = planner.marks.iter().map(|mark| (mark.cursor.seq, mark.kind.as_str())).collect();
    assert_eq!(marks, [(6, "actor_exited"), (7, "decision")]);
    assert_eq!(planner.marks[0].summary, "ended with an error: no answer");
    assert_eq!((lanes.runs.len(), lanes.runs[0].run, lanes.runs[0].to.is_some()), (1, 1, true));
    let part = crash_of_the_planner().lanes(Some(timestamp(12_000)), Some(timestamp(15_200)));
    let planner = part.lanes.iter().find(|lane| lane.actor == PLANNER).unwrap();
    let states: Vec<_> =
        planner.spans.iter().map(|span| (span.from.0, span.to.unwrap().0, span.state)).collect();
    assert_eq!(
        states,
        [
            (timestamp(12_000), timestamp(15_001), Restarting),
            (timestamp(15_001), timestamp(15_200), Starting)
        ]
    );
    assert!(planner.marks.is_empty());
}

#[test]
fn steps_are_bounded_and_the_states_before_them_are_kept() {
    let mut log = HistoryLog::default();
    log.apply(&example_record(1, 1, 0, "root", "actor_ready", &json!({})));
    log.apply(&example_record(1, 2, 0, PLANNER, "actor_ready", &json!({})));
    let mut repeated = example_record(1, 3, 30_000, "root/queue", "actor_ready", &json!({}));
    while repeated.seq < 300_100 {
        log.apply(&repeated);
        repeated.seq += 1;
    }
    let tree = moment(&log, 31_000).tree.unwrap();
    assert_eq!(tree.path, "root");
    let lanes = log.lanes(None, None);
    assert!(lanes.lanes.iter().any(|lane| lane.actor == PLANNER && lane.spans.len() == 1));
    assert_eq!(moment(&log, 1).cursor, None, "what is older than the first step is not known");
}

/// Adds steps of 3,000 agents in turn. Each copy of the states has one actor for every four steps of its block at most.
#[test]
fn copies_of_states_are_bounded() {
    let limits = LogLimits { steps_max: 60_000, block_steps_min: 1000 };
    let mut log = HistoryLog::with_limits(limits);
    let mut record = example_record(1, 1, 0, "root", "actor_ready", &json!({}));
    for seq in 1..=100_000 {
        (record.seq, record.actor) = (seq, format!("root/agents/agent-{}", seq % 3000));
        log.apply(&record);
        if seq % 1000 == 0 {
            let sizes = log.block_sizes();
            let (complete, newest) = sizes.split_at(sizes.len() - 1);
            let steps: usize = sizes.iter().map(|(_, steps)| steps).sum();
            assert!(steps <= limits.steps_max, "{sizes:?}");
            assert!(steps as u64 == seq || steps >= limits.steps_max * 3 / 4, "{sizes:?}");
            assert!(complete.iter().all(|(actors, steps)| *steps >= (4 * actors).max(1000)), "{sizes:?}");
            assert!(newest[0].1 < 12_000, "a moment is computed from few steps: {sizes:?}");
        }
    }
    // More actors than a fourth of the steps do not make blocks that are larger than that.
    let mut log = HistoryLog::with_limits(LogLimits { steps_max: 1000, block_steps_min: 10 });
    for seq in 1..=5000 {
        (record.seq, record.actor) = (seq, format!("root/agents/agent-{seq}"));
        log.apply(&record);
    }
    let sizes = log.block_sizes();
    assert!(sizes.len() <= 5 && sizes.iter().all(|(_, steps)| *steps <= 250), "{sizes:?}");
}

#[tokio::test]
async fn running_runtime_shows_the_past() {
    let mainstay = Mainstay::builder().start().await.unwrap();
    let mut events = mainstay.events();
    mainstay.inject_panic("queue").await.unwrap();
    let exited = loop {
        match events.next().await {
            Some(Delivery::Event(record)) if record.kind == "actor_exited" => break record.at.clone(),
            Some(_) => {}
            None => panic!("the events ended"),
        }
    };
    let then = mainstay.history_at(WallTime(exited.parse().unwrap())).await;
    let queue = find(then.tree.as_ref().unwrap(), "root/queue").unwrap().clone();
    assert_ne!(queue.state, HistoryState::Up, "{queue:?}");
    assert!(queue.last_error.unwrap().starts_with("panicked: injected panic"));
    let lanes = mainstay.history_lanes(None, None).await;
    let queue = lanes.lanes.iter().find(|lane| lane.actor == "root/queue").unwrap();
    assert_eq!(queue.marks[0].kind, "actor_exited");
    mainstay.shutdown().await;
}

/// Waits until the queue has panicked and is up again.
async fn crash_the_queue(mainstay: &Mainstay) {
    let mut events = mainstay.events_after(mainstay.status().await.runtime.cursor());
    mainstay.inject_panic("queue").await.unwrap();
    loop {
        match events.next().await {
            Some(Delivery::Event(record)) if record.kind == "actor_restarted" => return,
            Some(_) => {}
            None => panic!("the events ended"),
        }
    }
}

/// Keeps the one thread for blocking work busy, so that what computes there cannot end.
#[test]
fn history_is_computed_outside_async_threads_and_the_lock() {
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.enable_all().max_blocking_threads(1).build().unwrap();
    tokio.block_on(async {
        let mainstay = Mainstay::builder().start().await.unwrap();
        let now = mainstay.now();
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let busy = tokio::task::spawn_blocking(move || released.recv());
        let mut moment = pin!(mainstay.history_at(now));
        let mut lanes = pin!(mainstay.history_lanes(None, None));
        assert!(poll!(&mut moment).is_pending() && mainstay.0.history.try_lock().is_ok());
        assert!(poll!(&mut lanes).is_pending() && mainstay.0.history.try_lock().is_ok());
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(moment.await.tree.unwrap().path, "root");
        assert!(!lanes.await.lanes.is_empty());
        mainstay.shutdown().await;
    });
}

/// Events in memory are there at once, so only a deliberate yield lets other tasks run.
#[tokio::test]
async fn reading_many_events_yields() {
    let mainstay = Mainstay::builder().start().await.unwrap();
    let root = ActorPath::root("root").unwrap();
    for _ in 0..2000 {
        mainstay.journal().record(&root, 1, &BudgetReset {});
    }
    let end = mainstay.journal().cursor();
    let mut incidents = pin!(mainstay.incidents());
    assert!(poll!(&mut incidents).is_pending());
    incidents.await;
    let mut moment = pin!(mainstay.history_at(mainstay.now()));
    assert!(poll!(&mut moment).is_pending() && mainstay.0.history.try_lock().is_err());
    assert!(moment.await.cursor.unwrap() >= end);
    mainstay.shutdown().await;
}

/// Folds the files of three runs, and the events one by one.
#[tokio::test]
async fn history_of_the_files_is_that_of_the_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.connection.enabled = false;
    (config.journal.segment_bytes, config.journal.segments) = (4096, 1000);
    let start = || Mainstay::builder().config(config.clone()).data_dir(folder.path()).start();
    for _ in 0..2 {
        let mainstay = start().await.unwrap();
        crash_the_queue(&mainstay).await;
        crash_the_queue(&mainstay).await;
        mainstay.shutdown().await;
    }
    let files = std::fs::read_dir(folder.path().join("journal")).unwrap().count();
    assert!(files > 3, "{files}");
    let mainstay = start().await.unwrap();
    mainstay.shutdown().await;
    let lanes = mainstay.history_lanes(None, None).await;
    let (mut log, mut times) = (HistoryLog::default(), Vec::new());
    let mut events = mainstay.events();
    while let Some(Delivery::Event(record)) = events.next().await {
        log.apply(&record);
        times.push(record.at.parse::<Timestamp>().unwrap());
    }
    assert_eq!(lanes, log.lanes(None, None));
    assert_eq!((lanes.runs.len(), lanes.lanes_left_out), (3, 0));
    assert!(lanes.lanes.iter().any(|lane| lane.actor == "root/queue" && lane.marks.len() == 8), "{lanes:?}");
    for at in times {
        assert_eq!(mainstay.history_at(WallTime(at)).await, log.at(at, &TimeZone::system()));
    }
}

/// Makes records of random kinds, each with its milliseconds. A start begins a run.
fn random_records(events: &[(usize, usize, u64)], actors: &[&str]) -> Vec<(u64, Record)> {
    let kinds: Vec<&String> = EXAMPLES.keys().collect();
    let (mut ms, mut run, mut seq) = (0, 1, 0);
    let records = events.iter().map(|(kind, actor, pause_ms)| {
        let kind = kinds[kind % kinds.len()];
        if kind == "runtime_started" {
            (run, seq) = (run + 1, 0);
        }
        (seq, ms) = (seq + 1, ms + pause_ms);
        (ms, example_record(run, seq, ms, actors[actor % actors.len()], kind, &json!({})))
    });
    records.collect()
}

/// Returns the line of a record, whose members are in the order in which the journal writes them.
fn line(record: &Record) -> String {
    let content = serde_json::to_string(record).unwrap();
    let crc = crc32c::crc32c(content.as_bytes());
    format!("{},\"crc\":\"{crc:08x}\"}}\n", content.strip_suffix('}').unwrap())
}

/// The kinds that change a state.
const STATE_KINDS: [&str; 15] = [
    "runtime_started",
    "runtime_stopped",
    "actor_started",
    "actor_ready",
    "actor_exited",
    "decision",
    "gave_up",
    "restart_cancelled",
    "budget_reset",
    "agent_health",
    "backend_suspended",
    "backend_resumed",
    "connection_state",
    "queue_held",
    "queue_released",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(100, 2000)))]

    /// The last actor's path has an escape, so that its events are read as whole records. Each file ends in a torn line.
    #[test]
    fn history_of_files_is_that_of_their_events(
        events in prop::collection::vec((0..80_usize, 0..4_usize, 0..900_u64), 1..60),
        ends in prop::collection::vec(0..60_usize, 0..4),
        damaged in 0..60_usize,
    ) {
        let records = random_records(&events, &["root", "root/queue", PLANNER, "root/\"quoted\""]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("segment");
        let (mut one_by_one, mut joined, mut lines) = (HistoryLog::default(), HistoryLog::default(), String::new());
        for (index, (_, record)) in records.iter().enumerate() {
            if ends.contains(&index) {
                std::fs::write(&file, lines + "{\"run\":1,\"seq\":").unwrap();
                joined.append(HistoryPart::of_file(&file).unwrap());
                lines = String::new();
            }
            if index == damaged {
                lines += &line(record).replace("generation", "Generation");
            } else {
                lines += &line(record);
                one_by_one.apply(record);
            }
        }
        std::fs::write(&file, lines).unwrap();
        joined.append(HistoryPart::of_file(&file).unwrap());
        prop_assert_eq!(joined.cursor(), one_by_one.cursor());
        prop_assert_eq!(joined.lanes(None, None), one_by_one.lanes(None, None));
        for (ms, _) in records {
            prop_assert_eq!(moment(&joined, ms), moment(&one_by_one, ms));
        }
    }

    /// The clock is set back and forth. One log has copies of the states every few steps, the other none but the first.
    #[test]
    fn moment_from_a_copy_is_that_of_the_whole_replay(
        events in prop::collection::vec((0..STATE_KINDS.len(), 0..3_usize, 0..60_000_u64), 1..120),
        block_steps_min in 1..10_usize,
    ) {
        let limits = |block_steps_min| LogLimits { steps_max: usize::MAX, block_steps_min };
        let mut copied = HistoryLog::with_limits(limits(block_steps_min));
        let mut replayed = HistoryLog::with_limits(limits(usize::MAX));
        let mut run = 1;
        for (seq, (kind, actor, ms)) in (1..).zip(&events) {
            run += u64::from(STATE_KINDS[*kind] == "runtime_started");
            let actor = ["root", "root/queue", PLANNER][*actor];
            let record = example_record(run, seq, *ms, actor, STATE_KINDS[*kind], &json!({}));
            copied.apply(&record);
            replayed.apply(&record);
        }
        prop_assert_eq!(replayed.block_sizes().len(), 1);
        prop_assert!(events.len() < 24 || copied.block_sizes().len() > 1);
        for at in events.iter().flat_map(|(.., ms)| [*ms, ms.saturating_sub(1)]) {
            prop_assert_eq!(moment(&copied, at), moment(&replayed, at), "{}", at);
        }
        prop_assert_eq!(copied.lanes(None, None), replayed.lanes(None, None));
    }

    #[test]
    fn moment_after_dropped_steps_is_that_of_all_steps(
        events in prop::collection::vec((0..80_usize, 0..3_usize, 0..400_u64), 1..150),
    ) {
        let mut limited = HistoryLog::with_limits(LogLimits { steps_max: 8, block_steps_min: 2 });
        let mut whole = HistoryLog::default();
        let records = random_records(&events, &["root", "root/queue", PLANNER]);
        for (_, record) in &records {
            limited.apply(record);
            whole.apply(record);
        }
        let first = limited.lanes(None, None).from.unwrap();
        for (at, _) in records {
            if timestamp(at) >= first.0 {
                prop_assert_eq!(moment(&limited, at), moment(&whole, at), "{}", at);
            } else {
                prop_assert_eq!(moment(&limited, at).tree, None);
            }
        }
    }

    #[test]
    fn lanes_agree_with_the_moments(
        events in prop::collection::vec((0..80_usize, 0..5_usize, 1..900_u64), 1..60)
    ) {
        let actors = ["root", "root/backend", "root/queue", PLANNER, "root/agents/coder"];
        let records = random_records(&events, &actors);
        let mut log = HistoryLog::default();
        records.iter().for_each(|(_, record)| log.apply(record));
        let lanes = log.lanes(None, None);
        for lane in &lanes.lanes {
            for pair in lane.spans.windows(2) {
                prop_assert!(pair[0].to.unwrap() <= pair[1].from);
            }
        }
        for (at, _) in records {
            let Some(tree) = moment(&log, at).tree else { continue };
            for lane in &lanes.lanes {
                let covers = |span: &&LaneSpan| {
                    span.from.0 <= timestamp(at) && span.to.is_none_or(|to| timestamp(at) < to.0)
                };
                let in_lane = lane.spans.iter().find(covers).map(|span| span.state);
                let in_tree = find(&tree, &lane.actor).map(|node| node.state);
                // A tree without a root has its first actor as one. The last event of a run ends the states of all actors.
                let is_end = lanes.runs.iter().any(|run| run.to.is_some_and(|to| to.0 == timestamp(at)));
                if tree.path == "root" && !is_end {
                    prop_assert_eq!(in_lane, in_tree, "{} at {}", lane.actor, at);
                }
            }
        }
    }
}
