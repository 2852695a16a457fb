//! Random traces step by step, in explicit interleavings. Invalidations advance in pieces, with stores, loads and
//! lookups between them. Loads have their result before they are polled to their end. There is no actor, and the
//! clock stands still.

use std::{
    sync::OnceLock,
    task::{Context, Poll, Waker},
};

use futures_util::future::BoxFuture;
use tokio::task::coop::unconstrained;

use super::{index::InvalidationScan, store::Epoch, *};

/// Room for everything, and room for three or four entries.
const BYTES_MAX: [u64; 2] = [64 * 1024, 1_400];

#[derive(Debug, Clone)]
enum InterleavedStep {
    /// Looks a key up, with the greatest age of the value.
    Get(KeyIndex, Option<Duration>),
    /// Stores a value, which is too large for the cache if the flag is set.
    Put(KeyIndex, EntryOptions, bool),
    Ask(KeyIndex, Option<Duration>, EntryOptions),
    /// The n-th load gets its result, and ends at its next poll.
    Complete(usize, LoadEnd),
    /// The n-th caller polls its load.
    Poll(usize),
    /// The n-th caller stops waiting.
    Drop(usize),
    Invalidate(InvalidationCase),
    /// The n-th scan visits this many entries.
    Scan(usize, usize),
    /// This many milliseconds pass.
    Advance(u64),
    /// The refreshes are polled.
    Yield,
    /// The store is closed.
    Close,
    /// The store is opened again before the earlier owner notices.
    Reopen,
    Open,
}

#[derive(Debug, Clone, Copy)]
enum LoadEnd {
    Value { is_giant: bool },
    Uncached,
    FreshFor(u64),
    NotFound,
    Cancelled,
}

fn step() -> impl Strategy<Value = InterleavedStep> {
    use InterleavedStep::*;
    let nth = || any::<usize>();
    let end = prop_oneof![
        8 => Just(LoadEnd::Value { is_giant: false }),
        1 => Just(LoadEnd::Value { is_giant: true }),
        1 => Just(LoadEnd::Uncached),
        1 => pause().prop_map(LoadEnd::FreshFor),
        3 => Just(LoadEnd::NotFound),
        1 => Just(LoadEnd::Cancelled),
    ];
    prop_oneof![
        4 => (key(), age_max()).prop_map(|(key, age_max)| Get(key, age_max)),
        3 => (key(), entry_options(), prop::bool::weighted(0.1)).prop_map(|(key, options, giant)| Put(key, options, giant)),
        8 => (key(), age_max(), entry_options()).prop_map(|(key, age_max, options)| Ask(key, age_max, options)),
        6 => (nth(), end).prop_map(|(nth, end)| Complete(nth, end)),
        6 => nth().prop_map(Poll),
        1 => nth().prop_map(Drop),
        4 => invalidation_case().prop_map(Invalidate),
        6 => (nth(), 1..4_usize).prop_map(|(nth, visits)| Scan(nth, visits)),
        4 => pause().prop_map(Advance),
        3 => Just(Yield),
        1 => prop::sample::select(vec![Close, Reopen, Open, Open]),
    ]
}

/// The state that all loads see.
#[derive(Debug, Default)]
struct VersionedSource {
    /// The version changes with every step.
    version: AtomicU64,
    now: AtomicU64,
}

