//! Tests the invariants after random sequences of events.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::connection::machine::*;
use crate::connection::status::ConnectionState;

const KINDS: [ConnectionErrorKind; 7] = [
    ConnectionErrorKind::Refused,
    ConnectionErrorKind::Lost,
    ConnectionErrorKind::Unanswered,
    ConnectionErrorKind::Unauthenticated,
    ConnectionErrorKind::RateLimited,
    ConnectionErrorKind::MessageTooLarge,
    ConnectionErrorKind::ProtocolViolation,
];

/// A step of a sequence.
#[derive(Debug, Clone)]
enum MachineStep {
    /// An event whose generation is an age (0 is the latest dial, 1 the one before), as is the time of `BytesMoved`.
    Event(MachineEvent),
    /// A tick at the machine's next wake-up.
    TickOnTime,
}

fn step() -> impl Strategy<Value = MachineStep> {
    use MachineEvent::*;
    let age = || prop_oneof![4 => Just(0u64), 1 => 0..4u64];
    let error = || {
        let kind = prop::sample::select(KINDS.to_vec());
        kind.prop_map(|kind| ConnectionError::new(kind, ""))
    };
    let retry_after_s = prop::option::of(prop_oneof![0..100u64, Just(u64::MAX)]);
    let event = prop_oneof![
        2 => Just(Connect),
        1 => Just(Disconnect),
        6 => age().prop_map(|generation| Opened { generation }),
        4 => (age(), error(), retry_after_s).prop_map(|(generation, error, retry_after_s)| {
            let retry_after = retry_after_s.map(Duration::from_secs);
            DialFailed { generation, error: ConnectionError { retry_after, ..error } }
        }),
        2 => age().prop_map(|generation| FrameReceived { generation }),
        2 => (age(), 0..30_000u64)
            .prop_map(|(generation, ago)| BytesMoved { generation, at: Duration::from_millis(ago) }),
        2 => (age(), 0..3u64).prop_map(|(generation, number)| PongReceived { generation, number }),
        3 => (age(), error()).prop_map(|(generation, error)| Closed { generation, error }),
        1 => (age(), error()).prop_map(|(generation, error)| SendFailed { generation, error }),
        2 => Just(Tick),
        1 => Just(SystemResumed),
        2 => Just(BackendSeen),
        1 => prop::sample::select(vec![BackendStarted, CredentialsChanged, NetworkChanged]),
    ];
    prop_oneof![28 => event.prop_map(MachineStep::Event), 8 => Just(MachineStep::TickOnTime)]
}

fn policies() -> impl Strategy<Value = ConnectionPolicy> {
    (0..4u32, any::<bool>(), prop::sample::select(vec![0u64, 15])).prop_map(
        |(max_retries, probes, ping_s)| ConnectionPolicy {
            max_retries,
            after_failed: if probes { AfterFailed::Probe } else { AfterFailed::Wait },
            ping_interval: Duration::from_secs(ping_s),
            ..ConnectionPolicy::default()
        },
    )
}

/// Carries out a machine's actions as its owner would, and checks each one against the open sockets.
struct MachineOwner {
    machine: Machine,
    policy: ConnectionPolicy,
    now: Duration,
    sockets: BTreeSet<u64>,
    should_connect: bool,
    replayed_status: (ConnectionState, u32, Option<Duration>),
}

impl MachineOwner {
    fn new(policy: ConnectionPolicy) -> Self {
        Self {
            machine: Machine::new(policy.clone()),
            policy,
            now: Duration::ZERO,
            sockets: BTreeSet::new(),
            should_connect: false,
            replayed_status: (ConnectionState::Disconnected, 0, None),
        }
    }

    /// Returns the step's event, with its generation and time counted from the latest.
    fn event(&mut self, step: MachineStep) -> MachineEvent {
        use MachineEvent::*;
        let MachineStep::Event(mut event) = step else {
            self.now = self.machine.next_wake().unwrap_or(self.now).max(self.now);
            return Tick;
        };
        if let BytesMoved { at, .. } = &mut event {
            *at = self.now.saturating_sub(*at);
        }
        match &mut event {
            Opened { generation }
            | DialFailed { generation, .. }
            | FrameReceived { generation }
            | BytesMoved { generation, .. }
            | PongReceived { generation, .. }
            | Closed { generation, .. }
            | SendFailed { generation, .. } => {
                *generation = self.machine.generation.saturating_sub(*generation);
            }
            Connect | Disconnect | Tick | SystemResumed | BackendSeen | BackendStarted
            | CredentialsChanged | NetworkChanged => {}
        }
        event
    }

