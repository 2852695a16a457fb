//! A peer that is no longer there, and a machine that slept.

use super::*;

#[test]
fn vanished_peer_is_dead_within_ping_interval_and_timeout() {
    let mut play = TestMachine::connected(policy());
    play.advance(secs(7)).apply(received(1));
    let vanished_at = play.now;
    assert_eq!(play.tick_when_due(), [ping(1, 1)]);
    assert_eq!(play.tick_when_due(), [drop_socket(1)], "no close handshake is awaited");
    assert_eq!(play.now - vanished_at, secs(15 + 10));
    assert_eq!(play.machine.status().reason, StatusReason::Failed(ConnectionErrorKind::Unanswered));
}

#[test]
fn any_frame_counts_as_life() {
    let mut play = TestMachine::connected(policy());
    play.tick_when_due();
    play.advance(secs(9)).apply(received(1));
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
    assert_eq!(play.tick_when_due(), [ping(1, 2)]);
    play.apply(MachineEvent::PongReceived { generation: 1, number: 2 });
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
}

#[test]
fn with_pings_off_a_silent_peer_is_believed() {
    let mut play = TestMachine::connected(ConnectionPolicy { ping_interval: Duration::ZERO, ..policy() });
    assert_eq!(play.machine.next_wake(), None);
    play.advance(secs(86_400));
    assert_eq!(play.apply(MachineEvent::Tick), []);
    assert_eq!(play.apply(MachineEvent::SystemResumed), [ping(1, 1)], "but not after a sleep");
}

#[test]
fn resume_verifies_an_open_socket_once() {
    let mut play = TestMachine::connected(policy());
    play.advance(secs(3));
    assert_eq!(play.apply(MachineEvent::SystemResumed), [ping(1, 1)]);
    assert_eq!(play.apply(MachineEvent::SystemResumed), [], "one probe, not a burst");
    let deadline = play.now + secs(10);
    play.apply(received(1));
    assert_eq!(play.machine.next_wake(), Some(deadline), "what was buffered before the sleep proves nothing");
    assert_eq!(play.tick_when_due(), [drop_socket(1)]);
}

#[test]
fn resume_trusts_the_socket_after_the_pong() {
    let mut play = TestMachine::connected(policy());
    play.tick_when_due();
    assert_eq!(play.apply(MachineEvent::SystemResumed), [ping(1, 2)]);
    play.apply(MachineEvent::PongReceived { generation: 1, number: 1 });
    assert_eq!(
        play.machine.next_wake(),
        Some(play.now + secs(10)),
        "the answer to an older ping is no proof"
    );
    play.apply(MachineEvent::PongReceived { generation: 1, number: 2 });
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
}

#[test]
fn resume_during_a_backoff_dials_at_once() {
    let mut play = TestMachine::waiting(policy());
    assert_eq!(play.apply(MachineEvent::SystemResumed), [dial(2)]);
    assert_eq!(play.apply_all(MachineEvent::SystemResumed), []);
}

#[test]
fn resume_resets_attempts_and_delays() {
    let mut play = TestMachine::waiting(policy());
    for generation in 2..=4 {
        play.tick_when_due();
        play.apply(refused(generation));
    }
    assert_eq!((play.attempt(), play.time_to_next_attempt()), (5, secs(8)), "the next attempt is the last");
    assert_eq!(play.apply(MachineEvent::SystemResumed), [dial(5)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 1));
    play.apply(MachineEvent::DialFailed { generation: 5, error: fault(ConnectionErrorKind::Unresolved) });
    assert_eq!(
        (play.state(), play.attempt(), play.time_to_next_attempt()),
        (ConnectionState::Reconnecting, 2, secs(1))
    );
}

