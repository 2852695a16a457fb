//! The machine without an actor: events and times in, actions out.

mod random;

use super::*;
use crate::policy::{Budget, Delay, OnBudgetExhausted, RestartType, Shutdown, StopOrder, Strategy};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn crash() -> Exit {
    Exit { ready_since: Some(s(0)), progressed: true, ..Exit::of(ExitCause::Panic) }
}

fn normal() -> Exit {
    Exit { cause: ExitCause::Normal, ..crash() }
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
    let mut machine = Machine::new(SupervisorPolicy { strategy, ..SupervisorPolicy::default() });
    let ids: Vec<ChildId> = children.into_iter().map(|policy| machine.register(Arc::new(policy))).collect();
    let mut actions = machine.start_all(s(0));
    for id in ids {
        assert!(actions.contains(&SupervisorAction::Launch { id }), "{actions:?}");
        actions = machine.ready(id, s(0));
    }
    assert!(actions.contains(&SupervisorAction::Ready));
    machine
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
fn stop_past_deadline_kills_once() {
    let mut machine = running(1, policy());
    assert_eq!(machine.stop(0, s(1)), [SupervisorAction::RequestStop { id: 0 }]);
    assert_eq!(machine.tick(s(3)), []);
    assert_eq!(machine.tick(s(4)), [SupervisorAction::Kill { id: 0, reason: KillReason::Requested }]);
    assert_eq!(machine.tick(s(5)), []);
    assert_eq!(outcomes(&machine.exited(0, crash(), s(5), 0.0)), [(0, ChildOutcome::Stopped)]);
}

#[test]
fn standstill_moves_deadlines_of_all_stops() {
    let mut machine = running(3, policy());
    machine.policy.stop_order = StopOrder::Together;
    machine.postpone_stops(s(7));
    machine.stop(2, s(1));
    assert!(machine.has_stop_deadline());
    machine.shut_down_by(Some(s(101)), s(2));
    assert_eq!(machine.next_wake(), Some(s(4)), "an earlier standstill moves nothing");
    machine.postpone_stops(s(47));
    assert_eq!(machine.tick(s(43)), []);
    let kill = |id| SupervisorAction::Kill { id, reason: KillReason::Requested };
    assert_eq!(machine.tick(s(44)), [kill(2)]);
    assert_eq!(machine.kill_at(0).map(|at| at.at(s(47))), Some(s(45)));
    assert_eq!(machine.tick(s(45)), [kill(0), kill(1)]);
    // The killed ones have their time after a standstill too.
    let abandoned_at = machine.next_wake().unwrap();
    machine.postpone_stops(s(57));
    assert_eq!(machine.tick(abandoned_at), []);
    assert_eq!(machine.tick(abandoned_at + s(10)), [SupervisorAction::Abandon { id: 2 }]);
}

#[test]
fn standstill_moves_the_time_of_children_not_asked_yet() {
    let mut machine = running(2, policy());
    machine.shut_down_by(Some(s(12)), s(10));
    machine.postpone_stops(s(60));
    // The first child ends long after the time that there was at first.
    let actions = machine.exited(1, normal(), s(70), 0.0);
    assert!(actions.contains(&SupervisorAction::RequestStop { id: 0 }), "{actions:?}");
    assert_eq!(machine.next_wake(), Some(s(10) + Duration::from_millis(61_800)), "nine tenths, moved");
    assert_eq!(
        machine.exited(0, normal(), s(71), 0.0).last(),
        Some(&SupervisorAction::Exit(ShutdownReason::Requested))
    );
    assert!(!machine.has_stop_deadline());
}

#[test]
fn crash_during_shutdown_is_not_restarted() {
    let mut machine = running(2, policy());
    machine.shut_down_by(None, s(1));
    let actions = machine.exited(0, crash(), s(1), 0.0);
    assert!(
        !actions.iter().any(|action| matches!(
            action,
            SupervisorAction::Launch { .. } | SupervisorAction::Record { .. }
        ))
    );
    assert_eq!(machine.add(policy().into(), s(0)).err(), Some(CommandRejection::Stopping));
}

#[test]
fn restart_by_hand_skips_delay_and_spends_no_budget() {
    let mut machine = running(1, policy());
    assert_eq!(machine.restart(0, s(1)), Ok(vec![SupervisorAction::RequestStop { id: 0 }]));
    let actions = machine.exited(0, normal(), s(2), 0.0);
    assert_eq!(actions, [SupervisorAction::Launch { id: 0 }]);
    machine.ready(0, s(0));
    assert_eq!(machine.history(0).map(ChildHistory::attempts), Some(0));
    machine.exited(0, crash(), s(3), 0.0);
    assert_eq!(machine.restart(0, s(4)), Ok(vec![SupervisorAction::Launch { id: 0 }]));
}

#[test]
fn escalation_stops_siblings_and_exits_with_reason() {
    let strict = ChildPolicy {
        budget: Some(Budget { restarts_max: 0, window: s(1) }),
        exhausted: OnBudgetExhausted::Escalate,
        ..policy()
    };
    let mut machine = running(2, strict);
    let actions = machine.exited(1, crash(), s(1), 0.0);
    assert_eq!(actions.last(), Some(&SupervisorAction::RequestStop { id: 0 }));
    let actions = machine.exited(0, normal(), s(2), 0.0);
    assert!(matches!(actions.last(), Some(SupervisorAction::Exit(_))));
}

#[test]
fn exit_without_restart_leaves_child_startable() {
    let mut machine = running(1, ChildPolicy { restart: RestartType::Transient, ..policy() });
    assert_eq!(outcomes(&machine.exited(0, normal(), s(1), 0.0)), [(0, ChildOutcome::Stopped)]);
    assert_eq!(machine.start(0, s(0)), Ok(vec![SupervisorAction::Launch { id: 0 }]));
    assert_eq!(machine.start(0, s(0)), Err(CommandRejection::Running));
}

/// Stops children that ignore it within `limit`, and returns the time at which each is killed. Those that `lingers` names
/// do not end by the kill either.
fn stop_times(machine: &mut Machine, limit: Duration, lingers: &[ChildId]) -> Vec<(ChildId, Duration)> {
    let by = s(100) + limit;
    let (mut now, mut kills) = (s(100), Vec::new());
    let mut actions = machine.shut_down_by(Some(by), now);
    while !actions.contains(&SupervisorAction::Exit(ShutdownReason::Requested)) {
        let mut next = Vec::new();
        for action in actions {
            let ended = match action {
                SupervisorAction::Kill { id, .. } => {
                    kills.push((id, now - s(100)));
                    if lingers.contains(&id) { continue } else { id }
                }
                SupervisorAction::Abandon { id } => id,
                _ => continue,
            };
            next.extend(machine.exited(ended, Exit { cause: ExitCause::Killed, ..crash() }, now, 0.0));
        }
        if next.is_empty() {
            now = machine.next_wake().expect("something is due");
            next = machine.tick(now);
        }
        actions = next;
    }
    assert!(now <= by, "{now:?}");
    kills
}

#[test]
fn children_stopped_in_order_share_the_time_that_is_left() {
    let with = |shutdown| ChildPolicy { shutdown, ..policy() };
    let wants = [Shutdown::Graceful(s(6)), Shutdown::Graceful(s(2)), Shutdown::Graceful(s(10))];
    let mut machine = running_with(Strategy::OneForOne, wants.map(with));
    // The children have nine seconds of ten. The last child gets 10 parts of 18, the next 2 of 8.
    assert_eq!(stop_times(&mut machine, s(10), &[]), [(2, s(5)), (1, s(6)), (0, s(9))]);
    let mut machine = running_with(Strategy::OneForOne, wants.map(with));
    assert_eq!(stop_times(&mut machine, s(60), &[]), [(2, s(10)), (1, s(12)), (0, s(18))], "there is enough");
}

#[test]
fn child_without_time_left_is_killed_at_once() {
    let mut machine = running(2, policy());
    machine.shut_down_by(Some(s(101)), s(100));
    // The timer is late.
    assert_eq!(machine.tick(s(101)), [SupervisorAction::Kill { id: 1, reason: KillReason::Requested }]);
    let actions = machine.exited(1, Exit { cause: ExitCause::Killed, ..crash() }, s(101), 0.0);
    assert!(
        actions.contains(&SupervisorAction::Kill { id: 0, reason: KillReason::Requested }),
        "{actions:?}"
    );
    assert!(!actions.contains(&SupervisorAction::RequestStop { id: 0 }), "{actions:?}");
    assert!(machine.next_wake().is_some_and(|at| at > s(101)));
}

#[test]
fn children_stopped_together_have_all_the_time() {
    let mut machine = running(6, policy());
    machine.policy.stop_order = StopOrder::Together;
    let kills: Vec<Duration> = stop_times(&mut machine, s(2), &[]).into_iter().map(|(_, at)| at).collect();
    assert_eq!(kills, [Duration::from_millis(1800); 6]);
    let mut machine = running(6, policy());
    machine.policy.stop_order = StopOrder::Together;
    assert_eq!(stop_times(&mut machine, s(60), &[0, 1]).len(), 6);
}

#[test]
fn supervisor_ends_in_time_whatever_its_children_do() {
    for order in [StopOrder::Reverse, StopOrder::Together] {
        let shutdowns = [Shutdown::Unlimited, Shutdown::Kill, Shutdown::Graceful(s(3)), Shutdown::Unlimited];
        let children = shutdowns.map(|shutdown| ChildPolicy { shutdown, ..policy() });
        let mut machine = running_with(Strategy::OneForOne, children);
        machine.policy.stop_order = order;
        machine.stop(3, s(99));
        assert_eq!(stop_times(&mut machine, s(5), &[0, 1, 2, 3]).len(), 4, "{order:?}");
    }
}

#[test]
fn stop_of_starting_child_lets_the_next_start() {
    let mut machine = Machine::new(SupervisorPolicy::default());
    machine.register(policy().into());
    machine.register(policy().into());
    machine.start_all(s(0));
    assert_eq!(machine.stop(0, s(1)), [SupervisorAction::RequestStop { id: 0 }]);
    let actions = machine.exited(0, normal(), s(1), 0.0);
    assert!(actions.contains(&SupervisorAction::Launch { id: 1 }), "{actions:?}");
}

#[test]
fn remove_wins_over_later_commands() {
    let mut machine = running(1, policy());
    machine.remove(0, s(1));
    machine.stop(0, s(1));
    assert_eq!(machine.restart(0, s(1)), Err(CommandRejection::Restarting));
    let actions = machine.exited(0, normal(), s(2), 0.0);
    assert!(actions.contains(&SupervisorAction::Deregister { id: 0 }), "{actions:?}");
}

#[test]
fn group_restart_starts_waiting_child_after_later_failure() {
    let mut machine = running_with(Strategy::RestForOne, [policy(), policy(), policy()]);
    machine.exited(0, crash(), s(10), 0.0);
    for id in [2, 1] {
        machine.exited(id, crash(), s(10), 0.0);
    }
    assert_eq!(machine.tick(s(15)), [SupervisorAction::Launch { id: 0 }]);
    assert!(machine.ready(0, s(15)).contains(&SupervisorAction::Launch { id: 1 }));
    machine.stop(0, s(15));
    machine.exited(0, crash(), s(15), 0.0);
    assert_eq!(outcomes(&machine.start(0, s(15)).unwrap()), [(0, ChildOutcome::Postponed(s(0)))]);
    let failed = Exit { cause: ExitCause::StartFailed, ready_since: None, ..crash() };
    machine.exited(1, failed, s(15), 0.0);
    assert_eq!(machine.tick(s(20)), [SupervisorAction::Launch { id: 0 }]);
    assert!(machine.ready(0, s(20)).contains(&SupervisorAction::Launch { id: 1 }));
    assert!(machine.ready(1, s(20)).contains(&SupervisorAction::Launch { id: 2 }));
}

#[test]
fn standstill_is_no_time_that_a_handler_took() {
    let busy = ActorProgress { steps: 1, is_busy: true };
    let kill = SupervisorAction::Kill { id: 0, reason: KillReason::Stuck };
    // The times of the checks, and the time awake at each.
    let checks = |times: &[(u64, u64)]| -> Vec<usize> {
        let mut machine = running(1, ChildPolicy { stuck_after: Some(s(4)), ..policy() });
        let is_killed =
            |(now, awake): &(u64, u64)| machine.inspected(0, busy, s(*now), s(*awake)).contains(&kill);
        let killed: Vec<bool> = times.iter().map(is_killed).collect();
        (0..times.len()).filter(|check| killed[*check]).collect()
    };
    assert_eq!(checks(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]), [4]);
    let asleep = [(1, 1), (2, 2), (1000, 3), (1001, 4), (1002, 5)];
    assert_eq!(checks(&asleep), [4], "of the standstill, nothing counts");
    let at_the_end = [(1, 1), (2, 2), (3, 3), (4, 4), (1000, 5), (1001, 6)];
    assert_eq!(checks(&at_the_end), [5], "what came meanwhile is handled first");
    assert_eq!(checks(&[(1, 1), (20, 20), (40, 40)]), [2], "checks that are always late judge all the same");
}

