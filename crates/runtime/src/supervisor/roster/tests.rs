//! The roster without an actor: events and times in, actions out.

mod random;

use super::*;
use crate::policy::{Budget, Delay, Exhausted, RestartType, Strategy};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn crash() -> Exit {
    Exit { ready_since: Some(s(0)), progressed: true, ..Exit::of(ExitCause::Panic) }
}

fn policy() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::Fixed { delay: s(5) },
        budget: Some(Budget { restarts_max: 2, window: s(600) }),
        shutdown: Shutdown::Graceful(s(3)),
        ..ChildPolicy::default()
    }
}

/// A roster with `children` that have all come up.
fn up(children: usize, policy: ChildPolicy) -> Roster {
    up_with(Strategy::OneForOne, std::iter::repeat_n(policy, children))
}

fn up_with(strategy: Strategy, children: impl IntoIterator<Item = ChildPolicy>) -> Roster {
    let mut roster = Roster::new(SupervisorPolicy { strategy, ..SupervisorPolicy::default() });
    let keys: Vec<Key> = children.into_iter().map(|policy| roster.enlist(Arc::new(policy))).collect();
    let mut actions = roster.come_up(s(0));
    for key in keys {
        assert!(actions.contains(&Action::Launch { key }), "{actions:?}");
        actions = roster.ready(key, s(0));
    }
    assert!(actions.contains(&Action::ComeUp));
    roster
}

fn settled(actions: &[Action]) -> Vec<(Key, Rest)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Settle { key, rest } => Some((*key, *rest)),
            _ => None,
        })
        .collect()
}

#[test]
fn children_start_in_order_each_when_the_one_before_is_ready() {
    let mut roster = Roster::new(SupervisorPolicy::default());
    let (first, second) = (roster.enlist(policy().into()), roster.enlist(policy().into()));
    assert_eq!(roster.come_up(s(0)), [Action::Launch { key: first }]);
    assert!(roster.ready(first, s(0)).contains(&Action::Launch { key: second }));
    assert!(roster.ready(second, s(0)).contains(&Action::ComeUp));
}

#[test]
fn a_crash_leads_to_a_recorded_decision_and_a_restart_after_the_delay() {
    let mut roster = up(2, policy());
    let actions = roster.exited(0, crash(), s(10), 0.5);
    assert!(matches!(actions[0], Action::Record { key: 0, .. }));
    assert_eq!(settled(&actions), [(0, Rest::Restarting(s(15)))]);
    assert_eq!(roster.next_wake(), Some(s(15)));
    assert_eq!(roster.tick(s(14)), []);
    assert_eq!(roster.tick(s(15)), [Action::Launch { key: 0 }]);
    assert_eq!(roster.tick(s(16)), [], "a late tick does nothing");
}

#[test]
fn a_child_whose_budget_is_spent_fails_alone_and_a_reset_brings_it_back() {
    let mut roster = up(2, policy());
    for now in [s(1), s(10)] {
        roster.exited(0, crash(), now, 0.0);
        roster.tick(now + s(5));
        roster.ready(0, s(0));
    }
    assert_eq!(settled(&roster.exited(0, crash(), s(20), 0.0)), [(0, Rest::Failed)]);
    assert_eq!(roster.next_wake(), None);
    assert_eq!(roster.reset(0, s(0)), Ok(vec![Action::Launch { key: 0 }]));
}

#[test]
fn stopping_a_child_that_waits_for_its_restart_sticks() {
    let mut roster = up(1, policy());
    roster.exited(0, crash(), s(1), 0.0);
    assert_eq!(settled(&roster.stop(0, s(2))), [(0, Rest::Stopped)]);
    assert_eq!(roster.tick(s(60)), []);
}

#[test]
fn a_child_that_does_not_stop_in_time_is_killed_once() {
    let mut roster = up(1, policy());
    assert_eq!(roster.stop(0, s(1)), [Action::AskToStop { key: 0 }]);
    assert_eq!(roster.tick(s(3)), []);
    assert_eq!(roster.tick(s(4)), [Action::Kill { key: 0, verdict: Verdict::Ordered }]);
    assert_eq!(roster.tick(s(5)), []);
    assert_eq!(settled(&roster.exited(0, crash(), s(5), 0.0)), [(0, Rest::Stopped)]);
}

