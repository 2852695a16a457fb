//! Holds requests while the backend is away, and fails those that wait for one that nothing will start.

use std::time::Duration;

use super::{QueueActor, QueueContext};
use crate::{
    error::{Error, Reason},
    network::BackendAvailability,
    queue::{
        absence::BackendAbsence,
        events::{QueueHeld, QueueReleased},
        gate::GateChange,
        message::QueueMessage,
        request_entry::RequestPhase,
        state::State,
    },
    request::RequestId,
};

impl QueueActor {
    pub(super) fn current_availability(&self) -> BackendAvailability {
        self.availability.as_ref().map_or(BackendAvailability::Unknown, |it| *it.borrow())
    }

    pub(super) fn current_absence(&self, now: Duration) -> Option<BackendAbsence> {
        self.observe_absence.as_ref().and_then(|observe_absence| observe_absence(now))
    }

    /// Fails the requests that wait for a backend that nothing will start.
    pub(super) fn fail_if_absent_for_good(&self, ctx: &QueueContext, state: &mut State) {
        let Some(absence) = state.absence.clone().filter(|absence| absence.is_final) else { return };
        for (id, phase) in self.requests.phases() {
            if matches!(phase, RequestPhase::Waiting { .. }) {
                state.cancel(id);
                self.fail(ctx, state.now, id, self.absence_error(id, &absence));
            }
        }
    }

    pub(super) fn absence_error(&self, id: RequestId, absence: &BackendAbsence) -> Error {
        let error = self.eviction_error(id, Reason::Disconnected, &absence.summary);
        let error = error.with_message(&absence.summary).with_message(&absence.text);
        Error { retryable: error.retryable && !absence.is_final, ..error }
    }

    pub(super) fn watch_availability(&self, ctx: &mut QueueContext) {
        let Some(mut availability) = self.availability.clone() else { return };
        availability.mark_unchanged();
        ctx.spawn_maybe(async move {
            // The sender outlives all incarnations; an error says that the runtime is stopping.
            availability.changed().await.ok().map(|()| QueueMessage::AvailabilityChanged)
        });
    }

    pub(super) fn record_gate_change(&self, ctx: &QueueContext, state: &State, change: Option<GateChange>) {
        match change {
            Some(GateChange::Held(outage)) => {
                let (absence, waiting) = (state.absence.as_ref(), state.queue.len());
                ctx.record(&QueueHeld::new(&outage, absence, state.now, waiting));
            }
            Some(GateChange::Released { outage, probes }) => {
                ctx.record(&QueueReleased::new(&outage, state.now, state.queue.len() + probes));
            }
            None => {}
        }
    }
}
