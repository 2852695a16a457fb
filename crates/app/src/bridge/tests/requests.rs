//! Requests: their numbers, their order, their cancellation.

use super::*;

#[tokio::test]
async fn request_number_comes_before_its_reply() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let request = json!({"type": "request", "method": "POST", "path": "/api/echo", "body": 1});
    session.commands.send(with_id(5, &request)).await.unwrap();
    let mut next = async || serde_json::from_str::<Value>(&session.texts.recv().await.unwrap()).unwrap();
    let (accepted, reply) = (next().await, next().await);
    assert_eq!(accepted["request"], 5);
    assert_eq!(accepted["accepted"]["request_id"], reply["ok"]["request_id"], "{accepted} {reply}");
    fixture.stop().await;
}

/// Sends a request that gets no answer.
async fn hold_request(fixture: &BridgeFixture) -> Value {
    fixture.fault(json!({"kind": "slow", "path": "/api/files", "ms": 3_600_000, "times": 1000})).await;
    json!({"type": "request", "method": "GET", "path": "/api/files"})
}

#[tokio::test]
async fn request_is_cancelled_once_by_its_command_id() {
    let mut fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::open(&fixture);
    session.commands.send(with_id(8, &request)).await.unwrap();
    fixture.wait_for_event("request_started").await;
    session.commands.send(with_id(9, &json!({"type": "cancel", "request": 8}))).await.unwrap();
    let [cancelled, cancel] = session.two_replies().await;
    assert_eq!((&cancelled["id"], &cancelled["error"]["reason"]), (&json!(8), &json!("cancelled")));
    assert_eq!(cancelled["error"]["attempts"], 1, "it was in flight: {cancelled}");
    assert!(cancelled["error"]["request_id"].is_u64(), "{cancelled}");
    assert_eq!((&cancel["id"], &cancel["ok"]), (&json!(9), &json!({"cancelled": true})));
    assert_eq!(
        fixture.wait_for_event("request_failed").await.fields["reason"],
        "cancelled",
        "and at the queue as well"
    );
    session.commands.send(with_id(10, &json!({"type": "cancel", "request": 8}))).await.unwrap();
    assert_eq!(session.receive().await["ok"], json!({"cancelled": false}));
    fixture.stop().await;
}

#[tokio::test]
async fn request_in_flight_at_the_stop_learns_that_the_runtime_stops() {
    let mut fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::with_room(&fixture.mainstay, 256);
    session.commands.send(with_id(1, &request)).await.unwrap();
    fixture.wait_for_event("request_started").await;
    assert!(!fixture.mainstay.is_stopping());
    fixture.mainstay.shutdown().await;
    let late = json!({"type": "request", "method": "GET", "path": "/api/files"});
    session.commands.send(with_id(2, &late)).await.unwrap();
    for reply in session.two_replies().await {
        let error = &reply["error"];
        assert_eq!(error["reason"], "stopped", "{reply}");
        assert!(error["message"].as_str().unwrap().starts_with("The runtime is stopping"), "{reply}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn waiting_requests_do_not_block_other_commands() {
    let fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::with_room(&fixture.mainstay, 256);
    for id in 1..=200 {
        session.commands.send(with_id(id, &request)).await.unwrap();
    }
    let reconnect = json!({"type": "connection", "action": "reconnect"});
    session.commands.send(with_id(201, &reconnect)).await.unwrap();
    assert_eq!(session.receive().await["id"], 201);
    fixture.stop().await;
}

#[tokio::test]
async fn request_of_another_session_is_listed_moved_and_cancelled() {
    let mut fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::with_room(&fixture.mainstay, 16);
    let mut other = TestSession::open(&fixture);
    // Five run, and the sixth waits.
    for id in 1..=6 {
        session.commands.send(with_id(id, &request)).await.unwrap();
    }
    for _ in 1..=5 {
        fixture.wait_for_event("request_started").await;
    }
    let list = json!({"type": "requests", "action": "show"});
    let waiting = loop {
        let listed = other.command(list.clone()).await;
        let waiting =
            listed.as_array().unwrap().iter().find(|request| request["phase"] == "waiting").cloned();
        if let Some(waiting) = waiting {
            break waiting;
        }
    };
    assert_eq!((&waiting["path"], &waiting["priority"]), (&json!("/api/files"), &json!("normal")));
    let id = &waiting["request_id"];
    let prioritize =
        json!({"type": "requests", "action": "prioritize", "request_id": id, "priority": "high"});
    assert_eq!(other.command(prioritize.clone()).await, json!({"prioritized": true}));
    let listed = other.command(list).await;
    let is_moved = |request: &Value| request["request_id"] == *id && request["priority"] == "high";
    assert!(listed.as_array().unwrap().iter().any(is_moved), "{listed}");
    let cancel = json!({"type": "requests", "action": "cancel", "request_id": id});
    assert_eq!(other.command(cancel.clone()).await, json!({"cancelled": true}));
    assert_eq!(session.receive().await["error"]["reason"], "cancelled");
    assert_eq!(other.command(cancel).await, json!({"cancelled": false}));
    assert_eq!(other.command(prioritize).await, json!({"prioritized": false}));
    fixture.stop().await;
}
