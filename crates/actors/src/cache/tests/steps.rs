//! Random traces step by step, each interleaving spelt out: an invalidation in pieces, with puts, loads and lookups between
//! them; loads that have what they want and have not been driven to their end; no actor, and a clock that stands still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::task::{coop::unconstrained, yield_now};
use tokio::time::advance;

use super::super::ledger::Sweep;
use super::super::shelf::Term;
use super::super::{Answer, CacheHandle, Keeping, Loaded};
use super::draws::{KEYS, Key, Order, Part, Promises, Token, age_max, keeping, key, ms, order, pause};
use super::oracle::{Asked, Entry, Load, Oracle, Seen};
use crate::error::{Error, Reason};

/// Room for everything, and room for three or four.
const BYTES_MAX: [u64; 2] = [64 * 1024, 1_400];

#[derive(Debug, Clone)]
enum Step {
    Get {
        key: Key,
        age_max: Option<Duration>,
    },
    Put {
        key: Key,
        keeping: Keeping,
        is_giant: bool,
    },
    Ask {
        key: Key,
        age_max: Option<Duration>,
        keeping: Keeping,
    },
    /// A load has what it wants, and ends when it is driven next.
    Tell {
        nth: usize,
        end: End,
    },
    /// One who waits drives what they wait for.
    Drive {
        nth: usize,
    },
    /// One who waits does so no longer.
    Leave {
        nth: usize,
    },
    Invalidate(Order),
    Sweep {
        nth: usize,
        visits: usize,
    },
    Pass {
        ms: u64,
    },
    /// Loads that nobody waits for are driven.
    Yield,
    /// The one who invalidates ends.
    Close,
    /// … and its successor comes before it knows.
    Reopen,
    Open,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Value { is_giant: bool },
    ForCallersAlone,
    FreshFor(u64),
    NotFound,
    Cancelled,
}

fn step() -> impl Strategy<Value = Step> {
    let nth = || any::<usize>();
    let end = prop_oneof![
        8 => Just(End::Value { is_giant: false }),
        1 => Just(End::Value { is_giant: true }),
        1 => Just(End::ForCallersAlone),
        1 => pause().prop_map(End::FreshFor),
        3 => Just(End::NotFound),
        1 => Just(End::Cancelled),
    ];
    prop_oneof![
        4 => (key(), age_max()).prop_map(|(key, age_max)| Step::Get { key, age_max }),
        3 => (key(), keeping(), prop::bool::weighted(0.1))
            .prop_map(|(key, keeping, is_giant)| Step::Put { key, keeping, is_giant }),
        8 => (key(), age_max(), keeping()).prop_map(|(key, age_max, keeping)| Step::Ask { key, age_max, keeping }),
        6 => (nth(), end).prop_map(|(nth, end)| Step::Tell { nth, end }),
        6 => nth().prop_map(|nth| Step::Drive { nth }),
        1 => nth().prop_map(|nth| Step::Leave { nth }),
        4 => order().prop_map(Step::Invalidate),
        6 => (nth(), 1..4_usize).prop_map(|(nth, visits)| Step::Sweep { nth, visits }),
        4 => pause().prop_map(|ms| Step::Pass { ms }),
        3 => Just(Step::Yield),
        1 => prop::sample::select(vec![Step::Close, Step::Reopen, Step::Open, Step::Open]),
    ]
}

/// What all loads see.
#[derive(Debug, Default)]
struct Source {
    /// It changes with every step.
    version: AtomicU64,
    now: AtomicU64,
}

