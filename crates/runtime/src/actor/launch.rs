//! The arguments of a new incarnation.

use std::time::Duration;

use crate::env::Env;
use crate::path::ActorPath;

/// The callback for when an incarnation is ready.
pub(crate) type OnReady = Box<dyn FnOnce() + Send + Sync>;

/// The arguments of a new incarnation.
pub(crate) struct SpawnArgs {
    pub(crate) env: Env,
    pub(crate) path: ActorPath,
    pub(crate) generation: u64,
    pub(crate) started_at: Duration,
    /// The time at which its predecessor ended, if it replaces one.
    pub(crate) down_since: Option<Duration>,
    pub(crate) on_ready: Option<OnReady>,
}
