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
//! `ConnectionErrorKind::is_retryable` denies leads to `failed` at once.

mod action;
mod event;
mod hints;
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

/// The close code of RFC 6455 for a connection that has served its purpose.
const CLOSE_NORMAL: u16 = 1000;

/// The state machine of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
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
    /// The number of probes that failed since the attempts started.
    probes: u32,
    /// The time before which further hints that the backend answers are ignored: the last one may have led to nothing.
    hints_after: Duration,
}

impl Machine {
    /// Creates a machine that is `disconnected` until [`MachineEvent::Connect`].
    #[must_use]
    pub(crate) fn new(policy: ConnectionPolicy) -> Self {
        let is_enabled = policy.enabled;
        Self {
            policy,
            phase: if is_enabled {
                MachinePhase::Disconnected { closing: None }
            } else {
                MachinePhase::Disabled
            },
            generation: 0,
            attempts: 0,
            delays: 0,
            since: Duration::ZERO,
            reason: StatusReason::Started,
            last_error: None,
            last_error_at: None,
            probes: 0,
            hints_after: Duration::ZERO,
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
            MachinePhase::Disabled => None,
            MachinePhase::Disconnected { closing } => closing.map(|closing| closing.deadline),
            MachinePhase::Dialling { deadline, .. } => Some(*deadline),
            MachinePhase::Connected { liveness, .. } => liveness.next_check(&self.policy),
            MachinePhase::Waiting { until } => Some(*until),
            MachinePhase::Failed { probe_at } => *probe_at,
        }
    }

    /// Returns whether a dial is in flight, whose result will change the state.
    #[must_use]
    pub(crate) fn is_dialling(&self) -> bool {
        matches!(self.phase, MachinePhase::Dialling { .. })
    }

