//! Tests lines 24 to 30: strategies.

use crate::*;

fn strategy_policy(strategy: Strategy) -> SupervisorPolicy {
    SupervisorPolicy { strategy, ..SupervisorPolicy::default() }
}

async fn four_children(
    strategy: Strategy,
    child: ChildPolicy,
) -> (TestTree, [Address<ChildMessage>; 4], [Arc<ChildControls>; 4]) {
    TestTree::with_children(strategy_policy(strategy), child, ["a", "b", "c", "d"]).await
}

const PATHS: [&str; 4] = ["root/a", "root/b", "root/c", "root/d"];

#[tokio::test(start_paused = true)]
async fn one_for_one_leaves_the_siblings_their_incarnations() {
    let (tree, [_, b, ..], _) = four_children(Strategy::OneForOne, immediate_policy()).await;
    b.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(tree.log.take(), ["start b", "ready b"]);
    assert_eq!(tree.generations(PATHS), [1, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_in_reverse_and_starts_in_order() {
    let (mut tree, [_, b, ..], _) = four_children(Strategy::OneForAll, immediate_policy()).await;
    b.cast(ChildMessage::Panic).await.unwrap();
    let decision = tree.next_event("decision", "root/b").await;
    assert_eq!(decision.fields["scope"], serde_json::json!(PATHS));
    settle().await;
    let started = ["a", "b", "c", "d"].map(|name| [format!("start {name}"), format!("ready {name}")]);
    let expected: Vec<String> = ["stop d", "stop c", "stop a"]
        .map(str::to_owned)
        .into_iter()
        .chain(started.into_iter().flatten())
        .collect();
    assert_eq!(tree.log.take(), expected);
    assert_eq!(tree.generations(PATHS), [2; 4]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restarts_the_failed_and_later_children() {
    let (mut tree, [_, b, ..], _) = four_children(Strategy::RestForOne, immediate_policy()).await;
    b.cast(ChildMessage::Panic).await.unwrap();
    let decision = tree.next_event("decision", "root/b").await;
    assert_eq!(decision.fields["scope"], serde_json::json!(PATHS[1..]));
    settle().await;
    let expected = ["stop d", "stop c", "start b", "ready b", "start c", "ready c", "start d", "ready d"];
    assert_eq!(tree.log.take(), expected);
    assert_eq!(tree.generations(PATHS), [1, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_retries_all_when_another_child_fails() {
    let (tree, [a, ..], [_, _, c]) =
        TestTree::with_children(strategy_policy(Strategy::OneForAll), immediate_policy(), ["a", "b", "c"])
            .await;
    c.failures_left.store(1, SeqCst);
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    let first = ["stop c", "stop b", "start a", "ready a", "start b", "ready b", "start c"];
    let again = ["stop b", "stop a", "start a", "ready a", "start b", "ready b", "start c", "ready c"];
    assert_eq!(tree.log.take(), [&first[..], &again[..]].concat());
    assert_eq!(tree.statuses(["root/a", "root/b", "root/c"]), [ActorStatus::Running; 3]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_keeps_earlier_children_when_another_fails() {
    let (tree, [a, ..], [_, _, c, _]) = four_children(Strategy::RestForOne, immediate_policy()).await;
    c.failures_left.store(1, SeqCst);
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    let first = ["stop d", "stop c", "stop b", "start a", "ready a", "start b", "ready b", "start c"];
    let again = ["start c", "ready c", "start d", "ready d"];
    assert_eq!(tree.log.take(), [&first[..], &again[..]].concat());
    assert_eq!(tree.generations(PATHS), [2, 2, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn start_failure_loops_escalate_under_every_strategy() {
    for kind in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let policy = SupervisorPolicy { intensity: intensity(3), ..strategy_policy(kind) };
        let (mut tree, [_, b, _], [_, controls, _]) =
            TestTree::with_children(policy, immediate_policy(), ["a", "b", "c"]).await;
        controls.failures_left.store(u32::MAX, SeqCst);
        b.cast(ChildMessage::Panic).await.unwrap();
        assert_eq!(tree.exit_cause().await, ExitCause::Shutdown, "{kind:?}");
        let starts = tree.log.take().iter().filter(|line| *line == "start b").count();
        assert_eq!(starts, 3, "{kind:?}");
        assert_eq!(tree.count("decision").await, 4, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_crashes_within_one_delay_make_one_group_restart() {
    for (kind, generations) in [(Strategy::OneForAll, [2, 2, 2, 2]), (Strategy::RestForOne, [1, 2, 2, 2])] {
        let (mut tree, [_, b, c, _], _) = four_children(kind, delayed_policy()).await;
        b.try_cast(ChildMessage::Panic).unwrap();
        c.try_cast(ChildMessage::Panic).unwrap();
        advance(s(60)).await;
        assert_eq!(tree.generations(PATHS), generations, "{kind:?}");
        assert_eq!(tree.count("decision").await, 1, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn earlier_crash_within_delay_takes_over_the_group_restart() {
    let (tree, [a, _, c, _], _) = four_children(Strategy::RestForOne, delayed_policy()).await;
    c.cast(ChildMessage::Panic).await.unwrap();
    advance(s(2)).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    advance(s(4)).await;
    assert_eq!(tree.generations(PATHS), [1; 4], "the later delay holds for all");
    advance(s(2)).await;
    assert_eq!(tree.generations(PATHS), [2; 4]);
}
