//! Supervision for actors that must not lose state or messages.
//!
//! A [`Worker`] is supervised in a *slot*, which outlives each incarnation of the actor: it has a path, a mailbox and
//! the last snapshot of the state. When a handler panics, fails or hangs, a pure function ([`policy::decide`]) decides
//! what follows. The supervisor records the decision in the [`journal`] and carries it out. The next incarnation handles
//! the messages that waited; a caller whose answer cannot come gets a typed error.
//!
//! ```
//! use mainstay_runtime::{CallError, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};
//!
//! #[derive(Debug)]
//! enum Count { Up, Crash(Reply<u64>), Get(Reply<u64>) }
//! impl Message for Count {}
//!
//! struct Counter;
//! impl Worker for Counter {
//!     type Message = Count;
//!     type State = u64;
//!     type Snapshot = u64;
//!
//!     async fn start(&self, _: &mut Context<Count>, kept: Option<u64>) -> Result<u64, Failure> {
//!         Ok(kept.unwrap_or(0))
//!     }
//!
//!     async fn handle(&self, _: &mut Context<Count>, message: Count, count: &mut u64) -> Result<(), Failure> {
//!         match message {
//!             Count::Up => *count += 1,
//!             Count::Crash(_) => panic!("on purpose"),
//!             Count::Get(reply) => reply.send(*count),
//!         }
//!         Ok(())
//!     }
//!
//!     fn snapshot(&self, count: &u64) -> Option<u64> {
//!         Some(*count)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Failure> {
//! let mut root = SupervisorSpec::new("root");
//! let counter = root.child(Child::new("counter", Counter))?;
//! let runtime = Runtime::builder().start(root).await?;
//!
//! counter.cast(Count::Up).await?;
//! assert_eq!(counter.call(Count::Crash).await, Err(CallError::Crashed));
//! // The next incarnation begins with the state of the last message that was handled to its end.
//! assert_eq!(counter.call(Count::Get).await, Ok(1));
//! assert_eq!(runtime.tree().find("root/counter").map(|node| node.info.generation), Some(2));
//! runtime.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! docs/supervision.md explains what a supervisor promises, and docs/conformance/supervision.md names the tests.
//!
//! The code map, from the outside in:
//!
//! - [`Runtime`]: a running tree, as its embedder holds it
//! - [`SupervisorSpec`], [`Child`], [`SupervisorHandle`]: the description of a tree, and the commands to it
//! - [`Worker`], [`Context`]: the interface for an embedder's actors
//! - [`Address`], [`Message`], [`Reply`], [`Promise`]: messages and answers
//! - [`policy`]: the decisions, as data and pure functions
//! - [`journal`], [`events`]: the events, in order, with their causes
//! - [`replay`]: repeats a journal's decisions and compares them
//! - [`state`]: snapshots that outlive the process
//! - [`clock`], [`standstill`], [`rng`]: time and randomness, passed in
//! - [`private_files`]: files for their owner alone
//!
//! This crate uses no network, no files but its journal and its states, and nothing of its actors' purpose.

#[cfg(panic = "abort")]
compile_error!(
    "mainstay-runtime needs panic = \"unwind\": supervision restarts an actor whose handler panicked, and under \
     \"abort\" that panic ends the whole process instead. Remove `panic = \"abort\"` from the profile in your \
     Cargo.toml."
);

mod actor;
pub mod clock;
mod env;
pub mod events;
mod identity;
pub mod journal;
mod messaging;
mod path;
pub mod policy;
pub mod private_files;
pub mod replay;
pub mod rng;
mod runtime;
pub mod standstill;
pub mod state;
mod stop_clock;
mod supervisor;
#[cfg(test)]
#[path = "../../../tests/tier.rs"]
mod tier;
mod tree;
#[cfg(feature = "typescript")]
pub mod typescript;

pub use actor::context::{Context, FinalizeContext, TaskHandle, Timer};
pub use actor::failure::{Declined, Failure, UnrecoverableFailure};
pub use actor::worker::Worker;
pub use identity::{ActorInfo, ActorKind, ActorStatus};
pub use messaging::address::{Address, SendError};
pub use messaging::call_error::CallError;
pub use messaging::mailbox::SendErrorKind;
pub use messaging::message::Message;
pub use messaging::reply::{Promise, Reply};
pub use path::{ActorPath, InvalidName};
pub use runtime::{Runtime, RuntimeBuilder, RuntimeExit, RuntimeStartError};
pub use supervisor::{AdminError, Child, ChildCounts, SpecError, SupervisorHandle, SupervisorSpec};
pub use tree::TreeNode;
