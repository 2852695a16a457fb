//! Tests many requests at once, and a server that shuts down gracefully among them.

use futures_util::future::join_all;
use mainstay::Request;
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime, retries_for_restart};
use crate::server::ServerSpec;

against!(server_never_sees_more_requests_at_once_than_the_limit(started): uvicorn, h11, node);
async fn server_never_sees_more_requests_at_once_than_the_limit((_server, fixture): ServerAndRuntime) {
    // The server releases them in groups of five, so fewer than five at once would never end.
    let requests = (0..150).map(|_| fixture.request(Request::get("/crowd?group=5")));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().attempts, 1);
    }
    assert_eq!(
        fixture.request_json(Request::get("/peak")).await,
        json!({ "peak": 5, "total": 150, "here": 0 })
    );
}

against!(cancelled_requests_free_their_slots(started): uvicorn, h11, node);
async fn cancelled_requests_free_their_slots((mut server, fixture): ServerAndRuntime) {
    let held = join_all((0..5).map(|_| fixture.request(Request::post("/hold/off").body("{}"))));
    tokio::select! {
        answers = held => panic!("{answers:?}"),
        () = async { for _ in 0..5 { server.expect_line("holding off").await } } => (),
    }
    // The server notices the cancel, and can stop its work.
    for _ in 0..5 {
        server.expect_line("released off").await;
    }
    let requests = (0..50).map(|_| fixture.request(Request::get("/crowd?group=5")));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().attempts, 1);
    }
    assert_eq!(fixture.request_json(Request::get("/peak")).await["peak"], 5);
}

against!(graceful_server_restart_loses_no_request: uvicorn, h11);
async fn graceful_server_restart_loses_no_request(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let fixture = ForeignFixture::start(&server, retries_for_restart).await;
    // Five are in flight when the server is asked to end, and it lets them finish; three wait.
    let gets = join_all((0..8).map(|_| fixture.request(Request::get("/slow?ms=500&name=one"))));
    let (answers, _server) = tokio::join!(gets, async {
        for _ in 0..5 {
            server.expect_line("taken one").await;
        }
        server.terminate().await;
        let (_, gone) = server.wait().await;
        gone.restart_with([]).await
    });
    let attempts: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().attempts).collect();
    assert_eq!(attempts[..5], [1, 1, 1, 1, 1], "{attempts:?}");
}
