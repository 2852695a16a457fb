//! The children of one incarnation of a supervisor: slots, cells, waiters, and the machine that decides about them.

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
use crate::actor::timer::Timer;
use crate::events::{
    BudgetReset, CheckpointDiscarded, Decided, DecisionInputs, GaveUp, StartOrder, StartOrdered,
};
use crate::identity::{ActorKind, ActorStatus};
use crate::journal::{Event, millis};
use crate::messaging::reply::Reply;
use crate::messaging::wake::Wake;
use crate::path::ActorPath;
use crate::policy::{ExitCause, SupervisorPolicy};

/// The children of one incarnation of a supervisor.
pub(crate) struct Children {
    pub(super) machine: Machine,
    pub(super) entries: HashMap<ChildId, ChildEntry>,
    pub(super) by_actor: HashMap<ActorId, ChildId>,
    by_name: HashMap<Box<str>, ChildId>,
    /// The timer for the next deadline.
    pub(super) timer: Timer,
}

/// One child.
pub(super) struct ChildEntry {
    pub(super) slot: Arc<dyn AnySlot>,
    pub(super) path: ActorPath,
    pub(super) cell: Option<ActorCell>,
    /// The time at which its last incarnation ended, unless a command ended it.
    pub(super) down_since: Option<Duration>,
    /// The callers that wait until the child has settled.
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

    pub(super) fn register(&mut self, id: ChildId, slot: Arc<dyn AnySlot>, path: ActorPath) {
        self.by_name.insert(path.name().into(), id);
        let entry = ChildEntry { slot, path, cell: None, down_since: None, waiters: Vec::new() };
        self.entries.insert(id, entry);
    }

    /// Removes a child, and returns its slot.
    pub(super) fn deregister(&mut self, id: ChildId) -> Option<Arc<dyn AnySlot>> {
        let entry = self.entries.remove(&id)?;
        self.by_name.remove(entry.path.name());
        Some(entry.slot)
    }

    pub(super) fn kind(&self, id: ChildId) -> Option<ActorKind> {
        self.entries.get(&id).map(|entry| entry.slot.identity().kind())
    }

    pub(super) fn path(&self, id: ChildId) -> Option<ActorPath> {
        self.entries.get(&id).map(|entry| entry.path.clone())
    }

    /// Returns the generation of the child's present or last incarnation.
    pub(super) fn generation(&self, id: ChildId) -> Option<u64> {
        self.entries.get(&id).map(|entry| entry.slot.identity().state().generation)
    }

    /// Returns a sentence about a child, with its last error.
    pub(super) fn describe(&self, id: ChildId, what: &str) -> String {
        let Some(entry) = self.entries.get(&id) else { return what.to_owned() };
        match &entry.slot.identity().state().last_error {
            Some(error) => format!("{} {what}: {error}", entry.path),
            None => format!("{} {what}", entry.path),
        }
    }

    // === commands ===

    /// Refuses a name that is taken.
    pub(super) fn check_absent(&self, ctx: &Ctx, name: &str) -> Result<(), AdminError> {
        let Some(&id) = self.by_name.get(name) else { return Ok(()) };
        let path = self.path(id).unwrap_or_else(|| ctx.path().clone());
        Err(if self.machine.is_started(id) {
            AdminError::AlreadyRunning { path }
        } else {
            AdminError::AlreadyPresent { path }
        })
    }

