//! The watching actor keeps every root watched, and invalidates what changed there.
//!
//! The actor gives each root one state at a time. If it ends in any way, a crash included, nothing of its roots is
//! cached any more. It never reads a file.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{Event, Level, count, millis, millis_text, word};
use mainstay_runtime::policy::Delay;
use mainstay_runtime::{Address, Context, Failure, Message, Worker};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::batch::{EventBatch, whole_root_invalidation};
use super::changes::FileFeed;
use super::error::{WatchError, WatchErrorKind};
use super::path_key::PathKey;
use super::roots::Roots;
use super::watcher::RootWatcher;
use crate::cache::{CacheHandle, CacheMessage, Invalidation};

type WatchContext = Context<WatchMessage>;

/// A root is watched for the first time. From now on files read in it are cached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct WatchStarted {
    /// The folder, as configured.
    pub root: String,
}

impl Event for WatchStarted {
    const KIND: &'static str = "watch_started";

    fn describe(&self) -> String {
        format!("{} is watched", self.root)
    }
}

/// A root cannot be watched. Its entries are dropped, and nothing is cached until it is watched again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct WatchLost {
    /// The folder, as configured.
    pub root: String,
    /// The reason.
    pub reason: WatchErrorKind,
    /// More about the cause.
    pub details: Option<String>,
    /// The remedy, for a person.
    pub next_step: String,
    /// The time until the next attempt, in milliseconds; each delay is longer than the last, up to a cap.
    pub next_attempt_ms: u64,
}

impl Event for WatchLost {
    const KIND: &'static str = "watch_lost";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { root, reason, details, next_step, next_attempt_ms } = self;
        let details = details.as_ref().map(|details| format!(" ({details})")).unwrap_or_default();
        format!(
            "{root} cannot be watched: {}{details}; next attempt in {}: {next_step}",
            word(reason),
            millis_text(*next_attempt_ms)
        )
    }
}

/// A root is watched again. Entries that remained of it were dropped once more before this event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct WatchRegained {
    /// The folder, as configured.
    pub root: String,
    /// The time for which it was not watched, in milliseconds.
    pub lost_ms: u64,
    /// The number of attempts.
    pub attempts: u32,
}

impl Event for WatchRegained {
    const KIND: &'static str = "watch_regained";

    fn describe(&self) -> String {
        let Self { root, lost_ms, attempts } = self;
        format!("{root} is watched again after {} and {}", millis_text(*lost_ms), count(*attempts, "attempt"))
    }
}

/// The messages of a watching actor. All but the faults of debug builds are internal.
#[derive(Debug)]
pub struct WatchMessage(pub(super) WatchCommand);

#[derive(Debug)]
pub(super) enum WatchCommand {
    /// Tries to watch a root.
    Open { root: usize },
    /// A root is watched, or the attempt failed.
    Opened { root: usize, watcher: Result<RootWatcher, WatchError> },
    /// Something changed in a root, or its watcher failed, in that epoch.
    Changed { root: usize, epoch: u64, batch: Box<EventBatch> },
    #[cfg(debug_assertions)]
    EndWatchers,
}

impl WatchMessage {
    /// Makes the thread of every watcher panic at its next event. Only in debug builds.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn end_watchers() -> Self {
        Self(WatchCommand::EndWatchers)
    }
}

impl Message for WatchMessage {}

/// The times of the watching actor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchPolicy {
    /// The time for which changes are gathered, from the first one on, before they are applied together.
    pub debounce: Duration,
    /// The delay before a root that is not watched is tried again.
    pub delay: Delay,
    /// The interval at which each root is verified to be the same folder.
    pub verify_interval: Duration,
    /// The duration of a watch after which the attempts count from zero again.
    pub stable_after: Duration,
}

impl Default for WatchPolicy {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(100),
            delay: Delay::Exponential {
                min: Duration::from_millis(100),
                max: Duration::from_secs(60),
                factor: 2.0,
                jitter: false,
            },
            verify_interval: Duration::from_secs(2),
            stable_after: Duration::from_secs(10),
        }
    }
}

