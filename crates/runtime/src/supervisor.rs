//! The supervisor: an actor that observes exits, asks the policy, records the decision and carries it out.
//!
//! - `machine`: the pure state machine that says what to do next
//! - `command`: the messages of a supervisor and its commands; [`SupervisorHandle`] sends them
//! - `finalize`: recording exits, and ending slots
//! - `placement`: the paths of slots, and the check of a child against its supervisor's policy
//! - [`SupervisorSpec`], [`Child`]: the description of a tree; [`SpecError`]: its faults
//!
//! A handler never sleeps and never awaits a child. A delay is a due time and one timer. A stop is a request and a
//! deadline. A caller that waits for an outcome gets its answer when the outcome is known.

mod add_child;
mod admin_error;
mod child_list;
mod command;
mod counts;
pub(crate) mod finalize;
mod handle;
mod machine;
pub(crate) mod placement;
mod spec;
mod spec_error;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use ractor::{ActorCell, ActorId, SupervisionEvent};
use tokio::task::JoinSet;

pub use admin_error::AdminError;
pub use counts::ChildCounts;
pub use handle::SupervisorHandle;
pub use spec::{Child, SupervisorSpec};
pub use spec_error::SpecError;

pub(crate) use child_list::ChildList;

use crate::actor::behaviour::{ActorFlow, Behaviour};
use crate::actor::context::{Context, OnReady, SpawnArgs, Timer};
use crate::actor::failure::{Failure, ShutdownExit};
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::exit_record::ExitRecord;
use crate::events::{
    ActorStarted, AutoShutDown, CheckpointDiscarded, Decided, DecisionInputs, Escalated, GaveUp,
    RestartCancelled, RestartCanceller,
};
use crate::identity::{ActorKind, ActorStatus};
use crate::journal::millis;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::TaskResult;
use crate::messaging::panics;
use crate::messaging::reply::Reply;
use crate::messaging::wake::Wake;
use crate::path::ActorPath;
use crate::policy::{AbandonedPolicy, Exit, ExitCause, SupervisorPolicy};
use crate::stop_clock::{LOOK_INTERVAL, StopWatch};
use command::{AdminCommand, AdminResult, SupervisorMessage};
use machine::{ChildId, ChildOutcome, DecisionRecord, KillReason, Machine, ShutdownReason, SupervisorAction};
use placement::assign_path;

/// The behaviour of a supervisor: it holds everything that each incarnation is made from.
pub(crate) struct Supervisor {
    policy: SupervisorPolicy,
    /// The initial children, in order.
    initial: Vec<Arc<dyn AnySlot>>,
    /// The children that were added later and that a restart of this supervisor keeps.
    persistent_children: Mutex<Vec<Arc<dyn AnySlot>>>,
    /// The children of the present incarnation, readable without a message.
    child_list: Arc<ChildList>,
}

type SupervisorContext = Context<SupervisorMessage>;

impl Behaviour for Supervisor {
    type Message = SupervisorMessage;
    type State = Children;
    type Snapshot = ();

    async fn start(&self, ctx: &mut SupervisorContext, _: Option<()>) -> Result<Children, Failure> {
        let to_start = self.children_to_start();
        self.stop_previous_children(ctx, &to_start).await;
        let mut children = Children::new(self.policy);
        let mut actions = Vec::new();
        let mut listed = Vec::new();
        for slot in to_start {
            let path = assign_path(ctx.path(), slot.as_ref())?;
            let policy = Arc::clone(slot.identity().policy());
            // An incarnation of it may still be running.
            let is_abandoned = slot.identity().state().abandoned > 0;
            let stays_failed = policy.abandoned == AbandonedPolicy::Fail && is_abandoned;
            let id = children.machine.register(policy);
            listed.push((id, Arc::clone(&slot)));
            children.register(id, slot, path);
            if stays_failed {
                actions.extend(children.machine.mark_failed(id));
            }
        }
        self.child_list.replace(listed.into_iter());
        actions.extend(children.machine.start_all(ctx.now()));
        self.execute(ctx, &mut children, actions).await?;
        Ok(children)
    }

