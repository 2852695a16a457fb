//! How long what is kept may be used: pure, with the time passed in.

use std::time::Duration;

/// The times of one entry, all by the clock of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// When it was true: when it was put, or when its load began.
    pub(super) true_at: Duration,
    /// From then on it is no longer fresh.
    pub(super) fresh_until: Duration,
    /// From then on nobody gets it any more.
    pub(super) usable_until: Duration,
    /// Whether it is kept beyond that, for whoever finds out that it still holds.
    pub(super) is_renewable: bool,
}

/// What may be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and see to it that there is a newer one.
    Stale,
    /// It is too old for whoever asks; another may still use it.
    TooOld,
    /// Nobody may use it, before it is known that it still holds.
    Lapsed,
    /// Nobody may use it.
    Spent,
}

impl Lease {
    /// From `true_at` on, fresh for `ttl` and of use for `stale_for` beyond that.
    pub(super) const fn new(true_at: Duration, ttl: Duration, stale_for: Duration) -> Self {
        let fresh_until = true_at.saturating_add(ttl);
        let usable_until = fresh_until.saturating_add(stale_for);
        Self { true_at, fresh_until, usable_until, is_renewable: false }
    }

    pub(super) const fn renewable(mut self, is_renewable: bool) -> Self {
        self.is_renewable = is_renewable;
        self
    }

    /// For whoever wants nothing older than `age_max`.
    pub(super) fn freshness(&self, age_max: Option<Duration>, now: Duration) -> Freshness {
        if now >= self.usable_until {
            if self.is_renewable { Freshness::Lapsed } else { Freshness::Spent }
        } else if age_max.is_some_and(|age_max| now.saturating_sub(self.true_at) > age_max) {
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

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_is_fresh_until_its_ttl_is_over_and_not_at_that_time_and_then_stale_for_as_long_as_was_said() {
        let lease = Lease::new(s(5), s(10), s(3));
        let at = |now| lease.freshness(None, s(now));
        assert_eq!([5, 14].map(at), [Freshness::Fresh; 2]);
        assert_eq!([15, 17].map(at), [Freshness::Stale; 2]);
        assert_eq!([18, 99].map(at), [Freshness::Spent; 2]);
    }

    #[test]
    fn an_entry_that_is_too_old_for_one_is_still_fresh_for_another() {
        let lease = Lease::new(s(0), s(10), s(0));
        assert_eq!(lease.freshness(Some(s(2)), s(3)), Freshness::TooOld);
        assert_eq!(lease.freshness(Some(s(3)), s(3)), Freshness::Fresh);
        assert_eq!(lease.freshness(None, s(3)), Freshness::Fresh);
    }

    #[test]
    fn a_ttl_without_end_is_one_and_one_of_nothing_is_never_fresh() {
        assert_eq!(Lease::new(s(1), Duration::MAX, s(1)).freshness(None, s(u64::MAX)), Freshness::Fresh);
        assert_eq!(Lease::new(s(1), s(0), s(0)).freshness(None, s(1)), Freshness::Spent);
    }

    #[test]
    fn an_entry_that_can_be_renewed_is_not_spent_but_lapsed_when_its_time_is_over() {
        let lease = Lease::new(s(0), s(10), s(2)).renewable(true);
        let at = |now| lease.freshness(None, s(now));
        assert_eq!([9, 11].map(at), [Freshness::Fresh, Freshness::Stale]);
        assert_eq!([12, 1_000_000].map(at), [Freshness::Lapsed; 2]);
    }
}
