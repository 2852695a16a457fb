//! Random traces through the handle and the actor: tasks that ask, load and leave, invalidations on their way while others
//! ask, files that change, and an actor that crashes; on a paused clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_runtime::Address;
use proptest::prelude::*;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::super::{CacheHandle, CacheMessage, InvalidatedBy, Invalidation, Keeping, Loaded};
use super::Scene;
use super::draws::{Concerns, KEYS, Key, Order, Promises, Token, age_max, keeping, key, ms, order, pause};
use crate::error::{Error, Reason};

const BYTES_MAX: u64 = 2_000;
/// Longer than all that a trace does, on a clock that skips what nobody does anything in.
const PATIENCE: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone)]
enum Step {
    Get {
        key: Key,
        age_max: Option<Duration>,
    },
    Put {
        key: Key,
        keeping: Keeping,
    },
    Ask {
        key: Key,
        age_max: Option<Duration>,
        keeping: Keeping,
        takes_ms: u64,
        end: Result<(), Reason>,
    },
    /// One who asked waits no longer.
    Leave {
        nth: usize,
    },
    Invalidate {
        order: Order,
        is_awaited: bool,
    },
    Crash,
    Pass {
        ms: u64,
    },
    Yield,
}

fn step() -> impl Strategy<Value = Step> {
    let end =
        prop_oneof![4 => Just(Ok(())), 2 => Just(Err(Reason::NotFound)), 1 => Just(Err(Reason::Cancelled))];
    let ask = (key(), age_max(), keeping(), prop_oneof![Just(0), pause()], end);
    prop_oneof![
        6 => (key(), age_max()).prop_map(|(key, age_max)| Step::Get { key, age_max }),
        3 => (key(), keeping()).prop_map(|(key, keeping)| Step::Put { key, keeping }),
        20 => ask.prop_map(|(key, age_max, keeping, takes_ms, end)| {
            Step::Ask { key, age_max, keeping, takes_ms, end }
        }),
        2 => any::<usize>().prop_map(|nth| Step::Leave { nth }),
        8 => (order(), any::<bool>()).prop_map(|(order, is_awaited)| Step::Invalidate { order, is_awaited }),
        1 => Just(Step::Crash),
        8 => pause().prop_map(|ms| Step::Pass { ms }),
        8 => Just(Step::Yield),
    ]
}

/// What is true, whatever the cache says.
#[derive(Debug, Default)]
struct Truth {
    /// Of the source: each change makes a new one.
    version: u64,
    promises: Promises,
    running: Vec<Running>,
    runs: u64,
    /// For each key: how many changes of it are on their way, each of which may let a second load begin.
    changing: [usize; KEYS.len()],
    faults: Vec<String>,
}

/// A load that runs.
#[derive(Debug)]
struct Running {
    id: u64,
    key: Key,
    asked_at: u64,
    /// Whether another may not run beside it.
    is_alone: bool,
}

#[derive(Debug, Clone)]
struct Watch {
    truth: Arc<Mutex<Truth>>,
    began: Instant,
}

impl Watch {
    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn fault(&self, outcome: Result<(), String>) {
        if let Err(fault) = outcome {
            self.truth().faults.push(fault);
        }
    }

    /// Something changes, and from the end of what tells the cache so nobody may be told what was before.
    fn change(&self, concerns: impl Fn(&str, bool) -> bool + Send + Sync + 'static) -> Change {
        let mut truth = self.truth();
        truth.version += 1;
        let version = truth.version;
        let is_changing = KEYS.map(|key| concerns(key, false) || concerns(key, true));
        for (key, _) in is_changing.iter().enumerate().filter(|(_, is_changing)| **is_changing) {
            truth.changing[key] += 1;
            truth.let_others_run(key);
        }
        drop(truth);
        Change {
            watch: self.clone(),
            version,
            is_changing,
            concerns: Box::new(concerns),
            has_returned: false,
        }
    }

