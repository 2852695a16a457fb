//! Tests commands.

use super::*;

#[tokio::test]
async fn disconnect_closes_gracefully_for_good() {
    let (server, mut fixture, peer) = ConnectionFixture::connected(immediate_retry_policy(5)).await;
    fixture.send(ConnectionMessage::Disconnect).await;
    assert_eq!(peer.read_to_end().await, [normal_close()]);
    let change = fixture.next_change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, StatusReason::Requested));
    fixture.assert_stays_disconnected(Some(&server)).await;
}

#[tokio::test(start_paused = true)]
async fn disconnect_during_a_backoff_is_permanent() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), ConnectionPolicy::default()).await;
    fixture.wait_for_change(Reconnecting).await;
    fixture.send(ConnectionMessage::Disconnect).await;
    fixture.wait_for_change(Disconnected).await;
    fixture.assert_stays_disconnected(None).await;
}

#[tokio::test]
async fn disconnect_during_a_handshake_closes_the_connection() {
    let (server, fixture) = ConnectionFixture::dialling(immediate_retry_policy(5)).await;
    let mut stream = server.accept_raw().await;
    read_head(&mut stream).await;
    fixture.send(ConnectionMessage::Disconnect).await;
    wait_for_end(&mut stream).await;
    fixture.assert_stays_disconnected(Some(&server)).await;
}

#[tokio::test]
async fn unanswered_close_is_dropped_after_close_timeout() {
    let policy = ConnectionPolicy { close_timeout: Duration::from_millis(50), ..immediate_retry_policy(5) };
    let (server, fixture, mut peer) = ConnectionFixture::connected(policy).await;
    fixture.send(ConnectionMessage::Disconnect).await;
    wait_for_end(peer.raw()).await;
    fixture.assert_stays_disconnected(Some(&server)).await;
}
