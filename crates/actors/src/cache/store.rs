//! What is kept and until when: pure, with the time passed in.
//!
//! moka holds the values and bounds their size. Freshness is ours, because it obeys the runtime's clock.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::request::Response;

/// What an entry costs beside its key and its value.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// What can be kept. Cheap to clone.
#[derive(Debug, Clone)]
pub enum CacheValue {
    /// A response of the backend.
    Response(Box<Response>),
    /// Anything else.
    Bytes(Bytes),
}

impl CacheValue {
    /// What it takes, in bytes.
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Response(response) => {
                let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
                response.body.len() + response.headers.iter().map(header).sum::<usize>()
            }
        }
    }
}

/// One kept value.
#[derive(Debug, Clone)]
struct Entry {
    value: CacheValue,
    put_at: Duration,
    fresh_until: Duration,
}

/// Which entries an invalidation concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "pattern", rename_all = "snake_case")]
pub enum Pattern {
    /// The entry with this key.
    Key(String),
    /// Every entry whose key begins so.
    Prefix(String),
    /// Every entry.
    All,
}

impl Pattern {
    fn matches(&self, key: &str) -> bool {
        match self {
            Self::Key(wanted) => key == wanted,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
            Self::All => true,
        }
    }
}

/// How the cache is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Values kept, stale ones included until they are met.
    pub entries: u64,
    /// What they take, keys included.
    pub bytes: u64,
    /// Lookups that found a fresh value.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
}

/// The values of one cache.
#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<String, Entry>,
    hits: u64,
    misses: u64,
}

impl Store {
    pub(super) fn new(bytes_max: u64) -> Self {
        let entries = Cache::builder()
            .weigher(|key: &String, entry: &Entry| {
                let bytes = key.len() + entry.value.weight_bytes() + ENTRY_OVERHEAD_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .max_capacity(bytes_max)
            .build();
        Self { entries, hits: 0, misses: 0 }
    }

    /// The value of `key`, if it is fresh at `now` and no older than `age_max`.
    pub(super) fn get(&mut self, key: &str, age_max: Option<Duration>, now: Duration) -> Option<CacheValue> {
        let is_young =
            |entry: &Entry| age_max.is_none_or(|age_max| now.saturating_sub(entry.put_at) <= age_max);
        let found = self.entries.get(key).filter(|entry| now < entry.fresh_until);
        let is_stale = found.is_none();
        match found.filter(is_young) {
            Some(entry) => {
                self.hits += 1;
                Some(entry.value)
            }
            None => {
                self.misses += 1;
                if is_stale {
                    self.entries.invalidate(key);
                }
                None
            }
        }
    }

    pub(super) fn put(&self, key: String, value: CacheValue, ttl: Duration, now: Duration) {
        self.entries.insert(key, Entry { value, put_at: now, fresh_until: now.saturating_add(ttl) });
    }

    /// Drops what matches, and says how many entries that were.
    pub(super) fn invalidate(&self, pattern: &Pattern) -> u64 {
        let doomed: Vec<_> =
            self.entries.iter().map(|(key, _)| key).filter(|key| pattern.matches(key)).collect();
        for key in &doomed {
            self.entries.invalidate(key.as_str());
        }
        doomed.len() as u64
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.entries.run_pending_tasks();
        CacheStats {
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
            hits: self.hits,
            misses: self.misses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn bytes(content: &[u8]) -> CacheValue {
        CacheValue::Bytes(Bytes::copy_from_slice(content))
    }

    fn store_with(keys: &[&str]) -> Store {
        let store = Store::new(1 << 20);
        for key in keys {
            store.put((*key).to_owned(), bytes(b"value"), s(10), s(0));
        }
        store
    }

    #[test]
    fn a_value_is_served_until_its_time_is_over_and_not_at_that_time() {
        let mut store = store_with(&["a"]);
        assert!(matches!(store.get("a", None, s(9)), Some(CacheValue::Bytes(value)) if value == "value"));
        assert!(store.get("a", None, s(10)).is_none());
        assert!(store.get("a", None, s(9)).is_none(), "what was found stale is gone");
        assert_eq!((store.stats().hits, store.stats().misses), (1, 2));
    }

    #[test]
    fn a_value_that_is_too_old_for_one_asker_is_still_there_for_another() {
        let mut store = store_with(&["a"]);
        assert!(store.get("a", Some(s(2)), s(3)).is_none());
        assert!(store.get("a", Some(s(3)), s(3)).is_some());
        assert!(store.get("a", None, s(9)).is_some());
    }

    #[test]
    fn an_invalidation_drops_what_matches_and_counts_it() {
        let keys = ["http:/a/1", "http:/a/2", "http:/b", "file:/a"];
        let by = |pattern| store_with(&keys).invalidate(&pattern);
        assert_eq!(by(Pattern::Key("http:/b".to_owned())), 1);
        assert_eq!(by(Pattern::Prefix("http:/a/".to_owned())), 2);
        assert_eq!(by(Pattern::All), 4);
        assert_eq!(by(Pattern::Key("none".to_owned())), 0);
    }

    #[test]
    fn the_size_is_bounded_by_bytes_and_one_giant_value_does_not_empty_the_rest() {
        let store = Store::new(10_000);
        for n in 0..1000 {
            store.put(format!("key-{n}"), bytes(&[0; 100]), s(10), s(0));
        }
        let before = store.stats();
        assert!(before.entries > 10 && before.bytes <= 10_000, "{before:?}");
        store.put("giant".to_owned(), bytes(&[0; 1 << 20]), s(10), s(0));
        let after = store.stats();
        assert!(after.entries >= before.entries && after.bytes <= 10_000, "{after:?}");
    }
}
