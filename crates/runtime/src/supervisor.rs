//! The supervisor: an actor that observes exits, asks the policy, writes the decision down and obeys it.
//!
//! - `roster`: its bookkeeping, pure
//! - `command`: what it can be asked; [`SupervisorHandle`] asks it
//! - `exits`, `rest`: what is told of those that ended, and of what they leave behind
//! - [`SupervisorSpec`], [`Child`]: what it is made from
//!
//! It never sleeps and never awaits a child in a handler: a delay is a due time and one timer, a stop is a request
//! and a deadline, and whoever waits for an outcome is answered when it is there.

mod admin_error;
mod admission;
mod command;
pub(crate) mod exits;
mod handle;
mod listing;
pub(crate) mod rest;
mod roster;
mod spec;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, SupervisionEvent};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

pub use admin_error::AdminError;
pub use handle::SupervisorHandle;
pub use spec::{Child, SupervisorSpec};

pub(crate) use command::{Answer, Command, Order};
pub(crate) use listing::Listing;

use crate::actor::behaviour::{Behaviour, Flow};
use crate::actor::context::{Context, TaskHandle};
use crate::actor::failure::Failure;
use crate::actor::launch::{Launch, OnReady};
use crate::actor::panics;
use crate::actor::wake::Wake;
use crate::events::{ActorStarted, CheckpointDiscarded, Decided, DecisionInputs, Escalated, GaveUp};
use crate::journal::millis;
use crate::messaging::call_error::CallError;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;
use crate::policy::{Exit, SupervisorPolicy};
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::{Kind, Status};
use roster::{Action, Key, Objection, Rest, Roster, Ruling};

/// What every incarnation of a supervisor is made from.
pub(crate) struct Supervisor {
    policy: SupervisorPolicy,
    /// Children that are there from the start, in order.
    initial: Vec<Arc<dyn AnySlot>>,
    /// Children of the present incarnation, for all to see.
    listing: Arc<Listing>,
}

/// The state of one incarnation of a supervisor.
pub(crate) struct Ward {
    roster: Roster,
    wards: HashMap<Key, Charge>,
    by_name: HashMap<String, Key>,
    by_actor: HashMap<ActorId, Key>,
    alarm: Option<(Duration, TaskHandle)>,
}

/// One child, as the mechanism knows it.
struct Charge {
    slot: Arc<dyn AnySlot>,
    path: ActorPath,
    cell: Option<ActorCell>,
    /// When its last incarnation ended, if it did not end by order.
    down_since: Option<Duration>,
    /// Whoever waits for it to come to rest.
    waiting: Vec<Reply<Answer>>,
    last_error: Option<String>,
}

type Ctx = Context<Command>;

impl Behaviour for Supervisor {
    type Message = Command;
    type State = Ward;
    type Snapshot = ();

    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Ward, Failure> {
        self.clear_predecessor(ctx).await;
        let mut ward = Ward {
            roster: Roster::new(self.policy),
            wards: HashMap::new(),
            by_name: HashMap::new(),
            by_actor: HashMap::new(),
            alarm: None,
        };
        for slot in &self.initial {
            let path = place(ctx, slot.as_ref())?;
            let key = ward.roster.enlist(*slot.identity().policy());
            self.take_in(&mut ward, key, Arc::clone(slot), path);
        }
        let actions = ward.roster.come_up();
        self.obey(ctx, &mut ward, actions).await?;
        Ok(ward)
    }

    async fn handle(&self, ctx: &mut Ctx, command: Command, ward: &mut Ward) -> Result<Flow, Failure> {
        let actions = match command {
            Command::Add { slot, reply } => self.add(ctx, ward, slot, reply),
            Command::Direct { name, order, reply } => direct(ctx, ward, &name, order, reply),
            Command::ChildReady { key, generation } => {
                let current = ward.wards.get(&key).map(|charge| charge.slot.identity().standing().generation);
                if current == Some(generation) { self.ready(ctx, ward, key) } else { Vec::new() }
            }
            Command::TornDown { key } => self.exited(ctx, ward, key),
        };
        self.obey(ctx, ward, actions).await
    }

    fn snapshot(&self, _: &Ward) -> Option<()> {
        None
    }

