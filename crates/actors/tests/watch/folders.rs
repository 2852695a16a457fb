//! Folders that are renamed, moved in, and created again.

use super::*;

#[tokio::test]
async fn renamed_folder_invalidates_both_names_and_is_watched() {
    let mut fixture = WatchFixture::with_files(&["before/deep/a", "beside/b"]).await;
    fixture.read_and_cache(&["before/deep/a", "after/deep/a", "beside/b"]).await;
    assert_eq!(fixture.read("after/deep/a").await, Err(Reason::NotFound));
    for folder in ["before", "before/deep", "after/deep", "beside", ""] {
        fixture.search(folder, "found before").await;
    }
    fs::rename(fixture.path("before"), fixture.path("after")).unwrap();
    fixture.settle().await;
    assert!(fixture.is_cached("beside/b"));
    assert_eq!(fixture.read("before/deep/a").await, Err(Reason::NotFound));
    assert_eq!(fixture.read("after/deep/a").await, old_text());
    for folder in ["before", "before/deep", "after/deep", ""] {
        assert_eq!(fixture.search(folder, "found after").await, "found after", "{folder}");
    }
    assert_eq!(fixture.search("beside", "found after").await, "found before");

    fixture.assert_watched("after/deep/a").await;
}

#[tokio::test]
async fn new_or_moved_in_folder_is_watched() {
    let mut fixture = WatchFixture::with_files(&["a"]).await;
    let beside = fixture.base.join("beside");
    for n in 0..20 {
        write(&beside.join(format!("{n}/deep/x")), "old");
    }
    fs::rename(&beside, fixture.path("moved")).unwrap();
    fs::create_dir_all(fixture.path("made/1/2/3/4")).unwrap();
    write(&fixture.path("made/1/2/3/4/x"), "old");
    fixture.settle().await;
    for file in ["moved/0/deep/x", "moved/19/deep/x", "made/1/2/3/4/x"] {
        fixture.assert_watched(file).await;
    }
}

#[tokio::test]
async fn recreated_folder_is_watched() {
    let mut fixture = WatchFixture::with_files(&["folder/a"]).await;
    fixture.read_and_cache(&["folder/a"]).await;
    fs::remove_dir_all(fixture.path("folder")).unwrap();
    fixture.wait_until_dropped("folder/a").await;
    assert_eq!(fixture.read("folder/a").await, Err(Reason::NotFound));
    write(&fixture.path("folder/a"), "old");
    fixture.settle().await;
    fixture.assert_watched("folder/a").await;
}
