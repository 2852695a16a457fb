//! The supervisor: an actor that observes exits, asks the policy, writes the decision down and obeys it.
//!
//! - `roster`: its bookkeeping, pure
//! - `ward`: the children of one incarnation, as the mechanism knows them
//! - `command`: what it can be asked; [`SupervisorHandle`] asks it
//! - [`SupervisorSpec`], [`Child`]: what it is made from; [`SpecError`]: what is wrong with them
//!
//! It never sleeps and never awaits a child in a handler: a delay is a due time and one timer, a stop is a request
//! and a deadline, and whoever waits for an outcome is answered when it is there.

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
pub(crate) use machine::ActorProgress;

use crate::actor::behaviour::{ActorFlow, Behaviour};
use crate::actor::context::Context;
use crate::actor::failure::{Failure, ShutdownExit};
use crate::actor::launch::{OnReady, SpawnArgs};
use crate::actor::panics;
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::exit_record::ExitRecord;
use crate::actor::slot::identity::{ActorKind, ActorStatus};
use crate::events::{ActorStarted, AutoShutDown, Escalated};
use crate::journal::millis;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::TaskResult;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;
use crate::policy::{AbandonedPolicy, Exit, ExitCause, SupervisorPolicy};
use children::Children;
use command::{AdminCommand, AdminResult, SupervisorMessage};
use machine::{ChildId, KillReason, ShutdownReason, SupervisorAction};

/// What every incarnation of a supervisor is made from.
pub(crate) struct Supervisor {
    policy: SupervisorPolicy,
    /// Children that are there from the start, in order.
    initial: Vec<Arc<dyn AnySlot>>,
    /// Children that were added later and come back with it all the same.
    persistent_children: Mutex<Vec<Arc<dyn AnySlot>>>,
    /// Children of the present incarnation, for all to see.
    child_list: Arc<ChildList>,
}

type Ctx = Context<SupervisorMessage>;

impl Behaviour for Supervisor {
    type Message = SupervisorMessage;
    type State = Children;
    type Snapshot = ();

    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Children, Failure> {
        let returning = self.children_to_start();
        self.stop_previous_children(ctx, &returning).await;
        let mut ward = Children::new(self.policy);
        let mut actions = Vec::new();
        let mut listed = Vec::new();
        for slot in returning {
            let path = assign_path(ctx, slot.as_ref())?;
            let policy = Arc::clone(slot.identity().policy());
            // One of its incarnations may be at work yet.
            let is_abandoned = slot.identity().state().abandoned > 0;
            let stays_failed = policy.abandoned == AbandonedPolicy::Fail && is_abandoned;
            let key = ward.machine.register(policy);
            listed.push((key, Arc::clone(&slot)));
            ward.register(key, slot, path);
            if stays_failed {
                actions.extend(ward.machine.mark_failed(key));
            }
        }
        self.child_list.replace(listed.into_iter());
        actions.extend(ward.machine.start_all(ctx.now()));
        self.execute(ctx, &mut ward, actions).await?;
        Ok(ward)
    }

    async fn handle(
        &self,
        ctx: &mut Ctx,
        command: SupervisorMessage,
        ward: &mut Children,
    ) -> Result<ActorFlow, Failure> {
        let actions = match command {
            SupervisorMessage::Add { slot, reply } => self.add(ctx, ward, slot, reply),
            SupervisorMessage::Admin { name, command: order, reply } => {
                ward.run_admin_command(ctx, &name, order, reply)
            }
            SupervisorMessage::ChildReady { key, generation } if ward.generation(key) == Some(generation) => {
                ward.ready(ctx, key)
            }
            SupervisorMessage::ChildReady { .. } => Vec::new(),
            SupervisorMessage::TasksEnded { key, generation, abandoned }
                if ward.generation(key) == Some(generation) =>
            {
                self.finish_exit(ctx, ward, key, abandoned)
            }
            SupervisorMessage::TasksEnded { .. } => Vec::new(),
            SupervisorMessage::Tick => {
                let now = ctx.now();
                ward.timer.clear_due(now);
                ward.machine.tick(now)
            }
        };
        self.execute(ctx, ward, actions).await
    }

    fn snapshot(&self, _: &Children) -> Option<()> {
        None
    }

