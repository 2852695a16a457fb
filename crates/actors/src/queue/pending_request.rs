//! A request that has not ended, as lists show it.

use serde::{Deserialize, Serialize};

use crate::request::Priority;
use crate::request_id::RequestId;

/// A request that has not ended, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequest {
    /// The id of the caller that has waited longest.
    pub request_id: RequestId,
    /// The method.
    pub method: String,
    /// The path without the query, cut at 200 characters.
    pub path: String,
    /// The priority.
    pub priority: Priority,
    /// The phase.
    pub phase: PendingPhase,
    /// The number of attempts made, the present one included.
    pub attempts: u32,
    /// The time since its arrival, in milliseconds.
    pub age_ms: u64,
}

/// The phase of a request that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingPhase {
    /// The request waits for its turn, for room in its groups, or for the backend.
    Waiting,
    /// The request waits for its next attempt.
    BackingOff,
    /// An attempt is in flight.
    Running,
}
