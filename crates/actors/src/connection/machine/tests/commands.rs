//! Tests commands.

use super::*;

#[test]
fn a_manual_reconnect_during_a_backoff_tries_now() {
    let mut fixture = TestMachine::waiting(policy());
    let change = fixture.transition_on(MachineEvent::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!((change.next_attempt_at, change.reason, change.error), (None, StatusReason::Requested, None));
    fixture.advance(secs(5));
    assert_eq!(fixture.apply(MachineEvent::Tick), [], "the old timer dials no second time");
}

#[test]
fn a_manual_reconnect_after_failed_starts_over() {
    let (mut fixture, last) = TestMachine::failed(policy());
    assert_eq!(fixture.apply(MachineEvent::Connect), [dial(last + 1)]);
    assert_eq!((fixture.state(), fixture.attempt()), (ConnectionState::Connecting, 1));
    fixture.apply(refused(last + 1));
    assert_eq!((fixture.attempt(), fixture.time_to_next_attempt()), (2, secs(1)));
}

#[test]
fn a_manual_reconnect_during_an_attempt_changes_nothing() {
    let mut fixture = TestMachine::new(policy());
    fixture.apply(MachineEvent::Connect);
    assert_eq!(fixture.apply_all(MachineEvent::Connect), []);
    fixture.apply(refused(1));
    fixture.tick_when_due();
    assert_eq!(fixture.apply_all(MachineEvent::Connect), []);
}

#[test]
fn a_manual_reconnect_during_a_probe_makes_it_the_first_attempt() {
    let (mut fixture, last) = TestMachine::failed(probing_policy());
    fixture.tick_when_due();
    let change = fixture.transition_on(MachineEvent::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Connecting, 1));
    fixture.apply(refused(last + 1));
    assert_eq!((fixture.state(), fixture.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn manual_reconnect_while_connected_pings_once() {
    let mut fixture = TestMachine::connected(policy());
    assert_eq!(fixture.apply(MachineEvent::Connect), [ping(1, 1)]);
    assert_eq!(fixture.apply(MachineEvent::Connect), []);
    assert_eq!(fixture.tick_when_due(), [drop_socket(1)], "and without one the socket is given up");
}

#[test]
fn disconnect_during_a_backoff_cancels_the_retry() {
    let mut fixture = TestMachine::waiting(policy());
    assert_eq!(fixture.apply(MachineEvent::Disconnect), []);
    assert_eq!(fixture.machine.next_wake(), None);
    fixture.advance(secs(60));
    assert_eq!(fixture.apply(MachineEvent::Tick), []);
    assert_eq!(fixture.apply(MachineEvent::SystemResumed), []);
    assert_eq!(fixture.state(), ConnectionState::Disconnected);
}

#[test]
fn disconnect_during_a_handshake_drops_it_for_good() {
    let mut fixture = TestMachine::new(policy());
    fixture.apply(MachineEvent::Connect);
    assert_eq!(fixture.apply(MachineEvent::Disconnect), [drop_socket(1)]);
    assert_eq!(fixture.apply(opened(1)), [drop_socket(1)]);
    assert_eq!(fixture.apply(refused(1)), []);
    assert_eq!((fixture.state(), fixture.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn a_disconnect_in_failed_ends_the_probing() {
    let (mut fixture, _) = TestMachine::failed(probing_policy());
    fixture.apply(MachineEvent::Disconnect);
    assert_eq!((fixture.state(), fixture.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn disconnect_closes_gracefully_within_close_timeout() {
    let mut fixture = TestMachine::connected(policy());
    assert_eq!(fixture.apply(MachineEvent::Disconnect), [MachineAction::CloseGracefully { generation: 1 }]);
    assert_eq!(fixture.state(), ConnectionState::Disconnected);
    assert_eq!(fixture.apply(MachineEvent::Tick), [], "not before close_timeout");
    assert_eq!(fixture.apply(lost(0)), [], "another socket's end is not this one's");
    let mut answered = TestMachine { machine: fixture.machine.clone(), ..fixture };
    assert_eq!(answered.apply(lost(1)), [drop_socket(1)]);
    assert_eq!(answered.machine.next_wake(), None);
    assert_eq!(fixture.tick_when_due(), [drop_socket(1)]);
    assert_eq!(fixture.machine.next_wake(), None);
}

#[test]
fn connect_drops_a_closing_socket_before_it_dials() {
    let mut fixture = TestMachine::connected(policy());
    fixture.apply(MachineEvent::Disconnect);
    assert_eq!(fixture.apply(MachineEvent::Connect), [drop_socket(1), dial(2)]);
}

#[test]
fn failed_connection_restarts_when_the_backend_is_seen() {
    let (mut fixture, last) = TestMachine::failed(policy());
    assert_eq!(fixture.apply(MachineEvent::BackendSeen), [dial(last + 1)]);
    assert_eq!((fixture.state(), fixture.attempt()), (ConnectionState::Connecting, 1));
    assert_eq!(fixture.apply_all(MachineEvent::BackendSeen), []);
}

#[test]
fn backend_hint_without_effect_is_ignored_for_a_while() {
    let spend = |fixture: &mut TestMachine| {
        while fixture.state() != ConnectionState::Failed {
            fixture.apply(refused(fixture.machine.generation));
            if fixture.state() == ConnectionState::Reconnecting {
                fixture.tick_when_due();
            }
        }
    };
    let (mut fixture, _) = TestMachine::failed(policy());
    let heeded_at = fixture.now;
    assert!(!fixture.apply(MachineEvent::BackendSeen).is_empty());
    spend(&mut fixture);
    assert_eq!(fixture.apply_all(MachineEvent::BackendSeen), [], "its WebSocket alone is broken");
    fixture.now = heeded_at + secs(60);
    assert!(!fixture.apply(MachineEvent::BackendSeen).is_empty());

    fixture.apply(opened(fixture.machine.generation));
    fixture.advance(secs(10));
    fixture.apply(received(fixture.machine.generation));
    fixture.apply(lost(fixture.machine.generation));
    fixture.tick_when_due();
    spend(&mut fixture);
    assert!(fixture.now < heeded_at + secs(120));
    assert!(!fixture.apply(MachineEvent::BackendSeen).is_empty(), "since then a connection proved stable");
}

#[test]
fn backend_hint_counts_once_a_probe_found_no_refusal() {
    let mut fixture = TestMachine::new(probing_policy());
    fixture.apply(MachineEvent::Connect);
    fixture.apply(MachineEvent::DialFailed { generation: 1, error: ConnectionError::from_status(401, None) });
    fixture.tick_when_due();
    fixture.apply(refused(2));
    assert_eq!(fixture.apply(MachineEvent::BackendSeen), [dial(3)]);
}

#[test]
fn backend_hint_overrides_no_refusal_and_no_disconnect() {
    let mut refused = TestMachine::new(policy());
    refused.apply(MachineEvent::Connect);
    refused.apply(MachineEvent::DialFailed {
        generation: 1,
        error: error(ConnectionErrorKind::Unauthenticated),
    });
    assert_eq!(refused.state(), ConnectionState::Failed);
    assert_eq!(refused.apply_all(MachineEvent::BackendSeen), []);
    let mut away = TestMachine::connected(policy());
    away.apply(MachineEvent::Disconnect);
    assert_eq!(away.apply_all(MachineEvent::BackendSeen), []);
    assert_eq!(TestMachine::waiting(policy()).apply_all(MachineEvent::BackendSeen), []);
}