    async fn stop(&self, ctx: &mut Ctx, ward: &mut Children) -> Result<ActorFlow, Failure> {
        let actions = ward.machine.shut_down(ShutdownReason::Requested, ctx.now());
        self.execute(ctx, ward, actions).await
    }

    async fn child_changed(
        &self,
        ctx: &mut Ctx,
        event: SupervisionEvent,
        ward: &mut Children,
    ) -> Result<ActorFlow, Failure> {
        let actions = match event {
            SupervisionEvent::ActorStarted(cell) => match ward.by_actor.get(&cell.get_id()) {
                Some(&key) if ward.kind(key) == Some(ActorKind::Worker) => ward.ready(ctx, key),
                _ => Vec::new(),
            },
            SupervisionEvent::ActorTerminated(cell, torn, _) => {
                // A killed incarnation hands its state over: dropping it is what tears it down.
                drop(torn);
                self.child_exited(ctx, ward, &cell)
            }
            SupervisionEvent::ActorFailed(cell, _) => self.child_exited(ctx, ward, &cell),
            _ => Vec::new(),
        };
        self.execute(ctx, ward, actions).await
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        self.child_list.slots()
    }
}

impl Supervisor {
    pub(crate) fn new(
        policy: SupervisorPolicy,
        initial: Vec<Arc<dyn AnySlot>>,
        listing: Arc<ChildList>,
    ) -> Self {
        Self { policy, initial, persistent_children: Mutex::default(), child_list: listing }
    }

