//! The watching actor: keeps every root watched, and has what changed there forgotten.
//!
//! It is an actor so that each root has one fate at a time, and so that a crash of whatever watches is seen: its end, in
//! whatever way, is the end of keeping anything of its roots. It never reads a file.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{Event, Level, millis};
use mainstay_runtime::policy::Delay;
use mainstay_runtime::{Address, Context, Failure, Message, Worker};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::batch::{Batch, everything};
use super::eye::Eye;
use super::fault::{Trouble, WatchFault};
use super::place::Place;
use super::roots::Roots;
use crate::cache::{CacheHandle, CacheMessage, Invalidation};

type Ctx = Context<WatchMessage>;

/// A root is watched for the first time. From now on what is read in it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStarted {
    /// The folder, as it was named.
    pub root: String,
}

impl Event for WatchStarted {
    const KIND: &'static str = "watch_started";
}

/// A root cannot be watched. What was kept of it is dropped, and nothing is kept until it is watched again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchLost {
    /// The folder, as it was named.
    pub root: String,
    /// Why.
    pub reason: WatchFault,
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
}

/// A watching actor's messages; all but the faults of debug builds are its own.
#[derive(Debug)]
pub struct WatchMessage(pub(super) Step);

#[derive(Debug)]
pub(super) enum Step {
    /// Try to watch a root.
    Open { root: usize },
    /// A root is watched, or cannot be.
    Opened { root: usize, eye: Result<Eye, Trouble> },
    /// Something has changed in a root, or with its watcher, in that term.
    Gathered { root: usize, term: u64, batch: Batch },
    #[cfg(debug_assertions)]
    Panic,
    #[cfg(debug_assertions)]
    EndWatchers,
}

impl WatchMessage {
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn panic() -> Self {
        Self(Step::Panic)
    }

    /// Let the thread of every watcher panic at its next event. Only in debug builds.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn end_watchers() -> Self {
        Self(Step::EndWatchers)
    }
}

