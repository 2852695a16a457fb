//! Many requests at once, and a server that ends in order among them.

use futures_util::future::join_all;
use mainstay::Request;
use serde_json::json;

use crate::against;
use crate::scene::{Scene, outlasting_a_restart};
use crate::server::Foreign;

against!(the_server_never_sees_more_requests_at_once_than_the_limit: uvicorn, h11, node);
async fn the_server_never_sees_more_requests_at_once_than_the_limit(foreign: Foreign) {
    let server = foreign.start().await;
    let scene = Scene::against(&server, |_| ()).await;
    // The server lets them go in groups of five, so fewer than five at once would never end.
    let requests = (0..150).map(|_| scene.ask(Request::get("/crowd?group=5")));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().attempts, 1);
    }
    assert_eq!(scene.json(Request::get("/peak")).await, json!({ "peak": 5, "total": 150, "here": 0 }));
}

against!(requests_that_were_called_off_leave_room_for_others: uvicorn, h11, node);
async fn requests_that_were_called_off_leave_room_for_others(foreign: Foreign) {
    let mut server = foreign.start().await;
    let scene = Scene::against(&server, |_| ()).await;
    let held = join_all((0..5).map(|_| scene.ask(Request::post("/hold/off").body("{}"))));
    tokio::select! {
        answers = held => panic!("{answers:?}"),
        () = async { for _ in 0..5 { server.says("holding off").await } } => (),
    }
    // The server hears of it, and can stop working for nobody.
    for _ in 0..5 {
        server.says("released off").await;
    }
    let requests = (0..50).map(|_| scene.ask(Request::get("/crowd?group=5")));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().attempts, 1);
    }
    assert_eq!(scene.json(Request::get("/peak")).await["peak"], 5);
}

against!(a_server_that_ends_in_order_loses_no_request_and_the_rest_comes_later: uvicorn, h11);
async fn a_server_that_ends_in_order_loses_no_request_and_the_rest_comes_later(foreign: Foreign) {
    let mut server = foreign.start().await;
    let scene = Scene::against(&server, outlasting_a_restart).await;
    // Five are under way when it is asked to end, and it lets them finish; three wait for their turn.
    let gets = join_all((0..8).map(|_| scene.ask(Request::get("/slow?ms=500&name=one"))));
    let (answers, _server) = tokio::join!(gets, async {
        for _ in 0..5 {
            server.says("taken one").await;
        }
        server.ask_to_end().await;
        let (_, gone) = server.ended().await;
        gone.back_with([]).await
    });
    let attempts: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().attempts).collect();
    assert_eq!(attempts[..5], [1, 1, 1, 1, 1], "{attempts:?}");
}