#[test]
fn resume_during_the_last_attempt_allows_another() {
    let mut play = TestMachine::waiting(policy());
    for generation in 2..=4 {
        play.tick_when_due();
        play.apply(refused(generation));
    }
    assert_eq!(play.tick_when_due(), [dial(5)]);
    assert_eq!(play.attempt(), 5, "the last");
    let change = play.transition_on(MachineEvent::SystemResumed);
    assert_eq!(
        (change.to, change.attempt, change.reason),
        (ConnectionState::Reconnecting, 1, StatusReason::SystemResumed)
    );
    play.apply(MachineEvent::DialFailed { generation: 5, error: fault(ConnectionErrorKind::Unresolved) });
    assert_eq!(
        (play.state(), play.attempt(), play.time_to_next_attempt()),
        (ConnectionState::Reconnecting, 2, secs(1))
    );
}

#[test]
fn resume_during_a_dial_restarts_its_timeout() {
    for mut play in [TestMachine::waiting(policy()), TestMachine::failed(probing_policy()).0] {
        play.tick_when_due();
        let state = play.state();
        play.advance(secs(3600)).apply(MachineEvent::SystemResumed);
        assert_eq!(play.apply(MachineEvent::Tick), [], "{state:?}");
        assert_eq!((play.state(), play.machine.next_wake()), (state, Some(play.now + secs(10))));
    }
}

#[test]
fn bytes_without_a_complete_frame_count_as_activity() {
    let mut play = TestMachine::connected(policy());
    let moved_at = play.advance(secs(14)).now;
    play.advance(secs(1)).apply(MachineEvent::BytesMoved { generation: 1, at: moved_at });
    assert_eq!(play.apply(MachineEvent::Tick), [], "heard a second ago");
    assert_eq!(play.machine.next_wake(), Some(moved_at + secs(15)));
    assert_eq!(play.tick_when_due(), [ping(1, 1)]);
    let moved_at = play.advance(secs(9)).now;
    play.advance(secs(1)).apply(MachineEvent::BytesMoved { generation: 1, at: moved_at });
    assert_eq!(play.apply(MachineEvent::Tick), []);
    assert_eq!(play.machine.next_wake(), Some(moved_at + secs(15)));
}

#[test]
fn bytes_that_moved_before_a_ping_do_not_answer_it() {
    let mut play = TestMachine::connected(policy());
    let moved_at = play.now;
    play.tick_when_due();
    play.apply(MachineEvent::BytesMoved { generation: 1, at: moved_at });
    assert_eq!(play.tick_when_due(), [drop_socket(1)]);
}

#[test]
fn bytes_alone_do_not_verify_after_resume() {
    let mut play = TestMachine::connected(policy());
    play.apply(MachineEvent::SystemResumed);
    play.advance(secs(9));
    let at = play.now;
    play.apply(MachineEvent::BytesMoved { generation: 1, at });
    assert_eq!(play.tick_when_due(), [drop_socket(1)]);
}

#[test]
fn resume_probes_a_failed_connection_only_if_policy_probes() {
    let (mut play, _) = TestMachine::failed(policy());
    assert_eq!(play.apply_all(MachineEvent::SystemResumed), []);
    let (mut play, last) = TestMachine::failed(probing_policy());
    assert_eq!(play.apply(MachineEvent::SystemResumed), [dial(last + 1)]);
    assert_eq!(play.apply_all(MachineEvent::SystemResumed), []);
}

#[test]
fn late_tick_verifies_instead_of_declaring_dead() {
    let mut play = TestMachine::connected(policy());
    assert_eq!(play.tick_when_due(), [ping(1, 1)]);
    play.advance(secs(3600));
    assert_eq!(play.apply(MachineEvent::Tick), [ping(1, 2)]);
    assert_eq!(play.apply(MachineEvent::Tick), []);
    play.advance(secs(3600));
    assert_eq!(play.apply(MachineEvent::Tick), [drop_socket(1)], "but it does so only once");
}

#[test]
fn late_ping_is_a_verification() {
    let mut play = TestMachine::connected(policy());
    play.advance(secs(3600));
    assert_eq!(play.apply(MachineEvent::Tick), [ping(1, 1)]);
    play.apply(received(1));
    assert_eq!(play.tick_when_due(), [drop_socket(1)], "what was buffered meanwhile proves nothing");
}
