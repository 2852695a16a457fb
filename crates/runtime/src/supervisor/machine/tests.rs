//! The machine without an actor: events and times in, actions out.

mod random;

use super::*;
use crate::policy::{Budget, Delay, OnBudgetExhausted, RestartType, Strategy};

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

/// Returns a machine with `children` that all run.
fn running(children: usize, policy: ChildPolicy) -> Machine {
    running_with(Strategy::OneForOne, std::iter::repeat_n(policy, children))
}

fn running_with(strategy: Strategy, children: impl IntoIterator<Item = ChildPolicy>) -> Machine {
    let mut roster = Machine::new(SupervisorPolicy { strategy, ..SupervisorPolicy::default() });
    let ids: Vec<ChildId> = children.into_iter().map(|policy| roster.register(Arc::new(policy))).collect();
    let mut actions = roster.start_all(s(0));
    for id in ids {
        assert!(actions.contains(&SupervisorAction::Launch { id }), "{actions:?}");
        actions = roster.ready(id, s(0));
    }
    assert!(actions.contains(&SupervisorAction::Ready));
    roster
}

fn outcomes(actions: &[SupervisorAction]) -> Vec<(ChildId, ChildOutcome)> {
    actions
        .iter()
        .filter_map(|action| match action {
            SupervisorAction::ResolveWaiters { id, outcome: rest } => Some((*id, *rest)),
            _ => None,
        })
        .collect()
}

#[test]
fn start_each_child_waits_for_the_one_before() {
    let mut roster = Machine::new(SupervisorPolicy::default());
    let (first, second) = (roster.register(policy().into()), roster.register(policy().into()));
    assert_eq!(roster.start_all(s(0)), [SupervisorAction::Launch { id: first }]);
    assert!(roster.ready(first, s(0)).contains(&SupervisorAction::Launch { id: second }));
    assert!(roster.ready(second, s(0)).contains(&SupervisorAction::Ready));
}

#[test]
fn crash_is_decided_recorded_and_restarted_after_delay() {
    let mut roster = running(2, policy());
    let actions = roster.exited(0, crash(), s(10), 0.5);
    assert!(matches!(actions[0], SupervisorAction::Record { id: 0, .. }));
    assert_eq!(outcomes(&actions), [(0, ChildOutcome::Restarting(s(15)))]);
    assert_eq!(roster.next_wake(), Some(s(15)));
    assert_eq!(roster.tick(s(14)), []);
    assert_eq!(roster.tick(s(15)), [SupervisorAction::Launch { id: 0 }]);
    assert_eq!(roster.tick(s(16)), [], "a late tick does nothing");
}

#[test]
fn budget_spent_fails_child_alone_until_reset() {
    let mut roster = running(2, policy());
    for now in [s(1), s(10)] {
        roster.exited(0, crash(), now, 0.0);
        roster.tick(now + s(5));
        roster.ready(0, s(0));
    }
    assert_eq!(outcomes(&roster.exited(0, crash(), s(20), 0.0)), [(0, ChildOutcome::Failed)]);
    assert_eq!(roster.next_wake(), None);
    assert_eq!(roster.reset(0, s(0)), Ok(vec![SupervisorAction::Launch { id: 0 }]));
}

#[test]
fn stop_during_restart_delay_cancels_restart() {
    let mut roster = running(1, policy());
    roster.exited(0, crash(), s(1), 0.0);
    assert_eq!(outcomes(&roster.stop(0, s(2))), [(0, ChildOutcome::Stopped)]);
    assert_eq!(roster.tick(s(60)), []);
}

#[test]
fn stop_past_deadline_kills_once() {
    let mut roster = running(1, policy());
    assert_eq!(roster.stop(0, s(1)), [SupervisorAction::RequestStop { id: 0 }]);
    assert_eq!(roster.tick(s(3)), []);
    assert_eq!(roster.tick(s(4)), [SupervisorAction::Kill { id: 0, reason: KillReason::Requested }]);
    assert_eq!(roster.tick(s(5)), []);
    assert_eq!(outcomes(&roster.exited(0, crash(), s(5), 0.0)), [(0, ChildOutcome::Stopped)]);
}

