//! Tests Mainstay against servers of others: `websockets`, FastAPI on uvicorn, Express and `ws` on Node.
//!
//! `tests/foreign/run` installs them and runs this. Each scenario runs against each server that it applies to, so its
//! name is followed by the server's.
//!
//! - [`server`]: a server as a process of its own; [`fixture`]: a runtime against one
//! - [`connection`], [`keepalive`], [`frames`], [`handshakes`]: the WebSocket
//! - [`requests`], [`failures`], [`responses`], [`pool`], [`concurrency`]: HTTP
//! - [`agents`], [`cli`]: agents behind FastAPI; the binary
//!
//! Nothing sleeps: a scenario waits for an event, a frame, a response, or a line that the server prints. Where time
//! must pass, the server spends it before it responds.

#[path = "../support.rs"]
mod support;

mod fixture;
mod server;

mod agents;
mod cli;
mod concurrency;
mod connection;
mod docs;
mod failures;
mod frames;
mod handshakes;
mod keepalive;
mod pool;
mod requests;
mod responses;

/// Runs a scenario against each of these servers, as a test of its own. The scenario gets the server to start; or, as
/// `scenario(started)` or `scenario(connected)`, a running server and such a runtime.
macro_rules! against {
    ($scenario:ident: $($server:ident),+) => { crate::against!($scenario(to_start): $($server),+); };
    ($scenario:ident($way:ident): $($server:ident),+) => {
        mod $scenario {
            $(
                #[tokio::test]
                async fn $server() {
                    super::$scenario(crate::fixture::$way(crate::server::$server()).await).await;
                }
            )+
        }
    };
}
pub(crate) use against;
