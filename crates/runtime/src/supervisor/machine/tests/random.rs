//! Random sequences of events and commands against the machine, with its invariants checked after each step: no child
//! starts twice, no waiter is forgotten, each group restart and each shutdown ends.
//!
//! A failure prints its seed and the whole trace. `MAINSTAY_TEST_SEED` runs that seed alone.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use super::{super::*, s};
use crate::policy::{
    AbandonedPolicy, Budget, Delay, OnBudgetExhausted, RestartType, Shutdown, StopOrder, Strategy,
};
use crate::tier;

const QUICK_TRACES: u32 = 2_000;
const TRACES: u32 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum ModelCommand {
    Start,
    Stop,
    Restart,
    Delete,
    Remove,
    Reset,
}

#[derive(Debug, Default)]
struct ModelChild {
    live: bool,
    starting: bool,
    stopping: bool,
    never_yields: bool,
    launches: u32,
    launches_max: u32,
    temporary: bool,
    /// The number of commands without an answer.
    waiters: u32,
    ready_since: Option<Duration>,
}

struct SupervisorModel {
    machine: Machine,
    rng: Rng,
    now: Duration,
    children: BTreeMap<ChildId, ModelChild>,
    exit_count: u32,
    ready_count: u32,
    trace: Vec<String>,
    draining: bool,
}

impl SupervisorModel {
    fn panic_with_trace(&self, what: &str) -> ! {
        panic!("{what}\n{}\n{:#?}", self.trace.join("\n"), self.machine);
    }

    fn ensure(&self, holds: bool, violation: &str) {
        if !holds {
            self.panic_with_trace(violation);
        }
    }

    fn is_live(&self, id: ChildId) -> bool {
        self.children.get(&id).is_some_and(|child| child.live)
    }

    fn child(&mut self, id: ChildId) -> &mut ModelChild {
        self.ensure(self.children.contains_key(&id), "unknown");
        self.children.get_mut(&id).unwrap()
    }

    fn policy(rng: &mut Rng) -> ChildPolicy {
        use RestartType::*;
        let restart = pick(rng, &[Permanent, Transient, Temporary, Permanent]);
        ChildPolicy {
            restart,
            delay: Delay::Fixed { delay: s(pick(rng, &[0, 2, 5])) },
            budget: Some(Budget { restarts_max: 5, window: s(60) }),
            shutdown: pick(rng, &[Shutdown::Graceful(s(3)), Shutdown::Kill, Shutdown::Unlimited]),
            exhausted: if chance(rng, 20) { OnBudgetExhausted::Escalate } else { OnBudgetExhausted::GiveUp },
            stuck_after: pick(rng, &[None, Some(s(4))]),
            abandoned: pick(rng, &[AbandonedPolicy::Fail, AbandonedPolicy::Replace]),
            significant: restart != Permanent && chance(rng, 20),
            ..ChildPolicy::default()
        }
    }

