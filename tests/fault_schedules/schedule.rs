//! Defines a schedule: everything that a run gets from outside. It follows from its seed alone.

use mainstay::Priority;
use mainstay::backend::Fault as BackendFault;

use crate::fault_proxy::fault::{CloseKind, NetworkFault, NetworkFaultKind};
use crate::generator::Generator;
use crate::settings::ScheduleSettings;

/// Faults begin within this time.
pub(crate) const FAULTS_BEGIN_MS: u64 = 400;
/// Requests begin within this time.
pub(crate) const CALLS_MS: u64 = 650;
/// The agents of the runtime.
pub(crate) const AGENTS: [&str; 2] = ["planner", "coder"];
/// The agent that receives the messages of requests. The runtime does not know it: nothing restarts it or writes its
/// state.
pub(crate) const LEDGER: &str = "ledger";
/// The agent that receives the states of requests.
pub(crate) const NOTES: &str = "notes";
/// The agent that receives messages past the proxy, so that there are events all the time.
pub(crate) const CHATTER: &str = "chatter";

/// The input of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) settings: ScheduleSettings,
    /// The number of events that the backend keeps for clients that resume.
    pub(crate) history_max: usize,
    /// True if the first fault waits until everything is healthy.
    pub(crate) begins_healthy: bool,
    pub(crate) faults: Vec<ScheduledFault>,
    pub(crate) calls: Vec<ScheduledCall>,
    pub(crate) sends: Vec<ScheduledSend>,
    /// The times of messages past the proxy.
    pub(crate) chatter: Vec<u64>,
    /// The last fault, during the shutdown.
    pub(crate) final_phase: Option<FinalPhase>,
}

/// A fault, or a command of a person meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScheduledFault {
    pub(crate) at_ms: u64,
    pub(crate) lasts_ms: u64,
    pub(crate) action: FaultAction,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FaultAction {
    /// A fault on the network.
    Network(NetworkFault),
    /// A fault of the backend. An agent that hangs is healed at the end of the fault.
    Backend(BackendFault),
    /// The backend's process ends, and another one begins.
    RestartBackend,
    /// A person connects.
    Reconnect,
    /// A person disconnects, and connects at the end of the fault.
    Disconnect,
    /// A person restarts the agent.
    RestartAgent(&'static str),
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScheduledCall {
    pub(crate) at_ms: u64,
    pub(crate) kind: RequestKind,
    pub(crate) body: BodyKind,
    pub(crate) reading: ReadMode,
    pub(crate) priority: Priority,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) wait_timeout_ms: Option<u64>,
    pub(crate) retries: Option<u32>,
    pub(crate) caller: CallerBehaviour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Get,
    /// The same request as others, who may share its response.
    Shared,
    Put,
    /// A message that must not be sent twice.
    Post,
    /// A message with a key, from the caller or from the queue.
    KeyedPost {
        is_generated: bool,
    },
    /// So many bytes there and back, with a key.
    Echo {
        bytes: usize,
    },
}

/// The form of a body, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    InMemory,
    /// A stream that each attempt can open again.
    Stream {
        has_length: bool,
    },
    /// A stream that exists once.
    Once,
}

/// The ways to read a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMode {
    Whole,
    Streaming,
    /// Reads its first part alone.
    Partial,
}

/// The time for which the caller wants the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerBehaviour {
    Wait,
    /// Drops the future.
    DropAfterMs(u64),
    /// Cancels by id.
    CancelAfterMs(u64),
}

/// A text frame to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScheduledSend {
    pub(crate) at_ms: u64,
    pub(crate) timeout_ms: u64,
    /// The number of padding bytes.
    pub(crate) padding_bytes: usize,
}

/// A last fault, and the requests in flight when the runtime shuts down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FinalPhase {
    pub(crate) fault: NetworkFault,
    pub(crate) calls: Vec<ScheduledCall>,
    pub(crate) sends: Vec<ScheduledSend>,
    /// The delay after them.
    pub(crate) shutdown_at_ms: u64,
}

