//! Decides which socket to open, use and drop, and when: the connection's state machine.
//!
//! The machine is pure and synchronous: events and the time go in, actions come out. It holds no socket and no timer.
//! Its owner carries out every action in order, sends `MachineEvent::Tick` at `Machine::next_wake`, and reports
//! the result of each dial and socket under its generation. Generations only grow, and reports about old ones change
//! nothing. At most one socket is live: a `MachineAction::Dial` never comes before the `MachineAction::Drop` of
//! the previous one.
//!
//! docs/conformance/connection-table.md lists its states and transitions and is generated from real machines; docs/connection.md
//! explains them. "Waiting" and "dialling" are both shown as the state `reconnecting`, with or without a time of the
//! next attempt.
//!
//! *Attempts* counts the dials since the last request to connect or since the last connection proved stable. Attempts
//! and delays are reset once a peer was *seen* alive for `stable_after`: by its bytes or by its own close, not by
//! silence. So a server that accepts and drops, or accepts and stays silent, still ends in `failed`. An error that
//! [`is_retryable`](ConnectionErrorKind::is_retryable) denies leads to `failed` at once.

mod action;
mod event;
mod phase;
mod snapshot;

use std::time::Duration;

use mainstay_runtime::journal::millis;

pub(crate) use self::action::MachineAction;
pub(crate) use self::event::MachineEvent;
use self::phase::{ClosingSocket, DialPurpose, MachinePhase};
use super::{
    error::{ConnectionError, ConnectionErrorKind},
    liveness::{Liveness, LivenessCheck},
    policy::{AfterFailed, ConnectionPolicy},
    status::{ConnectionStatus, StatusReason},
};

/// The state machine of one connection.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: ConnectionPolicy,
    phase: MachinePhase,
    /// The generation of the latest dial; 0 before the first.
    generation: u64,
    attempts: u32,
    /// The number of delays since the attempts started; one less than the attempts after a first dial, equal after a
    /// loss.
    delays: u32,
    since: Duration,
    reason: StatusReason,
    last_error: Option<ConnectionError>,
    last_error_at: Option<Duration>,
    /// The time at which a hint from elsewhere last restarted the attempts, since a connection proved stable.
    last_backend_hint_at: Option<Duration>,
}

impl Machine {
    /// Creates a machine that is `disconnected` until [`MachineEvent::Connect`].
    #[must_use]
    pub(crate) fn new(policy: ConnectionPolicy) -> Self {
        Self {
            policy,
            phase: MachinePhase::Disconnected { closing: None },
            generation: 0,
            attempts: 0,
            delays: 0,
            since: Duration::ZERO,
            reason: StatusReason::Started,
            last_error: None,
            last_error_at: None,
            last_backend_hint_at: None,
        }
    }

    /// Creates a `disconnected` machine that keeps the time, reason and last error of its predecessor's status.
    #[must_use]
    pub(crate) fn from_previous(policy: ConnectionPolicy, left: &ConnectionStatus) -> Self {
        Self {
            since: left.since,
            reason: left.reason,
            last_error: left.last_error.clone(),
            last_error_at: left.last_error_at,
            ..Self::new(policy)
        }
    }

    /// Processes one event and returns the actions to carry out.
    ///
    /// `now` is the time since the runtime's start and never decreases; `jitter` is a new random number in `[0, 1)`.
    pub(crate) fn on_event(&mut self, now: Duration, event: MachineEvent, jitter: f64) -> Vec<MachineAction> {
        let before = self.snapshot();
        let mut actions = self.step(event, now, jitter);
        let after = self.snapshot();
        if before != after {
            actions.insert(0, MachineAction::Changed(self.transition(before.state, after)));
        }
        if before.state != after.state {
            self.since = now;
        }
        actions
    }