impl VersionedSource {
    fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

/// A load of the trace, with or without callers.
struct TrackedLoad {
    key: KeyIndex,
    options: EntryOptions,
    started_at: u64,
    /// The version of the source that was read.
    version: Arc<OnceLock<u64>>,
    end_sender: Option<oneshot::Sender<LoadEnd>>,
    end: Option<LoadEnd>,
    /// The result that all callers must get.
    settled: Option<Result<SourceToken, SourceToken>>,
    /// True if it runs without a caller.
    is_refresh: bool,
    /// True if it bypassed the closed cache.
    is_private: bool,
}

/// A caller that waits for a load, and the promises at its request.
struct LoadWaiter {
    key: KeyIndex,
    load: usize,
    future: LookupFuture,
    floors: VersionFloors,
}

type LookupFuture = BoxFuture<'static, Result<CacheLookup, Error>>;

struct ActiveScan {
    id: usize,
    scan: InvalidationScan,
    part: InvalidationPart,
    version: u64,
}

/// A cache and the expectations of it.
struct InterleavedTrace {
    cache: CacheHandle,
    epoch: Epoch,
    bytes_max: u64,
    oracle: Oracle,
    floors: VersionFloors,
    source: Arc<VersionedSource>,
    loads: Vec<TrackedLoad>,
    waiters: Vec<LoadWaiter>,
    scans: Vec<ActiveScan>,
    scans_begun: usize,
    superseded: u64,
}

impl InterleavedTrace {
    fn new(is_tight: bool) -> Self {
        let bytes_max = BYTES_MAX[usize::from(is_tight)];
        let cache = CacheHandle::new(bytes_max, NO_OPTIONS);
        Self {
            epoch: cache.open(),
            cache,
            bytes_max,
            oracle: Oracle::new(is_tight),
            floors: VersionFloors::default(),
            source: Arc::default(),
            loads: Vec::new(),
            waiters: Vec::new(),
            scans: Vec::new(),
            scans_begun: 0,
            superseded: 0,
        }
    }

    async fn apply(&mut self, step: &InterleavedStep) -> Result<(), String> {
        self.source.version.fetch_add(1, Ordering::Relaxed);
        match *step {
            InterleavedStep::Get(key, age_max) => self.get(key, age_max)?,
            InterleavedStep::Put(key, options, is_giant) => self.put(key, options, is_giant),
            InterleavedStep::Ask(key, age_max, options) => self.ask(key, age_max, options)?,
            InterleavedStep::Complete(nth, end) => {
                let mut open: Vec<_> =
                    self.loads.iter_mut().filter(|load| load.end_sender.is_some()).collect();
                if let Some(load) = pick(&mut open, nth) {
                    load.complete(end);
                }
            }
            InterleavedStep::Poll(nth) if !self.waiters.is_empty() => {
                self.poll_waiter(nth % self.waiters.len())?
            }
            InterleavedStep::Drop(nth) if !self.waiters.is_empty() => {
                let LoadWaiter { load, future, .. } = self.waiters.swap_remove(nth % self.waiters.len());
                drop(future);
                self.abandon_load(load)?;
            }
            InterleavedStep::Invalidate(ref order) => self.invalidate(order),
            InterleavedStep::Scan(nth, visits) if !self.scans.is_empty() => {
                self.advance_scan(nth % self.scans.len(), visits);
            }
            InterleavedStep::Poll(_) | InterleavedStep::Drop(_) | InterleavedStep::Scan(..) => {}
            InterleavedStep::Advance(more) => {
                self.source.now.fetch_add(more, Ordering::Relaxed);
                advance(ms(more)).await;
                self.settle_refreshes();
            }
            InterleavedStep::Yield => {
                yield_now().await;
                self.settle_refreshes();
            }
            InterleavedStep::Close => self.close(self.epoch),
            InterleavedStep::Reopen => {
                let late = self.epoch;
                self.close(late);
                self.open();
                // A late close does not affect what a new incarnation opened.
                self.cache.close(late);
            }
            InterleavedStep::Open => self.open(),
        }
        let stats = self.cache.stats();
        if stats.bytes > self.bytes_max {
            return Err(format!("{} bytes of {}", stats.bytes, self.bytes_max));
        }
        if let Some((entries, oldest)) = self.oracle.expected_stats() {
            let expected = (entries, oldest.map(|oldest| self.source.now() - oldest));
            if (stats.entries, stats.oldest_ms) != expected {
                return Err(format!("entries and age are {expected:?} and not those of {stats:?}"));
            }
            if entries == 0 && stats.bytes > 0 {
                return Err(format!("nothing takes {} bytes", stats.bytes));
            }
        }
        if stats.loads_superseded != self.superseded {
            return Err(format!("{} were superseded and not {}", self.superseded, stats.loads_superseded));
        }
        Ok(())
    }

    fn size(&self, is_giant: bool) -> usize {
        if is_giant { usize::try_from(self.bytes_max).unwrap() } else { 0 }
    }

