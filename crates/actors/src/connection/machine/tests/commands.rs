//! What people ask for.

use super::*;

#[test]
fn a_manual_reconnect_during_a_backoff_tries_now() {
    let mut play = TestMachine::waiting(policy());
    let change = play.transition_on(MachineEvent::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!((change.next_attempt_at, change.reason, change.error), (None, StatusReason::Requested, None));
    play.advance(secs(5));
    assert_eq!(play.apply(MachineEvent::Tick), [], "the old timer dials no second time");
}

#[test]
fn a_manual_reconnect_after_failed_starts_over() {
    let (mut play, last) = TestMachine::failed(policy());
    assert_eq!(play.apply(MachineEvent::Connect), [dial(last + 1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    play.apply(refused(last + 1));
    assert_eq!((play.attempt(), play.time_to_next_attempt()), (2, secs(1)));
}

#[test]
fn a_manual_reconnect_during_an_attempt_changes_nothing() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    assert_eq!(play.apply_all(MachineEvent::Connect), []);
    play.apply(refused(1));
    play.tick_when_due();
    assert_eq!(play.apply_all(MachineEvent::Connect), []);
}

#[test]
fn a_manual_reconnect_during_a_probe_makes_it_the_first_attempt() {
    let (mut play, last) = TestMachine::failed(probing_policy());
    play.tick_when_due();
    let change = play.transition_on(MachineEvent::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Connecting, 1));
    play.apply(refused(last + 1));
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn manual_reconnect_while_connected_pings_once() {
    let mut play = TestMachine::connected(policy());
    assert_eq!(play.apply(MachineEvent::Connect), [ping(1, 1)]);
    assert_eq!(play.apply(MachineEvent::Connect), []);
    assert_eq!(play.tick_when_due(), [drop_socket(1)], "and without one the socket is given up");
}

#[test]
fn disconnect_during_a_backoff_cancels_the_retry() {
    let mut play = TestMachine::waiting(policy());
    assert_eq!(play.apply(MachineEvent::Disconnect), []);
    assert_eq!(play.machine.next_wake(), None);
    play.advance(secs(60));
    assert_eq!(play.apply(MachineEvent::Tick), []);
    assert_eq!(play.apply(MachineEvent::SystemResumed), []);
    assert_eq!(play.state(), ConnectionState::Disconnected);
}

#[test]
fn disconnect_during_a_handshake_drops_it_for_good() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    assert_eq!(play.apply(MachineEvent::Disconnect), [drop_socket(1)]);
    assert_eq!(play.apply(opened(1)), [drop_socket(1)]);
    assert_eq!(play.apply(refused(1)), []);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn a_disconnect_in_failed_ends_the_probing() {
    let (mut play, _) = TestMachine::failed(probing_policy());
    play.apply(MachineEvent::Disconnect);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn disconnect_closes_gracefully_within_close_timeout() {
    let mut play = TestMachine::connected(policy());
    assert_eq!(play.apply(MachineEvent::Disconnect), [MachineAction::CloseGracefully { generation: 1 }]);
    assert_eq!(play.state(), ConnectionState::Disconnected);
    assert_eq!(play.apply(MachineEvent::Tick), [], "not before close_timeout");
    assert_eq!(play.apply(lost(0)), [], "another socket's end is not this one's");
    let mut answered = TestMachine { machine: play.machine.clone(), ..play };
    assert_eq!(answered.apply(lost(1)), [drop_socket(1)]);
    assert_eq!(answered.machine.next_wake(), None);
    assert_eq!(play.tick_when_due(), [drop_socket(1)]);
    assert_eq!(play.machine.next_wake(), None);
}

#[test]
fn connect_drops_a_closing_socket_before_it_dials() {
    let mut play = TestMachine::connected(policy());
    play.apply(MachineEvent::Disconnect);
    assert_eq!(play.apply(MachineEvent::Connect), [drop_socket(1), dial(2)]);
}

#[test]
fn failed_connection_restarts_when_the_backend_is_seen() {
    let (mut play, last) = TestMachine::failed(policy());
    assert_eq!(play.apply(MachineEvent::BackendSeen), [dial(last + 1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    assert_eq!(play.apply_all(MachineEvent::BackendSeen), []);
}

#[test]
fn backend_hint_without_effect_is_ignored_for_a_while() {
    let spend = |play: &mut TestMachine| {
        while play.state() != ConnectionState::Failed {
            play.apply(refused(play.machine.generation));
            if play.state() == ConnectionState::Reconnecting {
                play.tick_when_due();
            }
        }
    };
    let (mut play, _) = TestMachine::failed(policy());
    let heeded_at = play.now;
    assert!(!play.apply(MachineEvent::BackendSeen).is_empty());
    spend(&mut play);
    assert_eq!(play.apply_all(MachineEvent::BackendSeen), [], "its WebSocket alone is broken");
    play.now = heeded_at + secs(60);
    assert!(!play.apply(MachineEvent::BackendSeen).is_empty());

    play.apply(opened(play.machine.generation));
    play.advance(secs(10));
    play.apply(received(play.machine.generation));
    play.apply(lost(play.machine.generation));
    play.tick_when_due();
    spend(&mut play);
    assert!(play.now < heeded_at + secs(120));
    assert!(!play.apply(MachineEvent::BackendSeen).is_empty(), "since then a connection proved stable");
}

#[test]
fn backend_hint_counts_once_a_probe_found_no_refusal() {
    let mut play = TestMachine::new(probing_policy());
    play.apply(MachineEvent::Connect);
    play.apply(MachineEvent::DialFailed { generation: 1, error: ConnectionError::from_status(401, None) });
    play.tick_when_due();
    play.apply(refused(2));
    assert_eq!(play.apply(MachineEvent::BackendSeen), [dial(3)]);
}

#[test]
fn backend_hint_overrides_no_refusal_and_no_disconnect() {
    let mut refused = TestMachine::new(policy());
    refused.apply(MachineEvent::Connect);
    refused.apply(MachineEvent::DialFailed {
        generation: 1,
        error: fault(ConnectionErrorKind::Unauthenticated),
    });
    assert_eq!(refused.state(), ConnectionState::Failed);
    assert_eq!(refused.apply_all(MachineEvent::BackendSeen), []);
    let mut away = TestMachine::connected(policy());
    away.apply(MachineEvent::Disconnect);
    assert_eq!(away.apply_all(MachineEvent::BackendSeen), []);
    assert_eq!(TestMachine::waiting(policy()).apply_all(MachineEvent::BackendSeen), []);
}
