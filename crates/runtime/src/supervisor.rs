//! The supervisor: an actor that observes exits, asks the policy, records the decision and carries it out.
//!
//! - `machine`: the pure state machine that says what to do next
//! - `children`: the children of one incarnation: their slots, cells and waiters
//! - `command`: the messages of a supervisor; [`SupervisorHandle`] sends them
//! - [`SupervisorSpec`], [`Child`]: the description of a tree; [`SpecError`]: its faults
//!
//! A handler never sleeps and never awaits a child. A delay is a due time and one timer. A stop is a request and a
//! deadline. A caller that waits for an outcome gets its answer when the outcome is known.

mod add_child;
mod admin_error;
mod child_list;
mod children;
mod command;
mod counts;
pub(crate) mod exits;
pub(crate) mod finalize;
mod handle;
mod machine;
mod spec;
mod spec_error;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use ractor::{ActorCell, SupervisionEvent};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use admin_error::AdminError;
pub use counts::ChildCounts;
pub use handle::SupervisorHandle;
pub use spec::{Child, SupervisorSpec};
pub use spec_error::SpecError;

pub(crate) use child_list::ChildList;

use crate::actor::behaviour::{ActorFlow, Behaviour};
use crate::actor::context::Context;
use crate::actor::failure::{Failure, ShutdownExit};
use crate::actor::launch::{OnReady, SpawnArgs};
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::exit_record::ExitRecord;
use crate::events::{ActorStarted, AutoShutDown, Escalated};
use crate::identity::{ActorKind, ActorStatus};
use crate::journal::millis;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::TaskResult;
use crate::messaging::panics;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;
use crate::policy::{AbandonedPolicy, Exit, ExitCause, SupervisorPolicy};
use children::Children;
use command::{AdminCommand, AdminResult, SupervisorMessage};
use machine::{ChildId, KillReason, ShutdownReason, SupervisorAction};

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

type Ctx = Context<SupervisorMessage>;