    async fn handle(
        &self,
        ctx: &mut SupervisorContext,
        command: SupervisorMessage,
        children: &mut Children,
    ) -> Result<ActorFlow, Failure> {
        children.postpone_stops(ctx);
        let actions = match command {
            SupervisorMessage::Add { slot, reply } => self.add(ctx, children, slot, reply),
            SupervisorMessage::Admin { name, command, reply } => {
                children.run_admin_command(ctx, &name, command, reply)
            }
            SupervisorMessage::ChildReady { id, generation }
                if children.generation(id) == Some(generation) =>
            {
                children.ready(ctx, id)
            }
            SupervisorMessage::ChildReady { .. } => Vec::new(),
            SupervisorMessage::TasksEnded { id, generation, abandoned }
                if children.generation(id) == Some(generation) =>
            {
                children.finish_exit(ctx, id, abandoned)
            }
            SupervisorMessage::TasksEnded { .. } => Vec::new(),
            SupervisorMessage::Tick => {
                let now = ctx.now();
                children.timer.clear_due(now);
                children.machine.tick(now)
            }
        };
        self.execute(ctx, children, actions).await
    }

    fn snapshot(&self, _: &Children) -> Option<()> {
        None
    }

    async fn stop(&self, ctx: &mut SupervisorContext, children: &mut Children) -> Result<ActorFlow, Failure> {
        let postponed = children.postpone_stops(ctx);
        let by = ctx.stop_by.map(|by| by.at(postponed));
        let actions = children.machine.shut_down_by(by, ctx.now());
        self.execute(ctx, children, actions).await
    }

    async fn child_changed(
        &self,
        ctx: &mut SupervisorContext,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<ActorFlow, Failure> {
        children.postpone_stops(ctx);
        let actions = match event {
            SupervisionEvent::ActorStarted(cell) => match children.by_actor.get(&cell.get_id()) {
                Some(&id) if children.kind(id) == Some(ActorKind::Worker) => children.ready(ctx, id),
                _ => Vec::new(),
            },
            SupervisionEvent::ActorTerminated(cell, state, _) => {
                // A killed incarnation hands its state over, and dropping that state tears it down.
                drop(state);
                children.child_exited(ctx, &cell)
            }
            SupervisionEvent::ActorFailed(cell, _) => children.child_exited(ctx, &cell),
            _ => Vec::new(),
        };
        self.execute(ctx, children, actions).await
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        self.child_list.slots()
    }
}

impl Supervisor {
    pub(crate) fn new(
        policy: SupervisorPolicy,
        initial: Vec<Arc<dyn AnySlot>>,
        child_list: Arc<ChildList>,
    ) -> Self {
        Self { policy, initial, persistent_children: Mutex::default(), child_list }
    }

    fn persistent_children(&self) -> MutexGuard<'_, Vec<Arc<dyn AnySlot>>> {
        self.persistent_children.lock()
    }

    /// Returns the children that every incarnation begins with.
    fn children_to_start(&self) -> Vec<Arc<dyn AnySlot>> {
        self.initial.iter().chain(self.persistent_children().iter()).cloned().collect()
    }

    /// Waits until the children of the previous incarnation have ended, and closes those that do not return. It
    /// abandons a child that does not end in time. Each child stays listed until it is closed, because this
    /// incarnation may be killed meanwhile.
    async fn stop_previous_children(&self, ctx: &SupervisorContext, to_start: &[Arc<dyn AnySlot>]) {
        let to_start: HashSet<usize> = to_start.iter().map(slot_address).collect();
        for (id, slot) in self.child_list.entries() {
            let end = ctx.env.deadline_in(slot.identity().policy().kill_timeout);
            if ctx.env.within(Some(end), slot.ended()).await.is_none() {
                slot.abandon();
            }
            let returns = to_start.contains(&slot_address(&slot));
            if let Some(path) = slot.identity().path() {
                finalize::record_orphan_exit(&ctx.env, slot.as_ref(), path).await;
                if !returns {
                    finalize::finalize_slot(&ctx.env, slot.as_ref(), path, ActorStatus::Stopped);
                }
            }
            if !returns {
                self.child_list.remove(id);
            }
            panics::drop_quietly(CallError::Stopped, slot);
        }
    }

