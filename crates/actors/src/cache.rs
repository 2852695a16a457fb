//! The cache: values with a time to live, never stale by mistake and never loaded twice.
//!
//! - [`CacheHandle`]: reading, keeping and loading, from the caller's own task
//! - [`CacheActor`]: whoever invalidates; nothing is kept while it is not there
//! - [`Pattern`], [`Selection`]: what an invalidation concerns
//! - [`WriteRule`], [`invalidated_by`]: what a request that changes something makes of it
//! - `key`: what a key may be; `value`: what can be kept, and what that takes
//! - `clock`: by what time that is; it knows of sleep
//! - `freshness`: how long a value may be used; `ledger`: the one order of loads, values and invalidations. Both are pure
//! - `shelf`: moka with the ledger
//! - `load`: one load for all who wait
//! - [`Responses`]: responses of GETs, kept as their server allows
//! - [`Files`]: files and searches, kept until a change is told
//! - [`watch`]: the actor that tells
//!
//! The rule that everything serves: **whoever asks after an invalidation has returned gets nothing from before it.**

mod actor;
mod clock;
mod files;
mod freshness;
mod handle;
mod http;
pub mod key;
mod ledger;
mod load;
mod pattern;
mod shelf;
mod stats;
#[cfg(test)]
mod tests;
mod value;
pub mod watch;
mod writes;

pub use self::http::{Held, Responses};
pub use actor::{
    CacheActor, CacheInvalidated, CacheMessage, CacheSlept, InvalidatedBy, Invalidation, Tenure,
};
pub use files::{FILE_BYTES_MAX, Files};
pub use handle::{Answer, CacheHandle, Keeping};
pub use load::Loaded;
pub use pattern::{Pattern, PatternError, Selection};
pub use stats::CacheStats;
pub use value::CacheValue;
pub use writes::{Write, WriteRule, invalidated_by};
