//! What only the inside can bring about: that the system loses events.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_runtime::journal::{Delivery, Record, Subscription};
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use notify::event::{Event, EventKind, Flag};
use tokio::time::timeout;

use super::actor::Step;
use super::batch::Batch;
use super::eye::Eye;
use super::{Roots, WatchActor, WatchFault, WatchMessage, WatchPolicy};
use crate::cache::{CacheActor, CacheHandle, Files, Keeping};

/// More events than the system holds for one watcher; a file has four.
fn files_to_overflow() -> u32 {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    limit.trim().parse::<u32>().unwrap() / 2
}

#[tokio::test]
async fn when_the_system_loses_events_the_watcher_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let eye = Arc::new(Eye::open(folder.path()).unwrap());
    {
        // The watcher's thread cannot tell what it reads, so what it does not read heaps up.
        let _held = eye.gathered.batch();
        for n in 0..files_to_overflow() {
            fs::write(folder.path().join(n.to_string()), "x").unwrap();
        }
    }
    // Those that it held come first.
    let fault = loop {
        let attended = Eye::attend(Arc::clone(&eye), Duration::from_millis(1), Duration::from_secs(60));
        if let Some(trouble) = attended.await.trouble {
            break trouble.fault;
        }
    };
    assert_eq!(fault, WatchFault::Overflow);
}

async fn told(events: &mut Subscription, kind: &str) -> Record {
    let next = async {
        loop {
            if let Delivery::Event(record) = events.next().await
                && record.kind == kind
            {
                return *record;
            }
        }
    };
    timeout(Duration::from_secs(60), next).await.unwrap()
}

#[tokio::test]
async fn when_events_were_lost_everything_of_the_root_is_dropped_and_it_is_watched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    let file = root.join("folder/a");
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(&file, "old").unwrap();
    let keeping = Keeping {
        ttl: Duration::from_secs(3600),
        stale_for: Duration::ZERO,
        failures_for: Duration::from_secs(3600),
        is_of_the_link: false,
    };
    let cache = CacheHandle::new(1 << 20, keeping);
    let roots = Roots::new([root.clone()]).unwrap();
    let mut tree = SupervisorSpec::new("root");
    let cache_address = tree.child(Child::new("cache", CacheActor { cache: cache.clone() })).unwrap();
    let policy = WatchPolicy::default();
    let actor = WatchActor { cache: cache.clone(), cache_address, roots: roots.clone(), policy };
    let watch = tree.child(Child::new("watch", actor)).unwrap();
    let runtime = Runtime::builder().start(tree).await.unwrap();
    let mut events = runtime.journal().subscribe_after(0);
    told(&mut events, "watch_started").await;
    let files = Files::new(cache.clone(), roots.clone());
    assert_eq!(files.file(&file).await.unwrap(), "old");
    let search = |says: &'static str| {
        files.search(&root, "words", move || async move { Ok(Bytes::from_static(says.as_bytes())) })
    };
    assert_eq!(search("found before").await.unwrap(), "found before");

    // As the watcher tells it when the system has lost events.
    let (scope, term) = roots.seated(0).unwrap();
    let mut batch = Batch::default();
    assert!(batch.note(&scope, Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
    watch.cast(WatchMessage(Step::Gathered { root: 0, term, batch })).await.unwrap();
    let invalidated = told(&mut events, "cache_invalidated").await.fields;
    assert_eq!(invalidated["pattern"], format!("everything under {}", root.display()));
    assert_eq!(invalidated["entries"], 2);
    assert_eq!(told(&mut events, "watch_lost").await.fields["reason"], "overflow");
    assert!(cache.stats().entries == 0 && !files.keeps(&file));
    told(&mut events, "watch_regained").await;
    assert_eq!(files.file(&file).await.unwrap(), "old");
    assert!(files.keeps(&file));
    assert_eq!(search("found after").await.unwrap(), "found after");
}
