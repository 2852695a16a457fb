//! The connection of one slot to the store: it loads at the first launch, saves after each message, quarantines and
//! removes.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Codec, PendingSnapshot, StateLoaded, StateMigrated, StateRefused, StateStore, StoredState};
use crate::env::Env;
use crate::messaging::panics;
use crate::path::ActorPath;

/// The connection of one durable slot to the store.
pub(crate) struct Snapshotter<S> {
    codec: Codec<S>,
    store_handle: Mutex<StoreHandle>,
}

enum StoreHandle {
    /// No incarnation has been launched yet.
    Unopened,
    Open {
        store: Arc<dyn StateStore>,
        path: ActorPath,
        /// The number of failed starts, while the stored state is still the loaded one.
        as_loaded: Option<u32>,
    },
    /// No store is used.
    Closed,
}

impl<S: Clone + Send + 'static> Snapshotter<S> {
    pub(crate) fn new(codec: Codec<S>) -> Self {
        Self { codec, store_handle: Mutex::new(StoreHandle::Unopened) }
    }

    /// Returns the stored state, at the first launch in this process. A state that cannot be used is refused:
    /// quarantined and reported.
    pub(crate) async fn load(
        &self,
        env: &Env,
        path: &ActorPath,
        generation: u64,
        failed_starts_max: u32,
    ) -> Option<S> {
        let store = self.open(env, path)?;
        let stored = match store.load(path) {
            Ok(stored) => stored?,
            Err(damaged) => {
                self.record_refused(env, path, generation, None, damaged.0);
                return None;
            }
        };
        let (version, bytes) = (stored.version, stored.content.len());
        match self.decode(&stored, failed_starts_max).await {
            Ok(snapshot) => {
                if version != self.codec.version {
                    let to = self.codec.version;
                    env.journal.record(path, generation, &StateMigrated { from: version, to });
                }
                env.journal.record(path, generation, &StateLoaded { version, bytes });
                self.mark_loaded(stored.failed_starts);
                Some(snapshot)
            }
            Err(reason) => {
                store.quarantine(path, &reason);
                self.record_refused(env, path, generation, Some(version), reason);
                None
            }
        }
    }

    /// Opens the connection, once.
    fn open(&self, env: &Env, path: &ActorPath) -> Option<Arc<dyn StateStore>> {
        let mut line = self.store_handle();
        if !matches!(*line, StoreHandle::Unopened) {
            return None;
        }
        let Some(store) = &env.state_store else {
            *line = StoreHandle::Closed;
            return None;
        };
        *line = StoreHandle::Open { store: Arc::clone(store), path: path.clone(), as_loaded: None };
        Some(Arc::clone(store))
    }

    async fn decode(&self, stored: &StoredState, failed_starts_max: u32) -> Result<S, String> {
        let StoredState { version, failed_starts, content } = stored;
        if *failed_starts >= failed_starts_max.max(1) {
            return Err(format!("{failed_starts} starts in a row from it failed"));
        }
        let decode = self.codec.decode;
        match panics::catch_future(async { decode(*version, content) }).await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("reading it panicked: {}", panic.message)),
        }
    }

    fn record_refused(
        &self,
        env: &Env,
        path: &ActorPath,
        generation: u64,
        version: Option<u32>,
        reason: String,
    ) {
        let refused = StateRefused { version, expected: self.codec.version, message: reason };
        env.journal.record(path, generation, &refused);
    }

    fn mark_loaded(&self, failed_starts: u32) {
        if let StoreHandle::Open { as_loaded, .. } = &mut *self.store_handle() {
            *as_loaded = Some(failed_starts);
        }
    }

    /// Saves a snapshot. It is encoded later, if at all.
    pub(crate) fn save(&self, snapshot: &S) {
        if let StoreHandle::Open { store, path, as_loaded } = &mut *self.store_handle() {
            *as_loaded = None;
            let (snapshot, encode) = (snapshot.clone(), self.codec.encode);
            store.save(path, PendingSnapshot::new(self.codec.version, move || encode(&snapshot)));
        }
    }

    /// Notes that an incarnation has made its state, so the loaded state, if it is still stored, does not fail to
    /// start.
    pub(crate) fn reset_failed_starts(&self) {
        self.update_failed_starts(|_| 0);
    }

    /// Counts a start that failed to make a state. The store remembers it, because the tree may end over it, and the
    /// supervisor's memory with it.
    pub(crate) fn count_failed_start(&self) {
        self.update_failed_starts(|failed| failed.saturating_add(1));
    }

    fn update_failed_starts(&self, mark: impl FnOnce(u32) -> u32) {
        let mut line = self.store_handle();
        let StoreHandle::Open { store, path, as_loaded: Some(failed_starts) } = &mut *line else { return };
        let marked = mark(*failed_starts);
        if marked != *failed_starts
            && let Ok(Some(stored)) = store.load(path)
        {
            *failed_starts = marked;
            store.save(path, PendingSnapshot::from_state(StoredState { failed_starts: marked, ..stored }));
        }
    }

    /// Takes the stored state out of use.
    pub(crate) fn quarantine(&self, why: &str) {
        if let StoreHandle::Open { store, path, as_loaded } = &mut *self.store_handle() {
            *as_loaded = None;
            store.quarantine(path, why);
        }
    }

    /// Removes the stored state, and saves nothing until the next launch.
    pub(crate) fn remove(&self, env: &Env, path: &ActorPath) {
        let mut line = self.store_handle();
        *line = StoreHandle::Unopened;
        if let Some(store) = &env.state_store {
            store.remove(path);
        }
    }

    fn store_handle(&self) -> MutexGuard<'_, StoreHandle> {
        self.store_handle.lock()
    }
}
