//! What can be asked and what is written down.

use super::*;

#[test]
fn every_state_carries_what_a_person_asks() {
    let mut play = Play::new(policy());
    let status = |play: &Play| {
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
    let refusal = Some((FaultKind::Refused, 102));
    assert_eq!(status(&play), (Disconnected, 0, 0, None, None));
    play.on(Event::Connect);
    assert_eq!(status(&play), (Connecting, 100, 1, None, None));
    play.pass(secs(2)).on(refused(1));
    assert_eq!(status(&play), (Reconnecting, 102, 2, Some(103), refusal));
    play.wake();
    assert_eq!(status(&play), (Reconnecting, 102, 2, None, refusal));
    play.on(opened(2));
    assert_eq!(status(&play), (Connected, 103, 2, None, refusal));
    play.on(Event::Closed { generation: 2, fault: Fault::from_close(Some(4401), "") });
    let expiry = Some((FaultKind::Unauthenticated, 103));
    assert_eq!(status(&play), (Failed, 103, 2, None, expiry));
    play.pass(secs(1)).on(Event::Disconnect);
    assert_eq!(status(&play), (Disconnected, 104, 0, None, expiry));
}

#[test]
fn what_an_actor_leaves_behind_is_told_and_its_successor_knows_it() {
    let (play, _) = Play::failed(policy());
    let left = play.machine.status().abandoned(secs(500));
    assert_eq!((left.state, left.since, left.attempt), (ConnectionState::Disconnected, secs(500), 0));
    assert_eq!((left.reason, left.next_attempt_at), (Reason::ActorEnded, None));
    assert_eq!(left.last_error.as_ref().map(|error| error.kind), Some(FaultKind::Refused));
    assert_eq!(left.last_error_at, Some(play.now));
    assert_eq!(Machine::succeeding(policy(), &left).status(), left);

    let mut play = Play::connected(policy());
    play.on(Event::Disconnect);
    let left = play.machine.status();
    assert_eq!(left.clone().abandoned(secs(500)), left, "there was nothing to lose");
}

#[test]
fn a_change_reads_well_in_the_journal() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    let change = serde_json::to_value(play.change_on(refused(1))).unwrap();
    assert_eq!(change["from"], "connecting");
    assert_eq!(change["to"], "reconnecting");
    assert_eq!((&change["attempt"], &change["max"]), (&2.into(), &5.into()));
    assert_eq!(change["reason"], "refused");
    let back: Transition = serde_json::from_value(change).unwrap();
    assert_eq!(back.reason, Reason::Fault(FaultKind::Refused));
    assert_eq!(serde_json::to_value(Reason::RetriesExhausted).unwrap(), "retries_exhausted");
}

#[test]
fn while_it_probes_a_failed_connection_shows_its_attempts_the_next_probe_and_the_latest_error() {
    let (mut play, last) = Play::failed(probing());
    let failed_at = play.now;
    play.wake();
    let status = play.machine.status();
    assert_eq!((status.state, status.attempt, status.next_attempt_at), (ConnectionState::Failed, 5, None));
    assert_eq!((status.since, status.last_error_at), (failed_at, Some(failed_at)));
    play.pass(secs(1)).on(Event::DialFailed { generation: last + 1, fault: fault(FaultKind::Unreachable) });
    let status = play.machine.status();
    assert_eq!((status.attempt, status.next_attempt_at), (5, Some(play.now + secs(60))));
    assert_eq!((status.since, status.last_error_at), (failed_at, Some(play.now)));
    assert_eq!(status.last_error.unwrap().kind, FaultKind::Unreachable);
}

#[test]
fn a_backend_seems_away_while_it_is_dialled_in_vain_and_not_once_it_has_refused() {
    let (mut play, last) = Play::failed(probing());
    assert!(play.machine.status().suggests_absence());
    play.wake();
    assert!(play.machine.status().suggests_absence(), "a probe under way is no sign of it");
    let fault = Fault::from_status(403, None);
    play.on(Event::DialFailed { generation: last + 1, fault });
    assert!(!play.machine.status().suggests_absence());
    play.wake();
    play.on(opened(last + 2));
    assert!(!play.machine.status().suggests_absence());
    play.on(Event::Disconnect);
    assert!(!play.machine.status().suggests_absence());
}
