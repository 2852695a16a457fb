//! The ways in which editors save, and files that appear.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use mainstay_actors::error::Reason;

use crate::scene::{Scene, new, old, write};

/// Saves a file in some way: it is read anew, and so is what covers it; the rest stays.
async fn check_save(save: impl FnOnce(&Path)) {
    let mut scene = Scene::with(&["notes/a", "notes/b", "other/c"]).await;
    scene.keep(&["notes/a", "notes/b", "other/c"]).await;
    for folder in ["", "notes", "other"] {
        assert_eq!(scene.search(folder, "found before").await, "found before");
        assert_eq!(scene.search(folder, "not asked").await, "found before");
    }
    save(&scene.path("notes/a"));
    scene.settle().await;
    assert_eq!(scene.read("notes/a").await, new());
    assert_eq!(scene.search("notes", "found after").await, "found after");
    assert_eq!(scene.search("", "found after").await, "found after");
    assert!(scene.keeps("notes/b") && scene.keeps("other/c"), "what was not touched is kept");
    assert_eq!(scene.search("other", "found after").await, "found before");
    assert_eq!(scene.read("notes/b").await, old());
}

#[tokio::test]
async fn a_save_beside_and_a_rename_over_it_drop_the_final_path() {
    check_save(|file| {
        let beside = file.with_extension("tmp");
        let mut written = File::create(&beside).unwrap();
        written.write_all(b"new").unwrap();
        written.sync_all().unwrap();
        fs::rename(&beside, file).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_backup_by_rename_and_a_new_file_in_its_place_drop_the_path() {
    check_save(|file| {
        let backup = file.with_extension("a~");
        fs::rename(file, &backup).unwrap();
        let mut written = File::create(file).unwrap();
        written.write_all(b"new").unwrap();
        written.sync_all().unwrap();
        fs::remove_file(&backup).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_save_in_place_drops_the_path() {
    check_save(|file| {
        let mut written = File::options().write(true).truncate(true).open(file).unwrap();
        written.write_all(b"new").unwrap();
        written.sync_all().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_new_file_drops_that_it_was_not_there_and_the_searches_that_cover_it() {
    let mut scene = Scene::with(&["notes/deep/a", "other/c"]).await;
    assert_eq!(scene.read("notes/deep/b").await, Err(Reason::NotFound));
    assert!(scene.keeps("notes/deep/b"), "that it is not there is kept");
    for folder in ["", "notes", "notes/deep", "other"] {
        scene.search(folder, "found before").await;
    }
    fs::write(scene.path("notes/deep/b"), "new").unwrap();
    scene.forgets("notes/deep/b").await;
    assert_eq!(scene.read("notes/deep/b").await, new());
    for folder in ["", "notes", "notes/deep"] {
        assert_eq!(scene.search(folder, "found after").await, "found after", "{folder}");
    }
    scene.settle().await;
    assert_eq!(scene.search("other", "found after").await, "found before");
}

#[tokio::test]
async fn a_file_that_was_there_between_two_events_alone_is_forgotten() {
    let mut scene = Scene::with(&["a"]).await;
    fs::write(scene.path("b"), "brief").unwrap();
    assert_eq!(scene.read("b").await, Ok("brief".to_owned()));
    fs::remove_file(scene.path("b")).unwrap();
    fs::rename(scene.path("a"), scene.path("c")).unwrap();
    assert_eq!(scene.read("c").await, old());
    fs::rename(scene.path("c"), scene.path("d")).unwrap();
    scene.settle().await;
    assert_eq!(scene.read("b").await, Err(Reason::NotFound));
    assert_eq!(scene.read("c").await, Err(Reason::NotFound));
    assert_eq!(scene.read("d").await, old());
}

#[tokio::test]
async fn what_is_kept_is_read_once_and_stays_while_nothing_is_told() {
    let mut scene = Scene::with(&["a"]).await;
    scene.keep(&["a"]).await;
    let loads = scene.cache.stats().loads;
    for _ in 0..10 {
        assert_eq!(scene.read("a").await, old());
    }
    assert_eq!(scene.cache.stats().loads, loads);
    // Reading is no change.
    fs::read(scene.path("a")).unwrap();
    scene.settle().await;
    assert!(scene.keeps("a"));
    write(&scene.path("a"), "new");
    let told = scene.told("cache_invalidated").await;
    assert_eq!(told.fields["by"], "files");
    scene.forgets("a").await;
    assert_eq!(scene.read("a").await, new());
}
