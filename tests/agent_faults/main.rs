//! What goes wrong with an agent, driver by driver and fault by fault, with the journal that it leaves beside it.
//!
//! The agents misbehave when they are told to, by a letter or by their script, so that each story has one course.
//!
//! | fault | `process` | `acp` | `http` |
//! |---|---|---|---|
//! | ends in order | exits with 0 | exits with 0 | says that it has failed |
//! | ends in error | exits with 1 | exits with 1 | loses its state with it |
//! | is killed | SIGKILL | SIGKILL | SIGKILL of the backend: nobody can say |
//! | ignores that it is to end | TERM, then KILL | TERM, then KILL | refuses its restart |
//! | hangs | over a letter | over a letter | over a letter, over its checks |
//! | floods | stdout and stderr | updates, strays and stderr | a health report without end |
//! | daemonises, forks | both | both | has no process |
//! | is never ready | both | both | never well |
//! | is ready, then dies | each time | each time | each time |
//! | ends over the state that it is given back | set aside | set aside | set aside |
#![cfg(unix)]

#[path = "../support.rs"]
mod support;

mod acp;
mod fixture;
mod http;
mod messages;
mod process;
