//! What a handler can ask of its incarnation.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use ractor::ActorCell;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

use crate::actor::launch::{OnReady, SpawnArgs};
use crate::actor::panics;
use crate::actor::slot::identity::ActorIdentity;
use crate::env::Env;
use crate::events::{ActorReady, ActorRestarted, StateOrigin};
use crate::journal::{Event, millis};
use crate::messaging::address::Address;
use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;
use crate::messaging::mailbox::{Mailbox, TaskResult};
use crate::messaging::message::Message;
use crate::path::ActorPath;
use crate::state::FlushError;

/// A handler's view of its own incarnation: who and when it is, what it may record, and the tasks that it owns.
pub struct Context<M: Message> {
    pub(crate) env: Env,
    pub(crate) identity: Arc<ActorIdentity>,
    pub(crate) path: ActorPath,
    pub(crate) generation: u64,
    pub(crate) mailbox: Arc<Mailbox<M>>,
    pub(crate) cell: ActorCell,
    pub(crate) start_info: StartInfo,
    pub(crate) is_ready: bool,
    pub(crate) stop_requested: bool,
    /// Made with the first task: most actors never have one.
    tasks: Option<Tasks>,
}

/// The tasks that an incarnation owns.
#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    /// What those learn whom they leave unanswered: set once the incarnation has ended.
    end_reason: Arc<OnceLock<CallError>>,
}

/// How an incarnation came to be; told once it is ready.
pub(crate) struct StartInfo {
    started_at: Duration,
    down_since: Option<Duration>,
    on_ready: Option<OnReady>,
    pub(crate) restored: bool,
}

/// Ends an owned task before its time. Dropping it does nothing: the task belongs to its incarnation.
#[derive(Debug, Clone)]
pub struct TaskHandle(AbortHandle);

impl TaskHandle {
    /// Ends the task at its next await point; the message that it would have brought is never sent.
    pub fn abort(&self) {
        self.0.abort();
    }
}

/// What a worker that has come to rest can still do; see [`Worker::rest`](crate::Worker::rest).
pub struct FinalizeContext<'a> {
    pub(crate) env: &'a Env,
    pub(crate) path: &'a ActorPath,
    pub(crate) generation: u64,
}

impl FinalizeContext<'_> {
    /// The time since the runtime started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.env.now()
    }

    /// Records an event of this actor, under its last incarnation.
    pub fn record<E: Event>(&self, event: &E) {
        self.env.journal.record(self.path, self.generation, event);
    }
}

impl<M: Message> Context<M> {
    pub(crate) fn new(
        launch: SpawnArgs,
        identity: Arc<ActorIdentity>,
        mailbox: Arc<Mailbox<M>>,
        cell: ActorCell,
    ) -> Self {
        let SpawnArgs { env, path, generation, started_at, down_since, on_ready } = launch;
        let birth = StartInfo { started_at, down_since, on_ready, restored: false };
        Self {
            env,
            identity,
            path,
            generation,
            mailbox,
            cell,
            start_info: birth,
            is_ready: false,
            stop_requested: false,
            tasks: None,
        }
    }

    /// Notes that the incarnation is ready, records it, and tells whoever waits for it.
    pub(crate) fn mark_ready(&mut self) {
        self.is_ready = true;
        let now = self.now();
        self.record(&ActorReady { start_ms: millis(now.saturating_sub(self.start_info.started_at)) });
        if let Some(down_since) = self.start_info.down_since {
            self.record(&ActorRestarted {
                downtime_ms: millis(now.saturating_sub(down_since)),
                state: if self.start_info.restored { StateOrigin::Restored } else { StateOrigin::Fresh },
                backlog: self.mailbox.len(),
            });
        }
        if let Some(on_ready) = self.start_info.on_ready.take() {
            on_ready();
        }
    }

    /// The actor's path.
    #[must_use]
    pub fn path(&self) -> &ActorPath {
        &self.path
    }

