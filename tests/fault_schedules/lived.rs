//! What came of a schedule, as plain data.

use std::time::Duration;

use mainstay::actors::connection::feed::Inbound;
use mainstay::actors::connection::outbound::Fate;
use mainstay::runtime::journal::Record;
use mainstay::{Error, RequestId};

use crate::bed::Done;
use crate::calls::Answer;
use crate::fault_proxy::wire::Wire;
use crate::schedule::Call;

/// What came of a schedule.
#[derive(Debug, Default)]
pub(crate) struct Lived {
    pub(crate) calls: Vec<Called>,
    pub(crate) sends: Vec<Sent>,
    /// The texts by which it was found out that all was well.
    pub(crate) probes: Vec<Sent>,
    pub(crate) records: Vec<Record>,
    /// The frames that the runtime handed on, and the gaps between them.
    pub(crate) frames: Vec<Inbound>,
    pub(crate) wire: Wire,
    pub(crate) done: Done,
    /// The most attempts that were under way at once.
    pub(crate) most_under_way: usize,
    /// When the schedule began, in milliseconds of the journal.
    pub(crate) began_ms: u64,
    /// From the end of the last fault until all was well.
    pub(crate) settled_after: Duration,
    /// What never came about, and what else the drive itself saw go wrong.
    pub(crate) complaints: Vec<String>,
}

/// A request, and what its caller got.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) tag: String,
    pub(crate) call: Call,
    pub(crate) id: RequestId,
    /// `None` where the caller dropped the future.
    pub(crate) outcome: Option<Result<Answer, Error>>,
    /// What somebody was told who cancelled it, or who would have after its caller had dropped it.
    pub(crate) cancelled: Option<Result<bool, Error>>,
    /// Whether the runtime may have been stopping when it was made.
    pub(crate) is_last: bool,
}

/// A text frame, and what its sender was told.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) text: String,
    pub(crate) fate: Result<Fate, Error>,
}
