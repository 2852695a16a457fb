//! The children of one incarnation of a supervisor, as the mechanism knows them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::time::sleep_until;

use super::Ctx;
use super::admin_error::AdminError;
use super::command::{Answer, Order};
use super::rest;
use super::roster::{Action, Key, Objection, Rest, Roster, Ruling};
use crate::actor::context::TaskHandle;
use crate::actor::wake::Wake;
use crate::events::{
    BudgetReset, CheckpointDiscarded, Decided, DecisionInputs, GaveUp, StartOrder, StartOrdered,
};
use crate::journal::{Event, millis};
use crate::messaging::reply::Reply;
use crate::path::ActorPath;
use crate::policy::{ExitCause, SupervisorPolicy};
use crate::slot::any_slot::AnySlot;
use crate::slot::identity::{Kind, Status};

/// See the module.
pub(crate) struct Ward {
    pub(super) roster: Roster,
    pub(super) charges: HashMap<Key, Charge>,
    pub(super) by_actor: HashMap<ActorId, Key>,
    by_name: HashMap<Box<str>, Key>,
    /// The one timer, and when it goes off.
    pub(super) alarm: Option<(Duration, TaskHandle)>,
}

/// One child.
pub(super) struct Charge {
    pub(super) slot: Arc<dyn AnySlot>,
    pub(super) path: ActorPath,
    pub(super) cell: Option<ActorCell>,
    /// When its last incarnation ended, if it did not end by order.
    pub(super) down_since: Option<Duration>,
    /// Whoever waits for it to come to rest.
    waiting: Vec<(Order, Reply<Answer>)>,
}

impl Ward {
    pub(super) fn new(policy: SupervisorPolicy) -> Self {
        Self {
            roster: Roster::new(policy),
            charges: HashMap::new(),
            by_actor: HashMap::new(),
            by_name: HashMap::new(),
            alarm: None,
        }
    }

    pub(super) fn take_in(&mut self, key: Key, slot: Arc<dyn AnySlot>, path: ActorPath) {
        self.by_name.insert(path.name().into(), key);
        let charge = Charge { slot, path, cell: None, down_since: None, waiting: Vec::new() };
        self.charges.insert(key, charge);
    }

    /// Drops a child, and returns its slot.
    pub(super) fn forget(&mut self, key: Key) -> Option<Arc<dyn AnySlot>> {
        let charge = self.charges.remove(&key)?;
        self.by_name.remove(charge.path.name());
        Some(charge.slot)
    }

    pub(super) fn kind(&self, key: Key) -> Option<Kind> {
        self.charges.get(&key).map(|charge| charge.slot.identity().kind())
    }

    pub(super) fn path(&self, key: Key) -> Option<ActorPath> {
        self.charges.get(&key).map(|charge| charge.path.clone())
    }

    /// The child's present or last incarnation.
    pub(super) fn generation(&self, key: Key) -> Option<u64> {
        self.charges.get(&key).map(|charge| charge.slot.identity().standing().generation)
    }

    /// A sentence about a child, with its last word.
    pub(super) fn describe(&self, key: Key, what: &str) -> String {
        let Some(charge) = self.charges.get(&key) else { return what.to_owned() };
        match &charge.slot.identity().standing().last_error {
            Some(error) => format!("{} {what}: {error}", charge.path),
            None => format!("{} {what}", charge.path),
        }
    }

    // === orders ===

    /// Refuses a name that is taken.
    pub(super) fn check_absent(&self, ctx: &Ctx, name: &str) -> Result<(), AdminError> {
        let Some(&key) = self.by_name.get(name) else { return Ok(()) };
        let path = self.path(key).unwrap_or_else(|| ctx.path().clone());
        Err(if self.roster.is_up(key) {
            AdminError::AlreadyRunning { path }
        } else {
            AdminError::AlreadyPresent { path }
        })
    }

    pub(super) fn wait(&mut self, key: Key, order: Order, reply: Reply<Answer>) {
        if let Some(charge) = self.charges.get_mut(&key) {
            // Whoever has given up waiting needs no answer.
            charge.waiting.retain(|(_, reply)| !reply.is_closed());
            charge.waiting.push((order, reply));
        }
    }

