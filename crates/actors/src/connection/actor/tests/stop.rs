//! The end.

use super::*;

#[tokio::test]
async fn stop_closes_the_socket_gracefully() {
    let server = WsServer::listening().await;
    let (mut scene, peer) = ConnectionFixture::connected(&server, immediate_retry_policy(5)).await;
    scene.runtime.shutdown().await;
    assert_eq!(peer.read_to_end().await, [normal_close()]);
    let change = scene.next_change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, StatusReason::Requested));
    assert_eq!(scene.view.status.borrow().state, Disconnected);
    assert_ne!(scene.view.status.borrow().state, Connected);
}

#[tokio::test(start_paused = true)]
async fn stop_answers_pending_sends() {
    let scene = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let waiting = scene.send_text("waiting", NEVER).await;
    // A `Send` that is answered shows that the one before was accepted.
    assert_eq!(scene.send_text("none", Duration::ZERO).await.await, Ok(SendOutcome::Expired));
    scene.runtime.shutdown().await;
    assert_eq!(waiting.await, Ok(SendOutcome::Dropped));
}

#[tokio::test(start_paused = true)]
async fn stop_records_unsent_messages() {
    let mut scene = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    drop(scene.send_text("nobody waits for this", NEVER).await);
    let there = scene.send_text("waiting", NEVER).await;
    assert_eq!(scene.send_text("", Duration::ZERO).await.await, Ok(SendOutcome::Expired));
    scene.next_record(ConnectionUnsent::KIND).await;
    scene.runtime.shutdown().await;
    assert_eq!(there.await, Ok(SendOutcome::Dropped));
    let left: ConnectionUnsent = scene.next_record(ConnectionUnsent::KIND).await.decode().unwrap();
    assert_eq!((left.reason, left.messages, left.abandoned), (UnsentReason::ActorEnded, 2, 1));
}
