//! The watching actor: keeps every root watched, and has what changed there forgotten.
//!
//! It is an actor so that each root has one fate at a time, and so that a crash of whatever watches is seen: its end, in
//! whatever way, is the end of keeping anything of its roots. It never reads a file.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{Event, Level, count, millis, millis_text, word};
use mainstay_runtime::policy::Delay;
use mainstay_runtime::{Address, Context, Failure, Message, Worker};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::batch::{EventBatch, whole_root_invalidation};
use super::error::{WatchError, WatchErrorKind};
use super::path_key::PathKey;
use super::roots::Roots;
use super::watcher::RootWatcher;
use crate::cache::{CacheHandle, CacheMessage, Invalidation};

type WatchContext = Context<WatchMessage>;

/// A root is watched for the first time. From now on what is read in it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStarted {
    /// The folder, as it was named.
    pub root: String,
}

impl Event for WatchStarted {
    const KIND: &'static str = "watch_started";

    fn describe(&self) -> String {
        format!("{} is watched", self.root)
    }
}

/// A root cannot be watched. What was kept of it is dropped, and nothing is kept until it is watched again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchLost {
    /// The folder, as it was named.
    pub root: String,
    /// Why.
    pub reason: WatchErrorKind,
    /// More about the cause.
    pub details: Option<String>,
    /// What can be done.
    pub next_step: String,
    /// When it is tried again, in milliseconds; each wait after that is longer, up to a cap.
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

/// A root is watched again. Before this, what might have been kept of it was dropped once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRegained {
    /// The folder, as it was named.
    pub root: String,
    /// For how long it was not watched, in milliseconds.
    pub lost_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
}

impl Event for WatchRegained {
    const KIND: &'static str = "watch_regained";

    fn describe(&self) -> String {
        let Self { root, lost_ms, attempts } = self;
        format!("{root} is watched again after {} and {}", millis_text(*lost_ms), count(*attempts, "attempt"))
    }
}

/// A watching actor's messages; all but the faults of debug builds are its own.
#[derive(Debug)]
pub struct WatchMessage(pub(super) WatchCommand);

#[derive(Debug)]
pub(super) enum WatchCommand {
    /// Try to watch a root.
    Open { root: usize },
    /// A root is watched, or cannot be.
    Opened { root: usize, watcher: Result<RootWatcher, WatchError> },
    /// Something has changed in a root, or with its watcher, in that term.
    Changed { root: usize, epoch: u64, batch: EventBatch },
    #[cfg(debug_assertions)]
    EndWatchers,
}

impl WatchMessage {
    /// Let the thread of every watcher panic at its next event. Only in debug builds.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn end_watchers() -> Self {
        Self(WatchCommand::EndWatchers)
    }
}

impl Message for WatchMessage {
    fn label(&self) -> &'static str {
        match self.0 {
            WatchCommand::Open { .. } => "Open",
            WatchCommand::Opened { .. } => "Opened",
            WatchCommand::Changed { .. } => "Gathered",
            #[cfg(debug_assertions)]
            WatchCommand::EndWatchers => "EndWatchers",
        }
    }
}

/// When what is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchPolicy {
    /// How long changes are gathered, from the first one on, before they are carried out together.
    pub debounce: Duration,
    /// How long until a root that is not watched is tried again.
    pub delay: Delay,
    /// How often a root is looked at, to see whether it is still the same folder.
    pub verify_interval: Duration,
    /// A watch that lasted this long sets the attempts back.
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

/// What every incarnation of the watching actor is made from.
#[derive(Debug, Clone)]
pub struct WatchActor {
    /// What is dropped is dropped there.
    pub cache: CacheHandle,
    /// Whoever invalidates in that.
    pub cache_address: Address<CacheMessage>,
    /// What is to be watched.
    pub roots: Roots,
    /// When what is done.
    pub policy: WatchPolicy,
}

/// What one incarnation watches. When it ends, in whatever way, none of the roots is watched any more, and what was kept
/// of them is dropped.
#[derive(Debug)]
pub struct WatchedRoots {
    cache: CacheHandle,
    roots: Roots,
    watched: Vec<WatchedRoot>,
}

#[derive(Debug, Default)]
struct WatchedRoot {
    active: Option<ActiveWatch>,
    /// Why it is not watched, as the journal was told last.
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
            let Some(ActiveWatch { watcher: eye, epoch: term, .. }) = &watch.active else { continue };
            if self.roots.end_epoch(root, *term) {
                invalidate_root(&self.cache, &eye.paths.key);
            }
        }
    }
}

/// Drops what was kept of a root without anybody's help.
fn invalidate_root(cache: &CacheHandle, root: &PathKey) {
    cache.invalidate_now(whole_root_invalidation(root).selections);
}

impl Worker for WatchActor {
    type Message = WatchMessage;
    type State = WatchedRoots;
    type Snapshot = ();