    /// Which incarnation this is; the first is 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The actor's own address.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        Address::new(Arc::clone(&self.identity), Arc::clone(&self.mailbox))
    }

    /// The time since the runtime started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.env.now()
    }

    /// The wall time now.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.env.journal.wall_time()
    }

    /// A random number in `[0, 1)` from the runtime's seeded source.
    #[must_use]
    pub fn random_unit(&self) -> f64 {
        self.env.rng.unit()
    }

    /// Any 64 bits from the runtime's seeded source. Not for secrets.
    #[must_use]
    pub fn random_bits(&self) -> u64 {
        self.env.rng.bits()
    }

    /// Records an event of this actor.
    pub fn record<E: Event>(&self, event: &E) {
        self.env.journal.record(&self.path, self.generation, event);
    }

    /// Whether events of this kind are recorded; where they are not, one need not be made.
    #[must_use]
    pub fn should_record<E: Event>(&self) -> bool {
        self.env.journal.should_record::<E>()
    }

    /// Resolves once every snapshot that was handed in before this call is safe, as far as the store can make it so: with
    /// an error once that has been tried in vain, and at once where there is no store. The snapshot after the message at
    /// hand is not among them.
    pub fn flush_state(&self) -> impl Future<Output = Result<(), FlushError>> + Send + use<M> {
        let flushed = self.env.state_store.as_ref().map(|store| store.flush());
        async move {
            match flushed {
                Some(flushed) => flushed.await,
                None => Ok(()),
            }
        }
    }

    /// Ends this incarnation in order, after the message that is being handled.
    pub fn stop(&mut self) {
        self.stop_requested = true;
    }

    /// Runs `work` beside the handlers, and handles the message that it ends with before those in the mailbox.
    ///
    /// The task belongs to this incarnation: it ends with it, and its message never reaches a later one. If it
    /// panics, the incarnation crashes.
    pub fn spawn<F>(&mut self, work: F) -> TaskHandle
    where
        F: Future<Output = M> + Send + 'static,
    {
        self.spawn_maybe(work.map(Some))
    }

    /// Like [`spawn`](Self::spawn), for work that may end without a message.
    pub fn spawn_maybe<F>(&mut self, work: F) -> TaskHandle
    where
        F: Future<Output = Option<M>> + Send + 'static,
    {
        let tasks = self.tasks.get_or_insert_default();
        while tasks.running.try_join_next().is_some() {}
        let (mailbox, generation) = (Arc::clone(&self.mailbox), self.generation);
        let ending = Arc::clone(&tasks.end_reason);
        // A task that is ended before its incarnation simply leaves its callers.
        let left = Arc::clone(&ending);
        let work = drop_reason::with_drop_reason(move || *left.get().unwrap_or(&CallError::Unanswered), work);
        // Not an async block, which would hold the work twice.
        TaskHandle(tasks.running.spawn(panics::catch_future(work).map(move |ended| {
            let own = match ended {
                Ok(None) => return,
                Ok(Some(message)) => TaskResult::Message(message),
                Err(panic) => TaskResult::Panic(Box::new(panic)),
            };
            // Only an incarnation that has ended refuses what is its own.
            let reason = *ending.get().unwrap_or(&CallError::Crashed);
            drop_reason::drop_with(reason, mailbox.push_task_result(generation, own));
        })))
    }

    /// Handles `message` after `delay`, unless this incarnation has ended by then.
    pub fn send_after(&mut self, delay: Duration, message: M) -> TaskHandle {
        self.spawn(async move {
            sleep(delay).await;
            message
        })
    }

    /// Handles `message` at `since_start`, the time since the runtime started, unless this incarnation has ended by
    /// then; at once if that has passed. [`now`](Self::now) says at least that time when it is handled.
    ///
    /// For what is due at a time that was told: [`now`](Self::now) knows whole milliseconds alone, and a delay from there
    /// to a given time ends up to one of them late.
    pub fn send_at(&mut self, since_start: Duration, message: M) -> TaskHandle {
        // As the clock shows it: not before it shows the time that was asked for.
        let whole_millis = since_start.as_nanos().div_ceil(1_000_000);
        let shown = Duration::from_millis(u64::try_from(whole_millis).unwrap_or(u64::MAX));
        let at = self.env.instant(shown);
        self.spawn(async move {
            sleep_until(at).await;
            message
        })
    }

    /// Ends the owned tasks, whose callers are told `reason`, and hands over those that take a while.
    pub(crate) fn abort_tasks(&mut self, reason: CallError) -> JoinSet<()> {
        let Some(Tasks { mut running, end_reason: ending }) = self.tasks.take() else {
            return JoinSet::new();
        };
        // An incarnation ends once.
        let _ = ending.set(reason);
        while running.try_join_next().is_some() {}
        running.abort_all();
        running
    }
}
