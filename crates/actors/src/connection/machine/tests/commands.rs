//! Tests commands.

use super::*;

#[test]
fn a_manual_reconnect_during_a_backoff_tries_now() {
    let mut fixture = TestMachine::waiting(policy());
    let change = fixture.transition_on(Connect);
    assert_eq!((change.to, change.attempt), (Reconnecting, 2));
    assert_eq!((change.next_attempt_at, change.reason, change.error), (None, StatusReason::Requested, None));
    fixture.advance(s(5));
    assert_eq!(fixture.apply(Tick), [], "the old timer dials no second time");
}

#[test]
fn a_manual_reconnect_after_failed_starts_over() {
    let (mut fixture, last) = TestMachine::failed(policy());
    assert_eq!(fixture.apply(Connect), [dial(last + 1)]);
    assert_eq!((fixture.state(), fixture.attempt()), (Connecting, 1));
    fixture.apply(refused(last + 1));
    assert_eq!((fixture.attempt(), fixture.time_to_next_attempt()), (2, s(1)));
}

#[test]
fn a_manual_reconnect_during_an_attempt_changes_nothing() {
    let mut fixture = TestMachine::connecting(policy());
    assert_eq!(fixture.apply_all(Connect), []);
    fixture.apply(refused(1));
    fixture.tick_when_due();
    assert_eq!(fixture.apply_all(Connect), []);
}

#[test]
fn manual_reconnect_while_connected_pings_once() {
    let mut fixture = TestMachine::connected(policy());
    assert_eq!(fixture.apply(Connect), [ping(1, 1)]);
    assert_eq!(fixture.apply(Connect), []);
    assert_eq!(fixture.tick_when_due(), [drop_socket(1)], "and without one the socket is given up");
}

#[test]
fn disconnect_during_a_backoff_cancels_the_retry() {
    let mut fixture = TestMachine::waiting(policy());
    assert_eq!(fixture.apply(Disconnect), []);
    assert_eq!(fixture.machine.next_wake(), None);
    fixture.advance(s(60));
    assert_eq!(fixture.apply(Tick), []);
    assert_eq!(fixture.apply(SystemResumed), []);
    assert_eq!(fixture.state(), Disconnected);
}

#[test]
fn disconnect_closes_gracefully_within_close_timeout() {
    let mut fixture = TestMachine::connected(policy());
    assert_eq!(fixture.apply(Disconnect), [MachineAction::CloseGracefully { generation: 1 }]);
    assert_eq!(fixture.state(), Disconnected);
    assert_eq!(fixture.apply(Tick), [], "not before close_timeout");
    assert_eq!(fixture.apply(lost(0)), [], "another socket's end is not this one's");
    let mut answered = TestMachine { machine: fixture.machine.clone(), ..fixture };
    assert_eq!(answered.apply(lost(1)), [drop_socket(1)]);
    assert_eq!(answered.machine.next_wake(), None);
    assert_eq!(fixture.tick_when_due(), [drop_socket(1)]);
    assert_eq!(fixture.machine.next_wake(), None);
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
