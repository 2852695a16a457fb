//! The connection's state machine: which socket to open, to believe and to drop, and when.
//!
//! Pure and synchronous: events and the time go in, actions come out. It holds no socket and no timer. Whoever
//! drives it obeys every action in order, sends [`Event::Tick`] at [`Machine::next_wake`], and reports what
//! became of each dial and socket under its generation. Generations only grow, and whatever is reported of an
//! old one changes nothing. At most one socket is live: a [`Action::Dial`] never comes before the
//! [`Action::Drop`] of the one before.
//!
//! Its states, and what each event leads to in each of them, stand in docs/connection-table.md, which is generated from
//! what machines do; docs/connection.md explains them. "Waiting" and "dialling" are shown as the one state
//! `reconnecting`: with a time of the next attempt and without.
//!
//! *Attempts* counts the dials since somebody asked or since the last connection proved stable. Attempts and delays
//! start over once a peer was *seen* alive for `stable_after`: by its bytes or by its own close, not by mere silence. So
//! a server that accepts and drops, or accepts and says nothing, still ends in `failed`. A fault that [`is_retryable`]
//! denies ends there at once.

mod action;
mod event;
mod phase;
mod shown;

use std::time::Duration;

use mainstay_runtime::journal::millis;

pub use self::action::Action;
pub use self::event::Event;
use self::phase::{Closing, Phase, Purpose};
use super::{
    fault::{Fault, FaultKind},
    liveness::{Check, Liveness},
    policy::{AfterFailed, ConnectionPolicy, close_code, is_retryable},
    status::{ConnectionStatus, Reason},
};

/// The state machine of one connection.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: ConnectionPolicy,
    phase: Phase,
    /// Of the latest dial; 0 before the first.
    generation: u64,
    attempts: u32,
    /// Waits since the attempts began; one behind the attempts after a first dial, level with them after a loss.
    delays: u32,
    since: Duration,
    reason: Reason,
    last_error: Option<Fault>,
    last_error_at: Option<Duration>,
    /// When news of the backend last made it start over, since a connection proved stable.
    news_heeded_at: Option<Duration>,
}

impl Machine {
    /// A machine at rest: `disconnected` until [`Event::Connect`].
    #[must_use]
    pub fn new(policy: ConnectionPolicy) -> Self {
        Self {
            policy,
            phase: Phase::Disconnected { closing: None },
            generation: 0,
            attempts: 0,
            delays: 0,
            since: Duration::ZERO,
            reason: Reason::Started,
            last_error: None,
            last_error_at: None,
            news_heeded_at: None,
        }
    }

    /// A machine at rest whose predecessor was left `disconnected` with this status: since when, why, and what
    /// went wrong last are still true.
    #[must_use]
    pub fn succeeding(policy: ConnectionPolicy, left: &ConnectionStatus) -> Self {
        Self {
            since: left.since,
            reason: left.reason,
            last_error: left.last_error.clone(),
            last_error_at: left.last_error_at,
            ..Self::new(policy)
        }
    }

    /// Takes in one event and says what is to be done about it.
    ///
    /// `now` is the time since the runtime's start and never goes back; `jitter` is a fresh random number in
    /// `[0, 1)`.
    pub fn on_event(&mut self, now: Duration, event: Event, jitter: f64) -> Vec<Action> {
        let before = self.shown();
        let mut actions = self.step(event, now, jitter);
        let after = self.shown();
        if before != after {
            actions.insert(0, Action::Changed(self.transition(before.state, after)));
        }
        if before.state != after.state {
            self.since = now;
        }
        actions
    }

