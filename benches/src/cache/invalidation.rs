//! What an invalidation of very many entries does to hits meanwhile.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_actors::cache::{CacheHandle, CacheMessage, Invalidation, Pattern};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::{Kept, Random};
use crate::contender::Fault;
use crate::scoreboard::{Line, Target};
use crate::settings::Settings;
use crate::statistic::Sample;

const PEERS: &[&str] = &["undisturbed"];
const DOOMED: usize = 100_000;
const HOT: usize = 1_000;
/// Each of them is filled anew.
const ROUNDS_MAX: usize = 11;

/// On one thread, where the invalidation and the hits take turns, and on two.
pub(crate) fn measure(settings: &Settings) -> Result<Vec<Line>, Fault> {
    let mut lines =
        measure_on("one thread", settings, || Builder::new_current_thread().enable_all().build())?;
    let two = || Builder::new_multi_thread().worker_threads(2).enable_all().build();
    lines.extend(measure_on("two workers", settings, two)?);
    Ok(lines)
}

fn measure_on(
    place: &str,
    settings: &Settings,
    tokio: impl Fn() -> std::io::Result<Runtime>,
) -> Result<Vec<Line>, Fault> {
    let line = |what: &str| {
        let what = format!("{what}, {DOOMED} entries invalidated by prefix, {place}");
        Line::beside(PEERS, what, "µs")
    };
    let mut usual = line("stop of hits, 99th percentile").target(Target::AtMost(1_000.0));
    let mut longest = line("stop of hits, longest of a round");
    let mut took = line("the invalidation");
    for number in 0..=settings.rounds.min(ROUNDS_MAX) {
        let tokio = tokio()?;
        let (during, before, duration) = tokio.block_on(async { tokio.spawn(round()).await? })?;
        if number > 0 {
            usual.note([during.share(0.99), before.share(0.99)]);
            longest.note([during.largest(), before.largest()]);
            took.note_of(0, us(duration));
        }
    }
    Ok(vec![usual, longest, took])
}

/// The stops of hits during an invalidation and without one, and how long it took.
async fn round() -> Result<(Sample, Sample, Duration), Fault> {
    let kept = Kept::up().await?;
    let value = Bytes::from(vec![b'x'; 256]);
    for n in 0..DOOMED {
        kept.put(&format!("http:GET /api/items/{n}"), &value);
    }
    let hot: Arc<[String]> = (0..HOT).map(|n| format!("notes:{n}")).collect();
    for key in &*hot {
        kept.put(key, &value);
    }
    // What moka has put off is no matter of the invalidation's.
    let entries = kept.cache.stats().entries;
    if entries != (DOOMED + HOT) as u64 {
        return Err(format!("{entries} were kept").into());
    }
    let invalidation = Invalidation::by_pattern(&Pattern::Prefix("http:".to_owned()))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let during = tokio::spawn(hits(kept.cache.clone(), Arc::clone(&hot), Until::Over(Arc::clone(&is_over))));
    let begun = Instant::now();
    let dropped =
        kept.actor.call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) }).await?;
    let duration = begun.elapsed();
    is_over.store(true, Ordering::Release);
    let during = during.await??;
    if dropped != DOOMED as u64 {
        return Err(format!("{dropped} were dropped").into());
    }
    let undisturbed = tokio::spawn(hits(kept.cache.clone(), hot, Until::Time(duration))).await??;
    kept.runtime.shutdown().await;
    Ok((during, undisturbed, duration))
}

enum Until {
    Over(Arc<AtomicBool>),
    Time(Duration),
}

/// Hits one after the other, each in a turn of its own among the tasks: how long it was from one to the next, in microseconds.
async fn hits(cache: CacheHandle, keys: Arc<[String]>, until: Until) -> Result<Sample, Fault> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut stops = Sample::default();
    let begun = Instant::now();
    let mut last = begun;
    loop {
        if black_box(cache.get(&keys[random.below(keys.len())], None)).is_none() {
            return Err("a hit was none".into());
        }
        let now = Instant::now();
        stops.push(us(now - last));
        last = now;
        let is_over = match &until {
            Until::Over(is_over) => is_over.load(Ordering::Acquire),
            Until::Time(time) => now - begun >= *time,
        };
        if is_over {
            return Ok(stops);
        }
        yield_now().await;
    }
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
