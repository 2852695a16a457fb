//! Tests lost peers and standstills.

use super::*;

#[test]
fn any_frame_counts_as_life() {
    let mut fixture = TestMachine::connected(policy());
    fixture.tick_when_due();
    fixture.advance(s(9)).apply(received(1));
    assert_eq!(fixture.machine.next_wake(), Some(fixture.now + s(15)));
    assert_eq!(fixture.tick_when_due(), [ping(1, 2)]);
    fixture.apply(MachineEvent::PongReceived { generation: 1, number: 2 });
    assert_eq!(fixture.machine.next_wake(), Some(fixture.now + s(15)));
}

#[test]
fn with_pings_off_a_silent_peer_is_believed() {
    let mut fixture = TestMachine::connected(ConnectionPolicy { ping_interval: Duration::ZERO, ..policy() });
    assert_eq!(fixture.machine.next_wake(), None);
    fixture.advance(s(86_400));
    assert_eq!(fixture.apply(Tick), []);
    assert_eq!(fixture.apply(SystemResumed), [ping(1, 1)], "but not after a sleep");
}

#[test]
fn resume_trusts_the_socket_after_the_pong() {
    let mut fixture = TestMachine::connected(policy());
    fixture.tick_when_due();
    assert_eq!(fixture.apply(SystemResumed), [ping(1, 2)]);
    fixture.apply(MachineEvent::PongReceived { generation: 1, number: 1 });
    let expected = Some(fixture.now + s(10));
    assert_eq!(fixture.machine.next_wake(), expected, "the answer to an older ping is no proof");
    fixture.apply(MachineEvent::PongReceived { generation: 1, number: 2 });
    assert_eq!(fixture.machine.next_wake(), Some(fixture.now + s(15)));
}

#[test]
fn resume_resets_attempts_and_delays() {
    let mut fixture = TestMachine::waiting(policy());
    for generation in 2..=4 {
        fixture.tick_when_due();
        fixture.apply(refused(generation));
    }
    let expected = (5, s(8));
    assert_eq!((fixture.attempt(), fixture.time_to_next_attempt()), expected, "the next attempt is the last");
    assert_eq!(fixture.apply(SystemResumed), [dial(5)]);
    assert_eq!((fixture.state(), fixture.attempt()), (Reconnecting, 1));
    fixture.apply(dial_failed(5, error(Kind::Unresolved)));
    assert_eq!(fixture.wait(), (Reconnecting, 2, s(1)));
}

#[test]
fn resume_during_the_last_attempt_allows_another() {
    let mut fixture = TestMachine::waiting(policy());
    for generation in 2..=4 {
        fixture.tick_when_due();
        fixture.apply(refused(generation));
    }
    assert_eq!(fixture.tick_when_due(), [dial(5)]);
    assert_eq!(fixture.attempt(), 5, "the last");
    let change = fixture.transition_on(SystemResumed);
    assert_eq!((change.to, change.attempt, change.reason), (Reconnecting, 1, StatusReason::SystemResumed));
    fixture.apply(dial_failed(5, error(Kind::Unresolved)));
    assert_eq!(fixture.wait(), (Reconnecting, 2, s(1)));
}

#[test]
fn resume_during_a_dial_restarts_its_timeout() {
    for mut fixture in [TestMachine::waiting(policy()), TestMachine::failed(probing_policy()).0] {
        fixture.tick_when_due();
        let state = fixture.state();
        fixture.advance(s(3600)).apply(SystemResumed);
        assert_eq!(fixture.apply(Tick), [], "{state:?}");
        assert_eq!((fixture.state(), fixture.machine.next_wake()), (state, Some(fixture.now + s(10))));
    }
}

#[test]
fn bytes_without_a_complete_frame_count_as_activity() {
    let mut fixture = TestMachine::connected(policy());
    let moved_at = fixture.advance(s(14)).now;
    fixture.advance(s(1)).apply(MachineEvent::BytesMoved { generation: 1, at: moved_at });
    assert_eq!(fixture.apply(Tick), [], "active a second ago");
    assert_eq!(fixture.machine.next_wake(), Some(moved_at + s(15)));
    assert_eq!(fixture.tick_when_due(), [ping(1, 1)]);
    let moved_at = fixture.advance(s(9)).now;
    fixture.advance(s(1)).apply(MachineEvent::BytesMoved { generation: 1, at: moved_at });
    assert_eq!(fixture.apply(Tick), []);
    assert_eq!(fixture.machine.next_wake(), Some(moved_at + s(15)));
}

#[test]
fn bytes_that_moved_before_a_ping_do_not_answer_it() {
    let mut fixture = TestMachine::connected(policy());
    let moved_at = fixture.now;
    fixture.tick_when_due();
    fixture.apply(MachineEvent::BytesMoved { generation: 1, at: moved_at });
    assert_eq!(fixture.tick_when_due(), [drop_socket(1)]);
}

#[test]
fn bytes_alone_do_not_verify_after_resume() {
    let mut fixture = TestMachine::connected(policy());
    fixture.apply(SystemResumed);
    fixture.advance(s(9));
    let at = fixture.now;
    fixture.apply(MachineEvent::BytesMoved { generation: 1, at });
    assert_eq!(fixture.tick_when_due(), [drop_socket(1)]);
}
