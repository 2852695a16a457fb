//! Which incarnation a slot belongs to, and the account that the last one left.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::exit_record::ExitRecord;
use crate::policy::ExitCause;

#[derive(Debug, Default)]
struct State {
    /// The incarnation that the slot belongs to.
    tenant: Option<u64>,
    /// Why that one is being killed, if it was not told to end.
    verdict: Option<ExitCause>,
    account: Option<ExitRecord>,
}

/// See the module.
#[derive(Debug, Default)]
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
    }

    /// Takes the slot back from incarnation `generation`, which leaves its account; false if it was cut off before.
    pub(crate) fn end(&self, generation: u64, account: Option<ExitRecord>) -> bool {
        {
            let mut state = self.lock();
            if state.tenant != Some(generation) {
                return false;
            }
            state.tenant = None;
            state.account = account;
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
        self.lock().account.take()
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
        assert!(tenancy.end(1, None), "it is cut off");
        tenancy.begin(2);
        assert!(!tenancy.end(1, Some(ExitRecord::unexplained())), "it ends at last");
        assert_eq!(tenancy.tenant(), Some(2));
        assert!(tenancy.take_account().is_none());
    }

    #[test]
    fn a_verdict_is_of_the_incarnation_that_it_was_passed_on() {
        let tenancy = Tenancy::default();
        tenancy.begin(1);
        tenancy.condemn(ExitCause::Stuck);
        assert_eq!(tenancy.verdict(1), ExitCause::Stuck);
        tenancy.end(1, None);
        tenancy.begin(2);
        assert_eq!(tenancy.verdict(2), ExitCause::Killed);
    }
}
