//! The messages of a supervisor, and the commands to its children.

use std::sync::Arc;

use super::admin_error::AdminError;
use super::machine::{ChildId, ChildOutcome, CommandRejection, SupervisorAction};
use super::placement::{assign_path, check_significance};
use super::{ChildEntry, Children, Supervisor, SupervisorContext, finalize};
use crate::actor::slot::any_slot::AnySlot;
use crate::events::{BudgetReset, StartOrder, StartOrdered};
use crate::journal::Event;
use crate::messaging::call_error::CallError;
use crate::messaging::message::Message;
use crate::messaging::panics;
use crate::messaging::reply::Reply;

/// The result of a command.
pub(crate) type AdminResult = Result<(), AdminError>;

/// A command about one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminCommand {
    Add,
    Stop,
    Start,
    Restart,
    Delete,
    Remove,
    Reset,
}

/// A supervisor's messages.
#[derive(Debug)]
pub(crate) enum SupervisorMessage {
    /// Add a child and start it; the reply comes when it has settled.
    Add { slot: Arc<dyn AnySlot>, reply: Reply<AdminResult> },
    /// Carry out a command about a child; the reply comes when it has settled.
    Admin { name: String, command: AdminCommand, reply: Reply<AdminResult> },
    /// A child that is itself a supervisor is ready.
    ChildReady { id: ChildId, generation: u64 },
    /// The tasks of an ended incarnation have ended, or were abandoned because they never yield. Its exit record lies
    /// in the slot.
    TasksEnded { id: ChildId, generation: u64, abandoned: bool },
    /// A deadline may have passed.
    Tick,
}

impl Message for SupervisorMessage {}

impl Supervisor {
    pub(super) fn add(
        &self,
        ctx: &SupervisorContext,
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
        ctx: &SupervisorContext,
        children: &mut Children,
        slot: &Arc<dyn AnySlot>,
    ) -> Result<(ChildId, Vec<SupervisorAction>), AdminError> {
        let identity = slot.identity();
        children.check_absent(ctx, identity.name())?;
        check_significance(&self.policy, slot.as_ref())?;
        let path = assign_path(ctx.path(), slot.as_ref())?;
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
}

impl Children {
    /// Refuses a name that is taken.
    pub(super) fn check_absent(&self, ctx: &SupervisorContext, name: &str) -> Result<(), AdminError> {
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
        ctx: &SupervisorContext,
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
    fn delete_stored_state(&self, ctx: &SupervisorContext, id: ChildId) {
        if let Some(entry) = self.entries.get(&id) {
            entry.slot.delete_stored_state(&ctx.env);
        }
    }

    fn reset_history(&self, ctx: &SupervisorContext, id: ChildId) {
        if let Some(entry) = self.entries.get(&id) {
            let mut state = entry.slot.identity().state();
            state.history.reset();
            state.restarts = 0;
        }
        self.record_event(ctx, id, &BudgetReset {});
    }

    /// Records a command before it is carried out: replay checks decisions against it.
    pub(super) fn record_event<E: Event>(&self, ctx: &SupervisorContext, id: ChildId, event: &E) {
        if let Some(entry) = self.entries.get(&id) {
            let generation = entry.slot.identity().state().generation;
            ctx.env.journal.record(&entry.path, generation, event);
        }
    }
}

impl ChildEntry {
    /// Returns the result of `command` when the child has settled as `outcome`; `None` while it is still open.
    pub(super) fn admin_result(&self, command: AdminCommand, outcome: ChildOutcome) -> Option<AdminResult> {
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
}
