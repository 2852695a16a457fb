//! Random traces through the handle and the actor, on a paused clock. Tasks ask, load and leave, invalidations run
//! meanwhile, files change, and the actor crashes.

use parking_lot::MutexGuard;
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::*;

const BYTES_MAX: u64 = 2_000;
/// Longer than a whole trace, on a clock that skips idle times.
const TIMEOUT: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone)]
enum TrafficStep {
    /// Looks a key up, with the greatest age of the value.
    Get(KeyIndex, Option<Duration>),
    Put(KeyIndex, EntryOptions),
    Ask(LoadRequest),
    /// The n-th caller stops waiting.
    Cancel(usize),
    Invalidate {
        order: InvalidationCase,
        is_awaited: bool,
    },
    Crash,
    /// This many milliseconds pass.
    Advance(u64),
    Yield,
}

fn step() -> impl Strategy<Value = TrafficStep> {
    let end =
        prop_oneof![4 => Just(Ok(())), 2 => Just(Err(Reason::NotFound)), 1 => Just(Err(Reason::Cancelled))];
    let ask = (key(), age_max(), entry_options(), prop_oneof![Just(0), pause()], end);
    prop_oneof![
        6 => (key(), age_max()).prop_map(|(key, age_max)| TrafficStep::Get(key, age_max)),
        3 => (key(), entry_options()).prop_map(|(key, options)| TrafficStep::Put(key, options)),
        20 => ask.prop_map(|(key, age_max, options, takes_ms, end)| {
            TrafficStep::Ask(LoadRequest { key, age_max, options, takes_ms, end })
        }),
        2 => any::<usize>().prop_map(TrafficStep::Cancel),
        8 => (invalidation_case(), any::<bool>()).prop_map(|(order, is_awaited)| TrafficStep::Invalidate { order, is_awaited }),
        1 => Just(TrafficStep::Crash),
        8 => pause().prop_map(TrafficStep::Advance),
        8 => Just(TrafficStep::Yield),
    ]
}

/// The truth, whatever the cache says.
#[derive(Debug, Default)]
struct GroundTruth {
    /// The version of the source: each change makes a new one.
    version: u64,
    promises: VersionFloors,
    running: Vec<ActiveLoad>,
    runs: u64,
    /// The number of changes in progress for each key; each may let a second load begin.
    changing: [usize; KEYS.len()],
    faults: Vec<String>,
}

/// A running load.
#[derive(Debug)]
struct ActiveLoad {
    id: u64,
    key: KeyIndex,
    asked_at: u64,
    /// True if no other load may run beside it.
    must_be_alone: bool,
}

#[derive(Debug, Clone)]
struct TruthRecorder {
    truth: Arc<Mutex<GroundTruth>>,
    started_at: Instant,
}

impl TruthRecorder {
    fn truth(&self) -> MutexGuard<'_, GroundTruth> {
        self.truth.lock()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_millis()).unwrap()
    }

    fn record_fault(&self, outcome: Result<(), String>) {
        if let Err(fault) = outcome {
            self.truth().faults.push(fault);
        }
    }

    /// Begins a change. Once the cache has confirmed it, no caller may get an older version.
    fn begin_change(&self, concerns: impl Fn(&str, bool) -> bool + Send + Sync + 'static) -> PendingChange {
        let mut truth = self.truth();
        truth.version += 1;
        let version = truth.version;
        let is_changing = KEYS.map(|key| concerns(key, false) || concerns(key, true));
        for (key, _) in is_changing.iter().enumerate().filter(|(_, is_changing)| **is_changing) {
            truth.changing[key] += 1;
            truth.allow_concurrent_loads(key);
        }
        drop(truth);
        PendingChange {
            recorder: self.clone(),
            version,
            is_changing,
            concerns: Box::new(concerns),
            has_returned: false,
        }
    }

    /// Records that a load begins to read.
    fn begin_run(&self, key: KeyIndex, asked_at: u64, age_max: Option<Duration>) -> LoadRun {
        let mut truth = self.truth();
        let is_young = |one: &ActiveLoad| age_max.is_none_or(|max| ms(asked_at - one.asked_at) <= max);
        let at_once = truth.running.iter().find(|one| one.key == key && one.must_be_alone && is_young(one));
        if let Some(other) = at_once {
            let fault =
                format!("{} is loaded for one who asked at {asked_at} ms, beside {other:?}", KEYS[key]);
            truth.faults.push(fault);
        }
        truth.allow_concurrent_loads(key);
        truth.runs += 1;
        let (id, is_alone) = (truth.runs, truth.changing[key] == 0);
        truth.running.push(ActiveLoad { id, key, asked_at, must_be_alone: is_alone });
        LoadRun { recorder: self.clone(), id, version: truth.version }
    }
}

