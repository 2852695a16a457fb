//! What is sent.

use super::*;

#[tokio::test]
async fn what_is_sent_offline_waits_and_leaves_in_order() {
    let server = Server::down();
    let mut scene = Scene::start(server.target(), patient()).await;
    scene.change_to(Reconnecting).await;
    let answers = [scene.post("a", NEVER).await, scene.post("b", NEVER).await, scene.post("c", NEVER).await];
    let server = server.come_back();
    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    for text in ["a", "b", "c"] {
        assert_eq!(peer.text().await, text);
    }
    for answer in answers {
        assert_eq!(answer.await, Ok(Fate::Sent));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_offline_expires_to_the_point() {
    let scene = Scene::start(nowhere(), patient()).await;
    let long = scene.post("long", s(60)).await;
    let short = scene.post("short", s(5)).await;
    let before = scene.runtime.now();
    assert_eq!(short.await, Ok(Fate::Expired));
    assert_eq!(scene.runtime.now(), before + s(5));
    assert_eq!(long.await, Ok(Fate::Expired));
    assert_eq!(scene.runtime.now(), before + s(60));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_rejected_at_once() {
    let policy = ConnectionPolicy { outbound_max: 1, ..patient() };
    let scene = Scene::start(nowhere(), policy).await;
    let before = scene.runtime.now();
    let kept = scene.post("kept", s(5)).await;
    assert_eq!(scene.post("too much", s(60)).await.await, Ok(Fate::Rejected));
    assert_eq!(scene.runtime.now(), before);
    assert_eq!(kept.await, Ok(Fate::Expired));
}

#[tokio::test]
async fn what_is_larger_than_a_message_may_be_is_rejected_and_the_socket_stays() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: 64, ..patient() };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    assert_eq!(scene.post("x".repeat(65), NEVER).await.await, Ok(Fate::Rejected));
    assert_eq!(scene.post("x".repeat(64), NEVER).await.await, Ok(Fate::Sent));
    assert_eq!(peer.text().await, "x".repeat(64));
    assert_eq!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn the_fate_of_what_was_being_written_when_the_socket_broke_is_unknown_and_it_is_not_sent_again() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    // No socket buffer takes this much, so it is still being written when its first byte is here.
    let broken = scene.post("x".repeat(LARGE_BYTES), NEVER).await;
    let behind = scene.post("behind", NEVER).await;
    peer.raw().read_u8().await.unwrap();
    drop(peer);
    assert_eq!(broken.await, Ok(Fate::Unknown));
    scene.change_to(Reconnecting).await;
    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, "behind");
    assert_eq!(behind.await, Ok(Fate::Sent));
}
