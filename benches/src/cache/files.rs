//! From a change of a file to the moment at which nothing of it is kept any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_actors::cache::Files;
use mainstay_actors::cache::watch::{Roots, WatchActor, WatchPolicy};
use mainstay_actors::cache::{CacheActor, CacheHandle};
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{BYTES_MAX, KEEPING};
use crate::contender::Fault;
use crate::scoreboard::{Line, Target};
use crate::settings::Settings;

/// Beside nobody.
const PEERS: &[&str] = &[];
const DEBOUNCE: Duration = Duration::from_millis(100);
const BEYOND_MS_MAX: f64 = 50.0;
/// How many are changed at once.
const AT_ONCE: [usize; 2] = [1, 1_000];
/// How exact the measuring is.
const LOOK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// What is gathered is known before; what takes longer than that counts.
pub(crate) async fn measure(settings: &Settings, dir: &Path) -> Result<Vec<Line>, Fault> {
    let watched = Watched::up(dir).await?;
    let mut lines = Vec::new();
    for count in AT_ONCE {
        let line = |what: &str| {
            Line::beside(PEERS, format!("{count} files changed, beyond the debounce time, {what}"), "ms")
        };
        let (mut usual, mut longest) = (line("median"), line("longest"));
        let mut largest = f64::NEG_INFINITY;
        for round in 0..=settings.rounds {
            let took = watched.change(count, round).await?;
            if round > 0 {
                let beyond = (took.as_secs_f64() - DEBOUNCE.as_secs_f64()) * 1e3;
                usual.note_of(0, beyond);
                largest = largest.max(beyond);
            }
        }
        longest.note_of(0, largest);
        lines.extend([usual, longest.target(Target::AtMost(BEYOND_MS_MAX))]);
    }
    watched.runtime.shutdown().await;
    Ok(lines)
}

/// A folder that is watched, and what reads in it.
struct Watched {
    folder: TempDir,
    files: Files,
    runtime: Runtime,
}

impl Watched {
    async fn up(dir: &Path) -> Result<Self, Fault> {
        let folder = tempfile::tempdir_in(dir)?;
        let cache = CacheHandle::new(BYTES_MAX, KEEPING);
        let mut root = SupervisorSpec::new("root");
        let cache_address = root.child(Child::new("cache", CacheActor { cache: cache.clone() }))?;
        let roots = Roots::new([folder.path().to_owned()])?;
        let actor = WatchActor {
            cache: cache.clone(),
            cache_address,
            roots: roots.clone(),
            policy: WatchPolicy { debounce: DEBOUNCE, ..WatchPolicy::default() },
        };
        root.child(Child::new("watch", actor))?;
        let runtime = Runtime::builder().start(root).await?;
        let begun = Instant::now();
        while !roots.standing().all(|(_, is_watched)| is_watched) {
            wait(begun, "the folder is not watched").await?;
        }
        Ok(Self { folder, files: Files::new(cache, roots), runtime })
    }

    /// How long it takes from the last change until nothing is kept of what was.
    async fn change(&self, count: usize, round: usize) -> Result<Duration, Fault> {
        let paths: Vec<PathBuf> = (0..count).map(|n| self.folder.path().join(format!("{n}.txt"))).collect();
        let text = format!("round {round}");
        if round == 0 {
            paths.iter().try_for_each(|path| fs::write(path, "at first"))?;
        }
        // What the last round has changed is told for a while.
        sleep(3 * DEBOUNCE).await;
        for path in &paths {
            self.files.file(path).await?;
            if !self.files.keeps(path) {
                return Err("a file that was read is not kept".into());
            }
        }
        let beside: Vec<PathBuf> = (0..count).map(|n| self.folder.path().join(format!("{n}.new"))).collect();
        for path in &beside {
            fs::write(path, &text)?;
        }
        sleep(3 * DEBOUNCE).await;
        // Searches aside, a file is changed by its rename alone. A thousand of those take a file system its time.
        for (new, path) in beside.iter().zip(&paths) {
            fs::rename(new, path)?;
        }
        let begun = Instant::now();
        for path in &paths {
            while self.files.keeps(path) {
                wait(begun, "a file that has changed is still kept").await?;
            }
        }
        Ok(begun.elapsed())
    }
}

async fn wait(begun: Instant, why: &str) -> Result<(), Fault> {
    if begun.elapsed() > PATIENCE {
        return Err(why.into());
    }
    sleep(LOOK).await;
    Ok(())
}
