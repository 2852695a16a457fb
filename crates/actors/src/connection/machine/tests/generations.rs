//! Tests that one socket's events have one consequence, and an old socket's none.

use super::*;

#[test]
fn error_and_close_of_one_socket_cause_one_attempt() {
    let mut fixture = TestMachine::connected(policy());
    let expected = [drop_socket(1)];
    assert_eq!(fixture.apply(MachineEvent::SendFailed { generation: 1, error: error(Kind::Lost) }), expected);
    let planned = fixture.machine.status();
    assert_eq!(fixture.apply_all(lost(1)), []);
    assert_eq!(fixture.apply_all(lost(1)), []);
    assert_eq!(fixture.machine.status(), planned);
    assert_eq!(fixture.tick_when_due(), [dial(2)]);
    assert_eq!(fixture.apply(Tick), []);
}

#[test]
fn a_late_event_from_an_old_socket_changes_nothing() {
    let mut fixture = TestMachine::connected(policy());
    fixture.apply(lost(1));
    fixture.tick_when_due();
    fixture.apply(opened(2));
    let before = fixture.machine.status();
    fixture.advance(s(1));
    assert_eq!(fixture.apply_all(lost(1)), []);
    assert_eq!(fixture.apply_all(refused(1)), []);
    assert_eq!(fixture.apply_all(received(1)), []);
    assert_eq!(fixture.machine.status(), before);
}

#[test]
fn activity_of_an_old_socket_does_not_keep_the_new_one() {
    let mut fixture = TestMachine::connected(policy());
    fixture.apply(lost(1));
    fixture.tick_when_due();
    fixture.apply(opened(2));
    assert_eq!(fixture.tick_when_due(), [ping(2, 1)]);
    fixture.apply(received(1));
    fixture.apply(MachineEvent::PongReceived { generation: 1, number: 1 });
    let at = fixture.now;
    fixture.apply(MachineEvent::BytesMoved { generation: 1, at });
    assert_eq!(fixture.tick_when_due(), [drop_socket(2)]);
}
