//! The supervisor: an actor that observes exits, asks the policy, writes the decision down and obeys it.
//!
//! - `roster`: its bookkeeping, pure
//! - `ward`: the children of one incarnation, as the mechanism knows them
//! - `command`: what it can be asked; [`SupervisorHandle`] asks it
//! - [`SupervisorSpec`], [`Child`]: what it is made from; [`SpecError`]: what is wrong with them
//!
//! It never sleeps and never awaits a child in a handler: a delay is a due time and one timer, a stop is a request
//! and a deadline, and whoever waits for an outcome is answered when it is there.

mod admin_error;
mod admission;
mod command;
mod counts;
pub(crate) mod exits;
mod handle;
mod listing;
pub(crate) mod rest;
mod roster;
mod spec;
mod spec_error;
mod ward;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{ActorCell, SupervisionEvent};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use admin_error::AdminError;
pub use counts::Counts;
pub use handle::SupervisorHandle;
pub use spec::{Child, SupervisorSpec};
pub use spec_error::SpecError;

pub(crate) use listing::Listing;
pub(crate) use roster::Progress;

use crate::actor::behaviour::{Behaviour, Flow};
use crate::actor::context::Context;
use crate::actor::failure::{Failure, OwnShutdown};
use crate::actor::launch::{Launch, OnReady};
use crate::actor::panics;
use crate::events::{ActorStarted, AutoShutDown, Escalated};
use crate::journal::millis;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::Own;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;
use crate::policy::{Abandoned, Exit, ExitCause, SupervisorPolicy};
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::{Kind, Status};
use command::{Answer, Command, Order};
use roster::{Action, Ending, Key, Verdict};
use ward::Ward;

/// What every incarnation of a supervisor is made from.
pub(crate) struct Supervisor {
    policy: SupervisorPolicy,
    /// Children that are there from the start, in order.
    initial: Vec<Arc<dyn AnySlot>>,
    /// Children that were added later and come back with it all the same.
    lasting: Mutex<Vec<Arc<dyn AnySlot>>>,
    /// Children of the present incarnation, for all to see.
    listing: Arc<Listing>,
}

type Ctx = Context<Command>;

impl Behaviour for Supervisor {
    type Message = Command;
    type State = Ward;
    type Snapshot = ();

    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Ward, Failure> {
        let returning = self.returning();
        self.clear_predecessor(ctx, &returning).await;
        let mut ward = Ward::new(self.policy);
        let mut actions = Vec::new();
        for slot in returning {
            let path = place(ctx, slot.as_ref())?;
            let policy = Arc::clone(slot.identity().policy());
            // One of its incarnations may be at work yet.
            let is_abandoned = slot.identity().standing().abandoned > 0;
            let stays_failed = policy.abandoned == Abandoned::Fail && is_abandoned;
            let key = ward.roster.enlist(policy);
            self.take_in(&mut ward, key, slot, path);
            if stays_failed {
                actions.extend(ward.roster.fail(key));
            }
        }
        actions.extend(ward.roster.come_up(ctx.now()));
        self.obey(ctx, &mut ward, actions).await?;
        Ok(ward)
    }

    async fn handle(&self, ctx: &mut Ctx, command: Command, ward: &mut Ward) -> Result<Flow, Failure> {
        let actions = match command {
            Command::Add { slot, reply } => self.add(ctx, ward, slot, reply),
            Command::Direct { name, order, reply } => ward.direct(ctx, &name, order, reply),
            Command::ChildReady { key, generation } if ward.generation(key) == Some(generation) => {
                ward.ready(ctx, key)
            }
            Command::ChildReady { .. } => Vec::new(),
            Command::TornDown { key, generation, abandoned } if ward.generation(key) == Some(generation) => {
                self.exited(ctx, ward, key, abandoned)
            }
            Command::TornDown { .. } => Vec::new(),
        };
        self.obey(ctx, ward, actions).await
    }

    fn snapshot(&self, _: &Ward) -> Option<()> {
        None
    }

    async fn stop(&self, ctx: &mut Ctx, ward: &mut Ward) -> Result<Flow, Failure> {
        let actions = ward.roster.shut_down(Ending::Asked, ctx.now());
        self.obey(ctx, ward, actions).await
    }

    async fn tick(&self, ctx: &mut Ctx, ward: &mut Ward) -> Result<Flow, Failure> {
        ward.alarm = None;
        let actions = ward.roster.tick(ctx.now());
        self.obey(ctx, ward, actions).await
    }

    async fn child_changed(
        &self,
        ctx: &mut Ctx,
        event: SupervisionEvent,
        ward: &mut Ward,
    ) -> Result<Flow, Failure> {
        let actions = match event {
            SupervisionEvent::ActorStarted(cell) => match ward.by_actor.get(&cell.get_id()) {
                Some(&key) if ward.kind(key) == Some(Kind::Worker) => ward.ready(ctx, key),
                _ => Vec::new(),
            },
            SupervisionEvent::ActorTerminated(cell, torn, _) => {
                // A killed incarnation hands its state over: dropping it is what tears it down.
                drop(torn);
                self.left(ctx, ward, &cell)
            }
            SupervisionEvent::ActorFailed(cell, _) => self.left(ctx, ward, &cell),
            _ => Vec::new(),
        };
        self.obey(ctx, ward, actions).await
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        self.listing.slots()
    }
}