impl GroundTruth {
    fn allow_concurrent_loads(&mut self, key: KeyIndex) {
        for one in self.running.iter_mut().filter(|one| one.key == key) {
            one.must_be_alone = false;
        }
    }
}

/// Counts a load as running until dropped.
struct LoadRun {
    recorder: TruthRecorder,
    id: u64,
    version: u64,
}

impl Drop for LoadRun {
    fn drop(&mut self) {
        self.recorder.truth().running.retain(|one| one.id != self.id);
    }
}

/// Counts a change as in progress until dropped: the cache may or may not know it.
struct PendingChange {
    recorder: TruthRecorder,
    version: u64,
    is_changing: [bool; KEYS.len()],
    concerns: MatchFn,
    has_returned: bool,
}

impl Drop for PendingChange {
    fn drop(&mut self) {
        let mut truth = self.recorder.truth();
        for (key, _) in self.is_changing.iter().enumerate().filter(|(_, is_changing)| **is_changing) {
            truth.changing[key] -= 1;
            truth.allow_concurrent_loads(key);
        }
        if self.has_returned {
            truth.promises.raise(self.version, &self.concerns);
        }
    }
}

struct TrafficTrace {
    fixture: CacheActorFixture,
    recorder: TruthRecorder,
    tasks: JoinSet<()>,
    askers: Vec<AbortHandle>,
}

impl TrafficTrace {
    async fn new() -> Self {
        let recorder = TruthRecorder { truth: Arc::default(), started_at: Instant::now() };
        Self {
            fixture: CacheActorFixture::bounded(BYTES_MAX).await,
            recorder,
            tasks: JoinSet::new(),
            askers: Vec::new(),
        }
    }

    async fn apply(&mut self, step: TrafficStep) {
        match step {
            TrafficStep::Get(key, age_max) => {
                let now = self.recorder.now();
                if let Some(value) = self.fixture.cache.get(KEYS[key], age_max) {
                    let token = SourceToken::of_value(&value);
                    let outcome = self.recorder.truth().promises.check_cached(key, token, now);
                    self.recorder.record_fault(outcome.and_then(|()| check_age(token, age_max, now)));
                }
            }
            TrafficStep::Put(key, options) => {
                let mut change = self.recorder.begin_change(move |other, _| other == KEYS[key]);
                let token = SourceToken::of(change.version, self.recorder.now(), options);
                self.fixture.cache.put(KEYS[key], token.value(0), options);
                change.has_returned = true;
            }
            TrafficStep::Ask(asker) => {
                let (cache, recorder) = (self.fixture.cache.clone(), self.recorder.clone());
                self.askers.push(self.tasks.spawn(async move {
                    let outcome = asker.run_trace(cache, &recorder).await;
                    recorder.record_fault(outcome);
                }));
            }
            TrafficStep::Cancel(nth) if !self.askers.is_empty() => {
                let nth = nth % self.askers.len();
                self.askers.swap_remove(nth).abort();
            }
            TrafficStep::Cancel(_) => {}
            TrafficStep::Invalidate { order, is_awaited } => {
                let concerned = order.clone();
                let change = self.recorder.begin_change(move |key, depends_on_connection| {
                    concerned.matches(key, depends_on_connection)
                });
                let invalidated = send_change(self.fixture.actor.clone(), order.invalidation(), change);
                if is_awaited {
                    invalidated.await;
                } else {
                    self.tasks.spawn(invalidated);
                }
            }
            TrafficStep::Crash => {
                // The next message is answered by the next incarnation, whose cache is empty.
                let change = self.recorder.begin_change(|_, _| true);
                drop(self.fixture.actor.inject_panic().unwrap());
                let nothing =
                    Invalidation { by: InvalidatedBy::Key, pattern: String::new(), selections: Vec::new() };
                self.tasks.spawn(send_change(self.fixture.actor.clone(), nothing, change));
            }
            TrafficStep::Advance(more) => sleep(ms(more)).await,
            TrafficStep::Yield => yield_now().await,
        }
        let bytes = self.fixture.cache.stats().bytes;
        if bytes > BYTES_MAX {
            self.recorder.record_fault(Err(format!("{bytes} bytes")));
        }
    }

