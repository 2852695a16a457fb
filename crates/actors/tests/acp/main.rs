//! The Agent Client Protocol with a real agent: examples/acp_agent.rs, which is built from the official crate's other
//! side. Where a scenario allows it, it runs over a pipe within this process and with the agent as a process of its own.
//!
//! - [`scene`]: an agent and a client that talks to it
//! - [`talks`]: turns, what is said in them, calling them off
//! - [`questions`]: what an agent asks
//! - [`returns`]: conversations that are taken up again, or cannot be
//! - [`offences`]: agents that break the protocol, or speak none
//! - [`driven`]: the driver, which owns the agent's process
//! - [`foreign`]: an agent that nobody here wrote

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

/// Runs a scenario in both ways of reaching the agent, as two tests.
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
