//! A cache, its watching actor, and temporary folders.

use std::{cell::Cell, path::PathBuf};

use mainstay_actors::{
    cache::{
        CacheActor, CacheHandle, EntryOptions, FileCache,
        watch::{
            FileChange, FileChangeKind, FileEvent, FileFeed, FileSubscription, Roots, WatchActor,
            WatchMessage, WatchPolicy,
        },
    },
    error::Error,
};
use mainstay_runtime::{
    Address, Child, Runtime, SupervisorSpec,
    journal::{JournalSubscription, Record},
    policy::{ChildPolicy, Delay},
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Longer than any test: only an invalidation drops an entry.
pub(crate) const OPTIONS: EntryOptions = EntryOptions {
    ttl: Duration::from_secs(3600),
    stale_for: Duration::ZERO,
    negative_ttl: Duration::from_secs(3600),
    depends_on_connection: false,
};

/// Longer than any wait, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct WatchFixture {
    pub(crate) files: FileCache,
    pub(crate) cache: CacheHandle,
    pub(crate) watch: Address<WatchMessage>,
    pub(crate) runtime: Runtime,
    pub(crate) events: JournalSubscription,
    pub(crate) changes: FileSubscription,
    /// The folder that contains the root.
    pub(crate) base: PathBuf,
    pub(crate) root: PathBuf,
    marker_count: Cell<u32>,
    _folder: TempDir,
}

impl WatchFixture {
    /// Creates a watched root with these files.
    pub(crate) async fn with_files(files: &[&str]) -> Self {
        let mut fixture = Self::with_root(|root| {
            for file in files {
                write(&root.join(file), "old");
            }
        })
        .await;
        fixture.next_event("watch_started").await;
        fixture
    }

    /// Creates a watched root that `prepare` makes of an empty folder.
    pub(crate) async fn with_root(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        let root = top.join("above").join("root");
        fs::create_dir_all(&root).unwrap();
        prepare(&root);
        let cache = CacheHandle::new(64 << 20, OPTIONS);
        let roots = Roots::new([root.clone()]).unwrap();
        let mut tree = SupervisorSpec::new("root");
        let actor = CacheActor { cache: cache.clone() };
        let cache_address = tree.child(Child::new("cache", actor)).unwrap();
        let policy = WatchPolicy::default();
        let feed = FileFeed::default();
        let changes = feed.subscribe();
        let (cache_handle, roots_to_watch) = (cache.clone(), roots.clone());
        let actor = WatchActor { cache: cache_handle, cache_address, roots: roots_to_watch, policy, feed };
        let at_once = ChildPolicy { delay: Delay::NONE, ..ChildPolicy::default() };
        let watch = tree.child(Child::new("watch", actor).policy(at_once)).unwrap();
        let runtime = Runtime::builder().start(tree).await.unwrap();
        let events = runtime.journal().subscribe();
        let files = FileCache::new(cache.clone(), roots);
        Self {
            files,
            cache,
            watch,
            runtime,
            events,
            changes,
            base: top,
            root,
            marker_count: Cell::default(),
            _folder: folder,
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Reads a file of the root, or returns the error.
    pub(crate) async fn read(&self, file: &str) -> Result<String, Reason> {
        self.read_at(&self.path(file)).await
    }

    pub(crate) async fn read_at(&self, path: &Path) -> Result<String, Reason> {
        text(self.files.read_bytes(path).await)
    }

    /// Reads files, which are cached from then on.
    pub(crate) async fn read_and_cache(&self, files: &[&str]) {
        for file in files {
            let _ = self.read(file).await;
            assert!(self.is_cached(file), "{file} is kept");
        }
    }

    pub(crate) fn is_cached(&self, file: &str) -> bool {
        self.files.is_cached(&self.path(file))
    }

    /// Searches a folder of the root with a search that returns `says`.
    pub(crate) async fn search(&self, folder: &str, says: &'static str) -> String {
        self.search_at(&self.path(folder), says).await
    }

    pub(crate) async fn search_at(&self, folder: &Path, says: &'static str) -> String {
        let load = move || async move { Ok(Bytes::from_static(says.as_bytes())) };
        text(self.files.search(folder, "words", load).await).unwrap()
    }

    /// Returns the next change, its path relative to the root.
    pub(crate) async fn next_change(&mut self) -> (FileChangeKind, String, Option<String>) {
        let event =
            timeout(TIMEOUT, self.changes.next()).await.unwrap_or_else(|_| panic!("no change came")).unwrap();
        let FileEvent::Change(change) = event else { panic!("{event:?}") };
        let FileChange { kind, root, path, from } = &*change;
        assert_eq!(*root, self.root);
        let below = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (*kind, below(path), from.as_ref().map(below))
    }

    /// Returns the next event of that kind.
    pub(crate) async fn next_event(&mut self, kind: &str) -> Record {
        self.next_event_within(TIMEOUT, kind).await
    }

    pub(crate) async fn next_event_within(&mut self, limit: Duration, kind: &str) -> Record {
        let next = async {
            loop {
                if let Delivery::Event(record) = self.events.next().await
                    && record.kind == kind
                {
                    return *record;
                }
            }
        };
        timeout(limit, next).await.unwrap_or_else(|_| panic!("no {kind} came"))
    }

    /// Waits until a file's entry is dropped.
    pub(crate) async fn wait_until_dropped(&mut self, file: &str) {
        while self.is_cached(file) {
            self.next_event("cache_invalidated").await;
        }
    }

    /// Checks that a change of the file is seen.
    pub(crate) async fn assert_watched(&mut self, file: &str) {
        self.read_and_cache(&[file]).await;
        fs::write(self.path(file), "new").unwrap();
        self.wait_until_dropped(file).await;
        assert_eq!(self.read(file).await, new_text(), "{file}");
    }

    /// Waits until all earlier changes are applied, by one more change after them.
    pub(crate) async fn settle(&mut self) {
        let mark = format!("mark-{}", self.marker_count.replace(self.marker_count.get() + 1));
        assert_eq!(self.read(&mark).await, Err(Reason::NotFound));
        assert!(self.is_cached(&mark), "{mark} is kept as missing");
        fs::create_dir(self.path(&mark)).unwrap();
        self.wait_until_dropped(&mark).await;
    }
}

fn text(read: Result<Bytes, Error>) -> Result<String, Reason> {
    read.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|error| error.reason)
}

/// Writes a file, and creates the folders above it.
pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(crate) fn old_text() -> Result<String, Reason> {
    Ok("old".to_owned())
}

pub(crate) fn new_text() -> Result<String, Reason> {
    Ok("new".to_owned())
}
