//! Tests the connection's actor under its supervisor, against real servers on the loopback. Where time matters the
//! clock is paused, at the latest once the socket is open.

mod attempts;
mod commands;
mod crashes;
mod errors;
mod fixture;
mod frames;
mod liveness;
mod network;
mod outbound;
mod recovery;
mod redaction;
mod server;
mod stop;

use parking_lot::Mutex;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use mainstay_runtime::CallError;
use mainstay_runtime::journal::Event as _;
use mainstay_runtime::policy::Delay;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use self::fixture::ConnectionFixture;
use self::network::{LinkProfile, Network, NetworkState};
use self::server::{WsPeer, WsServer, event, read_head, wait_for_end};
use super::*;
use crate::connection::error::ConnectionErrorKind;
use crate::connection::events::{ConnectionIgnored, ConnectionUnsent, UnsentReason};
use crate::connection::outbound::SendOutcome;
use crate::connection::status::{ConnectionState, ConnectionStatus, StatusReason};
use crate::suspend::SUSPEND_CHECK_INTERVAL;
use ConnectionState::{Connected, Connecting, Disconnected, Failed, Reconnecting};

/// Longer than any test takes, so it never elapses by itself.
const NEVER: Duration = Duration::from_secs(3600);
/// The tolerance for a few timers in a row: each is rounded up to whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);
const LARGE_BYTES: usize = 32 << 20;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns a policy whose retries never come by themselves.
fn slow_retry_policy() -> ConnectionPolicy {
    ConnectionPolicy { delay: Delay::Fixed { delay: NEVER }, ..ConnectionPolicy::default() }
}

/// Returns a policy whose retries come at once.
fn immediate_retry_policy(max_retries: u32) -> ConnectionPolicy {
    ConnectionPolicy { delay: Delay::NONE, max_retries, ..ConnectionPolicy::default() }
}

/// Returns an address to which every dial fails without the network, so that the clock may be paused. The label is
/// too long for a name server to be asked.
fn unresolvable_target() -> SocketTarget {
    SocketTarget::new(&format!("http://{}.invalid", "a".repeat(64)), "/ws").unwrap()
}

fn normal_close() -> Wire {
    Wire::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn ping(number: u64) -> Wire {
    Wire::Ping(number.to_be_bytes().to_vec().into())
}
