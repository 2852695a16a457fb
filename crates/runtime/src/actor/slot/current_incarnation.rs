//! Which incarnation a slot belongs to, and the account that the last one left.

use std::mem;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::any_slot::AnySlot;
use super::exit_record::ExitRecord;
use crate::policy::ExitCause;

/// What takes in the account of an incarnation whose supervisor will not.
pub(crate) type ExitHandler = Box<dyn FnOnce(&dyn AnySlot, ExitRecord) + Send>;

/// The account of an incarnation that has ended, or who waits for it.
#[derive(Default)]
enum ExitReport {
    /// Its supervisor does.
    #[default]
    Pending,
    /// It lies here until its supervisor takes it.
    Ready(Box<ExitRecord>),
    /// No supervisor is left, and this was left in its place.
    Delegated(ExitHandler),
}

/// What becomes of an account that is to be left.
pub(crate) enum ReportOutcome {
    /// The slot has been taken back before: nobody wants it.
    Superseded,
    /// It lies in the slot.
    Stored,
    /// It goes to the executor; the slot is free once that has it, and [`Tenancy::vacate`] says so.
    Delegated(ExitHandler, Box<ExitRecord>),
}

#[derive(Default)]
struct State {
    /// The incarnation that the slot belongs to.
    current: Option<u64>,
    /// Why that one is being killed, if it was not told to end.
    kill_cause: Option<ExitCause>,
    exit_report: ExitReport,
}

/// See the module.
#[derive(Default)]
pub(crate) struct CurrentIncarnation {
    state: Mutex<State>,
    ended: Notify,
}

impl CurrentIncarnation {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Gives the slot to incarnation `generation`.
    pub(crate) fn set_current(&self, generation: u64) {
        let mut state = self.lock();
        state.current = Some(generation);
        state.kill_cause = None;
        // What was left for an incarnation that could not be spawned is no later one's.
        state.exit_report = ExitReport::Pending;
    }

    /// Leaves the account of incarnation `generation`, which has been torn down.
    pub(crate) fn report_exit(&self, generation: u64, record: ExitRecord) -> ReportOutcome {
        let mut state = self.lock();
        if state.current != Some(generation) {
            return ReportOutcome::Superseded;
        }
        let record = Box::new(record);
        match mem::take(&mut state.exit_report) {
            ExitReport::Delegated(executor) => ReportOutcome::Delegated(executor, record),
            ExitReport::Pending | ExitReport::Ready(_) => {
                state.exit_report = ExitReport::Ready(record);
                state.current = None;
                drop(state);
                self.ended.notify_waiters();
                ReportOutcome::Stored
            }
        }
    }

    /// Frees the slot of incarnation `generation`; false if it was not that one's.
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

    /// The incarnation that the slot belongs to.
    pub(crate) fn current(&self) -> Option<u64> {
        self.lock().current
    }

    /// Says why the tenant is being killed.
    pub(crate) fn mark_killed(&self, cause: ExitCause) {
        self.lock().kill_cause = Some(cause);
    }

    /// Why incarnation `generation` was killed.
    pub(crate) fn kill_cause(&self, generation: u64) -> ExitCause {
        let state = self.lock();
        let verdict = state.kill_cause.filter(|_| state.current == Some(generation));
        verdict.unwrap_or(ExitCause::Killed)
    }

    /// The account that the last incarnation left, once.
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

    /// The tasks that an incarnation which has ended left behind; `None` as long as it has not.
    pub(crate) fn take_tasks(&self) -> Option<JoinSet<()>> {
        match &mut self.lock().exit_report {
            ExitReport::Ready(record) => Some(mem::take(&mut record.tasks)),
            ExitReport::Pending | ExitReport::Delegated(_) => None,
        }
    }

    /// Leaves `executor` to take in the account; hands it back with an account that is there already.
    pub(crate) fn delegate(&self, executor: ExitHandler) -> Option<(ExitHandler, ExitRecord)> {
        let mut state = self.lock();
        match mem::take(&mut state.exit_report) {
            ExitReport::Ready(record) => Some((executor, *record)),
            // An incarnation that was never spawned leaves none.
            ExitReport::Pending if state.current.is_none() => None,
            ExitReport::Pending | ExitReport::Delegated(_) => {
                state.exit_report = ExitReport::Delegated(executor);
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
        let tenancy = CurrentIncarnation::default();
        tenancy.set_current(1);
        assert!(tenancy.release(1), "it is cut off");
        tenancy.set_current(2);
        assert!(
            matches!(tenancy.report_exit(1, ExitRecord::unreported()), ReportOutcome::Superseded),
            "it ends at last"
        );
        assert_eq!(tenancy.current(), Some(2));
        assert!(tenancy.take_exit().is_none());
    }

    #[test]
    fn kill_cause_applies_to_its_incarnation_only() {
        let tenancy = CurrentIncarnation::default();
        tenancy.set_current(1);
        tenancy.mark_killed(ExitCause::Stuck);
        assert_eq!(tenancy.kill_cause(1), ExitCause::Stuck);
        tenancy.release(1);
        tenancy.set_current(2);
        assert_eq!(tenancy.kill_cause(2), ExitCause::Killed);
    }
}
