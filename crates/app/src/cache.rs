//! The cache, as the embedder uses it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_actors::cache::{CacheMessage, CacheStats, CacheValue, Pattern};
use mainstay_actors::error::{Error, of_call};
use mainstay_actors::request::Response;
use mainstay_runtime::CallError;

use crate::parts::Parts;

/// How long a lookup may take before the cache counts as cold.
const PATIENCE: Duration = Duration::from_secs(1);

/// The cache of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Cache(pub(crate) Arc<Parts>);

impl Cache {
    /// The bytes kept under `key`, while they are fresh. A cache that cannot answer is a cold one.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        match self.look_up(key, None).await? {
            CacheValue::Bytes(bytes) => Some(bytes),
            CacheValue::Response(_) => None,
        }
    }

    /// Keeps bytes under `key`, for `ttl` or for the configured time.
    ///
    /// # Errors
    /// `stopped` when the runtime is stopping.
    pub async fn put(
        &self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        self.keep(key.into(), CacheValue::Bytes(value.into()), ttl).await
    }

    /// Drops what matches, and says how many entries that were. A value that is on its way meanwhile may be kept after
    /// this returns.
    ///
    /// # Errors
    /// `crashed` or `stopped` when the cache's actor could not answer; after a crash the cache is cold.
    pub async fn invalidate(&self, pattern: Pattern) -> Result<u64, Error> {
        self.0.members.cache.call(|reply| CacheMessage::Invalidate { pattern, reply }).await.map_err(of_call)
    }

    /// How it is doing.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    pub async fn stats(&self) -> Result<CacheStats, Error> {
        self.0.members.cache.call_within(PATIENCE, CacheMessage::Report).await.map_err(of_call)
    }

    pub(crate) async fn response(&self, key: &str, age_max: Duration) -> Option<Response> {
        match self.look_up(key, Some(age_max)).await? {
            CacheValue::Response(response) => Some(*response),
            CacheValue::Bytes(_) => None,
        }
    }

    pub(crate) async fn keep_response(&self, key: String, response: Response, ttl: Duration) {
        // A response that could not be kept is loaded again next time.
        let _ = self.keep(key, CacheValue::Response(Box::new(response)), Some(ttl)).await;
    }

    async fn look_up(&self, key: &str, age_max: Option<Duration>) -> Option<CacheValue> {
        let key = key.to_owned();
        let found =
            self.0.members.cache.call_within(PATIENCE, |reply| CacheMessage::Get { key, age_max, reply });
        found.await.ok().flatten()
    }

    async fn keep(&self, key: String, value: CacheValue, ttl: Option<Duration>) -> Result<(), Error> {
        let kept = self.0.members.cache.cast(CacheMessage::Put { key, value, ttl });
        kept.await.map_err(|_| of_call(CallError::Stopped))
    }
}
