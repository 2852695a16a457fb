//! The queue's settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{priority_queue::PriorityQueuePolicy, retry::RetryPolicy, retry_budget::BudgetPolicy};
use crate::quarantine::QUARANTINE_AFTER;

/// The settings of a queue. A request may override its timeouts and retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QueuePolicy {
    /// The most attempts in flight; 0 counts as 1. Slow attempts at one path leave their permits to other paths.
    pub max_concurrent: usize,
    /// The limits of the waiting requests.
    pub queue: PriorityQueuePolicy,
    /// The longest time that one attempt may make no progress.
    pub timeout: Duration,
    /// The longest time that a request may wait in the queue: counted from its arrival, and again after each backoff.
    /// Neither attempts nor backoffs count.
    pub wait_timeout: Duration,
    /// The longest time that a request may take in all, from its arrival to the end of its response; zero for no limit.
    pub deadline: Duration,
    /// The number and delays of retries.
    pub retry: RetryPolicy,
    /// The limit of all requests' retries together.
    pub budget: BudgetPolicy,
    /// The deaths of the backend over one request after which it is quarantined (at least 1).
    pub quarantine_after: u32,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            max_concurrent: 5,
            queue: PriorityQueuePolicy::default(),
            timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(60),
            deadline: Duration::ZERO,
            retry: RetryPolicy::default(),
            budget: BudgetPolicy::default(),
            quarantine_after: QUARANTINE_AFTER,
        }
    }
}
