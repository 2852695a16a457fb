//! Provides children that follow a test's commands and record their starts and stops.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{Delivery, JournalSubscription, Record};
use mainstay_runtime::{ActorInfo, Context, Declined, Failure, Message, Worker};
use parking_lot::Mutex;

use crate::*;

#[derive(Debug)]
pub(crate) enum ChildMessage {
    Panic,
    Fail,
    Stop,
    /// Waits for ever, at an await point.
    Hang,
    /// Adds a permit to the first one, and waits for one of the second.
    Wait(Arc<Semaphore>, Arc<Semaphore>),
    /// Returns the generation.
    Ask(Reply<u64>),
    Block(ThreadGate, #[allow(dead_code, reason = "held, never answered")] Reply<()>),
    /// Blocks, and ends the incarnation.
    BlockThenStop(ThreadGate),
    /// Leaves a task behind that never yields.
    BlockInTask(ThreadGate),
}

impl Message for ChildMessage {}

/// Blocks a thread, at no await point, until the test drops the other half.
#[derive(Debug)]
pub(crate) struct ThreadGate {
    entered: Arc<Semaphore>,
    released: Receiver<()>,
}

/// Keeps a thread blocked until it is dropped.
pub(crate) struct BlockedThread {
    entered: Arc<Semaphore>,
    _release: SyncSender<()>,
}

pub(crate) fn thread_gate() -> (ThreadGate, BlockedThread) {
    let (release, released) = sync_channel(0);
    let entered = Arc::new(Semaphore::new(0));
    (ThreadGate { entered: Arc::clone(&entered), released }, BlockedThread { entered, _release: release })
}

/// Makes the child's handler block its thread, and waits until it does.
pub(crate) async fn block_thread(child: &Address<ChildMessage>) -> BlockedThread {
    let (gate, blocked) = thread_gate();
    child.try_cast(ChildMessage::Block(gate, Reply::channel().0)).unwrap();
    blocked.entered().await;
    blocked
}

impl ThreadGate {
    fn block(&self) {
        self.entered.add_permits(1);
        let _ = self.released.recv();
    }
}

impl BlockedThread {
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }
}

/// The record of one test's children, in order.
#[derive(Clone, Default)]
pub(crate) struct LifecycleLog(Arc<Mutex<Vec<String>>>);

impl LifecycleLog {
    fn write(&self, line: String) {
        self.0.lock().push(line);
    }

    /// Returns the lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The behaviour of an actor.
#[derive(Default)]
pub(crate) struct ChildControls {
    pub(crate) failures_left: AtomicU32,
    pub(crate) declines: AtomicBool,
    /// True if it hangs when it must stop.
    pub(crate) hangs_on_stop: AtomicBool,
    /// The permits for its next stops, which hang until there are enough.
    pub(crate) stop_gate: Mutex<Option<Arc<Semaphore>>>,
    /// The permits for its next starts, which hang until there are enough.
    pub(crate) start_gate: Mutex<Option<Arc<Semaphore>>>,
    /// Blocks the thread of its next start.
    pub(crate) next_start: Mutex<Option<ThreadGate>>,
}

/// A child.
#[derive(Clone)]
pub(crate) struct TestChild {
    name: &'static str,
    log: LifecycleLog,
    pub(crate) controls: Arc<ChildControls>,
}

impl TestChild {
    pub(crate) fn new(name: &'static str, log: &LifecycleLog) -> Self {
        Self { name, log: log.clone(), controls: Arc::default() }
    }

    pub(crate) fn failing(self, times: u32) -> Self {
        self.controls.failures_left.store(times, SeqCst);
        self
    }

    pub(crate) fn declining(self) -> Self {
        self.controls.declines.store(true, SeqCst);
        self
    }

    pub(crate) fn hanging_on_stop(self) -> Self {
        self.controls.hangs_on_stop.store(true, SeqCst);
        self
    }

    pub(crate) fn with_policy(self, policy: ChildPolicy) -> Child<Self> {
        Child::new(self.name, self).policy(policy)
    }
}

impl ChildControls {
    /// Makes the next stops wait for permits.
    pub(crate) fn hold_stops(&self) -> Arc<Semaphore> {
        Arc::clone(self.stop_gate.lock().insert(Arc::new(Semaphore::new(0))))
    }

    /// Makes the next starts wait for permits.
    pub(crate) fn hold_starts(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.start_gate.lock() = Some(Arc::clone(&gate));
        gate
    }
}

impl Worker for TestChild {
    type Message = ChildMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<ChildMessage>, _: Option<()>) -> Result<(), Failure> {
        self.log.write(format!("start {}", self.name));
        let gate = self.controls.start_gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await?.forget();
        }
        let blocking = self.controls.next_start.lock().take();
        if let Some(gate) = blocking {
            gate.block();
        }
        if self.controls.declines.load(SeqCst) {
            return Err(Declined.into());
        }
        let failures = &self.controls.failures_left;
        if failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("not now".into());
        }
        self.log.write(format!("ready {}", self.name));
        Ok(())
    }

    async fn handle(
        &self,
        ctx: &mut Context<ChildMessage>,
        message: ChildMessage,
        _: &mut (),
    ) -> Result<(), Failure> {
        match message {
            ChildMessage::Panic => panic!("on cue"),
            ChildMessage::Fail => return Err("on cue".into()),
            ChildMessage::Stop => ctx.stop(),
            ChildMessage::Hang => std::future::pending().await,
            ChildMessage::Wait(entered, resume) => {
                entered.add_permits(1);
                resume.acquire().await?.forget();
            }
            ChildMessage::Ask(reply) => reply.send(ctx.generation()),
            ChildMessage::Block(gate, _reply) => gate.block(),
            ChildMessage::BlockThenStop(gate) => {
                gate.block();
                ctx.stop();
            }
            ChildMessage::BlockInTask(gate) => drop(ctx.spawn_maybe(async move {
                gate.block();
                None
            })),
        }
        Ok(())
    }

    async fn stop(&self, _: &mut Context<ChildMessage>, (): &mut ()) {
        self.log.write(format!("stop {}", self.name));
        if self.controls.hangs_on_stop.load(SeqCst) {
            std::future::pending().await
        }
        let gate = self.controls.stop_gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
    }
}

