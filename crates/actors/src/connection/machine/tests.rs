//! What the machine promises, as sequences of events and the actions they lead to.

mod attempts;
mod commands;
mod generations;
mod liveness;
mod refusals;
mod status;

use mainstay_runtime::policy::Delay;

use super::*;
use crate::connection::status::{ConnectionState, Transition};

/// A machine, its clock and its luck.
struct TestMachine {
    machine: Machine,
    now: Duration,
    jitter: f64,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The defaults, with delays of 1, 2, 4 … 30 s to the point.
fn policy() -> ConnectionPolicy {
    ConnectionPolicy {
        delay: Delay::Exponential { min: secs(1), max: secs(30), factor: 2.0, jitter: false },
        ..ConnectionPolicy::default()
    }
}

fn probing_policy() -> ConnectionPolicy {
    ConnectionPolicy { after_failed: AfterFailed::Probe, ..policy() }
}

fn fault(kind: ConnectionErrorKind) -> ConnectionError {
    ConnectionError::new(kind, "")
}

fn refused(generation: u64) -> MachineEvent {
    MachineEvent::DialFailed { generation, error: fault(ConnectionErrorKind::Refused) }
}

fn lost(generation: u64) -> MachineEvent {
    MachineEvent::Closed { generation, error: fault(ConnectionErrorKind::Lost) }
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
        Self { machine: Machine::new(policy), now: secs(100), jitter: 0.5 }
    }

    /// Connected with socket 1.
    fn connected(policy: ConnectionPolicy) -> Self {
        let mut play = Self::new(policy);
        play.apply(MachineEvent::Connect);
        play.apply(opened(1));
        play
    }

    /// Waiting for attempt 2 after dial 1 was refused.
    fn waiting(policy: ConnectionPolicy) -> Self {
        let mut play = Self::new(policy);
        play.apply(MachineEvent::Connect);
        play.apply(refused(1));
        play
    }

    /// Failed after every attempt was refused; returns it with the last generation.
    fn failed(policy: ConnectionPolicy) -> (Self, u64) {
        let mut play = Self::waiting(policy);
        while play.state() == ConnectionState::Reconnecting {
            play.tick_when_due();
            play.apply(refused(play.machine.generation));
        }
        let generation = play.machine.generation;
        (play, generation)
    }

    fn apply_all(&mut self, event: MachineEvent) -> Vec<MachineAction> {
        self.machine.on_event(self.now, event, self.jitter)
    }

    /// What is to be done now, apart from writing it down.
    fn apply(&mut self, event: MachineEvent) -> Vec<MachineAction> {
        let mut actions = self.apply_all(event);
        actions.retain(|action| !matches!(action, MachineAction::Changed(_)));
        actions
    }

    /// What is written down now.
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

    /// Lets time pass until the machine wants to be woken, and wakes it.
    fn tick_when_due(&mut self) -> Vec<MachineAction> {
        self.now = self.machine.next_wake().expect("the machine waits for somebody else");
        self.apply(MachineEvent::Tick)
    }

    fn state(&self) -> ConnectionState {
        self.machine.status().state
    }

    /// The wait until the next attempt.
    fn time_to_next_attempt(&self) -> Duration {
        self.machine.status().next_attempt_at.expect("no attempt is planned") - self.now
    }

    fn attempt(&self) -> u32 {
        self.machine.status().attempt
    }
}
