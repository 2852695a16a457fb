//! Limits all retries together to a fraction of all requests.
//!
//! Retries per request multiply the load on a backend that is down; a budget over all of them does not. Compare
//! Marius Eriksen's `RetryBudget` in Finagle and "Retry Budgets" in the Google SRE book, chapter 21.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The number of buckets in the window. More buckets forget more smoothly.
const BUCKETS: u64 = 12;

/// The window's buckets and one more, so that the window is always covered.
const BUCKETS_KEPT: usize = BUCKETS as usize + 1;

/// The size of the retry budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetPolicy {
    /// The number of retries for each hundred requests of the window.
    pub percent: u32,
    /// The number of additional retries in a window, so that a quiet client can retry at all.
    pub reserve: u32,
    /// The length of the window.
    pub window: Duration,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { percent: 20, reserve: 10, window: Duration::from_secs(60) }
    }
}

/// Counts requests and retries in a sliding window, in constant memory.
///
/// Whenever a retry is granted, the retries of the last `window`, with this one, are at most `reserve + percent / 100
/// * requests`. The requests are those of at most the last `window * 13 / 12`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryBudget {
    policy: BudgetPolicy,
    /// The number of the latest bucket.
    latest_bucket: u64,
    /// A ring, indexed by the bucket's number.
    buckets: [Bucket; BUCKETS_KEPT],
}

/// The counts of one part of the window.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    number: u64,
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// Creates an unused budget.
    #[must_use]
    pub(crate) fn new(policy: BudgetPolicy) -> Self {
        Self { policy, latest_bucket: 0, buckets: [Bucket::default(); BUCKETS_KEPT] }
    }

    /// Counts the first attempt of a request.
    pub(crate) fn deposit(&mut self, now: Duration) {
        self.bucket_at(now).requests += 1;
    }

    /// Takes one retry out of the budget; returns `false` if it is spent.
    #[must_use]
    pub(crate) fn try_withdraw(&mut self, now: Duration) -> bool {
        let granted = self.remaining(now) > 0;
        if granted {
            self.bucket_at(now).retries += 1;
        }
        granted
    }

    /// Returns the number of retries left at `now`.
    #[must_use]
    pub(crate) fn remaining(&mut self, now: Duration) -> u64 {
        let latest = self.bucket_at(now).number;
        let within = |bucket: &&Bucket| bucket.number.saturating_add(BUCKETS) >= latest;
        let requests: u64 = self.buckets.iter().filter(within).map(|bucket| bucket.requests).sum();
        let retries: u64 = self.buckets.iter().filter(within).map(|bucket| bucket.retries).sum();
        let earned = requests.saturating_mul(u64::from(self.policy.percent)) / 100;
        earned.saturating_add(u64::from(self.policy.reserve)).saturating_sub(retries)
    }

    /// Returns the bucket of `now`. A time before the latest bucket counts as the latest.
    fn bucket_at(&mut self, now: Duration) -> &mut Bucket {
        let length = (self.policy.window.as_nanos() / u128::from(BUCKETS)).max(1);
        let number = u64::try_from(now.as_nanos() / length).unwrap_or(u64::MAX);
        self.latest_bucket = self.latest_bucket.max(number);
        let bucket = &mut self.buckets[(self.latest_bucket % BUCKETS_KEPT as u64) as usize];
        if bucket.number != self.latest_bucket {
            *bucket = Bucket { number: self.latest_bucket, ..Bucket::default() };
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BudgetPolicy = BudgetPolicy { percent: 20, reserve: 2, window: Duration::from_secs(60) };

    fn withdraw_all(budget: &mut RetryBudget, now: Duration) -> usize {
        std::iter::repeat_with(|| budget.try_withdraw(now)).take(1000).take_while(|granted| *granted).count()
    }

    #[test]
    fn hundred_requests_earn_twenty_retries_beside_the_reserve() {
        let mut budget = RetryBudget::new(POLICY);
        (0..100).for_each(|_| budget.deposit(Duration::ZERO));
        assert_eq!(budget.remaining(Duration::ZERO), 22);
        assert_eq!(withdraw_all(&mut budget, Duration::from_secs(59)), 22);
        assert!(!budget.try_withdraw(Duration::from_secs(59)));
    }

    #[test]
    fn events_outside_the_window_do_not_count() {
        let mut budget = RetryBudget::new(POLICY);
        (0..100).for_each(|_| budget.deposit(Duration::ZERO));
        assert_eq!(withdraw_all(&mut budget, Duration::ZERO), 22);
        assert_eq!(withdraw_all(&mut budget, Duration::from_secs(60)), 0);
        assert_eq!(withdraw_all(&mut budget, Duration::from_secs(65)), 2);
    }

    #[test]
    fn empty_budget_grants_nothing_and_empty_window_is_safe() {
        let mut none = RetryBudget::new(BudgetPolicy { percent: 0, reserve: 0, window: POLICY.window });
        none.deposit(Duration::ZERO);
        assert!(!none.try_withdraw(Duration::ZERO));
        let mut point =
            RetryBudget::new(BudgetPolicy { percent: u32::MAX, reserve: u32::MAX, window: Duration::ZERO });
        point.deposit(Duration::MAX);
        assert!(point.try_withdraw(Duration::ZERO));
    }

    proptest! {
        /// Models a backend that is down: every request is retried again and again.
        #[test]
        fn all_retries_together_stay_within_the_budget(
            steps in prop::collection::vec((0..3_000_u64, any::<bool>()), 1..400),
        ) {
            let mut budget = RetryBudget::new(POLICY);
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            let mut now = Duration::ZERO;
            for (ms, is_request) in steps {
                now += Duration::from_millis(ms);
                if is_request {
                    budget.deposit(now);
                    requests.push(now);
                } else if budget.try_withdraw(now) {
                    retries.push(now);
                }
                let within = |times: &[Duration], span| times.iter().filter(|time| **time + span > now).count();
                let earned = within(&requests, POLICY.window / 12 * 13) * 20 / 100;
                if retries.last() == Some(&now) {
                    prop_assert!(within(&retries, POLICY.window) <= earned + 2);
                }
            }
        }
    }
}