impl Message for WatchMessage {
    fn label(&self) -> &'static str {
        match self.0 {
            Step::Open { .. } => "Open",
            Step::Opened { .. } => "Opened",
            Step::Gathered { .. } => "Gathered",
            #[cfg(debug_assertions)]
            Step::Panic => "Panic",
            #[cfg(debug_assertions)]
            Step::EndWatchers => "EndWatchers",
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
    pub look_every: Duration,
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
            look_every: Duration::from_secs(2),
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
pub struct Watches {
    cache: CacheHandle,
    roots: Roots,
    watches: Vec<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    standing: Option<Standing>,
    /// Why it is not watched, as the journal was told last.
    told: Option<WatchFault>,
    attempts: u32,
    lost_at: Option<Duration>,
}

#[derive(Debug)]
struct Standing {
    eye: Arc<Eye>,
    term: u64,
    since: Duration,
}

impl Drop for Watches {
    fn drop(&mut self) {
        for (root, watch) in self.watches.iter().enumerate() {
            let Some(Standing { eye, term, .. }) = &watch.standing else { continue };
            if self.roots.end(root, *term) {
                forget(&self.cache, &eye.scope.place);
            }
        }
    }
}

/// Drops what was kept of a root without anybody's help.
fn forget(cache: &CacheHandle, root: &Place) {
    cache.drop_at_once(everything(root).selections);
}

impl Worker for WatchActor {
    type Message = WatchMessage;
    type State = Watches;
    type Snapshot = ();

    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Watches, Failure> {
        let watches = (0..self.roots.count()).map(|root| {
            // The last incarnation may have been cut off, and may end at any time from now on.
            self.roots.unseat(root);
            Watch { lost_at: (ctx.generation() > 1).then(|| ctx.now()), ..Watch::default() }
        });
        let watches = watches.collect();
        for root in 0..self.roots.count() {
            self.open(ctx, root);
        }
        Ok(Watches { cache: self.cache.clone(), roots: self.roots.clone(), watches })
    }

    async fn handle(
        &self,
        ctx: &mut Ctx,
        WatchMessage(step): WatchMessage,
        state: &mut Watches,
    ) -> Result<(), Failure> {
        match step {
            Step::Open { root } => self.open(ctx, root),
            Step::Opened { root, eye } => {
                let Some(watch) = state.watches.get_mut(root) else { return Ok(()) };
                match eye {
                    Ok(eye) => self.stand(ctx, root, watch, eye).await,
                    Err(trouble) => self.try_again(ctx, root, watch, trouble),
                }
            }
            Step::Gathered { root, term, batch } => {
                let watch = state.watches.get_mut(root);
                let is_current =
                    |watch: &&mut Watch| watch.standing.as_ref().is_some_and(|it| it.term == term);
                if let Some(watch) = watch.filter(is_current) {
                    self.carry_out(ctx, root, watch, batch).await;
                }
            }
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            Step::Panic => panic!("asked to panic"),
            #[cfg(debug_assertions)]
            Step::EndWatchers => {
                state.watches.iter().flat_map(|watch| &watch.standing).for_each(|standing| {
                    standing.eye.gathered.end_watcher();
                });
            }
        }
        Ok(())
    }
}

impl WatchActor {
    /// Tries to watch a root, beside the handlers: a large folder takes its time.
    fn open(&self, ctx: &mut Ctx, root: usize) {
        let Some(named) = self.roots.named(root).map(ToOwned::to_owned) else { return };
        ctx.spawn(async move {
            let opened = spawn_blocking(move || Eye::open(&named)).await;
            let eye = opened.unwrap_or_else(|error| {
                Err(Trouble { fault: WatchFault::Failed, details: Some(error.to_string()) })
            });
            WatchMessage(Step::Opened { root, eye })
        });
    }

    /// A root is watched. What may have been kept of it is older than that, so it goes before anything is kept.
    async fn stand(&self, ctx: &mut Ctx, root: usize, watch: &mut Watch, eye: Eye) {
        let eye = Arc::new(eye);
        self.invalidate(everything(&eye.scope.place)).await;
        let term = self.roots.seat(root, Arc::clone(&eye.scope));
        watch.standing = Some(Standing { eye, term, since: ctx.now() });
        watch.told = None;
        let name = self.name(root);
        match watch.lost_at.take() {
            None => ctx.record(&WatchStarted { root: name }),
            Some(lost_at) => ctx.record(&WatchRegained {
                root: name,
                lost_ms: millis(ctx.now().saturating_sub(lost_at)),
                attempts: watch.attempts.saturating_add(1),
            }),
        }
        self.attend(ctx, root, watch);
    }

    fn attend(&self, ctx: &mut Ctx, root: usize, watch: &Watch) {
        let Some(standing) = &watch.standing else { return };
        let attended = Eye::attend(Arc::clone(&standing.eye), self.policy.debounce, self.policy.look_every);
        let term = standing.term;
        ctx.spawn(async move { WatchMessage(Step::Gathered { root, term, batch: attended.await }) });
    }

    async fn carry_out(&self, ctx: &mut Ctx, root: usize, watch: &mut Watch, mut batch: Batch) {
        let Some(standing) = &watch.standing else { return };
        if let Some(trouble) = batch.trouble.take() {
            return self.lose(ctx, root, watch, trouble).await;
        }
        let invalidation = batch.invalidation(&standing.eye.scope);
        // What changes meanwhile is gathered meanwhile.
        self.attend(ctx, root, watch);
        self.invalidate(invalidation).await;
    }

    /// A root is no longer watched: nothing more is kept of it, and what was goes.
    async fn lose(&self, ctx: &mut Ctx, root: usize, watch: &mut Watch, trouble: Trouble) {
        let Some(Standing { eye, term, since }) = watch.standing.take() else { return };
        self.roots.end(root, term);
        self.invalidate(everything(&eye.scope.place)).await;
        // It may take a while, and its thread may be gone.
        ctx.spawn_maybe(async move {
            let _ = spawn_blocking(move || drop(eye)).await;
            None
        });
        if ctx.now().saturating_sub(since) >= self.policy.stable_after {
            watch.attempts = 0;
        }
        watch.lost_at = Some(ctx.now());
        self.try_again(ctx, root, watch, trouble);
    }

    /// Tries later. The journal hears of each cause once, and not of each attempt.
    fn try_again(&self, ctx: &mut Ctx, root: usize, watch: &mut Watch, trouble: Trouble) {
        watch.attempts = watch.attempts.saturating_add(1);
        watch.lost_at.get_or_insert(ctx.now());
        let delay = self.policy.delay.before(watch.attempts, ctx.random_unit());
        let Trouble { fault, details } = trouble;
        if watch.told.replace(fault) != Some(fault) {
            ctx.record(&WatchLost {
                root: self.name(root),
                reason: fault,
                details,
                next_step: fault.next_step().to_owned(),
                next_attempt_ms: millis(delay),
            });
        }
        ctx.send_after(delay, WatchMessage(Step::Open { root }));
    }

    /// Returns when nothing of it is left.
    async fn invalidate(&self, invalidation: Invalidation) {
        let message = |reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) };
        // A cache whose actor has crashed or stopped is cold.
        let _ = self.cache_address.call(message).await;
    }

    fn name(&self, root: usize) -> String {
        self.roots.named(root).map(|named| named.display().to_string()).unwrap_or_default()
    }
}
