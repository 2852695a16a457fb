use proptest::prelude::*;

use super::*;
use crate::{
    queue::attempt::AttemptResult,
    tests::s,
    transport::{
        FailureKind,
        SendProgress::{self, MaybeSent, NotSent},
        TransportError,
    },
};
use BackendAvailability::{Down, Unknown, Up};
use GateChange::{Held, Released};
use ReachabilityEvidence::{Answered, Unanswered, Unreachable};

const DELAY: Delay = Delay::Exponential { min: s(1), max: s(30), factor: 2.0, jitter: false };
const REFUSED: ReachabilityEvidence = Unreachable(Reason::ConnectionRefused);
const TIMED_OUT: ReachabilityEvidence = Unanswered(Reason::TimedOut);

fn gate(availability: BackendAvailability) -> Gate {
    Gate::new(DELAY, availability, s(0))
}

/// Returns a gate that request 1 closed at 0 s because it could not connect.
fn closed_gate(availability: BackendAvailability) -> Gate {
    let mut gate = gate(availability);
    gate.on_start(RequestId(1), s(0), 0.0);
    assert!(gate.on_end(RequestId(1), REFUSED, s(0), 0.0).is_some());
    gate
}

/// Starts and ends a probe.
fn probe(gate: &mut Gate, evidence: ReachabilityEvidence, now: Duration) -> Option<GateChange> {
    assert!(gate.admits(now), "at {now:?}: {:?}", gate.outage());
    gate.on_start(RequestId(9), now, 0.0);
    gate.on_end(RequestId(9), evidence, now, 0.0)
}

#[test]
fn gate_stays_open_while_the_backend_answers() {
    let mut gate = gate(Up);
    for evidence in [Answered, TIMED_OUT, ReachabilityEvidence::None] {
        assert_eq!(probe(&mut gate, evidence, s(1)), None);
    }
    assert!(gate.admits(s(1)));
}

#[test]
fn failed_probe_doubles_the_wait_up_to_the_cap() {
    let mut gate = closed_gate(Unknown);
    let mut now = s(1);
    for wait in [2, 4, 8, 16, 30, 30] {
        let Some(Held(outage)) = probe(&mut gate, REFUSED, now) else { panic!("at {now:?}") };
        assert_eq!((outage.since, outage.next_probe_at), (s(0), now + s(wait)));
        now = outage.next_probe_at;
    }
}

#[test]
fn earlier_attempt_neither_extends_nor_is_needed_to_open() {
    let mut gate = gate(Unknown);
    (1..=3).for_each(|id| gate.on_start(RequestId(id), s(0), 0.0));
    assert!(gate.on_end(RequestId(1), REFUSED, s(0), 0.0).is_some());
    let outage = gate.outage();
    assert_eq!(gate.on_end(RequestId(2), REFUSED, s(0), 0.0), None);
    assert_eq!(gate.on_end(RequestId(2), TIMED_OUT, s(0), 0.0), None);
    assert_eq!(gate.outage(), outage);
    assert!(matches!(gate.on_end(RequestId(3), Answered, s(0), 0.0), Some(Released { .. })));
}

#[test]
fn lost_connection_lets_one_request_probe_and_holds_the_others() {
    let mut gate = gate(Up);
    let Some(Held(outage)) = gate.on_availability(Down, s(5)) else { panic!() };
    assert_eq!((outage.reason, outage.failures), (Reason::Disconnected, 0));
    assert!(gate.admits(s(5)));
    gate.on_start(RequestId(1), s(5), 0.0);
    assert!(!gate.admits(s(5)));
    assert!(matches!(gate.on_end(RequestId(1), Answered, s(5), 0.0), Some(Released { .. })));
    assert_eq!(gate.on_availability(Down, s(6)), None, "only the connection is down, as before");
    assert!(gate.admits(s(6)));
}

#[test]
fn restored_backend_opens_the_gate_and_unknown_does_not() {
    let mut gate = closed_gate(Down);
    assert_eq!(gate.on_availability(Unknown, s(0)), None);
    assert!(!gate.admits(s(0)));
    assert!(matches!(gate.on_availability(Up, s(0)), Some(Released { .. })));
    assert!(gate.admits(s(0)));
    assert_eq!(gate.on_availability(Unknown, s(0)), None);
    assert!(gate.admits(s(0)));
}

#[test]
fn request_that_was_taken_never_closes_the_gate() {
    for reason in [Reason::TimedOut, Reason::ConnectionReset] {
        assert_eq!(probe(&mut gate(Up), Unanswered(reason), s(0)), None);
        for mut closed in [gate(Down), closed_gate(Unknown), closed_gate(Down)] {
            let change = probe(&mut closed, Unanswered(reason), s(1));
            assert!(matches!(change, Some(Released { .. })), "something took the request");
        }
    }
}

