//! What holds after any sequence of events.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::connection::status::ConnectionState;

const KINDS: [FaultKind; 7] = [
    FaultKind::Refused,
    FaultKind::Lost,
    FaultKind::Unanswered,
    FaultKind::Unauthenticated,
    FaultKind::RateLimited,
    FaultKind::MessageTooLarge,
    FaultKind::ProtocolViolation,
];

/// An event before it is known which generations exist: `age` 0 is the latest dial, 1 the one before.
#[derive(Debug, Clone)]
enum Step {
    Connect,
    Disconnect,
    Opened {
        age: u64,
    },
    DialFailed {
        age: u64,
        kind: FaultKind,
        retry_after_s: Option<u64>,
    },
    Received {
        age: u64,
    },
    Moved {
        age: u64,
        ago_ms: u64,
    },
    Ponged {
        age: u64,
        number: u64,
    },
    Closed {
        age: u64,
        kind: FaultKind,
    },
    SendFailed {
        age: u64,
        kind: FaultKind,
    },
    /// At the time the machine asks for.
    TickOnTime,
    Tick,
    Woke,
    BackendSeen,
}

fn step() -> impl Strategy<Value = Step> {
    let age = || prop_oneof![4 => Just(0u64), 1 => 0..4u64];
    let kind = || prop::sample::select(KINDS.to_vec());
    let retry_after_s = prop::option::of(prop_oneof![0..100u64, Just(u64::MAX)]);
    prop_oneof![
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        6 => age().prop_map(|age| Step::Opened { age }),
        4 => (age(), kind(), retry_after_s)
            .prop_map(|(age, kind, retry_after_s)| Step::DialFailed { age, kind, retry_after_s }),
        2 => age().prop_map(|age| Step::Received { age }),
        2 => (age(), 0..30_000u64).prop_map(|(age, ago_ms)| Step::Moved { age, ago_ms }),
        2 => (age(), 0..3u64).prop_map(|(age, number)| Step::Ponged { age, number }),
        3 => (age(), kind()).prop_map(|(age, kind)| Step::Closed { age, kind }),
        1 => (age(), kind()).prop_map(|(age, kind)| Step::SendFailed { age, kind }),
        8 => Just(Step::TickOnTime),
        2 => Just(Step::Tick),
        1 => Just(Step::Woke),
        2 => Just(Step::BackendSeen),
    ]
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

/// Obeys a machine as its owner would, and checks each action against what is really open.
struct Obedient {
    machine: Machine,
    policy: ConnectionPolicy,
    now: Duration,
    sockets: BTreeSet<u64>,
    is_wanted: bool,
    folded: (ConnectionState, u32, Option<Duration>),
}

impl Obedient {
    fn new(policy: ConnectionPolicy) -> Self {
        Self {
            machine: Machine::new(policy.clone()),
            policy,
            now: Duration::ZERO,
            sockets: BTreeSet::new(),
            is_wanted: false,
            folded: (ConnectionState::Disconnected, 0, None),
        }
    }

    fn event(&mut self, step: Step) -> Event {
        let latest = self.machine.generation;
        let of = |age: u64| latest.saturating_sub(age);
        let fault = |kind| Fault::new(kind, "");
        match step {
            Step::Connect => Event::Connect,
            Step::Disconnect => Event::Disconnect,
            Step::Opened { age } => Event::Opened { generation: of(age) },
            Step::DialFailed { age, kind, retry_after_s } => {
                let retry_after = retry_after_s.map(Duration::from_secs);
                Event::DialFailed { generation: of(age), fault: Fault { retry_after, ..fault(kind) } }
            }
            Step::Received { age } => Event::Received { generation: of(age) },
            Step::Moved { age, ago_ms } => {
                let at = self.now.saturating_sub(Duration::from_millis(ago_ms));
                Event::Moved { generation: of(age), at }
            }
            Step::Ponged { age, number } => Event::Ponged { generation: of(age), number },
            Step::Closed { age, kind } => Event::Closed { generation: of(age), fault: fault(kind) },
            Step::SendFailed { age, kind } => Event::SendFailed { generation: of(age), fault: fault(kind) },
            Step::TickOnTime => {
                self.now = self.machine.next_wake().unwrap_or(self.now).max(self.now);
                Event::Tick
            }
            Step::Tick => Event::Tick,
            Step::Woke => Event::Woke,
            Step::BackendSeen => Event::BackendSeen,
        }
    }

    fn obey(&mut self, event: Event, jitter: f64) -> Result<(), TestCaseError> {
        match event {
            Event::Connect => self.is_wanted = true,
            Event::Disconnect => self.is_wanted = false,
            _ => {}
        }
        let actions = self.machine.on_event(self.now, event, jitter);
        for (index, action) in actions.iter().enumerate() {
            self.obey_one(index, action)?;
        }
        self.check()
    }

    fn obey_one(&mut self, index: usize, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Changed(transition) => {
                prop_assert_eq!(index, 0, "a change comes first, and only one");
                prop_assert_eq!(transition.from, self.folded.0);
                self.folded = (transition.to, transition.attempt, transition.next_attempt_at);
            }
            Action::Dial { generation } => {
                prop_assert!(self.is_wanted, "a dial while disconnected by hand");
                prop_assert!(self.sockets.is_empty(), "two live sockets");
                self.sockets.insert(*generation);
            }
            Action::Drop { generation } => {
                self.sockets.remove(generation);
            }
            Action::SayWhy { generation, .. }
            | Action::CloseGracefully { generation }
            | Action::SendPing { generation, .. }
            | Action::Resume { generation }
            | Action::FlushOutbound { generation } => {
                prop_assert!(self.sockets.contains(generation), "{:?} on a socket that is gone", action);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let status = self.machine.status();
        prop_assert_eq!(self.folded, (status.state, status.attempt, status.next_attempt_at));
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
            ConnectionState::Failed => self.policy.probe_interval(),
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
    fn no_sequence_of_events_breaks_the_machine(
        policy in policies(),
        steps in prop::collection::vec((step(), 0..20_000u64, 0.0..1.0f64), 0..120),
    ) {
        let mut owner = Obedient::new(policy);
        for (step, passes_ms, jitter) in steps {
            owner.now += Duration::from_millis(passes_ms);
            let event = owner.event(step);
            owner.obey(event, jitter)?;
        }
    }

    #[test]
    fn a_tick_on_time_always_brings_the_next_one_further(
        policy in policies(),
        steps in prop::collection::vec((step(), 0.0..1.0f64), 0..60),
    ) {
        let mut owner = Obedient::new(policy);
        for (step, jitter) in steps {
            let event = owner.event(step);
            owner.obey(event, jitter)?;
            while let Some(due) = owner.machine.next_wake().filter(|due| *due <= owner.now) {
                owner.obey(Event::Tick, jitter)?;
                let next = owner.machine.next_wake();
                prop_assert!(next.is_none_or(|next| next > due), "a busy loop at {:?}", due);
            }
        }
    }

    #[test]
    fn left_alone_with_a_dead_backend_the_machine_comes_to_rest_or_probes(policy in policies()) {
        let mut owner = Obedient::new(policy.clone());
        owner.obey(Event::Connect, 0.5)?;
        for _ in 0..20 {
            let event = owner.event(Step::TickOnTime);
            owner.obey(event, 0.5)?;
        }
        prop_assert_eq!(owner.machine.status().state, ConnectionState::Failed);
        prop_assert_eq!(owner.machine.attempts, policy.max_retries.max(1));
    }
}
