//! Defines the faults as plain data.

use std::time::Duration;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

/// The directions that a fault affects.
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

/// The protocol of a connection, from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrafficKind {
    Http,
    WebSocket,
}

/// The connections that a fault affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultTarget {
    Http,
    WebSocket,
    All,
}

impl FaultTarget {
    /// Returns whether the target includes a connection of `kind`; a connection of unknown kind belongs to
    /// [`Target::All`] alone.
    pub fn includes(self, kind: Option<TrafficKind>) -> bool {
        match self {
            Self::All => true,
            Self::Http => kind == Some(TrafficKind::Http),
            Self::WebSocket => kind == Some(TrafficKind::WebSocket),
        }
    }
}

/// The ways in which a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseKind {
    /// In order: the peer reads an end. It ends the fault's direction alone; later bytes of the peer are discarded.
    Fin,
    /// By a reset, which ends the other direction as well.
    Rst,
}

/// The effect on connections while the fault is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFaultKind {
    /// Every piece is delayed by `base` and up to `jitter` more.
    Latency { base: Duration, jitter: Duration },
    /// Only `bytes` pass at a time, and then nothing for `pause`.
    Throttle { bytes: usize, pause: Duration },
    /// Nothing passes. Bytes that came meanwhile go on afterwards, as on a network that is down for a while.
    Stall,
    /// Nothing passes, no end either. A connection that lost a byte, or its end, so is silent for good.
    HalfOpen,
    /// Every connection that is open when it begins is ended, once.
    Cut(CloseKind),
    /// Every connection is ended once `bytes` have passed since it began.
    CutAfter { bytes: usize, close: CloseKind },
    /// Every response is ended after `bytes` of it: every response of HTTP, and the bytes after a WebSocket's
    /// handshake.
    Truncate { bytes: usize, close: CloseKind },
    /// Nothing listens. It affects every kind of connection, and leaves open ones alone.
    Refuse,
    /// New connections are accepted and ended at once, or as soon as their kind is known.
    DropNew(CloseKind),
}

/// A fault: its effect and its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFault {
    pub kind: NetworkFaultKind,
    pub directions: Directions,
    pub target: FaultTarget,
}

impl NetworkFault {
    /// Returns a fault that affects every connection, both ways.
    pub fn everywhere(evil: NetworkFaultKind) -> Self {
        Self { kind: evil, directions: Directions::Both, target: FaultTarget::All }
    }
}

/// A fault in force, or an ordered cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveFault {
    /// The number, which grows from fault to fault.
    pub id: u64,
    pub fault: NetworkFault,
}
