//! A peer that is no longer there, and a machine that slept.

use super::*;

#[test]
fn a_peer_that_vanishes_is_declared_dead_within_ping_interval_and_ping_timeout() {
    let mut play = Play::connected(policy());
    play.pass(secs(7)).on(received(1));
    let vanished_at = play.now;
    assert_eq!(play.wake(), [ping(1, 1)]);
    assert_eq!(play.wake(), [drop_of(1)], "no close handshake is awaited");
    assert_eq!(play.now - vanished_at, secs(15 + 10));
    assert_eq!(play.machine.status().reason, Reason::Fault(FaultKind::Unanswered));
}

#[test]
fn any_frame_counts_as_life() {
    let mut play = Play::connected(policy());
    play.wake();
    play.pass(secs(9)).on(received(1));
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
    assert_eq!(play.wake(), [ping(1, 2)]);
    play.on(Event::Ponged { generation: 1, number: 2 });
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
}

#[test]
fn with_pings_off_a_silent_peer_is_believed() {
    let mut play = Play::connected(ConnectionPolicy { ping_interval: Duration::ZERO, ..policy() });
    assert_eq!(play.machine.next_wake(), None);
    play.pass(secs(86_400));
    assert_eq!(play.on(Event::Tick), []);
    assert_eq!(play.on(Event::Woke), [ping(1, 1)], "but not after a sleep");
}

#[test]
fn after_a_sleep_an_open_socket_is_probed_once_and_not_believed() {
    let mut play = Play::connected(policy());
    play.pass(secs(3));
    assert_eq!(play.on(Event::Woke), [ping(1, 1)]);
    assert_eq!(play.on(Event::Woke), [], "one probe, not a burst");
    let deadline = play.now + secs(10);
    play.on(received(1));
    assert_eq!(play.machine.next_wake(), Some(deadline), "what was buffered before the sleep proves nothing");
    assert_eq!(play.wake(), [drop_of(1)]);
}

#[test]
fn after_a_sleep_the_answer_to_the_probe_restores_trust() {
    let mut play = Play::connected(policy());
    play.wake();
    assert_eq!(play.on(Event::Woke), [ping(1, 2)]);
    play.on(Event::Ponged { generation: 1, number: 1 });
    assert_eq!(
        play.machine.next_wake(),
        Some(play.now + secs(10)),
        "the answer to an older ping is no proof"
    );
    play.on(Event::Ponged { generation: 1, number: 2 });
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
}

#[test]
fn after_a_sleep_a_backoff_is_cut_short_by_one_dial() {
    let mut play = Play::waiting(policy());
    assert_eq!(play.on(Event::Woke), [dial(2)]);
    assert_eq!(play.all_on(Event::Woke), []);
}

#[test]
fn after_a_sleep_the_attempts_and_waits_start_over_since_the_network_is_seldom_there_at_once() {
    let mut play = Play::waiting(policy());
    for generation in 2..=4 {
        play.wake();
        play.on(refused(generation));
    }
    assert_eq!((play.attempt(), play.wait()), (5, secs(8)), "the next attempt is the last");
    assert_eq!(play.on(Event::Woke), [dial(5)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 1));
    play.on(Event::DialFailed { generation: 5, fault: fault(FaultKind::Unresolved) });
    assert_eq!((play.state(), play.attempt(), play.wait()), (ConnectionState::Reconnecting, 2, secs(1)));
}

#[test]
fn after_a_sleep_that_came_upon_the_last_attempt_its_failure_is_not_the_end() {
    let mut play = Play::waiting(policy());
    for generation in 2..=4 {
        play.wake();
        play.on(refused(generation));
    }
    assert_eq!(play.wake(), [dial(5)]);
    assert_eq!(play.attempt(), 5, "the last");
    let change = play.change_on(Event::Woke);
    assert_eq!((change.to, change.attempt, change.reason), (ConnectionState::Reconnecting, 1, Reason::Woke));
    play.on(Event::DialFailed { generation: 5, fault: fault(FaultKind::Unresolved) });
    assert_eq!((play.state(), play.attempt(), play.wait()), (ConnectionState::Reconnecting, 2, secs(1)));
}

#[test]
fn after_a_sleep_a_dial_that_it_came_upon_has_its_whole_time_again() {
    for mut play in [Play::waiting(policy()), Play::failed(probing()).0] {
        play.wake();
        let state = play.state();
        play.pass(secs(3600)).on(Event::Woke);
        assert_eq!(play.on(Event::Tick), [], "{state:?}");
        assert_eq!((play.state(), play.machine.next_wake()), (state, Some(play.now + secs(10))));
    }
}

#[test]
fn bytes_on_their_way_count_as_life_though_no_frame_is_complete() {
    let mut play = Play::connected(policy());
    let moved_at = play.pass(secs(14)).now;
    play.pass(secs(1)).on(Event::Moved { generation: 1, at: moved_at });
    assert_eq!(play.on(Event::Tick), [], "heard a second ago");
    assert_eq!(play.machine.next_wake(), Some(moved_at + secs(15)));
    assert_eq!(play.wake(), [ping(1, 1)]);
    let moved_at = play.pass(secs(9)).now;
    play.pass(secs(1)).on(Event::Moved { generation: 1, at: moved_at });
    assert_eq!(play.on(Event::Tick), []);
    assert_eq!(play.machine.next_wake(), Some(moved_at + secs(15)));
}

#[test]
fn bytes_that_moved_before_a_ping_do_not_answer_it() {
    let mut play = Play::connected(policy());
    let moved_at = play.now;
    play.wake();
    play.on(Event::Moved { generation: 1, at: moved_at });
    assert_eq!(play.wake(), [drop_of(1)]);
}

#[test]
fn bytes_alone_are_no_proof_after_a_sleep() {
    let mut play = Play::connected(policy());
    play.on(Event::Woke);
    play.pass(secs(9));
    let at = play.now;
    play.on(Event::Moved { generation: 1, at });
    assert_eq!(play.wake(), [drop_of(1)]);
}

#[test]
fn after_a_sleep_a_failed_connection_is_probed_only_where_the_policy_probes() {
    let (mut play, _) = Play::failed(policy());
    assert_eq!(play.all_on(Event::Woke), []);
    let (mut play, last) = Play::failed(probing());
    assert_eq!(play.on(Event::Woke), [dial(last + 1)]);
    assert_eq!(play.all_on(Event::Woke), []);
}

#[test]
fn a_late_tick_probes_instead_of_declaring_a_peer_dead_that_had_no_chance_to_be_heard() {
    let mut play = Play::connected(policy());
    assert_eq!(play.wake(), [ping(1, 1)]);
    play.pass(secs(3600));
    assert_eq!(play.on(Event::Tick), [ping(1, 2)]);
    assert_eq!(play.on(Event::Tick), []);
    play.pass(secs(3600));
    assert_eq!(play.on(Event::Tick), [drop_of(1)], "but it does so only once");
}

#[test]
fn a_ping_that_is_sent_late_is_a_probe_too() {
    let mut play = Play::connected(policy());
    play.pass(secs(3600));
    assert_eq!(play.on(Event::Tick), [ping(1, 1)]);
    play.on(received(1));
    assert_eq!(play.wake(), [drop_of(1)], "what was buffered meanwhile proves nothing");
}