    /// Carries out an order about one child.
    pub(super) fn direct(
        &mut self,
        ctx: &Ctx,
        name: &str,
        order: Order,
        reply: Reply<Answer>,
    ) -> Vec<Action> {
        let Some(&key) = self.by_name.get(name) else {
            reply.send(Err(AdminError::NotFound { name: name.to_owned() }));
            return Vec::new();
        };
        let now = ctx.now();
        let actions: Result<Vec<Action>, Objection> = match order {
            Order::Add | Order::Start => {
                let ordered = StartOrdered { order: StartOrder::Start };
                self.roster.start(key, now).inspect(|_| self.tell(ctx, key, &ordered))
            }
            Order::Stop => Ok(self.roster.stop(key, now)),
            Order::Restart => {
                let ordered = StartOrdered { order: StartOrder::Restart };
                self.roster.restart(key, now).inspect(|_| self.tell(ctx, key, &ordered))
            }
            Order::Delete => self.roster.delete(key, now).inspect(|_| self.forget_state(ctx, key)),
            Order::Remove => {
                self.forget_state(ctx, key);
                Ok(self.roster.remove(key, now))
            }
            Order::Reset => self.roster.reset(key, now).inspect(|_| self.forget_history(ctx, key)),
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
                self.wait(key, order, reply);
                actions
            }
        }
    }

    /// What is stored of a child goes when the child is dropped by hand, and only then.
    fn forget_state(&self, ctx: &Ctx, key: Key) {
        if let Some(charge) = self.charges.get(&key) {
            charge.slot.forget_state(&ctx.env);
        }
    }

    fn forget_history(&self, ctx: &Ctx, key: Key) {
        if let Some(charge) = self.charges.get(&key) {
            let mut standing = charge.slot.identity().standing();
            standing.history.reset();
            standing.restarts = 0;
        }
        self.tell(ctx, key, &BudgetReset {});
    }

    /// Records what was ordered by hand, before anything is done about it: decisions are checked against it.
    fn tell<E: Event>(&self, ctx: &Ctx, key: Key, event: &E) {
        if let Some(charge) = self.charges.get(&key) {
            let generation = charge.slot.identity().standing().generation;
            ctx.env.journal.record(&charge.path, generation, event);
        }
    }

    // === observing ===

    pub(super) fn ready(&mut self, ctx: &Ctx, key: Key) -> Vec<Action> {
        let now = ctx.now();
        let actions = self.roster.ready(key, now);
        // One that has been told to end meanwhile is not running any more.
        if !actions.is_empty()
            && let Some(charge) = self.charges.get_mut(&key)
        {
            charge.down_since = None;
            let mut standing = charge.slot.identity().standing();
            standing.become_status(Status::Running, now);
            standing.ready_since = Some(now);
        }
        actions
    }

    pub(super) fn inspect(&mut self, ctx: &Ctx, key: Key) -> Vec<Action> {
        let Some(charge) = self.charges.get(&key) else { return Vec::new() };
        self.roster.inspected(key, charge.slot.progress(), ctx.now())
    }

    // === obeying ===

    pub(super) fn ask_to_stop(&mut self, ctx: &Ctx, key: Key) {
        let Some(charge) = self.charges.get_mut(&key) else { return };
        charge.slot.identity().standing().become_status(Status::Stopping, ctx.now());
        charge.slot.stop_reading();
        if let Some(cell) = &charge.cell {
            // One that has just ended by itself is about to be told of; nothing is lost.
            let _ = cell.send_message(Wake::Stop);
        }
    }

    pub(super) fn kill(&mut self, key: Key, cause: ExitCause) {
        let Some(charge) = self.charges.get_mut(&key) else { return };
        charge.slot.condemn(cause);
        // One that is stuck was not told to end: who waits for it learns that it crashed.
        if cause == ExitCause::Killed {
            charge.slot.stop_reading();
            rest::stop_those_below(charge.slot.as_ref());
        }
        if let Some(cell) = &charge.cell {
            cell.kill();
        }
    }

    pub(super) fn discard_checkpoint(&mut self, ctx: &Ctx, key: Key) {
        let Some(charge) = self.charges.get(&key) else { return };
        charge.slot.discard_checkpoint();
        let identity = charge.slot.identity();
        let crashes = identity.policy().checkpoint_crashes_max;
        let generation = identity.standing().generation;
        ctx.env.journal.record(&charge.path, generation, &CheckpointDiscarded { crashes });
    }

    pub(super) fn record(&mut self, ctx: &Ctx, key: Key, ruling: Ruling) {
        let Some(charge) = self.charges.get(&key) else { return };
        let identity = charge.slot.identity();
        let inputs = DecisionInputs {
            now_ms: millis(ruling.moment.now),
            jitter: ruling.moment.jitter,
            significant_others: ruling.moment.significant_others,
            exit: ruling.exit,
            history: ruling.history,
            siblings: ruling.siblings,
            child: Arc::clone(identity.policy()),
            supervisor: *self.roster.policy(),
        };
        let scope = ruling.scope.iter().filter_map(|key| self.path(*key)).collect();
        let decided = Decided::new(ruling.decision, ruling.budget_used, scope, inputs);
        let generation = {
            let mut standing = identity.standing();
            standing.history = self.roster.history(key).cloned().unwrap_or_default();
            standing.generation
        };
        ctx.env.journal.record(&charge.path, generation, &decided);
    }

    /// A child has come to rest: its slot shows it, and whoever waits learns it.
    pub(super) fn settle(&mut self, ctx: &Ctx, key: Key, rest: Rest) {
        let Some(charge) = self.charges.get_mut(&key) else { return };
        charge.show(ctx, rest);
        let waiting = std::mem::take(&mut charge.waiting);
        for (order, reply) in waiting {
            match charge.outcome(order, rest) {
                Some(answer) => reply.send(answer),
                None => charge.waiting.push((order, reply)),
            }
        }
    }

    /// Keeps one timer, for the next time that something is due.
    pub(super) fn set_alarm(&mut self, ctx: &mut Ctx) {
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
    pub(super) fn note_exit(&mut self, now: Duration, message: Option<&str>) {
        self.down_since = Some(now);
        let mut standing = self.slot.identity().standing();
        standing.ready_since = None;
        standing.last_error = message.map(str::to_owned);
        standing.last_error_at = message.map(|_| now);
    }

    /// Lets the slot show how the child has come to rest.
    fn show(&mut self, ctx: &Ctx, rest: Rest) {
        match rest {
            Rest::Running => {}
            Rest::Restarting(due) | Rest::Postponed(due) => {
                let mut standing = self.slot.identity().standing();
                if standing.generation > 0 {
                    standing.become_status(Status::Restarting, ctx.now());
                    standing.restart_due = Some(due);
                }
            }
            Rest::Stopped | Rest::Declined => {
                rest::lay(&ctx.env, self.slot.as_ref(), &self.path, Status::Stopped);
                self.down_since = None;
            }
            Rest::Refused => rest::lay(&ctx.env, self.slot.as_ref(), &self.path, Status::Stopped),
            Rest::Failed => {
                // Whoever reads the event and looks at the slot then sees what it says.
                self.slot.identity().standing().become_status(Status::Failed, ctx.now());
                self.tell_that_it_gave_up(ctx);
                rest::lay(&ctx.env, self.slot.as_ref(), &self.path, Status::Failed);
            }
        }
    }

    /// What whoever gave `order` learns when the child has come to `rest`; `None` while that is still open.
    fn outcome(&self, order: Order, rest: Rest) -> Option<Answer> {
        let to_end = matches!(order, Order::Stop | Order::Delete | Order::Remove);
        match rest {
            Rest::Postponed(_) => None,
            // A child that runs again had ended before.
            Rest::Running | Rest::Declined => Some(Ok(())),
            _ if to_end => Some(Ok(())),
            Rest::Stopped => Some(Err(AdminError::Superseded { name: self.path.name().to_owned() })),
            Rest::Restarting(_) | Rest::Refused | Rest::Failed => Some(Err(self.failed_to_start())),
        }
    }

    fn failed_to_start(&self) -> AdminError {
        let last_error = self.slot.identity().standing().last_error.clone();
        AdminError::StartFailed {
            name: self.path.name().to_owned(),
            message: last_error.unwrap_or_else(|| "it ended before it was ready".to_owned()),
        }
    }

    fn tell_that_it_gave_up(&self, ctx: &Ctx) {
        let identity = self.slot.identity();
        let (generation, restarts, last_error) = {
            let standing = identity.standing();
            (standing.generation, standing.history.attempts(), standing.last_error.clone())
        };
        let next_step = format!("it stays failed until {} is reset", self.path);
        ctx.env.journal.record(&self.path, generation, &GaveUp { restarts, last_error, next_step });
    }
}
