//! Runs the queue: starts attempts in order and answers each caller exactly once.
//!
//! The queue is an actor because the waiting requests and the permits need one owner, and because attempts must end
//! with that owner. Every attempt is a task of its incarnation and reports by a message. The actor itself never
//! waits.
//!
//! A request is accepted once it is in the `request_table`, which survives a crash. The next incarnation restores the
//! waiting requests to their old positions. An attempt that the crash interrupted ends by the rules for a failure
//! that may have reached the backend: a retry if that is safe, else `outcome_unknown`. A streamed response
//! (`streams`) gets no other attempt: its reader gets the error at once, and the next incarnation records it.
//!
//! When the actor stops or is given up, every remaining caller gets an error.
//!
//! - `intake` accepts requests; `attempts` starts attempts and decides what follows each; `endings` answers the callers
//! - `outages` holds requests while the backend is away

use std::sync::Arc;

use mainstay_runtime::{Context, Failure, FinalizeContext, Worker};
use tokio::sync::watch;

use super::{
    absence::ObserveAbsence,
    attempt::ReachabilityEvidence,
    gate::{GateChange, Outage},
    groups::{GroupLimit, GroupPermits},
    message::QueueMessage,
    policy::QueuePolicy,
    request_table::RequestTable,
    responder::Responder,
    retry_budget::RetryBudget,
    state::{QueueStats, QueueView, State},
};
use crate::{
    error::Reason,
    network::{BackendAvailability, BackendEnds},
    transport::Transport,
};

/// The queue's actor: its settings, and the requests that outlive an incarnation.
pub struct QueueActor {
    transport: Arc<dyn Transport>,
    policy: QueuePolicy,
    limits: Arc<[GroupLimit]>,
    view: QueueView,
    requests: RequestTable,
    availability: Option<watch::Receiver<BackendAvailability>>,
    observe_absence: Option<ObserveAbsence>,
    backend_ends: Option<watch::Receiver<BackendEnds>>,
}

/// The part of the state that survives an incarnation, beside the requests.
#[derive(Debug, Clone)]
pub struct QueueSnapshot {
    budget: RetryBudget,
    outage: Option<Outage>,
}

type QueueContext = Context<QueueMessage>;

impl Worker for QueueActor {
    type Message = QueueMessage;
    type State = State;
    type Snapshot = QueueSnapshot;

    async fn start(&self, ctx: &mut QueueContext, kept: Option<QueueSnapshot>) -> Result<State, Failure> {
        // Before the value is read, so that no change in between is missed.
        self.watch_availability(ctx);
        let limits = Arc::clone(&self.limits);
        let mut state = State::new(&self.policy, limits, self.current_availability(), ctx.now());
        state.absence = self.current_absence(state.now);
        // A gate that starts closed reports no change, but it holds requests from now on.
        self.record_gate_change(ctx, &state, state.gate.outage().map(GateChange::Held));
        match kept {
            Some(kept) => {
                state.budget = kept.budget;
                // The new gate finds out for itself whether the backend can be reached.
                let is_over = state.gate.outage().is_none();
                self.record_gate_change(
                    ctx,
                    &state,
                    kept.outage.filter(|_| is_over).map(|outage| GateChange::Released { outage, probes: 0 }),
                );
                self.restore_requests(ctx, &mut state);
            }
            // This is the first incarnation, or a snapshot could not be restored.
            None => self.fail_all(ctx, state.now, Reason::Crashed),
        }
        self.schedule(ctx, &mut state);
        Ok(state)
    }