    async fn execute(
        &self,
        ctx: &mut SupervisorContext,
        children: &mut Children,
        actions: Vec<SupervisorAction>,
    ) -> Result<ActorFlow, Failure> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                SupervisorAction::Launch { id } => children.launch(ctx, id).await?,
                SupervisorAction::DiscardCheckpoint { id } => children.discard_checkpoint(ctx, id),
                SupervisorAction::RequestStop { id } => children.request_stop(ctx, id),
                SupervisorAction::Kill { id, reason: KillReason::Requested } => {
                    children.kill(id, ExitCause::Killed)
                }
                SupervisorAction::Kill { id, reason: KillReason::Stuck } => {
                    children.kill(id, ExitCause::Stuck)
                }
                SupervisorAction::Inspect { id } => actions.extend(children.inspect(ctx, id)),
                SupervisorAction::Abandon { id } => actions.extend(children.abandon(ctx, id)),
                SupervisorAction::Record { id, record } => children.record_decision(ctx, id, *record),
                SupervisorAction::RecordCancelledRestart { id, by } => {
                    children.record_cancelled_restart(ctx, id, by)
                }
                SupervisorAction::ResolveWaiters { id, outcome } => {
                    children.resolve_waiters(ctx, id, outcome)
                }
                SupervisorAction::Deregister { id } => self.deregister(children, id),
                SupervisorAction::Ready => ctx.mark_ready(),
                SupervisorAction::Exit(ShutdownReason::Requested) => return Ok(ActorFlow::Stop),
                SupervisorAction::Exit(ending) => return Err(record_shutdown(ctx, children, ending).into()),
            }
        }
        children.schedule_tick(ctx);
        Ok(ActorFlow::Continue)
    }

    fn deregister(&self, children: &mut Children, id: ChildId) {
        self.child_list.remove(id);
        let Some(entry) = children.entries.remove(&id) else { return };
        children.by_name.remove(entry.path.name());
        let slot = entry.slot;
        self.persistent_children().retain(|other| !Arc::ptr_eq(other, &slot));
        slot.drop_checkpoint();
        // This drops the worker itself, whose destructor may panic.
        panics::drop_quietly(CallError::Stopped, slot);
    }
}

/// The children of one incarnation of a supervisor.
pub(crate) struct Children {
    machine: Machine,
    entries: HashMap<ChildId, ChildEntry>,
    by_actor: HashMap<ActorId, ChildId>,
    by_name: HashMap<Box<str>, ChildId>,
    /// The timer for the next deadline.
    timer: Timer,
    /// Held as long as a stop or a kill has a deadline.
    stop_watch: Option<StopWatch>,
}

/// A child.
struct ChildEntry {
    slot: Arc<dyn AnySlot>,
    path: ActorPath,
    cell: Option<ActorCell>,
    /// The time at which its last incarnation ended, unless a command ended it.
    down_since: Option<Duration>,
    /// The callers that wait until the child has settled.
    waiters: Vec<(AdminCommand, Reply<AdminResult>)>,
}

impl Children {
    fn new(policy: SupervisorPolicy) -> Self {
        Self {
            machine: Machine::new(policy),
            entries: HashMap::new(),
            by_actor: HashMap::new(),
            by_name: HashMap::new(),
            timer: Timer::default(),
            stop_watch: None,
        }
    }

    fn register(&mut self, id: ChildId, slot: Arc<dyn AnySlot>, path: ActorPath) {
        self.by_name.insert(path.name().into(), id);
        let entry = ChildEntry { slot, path, cell: None, down_since: None, waiters: Vec::new() };
        self.entries.insert(id, entry);
    }

    fn kind(&self, id: ChildId) -> Option<ActorKind> {
        self.entries.get(&id).map(|entry| entry.slot.identity().kind())
    }

    fn path(&self, id: ChildId) -> Option<ActorPath> {
        self.entries.get(&id).map(|entry| entry.path.clone())
    }

    /// Returns the generation of the child's present or last incarnation.
    fn generation(&self, id: ChildId) -> Option<u64> {
        self.entries.get(&id).map(|entry| entry.slot.identity().state().generation)
    }

    /// Returns a sentence about a child, with its last error.
    fn describe(&self, id: ChildId, what: &str) -> String {
        let Some(entry) = self.entries.get(&id) else { return what.to_owned() };
        match &entry.slot.identity().state().last_error {
            Some(error) => format!("{} {what}: {error}", entry.path),
            None => format!("{} {what}", entry.path),
        }
    }

    // === exits ===

