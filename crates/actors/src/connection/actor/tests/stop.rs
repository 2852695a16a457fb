//! Tests the stop of the connection.

use super::*;

#[tokio::test]
async fn stop_closes_the_socket_gracefully() {
    let (_server, mut fixture, peer) = ConnectionFixture::connected(immediate_retry_policy(5)).await;
    fixture.runtime.shutdown().await;
    assert_eq!(peer.read_to_end().await, [normal_close()]);
    let change = fixture.next_change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, StatusReason::Requested));
    assert_eq!(fixture.view.status.borrow().state, Disconnected);
    assert_ne!(fixture.view.status.borrow().state, Connected);
}

#[tokio::test(start_paused = true)]
async fn stop_records_unsent_messages() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    drop(fixture.send_text("no one waits", NEVER).await);
    let there = fixture.send_text("waiting", NEVER).await;
    assert_eq!(
        fixture.send_text("", Duration::ZERO).await.await,
        Ok(SendOutcome::Failed(SendFailure::Expired))
    );
    fixture.next_record(ConnectionUnsent::KIND).await;
    fixture.runtime.shutdown().await;
    assert_eq!(there.await, Ok(SendOutcome::Failed(SendFailure::Dropped)));
    let left: ConnectionUnsent = fixture.next_record(ConnectionUnsent::KIND).await.decode().unwrap();
    assert_eq!((left.outcome, left.messages, left.unawaited), (SendFailure::Dropped, 2, 1));
}
