//! Everything that a new incarnation is given.

use std::time::Duration;

use crate::env::Env;
use crate::path::ActorPath;

/// What is called once an incarnation is ready.
pub(crate) type OnReady = Box<dyn FnOnce() + Send + Sync>;

/// Everything that a new incarnation is given.
pub(crate) struct SpawnArgs {
    pub(crate) env: Env,
    pub(crate) path: ActorPath,
    pub(crate) generation: u64,
    pub(crate) started_at: Duration,
    /// When its predecessor ended, if it replaces one.
    pub(crate) down_since: Option<Duration>,
    pub(crate) on_ready: Option<OnReady>,
}
