//! Folders that are renamed, moved in, and made anew.

use std::fs;

use mainstay_actors::error::Reason;

use crate::scene::{Scene, new, old, write};

#[tokio::test]
async fn a_renamed_folder_drops_what_is_in_both_names_and_is_watched_by_its_new_one() {
    let mut scene = Scene::with(&["before/deep/a", "beside/b"]).await;
    scene.keep(&["before/deep/a", "after/deep/a", "beside/b"]).await;
    assert_eq!(scene.read("after/deep/a").await, Err(Reason::NotFound));
    for folder in ["before", "before/deep", "after/deep", "beside", ""] {
        scene.search(folder, "found before").await;
    }
    fs::rename(scene.path("before"), scene.path("after")).unwrap();
    scene.settle().await;
    assert!(scene.keeps("beside/b"));
    assert_eq!(scene.read("before/deep/a").await, Err(Reason::NotFound));
    assert_eq!(scene.read("after/deep/a").await, old());
    for folder in ["before", "before/deep", "after/deep", ""] {
        assert_eq!(scene.search(folder, "found after").await, "found after", "{folder}");
    }
    assert_eq!(scene.search("beside", "found after").await, "found before");

    scene.keep(&["after/deep/a"]).await;
    fs::write(scene.path("after/deep/a"), "new").unwrap();
    scene.forgets("after/deep/a").await;
    assert_eq!(scene.read("after/deep/a").await, new());
}

#[tokio::test]
async fn what_is_in_a_folder_that_is_moved_in_or_made_is_watched_from_then_on() {
    let mut scene = Scene::with(&["a"]).await;
    let beside = scene.top.join("beside");
    for n in 0..20 {
        write(&beside.join(format!("{n}/deep/x")), "old");
    }
    fs::rename(&beside, scene.path("moved")).unwrap();
    fs::create_dir_all(scene.path("made/1/2/3/4")).unwrap();
    write(&scene.path("made/1/2/3/4/x"), "old");
    scene.settle().await;
    let files = ["moved/0/deep/x", "moved/19/deep/x", "made/1/2/3/4/x"];
    for file in files {
        scene.keep(&[file]).await;
        fs::write(scene.path(file), "new").unwrap();
        scene.forgets(file).await;
        assert_eq!(scene.read(file).await, new(), "{file}");
    }
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_anew_is_watched_again() {
    let mut scene = Scene::with(&["folder/a"]).await;
    scene.keep(&["folder/a"]).await;
    fs::remove_dir_all(scene.path("folder")).unwrap();
    scene.forgets("folder/a").await;
    assert_eq!(scene.read("folder/a").await, Err(Reason::NotFound));
    write(&scene.path("folder/a"), "old");
    scene.settle().await;
    scene.keep(&["folder/a"]).await;
    fs::write(scene.path("folder/a"), "new").unwrap();
    scene.forgets("folder/a").await;
    assert_eq!(scene.read("folder/a").await, new());
}
