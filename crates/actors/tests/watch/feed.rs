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

/// Returns the changes until now, sorted by path, without those that say again that something was modified.
async fn changes_until_now(fixture: &mut WatchFixture) -> Vec<(FileChangeKind, String)> {
    fixture.settle().await;
    // This one comes in a later batch.
    write(&fixture.path("end"), "");
    let mut changes = changes_until(fixture, Created).await;
    while changes.last() != Some(&change(Created, "end")) {
        changes.extend(changes_until(fixture, Created).await);
    }
    changes.pop();
    changes.retain(|(kind, path)| *kind != Modified && !path.starts_with("mark-"));
    changes.sort_by(|(_, a), (_, b)| a.cmp(b));
    changes
}

#[tokio::test]
async fn feed_has_everything_in_new_and_moved_in_folders_once() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    let mut expected = vec![];
    for folder in ["new", "new/deep", "new/deep/er", "moved"] {
        expected.push(change(Created, folder));
        if folder == "moved" {
            continue;
        }
        fs::create_dir(fixture.path(folder)).unwrap();
        for n in 0..10 {
            let file = format!("{folder}/{n}");
            fs::write(fixture.path(&file), "x").unwrap();
            expected.push(change(Created, &file));
        }
    }
    write(&fixture.base.join("beside/deep/b"), "x");
    fs::rename(fixture.base.join("beside"), fixture.path("moved")).unwrap();
    expected.extend(["moved/deep", "moved/deep/b"].map(|path| change(Created, path)));
    expected.sort_by(|(_, a), (_, b)| a.cmp(b));
    assert_eq!(changes_until_now(&mut fixture).await, expected);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn feed_has_moves_and_removals_of_folders_once() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    // Folders that are new while the root is watched report their own moves and ends, too.
    for folder in ["d", "out", "tree"] {
        write(&fixture.path(folder).join("x"), "x");
    }
    changes_until_now(&mut fixture).await;
    fs::remove_file(fixture.path("end")).unwrap();
    changes_until(&mut fixture, Removed).await;
    fs::rename(fixture.path("d"), fixture.path("d2")).unwrap();
    fs::rename(fixture.path("out"), fixture.base.join("above/out")).unwrap();
    fs::rename(fixture.base.join("above/out"), fixture.path("in")).unwrap();
    fs::remove_dir_all(fixture.path("tree")).unwrap();
    let expected = [
        change(Renamed, "d -> d2"),
        change(Created, "in"),
        change(Created, "in/x"),
        change(Removed, "out"),
        change(Removed, "tree"),
        change(Removed, "tree/x"),
    ];
    assert_eq!(changes_until_now(&mut fixture).await, expected);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn feed_has_files_made_right_after_a_rename_under_the_new_name() {
    let mut fixture = WatchFixture::with_files(&["d10/old"]).await;
    fixture.settle().await;
    for n in 11..=30 {
        let to = format!("d{n}");
        fs::rename(fixture.path(&format!("d{}", n - 1)), fixture.path(&to)).unwrap();
        let mut expected = vec![change(Renamed, &format!("d{} -> {to}", n - 1))];
        for file in 0..5 {
            let file = format!("{to}/{n}-{file}");
            fs::write(fixture.path(&file), "x").unwrap();
            expected.push(change(Created, &file));
        }
        assert_eq!(changes_until_now(&mut fixture).await, expected);
        fs::remove_file(fixture.path("end")).unwrap();
        changes_until(&mut fixture, Removed).await;
    }
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
