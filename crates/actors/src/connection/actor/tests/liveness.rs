//! A peer that is no longer there, and a machine that slept.

use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use super::network::CHUNK_BYTES;
use super::*;

#[tokio::test]
async fn a_peer_that_goes_silent_is_dropped_within_ping_interval_and_ping_timeout() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    tokio::time::pause();
    let silent_since = scene.runtime.now();
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    assert!(at - silent_since <= s(15 + 10) + ROUNDING, "{:?}", at - silent_since);
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)], "and no close frame");
}

#[tokio::test]
async fn a_peer_that_answers_pings_is_kept() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { ping_interval: Duration::from_millis(1), ..patient() };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    let mut pings = 0;
    while pings < 20 {
        // Reading on sends the answer to the one before.
        pings += u32::from(peer.read().await.unwrap().is_ping());
    }
    assert_eq!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn after_a_sleep_the_open_socket_is_asked_for_proof_soon_and_once() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    tokio::time::pause();
    scene.clock.pass(s(8 * 3600));
    let woke_at = scene.runtime.now();
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    let limit = SLEEP_CHECK_INTERVAL + s(10) + ROUNDING;
    assert!(at - woke_at <= limit, "{:?}", at - woke_at);
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)]);
}

#[tokio::test]
async fn after_a_sleep_that_ends_where_a_ping_is_due_there_is_one_and_it_asks_for_proof() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    tokio::time::pause();
    let just_before_the_ping = scene.view.status.borrow().since + s(15) - Duration::from_millis(500);
    tokio::time::sleep(just_before_the_ping - scene.runtime.now()).await;
    scene.clock.pass(s(60));
    let (_, at) = scene.change_to(Reconnecting).await;
    assert!(at <= just_before_the_ping + s(1 + 10));
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)]);
}

#[tokio::test]
async fn after_a_sleep_the_first_frame_leads_to_the_question_and_does_not_answer_it() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    scene.clock.pass(s(60));
    for text in ["sent before the sleep", "so was this"] {
        peer.say(text).await;
        assert_eq!(scene.text().await, text);
    }
    tokio::time::pause();
    let (change, _) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_a_wait_is_cut_short() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    let (_, waiting_since) = scene.change_to(Reconnecting).await;
    scene.clock.pass(s(60));
    let (dialling, at) = scene.change_to(Reconnecting).await;
    assert_eq!((dialling.attempt, dialling.reason), (1, Reason::Woke));
    assert!(at - waiting_since <= SLEEP_CHECK_INTERVAL, "{:?}", at - waiting_since);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_corrected_by_a_little_or_set_back_changes_nothing() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    let (_, waiting_since) = scene.change_to(Reconnecting).await;
    scene.clock.pass(s(4));
    tokio::time::sleep(s(60)).await;
    *scene.clock.0.lock().unwrap() = "2025-01-01T00:00:00Z".parse().unwrap();
    let (_, at) = scene.change_to(Reconnecting).await;
    assert_eq!(at, waiting_since + NEVER);
}

// === over a network without a system, on a paused clock ===

/// Connected over the network, with the server's end.
async fn networked(line: Line, policy: ConnectionPolicy) -> (Scene, Peer<DuplexStream>) {
    let (network, mut arrivals) = Network::new(line, Weather::Up);
    let mut scene = Scene::start(network.target(), policy).await;
    let peer = arrivals.accept().await;
    scene.change_to(Connected).await;
    (scene, peer)
}