    /// Ends everything that began, and checks that dropped entries are gone.
    async fn end(mut self) {
        if timeout(TIMEOUT, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            self.recorder.record_fault(Err("one waits for ever".to_owned()));
        }
        // Refreshes without callers end as well.
        sleep(TIMEOUT).await;
        send_change(
            self.fixture.actor.clone(),
            InvalidationCase::All.invalidation(),
            self.recorder.begin_change(|_, _| true),
        )
        .await;
        let stats = self.fixture.cache.stats();
        if (stats.entries, stats.bytes, stats.oldest_ms) != (0, 0, None) {
            self.recorder.record_fault(Err(format!("all was dropped, and this is left: {stats:?}")));
        }
        if !self.recorder.truth().running.is_empty() {
            self.recorder.record_fault(Err(format!("for nobody: {:?}", self.recorder.truth().running)));
        }
    }
}

/// Sends the cache a change, and returns once it is confirmed.
async fn send_change(actor: Address<CacheMessage>, invalidation: Invalidation, mut change: PendingChange) {
    let reply = actor.call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) }).await;
    change.has_returned = reply.is_ok();
}

fn check_age(token: SourceToken, age_max: Option<Duration>, now: u64) -> Result<(), String> {
    match age_max {
        Some(max) if ms(now.saturating_sub(token.as_of)) > max => {
            Err(format!("{token:?} at {now} ms is older than {max:?}"))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, Clone, Copy)]
struct LoadRequest {
    key: KeyIndex,
    age_max: Option<Duration>,
    options: EntryOptions,
    takes_ms: u64,
    end: Result<(), Reason>,
}

impl LoadRequest {
    async fn run_trace(self, cache: CacheHandle, recorder: &TruthRecorder) -> Result<(), String> {
        let Self { key, age_max, options, .. } = self;
        let (promised, asked_at) = (recorder.truth().promises.clone(), recorder.now());
        let load = {
            let recorder = recorder.clone();
            move || self.load(recorder, asked_at)
        };
        match cache.get_or_load(KEYS[key], age_max, options, load).await {
            Ok(answer) => {
                let token = SourceToken::of_value(&answer.value);
                check_age(token, age_max, asked_at)?;
                if answer.is_cached {
                    promised.check_cached(key, token, asked_at)
                } else {
                    promised.check(key, token)
                }
            }
            Err(error) => {
                let token = SourceToken::of_error(&error);
                // A value with a lifetime of zero has expired on arrival.
                let is_kept = token.as_of < token.expires_at;
                if asked_at > token.expires_at || is_kept && asked_at == token.expires_at {
                    return Err(format!("{} at {asked_at} ms: {token:?} is kept for too long", KEYS[key]));
                }
                promised.check(key, token)
            }
        }
    }

    async fn load(self, recorder: TruthRecorder, asked_at: u64) -> Result<Loaded, Error> {
        let Self { key, age_max, options, takes_ms, end } = self;
        let run = recorder.begin_run(key, asked_at, age_max);
        sleep(ms(takes_ms)).await;
        match end {
            Ok(()) => Ok(Loaded::new(SourceToken::of(run.version, asked_at, options).value(0))),
            Err(reason) => {
                let options = EntryOptions { ttl: options.negative_ttl, stale_for: ms(0), ..options };
                Err(SourceToken::of(run.version, recorder.now(), options).error(reason))
            }
        }
    }
}

async fn run(steps: Vec<TrafficStep>) -> Vec<String> {
    let mut trace = TrafficTrace::new().await;
    let recorder = trace.recorder.clone();
    for step in steps {
        trace.apply(step).await;
    }
    trace.end().await;
    std::mem::take(&mut recorder.truth().faults)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(50, 2_000)))]

    #[test]
    fn random_traffic_never_serves_invalidated_values(
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let faults = block_on_paused(run(steps));
        prop_assert!(faults.is_empty(), "{faults:#?}");
    }
}