/// Returns a policy of restarts at once, without a limit, with three seconds to stop.
pub(crate) fn immediate_policy() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::NONE,
        budget: None,
        shutdown: Shutdown::Graceful(s(3)),
        kill_timeout: s(1),
        ..ChildPolicy::default()
    }
}

/// Returns the same policy with a delay of five seconds.
pub(crate) fn delayed_policy() -> ChildPolicy {
    ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..immediate_policy() }
}

/// Returns a supervisor that the first restart of a child ends, and that is itself restarted.
pub(crate) fn strict_pool() -> SupervisorSpec {
    let strict = SupervisorPolicy { intensity: intensity(0), ..SupervisorPolicy::default() };
    SupervisorSpec::new("pool").policy(strict).as_child(immediate_policy())
}

/// Returns a budget of so many restarts in ten seconds.
pub(crate) fn intensity(restarts_max: u32) -> Option<Budget> {
    Some(Budget { restarts_max, window: s(10) })
}

/// A running tree with these children below its root.
pub(crate) struct TestTree {
    pub(crate) runtime: Runtime,
    pub(crate) log: LifecycleLog,
    pub(crate) journal: JournalSubscription,
}

impl TestTree {
    pub(crate) async fn start(root: SupervisorSpec, log: &LifecycleLog) -> Self {
        let runtime = Runtime::builder().seed(1).start(root).await.unwrap();
        let journal = runtime.journal().subscribe();
        Self { runtime, log: log.clone(), journal }
    }

    /// Starts a tree of children under a root with the default policy.
    pub(crate) async fn one_for_one<const N: usize>(
        child: ChildPolicy,
        names: [&'static str; N],
    ) -> (Self, [Address<ChildMessage>; N], [Arc<ChildControls>; N]) {
        Self::with_children(SupervisorPolicy::default(), child, names).await
    }

    /// Starts a tree of children under one policy, and drops the lines of their starts.
    pub(crate) async fn with_children<const N: usize>(
        policy: SupervisorPolicy,
        child: ChildPolicy,
        names: [&'static str; N],
    ) -> (Self, [Address<ChildMessage>; N], [Arc<ChildControls>; N]) {
        let log = LifecycleLog::default();
        let mut root = SupervisorSpec::new("root").policy(policy);
        let children = names.map(|name| TestChild::new(name, &log));
        let controls = children.each_ref().map(|one| Arc::clone(&one.controls));
        let addresses = children.map(|one| root.child(one.with_policy(child)).unwrap());
        let tree = Self::start(root, &log).await;
        log.take();
        (tree, addresses, controls)
    }

    /// Returns the journal's records up to and with the next event of this kind about this actor.
    pub(crate) async fn read_until(&mut self, kind: &str, actor: &str) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let Delivery::Event(record) = self.journal.next().await else { panic!("events are missing") };
            let is_last = record.kind == kind && record.actor == actor;
            records.push(*record);
            if is_last {
                return records;
            }
        }
    }

    /// Returns the next event of this kind about this actor.
    pub(crate) async fn next_event(&mut self, kind: &str, actor: &str) -> Record {
        self.read_until(kind, actor).await.pop().unwrap()
    }

    /// Returns the number of events of this kind so far.
    pub(crate) async fn count(&mut self, kind: &str) -> usize {
        let mut count = 0;
        while let Some(Delivery::Event(record)) = self.journal.try_next().await {
            count += usize::from(record.kind == kind);
        }
        count
    }

    pub(crate) fn info(&self, path: &str) -> ActorInfo<WallTime> {
        self.runtime.tree().find(path).unwrap().info.clone()
    }

    pub(crate) fn status(&self, path: &str) -> ActorStatus {
        self.info(path).status
    }

    pub(crate) fn generation(&self, path: &str) -> u64 {
        self.info(path).generation
    }

    pub(crate) fn statuses<const N: usize>(&self, paths: [&str; N]) -> [ActorStatus; N] {
        paths.map(|path| self.status(path))
    }

    pub(crate) fn generations<const N: usize>(&self, paths: [&str; N]) -> [u64; N] {
        paths.map(|path| self.generation(path))
    }

    /// Waits for the end of the tree.
    pub(crate) async fn exit_cause(&self) -> ExitCause {
        self.runtime.finished().await.cause
    }
}
