//! Loading what is not there: once, however many ask for it, and not at all where nobody does any more.
//!
//! A load is one future that all who wait for it drive together. So it goes on when the first of them goes, and is dropped
//! with the last.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::value::CacheValue;
use crate::error::{Error, Reason};

/// How a load ended, for whoever waits for it.
pub(super) type Outcome = Result<CacheValue, Error>;
/// A load, as it is waited for.
pub(super) type SharedLoad = Shared<BoxFuture<'static, Outcome>>;
/// A load, as it can be joined while somebody waits for it.
pub(super) type WeakLoad = WeakShared<BoxFuture<'static, Outcome>>;

/// What a load has brought.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub(super) value: CacheValue,
    pub(super) disposition: Disposition,
    pub(super) is_revalidatable: bool,
    pub(super) age: Duration,
    pub(super) ttl: Option<Duration>,
    pub(super) stale_for: Option<Duration>,
}

/// What becomes of what was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Store,
    /// It goes to those who wait for it, and what stands there stays.
    Return,
    /// It goes to those who wait for it, and what stands there is dropped.
    Replace,
}

impl Loaded {
    /// A value that is kept as its caller said.
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

    /// It was so old already when its load began. Its time counts from then.
    #[must_use]
    pub const fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Keeps it beyond its time, until room is needed, for [`CacheHandle::get_or_renew`](super::CacheHandle::get_or_renew).
    /// Nobody else gets it then.
    #[must_use]
    pub const fn with_revalidation(mut self) -> Self {
        self.is_revalidatable = true;
        self
    }

    /// Keeps it fresh for so long since the load began, whatever its caller said.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Lets it be of use for so long after that, while it is loaded anew, whatever its caller said.
    #[must_use]
    pub const fn with_stale_for(mut self, stale_for: Duration) -> Self {
        self.stale_for = Some(stale_for);
        self
    }

    /// For those who wait for it alone.
    #[must_use]
    pub const fn uncached(mut self) -> Self {
        self.disposition = Disposition::Return;
        self
    }

    /// For those who wait for it alone; what stands there is older, and is dropped.
    #[must_use]
    pub const fn replacing_stored(mut self) -> Self {
        self.disposition = Disposition::Replace;
        self
    }
}

/// Runs a load. A panic in it is an error for those who wait.
pub(super) async fn catch_panic(
    load: impl Future<Output = Result<Loaded, Error>> + Send,
) -> Result<Loaded, Error> {
    AssertUnwindSafe(load)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::new(Reason::Crashed).with_details("the load of a value panicked")))
}