impl Source {
    fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

/// A load of the trace's, whoever waits for it.
struct Loading {
    key: Key,
    keeping: Keeping,
    begun_at: u64,
    /// Of the source, when it was read.
    version: Arc<OnceLock<u64>>,
    tell: Option<oneshot::Sender<End>>,
    told: Option<End>,
    /// What all who wait for it are given.
    settled: Option<Result<Token, Token>>,
    /// Whether it is driven though nobody waits.
    is_refresh: bool,
    /// Whether it ran past the cache, which was closed.
    is_private: bool,
}

/// One who waits for a load, and what had been promised when they asked.
struct Asker {
    key: Key,
    load: usize,
    future: Asking,
    promised: Promises,
}

type Asking = BoxFuture<'static, Result<Answer, Error>>;

struct Sweeping {
    id: usize,
    sweep: Sweep,
    part: Part,
    version: u64,
}

/// A cache, and what is expected of it.
struct Trace {
    cache: CacheHandle,
    term: Term,
    bytes_max: u64,
    oracle: Oracle,
    promises: Promises,
    source: Arc<Source>,
    loads: Vec<Loading>,
    askers: Vec<Asker>,
    sweeps: Vec<Sweeping>,
    sweeps_begun: usize,
    overtaken: u64,
}

impl Trace {
    fn new(is_tight: bool) -> Self {
        let keeping = Keeping { ttl: ms(0), stale_for: ms(0), failures_for: ms(0), is_of_the_link: false };
        let bytes_max = BYTES_MAX[usize::from(is_tight)];
        let cache = CacheHandle::new(bytes_max, keeping);
        Self {
            term: cache.open(),
            cache,
            bytes_max,
            oracle: Oracle::new(is_tight),
            promises: Promises::default(),
            source: Arc::default(),
            loads: Vec::new(),
            askers: Vec::new(),
            sweeps: Vec::new(),
            sweeps_begun: 0,
            overtaken: 0,
        }
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        self.source.version.fetch_add(1, Ordering::Relaxed);
        match *step {
            Step::Get { key, age_max } => self.get(key, age_max)?,
            Step::Put { key, keeping, is_giant } => self.put(key, keeping, is_giant),
            Step::Ask { key, age_max, keeping } => self.ask(key, age_max, keeping)?,
            Step::Tell { nth, end } => {
                let mut open: Vec<_> = self.loads.iter_mut().filter(|load| load.tell.is_some()).collect();
                if let Some(load) = at(&mut open, nth) {
                    load.tell(end);
                }
            }
            Step::Drive { nth } if !self.askers.is_empty() => self.drive(nth % self.askers.len())?,
            Step::Leave { nth } if !self.askers.is_empty() => {
                let Asker { load, future, .. } = self.askers.swap_remove(nth % self.askers.len());
                drop(future);
                self.call_off(load)?;
            }
            Step::Invalidate(ref order) => self.invalidate(order),
            Step::Sweep { nth, visits } if !self.sweeps.is_empty() => {
                self.sweep(nth % self.sweeps.len(), visits);
            }
            Step::Drive { .. } | Step::Leave { .. } | Step::Sweep { .. } => {}
            Step::Pass { ms: more } => {
                self.source.now.fetch_add(more, Ordering::Relaxed);
                advance(ms(more)).await;
                self.refreshed();
            }
            Step::Yield => {
                yield_now().await;
                self.refreshed();
            }
            Step::Close => self.close(self.term),
            Step::Reopen => {
                let late = self.term;
                self.close(late);
                self.open();
                // What a new incarnation has opened, its predecessor does not close.
                self.cache.close(late);
            }
            Step::Open => self.open(),
        }
        let stats = self.cache.stats();
        if stats.bytes > self.bytes_max {
            return Err(format!("{} bytes of {}", stats.bytes, self.bytes_max));
        }
        if let Some((entries, oldest)) = self.oracle.census() {
            let expected = (entries, oldest.map(|oldest| self.source.now() - oldest));
            if (stats.entries, stats.oldest_ms) != expected {
                return Err(format!("entries and age are {expected:?} and not those of {stats:?}"));
            }
            if entries == 0 && stats.bytes > 0 {
                return Err(format!("nothing takes {} bytes", stats.bytes));
            }
        }
        if stats.loads_overtaken != self.overtaken {
            return Err(format!("{} were overtaken and not {}", self.overtaken, stats.loads_overtaken));
        }
        Ok(())
    }

