use proptest::prelude::*;

use super::*;
use crate::transport::TransportError;

const DELAY: Delay = Delay::Exponential { min: s(1), max: s(30), factor: 2.0, jitter: false };
const REFUSED: Evidence = Evidence::Unreachable(Reason::ConnectionRefused);
const TIMED_OUT: Evidence = Evidence::Unanswered(Reason::TimedOut);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn gate(link: LinkHint) -> Gate {
    Gate::new(DELAY, link, s(0))
}

/// A gate that was closed at 0 s by request 1, which reached nobody.
fn closed(link: LinkHint) -> Gate {
    let mut gate = gate(link);
    gate.on_start(RequestId(1), s(0), 0.0);
    assert!(gate.on_end(RequestId(1), REFUSED, s(0), 0.0).is_some());
    gate
}

/// Lets a trial go out and end.
fn trial(gate: &mut Gate, evidence: Evidence, now: Duration) -> Option<Change> {
    assert!(gate.admits(now), "at {now:?}: {:?}", gate.hold());
    gate.on_start(RequestId(9), now, 0.0);
    gate.on_end(RequestId(9), evidence, now, 0.0)
}

#[test]
fn while_the_backend_answers_the_gate_is_open_whatever_the_answers() {
    let mut gate = gate(LinkHint::Up);
    for evidence in [Evidence::Answered, TIMED_OUT, Evidence::None] {
        assert_eq!(trial(&mut gate, evidence, s(1)), None);
    }
    assert!(gate.admits(s(1)));
}

#[test]
fn an_attempt_that_reaches_nobody_closes_it_until_the_first_delay_is_over() {
    let gate = closed(LinkHint::Silent);
    let hold = Hold { since: s(0), reason: Reason::ConnectionRefused, failures: 1, next_trial_at: s(1) };
    assert_eq!(gate.hold(), Some(hold));
    assert!(!gate.admits(Duration::from_millis(999)) && gate.admits(s(1)));
}

#[test]
fn each_trial_that_fails_doubles_the_wait_for_the_next_up_to_the_cap() {
    let mut gate = closed(LinkHint::Silent);
    let mut now = s(1);
    for wait in [2, 4, 8, 16, 30, 30] {
        let Some(Change::Held(hold)) = trial(&mut gate, REFUSED, now) else { panic!("at {now:?}") };
        assert_eq!((hold.since, hold.next_trial_at), (s(0), now + s(wait)));
        now = hold.next_trial_at;
    }
}

#[test]
fn any_answer_opens_it_and_tells_how_long_requests_were_held() {
    let mut gate = closed(LinkHint::Silent);
    let hold = gate.hold().unwrap();
    let Some(Change::Released(told)) = trial(&mut gate, Evidence::Answered, s(1)) else { panic!() };
    assert_eq!((told.since, told.failures), (hold.since, 1));
    assert!(gate.admits(s(1)) && gate.hold().is_none());
}

#[test]
fn what_had_started_before_it_closed_neither_prolongs_the_wait_nor_is_needed_to_open_it() {
    let mut gate = gate(LinkHint::Silent);
    (1..=3).for_each(|id| gate.on_start(RequestId(id), s(0), 0.0));
    assert!(gate.on_end(RequestId(1), REFUSED, s(0), 0.0).is_some());
    let hold = gate.hold();
    assert_eq!(gate.on_end(RequestId(2), REFUSED, s(0), 0.0), None);
    assert_eq!(gate.on_end(RequestId(2), TIMED_OUT, s(0), 0.0), None);
    assert_eq!(gate.hold(), hold);
    assert!(matches!(gate.on_end(RequestId(3), Evidence::Answered, s(0), 0.0), Some(Change::Released(_))));
}

#[test]
fn a_link_that_goes_down_lets_the_next_request_try_at_once_and_the_others_wait_for_it() {
    let mut gate = gate(LinkHint::Up);
    let Some(Change::Held(hold)) = gate.on_link(LinkHint::Away, s(5)) else { panic!() };
    assert_eq!((hold.reason, hold.failures), (Reason::Disconnected, 0));
    assert!(gate.admits(s(5)));
    gate.on_start(RequestId(1), s(5), 0.0);
    assert!(!gate.admits(s(5)));
    assert!(matches!(gate.on_end(RequestId(1), Evidence::Answered, s(5), 0.0), Some(Change::Released(_))));
    assert_eq!(gate.on_link(LinkHint::Away, s(6)), None, "only the link is down, and that is known");
    assert!(gate.admits(s(6)));
}

#[test]
fn a_link_that_is_up_again_opens_it_and_one_that_nobody_wants_says_nothing() {
    let mut gate = closed(LinkHint::Away);
    assert_eq!(gate.on_link(LinkHint::Silent, s(0)), None);
    assert!(!gate.admits(s(0)));
    assert!(matches!(gate.on_link(LinkHint::Up, s(0)), Some(Change::Released(_))));
    assert!(gate.admits(s(0)));
    assert_eq!(gate.on_link(LinkHint::Silent, s(0)), None);
    assert!(gate.admits(s(0)));
}

