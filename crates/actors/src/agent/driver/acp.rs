//! The Agent Client Protocol, version 1, spoken with an agent that is a process of the runtime's own.
//!
//! - [`AcpDriver`]: the driver; `life` is one life of the process
//! - [`AcpClient`]: one connection, over any pair of pipes, with the one conversation (session) that it has
//! - [`AcpFault`]: why something did not come to pass
//! - `pipe`: the lines, with their limits; `verdict` judges one, pure
//! - `desk`: what is under way: the turn, the questions, pure
//! - `prompt`: what a letter's body may be, pure; `session`: how a conversation is taken up again, pure
//! - `ears`: what the agent says and asks of its own accord
//!
//! The messages and their bookkeeping are the official crate's. What is ours: limits on all that an agent sends, one
//! owner of every task, and a known end of everything that was asked, whatever happens in between. The agent is offered
//! no files and no terminal; what it asks of that kind is refused as the protocol says.

mod client;
mod desk;
mod driver;
mod ears;
mod fault;
mod life;
mod options;
mod pipe;
mod prompt;
mod session;
mod turn;
mod verdict;

pub use client::AcpClient;
pub use driver::AcpDriver;
pub use fault::AcpError;
pub use options::{AcpLimits, AcpOptions};
pub use prompt::{AcceptedContent, AcpPrompt};
pub use session::{LostSession, SessionOrigin, SessionStart};
pub use turn::TurnEnd;
