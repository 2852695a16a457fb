//! A crash of the actor.

use super::*;

#[tokio::test]
async fn while_its_actor_is_down_nobody_is_told_that_the_link_is_up() {
    let server = Server::up().await;
    let mut scene = Scene::start_with(server.target(), patient(), NEVER).await;
    let mut peer = server.accept().await;
    scene.shown(Connected).await;
    let mut status = scene.view.status.subscribe();
    scene.tell(ConnectionMessage::Panic).await;
    status.wait_for(|status| status.state != Connected).await.unwrap();
    let status = scene.shown(Disconnected).await;
    assert_eq!((status.reason, status.next_attempt_at), (Reason::ActorEnded, None));
    ended(peer.raw()).await;
    let exited = scene.record("actor_exited").await;
    assert!(status.since <= Duration::from_millis(exited.mono_ms), "{status:?} {exited:?}");
}

#[tokio::test]
async fn a_crash_takes_the_socket_along_and_the_next_incarnation_goes_on_where_it_was() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    peer.tell(41).await;
    peer.tell(42).await;
    assert_eq!(scene.text().await, event(41));
    assert_eq!(scene.text().await, event(42));
    let broken = scene.post("x".repeat(LARGE_BYTES), NEVER).await;
    let waiting = scene.post("waiting", NEVER).await;
    peer.raw().read_u8().await.unwrap();
    scene.tell(ConnectionMessage::Panic).await;
    let behind = scene.post("behind the crash", NEVER).await;
    assert_eq!(broken.await, Err(CallError::Crashed));
    assert_eq!(waiting.await, Err(CallError::Crashed));
    ended(peer.raw()).await;

    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, r#"{"type":"resume","after":42}"#);
    assert_eq!(peer.text().await, "behind the crash");
    assert_eq!(behind.await, Ok(Fate::Sent));
    peer.tell(43).await;
    assert_eq!(scene.text().await, event(43));
    assert_eq!(scene.view.status.borrow().state, Connected);
    let lost = scene.change().await;
    assert_eq!((lost.from, lost.to, lost.reason), (Connected, Disconnected, Reason::ActorEnded));
    let connecting = scene.change().await;
    assert_eq!((connecting.from, connecting.to), (Disconnected, Connecting));
    assert_eq!(scene.runtime.tree().find("root/connection").unwrap().vitals.generation, 2);
}

#[tokio::test]
async fn a_crash_during_a_handshake_hangs_up_before_the_next_one() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), patient()).await;
    let mut stream = server.accept_raw().await;
    read_head(&mut stream).await;
    scene.tell(ConnectionMessage::Panic).await;
    ended(&mut stream).await;
    let _peer = server.accept().await;
    assert_eq!(scene.change().await.to, Connecting);
    let lost = scene.change().await;
    assert_eq!((lost.from, lost.to, lost.reason), (Connecting, Disconnected, Reason::ActorEnded));
    scene.change_to(Connected).await;
}

#[tokio::test]
async fn a_crash_does_not_undo_a_disconnect() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, eager(5)).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    peer.rest().await;
    scene.change_to(Disconnected).await;
    let before = scene.shown(Disconnected).await;
    scene.tell(ConnectionMessage::Panic).await;
    scene.record("actor_restarted").await;
    assert_eq!(*scene.view.status.borrow(), before, "nothing has changed, not even since when");
    scene.stays_away(Some(&server)).await;
}

#[tokio::test]
async fn a_connection_whose_actor_gave_up_is_told_to_be_disconnected() {
    let server = Server::up().await;
    let (mut scene, _peer) = Scene::connected(&server, patient()).await;
    // The budget of five restarts, and one crash more.
    for _ in 0..6 {
        scene.tell(ConnectionMessage::Panic).await;
    }
    scene.record("gave_up").await;
    let change = scene.change().await;
    assert_eq!((change.to, change.reason), (Disconnected, Reason::ActorEnded));
    assert_eq!(scene.view.status.borrow().reason, Reason::ActorEnded);
    assert_ne!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn a_restart_in_order_closes_in_order_and_connects_again() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    scene.runtime.root().restart("connection").await.unwrap();
    assert_eq!(peer.rest().await, [normal_close()]);
    let _peer = server.accept().await;
    let mut changes = Vec::new();
    while changes.last() != Some(&Connected) {
        changes.push(scene.change().await.to);
    }
    assert_eq!(changes, [Disconnected, Connecting, Connected]);
}

#[tokio::test]
async fn what_a_crash_leaves_unsent_is_told_by_the_next_incarnation() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    let broken = scene.post("x".repeat(LARGE_BYTES), NEVER).await;
    let waiting = scene.post("waiting", NEVER).await;
    drop(scene.post("nobody waits for this", NEVER).await);
    peer.raw().read_u8().await.unwrap();
    scene.tell(ConnectionMessage::Panic).await;
    assert_eq!(broken.await, Err(CallError::Crashed));
    assert_eq!(waiting.await, Err(CallError::Crashed));
    let mut told = Vec::new();
    while told.len() < 2 {
        let record = scene.record(ConnectionUnsent::KIND).await;
        let unsent: ConnectionUnsent = record.decode().unwrap();
        told.push((record.generation, unsent.reason, unsent.messages, unsent.unheard));
    }
    assert_eq!(told, [(2, UnsentReason::ActorEnded, 2, 1), (2, UnsentReason::Interrupted, 1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_a_connection_that_gave_up_leaves_unsent_is_told_all_the_same() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    // The budget of five restarts, and one crash more.
    for _ in 0..5 {
        scene.tell(ConnectionMessage::Panic).await;
        scene.record("actor_restarted").await;
    }
    let waiting = scene.post("waiting", NEVER).await;
    scene.tell(ConnectionMessage::Panic).await;
    assert_eq!(waiting.await, Err(CallError::Crashed));
    let left: ConnectionUnsent = scene.record(ConnectionUnsent::KIND).await.decode().unwrap();
    assert_eq!((left.reason, left.messages), (UnsentReason::ActorEnded, 1));
}
