//! A load that is under way, and what becomes of what it brings.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::freshness::Lease;
use super::keeping::Keeping;
use super::ledger::Stamp;
use super::load::{Fate, Line, Loaded, Outcome, caught};
use super::shelf::{Shelf, Terms};
use crate::error::{Error, Reason};

/// A load that has been entered. It is struck out when this is dropped, however it ends.
pub(super) struct Ticket {
    pub(super) shelf: Arc<Shelf>,
    pub(super) key: Arc<str>,
    pub(super) stamp: Stamp,
    pub(super) begun_at: Duration,
    pub(super) keeping: Keeping,
}

impl Ticket {
    /// The load, with what becomes of its value.
    pub(super) fn line(
        self,
        load: impl Future<Output = Result<Loaded, Error>> + Send + 'static,
        now: impl FnOnce() -> Duration + Send + 'static,
    ) -> Line {
        async move {
            let outcome = caught(load).await;
            self.settle(outcome, now())
        }
        .boxed()
        .shared()
    }

    fn settle(&self, outcome: Result<Loaded, Error>, now: Duration) -> Outcome {
        let Keeping { ttl, stale_for, failures_for, is_of_the_link } = self.keeping;
        match outcome {
            Ok(loaded) => {
                match loaded.fate {
                    Fate::Kept => {
                        let true_at = self.begun_at.saturating_sub(loaded.age);
                        let (ttl, stale_for) =
                            (loaded.ttl.unwrap_or(ttl), loaded.stale_for.unwrap_or(stale_for));
                        let lease = Lease::new(true_at, ttl, stale_for).renewable(loaded.is_renewable);
                        let terms = Terms { lease, is_of_the_link };
                        self.shelf.land(&self.key, self.stamp, loaded.value.clone(), terms);
                    }
                    Fate::Superseding => self.shelf.supersede(&self.key, self.stamp),
                    Fate::Passed => {}
                }
                Ok(loaded.value)
            }
            Err(error) => {
                let is_kept = tells_of_the_value(&error) && !failures_for.is_zero();
                // It counts from its end: a load may take longer to fail than its failure is kept.
                let lease = Lease::new(now, failures_for, Duration::ZERO);
                let terms = is_kept.then_some(Terms { lease, is_of_the_link });
                self.shelf.fail(&self.key, self.stamp, &error, terms, now);
                Err(error)
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shelf.abandon(&self.key, self.stamp);
    }
}

/// Whether an error says something of what was to be loaded, and not only of who wanted it and when.
const fn tells_of_the_value(error: &Error) -> bool {
    !matches!(error.reason, Reason::Cancelled | Reason::Stopped)
}
