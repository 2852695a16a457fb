//! Tests the WebSocket, and the faults of sockets.

use crate::*;

#[tokio::test]
async fn agent_changes_are_numbered_events() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    bench.message("hi").await;
    bench.agent_fault("hang_agent", "planner").await;
    bench.agent_fault("heal_agent", "planner").await;
    bench.agent_fault("crash_agent", "planner").await;
    bench.restart().await;
    bench.call(Method::PUT, "/api/agents/planner/state", Some(json!({}))).await;
    let event =
        |seq: u64, kind: &str| json!({ "type": "event", "seq": seq, "kind": kind, "agent": "planner" });
    let mut expected =
        ["agent_hung", "agent_healed", "agent_crashed", "agent_restarted", "agent_state_written"]
            .iter()
            .zip(2..)
            .map(|(kind, seq)| event(seq, kind))
            .collect::<Vec<_>>();
    expected[2]["errorCount"] = json!(1);
    expected[3]["errorCount"] = json!(1);
    let mut message = event(1, "agent_message");
    message["count"] = json!(1);
    message["message"] = json!({ "text": "hi" });
    expected.insert(0, message);
    for event in expected {
        assert_eq!(next_frame(&mut socket).await, event);
    }
}

#[tokio::test]
async fn each_event_follows_its_invalidation() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    send_frame(&mut socket, json!({ "type": "resume", "after": 0 })).await;
    bench.message("hi").await;
    let keys = ["http:/api/agents/planner/health", "http:/api/agents/planner/state"];
    assert_eq!(next_any_frame(&mut socket).await, json!({ "type": "invalidate", "keys": keys }));
    assert_eq!(next_any_frame(&mut socket).await["kind"], "agent_message");
}

#[tokio::test]
async fn client_that_resumes_gets_what_it_missed_in_order() {
    let bench = BackendClient::start().await;
    for _ in 0..5 {
        bench.message("while away").await;
    }
    let mut socket = bench.socket().await;
    // Already there when the resume comes, and yet later in the order.
    bench.message("before the resume").await;
    send_frame(&mut socket, json!({ "type": "resume", "after": 2 })).await;
    for seq in 3..=6 {
        assert_eq!(next_frame(&mut socket).await["seq"], seq);
    }
    let mut other = bench.socket().await;
    bench.message("live").await;
    assert_eq!(next_frame(&mut socket).await["seq"], 7);
    assert_eq!(next_frame(&mut other).await["seq"], 7, "a new client gets no old events");
}

#[tokio::test]
async fn invalid_frame_is_answered_with_valid_ones() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    let wrong =
        ["no json", "{}", r#"{"type":"sing"}"#, r#"{"type":"resume"}"#, r#"{"type":"resume","after":-1}"#];
    let mut messages: Vec<Message> = wrong.map(Message::text).into();
    messages.push(Message::binary(vec![1, 2, 3]));
    for message in messages {
        socket.send(message).await.unwrap();
        let answer = next_frame(&mut socket).await;
        assert_eq!(answer["type"], "error");
        assert!(answer["detail"].as_str().unwrap().contains(r#"{"type":"resume","after":N}"#), "{answer}");
    }
    assert_alive(&mut socket).await;
}

#[tokio::test]
async fn frame_that_is_too_large_closes_the_socket_with_a_reason() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    socket.send(Message::text("x".repeat(4 << 20))).await.unwrap();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Close(frame) => break assert_eq!(frame.unwrap().code, CloseCode::Size),
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn client_that_closes_is_closed_in_order() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    socket.close(None).await.unwrap();
    loop {
        match socket.next().await {
            None => break,
            Some(message) => assert!(!message.unwrap().is_text()),
        }
    }
}

// === faults ===

#[tokio::test]
async fn drop_ws_cuts_every_open_socket_without_a_close_frame() {
    let bench = BackendClient::start().await;
    let (one, two) = (bench.socket().await, bench.socket().await);
    bench.fault(json!({ "kind": "drop_ws" })).await;
    assert_dropped(one).await;
    assert_dropped(two).await;
    let mut after = bench.socket().await;
    assert_alive(&mut after).await;
}

#[tokio::test]
async fn refused_handshake_gets_its_status_beside_open_sockets() {
    let bench = BackendClient::start().await;
    let mut open = bench.socket().await;
    bench.fault(json!({ "kind": "refuse_ws", "for_ms": 3_600_000 })).await;
    let Err(WsError::Http(response)) = bench.handshake().await else { panic!("not refused") };
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_alive(&mut open).await;
    bench.fault(json!({ "kind": "refuse_ws", "for_ms": 0 })).await;
    bench.socket().await;
    // Faults of requests strike handshakes too.
    bench.fault(json!({ "kind": "status", "path": "/ws", "status": 401, "times": 1 })).await;
    let Err(WsError::Http(response)) = bench.handshake().await else { panic!("not struck") };
    assert_eq!(response.status(), 401);
    bench.fault(json!({ "kind": "reset", "path": "/ws", "times": 1 })).await;
    assert!(bench.handshake().await.is_err());
    bench.socket().await;
}

#[tokio::test]
async fn half_open_ws_keeps_sockets_open_and_silent() {
    let bench = BackendClient::start().await;
    let mut old = bench.socket().await;
    assert_alive(&mut old).await;
    bench.fault(json!({ "kind": "half_open_ws", "for_ms": 3_600_000 })).await;
    let mut new = bench.socket().await;
    for socket in [&mut old, &mut new] {
        socket.send(Message::Ping("there?".into())).await.unwrap();
        send_frame(socket, json!({ "type": "ping" })).await;
    }
    bench.message("unheard").await;
    bench.yield_for_requests().await;
    for socket in [&mut old, &mut new] {
        let spoken = socket.next().now_or_never();
        assert!(spoken.is_none(), "a half-open socket spoke: {spoken:?}");
    }
    bench.fault(json!({ "kind": "half_open_ws", "for_ms": 0 })).await;
    for socket in [&mut old, &mut new] {
        let mut kinds = [next_frame(socket).await["type"].clone(), next_frame(socket).await["type"].clone()];
        kinds.sort_by_key(Value::to_string);
        assert_eq!(kinds, ["event", "pong"]);
    }
}
