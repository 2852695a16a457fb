//! What can be asked and what is written down.

use super::*;

#[test]
fn status_of_every_state_is_complete() {
    let mut play = TestMachine::new(policy());
    let status = |play: &TestMachine| {
        let status = play.machine.status();
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
    use ConnectionState::*;
    let refusal = Some((ConnectionErrorKind::Refused, 102));
    assert_eq!(status(&play), (Disconnected, 0, 0, None, None));
    play.apply(MachineEvent::Connect);
    assert_eq!(status(&play), (Connecting, 100, 1, None, None));
    play.advance(secs(2)).apply(refused(1));
    assert_eq!(status(&play), (Reconnecting, 102, 2, Some(103), refusal));
    play.tick_when_due();
    assert_eq!(status(&play), (Reconnecting, 102, 2, None, refusal));
    play.apply(opened(2));
    assert_eq!(status(&play), (Connected, 103, 2, None, refusal));
    play.apply(MachineEvent::Closed { generation: 2, error: ConnectionError::from_close(Some(4401), "") });
    let expiry = Some((ConnectionErrorKind::Unauthenticated, 103));
    assert_eq!(status(&play), (Failed, 103, 2, None, expiry));
    play.advance(secs(1)).apply(MachineEvent::Disconnect);
    assert_eq!(status(&play), (Disconnected, 104, 0, None, expiry));
}

#[test]
fn status_after_actor_exit_is_kept_by_the_next_machine() {
    let (play, _) = TestMachine::failed(policy());
    let left = play.machine.status().after_actor_exit(secs(500));
    assert_eq!((left.state, left.since, left.attempt), (ConnectionState::Disconnected, secs(500), 0));
    assert_eq!((left.reason, left.next_attempt_at), (StatusReason::ActorEnded, None));
    assert_eq!(left.last_error.as_ref().map(|error| error.kind), Some(ConnectionErrorKind::Refused));
    assert_eq!(left.last_error_at, Some(play.now));
    assert_eq!(Machine::from_previous(policy(), &left).status(), left);

    let mut play = TestMachine::connected(policy());
    play.apply(MachineEvent::Disconnect);
    let left = play.machine.status();
    assert_eq!(left.clone().after_actor_exit(secs(500)), left, "there was nothing to lose");
}

#[test]
fn transition_in_the_journal_is_complete() {
    let mut play = TestMachine::new(policy());
    play.apply(MachineEvent::Connect);
    let change = serde_json::to_value(play.transition_on(refused(1))).unwrap();
    assert_eq!(change["from"], "connecting");
    assert_eq!(change["to"], "reconnecting");
    assert_eq!((&change["attempt"], &change["max"]), (&2.into(), &5.into()));
    assert_eq!(change["reason"], "refused");
    let back: Transition = serde_json::from_value(change).unwrap();
    assert_eq!(back.reason, StatusReason::Failed(ConnectionErrorKind::Refused));
    assert_eq!(serde_json::to_value(StatusReason::RetriesExhausted).unwrap(), "retries_exhausted");
}

#[test]
fn probing_status_shows_attempts_next_probe_and_last_error() {
    let (mut play, last) = TestMachine::failed(probing_policy());
    let failed_at = play.now;
    play.tick_when_due();
    let status = play.machine.status();
    assert_eq!((status.state, status.attempt, status.next_attempt_at), (ConnectionState::Failed, 5, None));
    assert_eq!((status.since, status.last_error_at), (failed_at, Some(failed_at)));
    play.advance(secs(1)).apply(MachineEvent::DialFailed {
        generation: last + 1,
        error: fault(ConnectionErrorKind::Unreachable),
    });
    let status = play.machine.status();
    assert_eq!((status.attempt, status.next_attempt_at), (5, Some(play.now + secs(60))));
    assert_eq!((status.since, status.last_error_at), (failed_at, Some(play.now)));
    assert_eq!(status.last_error.unwrap().kind, ConnectionErrorKind::Unreachable);
}

#[test]
fn backend_seems_unreachable_until_it_refuses() {
    let (mut play, last) = TestMachine::failed(probing_policy());
    assert!(play.machine.status().seems_unreachable());
    play.tick_when_due();
    assert!(play.machine.status().seems_unreachable(), "a probe under way is no sign of it");
    let fault = ConnectionError::from_status(403, None);
    play.apply(MachineEvent::DialFailed { generation: last + 1, error: fault });
    assert!(!play.machine.status().seems_unreachable());
    play.tick_when_due();
    play.apply(opened(last + 2));
    assert!(!play.machine.status().seems_unreachable());
    play.apply(MachineEvent::Disconnect);
    assert!(!play.machine.status().seems_unreachable());
}
