//! Files whose changes no event would report are read, and not cached.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use mainstay_actors::error::Reason;
use mainstay_runtime::journal::Delivery;

use tokio::time::{advance, pause};

use crate::fixture::{OPTIONS, WatchFixture, new_text, old_text, write};

#[tokio::test]
async fn symlink_target_is_never_cached_or_watched() {
    let mut scene = WatchFixture::with_root(|root| {
        let outside = root.parent().unwrap().join("outside");
        write(&outside.join("x"), "old");
        write(&root.join("inside/x"), "old");
        symlink(&outside, root.join("folder")).unwrap();
        symlink(outside.join("x"), root.join("file")).unwrap();
        symlink(root.join("inside"), root.join("alias")).unwrap();
        symlink(outside.join("missing"), root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
    })
    .await;
    let started = scene.next_event("watch_started").await;
    let outside = scene.root.parent().unwrap().join("outside");
    for file in ["folder/x", "file", "alias/x"] {
        assert_eq!(scene.read(file).await, old_text(), "{file}");
        assert!(!scene.is_cached(file), "{file}");
    }
    for file in ["dangling", "folder/missing", "alias/missing"] {
        assert_eq!(scene.read(file).await, Err(Reason::NotFound), "{file}");
        assert!(!scene.is_cached(file), "{file}");
    }
    assert!(scene.read("loop").await.is_err());
    assert_eq!(scene.search("folder", "first").await, "first");
    assert_eq!(scene.search("folder", "second").await, "second");

    fs::write(outside.join("x"), "new").unwrap();
    fs::write(outside.join("missing"), "new").unwrap();
    fs::write(scene.path("inside/x"), "new").unwrap();
    for file in ["folder/x", "file", "alias/x", "dangling", "folder/missing"] {
        assert_eq!(scene.read(file).await, new_text(), "{file}");
    }
    // Of all that, only changes inside of the root are reported.
    let mut events = scene.runtime.journal().subscribe_after(started.cursor());
    scene.settle().await;
    let shown = |path: &str| scene.path(path).display().to_string();
    let both = format!("2 paths under {}", scene.root.display());
    let expected = [shown("inside/x"), shown("mark-0"), both];
    while let Some(Delivery::Event(record)) = events.try_next().await {
        let pattern = record.fields["pattern"].as_str().unwrap();
        assert!(expected.iter().any(|expected| expected == pattern), "{pattern}");
    }
}

#[tokio::test]
async fn file_replaced_by_symlink_is_no_longer_cached() {
    let mut scene = WatchFixture::with_files(&["folder/a"]).await;
    let outside = scene.base.join("outside");
    write(&outside.join("a"), "new");
    scene.read_and_cache(&["folder/a"]).await;
    fs::rename(scene.path("folder"), scene.base.join("gone")).unwrap();
    symlink(&outside, scene.path("folder")).unwrap();
    scene.settle().await;
    assert_eq!(scene.read("folder/a").await, new_text());
    assert!(!scene.is_cached("folder/a"));
}

#[tokio::test]
async fn hard_linked_file_is_not_cached() {
    let scene = WatchFixture::with_root(|root| {
        write(&root.join("a"), "old");
        fs::hard_link(root.join("a"), root.with_extension("twin")).unwrap();
    });
    let mut scene = scene.await;
    scene.next_event("watch_started").await;
    assert_eq!(scene.read("a").await, old_text());
    assert!(!scene.is_cached("a"));
    fs::write(scene.root.with_extension("twin"), "new").unwrap();
    assert_eq!(scene.read("a").await, new_text());
}

#[tokio::test]
async fn change_without_event_is_read_after_ttl() {
    let scene = WatchFixture::with_files(&["a"]).await;
    scene.read_and_cache(&["a"]).await;
    fs::hard_link(scene.path("a"), scene.base.join("twin")).unwrap();
    fs::write(scene.base.join("twin"), "new").unwrap();
    pause();
    advance(OPTIONS.ttl).await;
    assert_eq!(scene.read("a").await, new_text());
    assert!(!scene.is_cached("a"));
}

#[tokio::test]
async fn path_outside_roots_or_unusable_is_not_cached() {
    let scene = WatchFixture::with_files(&["a"]).await;
    let no_text = scene.root.join(OsStr::from_bytes(b"\xff"));
    let paths = [scene.base.join("b"), scene.root.join("../root/a"), no_text];
    for path in paths {
        for text in ["old", "new"] {
            fs::write(&path, text).unwrap();
            assert_eq!(scene.read_at(&path).await.as_deref(), Ok(text), "{path:?}");
            assert!(!scene.files.is_cached(&path), "{path:?}");
        }
    }
    assert_eq!(scene.read_at(&scene.base.join("missing")).await, Err(Reason::NotFound));
}

#[tokio::test]
async fn non_file_or_relative_path_errors_without_path_text() {
    let scene = WatchFixture::with_files(&["folder/a"]).await;
    let made = std::process::Command::new("mkfifo").arg(scene.path("pipe")).status().unwrap();
    assert!(made.success());
    for path in [scene.root.clone(), scene.path("folder"), scene.path("pipe"), "folder/a".into()] {
        let error = scene.files.read_bytes(&path).await.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest, "{path:?}");
        assert!(!error.message.contains('/') && !error.message.contains("folder/a"), "{}", error.message);
        assert!(error.details.is_some());
    }
    let large = fs::File::create(scene.path("large")).unwrap();
    large.set_len(mainstay_actors::cache::FILE_BYTES_MAX + 1).unwrap();
    let error = scene.files.read_bytes(&scene.path("large")).await.unwrap_err();
    assert!(error.message.contains("too large"), "{error:?}");
}

#[tokio::test]
async fn oversized_file_is_read_and_not_cached() {
    let scene = WatchFixture::with_files(&["a"]).await;
    let large = fs::File::create(scene.path("large")).unwrap();
    large.set_len(65 << 20).unwrap();
    assert_eq!(scene.files.read_bytes(&scene.path("large")).await.unwrap().len(), 65 << 20);
    assert!(!scene.is_cached("large"));
}
