//! What a peer's status, close code or frame leads to.

use super::*;

#[test]
fn a_status_or_close_code_that_means_do_not_come_back_leads_to_failed_with_the_reason() {
    use FaultKind::*;
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
    let [Action::Changed(change), why, Action::Drop { generation: 1 }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*why, Action::SayWhy { generation: 1, code: 1009 });
    assert_eq!((change.from, change.to), (ConnectionState::Connected, ConnectionState::Reconnecting));
    assert_eq!(change.reason, Reason::Fault(FaultKind::MessageTooLarge));
}

#[test]
fn a_peer_is_told_why_only_where_it_did_something_wrong_on_an_open_socket() {
    let told = |kind| Play::connected(policy()).on(Event::Closed { generation: 1, fault: fault(kind) });
    assert_eq!(
        told(FaultKind::ProtocolViolation),
        [Action::SayWhy { generation: 1, code: 1002 }, drop_of(1)]
    );
    for kind in [FaultKind::Lost, FaultKind::Closed, FaultKind::Unanswered, FaultKind::PolicyViolation] {
        assert_eq!(told(kind), [drop_of(1)], "{kind:?}");
    }
}

#[test]
fn a_final_close_ends_even_a_connection_that_was_stable() {
    let mut play = Play::connected(policy());
    play.pass(secs(3600)).on(received(1));
    let fault = Fault::from_close(Some(4403), "");
    assert_eq!(play.on(Event::Closed { generation: 1, fault }), [drop_of(1)]);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Failed, None));
}