impl ScheduledFault {
    /// Returns the kind, for counting occurrences.
    pub(crate) fn name(&self) -> &'static str {
        match &self.action {
            FaultAction::Network(NetworkFault { kind, .. }) => match kind {
                NetworkFaultKind::Latency { .. } => "latency",
                NetworkFaultKind::Throttle { .. } => "drip",
                NetworkFaultKind::Stall => "stall",
                NetworkFaultKind::HalfOpen => "half-open",
                NetworkFaultKind::Cut(CloseKind::Fin) => "cut",
                NetworkFaultKind::Cut(CloseKind::Rst) => "reset",
                NetworkFaultKind::CutAfter { .. } => "cut after bytes",
                NetworkFaultKind::Truncate { .. } => "truncation",
                NetworkFaultKind::Refuse => "refusal",
                NetworkFaultKind::DropNew(_) => "accepted and dropped",
            },
            FaultAction::Backend(fault) => match fault {
                BackendFault::CrashAgent { .. } => "agent crash",
                BackendFault::HangAgent { .. } | BackendFault::HealAgent { .. } => "agent hangs",
                BackendFault::Status { .. } => "failing status",
                BackendFault::Slow { .. } => "slow backend",
                BackendFault::Reset { .. } => "backend resets",
                BackendFault::DropWs | BackendFault::RefuseWs { .. } | BackendFault::HalfOpenWs { .. } => {
                    "backend's WebSockets"
                }
            },
            FaultAction::RestartBackend => "backend restart",
            FaultAction::Reconnect | FaultAction::Disconnect | FaultAction::RestartAgent(_) => "order",
        }
    }

    pub(crate) fn ends_ms(&self) -> u64 {
        self.at_ms + self.lasts_ms
    }
}

impl Schedule {
    /// Draws the schedule of `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut generator = Generator::new(seed);
        let settings = ScheduleSettings::random(&mut generator);
        let faults = generator.faults();
        let calls = generator.calls(CALLS_MS, 12..=32);
        let mut sends = generator.sends(CALLS_MS, 2..=8);
        if generator.one_in(10) {
            sends.extend(generator.flood());
        }
        let pace_ms = generator.ms(8, 40);
        Self {
            seed,
            settings,
            history_max: generator.pick(&[1024, 1024, 64, 6]),
            begins_healthy: !generator.one_in(4),
            faults,
            calls,
            sends,
            chatter: (0..CALLS_MS / pace_ms).map(|round| round * pace_ms).collect(),
            final_phase: generator.one_in(3).then(|| generator.final_phase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seed_determines_the_schedule() {
        for seed in 0..200 {
            let schedule = Schedule::random(seed);
            assert_eq!(schedule, Schedule::random(seed));
            assert_ne!(schedule.calls, Schedule::random(seed + 1).calls, "{seed}");
        }
    }

    #[test]
    fn every_fault_ends_and_each_kind_occurs() {
        let mut seen = BTreeSet::new();
        for seed in 0..1000 {
            for fault in Schedule::random(seed).faults {
                assert!(fault.ends_ms() <= FAULTS_BEGIN_MS + 5 * 60 + 250, "{seed}: {fault:?}");
                seen.insert(fault.name());
            }
        }
        assert_eq!(seen.len(), 18, "{seen:?}");
    }

    #[test]
    fn ledger_agent_keeps_all_messages_of_a_schedule() {
        for seed in 0..1000 {
            let schedule = Schedule::random(seed);
            let final_phase = schedule.final_phase.iter().flat_map(|final_phase| &final_phase.calls);
            let most = schedule.calls.iter().chain(final_phase).map(|call| match call.kind {
                RequestKind::Post => 1,
                RequestKind::KeyedPost { .. } => call.retries.unwrap_or(schedule.settings.retries) + 1,
                RequestKind::Get | RequestKind::Shared | RequestKind::Put | RequestKind::Echo { .. } => 0,
            });
            let most: u32 = most.sum();
            // The embedded backend keeps this many messages of an agent.
            assert!(most <= 100, "{seed}: {most} messages at most");
        }
    }
}
