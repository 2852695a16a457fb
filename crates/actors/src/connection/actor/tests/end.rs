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
    assert!(!*scene.view.is_up.borrow());
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