    fn persistent_children(&self) -> MutexGuard<'_, Vec<Arc<dyn AnySlot>>> {
        self.persistent_children.lock()
    }

    /// The children that every incarnation begins with.
    fn children_to_start(&self) -> Vec<Arc<dyn AnySlot>> {
        self.initial.iter().chain(self.persistent_children().iter()).cloned().collect()
    }

    /// Waits until nothing of an earlier incarnation's children is left, and closes those that do not come back. One that
    /// does not end is cut off. Each stays listed until it is closed: this incarnation may be killed before.
    async fn stop_previous_children(&self, ctx: &Ctx, returning: &[Arc<dyn AnySlot>]) {
        let returning: HashSet<usize> = returning.iter().map(slot_address).collect();
        for (key, slot) in self.child_list.entries() {
            let patience = slot.identity().policy().kill_timeout;
            if timeout(patience, slot.ended()).await.is_err() {
                slot.abandon();
            }
            let returns = returning.contains(&slot_address(&slot));
            if let Some(path) = slot.identity().path() {
                exits::record_orphan_exit(&ctx.env, slot.as_ref(), path).await;
                if !returns {
                    finalize::finalize_slot(&ctx.env, slot.as_ref(), path, ActorStatus::Stopped);
                }
            }
            if !returns {
                self.child_list.remove(key);
            }
            panics::drop_quietly(CallError::Stopped, slot);
        }
    }

    fn add(
        &self,
        ctx: &Ctx,
        ward: &mut Children,
        slot: Arc<dyn AnySlot>,
        reply: Reply<AdminResult>,
    ) -> Vec<SupervisorAction> {
        match self.try_add(ctx, ward, &slot) {
            Ok((key, actions)) => {
                ward.add_waiter(key, AdminCommand::Add, reply);
                actions
            }
            Err(error) => {
                // Messages to it and to those below it may wait already.
                finalize::lay_refused(&ctx.env, ctx.path(), slot.as_ref());
                reply.send(Err(error));
                // What its worker is made from goes with it, and may panic as it does.
                panics::drop_quietly(CallError::Stopped, slot);
                Vec::new()
            }
        }
    }

    fn try_add(
        &self,
        ctx: &Ctx,
        ward: &mut Children,
        slot: &Arc<dyn AnySlot>,
    ) -> Result<(ChildId, Vec<SupervisorAction>), AdminError> {
        let identity = slot.identity();
        ward.check_absent(ctx, identity.name())?;
        spec::check_significance(&self.policy, slot.as_ref())?;
        let path = assign_path(ctx, slot.as_ref())?;
        let admitted = ward.machine.add(Arc::clone(identity.policy()), ctx.now());
        let (key, actions) = admitted
            .map_err(|objection| AdminError::from_rejection(objection, identity.name().to_owned()))?;
        self.child_list.insert(key, Arc::clone(slot));
        ward.register(key, Arc::clone(slot), path);
        if identity.is_persistent() {
            self.persistent_children().push(Arc::clone(slot));
        }
        Ok((key, actions))
    }

    // === exits ===

    /// An incarnation has left; what it owned may still be ending.
    fn child_exited(&self, ctx: &mut Ctx, ward: &mut Children, cell: &ActorCell) -> Vec<SupervisorAction> {
        let Some(key) = ward.by_actor.remove(&cell.get_id()) else { return Vec::new() };
        let Some(charge) = ward.entries.get_mut(&key) else { return Vec::new() };
        charge.cell = None;
        let generation = charge.slot.identity().state().generation;
        // The account stays in the slot until it is told: this supervisor may end before.
        let tasks = charge.slot.take_tasks();
        if tasks.as_ref().is_some_and(JoinSet::is_empty) {
            return self.finish_exit(ctx, ward, key, false);
        }
        let slot = Arc::clone(&charge.slot);
        ctx.spawn(async move {
            // One that was killed before it was ready: ractor tells of it before its state is gone.
            slot.ended().await;
            let mut tasks = tasks.or_else(|| slot.take_tasks()).unwrap_or_default();
            let patience = slot.identity().policy().kill_timeout;
            let abandoned = timeout(patience, tasks.shutdown()).await.is_err();
            SupervisorMessage::TasksEnded { key, generation, abandoned }
        });
        Vec::new()
    }

    /// Nothing of the incarnation is left: its exit is told and decided upon.
    fn finish_exit(
        &self,
        ctx: &Ctx,
        ward: &mut Children,
        key: ChildId,
        abandoned: bool,
    ) -> Vec<SupervisorAction> {
        let Some(charge) = ward.entries.get_mut(&key) else { return Vec::new() };
        // One that was cut off has been told of.
        let unexplained = || ward.machine.is_live(key).then(ExitRecord::unreported);
        let Some(mut record) = charge.slot.take_exit().or_else(unexplained) else { return Vec::new() };
        record.exit.abandoned |= abandoned;
        let now = ctx.now();
        charge.note_exit(now, record.message.as_deref());
        let (cause, declined) = (record.exit.cause, record.declined);
        let unexpected = ward.machine.is_unexpected(key, cause);
        let exit = exits::record_exit(&ctx.env, charge.slot.as_ref(), &charge.path, record, unexpected);
        if declined {
            return ward.machine.declined(key, now);
        }
        let exit = Exit { ready_since: exit.ready_since.map(truncate_to_millis), ..exit };
        ward.machine.exited(key, exit, now, ctx.random_unit())
    }

    /// An incarnation that was killed does not end: it no longer counts.
    fn abandon(&self, ctx: &Ctx, ward: &mut Children, key: ChildId) -> Vec<SupervisorAction> {
        let Some(charge) = ward.entries.get_mut(&key) else { return Vec::new() };
        // One that has ended at the last moment is about to be told of.
        if !charge.slot.abandon() {
            return Vec::new();
        }
        if let Some(cell) = charge.cell.take() {
            ward.by_actor.remove(&cell.get_id());
        }
        self.finish_exit(ctx, ward, key, true)
    }

    // === obeying ===

    async fn execute(
        &self,
        ctx: &mut Ctx,
        ward: &mut Children,
        actions: Vec<SupervisorAction>,
    ) -> Result<ActorFlow, Failure> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                SupervisorAction::Launch { key } => self.launch(ctx, ward, key).await?,
                SupervisorAction::DiscardCheckpoint { key } => ward.discard_checkpoint(ctx, key),
                SupervisorAction::RequestStop { key } => ward.request_stop(ctx, key),
                SupervisorAction::Kill { key, reason: KillReason::Requested } => {
                    ward.kill(key, ExitCause::Killed)
                }
                SupervisorAction::Kill { key, reason: KillReason::Stuck } => ward.kill(key, ExitCause::Stuck),
                SupervisorAction::Inspect { key } => actions.extend(ward.inspect(ctx, key)),
                SupervisorAction::Abandon { key } => actions.extend(self.abandon(ctx, ward, key)),
                SupervisorAction::Record { key, record: decided } => ward.record_decision(ctx, key, *decided),
                SupervisorAction::ResolveWaiters { key, outcome: rest } => {
                    ward.resolve_waiters(ctx, key, rest)
                }
                SupervisorAction::Deregister { key } => self.deregister(ward, key),
                SupervisorAction::Ready => ctx.mark_ready(),
                SupervisorAction::Exit(ShutdownReason::Requested) => return Ok(ActorFlow::Stop),
                SupervisorAction::Exit(ending) => return Err(record_shutdown(ctx, ward, ending).into()),
            }
        }
        ward.schedule_tick(ctx);
        Ok(ActorFlow::Continue)
    }

    async fn launch(&self, ctx: &mut Ctx, ward: &mut Children, key: ChildId) -> Result<(), Failure> {
        let Some(charge) = ward.entries.get_mut(&key) else { return Ok(()) };
        let now = ctx.now();
        let identity = charge.slot.identity();
        let generation = {
            let mut standing = identity.state();
            standing.set_status(ActorStatus::Starting, now);
            standing.generation += 1;
            standing.restarts += u64::from(charge.down_since.is_some());
            standing.generation
        };
        charge.slot.open();
        ctx.env.journal.record(&charge.path, generation, &ActorStarted {});
        let (mailbox, own) = (Arc::clone(&ctx.mailbox), ctx.generation);
        let on_ready = (identity.kind() == ActorKind::Supervisor).then(|| -> OnReady {
            Box::new(move || {
                let ready = SupervisorMessage::ChildReady { key, generation };
                // A supervisor that has ended meanwhile has no use for the news.
                drop(mailbox.push_task_result(own, TaskResult::Message(ready)));
            })
        });
        let launch = SpawnArgs {
            env: ctx.env.clone(),
            path: charge.path.clone(),
            generation,
            started_at: now,
            down_since: charge.down_since,
            on_ready,
        };
        // Only a supervisor that is itself being killed cannot link a child; then it ends here.
        let cell = Arc::clone(&charge.slot).launch(launch, ctx.cell.clone()).await?;
        ward.by_actor.insert(cell.get_id(), key);
        charge.cell = Some(cell);
        Ok(())
    }

    fn deregister(&self, ward: &mut Children, key: ChildId) {
        self.child_list.remove(key);
        if let Some(charge) = ward.deregister(key) {
            self.persistent_children().retain(|one| !Arc::ptr_eq(one, &charge));
            charge.drop_checkpoint();
            // What a worker is made from goes with it, and may panic as it does.
            panics::drop_quietly(CallError::Stopped, charge);
        }
    }
}

