//! Whether attempts may start: the gate that closes while the backend cannot be reached.
//!
//! A request that finds nobody at home has not been sent, so it need not fail and need not use up a retry: it goes
//! back to its place in line and waits there, up to its own `wait_timeout`, until the backend is back. The gate
//! decides when that is. It is closed
//!
//! - by an attempt that reached nobody (refused, no such host, no connection in time, no way on from the proxy), or
//! - by the link, when it goes down: then the next attempt shall show whether requests still get through.
//!
//! While it is closed, now and then one request goes out as a **trial**, the next in line. Any answer opens the gate,
//! whatever its status; so does a link that is up again, and an answer that the backend gave elsewhere. A trial that
//! reaches nobody puts the next one off, by the delays of the retry policy. A trial that takes long keeps nobody
//! waiting behind it for longer than the first of these delays: then another goes out beside it.
//!
//! This is a circuit breaker (Nygard, "Release It!"), made for one user. It opens on the first failure, since a handful
//! of calls gives no statistics; it looks only at whether the backend can be reached, since an answered 5xx is about one
//! request, and the retry budget bounds what those cost; and whoever comes to a closed gate waits instead of failing,
//! since a person would only press the button again.

#[cfg(test)]
mod tests;

use std::time::Duration;

use mainstay_runtime::policy::Delay;

use super::retry::AttemptOutcome;
use crate::{
    connection::status::{ConnectionState, ConnectionStatus},
    error::Reason,
    request::RequestId,
    transport::{FailureKind, SendProgress},
};

/// What the link says about the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendAvailability {
    /// It is connected, so the backend is there.
    Up,
    /// It is being dialled in vain.
    Down,
    /// Nothing: nobody wants it, it is being dialled for the first time, or it is refused for a reason of its own.
    Unknown,
}

impl From<&ConnectionStatus> for BackendAvailability {
    fn from(status: &ConnectionStatus) -> Self {
        match status.state {
            ConnectionState::Connected => Self::Up,
            // As at every start: nothing has failed yet.
            ConnectionState::Connecting if status.last_error.is_none() => Self::Unknown,
            _ if status.seems_unreachable() => Self::Down,
            _ => Self::Unknown,
        }
    }
}

/// What the end of an attempt says about whether the backend can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReachabilityEvidence {
    /// It answered.
    Answered,
    /// Nobody was there.
    Unreachable(Reason),
    /// No answer came, though the request may have arrived.
    Unanswered(Reason),
    /// Nothing.
    None,
}

impl ReachabilityEvidence {
    /// What `outcome` says.
    #[must_use]
    pub fn from_outcome(outcome: AttemptOutcome<'_>) -> Self {
        match outcome {
            AttemptOutcome::Answered(_) => Self::Answered,
            AttemptOutcome::Failed(failure) if failure.progress == SendProgress::Answered => Self::Answered,
            AttemptOutcome::Failed(failure) => match (failure.kind, failure.progress) {
                (kind, _) if is_unreachable(kind) => Self::Unreachable(kind.reason()),
                (kind, SendProgress::MaybeSent) => Self::Unanswered(kind.reason()),
                _ => Self::None,
            },
            AttemptOutcome::Lost => Self::None,
        }
    }
}

/// Whether a failure of this kind says that nobody is there.
fn is_unreachable(kind: FailureKind) -> bool {
    use FailureKind::{Connect, ConnectTimedOut, HostNotFound, ProxyRefused, ProxyUnreachable, Refused};
    matches!(kind, Refused | HostNotFound | ConnectTimedOut | Connect | ProxyUnreachable | ProxyRefused)
}

/// Why requests are held, and until when at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Since when.
    pub since: Duration,
    /// What keeps them: `disconnected` where only the link has told so far.
    pub reason: Reason,
    /// How many trials have failed.
    pub failures: u32,
    /// When the next trial may go out.
    pub next_probe_at: Duration,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a change is to be written down"]
pub enum GateChange {
    /// Requests are held from now on, or for longer.
    Held(Outage),
    /// Requests go out again, after having been held like this.
    Released(Outage),
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Gate {
    delay: Delay,
    availability: BackendAvailability,
    outage: Option<Outage>,
    /// The trials under way.
    probes: Vec<RequestId>,
}

impl Gate {
    /// A gate whose trials keep the delays of `delay`. With a link that is away it starts closed, its first trial due at
    /// once.
    #[must_use]
    pub fn new(delay: Delay, link: BackendAvailability, now: Duration) -> Self {
        let mut gate =
            Self { delay, availability: BackendAvailability::Unknown, outage: None, probes: Vec::new() };
        // Whoever makes it can see for themselves that it is closed.
        let _ = gate.on_availability(link, now);
        gate
    }