impl Behaviour for Supervisor {
    type Message = SupervisorMessage;
    type State = Children;
    type Snapshot = ();

    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Children, Failure> {
        let to_start = self.children_to_start();
        self.stop_previous_children(ctx, &to_start).await;
        let mut children = Children::new(self.policy);
        let mut actions = Vec::new();
        let mut listed = Vec::new();
        for slot in to_start {
            let path = assign_path(ctx, slot.as_ref())?;
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
        ctx: &mut Ctx,
        command: SupervisorMessage,
        children: &mut Children,
    ) -> Result<ActorFlow, Failure> {
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
                self.finish_exit(ctx, children, id, abandoned)
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

    async fn stop(&self, ctx: &mut Ctx, children: &mut Children) -> Result<ActorFlow, Failure> {
        let actions = children.machine.shut_down(ShutdownReason::Requested, ctx.now());
        self.execute(ctx, children, actions).await
    }

    async fn child_changed(
        &self,
        ctx: &mut Ctx,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<ActorFlow, Failure> {
        let actions = match event {
            SupervisionEvent::ActorStarted(cell) => match children.by_actor.get(&cell.get_id()) {
                Some(&id) if children.kind(id) == Some(ActorKind::Worker) => children.ready(ctx, id),
                _ => Vec::new(),
            },
            SupervisionEvent::ActorTerminated(cell, state, _) => {
                // A killed incarnation hands its state over, and dropping that state tears it down.
                drop(state);
                self.child_exited(ctx, children, &cell)
            }
            SupervisionEvent::ActorFailed(cell, _) => self.child_exited(ctx, children, &cell),
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
    async fn stop_previous_children(&self, ctx: &Ctx, to_start: &[Arc<dyn AnySlot>]) {
        let to_start: HashSet<usize> = to_start.iter().map(slot_address).collect();
        for (id, slot) in self.child_list.entries() {
            let limit = slot.identity().policy().kill_timeout;
            if timeout(limit, slot.ended()).await.is_err() {
                slot.abandon();
            }
            let returns = to_start.contains(&slot_address(&slot));
            if let Some(path) = slot.identity().path() {
                exits::record_orphan_exit(&ctx.env, slot.as_ref(), path).await;
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

    fn add(
        &self,
        ctx: &Ctx,
        children: &mut Children,
        slot: Arc<dyn AnySlot>,
        reply: Reply<AdminResult>,
    ) -> Vec<SupervisorAction> {
        match self.try_add(ctx, children, &slot) {
            Ok((id, actions)) => {
                children.add_waiter(id, AdminCommand::Add, reply);
                actions
            }
            Err(error) => {
                // Messages to it and to its descendants may already wait.
                finalize::finalize_refused(&ctx.env, ctx.path(), slot.as_ref());
                reply.send(Err(error));
                // This drops the worker itself, whose destructor may panic.
                panics::drop_quietly(CallError::Stopped, slot);
                Vec::new()
            }
        }
    }

    fn try_add(
        &self,
        ctx: &Ctx,
        children: &mut Children,
        slot: &Arc<dyn AnySlot>,
    ) -> Result<(ChildId, Vec<SupervisorAction>), AdminError> {
        let identity = slot.identity();
        children.check_absent(ctx, identity.name())?;
        spec::check_significance(&self.policy, slot.as_ref())?;
        let path = assign_path(ctx, slot.as_ref())?;
        let added = children.machine.add(Arc::clone(identity.policy()), ctx.now());
        let (id, actions) =
            added.map_err(|rejection| AdminError::from_rejection(rejection, identity.name().to_owned()))?;
        self.child_list.insert(id, Arc::clone(slot));
        children.register(id, Arc::clone(slot), path);
        if identity.is_persistent() {
            self.persistent_children().push(Arc::clone(slot));
        }
        Ok((id, actions))
    }

    // === exits ===

    /// Handles the exit of an incarnation, whose tasks may still be ending.
    fn child_exited(
        &self,
        ctx: &mut Ctx,
        children: &mut Children,
        cell: &ActorCell,
    ) -> Vec<SupervisorAction> {
        let Some(id) = children.by_actor.remove(&cell.get_id()) else { return Vec::new() };
        let Some(entry) = children.entries.get_mut(&id) else { return Vec::new() };
        entry.cell = None;
        let generation = entry.slot.identity().state().generation;
        // The exit record stays in the slot until it is journalled: this supervisor may end before.
        let tasks = entry.slot.take_tasks();
        if tasks.as_ref().is_some_and(JoinSet::is_empty) {
            return self.finish_exit(ctx, children, id, false);
        }
        let slot = Arc::clone(&entry.slot);
        ctx.spawn(async move {
            // ractor reports an actor that was killed in its start before it drops its state.
            slot.ended().await;
            let mut tasks = tasks.or_else(|| slot.take_tasks()).unwrap_or_default();
            let limit = slot.identity().policy().kill_timeout;
            let abandoned = timeout(limit, tasks.shutdown()).await.is_err();
            SupervisorMessage::TasksEnded { id, generation, abandoned }
        });
        Vec::new()
    }

    /// Records the exit of an incarnation of which nothing is left, and decides what follows.
    fn finish_exit(
        &self,
        ctx: &Ctx,
        children: &mut Children,
        id: ChildId,
        abandoned: bool,
    ) -> Vec<SupervisorAction> {
        let Some(entry) = children.entries.get_mut(&id) else { return Vec::new() };
        // An abandoned incarnation has been recorded already.
        let unreported = || children.machine.is_live(id).then(ExitRecord::unreported);
        let Some(mut record) = entry.slot.take_exit().or_else(unreported) else { return Vec::new() };
        record.exit.abandoned |= abandoned;
        let now = ctx.now();
        entry.note_exit(now, record.message.as_deref());
        let (cause, declined) = (record.exit.cause, record.declined);
        let unexpected = children.machine.is_unexpected(id, cause);
        let exit = exits::record_exit(&ctx.env, entry.slot.as_ref(), &entry.path, record, unexpected);
        if declined {
            return children.machine.declined(id, now);
        }
        let exit = Exit { ready_since: exit.ready_since.map(truncate_to_millis), ..exit };
        children.machine.exited(id, exit, now, ctx.random_unit())
    }

    /// Abandons an incarnation that was killed and does not end.
    fn abandon(&self, ctx: &Ctx, children: &mut Children, id: ChildId) -> Vec<SupervisorAction> {
        let Some(entry) = children.entries.get_mut(&id) else { return Vec::new() };
        // It has ended at the last moment, and its exit is about to be reported.
        if !entry.slot.abandon() {
            return Vec::new();
        }
        if let Some(cell) = entry.cell.take() {
            children.by_actor.remove(&cell.get_id());
        }
        self.finish_exit(ctx, children, id, true)
    }

    // === carrying out ===

    async fn execute(
        &self,
        ctx: &mut Ctx,
        children: &mut Children,
        actions: Vec<SupervisorAction>,
    ) -> Result<ActorFlow, Failure> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                SupervisorAction::Launch { id } => self.launch(ctx, children, id).await?,
                SupervisorAction::DiscardCheckpoint { id } => children.discard_checkpoint(ctx, id),
                SupervisorAction::RequestStop { id } => children.request_stop(ctx, id),
                SupervisorAction::Kill { id, reason: KillReason::Requested } => {
                    children.kill(id, ExitCause::Killed)
                }
                SupervisorAction::Kill { id, reason: KillReason::Stuck } => {
                    children.kill(id, ExitCause::Stuck)
                }
                SupervisorAction::Inspect { id } => actions.extend(children.inspect(ctx, id)),
                SupervisorAction::Abandon { id } => actions.extend(self.abandon(ctx, children, id)),
                SupervisorAction::Record { id, record } => children.record_decision(ctx, id, *record),
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

    async fn launch(&self, ctx: &mut Ctx, children: &mut Children, id: ChildId) -> Result<(), Failure> {
        let Some(entry) = children.entries.get_mut(&id) else { return Ok(()) };
        let now = ctx.now();
        let identity = entry.slot.identity();
        let generation = {
            let mut state = identity.state();
            state.set_status(ActorStatus::Starting, now);
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
        children.by_actor.insert(cell.get_id(), id);
        entry.cell = Some(cell);
        Ok(())
    }

    fn deregister(&self, children: &mut Children, id: ChildId) {
        self.child_list.remove(id);
        if let Some(entry) = children.deregister(id) {
            self.persistent_children().retain(|one| !Arc::ptr_eq(one, &entry));
            entry.drop_checkpoint();
            // This drops the worker itself, whose destructor may panic.
            panics::drop_quietly(CallError::Stopped, entry);
        }
    }
}

/// Records why the supervisor ends itself, and returns the reason as a sentence.
fn record_shutdown(ctx: &Ctx, children: &Children, ending: ShutdownReason) -> ShutdownExit {
    let reason = match ending {
        ShutdownReason::Requested => "it was asked to".to_owned(),
        ShutdownReason::ChildStartFailed(id) => children.describe(id, "did not start"),
        ShutdownReason::TooManyFailures(id) => children.describe(id, "failed once too often"),
        ShutdownReason::SignificantEnded(id) => {
            if let Some(by) = children.path(id) {
                ctx.record(&AutoShutDown { by });
            }
            return ShutdownExit(children.describe(id, "has ended, and is significant"));
        }
    };
    ctx.record(&Escalated { reason: reason.clone() });
    ShutdownExit(reason)
}

/// Assigns a slot its path below this supervisor.
fn assign_path(ctx: &Ctx, slot: &dyn AnySlot) -> Result<ActorPath, AdminError> {
    let identity = slot.identity();
    let path = ctx.path().child(identity.name()).map_err(SpecError::from)?;
    if !place_at(slot, path.clone()) && identity.path() != Some(&path) {
        return Err(AdminError::AlreadyPresent { path });
    }
    Ok(path)
}

/// Assigns a slot and its descendants their paths; false if it has one.
pub(crate) fn place_at(slot: &dyn AnySlot, path: ActorPath) -> bool {
    if !slot.identity().assign_path(path.clone()) {
        return false;
    }
    for child in slot.children() {
        // Names are checked when they are given, so there is no other case.
        if let Ok(path) = path.child(child.identity().name()) {
            place_at(child.as_ref(), path);
        }
    }
    true
}

/// Returns an address that identifies a slot for as long as it is kept.
fn slot_address(slot: &Arc<dyn AnySlot>) -> usize {
    Arc::as_ptr(slot).addr()
}

fn truncate_to_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}
