//! The incarnation that a slot belongs to, and the exit record of the last one.

use std::mem;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::any_slot::ExitHandler;
use super::exit_record::ExitRecord;
use crate::policy::ExitCause;

/// The exit record of the last incarnation, or the recipient that waits for it.
#[derive(Default)]
enum ExitReport {
    /// The supervisor waits for it.
    #[default]
    Pending,
    /// The record waits for the supervisor.
    Ready(Box<ExitRecord>),
    /// The handler waits for it, because there is no supervisor any more.
    Delegated(ExitHandler),
}

/// The outcome of a reported exit.
pub(crate) enum ReportOutcome {
    /// The incarnation was abandoned before, so its record is dropped.
    Superseded,
    /// The record lies in the slot.
    Stored,
    /// The record goes to the handler; the caller then frees the slot with [`CurrentIncarnation::release`].
    Delegated(ExitHandler, Box<ExitRecord>),
}

#[derive(Default)]
struct Occupancy {
    /// The incarnation that the slot belongs to.
    current: Option<u64>,
    /// The cause for which it is being killed, unless it was asked to end.
    kill_cause: Option<ExitCause>,
    exit_report: ExitReport,
}

/// The incarnation that a slot belongs to, and the exit record of the last one.
#[derive(Default)]
pub(crate) struct CurrentIncarnation {
    state: Mutex<Occupancy>,
    ended: Notify,
}

impl CurrentIncarnation {
    fn lock(&self) -> MutexGuard<'_, Occupancy> {
        self.state.lock()
    }

    /// Gives the slot to incarnation `generation`.
    pub(crate) fn set_current(&self, generation: u64) {
        let mut state = self.lock();
        state.current = Some(generation);
        state.kill_cause = None;
        // A record that was meant for an incarnation that could not be spawned must not reach a later one.
        state.exit_report = ExitReport::Pending;
    }

    /// Reports the exit of incarnation `generation`, which has been torn down.
    pub(crate) fn report_exit(&self, generation: u64, record: ExitRecord) -> ReportOutcome {
        let mut state = self.lock();
        if state.current != Some(generation) {
            return ReportOutcome::Superseded;
        }
        let record = Box::new(record);
        match mem::take(&mut state.exit_report) {
            ExitReport::Delegated(handler) => ReportOutcome::Delegated(handler, record),
            ExitReport::Pending | ExitReport::Ready(_) => {
                state.exit_report = ExitReport::Ready(record);
                state.current = None;
                drop(state);
                self.ended.notify_waiters();
                ReportOutcome::Stored
            }
        }
    }

    /// Frees the slot of incarnation `generation`; false if that is not the current one.
    pub(crate) fn release(&self, generation: u64) -> bool {
        {
            let mut state = self.lock();
            if state.current != Some(generation) {
                return false;
            }
            state.current = None;
        }
        self.ended.notify_waiters();
        true
    }

    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.lock().current == Some(generation)
    }

    /// Returns the incarnation that the slot belongs to.
    pub(crate) fn current(&self) -> Option<u64> {
        self.lock().current
    }

    /// Sets the cause for which the current incarnation is being killed.
    pub(crate) fn mark_killed(&self, cause: ExitCause) {
        self.lock().kill_cause = Some(cause);
    }

    /// Returns the cause for which incarnation `generation` was killed.
    pub(crate) fn kill_cause(&self, generation: u64) -> ExitCause {
        let state = self.lock();
        let kill_cause = state.kill_cause.filter(|_| state.current == Some(generation));
        kill_cause.unwrap_or(ExitCause::Killed)
    }

    /// Takes the exit record of the last incarnation, once.
    pub(crate) fn take_exit(&self) -> Option<ExitRecord> {
        let mut state = self.lock();
        match mem::take(&mut state.exit_report) {
            ExitReport::Ready(record) => Some(*record),
            other => {
                state.exit_report = other;
                None
            }
        }
    }

    /// Takes the tasks that an ended incarnation left behind; `None` until it has ended.
    pub(crate) fn take_tasks(&self) -> Option<JoinSet<()>> {
        match &mut self.lock().exit_report {
            ExitReport::Ready(record) => Some(mem::take(&mut record.tasks)),
            ExitReport::Pending | ExitReport::Delegated(_) => None,
        }
    }

    /// Registers `handler` for the exit record; returns it together with a record that is already there.
    pub(crate) fn delegate(&self, handler: ExitHandler) -> Option<(ExitHandler, ExitRecord)> {
        let mut state = self.lock();
        match mem::take(&mut state.exit_report) {
            ExitReport::Ready(record) => Some((handler, *record)),
            // An incarnation that was never spawned leaves no record.
            ExitReport::Pending if state.current.is_none() => None,
            ExitReport::Pending | ExitReport::Delegated(_) => {
                state.exit_report = ExitReport::Delegated(handler);
                None
            }
        }
    }

    /// Returns when the slot belongs to no incarnation.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.current().is_none() {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_incarnation_cannot_replace_its_successor() {
        let current = CurrentIncarnation::default();
        current.set_current(1);
        assert!(current.release(1), "it is abandoned");
        current.set_current(2);
        assert!(
            matches!(current.report_exit(1, ExitRecord::unreported()), ReportOutcome::Superseded),
            "it ends at last"
        );
        assert_eq!(current.current(), Some(2));
        assert!(current.take_exit().is_none());
    }

    #[test]
    fn kill_cause_applies_to_its_incarnation_only() {
        let current = CurrentIncarnation::default();
        current.set_current(1);
        current.mark_killed(ExitCause::Stuck);
        assert_eq!(current.kill_cause(1), ExitCause::Stuck);
        current.release(1);
        current.set_current(2);
        assert_eq!(current.kill_cause(2), ExitCause::Killed);
    }
}