    /// Handles the exit of an incarnation, whose tasks may still be ending.
    fn child_exited(&mut self, ctx: &mut SupervisorContext, cell: &ActorCell) -> Vec<SupervisorAction> {
        let Some(id) = self.by_actor.remove(&cell.get_id()) else { return Vec::new() };
        let Some(entry) = self.entries.get_mut(&id) else { return Vec::new() };
        entry.cell = None;
        let generation = entry.slot.identity().state().generation;
        // The exit record stays in the slot until it is journalled: this supervisor may end before.
        let tasks = entry.slot.take_tasks();
        if tasks.as_ref().is_some_and(JoinSet::is_empty) {
            return self.finish_exit(ctx, id, false);
        }
        let slot = Arc::clone(&entry.slot);
        let env = ctx.env.clone();
        let end = env.deadline_in(self.machine.kill_timeout(id, ctx.now()));
        ctx.spawn(async move {
            // ractor reports an actor that was killed in its start before it drops its state.
            slot.ended().await;
            let mut tasks = tasks.or_else(|| slot.take_tasks()).unwrap_or_default();
            let abandoned = env.within(Some(end), tasks.shutdown()).await.is_none();
            SupervisorMessage::TasksEnded { id, generation, abandoned }
        });
        Vec::new()
    }

    /// Records the exit of an incarnation of which nothing is left, and decides what follows.
    fn finish_exit(
        &mut self,
        ctx: &SupervisorContext,
        id: ChildId,
        abandoned: bool,
    ) -> Vec<SupervisorAction> {
        let Some(entry) = self.entries.get_mut(&id) else { return Vec::new() };
        // An abandoned incarnation has been recorded already.
        let unreported = || self.machine.is_live(id).then(ExitRecord::unreported);
        let Some(mut record) = entry.slot.take_exit().or_else(unreported) else { return Vec::new() };
        record.exit.abandoned |= abandoned;
        let now = ctx.now();
        let ready_since = entry.slot.identity().state().ready_since.clone();
        entry.note_exit(now, &record);
        let (cause, declined) = (record.exit.cause, record.declined);
        let unexpected = self.machine.is_unexpected(id, cause);
        let exit = finalize::record_exit(&ctx.env, entry.slot.as_ref(), &entry.path, record, unexpected);
        if declined {
            return self.machine.declined(id, now);
        }
        // A standstill counts as time that it was not ready.
        let stood_still = ready_since.map_or(Duration::ZERO, |since| since.stood_still(now));
        let ready_since = exit.ready_since.map(|since| truncate_to_millis(since.saturating_add(stood_still)));
        let exit = Exit { ready_since, ..exit };
        self.machine.exited(id, exit, now, ctx.random_unit())
    }

    /// Abandons an incarnation that was killed and does not end.
    fn abandon(&mut self, ctx: &SupervisorContext, id: ChildId) -> Vec<SupervisorAction> {
        let Some(entry) = self.entries.get_mut(&id) else { return Vec::new() };
        // It has ended at the last moment, and its exit is about to be reported.
        if !entry.slot.abandon() {
            return Vec::new();
        }
        if let Some(cell) = entry.cell.take() {
            self.by_actor.remove(&cell.get_id());
        }
        self.finish_exit(ctx, id, true)
    }

