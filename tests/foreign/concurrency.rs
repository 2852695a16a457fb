//! Many requests at once, and a server that ends in order among them.

use futures_util::future::join_all;
use mainstay::Request;
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, retries_for_restart};
use crate::server::ServerSpec;

against!(the_server_never_sees_more_requests_at_once_than_the_limit: uvicorn, h11, node);
async fn the_server_never_sees_more_requests_at_once_than_the_limit(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    // The server lets them go in groups of five, so fewer than five at once would never end.
    let requests = (0..150).map(|_| scene.request(Request::get("/crowd?group=5")));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().attempts, 1);
    }
    assert_eq!(
        scene.request_json(Request::get("/peak")).await,
        json!({ "peak": 5, "total": 150, "here": 0 })
    );
}

against!(requests_that_were_called_off_leave_room_for_others: uvicorn, h11, node);
async fn requests_that_were_called_off_leave_room_for_others(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let held = join_all((0..5).map(|_| scene.request(Request::post("/hold/off").body("{}"))));
    tokio::select! {
        answers = held => panic!("{answers:?}"),
        () = async { for _ in 0..5 { server.expect_line("holding off").await } } => (),
    }
    // The server hears of it, and can stop working for nobody.
    for _ in 0..5 {
        server.expect_line("released off").await;
    }
    let requests = (0..50).map(|_| scene.request(Request::get("/crowd?group=5")));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().attempts, 1);
    }
    assert_eq!(scene.request_json(Request::get("/peak")).await["peak"], 5);
}

against!(a_server_that_ends_in_order_loses_no_request_and_the_rest_comes_later: uvicorn, h11);
async fn a_server_that_ends_in_order_loses_no_request_and_the_rest_comes_later(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let scene = ForeignFixture::start(&server, retries_for_restart).await;
    // Five are under way when it is asked to end, and it lets them finish; three wait for their turn.
    let gets = join_all((0..8).map(|_| scene.request(Request::get("/slow?ms=500&name=one"))));
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
