//! Tests that need the inside of the watcher: the system loses events.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use mainstay_runtime::{
    Child, Runtime, SupervisorSpec,
    journal::{JournalSubscription, Record},
};
use notify::event::{Event, EventKind, Flag};
use tokio::time::timeout;

use super::{
    FileFeed, Roots, WatchActor, WatchErrorKind, WatchMessage, WatchPolicy, actor::WatchCommand,
    batch::EventBatch, watcher::RootWatcher,
};
use crate::{
    cache::{CacheActor, CacheHandle, EntryOptions, FileCache},
    tests::next_record,
};

/// Returns more files than the event queue of one watcher holds; each file causes four events.
fn files_to_overflow() -> u32 {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    limit.trim().parse::<u32>().unwrap() / 2
}

#[tokio::test]
async fn watcher_queue_overflow_reports_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let watcher = Arc::new(RootWatcher::open(folder.path()).unwrap());
    {
        // The watcher's thread is blocked here, so its events pile up.
        let _held = watcher.pending.batch();
        for n in 0..files_to_overflow() {
            fs::write(folder.path().join(n.to_string()), "x").unwrap();
        }
    }
    // The events that it held come first.
    let fault = loop {
        let attended =
            RootWatcher::next_batch(Arc::clone(&watcher), Duration::from_millis(1), Duration::from_secs(60));
        if let Some(error) = attended.await.error {
            break error.kind;
        }
    };
    assert_eq!(fault, WatchErrorKind::Overflow);
}

async fn next_event(events: &mut JournalSubscription, kind: &str) -> Record {
    timeout(Duration::from_secs(60), next_record(events, kind)).await.unwrap()
}

#[tokio::test]
async fn watch_overflow_invalidates_root_and_rewatches() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    let file = root.join("folder/a");
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(&file, "old").unwrap();
    let options = EntryOptions {
        ttl: Duration::from_secs(3600),
        stale_for: Duration::ZERO,
        negative_ttl: Duration::from_secs(3600),
        depends_on_connection: false,
    };
    let cache = CacheHandle::new(1 << 20, options);
    let roots = Roots::new([root.clone()]).unwrap();
    let mut tree = SupervisorSpec::new("root");
    let cache_address = tree.child(Child::new("cache", CacheActor { cache: cache.clone() })).unwrap();
    let policy = WatchPolicy::default();
    let actor = WatchActor {
        cache: cache.clone(),
        cache_address,
        roots: roots.clone(),
        policy,
        feed: FileFeed::default(),
    };
    let watch = tree.child(Child::new("watch", actor)).unwrap();
    let runtime = Runtime::builder().start(tree).await.unwrap();
    let mut events = runtime.journal().subscribe();
    next_event(&mut events, "watch_started").await;
    let files = FileCache::new(cache.clone(), roots.clone());
    assert_eq!(files.read_bytes(&file).await.unwrap(), "old");
    let search = |says: &'static str| {
        files.search(&root, "words", move || async move { Ok(Bytes::from_static(says.as_bytes())) })
    };
    assert_eq!(search("found before").await.unwrap(), "found before");

    // The watcher sends this when the system has lost events.
    let (scope, epoch) = roots.active_paths(0).unwrap();
    let mut batch = EventBatch::default();
    assert!(batch.record_event(&scope, Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
    watch.cast(WatchMessage(WatchCommand::Changed { root: 0, epoch, batch: Box::new(batch) })).await.unwrap();
    let invalidated = next_event(&mut events, "cache_invalidated").await.fields;
    assert_eq!(invalidated["pattern"], format!("everything under {}", root.display()));
    assert_eq!(invalidated["entries"], 2);
    assert_eq!(next_event(&mut events, "watch_lost").await.fields["reason"], "overflow");
    assert!(cache.stats().entries == 0 && !files.is_cached(&file));
    next_event(&mut events, "watch_regained").await;
    assert_eq!(files.read_bytes(&file).await.unwrap(), "old");
    assert!(files.is_cached(&file));
    assert_eq!(search("found after").await.unwrap(), "found after");
}