impl Supervisor {
    pub(crate) fn new(
        policy: SupervisorPolicy,
        initial: Vec<Arc<dyn AnySlot>>,
        listing: Arc<Listing>,
    ) -> Self {
        Self { policy, initial, lasting: Mutex::default(), listing }
    }

    fn lasting(&self) -> MutexGuard<'_, Vec<Arc<dyn AnySlot>>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The children that every incarnation begins with.
    fn returning(&self) -> Vec<Arc<dyn AnySlot>> {
        self.initial.iter().chain(self.lasting().iter()).cloned().collect()
    }

    /// Waits until nothing of an earlier incarnation's children is left, and closes those that do not come back. One that
    /// does not end is cut off.
    async fn clear_predecessor(&self, ctx: &Ctx, returning: &[Arc<dyn AnySlot>]) {
        let returning: HashSet<usize> = returning.iter().map(place_of).collect();
        for slot in self.listing.take() {
            let patience = slot.identity().policy().kill_timeout;
            if timeout(patience, slot.vacated()).await.is_err() {
                slot.cut_off();
            }
            let returns = returning.contains(&place_of(&slot));
            if let Some(path) = slot.identity().path() {
                exits::tell_of_orphan(&ctx.env, slot.as_ref(), path).await;
                if !returns {
                    rest::lay(&ctx.env, slot.as_ref(), path, Status::Stopped);
                }
            }
            panics::drop_quietly(CallError::Stopped, slot);
        }
    }

    fn take_in(&self, ward: &mut Ward, key: Key, slot: Arc<dyn AnySlot>, path: ActorPath) {
        self.listing.insert(key, Arc::clone(&slot));
        ward.take_in(key, slot, path);
    }

    fn add(&self, ctx: &Ctx, ward: &mut Ward, slot: Arc<dyn AnySlot>, reply: Reply<Answer>) -> Vec<Action> {
        match self.admit(ctx, ward, &slot) {
            Ok((key, actions)) => {
                ward.wait(key, Order::Add, reply);
                actions
            }
            Err(error) => {
                reply.send(Err(error));
                // What its worker is made from goes with it, and may panic as it does.
                panics::drop_quietly(CallError::Stopped, slot);
                Vec::new()
            }
        }
    }

    fn admit(
        &self,
        ctx: &Ctx,
        ward: &mut Ward,
        slot: &Arc<dyn AnySlot>,
    ) -> Result<(Key, Vec<Action>), AdminError> {
        let identity = slot.identity();
        ward.check_absent(ctx, identity.name())?;
        spec::check_significance(&self.policy, slot.as_ref())?;
        let path = place(ctx, slot.as_ref())?;
        let admitted = ward.roster.add(Arc::clone(identity.policy()), ctx.now());
        let (key, actions) = admitted
            .map_err(|objection| AdminError::from_objection(objection, identity.name().to_owned()))?;
        self.take_in(ward, key, Arc::clone(slot), path);
        if identity.is_lasting() {
            self.lasting().push(Arc::clone(slot));
        }
        Ok((key, actions))
    }

    // === exits ===

    /// An incarnation has left; what it owned may still be ending.
    fn left(&self, ctx: &mut Ctx, ward: &mut Ward, cell: &ActorCell) -> Vec<Action> {
        let Some(key) = ward.by_actor.remove(&cell.get_id()) else { return Vec::new() };
        let Some(charge) = ward.charges.get_mut(&key) else { return Vec::new() };
        charge.cell = None;
        let generation = charge.slot.identity().standing().generation;
        // The account stays in the slot until it is told: this supervisor may end before.
        let tasks = charge.slot.take_tasks();
        if tasks.as_ref().is_some_and(JoinSet::is_empty) {
            return self.exited(ctx, ward, key, false);
        }
        let slot = Arc::clone(&charge.slot);
        ctx.spawn(async move {
            // One that was killed before it was ready: ractor tells of it before its state is gone.
            slot.vacated().await;
            let mut tasks = tasks.or_else(|| slot.take_tasks()).unwrap_or_default();
            let patience = slot.identity().policy().kill_timeout;
            let abandoned = timeout(patience, tasks.shutdown()).await.is_err();
            Command::TornDown { key, generation, abandoned }
        });
        Vec::new()
    }

    /// Nothing of the incarnation is left: its exit is told and decided upon.
    fn exited(&self, ctx: &Ctx, ward: &mut Ward, key: Key, abandoned: bool) -> Vec<Action> {
        let Some(charge) = ward.charges.get_mut(&key) else { return Vec::new() };
        // One that was cut off has been told of.
        let unexplained = || ward.roster.is_live(key).then(ExitRecord::unexplained);
        let Some(mut record) = charge.slot.take_exit().or_else(unexplained) else { return Vec::new() };
        record.exit.abandoned |= abandoned;
        let now = ctx.now();
        charge.note_exit(now, record.message.as_deref());
        let (cause, declined) = (record.exit.cause, record.declined);
        let unexpected = ward.roster.is_unexpected(key, cause);
        let exit = exits::tell(&ctx.env, charge.slot.as_ref(), &charge.path, record, unexpected);
        if declined {
            return ward.roster.declined(key, now);
        }
        let exit = Exit { ready_since: exit.ready_since.map(whole_millis), ..exit };
        ward.roster.exited(key, exit, now, ctx.random_unit())
    }

