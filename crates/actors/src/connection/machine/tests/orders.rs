//! What people ask for.

use super::*;

#[test]
fn a_manual_reconnect_during_a_backoff_tries_now() {
    let mut play = Play::waiting(policy());
    let change = play.change_on(Event::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!((change.next_attempt_at, change.reason, change.error), (None, Reason::Requested, None));
    play.pass(secs(5));
    assert_eq!(play.on(Event::Tick), [], "the old timer dials no second time");
}

#[test]
fn a_manual_reconnect_after_failed_starts_over() {
    let (mut play, last) = Play::failed(policy());
    assert_eq!(play.on(Event::Connect), [dial(last + 1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    play.on(refused(last + 1));
    assert_eq!((play.attempt(), play.wait()), (2, secs(1)));
}

#[test]
fn a_manual_reconnect_during_an_attempt_changes_nothing() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    assert_eq!(play.all_on(Event::Connect), []);
    play.on(refused(1));
    play.wake();
    assert_eq!(play.all_on(Event::Connect), []);
}

#[test]
fn a_manual_reconnect_during_a_probe_makes_it_the_first_attempt() {
    let (mut play, last) = Play::failed(probing());
    play.wake();
    let change = play.change_on(Event::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Connecting, 1));
    play.on(refused(last + 1));
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn a_manual_reconnect_while_connected_asks_the_peer_for_one_sign_of_life() {
    let mut play = Play::connected(policy());
    assert_eq!(play.on(Event::Connect), [ping(1, 1)]);
    assert_eq!(play.on(Event::Connect), []);
    assert_eq!(play.wake(), [drop_of(1)], "and without one the socket is given up");
}

#[test]
fn a_disconnect_during_a_backoff_leaves_no_later_connect() {
    let mut play = Play::waiting(policy());
    assert_eq!(play.on(Event::Disconnect), []);
    assert_eq!(play.machine.next_wake(), None);
    play.pass(secs(60));
    assert_eq!(play.on(Event::Tick), []);
    assert_eq!(play.on(Event::Woke), []);
    assert_eq!(play.state(), ConnectionState::Disconnected);
}

#[test]
fn a_disconnect_during_a_handshake_drops_it_and_leaves_no_later_connect() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    assert_eq!(play.on(Event::Disconnect), [drop_of(1)]);
    assert_eq!(play.on(opened(1)), [drop_of(1)]);
    assert_eq!(play.on(refused(1)), []);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn a_disconnect_in_failed_ends_the_probing() {
    let (mut play, _) = Play::failed(probing());
    play.on(Event::Disconnect);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn a_disconnect_closes_an_open_socket_in_order_but_does_not_wait_for_ever() {
    let mut play = Play::connected(policy());
    assert_eq!(play.on(Event::Disconnect), [Action::CloseGracefully { generation: 1 }]);
    assert_eq!(play.state(), ConnectionState::Disconnected);
    assert_eq!(play.on(Event::Tick), [], "not before close_timeout");
    assert_eq!(play.on(lost(0)), [], "another socket's end is not this one's");
    let mut answered = Play { machine: play.machine.clone(), ..play };
    assert_eq!(answered.on(lost(1)), [drop_of(1)]);
    assert_eq!(answered.machine.next_wake(), None);
    assert_eq!(play.wake(), [drop_of(1)]);
    assert_eq!(play.machine.next_wake(), None);
}

#[test]
fn a_connect_drops_the_socket_that_is_still_closing_before_it_dials() {
    let mut play = Play::connected(policy());
    play.on(Event::Disconnect);
    assert_eq!(play.on(Event::Connect), [drop_of(1), dial(2)]);
}

#[test]
fn a_connection_that_was_given_up_starts_over_when_the_backend_is_seen_elsewhere() {
    let (mut play, last) = Play::failed(policy());
    assert_eq!(play.on(Event::BackendSeen), [dial(last + 1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    assert_eq!(play.all_on(Event::BackendSeen), []);
}

#[test]
fn news_that_led_to_nothing_are_not_heeded_again_for_a_while() {
    let spend = |play: &mut Play| {
        while play.state() != ConnectionState::Failed {
            play.on(refused(play.machine.generation));
            if play.state() == ConnectionState::Reconnecting {
                play.wake();
            }
        }
    };
    let (mut play, _) = Play::failed(policy());
    let heeded_at = play.now;
    assert!(!play.on(Event::BackendSeen).is_empty());
    spend(&mut play);
    assert_eq!(play.all_on(Event::BackendSeen), [], "its WebSocket alone is broken");
    play.now = heeded_at + secs(60);
    assert!(!play.on(Event::BackendSeen).is_empty());

    play.on(opened(play.machine.generation));
    play.pass(secs(10));
    play.on(received(play.machine.generation));
    play.on(lost(play.machine.generation));
    play.wake();
    spend(&mut play);
    assert!(play.now < heeded_at + secs(120));
    assert!(!play.on(Event::BackendSeen).is_empty(), "since then a connection proved stable");
}

#[test]
fn after_a_probe_found_nobody_where_there_had_been_a_refusal_news_are_heeded() {
    let mut play = Play::new(probing());
    play.on(Event::Connect);
    play.on(Event::DialFailed { generation: 1, fault: Fault::from_status(401, None) });
    play.wake();
    play.on(refused(2));
    assert_eq!(play.on(Event::BackendSeen), [dial(3)]);
}

#[test]
fn news_of_the_backend_override_neither_a_refusal_nor_a_wish_to_stay_away() {
    let mut refused = Play::new(policy());
    refused.on(Event::Connect);
    refused.on(Event::DialFailed { generation: 1, fault: fault(FaultKind::Unauthenticated) });
    assert_eq!(refused.state(), ConnectionState::Failed);
    assert_eq!(refused.all_on(Event::BackendSeen), []);
    let mut away = Play::connected(policy());
    away.on(Event::Disconnect);
    assert_eq!(away.all_on(Event::BackendSeen), []);
    assert_eq!(Play::waiting(policy()).all_on(Event::BackendSeen), []);
}
