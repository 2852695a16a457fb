//! Decides whether attempts may start: the gate closes while the backend cannot be reached.
//!
//! A request that cannot connect has not been sent, so it need not fail and need not use up a retry. It returns to
//! its position in the queue and waits there, up to its own `wait_timeout`, until the backend is back. The gate
//! decides when that is. It closes
//!
//! - after an attempt that could not connect (refused, no such host, no connection in time, an unreachable proxy), or
//! - when the connection reports [`BackendAvailability::Down`]; the next attempt then checks whether requests get
//!   through.
//!
//! While the gate is closed, the next request in the queue goes out as a **probe** from time to time. Any response
//! opens the gate, whatever its status, and so does a connection that took the request and then broke or hung. So does a connection that is up again, and a response to another sender. A
//! probe that cannot connect delays the next one by the retry policy's delay. A slow probe blocks the others for no
//! longer than the first of these delays; then another one goes out beside it.
//!
//! This is a circuit breaker (Nygard, "Release It!") for one user. It opens on the first failure, since a handful of
//! calls gives no statistics. It considers only whether anything accepts connections: a 5xx, a reset or a timeout is
//! about one request, and the retry budget bounds its cost. Requests at a closed gate wait instead of failing, since a person would only
//! retry by hand.

#[cfg(test)]
mod tests;

use std::time::Duration;

use mainstay_runtime::policy::Delay;

use super::attempt::ReachabilityEvidence;
use crate::{error::Reason, network::BackendAvailability, request::RequestId};

/// An outage of the backend, during which requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The start of the outage.
    pub since: Duration,
    /// The cause: `disconnected` if only the connection has reported it so far.
    pub reason: Reason,
    /// The number of failed probes.
    pub failures: u32,
    /// The earliest time of the next probe.
    pub next_probe_at: Duration,
}

impl Outage {
    /// Returns the time of the next probe if it lies behind `now`; otherwise the next request to come is a probe.
    #[must_use]
    pub fn next_probe_after(&self, now: Duration) -> Option<Duration> {
        Some(self.next_probe_at).filter(|at| *at > now)
    }
}

/// A change of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a change is to be written down"]
pub(crate) enum GateChange {
    /// An outage has started, or goes on after a failed probe.
    Held(Outage),
    /// The outage is over.
    Released {
        outage: Outage,
        /// The number of probes that were in flight, with the one that ended it.
        probes: usize,
    },
}

/// The gate; see the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    delay: Delay,
    availability: BackendAvailability,
    outage: Option<Outage>,
    /// The probes in flight.
    probes: Vec<RequestId>,
}

impl Gate {
    /// Creates a gate whose probes follow `delay`. It starts closed if the backend is unavailable; the first probe is
    /// then due at once.
    #[must_use]
    pub(crate) fn new(delay: Delay, availability: BackendAvailability, now: Duration) -> Self {
        let mut gate =
            Self { delay, availability: BackendAvailability::Unknown, outage: None, probes: Vec::new() };
        // The owner reads the initial state from `outage`.
        let _ = gate.on_availability(availability, now);
        gate
    }

    /// Returns whether an attempt may start at `now`.
    #[must_use]
    pub(crate) fn admits(&self, now: Duration) -> bool {
        self.outage.is_none_or(|outage| outage.next_probe_at <= now)
    }

    /// Returns the current outage.
    #[must_use]
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// Notes that an attempt at `id` starts at `now`. During an outage it is a probe.
    pub(crate) fn on_start(&mut self, id: RequestId, now: Duration, jitter: f64) {
        if let Some(outage) = &mut self.outage {
            outage.next_probe_at = now.saturating_add(self.delay.before(1, jitter));
            self.probes.push(id);
        }
    }

    /// Notes that the attempt at `id` has ended.
    pub(crate) fn on_end(
        &mut self,
        id: RequestId,
        evidence: ReachabilityEvidence,
        now: Duration,
        jitter: f64,
    ) -> Option<GateChange> {
        let probes = self.probes.len();
        let is_probe =
            self.probes.iter().position(|probe| *probe == id).map(|at| self.probes.swap_remove(at));
        match (evidence, self.outage) {
            (ReachabilityEvidence::Answered, _) => self.release(probes),
            (ReachabilityEvidence::Unreachable(reason), None) => Some(self.close(reason, now, jitter)),
            // An attempt that started before the outage tells nothing new.
            (_, Some(_)) if is_probe.is_none() => None,
            (ReachabilityEvidence::Unreachable(reason), Some(outage)) => {
                Some(self.extend(outage, reason, now, jitter))
            }
            // Something took the request, so others need not wait for its end.
            (ReachabilityEvidence::Unanswered(_), Some(_)) => self.release(probes),
            (ReachabilityEvidence::None, Some(outage)) => {
                // The probe showed nothing, so the next one may start at once.
                self.outage = Some(Outage { next_probe_at: outage.next_probe_at.min(now), ..outage });
                None
            }
            (ReachabilityEvidence::Unanswered(_) | ReachabilityEvidence::None, None) => None,
        }
    }

    /// Notes what the connection reports about the backend.
    pub(crate) fn on_availability(
        &mut self,
        availability: BackendAvailability,
        now: Duration,
    ) -> Option<GateChange> {
        let before = std::mem::replace(&mut self.availability, availability);
        match availability {
            BackendAvailability::Up => self.release(self.probes.len()),
            // The connection has just failed, so the next request may probe at once.
            BackendAvailability::Down if before != BackendAvailability::Down && self.outage.is_none() => {
                let outage =
                    Outage { since: now, reason: Reason::Disconnected, failures: 0, next_probe_at: now };
                self.outage = Some(outage);
                Some(GateChange::Held(outage))
            }
            BackendAvailability::Down | BackendAvailability::Unknown => None,
        }
    }

    /// Notes that the backend has answered another sender.
    pub(crate) fn on_backend_seen(&mut self) -> Option<GateChange> {
        self.release(self.probes.len())
    }

    fn close(&mut self, reason: Reason, now: Duration, jitter: f64) -> GateChange {
        let next_probe_at = now.saturating_add(self.delay.before(1, jitter));
        let outage = Outage { since: now, reason, failures: 1, next_probe_at };
        self.outage = Some(outage);
        GateChange::Held(outage)
    }

    fn extend(&mut self, outage: Outage, reason: Reason, now: Duration, jitter: f64) -> GateChange {
        let failures = outage.failures.saturating_add(1);
        let next_probe_at = now.saturating_add(self.delay.before(failures, jitter));
        let outage = Outage { reason, failures, next_probe_at, ..outage };
        self.outage = Some(outage);
        GateChange::Held(outage)
    }

    fn release(&mut self, probes: usize) -> Option<GateChange> {
        self.probes.clear();
        self.outage.take().map(|outage| GateChange::Released { outage, probes })
    }
}
