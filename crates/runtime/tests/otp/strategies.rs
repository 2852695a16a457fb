//! Lines 24 to 30: strategies.

use mainstay_runtime::Status;
use mainstay_runtime::policy::{ExitCause, Strategy, SupervisorPolicy};
use std::sync::atomic::Ordering::SeqCst;

use crate::stage::{Cue, Stage, at_once, delayed, intensity, pass, s, settle};

fn strategy(strategy: Strategy) -> SupervisorPolicy {
    SupervisorPolicy { strategy, ..SupervisorPolicy::default() }
}

const PATHS: [&str; 4] = ["root/a", "root/b", "root/c", "root/d"];

#[tokio::test(start_paused = true)]
async fn one_for_one_leaves_the_siblings_their_incarnations() {
    let (stage, [_, b, ..], _) =
        Stage::of(strategy(Strategy::OneForOne), at_once(), ["a", "b", "c", "d"]).await;
    b.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(stage.script.read(), ["start b", "ready b"]);
    assert_eq!(stage.generations(PATHS), [1, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let (mut stage, [_, b, ..], _) =
        Stage::of(strategy(Strategy::OneForAll), at_once(), ["a", "b", "c", "d"]).await;
    b.cast(Cue::Panic).await.unwrap();
    let decision = stage.next("decision", "root/b").await;
    assert_eq!(decision.fields["scope"], serde_json::json!(PATHS));
    settle().await;
    let started = ["a", "b", "c", "d"].map(|name| [format!("start {name}"), format!("ready {name}")]);
    let expected: Vec<String> = ["stop d", "stop c", "stop a"]
        .map(str::to_owned)
        .into_iter()
        .chain(started.into_iter().flatten())
        .collect();
    assert_eq!(stage.script.read(), expected);
    assert_eq!(stage.generations(PATHS), [2; 4]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_stops_only_the_later_ones_in_reverse_then_starts_the_failed_and_the_later() {
    let (mut stage, [_, b, ..], _) =
        Stage::of(strategy(Strategy::RestForOne), at_once(), ["a", "b", "c", "d"]).await;
    b.cast(Cue::Panic).await.unwrap();
    let decision = stage.next("decision", "root/b").await;
    assert_eq!(decision.fields["scope"], serde_json::json!(PATHS[1..]));
    settle().await;
    let expected = ["stop d", "stop c", "start b", "ready b", "start c", "ready c", "start d", "ready d"];
    assert_eq!(stage.script.read(), expected);
    assert_eq!(stage.generations(PATHS), [1, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_tries_all_again_when_another_child_fails_during_the_restart() {
    let (stage, [a, ..], [_, _, c]) =
        Stage::of(strategy(Strategy::OneForAll), at_once(), ["a", "b", "c"]).await;
    c.failures_left.store(1, SeqCst);
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    let first = ["stop c", "stop b", "start a", "ready a", "start b", "ready b", "start c"];
    let again = ["stop b", "stop a", "start a", "ready a", "start b", "ready b", "start c", "ready c"];
    assert_eq!(stage.script.read(), [&first[..], &again[..]].concat());
    assert_eq!(stage.statuses(["root/a", "root/b", "root/c"]), [Status::Running; 3]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_leaves_those_before_the_failed_one_up_when_another_fails_during_the_restart() {
    let (stage, [a, ..], [_, _, c, _]) =
        Stage::of(strategy(Strategy::RestForOne), at_once(), ["a", "b", "c", "d"]).await;
    c.failures_left.store(1, SeqCst);
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    let first = ["stop d", "stop c", "stop b", "start a", "ready a", "start b", "ready b", "start c"];
    let again = ["start c", "ready c", "start d", "ready d"];
    assert_eq!(stage.script.read(), [&first[..], &again[..]].concat());
    assert_eq!(stage.generations(PATHS), [2, 2, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn start_failure_loops_escalate_under_every_strategy() {
    for kind in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let policy = SupervisorPolicy { intensity: intensity(3), ..strategy(kind) };
        let (mut stage, [_, b, _], [_, direction, _]) = Stage::of(policy, at_once(), ["a", "b", "c"]).await;
        direction.failures_left.store(u32::MAX, SeqCst);
        b.cast(Cue::Panic).await.unwrap();
        assert_eq!(stage.ending().await, ExitCause::Shutdown, "{kind:?}");
        let starts = stage.script.read().iter().filter(|line| *line == "start b").count();
        assert_eq!(starts, 3, "{kind:?}");
        assert_eq!(stage.count("decision").await, 4, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_children_that_crash_within_one_delay_make_one_group_restart() {
    for (kind, generations) in [(Strategy::OneForAll, [2, 2, 2, 2]), (Strategy::RestForOne, [1, 2, 2, 2])] {
        let (mut stage, [_, b, c, _], _) = Stage::of(strategy(kind), delayed(), ["a", "b", "c", "d"]).await;
        b.try_cast(Cue::Panic).unwrap();
        c.try_cast(Cue::Panic).unwrap();
        pass(s(60)).await;
        assert_eq!(stage.generations(PATHS), generations, "{kind:?}");
        assert_eq!(stage.count("decision").await, 1, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_child_that_crashes_within_the_delay_of_a_later_one_takes_over_its_restart() {
    let (stage, [a, _, c, _], _) =
        Stage::of(strategy(Strategy::RestForOne), delayed(), ["a", "b", "c", "d"]).await;
    c.cast(Cue::Panic).await.unwrap();
    pass(s(2)).await;
    a.cast(Cue::Panic).await.unwrap();
    pass(s(4)).await;
    assert_eq!(stage.generations(PATHS), [1; 4], "the later delay holds for all");
    pass(s(2)).await;
    assert_eq!(stage.generations(PATHS), [2; 4]);
}
