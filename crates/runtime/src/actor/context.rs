//! The context of a handler, and the timer that it sets.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use ractor::ActorCell;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

use crate::env::Env;
use crate::events::{ActorReady, ActorRestarted};
use crate::identity::{ActorIdentity, ActorStatus};
use crate::journal::{Event, millis};
use crate::messaging::address::Address;
use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;
use crate::messaging::mailbox::{Mailbox, TaskResult};
use crate::messaging::message::Message;
use crate::messaging::panics;
use crate::path::ActorPath;
use crate::policy::StateSource;
use crate::state::FlushError;
use crate::stop_clock::MovingDeadline;

/// The callback for when an incarnation is ready.
pub(crate) type OnReady = Box<dyn FnOnce() + Send + Sync>;

/// The arguments of a new incarnation.
pub(crate) struct SpawnArgs {
    pub(crate) env: Env,
    pub(crate) path: ActorPath,
    pub(crate) generation: u64,
    pub(crate) started_at: Duration,
    /// The time at which its predecessor ended, if it replaces one.
    pub(crate) down_since: Option<Duration>,
    pub(crate) on_ready: Option<OnReady>,
}

/// A handler's view of its own incarnation: its identity, the time, its events and its tasks.
pub struct Context<M: Message> {
    pub(crate) env: Env,
    pub(crate) identity: Arc<ActorIdentity>,
    pub(crate) path: ActorPath,
    pub(crate) generation: u64,
    pub(crate) mailbox: Arc<Mailbox<M>>,
    pub(crate) cell: ActorCell,
    pub(crate) start_info: StartInfo,
    pub(crate) is_ready: bool,
    /// True if the worker reports itself when it is ready.
    pub(crate) is_readiness_deferred: bool,
    pub(crate) stop_requested: bool,
    /// The time at which it is killed, once it was asked to stop.
    pub(crate) stop_by: Option<MovingDeadline>,
    /// The reason to report its orderly stop as a kill.
    pub(crate) killed: Option<String>,
    /// Made with the first task, because most actors never have one.
    tasks: Option<Tasks>,
}

/// The tasks that an incarnation owns.
#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    /// The error for the callers that the tasks leave unanswered; set once the incarnation has ended.
    end_reason: Arc<OnceLock<CallError>>,
}

/// The circumstances of a start, recorded once the incarnation is ready.
pub(crate) struct StartInfo {
    started_at: Duration,
    down_since: Option<Duration>,
    on_ready: Option<OnReady>,
    pub(crate) from_checkpoint: bool,
}

/// A handle that aborts an owned task. Dropping it does nothing: the task belongs to its incarnation.
#[derive(Debug, Clone)]
pub struct TaskHandle(AbortHandle);

impl TaskHandle {
    /// Aborts the task at its next await point; the message that it would have returned is never sent.
    pub fn abort(&self) {
        self.0.abort();
    }
}

/// The context of a worker that has settled; see [`Worker::finalize`](crate::Worker::finalize).
pub struct FinalizeContext<'a> {
    pub(crate) env: &'a Env,
    pub(crate) path: &'a ActorPath,
    pub(crate) generation: u64,
}

