//! Files: reads, searches and changes.

use super::*;

#[cfg(unix)]
#[tokio::test]
async fn files_are_read_in_watched_folders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::write(root.join("text"), "hello").unwrap();
    std::fs::write(root.join("bytes"), [0, 0xff]).unwrap();
    std::fs::File::create(root.join("huge")).unwrap().set_len((16 << 20) + 1).unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link")).unwrap();
    let mut config = Config::default();
    config.cache.watch = vec![root.clone()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut session = TestSession::of(&mainstay);
    let file = |path: &std::path::Path| json!({"type": "cache", "action": "file", "path": path});
    assert_eq!(session.command(file(&root.join("text"))).await, json!({"text": "hello"}));
    assert_eq!(session.command(file(&root.join("bytes"))).await, json!({"base64": "AP8="}));
    for (path, reason) in [
        (root.join("missing"), "not_found"),
        (root.join("huge"), "response_too_large"),
        (root.join("link"), "forbidden"),
        (root.join("../").join(outside.path().file_name().unwrap()).join("secret"), "forbidden"),
        (outside.path().join("secret"), "forbidden"),
        (outside.path().join("missing"), "forbidden"),
        ("text".into(), "forbidden"),
    ] {
        session.commands.send(with_id(1, &file(&path))).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], reason, "{}", path.display());
    }
    mainstay.shutdown().await;
}

#[tokio::test]
async fn search_of_folder_is_kept_until_a_change() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir(root.join("notes")).unwrap();
    std::fs::write(root.join("notes/a.md"), "a").unwrap();
    let mut config = Config::default();
    config.cache.watch = vec![root.clone()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut events = mainstay.events();
    while !matches!(events.next().await, Some(Delivery::Event(record)) if record.kind == "watch_started") {}
    let mut session = TestSession::of(&mainstay);
    let search = |folder: &std::path::Path, query: &str| json!({"type": "cache", "action": "search", "folder": folder, "query": query});
    let found = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| root.join("notes").join(name)).collect();
        json!({"paths": paths, "is_partial": false})
    };
    let hits = || mainstay.cache().stats().hits;
    assert_eq!(session.command(search(&root, "**/*.md")).await, found(&["a.md"]));
    let before = hits();
    assert_eq!(session.command(search(&root, "**/*.md")).await, found(&["a.md"]));
    assert_eq!(hits(), before + 1, "the result was kept");
    assert_eq!(session.command(search(&root.join("notes"), "*.txt")).await, found(&[]));
    let mut changes = mainstay.files();
    std::fs::write(root.join("notes/b.md"), "b").unwrap();
    timeout(TEST_TIMEOUT, changes.next()).await.unwrap().unwrap();
    assert_eq!(session.command(search(&root, "**/*.md")).await, found(&["a.md", "b.md"]));
    for (folder, query, reason) in [
        (root.join("missing"), "*", "not_found"),
        (root.join("notes/a.md"), "*", "invalid_request"),
        (root.clone(), "[", "invalid_request"),
        (outside.path().to_owned(), "*", "forbidden"),
        (root.join(".."), "*", "forbidden"),
        ("notes".into(), "*", "forbidden"),
    ] {
        session.commands.send(with_id(1, &search(&folder, query))).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], reason, "{} {query}", folder.display());
    }
    mainstay.shutdown().await;
}

#[tokio::test]
async fn changes_of_files_are_pushed_to_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    let mut config = Config::default();
    config.cache.watch = vec![root.clone()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut events = mainstay.events();
    while !matches!(events.next().await, Some(Delivery::Event(record)) if record.kind == "watch_started") {}
    let mut session = TestSession::of(&mainstay);
    let files = |action: &str| json!({"type": "files", "action": action});
    assert_eq!(session.command(files("listen")).await, Value::Null);
    std::fs::write(root.join("new"), "new").unwrap();
    let change = loop {
        let change = session.receive().await;
        // The folder itself changes as well.
        if change["file"]["path"] == json!(root.join("new")) {
            break change;
        }
    };
    assert_eq!(change["file"]["kind"], "created");
    assert_eq!(session.command(files("unlisten")).await, Value::Null);
    mainstay.shutdown().await;
}