#[test]
fn shutdown_stops_children_in_reverse_order() {
    let mut roster = running(3, policy());
    let mut actions = roster.shut_down(ShutdownReason::Requested, s(1));
    for id in [2, 1, 0] {
        assert!(actions.contains(&SupervisorAction::RequestStop { id }), "{id}: {actions:?}");
        actions = roster.exited(id, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    }
    assert_eq!(actions.last(), Some(&SupervisorAction::Exit(ShutdownReason::Requested)));
}

#[test]
fn a_crash_during_shutdown_is_not_restarted() {
    let mut roster = running(2, policy());
    roster.shut_down(ShutdownReason::Requested, s(1));
    let actions = roster.exited(0, crash(), s(1), 0.0);
    assert!(
        !actions.iter().any(|action| matches!(
            action,
            SupervisorAction::Launch { .. } | SupervisorAction::Record { .. }
        ))
    );
    assert_eq!(roster.add(policy().into(), s(0)).err(), Some(CommandRejection::Stopping));
}

#[test]
fn start_failure_of_initial_child_stops_supervisor() {
    let mut roster = Machine::new(SupervisorPolicy::default());
    roster.register(policy().into());
    roster.register(policy().into());
    roster.start_all(s(0));
    roster.ready(0, s(0));
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    let actions = roster.exited(1, failed, s(1), 0.0);
    assert_eq!(actions.last(), Some(&SupervisorAction::RequestStop { id: 0 }));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert!(matches!(actions.last(), Some(SupervisorAction::Exit(_))));
}

#[test]
fn add_with_failed_start_keeps_nothing() {
    let mut roster = running(0, policy());
    let (id, actions) = roster.add(policy().into(), s(0)).unwrap();
    assert_eq!(actions, [SupervisorAction::Launch { id }]);
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    let actions = roster.exited(id, failed, s(1), 0.0);
    assert_eq!(
        actions,
        [
            SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::AddFailed },
            SupervisorAction::Deregister { id }
        ]
    );
}

#[test]
fn restart_by_hand_skips_delay_and_spends_no_budget() {
    let mut roster = running(1, policy());
    assert_eq!(roster.restart(0, s(1)), Ok(vec![SupervisorAction::RequestStop { id: 0 }]));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert_eq!(actions, [SupervisorAction::Launch { id: 0 }]);
    roster.ready(0, s(0));
    assert_eq!(roster.history(0).map(ChildHistory::attempts), Some(0));
    roster.exited(0, crash(), s(3), 0.0);
    assert_eq!(roster.restart(0, s(4)), Ok(vec![SupervisorAction::Launch { id: 0 }]));
}

#[test]
fn escalation_stops_siblings_and_exits_with_reason() {
    let strict = ChildPolicy {
        budget: Some(Budget { restarts_max: 0, window: s(1) }),
        exhausted: OnBudgetExhausted::Escalate,
        ..policy()
    };
    let mut roster = running(2, strict);
    let actions = roster.exited(1, crash(), s(1), 0.0);
    assert_eq!(actions.last(), Some(&SupervisorAction::RequestStop { id: 0 }));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert!(matches!(actions.last(), Some(SupervisorAction::Exit(_))));
}

#[test]
fn exit_without_restart_leaves_child_startable() {
    let mut roster = running(1, ChildPolicy { restart: RestartType::Transient, ..policy() });
    let normal = Exit { cause: ExitCause::Normal, ..crash() };
    assert_eq!(outcomes(&roster.exited(0, normal, s(1), 0.0)), [(0, ChildOutcome::Stopped)]);
    assert_eq!(roster.start(0, s(0)), Ok(vec![SupervisorAction::Launch { id: 0 }]));
    assert_eq!(roster.start(0, s(0)), Err(CommandRejection::Running));
}

#[test]
fn shutdown_cancels_pending_restarts() {
    let mut roster = running(2, policy());
    roster.exited(1, crash(), s(1), 0.0);
    let actions = roster.shut_down(ShutdownReason::Requested, s(2));
    assert!(outcomes(&actions).contains(&(1, ChildOutcome::Stopped)), "{actions:?}");
    assert_eq!(roster.tick(s(6)), [SupervisorAction::Kill { id: 0, reason: KillReason::Requested }]);
}

