//! A running supervision tree, as the embedder holds it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::actor::context::SpawnArgs;
use crate::actor::slot::Slot;
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::exit_record::ExitRecord;
use crate::clock::SystemClock;
use crate::env::Env;
use crate::events::{ActorStarted, RuntimeStarted, RuntimeStopped, RuntimeStopping};
use crate::identity::ActorStatus;
use crate::journal::{FaultPhase, Journal, JournalOptions};
use crate::messaging::panics;
use crate::messaging::wake::Wake;
use crate::path::ActorPath;
use crate::policy::{ExitCause, Shutdown};
use crate::rng::Rng;
use crate::standstill::StandstillClock;
use crate::state::{StateDegraded, StateStore};
use crate::stop_clock::StopClock;
use crate::supervisor::placement::place_at;
use crate::supervisor::{SpecError, Supervisor, SupervisorHandle, SupervisorSpec, finalize};
use crate::tree::TreeNode;

/// The reason for which a tree did not start.
#[derive(Debug, Error)]
pub enum RuntimeStartError {
    /// The start was not called within a tokio runtime, which the actors run on.
    #[error(
        "there is no tokio runtime here: call start from async code that tokio runs, or from within its block_on"
    )]
    OutsideTokio,
    /// The description of the root is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// An actor did not become ready; everything that had started was stopped again.
    #[error("the tree did not start: {path} failed: {message}")]
    ChildFailed {
        /// The actor.
        path: String,
        /// The error of the actor.
        message: String,
    },
}

/// The time beyond the deadline of a shutdown after which the root itself is killed, or a disk no longer waited for.
const OVERTIME: Duration = Duration::from_secs(1);

/// The exit of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeExit {
    /// The cause of the root's exit: [`ExitCause::Normal`] after a shutdown.
    pub cause: ExitCause,
    /// The error of the root.
    pub message: Option<String>,
}

/// The options of a runtime.
#[derive(Default)]
pub struct RuntimeBuilder {
    journal: Option<Journal>,
    seed: Option<u64>,
    state_store: Option<Arc<dyn StateStore>>,
    standstill_clock: Arc<StandstillClock>,
}

impl RuntimeBuilder {
    /// Sets the journal; without one, events are kept in memory alone.
    #[must_use]
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Seeds the randomness, so that a run can be repeated.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the clock of standstills, which the embedder looks at. Without looks, a standstill counts as time that ran.
    #[must_use]
    pub fn standstill_clock(mut self, clock: Arc<StandstillClock>) -> Self {
        self.standstill_clock = clock;
        self
    }

    /// Sets the store for the state of durable children; without one, their state is lost with the process.
    ///
    /// The store outlives the runtime, so a later runtime can use it. It serves one runtime at a time.
    #[must_use]
    pub fn state_store(mut self, store: Arc<dyn StateStore>) -> Self {
        self.state_store = Some(store);
        self
    }

    /// Starts the tree, and returns once every initial child is ready.
    ///
    /// # Errors
    /// When a child does not become ready; the other children have been stopped then. When the future is not run by
    /// tokio.
    pub async fn start(self, root: SupervisorSpec) -> Result<Runtime, RuntimeStartError> {
        let runtime = self.spawn(root).await?;
        runtime.started().await?;
        Ok(runtime)
    }

    /// Starts the tree, and does not wait for its children: see [`Runtime::started`].
    ///
    /// # Errors
    /// When the root does not start. When the future is not run by tokio.
    pub async fn spawn(self, root: SupervisorSpec) -> Result<Runtime, RuntimeStartError> {
        Handle::try_current().map_err(|_| RuntimeStartError::OutsideTokio)?;
        panics::install_hook();
        let entropy = Arc::new(self.seed.map_or_else(Rng::from_entropy, Rng::seeded));
        let journal = self.journal.unwrap_or_else(|| {
            let boot = format!("{:016x}", entropy.bits());
            Journal::in_memory(boot, Arc::new(SystemClock), JournalOptions::default())
        });
        if let Some(store) = &self.state_store {
            store.attach_journal(&journal);
        }
        let env = Env {
            journal,
            rng: entropy,
            state_store: self.state_store,
            stop_clock: Arc::<StopClock>::default(),
            standstill_clock: self.standstill_clock,
        };
        let shutdown = root.own_shutdown();
        let (slot, handle) = root.into_slot()?;
        let path = ActorPath::root(slot.identity.name()).map_err(SpecError::from)?;
        place_at(&*slot, path.clone());
        let runtime = Runtime {
            env,
            slot,
            handle,
            path,
            shutdown,
            cell: watch::Sender::new(None),
            is_ready: watch::Sender::new(false),
            exit: watch::Sender::new(None),
            kill_reason: OnceLock::new(),
            stopping_since: OnceLock::new(),
        };
        runtime.spawn_root().await?;
        Ok(runtime)
    }
}

