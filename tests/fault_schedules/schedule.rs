//! A schedule: everything that a run is given from outside. It follows from its seed alone.

use mainstay::Priority;

use crate::fault_proxy::fault::{CloseKind, NetworkFault, NetworkFaultKind};
use crate::generator::Generator;
use crate::settings::ScheduleSettings;

/// Faults begin within this time.
pub(crate) const FAULTS_BEGIN_MS: u64 = 400;
/// Requests are made within this time.
pub(crate) const CALLS_MS: u64 = 650;
/// The agents that the runtime looks after.
pub(crate) const AGENTS: [&str; 2] = ["planner", "coder"];
/// Messages of requests go to this one, which the runtime knows nothing of: nobody restarts it or writes its state.
pub(crate) const LEDGER: &str = "ledger";
/// States of requests are written to this one.
pub(crate) const NOTES: &str = "notes";
/// Messages that are sent past the proxy go to this one, so that there are events all the time.
pub(crate) const CHATTER: &str = "chatter";

/// What a run is given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) settings: ScheduleSettings,
    /// How many events the backend keeps for who resumes.
    pub(crate) history_max: usize,
    /// Whether the first fault waits until everything is well.
    pub(crate) begins_healthy: bool,
    pub(crate) faults: Vec<ScheduledFault>,
    pub(crate) calls: Vec<ScheduledCall>,
    pub(crate) sends: Vec<ScheduledSend>,
    /// When a message is sent past the proxy.
    pub(crate) chatter: Vec<u64>,
    /// What happens while the runtime is shut down in the end.
    pub(crate) final_phase: Option<FinalPhase>,
}

/// Something that goes wrong, or that somebody orders meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScheduledFault {
    pub(crate) at_ms: u64,
    pub(crate) lasts_ms: u64,
    pub(crate) action: FaultAction,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FaultAction {
    /// On the way to the backend.
    Network(NetworkFault),
    /// The agent loses its memory and fails.
    CrashAgent(&'static str),
    /// The next requests to the path are answered so.
    Answer {
        path: &'static str,
        status: u16,
        retry_after: Option<u64>,
        times: u32,
    },
    /// The next requests to the path wait.
    Slow {
        path: &'static str,
        ms: u64,
        times: u32,
    },
    /// The next requests to the path lose their connection before they are carried out.
    Reset {
        path: &'static str,
        times: u32,
    },
    DropWebSockets,
    /// The backend answers handshakes with 503.
    RefuseWebSockets,
    /// The backend neither reads nor writes on WebSockets.
    SilenceWebSockets,
    /// The agent gives no answer to anything but a restart.
    HangAgent(&'static str),
    /// The backend's process ends, and another one begins.
    RestartBackend,
    /// Somebody asks for a connection.
    Reconnect,
    /// Somebody asks for none, and at the end of the trouble for one.
    Disconnect,
    /// Somebody wants the agent restarted.
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
    /// The same as others, who may share its answer.
    Shared,
    Put,
    /// A message that must not be sent twice.
    Post,
    /// A message with a key, given by the caller or made by the queue.
    KeyedPost {
        is_generated: bool,
    },
    /// So many bytes there and back, with a key.
    Echo {
        bytes: usize,
    },
}

/// How a body is given, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    InMemory,
    /// As a stream that is there anew for each attempt.
    Stream {
        has_length: bool,
    },
    /// As a stream that is there once.
    Once,
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMode {
    Whole,
    Streaming,
    /// No further than its first part.
    Partial,
}

/// How long the caller wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerBehaviour {
    Wait,
    /// It drops the future.
    DropAfterMs(u64),
    /// It cancels by id.
    CancelAfterMs(u64),
}

/// A text frame to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScheduledSend {
    pub(crate) at_ms: u64,
    pub(crate) timeout_ms: u64,
    /// By how much it is longer than it need be.
    pub(crate) padding_bytes: usize,
}

/// A last fault, and what is under way when the runtime is shut down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FinalPhase {
    pub(crate) fault: NetworkFault,
    pub(crate) calls: Vec<ScheduledCall>,
    pub(crate) sends: Vec<ScheduledSend>,
    /// How long after them.
    pub(crate) shutdown_at_ms: u64,
}

impl ScheduledFault {
    /// What it is, for counting how often it occurs.
    pub(crate) fn name(&self) -> &'static str {
        match &self.action {
            FaultAction::Network(NetworkFault { kind: evil, .. }) => match evil {
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
            FaultAction::CrashAgent(_) => "agent crash",
            FaultAction::Answer { .. } => "failing status",
            FaultAction::Slow { .. } => "slow backend",
            FaultAction::Reset { .. } => "backend resets",
            FaultAction::DropWebSockets | FaultAction::RefuseWebSockets | FaultAction::SilenceWebSockets => {
                "backend's WebSockets"
            }
            FaultAction::HangAgent(_) => "agent hangs",
            FaultAction::RestartBackend => "backend restart",
            FaultAction::Reconnect | FaultAction::Disconnect | FaultAction::RestartAgent(_) => "order",
        }
    }

    pub(crate) fn ends_ms(&self) -> u64 {
        self.at_ms + self.lasts_ms
    }
}

impl Schedule {
    /// The schedule of `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut draw = Generator::new(seed);
        let settings = ScheduleSettings::random(&mut draw);
        let troubles = draw.faults();
        let calls = draw.calls(CALLS_MS, 12..=32);
        let mut sends = draw.sends(CALLS_MS, 2..=8);
        if draw.one_in(10) {
            sends.extend(draw.flood());
        }
        let pace_ms = draw.ms(8, 40);
        Self {
            seed,
            settings,
            history_max: draw.pick(&[1024, 1024, 64, 6]),
            begins_healthy: !draw.one_in(4),
            faults: troubles,
            calls,
            sends,
            chatter: (0..CALLS_MS / pace_ms).map(|round| round * pace_ms).collect(),
            final_phase: draw.one_in(3).then(|| draw.final_phase()),
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
            for trouble in Schedule::random(seed).faults {
                assert!(trouble.ends_ms() <= FAULTS_BEGIN_MS + 5 * 60 + 250, "{seed}: {trouble:?}");
                seen.insert(trouble.name());
            }
        }
        assert_eq!(seen.len(), 18, "{seen:?}");
    }

    #[test]
    fn ledger_agent_keeps_all_messages_of_a_schedule() {
        for seed in 0..1000 {
            let schedule = Schedule::random(seed);
            let finale = schedule.final_phase.iter().flat_map(|finale| &finale.calls);
            let most = schedule.calls.iter().chain(finale).map(|call| match call.kind {
                RequestKind::Post => 1,
                RequestKind::KeyedPost { .. } => call.retries.unwrap_or(schedule.settings.retries) + 1,
                RequestKind::Get | RequestKind::Shared | RequestKind::Put | RequestKind::Echo { .. } => 0,
            });
            let most: u32 = most.sum();
            // What the embedded backend keeps of an agent's messages.
            assert!(most <= 100, "{seed}: {most} messages at most");
        }
    }
}
