//! Loads a missing value once, however many callers ask, and stops when no caller waits.
//!
//! A load is one shared future that all its callers poll. So it continues when the first caller leaves, and is
//! dropped with the last.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::value::CacheValue;
use crate::error::{Error, Reason};

/// The result of a load, for its callers.
pub(super) type Outcome = Result<CacheValue, Error>;
/// A load in flight, for a caller that waits for it.
pub(super) type SharedLoad = Shared<BoxFuture<'static, Outcome>>;
/// A reference through which a load can be joined while a caller waits for it.
pub(super) type WeakLoad = WeakShared<BoxFuture<'static, Outcome>>;

/// The result of a load, and what to do with it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub(super) value: CacheValue,
    pub(super) disposition: Disposition,
    pub(super) is_revalidatable: bool,
    pub(super) age: Duration,
    pub(super) ttl: Option<Duration>,
    pub(super) stale_for: Option<Duration>,
}

/// Says what happens to a loaded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Store,
    /// Return it to the callers, and keep the stored entry.
    Return,
    /// Return it to the callers, and drop the stored entry.
    Replace,
}

impl Loaded {
    /// Stores the value with the caller's options.
    #[must_use]
    pub const fn new(value: CacheValue) -> Self {
        Self {
            value,
            disposition: Disposition::Store,
            is_revalidatable: false,
            age: Duration::ZERO,
            ttl: None,
            stale_for: None,
        }
    }

    /// Sets the value's age at the start of its load. Its lifetime counts from then.
    #[must_use]
    pub(crate) const fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Keeps it past its lifetime, until space is needed, for
    /// [`CacheHandle::get_or_revalidate`](super::CacheHandle::get_or_revalidate). Other callers do not get it then.
    #[must_use]
    pub(crate) const fn with_revalidation(mut self) -> Self {
        self.is_revalidatable = true;
        self
    }

    /// Keeps it fresh for this long since the load began, and overrides the caller's options.
    #[must_use]
    pub(crate) const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Serves it stale for this long after that while a refresh runs, and overrides the caller's options.
    #[must_use]
    pub(crate) const fn with_stale_for(mut self, stale_for: Duration) -> Self {
        self.stale_for = Some(stale_for);
        self
    }

    /// Returns the value to the callers only.
    #[must_use]
    pub(crate) const fn uncached(mut self) -> Self {
        self.disposition = Disposition::Return;
        self
    }

    /// Returns the value to the callers only, and drops the older stored entry.
    #[must_use]
    pub(crate) const fn replacing_stored(mut self) -> Self {
        self.disposition = Disposition::Replace;
        self
    }
}

/// Runs a load. A panic in it becomes an error for its callers.
pub(super) async fn catch_panic(
    load: impl Future<Output = Result<Loaded, Error>> + Send,
) -> Result<Loaded, Error> {
    AssertUnwindSafe(load)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::new(Reason::Crashed).with_details("the load of a value panicked")))
}
