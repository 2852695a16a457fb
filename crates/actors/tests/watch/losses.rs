//! Roots that vanish and come back, watchers that end, and the end of the actor itself.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use mainstay_actors::cache::key::FILES;
#[cfg(debug_assertions)]
use mainstay_actors::cache::watch::WatchMessage;
use mainstay_actors::error::Reason;
use tokio::sync::oneshot;

use crate::scene::{Scene, new, old, write};

/// Whether something is found under the key of a file, past those who ask whether it is watched.
fn is_found(scene: &Scene, file: &str) -> bool {
    let key = format!("{FILES}{}", scene.path(file).display());
    scene.cache.get(&key, None).is_some()
}

/// After whatever ended the watch, and before it is taken up again.
async fn check_lost(scene: &mut Scene, reason: &str) {
    let lost = scene.told("watch_lost").await.fields;
    assert_eq!(lost["reason"], reason);
    assert!(!lost["next_step"].as_str().unwrap().is_empty() && lost["next_attempt_ms"].as_u64().unwrap() > 0);
    assert!(!is_found(scene, "a"), "what was kept is gone with the watch");
}

/// After it was taken up again.
async fn check_regained(scene: &mut Scene) {
    scene.told("watch_regained").await;
    scene.keep(&["a"]).await;
    write(&scene.path("a"), "newer");
    scene.forgets("a").await;
    assert_eq!(scene.read("a").await.as_deref(), Ok("newer"));
}

#[tokio::test]
async fn a_root_that_is_removed_is_told_forgotten_and_watched_again_when_it_is_back() {
    let mut scene = Scene::with(&["a"]).await;
    scene.keep(&["a"]).await;
    fs::remove_dir_all(&scene.root).unwrap();
    check_lost(&mut scene, "moved").await;
    assert_eq!(scene.read("a").await, Err(Reason::NotFound));
    assert!(!scene.keeps("a"), "not even that it is not there");
    check_lost(&mut scene, "missing").await;
    write(&scene.path("a"), "new");
    assert_eq!(scene.read("a").await, new());
    check_regained(&mut scene).await;
}

#[tokio::test]
async fn a_folder_above_a_root_that_moves_takes_the_root_with_it_and_another_in_its_place_is_another() {
    let mut scene = Scene::with(&["a"]).await;
    scene.keep(&["a"]).await;
    let above = scene.top.join("above");
    write(&scene.top.join("next/root/a"), "new");
    fs::rename(&above, scene.top.join("gone")).unwrap();
    fs::rename(scene.top.join("next"), &above).unwrap();
    check_lost(&mut scene, "moved").await;
    assert_eq!(scene.read("a").await, new());
    check_regained(&mut scene).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_root_that_is_a_symlink_is_watched_where_it_leads_and_anew_when_it_leads_elsewhere() {
    let mut scene = Scene::before(|root| {
        let top = root.parent().unwrap();
        write(&top.join("first/a"), "old");
        write(&top.join("second/a"), "new");
        fs::remove_dir(root).unwrap();
        std::os::unix::fs::symlink(top.join("first"), root).unwrap();
    })
    .await;
    scene.told("watch_started").await;
    scene.keep(&["a"]).await;
    assert_eq!(scene.read("a").await, old());
    let top = scene.root.parent().unwrap().to_owned();
    assert!(scene.files.keeps(&top.join("first/a")), "it is one file, by whichever of its two names");
    std::os::unix::fs::symlink(top.join("second"), top.join("link")).unwrap();
    fs::rename(top.join("link"), &scene.root).unwrap();
    check_lost(&mut scene, "moved").await;
    assert_eq!(scene.read("a").await, new());
    check_regained(&mut scene).await;
}

#[tokio::test]
async fn a_root_that_is_no_folder_says_so_and_is_watched_once_it_is_one() {
    let mut scene = Scene::before(|root| {
        fs::remove_dir(root).unwrap();
        fs::write(root, "").unwrap();
    })
    .await;
    assert_eq!(scene.told("watch_lost").await.fields["reason"], "not_a_folder");
    fs::remove_file(&scene.root).unwrap();
    write(&scene.path("a"), "old");
    check_regained(&mut scene).await;
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_missing_is_looked_for_less_and_less_often_and_told_of_once() {
    let mut scene = Scene::before(|root| fs::remove_dir(root).unwrap()).await;
    let lost = scene.told("watch_lost").await;
    assert_eq!((&lost.fields["reason"], &lost.fields["next_attempt_ms"]), (&"missing".into(), &100.into()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(scene.read("a").await, Err(Reason::NotFound));
    assert!(!scene.keeps("a"));
    write(&scene.path("a"), "new");
    let regained = scene.told_within(Duration::from_secs(3600), "watch_regained").await;
    // Ten that double from 0.1 s on, then one a minute.
    let attempts = regained.fields["attempts"].as_u64().unwrap();
    assert!((17..=21).contains(&attempts), "{attempts}");
    let lost_ms = regained.fields["lost_ms"].as_u64().unwrap();
    assert!((600_000..=662_000).contains(&lost_ms), "{lost_ms}");
    let mut events = scene.runtime.journal().subscribe_after(lost.seq);
    while let Some(mainstay_runtime::journal::Delivery::Event(record)) = events.try_next().await {
        assert_ne!(record.kind, "watch_lost");
    }
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn when_the_watchers_thread_ends_its_root_is_forgotten_and_watched_by_another() {
    let mut scene = Scene::with(&["a"]).await;
    scene.keep(&["a"]).await;
    scene.watch.cast(WatchMessage::end_watchers()).await.unwrap();
    // It is obeyed with the next event, which is not told any more.
    while scene.keeps("a") {
        fs::write(scene.path("b"), "x").unwrap();
        tokio::task::yield_now().await;
    }
    check_lost(&mut scene, "ended").await;
    check_regained(&mut scene).await;
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn with_the_end_of_the_actor_nothing_of_its_roots_is_served_or_kept_until_the_next_one_watches() {
    let mut scene = Scene::with(&["a"]).await;
    scene.keep(&["a"]).await;
    let (end, told) = oneshot::channel::<()>();
    let search = {
        let (files, root) = (scene.files.clone(), scene.root.clone());
        async move {
            let load = || async move {
                let _ = told.await;
                Ok(Bytes::from_static(b"found before"))
            };
            files.search(&root, "words", load).await
        }
    };
    let mut searching = tokio::task::JoinSet::new();
    let loads = scene.cache.stats().loads;
    searching.spawn(search);
    while scene.cache.stats().loads == loads {
        tokio::task::yield_now().await;
    }
    scene.watch.cast(WatchMessage::panic()).await.unwrap();
    while scene.told("actor_exited").await.actor != "root/watch" {}
    assert!(!is_found(&scene, "a"));
    scene.told("watch_regained").await;
    end.send(()).unwrap();
    assert_eq!(searching.join_next().await.unwrap().unwrap().unwrap(), "found before");
    assert_eq!(scene.search("", "found after").await, "found after", "what was begun before is not kept");
    scene.runtime.shutdown().await;
    assert_eq!(scene.read("a").await, old());
    assert!(!scene.keeps("a") && !is_found(&scene, "a"));
}
