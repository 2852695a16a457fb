//! A schedule: everything that a run is given from outside. It follows from its seed alone.

use mainstay::Priority;

use crate::draw::Draw;
use crate::fault_proxy::fault::{Evil, Fault, Hangup};
use crate::settings::Settings;

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
    pub(crate) settings: Settings,
    /// How many events the backend keeps for who resumes.
    pub(crate) history_max: usize,
    /// Whether the first fault waits until everything is well.
    pub(crate) begins_well: bool,
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) calls: Vec<Call>,
    pub(crate) sends: Vec<Send>,
    /// When a message is sent past the proxy.
    pub(crate) chatter: Vec<u64>,
    /// What happens while the runtime is shut down in the end.
    pub(crate) finale: Option<Finale>,
}

/// Something that goes wrong, or that somebody orders meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) at_ms: u64,
    pub(crate) lasts_ms: u64,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// On the way to the backend.
    Wire(Fault),
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
pub(crate) struct Call {
    pub(crate) at_ms: u64,
    pub(crate) what: Asked,
    pub(crate) body: Form,
    pub(crate) reading: Reading,
    pub(crate) priority: Priority,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) wait_timeout_ms: Option<u64>,
    pub(crate) retries: Option<u32>,
    pub(crate) patience: Patience,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
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
pub(crate) enum Form {
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
pub(crate) enum Reading {
    Whole,
    AsItComes,
    /// No further than its first part.
    Partly,
}

/// How long the caller wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    ToTheEnd,
    /// It drops the future.
    DropAfterMs(u64),
    /// It cancels by id.
    CancelAfterMs(u64),
}

/// A text frame to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) at_ms: u64,
    pub(crate) patience_ms: u64,
    /// By how much it is longer than it need be.
    pub(crate) padding_bytes: usize,
}

/// A last fault, and what is under way when the runtime is shut down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finale {
    pub(crate) fault: Fault,
    pub(crate) calls: Vec<Call>,
    pub(crate) sends: Vec<Send>,
    /// How long after them.
    pub(crate) shutdown_at_ms: u64,
}

impl Trouble {
    /// What it is, for counting how often it occurs.
    pub(crate) fn name(&self) -> &'static str {
        match &self.what {
            What::Wire(Fault { evil, .. }) => match evil {
                Evil::Latency { .. } => "latency",
                Evil::Drip { .. } => "drip",
                Evil::Stall => "stall",
                Evil::HalfOpen => "half-open",
                Evil::Cut(Hangup::Fin) => "cut",
                Evil::Cut(Hangup::Rst) => "reset",
                Evil::CutAfter { .. } => "cut after bytes",
                Evil::Truncate { .. } => "truncation",
                Evil::Refuse => "refusal",
                Evil::DropNew(_) => "accepted and dropped",
            },
            What::CrashAgent(_) => "agent crash",
            What::Answer { .. } => "failing status",
            What::Slow { .. } => "slow backend",
            What::Reset { .. } => "backend resets",
            What::DropWebSockets | What::RefuseWebSockets | What::SilenceWebSockets => "backend's WebSockets",
            What::HangAgent(_) => "agent hangs",
            What::RestartBackend => "backend restart",
            What::Reconnect | What::Disconnect | What::RestartAgent(_) => "order",
        }
    }

    pub(crate) fn ends_ms(&self) -> u64 {
        self.at_ms + self.lasts_ms
    }
}

impl Schedule {
    /// The schedule of `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let settings = Settings::random(&mut draw);
        let troubles = draw.troubles();
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
            begins_well: !draw.one_in(4),
            troubles,
            calls,
            sends,
            chatter: (0..CALLS_MS / pace_ms).map(|round| round * pace_ms).collect(),
            finale: draw.one_in(3).then(|| draw.finale()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
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
            for trouble in Schedule::random(seed).troubles {
                assert!(trouble.ends_ms() <= FAULTS_BEGIN_MS + 5 * 60 + 250, "{seed}: {trouble:?}");
                seen.insert(trouble.name());
            }
        }
        assert_eq!(seen.len(), 18, "{seen:?}");
    }

    #[test]
    fn the_ledger_remembers_all_that_a_schedule_can_make_it_do() {
        for seed in 0..1000 {
            let schedule = Schedule::random(seed);
            let finale = schedule.finale.iter().flat_map(|finale| &finale.calls);
            let most = schedule.calls.iter().chain(finale).map(|call| match call.what {
                Asked::Post => 1,
                Asked::KeyedPost { .. } => call.retries.unwrap_or(schedule.settings.retries) + 1,
                Asked::Get | Asked::Shared | Asked::Put | Asked::Echo { .. } => 0,
            });
            let most: u32 = most.sum();
            // What the embedded backend keeps of an agent's messages.
            assert!(most <= 100, "{seed}: {most} messages at most");
        }
    }
}