    async fn handle(
        &self,
        ctx: &mut QueueContext,
        message: QueueMessage,
        state: &mut State,
    ) -> Result<(), Failure> {
        state.now = ctx.now();
        state.absence = self.current_absence(state.now);
        // An end is noted before anything that the next process does.
        self.note_backend_ends(ctx, state);
        match message {
            QueueMessage::Enqueue { id, request, reply } => {
                self.accept(ctx, state, id, request, Responder::Response(reply));
            }
            QueueMessage::OpenStream { id, request, reply } => {
                self.accept(ctx, state, id, request, Responder::Download(reply));
            }
            QueueMessage::Cancel { id, reply } => reply.send(self.cancel(ctx, state, id)),
            QueueMessage::SetPriority { id, priority, reply } => {
                let moved = self.requests.set_priority(id, priority);
                moved.into_iter().for_each(|entry_id| self.requeue(state, entry_id));
                reply.send(moved.is_some());
            }
            QueueMessage::List { count, reply } => reply.send(self.requests.list(count, state.now)),
            QueueMessage::Abandon { id } => drop(self.cancel(ctx, state, id)),
            QueueMessage::AttemptFinished { id, result } => {
                state.end_attempt(id);
                let evidence = ReachabilityEvidence::from_result(&result);
                let change = state.gate.on_end(id, evidence, state.now, ctx.random_unit());
                let poison = self.requests.note_evidence(evidence, self.policy.quarantine_after);
                self.finish_attempt(ctx, state, id, *result);
                self.quarantine(ctx, state, poison);
                self.record_gate_change(ctx, state, change);
            }
            QueueMessage::AvailabilityChanged => {
                self.watch_availability(ctx);
                let availability = self.current_availability();
                let change = state.gate.on_availability(availability, state.now);
                if availability == BackendAvailability::Down {
                    let poison = self.requests.note_gone(self.policy.quarantine_after);
                    self.quarantine(ctx, state, poison);
                }
                self.record_gate_change(ctx, state, change);
            }
            // What follows is decided after every message.
            QueueMessage::AbsenceChanged => {}
            QueueMessage::BackendSeen => {
                let change = state.gate.on_backend_seen();
                self.requests.note_alive();
                self.record_gate_change(ctx, state, change);
            }
            QueueMessage::ResponseStarted { id, response } => {
                let change =
                    state.gate.on_end(id, ReachabilityEvidence::Answered, state.now, ctx.random_unit());
                self.requests.note_alive();
                self.start_stream(ctx, state, id, *response);
                self.record_gate_change(ctx, state, change);
            }
            QueueMessage::BodyFinished { id, transfer } => self.finish_stream(ctx, state, id, *transfer),
            QueueMessage::TimerElapsed => state.timer.clear_due(state.now),
        }
        self.schedule(ctx, state);
        Ok(())
    }

    fn snapshot(&self, state: &State) -> Option<QueueSnapshot> {
        Some(QueueSnapshot { budget: state.budget, outage: state.gate.outage() })
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.fail_all(ctx, ctx.now(), Reason::Stopped);
        self.view.publish(self.idle_stats());
    }
}

impl QueueActor {
    /// Creates a queue that sends by `transport` and publishes its figures in `view`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, policy: QueuePolicy, view: QueueView) -> Self {
        let (limits, requests) = (Arc::default(), RequestTable::default());
        let actor = Self {
            transport,
            policy,
            limits,
            view,
            requests,
            availability: None,
            observe_absence: None,
            backend_ends: None,
        };
        actor.view.publish(actor.idle_stats());
        actor
    }

    /// Limits groups of requests, at most [`GROUPS_MAX`](super::GROUPS_MAX) of them.
    #[must_use]
    pub fn with_limits(mut self, limits: impl IntoIterator<Item = GroupLimit>) -> Self {
        self.limits = limits.into_iter().collect();
        self.view.publish(self.idle_stats());
        self
    }

    /// Holds requests while `availability` is [`BackendAvailability::Down`], as after an attempt that could not
    /// connect.
    #[must_use]
    pub fn with_availability(mut self, availability: watch::Receiver<BackendAvailability>) -> Self {
        self.availability = Some(availability);
        self
    }

    /// Sends nothing while `observe_absence` says that the backend is absent. Requests wait, or fail at once if that is
    /// final. [`QueueMessage::AbsenceChanged`] reports a change.
    #[must_use]
    pub fn with_absence(mut self, observe_absence: ObserveAbsence) -> Self {
        self.observe_absence = Some(observe_absence);
        self
    }

    /// Takes the exits of the backend's own process as evidence that it died over a request.
    #[must_use]
    pub fn with_backend_ends(mut self, ends: watch::Receiver<BackendEnds>) -> Self {
        self.backend_ends = Some(ends);
        self
    }

    /// Returns the figures of a queue without requests.
    fn idle_stats(&self) -> QueueStats {
        QueueStats {
            max_concurrent: self.policy.max_concurrent.max(1),
            groups: GroupPermits::new(Arc::clone(&self.limits)).stats(std::iter::empty()),
            ..QueueStats::default()
        }
    }
}

mod attempts;
mod endings;
mod intake;
mod outages;
mod streams;
#[cfg(test)]
mod tests;
