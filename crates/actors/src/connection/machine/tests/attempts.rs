//! Tests the attempts, their limit and the reset of their count.

use super::*;

#[test]
fn failed_first_attempt_backs_off_until_retries_are_exhausted() {
    let mut fixture = TestMachine::new(policy());
    assert_eq!(fixture.apply(Connect), [dial(1)]);
    assert_eq!((fixture.state(), fixture.attempt()), (Connecting, 1));
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert_eq!(fixture.apply(refused(generation)), [drop_socket(generation)]);
        assert_eq!((fixture.state(), fixture.attempt()), (Reconnecting, generation as u32 + 1));
        assert_eq!(fixture.time_to_next_attempt(), s(wait));
        assert_eq!(fixture.tick_when_due(), [dial(generation + 1)]);
        assert_eq!(fixture.state(), Reconnecting);
    }
    let last = fixture.transition_on(refused(5));
    assert_eq!((last.to, last.attempt, last.reason), (Failed, 5, StatusReason::RetriesExhausted));
    assert_eq!(last.error, Some(error(Kind::Refused)));
    assert_eq!(fixture.machine.next_wake(), None);
}

#[test]
fn after_a_loss_the_waits_grow_from_the_first_delay_on() {
    let mut fixture = TestMachine::connected(policy());
    fixture.advance(s(60)).apply(received(1));
    fixture.apply(lost(1));
    for (generation, wait) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 16)] {
        assert_eq!(fixture.time_to_next_attempt(), s(wait));
        fixture.tick_when_due();
        fixture.apply(refused(generation));
    }
    assert_eq!(fixture.state(), Failed);
}

#[test]
fn failed_connection_is_probed_ever_more_slowly_until_it_opens() {
    let (mut fixture, last) = TestMachine::failed(probing_policy());
    let mut probe = last;
    for wait in [60, 120, 240, 480, 600, 600] {
        assert_eq!((fixture.state(), fixture.time_to_next_attempt()), (Failed, s(wait)));
        probe += 1;
        assert_eq!(fixture.tick_when_due(), [dial(probe)]);
        assert_eq!(fixture.state(), Failed);
        fixture.apply(refused(probe));
    }
    fixture.tick_when_due();
    fixture.apply(opened(probe + 1));
    assert_eq!(fixture.state(), Connected);
    fixture.apply(lost(probe + 1));
    assert_eq!(fixture.state(), Failed, "it opened, but did not prove stable");
}

#[test]
fn longer_probe_interval_than_the_cap_is_kept() {
    let policy = ConnectionPolicy { probe_interval: s(3600), ..probing_policy() };
    let (mut fixture, last) = TestMachine::failed(policy);
    fixture.tick_when_due();
    fixture.apply(refused(last + 1));
    assert_eq!(fixture.time_to_next_attempt(), s(3600));
    assert_eq!(ConnectionPolicy::default().after_failed, AfterFailed::Probe, "with defaults it comes back");
}

#[test]
fn hundredth_delay_is_jittered_and_within_the_cap() {
    let delay = Delay::Exponential { min: s(1), max: s(30), factor: 2.0, jitter: true };
    let mut fixture = TestMachine::waiting(ConnectionPolicy { max_retries: 1000, delay, ..policy() });
    for generation in 2..=101 {
        fixture.tick_when_due();
        let mut unlucky = TestMachine { machine: fixture.machine.clone(), jitter: 0.999, ..fixture };
        fixture.jitter = 0.001;
        fixture.apply(refused(generation));
        unlucky.apply(refused(generation));
        assert!(
            fixture.time_to_next_attempt() < unlucky.time_to_next_attempt()
                && unlucky.time_to_next_attempt() <= s(30),
            "attempt {generation}"
        );
    }
}

#[test]
fn backoff_continues_when_server_accepts_and_drops() {
    let mut fixture = TestMachine::connecting(policy());
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        fixture.apply(opened(generation));
        fixture.advance(s(9)).apply(lost(generation));
        assert_eq!((fixture.attempt(), fixture.time_to_next_attempt()), (generation as u32 + 1, s(wait)));
        fixture.tick_when_due();
    }
    fixture.apply(opened(5));
    fixture.apply(lost(5));
    assert_eq!(fixture.state(), Failed);
}

#[test]
fn connection_that_lasted_for_stable_after_resets_the_backoff() {
    let mut fixture = TestMachine::waiting(policy());
    fixture.tick_when_due();
    fixture.apply(opened(2));
    fixture.advance(s(10)).apply(lost(2));
    assert_eq!((fixture.attempt(), fixture.time_to_next_attempt()), (1, s(1)));
}

#[test]
fn backoff_continues_when_server_accepts_and_stays_silent() {
    let mut fixture = TestMachine::connected(policy());
    fixture.tick_when_due();
    fixture.tick_when_due();
    assert_eq!((fixture.state(), fixture.attempt()), (Reconnecting, 2));
}

#[test]
fn backoff_continues_after_a_system_timeout() {
    let mut fixture = TestMachine::waiting(policy());
    fixture.tick_when_due();
    fixture.apply(opened(2));
    fixture.advance(s(14)).apply(closed(2, error(Kind::Unanswered)));
    assert_eq!(fixture.attempt(), 3);
}

#[test]
fn silent_handshake_times_out_and_counts_as_an_attempt() {
    let mut fixture = TestMachine::connecting(policy());
    fixture.advance(Duration::from_millis(9_999));
    assert_eq!(fixture.apply(Tick), []);
    fixture.advance(Duration::from_millis(1));
    let change = fixture.transition_on(Tick);
    assert_eq!((change.to, change.attempt), (Reconnecting, 2));
    assert_eq!(change.reason, StatusReason::Failed(Reason::ConnectTimedOut));
}
