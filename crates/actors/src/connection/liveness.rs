//! Whether the peer of one open socket is still there.
//!
//! A peer that was silent for `ping_interval` is pinged and then has `ping_timeout` to show life, so one that
//! vanished is found out within the sum of both. After a sleep the socket is not believed: frames that were
//! buffered before the sleep prove nothing, so only the answer to the ping sent after it counts.

use std::time::Duration;

use super::policy::ConnectionPolicy;

/// A deadline missed by more than this was missed by us (sleep, a stalled process), not by the peer.
pub(super) const LATE_THRESHOLD: Duration = Duration::from_secs(5);

/// What is known of one open socket's peer.
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
    /// Sent to prove a socket that is not believed.
    is_verification: bool,
}

/// What is to be done about the peer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LivenessCheck {
    /// Nothing.
    Wait,
    /// Send the ping of this number.
    Ping(u64),
    /// Give it up.
    Dead,
}

impl Liveness {
    pub(super) fn new(now: Duration) -> Self {
        Self { opened_at: now, last_seen_at: now, pings: 0, in_flight: None }
    }

    /// A frame of any kind came in.
    pub(super) fn on_frame(&mut self, now: Duration) {
        self.last_seen_at = self.last_seen_at.max(now);
        self.in_flight = self.in_flight.filter(|ping| ping.is_verification);
    }

    /// Bytes were on their way at `at`, though they are no frame yet.
    pub(super) fn on_bytes(&mut self, at: Duration) {
        self.last_seen_at = self.last_seen_at.max(at);
        self.in_flight = self.in_flight.filter(|ping| ping.is_verification || ping.sent_at >= at);
    }

    /// The answer to ping `number` came in.
    pub(super) fn on_pong(&mut self, number: u64, now: Duration) {
        self.in_flight = self.in_flight.filter(|ping| ping.number != number);
        self.on_frame(now);
    }

    /// How long the peer is known to have been there.
    pub(super) fn alive_for(&self) -> Duration {
        self.last_seen_at.saturating_sub(self.opened_at)
    }

    /// When [`check`](Self::check) has something to do; `None` where pings are off and none is in flight.
    pub(super) fn next_check(&self, policy: &ConnectionPolicy) -> Option<Duration> {
        let idle =
            (!policy.ping_interval.is_zero()).then(|| self.last_seen_at.saturating_add(policy.ping_interval));
        self.in_flight.map(|ping| ping.deadline).or(idle)
    }

    /// What to do at `now`.
    pub(super) fn check(&mut self, now: Duration, policy: &ConnectionPolicy) -> LivenessCheck {
        let Some(due) = self.next_check(policy).filter(|due| *due <= now) else { return LivenessCheck::Wait };
        let is_late = now.saturating_sub(due) > LATE_THRESHOLD;
        match self.in_flight {
            None => self.ping(now, policy, is_late),
            Some(ping) if is_late && !ping.is_verification => self.ping(now, policy, true),
            Some(_) => LivenessCheck::Dead,
        }
    }

    /// Asks for proof at once, unless that is already under way.
    pub(super) fn verify(&mut self, now: Duration, policy: &ConnectionPolicy) -> LivenessCheck {
        match self.in_flight {
            Some(ping) if ping.is_verification => LivenessCheck::Wait,
            _ => self.ping(now, policy, true),
        }
    }

    /// The number of the ping in flight.
    #[cfg(test)]
    pub(super) fn number_in_flight(&self) -> Option<u64> {
        self.in_flight.map(|ping| ping.number)
    }

    /// Whether the ping in flight asks for proof; `None` where none is.
    #[cfg(test)]
    pub(super) fn is_verifying(&self) -> Option<bool> {
        self.in_flight.map(|ping| ping.is_verification)
    }

    fn ping(&mut self, now: Duration, policy: &ConnectionPolicy, is_proof: bool) -> LivenessCheck {
        self.pings += 1;
        let deadline = now.saturating_add(policy.ping_timeout);
        self.in_flight =
            Some(PendingPing { number: self.pings, sent_at: now, deadline, is_verification: is_proof });
        LivenessCheck::Ping(self.pings)
    }
}