    /// When the machine next has something to do by itself; `None` while it waits for others alone.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Disconnected { closing } => closing.map(|closing| closing.deadline),
            Phase::Dialling { deadline, .. } => Some(*deadline),
            Phase::Connected { peer, .. } => peer.next_check(&self.policy),
            Phase::Waiting { until } => Some(*until),
            Phase::Failed { probe_at } => *probe_at,
        }
    }

    /// The generation of the open socket, if one is open.
    #[must_use]
    pub fn open_generation(&self) -> Option<u64> {
        matches!(self.phase, Phase::Connected { .. }).then_some(self.generation)
    }

    fn step(&mut self, event: Event, now: Duration, jitter: f64) -> Vec<Action> {
        match event {
            Event::Connect => self.connect(now),
            Event::Disconnect => self.disconnect(now),
            Event::Opened { generation } => self.opened(generation, now),
            Event::Received { generation } => self.heard(generation, |peer| peer.heard(now)),
            Event::Moved { generation, at } => self.heard(generation, |peer| peer.moved(at.min(now))),
            Event::Ponged { generation, number } => self.heard(generation, |peer| peer.ponged(number, now)),
            Event::DialFailed { generation, fault }
            | Event::Closed { generation, fault }
            | Event::SendFailed { generation, fault } => self.ended(generation, fault, now, jitter),
            Event::BackendSeen => self.backend_seen(now),
            Event::Tick => self.tick(now, jitter),
            Event::Woke => self.woke(now),
        }
    }

    // === what people ask ===

    fn connect(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Disconnected { .. } | Phase::Failed { .. } => {
                self.start_over();
                self.dial(Purpose::First, Reason::Requested, now)
            }
            Phase::Dialling { purpose: Purpose::Probe, deadline } => {
                self.start_over();
                self.attempts = 1;
                self.enter(Phase::Dialling { purpose: Purpose::First, deadline }, Reason::Requested);
                Vec::new()
            }
            Phase::Dialling { .. } => Vec::new(),
            Phase::Connected { .. } => self.prove(now),
            Phase::Waiting { .. } => self.dial(Purpose::Retry, Reason::Requested, now),
        }
    }

    fn disconnect(&mut self, now: Duration) -> Vec<Action> {
        let generation = self.generation;
        let (closing, actions) = match self.phase {
            Phase::Disconnected { .. } => return Vec::new(),
            Phase::Connected { .. } => {
                let deadline = now.saturating_add(self.policy.close_timeout);
                (Some(Closing { generation, deadline }), vec![Action::CloseGracefully { generation }])
            }
            Phase::Dialling { .. } => (None, vec![Action::Drop { generation }]),
            Phase::Waiting { .. } | Phase::Failed { .. } => (None, Vec::new()),
        };
        self.enter(Phase::Disconnected { closing }, Reason::Requested);
        actions
    }

    /// A connection that was given up because nobody answered starts over; one that was refused does not. Where that
    /// led to nothing, as with a backend whose WebSocket alone is broken, news are of no interest for a while.
    fn backend_seen(&mut self, now: Duration) -> Vec<Action> {
        let is_refused = self.last_error.as_ref().is_some_and(|fault| !is_retryable(fault.kind));
        let is_stale =
            self.news_heeded_at.is_some_and(|at| now < at.saturating_add(self.policy.probe_interval()));
        if !matches!(self.phase, Phase::Failed { .. }) || is_refused || is_stale {
            return Vec::new();
        }
        self.news_heeded_at = Some(now);
        self.start_over();
        self.dial(Purpose::First, Reason::BackendSeen, now)
    }

    // === what becomes of sockets ===

    fn opened(&mut self, generation: u64, now: Duration) -> Vec<Action> {
        if self.live() != Some(generation) {
            return vec![Action::Drop { generation }];
        }
        if matches!(self.phase, Phase::Dialling { .. }) {
            let peer = Liveness::new(now);
            self.enter(Phase::Connected { attempt: self.attempts, peer }, Reason::Opened);
            return vec![Action::Resume { generation }, Action::FlushOutbound { generation }];
        }
        Vec::new()
    }

    fn heard(&mut self, generation: u64, note: impl FnOnce(&mut Liveness)) -> Vec<Action> {
        if generation == self.generation
            && let Phase::Connected { peer, .. } = &mut self.phase
        {
            note(peer);
            self.forgive_if_stable();
        }
        Vec::new()
    }

    fn ended(&mut self, generation: u64, fault: Fault, now: Duration, jitter: f64) -> Vec<Action> {
        let closed = self.drop_closing(|closing| closing.generation == generation);
        if !closed.is_empty() {
            return closed;
        }
        if self.live() != Some(generation) {
            return Vec::new();
        }
        // An end that the peer brought about is a sign of life; a silence that the system gave up on is not.
        if let Phase::Connected { peer, .. } = &mut self.phase
            && fault.kind != FaultKind::Unanswered
        {
            peer.heard(now);
            self.forgive_if_stable();
        }
        self.fail(fault, now, jitter)
    }

    // === time ===

    fn tick(&mut self, now: Duration, jitter: f64) -> Vec<Action> {
        match &mut self.phase {
            Phase::Disconnected { .. } => self.drop_closing(|closing| closing.deadline <= now),
            Phase::Dialling { deadline, .. } if *deadline <= now => {
                let fault = Fault::new(FaultKind::ConnectTimedOut, "no handshake within connect_timeout");
                self.fail(fault, now, jitter)
            }
            Phase::Connected { peer, .. } => match peer.check(now, &self.policy) {
                Check::Dead => {
                    let fault = Fault::new(FaultKind::Unanswered, "no sign of life within ping_timeout");
                    self.fail(fault, now, jitter)
                }
                Check::Ping(number) => self.ping(number),
                Check::Wait => Vec::new(),
            },
            Phase::Waiting { until } if *until <= now => self.dial(Purpose::Retry, Reason::RetryDue, now),
            Phase::Failed { probe_at: Some(at) } if *at <= now => {
                self.dial(Purpose::Probe, Reason::ProbeDue, now)
            }
            Phase::Dialling { .. } | Phase::Waiting { .. } | Phase::Failed { .. } => Vec::new(),
        }
    }

    fn woke(&mut self, now: Duration) -> Vec<Action> {
        match self.phase {
            Phase::Connected { .. } => self.prove(now),
            Phase::Waiting { .. } => {
                // What failed before a sleep says nothing about the network after it, and that is often not there at
                // once: this dial must not be the last.
                self.start_over();
                self.dial(Purpose::Retry, Reason::Woke, now)
            }
            Phase::Dialling { purpose, .. } => {
                // Nor does what becomes of a dial that the sleep came upon: it has its whole time, and is the first.
                let deadline = now.saturating_add(self.policy.connect_timeout);
                self.phase = Phase::Dialling { purpose, deadline };
                if purpose != Purpose::Probe && self.attempts > 1 {
                    self.reason = Reason::Woke;
                    self.attempts = 1;
                }
                self.delays = 0;
                Vec::new()
            }
            Phase::Failed { probe_at: Some(_) } => self.dial(Purpose::Probe, Reason::Woke, now),
            Phase::Disconnected { .. } | Phase::Failed { probe_at: None } => Vec::new(),
        }
    }

    // === what follows ===

    fn dial(&mut self, purpose: Purpose, reason: Reason, now: Duration) -> Vec<Action> {
        let mut actions = self.drop_closing(|_| true);
        self.generation += 1;
        if purpose != Purpose::Probe {
            self.attempts = self.attempts.saturating_add(1);
        }
        let deadline = now.saturating_add(self.policy.connect_timeout);
        self.enter(Phase::Dialling { purpose, deadline }, reason);
        actions.push(Action::Dial { generation: self.generation });
        actions
    }

    /// Ends the live dial or socket, and waits or gives up.
    fn fail(&mut self, fault: Fault, now: Duration, jitter: f64) -> Vec<Action> {
        let was_probe = matches!(self.phase, Phase::Dialling { purpose: Purpose::Probe, .. });
        let generation = self.generation;
        let mut actions = Vec::new();
        if let (Phase::Connected { .. }, Some(code)) = (&self.phase, close_code(fault.kind)) {
            actions.push(Action::SayWhy { generation, code });
        }
        actions.push(Action::Drop { generation });
        if !is_retryable(fault.kind) {
            self.give_up(Reason::Fault(fault.kind), &fault, now);
        } else if self.attempts >= self.policy.max_retries {
            self.give_up(Reason::RetriesExhausted, &fault, now);
        } else if was_probe {
            self.give_up(Reason::Fault(fault.kind), &fault, now);
        } else {
            self.wait(&fault, now, jitter);
        }
        self.last_error = Some(fault);
        self.last_error_at = Some(now);
        actions
    }

    fn wait(&mut self, fault: &Fault, now: Duration, jitter: f64) {
        self.delays = self.delays.saturating_add(1);
        let delay = self.policy.delay.before(self.delays, jitter);
        let until = now.saturating_add(self.policy.at_least(delay, fault.retry_after));
        // The clock shows whole milliseconds: with a part of one, it would be over when the next one is shown.
        let until = Duration::from_millis(millis(until));
        self.enter(Phase::Waiting { until }, Reason::Fault(fault.kind));
    }

    fn give_up(&mut self, reason: Reason, fault: &Fault, now: Duration) {
        let probe_at = match self.policy.after_failed {
            AfterFailed::Wait => None,
            AfterFailed::Probe => Some(
                now.saturating_add(self.policy.at_least(self.policy.probe_interval(), fault.retry_after)),
            ),
        };
        self.enter(Phase::Failed { probe_at }, reason);
    }

    fn prove(&mut self, now: Duration) -> Vec<Action> {
        let Phase::Connected { peer, .. } = &mut self.phase else { return Vec::new() };
        match peer.prove(now, &self.policy) {
            Check::Ping(number) => self.ping(number),
            Check::Wait | Check::Dead => Vec::new(),
        }
    }

    fn ping(&self, number: u64) -> Vec<Action> {
        vec![Action::SendPing { generation: self.generation, number }]
    }

    /// Drops the socket that is still closing, if there is one of which `is_over` holds.
    fn drop_closing(&mut self, is_over: impl FnOnce(&Closing) -> bool) -> Vec<Action> {
        let Phase::Disconnected { closing } = &mut self.phase else { return Vec::new() };
        let over = closing.take_if(|closing| is_over(closing));
        over.map(|closing| Action::Drop { generation: closing.generation }).into_iter().collect()
    }

    fn forgive_if_stable(&mut self) {
        if let Phase::Connected { peer, .. } = &self.phase
            && peer.proven_for() >= self.policy.stable_after
        {
            self.start_over();
            self.news_heeded_at = None;
        }
    }

    fn start_over(&mut self) {
        self.attempts = 0;
        self.delays = 0;
    }

    fn enter(&mut self, phase: Phase, reason: Reason) {
        self.phase = phase;
        self.reason = reason;
    }

    /// The generation that events are believed of.
    fn live(&self) -> Option<u64> {
        matches!(self.phase, Phase::Dialling { .. } | Phase::Connected { .. }).then_some(self.generation)
    }
}

#[cfg(test)]
mod sequences;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