    /// A load begins to read.
    fn run(&self, key: Key, asked_at: u64, age_max: Option<Duration>) -> Run {
        let mut truth = self.truth();
        let is_young = |one: &Running| age_max.is_none_or(|max| ms(asked_at - one.asked_at) <= max);
        let at_once = truth.running.iter().find(|one| one.key == key && one.is_alone && is_young(one));
        if let Some(other) = at_once {
            let fault =
                format!("{} is loaded for one who asked at {asked_at} ms, beside {other:?}", KEYS[key]);
            truth.faults.push(fault);
        }
        truth.let_others_run(key);
        truth.runs += 1;
        let (id, is_alone) = (truth.runs, truth.changing[key] == 0);
        truth.running.push(Running { id, key, asked_at, is_alone });
        Run { watch: self.clone(), id, version: truth.version }
    }
}

impl Truth {
    fn let_others_run(&mut self, key: Key) {
        for one in self.running.iter_mut().filter(|one| one.key == key) {
            one.is_alone = false;
        }
    }
}

/// While it is there, its load runs.
struct Run {
    watch: Watch,
    id: u64,
    version: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.watch.truth().running.retain(|one| one.id != self.id);
    }
}

/// While it is there, the cache may or may not have been told of a change.
struct Change {
    watch: Watch,
    version: u64,
    is_changing: [bool; KEYS.len()],
    concerns: Concerns,
    has_returned: bool,
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut truth = self.watch.truth();
        for (key, _) in self.is_changing.iter().enumerate().filter(|(_, is_changing)| **is_changing) {
            truth.changing[key] -= 1;
            truth.let_others_run(key);
        }
        if self.has_returned {
            truth.promises.raise(self.version, &self.concerns);
        }
    }
}

struct Trace {
    scene: Scene,
    watch: Watch,
    tasks: JoinSet<()>,
    askers: Vec<AbortHandle>,
}

impl Trace {
    async fn new() -> Self {
        let keeping = Keeping { ttl: ms(0), stale_for: ms(0), failures_for: ms(0), is_of_the_link: false };
        let cache = CacheHandle::new(BYTES_MAX, keeping);
        let watch = Watch { truth: Arc::default(), began: Instant::now() };
        Self { scene: Scene::of(cache).await, watch, tasks: JoinSet::new(), askers: Vec::new() }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Get { key, age_max } => {
                let now = self.watch.now();
                if let Some(value) = self.scene.cache.get(KEYS[key], age_max) {
                    let token = Token::of_value(&value);
                    let outcome = self.watch.truth().promises.check_kept(key, token, now);
                    self.watch.fault(outcome.and_then(|()| is_young(token, age_max, now)));
                }
            }
            Step::Put { key, keeping } => {
                let mut change = self.watch.change(move |other, _| other == KEYS[key]);
                let token = Token::of(change.version, self.watch.now(), keeping);
                self.scene.cache.put(KEYS[key], token.value(0), keeping);
                change.has_returned = true;
            }
            Step::Ask { key, age_max, keeping, takes_ms, end } => {
                let asker = Asker { key, age_max, keeping, takes_ms, end };
                let (cache, watch) = (self.scene.cache.clone(), self.watch.clone());
                self.askers.push(self.tasks.spawn(async move {
                    let outcome = asker.asks(cache, &watch).await;
                    watch.fault(outcome);
                }));
            }
            Step::Leave { nth } if !self.askers.is_empty() => {
                let nth = nth % self.askers.len();
                self.askers.swap_remove(nth).abort();
            }
            Step::Leave { .. } => {}
            Step::Invalidate { order, is_awaited } => {
                let concerned = order.clone();
                let change =
                    self.watch.change(move |key, is_of_the_link| concerned.concerns(key, is_of_the_link));
                let invalidated = tell(self.scene.actor.clone(), order.invalidation(), change);
                if is_awaited {
                    invalidated.await;
                } else {
                    self.tasks.spawn(invalidated);
                }
            }
            Step::Crash => {
                // The one that comes after it is answered by its successor, who begins with nothing.
                let change = self.watch.change(|_, _| true);
                self.scene.actor.cast(CacheMessage::Panic).await.unwrap();
                let nothing =
                    Invalidation { by: InvalidatedBy::Key, pattern: String::new(), selections: Vec::new() };
                self.tasks.spawn(tell(self.scene.actor.clone(), nothing, change));
            }
            Step::Pass { ms: more } => sleep(ms(more)).await,
            Step::Yield => yield_now().await,
        }
        let bytes = self.scene.cache.stats().bytes;
        if bytes > BYTES_MAX {
            self.watch.fault(Err(format!("{bytes} bytes")));
        }
    }

    /// All that has begun ends, and what is dropped is gone.
    async fn end(mut self) {
        if timeout(PATIENCE, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            self.watch.fault(Err("one waits for ever".to_owned()));
        }
        // What is loaded anew though nobody waits for it ends as well.
        sleep(PATIENCE).await;
        tell(self.scene.actor.clone(), Order::All.invalidation(), self.watch.change(|_, _| true)).await;
        let stats = self.scene.cache.stats();
        if (stats.entries, stats.bytes, stats.oldest_ms) != (0, 0, None) {
            self.watch.fault(Err(format!("all was dropped, and this is left: {stats:?}")));
        }
        if !self.watch.truth().running.is_empty() {
            self.watch.fault(Err(format!("for nobody: {:?}", self.watch.truth().running)));
        }
    }
}

