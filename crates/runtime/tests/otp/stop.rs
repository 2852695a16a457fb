//! Tests lines 6 to 12: stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use mainstay_runtime::journal::{Delivery, JournalSubscription};
use mainstay_runtime::policy::{AbandonedPolicy, ChildPolicy, RestartType, Shutdown, SupervisorPolicy};
use mainstay_runtime::{
    ActorStatus, CallError, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::test_tree::{ChildMessage, LifecycleLog, TestChild, TestTree, immediate_policy, s, settle};

#[tokio::test(start_paused = true)]
async fn children_stop_in_the_exact_reverse_of_their_order() {
    let (tree, _, _) =
        TestTree::with_children(SupervisorPolicy::default(), immediate_policy(), ["a", "b", "c", "d"]).await;
    tree.runtime.shutdown().await;
    assert_eq!(tree.log.take(), ["stop d", "stop c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn graceful_stop_kills_after_its_timeout() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    root.child(TestChild::new("a", &log).hanging_on_stop().with_policy(immediate_policy())).unwrap();
    let mut tree = TestTree::start(root, &log).await;
    let began = tree.runtime.now();
    tree.runtime.root().stop("a").await.unwrap();
    assert_eq!(tree.runtime.now() - began, s(3));
    assert_eq!(tree.next_event("actor_exited", "root/a").await.fields["cause"], "killed");
}

#[tokio::test(start_paused = true)]
async fn kill_ends_a_child_at_once_without_asking_it() {
    let at_once = ChildPolicy { shutdown: Shutdown::Kill, ..immediate_policy() };
    let (mut tree, [a], _) = TestTree::with_children(SupervisorPolicy::default(), at_once, ["a"]).await;
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
    assert_eq!(ending.cause, mainstay_runtime::policy::ExitCause::Normal);
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

/// A child whose handler reaches no await point until the test releases it.
struct BlockingWorker {
    entered: SyncSender<()>,
    release: Arc<Mutex<Receiver<()>>>,
    /// Makes its next start reach no await point either.
    blocks_start: Arc<AtomicBool>,
    wait_permits: Arc<Semaphore>,
}

enum BlockingMessage {
    Block(#[allow(dead_code, reason = "held, never answered")] Reply<()>),
    /// Blocks, and ends the incarnation.
    BlockThenStop,
    /// Waits, at an await point, until the test releases it.
    Wait,
    Panic,
    Ask(Reply<u64>),
    /// Leaves a task behind that never yields.
    BlockInTask,
}

impl Message for BlockingMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Block(_) | Self::BlockThenStop => "Carry",
            Self::BlockInTask => "Delegate",
            Self::Wait => "Rest",
            Self::Panic => "Panic",
            Self::Ask(_) => "Ask",
        }
    }
}

impl Worker for BlockingWorker {
    type Message = BlockingMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<BlockingMessage>, _: Option<()>) -> Result<(), Failure> {
        if self.blocks_start.swap(false, Ordering::SeqCst) {
            self.block()?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        ctx: &mut Context<BlockingMessage>,
        load: BlockingMessage,
        (): &mut (),
    ) -> Result<(), Failure> {
        match load {
            BlockingMessage::Block(_reply) => self.block()?,
            BlockingMessage::BlockThenStop => {
                self.block()?;
                ctx.stop();
            }
            BlockingMessage::BlockInTask => {
                let (entered, release) = (self.entered.clone(), Arc::clone(&self.release));
                drop(ctx.spawn_maybe(async move {
                    block_thread(&entered, &release).ok();
                    None
                }));
            }
            BlockingMessage::Wait => {
                self.entered.send(())?;
                self.wait_permits.acquire().await?.forget();
            }
            BlockingMessage::Panic => panic!("on purpose"),
            BlockingMessage::Ask(reply) => reply.send(ctx.generation()),
        }
        Ok(())
    }
}

impl BlockingWorker {
    fn block(&self) -> Result<(), Failure> {
        block_thread(&self.entered, &self.release)
    }
}

/// Reaches no await point until the test releases it.
fn block_thread(entered: &SyncSender<()>, release: &Mutex<Receiver<()>>) -> Result<(), Failure> {
    entered.send(())?;
    Ok(release.lock().recv()?)
}

struct BlockingTree {
    runtime: Arc<Runtime>,
    worker: mainstay_runtime::Address<BlockingMessage>,
    entered: Receiver<()>,
    release: SyncSender<()>,
    blocks_start: Arc<AtomicBool>,
    wait_permits: Arc<Semaphore>,
}

/// Runs in real time, since a paused clock cannot show a blocked thread. The only times are those of the policy.
async fn start_blocking_tree(policy: ChildPolicy) -> BlockingTree {
    let (entered_sender, entered) = sync_channel(1);
    let (release, release_receiver) = sync_channel(1);
    let (is_slow_to_rise, rested) = (Arc::<AtomicBool>::default(), Arc::new(Semaphore::new(0)));
    let worker = BlockingWorker {
        entered: entered_sender,
        release: Arc::new(Mutex::new(release_receiver)),
        blocks_start: Arc::clone(&is_slow_to_rise),
        wait_permits: Arc::clone(&rested),
    };
    let mut root = SupervisorSpec::new("root");
    let worker = root.child(Child::new("worker", worker).policy(policy)).unwrap();
    let runtime = Arc::new(Runtime::builder().start(root).await.unwrap());
    BlockingTree { runtime, worker, entered, release, blocks_start: is_slow_to_rise, wait_permits: rested }
}

fn short_timeouts() -> ChildPolicy {
    let moment = Duration::from_millis(20);
    ChildPolicy { shutdown: Shutdown::Graceful(moment), kill_timeout: moment, ..immediate_policy() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn child_that_never_yields_cannot_hang_the_supervisor() {
    let BlockingTree { runtime, worker, entered, release, .. } = start_blocking_tree(short_timeouts()).await;
    let journal = runtime.journal();
    let mut events = journal.subscribe_after(journal.cursor());
    let carried = tokio::task::spawn_blocking(move || entered.recv().map(|()| entered));
    let blocking = worker.call_within(s(60), BlockingMessage::Block);
    let stopping = async {
        let _entered = carried.await.unwrap().unwrap();
        runtime.root().stop("worker").await.unwrap();
        let abandoned = runtime.tree().find("root/worker").unwrap().info.abandoned;
        assert_eq!(abandoned, 1, "it is still at work");
        release.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(blocking, stopping);
    assert!(answer.is_err(), "{answer:?}");
    let mut records = Vec::new();
    while records.last().is_none_or(|(kind, _)| kind != "abandoned_ended") {
        let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
        records.push((record.kind.clone(), record.fields));
    }
    let exited = records.iter().find(|(kind, _)| kind == "actor_exited").unwrap();
    assert_eq!((&exited.1["cause"], &exited.1["abandoned"]), (&"killed".into(), &true.into()));
    let dead_letter = records.iter().find(|(kind, _)| kind == "dead_letter").unwrap();
    assert_eq!(dead_letter.1["label"], "Carry");
    let vitals = runtime.tree().find("root/worker").unwrap().info.clone();
    assert_eq!((vitals.status, vitals.abandoned), (ActorStatus::Stopped, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn stuck_child_that_never_yields_follows_abandoned_policy() {
    for (abandoned, answer) in
        [(AbandonedPolicy::Fail, Err(CallError::Stopped)), (AbandonedPolicy::Replace, Ok(2))]
    {
        let policy =
            ChildPolicy { stuck_after: Some(Duration::from_millis(500)), abandoned, ..short_timeouts() };
        let BlockingTree { runtime, worker, entered, release, .. } = start_blocking_tree(policy).await;
        let journal = runtime.journal();
        let mut events = journal.subscribe_after(journal.cursor());
        let (reply, _never) = Reply::channel();
        worker.try_cast(BlockingMessage::Block(reply)).unwrap();
        let _entered = tokio::task::spawn_blocking(move || entered.recv().map(|()| entered)).await.unwrap();
        let cause = loop {
            let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
            if record.kind == "actor_exited" {
                break record.fields["cause"].clone();
            }
        };
        assert_eq!(cause, "stuck");
        assert_eq!(worker.call(BlockingMessage::Ask).await, answer);
        release.send(()).unwrap();
    }
}

/// An incarnation whose handler or start does not yield is replaced.
fn replace_abandoned() -> ChildPolicy {
    let stuck_after = Some(Duration::from_millis(200));
    ChildPolicy { stuck_after, abandoned: AbandonedPolicy::Replace, ..short_timeouts() }
}

async fn wait_for_event(events: &mut JournalSubscription, kind: &str, generation: u64) {
    loop {
        let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
        if (record.kind.as_str(), record.generation) == (kind, generation) {
            return;
        }
    }
}

async fn wait_entered(entered: Receiver<()>) -> Receiver<()> {
    tokio::task::spawn_blocking(move || entered.recv().map(|()| entered)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_incarnation_takes_no_successor_message() {
    let policy = ChildPolicy { stuck_after: None, ..replace_abandoned() };
    let blocking_tree = start_blocking_tree(policy).await;
    let mut events = blocking_tree.runtime.journal().subscribe();
    blocking_tree.worker.try_cast(BlockingMessage::Block(Reply::channel().0)).unwrap();
    let heard = wait_entered(blocking_tree.entered).await;
    blocking_tree.runtime.root().restart("worker").await.unwrap();
    blocking_tree.worker.try_cast(BlockingMessage::Wait).unwrap();
    let _heard = wait_entered(heard).await;
    let (reply, generation) = Reply::channel();
    blocking_tree.worker.try_cast(BlockingMessage::Ask(reply)).unwrap();
    blocking_tree.release.send(()).unwrap();
    wait_for_event(&mut events, "abandoned_ended", 1).await;
    blocking_tree.wait_permits.add_permits(1);
    assert_eq!(generation.await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_incarnation_exit_does_not_stop_its_successor() {
    let blocking_tree = start_blocking_tree(ChildPolicy { stuck_after: None, ..replace_abandoned() }).await;
    let mut events = blocking_tree.runtime.journal().subscribe();
    blocking_tree.worker.try_cast(BlockingMessage::BlockThenStop).unwrap();
    let _heard = wait_entered(blocking_tree.entered).await;
    blocking_tree.runtime.root().restart("worker").await.unwrap();
    blocking_tree.release.send(()).unwrap();
    wait_for_event(&mut events, "abandoned_ended", 1).await;
    assert_eq!(blocking_tree.worker.call_within(s(60), BlockingMessage::Ask).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn incarnation_abandoned_in_start_never_takes_the_mailbox() {
    let blocking_tree = start_blocking_tree(replace_abandoned()).await;
    let mut events = blocking_tree.runtime.journal().subscribe();
    blocking_tree.blocks_start.store(true, Ordering::SeqCst);
    blocking_tree.worker.try_cast(BlockingMessage::Panic).unwrap();
    let _heard = wait_entered(blocking_tree.entered).await;
    wait_for_event(&mut events, "actor_ready", 3).await;
    assert_eq!(blocking_tree.worker.call(BlockingMessage::Ask).await, Ok(3));
    blocking_tree.release.send(()).unwrap();
    wait_for_event(&mut events, "abandoned_ended", 2).await;
    assert_eq!(blocking_tree.worker.call_within(s(60), BlockingMessage::Ask).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn task_that_never_yields_cannot_hang_the_supervisor() {
    let BlockingTree { runtime, worker, entered: receiver, release, .. } =
        start_blocking_tree(short_timeouts()).await;
    let journal = runtime.journal();
    let mut events = journal.subscribe_after(journal.cursor());
    worker.try_cast(BlockingMessage::BlockInTask).unwrap();
    let _receiver = wait_entered(receiver).await;
    runtime.root().stop("worker").await.unwrap();
    assert_eq!(runtime.tree().find("root/worker").unwrap().info.status, ActorStatus::Stopped);
    let exited = loop {
        let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
        if record.kind == "actor_exited" {
            break record;
        }
    };
    assert_eq!((&exited.fields["cause"], &exited.fields["abandoned"]), (&"normal".into(), &true.into()));
    runtime.shutdown().await;
    release.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_child_stays_failed_over_supervisor_restart() {
    let (entered_sender, receiver) = sync_channel(1);
    let (release, release_receiver) = sync_channel(1);
    let worker = BlockingWorker {
        entered: entered_sender,
        release: Arc::new(Mutex::new(release_receiver)),
        blocks_start: Arc::default(),
        wait_permits: Arc::new(Semaphore::new(0)),
    };
    let log = LifecycleLog::default();
    let strict =
        SupervisorPolicy { intensity: crate::test_tree::intensity(0), ..SupervisorPolicy::default() };
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool").policy(strict).as_child(immediate_policy());
    let worker = pool.child(Child::new("worker", worker).policy(short_timeouts())).unwrap();
    let other = pool.child(TestChild::new("other", &log).with_policy(immediate_policy())).unwrap();
    root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let (reply, _never) = Reply::channel();
    worker.try_cast(BlockingMessage::Block(reply)).unwrap();
    let _receiver = wait_entered(receiver).await;
    let mut events = runtime.journal().subscribe_after(runtime.journal().cursor());
    other.cast(ChildMessage::Panic).await.unwrap();
    loop {
        let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
        if record.kind == "actor_ready" && record.actor == "root/pool" {
            break;
        }
    }
    let tree = runtime.tree();
    let vitals = &tree.find("root/pool/worker").unwrap().info;
    assert_eq!((vitals.status, vitals.generation), (ActorStatus::Failed, 1));
    assert_eq!(worker.call(BlockingMessage::Ask).await, Err(CallError::Stopped));
    release.send(()).unwrap();
}
