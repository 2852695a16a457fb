//! Files whose changes no event would report are read, and not cached.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::symlink},
};

use tokio::time::{advance, pause};

use super::*;
use crate::fixture::OPTIONS;

#[tokio::test]
async fn symlink_target_is_never_cached_or_watched() {
    let mut fixture = WatchFixture::with_root(|root| {
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
    let started = fixture.next_event("watch_started").await;
    let outside = fixture.root.parent().unwrap().join("outside");
    for file in ["folder/x", "file", "alias/x"] {
        assert_eq!(fixture.read(file).await, old_text(), "{file}");
        assert!(!fixture.is_cached(file), "{file}");
    }
    for file in ["dangling", "folder/missing", "alias/missing"] {
        assert_eq!(fixture.read(file).await, Err(Reason::NotFound), "{file}");
        assert!(!fixture.is_cached(file), "{file}");
    }
    assert!(fixture.read("loop").await.is_err());
    assert_eq!(fixture.search("folder", "first").await, "first");
    assert_eq!(fixture.search("folder", "second").await, "second");

    fs::write(outside.join("x"), "new").unwrap();
    fs::write(outside.join("missing"), "new").unwrap();
    fs::write(fixture.path("inside/x"), "new").unwrap();
    for file in ["folder/x", "file", "alias/x", "dangling", "folder/missing"] {
        assert_eq!(fixture.read(file).await, new_text(), "{file}");
    }
    // Of all that, only changes inside of the root are reported.
    let mut events = fixture.runtime.journal().subscribe_after(started.cursor());
    fixture.settle().await;
    let shown = |path: &str| fixture.path(path).display().to_string();
    let both = format!("2 paths under {}", fixture.root.display());
    let expected = [shown("inside/x"), shown("mark-0"), both];
    while let Some(Delivery::Event(record)) = events.try_next().await {
        let pattern = record.fields["pattern"].as_str().unwrap();
        assert!(expected.iter().any(|expected| expected == pattern), "{pattern}");
    }
}

#[tokio::test]
async fn file_replaced_by_symlink_is_no_longer_cached() {
    let mut fixture = WatchFixture::with_files(&["folder/a"]).await;
    let outside = fixture.base.join("outside");
    write(&outside.join("a"), "new");
    fixture.read_and_cache(&["folder/a"]).await;
    fs::rename(fixture.path("folder"), fixture.base.join("gone")).unwrap();
    symlink(&outside, fixture.path("folder")).unwrap();
    fixture.settle().await;
    assert_eq!(fixture.read("folder/a").await, new_text());
    assert!(!fixture.is_cached("folder/a"));
}

#[tokio::test]
async fn hard_linked_file_is_not_cached() {
    let fixture = WatchFixture::with_root(|root| {
        write(&root.join("a"), "old");
        fs::hard_link(root.join("a"), root.with_extension("twin")).unwrap();
    });
    let mut fixture = fixture.await;
    fixture.next_event("watch_started").await;
    assert_eq!(fixture.read("a").await, old_text());
    assert!(!fixture.is_cached("a"));
    fs::write(fixture.root.with_extension("twin"), "new").unwrap();
    assert_eq!(fixture.read("a").await, new_text());
}

#[tokio::test]
async fn change_without_event_is_read_after_ttl() {
    let fixture = WatchFixture::with_files(&["a"]).await;
    fixture.read_and_cache(&["a"]).await;
    fs::hard_link(fixture.path("a"), fixture.base.join("twin")).unwrap();
    fs::write(fixture.base.join("twin"), "new").unwrap();
    pause();
    advance(OPTIONS.ttl).await;
    assert_eq!(fixture.read("a").await, new_text());
    assert!(!fixture.is_cached("a"));
}

#[tokio::test]
async fn path_outside_roots_or_unusable_is_not_cached() {
    let fixture = WatchFixture::with_files(&["a"]).await;
    let no_text = fixture.root.join(OsStr::from_bytes(b"\xff"));
    let paths = [fixture.base.join("b"), fixture.root.join("../root/a"), no_text];
    for path in paths {
        for text in ["old", "new"] {
            fs::write(&path, text).unwrap();
            assert_eq!(fixture.read_at(&path).await.as_deref(), Ok(text), "{path:?}");
            assert!(!fixture.files.is_cached(&path), "{path:?}");
        }
    }
    assert_eq!(fixture.read_at(&fixture.base.join("missing")).await, Err(Reason::NotFound));
}

#[tokio::test]
async fn non_file_or_relative_path_errors_without_path_text() {
    let fixture = WatchFixture::with_files(&["folder/a"]).await;
    let made = std::process::Command::new("mkfifo").arg(fixture.path("pipe")).status().unwrap();
    assert!(made.success());
    for path in [fixture.root.clone(), fixture.path("folder"), fixture.path("pipe"), "folder/a".into()] {
        let error = fixture.files.read_bytes(&path).await.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest, "{path:?}");
        assert!(!error.message.contains('/') && !error.message.contains("folder/a"), "{}", error.message);
        assert!(error.details.is_some());
    }
    let large = fs::File::create(fixture.path("large")).unwrap();
    large.set_len(mainstay_actors::cache::FILE_BYTES_MAX + 1).unwrap();
    let error = fixture.files.read_bytes(&fixture.path("large")).await.unwrap_err();
    assert!(error.message.contains("too large"), "{error:?}");
}

#[tokio::test]
async fn oversized_file_is_read_and_not_cached() {
    let fixture = WatchFixture::with_files(&["a"]).await;
    let large = fs::File::create(fixture.path("large")).unwrap();
    large.set_len(65 << 20).unwrap();
    assert_eq!(fixture.files.read_bytes(&fixture.path("large")).await.unwrap().len(), 65 << 20);
    assert!(!fixture.is_cached("large"));
}
