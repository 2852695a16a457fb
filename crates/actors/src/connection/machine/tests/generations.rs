//! Tests that one socket's events have one consequence, and an old socket's none.

use super::*;

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
