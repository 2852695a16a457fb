//! The cache's actor carries out invalidations.
//!
//! Reads and writes do not need it. The actor gives invalidations one order, and finishes one that has begun even if
//! its caller leaves. A crash leaves an empty cache, never a stale one: the cache stores nothing while its actor does
//! not run.

use mainstay_runtime::journal::{Event, millis, millis_text, word};
use mainstay_runtime::{Context, Failure, Message, Reply, Worker};
use serde::{Deserialize, Serialize};

use super::handle::CacheHandle;
use super::pattern::{Pattern, Selection};
use super::store::Epoch;
use crate::standstill::{CLOCK_CHECK_INTERVAL, StandstillDetector};

/// Entries were invalidated. A change in a folder is not recorded if it invalidated nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CacheInvalidated {
    /// The source of the invalidation.
    pub by: InvalidatedBy,
    /// The selected entries in words: a key, a prefix, a pattern, a path, or a count of them.
    pub pattern: String,
    /// The number of invalidated entries.
    pub entries: u64,
}

impl Event for CacheInvalidated {
    const KIND: &'static str = "cache_invalidated";

    fn describe(&self) -> String {
        let Self { by, pattern, entries } = self;
        let entries = match entries {
            1 => "1 entry".to_owned(),
            _ => format!("{entries} entries"),
        };
        format!("{entries} invalidated by {}: {pattern}", word(by))
    }
}

/// The computer slept, and the entries have aged meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CacheAged {
    /// The length of its sleep, in milliseconds.
    pub slept_ms: u64,
}

impl Event for CacheAged {
    const KIND: &'static str = "cache_aged";

    fn describe(&self) -> String {
        format!("cached entries are older by {}, for which the computer slept", millis_text(self.slept_ms))
    }
}

/// The source of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum InvalidatedBy {
    /// The embedder or a person, by one key.
    Key,
    /// The embedder or a person, by a prefix of keys.
    Prefix,
    /// The embedder or a person, by a pattern.
    Glob,
    /// The embedder, by a function.
    Predicate,
    /// The embedder or a person, for all entries.
    All,
    /// A change of files.
    Files,
    /// A request that may change its target.
    Write,
    /// The backend, over the connection.
    Backend,
    /// A gap in the connection, in which the backend may have announced a change.
    Gap,
}

/// An invalidation.
#[derive(Debug, Clone)]
pub struct Invalidation {
    /// The source of the invalidation.
    pub by: InvalidatedBy,
    /// The selected entries in words, for the journal.
    pub pattern: String,
    /// The entries to drop.
    pub selections: Vec<Selection>,
}

impl Invalidation {
    /// Selects the entries that a pattern matches.
    ///
    /// # Errors
    /// Fails if the pattern is invalid.
    pub fn from_pattern(pattern: &Pattern) -> Result<Self, super::PatternError> {
        let selections = vec![Selection::try_from(pattern)?];
        let (by, text) = match pattern {
            Pattern::Key(text) => (InvalidatedBy::Key, text.as_str()),
            Pattern::Prefix(text) => (InvalidatedBy::Prefix, text.as_str()),
            Pattern::Glob(text) => (InvalidatedBy::Glob, text.as_str()),
            Pattern::All => (InvalidatedBy::All, "**"),
        };
        Ok(Self { by, pattern: text.to_owned(), selections })
    }

    /// Selects the entries that a function chooses; the journal names it `name`.
    #[must_use]
    pub fn from_predicate(name: &str, holds: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let selections = vec![Selection::predicate(holds)];
        Self { by: InvalidatedBy::Predicate, pattern: name.to_owned(), selections }
    }
}

/// The messages of a cache actor.
#[derive(Debug)]
pub enum CacheMessage {
    /// Drops the selected entries. The reply is their number, sent once none of them is left.
    Invalidate {
        /// The entries to drop.
        invalidation: Invalidation,
        /// Receives the number of dropped entries; `None` if no caller waits.
        reply: Option<Reply<u64>>,
    },
    /// Checks whether the computer slept.
    CheckSleep,
}

impl Message for CacheMessage {}

/// Holds what each incarnation of the cache's actor is made from.
#[derive(Debug, Clone)]
pub struct CacheActor {
    /// The cache that the actor invalidates.
    pub cache: CacheHandle,
}

/// Keeps the cache open for one incarnation, and empties it when dropped.
#[derive(Debug)]
pub struct OpenGuard {
    cache: CacheHandle,
    epoch: Epoch,
    standstill_detector: StandstillDetector,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.cache.close(self.epoch);
    }
}

/// Guards an invalidation that is being carried out. If it is cut short, the cache is emptied. Drop it before the
/// reply is sent.
struct InvalidationGuard<'a> {
    open_guard: &'a OpenGuard,
    is_finished: bool,
}

impl Drop for InvalidationGuard<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.open_guard.cache.close(self.open_guard.epoch);
        }
    }
}

impl Worker for CacheActor {
    type Message = CacheMessage;
    type State = OpenGuard;
    type Snapshot = ();

    async fn start(&self, ctx: &mut Context<CacheMessage>, _: Option<()>) -> Result<OpenGuard, Failure> {
        ctx.send_after(CLOCK_CHECK_INTERVAL, CacheMessage::CheckSleep);
        let standstill_detector = StandstillDetector::new(ctx.wall_time(), ctx.now());
        Ok(OpenGuard { cache: self.cache.clone(), epoch: self.cache.open(), standstill_detector })
    }

    async fn handle(
        &self,
        ctx: &mut Context<CacheMessage>,
        message: CacheMessage,
        guard: &mut OpenGuard,
    ) -> Result<(), Failure> {
        match message {
            CacheMessage::CheckSleep => {
                ctx.send_after(CLOCK_CHECK_INTERVAL, CacheMessage::CheckSleep);
                if let Some(slept) = guard.standstill_detector.slept_for(ctx.wall_time(), ctx.now()) {
                    guard.cache.add_sleep(slept);
                    ctx.record(&CacheAged { slept_ms: millis(slept) });
                }
            }
            CacheMessage::Invalidate { invalidation, reply } => {
                let Invalidation { by, pattern, selections } = invalidation;
                let mut invalidation = InvalidationGuard { open_guard: guard, is_finished: false };
                let entries = invalidation.open_guard.cache.invalidate_all(selections).await;
                invalidation.is_finished = true;
                // A folder that a program writes to all day changes ten times a second, mostly without a cached
                // entry.
                if entries > 0 || by != InvalidatedBy::Files {
                    ctx.record(&CacheInvalidated { by, pattern, entries });
                }
                if let Some(reply) = reply {
                    reply.send(entries);
                }
            }
        }
        Ok(())
    }
}
