//! The updates of agents.

use super::*;

#[tokio::test]
async fn updates_are_pushed_until_unlisten_or_removal() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    fixture.publish_update(json!("before"));
    assert_eq!(session.listen(json!({})).await, 1);
    assert_eq!(session.listen(json!({})).await, 1);
    fixture.publish_update(json!("now"));
    let update = json!({"seq": 2, "kind": "message", "body": "now"});
    assert_eq!(session.receive().await, json!({"agent": "planner", "update": update}));
    session.acknowledge("unlisten").await;
    fixture.publish_update(json!("after"));
    assert_eq!(session.listen(json!({})).await, 3);
    fixture.mainstay.agents().remove("planner").await.unwrap();
    assert_eq!(session.receive().await, json!({"agent": "planner", "ended": true}));
    fixture.stop().await;
}

#[tokio::test]
async fn slow_listener_gets_lagged_count_and_bounded_buffer() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.listen(json!({})).await;
    let sent = 4 * UPDATES_BUFFERED_MAX;
    for number in 0..sent {
        fixture.publish_update(json!(number));
    }
    let (mut next, mut lost) = (0, 0);
    while next < sent {
        let frame = session.receive().await;
        match frame["lagged"].as_u64() {
            Some(count) => {
                lost += count;
                next += usize::try_from(count).unwrap();
            }
            None => {
                assert_eq!(
                    frame["update"]["body"],
                    json!(next),
                    "in order, and with no gap that is not counted"
                );
                next += 1;
            }
        }
    }
    assert!(lost >= (sent - UPDATES_BUFFERED_MAX - 2) as u64, "{lost}");
    fixture.stop().await;
}

/// A client that leaves before the first update comes back without a gap, and another run's number counts as 0.
#[tokio::test]
async fn listen_replies_number_to_resume_from() {
    let fixture = BridgeFixture::start().await;
    fixture.publish_update(json!("before"));
    let mut leaving = TestSession::open(&fixture);
    assert_eq!(leaving.listen(json!({})).await, 1);
    drop(leaving);
    fixture.publish_update(json!("meanwhile"));
    let mut session = TestSession::open(&fixture);
    // The update may come before the reply.
    session.send_command(1, "listen", json!({"after": 1})).await;
    let texts = [session.receive().await, session.receive().await];
    assert!(texts.contains(&json!({"id": 1, "ok": {"seq": 1}})), "{texts:?}");
    let update = json!({"seq": 2, "kind": "message", "body": "meanwhile"});
    assert!(texts.contains(&json!({"agent": "planner", "update": update})), "{texts:?}");
    assert_eq!(session.listen(json!({})).await, 1, "it listens already");
    let mut other = TestSession::with_room(&fixture.mainstay, 8);
    other.send_command(1, "listen", json!({"after": 99})).await;
    while other.receive().await != json!({"id": 1, "ok": {"seq": 0}}) {}
    fixture.stop().await;
}
