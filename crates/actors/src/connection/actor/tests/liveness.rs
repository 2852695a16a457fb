//! Tests lost peers and standstills.

use tokio::{io::DuplexStream, task::JoinSet};

use super::{network::CHUNK_BYTES, *};

/// Waits until the connection gives its silent peer up, which takes at most this long.
async fn assert_given_up(fixture: &mut ConnectionFixture, since: Duration, limit: Duration) {
    let (change, at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(Reason::TimedOut));
    assert!(at - since <= limit + ROUNDING, "{:?}", at - since);
}

#[tokio::test]
async fn silent_peer_is_dropped_within_ping_interval_and_timeout() {
    let (_server, mut fixture, peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    tokio::time::pause();
    let silent_since = fixture.runtime.now();
    assert_given_up(&mut fixture, silent_since, s(15 + 10)).await;
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)], "and no close frame");
}

#[tokio::test]
async fn peer_that_answers_pings_is_kept() {
    let policy = ConnectionPolicy { ping_interval: Duration::from_millis(1), ..slow_retry_policy() };
    let (_server, fixture, mut peer) = ConnectionFixture::connected(policy).await;
    let mut pings = 0;
    while pings < 20 {
        // Reading on sends the answer to the one before.
        pings += u32::from(peer.read().await.unwrap().is_ping());
    }
    assert_eq!(fixture.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn resume_verifies_the_open_socket_soon_and_once() {
    let (_server, mut fixture, peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    tokio::time::pause();
    fixture.clock.advance(s(8 * 3600));
    let woke_at = fixture.runtime.now();
    assert_given_up(&mut fixture, woke_at, CLOCK_CHECK_INTERVAL + s(10)).await;
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)]);
}

#[tokio::test]
async fn resume_when_a_ping_is_due_sends_one_verification() {
    let (_server, mut fixture, peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    tokio::time::pause();
    let just_before_the_ping = fixture.view.status.borrow().since + s(15) - Duration::from_millis(500);
    tokio::time::sleep(just_before_the_ping - fixture.runtime.now()).await;
    fixture.clock.advance(s(60));
    let (_, at) = fixture.wait_for_change(Reconnecting).await;
    assert!(at <= just_before_the_ping + s(1 + 10));
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)]);
}

