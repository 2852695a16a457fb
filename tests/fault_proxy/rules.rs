//! What the faults in force make of what passes: pure, with a random number passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{Direction, Evil, Hangup, InForce, Kind};

/// One way of one connection, as far as faults care.
#[derive(Debug)]
pub struct Lane {
    direction: Direction,
    /// What the connection carries, once that is known.
    pub kind: Option<Kind>,
    /// The last fault that was in force when the connection began: cuts from before are not meant for it.
    since: u64,
    /// Bytes that passed under each fault that counts them.
    passed_under: BTreeMap<u64, usize>,
    /// Bytes of the present answer that have passed.
    pub answer_bytes: usize,
    /// Something was lost on it: whatever came now would be garbage.
    is_dead: bool,
    /// Some of the present drip has passed, and the pause is due.
    has_dripped: bool,
}

/// What becomes of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of them pass, after a wait.
    Pass { bytes: usize, wait: Duration },
    /// They wait until the faults change.
    Hold,
    /// They are lost.
    Lose,
    /// They are lost, and so is the connection.
    HangUp(Hangup),
}

impl Lane {
    pub fn new(direction: Direction, since: u64) -> Self {
        Self {
            direction,
            kind: None,
            since,
            passed_under: BTreeMap::new(),
            answer_bytes: 0,
            is_dead: false,
            has_dripped: false,
        }
    }

    /// The hangup that was ordered since it was last asked, if one was.
    pub fn cut(&mut self, faults: &[InForce]) -> Option<Hangup> {
        let since = self.since;
        self.since = faults.iter().map(|fault| fault.id).max().unwrap_or(since).max(since);
        self.striking(faults).filter(|(id, _)| *id > since).find_map(|(_, evil)| match evil {
            Evil::Cut(hangup) => Some(*hangup),
            _ => None,
        })
    }

    /// The hangup that meets a connection that is new, if one does.
    pub fn refusal(&self, faults: &[InForce]) -> Option<Hangup> {
        self.striking(faults).find_map(|(_, evil)| match evil {
            Evil::DropNew(hangup) => Some(*hangup),
            _ => None,
        })
    }

    /// What becomes of the first of `available` bytes; `roll` is random in `[0, 1)`.
    pub fn next(&mut self, faults: &[InForce], available: usize, roll: f64) -> Step {
        if self.is_dead || self.striking(faults).any(|(_, evil)| *evil == Evil::HalfOpen) {
            self.is_dead = true;
            return Step::Lose;
        }
        if self.striking(faults).any(|(_, evil)| *evil == Evil::Stall) {
            return Step::Hold;
        }
        let (mut bytes, mut wait) = (available, Duration::ZERO);
        for (id, evil) in self.striking(faults) {
            match evil {
                Evil::CutAfter { bytes: limit, hangup } => {
                    let passed = self.passed_under.get(&id).copied().unwrap_or(0);
                    match limit.saturating_sub(passed) {
                        0 => return Step::HangUp(*hangup),
                        left => bytes = bytes.min(left),
                    }
                }
                Evil::Truncate { bytes: limit, hangup } if self.direction == Direction::Down => {
                    match limit.saturating_sub(self.answer_bytes) {
                        0 => return Step::HangUp(*hangup),
                        left => bytes = bytes.min(left),
                    }
                }
                Evil::Drip { bytes: drop, pause } => {
                    bytes = bytes.min((*drop).max(1));
                    if self.has_dripped {
                        wait = wait.max(*pause);
                    }
                }
                Evil::Latency { base, jitter } => wait = wait.max(*base + jitter.mul_f64(roll)),
                _ => {}
            }
        }
        Step::Pass { bytes, wait }
    }

    /// Whether the end of what comes can be told now; `None` if that has to wait until the faults change.
    pub fn tells_end(&mut self, faults: &[InForce]) -> Option<bool> {
        match self.next(faults, 1, 0.0) {
            Step::Lose => Some(false),
            Step::Hold => None,
            Step::Pass { .. } | Step::HangUp(_) => Some(true),
        }
    }

    /// Notes that `bytes` have passed.
    pub fn passed(&mut self, faults: &[InForce], bytes: usize) {
        let struck = |(id, evil): (u64, &Evil)| matches!(evil, Evil::CutAfter { .. }).then_some(id);
        let counting: Vec<u64> = self.striking(faults).filter_map(struck).collect();
        for id in counting {
            *self.passed_under.entry(id).or_default() += bytes;
        }
        self.answer_bytes += bytes;
        self.has_dripped = self.striking(faults).any(|(_, evil)| matches!(evil, Evil::Drip { .. }));
    }

    fn striking<'a>(&self, faults: &'a [InForce]) -> impl Iterator<Item = (u64, &'a Evil)> + use<'a> {
        let (direction, kind) = (self.direction, self.kind);
        let strikes =
            move |fault: &&InForce| fault.fault.ways.include(direction) && fault.fault.target.includes(kind);
        faults.iter().filter(strikes).map(|fault| (fault.id, &fault.fault.evil))
    }
}

/// Whether nothing listens.
pub fn refuses(faults: &[InForce]) -> bool {
    faults.iter().any(|fault| fault.fault.evil == Evil::Refuse)
}
