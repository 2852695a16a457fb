//! The cache, as the embedder uses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mainstay_actors::cache::{
    CacheMessage, CacheStats, CacheValue, EntryOptions, Invalidation, Loaded, Pattern, PatternError, key,
};
use mainstay_actors::error::{Error, Reason};

use crate::inner::Inner;
use crate::status::{CacheReport, WatchedFolder};

/// The cache of a runtime. Cheap to clone.
///
/// Keys begin with a namespace of the embedder's own, as in `notes:today`. The runtime fills `file:`, `search:` and
/// `http:`. A lookup needs no message and no lock. A lookup after an invalidation has returned finds nothing from
/// before it.
#[derive(Clone)]
pub struct Cache(pub(crate) Arc<Inner>);

impl Cache {
    /// Returns the bytes kept under `key`, while they are fresh.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        match self.0.handles.cache.get(key, None)? {
            CacheValue::Bytes(bytes) => Some(bytes),
            CacheValue::Response(_) => None,
        }
    }

    /// Returns the configured options of an entry, to be changed and passed to [`put`](Self::put) or
    /// [`get_or_load`](Self::get_or_load).
    #[must_use]
    pub fn default_options(&self) -> EntryOptions {
        self.0.handles.cache.default_options()
    }

    /// Keeps bytes under `key`. A load of `key` that runs meanwhile is older, and is not kept.
    ///
    /// Bytes that were read before an invalidation and are put after it are stale, and the cache cannot know. If that
    /// may happen, use [`get_or_load`](Self::get_or_load).
    ///
    /// # Errors
    /// `invalid_request` if the key has no namespace of the embedder's own.
    pub fn put(&self, key: &str, value: impl Into<Bytes>, options: EntryOptions) -> Result<(), Error> {
        key::validate_custom_key(key)?;
        self.0.handles.cache.put(key, CacheValue::Bytes(value.into()), options);
        Ok(())
    }

    /// Returns the bytes kept under `key`, or those that `load` returns. Callers at the same time share one load. It
    /// runs as long as one of them waits, and its bytes are not kept if the key was invalidated meanwhile. Stale bytes
    /// that may still be served are returned at once, and a load refreshes them.
    ///
    /// # Errors
    /// `invalid_request` if the key has no namespace of the embedder's own; else the error of `load`, which is kept as
    /// `options` says. A load that panics is `crashed`.
    pub async fn get_or_load<F>(
        &self,
        key: &str,
        options: EntryOptions,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        key::validate_custom_key(key)?;
        let load = || async { load().await.map(|bytes| Loaded::new(CacheValue::Bytes(bytes))) };
        match self.0.handles.cache.get_or_load(key, None, options, load).await?.value {
            CacheValue::Bytes(bytes) => Ok(bytes),
            CacheValue::Response(_) => Err(Error::new(Reason::Internal)),
        }
    }

    /// Returns the contents of a file, by its absolute path, at most 256 MiB. In the folders of `cache.watch` they are
    /// kept until the file changes, for the cache's own time at most. Other files are read each time.
    ///
    /// # Errors
    /// `not_found` if it does not exist, which is kept for `negative_ttl` and dropped when the file appears; `forbidden`;
    /// `invalid_request` if the path is not absolute, or is no file, or the file is too large or cannot be read.
    pub async fn file(&self, path: impl AsRef<Path>) -> Result<Bytes, Error> {
        self.0.handles.files.read_bytes(path.as_ref()).await
    }

    /// Returns the result of a search of a folder, by its absolute path: the kept one, or that of `load`. In the
    /// folders of `cache.watch` it is kept until anything below the folder changes. `load` must read nothing else.
    ///
    /// # Errors
    /// `invalid_request` if the path is not absolute; else the error of `load`, which is kept for `negative_ttl`.
    pub async fn search<F>(
        &self,
        folder: impl AsRef<Path>,
        query: &str,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.0.handles.files.search(folder.as_ref(), query, load).await
    }

    /// Returns the folders of `cache.watch`, each with true if it is watched now. The journal says why one is not.
    #[must_use]
    pub fn watched(&self) -> Vec<(PathBuf, bool)> {
        let standing = self.0.handles.files.roots().statuses();
        standing.map(|(root, is_watched)| (root.to_owned(), is_watched)).collect()
    }

    /// Drops the entries that match, and returns their number. Afterwards no lookup finds them, and no load that ran
    /// meanwhile is kept. The invalidation runs to its end even if the future is dropped.
    ///
    /// # Errors
    /// `invalid_request` if the pattern is invalid; `crashed` or `stopped` if the cache's actor could not answer. After a
    /// crash the cache is empty.
    pub async fn invalidate(&self, pattern: &Pattern) -> Result<u64, Error> {
        self.send_invalidation(Invalidation::from_pattern(pattern).map_err(invalid_pattern)?).await
    }

    /// Drops every entry whose key satisfies `holds`, which is called for every key. The journal records `name` as the
    /// pattern.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    pub async fn invalidate_where(
        &self,
        name: &str,
        holds: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<u64, Error> {
        self.send_invalidation(Invalidation::from_predicate(name, holds)).await
    }

    /// Returns the counters. Visits every entry: meant for people, not for each request.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.handles.cache.stats()
    }

    /// Returns the counters and the watched folders in one view.
    #[must_use]
    pub fn report(&self) -> CacheReport {
        let folders = self
            .watched()
            .into_iter()
            .map(|(path, is_watched)| WatchedFolder { path: path.display().to_string(), is_watched });
        CacheReport { stats: self.stats(), folders: folders.collect() }
    }

    async fn send_invalidation(&self, invalidation: Invalidation) -> Result<u64, Error> {
        let message = |reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) };
        self.0.handles.cache_address.call(message).await.map_err(Error::from)
    }
}

fn invalid_pattern(error: PatternError) -> Error {
    Error::new(Reason::InvalidRequest).with_details(&error.to_string())
}