    /// Returns the time of the next `MachineEvent::Tick`; `None` while the machine waits for other events alone.
    #[must_use]
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        match &self.phase {
            MachinePhase::Disconnected { closing } => closing.map(|closing| closing.deadline),
            MachinePhase::Dialling { deadline, .. } => Some(*deadline),
            MachinePhase::Connected { liveness, .. } => liveness.next_check(&self.policy),
            MachinePhase::Waiting { until } => Some(*until),
            MachinePhase::Failed { probe_at } => *probe_at,
        }
    }

    /// Returns the generation of the open socket, if one is open.
    #[must_use]
    pub(crate) fn open_generation(&self) -> Option<u64> {
        matches!(self.phase, MachinePhase::Connected { .. }).then_some(self.generation)
    }

    fn step(&mut self, event: MachineEvent, now: Duration, jitter: f64) -> Vec<MachineAction> {
        match event {
            MachineEvent::Connect => self.connect(now),
            MachineEvent::Disconnect => self.disconnect(now),
            MachineEvent::Opened { generation } => self.opened(generation, now),
            MachineEvent::FrameReceived { generation } => {
                self.on_activity(generation, |liveness| liveness.on_frame(now))
            }
            MachineEvent::BytesMoved { generation, at } => {
                self.on_activity(generation, |liveness| liveness.on_bytes(at.min(now)))
            }
            MachineEvent::PongReceived { generation, number } => {
                self.on_activity(generation, |liveness| liveness.on_pong(number, now))
            }
            MachineEvent::DialFailed { generation, error }
            | MachineEvent::Closed { generation, error }
            | MachineEvent::SendFailed { generation, error } => self.ended(generation, error, now, jitter),
            MachineEvent::BackendSeen => self.backend_seen(now),
            MachineEvent::Tick => self.tick(now, jitter),
            MachineEvent::SystemResumed => self.system_resumed(now),
        }
    }

    // === what people ask ===

    fn connect(&mut self, now: Duration) -> Vec<MachineAction> {
        match self.phase {
            MachinePhase::Disconnected { .. } | MachinePhase::Failed { .. } => {
                self.reset_attempts();
                self.dial(DialPurpose::First, StatusReason::Requested, now)
            }
            MachinePhase::Dialling { purpose: DialPurpose::Probe, deadline } => {
                self.reset_attempts();
                self.attempts = 1;
                self.enter(
                    MachinePhase::Dialling { purpose: DialPurpose::First, deadline },
                    StatusReason::Requested,
                );
                Vec::new()
            }
            MachinePhase::Dialling { .. } => Vec::new(),
            MachinePhase::Connected { .. } => self.verify(now),
            MachinePhase::Waiting { .. } => self.dial(DialPurpose::Retry, StatusReason::Requested, now),
        }
    }

    fn disconnect(&mut self, now: Duration) -> Vec<MachineAction> {
        let generation = self.generation;
        let (closing, actions) = match self.phase {
            MachinePhase::Disconnected { .. } => return Vec::new(),
            MachinePhase::Connected { .. } => {
                let deadline = now.saturating_add(self.policy.close_timeout);
                (
                    Some(ClosingSocket { generation, deadline }),
                    vec![MachineAction::CloseGracefully { generation }],
                )
            }
            MachinePhase::Dialling { .. } => (None, vec![MachineAction::Drop { generation }]),
            MachinePhase::Waiting { .. } | MachinePhase::Failed { .. } => (None, Vec::new()),
        };
        self.enter(MachinePhase::Disconnected { closing }, StatusReason::Requested);
        actions
    }

    /// Restarts a connection that failed because the backend was unreachable, but not one that was refused. If that
    /// led to nothing, as with a backend whose WebSocket alone is broken, further hints are ignored for one probe
    /// interval.
    fn backend_seen(&mut self, now: Duration) -> Vec<MachineAction> {
        let is_refused = self.last_error.as_ref().is_some_and(|error| !error.is_retryable());
        let is_stale =
            self.last_backend_hint_at.is_some_and(|at| now < at.saturating_add(self.policy.probe_interval()));
        if !matches!(self.phase, MachinePhase::Failed { .. }) || is_refused || is_stale {
            return Vec::new();
        }
        self.last_backend_hint_at = Some(now);
        self.reset_attempts();
        self.dial(DialPurpose::First, StatusReason::BackendSeen, now)
    }

    // === sockets ===

    fn opened(&mut self, generation: u64, now: Duration) -> Vec<MachineAction> {
        if self.live_generation() != Some(generation) {
            return vec![MachineAction::Drop { generation }];
        }
        if matches!(self.phase, MachinePhase::Dialling { .. }) {
            let liveness = Liveness::new(now);
            self.enter(MachinePhase::Connected { attempt: self.attempts, liveness }, StatusReason::Opened);
            return vec![MachineAction::Resume { generation }, MachineAction::FlushOutbound { generation }];
        }
        Vec::new()
    }

    fn on_activity(&mut self, generation: u64, note: impl FnOnce(&mut Liveness)) -> Vec<MachineAction> {
        if generation == self.generation
            && let MachinePhase::Connected { liveness, .. } = &mut self.phase
        {
            note(liveness);
            self.reset_if_stable();
        }
        Vec::new()
    }

    fn ended(
        &mut self,
        generation: u64,
        error: ConnectionError,
        now: Duration,
        jitter: f64,
    ) -> Vec<MachineAction> {
        let closed = self.drop_closing(|closing| closing.generation == generation);
        if !closed.is_empty() {
            return closed;
        }
        if self.live_generation() != Some(generation) {
            return Vec::new();
        }
        // A close by the peer is a sign of life; a timeout is not.
        if let MachinePhase::Connected { liveness, .. } = &mut self.phase
            && error.kind != ConnectionErrorKind::Unanswered
        {
            liveness.on_frame(now);
            self.reset_if_stable();
        }
        self.fail(error, now, jitter)
    }

    // === time ===

    fn tick(&mut self, now: Duration, jitter: f64) -> Vec<MachineAction> {
        match &mut self.phase {
            MachinePhase::Disconnected { .. } => self.drop_closing(|closing| closing.deadline <= now),
            MachinePhase::Dialling { deadline, .. } if *deadline <= now => {
                let error = ConnectionError::new(
                    ConnectionErrorKind::ConnectTimedOut,
                    "no handshake within connect_timeout",
                );
                self.fail(error, now, jitter)
            }
            MachinePhase::Connected { liveness, .. } => match liveness.check(now, &self.policy) {
                LivenessCheck::Dead => {
                    let error = ConnectionError::new(
                        ConnectionErrorKind::Unanswered,
                        "no sign of life within ping_timeout",
                    );
                    self.fail(error, now, jitter)
                }
                LivenessCheck::Ping(number) => self.ping(number),
                LivenessCheck::Wait => Vec::new(),
            },
            MachinePhase::Waiting { until } if *until <= now => {
                self.dial(DialPurpose::Retry, StatusReason::RetryDue, now)
            }
            MachinePhase::Failed { probe_at: Some(at) } if *at <= now => {
                self.dial(DialPurpose::Probe, StatusReason::ProbeDue, now)
            }
            MachinePhase::Dialling { .. } | MachinePhase::Waiting { .. } | MachinePhase::Failed { .. } => {
                Vec::new()
            }
        }
    }

    fn system_resumed(&mut self, now: Duration) -> Vec<MachineAction> {
        match self.phase {
            MachinePhase::Connected { .. } => self.verify(now),
            MachinePhase::Waiting { .. } => {
                // Failures before a suspend say nothing about the network after it, which often needs a moment: this
                // dial must not be the last.
                self.reset_attempts();
                self.dial(DialPurpose::Retry, StatusReason::SystemResumed, now)
            }
            MachinePhase::Dialling { purpose, .. } => {
                // The dial in flight gets its full time, and counts as the first attempt.
                let deadline = now.saturating_add(self.policy.connect_timeout);
                self.phase = MachinePhase::Dialling { purpose, deadline };
                if purpose != DialPurpose::Probe && self.attempts > 1 {
                    self.reason = StatusReason::SystemResumed;
                    self.attempts = 1;
                }
                self.delays = 0;
                Vec::new()
            }
            MachinePhase::Failed { probe_at: Some(_) } => {
                self.dial(DialPurpose::Probe, StatusReason::SystemResumed, now)
            }
            MachinePhase::Disconnected { .. } | MachinePhase::Failed { probe_at: None } => Vec::new(),
        }
    }

    // === what follows ===

    fn dial(&mut self, purpose: DialPurpose, reason: StatusReason, now: Duration) -> Vec<MachineAction> {
        let mut actions = self.drop_closing(|_| true);
        self.generation += 1;
        if purpose != DialPurpose::Probe {
            self.attempts = self.attempts.saturating_add(1);
        }
        let deadline = now.saturating_add(self.policy.connect_timeout);
        self.enter(MachinePhase::Dialling { purpose, deadline }, reason);
        actions.push(MachineAction::Dial { generation: self.generation });
        actions
    }

    /// Ends the live dial or socket, then waits or fails.
    fn fail(&mut self, error: ConnectionError, now: Duration, jitter: f64) -> Vec<MachineAction> {
        let was_probe = matches!(self.phase, MachinePhase::Dialling { purpose: DialPurpose::Probe, .. });
        let generation = self.generation;
        let mut actions = Vec::new();
        if let (MachinePhase::Connected { .. }, Some(code)) = (&self.phase, error.kind.close_code()) {
            actions.push(MachineAction::SendCloseCode { generation, code });
        }
        actions.push(MachineAction::Drop { generation });
        if !error.is_retryable() {
            self.enter_failed(StatusReason::Failed(error.kind), &error, now);
        } else if self.attempts >= self.policy.max_retries {
            self.enter_failed(StatusReason::RetriesExhausted, &error, now);
        } else if was_probe {
            self.enter_failed(StatusReason::Failed(error.kind), &error, now);
        } else {
            self.schedule_retry(&error, now, jitter);
        }
        self.last_error = Some(error);
        self.last_error_at = Some(now);
        actions
    }

    fn schedule_retry(&mut self, error: &ConnectionError, now: Duration, jitter: f64) {
        self.delays = self.delays.saturating_add(1);
        let delay = self.policy.delay.before(self.delays, jitter);
        let until = now.saturating_add(self.policy.apply_retry_after(delay, error.retry_after));
        // Times are shown in whole milliseconds: a fraction would be over when the next time is shown.
        let until = Duration::from_millis(millis(until));
        self.enter(MachinePhase::Waiting { until }, StatusReason::Failed(error.kind));
    }

    fn enter_failed(&mut self, reason: StatusReason, error: &ConnectionError, now: Duration) {
        let probe_at = match self.policy.after_failed {
            AfterFailed::Wait => None,
            AfterFailed::Probe => Some(now.saturating_add(
                self.policy.apply_retry_after(self.policy.probe_interval(), error.retry_after),
            )),
        };
        self.enter(MachinePhase::Failed { probe_at }, reason);
    }

    fn verify(&mut self, now: Duration) -> Vec<MachineAction> {
        let MachinePhase::Connected { liveness, .. } = &mut self.phase else { return Vec::new() };
        match liveness.verify(now, &self.policy) {
            LivenessCheck::Ping(number) => self.ping(number),
            LivenessCheck::Wait | LivenessCheck::Dead => Vec::new(),
        }
    }

    fn ping(&self, number: u64) -> Vec<MachineAction> {
        vec![MachineAction::SendPing { generation: self.generation, number }]
    }

    /// Drops the closing socket, if there is one and `is_over` holds for it.
    fn drop_closing(&mut self, is_over: impl FnOnce(&ClosingSocket) -> bool) -> Vec<MachineAction> {
        let MachinePhase::Disconnected { closing } = &mut self.phase else { return Vec::new() };
        let over = closing.take_if(|closing| is_over(closing));
        over.map(|closing| MachineAction::Drop { generation: closing.generation }).into_iter().collect()
    }

    fn reset_if_stable(&mut self) {
        if let MachinePhase::Connected { liveness, .. } = &self.phase
            && liveness.alive_for() >= self.policy.stable_after
        {
            self.reset_attempts();
            self.last_backend_hint_at = None;
        }
    }

    fn reset_attempts(&mut self) {
        self.attempts = 0;
        self.delays = 0;
    }

    fn enter(&mut self, phase: MachinePhase, reason: StatusReason) {
        self.phase = phase;
        self.reason = reason;
    }

    /// Returns the generation whose events count.
    fn live_generation(&self) -> Option<u64> {
        matches!(self.phase, MachinePhase::Dialling { .. } | MachinePhase::Connected { .. })
            .then_some(self.generation)
    }
}

#[cfg(test)]
mod tests;