const NEAR: Line = Line { latency: Duration::ZERO };
/// A chunk a second: a large message takes a minute.
const SLOW: Line = Line { latency: s(1) };
const MINUTE_BYTES: usize = 60 * CHUNK_BYTES;

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_dropped_in_time_though_no_ping_can_be_written() {
    let (mut scene, _peer) = networked(NEAR, patient()).await;
    let begun_at = scene.runtime.now();
    let blocked = scene.post("x".repeat(MINUTE_BYTES), NEVER).await;
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    assert!(at - begun_at <= s(15 + 10) + ROUNDING, "{:?}", at - begun_at);
    assert_eq!(blocked.await, Ok(Fate::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_but_takes_nothing_is_not_written_to_for_ever() {
    let (mut scene, mut peer) = networked(NEAR, patient()).await;
    let mut speaker = JoinSet::new();
    speaker.spawn(async move {
        for _ in 0..100 {
            peer.say("I am here").await;
            tokio::time::sleep(s(5)).await;
        }
    });
    let begun_at = scene.runtime.now();
    let blocked = scene.post("x".repeat(MINUTE_BYTES), NEVER).await;
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    assert!(at - begun_at <= s(15 + 10) + ROUNDING, "{:?}", at - begun_at);
    assert_eq!(blocked.await, Ok(Fate::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_large_message_over_a_slow_line_is_no_silence_while_it_is_being_sent() {
    let (mut scene, mut peer) = networked(SLOW, patient()).await;
    let begun_at = scene.runtime.now();
    let sent = scene.post("x".repeat(MINUTE_BYTES), NEVER).await;
    let (text, fate) = tokio::join!(peer.text(), sent);
    assert_eq!((text.len(), fate), (MINUTE_BYTES, Ok(Fate::Sent)));
    assert!(scene.runtime.now() - begun_at > s(50));
    assert_eq!(scene.view.status.borrow().state, Connected);
    assert_eq!(scene.story.try_next().await, None, "nothing has changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_large_message_over_a_slow_line_is_no_silence_while_it_comes_in() {
    let (mut scene, mut peer) = networked(SLOW, patient()).await;
    let begun_at = scene.runtime.now();
    let text = "x".repeat(MINUTE_BYTES);
    let (received, ()) = tokio::join!(scene.frames.next(), peer.say(&text));
    assert_eq!(received, Some(Inbound::Text(text.into())));
    assert!(scene.runtime.now() - begun_at > s(50));
    assert_eq!(scene.view.status.borrow().state, Connected);
    assert_eq!(scene.story.try_next().await, None, "nothing has changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_in_which_both_clocks_ran_on_all_late_timers_together_lead_to_one_question() {
    let (mut scene, peer) = networked(NEAR, patient()).await;
    let sent = scene.post("before the sleep", Duration::from_secs(1)).await;
    assert_eq!(sent.await, Ok(Fate::Sent));
    scene.clock.pass(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let woke_at = scene.runtime.now();
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    assert!(at - woke_at <= s(10) + ROUNDING, "{:?}", at - woke_at);
    assert_eq!(peer.rest().await, [Wire::text("before the sleep"), ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_in_which_both_clocks_ran_on_a_wait_starts_over() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    while scene.change_to(Reconnecting).await.0.attempt < 3 {}
    scene.clock.pass(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let (change, _) = scene.change_to(Reconnecting).await;
    assert_eq!((change.attempt, change.next_attempt_at, change.reason), (1, None, Reason::Woke));
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_in_which_both_clocks_ran_on_a_dial_that_was_under_way_does_not_count_as_failed() {
    let (network, _arrivals) = Network::new(NEAR, Weather::Swallowing);
    let mut scene = Scene::start(network.target(), patient()).await;
    scene.change_to(Connecting).await;
    scene.clock.pass(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let woke_at = scene.runtime.now();
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!((change.attempt, change.reason), (2, Reason::Fault(FaultKind::ConnectTimedOut)));
    assert!(at - woke_at >= s(10) - ROUNDING, "{:?}", at - woke_at);
}

#[tokio::test]
async fn a_peer_that_floods_does_not_keep_orders_waiting() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, eager(5)).await;
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        let text = "x".repeat(1000);
        while peer.try_say(&text).await.is_ok() {}
    });
    // It is under way.
    scene.text().await;
    scene.tell(ConnectionMessage::Disconnect).await;
    scene.change_to(Disconnected).await;
    flood.join_all().await;
}