    fn apply(&mut self, event: MachineEvent, jitter: f64) -> Result<(), TestCaseError> {
        match event {
            MachineEvent::Connect => self.should_connect = true,
            MachineEvent::Disconnect => self.should_connect = false,
            _ => {}
        }
        let actions = self.machine.on_event(self.now, event, jitter);
        for (index, action) in actions.iter().enumerate() {
            self.execute(index, action)?;
        }
        self.check()
    }

    fn execute(&mut self, index: usize, action: &MachineAction) -> Result<(), TestCaseError> {
        match action {
            MachineAction::Changed(transition) => {
                prop_assert_eq!(index, 0, "a change comes first, and only one");
                prop_assert_eq!(transition.from, self.replayed_status.0);
                self.replayed_status = (transition.to, transition.attempt, transition.next_attempt_at);
            }
            MachineAction::Dial { generation } => {
                prop_assert!(self.should_connect, "a dial while disconnected by hand");
                prop_assert!(self.sockets.is_empty(), "two live sockets");
                self.sockets.insert(*generation);
            }
            MachineAction::Drop { generation } => {
                self.sockets.remove(generation);
            }
            MachineAction::SendCloseCode { generation, .. }
            | MachineAction::CloseGracefully { generation }
            | MachineAction::SendPing { generation, .. }
            | MachineAction::Resume { generation }
            | MachineAction::FlushOutbound { generation } => {
                prop_assert!(self.sockets.contains(generation), "{:?} on a socket that is gone", action);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let status = self.machine.status();
        prop_assert_eq!(self.replayed_status, (status.state, status.attempt, status.next_attempt_at));
        self.check_next_attempt(&status)?;
        let waits_for_a_person = match status.state {
            ConnectionState::Disconnected => true,
            ConnectionState::Failed => self.policy.after_failed == AfterFailed::Wait,
            _ => false,
        };
        let is_idle = status.state == ConnectionState::Connected && self.policy.ping_interval.is_zero();
        prop_assert!(
            self.machine.next_wake().is_some() || waits_for_a_person || is_idle,
            "stuck in {:?}",
            status
        );
        if waits_for_a_person && self.machine.next_wake().is_none() {
            prop_assert!(self.sockets.is_empty(), "a socket is forgotten");
        }
        Ok(())
    }

    fn check_next_attempt(&self, status: &ConnectionStatus) -> Result<(), TestCaseError> {
        let Some(at) = status.next_attempt_at else { return Ok(()) };
        let usual = match status.state {
            ConnectionState::Failed => self.policy.probe_delay(u32::MAX),
            _ => Duration::from_secs(30),
        };
        let asked = status.last_error.as_ref().and_then(|error| error.retry_after).unwrap_or_default();
        let cap = usual.max(asked.min(self.policy.retry_after_max));
        prop_assert!(at <= self.now + cap, "the next attempt at {:?} is beyond the cap of {:?}", at, cap);
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_the_invariants(
        policy in policies(),
        steps in prop::collection::vec((step(), 0..20_000u64, 0.0..1.0f64), 0..120),
    ) {
        let mut owner = MachineOwner::new(policy);
        for (step, passes_ms, jitter) in steps {
            owner.now += Duration::from_millis(passes_ms);
            let event = owner.event(step);
            owner.apply(event, jitter)?;
        }
    }

    #[test]
    fn tick_on_time_always_advances_the_next_wake(
        policy in policies(),
        steps in prop::collection::vec((step(), 0.0..1.0f64), 0..60),
    ) {
        let mut owner = MachineOwner::new(policy);
        for (step, jitter) in steps {
            let event = owner.event(step);
            owner.apply(event, jitter)?;
            while let Some(due) = owner.machine.next_wake().filter(|due| *due <= owner.now) {
                owner.apply(MachineEvent::Tick, jitter)?;
                let next = owner.machine.next_wake();
                prop_assert!(next.is_none_or(|next| next > due), "a busy loop at {:?}", due);
            }
        }
    }

    #[test]
    fn machine_with_a_dead_backend_ends_failed_or_probing(policy in policies()) {
        let mut owner = MachineOwner::new(policy.clone());
        owner.apply(MachineEvent::Connect, 0.5)?;
        for _ in 0..20 {
            let event = owner.event(MachineStep::TickOnTime);
            owner.apply(event, 0.5)?;
        }
        prop_assert_eq!(owner.machine.status().state, ConnectionState::Failed);
        prop_assert_eq!(owner.machine.attempts, policy.max_retries.max(1));
    }
}
