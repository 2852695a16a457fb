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
pub enum Directions {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
    /// Both.
    Both,
}

impl Directions {
    pub fn includes(self, direction: Direction) -> bool {
        match self {
            Self::Both => true,
            Self::Up => direction == Direction::Up,
            Self::Down => direction == Direction::Down,
        }
    }
}

/// What a connection carries, as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrafficKind {
    Http,
    WebSocket,
}

/// Which connections a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultTarget {
    Http,
    WebSocket,
    All,
}

impl FaultTarget {
    /// Whether a connection of `kind` is meant; one that has not said yet what it is belongs to [`Target::All`] alone.
    pub fn includes(self, kind: Option<TrafficKind>) -> bool {
        match self {
            Self::All => true,
            Self::Http => kind == Some(TrafficKind::Http),
            Self::WebSocket => kind == Some(TrafficKind::WebSocket),
        }
    }
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseKind {
    /// In order: the peer reads an end. It ends the fault's way alone; what comes from the peer is thrown away.
    Fin,
    /// By a reset, which ends the other way as well.
    Rst,
}

/// What happens to connections while it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFaultKind {
    /// Every piece is held up for `base` and up to `jitter` more.
    Latency { base: Duration, jitter: Duration },
    /// Only `bytes` pass at a time, and then nothing for `pause`.
    Throttle { bytes: usize, pause: Duration },
    /// Nothing passes. What came meanwhile goes on afterwards, as on a link that is down for a while.
    Stall,
    /// Nothing passes, and the end of nothing is told. A connection that lost a byte, or its end, so is silent for good.
    HalfOpen,
    /// Every connection that is open when it begins is ended, once.
    Cut(CloseKind),
    /// Every connection is ended once `bytes` have passed since it began.
    CutAfter { bytes: usize, close: CloseKind },
    /// Every answer is ended after `bytes` of it: every answer of HTTP, and what follows the handshake of a WebSocket.
    Truncate { bytes: usize, close: CloseKind },
    /// Nothing listens. Strikes every kind of connection, and leaves the open ones alone.
    Refuse,
    /// New connections are accepted and ended at once, or as soon as they have said what they are.
    DropNew(CloseKind),
}

/// A fault: what, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFault {
    pub kind: NetworkFaultKind,
    pub directions: Directions,
    pub target: FaultTarget,
}

impl NetworkFault {
    /// One that strikes every connection, both ways.
    pub fn everywhere(evil: NetworkFaultKind) -> Self {
        Self { kind: evil, directions: Directions::Both, target: FaultTarget::All }
    }
}

/// A fault that is in force, or is a cut that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveFault {
    /// Grows from fault to fault.
    pub id: u64,
    pub fault: NetworkFault,
}
