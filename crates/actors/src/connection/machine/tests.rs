//! Tests the machine: sequences of events, and the actions that follow.

mod attempts;
mod commands;
mod generations;
mod hints;
mod liveness;
mod refusals;
mod sequences;
mod status;
mod table;

use mainstay_runtime::policy::Delay;

use super::*;
use crate::{
    connection::{
        error::ConnectionErrorKind as Kind,
        status::{
            ConnectionState::{self, *},
            Transition,
        },
    },
    error::Reason,
    tests::s,
};
use MachineEvent::{BackendSeen, Connect, Disconnect, SystemResumed, Tick};

/// A machine, its clock and its random number.
struct TestMachine {
    machine: Machine,
    now: Duration,
    jitter: f64,
}

/// Returns a policy with exact delays of 1, 2, 4 … 30 s, and without probes.
fn policy() -> ConnectionPolicy {
    ConnectionPolicy {
        delay: Delay::Exponential { min: s(1), max: s(30), factor: 2.0, jitter: false },
        after_failed: AfterFailed::Wait,
        ..ConnectionPolicy::default()
    }
}

fn probing_policy() -> ConnectionPolicy {
    ConnectionPolicy { after_failed: AfterFailed::Probe, ..policy() }
}

fn error(kind: Kind) -> ConnectionError {
    ConnectionError::new(kind, "")
}

fn dial_failed(generation: u64, error: ConnectionError) -> MachineEvent {
    MachineEvent::DialFailed { generation, error }
}

fn closed(generation: u64, error: ConnectionError) -> MachineEvent {
    MachineEvent::Closed { generation, error }
}

fn refused(generation: u64) -> MachineEvent {
    dial_failed(generation, error(Kind::Refused))
}

fn lost(generation: u64) -> MachineEvent {
    closed(generation, error(Kind::Lost))
}

fn opened(generation: u64) -> MachineEvent {
    MachineEvent::Opened { generation }
}

fn received(generation: u64) -> MachineEvent {
    MachineEvent::FrameReceived { generation }
}

fn dial(generation: u64) -> MachineAction {
    MachineAction::Dial { generation }
}

fn drop_socket(generation: u64) -> MachineAction {
    MachineAction::Drop { generation }
}

fn ping(generation: u64, number: u64) -> MachineAction {
    MachineAction::SendPing { generation, number }
}

impl TestMachine {
    fn new(policy: ConnectionPolicy) -> Self {
        Self { machine: Machine::new(policy), now: s(100), jitter: 0.5 }
    }

    /// Returns a machine at dial 1.
    fn connecting(policy: ConnectionPolicy) -> Self {
        let mut fixture = Self::new(policy);
        fixture.apply(Connect);
        fixture
    }

    /// Returns a machine connected with socket 1.
    fn connected(policy: ConnectionPolicy) -> Self {
        let mut fixture = Self::connecting(policy);
        fixture.apply(opened(1));
        fixture
    }

    /// Returns a machine that waits for attempt 2 after dial 1 was refused.
    fn waiting(policy: ConnectionPolicy) -> Self {
        let mut fixture = Self::connecting(policy);
        fixture.apply(refused(1));
        fixture
    }

    /// Returns a machine that failed after every attempt was refused, with its last generation.
    fn failed(policy: ConnectionPolicy) -> (Self, u64) {
        let mut fixture = Self::waiting(policy);
        while fixture.state() == Reconnecting {
            fixture.tick_when_due();
            fixture.apply(refused(fixture.machine.generation));
        }
        let generation = fixture.machine.generation;
        (fixture, generation)
    }

    fn apply_all(&mut self, event: MachineEvent) -> Vec<MachineAction> {
        self.machine.on_event(self.now, event, self.jitter)
    }

    /// Returns the actions without the recorded change.
    fn apply(&mut self, event: MachineEvent) -> Vec<MachineAction> {
        let mut actions = self.apply_all(event);
        actions.retain(|action| !matches!(action, MachineAction::Changed(_)));
        actions
    }

    /// Returns the recorded change.
    fn transition_on(&mut self, event: MachineEvent) -> Transition {
        match self.apply_all(event).into_iter().next() {
            Some(MachineAction::Changed(transition)) => transition,
            other => panic!("no change comes first, but {other:?}"),
        }
    }

    fn advance(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Advances the time to the machine's next wake-up and sends a tick.
    fn tick_when_due(&mut self) -> Vec<MachineAction> {
        self.now = self.machine.next_wake().expect("the machine waits for no timer");
        self.apply(Tick)
    }

    fn state(&self) -> ConnectionState {
        self.machine.status().state
    }

    /// Returns the delay until the next attempt.
    fn time_to_next_attempt(&self) -> Duration {
        self.machine.status().next_attempt_at.expect("no attempt is planned") - self.now
    }

    /// Returns the state, the attempt and the delay until it.
    fn wait(&self) -> (ConnectionState, u32, Duration) {
        (self.state(), self.attempt(), self.time_to_next_attempt())
    }

    fn attempt(&self) -> u32 {
        self.machine.status().attempt
    }
}
