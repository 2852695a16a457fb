//! Durable state: snapshots that outlive the process.
//!
//! - [`Durable`]: the requirements of a snapshot; [`Child::durable`](crate::Child::durable) opts in
//! - [`StateStore`]: a place for snapshots; an embedder may bring its own
//! - [`MemoryStore`]: a store for tests, and for snapshots that need not outlive the process
//! - [`RedbStore`]: one file on disk, with grouped writes and a checksum on every state
//! - [`PendingSnapshot`], [`StoredState`]: a snapshot before and after it is stored
//! - `snapshotter`: the connection of one slot to the store
//!
//! A store keeps one state a path: the newest one that was saved. Saving never waits, so a saved snapshot is not yet
//! safe. **A snapshot is safe when a [`flush`](StateStore::flush) that began after it was saved has returned `Ok`.**
//! An incarnation saves its snapshot right after the message has been handled. A reply sent inside the handler comes
//! before that, the reply to a second call after it. [`Runtime::shutdown`](crate::Runtime::shutdown) flushes.
//!
//! A state that cannot be used is never dropped. It is quarantined, where a person can look at it, an event reports
//! it, and the actor starts fresh.

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
    /// The number of starts in a row that began from it and failed.
    pub failed_starts: u32,
    /// The snapshot, encoded.
    pub content: Arc<[u8]>,
}

impl fmt::Debug for StoredState {
    /// Leaves the content out, which may be large and private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, failed_starts, content } = self;
        write!(f, "state of version {version}, {failed_starts} failed starts, {} bytes", content.len())
    }
}

/// A quarantined state: no longer used, and kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedState {
    /// The path of the actor whose state it was.
    pub path: String,
    /// The reason for the quarantine.
    pub reason: String,
    /// The state, or the bytes that should have been one.
    pub content: Result<StoredState, Vec<u8>>,
}

/// The state under a path cannot be read. The store has quarantined it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the stored state is damaged: {0}")]
pub struct DamagedState(pub String);

/// Something that was saved is not safe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not every saved state is on disk: {0}")]
pub struct FlushError(pub String);

/// The future that [`StateStore::flush`] returns.
pub type FlushFuture = Pin<Box<dyn Future<Output = Result<(), FlushError>> + Send>>;

/// A store for the snapshots of durable actors, by path. It serves one runtime at a time: two with the same paths
/// would overwrite each other's states.
///
/// All methods but [`flush`](Self::flush) are called from handlers, so none of them may block on a disk or a network.
pub trait StateStore: Send + Sync + 'static {
    /// Returns the newest state that was saved for `path`, whether it is safe yet or not.
    ///
    /// # Errors
    /// Returns an error if there is one and it is damaged. It is reported once, and the next call finds nothing.
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, DamagedState>;

    /// Saves `snapshot` for `path` in place of the previous one. Of snapshots that follow each other fast, only the
    /// last need be kept.
    fn save(&self, path: &ActorPath, snapshot: PendingSnapshot);

    /// Takes the state of `path` out of use and keeps it for a person to look at.
    fn quarantine(&self, path: &ActorPath, why: &str);

    /// Drops the state of `path`.
    fn remove(&self, path: &ActorPath);

    /// Resolves with `Ok` when everything that was saved before this call is safe, and with an error if that was
    /// tried and failed.
    fn flush(&self) -> FlushFuture;

    /// Returns why what is saved now is not safe, as long as that is so.
    fn degraded(&self) -> Option<String> {
        None
    }

    /// Records the store's events in `journal` from now on.
    fn attach_journal(&self, _journal: &Journal) {}
}
