//! Many files at once.

use std::fs;

use crate::fixture::{WatchFixture, new_text, write};

#[tokio::test]
async fn ten_thousand_changed_files_are_all_invalidated() {
    let file = |n: u32| format!("{}/{n}", n % 100);
    let mut scene = WatchFixture::with_root(|root| {
        for n in 0..10_000 {
            write(&root.join(file(n)), "old");
        }
    })
    .await;
    scene.next_event("watch_started").await;
    let mut kept = 0;
    for n in 0..10_000 {
        assert!(scene.read(&file(n)).await.is_ok());
        kept += u32::from(scene.is_cached(&file(n)));
    }
    assert_eq!(kept, 10_000);
    for n in 0..10_000 {
        fs::write(scene.path(&file(n)), "new").unwrap();
    }
    // If so many events are lost, the root is watched again, and nothing is cached meanwhile.
    scene.wait_until_dropped(&file(9_999)).await;
    for n in 0..10_000 {
        assert_eq!(scene.read(&file(n)).await, new_text(), "{n}");
    }
}

#[tokio::test]
async fn continuously_written_file_is_invalidated() {
    let mut scene = WatchFixture::with_files(&["log", "a"]).await;
    scene.read_and_cache(&["log", "a"]).await;
    let mut written = 0;
    while scene.is_cached("log") {
        written += 1;
        fs::write(scene.path("log"), written.to_string()).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(scene.is_cached("a"));
    fs::write(scene.path("log"), "new").unwrap();
    scene.settle().await;
    assert_eq!(scene.read("log").await, new_text());
}
