//! The children of one incarnation of a supervisor, as the mechanism knows them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId};

use super::Ctx;
use super::admin_error::AdminError;
use super::command::{AdminCommand, AdminResult, SupervisorMessage};
use super::finalize;
use super::machine::{ChildId, ChildOutcome, CommandRejection, DecisionRecord, Machine, SupervisorAction};
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::identity::{ActorKind, ActorStatus};
use crate::actor::timer::Timer;
use crate::actor::wake::Wake;
use crate::events::{
    BudgetReset, CheckpointDiscarded, Decided, DecisionInputs, GaveUp, StartOrder, StartOrdered,
};
use crate::journal::{Event, millis};
use crate::messaging::reply::Reply;
use crate::path::ActorPath;
use crate::policy::{ExitCause, SupervisorPolicy};

/// See the module.
pub(crate) struct Children {
    pub(super) machine: Machine,
    pub(super) entries: HashMap<ChildId, ChildEntry>,
    pub(super) by_actor: HashMap<ActorId, ChildId>,
    by_name: HashMap<Box<str>, ChildId>,
    /// For the next time that something is due.
    pub(super) timer: Timer,
}

/// One child.
pub(super) struct ChildEntry {
    pub(super) slot: Arc<dyn AnySlot>,
    pub(super) path: ActorPath,
    pub(super) cell: Option<ActorCell>,
    /// When its last incarnation ended, if it did not end by order.
    pub(super) down_since: Option<Duration>,
    /// Whoever waits for it to come to rest.
    waiters: Vec<(AdminCommand, Reply<AdminResult>)>,
}

impl Children {
    pub(super) fn new(policy: SupervisorPolicy) -> Self {
        Self {
            machine: Machine::new(policy),
            entries: HashMap::new(),
            by_actor: HashMap::new(),
            by_name: HashMap::new(),
            timer: Timer::default(),
        }
    }

    pub(super) fn register(&mut self, key: ChildId, slot: Arc<dyn AnySlot>, path: ActorPath) {
        self.by_name.insert(path.name().into(), key);
        let charge = ChildEntry { slot, path, cell: None, down_since: None, waiters: Vec::new() };
        self.entries.insert(key, charge);
    }

    /// Drops a child, and returns its slot.
    pub(super) fn deregister(&mut self, key: ChildId) -> Option<Arc<dyn AnySlot>> {
        let charge = self.entries.remove(&key)?;
        self.by_name.remove(charge.path.name());
        Some(charge.slot)
    }

    pub(super) fn kind(&self, key: ChildId) -> Option<ActorKind> {
        self.entries.get(&key).map(|charge| charge.slot.identity().kind())
    }

    pub(super) fn path(&self, key: ChildId) -> Option<ActorPath> {
        self.entries.get(&key).map(|charge| charge.path.clone())
    }

    /// The child's present or last incarnation.
    pub(super) fn generation(&self, key: ChildId) -> Option<u64> {
        self.entries.get(&key).map(|charge| charge.slot.identity().state().generation)
    }

    /// A sentence about a child, with its last word.
    pub(super) fn describe(&self, key: ChildId, what: &str) -> String {
        let Some(charge) = self.entries.get(&key) else { return what.to_owned() };
        match &charge.slot.identity().state().last_error {
            Some(error) => format!("{} {what}: {error}", charge.path),
            None => format!("{} {what}", charge.path),
        }
    }

    // === orders ===

    /// Refuses a name that is taken.
    pub(super) fn check_absent(&self, ctx: &Ctx, name: &str) -> Result<(), AdminError> {
        let Some(&key) = self.by_name.get(name) else { return Ok(()) };
        let path = self.path(key).unwrap_or_else(|| ctx.path().clone());
        Err(if self.machine.is_started(key) {
            AdminError::AlreadyRunning { path }
        } else {
            AdminError::AlreadyPresent { path }
        })
    }

    pub(super) fn add_waiter(&mut self, key: ChildId, order: AdminCommand, reply: Reply<AdminResult>) {
        if let Some(charge) = self.entries.get_mut(&key) {
            // Whoever has given up waiting needs no answer.
            charge.waiters.retain(|(_, reply)| !reply.is_closed());
            charge.waiters.push((order, reply));
        }
    }