    fn ready(&mut self, ctx: &SupervisorContext, id: ChildId) -> Vec<SupervisorAction> {
        let now = ctx.now();
        let actions = self.machine.ready(id, now);
        // A child that was asked to end meanwhile no longer counts as running.
        if !actions.is_empty()
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.down_since = None;
            let mut state = entry.slot.identity().state();
            if !state.is_readiness_deferred {
                state.set_status(ActorStatus::Running, now);
                state.ready_since.get_or_insert_with(|| ctx.env.running_since(now));
            }
        }
        actions
    }

    fn inspect(&mut self, ctx: &SupervisorContext, id: ChildId) -> Vec<SupervisorAction> {
        let Some(entry) = self.entries.get(&id) else { return Vec::new() };
        let now = ctx.now();
        self.machine.inspected(id, entry.slot.progress(), now, ctx.env.time_awake(now))
    }

    // === carrying out ===

    async fn launch(&mut self, ctx: &mut SupervisorContext, id: ChildId) -> Result<(), Failure> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let now = ctx.now();
        let identity = entry.slot.identity();
        let generation = {
            let mut state = identity.state();
            state.set_status(ActorStatus::Starting, now);
            state.is_readiness_deferred = false;
            if entry.down_since.is_none() {
                // The error was of a stop by command, and a command has started it again.
                (state.last_error, state.last_error_at) = (None, None);
            }
            state.generation += 1;
            state.restarts += u64::from(entry.down_since.is_some());
            state.generation
        };
        entry.slot.open();
        ctx.env.journal.record(&entry.path, generation, &ActorStarted {});
        let (mailbox, own_generation) = (Arc::clone(&ctx.mailbox), ctx.generation);
        let on_ready = (identity.kind() == ActorKind::Supervisor).then(|| -> OnReady {
            Box::new(move || {
                let ready = SupervisorMessage::ChildReady { id, generation };
                // A supervisor that has ended meanwhile does not need to know.
                drop(mailbox.push_task_result(own_generation, TaskResult::Message(ready)));
            })
        });
        let launch = SpawnArgs {
            env: ctx.env.clone(),
            path: entry.path.clone(),
            generation,
            started_at: now,
            down_since: entry.down_since,
            on_ready,
        };
        // Only a supervisor that is itself being killed cannot link a child; then it ends here.
        let cell = Arc::clone(&entry.slot).launch(launch, ctx.cell.clone()).await?;
        self.by_actor.insert(cell.get_id(), id);
        entry.cell = Some(cell);
        Ok(())
    }

    fn request_stop(&mut self, ctx: &SupervisorContext, id: ChildId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.slot.identity().state().set_status(ActorStatus::Stopping, ctx.now());
        entry.slot.stop_reading();
        if let Some(cell) = &entry.cell {
            // A child that has just ended by itself is about to be reported; nothing is lost.
            let _ = cell.send_message(Wake::Stop { by: self.machine.kill_at(id) });
        }
    }

    fn kill(&mut self, id: ChildId, cause: ExitCause) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.slot.mark_killed(cause);
        // A stuck child was not asked to end: its callers get `Crashed`.
        if cause == ExitCause::Killed {
            entry.slot.stop_reading();
            finalize::stop_descendants_reading(entry.slot.as_ref());
        }
        if let Some(cell) = &entry.cell {
            cell.kill();
        }
    }

    fn discard_checkpoint(&mut self, ctx: &SupervisorContext, id: ChildId) {
        let Some(entry) = self.entries.get(&id) else { return };
        entry.slot.discard_checkpoint();
        let identity = entry.slot.identity();
        let crashes = identity.policy().checkpoint_crashes_max;
        let generation = identity.state().generation;
        ctx.env.journal.record(&entry.path, generation, &CheckpointDiscarded { crashes });
    }

    fn record_decision(&mut self, ctx: &SupervisorContext, id: ChildId, record: DecisionRecord) {
        let Some(entry) = self.entries.get(&id) else { return };
        let identity = entry.slot.identity();
        let inputs = DecisionInputs {
            now_ms: millis(record.context.now),
            jitter: record.context.jitter,
            significant_others: record.context.significant_others,
            exit: record.exit,
            history: record.history,
            siblings: record.siblings,
            child: Arc::clone(identity.policy()),
            supervisor: *self.machine.policy(),
        };
        let scope = record.affected.iter().filter_map(|id| self.path(*id)).collect();
        let decided = Decided::new(record.decision, record.budget_used, scope, inputs);
        let generation = {
            let mut state = identity.state();
            state.history = self.machine.history(id).cloned().unwrap_or_default();
            state.generation
        };
        ctx.env.journal.record(&entry.path, generation, &decided);
    }

    /// Records that a planned restart is cancelled. A child that never started has none.
    fn record_cancelled_restart(&self, ctx: &SupervisorContext, id: ChildId, by: RestartCanceller) {
        if self.generation(id).is_some_and(|generation| generation > 0) {
            self.record_event(ctx, id, &RestartCancelled { by });
        }
    }

    /// Publishes the state in which a child has settled, and answers the callers that wait for it.
    fn resolve_waiters(&mut self, ctx: &SupervisorContext, id: ChildId, outcome: ChildOutcome) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.publish_status(ctx, outcome);
        let waiters = std::mem::take(&mut entry.waiters);
        for (command, reply) in waiters {
            match entry.admin_result(command, outcome) {
                Some(answer) => reply.send(answer),
                None => entry.waiters.push((command, reply)),
            }
        }
    }

    /// Moves the deadlines of stops if this process has stood still, and returns by how much they have moved in total.
    fn postpone_stops(&mut self, ctx: &SupervisorContext) -> Duration {
        let postponed = ctx.env.postponed();
        self.machine.postpone_stops(postponed);
        postponed
    }

    /// Schedules a tick for the next deadline. While something stops, it comes for the next look at the clock too.
    fn schedule_tick(&mut self, ctx: &mut SupervisorContext) {
        let mut next = self.machine.next_wake();
        if self.machine.has_stop_deadline() {
            self.stop_watch.get_or_insert_with(|| ctx.env.watch_stop());
            let look = ctx.now().saturating_add(LOOK_INTERVAL);
            next = Some(next.map_or(look, |due| due.min(look)));
        } else {
            self.stop_watch = None;
        }
        match next {
            Some(due) => self.timer.wake_by(ctx, due, SupervisorMessage::Tick),
            None => self.timer.cancel(),
        }
    }
}

