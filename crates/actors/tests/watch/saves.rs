//! The ways in which editors save, and files that appear.

use std::{
    fs::{self, File},
    io::Write,
};

use super::*;

/// Saves a file in some way: it and the searches over it are read again; other entries stay.
async fn assert_save_invalidates(save: impl FnOnce(&Path)) {
    let mut fixture = WatchFixture::with_files(&["notes/a", "notes/b", "other/c"]).await;
    fixture.read_and_cache(&["notes/a", "notes/b", "other/c"]).await;
    for folder in ["", "notes", "other"] {
        assert_eq!(fixture.search(folder, "found before").await, "found before");
        assert_eq!(fixture.search(folder, "not asked").await, "found before");
    }
    save(&fixture.path("notes/a"));
    fixture.settle().await;
    assert_eq!(fixture.read("notes/a").await, new_text());
    assert_eq!(fixture.search("notes", "found after").await, "found after");
    assert_eq!(fixture.search("", "found after").await, "found after");
    assert!(fixture.is_cached("notes/b") && fixture.is_cached("other/c"), "what was not touched is kept");
    assert_eq!(fixture.search("other", "found after").await, "found before");
    assert_eq!(fixture.read("notes/b").await, old_text());
}

#[tokio::test]
async fn save_by_temp_file_and_rename_invalidates_path() {
    assert_save_invalidates(|file| {
        let beside = file.with_extension("tmp");
        let mut written = File::create(&beside).unwrap();
        written.write_all(b"new").unwrap();
        written.sync_all().unwrap();
        fs::rename(&beside, file).unwrap();
    })
    .await;
}

#[tokio::test]
async fn save_with_backup_rename_invalidates_path() {
    assert_save_invalidates(|file| {
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
async fn save_in_place_invalidates_path() {
    assert_save_invalidates(|file| {
        let mut written = File::options().write(true).truncate(true).open(file).unwrap();
        written.write_all(b"new").unwrap();
        written.sync_all().unwrap();
    })
    .await;
}

#[tokio::test]
async fn new_file_invalidates_not_found_and_searches() {
    let mut fixture = WatchFixture::with_files(&["notes/deep/a", "other/c"]).await;
    assert_eq!(fixture.read("notes/deep/b").await, Err(Reason::NotFound));
    assert!(fixture.is_cached("notes/deep/b"), "that it is not there is kept");
    for folder in ["", "notes", "notes/deep", "other"] {
        fixture.search(folder, "found before").await;
    }
    fs::write(fixture.path("notes/deep/b"), "new").unwrap();
    fixture.wait_until_dropped("notes/deep/b").await;
    assert_eq!(fixture.read("notes/deep/b").await, new_text());
    for folder in ["", "notes", "notes/deep"] {
        assert_eq!(fixture.search(folder, "found after").await, "found after", "{folder}");
    }
    fixture.settle().await;
    assert_eq!(fixture.search("other", "found after").await, "found before");
}

#[tokio::test]
async fn short_lived_file_is_invalidated() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fs::write(fixture.path("b"), "brief").unwrap();
    assert_eq!(fixture.read("b").await, Ok("brief".to_owned()));
    fs::remove_file(fixture.path("b")).unwrap();
    fs::rename(fixture.path("a"), fixture.path("c")).unwrap();
    assert_eq!(fixture.read("c").await, old_text());
    fs::rename(fixture.path("c"), fixture.path("d")).unwrap();
    fixture.settle().await;
    assert_eq!(fixture.read("b").await, Err(Reason::NotFound));
    assert_eq!(fixture.read("c").await, Err(Reason::NotFound));
    assert_eq!(fixture.read("d").await, old_text());
}

#[tokio::test]
async fn cached_file_is_read_once_without_events() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fixture.read_and_cache(&["a"]).await;
    let loads = fixture.cache.stats().loads;
    for _ in 0..10 {
        assert_eq!(fixture.read("a").await, old_text());
    }
    assert_eq!(fixture.cache.stats().loads, loads);
    // A read is no change.
    fs::read(fixture.path("a")).unwrap();
    fixture.settle().await;
    assert!(fixture.is_cached("a"));
    write(&fixture.path("a"), "new");
    let event = fixture.next_event("cache_invalidated").await;
    assert_eq!(event.fields["by"], "files");
    fixture.wait_until_dropped("a").await;
    assert_eq!(fixture.read("a").await, new_text());
}
