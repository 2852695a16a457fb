//! Provides a worker that does on demand everything that a worker can do, right or wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_runtime::journal::{Delivery, JournalSubscription, Record};
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, Shutdown};
use mainstay_runtime::{
    Address, CallError, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
};
use tokio::sync::Semaphore;

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Debug)]
pub(crate) enum ProbeMessage {
    Add(i64),
    AddCall(i64, Reply<()>),
    AddLater(Duration, i64),
    AddAt(Duration, i64),
    Double,
    Get(Reply<i64>),
    Hold(Reply<i64>),
    Panic,
    PanicCall(Reply<i64>),
    PanicInTask,
    Block,
    BlockCall(#[allow(dead_code, reason = "held, never answered")] Reply<i64>),
    Stop,
}

impl Message for ProbeMessage {}

/// A sum that survives panics.
#[derive(Default)]
pub(crate) struct TestProbe {
    gate: Option<BlockGate>,
    start_fault: InjectedStartFault,
    stopped: Arc<AtomicBool>,
}

#[derive(Default)]
enum InjectedStartFault {
    #[default]
    None,
    Always,
    FromSum(i64),
    /// Hangs in a start, once, when it is armed.
    HangOnce(HangSwitch),
    /// Starts a task that ends while the start goes on.
    TaskOfOne,
}

/// Makes the next start hang.
#[derive(Clone, Default)]
pub(crate) struct HangSwitch(Arc<AtomicBool>);

impl HangSwitch {
    pub(crate) fn arm(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl TestProbe {
    /// A probe whose `Block` waits until the gate opens.
    pub(crate) fn gated() -> (Self, BlockGate) {
        let gate = BlockGate { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) };
        (Self { gate: Some(gate.clone()), ..Self::default() }, gate)
    }

    pub(crate) fn failing_start() -> Self {
        Self { start_fault: InjectedStartFault::Always, ..Self::default() }
    }

    pub(crate) fn failing_start_from(sum: i64) -> Self {
        Self { start_fault: InjectedStartFault::FromSum(sum), ..Self::default() }
    }

    /// A probe whose next start hangs once its switch is armed.
    pub(crate) fn hanging_start() -> (Self, HangSwitch) {
        let switch = HangSwitch::default();
        (Self { start_fault: InjectedStartFault::HangOnce(switch.clone()), ..Self::default() }, switch)
    }

    /// A probe whose start has a task of its own, which adds one.
    pub(crate) fn task_in_start() -> Self {
        Self { start_fault: InjectedStartFault::TaskOfOne, ..Self::default() }
    }

    pub(crate) fn stop_flag(&self) -> StopFlag {
        StopFlag(Arc::clone(&self.stopped))
    }
}

pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
pub(crate) struct BlockGate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl BlockGate {
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }

    async fn advance(&self) {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
}

pub(crate) struct ProbeState {
    sum: i64,
    replies: Vec<Reply<i64>>,
}

impl Worker for TestProbe {
    type Message = ProbeMessage;
    type State = ProbeState;
    type Snapshot = i64;

    async fn start(&self, ctx: &mut Context<ProbeMessage>, kept: Option<i64>) -> Result<ProbeState, Failure> {
        match &self.start_fault {
            InjectedStartFault::Always => return Err("no luck today".into()),
            InjectedStartFault::FromSum(sum) if kept == Some(*sum) => return Err("not with this".into()),
            InjectedStartFault::HangOnce(switch) if switch.0.swap(false, Ordering::SeqCst) => {
                std::future::pending().await
            }
            InjectedStartFault::TaskOfOne => {
                ctx.spawn(async { ProbeMessage::Add(1) });
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            }
            _ => {}
        }
        Ok(ProbeState { sum: kept.unwrap_or(0), replies: Vec::new() })
    }

