//! The Agent Client Protocol with a real agent: examples/acp_agent.rs, built from the official crate's agent side. If
//! a scenario allows it, it runs over an in-process pipe and with the agent as a process.
//!
//! - [`fixture`]: an agent and a client that talks to it
//! - [`turns`]: turns, their text, and cancellation
//! - [`questions`]: an agent's questions
//! - [`resumption`]: sessions that resume, or cannot
//! - [`violations`]: agents that break the protocol, or do not speak it
//! - [`driver`]: the driver, which owns the agent's process
//! - [`node_agent`]: an agent of another project

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test whose surroundings fail has failed"
)]

#[allow(dead_code, unreachable_pub, reason = "what only the process needs")]
#[path = "../../examples/acp_agent.rs"]
mod agent;
#[cfg(unix)]
mod driver;
mod fixture;
mod node_agent;
mod questions;
mod resumption;
mod turns;
mod violations;

use std::{path::Path, sync::Arc, time::Duration};

use mainstay_actors::{
    agent::{
        AgentUpdate, MessageId, UpdateBroadcast, UpdateEvent, UpdateKind, UpdateSubscription,
        acp::{
            AcpError, AcpLimits, AcpOptions, AcpPrompt, LoginMethod, LostSession, SessionOrigin, SessionStart,
        },
    },
    error::Reason,
    json::Json,
};
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet};

use crate::{
    agent::Switches,
    fixture::{
        AcpClientFixture, AgentTransport, connected, connected_with_limits, join_turn, open_client, turn_end,
        with_timeout,
    },
};

/// Runs a scenario over both transports, as two tests.
macro_rules! both {
    ($scenario:ident) => {
        mod $scenario {
            #[tokio::test]
            async fn in_this_process() {
                crate::fixture::with_timeout(super::$scenario(crate::fixture::AgentTransport::InProcess))
                    .await;
            }

            #[tokio::test]
            async fn in_a_process_of_its_own() {
                crate::fixture::with_timeout(super::$scenario(crate::fixture::AgentTransport::Subprocess))
                    .await;
            }
        }
    };
}
pub(crate) use both;

/// Runs a scenario with a time limit, as a test.
macro_rules! timed {
    ($scenario:ident) => {
        mod $scenario {
            #[tokio::test]
            async fn in_time() {
                crate::fixture::with_timeout(super::$scenario()).await;
            }
        }
    };
}
pub(crate) use timed;
