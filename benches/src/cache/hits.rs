//! Measures hits from the caller's task.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use bytes::Bytes;
use mainstay_actors::cache::CacheHandle;
use tokio::task::JoinSet;

use super::{BYTES_MAX, CacheRuntime, XorShift};
use crate::contender::BenchError;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

type Moka = moka::sync::Cache<Arc<str>, Bytes>;

const PEERS: &[&str] = &["moka"];
const KEYS: [usize; 3] = [100, 10_000, 100_000];
const TASKS: [usize; 2] = [1, 2];
const HITS: usize = 200_000;
const VALUE_BYTES: usize = 256;

/// A cache that can look up a key.
trait Lookup: Clone + Send + 'static {
    fn has(&self, key: &str) -> bool;
}

impl Lookup for CacheHandle {
    fn has(&self, key: &str) -> bool {
        black_box(self.get(key, None)).is_some()
    }
}

impl Lookup for Moka {
    fn has(&self, key: &str) -> bool {
        black_box(self.get(key)).is_some()
    }
}

/// Measures the contenders in turns; each begins every other round. The first round warms up.
pub(crate) async fn measure(settings: &BenchSettings) -> Result<Vec<ScoreLine>, BenchError> {
    let mut lines = Vec::new();
    for count in KEYS {
        let keys: Arc<[Arc<str>]> = (0..count).map(|n| format!("http:GET /api/items/{n}").into()).collect();
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        let ours = CacheRuntime::start().await?;
        let moka: Moka = moka::sync::Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(|key: &Arc<str>, value: &Bytes| {
                u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX)
            })
            .build();
        for key in &*keys {
            ours.put(key, &value);
            moka.insert(Arc::clone(key), value.clone());
        }
        for tasks in TASKS {
            let what = format!("hit, {count} keys, {tasks} at a time");
            let mut line = ScoreLine::against(PEERS, what, "ns").target(ScoreTarget::OfFirst(1.5));
            for number in 0..=settings.rounds {
                let (mine, theirs);
                if number % 2 == 0 {
                    mine = round(&ours.cache, &keys, tasks).await?;
                    theirs = round(&moka, &keys, tasks).await?;
                } else {
                    theirs = round(&moka, &keys, tasks).await?;
                    mine = round(&ours.cache, &keys, tasks).await?;
                }
                if number > 0 {
                    line.record([mine, theirs]);
                }
            }
            lines.push(line);
        }
        ours.runtime.shutdown().await;
    }
    Ok(lines)
}

/// Returns the nanoseconds of a hit, on average over the tasks that ask at the same time.
async fn round<C: Lookup>(cache: &C, keys: &Arc<[Arc<str>]>, tasks: usize) -> Result<f64, BenchError> {
    let start = Arc::new(Barrier::new(tasks));
    let mut askers = JoinSet::new();
    for seed in 0..tasks {
        let (cache, keys, start) = (cache.clone(), Arc::clone(keys), Arc::clone(&start));
        askers.spawn(async move {
            let mut random = XorShift(0x9e37_79b9_7f4a_7c15 + seed as u64);
            // All tasks wait here, one on each worker, before the first one asks.
            start.wait();
            let begun = Instant::now();
            let hits = (0..HITS).filter(|_| cache.has(&keys[random.below(keys.len())])).count();
            (begun.elapsed().as_nanos() as f64 / HITS as f64, hits)
        });
    }
    let mut sum = 0.0;
    while let Some(asked) = askers.join_next().await {
        let (ns, hits) = asked?;
        if hits != HITS {
            return Err(format!("{hits} of {HITS} were there").into());
        }
        sum += ns;
    }
    Ok(sum / tasks as f64)
}