    /// Returns whether a socket is wanted and missing, so that a hint may help.
    #[must_use]
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, MachinePhase::Waiting { .. } | MachinePhase::Failed { .. })
    }

    /// Returns the generation of the open socket, if one is open.
    #[must_use]
    pub(crate) fn open_generation(&self) -> Option<u64> {
        matches!(self.phase, MachinePhase::Connected { .. }).then_some(self.generation)
    }

    fn step(&mut self, event: MachineEvent, now: Duration, jitter: f64) -> Vec<MachineAction> {
        if matches!(self.phase, MachinePhase::Disabled) {
            return Vec::new();
        }
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
            MachineEvent::BackendSeen => self.backend_seen(now, jitter),
            MachineEvent::BackendStarted => self.renewed(StatusReason::BackendStarted, now),
            MachineEvent::CredentialsChanged => self.renewed(StatusReason::CredentialsChanged, now),
            MachineEvent::NetworkChanged => self.restart_waiting(StatusReason::NetworkChanged, now),
            MachineEvent::Tick => self.tick(now, jitter),
            MachineEvent::SystemResumed => self.system_resumed(now),
        }
    }

    // === what people ask ===

    fn connect(&mut self, now: Duration) -> Vec<MachineAction> {
        match self.phase {
            MachinePhase::Disabled => Vec::new(),
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
            MachinePhase::Connected { .. } => {
                let generation = self.generation;
                self.reset_attempts();
                let mut actions = vec![
                    MachineAction::SendCloseCode { generation, code: CLOSE_NORMAL },
                    MachineAction::Drop { generation },
                ];
                actions.extend(self.dial(DialPurpose::First, StatusReason::Requested, now));
                actions
            }
            MachinePhase::Waiting { .. } => self.dial(DialPurpose::Retry, StatusReason::Requested, now),
        }
    }

    fn disconnect(&mut self, now: Duration) -> Vec<MachineAction> {
        let generation = self.generation;
        let (closing, actions) = match self.phase {
            MachinePhase::Disabled => return Vec::new(),
            MachinePhase::Disconnected { .. } => {
                // It may have waited for the start of the backend.
                self.reason = StatusReason::Requested;
                return Vec::new();
            }
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
            MachinePhase::Disabled
            | MachinePhase::Dialling { .. }
            | MachinePhase::Waiting { .. }
            | MachinePhase::Failed { .. } => Vec::new(),
        }
    }

    // === what follows ===

    fn dial(&mut self, purpose: DialPurpose, reason: StatusReason, now: Duration) -> Vec<MachineAction> {
        let mut actions = self.drop_closing(|_| true);
        self.generation += 1;
        if matches!(purpose, DialPurpose::First | DialPurpose::Retry) {
            self.attempts = self.attempts.saturating_add(1);
        }
        let deadline = now.saturating_add(self.policy.connect_timeout);
        self.enter(MachinePhase::Dialling { purpose, deadline }, reason);
        actions.push(MachineAction::Dial { generation: self.generation });
        actions
    }

    /// Ends the live dial or socket, then waits or fails.
    fn fail(&mut self, error: ConnectionError, now: Duration, jitter: f64) -> Vec<MachineAction> {
        let purpose = match self.phase {
            MachinePhase::Dialling { purpose, .. } => Some(purpose),
            _ => None,
        };
        let generation = self.generation;
        let is_final = !error.is_retryable() && !self.is_expired_token(&error);
        let mut actions = Vec::new();
        if let (MachinePhase::Connected { .. }, Some(code)) = (&self.phase, error.answer_code) {
            actions.push(MachineAction::SendCloseCode { generation, code });
        }
        actions.push(MachineAction::Drop { generation });
        match purpose {
            // The planned attempt follows, unless its time came meanwhile: then this was it.
            Some(DialPurpose::Early { until }) if error.is_retryable() && now < until => {
                let asked =
                    now.saturating_add(self.policy.apply_retry_after(Duration::ZERO, error.retry_after));
                let until = until.max(Duration::from_millis(millis(asked)));
                self.enter(MachinePhase::Waiting { until }, StatusReason::Failed(error.reason()));
            }
            purpose => {
                let was_probe = purpose == Some(DialPurpose::Probe);
                self.probes = self.probes.saturating_add(u32::from(was_probe));
                let was_early = matches!(purpose, Some(DialPurpose::Early { .. }));
                self.attempts = self.attempts.saturating_add(u32::from(was_early));
                if is_final {
                    self.enter_failed(StatusReason::Failed(error.reason()), &error, now);
                } else if self.attempts >= self.policy.max_retries {
                    self.enter_failed(StatusReason::RetriesExhausted, &error, now);
                } else if was_probe {
                    self.enter_failed(StatusReason::Failed(error.reason()), &error, now);
                } else {
                    self.schedule_retry(&error, now, jitter);
                }
            }
        }
        self.last_error = Some(error);
        self.last_error_at = Some(now);
        actions
    }

    /// Returns whether the error ended a connection that had proved stable, because its token expired, and the next dial
    /// may have another token.
    fn is_expired_token(&self, error: &ConnectionError) -> bool {
        let was_stable = matches!(self.phase, MachinePhase::Connected { .. }) && self.attempts == 0;
        was_stable && self.policy.renews_token && error.kind == ConnectionErrorKind::Unauthenticated
    }

    fn schedule_retry(&mut self, error: &ConnectionError, now: Duration, jitter: f64) {
        self.delays = self.delays.saturating_add(1);
        let delay = self.policy.delay.before(self.delays, jitter);
        let until = now.saturating_add(self.policy.apply_retry_after(delay, error.retry_after));
        // Times are shown in whole milliseconds: a fraction would be over when the next time is shown.
        let until = Duration::from_millis(millis(until));
        self.enter(MachinePhase::Waiting { until }, StatusReason::Failed(error.reason()));
    }

    fn enter_failed(&mut self, reason: StatusReason, error: &ConnectionError, now: Duration) {
        let probe_at = match self.policy.after_failed {
            AfterFailed::Wait => None,
            AfterFailed::Probe => Some(now.saturating_add(
                self.policy.apply_retry_after(self.policy.probe_delay(self.probes), error.retry_after),
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
            self.hints_after = Duration::ZERO;
        }
    }

    fn reset_attempts(&mut self) {
        self.attempts = 0;
        self.delays = 0;
        self.probes = 0;
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
