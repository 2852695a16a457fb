//! From the first attempt to giving up, and what makes the count begin anew.

use super::*;

#[test]
fn a_failed_first_attempt_is_followed_by_growing_waits_until_every_retry_is_spent() {
    let mut play = Play::new(policy());
    assert_eq!(play.on(Event::Connect), [dial(1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert_eq!(play.on(refused(generation)), [drop_of(generation)]);
        assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, generation as u32 + 1));
        assert_eq!(play.wait(), secs(wait));
        assert_eq!(play.wake(), [dial(generation + 1)]);
        assert_eq!(play.state(), ConnectionState::Reconnecting);
    }
    let last = play.change_on(refused(5));
    assert_eq!((last.to, last.attempt, last.reason), (ConnectionState::Failed, 5, Reason::RetriesExhausted));
    assert_eq!(last.error, Some(fault(FaultKind::Refused)));
    assert_eq!(play.machine.next_wake(), None);
}

#[test]
fn a_lost_connection_is_dialled_again_after_the_first_delay() {
    let mut play = Play::connected(policy());
    play.pass(secs(60)).on(received(1));
    assert_eq!(play.on(lost(1)), [drop_of(1)]);
    assert_eq!((play.state(), play.attempt(), play.wait()), (ConnectionState::Reconnecting, 1, secs(1)));
    assert_eq!(play.wake(), [dial(2)]);
    let flushed = [Action::Resume { generation: 2 }, Action::FlushOutbound { generation: 2 }];
    assert_eq!(play.on(opened(2)), flushed);
    assert_eq!(play.machine.open_generation(), Some(2));
}

#[test]
fn after_a_loss_the_waits_grow_from_the_first_delay_on() {
    let mut play = Play::connected(policy());
    play.pass(secs(60)).on(received(1));
    play.on(lost(1));
    for (generation, wait) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 16)] {
        assert_eq!(play.wait(), secs(wait));
        play.wake();
        play.on(refused(generation));
    }
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn without_retries_the_first_failure_is_final() {
    let mut play = Play::connected(ConnectionPolicy { max_retries: 0, ..policy() });
    play.pass(secs(60)).on(received(1));
    play.on(lost(1));
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn with_probing_a_failed_connection_is_dialled_once_every_interval_until_it_opens() {
    let (mut play, last) = Play::failed(probing());
    for probe in [last + 1, last + 2] {
        assert_eq!((play.state(), play.wait()), (ConnectionState::Failed, secs(60)));
        assert_eq!(play.wake(), [dial(probe)]);
        assert_eq!(play.state(), ConnectionState::Failed);
        play.on(refused(probe));
    }
    play.wake();
    play.on(opened(last + 3));
    assert_eq!(play.state(), ConnectionState::Connected);
    play.on(lost(last + 3));
    assert_eq!(play.state(), ConnectionState::Failed, "it opened, but did not prove stable");
}

#[test]
fn a_probe_that_fails_stays_a_probe_however_few_attempts_were_made() {
    let mut play = Play::new(probing());
    play.on(Event::Connect);
    play.on(Event::DialFailed { generation: 1, fault: Fault::from_status(401, None) });
    play.wake();
    let change = play.change_on(refused(2));
    assert_eq!((change.to, change.reason), (ConnectionState::Failed, Reason::Fault(FaultKind::Refused)));
    assert_eq!(play.wait(), secs(60));
}

#[test]
fn at_the_hundredth_attempt_delays_still_differ_and_none_exceeds_the_cap() {
    let delay = Delay::Exponential { min: secs(1), max: secs(30), factor: 2.0, jitter: true };
    let mut play = Play::waiting(ConnectionPolicy { max_retries: 1000, delay, ..policy() });
    for generation in 2..=101 {
        play.wake();
        let mut unlucky = Play { machine: play.machine.clone(), jitter: 0.999, ..play };
        play.jitter = 0.001;
        play.on(refused(generation));
        unlucky.on(refused(generation));
        assert!(play.wait() < unlucky.wait() && unlucky.wait() <= secs(30), "attempt {generation}");
    }
}

#[test]
fn a_server_that_accepts_and_drops_at_once_does_not_reset_the_backoff() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        play.on(opened(generation));
        play.pass(secs(9)).on(lost(generation));
        assert_eq!((play.attempt(), play.wait()), (generation as u32 + 1, secs(wait)));
        play.wake();
    }
    play.on(opened(5));
    play.on(lost(5));
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn a_connection_that_lasted_for_stable_after_resets_the_backoff() {
    let mut play = Play::waiting(policy());
    play.wake();
    play.on(opened(2));
    play.pass(secs(10)).on(lost(2));
    assert_eq!((play.attempt(), play.wait()), (1, secs(1)));
}

#[test]
fn a_server_that_accepts_and_never_speaks_does_not_reset_the_backoff() {
    let mut play = Play::connected(policy());
    play.wake();
    play.wake();
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn a_silence_that_only_the_system_noticed_does_not_reset_the_backoff() {
    let mut play = Play::waiting(policy());
    play.wake();
    play.on(opened(2));
    play.pass(secs(14)).on(Event::Closed { generation: 2, fault: fault(FaultKind::Unanswered) });
    assert_eq!(play.attempt(), 3);
}

#[test]
fn a_handshake_that_never_answers_ends_by_connect_timeout_and_counts_as_an_attempt() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    play.pass(Duration::from_millis(9_999));
    assert_eq!(play.on(Event::Tick), []);
    play.pass(Duration::from_millis(1));
    let change = play.change_on(Event::Tick);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!(change.reason, Reason::Fault(FaultKind::ConnectTimedOut));
}

#[test]
fn a_timed_out_dial_is_dropped() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    assert_eq!(play.wake(), [drop_of(1)]);
}
