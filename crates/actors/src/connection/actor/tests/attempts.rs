//! Tests the first connection and reconnects.

use super::*;

#[tokio::test]
async fn connection_opens_by_itself_and_records_it() {
    let (server, mut fixture) = ConnectionFixture::dialling(slow_retry_policy()).await;
    let _peer = server.accept().await;
    let connecting = fixture.next_change().await;
    assert_eq!((connecting.from, connecting.to), (Disconnected, Connecting));
    assert_eq!((connecting.attempt, connecting.max, connecting.reason), (1, 5, StatusReason::Requested));
    let connected = fixture.next_change().await;
    assert_eq!((connected.from, connected.to), (Connecting, Connected));
    assert_eq!((connected.attempt, connected.max, connected.reason), (1, 5, StatusReason::Opened));
    assert_eq!(connected.next_attempt_at, None);
    let status = fixture.wait_for_state(Connected).await;
    assert_eq!((status.attempt, status.max, status.last_error), (1, 5, None));
    assert_eq!(fixture.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn restarted_server_is_reconnected_on_its_port() {
    let server = WsServer::listening().await;
    let policy = ConnectionPolicy {
        delay: Delay::Fixed { delay: Duration::from_millis(5) },
        ..immediate_retry_policy(100_000)
    };
    let (mut fixture, peer) = ConnectionFixture::connected_to(&server, policy).await;
    let server = server.stop_listening();
    drop(peer);
    let waiting = fixture.next_change().await;
    assert_eq!((waiting.from, waiting.to), (Connected, Reconnecting));
    assert_eq!((waiting.attempt, waiting.max), (2, 100_000));
    assert_eq!(waiting.error.unwrap().kind, Kind::Lost);
    let dialling = fixture.next_change().await;
    assert_eq!((dialling.from, dialling.to), (Reconnecting, Reconnecting));
    let expected = (2, None, StatusReason::RetryDue);
    assert_eq!((dialling.attempt, dialling.next_attempt_at, dialling.reason), expected);
    let refused = fixture.next_change().await;
    assert_eq!((refused.to, refused.attempt), (Reconnecting, 3));
    assert_eq!(refused.reason, StatusReason::Failed(Reason::ConnectionRefused));
    assert_ne!(fixture.view.status.borrow().state, Connected);

    let server = server.listen_again();
    let _peer = server.accept().await;
    let (connected, _) = fixture.wait_for_change(Connected).await;
    assert_eq!(connected.from, Reconnecting);
    assert!(connected.attempt >= 3, "{connected:?}");
    let status = fixture.wait_for_state(Connected).await;
    assert_eq!(status.last_error.unwrap().kind, Kind::Refused, "the last error is kept");
    assert_eq!(fixture.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn refusing_server_ends_in_failed_until_connect_is_asked() {
    let server = WsServer::refusing();
    let mut fixture = ConnectionFixture::start(server.target(), immediate_retry_policy(3)).await;
    let mut attempts = Vec::new();
    let failed = loop {
        let change = fixture.next_change().await;
        if change.to == Failed {
            break change;
        }
        attempts.push((change.to, change.attempt));
    };
    let waited_and_dialled = |attempt| [(Reconnecting, attempt); 2];
    let expected = [&[(Connecting, 1)][..], &waited_and_dialled(2), &waited_and_dialled(3)].concat();
    assert_eq!(attempts, expected);
    assert_eq!((failed.attempt, failed.max, failed.reason), (3, 3, StatusReason::RetriesExhausted));
    assert_eq!(failed.error.unwrap().kind, Kind::Refused);
    let status = fixture.wait_for_state(Failed).await;
    assert_eq!(status.next_attempt_at, None);

    let server = server.listen_again();
    fixture.connect().await;
    let _peer = server.accept().await;
    let over = fixture.next_change().await;
    assert_eq!((over.from, over.to, over.attempt), (Failed, Connecting, 1));
    assert_eq!(fixture.wait_for_state(Connected).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn backoff_tells_its_end_on_both_clocks() {
    let policy = ConnectionPolicy { delay: Delay::Fixed { delay: s(90) }, ..immediate_retry_policy(5) };
    let mut fixture = ConnectionFixture::start(unresolvable_target(), policy).await;
    let (waiting, at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!((waiting.attempt, waiting.max), (2, 5));
    assert_eq!(waiting.next_attempt_in_ms, Some(90_000));
    assert_eq!(waiting.next_attempt_at.as_deref(), Some("2026-01-01T00:01:30.000Z"));
    assert_eq!(fixture.wait_for_state(Reconnecting).await.next_attempt_at, Some(at + s(90)));
    let (_, dialled_at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!(dialled_at, at + s(90));
}

#[tokio::test]
async fn silent_handshake_fails_the_attempt_and_closes_the_socket() {
    let policy = ConnectionPolicy { connect_timeout: Duration::from_millis(50), ..immediate_retry_policy(1) };
    let (server, mut fixture) = ConnectionFixture::dialling(policy).await;
    let mut stream = server.accept_raw().await;
    let (failed, _) = fixture.wait_for_change(Failed).await;
    assert_eq!((failed.attempt, failed.reason), (1, StatusReason::RetriesExhausted));
    assert_eq!(failed.error.unwrap().kind, Kind::ConnectTimedOut);
    wait_for_end(&mut stream).await;
}

#[tokio::test]
async fn late_socket_is_dropped_and_the_next_dial_goes_on() {
    let (server, mut fixture) = ConnectionFixture::dialling(slow_retry_policy()).await;
    let mut first = server.accept_raw().await;
    fixture.send(ConnectionMessage::Disconnect).await;
    wait_for_end(&mut first).await;
    fixture.connect().await;
    let second = server.accept_raw().await;

    let (target, limits) = (server.target(), SocketLimits { message_max_bytes: 1024 });
    let (late, late_peer) = tokio::join!(dial(&target, limits), server.accept());
    let outcome = Box::new(late);
    fixture.send(ConnectionMessage::SocketReady { generation: 1, outcome }).await;
    assert_eq!(late_peer.read_to_end().await, []);
    let _peer = WsPeer::accept(second).await;
    fixture.wait_for_change(Disconnected).await;
    assert_eq!(fixture.next_change().await.to, Connecting);
    assert_eq!(fixture.next_change().await.to, Connected);
}
