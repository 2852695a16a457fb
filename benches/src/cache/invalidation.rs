//! Measures how an invalidation of very many entries delays hits.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_actors::cache::{CacheHandle, CacheMessage, Invalidation, Pattern};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};

use super::{CacheRuntime, XorShift};
use crate::contender::BenchError;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;
use crate::statistics::SampleSet;

const PEERS: &[&str] = &["undisturbed"];
const INVALIDATED_ENTRIES: usize = 100_000;
const KEPT_ENTRIES: usize = 1_000;
/// The largest number of rounds. Each round fills a new cache.
const ROUNDS_MAX: usize = 11;

/// Measures on one thread, where the invalidation and the hits take turns, and on two.
pub(crate) fn measure(settings: &BenchSettings) -> Result<Vec<ScoreLine>, BenchError> {
    let mut lines =
        measure_on("one thread", settings, || Builder::new_current_thread().enable_all().build())?;
    let two = || Builder::new_multi_thread().worker_threads(2).enable_all().build();
    lines.extend(measure_on("two workers", settings, two)?);
    Ok(lines)
}

fn measure_on(
    place: &str,
    settings: &BenchSettings,
    tokio: impl Fn() -> std::io::Result<Runtime>,
) -> Result<Vec<ScoreLine>, BenchError> {
    let line = |what: &str| {
        let what = format!("{what}, {INVALIDATED_ENTRIES} entries invalidated by prefix, {place}");
        ScoreLine::against(PEERS, what, "µs")
    };
    let mut usual = line("stop of hits, 99th percentile").target(ScoreTarget::AtMost(1_000.0));
    let mut longest = line("stop of hits, longest of a round");
    let mut took = line("the invalidation");
    for number in 0..=settings.rounds.min(ROUNDS_MAX) {
        let tokio = tokio()?;
        let (during, before, duration) = tokio.block_on(async { tokio.spawn(round()).await? })?;
        if number > 0 {
            usual.record([during.share(0.99), before.share(0.99)]);
            longest.record([during.largest(), before.largest()]);
            took.record_of(0, micros(duration));
        }
    }
    Ok(vec![usual, longest, took])
}

/// Returns the pauses between hits during an invalidation and without one, and the invalidation's duration.
async fn round() -> Result<(SampleSet, SampleSet, Duration), BenchError> {
    let cache_runtime = CacheRuntime::start().await?;
    let value = Bytes::from(vec![b'x'; 256]);
    for n in 0..INVALIDATED_ENTRIES {
        cache_runtime.put(&format!("http:GET /api/items/{n}"), &value);
    }
    let hot: Arc<[String]> = (0..KEPT_ENTRIES).map(|n| format!("notes:{n}")).collect();
    for key in &*hot {
        cache_runtime.put(key, &value);
    }
    // Asking for the count makes moka finish its pending work, which would disturb the measurement.
    let entries = cache_runtime.cache.stats().entries;
    if entries != (INVALIDATED_ENTRIES + KEPT_ENTRIES) as u64 {
        return Err(format!("{entries} entries are cached").into());
    }
    let invalidation = Invalidation::from_pattern(&Pattern::Prefix("http:".to_owned()))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let until = StopWhen::Flag(Arc::clone(&is_over));
    tasks.spawn(hits(cache_runtime.cache.clone(), Arc::clone(&hot), until));
    let begun = Instant::now();
    let dropped = cache_runtime
        .actor
        .call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) })
        .await?;
    let duration = begun.elapsed();
    is_over.store(true, Ordering::Release);
    let during = tasks.join_next().await.ok_or("the hits have ended")???;
    if dropped != INVALIDATED_ENTRIES as u64 {
        return Err(format!("{dropped} were dropped").into());
    }
    tasks.spawn(hits(cache_runtime.cache.clone(), hot, StopWhen::Time(duration)));
    let undisturbed = tasks.join_next().await.ok_or("the hits have ended")???;
    cache_runtime.runtime.shutdown().await;
    Ok((during, undisturbed, duration))
}

enum StopWhen {
    Flag(Arc<AtomicBool>),
    Time(Duration),
}

/// Makes hits one after the other and yields between them. Returns the time from each to the next in microseconds.
async fn hits(cache: CacheHandle, keys: Arc<[String]>, until: StopWhen) -> Result<SampleSet, BenchError> {
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let mut stops = SampleSet::default();
    let begun = Instant::now();
    let mut last = begun;
    loop {
        if black_box(cache.get(&keys[random.below(keys.len())], None)).is_none() {
            return Err("a hit was none".into());
        }
        let now = Instant::now();
        stops.push(micros(now - last));
        last = now;
        let is_over = match &until {
            StopWhen::Flag(is_over) => is_over.load(Ordering::Acquire),
            StopWhen::Time(time) => now - begun >= *time,
        };
        if is_over {
            return Ok(stops);
        }
        yield_now().await;
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
