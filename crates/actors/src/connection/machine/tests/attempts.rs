//! From the first attempt to giving up, and what makes the count begin anew.

use super::*;

#[test]
fn failed_first_attempt_backs_off_until_retries_are_exhausted() {
    let mut play = TestMachine::new(policy());
    assert_eq!(play.apply(MachineEvent::Connect), [dial(1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert_eq!(play.apply(refused(generation)), [drop_socket(generation)]);
        assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, generation as u32 + 1));
        assert_eq!(play.time_to_next_attempt(), secs(wait));
        assert_eq!(play.tick_when_due(), [dial(generation + 1)]);
        assert_eq!(play.state(), ConnectionState::Reconnecting);
    }
    let last = play.transition_on(refused(5));
    assert_eq!(
        (last.to, last.attempt, last.reason),
        (ConnectionState::Failed, 5, StatusReason::RetriesExhausted)
    );
    assert_eq!(last.error, Some(fault(ConnectionErrorKind::Refused)));
    assert_eq!(play.machine.next_wake(), None);
}

#[test]
fn a_lost_connection_is_dialled_again_after_the_first_delay() {
    let mut play = TestMachine::connected(policy());
    play.advance(secs(60)).apply(received(1));
    assert_eq!(play.apply(lost(1)), [drop_socket(1)]);
    assert_eq!(
        (play.state(), play.attempt(), play.time_to_next_attempt()),
        (ConnectionState::Reconnecting, 1, secs(1))
    );
    assert_eq!(play.tick_when_due(), [dial(2)]);
    let flushed = [MachineAction::Resume { generation: 2 }, MachineAction::FlushOutbound { generation: 2 }];
    assert_eq!(play.apply(opened(2)), flushed);
    assert_eq!(play.machine.open_generation(), Some(2));
}

#[test]
fn after_a_loss_the_waits_grow_from_the_first_delay_on() {
    let mut play = TestMachine::connected(policy());
    play.advance(secs(60)).apply(received(1));
    play.apply(lost(1));
    for (generation, wait) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 16)] {
        assert_eq!(play.time_to_next_attempt(), secs(wait));
        play.tick_when_due();
        play.apply(refused(generation));
    }
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn without_retries_the_first_failure_is_final() {
    let mut play = TestMachine::connected(ConnectionPolicy { max_retries: 0, ..policy() });
    play.advance(secs(60)).apply(received(1));
    play.apply(lost(1));
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn failed_connection_is_probed_every_interval_until_it_opens() {
    let (mut play, last) = TestMachine::failed(probing_policy());
    for probe in [last + 1, last + 2] {
        assert_eq!((play.state(), play.time_to_next_attempt()), (ConnectionState::Failed, secs(60)));
        assert_eq!(play.tick_when_due(), [dial(probe)]);
        assert_eq!(play.state(), ConnectionState::Failed);
        play.apply(refused(probe));
    }
    play.tick_when_due();
    play.apply(opened(last + 3));
    assert_eq!(play.state(), ConnectionState::Connected);
    play.apply(lost(last + 3));
    assert_eq!(play.state(), ConnectionState::Failed, "it opened, but did not prove stable");
}

#[test]
fn failed_probe_is_followed_by_a_probe() {
    let mut play = TestMachine::new(probing_policy());
    play.apply(MachineEvent::Connect);
    play.apply(MachineEvent::DialFailed { generation: 1, error: ConnectionError::from_status(401, None) });
    play.tick_when_due();
    let change = play.transition_on(refused(2));
    assert_eq!(
        (change.to, change.reason),
        (ConnectionState::Failed, StatusReason::Failed(ConnectionErrorKind::Refused))
    );
    assert_eq!(play.time_to_next_attempt(), secs(60));
}

#[test]
fn hundredth_delay_is_jittered_and_within_the_cap() {
    let delay = Delay::Exponential { min: secs(1), max: secs(30), factor: 2.0, jitter: true };
    let mut play = TestMachine::waiting(ConnectionPolicy { max_retries: 1000, delay, ..policy() });
    for generation in 2..=101 {
        play.tick_when_due();
        let mut unlucky = TestMachine { machine: play.machine.clone(), jitter: 0.999, ..play };
        play.jitter = 0.001;
        play.apply(refused(generation));
        unlucky.apply(refused(generation));
        assert!(
            play.time_to_next_attempt() < unlucky.time_to_next_attempt()
                && unlucky.time_to_next_attempt() <= secs(30),
            "attempt {generation}"
        );
    }
}

#[test]
fn backoff_continues_when_server_accepts_and_drops() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        play.apply(opened(generation));
        play.advance(secs(9)).apply(lost(generation));
        assert_eq!((play.attempt(), play.time_to_next_attempt()), (generation as u32 + 1, secs(wait)));
        play.tick_when_due();
    }
    play.apply(opened(5));
    play.apply(lost(5));
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn a_connection_that_lasted_for_stable_after_resets_the_backoff() {
    let mut play = TestMachine::waiting(policy());
    play.tick_when_due();
    play.apply(opened(2));
    play.advance(secs(10)).apply(lost(2));
    assert_eq!((play.attempt(), play.time_to_next_attempt()), (1, secs(1)));
}

#[test]
fn backoff_continues_when_server_accepts_and_stays_silent() {
    let mut play = TestMachine::connected(policy());
    play.tick_when_due();
    play.tick_when_due();
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn backoff_continues_after_a_system_timeout() {
    let mut play = TestMachine::waiting(policy());
    play.tick_when_due();
    play.apply(opened(2));
    play.advance(secs(14))
        .apply(MachineEvent::Closed { generation: 2, error: fault(ConnectionErrorKind::Unanswered) });
    assert_eq!(play.attempt(), 3);
}

#[test]
fn silent_handshake_times_out_and_counts_as_an_attempt() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    play.advance(Duration::from_millis(9_999));
    assert_eq!(play.apply(MachineEvent::Tick), []);
    play.advance(Duration::from_millis(1));
    let change = play.transition_on(MachineEvent::Tick);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::ConnectTimedOut));
}

#[test]
fn a_timed_out_dial_is_dropped() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    assert_eq!(play.tick_when_due(), [drop_socket(1)]);
}
