//! Coming up, and coming back.

use super::*;

#[tokio::test]
async fn it_comes_up_by_itself_and_says_so() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), patient()).await;
    let _peer = server.accept().await;
    let connecting = scene.change().await;
    assert_eq!((connecting.from, connecting.to), (Disconnected, Connecting));
    assert_eq!((connecting.attempt, connecting.max, connecting.reason), (1, 5, Reason::Requested));
    let connected = scene.change().await;
    assert_eq!((connected.from, connected.to), (Connecting, Connected));
    assert_eq!((connected.attempt, connected.max, connected.reason), (1, 5, Reason::Opened));
    assert_eq!(connected.next_attempt_at, None);
    let status = scene.shown(Connected).await;
    assert_eq!((status.attempt, status.max, status.last_error), (1, 5, None));
    assert_eq!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn a_server_that_went_down_is_tried_until_it_is_back_on_its_port() {
    let server = Server::up().await;
    let policy =
        ConnectionPolicy { delay: Delay::Fixed { delay: Duration::from_millis(5) }, ..eager(100_000) };
    let (mut scene, peer) = Scene::connected(&server, policy).await;
    let server = server.go_down();
    drop(peer);
    let waiting = scene.change().await;
    assert_eq!((waiting.from, waiting.to), (Connected, Reconnecting));
    assert_eq!((waiting.attempt, waiting.max), (2, 100_000));
    assert_eq!(waiting.error.unwrap().kind, FaultKind::Lost);
    let dialling = scene.change().await;
    assert_eq!((dialling.from, dialling.to), (Reconnecting, Reconnecting));
    assert_eq!((dialling.attempt, dialling.next_attempt_at, dialling.reason), (2, None, Reason::RetryDue));
    let refused = scene.change().await;
    assert_eq!((refused.to, refused.attempt), (Reconnecting, 3));
    assert_eq!(refused.reason, Reason::Fault(FaultKind::Refused));
    assert_ne!(scene.view.status.borrow().state, Connected);

    let server = server.come_back();
    let _peer = server.accept().await;
    let (connected, _) = scene.change_to(Connected).await;
    assert_eq!(connected.from, Reconnecting);
    assert!(connected.attempt >= 3, "{connected:?}");
    let status = scene.shown(Connected).await;
    assert_eq!(status.last_error.unwrap().kind, FaultKind::Refused, "what went wrong last is still told");
    assert_eq!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn a_server_that_refuses_until_the_retries_are_spent_is_failed_until_somebody_asks() {
    let server = Server::down();
    let mut scene = Scene::start(server.target(), eager(3)).await;
    let mut attempts = Vec::new();
    let failed = loop {
        let change = scene.change().await;
        if change.to == Failed {
            break change;
        }
        attempts.push((change.to, change.attempt));
    };
    let waited_and_dialled = |attempt| [(Reconnecting, attempt); 2];
    let expected = [&[(Connecting, 1)][..], &waited_and_dialled(2), &waited_and_dialled(3)].concat();
    assert_eq!(attempts, expected);
    assert_eq!((failed.attempt, failed.max, failed.reason), (3, 3, Reason::RetriesExhausted));
    assert_eq!(failed.error.unwrap().kind, FaultKind::Refused);
    let status = scene.shown(Failed).await;
    assert_eq!(status.next_attempt_at, None);

    let server = server.come_back();
    scene.tell(ConnectionMessage::Connect).await;
    let _peer = server.accept().await;
    let over = scene.change().await;
    assert_eq!((over.from, over.to, over.attempt), (Failed, Connecting, 1));
    assert_eq!(scene.shown(Connected).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_says_when_it_ends_by_the_wall_clock_and_by_the_runtimes() {
    let policy = ConnectionPolicy { delay: Delay::Fixed { delay: s(90) }, ..eager(5) };
    let mut scene = Scene::start(nowhere(), policy).await;
    let (waiting, at) = scene.change_to(Reconnecting).await;
    assert_eq!((waiting.attempt, waiting.max), (2, 5));
    assert_eq!(waiting.next_attempt_in_ms, Some(90_000));
    assert_eq!(waiting.next_attempt_at.as_deref(), Some("2026-01-01T00:01:30.000Z"));
    assert_eq!(scene.shown(Reconnecting).await.next_attempt_at, Some(at + s(90)));
    let (_, dialled_at) = scene.change_to(Reconnecting).await;
    assert_eq!(dialled_at, at + s(90));
}

#[tokio::test]
async fn a_peer_that_says_not_to_come_back_is_obeyed() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), eager(5)).await;
    server.answer("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!((failed.attempt, failed.reason), (1, Reason::Fault(FaultKind::Unauthenticated)));
    assert_eq!(failed.error.unwrap().status, Some(401));

    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    let code = CloseCode::Library(4401);
    peer.close(CloseFrame { code, reason: "the token has expired".into() }).await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!((failed.from, failed.error.unwrap().close_code), (Connected, Some(4401)));
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_is_an_attempt_that_failed_and_is_hung_up_on() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { connect_timeout: Duration::from_millis(50), ..eager(1) };
    let mut scene = Scene::start(server.target(), policy).await;
    let mut stream = server.accept_raw().await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!((failed.attempt, failed.reason), (1, Reason::RetriesExhausted));
    assert_eq!(failed.error.unwrap().kind, FaultKind::ConnectTimedOut);
    ended(&mut stream).await;
}

#[tokio::test]
async fn a_socket_that_comes_too_late_is_dropped_and_does_not_disturb_the_dial_after_it() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), patient()).await;
    let mut first = server.accept_raw().await;
    scene.tell(ConnectionMessage::Disconnect).await;
    ended(&mut first).await;
    scene.tell(ConnectionMessage::Connect).await;
    let second = server.accept_raw().await;

    let (target, limits) = (server.target(), SocketLimits { message_max_bytes: 1024 });
    let (late, late_peer) = tokio::join!(dial(&target, limits), server.accept());
    let outcome = Box::new(late);
    scene.tell(ConnectionMessage::TakeSocket { generation: 1, outcome }).await;
    assert_eq!(late_peer.rest().await, []);
    let _peer = Peer::greet(second).await;
    scene.change_to(Disconnected).await;
    assert_eq!(scene.change().await.to, Connecting);
    assert_eq!(scene.change().await.to, Connected);
}
