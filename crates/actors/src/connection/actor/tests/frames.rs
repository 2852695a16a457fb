//! Tests incoming frames.

use super::*;

#[tokio::test]
async fn each_frame_is_handed_on_once() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    let texts = [event(1), event(1), r#"{"type":"note"}"#.into(), r#"{"type":"note"}"#.into(), event(2)];
    for text in &texts {
        peer.send_text(text).await;
    }
    for text in [&texts[0], &texts[2], &texts[3], &texts[4]] {
        assert_eq!(fixture.next_text().await, *text);
    }
    assert_eq!(fixture.frames.try_next(), None);
}

#[tokio::test]
async fn reconnect_resumes_first_and_reports_the_gap() {
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.send_event(1).await;
    peer.send_event(2).await;
    assert_eq!(fixture.next_text().await, event(1));
    assert_eq!(fixture.next_text().await, event(2));
    drop(peer);
    fixture.wait_for_change(Reconnecting).await;
    let sent = fixture.send_text("waited", NEVER).await;
    fixture.send(ConnectionMessage::Connect).await;

    let mut peer = server.accept().await;
    assert_eq!(peer.next_text().await, r#"{"type":"resume","after":2}"#);
    assert_eq!(peer.next_text().await, "waited");
    assert_eq!(sent.await, Ok(SendOutcome::Sent));
    for seq in [2, 3, 7] {
        peer.send_event(seq).await;
    }
    assert_eq!(fixture.next_text().await, event(3));
    assert_eq!(fixture.next_inbound().await, Inbound::Gap(Gap { after: Some(3), next: Some(7) }));
    assert_eq!(fixture.next_text().await, event(7));
    let gap: Gap = fixture.next_record(Gap::KIND).await.decode().unwrap();
    assert_eq!(gap, Gap { after: Some(3), next: Some(7) });
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_socket_and_says_why() {
    let policy = ConnectionPolicy { message_max_bytes: 64, ..slow_retry_policy() };
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(policy).await;
    peer.send_text(&"x".repeat(65)).await;
    let change = fixture.next_change().await;
    assert_eq!((change.from, change.to), (Connected, Reconnecting));
    assert_eq!(change.reason, StatusReason::Failed(Kind::MessageTooLarge));
    let details = change.error.unwrap().details;
    assert!(details.contains("65") && details.contains("64"), "size and limit: {details}");
    let Wire::Close(Some(CloseFrame { code: CloseCode::Size, .. })) = peer.read().await.unwrap() else {
        panic!("the peer gets a close code");
    };
    wait_for_end(peer.raw()).await;
    assert_eq!(fixture.frames.try_next(), None);
}

#[tokio::test]
async fn reconnect_without_numbers_reports_a_gap() {
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.send_text("without a number").await;
    assert_eq!(fixture.next_text().await, "without a number");
    drop(peer);
    fixture.wait_for_change(Reconnecting).await;
    fixture.send(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    peer.send_text("the next").await;
    let unknown = Gap { after: None, next: None };
    assert_eq!(fixture.next_inbound().await, Inbound::Gap(unknown));
    assert_eq!(fixture.next_text().await, "the next");
    assert_eq!(fixture.next_record(Gap::KIND).await.decode::<Gap>().unwrap(), unknown);
}

#[tokio::test]
async fn ignored_frames_are_recorded_together() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.send_event(1).await;
    assert_eq!(fixture.next_text().await, event(1));
    for _ in 0..3 {
        peer.send(Wire::binary(vec![0; 100])).await;
        peer.send_event(1).await;
    }
    let mut recorded = std::collections::BTreeMap::new();
    while recorded.values().sum::<u64>() < 6 {
        let ignored: ConnectionIgnored = fixture.next_record(ConnectionIgnored::KIND).await.decode().unwrap();
        let size_bytes = match ignored.reason {
            IgnoredReason::Binary => 100,
            IgnoredReason::SeenBefore => event(1).len() as u64,
        };
        assert_eq!(ignored.bytes, ignored.frames * size_bytes);
        *recorded.entry(ignored.reason).or_default() += ignored.frames;
    }
    assert_eq!(recorded, [(IgnoredReason::Binary, 3), (IgnoredReason::SeenBefore, 3)].into());
    assert_eq!(fixture.frames.try_next(), None);
}

#[tokio::test]
async fn slow_listener_blocks_nothing_and_learns_what_it_missed() {
    let policy = ConnectionPolicy { inbound_max: 2, ..slow_retry_policy() };
    let (_server, fixture, mut peer) = ConnectionFixture::connected(policy).await;
    let mut quick = fixture.view.frames.subscribe();
    let mut slow = fixture.frames;
    for seq in 1..=9 {
        peer.send_event(seq).await;
        assert_eq!(quick.next().await, Some(Inbound::Text(event(seq).into())));
    }
    assert_eq!(slow.next().await, Some(Inbound::Lagged(7)));
    assert_eq!(slow.next().await, Some(Inbound::Text(event(8).into())));
}

#[tokio::test]
async fn resume_request_precedes_every_other_frame() {
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(immediate_retry_policy(9)).await;
    peer.send_event(1).await;
    assert_eq!(fixture.next_text().await, event(1));
    drop(peer);
    let mut peer = server.accept_with_a_ping().await;
    let first = peer.read().await.unwrap();
    assert_eq!(first, Wire::text(r#"{"type":"resume","after":1}"#));
    assert!(peer.read().await.unwrap().is_pong());
}