    fn get(&mut self, key: KeyIndex, age_max: Option<Duration>) -> Result<(), String> {
        let now = self.source.now();
        let seen = self.cache.get(KEYS[key], age_max).map(|value| SourceToken::of_value(&value));
        if let Some(token) = seen {
            self.floors.check_cached(key, token, now)?;
        }
        self.oracle.get(key, age_max, now, seen)
    }

    fn put(&mut self, key: KeyIndex, options: EntryOptions, is_giant: bool) {
        let (version, now) = (self.source.version(), self.source.now());
        let token = SourceToken::of(version, now, options);
        self.cache.put(KEYS[key], token.value(self.size(is_giant)), options);
        self.oracle.store(key, (!is_giant).then(|| OracleEntry::new(token, false, after(now, options.ttl))));
        self.floors.raise(version, |other, _| other == KEYS[key]);
    }

    // === loads ===

    fn ask(&mut self, key: KeyIndex, age_max: Option<Duration>, options: EntryOptions) -> Result<(), String> {
        let now = self.source.now();
        let (end_sender, end_receiver) = oneshot::channel();
        let version = Arc::new(OnceLock::new());
        let load = self.loader(end_receiver, &version, options);
        let cache = self.cache.clone();
        let mut future: LookupFuture =
            Box::pin(async move { cache.get_or_load(KEYS[key], age_max, options, load).await });
        let before = self.cache.stats();
        let answer = poll(&mut future);
        let after = self.cache.stats();
        let was_there = after.hits + after.stale_hits > before.hits + before.stale_hits;
        let has_begun = after.loads > before.loads;
        let seen = match (&answer, was_there) {
            (Poll::Ready(Ok(answer)), true) => ObservedResult::Cached(SourceToken::of_value(&answer.value)),
            (Poll::Ready(Err(error)), true) => ObservedResult::Failed(SourceToken::of_error(error)),
            (Poll::Pending, true) => return Err(format!("{} was there and is waited for", KEYS[key])),
            (_, false) => ObservedResult::Nothing,
        };
        if let ObservedResult::Cached(token) | ObservedResult::Failed(token) = seen {
            self.floors.check_cached(key, token, now)?;
        }
        let waiting: Vec<bool> = (0..self.loads.len()).map(|load| self.is_waited_for(load)).collect();
        let is_joinable = |load: OracleLoad, age_max: Option<Duration>| {
            waiting[load.id] && age_max.is_none_or(|max| ms(now - load.started_at) <= max)
        };
        self.oracle.ask(key, age_max, now, ObservedLookup { seen, has_begun }, is_joinable)?;
        let id = self.loads.len();
        let is_private = seen == ObservedResult::Nothing && !self.oracle.is_open();
        if has_begun || is_private {
            self.loads.push(TrackedLoad {
                key,
                options,
                started_at: now,
                version,
                end_sender: Some(end_sender),
                end: None,
                settled: None,
                is_refresh: was_there,
                is_private,
            });
        }
        if has_begun {
            self.oracle.begin_load(
                key,
                OracleLoad { id, started_at: now, depends_on_connection: options.depends_on_connection },
            );
        }
        if seen == ObservedResult::Nothing {
            let joined = self.oracle.load(key).map(|load| load.id).filter(|_| !is_private);
            let load = joined.unwrap_or(id);
            self.record_answer(LoadWaiter { key, load, future, floors: self.floors.clone() }, answer)?;
        }
        Ok(())
    }

