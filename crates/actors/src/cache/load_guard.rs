//! A load that is under way, and what becomes of what it brings.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::entry_options::EntryOptions;
use super::freshness::Lifetime;
use super::index::Version;
use super::load::{Disposition, Loaded, Outcome, SharedLoad, catch_panic};
use super::store::{CacheStore, EntryTerms};
use crate::error::{Error, Reason};

/// A load that has been entered. It is struck out when this is dropped, however it ends.
pub(super) struct LoadGuard {
    pub(super) store: Arc<CacheStore>,
    pub(super) key: Arc<str>,
    pub(super) version: Version,
    pub(super) started_at: Duration,
    pub(super) options: EntryOptions,
}

impl LoadGuard {
    /// The load, with what becomes of its value.
    pub(super) fn into_shared(
        self,
        load: impl Future<Output = Result<Loaded, Error>> + Send + 'static,
        now: impl FnOnce() -> Duration + Send + 'static,
    ) -> SharedLoad {
        async move {
            let outcome = catch_panic(load).await;
            self.finish(outcome, now())
        }
        .boxed()
        .shared()
    }

    fn finish(&self, outcome: Result<Loaded, Error>, now: Duration) -> Outcome {
        let EntryOptions {
            ttl,
            stale_for,
            negative_ttl: failures_for,
            depends_on_connection: is_of_the_link,
        } = self.options;
        match outcome {
            Ok(loaded) => {
                match loaded.disposition {
                    Disposition::Store => {
                        let true_at = self.started_at.saturating_sub(loaded.age);
                        let (ttl, stale_for) =
                            (loaded.ttl.unwrap_or(ttl), loaded.stale_for.unwrap_or(stale_for));
                        let lease =
                            Lifetime::new(true_at, ttl, stale_for).with_revalidation(loaded.is_revalidatable);
                        let terms = EntryTerms { lifetime: lease, depends_on_connection: is_of_the_link };
                        self.store.complete(&self.key, self.version, loaded.value.clone(), terms);
                    }
                    Disposition::Replace => self.store.replace(&self.key, self.version),
                    Disposition::Return => {}
                }
                Ok(loaded.value)
            }
            Err(error) => {
                let is_kept = is_cacheable_error(&error) && !failures_for.is_zero();
                // It counts from its end: a load may take longer to fail than its failure is kept.
                let lease = Lifetime::new(now, failures_for, Duration::ZERO);
                let terms =
                    is_kept.then_some(EntryTerms { lifetime: lease, depends_on_connection: is_of_the_link });
                self.store.fail(&self.key, self.version, &error, terms, now);
                Err(error)
            }
        }
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.store.abandon(&self.key, self.version);
    }
}

/// Whether an error says something of what was to be loaded, and not only of who wanted it and when.
const fn is_cacheable_error(error: &Error) -> bool {
    !matches!(error.reason, Reason::Cancelled | Reason::Stopped)
}
