//! The connection's settings, and the rules that follow from a fault alone.

use std::time::Duration;

use mainstay_runtime::policy::Delay;
use serde::{Deserialize, Serialize};

use super::error::ConnectionErrorKind;

/// What happens once every retry is spent, or the peer said not to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailed {
    /// Nothing, until a person asks for a connection.
    #[default]
    Wait,
    /// One dial every `probe_interval`, for as long as it takes. Whoever chooses this has nobody at hand who
    /// could ask, so it holds for every way into `failed`.
    Probe,
}

/// The connection's settings, as plain data; the defaults are those of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionPolicy {
    /// Attempts that may fail in a row before the connection is `failed`; 0: the first failure is final.
    pub max_retries: u32,
    /// How long to wait before each retry.
    pub delay: Delay,
    /// The longest wait that a peer's `Retry-After` can ask for; it may exceed `delay`'s own cap.
    pub retry_after_max: Duration,
    /// How long one dial may take: name, TCP, proxy, TLS and WebSocket handshake together.
    pub connect_timeout: Duration,
    /// How long a peer may be silent before it is asked for a sign of life; zero: it is never asked.
    pub ping_interval: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
    /// How long a close handshake may take before the socket is dropped.
    pub close_timeout: Duration,
    /// How long a connection must be seen alive before the attempts and delays start from the beginning again.
    pub stable_after: Duration,
    /// What happens in `failed`.
    pub after_failed: AfterFailed,
    /// The time between two probes in `failed`; less than a second counts as a second.
    pub probe_interval: Duration,
    /// The most messages that wait to be sent.
    pub outbound_max: usize,
    /// The most bytes that wait to be sent, in all messages together.
    pub outbound_bytes_max: usize,
    /// The most frames that are kept for a listener that is behind.
    pub inbound_max: usize,
    /// The most bytes in all of them together.
    pub inbound_bytes_max: usize,
    /// The largest frame or message, either way.
    pub message_max_bytes: usize,
}

impl Default for ConnectionPolicy {
    fn default() -> Self {
        Self {
            max_retries: 5,
            delay: Delay::Exponential {
                min: Duration::from_secs(1),
                max: Duration::from_secs(30),
                factor: 2.0,
                jitter: true,
            },
            retry_after_max: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            stable_after: Duration::from_secs(10),
            after_failed: AfterFailed::Wait,
            probe_interval: Duration::from_secs(60),
            outbound_max: 1024,
            outbound_bytes_max: 64 << 20,
            inbound_max: 1024,
            inbound_bytes_max: 64 << 20,
            message_max_bytes: 16 << 20,
        }
    }
}

impl ConnectionPolicy {
    /// The time between two probes.
    pub(super) fn probe_interval(&self) -> Duration {
        self.probe_interval.max(Duration::from_secs(1))
    }

    /// How long a write may go without a byte that the peer takes: as long as a silent peer is believed. `None` where it
    /// is believed for ever.
    pub(super) fn stall_timeout(&self) -> Option<Duration> {
        (!self.ping_interval.is_zero()).then(|| self.ping_interval.saturating_add(self.ping_timeout))
    }

    /// `delay`, or what the peer asked for if that is longer, up to `retry_after_max`.
    pub(super) fn apply_retry_after(&self, delay: Duration, retry_after: Option<Duration>) -> Duration {
        delay.max(retry_after.unwrap_or_default().min(self.retry_after_max))
    }
}

/// Whether another attempt can change anything, or the peer (or the address itself) said no.
///
/// A redirect or a page instead of a handshake is retried: on a laptop that is often a network's sign-in page,
/// which goes away.
#[must_use]
pub const fn is_retryable(kind: ConnectionErrorKind) -> bool {
    use ConnectionErrorKind::*;
    !matches!(
        kind,
        InvalidTarget
            | Unauthenticated
            | ProxyUnauthenticated
            | Forbidden
            | NotFound
            | Rejected
            | PolicyViolation
    )
}

/// The close code of RFC 6455 that tells a peer that it did this; `None` for what is not its doing.
pub(super) const fn close_code(kind: ConnectionErrorKind) -> Option<u16> {
    match kind {
        ConnectionErrorKind::MessageTooLarge => Some(1009),
        ConnectionErrorKind::ProtocolViolation => Some(1002),
        _ => None,
    }
}
