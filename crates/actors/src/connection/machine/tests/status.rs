//! What can be asked and what is written down.

use super::*;

#[test]
fn every_state_carries_what_a_person_asks() {
    let mut play = Play::new(policy());
    let status = |play: &Play| {
        let status = play.machine.status();
        assert_eq!(status.max, 5);
        let error = status.last_error.map(|error| error.kind);
        (
            status.state,
            status.since.as_secs(),
            status.attempt,
            status.next_attempt_at.map(|at| at.as_secs()),
            error,
        )
    };
    use ConnectionState::*;
    let refusal = Some(FaultKind::Refused);
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
    assert_eq!(status(&play), (Failed, 103, 2, None, Some(FaultKind::Unauthenticated)));
    play.pass(secs(1)).on(Event::Disconnect);
    assert_eq!(status(&play), (Disconnected, 104, 0, None, Some(FaultKind::Unauthenticated)));
}

#[test]
fn what_an_actor_leaves_behind_is_told_and_its_successor_knows_it() {
    let (play, _) = Play::failed(policy());
    let left = play.machine.status().abandoned(secs(500));
    assert_eq!((left.state, left.since, left.attempt), (ConnectionState::Disconnected, secs(500), 0));
    assert_eq!((left.reason, left.next_attempt_at), (Reason::ActorEnded, None));
    assert_eq!(left.last_error.as_ref().map(|error| error.kind), Some(FaultKind::Refused));
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
