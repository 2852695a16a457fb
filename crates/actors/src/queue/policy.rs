//! What the queue is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{priority_queue::PriorityQueuePolicy, retry::RetryPolicy, retry_budget::BudgetPolicy};

/// What a queue is told. A request can say otherwise of its own timeouts and retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QueuePolicy {
    /// How many attempts may be under way at once; 0 counts as 1.
    pub max_concurrent: usize,
    /// The limits of the line.
    pub queue: PriorityQueuePolicy,
    /// How long one attempt may stand still.
    pub timeout: Duration,
    /// How long a request may wait for its turn: from its arrival, and anew after each backoff. Neither the time of
    /// an attempt nor that of a backoff counts.
    pub wait_timeout: Duration,
    /// What is tried again, how often and how soon.
    pub retry: RetryPolicy,
    /// How many retries all requests have together.
    pub budget: BudgetPolicy,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            max_concurrent: 5,
            queue: PriorityQueuePolicy::default(),
            timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            budget: BudgetPolicy::default(),
        }
    }
}