    async fn stop(&self, ctx: &mut Ctx, ward: &mut Ward) -> Result<Flow, Failure> {
        let actions = ward.roster.shut_down(None, ctx.now());
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
                Some(&key) if ward.kind(key) == Some(Kind::Worker) => self.ready(ctx, ward, key),
                _ => Vec::new(),
            },
            SupervisionEvent::ActorTerminated(cell, torn, _) => {
                // A killed incarnation hands its state over: dropping it is what tears it down.
                panics::drop_quietly(CallError::Crashed, torn);
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
        Self { policy, initial, listing }
    }

    /// Waits until nothing of an earlier incarnation's children is left, and closes what it had added.
    async fn clear_predecessor(&self, ctx: &Ctx) {
        for slot in self.listing.take() {
            let initial = self.initial.iter().any(|one| Arc::ptr_eq(one, &slot));
            if let Some(path) = slot.identity().path() {
                exits::tell_of_orphan(&ctx.env, slot.as_ref(), path).await;
                if !initial {
                    rest::lay(&ctx.env, slot.as_ref(), path, Status::Stopped);
                }
            }
            panics::drop_quietly(CallError::Stopped, slot);
        }
    }

    fn take_in(&self, ward: &mut Ward, key: Key, slot: Arc<dyn AnySlot>, path: ActorPath) {
        self.listing.insert(key, Arc::clone(&slot));
        ward.by_name.insert(path.name().to_owned(), key);
        let charge =
            Charge { slot, path, cell: None, down_since: None, waiting: Vec::new(), last_error: None };
        ward.wards.insert(key, charge);
    }

    fn add(&self, ctx: &Ctx, ward: &mut Ward, slot: Arc<dyn AnySlot>, reply: Reply<Answer>) -> Vec<Action> {
        let name = slot.identity().name().to_owned();
        if ward.by_name.contains_key(&name) {
            return refuse(slot, reply, AdminError::AlreadyPresent { name });
        }
        let path = match place(ctx, slot.as_ref()) {
            Ok(path) => path,
            Err(error) => return refuse(slot, reply, error),
        };
        match ward.roster.add(*slot.identity().policy()) {
            Err(objection) => refuse(slot, reply, AdminError::from_objection(objection, name)),
            Ok((key, actions)) => {
                self.take_in(ward, key, slot, path);
                ward.wait(key, reply);
                actions
            }
        }
    }

    fn ready(&self, ctx: &Ctx, ward: &mut Ward, key: Key) -> Vec<Action> {
        if let Some(charge) = ward.wards.get_mut(&key) {
            charge.down_since = None;
            let now = ctx.now();
            let mut standing = charge.slot.identity().standing();
            standing.become_status(Status::Running, now);
            standing.ready_since = Some(now);
        }
        ward.roster.ready(key)
    }

    /// An incarnation has left; what it owned may still be ending.
    fn left(&self, ctx: &mut Ctx, ward: &mut Ward, cell: &ActorCell) -> Vec<Action> {
        let Some(key) = ward.by_actor.remove(&cell.get_id()) else { return Vec::new() };
        let Some(charge) = ward.wards.get_mut(&key) else { return Vec::new() };
        charge.cell = None;
        // The account stays in the slot until it is told: this supervisor may end before.
        let tasks = charge.slot.take_tasks();
        if tasks.as_ref().is_some_and(JoinSet::is_empty) {
            return self.exited(ctx, ward, key);
        }
        let slot = Arc::clone(&charge.slot);
        ctx.spawn(async move {
            // One that was killed before it was ready: ractor tells of it before its state is gone.
            slot.vacated().await;
            let mut tasks = tasks.or_else(|| slot.take_tasks()).unwrap_or_default();
            tasks.shutdown().await;
            Command::TornDown { key }
        });
        Vec::new()
    }

    /// Nothing of the incarnation is left: its exit is told and decided upon.
    fn exited(&self, ctx: &Ctx, ward: &mut Ward, key: Key) -> Vec<Action> {
        let Some(charge) = ward.wards.get_mut(&key) else { return Vec::new() };
        let record = charge.slot.take_exit().unwrap_or_else(ExitRecord::unexplained);
        let now = ctx.now();
        {
            let mut standing = charge.slot.identity().standing();
            standing.ready_since = None;
            standing.last_error.clone_from(&record.message);
        }
        charge.down_since = Some(now);
        charge.last_error.clone_from(&record.message);
        let exit = exits::tell(&ctx.env, charge.slot.as_ref(), &charge.path, record);
        let exit = Exit { ready_since: exit.ready_since.map(whole_millis), ..exit };
        ward.roster.exited(key, exit, now, ctx.random_unit())
    }

