//! Tests panics in unusual places: each ends in a recorded exit, and harms no other actor.

use std::fmt;

use mainstay_runtime::journal::Record;

use crate::*;

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("broken");
    }
}

/// An error whose text panics.
#[derive(Debug)]
struct PanicsOnDisplay;

impl fmt::Display for PanicsOnDisplay {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for PanicsOnDisplay {}

enum FaultyMessage {
    Ping(Reply<()>),
    /// Panics in its `Debug`, and in its handler.
    PanicInDebug(Reply<()>),
    /// Panics in its clone.
    PanicInClone(Reply<()>),
    /// Makes the next snapshot panic.
    PanicInSnapshot(Reply<()>),
    /// Keeps a value that panics when the state is dropped.
    HoldPanicsOnDrop,
    /// Answers with a value that panics when no caller takes it.
    ReplyPanicsOnDrop(Reply<PanicsOnDrop>),
    Panic,
    Fail,
    Block,
    /// Starts a task that panics when it is cancelled.
    StartPanicOnAbort,
    Stop,
    /// Panics when it is dropped, handled or not.
    PanicInDrop(PanicsOnDrop, Reply<()>),
}

impl fmt::Debug for FaultyMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!matches!(self, Self::PanicInDebug(_)), "no name");
        f.write_str("Faulty message")
    }
}

impl Message for FaultyMessage {
    fn redelivery_clone(&mut self) -> Option<Self> {
        assert!(!matches!(self, Self::PanicInClone(_)), "no copy");
        None
    }
}

/// The worker's recipe may panic too.
#[derive(Default)]
struct FaultyWorker {
    #[allow(dead_code, reason = "held")]
    recipe: Option<PanicsOnDrop>,
    panics_in_stop: bool,
}

#[derive(Default)]
struct State {
    held: Vec<PanicsOnDrop>,
    panics_in_snapshot: bool,
}

impl Worker for FaultyWorker {
    type Message = FaultyMessage;
    type State = State;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<FaultyMessage>, _: Option<()>) -> Result<State, Failure> {
        Ok(State::default())
    }

    async fn handle(
        &self,
        ctx: &mut Context<FaultyMessage>,
        message: FaultyMessage,
        state: &mut State,
    ) -> Result<(), Failure> {
        match message {
            FaultyMessage::Ping(reply) | FaultyMessage::PanicInClone(reply) => reply.send(()),
            FaultyMessage::PanicInDebug(_reply) => panic!("on purpose"),
            FaultyMessage::PanicInSnapshot(_reply) => state.panics_in_snapshot = true,
            FaultyMessage::HoldPanicsOnDrop => state.held.push(PanicsOnDrop),
            FaultyMessage::ReplyPanicsOnDrop(reply) => reply.send(PanicsOnDrop),
            FaultyMessage::Panic => panic!("on purpose"),
            FaultyMessage::Fail => return Err(PanicsOnDisplay.into()),
            FaultyMessage::Block => std::future::pending().await,
            FaultyMessage::StartPanicOnAbort => drop(ctx.spawn_maybe(async {
                let _held = PanicsOnDrop;
                std::future::pending().await
            })),
            FaultyMessage::Stop => ctx.stop(),
            FaultyMessage::PanicInDrop(fragile, reply) => {
                reply.send(());
                drop(fragile);
            }
        }
        Ok(())
    }

    fn snapshot(&self, state: &State) -> Option<()> {
        assert!(!state.panics_in_snapshot, "smudged");
        None
    }

    async fn stop(&self, _: &mut Context<FaultyMessage>, _: &mut State) {
        assert!(!self.panics_in_stop, "stopped badly");
    }
}

async fn start_worker(worker: FaultyWorker) -> (Runtime, Address<FaultyMessage>) {
    start_child(Child::new("worker", worker).policy(ChildPolicy { budget: None, ..immediate_policy() })).await
}

