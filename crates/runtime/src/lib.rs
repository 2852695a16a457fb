//! The runtime.
pub mod clock;
pub mod entropy;
pub mod journal;
mod message;
mod path;
pub mod policy;
mod reply;
mod teardown;

pub use message::Message;
pub use path::{ActorPath, InvalidName};
pub use reply::{CallError, Reply};