#[test]
fn shutdown_stops_the_children_one_by_one_in_reverse_order() {
    let mut roster = up(3, policy());
    let mut actions = roster.shut_down(Ending::Asked, s(1));
    for key in [2, 1, 0] {
        assert!(actions.contains(&Action::AskToStop { key }), "{key}: {actions:?}");
        actions = roster.exited(key, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    }
    assert_eq!(actions.last(), Some(&Action::Finish(Ending::Asked)));
}

#[test]
fn a_crash_during_shutdown_is_not_restarted() {
    let mut roster = up(2, policy());
    roster.shut_down(Ending::Asked, s(1));
    let actions = roster.exited(0, crash(), s(1), 0.0);
    assert!(!actions.iter().any(|action| matches!(action, Action::Launch { .. } | Action::Record { .. })));
    assert_eq!(roster.add(policy().into(), s(0)).err(), Some(Objection::Stopping));
}

#[test]
fn an_initial_child_that_fails_to_start_stops_the_others_and_the_supervisor() {
    let mut roster = Roster::new(SupervisorPolicy::default());
    roster.enlist(policy().into());
    roster.enlist(policy().into());
    roster.come_up(s(0));
    roster.ready(0, s(0));
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    let actions = roster.exited(1, failed, s(1), 0.0);
    assert_eq!(actions.last(), Some(&Action::AskToStop { key: 0 }));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert!(matches!(actions.last(), Some(Action::Finish(_))));
}

#[test]
fn an_added_child_that_fails_to_start_leaves_nothing_behind() {
    let mut roster = up(0, policy());
    let (key, actions) = roster.add(policy().into(), s(0)).unwrap();
    assert_eq!(actions, [Action::Launch { key }]);
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    let actions = roster.exited(key, failed, s(1), 0.0);
    assert_eq!(actions, [Action::Settle { key, rest: Rest::Refused }, Action::Forget { key }]);
}

#[test]
fn a_restart_by_hand_spends_no_budget_and_cuts_a_delay_short() {
    let mut roster = up(1, policy());
    assert_eq!(roster.restart(0, s(1)), Ok(vec![Action::AskToStop { key: 0 }]));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert_eq!(actions, [Action::Launch { key: 0 }]);
    roster.ready(0, s(0));
    assert_eq!(roster.history(0).map(ChildHistory::attempts), Some(0));
    roster.exited(0, crash(), s(3), 0.0);
    assert_eq!(roster.restart(0, s(4)), Ok(vec![Action::Launch { key: 0 }]));
}

#[test]
fn an_escalation_stops_the_siblings_and_ends_the_supervisor_with_a_reason() {
    let strict = ChildPolicy {
        budget: Some(Budget { restarts_max: 0, window: s(1) }),
        exhausted: Exhausted::Escalate,
        ..policy()
    };
    let mut roster = up(2, strict);
    let actions = roster.exited(1, crash(), s(1), 0.0);
    assert_eq!(actions.last(), Some(&Action::AskToStop { key: 0 }));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert!(matches!(actions.last(), Some(Action::Finish(_))));
}

#[test]
fn a_child_that_is_not_to_be_restarted_stays_stopped_and_can_be_started() {
    let mut roster = up(1, ChildPolicy { restart: RestartType::Transient, ..policy() });
    let normal = Exit { cause: ExitCause::Normal, ..crash() };
    assert_eq!(settled(&roster.exited(0, normal, s(1), 0.0)), [(0, Rest::Stopped)]);
    assert_eq!(roster.start(0, s(0)), Ok(vec![Action::Launch { key: 0 }]));
    assert_eq!(roster.start(0, s(0)), Err(Objection::Running));
}

#[test]
fn a_restart_that_falls_due_during_a_shutdown_does_not_happen() {
    let mut roster = up(2, policy());
    roster.exited(1, crash(), s(1), 0.0);
    let actions = roster.shut_down(Ending::Asked, s(2));
    assert!(settled(&actions).contains(&(1, Rest::Stopped)), "{actions:?}");
    assert_eq!(roster.tick(s(6)), [Action::Kill { key: 0, verdict: Verdict::Ordered }]);
}

#[test]
fn an_initial_child_that_is_stopped_while_it_starts_does_not_hold_up_the_next() {
    let mut roster = Roster::new(SupervisorPolicy::default());
    roster.enlist(policy().into());
    roster.enlist(policy().into());
    roster.come_up(s(0));
    assert_eq!(roster.stop(0, s(1)), [Action::AskToStop { key: 0 }]);
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(1), 0.0);
    assert!(actions.contains(&Action::Launch { key: 1 }), "{actions:?}");
}

