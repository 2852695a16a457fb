//! What no event would tell about is read, and not kept.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use mainstay_actors::error::Reason;
use mainstay_runtime::journal::Delivery;

use tokio::time::{advance, pause};

use crate::scene::{KEEPING, Scene, new, old, write};

#[tokio::test]
async fn what_a_symlink_leads_to_is_read_as_it_is_each_time_and_not_kept_or_watched() {
    let mut scene = Scene::before(|root| {
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
    let started = scene.told("watch_started").await;
    let outside = scene.root.parent().unwrap().join("outside");
    for file in ["folder/x", "file", "alias/x"] {
        assert_eq!(scene.read(file).await, old(), "{file}");
        assert!(!scene.keeps(file), "{file}");
    }
    for file in ["dangling", "folder/missing", "alias/missing"] {
        assert_eq!(scene.read(file).await, Err(Reason::NotFound), "{file}");
        assert!(!scene.keeps(file), "{file}");
    }
    assert!(scene.read("loop").await.is_err());
    assert_eq!(scene.search("folder", "first").await, "first");
    assert_eq!(scene.search("folder", "second").await, "second");

    fs::write(outside.join("x"), "new").unwrap();
    fs::write(outside.join("missing"), "new").unwrap();
    fs::write(scene.path("inside/x"), "new").unwrap();
    for file in ["folder/x", "file", "alias/x", "dangling", "folder/missing"] {
        assert_eq!(scene.read(file).await, new(), "{file}");
    }
    // Of all that, what is inside is told, and nothing else.
    let mut events = scene.runtime.journal().subscribe_after(started.seq);
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
async fn a_file_that_becomes_a_symlink_is_forgotten_and_not_kept_any_more() {
    let mut scene = Scene::with(&["folder/a"]).await;
    let outside = scene.top.join("outside");
    write(&outside.join("a"), "new");
    scene.keep(&["folder/a"]).await;
    fs::rename(scene.path("folder"), scene.top.join("gone")).unwrap();
    symlink(&outside, scene.path("folder")).unwrap();
    scene.settle().await;
    assert_eq!(scene.read("folder/a").await, new());
    assert!(!scene.keeps("folder/a"));
}

#[tokio::test]
async fn a_file_with_a_second_name_is_not_kept() {
    let scene = Scene::before(|root| {
        write(&root.join("a"), "old");
        fs::hard_link(root.join("a"), root.with_extension("twin")).unwrap();
    });
    let mut scene = scene.await;
    scene.told("watch_started").await;
    assert_eq!(scene.read("a").await, old());
    assert!(!scene.keeps("a"));
    fs::write(scene.root.with_extension("twin"), "new").unwrap();
    assert_eq!(scene.read("a").await, new());
}

#[tokio::test]
async fn what_no_event_tells_of_is_read_anew_when_its_time_is_over() {
    let scene = Scene::with(&["a"]).await;
    scene.keep(&["a"]).await;
    fs::hard_link(scene.path("a"), scene.top.join("twin")).unwrap();
    fs::write(scene.top.join("twin"), "new").unwrap();
    pause();
    advance(KEEPING.ttl).await;
    assert_eq!(scene.read("a").await, new());
    assert!(!scene.keeps("a"));
}

#[tokio::test]
async fn what_is_outside_of_the_roots_or_by_a_detour_or_no_text_is_read_and_not_kept() {
    let scene = Scene::with(&["a"]).await;
    let no_text = scene.root.join(OsStr::from_bytes(b"\xff"));
    let paths = [scene.top.join("b"), scene.root.join("../root/a"), no_text];
    for path in paths {
        for text in ["old", "new"] {
            fs::write(&path, text).unwrap();
            assert_eq!(scene.read_at(&path).await.as_deref(), Ok(text), "{path:?}");
            assert!(!scene.files.keeps(&path), "{path:?}");
        }
    }
    assert_eq!(scene.read_at(&scene.top.join("missing")).await, Err(Reason::NotFound));
}

#[tokio::test]
async fn what_is_no_file_or_named_by_half_is_refused_in_words_without_its_path() {
    let scene = Scene::with(&["folder/a"]).await;
    let made = std::process::Command::new("mkfifo").arg(scene.path("pipe")).status().unwrap();
    assert!(made.success());
    for path in [scene.root.clone(), scene.path("folder"), scene.path("pipe"), "folder/a".into()] {
        let error = scene.files.file(&path).await.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest, "{path:?}");
        assert!(!error.message.contains('/') && !error.message.contains("folder/a"), "{}", error.message);
        assert!(error.details.is_some());
    }
    let large = fs::File::create(scene.path("large")).unwrap();
    large.set_len(mainstay_actors::cache::FILE_BYTES_MAX + 1).unwrap();
    let error = scene.files.file(&scene.path("large")).await.unwrap_err();
    assert!(error.message.contains("too large"), "{error:?}");
}

#[tokio::test]
async fn a_file_that_the_cache_cannot_hold_is_read_and_not_kept() {
    let scene = Scene::with(&["a"]).await;
    let large = fs::File::create(scene.path("large")).unwrap();
    large.set_len(65 << 20).unwrap();
    assert_eq!(scene.files.file(&scene.path("large")).await.unwrap().len(), 65 << 20);
    assert!(!scene.keeps("large"));
}
