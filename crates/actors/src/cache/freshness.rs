//! Decides how long an entry may be used: pure, with the time passed in.

use std::time::Duration;

/// The times of one entry, by the cache's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// The time at which the value was true: that of its insert, or of the start of its load.
    pub(super) as_of: Duration,
    /// The end of its freshness.
    pub(super) fresh_until: Duration,
    /// The end of its use, after which no caller gets it.
    pub(super) usable_until: Duration,
    /// True if it is kept beyond that for revalidation.
    pub(super) is_revalidatable: bool,
}

/// Says how an entry may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and refresh it.
    Stale,
    /// Too old for this caller; another may still use it.
    TooOld,
    /// Usable only after revalidation.
    NeedsRevalidation,
    /// Not usable.
    Expired,
}

impl Lifetime {
    /// Returns a lifetime from `true_at` on: fresh for `ttl`, and stale but served for `stale_for` after that.
    pub(super) const fn new(true_at: Duration, ttl: Duration, stale_for: Duration) -> Self {
        let fresh_until = true_at.saturating_add(ttl);
        let usable_until = fresh_until.saturating_add(stale_for);
        Self { as_of: true_at, fresh_until, usable_until, is_revalidatable: false }
    }

    pub(super) const fn with_revalidation(mut self, is_renewable: bool) -> Self {
        self.is_revalidatable = is_renewable;
        self
    }

    /// Returns the freshness for a caller that accepts nothing older than `age_max`.
    pub(super) fn freshness(&self, age_max: Option<Duration>, now: Duration) -> Freshness {
        if now >= self.usable_until {
            if self.is_revalidatable { Freshness::NeedsRevalidation } else { Freshness::Expired }
        } else if age_max.is_some_and(|age_max| now.saturating_sub(self.as_of) > age_max) {
            Freshness::TooOld
        } else if now >= self.fresh_until {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::s;

    #[test]
    fn freshness_max_ttl_never_ends_and_zero_is_never_fresh() {
        assert_eq!(Lifetime::new(s(1), Duration::MAX, s(1)).freshness(None, s(u64::MAX)), Freshness::Fresh);
        assert_eq!(Lifetime::new(s(1), s(0), s(0)).freshness(None, s(1)), Freshness::Expired);
    }

    #[test]
    fn freshness_revalidatable_past_end_needs_revalidation() {
        let lifetime = Lifetime::new(s(0), s(10), s(2)).with_revalidation(true);
        let at = |now| lifetime.freshness(None, s(now));
        assert_eq!([9, 11].map(at), [Freshness::Fresh, Freshness::Stale]);
        assert_eq!([12, 1_000_000].map(at), [Freshness::NeedsRevalidation; 2]);
    }
}
