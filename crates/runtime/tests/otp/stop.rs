//! Tests lines 6 to 12: stopping.

use std::pin::pin;

use tokio::time::sleep;

use crate::*;

#[tokio::test(start_paused = true)]
async fn children_stop_in_the_exact_reverse_of_their_order() {
    let (tree, _, _) = TestTree::one_for_one(immediate_policy(), ["a", "b", "c", "d"]).await;
    tree.runtime.shutdown().await;
    assert_eq!(tree.log.take(), ["stop d", "stop c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn graceful_stop_kills_after_its_timeout() {
    for hangs_in in ["stop", "a handler"] {
        let (mut tree, a, controls) = one_child(immediate_policy()).await;
        controls.hangs_on_stop.store(hangs_in == "stop", SeqCst);
        if hangs_in == "a handler" {
            a.cast(ChildMessage::Hang).await.unwrap();
            settle().await;
        }
        let began = tree.runtime.now();
        tree.runtime.root().stop("a").await.unwrap();
        assert_eq!(tree.runtime.now() - began, s(3), "{hangs_in}");
        assert_eq!(tree.next_event("actor_exited", "root/a").await.fields["cause"], "killed", "{hangs_in}");
    }
}

#[tokio::test(start_paused = true)]
async fn kill_ends_a_child_at_once_without_asking_it() {
    let at_once = ChildPolicy { shutdown: Shutdown::Kill, ..immediate_policy() };
    let (mut tree, [a], _) = TestTree::one_for_one(at_once, ["a"]).await;
    a.cast(ChildMessage::Hang).await.unwrap();
    settle().await;
    let began = tree.runtime.now();
    tree.runtime.root().stop("a").await.unwrap();
    assert_eq!(tree.runtime.now(), began);
    assert!(tree.log.take().is_empty(), "it was not asked to stop");
    assert_eq!(tree.next_event("actor_exited", "root/a").await.fields["cause"], "killed");
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_stop_concurrently_under_one_timer() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let pool = root.supervisor(SupervisorSpec::dynamic("pool")).unwrap();
    let tree = TestTree::start(root, &log).await;
    for name in ["a", "b", "c"] {
        pool.add(TestChild::new(name, &log).hanging_on_stop().with_policy(immediate_policy())).await.unwrap();
    }
    let began = tree.runtime.now();
    tree.runtime.shutdown().await;
    assert_eq!(tree.runtime.now() - began, s(3));
    assert_eq!(log.take().iter().filter(|line| line.starts_with("stop")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn six_independent_children_that_hang_stop_in_one_grace() {
    let (log, hanging) = (LifecycleLog::default(), ["a", "b", "c", "d", "e", "f"]);
    let mut root = SupervisorSpec::new("root");
    let together = SupervisorPolicy { stop_order: StopOrder::Together, ..SupervisorPolicy::default() };
    let mut pool = SupervisorSpec::new("pool").policy(together);
    for name in hanging {
        pool.child(TestChild::new(name, &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    }
    root.supervisor(pool).unwrap();
    let tree = TestTree::start(root, &log).await;
    let began = tree.runtime.now();
    tree.runtime.shutdown().await;
    assert_eq!(tree.runtime.now() - began, s(3));
}

#[tokio::test(start_paused = true)]
async fn shutdown_within_a_limit_kills_what_is_left_and_says_so() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    root.child(TestChild::new("first", &log).with_policy(immediate_policy())).unwrap();
    let mut pool = SupervisorSpec::new("pool");
    for name in ["a", "b"] {
        pool.child(TestChild::new(name, &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    }
    root.supervisor(pool).unwrap();
    let mut tree = TestTree::start(root, &log).await;
    log.take();
    let began = tree.runtime.now();
    let exit = tree.runtime.shutdown_within(s(2)).await;
    assert!(tree.runtime.now() - began <= s(2));
    assert_eq!((exit.cause, exit.message), (ExitCause::Normal, None));
    assert_eq!(log.take(), ["stop b", "stop a", "stop first"], "each was asked");
    let records = tree.read_until("runtime_stopped", "root").await;
    let exits: Vec<_> = records.iter().filter(|record| record.kind == "actor_exited").collect();
    let causes: Vec<_> =
        exits.iter().map(|exit| (&*exit.actor, exit.fields["cause"].as_str().unwrap())).collect();
    assert_eq!(
        causes,
        [
            ("root/pool/b", "killed"),
            ("root/pool/a", "killed"),
            ("root/pool", "normal"),
            ("root/first", "normal"),
            ("root", "normal"),
        ]
    );
    assert_eq!(exits[0].fields["message"], "it was asked to stop, and did not in time");
}

/// Starts the child `a` below three supervisors.
async fn deep_tree(child: TestChild, log: &LifecycleLog) -> TestTree {
    let mut pool = SupervisorSpec::new("inner");
    pool.child(child.with_policy(immediate_policy())).unwrap();
    for name in ["middle", "outer"] {
        let mut above = SupervisorSpec::new(name);
        above.supervisor(pool).unwrap();
        pool = above;
    }
    let mut root = SupervisorSpec::new("root");
    root.supervisor(pool).unwrap();
    TestTree::start(root, log).await
}

const DEEP_PATHS: [&str; 5] =
    ["root/outer/middle/inner/a", "root/outer/middle/inner", "root/outer/middle", "root/outer", "root"];

async fn exit_causes(tree: &mut TestTree) -> Vec<(String, String)> {
    let records = tree.read_until("runtime_stopped", "root").await;
    let exits = records.iter().filter(|record| record.kind == "actor_exited");
    exits.map(|exit| (exit.actor.to_string(), exit.fields["cause"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn child_that_ended_in_a_standstill_is_not_killed() {
    let log = LifecycleLog::default();
    let child = TestChild::new("a", &log);
    let gate = child.controls.hold_stops();
    let mut tree = deep_tree(child, &log).await;
    let limit = s(5);
    {
        let mut stopping = pin!(tree.runtime.shutdown_within(limit));
        assert!(futures_util::poll!(&mut stopping).is_pending());
        settle().await;
        // Twice, and each time for longer than the limit.
        for _ in 0..2 {
            tokio::time::advance(limit * 3).await;
            assert!(futures_util::poll!(&mut stopping).is_pending());
            // Its end is read within the time that follows a standstill.
            sleep(Duration::from_millis(500)).await;
        }
        gate.add_permits(1);
        assert_eq!(stopping.await.cause, ExitCause::Normal);
    }
    let normal = DEEP_PATHS.map(|path| (path.to_owned(), "normal".to_owned()));
    assert_eq!(exit_causes(&mut tree).await, normal);
}

#[tokio::test(start_paused = true)]
async fn standstill_prolongs_a_stop_by_its_length_and_a_second() {
    let log = LifecycleLog::default();
    let mut tree = deep_tree(TestChild::new("a", &log).hanging_on_stop(), &log).await;
    let (began, limit) = (tree.runtime.now(), s(2));
    {
        let mut stopping = pin!(tree.runtime.shutdown_within(limit));
        assert!(futures_util::poll!(&mut stopping).is_pending());
        settle().await;
        tokio::time::advance(s(100)).await;
        assert_eq!(stopping.await.cause, ExitCause::Normal);
    }
    let took = tree.runtime.now() - began;
    assert!(took > s(102) && took <= s(103), "{took:?}");
    let mut causes = DEEP_PATHS.map(|path| (path.to_owned(), "normal".to_owned()));
    causes[0].1 = "killed".to_owned();
    assert_eq!(exit_causes(&mut tree).await, causes);
}

#[tokio::test(start_paused = true)]
async fn child_stopped_by_command_has_its_time_after_a_standstill() {
    let (mut tree, _, controls) = one_child(immediate_policy()).await;
    let gate = controls.hold_stops();
    {
        let mut stopping = pin!(tree.runtime.root().stop("a"));
        assert!(futures_util::poll!(&mut stopping).is_pending());
        settle().await;
        tokio::time::advance(s(100)).await;
        sleep(s(3)).await;
        gate.add_permits(1);
        stopping.await.unwrap();
    }
    assert_eq!(tree.next_event("actor_exited", "root/a").await.fields["cause"], "normal");
}

#[tokio::test(start_paused = true)]
async fn error_of_a_stop_by_kill_is_gone_after_the_next_start() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    root.child(TestChild::new("a", &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    let tree = TestTree::start(root, &log).await;
    tree.runtime.root().stop("a").await.unwrap();
    let killed = "it was asked to stop, and did not in time";
    assert_eq!(tree.info("root/a").last_error.as_deref(), Some(killed));
    tree.runtime.root().start("a").await.unwrap();
    let info = tree.info("root/a");
    assert_eq!((info.status, info.last_error), (ActorStatus::Running, None));
}

#[tokio::test(start_paused = true)]
async fn kill_during_shutdown_ends_at_once_and_has_its_reason() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    for name in ["a", "b"] {
        root.child(TestChild::new(name, &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    }
    let mut tree = TestTree::start(root, &log).await;
    let began = tree.runtime.now();
    tokio::select! {
        _ = tree.runtime.shutdown_within(s(60)) => panic!("b hangs"),
        () = advance(s(1)) => {}
    }
    tree.runtime.kill("a person insists").await;
    assert!(tree.runtime.now() - began < s(2), "{:?}", tree.runtime.now() - began);
    let exit = tree.runtime.finished().await;
    assert_eq!((exit.cause, exit.message.as_deref()), (ExitCause::Killed, Some("a person insists")));
    let records = tree.read_until("runtime_stopped", "root").await;
    let messages: Vec<_> = records
        .iter()
        .filter(|record| record.kind == "actor_exited")
        .map(|record| (&*record.actor, record.fields["cause"].clone(), record.fields["message"].clone()))
        .collect();
    let stopped = serde_json::json!("it was killed while it stopped, before its time was over");
    assert!(messages.contains(&("root/b", "killed".into(), stopped)), "{messages:?}");
    assert!(messages.contains(&("root", "killed".into(), "a person insists".into())), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn children_exiting_during_shutdown_disturb_nothing() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let a = root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
    let b = root.child(TestChild::new("b", &log).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("c", &log).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("d", &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    let mut tree = TestTree::start(root, &log).await;
    log.take();
    let exits = async {
        settle().await;
        a.cast(ChildMessage::Panic).await.unwrap();
        b.cast(ChildMessage::Stop).await.unwrap();
    };
    let (ending, ()) = tokio::join!(tree.runtime.shutdown(), exits);
    assert_eq!(ending.cause, ExitCause::Normal);
    assert_eq!(log.take(), ["stop d", "stop b", "stop c"], "b ended by itself, a had crashed");
    assert_eq!(tree.count("decision").await, 0);
}

#[tokio::test(start_paused = true)]
async fn permanent_child_exit_in_shutdown_is_unexpected() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let transient = ChildPolicy { restart: RestartType::Transient, ..immediate_policy() };
    let permanent = root.child(TestChild::new("permanent", &log).with_policy(immediate_policy())).unwrap();
    let other = root.child(TestChild::new("transient", &log).with_policy(transient)).unwrap();
    root.child(TestChild::new("last", &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    let mut tree = TestTree::start(root, &log).await;
    let exits = async {
        settle().await;
        permanent.cast(ChildMessage::Stop).await.unwrap();
        other.cast(ChildMessage::Stop).await.unwrap();
    };
    tokio::join!(tree.runtime.shutdown(), exits);
    let records = tree.read_until("runtime_stopped", "root").await;
    let unexpected: Vec<&str> = records
        .iter()
        .filter(|record| record.kind == "actor_exited" && record.fields.get("unexpected").is_some())
        .map(|record| record.actor.as_str())
        .collect();
    assert_eq!(unexpected, ["root/permanent"]);
}

// === threads that a child holds ===
//
// They run in real time, since a paused clock cannot show a blocked thread. The only times are those of the policy.

fn short_timeouts() -> ChildPolicy {
    let short = Duration::from_millis(20);
    ChildPolicy { shutdown: Shutdown::Graceful(short), kill_timeout: short, ..immediate_policy() }
}

/// An incarnation whose handler or start does not yield is replaced.
fn replace_abandoned() -> ChildPolicy {
    ChildPolicy { abandoned: AbandonedPolicy::Replace, ..short_timeouts() }
}

async fn one_child(policy: ChildPolicy) -> (TestTree, Address<ChildMessage>, Arc<ChildControls>) {
    let (tree, [a], [controls]) = TestTree::one_for_one(policy, ["a"]).await;
    (tree, a, controls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn child_that_never_yields_cannot_hang_the_supervisor() {
    let (mut tree, a, _) = one_child(short_timeouts()).await;
    let (gate, blocked) = thread_gate();
    let stopping = async {
        blocked.entered().await;
        tree.runtime.root().stop("a").await.unwrap();
        assert_eq!(tree.info("root/a").abandoned, 1, "it is still at work");
        drop(blocked);
    };
    let blocking = a.call_within(s(60), |reply| ChildMessage::Block(gate, reply));
    let (answer, ()) = tokio::join!(blocking, stopping);
    assert!(answer.is_err(), "{answer:?}");
    let records = tree.read_until("abandoned_ended", "root/a").await;
    let fields = |kind: &str| &records.iter().find(|record| record.kind == kind).unwrap().fields;
    let exited = fields("actor_exited");
    assert_eq!((&exited["cause"], &exited["abandoned"]), (&"killed".into(), &true.into()));
    assert_eq!(fields("dead_letter")["label"], "Block");
    let info = tree.info("root/a");
    assert_eq!((info.status, info.abandoned), (ActorStatus::Stopped, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn stuck_child_that_never_yields_follows_abandoned_policy() {
    for (abandoned, answer) in
        [(AbandonedPolicy::Fail, Err(CallError::Stopped)), (AbandonedPolicy::Replace, Ok(2))]
    {
        let stuck_after = Some(Duration::from_millis(500));
        let (mut tree, a, _) = one_child(ChildPolicy { stuck_after, abandoned, ..short_timeouts() }).await;
        let _blocked = block_thread(&a).await;
        assert_eq!(tree.next_event("actor_exited", "root/a").await.fields["cause"], "stuck", "{abandoned:?}");
        assert_eq!(a.call(ChildMessage::Ask).await, answer, "{abandoned:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_incarnation_takes_no_successor_message() {
    for (name, policy) in [("restart", replace_abandoned()), ("stop and start", short_timeouts())] {
        let (mut tree, a, _) = one_child(policy).await;
        let blocked = block_thread(&a).await;
        let root = tree.runtime.root();
        if name == "restart" {
            root.restart("a").await.unwrap();
        } else {
            root.stop("a").await.unwrap();
            root.start("a").await.unwrap();
        }
        let (entered, resume) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        a.try_cast(ChildMessage::Wait(Arc::clone(&entered), Arc::clone(&resume))).unwrap();
        entered.acquire().await.unwrap().forget();
        let (reply, generation) = Reply::channel();
        a.try_cast(ChildMessage::Ask(reply)).unwrap();
        drop(blocked);
        assert_eq!(tree.next_event("abandoned_ended", "root/a").await.generation, 1, "{name}");
        resume.add_permits(1);
        assert_eq!(generation.await, Ok(2), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_incarnation_exit_does_not_stop_its_successor() {
    let (mut tree, a, _) = one_child(replace_abandoned()).await;
    let (gate, blocked) = thread_gate();
    a.try_cast(ChildMessage::BlockThenStop(gate)).unwrap();
    blocked.entered().await;
    tree.runtime.root().restart("a").await.unwrap();
    drop(blocked);
    assert_eq!(tree.next_event("abandoned_ended", "root/a").await.generation, 1);
    assert_eq!(a.call_within(s(60), ChildMessage::Ask).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn incarnation_abandoned_in_start_never_takes_the_mailbox() {
    let stuck_after = Some(Duration::from_millis(200));
    let (mut tree, a, controls) = one_child(ChildPolicy { stuck_after, ..replace_abandoned() }).await;
    let (gate, blocked) = thread_gate();
    *controls.next_start.lock() = Some(gate);
    a.try_cast(ChildMessage::Panic).unwrap();
    blocked.entered().await;
    while tree.next_event("actor_ready", "root/a").await.generation != 3 {}
    assert_eq!(a.call(ChildMessage::Ask).await, Ok(3));
    drop(blocked);
    assert_eq!(tree.next_event("abandoned_ended", "root/a").await.generation, 2);
    assert_eq!(a.call_within(s(60), ChildMessage::Ask).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn task_that_never_yields_cannot_hang_the_supervisor() {
    let (mut tree, a, _) = one_child(short_timeouts()).await;
    let (gate, blocked) = thread_gate();
    a.try_cast(ChildMessage::BlockInTask(gate)).unwrap();
    blocked.entered().await;
    tree.runtime.root().stop("a").await.unwrap();
    assert_eq!(tree.status("root/a"), ActorStatus::Stopped);
    let exited = tree.next_event("actor_exited", "root/a").await;
    assert_eq!((&exited.fields["cause"], &exited.fields["abandoned"]), (&"normal".into(), &true.into()));
    tree.runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_child_stays_failed_over_supervisor_restart() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let mut pool = strict_pool();
    let a = pool.child(TestChild::new("a", &log).with_policy(short_timeouts())).unwrap();
    let other = pool.child(TestChild::new("other", &log).with_policy(immediate_policy())).unwrap();
    root.supervisor(pool).unwrap();
    let mut tree = TestTree::start(root, &log).await;
    let _blocked = block_thread(&a).await;
    other.cast(ChildMessage::Panic).await.unwrap();
    while tree.next_event("actor_ready", "root/pool").await.generation != 2 {}
    let info = tree.info("root/pool/a");
    assert_eq!((info.status, info.generation), (ActorStatus::Failed, 1));
    assert_eq!(a.call(ChildMessage::Ask).await, Err(CallError::Stopped));
}