#[test]
fn stop_of_starting_child_lets_the_next_start() {
    let mut roster = Machine::new(SupervisorPolicy::default());
    roster.register(policy().into());
    roster.register(policy().into());
    roster.start_all(s(0));
    assert_eq!(roster.stop(0, s(1)), [SupervisorAction::RequestStop { id: 0 }]);
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(1), 0.0);
    assert!(actions.contains(&SupervisorAction::Launch { id: 1 }), "{actions:?}");
}

#[test]
fn remove_wins_over_later_commands() {
    let mut roster = running(1, policy());
    roster.remove(0, s(1));
    roster.stop(0, s(1));
    assert_eq!(roster.restart(0, s(1)), Err(CommandRejection::Restarting));
    let actions = roster.exited(0, Exit { cause: ExitCause::Normal, ..crash() }, s(2), 0.0);
    assert!(actions.contains(&SupervisorAction::Deregister { id: 0 }), "{actions:?}");
}

#[test]
fn group_restart_starts_waiting_child_after_later_failure() {
    let mut roster = running_with(Strategy::RestForOne, [policy(), policy(), policy()]);
    roster.exited(0, crash(), s(10), 0.0);
    for id in [2, 1] {
        roster.exited(id, crash(), s(10), 0.0);
    }
    assert_eq!(roster.tick(s(15)), [SupervisorAction::Launch { id: 0 }]);
    assert!(roster.ready(0, s(15)).contains(&SupervisorAction::Launch { id: 1 }));
    roster.stop(0, s(15));
    roster.exited(0, crash(), s(15), 0.0);
    assert_eq!(outcomes(&roster.start(0, s(15)).unwrap()), [(0, ChildOutcome::Postponed(s(0)))]);
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    roster.exited(1, failed, s(15), 0.0);
    assert_eq!(roster.tick(s(20)), [SupervisorAction::Launch { id: 0 }]);
    assert!(roster.ready(0, s(20)).contains(&SupervisorAction::Launch { id: 1 }));
    assert!(roster.ready(1, s(20)).contains(&SupervisorAction::Launch { id: 2 }));
}

#[test]
fn group_restart_skips_temporary_child_killed_as_stuck() {
    let stuck = ChildPolicy { restart: RestartType::Temporary, stuck_after: Some(s(4)), ..policy() };
    let mut roster = running_with(Strategy::OneForAll, [policy(), stuck]);
    let busy = ActorProgress { steps: 1, is_busy: true };
    roster.inspected(1, busy, s(1));
    assert_eq!(
        roster.inspected(1, busy, s(5)),
        [SupervisorAction::Kill { id: 1, reason: KillReason::Stuck }]
    );
    roster.exited(0, crash(), s(5), 0.0);
    let killed = Exit { cause: ExitCause::Stuck, ..crash() };
    assert!(roster.exited(1, killed, s(6), 0.0).contains(&SupervisorAction::Deregister { id: 1 }));
}

/// Ten thousand million checks would be needed if each step scanned all children, and the test would not finish.
#[test]
fn machine_with_many_children_scans_no_siblings() {
    const CHILDREN: ChildId = 100_000;
    let policy = Arc::new(policy());
    for dynamic in [true, false] {
        let mut roster = Machine::new(SupervisorPolicy { dynamic, ..SupervisorPolicy::default() });
        roster.start_all(s(0));
        for id in 0..CHILDREN {
            let (added, actions) = roster.add(Arc::clone(&policy), s(0)).unwrap();
            assert_eq!((added, actions), (id, vec![SupervisorAction::Launch { id }]));
            roster.ready(id, s(0));
        }
        for id in 0..CHILDREN {
            roster.exited(id, crash(), s(1), 0.0);
            assert_eq!(roster.next_wake(), Some(s(6)));
        }
        assert_eq!(roster.tick(s(6)).len(), CHILDREN as usize);
        for id in 0..CHILDREN {
            roster.ready(id, s(6));
        }
        let mut asked = roster.shut_down(ShutdownReason::Requested, s(7)).len();
        for id in (0..CHILDREN).rev() {
            let normal = Exit { cause: ExitCause::Normal, ..crash() };
            let actions = roster.exited(id, normal, s(8), 0.0);
            asked += actions
                .iter()
                .filter(|action| matches!(action, SupervisorAction::RequestStop { .. }))
                .count();
        }
        assert_eq!(asked, CHILDREN as usize);
        assert_eq!(roster.lifecycle, Lifecycle::Stopped);
    }
}
