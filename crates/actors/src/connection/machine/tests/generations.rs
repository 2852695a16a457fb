//! One socket's events lead to one consequence, and an old one's to none.

use super::*;

#[test]
fn an_error_and_a_close_of_one_socket_lead_to_exactly_one_next_attempt() {
    let mut play = Play::connected(policy());
    assert_eq!(play.on(Event::SendFailed { generation: 1, fault: fault(FaultKind::Lost) }), [drop_of(1)]);
    let planned = play.machine.status();
    assert_eq!(play.all_on(lost(1)), []);
    assert_eq!(play.all_on(lost(1)), []);
    assert_eq!(play.machine.status(), planned);
    assert_eq!(play.wake(), [dial(2)]);
    assert_eq!(play.on(Event::Tick), []);
}

#[test]
fn a_late_event_from_an_old_socket_changes_nothing() {
    let mut play = Play::connected(policy());
    play.on(lost(1));
    play.wake();
    play.on(opened(2));
    let before = play.machine.status();
    play.pass(secs(1));
    assert_eq!(play.all_on(lost(1)), []);
    assert_eq!(play.all_on(refused(1)), []);
    assert_eq!(play.all_on(received(1)), []);
    assert_eq!(play.machine.status(), before);
}

#[test]
fn a_dial_that_opens_after_it_was_given_up_is_dropped() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    play.wake();
    assert_eq!(play.all_on(opened(1)), [drop_of(1)]);
    assert_eq!(play.state(), ConnectionState::Reconnecting);
}

#[test]
fn a_sign_of_life_from_an_old_socket_does_not_keep_the_new_one_alive() {
    let mut play = Play::connected(policy());
    play.on(lost(1));
    play.wake();
    play.on(opened(2));
    assert_eq!(play.wake(), [ping(2, 1)]);
    play.on(received(1));
    play.on(Event::Ponged { generation: 1, number: 1 });
    let at = play.now;
    play.on(Event::Moved { generation: 1, at });
    assert_eq!(play.wake(), [drop_of(2)]);
}