    // === obeying ===

    async fn obey(&self, ctx: &mut Ctx, ward: &mut Ward, actions: Vec<Action>) -> Result<Flow, Failure> {
        for action in actions {
            match action {
                Action::Launch { key } => self.launch(ctx, ward, key).await?,
                Action::DiscardCheckpoint { key } => ward.discard_checkpoint(ctx, key),
                Action::AskToStop { key } => ward.ask_to_stop(ctx, key),
                Action::Kill { key } => ward.kill(key),
                Action::Record { key, decided } => ward.record(ctx, key, *decided),
                Action::Settle { key, rest } => ward.settle(ctx, key, rest),
                Action::Forget { key } => self.forget(ward, key),
                Action::ComeUp => ctx.become_ready(),
                Action::Finish(None) => return Ok(Flow::Stop),
                Action::Finish(Some(reason)) => {
                    ctx.record(&Escalated { reason: reason.clone() });
                    return Err(reason.into());
                }
            }
        }
        ward.set_alarm(ctx);
        Ok(Flow::Continue)
    }

    async fn launch(&self, ctx: &mut Ctx, ward: &mut Ward, key: Key) -> Result<(), Failure> {
        let Some(charge) = ward.wards.get_mut(&key) else { return Ok(()) };
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
                drop(mailbox.push_own(own, crate::messaging::mailbox::Own::Message(ready)));
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
        if let Some(charge) = ward.wards.remove(&key) {
            ward.by_name.remove(charge.path.name());
            // What a worker is made from goes with it, and may panic as it does.
            panics::drop_quietly(CallError::Stopped, charge);
        }
    }
}

impl Ward {
    fn kind(&self, key: Key) -> Option<Kind> {
        self.wards.get(&key).map(|charge| charge.slot.identity().kind())
    }

    fn wait(&mut self, key: Key, reply: Reply<Answer>) {
        if let Some(charge) = self.wards.get_mut(&key) {
            charge.waiting.push(reply);
        }
    }

    fn ask_to_stop(&mut self, ctx: &Ctx, key: Key) {
        let Some(charge) = self.wards.get_mut(&key) else { return };
        charge.slot.identity().standing().become_status(Status::Stopping, ctx.now());
        charge.slot.stop_reading();
        if let Some(cell) = &charge.cell {
            // One that has just ended by itself is about to be told of; nothing is lost.
            let _ = cell.send_message(Wake::Stop);
        }
    }

    fn kill(&mut self, key: Key) {
        if let Some(charge) = self.wards.get_mut(&key) {
            charge.slot.stop_reading();
            rest::stop_those_below(charge.slot.as_ref());
            if let Some(cell) = &charge.cell {
                cell.kill();
            }
        }
    }

    fn discard_checkpoint(&mut self, ctx: &Ctx, key: Key) {
        let Some(charge) = self.wards.get(&key) else { return };
        charge.slot.discard_checkpoint();
        let identity = charge.slot.identity();
        let crashes = identity.policy().checkpoint_crashes_max;
        let generation = identity.standing().generation;
        ctx.env.journal.record(&charge.path, generation, &CheckpointDiscarded { crashes });
    }

    fn record(&mut self, ctx: &Ctx, key: Key, ruling: Ruling) {
        let Some(charge) = self.wards.get(&key) else { return };
        let identity = charge.slot.identity();
        let inputs = DecisionInputs {
            now_ms: millis(ruling.now),
            jitter: ruling.jitter,
            exit: ruling.exit,
            history: ruling.history,
            siblings: ruling.siblings,
            child: *identity.policy(),
            supervisor: *self.roster.policy(),
        };
        let scope = vec![charge.path.clone()];
        let decided = Decided::new(ruling.decision, ruling.budget_used, scope, inputs);
        let generation = {
            let mut standing = identity.standing();
            standing.history = self.roster.history(key).cloned().unwrap_or_default();
            standing.generation
        };
        ctx.env.journal.record(&charge.path, generation, &decided);
    }

