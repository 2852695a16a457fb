//! Tests the reaction to a peer's status, close code or frame.

use super::*;

#[test]
fn retry_after_extends_the_delay_up_to_its_cap() {
    for (asked, wait) in [(0, 1), (45, 45), (100_000_000, 300)] {
        for status in [429, 503] {
            let mut fixture = TestMachine::connecting(policy());
            let error = ConnectionError::from_status(status, Some(s(asked)));
            fixture.apply(dial_failed(1, error));
            assert_eq!(fixture.time_to_next_attempt(), s(wait), "HTTP {status}, Retry-After {asked}");
        }
    }
}

#[test]
fn close_code_is_sent_only_for_violations_on_an_open_socket() {
    let recorded = |kind| TestMachine::connected(policy()).apply(closed(1, error(kind)));
    let expected = [MachineAction::SendCloseCode { generation: 1, code: 1002 }, drop_socket(1)];
    assert_eq!(recorded(Kind::ProtocolViolation), expected);
    for kind in [Kind::Lost, Kind::Closed, Kind::Unanswered, Kind::PolicyViolation] {
        assert_eq!(recorded(kind), [drop_socket(1)], "{kind:?}");
    }
}

#[test]
fn expired_token_of_a_stable_connection_is_renewed_once() {
    let expired = || ConnectionError::from_close(Some(4401), "");
    let renewing = ConnectionPolicy { renews_token: true, ..policy() };
    let mut fixture = TestMachine::connected(renewing.clone());
    fixture.advance(s(10)).apply(received(1));
    fixture.apply(closed(1, expired()));
    assert_eq!(fixture.wait(), (Reconnecting, 1, s(1)));
    fixture.tick_when_due();
    fixture.apply(dial_failed(2, ConnectionError::from_status(401, None)));
    assert_eq!(fixture.state(), Failed, "the next token is refused as well");

    let mut young = TestMachine::connected(renewing);
    young.advance(s(9)).apply(closed(1, expired()));
    assert_eq!(young.state(), Failed, "the token was never good");
}

#[test]
fn final_close_ends_even_a_connection_that_was_stable() {
    let mut fixture = TestMachine::connected(policy());
    fixture.advance(s(3600)).apply(received(1));
    let error = ConnectionError::from_close(Some(4403), "");
    assert_eq!(fixture.apply(closed(1, error)), [drop_socket(1)]);
    assert_eq!((fixture.state(), fixture.machine.next_wake()), (Failed, None));
}
