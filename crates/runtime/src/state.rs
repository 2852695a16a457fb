//! Durable state: snapshots that outlive the process.
//!
//! - [`Durable`]: what a snapshot must be able to do; [`Child::durable`](crate::Child::durable) opts in
//! - [`StateStore`]: where snapshots are kept; an embedder may bring its own
//! - [`MemoryStore`]: for tests, and for what need not outlive the process
//! - [`RedbStore`]: one file on disk, with grouped writes and a checksum on every state
//! - [`Draft`], [`StoredState`]: a snapshot on its way into a store, and one that is in it
//! - `keeper`: one slot's line to the store
//!
//! A store keeps one state a path: the newest one that it was handed. Whoever hands one in never waits, so what is
//! handed in is not yet safe. **A snapshot is acknowledged when a [`flush`](StateStore::flush) that began after it
//! was handed in has returned `Ok`.** An incarnation hands its snapshot in right after the message has been
//! handled: a reply that was sent inside the handler comes before it, the answer to a second call after it.
//! [`Runtime::shutdown`](crate::Runtime::shutdown) flushes.
//!
//! What cannot be used is never dropped: it is set aside, where a person can look at it, an event says so, and the
//! actor starts fresh.

#[cfg(feature = "redb")]
mod disk;
mod durable;
mod event;
mod memory;
mod pending_snapshot;
mod snapshotter;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

#[cfg(feature = "redb")]
pub use disk::{RedbConfig, RedbStore, StoreError};
pub use durable::Durable;
pub use event::{StateDegraded, StateLoaded, StateMigrated, StateRefused};
pub use memory::MemoryStore;
pub use pending_snapshot::PendingSnapshot;

pub(crate) use durable::Codec;
pub(crate) use snapshotter::Snapshotter;

use crate::journal::Journal;
use crate::path::ActorPath;

/// A state as a store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredState {
    /// The version of its schema: [`Durable::VERSION`] of the type that it was made from.
    pub version: u32,
    /// How many starts in a row failed that began from it.
    pub failed_starts: u32,
    /// The snapshot, encoded.
    pub content: Arc<[u8]>,
}

impl fmt::Debug for StoredState {
    /// Without the content, which may be large and nobody else's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, failed_starts, content } = self;
        write!(f, "state of version {version}, {failed_starts} failed starts, {} bytes", content.len())
    }
}

/// A state that was set aside: not used any more, and kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedState {
    /// Whose state it was.
    pub path: String,
    /// Why it was set aside.
    pub reason: String,
    /// The state, or the bytes that ought to have been one.
    pub content: Result<StoredState, Vec<u8>>,
}

/// What stands under a path cannot be read. The store has set it aside.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the stored state is damaged: {0}")]
pub struct DamagedState(pub String);

/// Something that was handed in is not safe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not everything that was handed in is saved: {0}")]
pub struct FlushError(pub String);

/// What [`StateStore::flush`] returns.
pub type FlushFuture = Pin<Box<dyn Future<Output = Result<(), FlushError>> + Send>>;

/// Where the snapshots of durable actors are kept, by path. Serves one runtime at a time: two with the same paths
/// would overwrite each other's states.
///
/// All but [`flush`](Self::flush) is called from handlers, so none of it may block on a disk or a network.
pub trait StateStore: Send + Sync + 'static {
    /// The newest state that was handed in for `path`, whether it is safe yet or not.
    ///
    /// # Errors
    /// When there is one and it is damaged; said once, and the next call finds nothing.
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, DamagedState>;

    /// Keeps `draft` for `path`, in the place of what was there. Of drafts that follow each other fast, only the last
    /// need be kept.
    fn save(&self, path: &ActorPath, draft: PendingSnapshot);

    /// Takes the state of `path` out of use and keeps it for a person to look at.
    fn quarantine(&self, path: &ActorPath, why: &str);

    /// Drops the state of `path`.
    fn remove(&self, path: &ActorPath);

    /// Resolves with `Ok` when everything that was handed in before this call is safe, and with an error once that
    /// has been tried in vain.
    fn flush(&self) -> FlushFuture;

    /// From now on, what befalls the store is recorded in `journal`.
    fn attach_journal(&self, _journal: &Journal) {}
}