impl FinalizeContext<'_> {
    /// Returns the time since the runtime started.
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
        args: SpawnArgs,
        identity: Arc<ActorIdentity>,
        mailbox: Arc<Mailbox<M>>,
        cell: ActorCell,
    ) -> Self {
        let SpawnArgs { env, path, generation, started_at, down_since, on_ready } = args;
        let start_info = StartInfo { started_at, down_since, on_ready, from_checkpoint: false };
        Self {
            env,
            identity,
            path,
            generation,
            mailbox,
            cell,
            start_info,
            is_ready: false,
            is_readiness_deferred: false,
            stop_requested: false,
            stop_by: None,
            killed: None,
            tasks: None,
        }
    }

    /// Marks the incarnation as ready, records that, and calls the readiness callback.
    pub(crate) fn mark_ready(&mut self) {
        self.is_ready = true;
        let now = self.now();
        self.record(&ActorReady { start_ms: millis(now.saturating_sub(self.start_info.started_at)) });
        if let Some(down_since) = self.start_info.down_since {
            self.record(&ActorRestarted {
                downtime_ms: millis(now.saturating_sub(down_since)),
                state: if self.start_info.from_checkpoint {
                    StateSource::Checkpoint
                } else {
                    StateSource::Fresh
                },
                backlog: self.mailbox.len(),
            });
        }
        if let Some(on_ready) = self.start_info.on_ready.take() {
            on_ready();
        }
    }

    /// Lets this incarnation be ready later than its [`start`](crate::Worker::start) returns: when it calls
    /// [`report_ready`](Self::report_ready). For a worker that starts something that takes long. Called in `start`.
    ///
    /// Its messages are handled meanwhile, and the children after it start. But its status stays `starting`, and if it
    /// fails, the cause is `start_failed`. The time that makes it stable (`ChildPolicy::stable_after`) begins only when
    /// it is ready.
    pub fn defer_readiness(&mut self) {
        self.is_readiness_deferred = true;
        self.identity.state().is_readiness_deferred = true;
    }

    /// Reports that this incarnation, which [deferred](Self::defer_readiness) its readiness, is ready. Later calls change
    /// nothing.
    pub fn report_ready(&mut self) {
        if self.is_ready || !self.is_readiness_deferred {
            return;
        }
        // The status is set first, so that a reader of the event finds it in the slot.
        self.publish_readiness();
        self.mark_ready();
    }

    fn publish_readiness(&self) {
        let now = self.now();
        let mut state = self.identity.state();
        // An abandoned incarnation speaks for no other.
        if state.generation != self.generation {
            return;
        }
        state.is_readiness_deferred = false;
        state.ready_since = Some(self.env.running_since(now));
        if state.status == ActorStatus::Starting {
            state.set_status(ActorStatus::Running, now);
        }
    }

    /// Returns the actor's path.
    #[must_use]
    pub fn path(&self) -> &ActorPath {
        &self.path
    }

    /// Returns the number of this incarnation; the first is 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the actor's own address.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        Address::new(Arc::clone(&self.identity), Arc::clone(&self.mailbox))
    }

    /// Returns the time since the runtime started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.env.now()
    }

    /// Records this start as fresh although it got a snapshot, because nothing in that is worth restoring.
    pub fn report_fresh_start(&mut self) {
        self.start_info.from_checkpoint = false;
    }

    /// Returns how much time this incarnation has to end, once it was asked to stop. When it is over, the incarnation
    /// is killed. `None` means any time. While this process stands still, the time does not run.
    #[must_use]
    pub fn stop_time_left(&self) -> Option<Duration> {
        self.stop_by.map(|by| self.env.left_until(by))
    }

    /// Records the stop that is under way as a kill, because something that belongs to the actor had to be killed, such
    /// as a process. `message` says what.
    pub fn report_kill(&mut self, message: impl Into<String>) {
        self.killed = Some(message.into());
    }

    /// Returns the wall time now.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.env.journal.wall_time()
    }

    /// Returns a random number in `[0, 1)` from the runtime's seeded source.
    #[must_use]
    pub fn random_unit(&self) -> f64 {
        self.env.rng.unit()
    }

    /// Returns 64 random bits from the runtime's seeded source. They are not fit for secrets.
    #[must_use]
    pub fn random_bits(&self) -> u64 {
        self.env.rng.bits()
    }

    /// Records an event of this actor.
    pub fn record<E: Event>(&self, event: &E) {
        self.env.journal.record(&self.path, self.generation, event);
    }

    /// Redacts these texts in every event from now on; see [`Journal::add_secrets`](crate::journal::Journal::add_secrets).
    pub fn add_secrets(&self, secrets: impl IntoIterator<Item = String>) {
        self.env.journal.add_secrets(secrets);
    }

    /// Returns whether events of this kind are recorded; where they are not, none need be made.
    #[must_use]
    pub fn should_record<E: Event>(&self) -> bool {
        self.env.journal.should_record::<E>()
    }

    /// Resolves once every snapshot that was handed in before this call is stored, as safely as the store can. It
    /// fails when the store fails, and resolves at once without a store. The snapshot after the present message is
    /// not included.
    pub fn flush_state(&self) -> impl Future<Output = Result<(), FlushError>> + Send + use<M> {
        let flushed = self.env.state_store.as_ref().map(|store| store.flush());
        async move {
            match flushed {
                Some(flushed) => flushed.await,
                None => Ok(()),
            }
        }
    }

    /// Ends this incarnation in order, after the present message.
    pub fn stop(&mut self) {
        self.stop_requested = true;
    }

    /// Runs `work` beside the handlers. The message that it returns is handled before those in the mailbox.
    ///
    /// The task belongs to this incarnation: it ends with it, and its message never reaches a later one. If it
    /// panics, the incarnation crashes.
    pub fn spawn<F>(&mut self, work: F) -> TaskHandle
    where
        F: Future<Output = M> + Send + 'static,
    {
        self.spawn_maybe(work.map(Some))
    }

    /// Runs `work` like [`spawn`](Self::spawn); it may end without a message.
    pub fn spawn_maybe<F>(&mut self, work: F) -> TaskHandle
    where
        F: Future<Output = Option<M>> + Send + 'static,
    {
        let tasks = self.tasks.get_or_insert_default();
        while tasks.running.try_join_next().is_some() {}
        let (mailbox, generation) = (Arc::clone(&self.mailbox), self.generation);
        let exit = Arc::clone(&tasks.end_reason);
        // A task that is aborted before its incarnation ends leaves its callers without a reason.
        let left = Arc::clone(&exit);
        let work = drop_reason::with_drop_reason(move || *left.get().unwrap_or(&CallError::NoReply), work);
        // Not an async block, which would hold the work twice.
        TaskHandle(tasks.running.spawn(panics::catch_future(work).map(move |ended| {
            let own = match ended {
                Ok(None) => return,
                Ok(Some(message)) => TaskResult::Message(message),
                Err(panic) => TaskResult::Panic(Box::new(panic)),
            };
            // Only an incarnation that has ended refuses the result of its own task.
            let reason = *exit.get().unwrap_or(&CallError::Crashed);
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

    /// Handles `message` at `since_start`, the time since the runtime started, or at once if that has passed. If this
    /// incarnation has ended by then, the message is dropped. [`now`](Self::now) returns at least `since_start` when
    /// it is handled.
    ///
    /// Use this for absolute deadlines: [`now`](Self::now) has a resolution of one millisecond, so a delay computed
    /// from it may end up to one millisecond late.
    pub fn send_at(&mut self, since_start: Duration, message: M) -> TaskHandle {
        // The clock has whole milliseconds, so the timer must not fire before it shows the requested time.
        let whole_millis = since_start.as_nanos().div_ceil(1_000_000);
        let shown = Duration::from_millis(u64::try_from(whole_millis).unwrap_or(u64::MAX));
        let at = self.env.instant(shown);
        self.spawn(async move {
            sleep_until(at).await;
            message
        })
    }

    /// Aborts the owned tasks, whose callers get `reason`, and returns those that have not ended yet.
    pub(crate) fn abort_tasks(&mut self, reason: CallError) -> JoinSet<()> {
        let Some(Tasks { mut running, end_reason: exit }) = self.tasks.take() else {
            return JoinSet::new();
        };
        // An incarnation ends once.
        let _ = exit.set(reason);
        while running.try_join_next().is_some() {}
        running.abort_all();
        running
    }
}

/// A timer that wakes one incarnation at the next deadline. Part of the incarnation's state.
///
/// An actor with many deadlines keeps one timer for all of them: after each message it calls
/// [`wake_by`](Self::wake_by) with the earliest deadline. When the timer's message comes, it calls
/// [`clear_due`](Self::clear_due) and checks the deadlines. The message may come too early: for a deadline that is
/// gone, or from a replaced timer.
#[derive(Debug, Default)]
pub struct Timer(Option<(Duration, TaskHandle)>);

impl Timer {
    /// Returns the time at which the timer fires, since the start of the runtime; `None` when it is not set.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.0.as_ref().map(|(due, _)| *due)
    }

    /// Lets `ctx` handle `message` at `due` at the latest. A timer that fires earlier is kept, and a later one is
    /// replaced. An early wake-up costs less than a new timer for every message. See [`Context::send_at`].
    pub fn wake_by<M: Message>(&mut self, ctx: &mut Context<M>, due: Duration, message: M) {
        if self.due().is_some_and(|earlier| earlier <= due) {
            return;
        }
        self.cancel();
        self.0 = Some((due, ctx.send_at(due, message)));
    }

    /// Clears the timer if it is due at `now`. A later timer stays: the message came from a timer that it replaced.
    pub fn clear_due(&mut self, now: Duration) {
        if self.due().is_some_and(|due| due <= now) {
            self.cancel();
        }
    }

    /// Clears the timer; its message is not sent any more.
    pub fn cancel(&mut self) {
        if let Some((_, task)) = self.0.take() {
            task.abort();
        }
    }
}
