//! One socket's events lead to one consequence, and an old one's to none.

use super::*;

#[test]
fn error_and_close_of_one_socket_cause_one_attempt() {
    let mut play = TestMachine::connected(policy());
    assert_eq!(
        play.apply(MachineEvent::SendFailed { generation: 1, error: fault(ConnectionErrorKind::Lost) }),
        [drop_socket(1)]
    );
    let planned = play.machine.status();
    assert_eq!(play.apply_all(lost(1)), []);
    assert_eq!(play.apply_all(lost(1)), []);
    assert_eq!(play.machine.status(), planned);
    assert_eq!(play.tick_when_due(), [dial(2)]);
    assert_eq!(play.apply(MachineEvent::Tick), []);
}

#[test]
fn a_late_event_from_an_old_socket_changes_nothing() {
    let mut play = TestMachine::connected(policy());
    play.apply(lost(1));
    play.tick_when_due();
    play.apply(opened(2));
    let before = play.machine.status();
    play.advance(secs(1));
    assert_eq!(play.apply_all(lost(1)), []);
    assert_eq!(play.apply_all(refused(1)), []);
    assert_eq!(play.apply_all(received(1)), []);
    assert_eq!(play.machine.status(), before);
}

#[test]
fn a_dial_that_opens_after_it_was_given_up_is_dropped() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    play.tick_when_due();
    assert_eq!(play.apply_all(opened(1)), [drop_socket(1)]);
    assert_eq!(play.state(), ConnectionState::Reconnecting);
}

#[test]
fn activity_of_an_old_socket_does_not_keep_the_new_one() {
    let mut play = TestMachine::connected(policy());
    play.apply(lost(1));
    play.tick_when_due();
    play.apply(opened(2));
    assert_eq!(play.tick_when_due(), [ping(2, 1)]);
    play.apply(received(1));
    play.apply(MachineEvent::PongReceived { generation: 1, number: 1 });
    let at = play.now;
    play.apply(MachineEvent::BytesMoved { generation: 1, at });
    assert_eq!(play.tick_when_due(), [drop_socket(2)]);
}