/// Tells the cache of a change, which it has been told of when it says so.
async fn tell(actor: Address<CacheMessage>, invalidation: Invalidation, mut change: Change) {
    let told = actor.call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) }).await;
    change.has_returned = told.is_ok();
}

fn is_young(token: Token, age_max: Option<Duration>, now: u64) -> Result<(), String> {
    match age_max {
        Some(max) if ms(now.saturating_sub(token.true_at)) > max => {
            Err(format!("{token:?} at {now} ms is older than {max:?}"))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Asker {
    key: Key,
    age_max: Option<Duration>,
    keeping: Keeping,
    takes_ms: u64,
    end: Result<(), Reason>,
}

impl Asker {
    async fn asks(self, cache: CacheHandle, watch: &Watch) -> Result<(), String> {
        let Self { key, age_max, keeping, .. } = self;
        let (promised, asked_at) = (watch.truth().promises.clone(), watch.now());
        let load = {
            let watch = watch.clone();
            move || self.load(watch, asked_at)
        };
        match cache.get_or_load(KEYS[key], age_max, keeping, load).await {
            Ok(answer) => {
                let token = Token::of_value(&answer.value);
                is_young(token, age_max, asked_at)?;
                if answer.is_kept {
                    promised.check_kept(key, token, asked_at)
                } else {
                    promised.check(key, token)
                }
            }
            Err(error) => {
                let token = Token::of_error(&error);
                // One that is not kept at all ends as it is told.
                let is_kept = token.true_at < token.useless_from;
                if asked_at > token.useless_from || is_kept && asked_at == token.useless_from {
                    return Err(format!("{} at {asked_at} ms: {token:?} is kept for too long", KEYS[key]));
                }
                promised.check(key, token)
            }
        }
    }

    async fn load(self, watch: Watch, asked_at: u64) -> Result<Loaded, Error> {
        let Self { key, age_max, keeping, takes_ms, end } = self;
        let run = watch.run(key, asked_at, age_max);
        sleep(ms(takes_ms)).await;
        match end {
            Ok(()) => Ok(Loaded::new(Token::of(run.version, asked_at, keeping).value(0))),
            Err(reason) => {
                let keeping = Keeping { ttl: keeping.failures_for, stale_for: ms(0), ..keeping };
                Err(Token::of(run.version, watch.now(), keeping).error(reason))
            }
        }
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut trace = Trace::new().await;
    let watch = trace.watch.clone();
    for step in steps {
        trace.take(step).await;
    }
    trace.end().await;
    let truth = watch.truth();
    prop_assert!(truth.faults.is_empty(), "{:#?}", truth.faults);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_is_asked_loaded_changed_and_crashes_nobody_is_told_what_was_true_before_an_invalidation_that_had_returned(
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        clock.unwrap().block_on(run(steps))?;
    }
}
