//! Tests the connection's actor under its supervisor, against real servers on the loopback. Where time matters the
//! clock is paused, at the latest once the socket is open.

mod attempts;
mod commands;
mod crashes;
mod credentials;
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

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use ConnectionState::{Connected, Connecting, Disconnected, Failed, Reconnecting};
use futures_util::poll;
use mainstay_runtime::{CallError, journal::Event as _, policy::Delay};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::{
    Message as Wire,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use self::{
    fixture::ConnectionFixture,
    network::{LinkProfile, Network, NetworkState},
    server::{WsPeer, WsServer, event, wait_for_end},
};
use super::*;
use crate::{
    connection::{
        error::ConnectionErrorKind as Kind,
        events::{ConnectionIgnored, ConnectionUnsent},
        frame::Frame,
        message::ConnectOutcome,
        outbound::{SendFailure, SendOutcome},
        policy::AfterFailed,
        status::{ConnectionState, ConnectionStatus, StatusReason},
    },
    error::Reason,
    standstill::CLOCK_CHECK_INTERVAL,
    tests::{block_on, next_event, next_record, read_head, s, unresolvable_url},
};

/// Longer than any test takes, so it never elapses by itself.
const NEVER: Duration = Duration::from_secs(3600);
/// The tolerance for a few timers in a row: each is rounded up to whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);
const LARGE_BYTES: usize = 32 << 20;

/// Returns a policy whose retries never come by themselves.
fn slow_retry_policy() -> ConnectionPolicy {
    ConnectionPolicy { delay: Delay::Fixed { delay: NEVER }, ..immediate_retry_policy(5) }
}

/// Returns a policy whose retries come at once, and which does not probe.
fn immediate_retry_policy(max_retries: u32) -> ConnectionPolicy {
    let after_failed = AfterFailed::Wait;
    ConnectionPolicy { delay: Delay::NONE, max_retries, after_failed, ..ConnectionPolicy::default() }
}

/// Returns an address to which every dial fails without the network, so that the clock may be paused.
fn unresolvable_target() -> SocketTarget {
    SocketTarget::new(&unresolvable_url(), "/ws").unwrap()
}

fn normal_close() -> Wire {
    Wire::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn ping(number: u64) -> Wire {
    Wire::Ping(number.to_be_bytes().to_vec().into())
}
