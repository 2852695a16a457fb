//! The locks that the path of a message avoids, and the secrets that the tree hides.

use std::pin::pin;

use tokio::time::{Instant, timeout};

use super::*;
use crate::actor::context::Context;
use crate::actor::failure::Failure;
use crate::actor::worker::Worker;
use crate::journal::KnownSecrets;
use crate::messaging::message::Message;
use crate::messaging::reply::Reply;
use crate::standstill::DRAIN_TIME;
use crate::stop_clock::LOOK_INTERVAL;
use crate::supervisor::Child;

#[derive(Debug)]
enum CounterMessage {
    Up,
    Get(Reply<u64>),
}

impl Message for CounterMessage {}

/// Counts, unless it fails with a secret in its error, at its start or at the first message.
#[derive(Default)]
struct LeakyCounter {
    leaks_in_start: bool,
    leaks_in_handler: bool,
}

fn leak_error() -> Failure {
    "the token s3cret was refused".into()
}

impl Worker for LeakyCounter {
    type Message = CounterMessage;
    type State = u64;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<CounterMessage>, _: Option<()>) -> Result<u64, Failure> {
        if self.leaks_in_start { Err(leak_error()) } else { Ok(0) }
    }

    async fn handle(
        &self,
        _: &mut Context<CounterMessage>,
        message: CounterMessage,
        count: &mut u64,
    ) -> Result<(), Failure> {
        match message {
            _ if self.leaks_in_handler => return Err(leak_error()),
            CounterMessage::Up => *count += 1,
            CounterMessage::Get(reply) => reply.send(*count),
        }
        Ok(())
    }
}

#[test]
fn start_outside_tokio_is_an_error() {
    let start = Runtime::builder().start(SupervisorSpec::new("root"));
    let error = futures_util::FutureExt::now_or_never(start).unwrap().err();
    assert!(matches!(error, Some(RuntimeStartError::OutsideTokio)), "{error:?}");
}

/// Never ends its start.
struct NeverReady;

impl Worker for NeverReady {
    type Message = CounterMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<CounterMessage>, _: Option<()>) -> Result<(), Failure> {
        std::future::pending().await
    }

    async fn handle(
        &self,
        _: &mut Context<CounterMessage>,
        _: CounterMessage,
        (): &mut (),
    ) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn spawned_tree_is_there_and_stops_while_it_starts() {
    let mut tree = SupervisorSpec::new("root");
    tree.child(Child::new("slow", NeverReady)).unwrap();
    let runtime = Runtime::builder().spawn(tree).await.unwrap();
    let started = timeout(Duration::from_secs(1), runtime.started()).await;
    assert!(started.is_err(), "it waits for the child");
    assert_eq!(runtime.tree().children.len(), 1);
    let exit = runtime.shutdown_within(Duration::from_secs(5)).await;
    assert_eq!(exit.cause, ExitCause::Normal);
    assert!(matches!(runtime.started().await, Err(RuntimeStartError::ChildFailed { .. })));
}

/// Never ends its stop.
struct NeverStops;

impl Worker for NeverStops {
    type Message = CounterMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<CounterMessage>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(
        &self,
        _: &mut Context<CounterMessage>,
        _: CounterMessage,
        (): &mut (),
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(&self, _: &mut Context<CounterMessage>, (): &mut ()) {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn root_is_not_killed_for_a_standstill_while_it_stops() {
    let mut tree = SupervisorSpec::new("root");
    tree.child(Child::new("stubborn", NeverStops)).unwrap();
    let runtime = Runtime::builder().start(tree).await.unwrap();
    let limit = Duration::from_secs(5);
    let mut stopping = pin!(runtime.shutdown_within(limit));
    assert!(futures_util::poll!(&mut stopping).is_pending());
    tokio::time::sleep(limit / 2).await;
    tokio::time::advance(limit * 100).await;
    assert_eq!(stopping.await.cause, ExitCause::Normal);
}

#[tokio::test(start_paused = true)]
async fn limit_counts_time_that_passes_but_no_standstill() {
    let runtime = Runtime::builder().start(SupervisorSpec::new("root")).await.unwrap();
    let (env, second) = (&runtime.env, Duration::from_secs(1));
    let _watch = env.watch_stop();
    let end = env.deadline_in(second * 10);
    assert_eq!(env.within(Some(end), tokio::time::sleep(second)).await, Some(()));
    assert_eq!(env.left_until(end), second * 9);
    {
        let mut standing_still = pin!(env.within(Some(end), std::future::pending::<()>()));
        assert!(futures_util::poll!(&mut standing_still).is_pending());
        tokio::time::advance(second * 1000).await;
        assert!(futures_util::poll!(&mut standing_still).is_pending());
    }
    let left = second * 9 - LOOK_INTERVAL + DRAIN_TIME;
    assert_eq!(env.left_until(end), left);
    let started = Instant::now();
    assert_eq!(env.within(Some(end), std::future::pending::<()>()).await, None);
    assert_eq!(started.elapsed(), left);
    assert_eq!(env.within(None, async { 7 }).await, Some(7));
    runtime.shutdown().await;
}

/// The call would exceed its timeout if one of these locks were on its path.
#[test]
fn call_succeeds_while_journal_and_supervisor_are_locked() {
    let executor =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let runtime = executor.block_on(Runtime::builder().start(SupervisorSpec::new("root"))).unwrap();
    // The answer comes after the supervisor has learnt that the child is ready, so it needs none of the locks then.
    let counter =
        executor.block_on(runtime.root().add(Child::new("counter", LeakyCounter::default()))).unwrap();
    let slots = runtime.slot.children();
    let answer = {
        let _journal = runtime.env.journal.lock();
        let _listing = runtime.handle.child_list().hold_lock();
        let _standing = slots[0].identity().state();
        let _supervisors_standing = runtime.slot.identity.state();
        executor.block_on(async {
            for _ in 0..1000 {
                counter.cast(CounterMessage::Up).await.unwrap();
            }
            counter.call_within(Duration::from_secs(60), CounterMessage::Get).await
        })
    };
    assert_eq!(answer, Ok(1000));
    executor.block_on(runtime.shutdown());
}

#[tokio::test(start_paused = true)]
async fn last_error_is_redacted_in_tree_and_start_error() {
    const REDACTED: &str = "the token [redacted] was refused";
    let config =
        JournalOptions { secrets: KnownSecrets::new(vec!["s3cret".to_owned()]), ..JournalOptions::default() };
    let journal = Journal::in_memory("boot", Arc::new(SystemClock), config);
    let runtime = Runtime::builder().journal(journal).start(SupervisorSpec::new("root")).await.unwrap();
    let mute = LeakyCounter { leaks_in_start: true, ..LeakyCounter::default() };
    let refused = runtime.root().add(Child::new("mute", mute)).await.unwrap_err();
    assert!(refused.to_string().contains(REDACTED), "{refused}");

    let leaking = LeakyCounter { leaks_in_handler: true, ..LeakyCounter::default() };
    let leaking = runtime.root().add(Child::new("leaking", leaking)).await.unwrap();
    assert_eq!(leaking.call(CounterMessage::Get).await, Err(crate::CallError::Crashed));
    // The supervisor runs once no other task is ready.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let tree = runtime.tree();
    let shown = tree.find("root/leaking").and_then(|node| node.info.last_error.as_deref());
    assert_eq!(shown, Some(REDACTED));
}
