//! Mainstay's actors, and the rules that they obey.
//!
//! - [`connection`]: the WebSocket to the backend, kept alive
//! - [`queue`]: requests, in order of their priority, each with a known fate
//! - [`cache`]: answers that are kept, and until when
//! - [`agent`]: one actor an agent, which has it restarted with the state that it had
//! - [`process`]: child processes that never outlive the runtime
//! - [`sidecar`]: the backend's own process, where the runtime is to start it
//! - [`error`]: the one error that callers see, and the table of its reasons
//! - [`request`]: requests and responses
//! - [`reach`]: how the backend is reached: TLS, private authorities and proxies, for HTTP and the WebSocket alike
//! - `sleep`: how long the machine was asleep
//! - [`transport`]: one attempt at one request, over HTTP or in a simulation
//!
//! Calls point down only: an agent may use the queue or a transport, the connection the cache, the cache the queue, the queue a
//! transport; none calls back.

pub mod agent;
pub mod cache;
pub mod connection;
pub mod error;
pub mod events;
pub mod network;
pub mod process;
mod quarantine;
pub mod queue;
pub mod request;
pub mod sidecar;
mod suspend;
#[cfg(test)]
#[path = "../../../tests/tier.rs"]
mod tier;
pub mod transport;
