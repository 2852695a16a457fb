//! Tests that files go up and responses come down as streams, through the whole tree.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::Config;
use mainstay::transport::{ResponseBody, StreamingResponse, Transport, TransportError};
use mainstay::{Mainstay, Request};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::json;
use support::{TEST_TIMEOUT, next_of_kind};
use tokio::time::timeout;

async fn start_backend() -> (Backend, Config) {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let mut config = Config::default();
    config.backend.url = backend.url();
    (backend, config)
}

#[tokio::test]
async fn file_upload_and_download_report_progress_and_one_event() {
    let (backend, config) = start_backend().await;
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

/// A backend whose responses begin and never end.
struct EndlessTransport;

impl Transport for EndlessTransport {
    fn send<'a>(
        &'a self,
        _: &'a Request,
        _: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let body = ResponseBody::new(stream::iter([Ok("part".into())]).chain(stream::pending()));
        let answer = StreamingResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            length: None,
            is_end_marked: true,
            is_redirected: false,
            body,
        };
        std::future::ready(Ok(answer)).boxed()
    }
}

#[tokio::test]
async fn an_answer_is_handed_out_before_its_end_has_come() {
    let (backend, config) = start_backend().await;
    let mainstay =
        Mainstay::builder().config(config).transport(Arc::new(EndlessTransport)).start().await.unwrap();
    let request = Request::get("/feed").build().unwrap();
    let mut download = timeout(TEST_TIMEOUT, mainstay.open(request)).await.unwrap().unwrap();
    assert_eq!(timeout(TEST_TIMEOUT, download.chunk()).await.unwrap().unwrap().unwrap(), "part");
    assert_eq!(mainstay.status().await.queue.stats.running, 1);
    drop(download);
    mainstay.shutdown().await;
    backend.stop().await;
}