#[test]
fn the_backend_seen_elsewhere_opens_it() {
    let mut gate = closed(LinkHint::Away);
    assert!(matches!(gate.on_backend_seen(), Some(Change::Released(_))));
    assert_eq!(gate.on_backend_seen(), None);
}

#[test]
fn a_timeout_closes_it_only_where_the_link_is_away_as_well() {
    let mut with_link = gate(LinkHint::Up);
    assert_eq!(trial(&mut with_link, TIMED_OUT, s(0)), None);
    let mut without = gate(LinkHint::Away);
    assert!(matches!(trial(&mut without, TIMED_OUT, s(0)), Some(Change::Held(_))));
    let mut refused_before = closed(LinkHint::Silent);
    let change = trial(&mut refused_before, TIMED_OUT, s(1));
    assert!(matches!(change, Some(Change::Released(_))), "something took the request");
}

#[test]
fn a_trial_that_takes_long_lets_another_go_out_beside_it() {
    let mut gate = closed(LinkHint::Silent);
    gate.on_start(RequestId(2), s(1), 0.0);
    assert!(!gate.admits(Duration::from_millis(1999)) && gate.admits(s(2)));
}

#[test]
fn a_trial_that_is_called_off_makes_room_for_the_next_at_once() {
    let mut gate = closed(LinkHint::Silent);
    assert_eq!(trial(&mut gate, Evidence::None, s(1)), None);
    assert!(gate.admits(s(1)));
}

#[test]
fn only_that_nobody_was_there_counts_as_unreachable() {
    use FailureKind::*;
    let of = |kind, reach| {
        let failure = TransportError::new(kind, reach, "");
        Evidence::of(Outcome::Failed(&failure))
    };
    for kind in [Refused, HostNotFound, ConnectTimedOut, Connect, ProxyUnreachable, ProxyRefused] {
        for reach in [Reach::NotSent, Reach::MaybeSent] {
            assert_eq!(of(kind, reach), Evidence::Unreachable(kind.reason()));
        }
    }
    for kind in [Tls, BadRequest, TimedOut, ProxyDenied, ProxyUnauthenticated] {
        assert_eq!(of(kind, Reach::NotSent), Evidence::None, "{kind:?}");
    }
    for kind in [Reset, TimedOut] {
        assert_eq!(of(kind, Reach::MaybeSent), Evidence::Unanswered(kind.reason()));
    }
    assert_eq!(of(BodyReset, Reach::Answered), Evidence::Answered);
    assert_eq!(Evidence::of(Outcome::Lost), Evidence::None);
}

#[derive(Debug, Clone)]
enum Step {
    Start,
    End(usize, Evidence),
    Link(LinkHint),
    Seen,
}

fn step() -> impl Strategy<Value = Step> {
    let evidence = prop::sample::select(vec![Evidence::Answered, REFUSED, TIMED_OUT, Evidence::None]);
    let link = prop::sample::select(vec![LinkHint::Up, LinkHint::Away, LinkHint::Silent]);
    prop_oneof![
        6 => Just(Step::Start),
        6 => (0..5_usize, evidence).prop_map(|(which, evidence)| Step::End(which, evidence)),
        2 => link.prop_map(Step::Link),
        1 => Just(Step::Seen),
    ]
}

proptest! {
    /// Held requests never hammer a backend that is away, are never held for ever, and every change is told.
    #[test]
    fn whatever_happens_trials_keep_their_distance_and_the_next_one_is_never_far(
        steps in prop::collection::vec((step(), 0..5_000_u64, 0.0..1.0_f64), 1..200),
    ) {
        let mut gate = gate(LinkHint::Silent);
        let (mut now, mut next_id, mut running) = (s(0), 0, Vec::new());
        let mut held = false;
        let mut last_trial: Option<Duration> = None;
        for (step, passes_ms, jitter) in steps {
            now += Duration::from_millis(passes_ms);
            let change = match step {
                Step::Start if gate.admits(now) => {
                    if gate.hold().is_some() {
                        if let Some(last) = last_trial {
                            prop_assert!(now >= last + s(1), "{:?} after {:?}", now, last);
                        }
                        last_trial = Some(now);
                    }
                    next_id += 1;
                    running.push(RequestId(next_id));
                    gate.on_start(RequestId(next_id), now, jitter);
                    None
                }
                Step::Start => None,
                Step::End(which, evidence) if !running.is_empty() => {
                    let id = running.swap_remove(which % running.len());
                    if evidence == Evidence::None {
                        last_trial = None;
                    }
                    gate.on_end(id, evidence, now, jitter)
                }
                Step::End(..) => None,
                Step::Link(link) => gate.on_link(link, now),
                Step::Seen => gate.on_backend_seen(),
            };
            match change {
                Some(Change::Held(_)) => held = true,
                Some(Change::Released(_)) => (held, last_trial) = (false, None),
                None => {}
            }
            prop_assert_eq!(gate.hold().is_some(), held, "a change was not told");
            if let Some(hold) = gate.hold() {
                prop_assert!(hold.next_trial_at <= now + s(30), "{:?} at {:?}", hold, now);
                prop_assert!(hold.since <= now);
            }
        }
    }
}