#[test]
fn a_child_that_is_being_dropped_is_dropped_whatever_else_is_asked_meanwhile() {
    let mut roster = up(1, policy());
    roster.remove(0, s(1));
    roster.stop(0, s(1));
    assert_eq!(roster.restart(0, s(1)), Err(Objection::Restarting));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert!(actions.contains(&Action::Forget { key: 0 }), "{actions:?}");
}

#[test]
fn a_child_that_waits_for_its_turn_is_not_forgotten_when_a_later_one_fails_meanwhile() {
    let mut roster = up_with(Strategy::RestForOne, [policy(), policy(), policy()]);
    roster.exited(0, crash(), s(10), 0.0);
    for key in [2, 1] {
        roster.exited(key, crash(), s(10), 0.0);
    }
    assert_eq!(roster.tick(s(15)), [Action::Launch { key: 0 }]);
    assert!(roster.ready(0, s(15)).contains(&Action::Launch { key: 1 }));
    roster.stop(0, s(15));
    roster.exited(0, crash(), s(15), 0.0);
    assert_eq!(settled(&roster.start(0, s(15)).unwrap()), [(0, Rest::Postponed(s(0)))]);
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    roster.exited(1, failed, s(15), 0.0);
    assert_eq!(roster.tick(s(20)), [Action::Launch { key: 0 }]);
    assert!(roster.ready(0, s(20)).contains(&Action::Launch { key: 1 }));
    assert!(roster.ready(1, s(20)).contains(&Action::Launch { key: 2 }));
}

#[test]
fn a_temporary_bystander_that_is_being_killed_as_stuck_is_not_restarted_with_its_group() {
    let stuck = ChildPolicy { restart: RestartType::Temporary, stuck_after: Some(s(4)), ..policy() };
    let mut roster = up_with(Strategy::OneForAll, [policy(), stuck]);
    let busy = Progress { steps: 1, is_busy: true };
    roster.inspected(1, busy, s(1));
    assert_eq!(roster.inspected(1, busy, s(5)), [Action::Kill { key: 1, verdict: Verdict::Stuck }]);
    roster.exited(0, crash(), s(5), 0.0);
    let killed = Exit { cause: ExitCause::Stuck, ..crash() };
    assert!(roster.exited(1, killed, s(6), 0.0).contains(&Action::Forget { key: 1 }));
}

/// Were each step to look at all children, this would be ten thousand million looks and not end in our time.
#[test]
fn a_hundred_thousand_children_start_crash_and_stop_without_a_look_at_the_others() {
    const CHILDREN: Key = 100_000;
    let policy = Arc::new(policy());
    for dynamic in [true, false] {
        let mut roster = Roster::new(SupervisorPolicy { dynamic, ..SupervisorPolicy::default() });
        roster.come_up(s(0));
        for key in 0..CHILDREN {
            let (added, actions) = roster.add(Arc::clone(&policy), s(0)).unwrap();
            assert_eq!((added, actions), (key, vec![Action::Launch { key }]));
            roster.ready(key, s(0));
        }
        for key in 0..CHILDREN {
            roster.exited(key, crash(), s(1), 0.0);
            assert_eq!(roster.next_wake(), Some(s(6)));
        }
        assert_eq!(roster.tick(s(6)).len(), CHILDREN as usize);
        for key in 0..CHILDREN {
            roster.ready(key, s(6));
        }
        let mut asked = roster.shut_down(Ending::Asked, s(7)).len();
        for key in (0..CHILDREN).rev() {
            let normal = Exit { cause: ExitCause::Normal, ..crash() };
            let actions = roster.exited(key, normal, s(8), 0.0);
            asked += actions.iter().filter(|action| matches!(action, Action::AskToStop { .. })).count();
        }
        assert_eq!(asked, CHILDREN as usize);
        assert_eq!(roster.course, Course::Finished);
    }
}
