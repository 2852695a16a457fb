//! Tests commands.

use super::*;

#[test]
fn manual_reconnect_during_a_backoff_tries_now() {
    let mut fixture = TestMachine::waiting(policy());
    let change = fixture.transition_on(Connect);
    assert_eq!((change.to, change.attempt), (Reconnecting, 2));
    assert_eq!((change.next_attempt_at, change.reason, change.error), (None, StatusReason::Requested, None));
    fixture.advance(s(5));
    assert_eq!(fixture.apply(Tick), [], "the old timer dials no second time");
}

#[test]
fn reconnect_while_connected_replaces_the_socket() {
    let mut fixture = TestMachine::connected(policy());
    let close = MachineAction::SendCloseCode { generation: 1, code: 1000 };
    assert_eq!(fixture.apply(Connect), [close, drop_socket(1), dial(2)]);
    assert_eq!((fixture.state(), fixture.attempt()), (Connecting, 1));
    assert_eq!(fixture.apply(lost(1)), [], "the old socket is of no concern");
    assert!(fixture.apply(opened(2)).contains(&MachineAction::Resume { generation: 2 }));
}

#[test]
fn backend_hint_without_effect_is_ignored_for_a_while() {
    let spend = |fixture: &mut TestMachine| {
        while fixture.state() != Failed {
            fixture.apply(refused(fixture.machine.generation));
            if fixture.state() == Reconnecting {
                fixture.tick_when_due();
            }
        }
    };
    let (mut fixture, _) = TestMachine::failed(policy());
    let heeded_at = fixture.now;
    assert!(!fixture.apply(BackendSeen).is_empty());
    spend(&mut fixture);
    assert_eq!(fixture.apply_all(BackendSeen), [], "its WebSocket alone is broken");
    fixture.now = heeded_at + s(60);
    assert!(!fixture.apply(BackendSeen).is_empty());

    fixture.apply(opened(fixture.machine.generation));
    fixture.advance(s(10));
    fixture.apply(received(fixture.machine.generation));
    fixture.apply(lost(fixture.machine.generation));
    fixture.tick_when_due();
    spend(&mut fixture);
    assert!(fixture.now < heeded_at + s(120));
    assert!(!fixture.apply(BackendSeen).is_empty(), "since then a connection proved stable");
}

#[test]
fn backend_hint_counts_once_a_probe_found_no_refusal() {
    let mut fixture = TestMachine::connecting(probing_policy());
    fixture.apply(dial_failed(1, ConnectionError::from_status(401, None)));
    fixture.tick_when_due();
    fixture.apply(refused(2));
    assert_eq!(fixture.apply(BackendSeen), [dial(3)]);
}
