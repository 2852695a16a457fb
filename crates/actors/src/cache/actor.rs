//! The cache's actor: whoever invalidates.
//!
//! Values are read and kept without it. It is an actor so that invalidations have one order, so that one which has begun
//! ends whether its caller waits or not, and so that a crash leaves a cold cache and never a stale one: nothing is kept
//! while it is not there.

use mainstay_runtime::journal::{Event, millis, millis_text, word};
use mainstay_runtime::{Context, Failure, Message, Reply, Worker};
use serde::{Deserialize, Serialize};

use super::handle::CacheHandle;
use super::pattern::{Pattern, Selection};
use super::store::Epoch;
use crate::suspend::{SUSPEND_CHECK_INTERVAL, SuspendDetector};

/// Entries were invalidated. Where nothing was kept of what has changed in a folder, it is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheInvalidated {
    /// By what.
    pub by: InvalidatedBy,
    /// What was meant, in words: a key, a beginning of keys, a pattern, a path, or how many of them.
    pub pattern: String,
    /// How many there were.
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

/// The machine slept, and what is kept has grown older meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheAged {
    /// For how long, in milliseconds.
    pub suspended_ms: u64,
}

impl Event for CacheAged {
    const KIND: &'static str = "cache_aged";

    fn describe(&self) -> String {
        format!(
            "cached entries are older by {}, for which the machine was suspended",
            millis_text(self.suspended_ms)
        )
    }
}

/// By what entries were invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidatedBy {
    /// The embedder or a person: one key.
    Key,
    /// … the beginning of keys.
    Prefix,
    /// … a pattern.
    Glob,
    /// … a function.
    Predicate,
    /// … everything.
    All,
    /// A change of files.
    Files,
    /// A request that changes what it is sent to.
    Write,
    /// The backend, over the link.
    Backend,
    /// Something that the backend said over the link may have been missed.
    Gap,
}

/// One order to invalidate.
#[derive(Debug, Clone)]
pub struct Invalidation {
    /// By what.
    pub by: InvalidatedBy,
    /// What is meant, for the journal.
    pub pattern: String,
    /// What is dropped.
    pub selections: Vec<Selection>,
}

impl Invalidation {
    /// What a pattern says.
    ///
    /// # Errors
    /// When the pattern cannot be used.
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

    /// Whatever a function chooses; `name` says in the journal what that is.
    #[must_use]
    pub fn from_predicate(name: &str, holds: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let selections = vec![Selection::predicate(holds)];
        Self { by: InvalidatedBy::Predicate, pattern: name.to_owned(), selections }
    }
}

/// A cache actor's messages.
#[derive(Debug)]
pub enum CacheMessage {
    /// Drop what is meant; answered with how many entries that were, when none of them is left.
    Invalidate {
        /// What is meant.
        invalidation: Invalidation,
        /// Where the count goes; `None` where nobody waits for it.
        reply: Option<Reply<u64>>,
    },
    /// Look whether the machine slept.
    CheckSuspend,
}

impl Message for CacheMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Invalidate { .. } => "Invalidate",
            Self::CheckSuspend => "MindTime",
        }
    }
}

/// What every incarnation of the cache's actor is made from.
#[derive(Debug, Clone)]
pub struct CacheActor {
    /// The cache.
    pub cache: CacheHandle,
}

/// The time of one incarnation. When it ends, in whatever way, everything is forgotten.
#[derive(Debug)]
pub struct OpenGuard {
    cache: CacheHandle,
    epoch: Epoch,
    suspend_detector: SuspendDetector,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.cache.close(self.epoch);
    }
}

/// An order that is being carried out. Where that is cut off, everything is forgotten before its caller is told: this is to
/// be dropped before the reply.
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
        ctx.send_after(SUSPEND_CHECK_INTERVAL, CacheMessage::CheckSuspend);
        let sleep = SuspendDetector::new(ctx.wall_time(), ctx.now());
        Ok(OpenGuard { cache: self.cache.clone(), epoch: self.cache.open(), suspend_detector: sleep })
    }

    async fn handle(
        &self,
        ctx: &mut Context<CacheMessage>,
        message: CacheMessage,
        tenure: &mut OpenGuard,
    ) -> Result<(), Failure> {
        match message {
            CacheMessage::CheckSuspend => {
                ctx.send_after(SUSPEND_CHECK_INTERVAL, CacheMessage::CheckSuspend);
                if let Some(slept) = tenure.suspend_detector.suspended_for(ctx.wall_time(), ctx.now()) {
                    tenure.cache.add_suspend(slept);
                    ctx.record(&CacheAged { suspended_ms: millis(slept) });
                }
            }
            CacheMessage::Invalidate { invalidation, reply } => {
                let Invalidation { by, pattern, selections } = invalidation;
                let mut unfinished = InvalidationGuard { open_guard: tenure, is_finished: false };
                let entries = tenure.cache.invalidate_all(selections).await;
                unfinished.is_finished = true;
                // A folder that a program writes to all day changes ten times a second, and mostly nothing is kept of it.
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
