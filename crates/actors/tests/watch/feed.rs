//! The feed of changes to listeners.

use mainstay_actors::cache::watch::FileChangeKind::{self, Created, Modified, Removed, Renamed, Rescan};

use super::*;

/// Returns the changes until one of this kind, without those of the root itself.
async fn changes_until(fixture: &mut WatchFixture, last: FileChangeKind) -> Vec<(FileChangeKind, String)> {
    let mut changes = Vec::new();
    loop {
        let (kind, path, from) = fixture.next_change().await;
        assert_eq!(from.is_some(), kind == Renamed, "{path}");
        if !path.is_empty() || kind == Rescan {
            let from = from.map(|from| format!("{from} -> ")).unwrap_or_default();
            changes.push((kind, format!("{from}{path}")));
        }
        if kind == last {
            return changes;
        }
    }
}

fn change(kind: FileChangeKind, path: &str) -> (FileChangeKind, String) {
    (kind, path.to_owned())
}

#[tokio::test]
async fn feed_has_each_kind_of_change_after_its_entries_are_dropped() {
    let mut fixture = WatchFixture::with_files(&["a", "old"]).await;
    fixture.read_and_cache(&["a", "new"]).await;
    fs::write(fixture.path("new"), "new").unwrap();
    assert_eq!(changes_until(&mut fixture, Created).await, [change(Created, "new")]);
    assert_eq!(fixture.read("new").await, new_text(), "a listener reads the file as it is now");
    fs::write(fixture.path("a"), "new").unwrap();
    assert_eq!(changes_until(&mut fixture, Modified).await.last(), Some(&change(Modified, "a")));
    assert_eq!(fixture.read("a").await, new_text());
    fs::remove_file(fixture.path("a")).unwrap();
    assert_eq!(changes_until(&mut fixture, Removed).await.last(), Some(&change(Removed, "a")));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn feed_has_a_rename_with_both_paths() {
    let mut fixture = WatchFixture::with_files(&["old"]).await;
    fs::rename(fixture.path("old"), fixture.path("other")).unwrap();
    assert_eq!(changes_until(&mut fixture, Renamed).await.last(), Some(&change(Renamed, "old -> other")));
}

#[tokio::test]
async fn feed_asks_to_rescan_when_a_root_is_lost_and_regained() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    fs::rename(&fixture.root, fixture.base.join("gone")).unwrap();
    changes_until(&mut fixture, Rescan).await;
    write(&fixture.path("a"), "new");
    fixture.next_event("watch_regained").await;
    changes_until(&mut fixture, Rescan).await;
    assert_eq!(fixture.read("a").await, new_text());
}