    pub(super) fn add_waiter(&mut self, id: ChildId, command: AdminCommand, reply: Reply<AdminResult>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            // A caller that no longer waits needs no answer.
            entry.waiters.retain(|(_, reply)| !reply.is_closed());
            entry.waiters.push((command, reply));
        }
    }

    /// Carries out a command about one child.
    pub(super) fn run_admin_command(
        &mut self,
        ctx: &Ctx,
        name: &str,
        command: AdminCommand,
        reply: Reply<AdminResult>,
    ) -> Vec<SupervisorAction> {
        let Some(&id) = self.by_name.get(name) else {
            reply.send(Err(AdminError::NotFound { name: name.to_owned() }));
            return Vec::new();
        };
        let now = ctx.now();
        let actions: Result<Vec<SupervisorAction>, CommandRejection> = match command {
            AdminCommand::Add | AdminCommand::Start => {
                let ordered = StartOrdered { order: StartOrder::Start };
                self.machine.start(id, now).inspect(|_| self.record_event(ctx, id, &ordered))
            }
            AdminCommand::Stop => Ok(self.machine.stop(id, now)),
            AdminCommand::Restart => {
                let ordered = StartOrdered { order: StartOrder::Restart };
                self.machine.restart(id, now).inspect(|_| self.record_event(ctx, id, &ordered))
            }
            AdminCommand::Delete => {
                self.machine.delete(id, now).inspect(|_| self.delete_stored_state(ctx, id))
            }
            AdminCommand::Remove => {
                self.delete_stored_state(ctx, id);
                Ok(self.machine.remove(id, now))
            }
            AdminCommand::Reset => self.machine.reset(id, now).inspect(|_| self.reset_history(ctx, id)),
        };
        match actions {
            Err(rejection) => {
                reply.send(Err(AdminError::from_rejection(rejection, name.to_owned())));
                Vec::new()
            }
            Ok(actions) if actions.is_empty() && command == AdminCommand::Reset => {
                reply.send(Ok(()));
                actions
            }
            Ok(actions) => {
                self.add_waiter(id, command, reply);
                actions
            }
        }
    }

    /// Deletes the stored state of a child that a command removes; nothing else deletes it.
    fn delete_stored_state(&self, ctx: &Ctx, id: ChildId) {
        if let Some(entry) = self.entries.get(&id) {
            entry.slot.delete_stored_state(&ctx.env);
        }
    }

    fn reset_history(&self, ctx: &Ctx, id: ChildId) {
        if let Some(entry) = self.entries.get(&id) {
            let mut state = entry.slot.identity().state();
            state.history.reset();
            state.restarts = 0;
        }
        self.record_event(ctx, id, &BudgetReset {});
    }

    /// Records a command before it is carried out: replay checks decisions against it.
    fn record_event<E: Event>(&self, ctx: &Ctx, id: ChildId, event: &E) {
        if let Some(entry) = self.entries.get(&id) {
            let generation = entry.slot.identity().state().generation;
            ctx.env.journal.record(&entry.path, generation, event);
        }
    }

    // === observing ===

    pub(super) fn ready(&mut self, ctx: &Ctx, id: ChildId) -> Vec<SupervisorAction> {
        let now = ctx.now();
        let actions = self.machine.ready(id, now);
        // A child that was asked to end meanwhile no longer counts as running.
        if !actions.is_empty()
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.down_since = None;
            let mut state = entry.slot.identity().state();
            state.set_status(ActorStatus::Running, now);
            state.ready_since = Some(now);
        }
        actions
    }

    pub(super) fn inspect(&mut self, ctx: &Ctx, id: ChildId) -> Vec<SupervisorAction> {
        let Some(entry) = self.entries.get(&id) else { return Vec::new() };
        self.machine.inspected(id, entry.slot.progress(), ctx.now())
    }

    // === carrying out ===

    pub(super) fn request_stop(&mut self, ctx: &Ctx, id: ChildId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.slot.identity().state().set_status(ActorStatus::Stopping, ctx.now());
        entry.slot.stop_reading();
        if let Some(cell) = &entry.cell {
            // A child that has just ended by itself is about to be reported; nothing is lost.
            let _ = cell.send_message(Wake::Stop);
        }
    }

    pub(super) fn kill(&mut self, id: ChildId, cause: ExitCause) {
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

    pub(super) fn discard_checkpoint(&mut self, ctx: &Ctx, id: ChildId) {
        let Some(entry) = self.entries.get(&id) else { return };
        entry.slot.discard_checkpoint();
        let identity = entry.slot.identity();
        let crashes = identity.policy().checkpoint_crashes_max;
        let generation = identity.state().generation;
        ctx.env.journal.record(&entry.path, generation, &CheckpointDiscarded { crashes });
    }

    pub(super) fn record_decision(&mut self, ctx: &Ctx, id: ChildId, record: DecisionRecord) {
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

    /// Publishes the state in which a child has settled, and answers the callers that wait for it.
    pub(super) fn resolve_waiters(&mut self, ctx: &Ctx, id: ChildId, outcome: ChildOutcome) {
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

    /// Schedules a tick for the next deadline.
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
        let mut state = self.slot.identity().state();
        state.ready_since = None;
        state.last_error = message.map(str::to_owned);
        state.last_error_at = message.map(|_| now);
    }

    /// Publishes in the slot how the child has settled.
    fn publish_status(&mut self, ctx: &Ctx, outcome: ChildOutcome) {
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

    /// Returns the result of `command` when the child has settled as `outcome`; `None` while it is still open.
    fn admin_result(&self, command: AdminCommand, outcome: ChildOutcome) -> Option<AdminResult> {
        let to_end = matches!(command, AdminCommand::Stop | AdminCommand::Delete | AdminCommand::Remove);
        match outcome {
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
            let state = identity.state();
            (state.generation, state.history.attempts(), state.last_error.clone())
        };
        let next_step = format!("it stays failed until {} is reset", self.path);
        ctx.env.journal.record(&self.path, generation, &GaveUp { restarts, last_error, next_step });
    }
}