#[test]
fn group_restart_skips_temporary_child_killed_as_stuck() {
    let stuck = ChildPolicy { restart: RestartType::Temporary, stuck_after: Some(s(4)), ..policy() };
    let mut machine = running_with(Strategy::OneForAll, [policy(), stuck]);
    let busy = ActorProgress { steps: 1, is_busy: true };
    for second in 1..5 {
        assert_eq!(machine.inspected(1, busy, s(second), s(second)), []);
    }
    assert_eq!(
        machine.inspected(1, busy, s(5), s(5)),
        [SupervisorAction::Kill { id: 1, reason: KillReason::Stuck }]
    );
    machine.exited(0, crash(), s(5), 0.0);
    let killed = Exit { cause: ExitCause::Stuck, ..crash() };
    assert!(machine.exited(1, killed, s(6), 0.0).contains(&SupervisorAction::Deregister { id: 1 }));
}

/// Ten thousand million checks would be needed if each step scanned all children, and the test would not finish.
#[test]
fn machine_with_many_children_scans_no_siblings() {
    const CHILDREN: ChildId = 100_000;
    let policy = Arc::new(policy());
    for dynamic in [true, false] {
        let mut machine = Machine::new(SupervisorPolicy { dynamic, ..SupervisorPolicy::default() });
        machine.start_all(s(0));
        for id in 0..CHILDREN {
            let (added, actions) = machine.add(Arc::clone(&policy), s(0)).unwrap();
            assert_eq!((added, actions), (id, vec![SupervisorAction::Launch { id }]));
            machine.ready(id, s(0));
        }
        for id in 0..CHILDREN {
            machine.exited(id, crash(), s(1), 0.0);
            assert_eq!(machine.next_wake(), Some(s(6)));
        }
        assert_eq!(machine.tick(s(6)).len(), CHILDREN as usize);
        for id in 0..CHILDREN {
            machine.ready(id, s(6));
        }
        let mut asked = machine.shut_down(ShutdownReason::Requested, s(7)).len();
        for id in (0..CHILDREN).rev() {
            let actions = machine.exited(id, normal(), s(8), 0.0);
            asked += actions
                .iter()
                .filter(|action| matches!(action, SupervisorAction::RequestStop { .. }))
                .count();
        }
        assert_eq!(asked, CHILDREN as usize);
        assert_eq!(machine.lifecycle, Lifecycle::Stopped);
    }
}
