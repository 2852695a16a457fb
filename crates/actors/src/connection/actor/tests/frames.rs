//! What comes in.

use super::*;

#[tokio::test]
async fn each_frame_is_handed_on_once() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    let texts = [event(1), event(1), r#"{"type":"note"}"#.into(), r#"{"type":"note"}"#.into(), event(2)];
    for text in &texts {
        peer.say(text).await;
    }
    for text in [&texts[0], &texts[2], &texts[3], &texts[4]] {
        assert_eq!(&*scene.frames.recv().await.unwrap(), text);
    }
    assert_eq!(scene.frames.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn after_a_reconnect_it_first_asks_for_what_it_missed_and_tells_of_what_is_gone() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    peer.tell(1).await;
    peer.tell(2).await;
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(1));
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(2));
    drop(peer);
    scene.change_to(Reconnecting).await;
    let sent = scene.post("waited", NEVER).await;
    scene.tell(ConnectionMessage::Connect).await;

    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, r#"{"type":"resume","after":2}"#);
    assert_eq!(peer.text().await, "waited");
    assert_eq!(sent.await, Ok(Fate::Sent));
    for seq in [2, 3, 7] {
        peer.tell(seq).await;
    }
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(3));
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(7));
    let gap: Gap = scene.record(Gap::KIND).await.decode().unwrap();
    assert_eq!(gap, Gap { after: 3, next: 7 });
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_socket_and_says_why() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: 64, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    peer.say(&"x".repeat(65)).await;
    let change = scene.change().await;
    assert_eq!((change.from, change.to), (Connected, Reconnecting));
    assert_eq!(change.reason, Reason::Fault(FaultKind::MessageTooLarge));
    ended(peer.raw()).await;
    assert_eq!(scene.frames.try_recv(), Err(TryRecvError::Empty));
}
