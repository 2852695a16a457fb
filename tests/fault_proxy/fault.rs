//! What can be broken, as plain data.

use std::time::Duration;

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

/// Which ways a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ways {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
    /// Both.
    Both,
}

impl Ways {
    pub fn include(self, direction: Direction) -> bool {
        match self {
            Self::Both => true,
            Self::Up => direction == Direction::Up,
            Self::Down => direction == Direction::Down,
        }
    }
}

/// What a connection carries, as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Http,
    WebSocket,
}

/// Which connections a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Http,
    WebSocket,
    All,
}

impl Target {
    /// Whether a connection of `kind` is meant; one that has not said yet what it is belongs to [`Target::All`] alone.
    pub fn includes(self, kind: Option<Kind>) -> bool {
        match self {
            Self::All => true,
            Self::Http => kind == Some(Kind::Http),
            Self::WebSocket => kind == Some(Kind::WebSocket),
        }
    }
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hangup {
    /// In order: the peer reads an end. It ends the fault's way alone; what comes from the peer is thrown away.
    Fin,
    /// By a reset, which ends the other way as well.
    Rst,
}

/// What happens to connections while it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evil {
    /// Every piece is held up for `base` and up to `jitter` more.
    Latency { base: Duration, jitter: Duration },
    /// Only `bytes` pass at a time, and then nothing for `pause`.
    Drip { bytes: usize, pause: Duration },
    /// Nothing passes. What came meanwhile goes on afterwards, as on a link that is down for a while.
    Stall,
    /// Nothing passes, and the end of nothing is told. A connection that lost a byte, or its end, so is silent for good.
    HalfOpen,
    /// Every connection that is open when it begins is ended, once.
    Cut(Hangup),
    /// Every connection is ended once `bytes` have passed since it began.
    CutAfter { bytes: usize, hangup: Hangup },
    /// Every answer is ended after `bytes` of it: every answer of HTTP, and what follows the handshake of a WebSocket.
    Truncate { bytes: usize, hangup: Hangup },
    /// Nothing listens. Strikes every kind of connection, and leaves the open ones alone.
    Refuse,
    /// New connections are accepted and ended at once, or as soon as they have said what they are.
    DropNew(Hangup),
}

/// A fault: what, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub evil: Evil,
    pub ways: Ways,
    pub target: Target,
}

impl Fault {
    /// One that strikes every connection, both ways.
    pub fn everywhere(evil: Evil) -> Self {
        Self { evil, ways: Ways::Both, target: Target::All }
    }
}

/// A fault that is in force, or is a cut that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Grows from fault to fault.
    pub id: u64,
    pub fault: Fault,
}
