//! The queue's policy: what waits, what goes first, what must leave, and what is tried again.
//!
//! All of it is plain data and synchronous functions. Time is a [`Duration`](std::time::Duration) since a start that
//! the caller chooses; wall time and randomness come in as arguments. An actor around it owns the clock, the tasks
//! and the transport, asks, and obeys.
//!
//! - [`lanes`]: the bounded, prioritised, ageing line of requests; expiry and overflow
//! - [`permits`]: who is running, never more than may run at once
//! - [`retry`]: what follows an attempt: done, again after a delay, or failed
//! - [`budget`]: all retries together stay a fraction of all requests

pub mod budget;
pub mod lanes;
pub mod permits;
pub mod retry;
