//! Tests that a hint makes a machine that waits dial at once.

use super::*;
use MachineEvent::{BackendStarted, CredentialsChanged, NetworkChanged};

const ALL_HINTS: [MachineEvent; 5] =
    [BackendSeen, BackendStarted, CredentialsChanged, NetworkChanged, SystemResumed];

#[test]
fn any_hint_makes_every_waiting_state_dial_at_once() {
    for hint in ALL_HINTS {
        let waiting = TestMachine::waiting(policy());
        let (failed, _) = TestMachine::failed(policy());
        let (probed, _) = TestMachine::failed(probing_policy());
        for mut fixture in [waiting, failed, probed] {
            let (state, next) = (fixture.state(), fixture.machine.generation + 1);
            assert_eq!(fixture.apply(hint.clone()), [dial(next)], "{hint:?} in {state:?}");
            assert_eq!(fixture.apply(hint.clone()), [], "{hint:?}: it dials already");
        }
    }
}

#[test]
fn hints_dial_nothing_while_disconnected() {
    for hint in ALL_HINTS {
        assert_eq!(TestMachine::new(policy()).apply_all(hint), []);
    }
}

#[test]
fn failed_early_dial_uses_no_attempt_and_keeps_the_planned_one() {
    let mut fixture = TestMachine::waiting(policy());
    for generation in 2..=3 {
        fixture.tick_when_due();
        fixture.apply(refused(generation));
    }
    let planned = fixture.machine.status();
    assert_eq!(fixture.wait(), (Reconnecting, 4, s(4)));
    assert_eq!(fixture.apply(BackendSeen), [dial(4)]);
    assert_eq!((fixture.state(), fixture.attempt()), (Reconnecting, 4));
    fixture.advance(s(1)).apply(refused(4));
    let after = fixture.machine.status();
    assert_eq!((after.attempt, after.next_attempt_at), (4, planned.next_attempt_at));
    assert_eq!(fixture.apply(BackendSeen), [], "the hint led to nothing, so others wait for the same delay");
    fixture.tick_when_due();
    fixture.apply(refused(5));
    assert_eq!(fixture.wait(), (Reconnecting, 5, s(8)));
    assert_eq!(fixture.apply(BackendSeen), [dial(6)], "the delay since the last hint is over");
}

#[test]
fn delay_that_the_backend_asked_for_is_kept() {
    let busy = || ConnectionError::from_status(503, Some(s(45)));
    let mut fixture = TestMachine::connecting(policy());
    fixture.apply(dial_failed(1, busy()));
    assert_eq!(fixture.apply(BackendSeen), []);
    let mut fixture = TestMachine::waiting(policy());
    fixture.apply(BackendSeen);
    fixture.apply(dial_failed(2, busy()));
    assert_eq!(fixture.wait(), (Reconnecting, 2, s(45)));
}

#[test]
fn early_dial_that_outlasts_the_delay_is_the_attempt() {
    let mut fixture = TestMachine::waiting(policy());
    fixture.apply(BackendSeen);
    fixture.advance(s(9)).apply(refused(2));
    assert_eq!(fixture.wait(), (Reconnecting, 3, s(2)));
}

#[test]
fn early_dial_that_opens_is_the_planned_attempt() {
    let mut fixture = TestMachine::waiting(policy());
    fixture.apply(BackendSeen);
    fixture.apply(opened(2));
    assert_eq!(fixture.state(), Connected);
    fixture.advance(s(10)).apply(received(2));
    fixture.apply(lost(2));
    assert_eq!(fixture.wait(), (Reconnecting, 1, s(1)));
}

#[test]
fn refused_connection_heeds_only_what_may_change_the_refusal() {
    for (hint, is_heeded) in
        [(BackendSeen, false), (NetworkChanged, false), (BackendStarted, true), (CredentialsChanged, true)]
    {
        let mut fixture = TestMachine::connecting(policy());
        fixture.apply(dial_failed(1, ConnectionError::from_status(401, None)));
        assert_eq!(!fixture.apply(hint.clone()).is_empty(), is_heeded, "{hint:?}");
    }
}