    fn apply(&mut self, actions: Vec<SupervisorAction>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if !matches!(action, SupervisorAction::Record { .. } | SupervisorAction::Inspect { .. }) {
                self.trace.push(format!("      -> {action:?}"));
            }
            self.ensure(self.exit_count == 0, "action after exit");
            match action {
                SupervisorAction::Launch { id } => {
                    let no_yield = chance(&mut self.rng, 10)
                        && self
                            .machine
                            .children
                            .get(&id)
                            .is_some_and(|m| m.policy.shutdown != Shutdown::Unlimited);
                    self.ensure(!self.is_live(id), "launched twice");
                    let child = self.child(id);
                    child.live = true;
                    child.starting = true;
                    child.stopping = false;
                    child.never_yields = no_yield;
                    child.ready_since = None;
                    child.launches += 1;
                    let may_launch = !child.temporary || child.launches <= child.launches_max;
                    self.ensure(may_launch, "launched a temporary child again");
                }
                SupervisorAction::RequestStop { id } | SupervisorAction::Kill { id, .. } => {
                    self.ensure(self.is_live(id), "asked a child that is not live to stop");
                    self.child(id).stopping = true;
                }
                SupervisorAction::Inspect { id } => {
                    let progress =
                        ActorProgress { steps: 0, is_busy: !self.draining && chance(&mut self.rng, 90) };
                    queue.extend(self.machine.inspected(id, progress, self.now, self.now));
                }
                SupervisorAction::Abandon { id } => {
                    self.ensure(self.is_live(id), "abandoned a child that has ended");
                    let child = self.child(id);
                    child.live = false;
                    child.starting = false;
                    let exit = Exit {
                        ready_since: child.ready_since,
                        abandoned: true,
                        progressed: true,
                        ..Exit::of(ExitCause::Killed)
                    };
                    queue.extend(self.machine.exited(id, exit, self.now, 0.0));
                }
                SupervisorAction::ResolveWaiters { id, outcome } => {
                    let is_running = matches!(outcome, ChildOutcome::Running);
                    self.ensure(is_running || !self.is_live(id), "settled while live");
                    if !matches!(outcome, ChildOutcome::Postponed(_)) {
                        self.child(id).waiters = 0;
                    }
                }
                SupervisorAction::Deregister { id } => {
                    self.child(id);
                    let child = self.children.remove(&id).unwrap();
                    self.ensure(!child.live && child.waiters == 0, "removed a live child or its waiters");
                }
                SupervisorAction::Ready => {
                    self.ready_count += 1;
                    self.ensure(self.ready_count == 1, "ready twice");
                }
                SupervisorAction::Exit(_) => {
                    self.ensure(self.children.values().all(|child| !child.live), "exited with live children");
                    self.ensure(queue.is_empty(), "actions after exit");
                    self.exit_count += 1;
                }
                SupervisorAction::Record { .. }
                | SupervisorAction::RecordCancelledRestart { .. }
                | SupervisorAction::DiscardCheckpoint { .. } => {}
            }
        }
    }

    fn exit(&mut self, id: ChildId, cause: ExitCause) {
        self.trace.push(format!("{:?} exit {id} {cause:?}", self.now));
        let child = self.child(id);
        child.live = false;
        let ready_since = child.ready_since.filter(|_| !child.starting);
        child.starting = false;
        let cause =
            if ready_since.is_none() && cause == ExitCause::Panic { ExitCause::StartFailed } else { cause };
        let exit = Exit { ready_since, progressed: true, ..Exit::of(cause) };
        let actions = self.machine.exited(id, exit, self.now, 0.0);
        self.apply(actions);
    }

    fn ready(&mut self, id: ChildId) {
        self.trace.push(format!("{:?} ready {id}", self.now));
        let now = self.now;
        let child = self.child(id);
        child.starting = false;
        child.ready_since = Some(now);
        let actions = self.machine.ready(id, self.now);
        self.apply(actions);
    }

    fn decline(&mut self, id: ChildId) {
        self.trace.push(format!("{:?} decline {id}", self.now));
        let child = self.child(id);
        child.starting = false;
        child.live = false;
        let actions = self.machine.declined(id, self.now);
        self.apply(actions);
    }

    fn tick(&mut self) {
        let Some(at) = self.machine.next_wake() else { return };
        self.now = self.now.max(at);
        self.trace.push(format!("{:?} tick", self.now));
        let actions = self.machine.tick(self.now);
        self.apply(actions);
        let wake = self.machine.next_wake();
        self.ensure(wake.is_none_or(|at| at > self.now), "next wake is not in the future");
    }

    fn run_command(&mut self, id: ChildId, command: ModelCommand) {
        self.trace.push(format!("{:?} command {command:?} {id} ({:?})", self.now, self.machine.phase(id)));
        let now = self.now;
        let outcome = match command {
            ModelCommand::Start => self.machine.start(id, now),
            ModelCommand::Stop => Ok(self.machine.stop(id, now)),
            ModelCommand::Restart => self.machine.restart(id, now),
            ModelCommand::Delete => self.machine.delete(id, now),
            ModelCommand::Remove => Ok(self.machine.remove(id, now)),
            ModelCommand::Reset => self.machine.reset(id, now),
        };
        match outcome {
            Err(rejection) => self.trace.push(format!("      !! {rejection:?}")),
            Ok(actions) => {
                let child = self.child(id);
                if matches!(command, ModelCommand::Start | ModelCommand::Restart | ModelCommand::Reset) {
                    child.launches_max += 1;
                }
                if !(actions.is_empty() && command == ModelCommand::Reset) {
                    child.waiters += 1;
                }
                self.apply(actions);
            }
        }
    }

    fn add(&mut self) {
        let policy = Self::policy(&mut self.rng);
        self.trace.push(format!("{:?} add {:?}", self.now, policy.restart));
        let temporary = policy.restart == RestartType::Temporary;
        if let Ok((id, actions)) = self.machine.add(Arc::new(policy), self.now) {
            self.children
                .insert(id, ModelChild { temporary, launches_max: 1, waiters: 1, ..ModelChild::default() });
            self.apply(actions);
        }
    }

    fn step(&mut self) {
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        if ids.is_empty() || chance(&mut self.rng, 4) {
            if self.children.len() < 7 {
                self.add();
            }
            return;
        }
        let id = pick(&mut self.rng, &ids);
        let (live, starting, no_yield) = {
            let child = &self.children[&id];
            (child.live, child.starting, child.never_yields && child.stopping)
        };
        match self.rng.u64(..100) {
            0..=44 if live && !no_yield => {
                if starting && chance(&mut self.rng, 75) {
                    self.ready(id);
                } else if starting && chance(&mut self.rng, 20) {
                    self.decline(id);
                } else {
                    let causes = [ExitCause::Panic, ExitCause::Panic, ExitCause::Normal, ExitCause::Killed];
                    let cause = pick(&mut self.rng, &causes);
                    let cause = if starting { ExitCause::Panic } else { cause };
                    self.exit(id, cause);
                }
            }
            45..=64 => {
                use ModelCommand::*;
                let commands = [Start, Stop, Restart, Delete, Remove, Reset, Start, Restart];
                let command = pick(&mut self.rng, &commands);
                self.run_command(id, command);
            }
            65..=74 => self.now += Duration::from_millis(self.rng.u64(..1500)),
            75 if chance(&mut self.rng, 10) => {
                let by = pick(&mut self.rng, &[None, Some(self.now + Duration::from_secs(4))]);
                self.trace.push(format!("{:?} shut down by {by:?}", self.now));
                let actions = self.machine.shut_down_by(by, self.now);
                self.apply(actions);
            }
            _ => self.tick(),
        }
        self.check();
    }

    fn check(&self) {
        for (id, child) in &self.children {
            let is_live = self.machine.children.get(id).map(|state| state.is_live());
            self.ensure(is_live == Some(child.live), &format!("machine and model differ about {id}"));
        }
        self.ensure(self.machine.children.len() == self.children.len(), "the machine has other children");
    }

    fn drain(&mut self) {
        self.draining = true;
        self.trace.push("drain".to_owned());
        for _ in 0..2000 {
            if self.exit_count > 0 {
                return;
            }
            let todo = self.children.iter().find(|(_, child)| {
                child.live && (child.starting || child.stopping) && !(child.never_yields && child.stopping)
            });
            if let Some((&id, child)) = todo {
                if child.stopping {
                    self.exit(id, ExitCause::Normal);
                } else {
                    self.ready(id);
                }
                self.check();
                continue;
            }
            let watched_only = self.machine.children.values().all(|child| {
                matches!(child.phase, ChildPhase::Running | ChildPhase::Stopped | ChildPhase::Failed)
            });
            let is_settled = watched_only && self.machine.group_restart.is_none();
            if is_settled || self.machine.next_wake().is_none() {
                break;
            }
            self.tick();
            self.check();
        }
        self.ensure(self.machine.group_restart.is_none(), "the group restart does not end");
        for (id, child) in &self.children {
            self.ensure(child.waiters == 0, &format!("{id} keeps {} waiters", child.waiters));
            match self.machine.children[id].phase {
                ChildPhase::Running | ChildPhase::Stopped | ChildPhase::Failed => {}
                ChildPhase::Stopping { then: AfterStop::StayStopped, .. }
                    if self.exit_count == 0 && child.never_yields => {}
                phase => self.panic_with_trace(&format!("{id} settled in {phase:?}")),
            }
        }
    }
}

fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

#[test]
fn random_sequences_keep_supervisor_invariants() {
    tier::seeds(QUICK_TRACES, TRACES).for_each(run_seed);
}

fn run_seed(seed: u64) {
    let mut seeded = Rng::with_seed(seed);
    let rng = &mut seeded;
    use AutoShutdown::*;
    let strategy =
        pick(rng, &[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::RestForOne]);
    let dynamic = chance(rng, 10);
    let policy = SupervisorPolicy {
        strategy,
        dynamic,
        stop_order: pick(rng, &[StopOrder::Reverse, StopOrder::Together]),
        auto_shutdown: pick(rng, &[Never, Never, AnySignificant, AllSignificant]),
        intensity: pick(rng, &[None, None, Some(Budget { restarts_max: 6, window: s(10) })]),
    };
    let mut model = SupervisorModel {
        machine: Machine::new(policy),
        rng: seeded,
        now: Duration::ZERO,
        children: BTreeMap::new(),
        exit_count: 0,
        ready_count: 0,
        trace: vec![format!("MAINSTAY_TEST_SEED={seed} {policy:?}")],
        draining: false,
    };
    if !dynamic {
        for _ in 0..model.rng.u64(..5) {
            let mut policy = SupervisorModel::policy(&mut model.rng);
            policy.stuck_after = policy.stuck_after.filter(|_| chance(&mut model.rng, 30));
            let temporary = policy.restart == RestartType::Temporary;
            model.trace.push(format!("initial {policy:?}"));
            let id = model.machine.register(Arc::new(policy));
            model.children.insert(id, ModelChild { temporary, launches_max: 1, ..ModelChild::default() });
        }
    }
    let actions = model.machine.start_all(Duration::ZERO);
    model.apply(actions);
    if chance(&mut model.rng, 70) {
        // Without this, few children would ever become ready undisturbed.
        while let Some((&id, _)) = model.children.iter().find(|(_, child)| child.starting) {
            model.ready(id);
        }
    }
    let steps = 5 + model.rng.u64(..60);
    for _ in 0..steps {
        if model.exit_count > 0 {
            break;
        }
        model.step();
    }
    model.drain();
    if model.exit_count == 0 {
        model.trace.push("final shut down".to_owned());
        let actions = model.machine.shut_down(ShutdownReason::Requested, model.now);
        model.apply(actions);
        for _ in 0..500 {
            if model.exit_count > 0 {
                break;
            }
            let todo =
                model.children.iter().find(|(_, child)| child.live && child.stopping && !child.never_yields);
            if let Some((&id, _)) = todo {
                model.exit(id, ExitCause::Normal);
            } else if model.machine.next_wake().is_some() {
                model.tick();
            } else if let Some((&id, _)) =
                model.children.iter().find(|(_, child)| child.live && child.stopping)
            {
                // Its shutdown is unlimited, so no kill ends it.
                model.exit(id, ExitCause::Normal);
            }
        }
        model.ensure(model.exit_count == 1, "does not exit");
    }
}