    fn size(&self, is_giant: bool) -> usize {
        if is_giant { usize::try_from(self.bytes_max).unwrap() } else { 0 }
    }

    fn get(&mut self, key: Key, age_max: Option<Duration>) -> Result<(), String> {
        let now = self.source.now();
        let seen = self.cache.get(KEYS[key], age_max).map(|value| Token::of_value(&value));
        if let Some(token) = seen {
            self.promises.check_kept(key, token, now)?;
        }
        self.oracle.get(key, age_max, now, seen)
    }

    fn put(&mut self, key: Key, keeping: Keeping, is_giant: bool) {
        let (version, now) = (self.source.version(), self.source.now());
        let token = Token::of(version, now, keeping);
        self.cache.put(KEYS[key], token.value(self.size(is_giant)), keeping);
        self.oracle.keep(key, (!is_giant).then(|| Entry::new(token, false, after(now, keeping.ttl))));
        self.promises.raise(version, |other, _| other == KEYS[key]);
    }

    // === loading ===

    fn ask(&mut self, key: Key, age_max: Option<Duration>, keeping: Keeping) -> Result<(), String> {
        let now = self.source.now();
        let (tell, told) = oneshot::channel();
        let version = Arc::new(OnceLock::new());
        let load = self.loader(told, &version, keeping);
        let cache = self.cache.clone();
        let mut future: Asking =
            Box::pin(async move { cache.get_or_load(KEYS[key], age_max, keeping, load).await });
        let before = self.cache.stats();
        let answer = poll(&mut future);
        let after = self.cache.stats();
        let was_there = after.hits + after.stale_hits > before.hits + before.stale_hits;
        let has_begun = after.loads > before.loads;
        let seen = match (&answer, was_there) {
            (Poll::Ready(Ok(answer)), true) => Seen::Kept(Token::of_value(&answer.value)),
            (Poll::Ready(Err(error)), true) => Seen::Failed(Token::of_error(error)),
            (Poll::Pending, true) => return Err(format!("{} was there and is waited for", KEYS[key])),
            (_, false) => Seen::Nothing,
        };
        if let Seen::Kept(token) | Seen::Failed(token) = seen {
            self.promises.check_kept(key, token, now)?;
        }
        let waiting: Vec<bool> = (0..self.loads.len()).map(|load| self.is_waited_for(load)).collect();
        let is_joinable = |load: Load, age_max: Option<Duration>| {
            waiting[load.id] && age_max.is_none_or(|max| ms(now - load.begun_at) <= max)
        };
        self.oracle.ask(key, age_max, now, Asked { seen, has_begun }, is_joinable)?;
        let id = self.loads.len();
        let is_private = seen == Seen::Nothing && !self.oracle.is_open();
        if has_begun || is_private {
            self.loads.push(Loading {
                key,
                keeping,
                begun_at: now,
                version,
                tell: Some(tell),
                told: None,
                settled: None,
                is_refresh: was_there,
                is_private,
            });
        }
        if has_begun {
            self.oracle.begin(key, Load { id, begun_at: now, is_of_the_link: keeping.is_of_the_link });
        }
        if seen == Seen::Nothing {
            let joined = self.oracle.load(key).map(|load| load.id).filter(|_| !is_private);
            let load = joined.unwrap_or(id);
            self.note(Asker { key, load, future, promised: self.promises.clone() }, answer)?;
        }
        Ok(())
    }

