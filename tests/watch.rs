//! Tests files and searches of watched folders, through the embedder's handle.

mod support;

use bytes::Bytes;
use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::Config;
use mainstay::journal::Delivery;
use mainstay::{Cache, Error, Mainstay, Subscription};
use support::TEST_TIMEOUT;
use tokio::time::timeout;

async fn wait_for_fields(
    events: &mut Subscription,
    kind: &str,
) -> serde_json::Map<String, serde_json::Value> {
    loop {
        if let Some(Delivery::Event(event)) = timeout(TEST_TIMEOUT, events.next()).await.unwrap()
            && event.kind == kind
        {
            return event.fields;
        }
    }
}

async fn search(cache: &Cache, folder: &std::path::Path, says: &'static str) -> Result<Bytes, Error> {
    cache.search(folder, "words", move || async move { Ok(Bytes::from_static(says.as_bytes())) }).await
}

#[tokio::test]
async fn watched_file_is_cached_until_it_changes() {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path(), folder.path().join("notes.txt"));
    std::fs::write(&file, "old").unwrap();
    let mut config = Config::default();
    config.backend.url = backend.url();
    config.cache.watch = vec![root.to_owned()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut events = mainstay.events();
    assert_eq!(wait_for_fields(&mut events, "watch_started").await["root"], root.display().to_string());
    let cache = mainstay.cache();
    assert_eq!(cache.watched(), [(root.to_owned(), true)]);
    let shown = mainstay.status().await.cache.folders;
    assert_eq!((&shown[0].path, shown[0].is_watched), (&root.display().to_string(), true));
    assert_eq!(cache.file(&file).await.unwrap(), "old");
    assert_eq!(cache.file(&file).await.unwrap(), "old");
    assert_eq!(search(&cache, root, "found before").await.unwrap(), "found before");
    assert_eq!(search(&cache, root, "not asked").await.unwrap(), "found before");
    assert_eq!(cache.stats().loads, 2);

    // The change is a rename, and so one event.
    std::fs::write(folder.path().with_extension("beside"), "new").unwrap();
    std::fs::rename(folder.path().with_extension("beside"), &file).unwrap();
    let invalidated = wait_for_fields(&mut events, "cache_invalidated").await;
    assert_eq!((&invalidated["by"], &invalidated["entries"]), (&"files".into(), &2.into()));
    assert_eq!(cache.file(&file).await.unwrap(), "new");
    assert_eq!(search(&cache, root, "found after").await.unwrap(), "found after");
    mainstay.shutdown().await;
    assert_eq!(cache.watched(), [(root.to_owned(), false)]);
    assert_eq!(cache.file(&file).await.unwrap(), "new", "it is read all the same");
    backend.stop().await;
}