    fn loader(
        &self,
        end_receiver: oneshot::Receiver<LoadEnd>,
        version: &Arc<OnceLock<u64>>,
        options: EntryOptions,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<Loaded, Error>> + Send + use<> {
        let (source, version) = (Arc::clone(&self.source), Arc::clone(version));
        let (started_at, giant) = (self.source.now(), self.size(true));
        // Many are polled by hand within one poll of tokio's.
        let load = unconstrained(async move {
            let version = *version.get_or_init(|| source.version());
            let end = end_receiver.await.unwrap_or(LoadEnd::Cancelled);
            let token = end.token(version, started_at, source.now(), options);
            let loaded = |bytes| Ok(Loaded::new(token.value(bytes)));
            match end {
                LoadEnd::Value { is_giant } => loaded(if is_giant { giant } else { 0 }),
                LoadEnd::Uncached => loaded(0).map(Loaded::uncached),
                LoadEnd::FreshFor(ttl) => loaded(0).map(|loaded| loaded.with_ttl(ms(ttl))),
                LoadEnd::NotFound => Err(token.error(Reason::NotFound)),
                LoadEnd::Cancelled => Err(token.error(Reason::Cancelled)),
            }
        });
        move || Box::pin(load)
    }

    fn is_waited_for(&self, load: usize) -> bool {
        self.loads[load].is_refresh || self.waiters.iter().any(|asker| asker.load == load)
    }

    fn poll_waiter(&mut self, nth: usize) -> Result<(), String> {
        let mut asker = self.waiters.swap_remove(nth);
        let answer = poll(&mut asker.future);
        self.record_answer(asker, answer)
    }

    /// Records that a caller has polled its load.
    fn record_answer(
        &mut self,
        asker: LoadWaiter,
        answer: Poll<Result<CacheLookup, Error>>,
    ) -> Result<(), String> {
        self.settle_load(asker.load);
        let answer = match answer {
            Poll::Ready(Ok(answer)) => Some(Ok(SourceToken::of_value(&answer.value))),
            Poll::Ready(Err(error)) => Some(Err(SourceToken::of_error(&error))),
            Poll::Pending => None,
        };
        let expected = self.loads[asker.load].settled;
        if answer != expected {
            return Err(format!("{}: got {answer:?} and not {expected:?}", KEYS[asker.key]));
        }
        match answer {
            Some(Ok(token) | Err(token)) => asker.floors.check(asker.key, token),
            None => {
                self.waiters.push(asker);
                Ok(())
            }
        }
    }

    /// Records that a load was polled. If it had its result, it has ended.
    fn settle_load(&mut self, id: usize) {
        let now = self.source.now();
        let TrackedLoad {
            key, options, started_at, end: end_receiver, settled, is_private, ref version, ..
        } = self.loads[id];
        let (Some(end), Some(&version), None) = (end_receiver, version.get(), settled) else { return };
        let token = end.token(version, started_at, now, options);
        let is_current = self.oracle.end_load(key, id);
        self.superseded += u64::from(!is_current && !is_private && end.should_be_stored());
        let fresh_until = |ttl| after(started_at, ttl);
        match end {
            LoadEnd::Value { is_giant: true } if is_current => self.oracle.store(key, None),
            LoadEnd::Value { .. } if is_current => {
                self.oracle.store(key, Some(OracleEntry::new(token, false, fresh_until(options.ttl))));
            }
            LoadEnd::FreshFor(ttl) if is_current => {
                self.oracle.store(key, Some(OracleEntry::new(token, false, fresh_until(ms(ttl)))));
            }
            LoadEnd::NotFound if is_current && !options.negative_ttl.is_zero() => {
                self.oracle.fail_load(key, &OracleEntry::new(token, true, token.expires_at), now);
            }
            _ => {}
        }
        let is_failure = matches!(end, LoadEnd::NotFound | LoadEnd::Cancelled);
        self.loads[id].settled = Some(if is_failure { Err(token) } else { Ok(token) });
    }

    /// Records that a caller stopped waiting.
    fn abandon_load(&mut self, load: usize) -> Result<(), String> {
        if self.is_waited_for(load) {
            return Ok(());
        }
        let TrackedLoad { key, ref end_sender, .. } = self.loads[load];
        self.oracle.end_load(key, load);
        if end_sender.as_ref().is_some_and(|end_sender| !end_sender.is_closed()) {
            return Err(format!("{} is loaded for nobody", KEYS[key]));
        }
        Ok(())
    }

    /// Records that the refreshes were polled.
    fn settle_refreshes(&mut self) {
        for id in 0..self.loads.len() {
            if self.loads[id].is_refresh {
                self.settle_load(id);
                self.loads[id].is_refresh = self.loads[id].settled.is_none();
            }
        }
    }

    // === invalidations ===

    fn invalidate(&mut self, order: &InvalidationCase) {
        for part in order.parts() {
            let (id, version) = (self.scans_begun, self.source.version());
            self.oracle.begin_scan(id, &part);
            let scan = self.cache.begin_invalidation(part.selection.clone());
            self.scans.push(ActiveScan { id, scan, part, version });
            self.scans_begun += 1;
        }
    }

    fn advance_scan(&mut self, nth: usize, visits: usize) {
        let ActiveScan { scan, .. } = &mut self.scans[nth];
        self.cache.advance_scan_by(scan, visits);
        if scan.is_done() {
            let ActiveScan { id, part, version, .. } = self.scans.swap_remove(nth);
            self.oracle.end_scan(id);
            self.floors.raise(version, part.matches);
        }
    }

    fn close(&mut self, epoch: Epoch) {
        self.cache.close(epoch);
        self.oracle.close();
        self.floors.raise(self.source.version(), |_, _| true);
        for load in &mut self.loads {
            load.is_refresh = false;
        }
    }

    fn open(&mut self) {
        if !self.oracle.is_open() {
            self.epoch = self.cache.open();
            self.oracle.open();
        }
    }

    // === the end ===

    /// Ends everything that began, and checks that only valid entries are found.
    async fn end(mut self) -> Result<(), String> {
        for load in self.loads.iter_mut().filter(|load| load.end_sender.is_some()) {
            load.complete(LoadEnd::Value { is_giant: false });
        }
        while !self.waiters.is_empty() {
            let waiting = self.waiters.len();
            self.poll_waiter(0)?;
            if self.waiters.len() == waiting {
                return Err("one waits for ever".to_owned());
            }
        }
        self.apply(&InterleavedStep::Yield).await?;
        while !self.scans.is_empty() {
            self.advance_scan(0, 2);
        }
        for key in 0..KEYS.len() {
            self.apply(&InterleavedStep::Get(key, None)).await?;
        }
        Ok(())
    }
}

impl TrackedLoad {
    fn complete(&mut self, end: LoadEnd) {
        if let Some(end_sender) = self.end_sender.take() {
            self.end = Some(end);
            // Without callers the receiver is gone.
            let _ = end_sender.send(end);
        }
    }
}

impl LoadEnd {
    const fn should_be_stored(self) -> bool {
        matches!(self, Self::Value { .. } | Self::FreshFor(_))
    }

