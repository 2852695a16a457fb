//! Many files at once.

use super::*;

#[tokio::test]
async fn ten_thousand_changed_files_are_all_invalidated() {
    let file = |n: u32| format!("{}/{n}", n % 100);
    let mut fixture = WatchFixture::with_root(|root| {
        for n in 0..10_000 {
            write(&root.join(file(n)), "old");
        }
    })
    .await;
    fixture.next_event("watch_started").await;
    let mut kept = 0;
    for n in 0..10_000 {
        assert!(fixture.read(&file(n)).await.is_ok());
        kept += u32::from(fixture.is_cached(&file(n)));
    }
    assert_eq!(kept, 10_000);
    for n in 0..10_000 {
        fs::write(fixture.path(&file(n)), "new").unwrap();
    }
    // If so many events are lost, the root is watched again, and nothing is cached meanwhile.
    fixture.wait_until_dropped(&file(9_999)).await;
    for n in 0..10_000 {
        assert_eq!(fixture.read(&file(n)).await, new_text(), "{n}");
    }
}

#[tokio::test]
async fn continuously_written_file_is_invalidated() {
    let mut fixture = WatchFixture::with_files(&["log", "a"]).await;
    fixture.read_and_cache(&["log", "a"]).await;
    let mut written = 0;
    while fixture.is_cached("log") {
        written += 1;
        fs::write(fixture.path("log"), written.to_string()).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(fixture.is_cached("a"));
    fs::write(fixture.path("log"), "new").unwrap();
    fixture.settle().await;
    assert_eq!(fixture.read("log").await, new_text());
}
