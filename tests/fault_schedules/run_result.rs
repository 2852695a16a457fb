//! What came of a schedule, as plain data.

use std::time::Duration;

use mainstay::actors::connection::broadcast::Inbound;
use mainstay::actors::connection::outbound::SendOutcome;
use mainstay::runtime::journal::Record;
use mainstay::{Error, RequestId};

use crate::backend_fixture::BackendRecord;
use crate::calls::CallAnswer;
use crate::fault_proxy::frames::ObservedTraffic;
use crate::schedule::ScheduledCall;

/// What came of a schedule.
#[derive(Debug, Default)]
pub(crate) struct RunResult {
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) sends: Vec<SendRecord>,
    /// The texts by which it was found out that all was well.
    pub(crate) probes: Vec<SendRecord>,
    pub(crate) records: Vec<Record>,
    /// The frames that the runtime handed on, and the gaps between them.
    pub(crate) frames: Vec<Inbound>,
    pub(crate) traffic: ObservedTraffic,
    pub(crate) backend: BackendRecord,
    /// The most attempts that were under way at once.
    pub(crate) most_in_flight: usize,
    /// When the schedule began, in milliseconds of the journal.
    pub(crate) began_ms: u64,
    /// From the end of the last fault until all was well.
    pub(crate) recovered_after: Duration,
    /// What never came about, and what else the drive itself saw go wrong.
    pub(crate) complaints: Vec<String>,
}

/// A request, and what its caller got.
#[derive(Debug)]
pub(crate) struct CallRecord {
    pub(crate) tag: String,
    pub(crate) call: ScheduledCall,
    pub(crate) id: RequestId,
    /// `None` where the caller dropped the future.
    pub(crate) outcome: Option<Result<CallAnswer, Error>>,
    /// What somebody was told who cancelled it, or who would have after its caller had dropped it.
    pub(crate) cancelled: Option<Result<bool, Error>>,
    /// Whether the runtime may have been stopping when it was made.
    pub(crate) is_last: bool,
}

/// A text frame, and what its sender was told.
#[derive(Debug)]
pub(crate) struct SendRecord {
    pub(crate) text: String,
    pub(crate) outcome: Result<SendOutcome, Error>,
}
