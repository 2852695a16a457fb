//! Tests that files go up and responses come down as streams, through the whole tree.

mod support;

use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::Config;
use mainstay::{Mainstay, Request};
use serde_json::json;
use support::{TEST_TIMEOUT, next_of_kind};
use tokio::time::timeout;

#[tokio::test]
async fn file_upload_and_download_report_progress_and_one_event() {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let mut config = Config::default();
    config.backend.url = backend.url();
    let mainstay = Mainstay::builder().config(config).verbose(true).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
    let content: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    std::fs::write(&original, &content).unwrap();
    let mut request = Request::post("/api/echo").file(&original).build().unwrap();
    let mut progress = request.progress();
    let download = timeout(TEST_TIMEOUT, mainstay.open(request)).await.unwrap().unwrap();
    let id = download.request_id;
    assert_eq!(download.save_to(&copy).await, Ok(1_000_000));
    assert!(std::fs::read(&copy).unwrap() == content);
    let last = *progress.borrow_and_update();
    assert_eq!((last.sent, last.to_send), (1_000_000, Some(1_000_000)));
    assert_eq!((last.received, last.to_receive), (1_000_000, Some(1_000_000)));
    let mut events = mainstay.events();
    let done = next_of_kind(&mut events, "request_done").await;
    assert_eq!((&done.fields["request_id"], &done.fields["bytes"]), (&json!(id.0), &json!(1_000_000)));
    mainstay.shutdown().await;
    backend.stop().await;
}
