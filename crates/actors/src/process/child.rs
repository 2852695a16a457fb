//! One process that runs, with all that it starts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::exit::Exit;
use super::input::{Input, Pipe};
use super::spec::{ProcessSpec, StartFault};
use super::system::{self, Body, Custody};
use super::tail::Tail;
use super::warden::Warden;

/// How long an exit waits for the end of stderr, where something else keeps it open. What the process itself wrote is in
/// the pipe by then, and takes no longer than this to be read.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// Names one process for good: its id alone is given to others later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Its id, and that of its group.
    pub pid: u32,
    /// When it was started, as the system writes it; empty where it does not say.
    pub started: String,
    /// The mark in its environment, and in that of all that it starts.
    pub marker: String,
}

/// A process that runs, or ran. When this is dropped, it and all that it started are killed at once.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    stdio: Mutex<Option<(Input, ChildStdout)>>,
    phase: watch::Receiver<Phase>,
    order: watch::Sender<Order>,
    tail: Arc<Mutex<Tail>>,
    /// Dropped after the order, so that the order is seen.
    _warden: Warden,
}

#[derive(Debug, Clone)]
enum Phase {
    Running,
    /// It has ended. What it started is being ended.
    Exited(Exit),
    /// Nothing is left of it.
    Gone(Exit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    Stop,
    Kill,
}

/// What a process is reached by.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// How a process ended, as the system says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Status {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// Whether time is given to end in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grace {
    AsAgreed,
    None,
}

impl Process {
    /// Starts it. Not before it is guarded and recorded does any of it run. Dropping the future ends it.
    ///
    /// Its stderr is read all the time, and its end is kept. Its output is for whoever takes it, and has to be read.
    ///
    /// # Errors
    ///
    /// Why it was not started. A program that turns out to be unfit only when it is run, for example for want of its
    /// interpreter, is told by its [`Exit`], with code 126 or 127.
    pub async fn start(spec: &ProcessSpec, warden: &Warden) -> Result<Self, StartFault> {
        spec.check()?;
        let custody = warden.custody()?;
        let (body, Pipes { stdin, stdout, stderr }) = Body::spawn(spec, custody)?;
        let identity = body.identity();
        let (order, ordered) = watch::channel(Order::Run);
        let (told, phase) = watch::channel(Phase::Running);
        let (gate, opened) = oneshot::channel();
        let tail = Arc::<Mutex<Tail>>::default();
        let life = Life {
            body,
            custody: Arc::clone(custody),
            orders: Orders { ordered, closing: warden.closing() },
            told,
            tail: Arc::clone(&tail),
        };
        warden.keep(life.run(stdin, stderr, gate))?;
        let stdin = opened.await.unwrap_or(Err(StartFault::Stopping))?;
        let stdio = Mutex::new(Some((stdin, stdout)));
        Ok(Self { identity, stdio, phase, order, tail, _warden: warden.clone() })
    }

    /// Its input and output, once.
    pub fn take_stdio(&self) -> Option<(Input, ChildStdout)> {
        self.stdio.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Its id, and that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// What names it for good.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Waits until it has ended, by itself or not. What it started may still be there; see [`stop`](Self::stop).
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + 'static {
        reached(self.phase.clone(), |phase| phase.exit().is_some())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.phase.borrow().exit().cloned()
    }

    /// Stops it, and returns when nothing is left of it: its input is closed, all that it started is asked to end, has
    /// the grace that was agreed, and is then killed. If it has ended already, waits until the rest has as well. Dropping the future changes
    /// nothing.
    pub async fn stop(&self) -> Exit {
        // A kill is not taken back.
        self.order.send_if_modified(|order| {
            let is_new = *order == Order::Run;
            if is_new {
                *order = Order::Stop;
            }
            is_new
        });
        reached(self.phase.clone(), |phase| matches!(phase, Phase::Gone(_))).await
    }

    /// Kills it and all that it started. Waits for nothing; see [`stop`](Self::stop).
    pub fn kill(&self) {
        self.order.send_replace(Order::Kill);
        if self.exit().is_none() {
            // Not waited for yet, so its id is still its own. The rest is seen to by its task.
            system::kill_group(self.pid());
        }
    }

