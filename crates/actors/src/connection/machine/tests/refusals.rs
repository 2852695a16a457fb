//! What a peer's status, close code or frame leads to.

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
        let mut play = TestMachine::new(policy());
        play.apply(MachineEvent::Connect);
        let fault = ConnectionError::from_status(status, None);
        let change = play.transition_on(MachineEvent::DialFailed { generation: 1, error: fault.clone() });
        assert_eq!(
            (change.to, change.reason),
            (ConnectionState::Failed, StatusReason::Failed(kind)),
            "{status}"
        );
        assert_eq!((change.error, play.machine.next_wake()), (Some(fault), None));
    }
    for (code, kind) in [(1008, PolicyViolation), (4401, Unauthenticated), (4403, Forbidden)] {
        let mut play = TestMachine::connected(policy());
        let change = play.transition_on(MachineEvent::Closed {
            generation: 1,
            error: ConnectionError::from_close(Some(code), "no"),
        });
        assert_eq!(
            (change.to, change.reason),
            (ConnectionState::Failed, StatusReason::Failed(kind)),
            "{code}"
        );
        assert_eq!(play.machine.next_wake(), None);
    }
}

#[test]
fn transient_status_or_close_code_leads_to_a_retry() {
    for code in [1000, 1001, 1006, 1011, 1012, 1013, 4999] {
        let mut play = TestMachine::connected(policy());
        play.apply(MachineEvent::Closed {
            generation: 1,
            error: ConnectionError::from_close(Some(code), ""),
        });
        assert_eq!(play.state(), ConnectionState::Reconnecting, "{code}");
    }
    for status in [200, 302, 408, 425, 429, 500, 502, 503, 504] {
        let mut play = TestMachine::new(policy());
        play.apply(MachineEvent::Connect);
        play.apply(MachineEvent::DialFailed {
            generation: 1,
            error: ConnectionError::from_status(status, None),
        });
        assert_eq!(play.state(), ConnectionState::Reconnecting, "{status}");
    }
}

#[test]
fn retry_after_extends_the_delay_up_to_its_cap() {
    for (asked, wait) in [(0, 1), (45, 45), (100_000_000, 300)] {
        for status in [429, 503] {
            let mut play = TestMachine::new(policy());
            play.apply(MachineEvent::Connect);
            let fault = ConnectionError::from_status(status, Some(secs(asked)));
            play.apply(MachineEvent::DialFailed { generation: 1, error: fault });
            assert_eq!(play.time_to_next_attempt(), secs(wait), "HTTP {status}, Retry-After {asked}");
        }
    }
}

#[test]
fn oversized_message_closes_the_connection() {
    let mut play = TestMachine::connected(policy());
    let fault = ConnectionError::new(ConnectionErrorKind::MessageTooLarge, "");
    let actions = play.apply_all(MachineEvent::Closed { generation: 1, error: fault });
    let [MachineAction::Changed(change), why, MachineAction::Drop { generation: 1 }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*why, MachineAction::SendCloseCode { generation: 1, code: 1009 });
    assert_eq!((change.from, change.to), (ConnectionState::Connected, ConnectionState::Reconnecting));
    assert_eq!(change.reason, StatusReason::Failed(ConnectionErrorKind::MessageTooLarge));
}

#[test]
fn close_code_is_sent_only_for_violations_on_an_open_socket() {
    let told = |kind| {
        TestMachine::connected(policy()).apply(MachineEvent::Closed { generation: 1, error: fault(kind) })
    };
    assert_eq!(
        told(ConnectionErrorKind::ProtocolViolation),
        [MachineAction::SendCloseCode { generation: 1, code: 1002 }, drop_socket(1)]
    );
    for kind in [
        ConnectionErrorKind::Lost,
        ConnectionErrorKind::Closed,
        ConnectionErrorKind::Unanswered,
        ConnectionErrorKind::PolicyViolation,
    ] {
        assert_eq!(told(kind), [drop_socket(1)], "{kind:?}");
    }
}

#[test]
fn a_final_close_ends_even_a_connection_that_was_stable() {
    let mut play = TestMachine::connected(policy());
    play.advance(secs(3600)).apply(received(1));
    let fault = ConnectionError::from_close(Some(4403), "");
    assert_eq!(play.apply(MachineEvent::Closed { generation: 1, error: fault }), [drop_socket(1)]);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Failed, None));
}
