//! The connection's settings.

use std::time::Duration;

use mainstay_runtime::policy::Delay;
use serde::{Deserialize, Serialize};

/// The longest time between two probes, unless the first is configured to be longer.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);

/// The policy after the last retry, or after an error that is not retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailed {
    /// Wait until a person reconnects, or a hint comes that the backend is back.
    Wait,
    /// Go on dialling, without end: first after `probe_interval`, then at growing intervals. It applies to every cause
    /// of `failed`.
    #[default]
    Probe,
}

/// The connection's settings, as plain data; the defaults are those of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionPolicy {
    /// False if the backend has no WebSocket: nothing is ever dialled, and messages are refused.
    pub enabled: bool,
    /// True if the token may be another one at the next dial.
    pub renews_token: bool,
    /// The most attempts that may fail in a row before the connection is `failed`; 0: the first failure is final.
    pub max_retries: u32,
    /// The delay before each retry.
    pub delay: Delay,
    /// The longest delay that a peer's `Retry-After` can impose; it may exceed `delay`'s own limit.
    pub retry_after_max: Duration,
    /// The longest time of a dial: name, TCP, proxy, TLS and WebSocket handshake together.
    pub connect_timeout: Duration,
    /// The silence after which a peer gets a ping; zero: it gets none.
    pub ping_interval: Duration,
    /// The longest time until its answer.
    pub ping_timeout: Duration,
    /// The longest time of a close handshake; then the socket is dropped.
    pub close_timeout: Duration,
    /// The time for which a peer must be seen alive before attempts and delays are reset.
    pub stable_after: Duration,
    /// The policy in `failed`.
    pub after_failed: AfterFailed,
    /// The time before the first probe in `failed`; less than a second counts as a second. It doubles with each probe
    /// that fails, up to 10 minutes, or stays if it is longer than that.
    pub probe_interval: Duration,
    /// The most messages that wait to be sent.
    pub outbound_max: usize,
    /// The most bytes that wait to be sent, in all messages together.
    pub outbound_bytes_max: usize,
    /// The most frames kept for a slow subscriber.
    pub inbound_max: usize,
    /// The most bytes kept, in all frames together.
    pub inbound_bytes_max: usize,
    /// The largest frame or message, either way.
    pub message_max_bytes: usize,
}

impl Default for ConnectionPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            renews_token: false,
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
            after_failed: AfterFailed::Probe,
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
    /// Returns the time before the first probe.
    pub(super) fn probe_interval(&self) -> Duration {
        self.probe_interval.max(Duration::from_secs(1))
    }

    /// Returns the time before the next probe, after `failed` ones in a row.
    pub(super) fn probe_delay(&self, failed: u32) -> Duration {
        let min = self.probe_interval();
        let delay = Delay::Exponential { min, max: PROBE_INTERVAL_MAX.max(min), factor: 2.0, jitter: false };
        delay.before(failed.saturating_add(1), 0.0)
    }

    /// Returns the longest time without a byte written: as long as a silent peer is trusted. `None` means no limit.
    pub(super) fn stall_timeout(&self) -> Option<Duration> {
        (!self.ping_interval.is_zero()).then(|| self.ping_interval.saturating_add(self.ping_timeout))
    }

    /// Returns `delay`, or the peer's `Retry-After` if that is longer, up to `retry_after_max`.
    pub(super) fn apply_retry_after(&self, delay: Duration, retry_after: Option<Duration>) -> Duration {
        delay.max(retry_after.unwrap_or_default().min(self.retry_after_max))
    }
}