    /// An incarnation that was killed does not end: it no longer counts.
    fn cut_off(&self, ctx: &Ctx, ward: &mut Ward, key: Key) -> Vec<Action> {
        let Some(charge) = ward.charges.get_mut(&key) else { return Vec::new() };
        // One that has ended at the last moment is about to be told of.
        if !charge.slot.cut_off() {
            return Vec::new();
        }
        if let Some(cell) = charge.cell.take() {
            ward.by_actor.remove(&cell.get_id());
        }
        self.exited(ctx, ward, key, true)
    }

    // === obeying ===

    async fn obey(&self, ctx: &mut Ctx, ward: &mut Ward, actions: Vec<Action>) -> Result<Flow, Failure> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Launch { key } => self.launch(ctx, ward, key).await?,
                Action::DiscardCheckpoint { key } => ward.discard_checkpoint(ctx, key),
                Action::AskToStop { key } => ward.ask_to_stop(ctx, key),
                Action::Kill { key, verdict: Verdict::Ordered } => ward.kill(key, ExitCause::Killed),
                Action::Kill { key, verdict: Verdict::Stuck } => ward.kill(key, ExitCause::Stuck),
                Action::Inspect { key } => actions.extend(ward.inspect(ctx, key)),
                Action::CutOff { key } => actions.extend(self.cut_off(ctx, ward, key)),
                Action::Record { key, decided } => ward.record(ctx, key, *decided),
                Action::Settle { key, rest } => ward.settle(ctx, key, rest),
                Action::Forget { key } => self.forget(ward, key),
                Action::ComeUp => ctx.become_ready(),
                Action::Finish(Ending::Asked) => return Ok(Flow::Stop),
                Action::Finish(ending) => return Err(tell_why(ctx, ward, ending).into()),
            }
        }
        ward.set_alarm(ctx);
        Ok(Flow::Continue)
    }

    async fn launch(&self, ctx: &mut Ctx, ward: &mut Ward, key: Key) -> Result<(), Failure> {
        let Some(charge) = ward.charges.get_mut(&key) else { return Ok(()) };
        let now = ctx.now();
        let identity = charge.slot.identity();
        let generation = {
            let mut standing = identity.standing();
            standing.become_status(Status::Starting, now);
            standing.generation += 1;
            standing.restarts += u64::from(charge.down_since.is_some());
            standing.generation
        };
        charge.slot.open();
        ctx.env.journal.record(&charge.path, generation, &ActorStarted {});
        let (mailbox, own) = (Arc::clone(&ctx.mailbox), ctx.generation);
        let on_ready = (identity.kind() == Kind::Supervisor).then(|| -> OnReady {
            Box::new(move || {
                let ready = Command::ChildReady { key, generation };
                // A supervisor that has ended meanwhile has no use for the news.
                drop(mailbox.push_own(own, Own::Message(ready)));
            })
        });
        let launch = Launch {
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

    fn forget(&self, ward: &mut Ward, key: Key) {
        self.listing.remove(key);
        if let Some(charge) = ward.forget(key) {
            self.lasting().retain(|one| !Arc::ptr_eq(one, &charge));
            charge.forget_checkpoint();
            // What a worker is made from goes with it, and may panic as it does.
            panics::drop_quietly(CallError::Stopped, charge);
        }
    }
}

/// Records why the supervisor ends itself, and says it.
fn tell_why(ctx: &Ctx, ward: &Ward, ending: Ending) -> OwnShutdown {
    let reason = match ending {
        Ending::Asked => "it was asked to".to_owned(),
        Ending::ChildNotStarted(key) => ward.describe(key, "did not start"),
        Ending::TooManyFailures(key) => ward.describe(key, "failed once too often"),
        Ending::SignificantEnded(key) => {
            if let Some(by) = ward.path(key) {
                ctx.record(&AutoShutDown { by });
            }
            return OwnShutdown(ward.describe(key, "has ended, and is significant"));
        }
    };
    ctx.record(&Escalated { reason: reason.clone() });
    OwnShutdown(reason)
}

/// Gives a slot its place below this supervisor.
fn place(ctx: &Ctx, slot: &dyn AnySlot) -> Result<ActorPath, AdminError> {
    let identity = slot.identity();
    let path = ctx.path().child(identity.name()).map_err(SpecError::from)?;
    if !identity.place(path.clone()) && identity.path() != Some(&path) {
        return Err(AdminError::AlreadyPresent { path });
    }
    Ok(path)
}

/// What tells one slot from another while both are kept.
fn place_of(slot: &Arc<dyn AnySlot>) -> usize {
    Arc::as_ptr(slot).addr()
}

fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}
