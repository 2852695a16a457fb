//! The cache: values with a time to live, never stale by mistake and never loaded twice.
//!
//! - [`CacheHandle`]: reading, keeping and loading, from the caller's own task
//! - [`CacheActor`]: whoever invalidates; nothing is kept while it is not there
//! - [`Pattern`], [`Selection`]: what an invalidation concerns
//! - [`WriteRule`], [`invalidated_by`]: what a request that changes something makes of it
//! - `key`: what a key may be; `value`: what can be kept, and what that takes
//! - [`Keeping`]: how it is kept, as its caller says; `freshness`: how long it may be used; `clock`: by what time, which knows
//!   of sleep
//! - `ledger`: the one order of loads, values and invalidations; pure. `shelf`: moka with the ledger
//! - `load`: one load for all who wait; `ticket`: what becomes of what it brings
//! - [`Responses`]: responses of GETs, kept as their server allows; `http`: what that is; pure
//! - [`Files`]: files and searches, kept until a change is told
//! - [`watch`]: the actor that tells
//!
//! The rule that everything serves: **whoever asks after an invalidation has returned gets nothing from before it.**

mod actor;
mod backend_invalidation;
mod clock;
mod entry_options;
mod files;
mod freshness;
mod handle;
mod http;
mod index;
pub mod key;
mod load;
mod load_guard;
mod pattern;
mod responses;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod value;
pub mod watch;
mod write_invalidation;

pub use self::http::StoredResponse;
pub use actor::{
    CacheActor, CacheAged, CacheInvalidated, CacheMessage, InvalidatedBy, Invalidation, OpenGuard,
};
pub use entry_options::EntryOptions;
pub use files::{FILE_BYTES_MAX, FileCache};
pub use handle::{CacheHandle, CacheLookup};
pub use load::Loaded;
pub use pattern::{Pattern, PatternError, Selection};
pub use responses::ResponseCache;
pub use stats::CacheStats;
pub use value::CacheValue;
pub use write_invalidation::{WriteRequest, WriteRule, invalidated_by};
