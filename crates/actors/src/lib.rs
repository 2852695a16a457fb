//! Implements Mainstay's actors, and the policies that they follow.
//!
//! Modules, lowest first; each may import from those before it:
//!
//! - [`suggestion`]: the known name nearest to a mistyped one
//! - `request_id`: the id of a request
//! - `json_text`: checks the text of JSON, and repairs text that is almost JSON
//! - [`json`]: JSON as others wrote it
//! - [`error`]: the error that callers see, and the table of its reasons
//! - [`logs`]: what programs print, in files of bounded size
//! - [`standstill`]: notices that this process or the machine stood still
//! - [`network`]: TLS trust and proxies, for HTTP and the WebSocket alike
//! - [`credentials`]: the backend's token and its source
//! - [`process`]: child processes that never outlive the runtime, the backend's own among them
//! - [`request`]: requests and responses
//! - [`transport`]: single attempts at requests, over HTTP or in a simulation
//! - [`broadcast`]: items for many subscribers, within limits of count and memory
//! - [`connection`]: the WebSocket to the backend, kept alive
//! - [`cache`]: stored responses and values, and when they expire
//! - `quarantine`: counts the deaths of the backend over what was sent to it
//! - [`queue`]: requests in order of priority, each with exactly one outcome
//! - [`response_cache`]: requests answered from the cache, or else by the queue
//! - [`agent`]: one actor for each agent, restarted with its state
//! - [`events`]: the types of all events above

pub mod agent;
pub mod broadcast;
pub mod cache;
pub mod connection;
pub mod credentials;
pub mod error;
pub mod events;
pub mod json;
mod json_text;
pub mod logs;
pub mod network;
pub mod process;
mod quarantine;
pub mod queue;
pub mod request;
mod request_id;
pub mod response_cache;
pub mod standstill;
pub mod suggestion;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../../tests/tier.rs"]
mod tier;
pub mod transport;
