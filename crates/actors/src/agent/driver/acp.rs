//! The driver for the Agent Client Protocol, version 1, with an agent that the runtime starts as a process.
//!
//! - [`AcpDriver`] is the driver; `instance` is one process of the agent.
//! - [`AcpClient`] is one connection, over any pair of pipes, with its one session.
//! - [`AcpError`] is the error of all of them.
//! - `stdio` reads and writes lines within limits; `line_check` classifies one line; pure. `sent_requests` finds the
//!   request that a response answers; pure.
//! - `session_state` holds the turn and the open questions; pure.
//! - `as_written` carries JSON past the official crate without a change; pure.
//! - `prompt` parses a message's body; pure. `session` says how a session resumes; pure.
//! - `handler` handles what the agent sends and asks.
//!
//! The official crate encodes the messages and matches answers to requests. This module adds limits on all that an
//! agent sends, one owner for each task, and an end for each request in every case. The agent is offered no files and
//! no terminal; such requests are refused as the protocol says.

mod as_written;
mod client;
mod driver;
mod error;
mod handler;
mod instance;
mod line_check;
mod options;
mod prompt;
mod sent_requests;
mod session;
mod session_state;
mod stdio;
mod turn;

pub use client::AcpClient;
pub use driver::AcpDriver;
pub use error::AcpError;
pub use options::{AcpLimits, AcpOptions};

pub use prompt::AcpPrompt;
pub use session::{LoginMethod, LostSession, SessionOrigin, SessionStart};
pub use turn::TurnEnd;