fn cause_and_message(exited: &Record) -> (&str, &str) {
    let text = |field: &str| exited.fields[field].as_str().unwrap();
    let location = exited.fields["location"].as_str();
    assert!(location.is_none_or(|place| place.contains("failures.rs:")), "{location:?}");
    (text("cause"), text("message"))
}

#[tokio::test(start_paused = true)]
async fn message_panic_is_a_crash_and_a_dead_letter() {
    for (make, message, label) in [
        (FaultyMessage::PanicInClone as fn(Reply<()>) -> FaultyMessage, "no copy", "Faulty"),
        (FaultyMessage::PanicInSnapshot as fn(Reply<()>) -> FaultyMessage, "smudged", "Faulty"),
    ] {
        let (runtime, worker) = start_worker(FaultyWorker::default()).await;
        let mut events = JournalFollower::from_now(&runtime);
        let answers = tokio::join!(worker.call(make), worker.call(FaultyMessage::Ping));
        assert_eq!(answers, (Err(CallError::Crashed), Ok(())));
        let records = events.read_until("dead_letter").await;
        assert_eq!(cause_and_message(&records[0]), ("panic", message));
        assert_eq!(records[1].fields["reason"], "crashed");
        assert_eq!(records[1].fields["label"], label);
    }
}

#[tokio::test(start_paused = true)]
async fn panic_in_debug_costs_only_the_label() {
    let (runtime, worker) = start_worker(FaultyWorker::default()).await;
    let mut events = JournalFollower::from_now(&runtime);
    assert_eq!(worker.call(FaultyMessage::PanicInDebug).await, Err(CallError::Crashed));
    let records = events.read_until("dead_letter").await;
    assert_eq!(cause_and_message(&records[0]), ("panic", "on purpose"));
    assert_eq!(records[1].fields["label"], "FaultyMessage");
}

#[tokio::test(start_paused = true)]
async fn message_panic_during_stop_spares_the_supervisor() {
    let (runtime, worker) = start_worker(FaultyWorker::default()).await;
    let mut events = JournalFollower::from_now(&runtime);
    worker.cast(FaultyMessage::Block).await.unwrap();
    let waiting = async {
        let (reply, nameless) = Reply::channel();
        worker.try_cast(FaultyMessage::PanicInDebug(reply)).unwrap();
        worker.try_cast(FaultyMessage::PanicInDrop(PanicsOnDrop, Reply::channel().0)).unwrap();
        worker.try_cast(FaultyMessage::PanicInDrop(PanicsOnDrop, Reply::channel().0)).unwrap();
        runtime.root().stop("worker").await.unwrap();
        nameless.await
    };
    assert_eq!(waiting.await, Err(CallError::Stopped));
    for _ in 0..4 {
        events.read_until("dead_letter").await;
    }
    runtime.root().start("worker").await.unwrap();
    assert_eq!(worker.call(FaultyMessage::Ping).await, Ok(()));
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
}