#[test]
fn next_probe_is_never_in_the_past() {
    let outage = closed_gate(Unknown).outage().unwrap();
    assert_eq!(outage.next_probe_after(s(0)), Some(s(1)));
    assert_eq!((outage.next_probe_after(s(1)), outage.next_probe_after(s(99))), (None, None));
}

#[test]
fn slow_probe_lets_another_go_out() {
    let mut gate = closed_gate(Unknown);
    gate.on_start(RequestId(2), s(1), 0.0);
    assert!(!gate.admits(Duration::from_millis(1999)) && gate.admits(s(2)));
}

#[test]
fn cancelled_probe_lets_the_next_go_at_once() {
    let mut gate = closed_gate(Unknown);
    assert_eq!(probe(&mut gate, ReachabilityEvidence::None, s(1)), None);
    assert!(gate.admits(s(1)));
}

#[test]
fn only_failures_to_connect_count_as_unreachable() {
    use FailureKind::*;
    let of = |kind, reach| {
        let failure = TransportError::new(kind, reach, "");
        ReachabilityEvidence::from_result(&AttemptResult::Failed(failure))
    };
    for kind in [Refused, HostNotFound, ConnectTimedOut, Connect, ProxyUnreachable, ProxyRefused] {
        for reach in [NotSent, MaybeSent] {
            assert_eq!(of(kind, reach), Unreachable(kind.reason()));
        }
    }
    for kind in [Tls, BadRequest, TimedOut, ProxyDenied, ProxyUnauthenticated] {
        assert_eq!(of(kind, NotSent), ReachabilityEvidence::None, "{kind:?}");
    }
    for kind in [Reset, TimedOut] {
        assert_eq!(of(kind, MaybeSent), Unanswered(kind.reason()));
    }
    assert_eq!(of(BodyReset, SendProgress::Answered), Answered);
    assert_eq!(ReachabilityEvidence::from_result(&AttemptResult::Lost), ReachabilityEvidence::None);
}

#[derive(Debug, Clone)]
enum GateStep {
    Start,
    End(usize, ReachabilityEvidence),
    Availability(BackendAvailability),
    Seen,
}

fn step() -> impl Strategy<Value = GateStep> {
    let evidence = prop::sample::select(vec![Answered, REFUSED, TIMED_OUT, ReachabilityEvidence::None]);
    let availability = prop::sample::select(vec![Up, Down, Unknown]);
    prop_oneof![
        6 => Just(GateStep::Start),
        6 => (0..5_usize, evidence).prop_map(|(which, evidence)| GateStep::End(which, evidence)),
        2 => availability.prop_map(GateStep::Availability),
        1 => Just(GateStep::Seen),
    ]
}

proptest! {
    /// Checks that probes keep their distance, that requests are not held for ever, and that every change is
    /// reported.
    #[test]
    fn probes_keep_their_delay_and_the_next_one_is_bounded(
        steps in prop::collection::vec((step(), 0..5_000_u64, 0.0..1.0_f64), 1..200),
    ) {
        let mut gate = gate(Unknown);
        let (mut now, mut next_id, mut running) = (s(0), 0, Vec::new());
        let mut held = false;
        let mut last_trial: Option<Duration> = None;
        for (step, passes_ms, jitter) in steps {
            now += Duration::from_millis(passes_ms);
            let change = match step {
                GateStep::Start if gate.admits(now) => {
                    if gate.outage().is_some() {
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
                GateStep::Start => None,
                GateStep::End(which, evidence) if !running.is_empty() => {
                    let id = running.swap_remove(which % running.len());
                    if evidence == ReachabilityEvidence::None {
                        last_trial = None;
                    }
                    gate.on_end(id, evidence, now, jitter)
                }
                GateStep::End(..) => None,
                GateStep::Availability(availability) => gate.on_availability(availability, now),
                GateStep::Seen => gate.on_backend_seen(),
            };
            match change {
                Some(Held(_)) => held = true,
                Some(Released { .. }) => (held, last_trial) = (false, None),
                None => {}
            }
            prop_assert_eq!(gate.outage().is_some(), held, "a change was not reported");
            if let Some(outage) = gate.outage() {
                prop_assert!(outage.next_probe_at <= now + s(30), "{:?} at {:?}", outage, now);
                prop_assert!(outage.since <= now);
            }
        }
    }
}
