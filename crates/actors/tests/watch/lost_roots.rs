//! Roots that disappear and come back, watchers that end, and the end of the actor itself.

use mainstay_actors::cache::key::FILE_PREFIX;
use tokio::sync::oneshot;

use super::*;

#[cfg(debug_assertions)]
use mainstay_actors::cache::watch::WatchMessage;

/// Returns whether the key of a file has an entry, whether or not its root is watched.
fn is_search_hit(fixture: &WatchFixture, file: &str) -> bool {
    let key = format!("{FILE_PREFIX}{}", fixture.path(file).display());
    fixture.cache.get(&key, None).is_some()
}

/// Checks the state after a watch ended, and before it resumes.
async fn assert_watch_lost(fixture: &mut WatchFixture, reason: &str) {
    let lost = fixture.next_event("watch_lost").await.fields;
    assert_eq!(lost["reason"], reason);
    assert!(!lost["next_step"].as_str().unwrap().is_empty() && lost["next_attempt_ms"].as_u64().unwrap() > 0);
    assert!(!is_search_hit(fixture, "a"), "what was kept is gone with the watch");
}

/// Checks the state after a watch resumed.
async fn assert_watch_regained(fixture: &mut WatchFixture) {
    fixture.next_event("watch_regained").await;
    fixture.read_and_cache(&["a"]).await;
    write(&fixture.path("a"), "newer");
    fixture.wait_until_dropped("a").await;
    assert_eq!(fixture.read("a").await.as_deref(), Ok("newer"));
}

#[tokio::test]
async fn removed_root_is_lost_and_regained() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fixture.read_and_cache(&["a"]).await;
    fs::remove_dir_all(&fixture.root).unwrap();
    assert_watch_lost(&mut fixture, "moved").await;
    assert_eq!(fixture.read("a").await, Err(Reason::NotFound));
    assert!(!fixture.is_cached("a"), "not even that it is not there");
    assert_watch_lost(&mut fixture, "missing").await;
    write(&fixture.path("a"), "new");
    assert_eq!(fixture.read("a").await, new_text());
    assert_watch_regained(&mut fixture).await;
}

#[tokio::test]
async fn moved_ancestor_loses_root_and_replacement_is_new() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fixture.read_and_cache(&["a"]).await;
    let above = fixture.base.join("above");
    write(&fixture.base.join("next/root/a"), "new");
    fs::rename(&above, fixture.base.join("gone")).unwrap();
    fs::rename(fixture.base.join("next"), &above).unwrap();
    assert_watch_lost(&mut fixture, "moved").await;
    assert_eq!(fixture.read("a").await, new_text());
    assert_watch_regained(&mut fixture).await;
}

#[cfg(unix)]
#[tokio::test]
async fn symlinked_root_follows_a_changed_target() {
    let mut fixture = WatchFixture::with_root(|root| {
        let top = root.parent().unwrap();
        write(&top.join("first/a"), "old");
        write(&top.join("second/a"), "new");
        fs::remove_dir(root).unwrap();
        std::os::unix::fs::symlink(top.join("first"), root).unwrap();
    })
    .await;
    fixture.next_event("watch_started").await;
    fixture.read_and_cache(&["a"]).await;
    assert_eq!(fixture.read("a").await, old_text());
    let top = fixture.root.parent().unwrap().to_owned();
    assert!(fixture.files.is_cached(&top.join("first/a")), "it is one file, by whichever of its two names");
    std::os::unix::fs::symlink(top.join("second"), top.join("link")).unwrap();
    fs::rename(top.join("link"), &fixture.root).unwrap();
    assert_watch_lost(&mut fixture, "moved").await;
    assert_eq!(fixture.read("a").await, new_text());
    assert_watch_regained(&mut fixture).await;
}

#[tokio::test]
async fn root_that_becomes_a_folder_is_watched() {
    let mut fixture = WatchFixture::with_root(|root| {
        fs::remove_dir(root).unwrap();
        fs::write(root, "").unwrap();
    })
    .await;
    assert_eq!(fixture.next_event("watch_lost").await.fields["reason"], "not_a_folder");
    fs::remove_file(&fixture.root).unwrap();
    write(&fixture.path("a"), "old");
    assert_watch_regained(&mut fixture).await;
}

#[tokio::test(start_paused = true)]
async fn missing_root_retries_with_backoff_and_one_event() {
    let mut fixture = WatchFixture::with_root(|root| fs::remove_dir(root).unwrap()).await;
    let lost = fixture.next_event("watch_lost").await;
    assert_eq!((&lost.fields["reason"], &lost.fields["next_attempt_ms"]), (&"missing".into(), &100.into()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fixture.read("a").await, Err(Reason::NotFound));
    assert!(!fixture.is_cached("a"));
    write(&fixture.path("a"), "new");
    let regained = fixture.next_event_within(Duration::from_secs(3600), "watch_regained").await;
    // Ten attempts whose delays double from 0.1 s on, then one a minute.
    let attempts = regained.fields["attempts"].as_u64().unwrap();
    assert!((17..=21).contains(&attempts), "{attempts}");
    let lost_ms = regained.fields["lost_ms"].as_u64().unwrap();
    assert!((600_000..=662_000).contains(&lost_ms), "{lost_ms}");
    let mut events = fixture.runtime.journal().subscribe_after(lost.cursor());
    while let Some(Delivery::Event(record)) = events.try_next().await {
        assert_ne!(record.kind, "watch_lost");
    }
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn watcher_thread_panic_invalidates_and_rewatches() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fixture.read_and_cache(&["a"]).await;
    fixture.watch.cast(WatchMessage::end_watchers()).await.unwrap();
    // The fault takes effect with the next event, which is not reported any more.
    while fixture.is_cached("a") {
        fs::write(fixture.path("b"), "x").unwrap();
        tokio::task::yield_now().await;
    }
    assert_watch_lost(&mut fixture, "ended").await;
    assert_watch_regained(&mut fixture).await;
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn actor_crash_stops_caching_until_roots_are_watched() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fixture.read_and_cache(&["a"]).await;
    let (end, ended) = oneshot::channel::<()>();
    let search = {
        let (files, root) = (fixture.files.clone(), fixture.root.clone());
        async move {
            let load = || async move {
                let _ = ended.await;
                Ok(Bytes::from_static(b"found before"))
            };
            files.search(&root, "words", load).await
        }
    };
    let mut searching = tokio::task::JoinSet::new();
    let loads = fixture.cache.stats().loads;
    searching.spawn(search);
    while fixture.cache.stats().loads == loads {
        tokio::task::yield_now().await;
    }
    drop(fixture.watch.inject_panic().unwrap());
    while fixture.next_event("actor_exited").await.actor != "root/watch" {}
    assert!(!is_search_hit(&fixture, "a"));
    fixture.next_event("watch_regained").await;
    end.send(()).unwrap();
    assert_eq!(searching.join_next().await.unwrap().unwrap().unwrap(), "found before");
    assert_eq!(fixture.search("", "found after").await, "found after", "what was begun before is not kept");
    fixture.runtime.shutdown().await;
    assert_eq!(fixture.read("a").await, old_text());
    assert!(!fixture.is_cached("a") && !is_search_hit(&fixture, "a"));
}