#[tokio::test]
async fn first_frame_after_resume_triggers_the_verification() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(slow_retry_policy()).await;
    fixture.clock.advance(s(60));
    for text in ["sent before the sleep", "so was this"] {
        peer.send_text(text).await;
        assert_eq!(fixture.next_text().await, text);
    }
    tokio::time::pause();
    let (change, _) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!(change.reason, StatusReason::Failed(Reason::TimedOut));
    tokio::time::resume();
    assert_eq!(peer.read_to_end().await, [ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn resume_cuts_a_backoff_short() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let (_, waiting_since) = fixture.wait_for_change(Reconnecting).await;
    fixture.clock.advance(s(60));
    let (dialling, at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!((dialling.attempt, dialling.reason), (1, StatusReason::SystemResumed));
    assert!(at - waiting_since <= CLOCK_CHECK_INTERVAL, "{:?}", at - waiting_since);
}

#[tokio::test(start_paused = true)]
async fn wall_clock_corrections_change_nothing() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    let (_, waiting_since) = fixture.wait_for_change(Reconnecting).await;
    fixture.clock.advance(s(4));
    tokio::time::sleep(s(60)).await;
    *fixture.clock.0.lock() = "2025-01-01T00:00:00Z".parse().unwrap();
    let (_, at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!(at, waiting_since + NEVER);
}

// === over a simulated network, on a paused clock ===

/// Returns a connection over the simulated network, with the server's end.
async fn connected_over_network(
    profile: LinkProfile,
    policy: ConnectionPolicy,
) -> (ConnectionFixture, WsPeer<DuplexStream>) {
    let (network, mut arrivals) = Network::new(profile, NetworkState::Up);
    let mut fixture = ConnectionFixture::start(network.target(), policy).await;
    let peer = arrivals.accept().await;
    fixture.wait_for_change(Connected).await;
    (fixture, peer)
}

const INSTANT: LinkProfile = LinkProfile { latency: Duration::ZERO };
/// One chunk a second: a large message takes a minute.
const SLOW: LinkProfile = LinkProfile { latency: s(1) };
const MINUTE_BYTES: usize = 60 * CHUNK_BYTES;

#[tokio::test(start_paused = true)]
async fn peer_that_never_reads_is_dropped_in_time() {
    for speaks in [false, true] {
        let (mut fixture, mut peer) = connected_over_network(INSTANT, slow_retry_policy()).await;
        let mut speaker = JoinSet::new();
        speaker.spawn(async move {
            for _ in 0..100 {
                if speaks {
                    peer.send_text("I am here").await;
                }
                tokio::time::sleep(s(5)).await;
            }
        });
        let begun_at = fixture.runtime.now();
        let blocked = fixture.send_text("x".repeat(MINUTE_BYTES), NEVER).await;
        assert_given_up(&mut fixture, begun_at, s(15 + 10)).await;
        assert_eq!(blocked.await, Ok(SendOutcome::Failed(SendFailure::Unknown)), "it speaks: {speaks}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_upload_of_a_large_message_counts_as_activity() {
    let (mut fixture, mut peer) = connected_over_network(SLOW, slow_retry_policy()).await;
    let begun_at = fixture.runtime.now();
    let sent = fixture.send_text("x".repeat(MINUTE_BYTES), NEVER).await;
    let (text, outcome) = tokio::join!(peer.next_text(), sent);
    assert_eq!((text.len(), outcome), (MINUTE_BYTES, Ok(SendOutcome::Sent)));
    assert!(fixture.runtime.now() - begun_at > s(50));
    assert_eq!(fixture.view.status.borrow().state, Connected);
    assert_eq!(fixture.journal.try_next().await, None, "nothing has changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn slow_download_of_a_large_message_counts_as_activity() {
    let (mut fixture, mut peer) = connected_over_network(SLOW, slow_retry_policy()).await;
    let begun_at = fixture.runtime.now();
    let text = "x".repeat(MINUTE_BYTES);
    let (received, ()) = tokio::join!(fixture.frames.next(), peer.send_text(&text));
    assert_eq!(received, Some(Inbound::Text(text.into())));
    assert!(fixture.runtime.now() - begun_at > s(50));
    assert_eq!(fixture.view.status.borrow().state, Connected);
    assert_eq!(fixture.journal.try_next().await, None, "nothing has changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn late_timers_after_standstill_cause_one_verification() {
    let (mut fixture, peer) = connected_over_network(INSTANT, slow_retry_policy()).await;
    let sent = fixture.send_text("before the sleep", Duration::from_secs(1)).await;
    assert_eq!(sent.await, Ok(SendOutcome::Sent));
    fixture.clock.advance(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let woke_at = fixture.runtime.now();
    assert_given_up(&mut fixture, woke_at, s(10)).await;
    assert_eq!(peer.read_to_end().await, [Wire::text("before the sleep"), ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn late_timer_after_standstill_restarts_a_backoff() {
    let mut fixture = ConnectionFixture::start(unresolvable_target(), slow_retry_policy()).await;
    while fixture.wait_for_change(Reconnecting).await.0.attempt < 3 {}
    fixture.clock.advance(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let (change, _) = fixture.wait_for_change(Reconnecting).await;
    let expected = (1, None, StatusReason::SystemResumed);
    assert_eq!((change.attempt, change.next_attempt_at, change.reason), expected);
}

#[tokio::test(start_paused = true)]
async fn late_timer_after_standstill_does_not_fail_a_dial() {
    let (network, _arrivals) = Network::new(INSTANT, NetworkState::Blackholing);
    let mut fixture = ConnectionFixture::start(network.target(), slow_retry_policy()).await;
    fixture.wait_for_change(Connecting).await;
    fixture.clock.advance(s(8 * 3600));
    tokio::time::advance(s(8 * 3600)).await;
    let woke_at = fixture.runtime.now();
    let (change, at) = fixture.wait_for_change(Reconnecting).await;
    assert_eq!((change.attempt, change.reason), (2, StatusReason::Failed(Reason::ConnectTimedOut)));
    assert!(at - woke_at >= s(10) - ROUNDING, "{:?}", at - woke_at);
}

#[tokio::test]
async fn flooding_peer_does_not_delay_commands() {
    let (_server, mut fixture, mut peer) = ConnectionFixture::connected(immediate_retry_policy(5)).await;
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        let text = "x".repeat(1000);
        while peer.try_send_text(&text).await.is_ok() {}
    });
    // The write is in progress.
    fixture.next_text().await;
    fixture.send(ConnectionMessage::Disconnect).await;
    fixture.wait_for_change(Disconnected).await;
    flood.join_all().await;
}
