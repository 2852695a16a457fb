//! A peer that is no longer there, and a machine that slept.

use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use super::network::CHUNK_BYTES;
use super::*;

#[tokio::test]
async fn silent_peer_is_dropped_within_ping_interval_and_timeout() {
    let server = WsServer::listening().await;
    let (mut scene, peer) = ConnectionFixture::connected(&server, slow_retry_policy()).await;
    tokio::time::pause();
    let silent_since = scene.runtime.now();
    let (change, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
    assert!(at - silent_since <= s(15 + 10) + ROUNDING, "{:?}", at - silent_since);
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)], "and no close frame");
}

#[tokio::test]
async fn a_peer_that_answers_pings_is_kept() {
    let server = WsServer::listening().await;
    let policy = ConnectionPolicy { ping_interval: Duration::from_millis(1), ..slow_retry_policy() };
    let (scene, mut peer) = ConnectionFixture::connected(&server, policy).await;
    let mut pings = 0;
    while pings < 20 {
        // Reading on sends the answer to the one before.
        pings += u32::from(peer.read().await.unwrap().is_ping());
    }
    assert_eq!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn resume_verifies_the_open_socket_soon_and_once() {
    let server = WsServer::listening().await;
    let (mut scene, peer) = ConnectionFixture::connected(&server, slow_retry_policy()).await;
    tokio::time::pause();
    scene.clock.advance(s(8 * 3600));
    let woke_at = scene.runtime.now();
    let (change, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
    let limit = SUSPEND_CHECK_INTERVAL + s(10) + ROUNDING;
    assert!(at - woke_at <= limit, "{:?}", at - woke_at);
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)]);
}

#[tokio::test]
async fn resume_when_a_ping_is_due_sends_one_verification() {
    let server = WsServer::listening().await;
    let (mut scene, peer) = ConnectionFixture::connected(&server, slow_retry_policy()).await;
    tokio::time::pause();
    let just_before_the_ping = scene.view.status.borrow().since + s(15) - Duration::from_millis(500);
    tokio::time::sleep(just_before_the_ping - scene.runtime.now()).await;
    scene.clock.advance(s(60));
    let (_, at) = scene.wait_for_change(Reconnecting).await;
    assert!(at <= just_before_the_ping + s(1 + 10));
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)]);
}

