//! Runs requests in order of priority, and ends each one exactly once.
//!
//! These modules decide. They hold plain data and synchronous functions; time and randomness are arguments:
//!
//! - `priority_queue`: the bounded queue with ageing; expiry and overflow
//! - `permits`: how many attempts may run at once, and how many of one slow path
//! - `groups`: how many requests of a group of paths may run at once
//! - [`gate`]: whether attempts may start while the backend cannot be reached
//! - [`retry`]: what follows an attempt: done, a retry after a delay, back into the queue, or failed
//! - `latency`: how long requests took, as p50 and p95
//! - [`retry_budget`]: the limit of all retries together, as a fraction of all requests
//!
//! These modules act:
//!
//! - [`QueueActor`]: asks the policies and sends by a transport; [`QueuePolicy`] holds its settings
//! - `state`: the state of one incarnation, with the limit of concurrent attempts; `attempt`: one attempt, as a task; `body_pump`: forwards a streamed body
//! - `request_table`: the requests that have not ended; it outlives a crash. Each is a `request_entry`, answered by
//!   its `responder`
//! - [`QueueHandle`]: makes, streams, lists, moves and cancels requests; [`Download`]: a response whose body is streamed
//! - [`BackendAbsence`]: what the owner of the backend knows of its absence
//! - [`QueueView`]: the queue's current figures, readable without the actor
//! - [`events`]: the journal's events about requests

mod absence;
mod actor;
mod attempt;
mod body_pump;
mod download;
pub mod events;
mod expiry;
pub mod gate;
mod groups;
mod handle;
mod latency;
mod message;
mod permits;
mod policy;
pub(crate) mod priority_queue;
mod request_entry;
mod request_table;
mod responder;
pub mod retry;
pub mod retry_budget;
mod state;

pub use absence::{BackendAbsence, ObserveAbsence};
pub use actor::QueueActor;

#[cfg(test)]
pub(crate) use attempt::{AttemptResult, ReachabilityEvidence};

pub use download::Download;
pub use groups::{GROUPS_MAX, GroupLimit, GroupStats};
pub use handle::QueueHandle;
pub use latency::{LatencyByPriority, LatencyFigures, LatencySpan, RequestLatency};
pub use message::QueueMessage;
pub use policy::QueuePolicy;
pub use priority_queue::{Overflow, PriorityQueuePolicy};
pub use request_entry::{PendingPhase, PendingRequest};
pub use retry::RetryPolicy;
pub use retry_budget::BudgetPolicy;
pub use state::{QueueStats, QueueView, WaitingByPriority};
