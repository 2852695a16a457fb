//! What people ask.

use super::*;

#[tokio::test]
async fn asked_to_connect_during_a_wait_it_tries_now() {
    let server = Server::down();
    let mut scene = Scene::start(server.target(), patient()).await;
    scene.change_to(Reconnecting).await;
    let server = server.come_back();
    scene.tell(ConnectionMessage::Connect).await;
    let dialling = scene.change().await;
    assert_eq!((dialling.to, dialling.attempt, dialling.reason), (Reconnecting, 2, Reason::Requested));
    let _peer = server.accept().await;
    assert_eq!(scene.change().await.to, Connected);
}

#[tokio::test]
async fn asked_to_disconnect_it_closes_in_order_and_stays_away() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, eager(5)).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    assert_eq!(peer.rest().await, [normal_close()]);
    let change = scene.change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, Reason::Requested));
    scene.stays_away(Some(&server)).await;
}

#[tokio::test(start_paused = true)]
async fn asked_to_disconnect_during_a_wait_it_stays_away() {
    let mut scene = Scene::start(nowhere(), ConnectionPolicy::default()).await;
    scene.change_to(Reconnecting).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    scene.change_to(Disconnected).await;
    scene.stays_away(None).await;
}

#[tokio::test]
async fn asked_to_disconnect_during_a_handshake_it_hangs_up_and_stays_away() {
    let server = Server::up().await;
    let scene = Scene::start(server.target(), eager(5)).await;
    let mut stream = server.accept_raw().await;
    read_head(&mut stream).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    ended(&mut stream).await;
    scene.stays_away(Some(&server)).await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_close_is_left_after_its_time() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { close_timeout: Duration::from_millis(50), ..eager(5) };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    ended(peer.raw()).await;
    scene.stays_away(Some(&server)).await;
}
