//! Tests crashes of the actor.

use super::*;

#[tokio::test]
async fn view_is_disconnected_while_the_actor_is_down() {
    let server = WsServer::listening().await;
    let mut fixture = ConnectionFixture::start_with(server.target(), slow_retry_policy(), NEVER).await;
    let mut peer = server.accept().await;
    fixture.wait_for_state(Connected).await;
    let mut status = fixture.view.status.subscribe();
    fixture.crash();
    status.wait_for(|status| status.state != Connected).await.unwrap();
    let status = fixture.wait_for_state(Disconnected).await;
    assert_eq!((status.reason, status.next_attempt_at), (StatusReason::ActorEnded, None));
    wait_for_end(peer.raw()).await;
    let exited = fixture.next_record("actor_exited").await;
    assert!(status.since <= Duration::from_millis(exited.mono_ms), "{status:?} {exited:?}");
}

#[tokio::test]
async fn crash_drops_the_socket_and_next_incarnation_resumes() {
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..slow_retry_policy() };
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(policy).await;
    peer.send_event(41).await;
    peer.send_event(42).await;
    assert_eq!(fixture.next_text().await, event(41));
    assert_eq!(fixture.next_text().await, event(42));
    let broken = fixture.send_text("x".repeat(LARGE_BYTES), NEVER).await;
    let waiting = fixture.send_text("waiting", NEVER).await;
    peer.raw().read_u8().await.unwrap();
    fixture.crash();
    let behind = fixture.send_text("behind the crash", NEVER).await;
    assert_eq!(broken.await, Err(CallError::Crashed));
    assert_eq!(waiting.await, Err(CallError::Crashed));
    wait_for_end(peer.raw()).await;

    let mut peer = server.accept().await;
    assert_eq!(peer.next_text().await, r#"{"type":"resume","after":42}"#);
    assert_eq!(peer.next_text().await, "behind the crash");
    assert_eq!(behind.await, Ok(SendOutcome::Sent));
    peer.send_event(43).await;
    assert_eq!(fixture.next_text().await, event(43));
    assert_eq!(fixture.view.status.borrow().state, Connected);
    let lost = fixture.next_change().await;
    assert_eq!((lost.from, lost.to, lost.reason), (Connected, Disconnected, StatusReason::ActorEnded));
    let connecting = fixture.next_change().await;
    assert_eq!((connecting.from, connecting.to), (Disconnected, Connecting));
    assert_eq!(fixture.runtime.tree().find("root/connection").unwrap().info.generation, 2);
}

#[tokio::test]
async fn crash_during_a_handshake_hangs_up_before_the_next_one() {
    let (server, mut fixture) = ConnectionFixture::dialling(slow_retry_policy()).await;
    let mut stream = server.accept_raw().await;
    read_head(&mut stream).await;
    fixture.crash();
    wait_for_end(&mut stream).await;
    let _peer = server.accept().await;
    assert_eq!(fixture.next_change().await.to, Connecting);
    let lost = fixture.next_change().await;
    assert_eq!((lost.from, lost.to, lost.reason), (Connecting, Disconnected, StatusReason::ActorEnded));
    fixture.wait_for_change(Connected).await;
}

#[tokio::test]
async fn crash_does_not_undo_a_disconnect() {
    let (server, mut fixture, peer) = ConnectionFixture::connected(immediate_retry_policy(5)).await;
    fixture.send(ConnectionMessage::Disconnect).await;
    peer.read_to_end().await;
    fixture.wait_for_change(Disconnected).await;
    let before = fixture.wait_for_state(Disconnected).await;
    fixture.crash();
    fixture.next_record("actor_restarted").await;
    assert_eq!(*fixture.view.status.borrow(), before, "nothing has changed, not even since when");
    fixture.assert_stays_disconnected(Some(&server)).await;
}

#[tokio::test]
async fn status_is_disconnected_after_the_actor_gave_up() {
    let (_server, mut fixture, _peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    // One crash more than the budget of five restarts allows.
    for _ in 0..6 {
        fixture.crash();
    }
    fixture.next_record("gave_up").await;
    let change = fixture.next_change().await;
    assert_eq!((change.to, change.reason), (Disconnected, StatusReason::ActorEnded));
    assert_eq!(fixture.view.status.borrow().reason, StatusReason::ActorEnded);
    assert_ne!(fixture.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn restart_in_order_closes_in_order_and_connects_again() {
    let (server, mut fixture, peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    fixture.runtime.root().restart("connection").await.unwrap();
    assert_eq!(peer.read_to_end().await, [normal_close()]);
    let _peer = server.accept().await;
    let mut changes = Vec::new();
    while changes.last() != Some(&Connected) {
        changes.push(fixture.next_change().await.to);
    }
    assert_eq!(changes, [Disconnected, Connecting, Connected]);
}

#[tokio::test]
async fn next_incarnation_records_messages_unsent_by_a_crash() {
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..slow_retry_policy() };
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(policy).await;
    let broken = fixture.send_text("x".repeat(LARGE_BYTES), NEVER).await;
    let waiting = fixture.send_text("waiting", NEVER).await;
    drop(fixture.send_text("no one waits", NEVER).await);
    peer.raw().read_u8().await.unwrap();
    fixture.crash();
    assert_eq!(broken.await, Err(CallError::Crashed));
    assert_eq!(waiting.await, Err(CallError::Crashed));
    let mut recorded = Vec::new();
    while recorded.len() < 2 {
        let record = fixture.next_record(ConnectionUnsent::KIND).await;
        let unsent: ConnectionUnsent = record.decode().unwrap();
        recorded.push((record.generation, unsent.outcome, unsent.messages, unsent.unawaited));
    }
    assert_eq!(recorded, [(2, SendFailure::Dropped, 2, 1), (2, SendFailure::Unknown, 1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn messages_unsent_when_the_actor_gives_up_are_recorded() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    // One crash more than the budget of five restarts allows.
    for _ in 0..5 {
        fixture.crash();
        fixture.next_record("actor_restarted").await;
    }
    let waiting = fixture.send_text("waiting", NEVER).await;
    fixture.crash();
    assert_eq!(waiting.await, Err(CallError::Crashed));
    let left: ConnectionUnsent = fixture.next_record(ConnectionUnsent::KIND).await.decode().unwrap();
    assert_eq!((left.outcome, left.messages), (SendFailure::Dropped, 1));
}
