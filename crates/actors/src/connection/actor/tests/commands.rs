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
async fn disconnect_during_a_delay_holds() {
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

#[tokio::test]
async fn reconnect_replaces_an_open_socket_without_a_gap() {
    let (server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    peer.send_event(1).await;
    assert_eq!(fixture.next_text().await, event(1));
    let outcome = fixture.reconnect().await;
    assert_eq!(peer.read_to_end().await, [normal_close()]);
    let mut peer = server.accept().await;
    assert_eq!(peer.next_text().await, r#"{"type":"resume","after":1}"#);
    assert_eq!(outcome.await, Ok(ConnectOutcome::Connected { is_replaced: true }));
    for seq in 1..=2 {
        peer.send_event(seq).await;
    }
    assert_eq!(fixture.next_inbound().await, Inbound::Text(event(2).into()), "no gap, and nothing twice");
}

#[tokio::test]
async fn reconnect_waits_for_the_outcome_and_tells_it() {
    let (server, fixture) = ConnectionFixture::refused(slow_retry_policy()).await;
    let Ok(ConnectOutcome::Failed(error)) = fixture.reconnect().await.await else { panic!("it is refused") };
    assert_eq!(error.kind, Kind::Refused);
    let server = server.listen_again();
    let outcome = fixture.reconnect().await;
    let _peer = server.accept().await;
    assert_eq!(outcome.await, Ok(ConnectOutcome::Connected { is_replaced: false }));
}

#[tokio::test]
async fn reconnect_learns_of_a_disconnect() {
    let (server, fixture) = ConnectionFixture::dialling(slow_retry_policy()).await;
    let _stream = server.accept_raw().await;
    let outcome = fixture.reconnect().await;
    fixture.send(ConnectionMessage::Disconnect).await;
    assert_eq!(outcome.await, Ok(ConnectOutcome::Disconnected));
}

#[tokio::test]
async fn disabled_connection_dials_nothing_and_refuses_messages() {
    let policy = ConnectionPolicy { enabled: false, ..immediate_retry_policy(5) };
    let (server, fixture) = ConnectionFixture::dialling(policy).await;
    assert_eq!(fixture.view.status.borrow().state, ConnectionState::Disabled);
    assert_eq!(fixture.send_text("x", NEVER).await.await, Ok(SendOutcome::Failed(SendFailure::Disabled)));
    assert_eq!(fixture.reconnect().await.await, Ok(ConnectOutcome::Disabled));
    assert!(poll!(pin!(server.accept_raw())).is_pending(), "it dialled");
    assert!(!*fixture.view.seems_unreachable.borrow());
}

#[tokio::test(start_paused = true)]
async fn another_network_ends_a_delay() {
    let address = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&address);
    let target = unresolvable_target().with_local_addresses(move || [*seen.lock(), None]);
    let mut fixture = ConnectionFixture::start(target, slow_retry_policy()).await;
    fixture.wait_for_change(Reconnecting).await;
    let before = fixture.runtime.now();
    *address.lock() = Some([192, 168, 1, 2].into());
    let (change, at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!((change.attempt, change.reason), (1, StatusReason::NetworkChanged));
    assert!(at - before <= CLOCK_CHECK_INTERVAL, "{before:?} {at:?}");
}
