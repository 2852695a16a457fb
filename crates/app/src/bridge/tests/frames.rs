//! Frames of the connection.

use super::*;

#[tokio::test]
async fn frames_are_sent_with_outcome_and_pushed_by_filter() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.connection(1, "listen", json!({"types": ["po*"]})).await;
    assert_eq!(session.receive().await, json!({"id": 1, "ok": null}));
    let ping = json!({"text": r#"{"type":"ping"}"#});
    session.connection(2, "send", ping.clone()).await;
    let (reply, frame) = session.reply_and_frame().await;
    assert_eq!(reply, json!({"id": 2, "ok": {"outcome": "sent"}}));
    assert_eq!(frame, json!({"frame": {"text": r#"{"type":"pong"}"#}}));

    // The backend answers a binary frame by an error, which the filter leaves out.
    session.connection(3, "send", json!({"base64": "AP8="})).await;
    assert_eq!(session.receive().await["ok"]["outcome"], "sent");
    session.connection(4, "send", ping).await;
    assert_eq!(session.reply_and_frame().await.1, frame);
    session.connection(5, "listen", json!({"types": ["error"]})).await;
    session.receive().await;
    session.connection(6, "send", json!({"base64": "AP8="})).await;
    let text = session.reply_and_frame().await.1["frame"]["text"].take();
    assert!(text.as_str().unwrap().contains("binary"), "{text}");
    fixture.stop().await;
}

#[tokio::test]
async fn frame_that_cannot_be_sent_is_an_error() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    for members in [json!({}), json!({"text": "a", "base64": ""}), json!({"base64": "%"})] {
        session.connection(1, "send", members.clone()).await;
        let reply = session.receive().await;
        assert_eq!(reply["error"]["reason"], "invalid_request", "{members} {reply}");
    }
    session.connection(2, "disconnect", json!({})).await;
    assert_eq!(session.receive().await["ok"]["state"], "disconnected");
    session.connection(3, "send", json!({"text": "late", "wait_timeout_ms": 1})).await;
    assert_eq!(session.receive().await["error"]["reason"], "expired");
    fixture.stop().await;
}

#[tokio::test]
async fn reconnect_tells_what_was_done() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let mut status = fixture.mainstay.connection().watch();
    let is_connected = |status: &ConnectionStatus| status.state == ConnectionState::Connected;
    timeout(TEST_TIMEOUT, status.wait_for(is_connected)).await.unwrap().unwrap();
    session.connection(1, "reconnect", json!({})).await;
    let reply = session.receive().await;
    assert_eq!(
        (&reply["ok"]["state"], &reply["ok"]["reconnected"]),
        (&json!("connected"), &json!("replaced"))
    );
    session.connection(2, "disconnect", json!({})).await;
    session.receive().await;
    session.connection(3, "reconnect", json!({})).await;
    assert_eq!(session.receive().await["ok"]["reconnected"], "opened");
    fixture.backend.stop().await;
    session.connection(4, "reconnect", json!({})).await;
    assert_eq!(session.receive().await["error"]["reason"], "connection_refused");
    fixture.mainstay.shutdown().await;
}

#[tokio::test]
async fn slow_listener_of_frames_learns_how_many_it_lost() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.connection(1, "listen", json!({})).await;
    session.receive().await;
    let connection = fixture.mainstay.connection();
    let mut frames = connection.frames();
    // The session's channel holds one text, and this test takes none meanwhile.
    for _ in 0..2000 {
        connection.send(r#"{"type":"ping"}"#, TEST_TIMEOUT).await.unwrap();
        timeout(TEST_TIMEOUT, frames.next()).await.unwrap().unwrap();
    }
    let (mut got, mut lost) = (0, 0);
    while got + lost < 2000 {
        let frame = session.receive().await["frame"].take();
        match frame["lagged"].as_u64() {
            Some(count) => lost += count,
            None => got += 1,
        }
    }
    assert!(lost > 0 && got > 1000, "{got} {lost}");
    fixture.stop().await;
}

/// The frames wait in the session while its client takes none.
#[tokio::test]
async fn second_listen_for_frames_loses_none() {
    const PINGS: usize = 30;
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.connection(1, "listen", json!({})).await;
    session.receive().await;
    let connection = fixture.mainstay.connection();
    let mut frames = connection.frames();
    for _ in 0..PINGS {
        connection.send(r#"{"type":"ping"}"#, TEST_TIMEOUT).await.unwrap();
        timeout(TEST_TIMEOUT, frames.next()).await.unwrap().unwrap();
    }
    session.connection(2, "listen", json!({"types": ["pong"]})).await;
    let mut texts = Vec::new();
    while texts.len() <= PINGS {
        texts.push(session.receive().await);
    }
    let pongs = texts.iter().filter(|text| text["frame"]["text"].is_string()).count();
    assert_eq!((pongs, texts.contains(&json!({"id": 2, "ok": null}))), (PINGS, true), "{texts:?}");
    fixture.stop().await;
}
