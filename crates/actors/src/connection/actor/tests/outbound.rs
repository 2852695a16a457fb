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
    assert_eq!(scene.post("x".repeat(65), NEVER).await.await, Ok(Fate::TooLarge));
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

impl Scene {
    async fn unsent(&mut self) -> ConnectionUnsent {
        scene::next(&mut self.sums, ConnectionUnsent::KIND).await.decode().unwrap()
    }
}

fn unsent(reason: UnsentReason, messages: u64, bytes: u64, largest_bytes: u64) -> ConnectionUnsent {
    let (messages_max, bytes_max) = (None, None);
    ConnectionUnsent { reason, messages, bytes, largest_bytes, unheard: 0, messages_max, bytes_max }
}

#[tokio::test(start_paused = true)]
async fn what_expires_stands_in_the_journal_even_if_its_sender_is_gone() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    let gone = scene.post("12345", s(5)).await;
    let there = scene.post("123", s(5)).await;
    // A `Send` that is answered shows that those before were accepted; this one is told as well.
    assert_eq!(scene.post("", Duration::ZERO).await.await, Ok(Fate::Expired));
    assert_eq!(scene.unsent().await, unsent(UnsentReason::Expired, 1, 0, 0));
    drop(gone);
    assert_eq!(there.await, Ok(Fate::Expired));
    let both = unsent(UnsentReason::Expired, 2, 8, 5);
    assert_eq!(scene.unsent().await, ConnectionUnsent { unheard: 1, ..both });
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_stands_in_the_journal_with_the_limits_and_a_flood_of_it_is_summed_up() {
    let policy = ConnectionPolicy { outbound_max: 1, outbound_bytes_max: 100, ..patient() };
    let mut scene = Scene::start(nowhere(), policy).await;
    let _kept = scene.post("kept", NEVER).await;
    for _ in 0..1000 {
        assert_eq!(scene.post("x", NEVER).await.await, Ok(Fate::Rejected));
    }
    let limits = |sum| ConnectionUnsent { messages_max: Some(1), bytes_max: Some(100), ..sum };
    assert_eq!(scene.unsent().await, limits(unsent(UnsentReason::NoRoom, 1, 1, 1)));
    assert_eq!(scene.unsent().await, limits(unsent(UnsentReason::NoRoom, 999, 999, 1)));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_send_stands_in_the_journal_with_its_size_and_the_limit() {
    let policy = ConnectionPolicy { message_max_bytes: 64, ..patient() };
    let mut scene = Scene::start(nowhere(), policy).await;
    assert_eq!(scene.post("x".repeat(65), NEVER).await.await, Ok(Fate::TooLarge));
    let refused = unsent(UnsentReason::TooLarge, 1, 65, 65);
    assert_eq!(scene.unsent().await, ConnectionUnsent { bytes_max: Some(64), ..refused });
}

#[tokio::test]
async fn what_waits_when_the_peer_says_not_to_come_back_waits_on_and_leaves_once_or_expires() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    // No socket buffer takes this much, so what is behind it waits.
    let broken = scene.post("x".repeat(LARGE_BYTES), NEVER).await;
    let kept = scene.post("kept", NEVER).await;
    let short = scene.post("short", Duration::from_millis(50)).await;
    peer.raw().read_u8().await.unwrap();
    let code = CloseCode::Library(4401);
    peer.send(Wire::Close(Some(CloseFrame { code, reason: "the token has expired".into() }))).await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!(failed.reason, Reason::Fault(FaultKind::Unauthenticated));
    assert_eq!(broken.await, Ok(Fate::Unknown));
    assert_eq!(short.await, Ok(Fate::Expired));

    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, "kept");
    assert_eq!(kept.await, Ok(Fate::Sent));
    let mut told = [scene.unsent().await, scene.unsent().await].map(|sum| (sum.reason, sum.bytes));
    told.sort_unstable();
    assert_eq!(told, [(UnsentReason::Expired, 5), (UnsentReason::Interrupted, LARGE_BYTES as u64)]);
}
