//! Tests a WebSocket that is lost and restored: each event arrives once, whatever ends the socket.

use mainstay::Request;
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime};
use crate::server::ServerSpec;
use crate::support::assert_members;

against!(events_come_once_and_in_order(connected): websockets, uvicorn, h11, node);
async fn events_come_once_and_in_order((_server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "emit", "count": 500 })).await;
    assert_eq!(fixture.seqs().await, (1..=500).collect::<Vec<u64>>());
    assert_eq!(fixture.count("connection_gap"), 0);
}

against!(events_missed_while_disconnected_are_resumed(connected): websockets, uvicorn, h11, node);
async fn events_missed_while_disconnected_are_resumed((_server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "emit", "count": 3 })).await;
    assert_eq!(fixture.seqs().await, [1, 2, 3]);
    fixture.send_command(json!({ "do": "drop", "count": 2 })).await;
    let lost = fixture.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "connection_reset", "there was no close frame: {lost}");
    fixture.wait_for_connection("connected").await;
    assert_eq!(fixture.seqs().await, [4, 5]);
    assert_eq!(fixture.count("connection_gap"), 0);
}

against!(live_and_resumed_events_are_delivered_once(connected): websockets, uvicorn, h11, node);
async fn live_and_resumed_events_are_delivered_once((_server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "emit", "count": 3 })).await;
    assert_eq!(fixture.seqs().await, [1, 2, 3]);
    // Two events come meanwhile, and two more with the handshake, before the server reads the request to resume.
    fixture.send_command(json!({ "do": "drop", "count": 2, "at_next": 2 })).await;
    let gap = fixture.wait_for_event("connection_gap").await;
    assert_eq!((&gap["after"], &gap["next"]), (&json!(3), &json!(6)));
    assert_eq!(fixture.seqs().await, [6, 7, 4, 5]);
}

against!(server_that_was_killed_and_comes_back_is_resumed(connected): websockets, uvicorn, h11, node);
async fn server_that_was_killed_and_comes_back_is_resumed((server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "emit", "count": 3 })).await;
    assert_eq!(fixture.seqs().await, [1, 2, 3]);
    let gone = server.kill().await;
    fixture.wait_for_connection("reconnecting").await;
    fixture.wait_for("a refused attempt", |event| event["reason"] == "connection_refused").await;
    // The events survive the server, as in a database.
    let _server = gone.restart_with(["--first", "2", "--last", "6"]).await;
    fixture.wait_for_connection("connected").await;
    assert_eq!(fixture.seqs().await, [4, 5, 6]);
    assert_eq!(fixture.count("connection_gap"), 0);
}

against!(dropped_or_restarted_sequence_is_a_gap: websockets, uvicorn, h11, node);
async fn dropped_or_restarted_sequence_is_a_gap(foreign: ServerSpec) {
    let server = foreign.clone().with(["--last", "3"]).start().await;
    let mut fixture = ForeignFixture::start_connected(&server, |_| ()).await;
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [4]);

    let server = server.kill().await.restart_with(["--first", "8", "--last", "9"]).await;
    let gap = fixture.wait_for_event("connection_gap").await;
    assert_eq!((&gap["after"], &gap["next"]), (&json!(4), &json!(8)));
    assert_eq!(fixture.seqs().await, [8, 9]);

    // The server has forgotten everything and counts from the start.
    let _server = server.kill().await.restart_with(["--first", "1", "--last", "0"]).await;
    fixture.wait_for_connection("connected").await;
    fixture.send_command(json!({ "do": "emit", "count": 2 })).await;
    let gap = fixture.wait_for_event("connection_gap").await;
    assert_eq!((&gap["after"], &gap["next"]), (&json!(9), &json!(1)));
    assert_eq!(fixture.seqs().await, [1, 2]);
}

against!(close_that_invites_back_is_followed_by_a_reconnect(connected): websockets, uvicorn, h11, node);
async fn close_that_invites_back_is_followed_by_a_reconnect((_server, mut fixture): ServerAndRuntime) {
    for (code, reason) in [
        (1000, "connection_closed"),
        (1001, "connection_closed"),
        (1011, "server_error"),
        (1012, "unavailable"),
        (1013, "unavailable"),
        (4000, "connection_closed"),
    ] {
        fixture.send_command(json!({ "do": "close", "code": code, "reason": "see you" })).await;
        let lost = fixture.wait_for_connection("reconnecting").await;
        assert_members(&lost, &json!({ "from": "connected", "reason": reason }));
        assert_eq!(lost["error"]["close_code"], code, "{lost}");
        assert!(lost["error"]["details"].as_str().unwrap().contains("see you"), "{lost}");
        fixture.wait_for_connection("connected").await;
    }
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [1]);
}

against!(localhost_connects_over_ipv4_or_ipv6: uvicorn, node);
async fn localhost_connects_over_ipv4_or_ipv6(foreign: ServerSpec) {
    let server = foreign.start().await;
    let name = server.url().replace("127.0.0.1", "localhost");
    let mut fixture = ForeignFixture::start_connected(&server, |config| config.backend.url = name).await;
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [1]);
    assert_eq!(fixture.request_json(Request::get("/echo")).await["method"], "GET");
}

against!(server_that_ends_in_order_is_followed_by_a_reconnect(connected): uvicorn, h11);
async fn server_that_ends_in_order_is_followed_by_a_reconnect((server, mut fixture): ServerAndRuntime) {
    server.terminate().await;
    let lost = fixture.wait_for_connection("reconnecting").await;
    assert_eq!(
        (&lost["reason"], &lost["error"]["close_code"]),
        (&json!("unavailable"), &json!(1012)),
        "{lost}"
    );
    let (_, gone) = server.wait().await;
    let _server = gone.restart_with([]).await;
    fixture.wait_for_connection("connected").await;
}

// The endpoint raises, or the socket is reset.
against!(broken_socket_is_a_lost_connection(connected): uvicorn, h11, node);
async fn broken_socket_is_a_lost_connection((server, mut fixture): ServerAndRuntime) {
    let fault = if server.spec.is_node() { "reset" } else { "raise" };
    fixture.send_command(json!({ "do": fault })).await;
    let lost = fixture.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "connection_reset", "{fault}: {lost}");
    fixture.wait_for_connection("connected").await;
}

against!(server_sees_each_close_done_in_order(connected): websockets, node);
async fn server_sees_each_close_done_in_order((mut server, mut fixture): ServerAndRuntime) {
    // The runtime answers a close with the same code.
    for code in [1000, 1001, 4000] {
        fixture.send_command(json!({ "do": "close", "code": code })).await;
        server.expect_line(&format!("closed {code}")).await;
        fixture.wait_for_connection("connected").await;
    }
    if server.spec.is_node() {
        // A close without a code.
        fixture.send_command(json!({ "do": "close" })).await;
        server.expect_line("closed 1005").await;
        let back = fixture.wait_for_connection("connected").await;
        assert_eq!(back["reason"], "opened");
    }
    // The runtime's own close has a code, and the server answers it.
    fixture.mainstay.connection().disconnect().await.unwrap();
    server.expect_line("closed 1000").await;
    fixture.mainstay.connection().reconnect().await.unwrap();
    fixture.wait_for_connection("connected").await;
    fixture.mainstay.shutdown().await;
    server.expect_line("closed 1000").await;
}
