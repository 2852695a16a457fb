//! Mainstay keeps a desktop shell tied to its backend, and keeps that backend's agents alive.
//!
//! A shell embeds it with `default-features = false`, starts it, and talks to it through one handle:
//!
//! - [`Mainstay`]: the running tree; [`MainstayBuilder`]: what it is started with
//! - [`Agents`], [`Connection`], [`Cache`]: its parts, as the embedder sees and steers them
//! - [`Status`] and what is in it: everything in one view
//! - [`config`]: the configuration file
//! - [`bridge`]: the protocol for user interfaces, the same over every transport
//! - [`DataDir`]: what it keeps on disk
//! - `control` (feature): the local control server; `backend` (feature): the embedded backend; `cli` (feature): the
//!   binary
//!
//! `assembly` is the one place where the configuration becomes a tree.

mod agent_meter;
mod agents;
#[cfg(feature = "backend")]
pub mod backend;
pub mod bridge;
mod cache;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod connection;
#[cfg(feature = "control")]
pub mod control;
mod data_dir;
mod environment;
pub mod events;
#[cfg(debug_assertions)]
mod fault_injection;
mod inner;
mod invalidator;
#[cfg(any(feature = "backend", feature = "control"))]
mod listener;
mod mainstay;
mod process_events;
mod start_error;
mod status;
mod time_point;
mod tree_builder;
mod witness;

pub use agents::Agents;
pub use agents::messages::{PendingReply, SendOptions};
pub use cache::Cache;
pub use connection::Connection;
pub use data_dir::{ControlFile, DataDir, DataDirError};
pub use mainstay::{Mainstay, MainstayBuilder, StartError};
pub use status::{
    AgentBudget, AgentView, ConnectionReport, OutageReport, QueueReport, ResolvedError, RuntimeReport,
    StatusReport,
};
pub use tree_builder::BuildError;

pub use mainstay_actors as actors;
pub use mainstay_actors::cache::{Selection, WriteRequest, WriteRule};
pub use mainstay_actors::error::{Code, Error, Reason};
pub use mainstay_actors::queue::Download;
pub use mainstay_actors::request::{Priority, Request, RequestId, Response, TransferProgress};
pub use mainstay_runtime as runtime;

/// Compiles the Rust snippets of the README and of docs/ with the documentation's tests.
#[cfg(doctest)]
mod snippets {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../../docs/connection.md")]
    struct ConnectionPage;
    #[doc = include_str!("../../../docs/cache.md")]
    struct CachePage;
}
