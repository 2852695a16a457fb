//! Policy: plain data and pure functions that decide what follows an exit.
//!
//! This module knows no tokio, no actor, no clock and no source of randomness. Time comes in as the duration since
//! the runtime started, jitter as a number in `[0, 1)`. serde appears only as derives, because the journal stores
//! every input of a decision so that it can be repeated.

mod decide;
mod delay;
mod error;
mod history;
mod restart;

pub use decide::{Decision, DecisionContext, Exit, ExitCause, RestartScope, StateSource, decide};
pub use delay::Delay;
pub use error::PolicyError;
pub use history::{ChildHistory, SupervisorHistory};
pub use restart::{
    AbandonedPolicy, AutoShutdown, Budget, ChildPolicy, OnBudgetExhausted, RestartType, Shutdown, StopOrder,
    Strategy, SupervisorPolicy,
};