#[tokio::test]
async fn first_frame_after_resume_triggers_the_verification() {
    let server = WsServer::listening().await;
    let (mut scene, mut peer) = ConnectionFixture::connected(&server, slow_retry_policy()).await;
    scene.clock.advance(s(60));
    for text in ["sent before the sleep", "so was this"] {
        peer.send_text(text).await;
        assert_eq!(scene.next_text().await, text);
    }
    tokio::time::pause();
    let (change, _) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn resume_cuts_a_backoff_short() {
    let mut scene = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let (_, waiting_since) = scene.wait_for_change(Reconnecting).await;
    scene.clock.advance(s(60));
    let (dialling, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!((dialling.attempt, dialling.reason), (1, StatusReason::SystemResumed));
    assert!(at - waiting_since <= SUSPEND_CHECK_INTERVAL, "{:?}", at - waiting_since);
}

#[tokio::test(start_paused = true)]
async fn wall_clock_corrections_change_nothing() {
    let mut scene = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let (_, waiting_since) = scene.wait_for_change(Reconnecting).await;
    scene.clock.advance(s(4));
    tokio::time::sleep(s(60)).await;
    *scene.clock.0.lock() = "2025-01-01T00:00:00Z".parse().unwrap();
    let (_, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(at, waiting_since + NEVER);
}

// === over a network without a system, on a paused clock ===

/// Connected over the network, with the server's end.
async fn connected_over_network(
    line: LinkProfile,
    policy: ConnectionPolicy,
) -> (ConnectionFixture, WsPeer<DuplexStream>) {
    let (network, mut arrivals) = Network::new(line, NetworkState::Up);
    let mut scene = ConnectionFixture::start(network.target(), policy).await;
    let peer = arrivals.accept().await;
    scene.wait_for_change(Connected).await;
    (scene, peer)
}

const INSTANT: LinkProfile = LinkProfile { latency: Duration::ZERO };
/// A chunk a second: a large message takes a minute.
const SLOW: LinkProfile = LinkProfile { latency: s(1) };
const MINUTE_BYTES: usize = 60 * CHUNK_BYTES;

#[tokio::test(start_paused = true)]
async fn peer_that_never_reads_is_dropped_in_time() {
    let (mut scene, _peer) = connected_over_network(INSTANT, slow_retry_policy()).await;
    let begun_at = scene.runtime.now();
    let blocked = scene.send_text("x".repeat(MINUTE_BYTES), NEVER).await;
    let (change, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
    assert!(at - begun_at <= s(15 + 10) + ROUNDING, "{:?}", at - begun_at);
    assert_eq!(blocked.await, Ok(SendOutcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn peer_that_sends_but_never_reads_is_dropped() {
    let (mut scene, mut peer) = connected_over_network(INSTANT, slow_retry_policy()).await;
    let mut speaker = JoinSet::new();
    speaker.spawn(async move {
        for _ in 0..100 {
            peer.send_text("I am here").await;
            tokio::time::sleep(s(5)).await;
        }
    });
    let begun_at = scene.runtime.now();
    let blocked = scene.send_text("x".repeat(MINUTE_BYTES), NEVER).await;
    let (change, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
    assert!(at - begun_at <= s(15 + 10) + ROUNDING, "{:?}", at - begun_at);
    assert_eq!(blocked.await, Ok(SendOutcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn slow_upload_of_a_large_message_counts_as_activity() {
    let (mut scene, mut peer) = connected_over_network(SLOW, slow_retry_policy()).await;
    let begun_at = scene.runtime.now();
    let sent = scene.send_text("x".repeat(MINUTE_BYTES), NEVER).await;
    let (text, fate) = tokio::join!(peer.next_text(), sent);
    assert_eq!((text.len(), fate), (MINUTE_BYTES, Ok(SendOutcome::Sent)));
    assert!(scene.runtime.now() - begun_at > s(50));
    assert_eq!(scene.view.status.borrow().state, Connected);
    assert_eq!(scene.journal.try_next().await, None, "nothing has changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn slow_download_of_a_large_message_counts_as_activity() {
    let (mut scene, mut peer) = connected_over_network(SLOW, slow_retry_policy()).await;
    let begun_at = scene.runtime.now();
    let text = "x".repeat(MINUTE_BYTES);
    let (received, ()) = tokio::join!(scene.frames.next(), peer.send_text(&text));
    assert_eq!(received, Some(Inbound::Text(text.into())));
    assert!(scene.runtime.now() - begun_at > s(50));
    assert_eq!(scene.view.status.borrow().state, Connected);
    assert_eq!(scene.journal.try_next().await, None, "nothing has changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn late_timers_after_suspend_cause_one_verification() {
    let (mut scene, peer) = connected_over_network(INSTANT, slow_retry_policy()).await;
    let sent = scene.send_text("before the sleep", Duration::from_secs(1)).await;
    assert_eq!(sent.await, Ok(SendOutcome::Sent));
    scene.clock.advance(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let woke_at = scene.runtime.now();
    let (change, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
    assert!(at - woke_at <= s(10) + ROUNDING, "{:?}", at - woke_at);
    assert_eq!(peer.read_to_end().await, [Wire::text("before the sleep"), ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn late_timer_after_suspend_restarts_a_backoff() {
    let mut scene = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    while scene.wait_for_change(Reconnecting).await.0.attempt < 3 {}
    scene.clock.advance(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let (change, _) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(
        (change.attempt, change.next_attempt_at, change.reason),
        (1, None, StatusReason::SystemResumed)
    );
}

#[tokio::test(start_paused = true)]
async fn late_timer_after_suspend_does_not_fail_a_dial() {
    let (network, _arrivals) = Network::new(INSTANT, NetworkState::Blackholing);
    let mut scene = ConnectionFixture::start(network.target(), slow_retry_policy()).await;
    scene.wait_for_change(Connecting).await;
    scene.clock.advance(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let woke_at = scene.runtime.now();
    let (change, at) = scene.wait_for_change(Reconnecting).await;
    assert_eq!(
        (change.attempt, change.reason),
        (2, StatusReason::Failed(ConnectionErrorKind::ConnectTimedOut))
    );
    assert!(at - woke_at >= s(10) - ROUNDING, "{:?}", at - woke_at);
}

#[tokio::test]
async fn flooding_peer_does_not_delay_commands() {
    let server = WsServer::listening().await;
    let (mut scene, mut peer) = ConnectionFixture::connected(&server, immediate_retry_policy(5)).await;
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        let text = "x".repeat(1000);
        while peer.try_send_text(&text).await.is_ok() {}
    });
    // It is under way.
    scene.next_text().await;
    scene.send(ConnectionMessage::Disconnect).await;
    scene.wait_for_change(Disconnected).await;
    flood.join_all().await;
}
