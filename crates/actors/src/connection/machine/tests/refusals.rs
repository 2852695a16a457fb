//! Tests the reaction to a peer's status, close code or frame.

use super::*;

#[test]
fn final_status_or_close_code_leads_to_failed() {
    use ConnectionErrorKind::*;
    let statuses = [
        (401, Unauthenticated),
        (407, ProxyUnauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (410, NotFound),
        (400, Rejected),
        (402, Rejected),
        (405, Rejected),
        (426, Rejected),
        (451, Rejected),
    ];
    for (status, kind) in statuses {
        let mut fixture = TestMachine::new(policy());
        fixture.apply(MachineEvent::Connect);
        let error = ConnectionError::from_status(status, None);
        let change = fixture.transition_on(MachineEvent::DialFailed { generation: 1, error: error.clone() });
        assert_eq!(
            (change.to, change.reason),
            (ConnectionState::Failed, StatusReason::Failed(kind)),
            "{status}"
        );
        assert_eq!((change.error, fixture.machine.next_wake()), (Some(error), None));
    }
    for (code, kind) in [(1008, PolicyViolation), (4401, Unauthenticated), (4403, Forbidden)] {
        let mut fixture = TestMachine::connected(policy());
        let change = fixture.transition_on(MachineEvent::Closed {
            generation: 1,
            error: ConnectionError::from_close(Some(code), "no"),
        });
        assert_eq!(
            (change.to, change.reason),
            (ConnectionState::Failed, StatusReason::Failed(kind)),
            "{code}"
        );
        assert_eq!(fixture.machine.next_wake(), None);
    }
}

#[test]
fn transient_status_or_close_code_leads_to_a_retry() {
    for code in [1000, 1001, 1006, 1011, 1012, 1013, 4999] {
        let mut fixture = TestMachine::connected(policy());
        fixture.apply(MachineEvent::Closed {
            generation: 1,
            error: ConnectionError::from_close(Some(code), ""),
        });
        assert_eq!(fixture.state(), ConnectionState::Reconnecting, "{code}");
    }
    for status in [200, 302, 408, 425, 429, 500, 502, 503, 504] {
        let mut fixture = TestMachine::new(policy());
        fixture.apply(MachineEvent::Connect);
        fixture.apply(MachineEvent::DialFailed {
            generation: 1,
            error: ConnectionError::from_status(status, None),
        });
        assert_eq!(fixture.state(), ConnectionState::Reconnecting, "{status}");
    }
}

#[test]
fn retry_after_extends_the_delay_up_to_its_cap() {
    for (asked, wait) in [(0, 1), (45, 45), (100_000_000, 300)] {
        for status in [429, 503] {
            let mut fixture = TestMachine::new(policy());
            fixture.apply(MachineEvent::Connect);
            let error = ConnectionError::from_status(status, Some(secs(asked)));
            fixture.apply(MachineEvent::DialFailed { generation: 1, error });
            assert_eq!(fixture.time_to_next_attempt(), secs(wait), "HTTP {status}, Retry-After {asked}");
        }
    }
}

#[test]
fn oversized_message_closes_the_connection() {
    let mut fixture = TestMachine::connected(policy());
    let error = ConnectionError::new(ConnectionErrorKind::MessageTooLarge, "");
    let actions = fixture.apply_all(MachineEvent::Closed { generation: 1, error });
    let [MachineAction::Changed(change), why, MachineAction::Drop { generation: 1 }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*why, MachineAction::SendCloseCode { generation: 1, code: 1009 });
    assert_eq!((change.from, change.to), (ConnectionState::Connected, ConnectionState::Reconnecting));
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::MessageTooLarge));
}

#[test]
fn close_code_is_sent_only_for_violations_on_an_open_socket() {
    let recorded = |kind| {
        TestMachine::connected(policy()).apply(MachineEvent::Closed { generation: 1, error: error(kind) })
    };
    assert_eq!(
        recorded(ConnectionErrorKind::ProtocolViolation),
        [MachineAction::SendCloseCode { generation: 1, code: 1002 }, drop_socket(1)]
    );
    for kind in [
        ConnectionErrorKind::Lost,
        ConnectionErrorKind::Closed,
        ConnectionErrorKind::Unanswered,
        ConnectionErrorKind::PolicyViolation,
    ] {
        assert_eq!(recorded(kind), [drop_socket(1)], "{kind:?}");
    }
}

#[test]
fn a_final_close_ends_even_a_connection_that_was_stable() {
    let mut fixture = TestMachine::connected(policy());
    fixture.advance(secs(3600)).apply(received(1));
    let error = ConnectionError::from_close(Some(4403), "");
    assert_eq!(fixture.apply(MachineEvent::Closed { generation: 1, error }), [drop_socket(1)]);
    assert_eq!((fixture.state(), fixture.machine.next_wake()), (ConnectionState::Failed, None));
}