#[tokio::test(start_paused = true)]
async fn message_panic_on_expiry_crashes_only_its_actor() {
    let (runtime, worker) = start_worker(FaultyWorker::default()).await;
    let mut events = JournalFollower::from_now(&runtime);
    let time_limit = Duration::from_secs(1);
    let (late, restarted) = tokio::join!(
        async {
            worker.cast(FaultyMessage::Block).await.unwrap();
            worker.call_within(time_limit, |reply| FaultyMessage::PanicInDrop(PanicsOnDrop, reply)).await
        },
        async {
            tokio::time::sleep(time_limit * 2).await;
            runtime.root().restart("worker").await
        }
    );
    assert_eq!((late, restarted), (Err(CallError::TimedOut), Ok(())));
    events.read_until("actor_exited").await;
    let exited = events.read_until("actor_exited").await;
    assert!(exited.iter().any(|record| record.fields.get("reason") == Some(&"expired".into())));
    assert_eq!(cause_and_message(exited.last().unwrap()), ("panic", "broken"));
    assert_eq!(worker.call(FaultyMessage::Ping).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn state_drop_panic_is_recorded_without_hiding_the_cause() {
    for (last, expected) in [
        (FaultyMessage::Panic, ("panic", "on purpose")),
        (FaultyMessage::Stop, ("normal", "broken")),
        (FaultyMessage::Block, ("killed", "broken")),
    ] {
        let (runtime, worker) = start_worker(FaultyWorker::default()).await;
        let mut events = JournalFollower::from_now(&runtime);
        let is_blocked = matches!(last, FaultyMessage::Block);
        worker.cast(FaultyMessage::HoldPanicsOnDrop).await.unwrap();
        worker.cast(last).await.unwrap();
        if is_blocked {
            tokio::task::yield_now().await;
            runtime.root().restart("worker").await.unwrap();
        }
        assert_eq!(worker.call(FaultyMessage::Ping).await, Ok(()));
        assert_eq!(cause_and_message(&events.next("actor_exited").await), expected);
        assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
    }
}

#[tokio::test(start_paused = true)]
async fn worker_drop_panic_spares_the_supervisor() {
    let runtime = Runtime::builder().start(SupervisorSpec::new("root")).await.unwrap();
    let fragile =
        || Child::new("worker", FaultyWorker { recipe: Some(PanicsOnDrop), ..FaultyWorker::default() });
    runtime.root().add(fragile()).await.unwrap();
    assert!(runtime.root().add(fragile()).await.is_err());
    runtime.root().remove("worker").await.unwrap();
    assert!(runtime.root().names().is_empty());
    assert_eq!(runtime.tree().info.generation, 1);
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
}

#[tokio::test(start_paused = true)]
async fn stop_panic_is_recorded_for_every_stop() {
    for by_itself in [true, false] {
        let (runtime, worker) =
            start_worker(FaultyWorker { panics_in_stop: true, ..FaultyWorker::default() }).await;
        let mut events = JournalFollower::from_now(&runtime);
        if by_itself {
            worker.cast(FaultyMessage::Stop).await.unwrap();
        } else {
            runtime.root().restart("worker").await.unwrap();
        }
        assert_eq!(worker.call(FaultyMessage::Ping).await, Ok(()));
        assert_eq!(cause_and_message(&events.next("actor_exited").await), ("panic", "stopped badly"));
    }
}

#[tokio::test(start_paused = true)]
async fn panic_behind_a_handler_is_recorded_and_loses_no_message() {
    let (reply, promise) = Reply::channel();
    drop(promise);
    for (message, expected) in [
        (FaultyMessage::ReplyPanicsOnDrop(reply), ("panic", "broken")),
        (FaultyMessage::Fail, ("error", "an error that could not say what it is: no words")),
    ] {
        let (runtime, worker) = start_worker(FaultyWorker::default()).await;
        let mut events = JournalFollower::from_now(&runtime);
        worker.cast(message).await.unwrap();
        assert_eq!(worker.call(FaultyMessage::Ping).await, Ok(()), "{expected:?}: the mailbox was lost");
        let exited = events.next("actor_exited").await;
        assert_eq!((exited.actor.as_str(), cause_and_message(&exited)), ("root/worker", expected));
        assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal, "{expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn task_panic_on_abort_delays_no_restart() {
    let (runtime, worker) = start_worker(FaultyWorker::default()).await;
    let mut events = JournalFollower::from_now(&runtime);
    worker.cast(FaultyMessage::StartPanicOnAbort).await.unwrap();
    worker.call(FaultyMessage::Ping).await.unwrap();
    worker.cast(FaultyMessage::Panic).await.unwrap();
    assert_eq!(worker.call(FaultyMessage::Ping).await, Ok(()));
    assert_eq!(cause_and_message(&events.next("actor_exited").await), ("panic", "on purpose"));
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
}