    /// The last lines of its stderr so far, as [`Exit::stderr`].
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }

    /// The resident memory of it and all that it started, in bytes; memory that they share counts for each. `None` once
    /// it has ended, and where the system does not say.
    pub async fn memory(&self) -> Option<u64> {
        if self.exit().is_some() {
            return None;
        }
        system::resident_bytes(&self.identity).await.filter(|bytes| *bytes > 0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Phase {
    fn exit(&self) -> Option<&Exit> {
        match self {
            Self::Running => None,
            Self::Exited(exit) | Self::Gone(exit) => Some(exit),
        }
    }
}

/// What is ordered: by the owner, or because everything is being stopped.
#[derive(Debug, Clone)]
struct Orders {
    ordered: watch::Receiver<Order>,
    closing: watch::Receiver<bool>,
}

impl Orders {
    /// Waits until it is to end.
    async fn ending(&mut self) -> Grace {
        tokio::select! {
            ordered = self.ordered.wait_for(|order| *order != Order::Run) => match ordered.as_deref() {
                Ok(Order::Stop) => Grace::AsAgreed,
                Ok(_) | Err(_) => Grace::None,
            },
            // The warden outlives every owner.
            _ = self.closing.wait_for(|closing| *closing) => Grace::AsAgreed,
        }
    }

    /// Waits until nobody wants to wait for it any more: it is to be killed, or its owner is gone.
    async fn hurried(mut self) {
        let _ = self.ordered.wait_for(|order| *order == Order::Kill).await;
    }
}

/// The task of one process, from its start until nothing is left of it.
struct Life {
    body: Body,
    custody: Arc<Custody>,
    orders: Orders,
    told: watch::Sender<Phase>,
    tail: Arc<Mutex<Tail>>,
}

impl Life {
    async fn run(
        self,
        mut stdin: ChildStdin,
        stderr: ChildStderr,
        gate: oneshot::Sender<Result<Input, StartFault>>,
    ) {
        let registered = self.body.register(&self.custody).await;
        if registered.is_err() || gate.is_closed() {
            let left = self.body.end(Grace::None, std::future::pending()).await;
            self.body.bury(&self.custody, &left).await;
            let _ = gate.send(registered.map(|()| Input::new(stdin)));
            return;
        }
        self.body.open_gate(&mut stdin).await;
        let input = Input::new(stdin);
        let pipe = input.pipe();
        // Whoever does not take it has dropped the order as well.
        let _ = gate.send(Ok(input));
        let Self { body, custody, orders, told, tail } = self;
        let (is_drained, drained) = oneshot::channel();
        let drain = async {
            drain(stderr, &tail).await;
            drop(is_drained);
            std::future::pending().await
        };
        let live = Box::pin(live(body, &custody, orders, &pipe, &told, &tail, drained));
        tokio::select! {
            () = live => {}
            () = drain => {}
        }
    }
}

async fn live(
    mut body: Body,
    custody: &Custody,
    mut orders: Orders,
    input: &Pipe,
    told: &watch::Sender<Phase>,
    tail: &Mutex<Tail>,
    drained: oneshot::Receiver<()>,
) {
    let tell = async |status: Status| {
        let _ = timeout(LAST_WORDS_WITHIN, drained).await;
        let stderr = tail.lock().unwrap_or_else(PoisonError::into_inner).lines();
        let exit = Exit { code: status.code, signal: status.signal, stderr, left: Vec::new() };
        told.send_replace(Phase::Exited(exit.clone()));
        exit
    };
    let (mut exit, left) = tokio::select! {
        status = body.ended() => {
            let rest = body.end(Grace::AsAgreed, orders.hurried());
            tokio::join!(tell(status), rest)
        }
        grace = orders.ending() => {
            // Some end when their input does, and whatever else is to happen to them; on Windows nothing else asks them to.
            input.close();
            let left = body.end(grace, orders.clone().hurried()).await;
            // One that the kernel holds up may end much later.
            let status = if left.is_empty() { body.ended().await } else { Status::default() };
            (tell(status).await, left)
        }
    };
    exit.left.clone_from(&left);
    body.bury(custody, &left).await;
    told.send_replace(Phase::Gone(exit));
}

/// Reads it to its end.
async fn drain(mut stderr: ChildStderr, tail: &Mutex<Tail>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        tail.lock().unwrap_or_else(PoisonError::into_inner).take(&piece[..count]);
    }
}

async fn reached(mut phase: watch::Receiver<Phase>, is_reached: impl Fn(&Phase) -> bool) -> Exit {
    let reached = phase.wait_for(is_reached).await.map(|phase| phase.exit().cloned());
    // Its task is gone only with the runtime that it runs in; what is known until then has to do.
    let last = match reached {
        Ok(exit) => exit,
        Err(_) => phase.borrow().exit().cloned(),
    };
    last.unwrap_or_default()
}