/// A running tree. Dropping it kills the tree; [`shutdown`](Self::shutdown) stops it in order.
pub struct Runtime {
    env: Env,
    slot: Arc<Slot<Supervisor>>,
    handle: SupervisorHandle,
    path: ActorPath,
    shutdown: Shutdown,
    /// The root's incarnation, until it has ended.
    cell: watch::Sender<Option<ractor::ActorCell>>,
    /// Becomes true once every initial child is ready.
    is_ready: watch::Sender<bool>,
    exit: watch::Sender<Option<RuntimeExit>>,
    /// The reason of [`kill`](Self::kill), once it was called.
    kill_reason: OnceLock<String>,
    /// The time of the first request to stop.
    stopping_since: OnceLock<Duration>,
}

impl Runtime {
    /// Returns the options of a runtime.
    #[must_use]
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    async fn spawn_root(&self) -> Result<(), RuntimeStartError> {
        let pid = std::process::id();
        let boot = self.env.journal.boot().to_owned();
        self.record(0, &RuntimeStarted { pid, version: env!("CARGO_PKG_VERSION").to_owned(), boot });
        let (is_ready, identity, env) =
            (self.is_ready.clone(), Arc::clone(&self.slot.identity), self.env.clone());
        let args = SpawnArgs {
            env: self.env.clone(),
            path: self.path.clone(),
            generation: 1,
            started_at: self.env.now(),
            down_since: None,
            on_ready: Some(Box::new(move || {
                identity.state().set_status(ActorStatus::Running, env.now());
                is_ready.send_replace(true);
            })),
        };
        self.slot.identity.state().generation = 1;
        self.record(1, &ActorStarted {});
        match Arc::clone(&self.slot).spawn(args, None).await {
            Ok(cell) => drop(self.cell.send_replace(Some(cell))),
            Err(error) => {
                self.flush_state().await;
                return Err(self.start_failed(error.to_string()));
            }
        }
        Ok(())
    }

    /// Waits until every initial child is ready. Cancel safe.
    ///
    /// # Errors
    /// When a child does not become ready, or the tree stops meanwhile; the other children have been stopped then.
    pub async fn started(&self) -> Result<(), RuntimeStartError> {
        let mut is_ready = self.is_ready.subscribe();
        tokio::select! {
            biased;
            Ok(()) = async { is_ready.wait_for(|ready| *ready).await.map(drop) } => Ok(()),
            exit = self.finished() => {
                // The next process has to know that a stored state kept its actor from starting.
                self.flush_state().await;
                Err(self.start_failed(exit.message.unwrap_or_else(|| "it ended".to_owned())))
            }
        }
    }

    /// Names the actor whose error is the cause: the deepest one with an error.
    fn start_failed(&self, message: String) -> RuntimeStartError {
        let tree = self.tree();
        let cause = deepest_failure(&tree).unwrap_or(&tree);
        let message = cause.info.last_error.clone().unwrap_or(message);
        RuntimeStartError::ChildFailed { path: cause.path.clone(), message }
    }

    /// Returns the root supervisor.
    #[must_use]
    pub fn root(&self) -> &SupervisorHandle {
        &self.handle
    }

    /// Returns the tree as it is now. It asks no actor, so a busy or broken one does not delay it.
    #[must_use]
    pub fn tree(&self) -> TreeNode {
        if self.slot.current_incarnation.current().is_none() {
            self.record_root_exit();
        }
        let root: Arc<dyn AnySlot> = Arc::clone(&self.slot) as Arc<dyn AnySlot>;
        TreeNode::of(&root, self.env.now(), &self.env.journal.timeline())
    }

