//! Draws the parts of a schedule.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use mainstay::Priority;
use mainstay::backend::Fault as BackendFault;

use crate::fault_proxy::fault::{CloseKind, Directions, FaultTarget, NetworkFault, NetworkFaultKind};
use crate::schedule::{
    AGENTS, BodyKind, CALLS_MS, CallerBehaviour, FAULTS_BEGIN_MS, FaultAction, FinalPhase, LEDGER, ReadMode,
    RequestKind, ScheduledCall, ScheduledFault, ScheduledSend,
};

/// A source of random choices.
pub(crate) struct Generator(Rng);

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub(crate) fn one_in(&mut self, times: u32) -> bool {
        self.0.u32(0..times) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.0.usize(0..from.len())].clone()
    }

    /// Draws a number from `least` to `most`.
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

    pub(crate) fn faults(&mut self) -> Vec<ScheduledFault> {
        let count = self.number(1, 6);
        (0..count).flat_map(|_| self.burst()).collect()
    }

    /// Draws a fault; one in five repeats.
    fn burst(&mut self) -> Vec<ScheduledFault> {
        let first = self.scheduled_fault();
        let count = if self.one_in(5) { self.ms(2, 5) } else { 1 };
        let pace_ms = self.ms(5, 60);
        let again = |round| ScheduledFault { at_ms: first.at_ms + round * pace_ms, ..first.clone() };
        (0..count).map(again).collect()
    }

    fn scheduled_fault(&mut self) -> ScheduledFault {
        let (at_ms, lasts_ms) = (self.ms(0, FAULTS_BEGIN_MS), self.ms(5, 250));
        let what = match self.number(0, 19) {
            0..=11 => FaultAction::Network(self.network_fault()),
            12..=17 => FaultAction::Backend(self.backend_fault(lasts_ms)),
            18 => FaultAction::RestartBackend,
            _ => self.order(),
        };
        ScheduledFault { at_ms, lasts_ms, action: what }
    }

    fn backend_fault(&mut self, for_ms: u64) -> BackendFault {
        match self.number(0, 5) {
            0 => BackendFault::CrashAgent { agent: self.pick(&AGENTS).to_owned() },
            1 => BackendFault::HangAgent { agent: self.pick(&[AGENTS[0], AGENTS[1], LEDGER]).to_owned() },
            2 => self.failing_status(),
            3 => BackendFault::Slow {
                path: self.path().to_owned(),
                ms: self.ms(10, 250),
                times: self.number(1, 4),
            },
            4 => BackendFault::Reset {
                path: self.pick(&["/api/agents/ledger", "/"]).to_owned(),
                times: self.number(1, 4),
            },
            _ => self.pick(&[
                BackendFault::DropWs,
                BackendFault::RefuseWs { for_ms },
                BackendFault::HalfOpenWs { for_ms },
            ]),
        }
    }

    fn network_fault(&mut self) -> NetworkFault {
        let ways = self.pick(&[Directions::Up, Directions::Down, Directions::Both, Directions::Both]);
        let target =
            self.pick(&[FaultTarget::Http, FaultTarget::WebSocket, FaultTarget::All, FaultTarget::All]);
        NetworkFault { kind: self.fault_kind(), directions: ways, target }
    }

    fn fault_kind(&mut self) -> NetworkFaultKind {
        match self.number(0, 9) {
            0 => NetworkFaultKind::Latency { base: self.duration(1, 60), jitter: self.duration(0, 40) },
            1 => NetworkFaultKind::Throttle { bytes: self.bytes(40) + 1, pause: self.duration(1, 8) },
            2 => NetworkFaultKind::Stall,
            3 => NetworkFaultKind::HalfOpen,
            4 => NetworkFaultKind::Cut(CloseKind::Fin),
            5 => NetworkFaultKind::Cut(CloseKind::Rst),
            6 => NetworkFaultKind::CutAfter { bytes: self.bytes(500), close: self.close_kind() },
            7 => NetworkFaultKind::Truncate {
                bytes: self.pick(&[0, 10, 100, 200, 300, 3000]),
                close: self.close_kind(),
            },
            8 => NetworkFaultKind::Refuse,
            _ => NetworkFaultKind::DropNew(self.close_kind()),
        }
    }

    fn close_kind(&mut self) -> CloseKind {
        self.pick(&[CloseKind::Fin, CloseKind::Rst])
    }

    fn path(&mut self) -> &'static str {
        self.pick(&["/ws", "/api/search", "/api/agents/planner", "/api/agents/ledger", "/"])
    }

    /// Draws a status after which a request may be repeated, or the runtime would rightly give up. The ledger agent
    /// gets no refusal that says the backend did not act: a complete request to it counts as sent.
    fn failing_status(&mut self) -> BackendFault {
        let path = self.path();
        let statuses: &[u16] =
            if path == "/ws" || path == "/api/search" { &[503, 500, 429] } else { &[503, 500, 502] };
        let retry_after = self.pick(&[None, None, Some(0), Some(0), Some(1)]);
        let (path, status, times) = (path.to_owned(), self.pick(statuses), self.number(1, 3));
        BackendFault::Status { path, status, times, retry_after }
    }

    fn order(&mut self) -> FaultAction {
        let agent = self.pick(&AGENTS);
        self.pick(&[FaultAction::Reconnect, FaultAction::Disconnect, FaultAction::RestartAgent(agent)])
    }

    pub(crate) fn final_phase(&mut self) -> FinalPhase {
        let shutdown_at_ms = self.ms(0, 60);
        FinalPhase {
            fault: self.network_fault(),
            calls: self.calls(shutdown_at_ms, 3..=12),
            sends: self.sends(shutdown_at_ms, 0..=4),
            shutdown_at_ms,
        }
    }

    // === what is asked ===

    pub(crate) fn calls(&mut self, within_ms: u64, count: RangeInclusive<usize>) -> Vec<ScheduledCall> {
        let count = self.0.usize(count);
        // Some requests come together, as when a view opens.
        let together_ms = self.ms(0, within_ms);
        (0..count)
            .map(|_| {
                let at_ms = if self.one_in(3) { together_ms } else { self.ms(0, within_ms) };
                self.call(at_ms)
            })
            .collect()
    }

    fn call(&mut self, at_ms: u64) -> ScheduledCall {
        let what = match self.number(0, 10) {
            0 | 1 => RequestKind::Get,
            2 => RequestKind::Shared,
            3 => RequestKind::Put,
            4..=6 => RequestKind::Post,
            7 | 8 => RequestKind::KeyedPost { is_generated: self.one_in(2) },
            _ => RequestKind::Echo { bytes: self.pick(&[100, 5_000, 60_000, 300_000]) },
        };
        let caller = match self.number(0, 9) {
            0 => CallerBehaviour::DropAfterMs(self.ms(0, 150)),
            1 => CallerBehaviour::CancelAfterMs(self.ms(0, 150)),
            _ => CallerBehaviour::Wait,
        };
        ScheduledCall {
            at_ms,
            kind: what,
            body: self.pick(&[
                BodyKind::InMemory,
                BodyKind::InMemory,
                BodyKind::Stream { has_length: true },
                BodyKind::Stream { has_length: false },
                BodyKind::Once,
            ]),
            reading: self.pick(&[
                ReadMode::Whole,
                ReadMode::Whole,
                ReadMode::Whole,
                ReadMode::Streaming,
                ReadMode::Partial,
            ]),
            priority: self.pick(&Priority::ALL),
            timeout_ms: self.one_in(5).then(|| self.ms(20, 400)),
            wait_timeout_ms: self.one_in(4).then(|| self.ms(1, 120)),
            retries: self.one_in(4).then(|| self.number(0, 6)),
            caller,
        }
    }

    pub(crate) fn sends(&mut self, within_ms: u64, count: RangeInclusive<usize>) -> Vec<ScheduledSend> {
        let count = self.0.usize(count);
        let timeouts_ms = [0, 5, 40, 200, 2_000, 5_000];
        (0..count)
            .map(|_| ScheduledSend {
                at_ms: self.ms(0, within_ms),
                timeout_ms: self.pick(&timeouts_ms),
                padding_bytes: self.pick(&[0, 0, 100, 20_000]),
            })
            .collect()
    }

    /// The size exceeds the system's buffers while the peer reads nothing.
    pub(crate) fn flood(&mut self) -> Vec<ScheduledSend> {
        let (at_ms, timeout_ms) = (self.ms(0, CALLS_MS), self.pick(&[40, 2_000, 5_000]));
        vec![ScheduledSend { at_ms, timeout_ms, padding_bytes: 60_000 }; 60]
    }
}
