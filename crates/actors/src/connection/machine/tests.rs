//! What the machine promises, as sequences of events and the actions they lead to.

mod attempts;
mod generations;
mod liveness;
mod orders;
mod refusals;
mod status;

use mainstay_runtime::policy::Delay;

use super::*;
use crate::connection::status::{ConnectionState, Transition};

/// A machine, its clock and its luck.
struct Play {
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

fn probing() -> ConnectionPolicy {
    ConnectionPolicy { after_failed: AfterFailed::Probe, ..policy() }
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "")
}

fn refused(generation: u64) -> Event {
    Event::DialFailed { generation, fault: fault(FaultKind::Refused) }
}

fn lost(generation: u64) -> Event {
    Event::Closed { generation, fault: fault(FaultKind::Lost) }
}

fn opened(generation: u64) -> Event {
    Event::Opened { generation }
}

fn received(generation: u64) -> Event {
    Event::Received { generation }
}

fn dial(generation: u64) -> Action {
    Action::Dial { generation }
}

fn drop_of(generation: u64) -> Action {
    Action::Drop { generation }
}

fn ping(generation: u64, number: u64) -> Action {
    Action::SendPing { generation, number }
}

impl Play {
    fn new(policy: ConnectionPolicy) -> Self {
        Self { machine: Machine::new(policy), now: secs(100), jitter: 0.5 }
    }

    /// Connected with socket 1.
    fn connected(policy: ConnectionPolicy) -> Self {
        let mut play = Self::new(policy);
        play.on(Event::Connect);
        play.on(opened(1));
        play
    }

    /// Waiting for attempt 2 after dial 1 was refused.
    fn waiting(policy: ConnectionPolicy) -> Self {
        let mut play = Self::new(policy);
        play.on(Event::Connect);
        play.on(refused(1));
        play
    }

    /// Failed after every attempt was refused; returns it with the last generation.
    fn failed(policy: ConnectionPolicy) -> (Self, u64) {
        let mut play = Self::waiting(policy);
        while play.state() == ConnectionState::Reconnecting {
            play.wake();
            play.on(refused(play.machine.generation));
        }
        let generation = play.machine.generation;
        (play, generation)
    }

    fn all_on(&mut self, event: Event) -> Vec<Action> {
        self.machine.on_event(self.now, event, self.jitter)
    }

    /// What is to be done now, apart from writing it down.
    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.all_on(event);
        actions.retain(|action| !matches!(action, Action::Changed(_)));
        actions
    }

    /// What is written down now.
    fn change_on(&mut self, event: Event) -> Transition {
        match self.all_on(event).into_iter().next() {
            Some(Action::Changed(transition)) => transition,
            other => panic!("no change comes first, but {other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Lets time pass until the machine wants to be woken, and wakes it.
    fn wake(&mut self) -> Vec<Action> {
        self.now = self.machine.next_wake().expect("the machine waits for somebody else");
        self.on(Event::Tick)
    }

    fn state(&self) -> ConnectionState {
        self.machine.status().state
    }

    /// The wait until the next attempt.
    fn wait(&self) -> Duration {
        self.machine.status().next_attempt_at.expect("no attempt is planned") - self.now
    }

    fn attempt(&self) -> u32 {
        self.machine.status().attempt
    }
}