    /// Returns the origin that a caller must get for this end at `now`.
    fn token(self, version: u64, started_at: u64, now: u64, options: EntryOptions) -> SourceToken {
        match self {
            Self::FreshFor(ttl) => {
                SourceToken::of(version, started_at, EntryOptions { ttl: ms(ttl), ..options })
            }
            Self::Value { .. } | Self::Uncached => SourceToken::of(version, started_at, options),
            // A failure's lifetime counts from its end.
            Self::NotFound | Self::Cancelled => {
                let options = EntryOptions { ttl: options.negative_ttl, stale_for: ms(0), ..options };
                SourceToken::of(version, now, options)
            }
        }
    }
}

fn poll(future: &mut LookupFuture) -> Poll<Result<CacheLookup, Error>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn after(from: u64, ttl: Duration) -> u64 {
    u64::try_from((ms(from) + ttl).as_millis()).unwrap()
}

fn pick<T>(of: &mut [T], nth: usize) -> Option<&mut T> {
    let len = of.len().max(1);
    of.get_mut(nth % len)
}

async fn run_trace(steps: &[InterleavedStep], is_tight: bool) -> Result<(), String> {
    let mut trace = InterleavedTrace::new(is_tight);
    for (number, step) in steps.iter().enumerate() {
        trace.apply(step).await.map_err(|fault| format!("step {number}, {step:?}: {fault}"))?;
    }
    trace.end().await.map_err(|fault| format!("at the end: {fault}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(500, 10_000)))]

    #[test]
    fn interleaved_steps_always_match_the_oracle(
        steps in prop::collection::vec(step(), 1..40),
        is_tight in prop::bool::weighted(0.2),
    ) {
        let outcome = block_on_paused(run_trace(&steps, is_tight));
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}
