//! Many files at once.

use std::fs;

use mainstay_actors::cache::watch::WatchPolicy;
use mainstay_runtime::journal::Delivery;

use crate::scene::{Scene, new, write};

#[tokio::test]
async fn of_ten_thousand_files_changed_at_once_none_is_served_as_it_was() {
    let file = |n: u32| format!("{}/{n}", n % 100);
    let mut scene = Scene::before(|root| {
        for n in 0..10_000 {
            write(&root.join(file(n)), "old");
        }
    })
    .await;
    scene.told("watch_started").await;
    let mut kept = 0;
    for n in 0..10_000 {
        assert!(scene.read(&file(n)).await.is_ok());
        kept += u32::from(scene.keeps(&file(n)));
    }
    assert_eq!(kept, 10_000);
    for n in 0..10_000 {
        fs::write(scene.path(&file(n)), "new").unwrap();
    }
    // Where so many events are lost on the way, the root is watched anew, and meanwhile nothing is kept.
    scene.forgets(&file(9_999)).await;
    for n in 0..10_000 {
        assert_eq!(scene.read(&file(n)).await, new(), "{n}");
    }
}

#[tokio::test]
async fn a_file_that_is_written_to_without_end_is_forgotten_all_the_same() {
    let mut scene = Scene::with(&["log", "a"]).await;
    scene.keep(&["log", "a"]).await;
    let mut written = 0;
    while scene.keeps("log") {
        written += 1;
        fs::write(scene.path("log"), written.to_string()).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(scene.keeps("a"));
    fs::write(scene.path("log"), "new").unwrap();
    scene.settle().await;
    assert_eq!(scene.read("log").await, new());
}

#[tokio::test]
async fn a_change_of_what_nothing_is_kept_of_is_not_told() {
    let mut scene = Scene::with(&["kept"]).await;
    let begun = scene.runtime.journal().seq();
    for round in 0..3 {
        fs::write(scene.path(&format!("written-{round}")), "x").unwrap();
        // More than one batch: each change is carried out before the next.
        tokio::time::sleep(WatchPolicy::default().debounce * 3).await;
    }
    scene.settle().await;
    let mut events = scene.runtime.journal().subscribe_after(begun);
    let mut told = Vec::new();
    while let Some(Delivery::Event(record)) = events.try_next().await {
        told.extend((record.kind == "cache_invalidated").then(|| record.fields["entries"].clone()));
    }
    assert_eq!(told, [1], "only that the mark was not there");
}