/// Holds what each incarnation of the watching actor is made from.
#[derive(Debug, Clone)]
pub struct WatchActor {
    /// The cache whose entries are dropped.
    pub cache: CacheHandle,
    /// The actor that invalidates the cache.
    pub cache_address: Address<CacheMessage>,
    /// The roots to watch.
    pub roots: Roots,
    /// The times of the watching actor.
    pub policy: WatchPolicy,
    /// The listeners to changes.
    pub feed: FileFeed,
}

/// The state of one incarnation. When it is dropped, no root is watched any more and their entries are dropped.
#[derive(Debug)]
pub struct WatchedRoots {
    cache: CacheHandle,
    roots: Roots,
    watched: Vec<WatchedRoot>,
}

#[derive(Debug, Default)]
struct WatchedRoot {
    active: Option<ActiveWatch>,
    /// The reason that the journal recorded last.
    last_reported: Option<WatchErrorKind>,
    attempts: u32,
    lost_at: Option<Duration>,
}

#[derive(Debug)]
struct ActiveWatch {
    watcher: Arc<RootWatcher>,
    epoch: u64,
    since: Duration,
}

impl Drop for WatchedRoots {
    fn drop(&mut self) {
        for (root, watch) in self.watched.iter().enumerate() {
            let Some(ActiveWatch { watcher, epoch, .. }) = &watch.active else { continue };
            if self.roots.end_epoch(root, *epoch) {
                invalidate_root(&self.cache, &watcher.paths.key);
            }
        }
    }
}

/// Drops the entries of a root without the cache's actor.
fn invalidate_root(cache: &CacheHandle, root: &PathKey) {
    cache.invalidate_now(whole_root_invalidation(root).selections);
}

impl Worker for WatchActor {
    type Message = WatchMessage;
    type State = WatchedRoots;
    type Snapshot = ();

    async fn start(&self, ctx: &mut WatchContext, _: Option<()>) -> Result<WatchedRoots, Failure> {
        let watches = (0..self.roots.count()).map(|root| {
            // The previous incarnation may have been cut off, and may end at any time from now on.
            self.roots.deactivate(root);
            WatchedRoot { lost_at: (ctx.generation() > 1).then(|| ctx.now()), ..WatchedRoot::default() }
        });
        let watches = watches.collect();
        for root in 0..self.roots.count() {
            self.spawn_open(ctx, root);
        }
        Ok(WatchedRoots { cache: self.cache.clone(), roots: self.roots.clone(), watched: watches })
    }

    async fn handle(
        &self,
        ctx: &mut WatchContext,
        WatchMessage(step): WatchMessage,
        state: &mut WatchedRoots,
    ) -> Result<(), Failure> {
        match step {
            WatchCommand::Open { root } => self.spawn_open(ctx, root),
            WatchCommand::Opened { root, watcher } => {
                let Some(watch) = state.watched.get_mut(root) else { return Ok(()) };
                match watcher {
                    Ok(watcher) => self.activate(ctx, root, watch, watcher).await,
                    Err(error) => self.schedule_retry(ctx, root, watch, error),
                }
            }
            WatchCommand::Changed { root, epoch, batch } => {
                let watch = state.watched.get_mut(root);
                let is_current =
                    |watch: &&mut WatchedRoot| watch.active.as_ref().is_some_and(|it| it.epoch == epoch);
                if let Some(watch) = watch.filter(is_current) {
                    self.apply_batch(ctx, root, watch, *batch).await;
                }
            }
            #[cfg(debug_assertions)]
            WatchCommand::EndWatchers => {
                state.watched.iter().flat_map(|watch| &watch.active).for_each(|active| {
                    active.watcher.pending.panic_at_next_event();
                });
            }
        }
        Ok(())
    }
}

impl WatchActor {
    /// Tries to watch a root beside the handlers, since a large folder takes time.
    fn spawn_open(&self, ctx: &mut WatchContext, root: usize) {
        let Some(named) = self.roots.configured_path(root).map(ToOwned::to_owned) else { return };
        ctx.spawn(async move {
            let opened = spawn_blocking(move || RootWatcher::open(&named)).await;
            let watcher = opened.unwrap_or_else(|error| {
                Err(WatchError { kind: WatchErrorKind::Failed, details: Some(error.to_string()) })
            });
            WatchMessage(WatchCommand::Opened { root, watcher })
        });
    }