    /// Returns the journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.env.journal
    }

    /// Returns why the states of durable actors are not safe, as long as that is so.
    #[must_use]
    pub fn state_degraded(&self) -> Option<String> {
        self.env.state_store.as_ref().and_then(|store| store.degraded())
    }

    /// Returns the time since the runtime started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.env.now()
    }

    /// Returns a future that is ready when the root has ended. It keeps nothing alive but the root's slot.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let slot = Arc::clone(&self.slot);
        async move { slot.ended().await }
    }

    /// Returns when the tree has ended, by itself or by [`shutdown`](Self::shutdown).
    pub async fn finished(&self) -> RuntimeExit {
        self.slot.ended().await;
        finalize::descendants_ended(&*self.slot).await;
        self.record_root_exit();
        let mut exit = self.exit.subscribe();
        // The sender lives in this runtime, so the wait ends with the exit that was recorded first.
        match exit.wait_for(Option::is_some).await.map(|exit| exit.clone()) {
            Ok(Some(exit)) => exit,
            Ok(None) | Err(_) => RuntimeExit { cause: ExitCause::Killed, message: None },
        }
    }

    /// Records the exit of the root; the first caller does, later ones change nothing.
    fn record_root_exit(&self) {
        if self.cell.send_replace(None).is_none() {
            return;
        }
        let mut record = self.slot.take_exit().unwrap_or_else(ExitRecord::unreported);
        if let (ExitCause::Killed, Some(reason)) = (record.exit.cause, self.kill_reason.get()) {
            record.message = Some(reason.clone());
        }
        let message = record.message.clone();
        self.slot.identity.state().last_error.clone_from(&message);
        let exit = finalize::record_exit(&self.env, &*self.slot, &self.path, record, false);
        let status = if exit.cause == ExitCause::Normal { ActorStatus::Stopped } else { ActorStatus::Failed };
        finalize::finalize_slot(&self.env, &*self.slot, &self.path, status);
        self.record(0, &RuntimeStopped { cause: exit.cause, message: message.clone() });
        self.exit.send_replace(Some(RuntimeExit { cause: exit.cause, message }));
    }

    /// Stops all actors, as [`shutdown_within`](Self::shutdown_within) does within the root's shutdown timeout. Without
    /// such a timeout, each child has the time that its policy grants.
    pub async fn shutdown(&self) -> RuntimeExit {
        let limit = match self.shutdown {
            Shutdown::Graceful(timeout) => Some(timeout),
            Shutdown::Unlimited => None,
            Shutdown::Kill => Some(Duration::ZERO),
        };
        self.stop_tree(limit).await
    }

    /// Stops all actors within `limit`, in reverse order or together, as their supervisors' policies say. They share
    /// the time, in proportion to what their policies grant them. What has not ended in its part is killed, and its
    /// exit says so; the exit of the root is `normal` all the same.
    ///
    /// The states and the journal are on disk when this returns, unless the disk takes longer than a second beyond the
    /// limit. A state that is not causes a `state_degraded` event; for lost lines, see [`Journal::close`].
    pub async fn shutdown_within(&self, limit: Duration) -> RuntimeExit {
        self.stop_tree(Some(limit)).await
    }

    /// Returns whether a stop was requested, or the tree has ended.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping_since.get().is_some() || self.cell.borrow().is_none()
    }

    /// Returns the time of the first request to stop, as a time since the start.
    #[must_use]
    pub fn stopping_since(&self) -> Option<Duration> {
        self.stopping_since.get().copied()
    }

    fn note_stop(&self) {
        // The first request stands.
        let _ = self.stopping_since.set(self.env.now());
    }

    async fn stop_tree(&self, limit: Option<Duration>) -> RuntimeExit {
        self.note_stop();
        let _watch = self.env.watch_stop();
        let by = limit.map(|limit| self.env.deadline_in(limit));
        let end = limit.map(|limit| self.env.deadline_in(limit.saturating_add(OVERTIME)));
        let cell = self.cell.borrow().clone();
        if let Some(cell) = cell {
            self.record(0, &RuntimeStopping {});
            self.slot.stop_reading();
            // A root that has just ended by itself needs no stop.
            let _ = cell.send_message(Wake::Stop { by });
            if limit == Some(Duration::ZERO) || self.env.within(end, self.slot.ended()).await.is_none() {
                self.kill_root(&cell);
            }
        }
        self.slot.ended().await;
        if self.env.within(end, self.flush_state()).await.is_none() {
            self.record(
                0,
                &StateDegraded {
                    message: "the disk takes too long to store the last states".to_owned(),
                    phase: FaultPhase::Once,
                },
            );
        }
        let exit = self.finished().await;
        // The loss is recorded already, and the next call of `Journal::close` returns the same error.
        let _ = self.env.within(end, self.env.journal.close()).await;
        exit
    }

    /// Kills all actors at once, also while they stop in order. The journal has `reason` as the cause of the end. The
    /// journal and the states that were handed in are on disk when this returns, unless that takes longer than a second.
    pub async fn kill(&self, reason: &str) {
        // The first reason stands.
        let _ = self.kill_reason.set(reason.to_owned());
        self.note_stop();
        let cell = self.cell.borrow().clone();
        if let Some(cell) = cell {
            self.slot.stop_reading();
            self.kill_root(&cell);
        }
        let _watch = self.env.watch_stop();
        let end = Some(self.env.deadline_in(OVERTIME));
        let ended = async {
            self.finished().await;
            self.flush_state().await;
        };
        let _ = self.env.within(end, ended).await;
        // It changes nothing if the exit is recorded. One that does not end in time is not waited for.
        self.record_root_exit();
        let _ = self.env.within(end, self.env.journal.close()).await;
    }

    fn kill_root(&self, cell: &ractor::ActorCell) {
        finalize::stop_descendants_reading(&*self.slot);
        cell.kill();
    }

    /// Waits until all states that were handed in are stored, or have failed.
    async fn flush_state(&self) {
        let Some(store) = &self.env.state_store else { return };
        if let Err(error) = store.flush().await {
            self.record(0, &StateDegraded { message: error.to_string(), phase: FaultPhase::Once });
        }
    }

    fn record<E: crate::journal::Event>(&self, generation: u64, event: &E) {
        self.env.journal.record(&self.path, generation, event);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.send_replace(None) {
            self.slot.stop_reading();
            self.kill_root(&cell);
            // The callers that still wait get their answer now; the message in flight is recorded when its
            // incarnation ends.
            finalize::finalize_orphan(&self.env, &*self.slot);
        }
    }
}

/// Returns the first actor, deepest first, that has an error.
fn deepest_failure(node: &TreeNode) -> Option<&TreeNode> {
    let below = node.children.iter().find_map(deepest_failure);
    below.or_else(|| node.info.last_error.is_some().then_some(node))
}

#[cfg(test)]
mod tests;
