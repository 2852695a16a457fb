//! Measures the time from a change of a file until the cache holds nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_actors::cache::watch::{FileFeed, Roots, WatchActor, WatchPolicy};
use mainstay_actors::cache::{CacheActor, CacheHandle, FileCache};
use mainstay_actors::events::WatchStarted;
use mainstay_runtime::journal::{Delivery, Event, JournalSubscription};
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{BYTES_MAX, ENTRY_OPTIONS};
use crate::contender::BenchError;
use crate::contender::mainstay::journal;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The list of peers is empty: no other cache watches files.
const PEERS: &[&str] = &[];
const DEBOUNCE: Duration = Duration::from_millis(100);
const LATENCY_MS_MAX: f64 = 50.0;
/// The numbers of files that change at once.
const FILES_AT_ONCE: [usize; 2] = [1, 1_000];
/// The resolution of the measurement.
const POLL_INTERVAL: Duration = Duration::from_micros(200);
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures the delay beyond the debounce time, which is known.
pub(crate) async fn measure(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let watched = WatchRuntime::start(dir).await?;
    let mut lines = Vec::new();
    for count in FILES_AT_ONCE {
        let line = |what: &str| {
            ScoreLine::against(
                PEERS,
                format!("{count} files changed, beyond the debounce time, {what}"),
                "ms",
            )
        };
        let (mut usual, mut longest) = (line("median"), line("longest"));
        let mut largest = f64::NEG_INFINITY;
        for round in 0..=settings.rounds {
            let took = watched.measure_change(count, round).await?;
            if round > 0 {
                let beyond = (took.as_secs_f64() - DEBOUNCE.as_secs_f64()) * 1e3;
                usual.record_of(0, beyond);
                largest = largest.max(beyond);
            }
        }
        longest.record_of(0, largest);
        lines.extend([usual, longest.target(ScoreTarget::AtMost(LATENCY_MS_MAX))]);
    }
    watched.runtime.shutdown().await;
    Ok(lines)
}

/// Holds a watched folder and the cache that reads its files.
struct WatchRuntime {
    folder: TempDir,
    files: FileCache,
    runtime: Runtime,
}

impl WatchRuntime {
    async fn start(dir: &Path) -> Result<Self, BenchError> {
        let folder = tempfile::tempdir_in(dir)?;
        let cache = CacheHandle::new(BYTES_MAX, ENTRY_OPTIONS);
        let mut root = SupervisorSpec::new("root");
        let cache_address = root.child(Child::new("cache", CacheActor { cache: cache.clone() }))?;
        let roots = Roots::new([folder.path().to_owned()])?;
        let actor = WatchActor {
            cache: cache.clone(),
            cache_address,
            roots: roots.clone(),
            policy: WatchPolicy { debounce: DEBOUNCE, ..WatchPolicy::default() },
            feed: FileFeed::default(),
        };
        root.child(Child::new("watch", actor))?;
        let journal = journal(&dir.join("files"))?;
        let mut events = journal.subscribe();
        let runtime = Runtime::builder().journal(journal).start(root).await?;
        timeout(WAIT_TIMEOUT, wait_for_watch(&mut events)).await.map_err(|_| "the folder is not watched")?;
        Ok(Self { folder, files: FileCache::new(cache, roots), runtime })
    }

    /// Measures the time from the last change until no old content is cached.
    async fn measure_change(&self, count: usize, round: usize) -> Result<Duration, BenchError> {
        let paths: Vec<PathBuf> = (0..count).map(|n| self.folder.path().join(format!("{n}.txt"))).collect();
        let text = format!("round {round}");
        if round == 0 {
            paths.iter().try_for_each(|path| fs::write(path, "at first"))?;
        }
        let_watcher_idle().await;
        for path in &paths {
            self.files.read_bytes(path).await?;
            if !self.files.is_cached(path) {
                return Err("a file that was read is not kept".into());
            }
        }
        let beside: Vec<PathBuf> = (0..count).map(|n| self.folder.path().join(format!("{n}.new"))).collect();
        for path in &beside {
            fs::write(path, &text)?;
        }
        let_watcher_idle().await;
        // A file changes by its rename alone, apart from searches. A thousand renames take a file system some time.
        for (new, path) in beside.iter().zip(&paths) {
            fs::rename(new, path)?;
        }
        let begun = Instant::now();
        for path in &paths {
            while self.files.is_cached(path) {
                poll_wait(begun, "a file that has changed is still kept").await?;
            }
        }
        Ok(begun.elapsed())
    }
}

async fn wait_for_watch(events: &mut JournalSubscription) {
    loop {
        if let Delivery::Event(record) = events.next().await
            && record.kind == WatchStarted::KIND
        {
            return;
        }
    }
}

/// Lets a period without changes pass. A late notification of an earlier change would start the debounce time before
/// the measured change does, and nothing reports that none is left.
async fn let_watcher_idle() {
    sleep(3 * DEBOUNCE).await;
}

async fn poll_wait(begun: Instant, why: &str) -> Result<(), BenchError> {
    if begun.elapsed() > WAIT_TIMEOUT {
        return Err(why.into());
    }
    sleep(POLL_INTERVAL).await;
    Ok(())
}
