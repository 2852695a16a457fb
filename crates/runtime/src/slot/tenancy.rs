//! Which incarnation a slot belongs to, and the account that the last one left.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::any_slot::AnySlot;
use super::exit_record::ExitRecord;
use crate::policy::ExitCause;

/// What takes in the account of an incarnation whose supervisor will not.
pub(crate) type Executor = Box<dyn FnOnce(&dyn AnySlot, ExitRecord) + Send>;

/// The account of an incarnation that has ended, or who waits for it.
#[derive(Default)]
enum Account {
    /// Its supervisor does.
    #[default]
    Awaited,
    /// It lies here until its supervisor takes it.
    Left(Box<ExitRecord>),
    /// No supervisor is left, and this was left in its place.
    Entrusted(Executor),
}

/// What becomes of an account that is to be left.
pub(crate) enum Leaving {
    /// The slot has been taken back before: nobody wants it.
    CutOff,
    /// It lies in the slot.
    Left,
    /// It goes to the executor; the slot is free once that has it, and [`Tenancy::vacate`] says so.
    Entrusted(Executor, Box<ExitRecord>),
}

#[derive(Default)]
struct State {
    /// The incarnation that the slot belongs to.
    tenant: Option<u64>,
    /// Why that one is being killed, if it was not told to end.
    verdict: Option<ExitCause>,
    account: Account,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Tenancy {
    state: Mutex<State>,
    ended: Notify,
}

impl Tenancy {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the slot to incarnation `generation`.
    pub(crate) fn begin(&self, generation: u64) {
        let mut state = self.lock();
        state.tenant = Some(generation);
        state.verdict = None;
        // What was left for an incarnation that could not be spawned is no later one's.
        state.account = Account::Awaited;
    }

    /// Leaves the account of incarnation `generation`, which has been torn down.
    pub(crate) fn leave(&self, generation: u64, record: ExitRecord) -> Leaving {
        let mut state = self.lock();
        if state.tenant != Some(generation) {
            return Leaving::CutOff;
        }
        let record = Box::new(record);
        match mem::take(&mut state.account) {
            Account::Entrusted(executor) => Leaving::Entrusted(executor, record),
            Account::Awaited | Account::Left(_) => {
                state.account = Account::Left(record);
                state.tenant = None;
                drop(state);
                self.ended.notify_waiters();
                Leaving::Left
            }
        }
    }

    /// Frees the slot of incarnation `generation`; false if it was not that one's.
    pub(crate) fn vacate(&self, generation: u64) -> bool {
        {
            let mut state = self.lock();
            if state.tenant != Some(generation) {
                return false;
            }
            state.tenant = None;
        }
        self.ended.notify_waiters();
        true
    }

    pub(crate) fn is_of(&self, generation: u64) -> bool {
        self.lock().tenant == Some(generation)
    }

    /// The incarnation that the slot belongs to.
    pub(crate) fn tenant(&self) -> Option<u64> {
        self.lock().tenant
    }

    /// Says why the tenant is being killed.
    pub(crate) fn condemn(&self, cause: ExitCause) {
        self.lock().verdict = Some(cause);
    }

    /// Why incarnation `generation` was killed.
    pub(crate) fn verdict(&self, generation: u64) -> ExitCause {
        let state = self.lock();
        let verdict = state.verdict.filter(|_| state.tenant == Some(generation));
        verdict.unwrap_or(ExitCause::Killed)
    }

    /// The account that the last incarnation left, once.
    pub(crate) fn take_account(&self) -> Option<ExitRecord> {
        let mut state = self.lock();
        match mem::take(&mut state.account) {
            Account::Left(record) => Some(*record),
            other => {
                state.account = other;
                None
            }
        }
    }

    /// The tasks that an incarnation which has ended left behind; `None` as long as it has not.
    pub(crate) fn take_tasks(&self) -> Option<JoinSet<()>> {
        match &mut self.lock().account {
            Account::Left(record) => Some(mem::take(&mut record.tasks)),
            Account::Awaited | Account::Entrusted(_) => None,
        }
    }

    /// Leaves `executor` to take in the account; hands it back with an account that is there already.
    pub(crate) fn entrust(&self, executor: Executor) -> Option<(Executor, ExitRecord)> {
        let mut state = self.lock();
        match mem::take(&mut state.account) {
            Account::Left(record) => Some((executor, *record)),
            // An incarnation that was never spawned leaves none.
            Account::Awaited if state.tenant.is_none() => None,
            Account::Awaited | Account::Entrusted(_) => {
                state.account = Account::Entrusted(executor);
                None
            }
        }
    }

    /// Returns when the slot belongs to no incarnation.
    pub(crate) async fn vacated(&self) {
        loop {
            let ended = self.ended.notified();
            if self.tenant().is_none() {
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
    fn an_incarnation_that_was_cut_off_cannot_take_the_slot_from_its_successor() {
        let tenancy = Tenancy::default();
        tenancy.begin(1);
        assert!(tenancy.vacate(1), "it is cut off");
        tenancy.begin(2);
        assert!(matches!(tenancy.leave(1, ExitRecord::unexplained()), Leaving::CutOff), "it ends at last");
        assert_eq!(tenancy.tenant(), Some(2));
        assert!(tenancy.take_account().is_none());
    }

    #[test]
    fn a_verdict_is_of_the_incarnation_that_it_was_passed_on() {
        let tenancy = Tenancy::default();
        tenancy.begin(1);
        tenancy.condemn(ExitCause::Stuck);
        assert_eq!(tenancy.verdict(1), ExitCause::Stuck);
        tenancy.vacate(1);
        tenancy.begin(2);
        assert_eq!(tenancy.verdict(2), ExitCause::Killed);
    }
}