    /// Carries out an order about one child.
    pub(super) fn run_admin_command(
        &mut self,
        ctx: &Ctx,
        name: &str,
        order: AdminCommand,
        reply: Reply<AdminResult>,
    ) -> Vec<SupervisorAction> {
        let Some(&key) = self.by_name.get(name) else {
            reply.send(Err(AdminError::NotFound { name: name.to_owned() }));
            return Vec::new();
        };
        let now = ctx.now();
        let actions: Result<Vec<SupervisorAction>, CommandRejection> = match order {
            AdminCommand::Add | AdminCommand::Start => {
                let ordered = StartOrdered { order: StartOrder::Start };
                self.machine.start(key, now).inspect(|_| self.record_event(ctx, key, &ordered))
            }
            AdminCommand::Stop => Ok(self.machine.stop(key, now)),
            AdminCommand::Restart => {
                let ordered = StartOrdered { order: StartOrder::Restart };
                self.machine.restart(key, now).inspect(|_| self.record_event(ctx, key, &ordered))
            }
            AdminCommand::Delete => {
                self.machine.delete(key, now).inspect(|_| self.delete_stored_state(ctx, key))
            }
            AdminCommand::Remove => {
                self.delete_stored_state(ctx, key);
                Ok(self.machine.remove(key, now))
            }
            AdminCommand::Reset => self.machine.reset(key, now).inspect(|_| self.reset_history(ctx, key)),
        };
        match actions {
            Err(objection) => {
                reply.send(Err(AdminError::from_rejection(objection, name.to_owned())));
                Vec::new()
            }
            Ok(actions) if actions.is_empty() && order == AdminCommand::Reset => {
                reply.send(Ok(()));
                actions
            }
            Ok(actions) => {
                self.add_waiter(key, order, reply);
                actions
            }
        }
    }

    /// What is stored of a child goes when the child is dropped by hand, and only then.
    fn delete_stored_state(&self, ctx: &Ctx, key: ChildId) {
        if let Some(charge) = self.entries.get(&key) {
            charge.slot.delete_stored_state(&ctx.env);
        }
    }

    fn reset_history(&self, ctx: &Ctx, key: ChildId) {
        if let Some(charge) = self.entries.get(&key) {
            let mut standing = charge.slot.identity().state();
            standing.history.reset();
            standing.restarts = 0;
        }
        self.record_event(ctx, key, &BudgetReset {});
    }

    /// Records what was ordered by hand, before anything is done about it: decisions are checked against it.
    fn record_event<E: Event>(&self, ctx: &Ctx, key: ChildId, event: &E) {
        if let Some(charge) = self.entries.get(&key) {
            let generation = charge.slot.identity().state().generation;
            ctx.env.journal.record(&charge.path, generation, event);
        }
    }

    // === observing ===

    pub(super) fn ready(&mut self, ctx: &Ctx, key: ChildId) -> Vec<SupervisorAction> {
        let now = ctx.now();
        let actions = self.machine.ready(key, now);
        // One that has been told to end meanwhile is not running any more.
        if !actions.is_empty()
            && let Some(charge) = self.entries.get_mut(&key)
        {
            charge.down_since = None;
            let mut standing = charge.slot.identity().state();
            standing.set_status(ActorStatus::Running, now);
            standing.ready_since = Some(now);
        }
        actions
    }

    pub(super) fn inspect(&mut self, ctx: &Ctx, key: ChildId) -> Vec<SupervisorAction> {
        let Some(charge) = self.entries.get(&key) else { return Vec::new() };
        self.machine.inspected(key, charge.slot.progress(), ctx.now())
    }

    // === obeying ===

    pub(super) fn request_stop(&mut self, ctx: &Ctx, key: ChildId) {
        let Some(charge) = self.entries.get_mut(&key) else { return };
        charge.slot.identity().state().set_status(ActorStatus::Stopping, ctx.now());
        charge.slot.stop_reading();
        if let Some(cell) = &charge.cell {
            // One that has just ended by itself is about to be told of; nothing is lost.
            let _ = cell.send_message(Wake::Stop);
        }
    }

    pub(super) fn kill(&mut self, key: ChildId, cause: ExitCause) {
        let Some(charge) = self.entries.get_mut(&key) else { return };
        charge.slot.mark_killed(cause);
        // One that is stuck was not told to end: who waits for it learns that it crashed.
        if cause == ExitCause::Killed {
            charge.slot.stop_reading();
            finalize::stop_descendants_reading(charge.slot.as_ref());
        }
        if let Some(cell) = &charge.cell {
            cell.kill();
        }
    }

    pub(super) fn discard_checkpoint(&mut self, ctx: &Ctx, key: ChildId) {
        let Some(charge) = self.entries.get(&key) else { return };
        charge.slot.discard_checkpoint();
        let identity = charge.slot.identity();
        let crashes = identity.policy().checkpoint_crashes_max;
        let generation = identity.state().generation;
        ctx.env.journal.record(&charge.path, generation, &CheckpointDiscarded { crashes });
    }

