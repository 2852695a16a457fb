//! Tests frames, incoming and outgoing.

use tokio::io::AsyncWriteExt;

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
    fixture.connect().await;

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
async fn message_above_the_limit_ends_the_socket_and_says_why() {
    let policy = ConnectionPolicy { message_max_bytes: 64, ..slow_retry_policy() };
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(policy).await;
    peer.send_text(&"x".repeat(65)).await;
    let change = fixture.next_change().await;
    assert_eq!((change.from, change.to), (Connected, Reconnecting));
    assert_eq!(change.reason, StatusReason::Failed(Reason::ResponseTooLarge));
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
    fixture.connect().await;
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
        peer.send_event(1).await;
    }
    let mut recorded = 0;
    while recorded < 3 {
        let ignored: ConnectionIgnored = fixture.next_record(ConnectionIgnored::KIND).await.decode().unwrap();
        assert_eq!(ignored.reason, IgnoredReason::SeenBefore);
        assert_eq!(ignored.bytes, ignored.frames * event(1).len() as u64);
        recorded += ignored.frames;
    }
    assert_eq!(recorded, 3);
    assert_eq!(fixture.frames.try_next(), None);
}

#[tokio::test]
async fn slow_listener_blocks_nothing_and_learns_what_it_lost() {
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

#[tokio::test]
async fn binary_frames_are_delivered_and_sent_in_order() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.send(Wire::binary(vec![0, 255])).await;
    peer.send_text("between").await;
    peer.send(Wire::binary(Vec::new())).await;
    assert_eq!(fixture.next_inbound().await, Inbound::Binary(vec![0, 255].into()));
    assert_eq!(fixture.next_text().await, "between");
    assert_eq!(fixture.next_inbound().await, Inbound::Binary(Vec::new().into()));

    let sent = [
        fixture.send_frame(vec![1, 2], NEVER).await,
        fixture.send_text("between", NEVER).await,
        fixture.send_frame(Vec::new(), NEVER).await,
    ];
    for frame in [Wire::binary(vec![1, 2]), Wire::text("between"), Wire::binary(Vec::new())] {
        assert_eq!(peer.read().await.unwrap(), frame);
    }
    for outcome in sent {
        assert_eq!(outcome.await, Ok(SendOutcome::Sent));
    }
}

#[tokio::test]
async fn binary_frame_above_the_limit_is_rejected_alone() {
    let policy = ConnectionPolicy { message_max_bytes: 64, ..slow_retry_policy() };
    let (_server, fixture, mut peer) = ConnectionFixture::connected(policy).await;
    assert_eq!(
        fixture.send_frame(vec![0; 65], NEVER).await.await,
        Ok(SendOutcome::Failed(SendFailure::TooLarge))
    );
    assert_eq!(fixture.send_frame(vec![0; 64], NEVER).await.await, Ok(SendOutcome::Sent));
    assert_eq!(peer.read().await.unwrap(), Wire::binary(vec![0; 64]));
}

#[tokio::test]
async fn byte_order_mark_before_a_frame_makes_no_gap() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.send_event(1).await;
    peer.send_text(&format!("\u{feff}{}", event(2))).await;
    peer.send_event(3).await;
    for seq in 1..=3 {
        assert_eq!(fixture.next_text().await, event(seq));
    }
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_answered_with_its_code() {
    // A whole frame, and one in two parts whose second is not valid.
    for bytes in [&[0x81, 2, b'a', 0xff][..], &[0x01, 1, b'a', 0x80, 1, 0xff]] {
        let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
        peer.raw().write_all(bytes).await.unwrap();
        let (change, _) = fixture.wait_for_change(Reconnecting).await;
        assert_eq!(change.reason, StatusReason::Failed(Reason::BadResponse));
        let Wire::Close(Some(close)) = peer.read().await.unwrap() else { panic!("it gets a close frame") };
        assert_eq!(close.code, CloseCode::Invalid);
    }
}

#[tokio::test]
async fn close_code_counts_although_its_reason_is_no_text() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.raw().write_all(&[0x88, 4, 0x11, 0x31, 0xff, 0xfe]).await.unwrap();
    let change = loop {
        let (change, _) = fixture.next_timed_change().await;
        if change.from == Connected {
            break change;
        }
    };
    assert_eq!(change.to, Failed, "{change:?}");
    assert_eq!(change.reason, StatusReason::Failed(Reason::Unauthenticated));
    assert_eq!(change.error.unwrap().close_code, Some(4401));
    let Wire::Close(Some(close)) = peer.read().await.unwrap() else { panic!("it gets a close frame") };
    assert_eq!(close.code, CloseCode::Invalid);
}
