//! The cache actor: values with a time to live, and their invalidation.
//!
//! It is an actor so that a crash leaves a cold cache and never a stale one: nothing of it is kept across a
//! restart, on purpose.

mod store;

use std::time::Duration;

use mainstay_runtime::journal::Event;
use mainstay_runtime::{Context, Failure, Message, Reply, Worker};
use serde::Serialize;

use store::Store;
pub use store::{CacheStats, CacheValue, Pattern};

/// Entries were invalidated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheInvalidated {
    /// Which: `by` and `pattern`.
    #[serde(flatten)]
    pub pattern: Pattern,
    /// How many there were.
    pub entries: u64,
}

impl Event for CacheInvalidated {
    const KIND: &'static str = "cache_invalidated";
}

/// A cache actor's messages.
#[derive(Debug)]
pub enum CacheMessage {
    /// Look a key up; answered with its value while that is fresh.
    Get {
        /// The key.
        key: String,
        /// How old the value may be; `None` for any age at which it is fresh.
        age_max: Option<Duration>,
        /// Where the value goes.
        reply: Reply<Option<CacheValue>>,
    },
    /// Keep a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: CacheValue,
        /// How long it is fresh; `None` for the configured time.
        ttl: Option<Duration>,
    },
    /// Drop what matches; answered with how many entries that were.
    Invalidate {
        /// What is dropped.
        pattern: Pattern,
        /// Where the count goes.
        reply: Reply<u64>,
    },
    /// Say how the cache is doing.
    Report(Reply<CacheStats>),
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    Panic,
    /// Panic although somebody waits for an answer. Only in debug builds.
    #[cfg(debug_assertions)]
    PanicOn(Reply<()>),
}

impl Message for CacheMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Get { .. } => "Get",
            Self::Put { .. } => "Put",
            Self::Invalidate { .. } => "Invalidate",
            Self::Report(_) => "Report",
            #[cfg(debug_assertions)]
            Self::Panic | Self::PanicOn(_) => "Panic",
        }
    }
}

/// What every incarnation of the cache's actor is made from.
#[derive(Debug, Clone)]
pub struct CacheActor {
    /// How long a value is fresh if nothing else is said.
    pub ttl: Duration,
    /// What keys and values may take together.
    pub bytes_max: u64,
}

/// The state of one incarnation. Nothing of it survives.
#[derive(Debug)]
pub struct CacheState(Store);

impl Worker for CacheActor {
    type Message = CacheMessage;
    type State = CacheState;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<CacheMessage>, _: Option<()>) -> Result<CacheState, Failure> {
        Ok(CacheState(Store::new(self.bytes_max)))
    }

    async fn handle(
        &self,
        ctx: &mut Context<CacheMessage>,
        message: CacheMessage,
        CacheState(store): &mut CacheState,
    ) -> Result<(), Failure> {
        match message {
            CacheMessage::Get { key, age_max, reply } => reply.send(store.get(&key, age_max, ctx.now())),
            CacheMessage::Put { key, value, ttl } => {
                store.put(key, value, ttl.unwrap_or(self.ttl), ctx.now());
            }
            CacheMessage::Invalidate { pattern, reply } => {
                let entries = store.invalidate(&pattern);
                ctx.record(&CacheInvalidated { pattern, entries });
                reply.send(entries);
            }
            CacheMessage::Report(reply) => reply.send(store.stats()),
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            CacheMessage::Panic | CacheMessage::PanicOn(_) => panic!("asked to panic"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainstay_runtime::{Child, Runtime, SupervisorSpec};

    use super::*;

    fn put() -> CacheMessage {
        let value = CacheValue::Bytes(Bytes::from_static(b"v"));
        CacheMessage::Put { key: "k".to_owned(), value, ttl: None }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_crash_the_cache_is_cold_and_never_stale() {
        let mut root = SupervisorSpec::new("root");
        let actor = CacheActor { ttl: Duration::from_secs(60), bytes_max: 1 << 20 };
        let cache = root.child(Child::new("cache", actor)).unwrap();
        let _runtime = Runtime::builder().start(root).await.unwrap();
        let get = || cache.call(|reply| CacheMessage::Get { key: "k".to_owned(), age_max: None, reply });
        cache.cast(put()).await.unwrap();
        assert!(get().await.unwrap().is_some());
        cache.cast(CacheMessage::Panic).await.unwrap();
        assert!(get().await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn freshness_obeys_the_runtimes_clock() {
        let mut root = SupervisorSpec::new("root");
        let actor = CacheActor { ttl: Duration::from_secs(60), bytes_max: 1 << 20 };
        let cache = root.child(Child::new("cache", actor)).unwrap();
        let _runtime = Runtime::builder().start(root).await.unwrap();
        cache.cast(put()).await.unwrap();
        let get = || cache.call(|reply| CacheMessage::Get { key: "k".to_owned(), age_max: None, reply });
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(get().await.unwrap().is_some());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(get().await.unwrap().is_none());
    }
}
