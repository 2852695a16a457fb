//! The reply to `hello`.

use mainstay_runtime::clock::WallTime;
use serde::Serialize;

use crate::mainstay::Mainstay;

/// The version of the protocol. It grows when a change breaks clients.
const PROTOCOL_VERSION: u32 = 1;

/// The runtime that answers, and the parts of the protocol that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u32,
    /// The version of the runtime.
    pub version: &'static str,
    /// The number of the run.
    pub run: u64,
    /// The random id of the run.
    pub boot: String,
    /// The time now, by which a client knows how its clock differs.
    pub now: WallTime,
    /// True if the backend is the embedded one of `mainstay demo`, which may be broken on purpose.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub demo: bool,
    /// The parts of the protocol.
    pub capabilities: Vec<BridgeCapability>,
}

/// A part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum BridgeCapability {
    /// Requests with their numbers, progress and cancellation.
    Requests,
    /// Bodies in parts, in both directions.
    Streams,
    /// The backend's frames.
    Frames,
    /// Messages to agents, and their numbered updates.
    Agents,
    /// The cache.
    Cache,
    /// The changes of files.
    Files,
    /// Logs.
    Logs,
    /// Incidents.
    Incidents,
    /// The history of the tree.
    History,
}

impl BridgeCapability {
    /// Every part.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::Streams,
        Self::Frames,
        Self::Agents,
        Self::Cache,
        Self::Files,
        Self::Logs,
        Self::Incidents,
        Self::History,
    ];
}

impl Hello {
    /// Describes a runtime.
    pub(super) fn of(mainstay: &Mainstay) -> Self {
        let journal = mainstay.journal();
        Self {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            run: journal.run(),
            boot: journal.boot().to_owned(),
            now: mainstay.now(),
            demo: mainstay.0.is_demo,
            capabilities: BridgeCapability::ALL.to_vec(),
        }
    }
}
