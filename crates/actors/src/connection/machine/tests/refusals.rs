//! What a peer's status, close code or frame leads to.

use super::*;

#[test]
fn a_status_or_close_code_that_means_do_not_come_back_leads_to_failed_with_the_reason() {
    use FaultKind::*;
    for (status, kind) in [(401, Unauthenticated), (403, Forbidden), (404, NotFound), (400, Rejected)] {
        let mut play = Play::new(policy());
        play.on(Event::Connect);
        let fault = Fault::from_status(status, None);
        let change = play.change_on(Event::DialFailed { generation: 1, fault: fault.clone() });
        assert_eq!((change.to, change.reason), (ConnectionState::Failed, Reason::Fault(kind)), "{status}");
        assert_eq!((change.error, play.machine.next_wake()), (Some(fault), None));
    }
    for (code, kind) in [(1008, PolicyViolation), (4401, Unauthenticated), (4403, Forbidden)] {
        let mut play = Play::connected(policy());
        let change =
            play.change_on(Event::Closed { generation: 1, fault: Fault::from_close(Some(code), "no") });
        assert_eq!((change.to, change.reason), (ConnectionState::Failed, Reason::Fault(kind)), "{code}");
        assert_eq!(play.machine.next_wake(), None);
    }
}

#[test]
fn a_close_code_or_status_that_passes_leads_to_another_attempt() {
    for code in [1000, 1001, 1006, 1011, 1012, 1013, 4999] {
        let mut play = Play::connected(policy());
        play.on(Event::Closed { generation: 1, fault: Fault::from_close(Some(code), "") });
        assert_eq!(play.state(), ConnectionState::Reconnecting, "{code}");
    }
    for status in [200, 302, 408, 425, 429, 500, 502, 503, 504] {
        let mut play = Play::new(policy());
        play.on(Event::Connect);
        play.on(Event::DialFailed { generation: 1, fault: Fault::from_status(status, None) });
        assert_eq!(play.state(), ConnectionState::Reconnecting, "{status}");
    }
}

#[test]
fn retry_after_is_waited_for_up_to_its_cap_and_never_shortens_a_delay() {
    for (asked, wait) in [(0, 1), (45, 45), (100_000_000, 300)] {
        for status in [429, 503] {
            let mut play = Play::new(policy());
            play.on(Event::Connect);
            let fault = Fault::from_status(status, Some(secs(asked)));
            play.on(Event::DialFailed { generation: 1, fault });
            assert_eq!(play.wait(), secs(wait), "HTTP {status}, Retry-After {asked}");
        }
    }
}

#[test]
fn a_message_above_the_limit_closes_that_connection_with_the_reason() {
    let mut play = Play::connected(policy());
    let fault = Fault::new(FaultKind::MessageTooLarge, "");
    let actions = play.all_on(Event::Closed { generation: 1, fault });
    let [Action::Changed(change), Action::Drop { generation: 1 }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((change.from, change.to), (ConnectionState::Connected, ConnectionState::Reconnecting));
    assert_eq!(change.reason, Reason::Fault(FaultKind::MessageTooLarge));
}
