//! Holds the result of a schedule as plain data.

use std::time::Duration;

use mainstay::Inbound;
use mainstay::SendOutcome;
use mainstay::journal::Record;
use mainstay::{Error, RequestId};

use crate::backend_fixture::BackendRecord;
use crate::calls::CallAnswer;
use crate::fault_proxy::frames::ObservedTraffic;
use crate::schedule::ScheduledCall;

/// The result of a schedule.
#[derive(Debug, Default)]
pub(crate) struct RunResult {
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) sends: Vec<SendRecord>,
    /// The texts that tested the recovery.
    pub(crate) probes: Vec<SendRecord>,
    pub(crate) records: Vec<Record>,
    /// The frames that the runtime delivered, and the gaps between them.
    pub(crate) frames: Vec<Inbound>,
    pub(crate) traffic: ObservedTraffic,
    pub(crate) backend: BackendRecord,
    /// The largest number of attempts in flight at once.
    pub(crate) most_in_flight: usize,
    /// The time at which the schedule began, in milliseconds of the journal.
    pub(crate) began_ms: u64,
    /// The time from the end of the last fault to full recovery.
    pub(crate) recovered_after: Duration,
    /// The failures that the driver itself saw, such as a wait that never ended.
    pub(crate) complaints: Vec<String>,
}

/// A request and its caller's result.
#[derive(Debug)]
pub(crate) struct CallRecord {
    pub(crate) tag: String,
    pub(crate) call: ScheduledCall,
    pub(crate) id: RequestId,
    /// The caller's result, or `None` if it dropped the future.
    pub(crate) outcome: Option<Result<CallAnswer, Error>>,
    /// The result of a cancel, also of a later one after the caller dropped its future.
    pub(crate) cancelled: Option<Result<bool, Error>>,
    /// True if the runtime may have been stopping when the request was made.
    pub(crate) is_last: bool,
}

/// A text frame and its sender's result.
#[derive(Debug)]
pub(crate) struct SendRecord {
    pub(crate) text: String,
    pub(crate) outcome: Result<SendOutcome, Error>,
}