    fn loader(
        &self,
        told: oneshot::Receiver<End>,
        version: &Arc<OnceLock<u64>>,
        keeping: Keeping,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<Loaded, Error>> + Send + use<> {
        let (source, version) = (Arc::clone(&self.source), Arc::clone(version));
        let (begun_at, giant) = (self.source.now(), self.size(true));
        // Many are driven by hand within one poll of tokio's.
        let load = unconstrained(async move {
            let version = *version.get_or_init(|| source.version());
            let end = told.await.unwrap_or(End::Cancelled);
            let token = end.token(version, begun_at, source.now(), keeping);
            let loaded = |bytes| Ok(Loaded::new(token.value(bytes)));
            match end {
                End::Value { is_giant } => loaded(if is_giant { giant } else { 0 }),
                End::ForCallersAlone => loaded(0).map(Loaded::not_kept),
                End::FreshFor(ttl) => loaded(0).map(|loaded| loaded.fresh_for(ms(ttl))),
                End::NotFound => Err(token.error(Reason::NotFound)),
                End::Cancelled => Err(token.error(Reason::Cancelled)),
            }
        });
        move || Box::pin(load)
    }

    fn is_waited_for(&self, load: usize) -> bool {
        self.loads[load].is_refresh || self.askers.iter().any(|asker| asker.load == load)
    }

    fn drive(&mut self, nth: usize) -> Result<(), String> {
        let mut asker = self.askers.swap_remove(nth);
        let answer = poll(&mut asker.future);
        self.note(asker, answer)
    }

    /// One who waits has driven what they wait for.
    fn note(&mut self, asker: Asker, answer: Poll<Result<Answer, Error>>) -> Result<(), String> {
        self.settle(asker.load);
        let answer = match answer {
            Poll::Ready(Ok(answer)) => Some(Ok(Token::of_value(&answer.value))),
            Poll::Ready(Err(error)) => Some(Err(Token::of_error(&error))),
            Poll::Pending => None,
        };
        let expected = self.loads[asker.load].settled;
        if answer != expected {
            return Err(format!("{}: told {answer:?} and not {expected:?}", KEYS[asker.key]));
        }
        match answer {
            Some(Ok(token) | Err(token)) => asker.promised.check(asker.key, token),
            None => {
                self.askers.push(asker);
                Ok(())
            }
        }
    }

    /// A load was driven. If it had been told how it ends, it has ended.
    fn settle(&mut self, id: usize) {
        let now = self.source.now();
        let Loading { key, keeping, begun_at, told, settled, is_private, ref version, .. } = self.loads[id];
        let (Some(end), Some(&version), None) = (told, version.get(), settled) else { return };
        let token = end.token(version, begun_at, now, keeping);
        let is_current = self.oracle.end(key, id);
        self.overtaken += u64::from(!is_current && !is_private && end.is_to_be_kept());
        let fresh_until = |ttl| after(begun_at, ttl);
        match end {
            End::Value { is_giant: true } if is_current => self.oracle.keep(key, None),
            End::Value { .. } if is_current => {
                self.oracle.keep(key, Some(Entry::new(token, false, fresh_until(keeping.ttl))));
            }
            End::FreshFor(ttl) if is_current => {
                self.oracle.keep(key, Some(Entry::new(token, false, fresh_until(ms(ttl)))));
            }
            End::NotFound if is_current && !keeping.failures_for.is_zero() => {
                self.oracle.fail(key, &Entry::new(token, true, token.useless_from), now);
            }
            _ => {}
        }
        let is_failure = matches!(end, End::NotFound | End::Cancelled);
        self.loads[id].settled = Some(if is_failure { Err(token) } else { Ok(token) });
    }

    /// One who waited for it has left.
    fn call_off(&mut self, load: usize) -> Result<(), String> {
        if self.is_waited_for(load) {
            return Ok(());
        }
        let Loading { key, ref tell, .. } = self.loads[load];
        self.oracle.end(key, load);
        if tell.as_ref().is_some_and(|tell| !tell.is_closed()) {
            return Err(format!("{} is loaded for nobody", KEYS[key]));
        }
        Ok(())
    }

    /// Loads that nobody waits for were driven.
    fn refreshed(&mut self) {
        for id in 0..self.loads.len() {
            if self.loads[id].is_refresh {
                self.settle(id);
                self.loads[id].is_refresh = self.loads[id].settled.is_none();
            }
        }
    }

    // === invalidating ===

    fn invalidate(&mut self, order: &Order) {
        for part in order.parts() {
            let (id, version) = (self.sweeps_begun, self.source.version());
            self.oracle.begin_sweep(id, &part);
            let sweep = self.cache.invalidate(part.selection.clone());
            self.sweeps.push(Sweeping { id, sweep, part, version });
            self.sweeps_begun += 1;
        }
    }

    fn sweep(&mut self, nth: usize, visits: usize) {
        let Sweeping { sweep, .. } = &mut self.sweeps[nth];
        self.cache.sweep_by(sweep, visits);
        if sweep.is_done() {
            let Sweeping { id, part, version, .. } = self.sweeps.swap_remove(nth);
            self.oracle.end_sweep(id);
            self.promises.raise(version, part.concerns);
        }
    }

    fn close(&mut self, term: Term) {
        self.cache.close(term);
        self.oracle.close();
        self.promises.raise(self.source.version(), |_, _| true);
        for load in &mut self.loads {
            load.is_refresh = false;
        }
    }

    fn open(&mut self) {
        if !self.oracle.is_open() {
            self.term = self.cache.open();
            self.oracle.open();
        }
    }

    // === at the end ===

    /// All that has begun ends, and nothing is found that should not be.
    async fn end(mut self) -> Result<(), String> {
        for load in self.loads.iter_mut().filter(|load| load.tell.is_some()) {
            load.tell(End::Value { is_giant: false });
        }
        while !self.askers.is_empty() {
            let waiting = self.askers.len();
            self.drive(0)?;
            if self.askers.len() == waiting {
                return Err("one waits for ever".to_owned());
            }
        }
        self.take(&Step::Yield).await?;
        while !self.sweeps.is_empty() {
            self.sweep(0, 2);
        }
        for key in 0..KEYS.len() {
            self.take(&Step::Get { key, age_max: None }).await?;
        }
        Ok(())
    }
}

impl Loading {
    fn tell(&mut self, end: End) {
        if let Some(tell) = self.tell.take() {
            self.told = Some(end);
            // Where nobody waits any more, nobody listens.
            let _ = tell.send(end);
        }
    }
}

impl End {
    const fn is_to_be_kept(self) -> bool {
        matches!(self, Self::Value { .. } | Self::FreshFor(_))
    }

