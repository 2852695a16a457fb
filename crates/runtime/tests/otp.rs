//! Runs the cases of Erlang/OTP's supervisor suite against this runtime: one test for each line of docs/conformance/supervision.md.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;

#[path = "otp/administration.rs"]
mod administration;
#[path = "otp/delayed_restart.rs"]
mod delayed_restart;
#[path = "otp/doc_table.rs"]
mod doc_table;
#[path = "otp/intensity.rs"]
mod intensity;
#[path = "otp/introspection.rs"]
mod introspection;
#[path = "otp/restart_types.rs"]
mod restart_types;
#[path = "otp/significant_children.rs"]
mod significant_children;
#[path = "otp/start.rs"]
mod start;
#[path = "otp/stop.rs"]
mod stop;
#[path = "otp/strategies.rs"]
mod strategies;
#[path = "otp/test_tree.rs"]
mod test_tree;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use mainstay_runtime::policy::{
    AbandonedPolicy, AutoShutdown, Budget, ChildPolicy, Delay, ExitCause, PolicyError, RestartType, Shutdown,
    StopOrder, Strategy, SupervisorPolicy,
};
use mainstay_runtime::{
    ActorStatus, Address, AdminError, CallError, Child, ChildCounts, Reply, Runtime, RuntimeStartError,
    SpecError, SupervisorSpec,
};
use probe::{advance, s, settle};
use test_tree::*;
use tokio::sync::Semaphore;
