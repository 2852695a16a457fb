//! The cache keeps values with a time to live. It never serves a stale value by mistake and never loads a value
//! twice.
//!
//! - [`CacheHandle`] reads, stores and loads from the caller's own task.
//! - [`CacheActor`] invalidates; the cache stores nothing while the actor does not run.
//! - [`Pattern`] and [`Selection`] say which entries an invalidation concerns.
//! - [`WriteRule`] says what a write invalidates; [`WriteInvalidator`] drops that.
//! - `key` defines valid keys; `value` defines values and their weight.
//! - [`EntryOptions`] holds the caller's terms; `freshness` says how long an entry may be used; `clock` counts
//!   the time for which the computer slept.
//! - `index` orders loads, values and invalidations; pure. `store` joins moka and the index.
//! - `load` runs one load for all callers; `load_guard` decides what happens to its result.
//! - `http` is the pure policy for responses to GET. [`ResponseCache`](crate::response_cache::ResponseCache) carries
//!   it out, above this module and the queue.
//! - [`FileCache`] caches files and searches until a change is reported.
//! - [`watch`] is the actor that reports changes.
//!
//! All of it serves one rule: **a read that begins after an invalidation returned never gets a value from before
//! it.**

mod actor;
mod backend_invalidation;
mod clock;
mod entry_options;
mod files;
mod freshness;
mod handle;
pub(crate) mod http;
mod index;
pub mod key;
mod load;
mod load_guard;
mod outdated_entries;
mod pattern;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod value;
pub mod watch;
mod write_invalidation;

pub(crate) use self::http::StoredResponse;

pub use actor::{CacheActor, CacheAged, CacheInvalidated, CacheMessage, InvalidatedBy, Invalidation};
pub use entry_options::EntryOptions;
pub use files::{FILE_BYTES_MAX, FileCache};
pub use handle::CacheHandle;
#[cfg(test)]
pub(crate) use handle::CacheLookup;
pub use load::Loaded;

pub use outdated_entries::WriteInvalidator;
pub use pattern::{Pattern, PatternError, Selection};
pub use stats::CacheStats;
pub use value::CacheValue;
pub use write_invalidation::{WriteRequest, WriteRule};
