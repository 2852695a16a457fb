//! A worker that does on request everything that a worker can do, right or wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_runtime::journal::{Delivery, Record, Subscription};
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, Shutdown};
use mainstay_runtime::{
    Address, CallError, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
};
use tokio::sync::Semaphore;

pub(crate) enum Act {
    Add(i64),
    AddOver(i64, Reply<()>),
    AddLater(Duration, i64),
    AddAt(Duration, i64),
    Double,
    Get(Reply<i64>),
    Hold(Reply<i64>),
    Ignore(Reply<i64>),
    Panic,
    PanicOver(Reply<i64>),
    PanicLater,
    Block,
    BlockOver(#[allow(dead_code, reason = "held, never answered")] Reply<i64>),
    End,
}

impl Message for Act {
    fn label(&self) -> &'static str {
        match self {
            Self::Add(_) | Self::AddOver(..) | Self::AddLater(..) | Self::AddAt(..) => "Add",
            Self::Double => "Double",
            Self::Get(_) => "Get",
            Self::Hold(_) | Self::Ignore(_) => "Hold",
            Self::Panic | Self::PanicOver(_) | Self::PanicLater => "Panic",
            Self::Block | Self::BlockOver(_) => "Block",
            Self::End => "End",
        }
    }
}

/// A sum that survives panics.
#[derive(Default)]
pub(crate) struct Probe {
    gate: Option<Gate>,
    refuses: Refuses,
    ended: Arc<AtomicBool>,
}

#[derive(Default)]
enum Refuses {
    #[default]
    Nothing,
    Everything,
    Sum(i64),
    /// Hangs in a start, once, when it is armed.
    Once(Fuse),
}

/// Makes the next start hang.
#[derive(Clone, Default)]
pub(crate) struct Fuse(Arc<AtomicBool>);

impl Fuse {
    pub(crate) fn arm(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Probe {
    /// A probe whose `Block` waits until the gate is opened.
    pub(crate) fn gated() -> (Self, Gate) {
        let gate = Gate { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) };
        (Self { gate: Some(gate.clone()), ..Self::default() }, gate)
    }

    pub(crate) fn that_fails_to_start() -> Self {
        Self { refuses: Refuses::Everything, ..Self::default() }
    }

    pub(crate) fn that_fails_to_start_from(sum: i64) -> Self {
        Self { refuses: Refuses::Sum(sum), ..Self::default() }
    }

    /// A probe whose next start hangs once its fuse is armed.
    pub(crate) fn that_hangs_once_in_its_start() -> (Self, Fuse) {
        let fuse = Fuse::default();
        (Self { refuses: Refuses::Once(fuse.clone()), ..Self::default() }, fuse)
    }

    pub(crate) fn ended(&self) -> Ended {
        Ended(Arc::clone(&self.ended))
    }
}

pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(crate) fn has_ended_in_order(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
pub(crate) struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }

    async fn pass(&self) {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
}

pub(crate) struct Held {
    sum: i64,
    replies: Vec<Reply<i64>>,
}

impl Worker for Probe {
    type Message = Act;
    type State = Held;
    type Snapshot = i64;

    async fn start(&self, _: &mut Context<Act>, kept: Option<i64>) -> Result<Held, Failure> {
        match &self.refuses {
            Refuses::Everything => return Err("no luck today".into()),
            Refuses::Sum(sum) if kept == Some(*sum) => return Err("not with this".into()),
            Refuses::Once(fuse) if fuse.0.swap(false, Ordering::SeqCst) => std::future::pending().await,
            _ => {}
        }
        Ok(Held { sum: kept.unwrap_or(0), replies: Vec::new() })
    }

    async fn handle(&self, ctx: &mut Context<Act>, act: Act, held: &mut Held) -> Result<(), Failure> {
        match act {
            Act::Add(n) => held.sum += n,
            Act::AddOver(n, reply) => {
                held.sum += n;
                reply.send(());
            }
            Act::AddAt(at, n) => drop(ctx.send_at(at, Act::Add(n))),
            Act::AddLater(delay, n) => drop(ctx.send_after(delay, Act::Add(n))),
            Act::Double => held.sum *= 2,
            Act::Get(reply) => reply.send(held.sum),
            Act::Hold(reply) => held.replies.push(reply),
            Act::Ignore(reply) => drop(reply),
            Act::Panic => panic!("on purpose"),
            Act::PanicOver(_reply) => panic!("on purpose"),
            Act::PanicLater => drop(ctx.spawn(async { panic!("on purpose, later") })),
            Act::Block | Act::BlockOver(_) => {
                if let Some(gate) = &self.gate {
                    gate.pass().await;
                }
            }
            Act::End => ctx.stop(),
        }
        Ok(())
    }

    fn snapshot(&self, held: &Held) -> Option<i64> {
        Some(held.sum)
    }

    async fn stop(&self, _: &mut Context<Act>, _: &mut Held) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// Two restarts in ten minutes, five seconds before each, a minute to be stable.
pub(crate) fn patient() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::Fixed { delay: Duration::from_secs(5) },
        budget: Some(Budget { restarts_max: 2, window: Duration::from_secs(600) }),
        shutdown: Shutdown::Graceful(Duration::from_secs(3)),
        ..ChildPolicy::default()
    }
}

/// The same without the delay.
pub(crate) fn quick() -> ChildPolicy {
    ChildPolicy { delay: Delay::NONE, ..patient() }
}

/// A tree with nothing but this probe in it.
pub(crate) async fn tree_of(probe: Probe, policy: ChildPolicy) -> (Runtime, Address<Act>) {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("probe", probe).policy(policy)).unwrap();
    (Runtime::builder().seed(1).start(root).await.unwrap(), address)
}

pub(crate) async fn sum(probe: &Address<Act>) -> Result<i64, CallError> {
    probe.call(Act::Get).await
}

/// Lets time pass on the paused clock, and everything happen that is due meanwhile.
pub(crate) async fn pass(duration: Duration) {
    // The clock moves on only when nothing else can be done.
    let _ = tokio::time::timeout(duration, std::future::pending::<()>()).await;
}

/// What the journal says from now on.
pub(crate) struct Story(Subscription);

impl Story {
    pub(crate) fn of(runtime: &Runtime) -> Self {
        let journal = runtime.journal();
        Self(journal.subscribe_after(journal.seq()))
    }

    pub(crate) fn from_the_start(runtime: &Runtime) -> Self {
        Self(runtime.journal().subscribe_after(0))
    }

    /// Everything up to and with the next event of this kind.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Record> {
        let mut told = Vec::new();
        loop {
            let Delivery::Event(record) = self.0.next().await else { panic!("events are missing") };
            let is_last = record.kind == kind;
            told.push(*record);
            if is_last {
                return told;
            }
        }
    }
}