    /// Whether an attempt may start at `now`.
    #[must_use]
    pub fn admits(&self, now: Duration) -> bool {
        self.outage.is_none_or(|hold| hold.next_probe_at <= now)
    }

    /// Why requests are held, if they are.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// An attempt at `id` starts at `now`. While requests are held it is a trial.
    pub fn on_start(&mut self, id: RequestId, now: Duration, jitter: f64) {
        if let Some(hold) = &mut self.outage {
            hold.next_probe_at = now.saturating_add(self.delay.before(1, jitter));
            self.probes.push(id);
        }
    }

    /// The attempt at `id` has ended.
    pub fn on_end(
        &mut self,
        id: RequestId,
        evidence: ReachabilityEvidence,
        now: Duration,
        jitter: f64,
    ) -> Option<GateChange> {
        let is_trial =
            self.probes.iter().position(|trial| *trial == id).map(|at| self.probes.swap_remove(at));
        let is_away = self.availability == BackendAvailability::Down;
        match (evidence, self.outage) {
            (ReachabilityEvidence::Answered, _) => self.release(),
            (ReachabilityEvidence::Unreachable(reason), None) => Some(self.close(reason, now, jitter)),
            (ReachabilityEvidence::Unanswered(reason), None) if is_away => {
                Some(self.close(reason, now, jitter))
            }
            // What had started before the gate closed tells nothing new.
            (_, Some(_)) if is_trial.is_none() => None,
            (ReachabilityEvidence::Unreachable(reason), Some(hold)) => {
                Some(self.extend(hold, reason, now, jitter))
            }
            (ReachabilityEvidence::Unanswered(reason), Some(hold)) if is_away => {
                Some(self.extend(hold, reason, now, jitter))
            }
            // Something took the request, and the link does not say otherwise.
            (ReachabilityEvidence::Unanswered(_), Some(_)) => self.release(),
            (ReachabilityEvidence::None, Some(hold)) => {
                // The trial showed nothing, so the next one need not wait for long.
                self.outage = Some(Outage { next_probe_at: hold.next_probe_at.min(now), ..hold });
                None
            }
            (ReachabilityEvidence::Unanswered(_) | ReachabilityEvidence::None, None) => None,
        }
    }

    /// The link says something else than before.
    pub fn on_availability(&mut self, link: BackendAvailability, now: Duration) -> Option<GateChange> {
        let before = std::mem::replace(&mut self.availability, link);
        match link {
            BackendAvailability::Up => self.release(),
            // It has just gone: the next request shall try.
            BackendAvailability::Down if before != BackendAvailability::Down && self.outage.is_none() => {
                let hold =
                    Outage { since: now, reason: Reason::Disconnected, failures: 0, next_probe_at: now };
                self.outage = Some(hold);
                Some(GateChange::Held(hold))
            }
            BackendAvailability::Down | BackendAvailability::Unknown => None,
        }
    }

    /// The backend has answered elsewhere.
    pub fn on_backend_seen(&mut self) -> Option<GateChange> {
        self.release()
    }

    fn close(&mut self, reason: Reason, now: Duration, jitter: f64) -> GateChange {
        let next_trial_at = now.saturating_add(self.delay.before(1, jitter));
        let hold = Outage { since: now, reason, failures: 1, next_probe_at: next_trial_at };
        self.outage = Some(hold);
        GateChange::Held(hold)
    }

    fn extend(&mut self, hold: Outage, reason: Reason, now: Duration, jitter: f64) -> GateChange {
        let failures = hold.failures.saturating_add(1);
        let next_trial_at = now.saturating_add(self.delay.before(failures, jitter));
        let hold = Outage { reason, failures, next_probe_at: next_trial_at, ..hold };
        self.outage = Some(hold);
        GateChange::Held(hold)
    }

    fn release(&mut self) -> Option<GateChange> {
        self.probes.clear();
        self.outage.take().map(GateChange::Released)
    }
}
