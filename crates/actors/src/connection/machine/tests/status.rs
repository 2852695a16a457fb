//! Tests the status and the recorded changes.

use super::*;
use crate::network::BackendAvailability;

#[test]
fn status_of_every_state_is_complete() {
    let mut fixture = TestMachine::new(policy());
    let status = |fixture: &TestMachine| {
        let status = fixture.machine.status();
        assert_eq!(status.max, 5);
        let error =
            status.last_error.map(|error| error.kind).zip(status.last_error_at.map(|at| at.as_secs()));
        (
            status.state,
            status.since.as_secs(),
            status.attempt,
            status.next_attempt_at.map(|at| at.as_secs()),
            error,
        )
    };
    let refusal = Some((Kind::Refused, 102));
    assert_eq!(status(&fixture), (Disconnected, 0, 0, None, None));
    fixture.apply(Connect);
    assert_eq!(status(&fixture), (Connecting, 100, 1, None, None));
    fixture.advance(s(2)).apply(refused(1));
    assert_eq!(status(&fixture), (Reconnecting, 102, 2, Some(103), refusal));
    fixture.tick_when_due();
    assert_eq!(status(&fixture), (Reconnecting, 102, 2, None, refusal));
    fixture.apply(opened(2));
    assert_eq!(status(&fixture), (Connected, 103, 2, None, refusal));
    fixture.apply(closed(2, ConnectionError::from_close(Some(4401), "")));
    let expiry = Some((Kind::Unauthenticated, 103));
    assert_eq!(status(&fixture), (Failed, 103, 2, None, expiry));
    fixture.advance(s(1)).apply(Disconnect);
    assert_eq!(status(&fixture), (Disconnected, 104, 0, None, expiry));
}

#[test]
fn status_after_actor_exit_is_kept_by_the_next_machine() {
    let (fixture, _) = TestMachine::failed(policy());
    let left = fixture.machine.status().after_actor_exit(s(500));
    assert_eq!((left.state, left.since, left.attempt), (Disconnected, s(500), 0));
    assert_eq!((left.reason, left.next_attempt_at), (StatusReason::ActorEnded, None));
    assert_eq!(left.last_error.as_ref().map(|error| error.kind), Some(Kind::Refused));
    assert_eq!(left.last_error_at, Some(fixture.now));
    assert_eq!(Machine::from_previous(policy(), &left).status(), left);

    let mut fixture = TestMachine::connected(policy());
    fixture.apply(Disconnect);
    let left = fixture.machine.status();
    assert_eq!(left.clone().after_actor_exit(s(500)), left, "there was nothing to lose");
}

#[test]
fn transition_in_the_journal_is_complete() {
    let mut fixture = TestMachine::connecting(policy());
    let change = serde_json::to_value(fixture.transition_on(refused(1))).unwrap();
    assert_eq!(change["from"], "connecting");
    assert_eq!(change["to"], "reconnecting");
    assert_eq!((&change["attempt"], &change["max"]), (&2.into(), &5.into()));
    assert_eq!(change["reason"], "connection_refused");
    let back: Transition = serde_json::from_value(change).unwrap();
    assert_eq!(back.reason, StatusReason::Failed(Reason::ConnectionRefused));
    assert_eq!(serde_json::to_value(StatusReason::RetriesExhausted).unwrap(), "retries_exhausted");
}

#[test]
fn probing_status_shows_attempts_next_probe_and_last_error() {
    let (mut fixture, last) = TestMachine::failed(probing_policy());
    let failed_at = fixture.now;
    fixture.tick_when_due();
    let status = fixture.machine.status();
    assert_eq!((status.state, status.attempt, status.next_attempt_at), (Failed, 5, None));
    assert_eq!((status.since, status.last_error_at), (failed_at, Some(failed_at)));
    fixture.advance(s(1)).apply(dial_failed(last + 1, error(Kind::Unreachable)));
    let status = fixture.machine.status();
    assert_eq!((status.attempt, status.next_attempt_at), (5, Some(fixture.now + s(120))));
    assert_eq!((status.since, status.last_error_at), (failed_at, Some(fixture.now)));
    assert_eq!(status.last_error.unwrap().kind, Kind::Unreachable);
}

#[test]
fn backend_seems_unreachable_until_it_refuses() {
    let (mut fixture, last) = TestMachine::failed(probing_policy());
    assert!(fixture.machine.status().seems_unreachable());
    fixture.tick_when_due();
    assert!(fixture.machine.status().seems_unreachable(), "a probe in flight is no evidence");
    let error = ConnectionError::from_status(403, None);
    fixture.apply(dial_failed(last + 1, error));
    assert!(!fixture.machine.status().seems_unreachable());
    fixture.tick_when_due();
    fixture.apply(opened(last + 2));
    assert!(!fixture.machine.status().seems_unreachable());
    fixture.apply(Disconnect);
    assert!(!fixture.machine.status().seems_unreachable());
}

#[test]
fn availability_follows_the_state_and_the_last_error() {
    let (mut fixture, last) = TestMachine::failed(probing_policy());
    let first_dial = {
        let mut machine = Machine::new(ConnectionPolicy::default());
        machine.on_event(s(1), Connect, 0.5);
        machine.status().availability()
    };
    assert_eq!(first_dial, BackendAvailability::Unknown, "nothing has failed yet");
    assert_eq!(fixture.machine.status().availability(), BackendAvailability::Down);
    fixture.tick_when_due();
    fixture.apply(opened(last + 1));
    assert_eq!(fixture.machine.status().availability(), BackendAvailability::Up);
    fixture.apply(Disconnect);
    assert_eq!(fixture.machine.status().availability(), BackendAvailability::Unknown);
    fixture.apply(Connect);
    let expected = BackendAvailability::Down;
    assert_eq!(fixture.machine.status().availability(), expected, "a dial after an error is no first dial");
}

#[test]
fn backend_is_down_only_while_nothing_accepts_connections() {
    for kind in Kind::ALL {
        let mut fixture = TestMachine::connecting(policy());
        fixture.apply(dial_failed(1, error(*kind)));
        let accepts_nothing =
            matches!(kind, Kind::Refused | Kind::Unresolved | Kind::Unreachable | Kind::ProxyUnreachable);
        let is_down = fixture.machine.status().availability() == BackendAvailability::Down;
        assert_eq!(is_down, accepts_nothing, "{kind:?}");
    }
}

#[test]
fn disabled_connection_does_nothing_and_shows_nothing_wrong() {
    let mut fixture = TestMachine::new(ConnectionPolicy { enabled: false, ..policy() });
    for event in [Connect, Disconnect, BackendSeen, SystemResumed, Tick, MachineEvent::NetworkChanged] {
        assert_eq!(fixture.apply_all(event), []);
    }
    let status = fixture.machine.status();
    assert_eq!((status.state, status.attempt, status.next_attempt_at), (Disabled, 0, None));
    assert_eq!((status.availability(), status.seems_unreachable()), (BackendAvailability::Unknown, false));
    assert_eq!(status.clone().after_actor_exit(s(500)), status);
    assert_eq!(fixture.machine.next_wake(), None);
}
