//! A schedule: everything that a run is given from outside. It follows from its seed alone.

use std::time::Duration;

use fastrand::Rng;
use mainstay::Priority;

use crate::fault_proxy::fault::{Evil, Fault, Hangup, Target, Ways};
use crate::settings::Settings;

/// Faults begin within this time.
const FAULTS_BEGIN_MS: u64 = 400;
/// Requests are made within this time.
const CALLS_MS: u64 = 650;
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
        let mut draw = Draw(Rng::with_seed(seed));
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

/// Draws what a schedule is made of.
pub(crate) struct Draw(Rng);

impl Draw {
    pub(crate) fn one_in(&mut self, times: u32) -> bool {
        self.0.u32(0..times) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.0.usize(0..from.len())].clone()
    }

    /// From `least` to `most`.
    pub(crate) fn ms(&mut self, least: u64, most: u64) -> u64 {
        self.0.u64(least..=most)
    }

    pub(crate) fn number(&mut self, least: u32, most: u32) -> u32 {
        self.0.u32(least..=most)
    }

    fn duration(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.ms(least_ms, most_ms))
    }

    fn bytes(&mut self, most: usize) -> usize {
        self.0.usize(0..=most)
    }

    // === what goes wrong ===

    fn troubles(&mut self) -> Vec<Trouble> {
        let count = self.number(1, 6);
        (0..count).flat_map(|_| self.burst()).collect()
    }

    /// A trouble; one in five comes again and again.
    fn burst(&mut self) -> Vec<Trouble> {
        let first = self.trouble();
        let count = if self.one_in(5) { self.ms(2, 5) } else { 1 };
        let pace_ms = self.ms(5, 60);
        let again = |round| Trouble { at_ms: first.at_ms + round * pace_ms, ..first.clone() };
        (0..count).map(again).collect()
    }

    fn trouble(&mut self) -> Trouble {
        let (at_ms, lasts_ms) = (self.ms(0, FAULTS_BEGIN_MS), self.ms(5, 250));
        let what = match self.number(0, 19) {
            0..=11 => What::Wire(self.fault()),
            12 => What::CrashAgent(self.pick(&AGENTS)),
            13 => What::HangAgent(self.pick(&[AGENTS[0], AGENTS[1], LEDGER])),
            14 => self.failing_status(),
            15 => What::Slow { path: self.path(), ms: self.ms(10, 250), times: self.number(1, 4) },
            16 => What::Reset { path: self.pick(&["/api/agents/ledger", "/"]), times: self.number(1, 4) },
            17 => self.pick(&[What::DropWebSockets, What::RefuseWebSockets, What::SilenceWebSockets]),
            18 => What::RestartBackend,
            _ => self.order(),
        };
        Trouble { at_ms, lasts_ms, what }
    }

    fn fault(&mut self) -> Fault {
        let ways = self.pick(&[Ways::Up, Ways::Down, Ways::Both, Ways::Both]);
        let target = self.pick(&[Target::Http, Target::WebSocket, Target::All, Target::All]);
        Fault { evil: self.evil(), ways, target }
    }

    fn evil(&mut self) -> Evil {
        match self.number(0, 9) {
            0 => Evil::Latency { base: self.duration(1, 60), jitter: self.duration(0, 40) },
            1 => Evil::Drip { bytes: self.bytes(40) + 1, pause: self.duration(1, 8) },
            2 => Evil::Stall,
            3 => Evil::HalfOpen,
            4 => Evil::Cut(Hangup::Fin),
            5 => Evil::Cut(Hangup::Rst),
            6 => Evil::CutAfter { bytes: self.bytes(500), hangup: self.hangup() },
            7 => Evil::Truncate { bytes: self.pick(&[0, 10, 100, 200, 300, 3000]), hangup: self.hangup() },
            8 => Evil::Refuse,
            _ => Evil::DropNew(self.hangup()),
        }
    }

    fn hangup(&mut self) -> Hangup {
        self.pick(&[Hangup::Fin, Hangup::Rst])
    }

    fn path(&mut self) -> &'static str {
        self.pick(&["/ws", "/api/search", "/api/agents/planner", "/api/agents/ledger", "/"])
    }

    /// A status after which a request may be repeated, or the runtime would rightly give up. Refusals by which a backend
    /// says that it did not act are kept from the ledger: what was sent there whole is to count as sent.
    fn failing_status(&mut self) -> What {
        let path = self.path();
        let statuses: &[u16] =
            if path == "/ws" || path == "/api/search" { &[503, 500, 429] } else { &[503, 500, 502] };
        let retry_after = self.pick(&[None, None, Some(0), Some(0), Some(1)]);
        What::Answer { path, status: self.pick(statuses), retry_after, times: self.number(1, 3) }
    }

    fn order(&mut self) -> What {
        let agent = self.pick(&AGENTS);
        self.pick(&[What::Reconnect, What::Disconnect, What::RestartAgent(agent)])
    }

    fn finale(&mut self) -> Finale {
        let shutdown_at_ms = self.ms(0, 60);
        Finale {
            fault: self.fault(),
            calls: self.calls(shutdown_at_ms, 3..=12),
            sends: self.sends(shutdown_at_ms, 0..=4),
            shutdown_at_ms,
        }
    }

    // === what is asked ===

    fn calls(&mut self, within_ms: u64, count: std::ops::RangeInclusive<usize>) -> Vec<Call> {
        let count = self.0.usize(count);
        // Some come together, as when a view is opened.
        let together_ms = self.ms(0, within_ms);
        (0..count)
            .map(|_| {
                let at_ms = if self.one_in(3) { together_ms } else { self.ms(0, within_ms) };
                self.call(at_ms)
            })
            .collect()
    }

    fn call(&mut self, at_ms: u64) -> Call {
        let what = match self.number(0, 10) {
            0 | 1 => Asked::Get,
            2 => Asked::Shared,
            3 => Asked::Put,
            4..=6 => Asked::Post,
            7 | 8 => Asked::KeyedPost { is_generated: self.one_in(2) },
            _ => Asked::Echo { bytes: self.pick(&[100, 5_000, 60_000, 300_000]) },
        };
        let patience = match self.number(0, 9) {
            0 => Patience::DropAfterMs(self.ms(0, 150)),
            1 => Patience::CancelAfterMs(self.ms(0, 150)),
            _ => Patience::ToTheEnd,
        };
        Call {
            at_ms,
            what,
            body: self.pick(&[
                Form::InMemory,
                Form::InMemory,
                Form::Stream { has_length: true },
                Form::Stream { has_length: false },
                Form::Once,
            ]),
            reading: self.pick(&[
                Reading::Whole,
                Reading::Whole,
                Reading::Whole,
                Reading::AsItComes,
                Reading::Partly,
            ]),
            priority: self.pick(&Priority::ALL),
            timeout_ms: self.one_in(5).then(|| self.ms(20, 400)),
            wait_timeout_ms: self.one_in(4).then(|| self.ms(1, 120)),
            retries: self.one_in(4).then(|| self.number(0, 6)),
            patience,
        }
    }

    fn sends(&mut self, within_ms: u64, count: std::ops::RangeInclusive<usize>) -> Vec<Send> {
        let count = self.0.usize(count);
        let patience_ms = [0, 5, 40, 200, 2_000, 5_000];
        (0..count)
            .map(|_| Send {
                at_ms: self.ms(0, within_ms),
                patience_ms: self.pick(&patience_ms),
                padding_bytes: self.pick(&[0, 0, 100, 20_000]),
            })
            .collect()
    }

    /// More than the system takes off one's hands while nobody reads.
    fn flood(&mut self) -> Vec<Send> {
        let (at_ms, patience_ms) = (self.ms(0, CALLS_MS), self.pick(&[40, 2_000, 5_000]));
        vec![Send { at_ms, patience_ms, padding_bytes: 60_000 }; 60]
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
