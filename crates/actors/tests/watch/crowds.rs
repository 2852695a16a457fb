//! Many files at once.

use std::fs;

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