/// Records why the supervisor ends itself, and says it.
fn record_shutdown(ctx: &Ctx, ward: &Children, ending: ShutdownReason) -> ShutdownExit {
    let reason = match ending {
        ShutdownReason::Requested => "it was asked to".to_owned(),
        ShutdownReason::ChildStartFailed(key) => ward.describe(key, "did not start"),
        ShutdownReason::TooManyFailures(key) => ward.describe(key, "failed once too often"),
        ShutdownReason::SignificantEnded(key) => {
            if let Some(by) = ward.path(key) {
                ctx.record(&AutoShutDown { by });
            }
            return ShutdownExit(ward.describe(key, "has ended, and is significant"));
        }
    };
    ctx.record(&Escalated { reason: reason.clone() });
    ShutdownExit(reason)
}

/// Gives a slot its place below this supervisor.
fn assign_path(ctx: &Ctx, slot: &dyn AnySlot) -> Result<ActorPath, AdminError> {
    let identity = slot.identity();
    let path = ctx.path().child(identity.name()).map_err(SpecError::from)?;
    if !place_at(slot, path.clone()) && identity.path() != Some(&path) {
        return Err(AdminError::AlreadyPresent { path });
    }
    Ok(path)
}

/// Gives a slot and those below it their places; false if it has one.
pub(crate) fn place_at(slot: &dyn AnySlot, path: ActorPath) -> bool {
    if !slot.identity().assign_path(path.clone()) {
        return false;
    }
    for child in slot.children() {
        // A name is checked where it is given, so there is no other case.
        if let Ok(path) = path.child(child.identity().name()) {
            place_at(child.as_ref(), path);
        }
    }
    true
}

/// What tells one slot from another while both are kept.
fn slot_address(slot: &Arc<dyn AnySlot>) -> usize {
    Arc::as_ptr(slot).addr()
}

fn truncate_to_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}
