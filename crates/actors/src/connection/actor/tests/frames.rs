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
        assert_eq!(scene.text().await, *text);
    }
    assert_eq!(scene.frames.try_next(), None);
}

#[tokio::test]
async fn after_a_reconnect_it_first_asks_for_what_it_missed_and_tells_of_what_is_gone() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    peer.tell(1).await;
    peer.tell(2).await;
    assert_eq!(scene.text().await, event(1));
    assert_eq!(scene.text().await, event(2));
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
    assert_eq!(scene.text().await, event(3));
    assert_eq!(scene.inbound().await, Inbound::Gap(Gap { after: Some(3), next: Some(7) }));
    assert_eq!(scene.text().await, event(7));
    let gap: Gap = scene.record(Gap::KIND).await.decode().unwrap();
    assert_eq!(gap, Gap { after: Some(3), next: Some(7) });
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
    let details = change.error.unwrap().details;
    assert!(details.contains("65") && details.contains("64"), "size and limit: {details}");
    let Wire::Close(Some(CloseFrame { code: CloseCode::Size, .. })) = peer.read().await.unwrap() else {
        panic!("the peer is told why");
    };
    ended(peer.raw()).await;
    assert_eq!(scene.frames.try_next(), None);
}

#[tokio::test]
async fn where_nothing_can_be_resumed_a_reconnect_is_a_gap_for_the_journal_and_for_listeners() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    peer.say("without a number").await;
    assert_eq!(scene.text().await, "without a number");
    drop(peer);
    scene.change_to(Reconnecting).await;
    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    peer.say("the next").await;
    let unknown = Gap { after: None, next: None };
    assert_eq!(scene.inbound().await, Inbound::Gap(unknown));
    assert_eq!(scene.text().await, "the next");
    assert_eq!(scene.record(Gap::KIND).await.decode::<Gap>().unwrap(), unknown);
}

#[tokio::test]
async fn frames_that_are_handed_on_to_nobody_are_told_of_together() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    peer.tell(1).await;
    assert_eq!(scene.text().await, event(1));
    for _ in 0..3 {
        peer.send(Wire::binary(vec![0; 100])).await;
        peer.tell(1).await;
    }
    let mut told = std::collections::BTreeMap::new();
    while told.values().sum::<u64>() < 6 {
        let ignored: ConnectionIgnored = scene.record(ConnectionIgnored::KIND).await.decode().unwrap();
        let size_bytes = match ignored.reason {
            IgnoredReason::Binary => 100,
            IgnoredReason::SeenBefore => event(1).len() as u64,
        };
        assert_eq!(ignored.bytes, ignored.frames * size_bytes);
        *told.entry(ignored.reason).or_default() += ignored.frames;
    }
    assert_eq!(told, [(IgnoredReason::Binary, 3), (IgnoredReason::SeenBefore, 3)].into());
    assert_eq!(scene.frames.try_next(), None);
}

#[tokio::test]
async fn a_listener_that_falls_behind_keeps_nothing_waiting_and_is_told_what_it_lost() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { inbound_max: 2, ..patient() };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    let mut quick = scene.view.frames.subscribe();
    let mut slow = scene.frames;
    for seq in 1..=9 {
        peer.tell(seq).await;
        assert_eq!(quick.next().await, Some(Inbound::Text(event(seq).into())));
    }
    assert_eq!(slow.next().await, Some(Inbound::Lagged(7)));
    assert_eq!(slow.next().await, Some(Inbound::Text(event(8).into())));
}

#[tokio::test]
async fn it_says_nothing_before_it_has_asked_for_what_it_missed_not_even_a_pong() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, eager(9)).await;
    peer.tell(1).await;
    assert_eq!(scene.text().await, event(1));
    drop(peer);
    let mut peer = server.accept_with_a_ping().await;
    let first = peer.read().await.unwrap();
    assert_eq!(first, Wire::text(r#"{"type":"resume","after":1}"#));
    assert!(peer.read().await.unwrap().is_pong());
}
