//! The end.

use super::*;

#[tokio::test]
async fn stopped_it_closes_in_order() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, eager(5)).await;
    scene.runtime.shutdown().await;
    assert_eq!(peer.rest().await, [normal_close()]);
    let change = scene.change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, Reason::Requested));
    assert_eq!(scene.view.status.borrow().state, Disconnected);
    assert_ne!(scene.view.status.borrow().state, Connected);
}

#[tokio::test(start_paused = true)]
async fn stopped_it_answers_whoever_waits() {
    let scene = Scene::start(nowhere(), patient()).await;
    let waiting = scene.post("waiting", NEVER).await;
    // A `Send` that is answered shows that the one before was accepted.
    assert_eq!(scene.post("none", Duration::ZERO).await.await, Ok(Fate::Expired));
    scene.runtime.shutdown().await;
    assert_eq!(waiting.await, Ok(Fate::Dropped));
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_leaves_unsent_stands_in_the_journal() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    drop(scene.post("nobody waits for this", NEVER).await);
    let there = scene.post("waiting", NEVER).await;
    assert_eq!(scene.post("", Duration::ZERO).await.await, Ok(Fate::Expired));
    scene.record(ConnectionUnsent::KIND).await;
    scene.runtime.shutdown().await;
    assert_eq!(there.await, Ok(Fate::Dropped));
    let left: ConnectionUnsent = scene.record(ConnectionUnsent::KIND).await.decode().unwrap();
    assert_eq!((left.reason, left.messages, left.unheard), (UnsentReason::ActorEnded, 2, 1));
}
