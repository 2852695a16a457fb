//! Folders that are renamed, moved in, and created again.

use std::fs;

use mainstay_actors::error::Reason;

use crate::fixture::{WatchFixture, new_text, old_text, write};

#[tokio::test]
async fn renamed_folder_invalidates_both_names_and_is_watched() {
    let mut scene = WatchFixture::with_files(&["before/deep/a", "beside/b"]).await;
    scene.read_and_cache(&["before/deep/a", "after/deep/a", "beside/b"]).await;
    assert_eq!(scene.read("after/deep/a").await, Err(Reason::NotFound));
    for folder in ["before", "before/deep", "after/deep", "beside", ""] {
        scene.search(folder, "found before").await;
    }
    fs::rename(scene.path("before"), scene.path("after")).unwrap();
    scene.settle().await;
    assert!(scene.is_cached("beside/b"));
    assert_eq!(scene.read("before/deep/a").await, Err(Reason::NotFound));
    assert_eq!(scene.read("after/deep/a").await, old_text());
    for folder in ["before", "before/deep", "after/deep", ""] {
        assert_eq!(scene.search(folder, "found after").await, "found after", "{folder}");
    }
    assert_eq!(scene.search("beside", "found after").await, "found before");

    scene.read_and_cache(&["after/deep/a"]).await;
    fs::write(scene.path("after/deep/a"), "new").unwrap();
    scene.wait_until_dropped("after/deep/a").await;
    assert_eq!(scene.read("after/deep/a").await, new_text());
}

#[tokio::test]
async fn new_or_moved_in_folder_is_watched() {
    let mut scene = WatchFixture::with_files(&["a"]).await;
    let beside = scene.base.join("beside");
    for n in 0..20 {
        write(&beside.join(format!("{n}/deep/x")), "old");
    }
    fs::rename(&beside, scene.path("moved")).unwrap();
    fs::create_dir_all(scene.path("made/1/2/3/4")).unwrap();
    write(&scene.path("made/1/2/3/4/x"), "old");
    scene.settle().await;
    let files = ["moved/0/deep/x", "moved/19/deep/x", "made/1/2/3/4/x"];
    for file in files {
        scene.read_and_cache(&[file]).await;
        fs::write(scene.path(file), "new").unwrap();
        scene.wait_until_dropped(file).await;
        assert_eq!(scene.read(file).await, new_text(), "{file}");
    }
}

#[tokio::test]
async fn recreated_folder_is_watched() {
    let mut scene = WatchFixture::with_files(&["folder/a"]).await;
    scene.read_and_cache(&["folder/a"]).await;
    fs::remove_dir_all(scene.path("folder")).unwrap();
    scene.wait_until_dropped("folder/a").await;
    assert_eq!(scene.read("folder/a").await, Err(Reason::NotFound));
    write(&scene.path("folder/a"), "old");
    scene.settle().await;
    scene.read_and_cache(&["folder/a"]).await;
    fs::write(scene.path("folder/a"), "new").unwrap();
    scene.wait_until_dropped("folder/a").await;
    assert_eq!(scene.read("folder/a").await, new_text());
}
