//! Decides whether the peer of one open socket is alive.
//!
//! A peer that was silent for `ping_interval` gets a ping and then has `ping_timeout` to answer. A lost peer is thus
//! detected within the sum of both. After a standstill the socket must be verified: frames buffered before it
//! prove nothing, so only the pong of a later ping counts.

use std::time::Duration;

use super::policy::ConnectionPolicy;

/// A deadline missed by more than this was missed by a standstill of this process, not by the peer.
pub(super) const LATE_THRESHOLD: Duration = Duration::from_secs(5);

/// The liveness of one open socket's peer.
#[derive(Debug, Clone)]
pub(super) struct Liveness {
    opened_at: Duration,
    last_seen_at: Duration,
    pings: u64,
    in_flight: Option<PendingPing>,
}

#[derive(Debug, Clone, Copy)]
struct PendingPing {
    number: u64,
    sent_at: Duration,
    deadline: Duration,
    /// True if the ping verifies the socket after a standstill.
    is_verification: bool,
}

/// The action to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LivenessCheck {
    /// Nothing.
    Wait,
    /// Send the ping of this number.
    Ping(u64),
    /// Drop the socket.
    Dead,
}

impl Liveness {
    pub(super) fn new(now: Duration) -> Self {
        Self { opened_at: now, last_seen_at: now, pings: 0, in_flight: None }
    }

    /// Notes that a frame of any kind came in.
    pub(super) fn on_frame(&mut self, now: Duration) {
        self.last_seen_at = self.last_seen_at.max(now);
        self.in_flight = self.in_flight.filter(|ping| ping.is_verification);
    }

    /// Notes that bytes moved at `at`, without a complete frame.
    pub(super) fn on_bytes(&mut self, at: Duration) {
        self.last_seen_at = self.last_seen_at.max(at);
        self.in_flight = self.in_flight.filter(|ping| ping.is_verification || ping.sent_at >= at);
    }

    /// Notes the pong of ping `number`.
    pub(super) fn on_pong(&mut self, number: u64, now: Duration) {
        self.in_flight = self.in_flight.filter(|ping| ping.number != number);
        self.on_frame(now);
    }

    /// Returns for how long the peer is known to have been alive.
    pub(super) fn alive_for(&self) -> Duration {
        self.last_seen_at.saturating_sub(self.opened_at)
    }

    /// Returns the time of the next [`check`](Self::check); `None` if pings are off and none is in flight.
    pub(super) fn next_check(&self, policy: &ConnectionPolicy) -> Option<Duration> {
        let idle =
            (!policy.ping_interval.is_zero()).then(|| self.last_seen_at.saturating_add(policy.ping_interval));
        self.in_flight.map(|ping| ping.deadline).or(idle)
    }

    /// Returns the action at `now`.
    pub(super) fn check(&mut self, now: Duration, policy: &ConnectionPolicy) -> LivenessCheck {
        let Some(due) = self.next_check(policy).filter(|due| *due <= now) else { return LivenessCheck::Wait };
        let is_late = now.saturating_sub(due) > LATE_THRESHOLD;
        match self.in_flight {
            None => self.ping(now, policy, is_late),
            Some(ping) if is_late && !ping.is_verification => self.ping(now, policy, true),
            Some(_) => LivenessCheck::Dead,
        }
    }

    /// Sends a verification ping at once, unless one is in flight.
    pub(super) fn verify(&mut self, now: Duration, policy: &ConnectionPolicy) -> LivenessCheck {
        match self.in_flight {
            Some(ping) if ping.is_verification => LivenessCheck::Wait,
            _ => self.ping(now, policy, true),
        }
    }

    /// Returns the number of the ping in flight.
    #[cfg(test)]
    pub(super) fn number_in_flight(&self) -> Option<u64> {
        self.in_flight.map(|ping| ping.number)
    }

    /// Returns whether the ping in flight is a verification; `None` if none is.
    #[cfg(test)]
    pub(super) fn is_verifying(&self) -> Option<bool> {
        self.in_flight.map(|ping| ping.is_verification)
    }

    fn ping(&mut self, now: Duration, policy: &ConnectionPolicy, is_verification: bool) -> LivenessCheck {
        self.pings += 1;
        let deadline = now.saturating_add(policy.ping_timeout);
        self.in_flight = Some(PendingPing { number: self.pings, sent_at: now, deadline, is_verification });
        LivenessCheck::Ping(self.pings)
    }
}