impl ChildEntry {
    fn note_exit(&mut self, now: Duration, record: &ExitRecord) {
        self.down_since = Some(now);
        let mut state = self.slot.identity().state();
        state.ready_since = None;
        state.last_error.clone_from(&record.message);
        state.last_error_at = record.message.as_ref().map(|_| now);
        state.next_step.clone_from(&record.next_step);
    }

    /// Publishes in the slot how the child has settled.
    fn publish_status(&mut self, ctx: &SupervisorContext, outcome: ChildOutcome) {
        match outcome {
            ChildOutcome::Running => {}
            ChildOutcome::Restarting(due) | ChildOutcome::Postponed(due) => {
                let mut state = self.slot.identity().state();
                if state.generation > 0 {
                    state.set_status(ActorStatus::Restarting, ctx.now());
                    state.restart_due = Some(due);
                }
            }
            ChildOutcome::Stopped | ChildOutcome::Declined => {
                finalize::finalize_slot(&ctx.env, self.slot.as_ref(), &self.path, ActorStatus::Stopped);
                self.down_since = None;
            }
            ChildOutcome::AddFailed => {
                finalize::finalize_slot(&ctx.env, self.slot.as_ref(), &self.path, ActorStatus::Stopped)
            }
            ChildOutcome::Failed => {
                // The status is set first, so that a reader of the event finds it in the slot.
                self.slot.identity().state().set_status(ActorStatus::Failed, ctx.now());
                self.record_gave_up(ctx);
                finalize::finalize_slot(&ctx.env, self.slot.as_ref(), &self.path, ActorStatus::Failed);
            }
        }
    }

    fn record_gave_up(&self, ctx: &SupervisorContext) {
        let identity = self.slot.identity();
        let (generation, restarts, last_error, next_step) = {
            let state = identity.state();
            (state.generation, state.history.attempts(), state.last_error.clone(), state.next_step.clone())
        };
        let unrecoverable = next_step.is_some();
        let next_step = next_step
            .unwrap_or_else(|| format!("correct the cause, then reset {}, which starts it again", self.path));
        let gave_up = GaveUp { restarts, unrecoverable, last_error, next_step };
        ctx.env.journal.record(&self.path, generation, &gave_up);
    }
}

/// Records why the supervisor ends itself, and returns the reason as a sentence.
fn record_shutdown(ctx: &SupervisorContext, children: &Children, ending: ShutdownReason) -> ShutdownExit {
    let reason = match ending {
        ShutdownReason::Requested => "it was asked to stop".to_owned(),
        ShutdownReason::ChildStartFailed(id) => children.describe(id, "did not start"),
        ShutdownReason::TooManyFailures(id) => children.describe(id, "failed once too often"),
        ShutdownReason::SignificantEnded(id) => {
            if let Some(child) = children.path(id) {
                ctx.record(&AutoShutDown { child });
            }
            return ShutdownExit(children.describe(id, "has ended, and is significant"));
        }
    };
    ctx.record(&Escalated { message: reason.clone() });
    ShutdownExit(reason)
}

/// Returns an address that identifies a slot for as long as it is kept.
fn slot_address(slot: &Arc<dyn AnySlot>) -> usize {
    Arc::as_ptr(slot).addr()
}

fn truncate_to_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}