    pub(super) fn record_decision(&mut self, ctx: &Ctx, key: ChildId, ruling: DecisionRecord) {
        let Some(charge) = self.entries.get(&key) else { return };
        let identity = charge.slot.identity();
        let inputs = DecisionInputs {
            now_ms: millis(ruling.context.now),
            jitter: ruling.context.jitter,
            significant_others: ruling.context.significant_others,
            exit: ruling.exit,
            history: ruling.history,
            siblings: ruling.siblings,
            child: Arc::clone(identity.policy()),
            supervisor: *self.machine.policy(),
        };
        let scope = ruling.affected.iter().filter_map(|key| self.path(*key)).collect();
        let decided = Decided::new(ruling.decision, ruling.budget_used, scope, inputs);
        let generation = {
            let mut standing = identity.state();
            standing.history = self.machine.history(key).cloned().unwrap_or_default();
            standing.generation
        };
        ctx.env.journal.record(&charge.path, generation, &decided);
    }

    /// A child has come to rest: its slot shows it, and whoever waits learns it.
    pub(super) fn resolve_waiters(&mut self, ctx: &Ctx, key: ChildId, rest: ChildOutcome) {
        let Some(charge) = self.entries.get_mut(&key) else { return };
        charge.publish_status(ctx, rest);
        let waiting = std::mem::take(&mut charge.waiters);
        for (order, reply) in waiting {
            match charge.admin_result(order, rest) {
                Some(answer) => reply.send(answer),
                None => charge.waiters.push((order, reply)),
            }
        }
    }

    /// Has the supervisor look again when something is due.
    pub(super) fn schedule_tick(&mut self, ctx: &mut Ctx) {
        match self.machine.next_wake() {
            Some(due) => self.timer.wake_by(ctx, due, SupervisorMessage::Tick),
            None => self.timer.cancel(),
        }
    }
}

impl ChildEntry {
    pub(super) fn note_exit(&mut self, now: Duration, message: Option<&str>) {
        self.down_since = Some(now);
        let mut standing = self.slot.identity().state();
        standing.ready_since = None;
        standing.last_error = message.map(str::to_owned);
        standing.last_error_at = message.map(|_| now);
    }

    /// Lets the slot show how the child has come to rest.
    fn publish_status(&mut self, ctx: &Ctx, rest: ChildOutcome) {
        match rest {
            ChildOutcome::Running => {}
            ChildOutcome::Restarting(due) | ChildOutcome::Postponed(due) => {
                let mut standing = self.slot.identity().state();
                if standing.generation > 0 {
                    standing.set_status(ActorStatus::Restarting, ctx.now());
                    standing.restart_due = Some(due);
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
                // Whoever reads the event and looks at the slot then sees what it says.
                self.slot.identity().state().set_status(ActorStatus::Failed, ctx.now());
                self.record_gave_up(ctx);
                finalize::finalize_slot(&ctx.env, self.slot.as_ref(), &self.path, ActorStatus::Failed);
            }
        }
    }

    /// What whoever gave `order` learns when the child has come to `rest`; `None` while that is still open.
    fn admin_result(&self, order: AdminCommand, rest: ChildOutcome) -> Option<AdminResult> {
        let to_end = matches!(order, AdminCommand::Stop | AdminCommand::Delete | AdminCommand::Remove);
        match rest {
            ChildOutcome::Postponed(_) => None,
            // A child that runs again had ended before.
            ChildOutcome::Running | ChildOutcome::Declined => Some(Ok(())),
            _ if to_end => Some(Ok(())),
            ChildOutcome::Stopped => Some(Err(AdminError::Superseded { name: self.path.name().to_owned() })),
            ChildOutcome::Restarting(_) | ChildOutcome::AddFailed | ChildOutcome::Failed => {
                Some(Err(self.start_failed_error()))
            }
        }
    }

    fn start_failed_error(&self) -> AdminError {
        let last_error = self.slot.identity().state().last_error.clone();
        AdminError::StartFailed {
            name: self.path.name().to_owned(),
            message: last_error.unwrap_or_else(|| "it ended before it was ready".to_owned()),
        }
    }

    fn record_gave_up(&self, ctx: &Ctx) {
        let identity = self.slot.identity();
        let (generation, restarts, last_error) = {
            let standing = identity.state();
            (standing.generation, standing.history.attempts(), standing.last_error.clone())
        };
        let next_step = format!("it stays failed until {} is reset", self.path);
        ctx.env.journal.record(&self.path, generation, &GaveUp { restarts, last_error, next_step });
    }
}
