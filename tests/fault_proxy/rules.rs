//! Applies the current faults to traffic. It is pure, with a random number passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{ActiveFault, CloseKind, Direction, NetworkFaultKind, TrafficKind};

/// One direction of one connection, as faults see it.
#[derive(Debug)]
pub struct DirectionRules {
    direction: Direction,
    /// The protocol of the connection, once it is known.
    pub kind: Option<TrafficKind>,
    /// The last fault before the connection began: earlier cuts do not concern it.
    since: u64,
    /// The bytes that passed under each fault that counts them.
    passed_bytes: BTreeMap<u64, usize>,
    /// The bytes of the current response that have passed.
    pub answer_bytes: usize,
    /// True if a byte was lost: later bytes would be garbage.
    is_dead: bool,
    /// True if some of the current drip has passed, and the pause is due.
    has_throttled: bool,
}

/// The treatment of the next bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum PieceAction {
    /// So many of them pass, after a wait.
    Pass { bytes: usize, wait: Duration },
    /// They wait until the faults change.
    Hold,
    /// They are lost.
    Drop,
    /// They are lost, and so is the connection.
    Close(CloseKind),
}

impl DirectionRules {
    pub fn new(direction: Direction, since: u64) -> Self {
        Self {
            direction,
            kind: None,
            since,
            passed_bytes: BTreeMap::new(),
            answer_bytes: 0,
            is_dead: false,
            has_throttled: false,
        }
    }

    /// Returns the hangup since the last call, if there was one.
    pub fn cut(&mut self, faults: &[ActiveFault]) -> Option<CloseKind> {
        let since = self.since;
        self.since = faults.iter().map(|fault| fault.id).max().unwrap_or(since).max(since);
        self.matching(faults).filter(|(id, _)| *id > since).find_map(|(_, evil)| match evil {
            NetworkFaultKind::Cut(hangup) => Some(*hangup),
            _ => None,
        })
    }

    /// Returns the hangup that a new connection meets, if there is one.
    pub fn refusal(&self, faults: &[ActiveFault]) -> Option<CloseKind> {
        self.matching(faults).find_map(|(_, evil)| match evil {
            NetworkFaultKind::DropNew(hangup) => Some(*hangup),
            _ => None,
        })
    }

    /// Returns the treatment of the first of `available` bytes; `roll` is random in `[0, 1)`.
    pub fn next(&mut self, faults: &[ActiveFault], available: usize, roll: f64) -> PieceAction {
        if self.is_dead || self.matching(faults).any(|(_, evil)| *evil == NetworkFaultKind::HalfOpen) {
            self.is_dead = true;
            return PieceAction::Drop;
        }
        if self.matching(faults).any(|(_, evil)| *evil == NetworkFaultKind::Stall) {
            return PieceAction::Hold;
        }
        let (mut bytes, mut wait) = (available, Duration::ZERO);
        for (id, evil) in self.matching(faults) {
            match evil {
                NetworkFaultKind::CutAfter { bytes: limit, close: hangup } => {
                    let passed = self.passed_bytes.get(&id).copied().unwrap_or(0);
                    match limit.saturating_sub(passed) {
                        0 => return PieceAction::Close(*hangup),
                        left => bytes = bytes.min(left),
                    }
                }
                NetworkFaultKind::Truncate { bytes: limit, close: hangup }
                    if self.direction == Direction::Down =>
                {
                    match limit.saturating_sub(self.answer_bytes) {
                        0 => return PieceAction::Close(*hangup),
                        left => bytes = bytes.min(left),
                    }
                }
                NetworkFaultKind::Throttle { bytes: drop, pause } => {
                    bytes = bytes.min((*drop).max(1));
                    if self.has_throttled {
                        wait = wait.max(*pause);
                    }
                }
                NetworkFaultKind::Latency { base, jitter } => wait = wait.max(*base + jitter.mul_f64(roll)),
                _ => {}
            }
        }
        PieceAction::Pass { bytes, wait }
    }

    /// Returns whether the end may be forwarded now; `None` if it waits until the faults change.
    pub fn forwards_end(&mut self, faults: &[ActiveFault]) -> Option<bool> {
        match self.next(faults, 1, 0.0) {
            PieceAction::Drop => Some(false),
            PieceAction::Hold => None,
            PieceAction::Pass { .. } | PieceAction::Close(_) => Some(true),
        }
    }

    /// Records that `bytes` have passed.
    pub fn record_passed(&mut self, faults: &[ActiveFault], bytes: usize) {
        let struck = |(id, evil): (u64, &NetworkFaultKind)| {
            matches!(evil, NetworkFaultKind::CutAfter { .. }).then_some(id)
        };
        let counting: Vec<u64> = self.matching(faults).filter_map(struck).collect();
        for id in counting {
            *self.passed_bytes.entry(id).or_default() += bytes;
        }
        self.answer_bytes += bytes;
        self.has_throttled =
            self.matching(faults).any(|(_, evil)| matches!(evil, NetworkFaultKind::Throttle { .. }));
    }

    fn matching<'a>(
        &self,
        faults: &'a [ActiveFault],
    ) -> impl Iterator<Item = (u64, &'a NetworkFaultKind)> + use<'a> {
        let (direction, kind) = (self.direction, self.kind);
        let strikes = move |fault: &&ActiveFault| {
            fault.fault.directions.includes(direction) && fault.fault.target.includes(kind)
        };
        faults.iter().filter(strikes).map(|fault| (fault.id, &fault.fault.kind))
    }
}

/// Returns whether nothing listens.
pub fn refuses(faults: &[ActiveFault]) -> bool {
    faults.iter().any(|fault| fault.fault.kind == NetworkFaultKind::Refuse)
}