    async fn start(&self, ctx: &mut WatchContext, _: Option<()>) -> Result<WatchedRoots, Failure> {
        let watches = (0..self.roots.count()).map(|root| {
            // The last incarnation may have been cut off, and may end at any time from now on.
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
            WatchCommand::Opened { root, watcher: eye } => {
                let Some(watch) = state.watched.get_mut(root) else { return Ok(()) };
                match eye {
                    Ok(eye) => self.activate(ctx, root, watch, eye).await,
                    Err(trouble) => self.schedule_retry(ctx, root, watch, trouble),
                }
            }
            WatchCommand::Changed { root, epoch: term, batch } => {
                let watch = state.watched.get_mut(root);
                let is_current =
                    |watch: &&mut WatchedRoot| watch.active.as_ref().is_some_and(|it| it.epoch == term);
                if let Some(watch) = watch.filter(is_current) {
                    self.apply_batch(ctx, root, watch, batch).await;
                }
            }
            #[cfg(debug_assertions)]
            WatchCommand::EndWatchers => {
                state.watched.iter().flat_map(|watch| &watch.active).for_each(|standing| {
                    standing.watcher.pending.panic_at_next_event();
                });
            }
        }
        Ok(())
    }
}

impl WatchActor {
    /// Tries to watch a root, beside the handlers: a large folder takes its time.
    fn spawn_open(&self, ctx: &mut WatchContext, root: usize) {
        let Some(named) = self.roots.configured_path(root).map(ToOwned::to_owned) else { return };
        ctx.spawn(async move {
            let opened = spawn_blocking(move || RootWatcher::open(&named)).await;
            let eye = opened.unwrap_or_else(|error| {
                Err(WatchError { kind: WatchErrorKind::Failed, details: Some(error.to_string()) })
            });
            WatchMessage(WatchCommand::Opened { root, watcher: eye })
        });
    }

    /// A root is watched. What may have been kept of it is older than that, so it goes before anything is kept.
    async fn activate(&self, ctx: &mut WatchContext, root: usize, watch: &mut WatchedRoot, eye: RootWatcher) {
        let eye = Arc::new(eye);
        self.invalidate(whole_root_invalidation(&eye.paths.key)).await;
        let term = self.roots.activate(root, Arc::clone(&eye.paths));
        watch.active = Some(ActiveWatch { watcher: eye, epoch: term, since: ctx.now() });
        watch.last_reported = None;
        let name = self.root_name(root);
        match watch.lost_at.take() {
            None => ctx.record(&WatchStarted { root: name }),
            Some(lost_at) => ctx.record(&WatchRegained {
                root: name,
                lost_ms: millis(ctx.now().saturating_sub(lost_at)),
                attempts: watch.attempts.saturating_add(1),
            }),
        }
        self.await_changes(ctx, root, watch);
    }

    fn await_changes(&self, ctx: &mut WatchContext, root: usize, watch: &WatchedRoot) {
        let Some(standing) = &watch.active else { return };
        let attended = RootWatcher::next_batch(
            Arc::clone(&standing.watcher),
            self.policy.debounce,
            self.policy.verify_interval,
        );
        let term = standing.epoch;
        ctx.spawn(
            async move { WatchMessage(WatchCommand::Changed { root, epoch: term, batch: attended.await }) },
        );
    }

    async fn apply_batch(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        mut batch: EventBatch,
    ) {
        let Some(standing) = &watch.active else { return };
        if let Some(trouble) = batch.error.take() {
            return self.deactivate(ctx, root, watch, trouble).await;
        }
        let invalidation = batch.invalidation(&standing.watcher.paths);
        // What changes meanwhile is gathered meanwhile.
        self.await_changes(ctx, root, watch);
        self.invalidate(invalidation).await;
    }

    /// A root is no longer watched: nothing more is kept of it, and what was goes.
    async fn deactivate(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        trouble: WatchError,
    ) {
        let Some(ActiveWatch { watcher: eye, epoch: term, since }) = watch.active.take() else { return };
        self.roots.end_epoch(root, term);
        self.invalidate(whole_root_invalidation(&eye.paths.key)).await;
        // It may take a while, and its thread may be gone.
        ctx.spawn_maybe(async move {
            let _ = spawn_blocking(move || drop(eye)).await;
            None
        });
        if ctx.now().saturating_sub(since) >= self.policy.stable_after {
            watch.attempts = 0;
        }
        watch.lost_at = Some(ctx.now());
        self.schedule_retry(ctx, root, watch, trouble);
    }

    /// Tries later. The journal hears of each cause once, and not of each attempt.
    fn schedule_retry(
        &self,
        ctx: &mut WatchContext,
        root: usize,
        watch: &mut WatchedRoot,
        trouble: WatchError,
    ) {
        watch.attempts = watch.attempts.saturating_add(1);
        watch.lost_at.get_or_insert(ctx.now());
        let delay = self.policy.delay.before(watch.attempts, ctx.random_unit());
        let WatchError { kind: fault, details } = trouble;
        if watch.last_reported.replace(fault) != Some(fault) {
            ctx.record(&WatchLost {
                root: self.root_name(root),
                reason: fault,
                details,
                next_step: fault.next_step().to_owned(),
                next_attempt_ms: millis(delay),
            });
        }
        ctx.send_after(delay, WatchMessage(WatchCommand::Open { root }));
    }

    /// Returns when nothing of it is left.
    async fn invalidate(&self, invalidation: Invalidation) {
        let message = |reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) };
        // A cache whose actor has crashed or stopped is cold.
        let _ = self.cache_address.call(message).await;
    }

    fn root_name(&self, root: usize) -> String {
        self.roots.configured_path(root).map(|named| named.display().to_string()).unwrap_or_default()
    }
}