    /// A child has come to rest: its slot shows it, and whoever waits learns it.
    fn settle(&mut self, ctx: &Ctx, key: Key, rest: Rest) {
        let Some(charge) = self.wards.get_mut(&key) else { return };
        let answer = match rest {
            Rest::Running => Ok(()),
            Rest::Restarting(due) => {
                let mut standing = charge.slot.identity().standing();
                standing.become_status(Status::Restarting, ctx.now());
                standing.restart_due = Some(due);
                drop(standing);
                Err(charge.failed_to_start())
            }
            Rest::Stopped => {
                rest::lay(&ctx.env, charge.slot.as_ref(), &charge.path, Status::Stopped);
                charge.down_since = None;
                Ok(())
            }
            Rest::Refused => {
                rest::lay(&ctx.env, charge.slot.as_ref(), &charge.path, Status::Stopped);
                Err(charge.failed_to_start())
            }
            Rest::Failed => {
                charge.tell_that_it_gave_up(ctx);
                rest::lay(&ctx.env, charge.slot.as_ref(), &charge.path, Status::Failed);
                Err(charge.failed_to_start())
            }
        };
        for reply in charge.waiting.drain(..) {
            reply.send(answer.clone());
        }
    }

    /// Keeps one timer, for the next time that something is due.
    fn set_alarm(&mut self, ctx: &mut Ctx) {
        let due = self.roster.next_wake();
        if self.alarm.as_ref().map(|(at, _)| *at) == due {
            return;
        }
        if let Some((_, timer)) = self.alarm.take() {
            timer.abort();
        }
        let Some(due) = due else { return };
        let (at, cell) = (ctx.env.instant(due), ctx.cell.clone());
        let timer = ctx.spawn_maybe(async move {
            sleep_until(at).await;
            // A supervisor that has ended needs no alarm.
            let _ = cell.send_message(Wake::Tick);
            None
        });
        self.alarm = Some((due, timer));
    }
}

impl Charge {
    fn failed_to_start(&self) -> AdminError {
        AdminError::StartFailed {
            name: self.path.name().to_owned(),
            message: self.last_error.clone().unwrap_or_else(|| "it ended before it was ready".to_owned()),
        }
    }

    fn tell_that_it_gave_up(&self, ctx: &Ctx) {
        let identity = self.slot.identity();
        let (generation, restarts) = {
            let standing = identity.standing();
            (standing.generation, standing.history.attempts())
        };
        let gave_up = GaveUp {
            restarts,
            last_error: self.last_error.clone(),
            next_step: format!("it stays failed until {} is reset", self.path),
        };
        ctx.env.journal.record(&self.path, generation, &gave_up);
    }
}

/// Does not take a slot in. What its worker is made from goes with it, and may panic as it does.
fn refuse(slot: Arc<dyn AnySlot>, reply: Reply<Answer>, error: AdminError) -> Vec<Action> {
    reply.send(Err(error));
    panics::drop_quietly(CallError::Stopped, slot);
    Vec::new()
}

/// Gives a slot its place below this supervisor.
fn place(ctx: &Ctx, slot: &dyn AnySlot) -> Result<ActorPath, AdminError> {
    let identity = slot.identity();
    let path = ctx.path().child(identity.name())?;
    if !identity.place(path.clone()) && identity.path() != Some(&path) {
        return Err(AdminError::AlreadyPresent { name: identity.name().to_owned() });
    }
    Ok(path)
}

/// Carries out an order about one child.
fn direct(ctx: &Ctx, ward: &mut Ward, name: &str, order: Order, reply: Reply<Answer>) -> Vec<Action> {
    let Some(&key) = ward.by_name.get(name) else {
        reply.send(Err(AdminError::NotFound { name: name.to_owned() }));
        return Vec::new();
    };
    let now = ctx.now();
    let actions: Result<Vec<Action>, Objection> = match order {
        Order::Stop => Ok(ward.roster.stop(key, now)),
        Order::Start => ward.roster.start(key),
        Order::Restart => ward.roster.restart(key, now),
        Order::Remove => Ok(ward.roster.remove(key, now)),
        Order::Reset => ward.roster.reset(key).inspect(|_| ward.forget_history(key)),
    };
    match actions {
        Err(objection) => {
            reply.send(Err(AdminError::from_objection(objection, name.to_owned())));
            Vec::new()
        }
        Ok(actions) if actions.is_empty() && order == Order::Reset => {
            reply.send(Ok(()));
            actions
        }
        Ok(actions) => {
            ward.wait(key, reply);
            actions
        }
    }
}

impl Ward {
    fn forget_history(&mut self, key: Key) {
        if let Some(charge) = self.wards.get(&key) {
            let mut standing = charge.slot.identity().standing();
            standing.history.reset();
            standing.restarts = 0;
        }
    }
}

fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}