    async fn handle(
        &self,
        ctx: &mut Context<ProbeMessage>,
        act: ProbeMessage,
        held: &mut ProbeState,
    ) -> Result<(), Failure> {
        match act {
            ProbeMessage::Add(n) => held.sum += n,
            ProbeMessage::AddCall(n, reply) => {
                held.sum += n;
                reply.send(());
            }
            ProbeMessage::AddAt(at, n) => drop(ctx.send_at(at, ProbeMessage::Add(n))),
            ProbeMessage::AddLater(delay, n) => drop(ctx.send_after(delay, ProbeMessage::Add(n))),
            ProbeMessage::Double => held.sum *= 2,
            ProbeMessage::Get(reply) => reply.send(held.sum),
            ProbeMessage::Hold(reply) => held.replies.push(reply),
            ProbeMessage::Panic => panic!("on purpose"),
            ProbeMessage::PanicCall(_reply) => panic!("on purpose"),
            ProbeMessage::PanicInTask => drop(ctx.spawn(async { panic!("on purpose, later") })),
            ProbeMessage::Block | ProbeMessage::BlockCall(_) => {
                if let Some(gate) = &self.gate {
                    gate.advance().await;
                }
            }
            ProbeMessage::Stop => ctx.stop(),
        }
        Ok(())
    }

    fn snapshot(&self, held: &ProbeState) -> Option<i64> {
        Some(held.sum)
    }

    async fn stop(&self, _: &mut Context<ProbeMessage>, _: &mut ProbeState) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// Returns two restarts in ten minutes, five seconds before each, a minute to be stable.
pub(crate) fn delayed_policy() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::Fixed { delay: Duration::from_secs(5) },
        budget: Some(Budget { restarts_max: 2, window: Duration::from_secs(600) }),
        shutdown: Shutdown::Graceful(Duration::from_secs(3)),
        ..ChildPolicy::default()
    }
}

/// Returns the same without the delay.
pub(crate) fn immediate_policy() -> ChildPolicy {
    ChildPolicy { delay: Delay::NONE, ..delayed_policy() }
}

/// Starts a tree with this probe alone.
pub(crate) async fn start_tree(probe: TestProbe, policy: ChildPolicy) -> (Runtime, Address<ProbeMessage>) {
    start_child(Child::new("probe", probe).policy(policy)).await
}

/// Starts a tree with this child alone.
pub(crate) async fn start_child<W: Worker>(child: Child<W>) -> (Runtime, Address<W::Message>) {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(child).unwrap();
    (Runtime::builder().seed(1).start(root).await.unwrap(), address)
}

/// Starts a tree with a probe alone, whose handler waits until the gate opens.
pub(crate) async fn start_blocked(
    mailbox_capacity: usize,
    policy: ChildPolicy,
) -> (Runtime, Address<ProbeMessage>, BlockGate) {
    let (probe, gate) = TestProbe::gated();
    let child = Child::new("probe", probe).mailbox_capacity(mailbox_capacity).policy(policy);
    let (runtime, address) = start_child(child).await;
    address.cast(ProbeMessage::Block).await.unwrap();
    gate.entered().await;
    (runtime, address, gate)
}

/// Waits until a message waits for the actor.
pub(crate) async fn wait_for_backlog(address: &Address<ProbeMessage>) {
    while address.backlog() == 0 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn sum(probe: &Address<ProbeMessage>) -> Result<i64, CallError> {
    probe.call(ProbeMessage::Get).await
}

/// Advances the paused clock, and runs everything that is due by then.
pub(crate) async fn advance(duration: Duration) {
    // The clock advances only when no task is ready.
    let _ = tokio::time::timeout(duration, std::future::pending::<()>()).await;
}

/// Runs everything that is ready now.
pub(crate) async fn settle() {
    advance(Duration::from_millis(1)).await;
}

/// Subscribes to the journal's events from now on.
pub(crate) struct JournalFollower(JournalSubscription);

impl JournalFollower {
    pub(crate) fn from_now(runtime: &Runtime) -> Self {
        let journal = runtime.journal();
        Self(journal.subscribe_after(journal.cursor()))
    }

    pub(crate) fn from_start(runtime: &Runtime) -> Self {
        Self(runtime.journal().subscribe())
    }

    /// Returns the next event of this kind.
    pub(crate) async fn next(&mut self, kind: &str) -> Record {
        self.read_until(kind).await.pop().unwrap()
    }

    /// Returns everything up to and with the next event of this kind.
    pub(crate) async fn read_until(&mut self, kind: &str) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let Delivery::Event(record) = self.0.next().await else { panic!("events are missing") };
            let is_last = record.kind == kind;
            records.push(*record);
            if is_last {
                return records;
            }
        }
    }
}
