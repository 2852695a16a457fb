//! Draws what a schedule is made of.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use mainstay::Priority;

use crate::fault_proxy::fault::{Evil, Fault, Hangup, Target, Ways};
use crate::schedule::{
    AGENTS, Asked, CALLS_MS, Call, FAULTS_BEGIN_MS, Finale, Form, LEDGER, Patience, Reading, Send, Trouble,
    What,
};

/// A source of chance.
pub(crate) struct Draw(Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

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

    pub(crate) fn troubles(&mut self) -> Vec<Trouble> {
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

    pub(crate) fn finale(&mut self) -> Finale {
        let shutdown_at_ms = self.ms(0, 60);
        Finale {
            fault: self.fault(),
            calls: self.calls(shutdown_at_ms, 3..=12),
            sends: self.sends(shutdown_at_ms, 0..=4),
            shutdown_at_ms,
        }
    }

    // === what is asked ===

    pub(crate) fn calls(&mut self, within_ms: u64, count: RangeInclusive<usize>) -> Vec<Call> {
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

    pub(crate) fn sends(&mut self, within_ms: u64, count: RangeInclusive<usize>) -> Vec<Send> {
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
    pub(crate) fn flood(&mut self) -> Vec<Send> {
        let (at_ms, patience_ms) = (self.ms(0, CALLS_MS), self.pick(&[40, 2_000, 5_000]));
        vec![Send { at_ms, patience_ms, padding_bytes: 60_000 }; 60]
    }
}
