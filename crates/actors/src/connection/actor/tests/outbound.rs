//! Tests outgoing messages.

use super::*;

#[tokio::test]
async fn messages_sent_offline_leave_in_order() {
    let (server, fixture) = ConnectionFixture::refused(slow_retry_policy()).await;
    let answers = [
        fixture.send_text("a", NEVER).await,
        fixture.send_text("b", NEVER).await,
        fixture.send_text("c", NEVER).await,
    ];
    let server = server.listen_again();
    fixture.connect().await;
    let mut peer = server.accept().await;
    for text in ["a", "b", "c"] {
        assert_eq!(peer.next_text().await, text);
    }
    for answer in answers {
        assert_eq!(answer.await, Ok(SendOutcome::Sent));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_sent_offline_expire_at_their_deadline() {
    let fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let long = fixture.send_text("long", s(60)).await;
    let short = fixture.send_text("short", s(5)).await;
    let before = fixture.runtime.now();
    assert_eq!(short.await, Ok(SendOutcome::Failed(SendFailure::Expired)));
    assert_eq!(fixture.runtime.now(), before + s(5));
    assert_eq!(long.await, Ok(SendOutcome::Failed(SendFailure::Expired)));
    assert_eq!(fixture.runtime.now(), before + s(60));
}

#[tokio::test(start_paused = true)]
async fn message_without_room_fails_at_once() {
    let policy = ConnectionPolicy { outbound_max: 1, ..slow_retry_policy() };
    let fixture = ConnectionFixture::start(unresolvable_target(), policy).await;
    let before = fixture.runtime.now();
    let kept = fixture.send_text("kept", s(5)).await;
    assert_eq!(
        fixture.send_text("too much", s(60)).await.await,
        Ok(SendOutcome::Failed(SendFailure::QueueFull))
    );
    assert_eq!(fixture.runtime.now(), before);
    assert_eq!(kept.await, Ok(SendOutcome::Failed(SendFailure::Expired)));
}

#[tokio::test]
async fn oversized_message_fails_and_the_socket_stays() {
    let policy = ConnectionPolicy { message_max_bytes: 64, ..slow_retry_policy() };
    let (_server, fixture, mut peer) = ConnectionFixture::connected(policy).await;
    assert_eq!(
        fixture.send_text("x".repeat(65), NEVER).await.await,
        Ok(SendOutcome::Failed(SendFailure::TooLarge))
    );
    assert_eq!(fixture.send_text("x".repeat(64), NEVER).await.await, Ok(SendOutcome::Sent));
    assert_eq!(peer.next_text().await, "x".repeat(64));
    assert_eq!(fixture.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn message_interrupted_by_a_broken_socket_is_not_resent() {
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..slow_retry_policy() };
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(policy).await;
    // No socket buffer takes this much, so the write is still in progress when its first byte arrives.
    let broken = fixture.send_text("x".repeat(LARGE_BYTES), NEVER).await;
    let behind = fixture.send_text("behind", NEVER).await;
    peer.raw().read_u8().await.unwrap();
    drop(peer);
    assert_eq!(broken.await, Ok(SendOutcome::Failed(SendFailure::Unknown)));
    fixture.wait_for_change(Reconnecting).await;
    fixture.connect().await;
    let mut peer = server.accept().await;
    assert_eq!(peer.next_text().await, "behind");
    assert_eq!(behind.await, Ok(SendOutcome::Sent));
}

impl ConnectionFixture {
    async fn next_unsent(&mut self) -> ConnectionUnsent {
        next_event(&mut self.unsent_journal).await
    }
}

fn unsent_event(outcome: SendFailure, messages: u64, bytes: u64, largest_bytes: u64) -> ConnectionUnsent {
    let (messages_max, bytes_max) = (None, None);
    ConnectionUnsent { outcome, messages, bytes, largest_bytes, unawaited: 0, messages_max, bytes_max }
}

#[tokio::test(start_paused = true)]
async fn expired_message_is_recorded_without_its_sender() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let gone = fixture.send_text("12345", s(5)).await;
    let there = fixture.send_text("123", s(5)).await;
    // An answered `Send` shows that the earlier ones were accepted; this one is recorded as well.
    assert_eq!(
        fixture.send_text("", Duration::ZERO).await.await,
        Ok(SendOutcome::Failed(SendFailure::Expired))
    );
    assert_eq!(fixture.next_unsent().await, unsent_event(SendFailure::Expired, 1, 0, 0));
    drop(gone);
    assert_eq!(there.await, Ok(SendOutcome::Failed(SendFailure::Expired)));
    let both = unsent_event(SendFailure::Expired, 2, 8, 5);
    assert_eq!(fixture.next_unsent().await, ConnectionUnsent { unawaited: 1, ..both });
}

#[tokio::test(start_paused = true)]
async fn unqueued_messages_are_recorded_together_with_limits() {
    let policy = ConnectionPolicy { outbound_max: 1, outbound_bytes_max: 100, ..slow_retry_policy() };
    let mut fixture = ConnectionFixture::start(unresolvable_target(), policy).await;
    let _kept = fixture.send_text("kept", NEVER).await;
    for _ in 0..1000 {
        assert_eq!(
            fixture.send_text("x", NEVER).await.await,
            Ok(SendOutcome::Failed(SendFailure::QueueFull))
        );
    }
    let limits = |sum| ConnectionUnsent { messages_max: Some(1), bytes_max: Some(100), ..sum };
    assert_eq!(fixture.next_unsent().await, limits(unsent_event(SendFailure::QueueFull, 1, 1, 1)));
    assert_eq!(fixture.next_unsent().await, limits(unsent_event(SendFailure::QueueFull, 999, 999, 1)));
}

#[tokio::test(start_paused = true)]
async fn oversized_message_is_recorded_with_size_and_limit() {
    let policy = ConnectionPolicy { message_max_bytes: 64, ..slow_retry_policy() };
    let mut fixture = ConnectionFixture::start(unresolvable_target(), policy).await;
    assert_eq!(
        fixture.send_text("x".repeat(65), NEVER).await.await,
        Ok(SendOutcome::Failed(SendFailure::TooLarge))
    );
    let refused = unsent_event(SendFailure::TooLarge, 1, 65, 65);
    assert_eq!(fixture.next_unsent().await, ConnectionUnsent { bytes_max: Some(64), ..refused });
}

#[tokio::test]
async fn pending_messages_outlive_a_final_close() {
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..slow_retry_policy() };
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(policy).await;
    // No socket buffer takes this much, so the messages behind it wait.
    let broken = fixture.send_text("x".repeat(LARGE_BYTES), NEVER).await;
    let kept = fixture.send_text("kept", NEVER).await;
    let short = fixture.send_text("short", Duration::from_millis(50)).await;
    peer.raw().read_u8().await.unwrap();
    let code = CloseCode::Library(4401);
    peer.send(Wire::Close(Some(CloseFrame { code, reason: "the token has expired".into() }))).await;
    let (failed, _) = fixture.wait_for_change(Failed).await;
    assert_eq!(failed.reason, StatusReason::Failed(Reason::Unauthenticated));
    assert_eq!(broken.await, Ok(SendOutcome::Failed(SendFailure::Unknown)));
    assert_eq!(short.await, Ok(SendOutcome::Failed(SendFailure::Expired)));

    fixture.connect().await;
    let mut peer = server.accept().await;
    assert_eq!(peer.next_text().await, "kept");
    assert_eq!(kept.await, Ok(SendOutcome::Sent));
    let mut recorded =
        [fixture.next_unsent().await, fixture.next_unsent().await].map(|sum| (sum.outcome, sum.bytes));
    recorded.sort_unstable();
    assert_eq!(recorded, [(SendFailure::Expired, 5), (SendFailure::Unknown, LARGE_BYTES as u64)]);
}