    /// Marks a root as watched. Entries that remain of it are older, so they are dropped before anything is cached.
    async fn activate(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        watcher: RootWatcher,
    ) {
        let watcher = Arc::new(watcher);
        self.invalidate(whole_root_invalidation(&watcher.paths.key)).await;
        let epoch = self.roots.activate(root, Arc::clone(&watcher.paths));
        watch.active = Some(ActiveWatch { watcher, epoch, since: ctx.now() });
        watch.last_reported = None;
        let name = self.root_name(root);
        match watch.lost_at.take() {
            None => ctx.record(&WatchStarted { root: name }),
            Some(lost_at) => {
                self.publish_rescan(root);
                ctx.record(&WatchRegained {
                    root: name,
                    lost_ms: millis(ctx.now().saturating_sub(lost_at)),
                    attempts: watch.attempts.saturating_add(1),
                });
            }
        }
        self.await_changes(ctx, root, watch);
    }

    fn await_changes(&self, ctx: &mut WatchContext, root: usize, watch: &WatchedRoot) {
        let Some(active) = &watch.active else { return };
        let attended = RootWatcher::next_batch(
            Arc::clone(&active.watcher),
            self.policy.debounce,
            self.policy.verify_interval,
        );
        let epoch = active.epoch;
        ctx.spawn(async move {
            WatchMessage(WatchCommand::Changed { root, epoch, batch: Box::new(attended.await) })
        });
    }

    async fn apply_batch(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        mut batch: EventBatch,
    ) {
        let Some(active) = &watch.active else { return };
        if let Some(error) = batch.error.take() {
            return self.deactivate(ctx, root, watch, error).await;
        }
        let invalidation = batch.invalidation(&active.watcher.paths);
        // Changes during the invalidation are gathered.
        self.await_changes(ctx, root, watch);
        self.invalidate(invalidation).await;
        // A listener that reads again gets nothing stale.
        self.feed.publish(batch.feed);
    }

    /// Marks a root as not watched, and drops its entries.
    async fn deactivate(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        error: WatchError,
    ) {
        let Some(ActiveWatch { watcher, epoch, since }) = watch.active.take() else { return };
        self.roots.end_epoch(root, epoch);
        self.invalidate(whole_root_invalidation(&watcher.paths.key)).await;
        self.publish_rescan(root);
        // The drop may take long, and the watcher's thread may be gone.
        ctx.spawn_maybe(async move {
            let _ = spawn_blocking(move || drop(watcher)).await;
            None
        });
        if ctx.now().saturating_sub(since) >= self.policy.stable_after {
            watch.attempts = 0;
        }
        watch.lost_at = Some(ctx.now());
        self.schedule_retry(ctx, root, watch, error);
    }

    /// Schedules the next attempt. The journal records each cause once, not each attempt.
    fn schedule_retry(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        error: WatchError,
    ) {
        watch.attempts = watch.attempts.saturating_add(1);
        watch.lost_at.get_or_insert(ctx.now());
        let delay = self.policy.delay.before(watch.attempts, ctx.random_unit());
        let WatchError { kind, details } = error;
        if watch.last_reported.replace(kind) != Some(kind) {
            ctx.record(&WatchLost {
                root: self.root_name(root),
                reason: kind,
                details,
                next_step: kind.next_step().to_owned(),
                next_attempt_ms: millis(delay),
            });
        }
        ctx.send_after(delay, WatchMessage(WatchCommand::Open { root }));
    }

    /// Invalidates, and returns when none of the entries is left.
    async fn invalidate(&self, invalidation: Invalidation) {
        let message = |reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) };
        // A cache whose actor crashed or stopped is empty.
        let _ = self.cache_address.call(message).await;
    }

    fn publish_rescan(&self, root: usize) {
        if let Some(root) = self.roots.configured_path(root) {
            self.feed.publish_rescan(root);
        }
    }

    fn root_name(&self, root: usize) -> String {
        self.roots.configured_path(root).map(|named| named.display().to_string()).unwrap_or_default()
    }
}
