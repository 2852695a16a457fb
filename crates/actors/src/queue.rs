//! The queue of requests: each in its turn, and each with exactly one fate.
//!
//! Policy stands apart from mechanism. These decide, as plain data and synchronous functions, with time (since the
//! runtime's start) and randomness passed in:
//!
//! - [`lanes`]: the bounded, prioritised, ageing line of requests; expiry and overflow
//! - [`permits`]: who is running, never more than may run at once
//! - [`gate`]: whether attempts may start, while the backend cannot be reached
//! - [`retry`]: what follows an attempt: done, again after a delay, back into line, or failed
//! - [`budget`]: all retries together stay a fraction of all requests
//!
//! These do:
//!
//! - [`QueueActor`]: asks them, and obeys with a transport; [`QueuePolicy`] is what it is told
//! - `desk`: what one incarnation of it works on; `attempt`: one attempt, as its task; `pump`: brings the rest of an
//!   answer that is read as it comes
//! - `book`: the requests that have no fate yet; outlives a crash of the actor. `page`: one of them, and its `caller`s
//! - [`QueueHandle`]: how requests are made, followed and called off; [`Download`]: an answer as it comes
//! - [`QueueView`]: how the queue is doing, for all to see without asking the actor
//! - [`events`]: what the journal says of requests

mod actor;
mod attempt;
mod body_pump;
mod download;
pub mod events;
pub mod gate;
mod handle;
mod message;
pub mod permits;
mod policy;
pub mod priority_queue;
mod request_entry;
mod request_table;
mod responder;
pub mod retry;
pub mod retry_budget;
mod state;
mod stats;

pub use actor::{QueueActor, QueueSnapshot};
pub use attempt::AttemptResult;
pub use body_pump::BodyTransfer;
pub use download::Download;
pub use handle::QueueHandle;
pub use message::QueueMessage;
pub use policy::QueuePolicy;
pub use priority_queue::{Overflow, PriorityQueuePolicy};
pub use retry::RetryPolicy;
pub use retry_budget::BudgetPolicy;
pub use stats::{QueueStats, QueueView, WaitingByPriority};
