//! Tests the failures of agents, driver by driver and fault by fault, with the journal of each.
//!
//! The agents fail on demand, by a message or by their script, so that each journal has one order.
//!
//! | fault | `process` | `acp` | `http` |
//! |---|---|---|---|
//! | ends in order | exits with 0 | exits with 0 | reports a failure |
//! | ends in error | exits with 1 | exits with 1 | loses its state with it |
//! | is killed | SIGKILL | SIGKILL | SIGKILL of the backend: its health is unknown |
//! | ignores the request to end | TERM, then KILL | TERM, then KILL | refuses its restart |
//! | hangs | over a message | over a message | over a message, over its checks |
//! | floods | stdout and stderr | updates, strays and stderr | a health report without end |
//! | daemonises, forks | both | both | has no process |
//! | is never ready | both | both | never healthy |
//! | is ready, then dies | each time | each time | each time |
//! | ends over its restored state | quarantined | quarantined | quarantined |
#![cfg(unix)]

#[path = "../support.rs"]
mod support;

mod acp;
mod contract;
mod fixture;
mod http;
mod messages;
mod process;
