//! A guard of a load in flight, which decides what happens to its result.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::entry_options::EntryOptions;
use super::freshness::Lifetime;
use super::index::Version;
use super::load::{Disposition, Loaded, Outcome, SharedLoad, catch_panic};
use super::store::{CacheStore, EntryTerms};
use crate::error::{Error, Reason};

/// A registered load. Dropping this removes the registration, however the load ended.
pub(super) struct LoadGuard {
    pub(super) store: Arc<CacheStore>,
    pub(super) key: Arc<str>,
    pub(super) version: Version,
    pub(super) started_at: Duration,
    pub(super) options: EntryOptions,
}

impl LoadGuard {
    /// Returns the shared load, which stores its value when it ends.
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
        let EntryOptions { ttl, stale_for, negative_ttl, depends_on_connection } = self.options;
        match outcome {
            Ok(loaded) => {
                match loaded.disposition {
                    Disposition::Store => {
                        let as_of = self.started_at.saturating_sub(loaded.age);
                        let (ttl, stale_for) =
                            (loaded.ttl.unwrap_or(ttl), loaded.stale_for.unwrap_or(stale_for));
                        let lifetime =
                            Lifetime::new(as_of, ttl, stale_for).with_revalidation(loaded.is_revalidatable);
                        let terms = EntryTerms { lifetime, depends_on_connection };
                        self.store.complete(&self.key, self.version, loaded.value.clone(), terms);
                    }
                    Disposition::Replace => self.store.replace(&self.key, self.version),
                    Disposition::Return => {}
                }
                Ok(loaded.value)
            }
            Err(error) => {
                let is_kept = is_cacheable_error(&error) && !negative_ttl.is_zero();
                // A failure's lifetime counts from its end: a load may take longer to fail than the failure is
                // cached.
                let lifetime = Lifetime::new(now, negative_ttl, Duration::ZERO);
                let terms = is_kept.then_some(EntryTerms { lifetime, depends_on_connection });
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

/// Returns whether an error concerns the loaded thing, and not only the caller and the moment.
const fn is_cacheable_error(error: &Error) -> bool {
    !matches!(error.reason, Reason::Cancelled | Reason::Stopped)
}
