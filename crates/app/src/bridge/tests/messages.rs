//! Messages to agents.

use super::*;

#[tokio::test]
async fn message_is_acknowledged_then_answered_once() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    assert_eq!(session.send_message(1).await, 1);
    let reply = session.receive().await;
    assert_eq!((&reply["id"], &reply["ok"]["message_id"]), (&json!(1), &json!(1)), "{reply}");
    assert_eq!(reply["ok"]["answer"]["count"], 1, "{reply}");
    assert_eq!(session.send_message(2).await, 2);
    assert_eq!(session.receive().await["ok"]["answer"]["count"], 2);
    fixture.stop().await;
}

#[tokio::test]
async fn message_is_cancelled_once_and_its_sender_is_notified() {
    let fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let (mut session, mut other) = (TestSession::open(&fixture), TestSession::open(&fixture));
    let message_id = session.send_message(7).await;
    assert_eq!(
        other.request("cancel", json!({"message_id": message_id})).await["ok"],
        json!({"cancelled": true})
    );
    let reply = session.receive().await;
    assert_eq!((&reply["id"], &reply["error"]["reason"]), (&json!(7), &json!("cancelled")), "{reply}");
    assert_eq!(
        other.request("cancel", json!({"message_id": message_id})).await["ok"],
        json!({"cancelled": false})
    );
    fixture.stop().await;
}

#[tokio::test]
async fn session_end_cancels_its_own_messages_only() {
    let mut fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let (mut leaving, mut staying) = (TestSession::open(&fixture), TestSession::open(&fixture));
    let kept = staying.send_message(1).await;
    let left = [leaving.send_message(1).await, leaving.send_message(2).await];
    drop(leaving);
    let mut failed = Vec::new();
    for _ in left.iter() {
        let record = fixture.wait_for_event("message_failed").await;
        assert_eq!(record.fields["reason"], "cancelled");
        failed.push(record.fields["message_id"].clone());
    }
    failed.sort_by_key(Value::as_u64);
    assert_eq!(failed, left);
    staying.send_command(2, "cancel", json!({"message_id": kept})).await;
    // The reply about the message itself may come first.
    let replies = staying.two_replies().await;
    assert_eq!(replies[0]["error"]["reason"], "cancelled");
    assert_eq!(replies[1]["ok"], json!({"cancelled": true}));
    fixture.stop().await;
}

#[tokio::test]
async fn commands_are_answered_while_many_messages_wait() {
    let fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let mut session = TestSession::open(&fixture);
    // One, and 64 that wait: more than commands may be.
    let mut messages = BTreeSet::new();
    for id in 1..=65 {
        messages.insert(session.send_message(id).await.as_u64().unwrap());
    }
    assert_eq!(messages.len(), 65);
    let refused = session.request("send", json!({"body": null})).await;
    assert_eq!(refused["error"]["reason"], "queue_full", "{refused}");
    let shown = session.request("show", json!({})).await["ok"].take();
    assert_eq!(shown["messages_in_flight"], 1, "{shown}");
    assert_eq!(shown["messages_waiting"], 64, "{shown}");
    fixture.stop().await;
}

/// A client that comes back gets the rest of the conversation once, also of a message that outlived its session.
#[tokio::test]
async fn detached_message_outlives_session_and_its_end_is_kept() {
    let fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let mut leaving = TestSession::open(&fixture);
    leaving.send_command(1, "send", json!({"body": "stays", "detached": true})).await;
    let kept = leaving.receive().await["accepted"]["message_id"].take();
    let cancelled = leaving.send_message(2).await;
    drop(leaving);
    let mut session = TestSession::open(&fixture);
    session.send_command(1, "listen", json!({"after": 0})).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let text = session.receive().await;
        if text["id"].is_null() {
            seen.push(text["update"].clone());
        }
    }
    let about =
        |update: &Value| (update["seq"].clone(), update["kind"].clone(), update["message_id"].clone());
    assert_eq!(about(&seen[0]), (json!(1), json!("sent"), kept.clone()));
    assert_eq!(seen[0]["body"], "stays");
    assert_eq!(about(&seen[1]), (json!(2), json!("ended"), cancelled), "it was never delivered");
    session.send_command(2, "cancel", json!({"message_id": kept})).await;
    let mut last = session.receive().await;
    while last["update"].is_null() {
        last = session.receive().await;
    }
    assert_eq!(about(&last["update"]), (json!(3), json!("ended"), kept), "it ran until then");
    assert_eq!(last["update"]["body"]["error"]["reason"], "cancelled");
    let mut late = TestSession::open(&fixture);
    late.send_command(1, "listen", json!({"after": 2})).await;
    let texts = [late.receive().await, late.receive().await];
    assert!(texts.contains(&last) && texts.contains(&json!({"id": 1, "ok": {"seq": 2}})), "{texts:?}");
    fixture.stop().await;
}

/// Both are ready when the session looks, and come over different ways within the runtime.
#[tokio::test]
async fn accepted_message_is_announced_before_it_is_sent() {
    let fixture = BridgeFixture::start().await;
    let mut session = Session::new(fixture.mainstay.clone());
    let mut updates = fixture.mainstay.agents().listen("planner").unwrap();
    session.receive(r#"{"id":0,"type":"agent","agent":"planner","action":"listen"}"#).await;
    for id in 1..=20 {
        let send = json!({"type": "agent", "agent": "planner", "action": "send", "body": id});
        session.receive(&with_id(id, &send)).await;
        assert!(session.next().now_or_never().is_none(), "the agent has not answered yet");
        let is_sent = |update: &AgentUpdate| update.kind == UpdateKind::Sent;
        while !matches!(updates.next().await, Some(UpdateEvent::Update(update)) if is_sent(&update)) {}
        let (mut seen, mut ends) = (Vec::new(), 0);
        while ends < 2 {
            for message in timeout(TEST_TIMEOUT, session.next()).await.unwrap() {
                match message {
                    ServerMessage::Accepted { .. } => seen.push("accepted"),
                    ServerMessage::Update { update, .. } if is_sent(&update) => seen.push("sent"),
                    _ => ends += 1,
                }
            }
        }
        assert_eq!(seen, ["accepted", "sent"], "message {id}");
    }
    fixture.stop().await;
}
