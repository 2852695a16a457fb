//! Children that do what a test tells them, and write down when they start and stop.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_runtime::journal::{Delivery, Record, Subscription};
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, ExitCause, Shutdown, SupervisorPolicy};
use mainstay_runtime::{
    Address, Child, Context, Declined, Failure, Message, Reply, Runtime, Status, SupervisorSpec, Worker,
};
use tokio::sync::Semaphore;

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) enum Cue {
    Panic,
    Fail,
    End,
    /// Waits for ever, at an await point.
    Hang,
    Ask(Reply<()>),
}

impl Message for Cue {}

/// What the children of one test write down, in order.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<Vec<String>>>);

impl Script {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// What was written since the last look.
    pub(crate) fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// How an actor is to behave from now on.
#[derive(Default)]
pub(crate) struct Direction {
    pub(crate) failures_left: AtomicU32,
    pub(crate) declines: AtomicBool,
    /// It hangs when it is asked to stop.
    pub(crate) clings: AtomicBool,
    /// Its next starts hang until as many permits are there.
    pub(crate) start_gate: Mutex<Option<Arc<Semaphore>>>,
}

/// A child.
#[derive(Clone)]
pub(crate) struct Player {
    name: &'static str,
    script: Script,
    pub(crate) direction: Arc<Direction>,
}

impl Player {
    pub(crate) fn new(name: &'static str, script: &Script) -> Self {
        Self { name, script: script.clone(), direction: Arc::default() }
    }

    pub(crate) fn failing(self, times: u32) -> Self {
        self.direction.failures_left.store(times, Ordering::SeqCst);
        self
    }

    pub(crate) fn declining(self) -> Self {
        self.direction.declines.store(true, Ordering::SeqCst);
        self
    }

    pub(crate) fn clinging(self) -> Self {
        self.direction.clings.store(true, Ordering::SeqCst);
        self
    }

    pub(crate) fn under(self, policy: ChildPolicy) -> Child<Self> {
        Child::new(self.name, self).policy(policy)
    }
}

impl Direction {
    /// Lets the next starts wait for permits.
    pub(crate) fn hold_starts(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.start_gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }
}

impl Worker for Player {
    type Message = Cue;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Cue>, _: Option<()>) -> Result<(), Failure> {
        self.script.write(format!("start {}", self.name));
        let gate = self.direction.start_gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await?.forget();
        }
        if self.direction.declines.load(Ordering::SeqCst) {
            return Err(Declined.into());
        }
        let failures = &self.direction.failures_left;
        if failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("not now".into());
        }
        self.script.write(format!("ready {}", self.name));
        Ok(())
    }

    async fn handle(&self, ctx: &mut Context<Cue>, cue: Cue, _: &mut ()) -> Result<(), Failure> {
        match cue {
            Cue::Panic => panic!("on cue"),
            Cue::Fail => Err("on cue".into()),
            Cue::End => {
                ctx.stop();
                Ok(())
            }
            Cue::Hang => std::future::pending().await,
            Cue::Ask(reply) => {
                reply.send(());
                Ok(())
            }
        }
    }

    async fn stop(&self, _: &mut Context<Cue>, (): &mut ()) {
        self.script.write(format!("stop {}", self.name));
        if self.direction.clings.load(Ordering::SeqCst) {
            std::future::pending().await
        }
    }
}

/// Restarted at once, any number of times, with three seconds to stop.
pub(crate) fn at_once() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::NONE,
        budget: None,
        shutdown: Shutdown::Graceful(s(3)),
        kill_timeout: s(1),
        ..ChildPolicy::default()
    }
}

/// The same five seconds later.
pub(crate) fn delayed() -> ChildPolicy {
    ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..at_once() }
}

/// So many restarts in ten seconds.
pub(crate) fn intensity(restarts_max: u32) -> Option<Budget> {
    Some(Budget { restarts_max, window: s(10) })
}

/// A running tree with these children below its root.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) script: Script,
    pub(crate) journal: Subscription,
}

impl Stage {
    pub(crate) async fn start(root: SupervisorSpec, script: &Script) -> Self {
        let runtime = Runtime::builder().seed(1).start(root).await.unwrap();
        let journal = runtime.journal().subscribe_after(0);
        Self { runtime, script: script.clone(), journal }
    }

    /// A tree of players under one policy, all started, with their starts already read.
    pub(crate) async fn of<const N: usize>(
        policy: SupervisorPolicy,
        child: ChildPolicy,
        names: [&'static str; N],
    ) -> (Self, [Address<Cue>; N], [Arc<Direction>; N]) {
        let script = Script::default();
        let mut root = SupervisorSpec::new("root").policy(policy);
        let players = names.map(|name| Player::new(name, &script));
        let directions = players.each_ref().map(|player| Arc::clone(&player.direction));
        let addresses = players.map(|player| root.child(player.under(child)).unwrap());
        let stage = Self::start(root, &script).await;
        script.read();
        (stage, addresses, directions)
    }

    /// What the journal says up to and with the next event of this kind about this actor.
    pub(crate) async fn until(&mut self, kind: &str, actor: &str) -> Vec<Record> {
        let mut told = Vec::new();
        loop {
            let Delivery::Event(record) = self.journal.next().await else { panic!("events are missing") };
            let is_last = record.kind == kind && record.actor == actor;
            told.push(*record);
            if is_last {
                return told;
            }
        }
    }

    /// The next event of this kind about this actor.
    pub(crate) async fn next(&mut self, kind: &str, actor: &str) -> Record {
        self.until(kind, actor).await.pop().unwrap()
    }

    /// How often the journal has told this kind, of everything that it says so far.
    pub(crate) async fn count(&mut self, kind: &str) -> usize {
        let mut count = 0;
        while let Some(Delivery::Event(record)) = self.journal.try_next().await {
            count += usize::from(record.kind == kind);
        }
        count
    }

    pub(crate) fn status(&self, path: &str) -> Status {
        self.runtime.tree().find(path).map(|node| node.vitals.status).unwrap()
    }

    pub(crate) fn generation(&self, path: &str) -> u64 {
        self.runtime.tree().find(path).map(|node| node.vitals.generation).unwrap()
    }

    pub(crate) fn statuses<const N: usize>(&self, paths: [&str; N]) -> [Status; N] {
        paths.map(|path| self.status(path))
    }

    pub(crate) fn generations<const N: usize>(&self, paths: [&str; N]) -> [u64; N] {
        paths.map(|path| self.generation(path))
    }

    /// How the tree ends.
    pub(crate) async fn ending(&self) -> ExitCause {
        self.runtime.finished().await.cause
    }
}

/// Lets time pass on the paused clock, and everything happen that is due meanwhile.
pub(crate) async fn pass(duration: Duration) {
    // The clock moves on only when nothing else can be done.
    let _ = tokio::time::timeout(duration, std::future::pending::<()>()).await;
}

/// Lets everything happen that can happen now.
pub(crate) async fn settle() {
    pass(Duration::from_millis(1)).await;
}
