//! One slot's line to the store: what is recalled at its first launch, handed in after each message, set aside or
//! dropped for good.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Codec, Draft, StateLoaded, StateMigrated, StateRefused, StateStore, StoredState};
use crate::actor::panics;
use crate::env::Env;
use crate::path::ActorPath;

/// One durable slot's line to the store.
pub(crate) struct Keeper<S> {
    codec: Codec<S>,
    line: Mutex<Line>,
}

enum Line {
    /// No incarnation has been launched yet.
    Unopened,
    Open {
        store: Arc<dyn StateStore>,
        path: ActorPath,
        /// What is stored is still what was loaded, with so many failed starts.
        as_loaded: Option<u32>,
    },
    /// There is no store.
    Closed,
}

impl<S: Clone + Send + 'static> Keeper<S> {
    pub(crate) fn new(codec: Codec<S>) -> Self {
        Self { codec, line: Mutex::new(Line::Unopened) }
    }

    /// The stored state, at the first launch in this process. A state that cannot be used is refused: set aside, and
    /// said so.
    pub(crate) async fn recall(
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
                self.refuse(env, path, generation, None, damaged.0);
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
                self.note_loaded(stored.failed_starts);
                Some(snapshot)
            }
            Err(reason) => {
                store.set_aside(path, &reason);
                self.refuse(env, path, generation, Some(version), reason);
                None
            }
        }
    }

    /// Opens the line, once.
    fn open(&self, env: &Env, path: &ActorPath) -> Option<Arc<dyn StateStore>> {
        let mut line = self.line();
        if !matches!(*line, Line::Unopened) {
            return None;
        }
        let Some(store) = &env.state_store else {
            *line = Line::Closed;
            return None;
        };
        *line = Line::Open { store: Arc::clone(store), path: path.clone(), as_loaded: None };
        Some(Arc::clone(store))
    }

    async fn decode(&self, stored: &StoredState, failed_starts_max: u32) -> Result<S, String> {
        let StoredState { version, failed_starts, content } = stored;
        if *failed_starts >= failed_starts_max.max(1) {
            return Err(format!("{failed_starts} starts in a row failed that began from it"));
        }
        let decode = self.codec.decode;
        match panics::caught(async { decode(*version, content) }).await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("reading it panicked: {}", panic.message)),
        }
    }

    fn refuse(&self, env: &Env, path: &ActorPath, generation: u64, version: Option<u32>, reason: String) {
        let refused = StateRefused { version, expected: self.codec.version, reason };
        env.journal.record(path, generation, &refused);
    }

    fn note_loaded(&self, failed_starts: u32) {
        if let Line::Open { as_loaded, .. } = &mut *self.line() {
            *as_loaded = Some(failed_starts);
        }
    }

    /// Hands a snapshot in. It is encoded elsewhere, if ever.
    pub(crate) fn save(&self, snapshot: &S) {
        if let Line::Open { store, path, as_loaded } = &mut *self.line() {
            *as_loaded = None;
            let (snapshot, encode) = (snapshot.clone(), self.codec.encode);
            store.save(path, Draft::new(self.codec.version, move || encode(&snapshot)));
        }
    }

    /// An incarnation has made its state: what was loaded, if it still stands, is none that fails to start.
    pub(crate) fn started(&self) {
        self.mark_as_loaded(|_| 0);
    }

    /// An incarnation could not make its state. The tree may end over this, and its supervisor's memory with it; so
    /// the store remembers.
    pub(crate) fn start_failed(&self) {
        self.mark_as_loaded(|failed| failed.saturating_add(1));
    }

    fn mark_as_loaded(&self, mark: impl FnOnce(u32) -> u32) {
        let mut line = self.line();
        let Line::Open { store, path, as_loaded: Some(failed_starts) } = &mut *line else { return };
        let marked = mark(*failed_starts);
        if marked != *failed_starts
            && let Ok(Some(stored)) = store.load(path)
        {
            *failed_starts = marked;
            store.save(path, Draft::of(StoredState { failed_starts: marked, ..stored }));
        }
    }

    /// Takes what is stored out of use.
    pub(crate) fn set_aside(&self, why: &str) {
        if let Line::Open { store, path, as_loaded } = &mut *self.line() {
            *as_loaded = None;
            store.set_aside(path, why);
        }
    }

    /// Drops what is stored, and takes nothing until the next launch.
    pub(crate) fn forget(&self, env: &Env, path: &ActorPath) {
        let mut line = self.line();
        *line = Line::Unopened;
        if let Some(store) = &env.state_store {
            store.remove(path);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