    /// What one who is told of this end at `now` is told.
    fn token(self, version: u64, begun_at: u64, now: u64, keeping: Keeping) -> Token {
        match self {
            Self::FreshFor(ttl) => Token::of(version, begun_at, Keeping { ttl: ms(ttl), ..keeping }),
            Self::Value { .. } | Self::ForCallersAlone => Token::of(version, begun_at, keeping),
            // A failure counts from its end.
            Self::NotFound | Self::Cancelled => {
                let keeping = Keeping { ttl: keeping.failures_for, stale_for: ms(0), ..keeping };
                Token::of(version, now, keeping)
            }
        }
    }
}

fn poll(future: &mut Asking) -> Poll<Result<Answer, Error>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn after(from: u64, ttl: Duration) -> u64 {
    u64::try_from((ms(from) + ttl).as_millis()).unwrap()
}

fn at<T>(of: &mut [T], nth: usize) -> Option<&mut T> {
    let len = of.len().max(1);
    of.get_mut(nth % len)
}

async fn run(steps: &[Step], is_tight: bool) -> Result<(), String> {
    let mut trace = Trace::new(is_tight);
    for (number, step) in steps.iter().enumerate() {
        trace.take(step).await.map_err(|fault| format!("step {number}, {step:?}: {fault}"))?;
    }
    trace.end().await.map_err(|fault| format!("at the end: {fault}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn whatever_happens_between_the_steps_of_an_invalidation_each_answer_is_one_that_the_model_allows(
        steps in prop::collection::vec(step(), 1..40),
        is_tight in prop::bool::weighted(0.2),
    ) {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let outcome = clock.unwrap().block_on(run(&steps, is_tight));
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}
