//! Random sequences of events and orders against a roster, and what must hold after each of them: nobody is started
//! twice, nobody who waits is forgotten, each round and each shutdown comes to an end.
//!
//! A failure prints its seed and all that happened. `MAINSTAY_SEED` runs one seed alone, `MAINSTAY_TRACES` says how many
//! are run.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use super::super::*;
use crate::policy::{Abandoned, Budget, Delay, Exhausted, RestartType, Strategy};

const TRACES: u64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Add,
    Start,
    Stop,
    Restart,
    Delete,
    Remove,
    Reset,
}

#[derive(Debug, Default)]
struct Child {
    live: bool,
    starting: bool,
    ending: bool,
    no_yield: bool,
    launches: u32,
    allowed: u32,
    temporary: bool,
    waiting: Vec<Order>,
    ready_since: Option<Duration>,
}

struct World {
    roster: Roster,
    rng: Rng,
    now: Duration,
    children: BTreeMap<Key, Child>,
    finished: u32,
    came_up: u32,
    trace: Vec<String>,
    draining: bool,
}

impl World {
    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}\n{:#?}", self.trace.join("\n"), self.roster);
    }

    fn policy(rng: &mut Rng) -> ChildPolicy {
        let restart = pick(
            rng,
            &[RestartType::Permanent, RestartType::Transient, RestartType::Temporary, RestartType::Permanent],
        );
        ChildPolicy {
            restart,
            delay: Delay::Fixed { delay: Duration::from_secs(pick(rng, &[0, 2, 5])) },
            budget: Some(Budget { restarts_max: 5, window: Duration::from_secs(60) }),
            shutdown: pick(
                rng,
                &[Shutdown::Graceful(Duration::from_secs(3)), Shutdown::Kill, Shutdown::Unlimited],
            ),
            exhausted: if chance(rng, 20) { Exhausted::Escalate } else { Exhausted::Abandon },
            stuck_after: pick(rng, &[None, Some(Duration::from_secs(4))]),
            abandoned: pick(rng, &[Abandoned::Fail, Abandoned::Replace]),
            significant: restart != RestartType::Permanent && chance(rng, 20),
            ..ChildPolicy::default()
        }
    }

    fn apply(&mut self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if !matches!(action, Action::Record { .. } | Action::Inspect { .. }) {
                self.trace.push(format!("      -> {action:?}"));
            }
            if self.finished > 0 {
                self.fail("action after finish");
            }
            match action {
                Action::Launch { key } => {
                    let no_yield = chance(&mut self.rng, 10)
                        && self
                            .roster
                            .members
                            .get(&key)
                            .is_some_and(|m| m.policy.shutdown != Shutdown::Unlimited);
                    let bad = match self.children.get_mut(&key) {
                        None => true,
                        Some(child) => {
                            let bad = child.live;
                            child.live = true;
                            child.starting = true;
                            child.ending = false;
                            child.no_yield = no_yield;
                            child.ready_since = None;
                            child.launches += 1;
                            bad || (child.temporary && child.launches > child.allowed)
                        }
                    };
                    if bad {
                        self.fail("bad launch");
                    }
                }
                Action::AskToStop { key } | Action::Kill { key, .. } => {
                    let Some(child) = self.children.get_mut(&key) else { self.fail("unknown") };
                    if !child.live {
                        self.fail("asked one that is not live");
                    }
                    child.ending = true;
                }
                Action::Inspect { key } => {
                    let progress =
                        Progress { steps: 0, is_busy: !self.draining && chance(&mut self.rng, 90) };
                    let more = self.roster.inspected(key, progress, self.now);
                    queue.extend(more);
                }
                Action::CutOff { key } => {
                    let Some(child) = self.children.get_mut(&key) else { self.fail("unknown") };
                    if child.live {
                        child.live = false;
                        child.starting = false;
                        let exit = Exit {
                            ready_since: child.ready_since,
                            abandoned: true,
                            progressed: true,
                            ..Exit::of(ExitCause::Killed)
                        };
                        let more = self.roster.exited(key, exit, self.now, 0.0);
                        queue.extend(more);
                    } else {
                        self.fail("cut off one that is gone");
                    }
                }
                Action::Settle { key, rest } => {
                    let Some(child) = self.children.get_mut(&key) else { self.fail("unknown") };
                    if child.live && !matches!(rest, Rest::Running) {
                        self.fail("settled while live");
                    }
                    match rest {
                        Rest::Postponed(_) => {}
                        _ => child.waiting.clear(),
                    }
                }
                Action::Forget { key } => {
                    let Some(child) = self.children.remove(&key) else { self.fail("unknown") };
                    if child.live || !child.waiting.is_empty() {
                        self.fail("forgot a live one or waiters");
                    }
                }
                Action::ComeUp => {
                    self.came_up += 1;
                    if self.came_up > 1 {
                        self.fail("came up twice");
                    }
                }
                Action::Finish(_) => {
                    if self.children.values().any(|child| child.live) {
                        self.fail("finished with live children");
                    }
                    if !queue.is_empty() {
                        self.fail("actions lost behind finish");
                    }
                    self.finished += 1;
                }
                Action::Record { .. } | Action::DiscardCheckpoint { .. } => {}
            }
        }
    }

    fn exit(&mut self, key: Key, cause: ExitCause) {
        self.trace.push(format!("{:?} exit {key} {cause:?}", self.now));
        let child = self.children.get_mut(&key).unwrap();
        child.live = false;
        let ready_since = child.ready_since.filter(|_| !child.starting);
        child.starting = false;
        let cause =
            if ready_since.is_none() && cause == ExitCause::Panic { ExitCause::StartFailed } else { cause };
        let exit = Exit { ready_since, progressed: true, ..Exit::of(cause) };
        let actions = self.roster.exited(key, exit, self.now, 0.0);
        self.apply(actions);
    }

    fn ready(&mut self, key: Key) {
        self.trace.push(format!("{:?} ready {key}", self.now));
        let child = self.children.get_mut(&key).unwrap();
        child.starting = false;
        child.ready_since = Some(self.now);
        let actions = self.roster.ready(key, self.now);
        self.apply(actions);
    }

    fn decline(&mut self, key: Key) {
        self.trace.push(format!("{:?} decline {key}", self.now));
        let child = self.children.get_mut(&key).unwrap();
        child.starting = false;
        child.live = false;
        let actions = self.roster.declined(key, self.now);
        self.apply(actions);
    }

    fn tick(&mut self) {
        let Some(at) = self.roster.next_wake() else { return };
        self.now = self.now.max(at);
        self.trace.push(format!("{:?} tick", self.now));
        let actions = self.roster.tick(self.now);
        self.apply(actions);
        if self.roster.next_wake().is_some_and(|at| at <= self.now) {
            self.fail("next wake is not in the future");
        }
    }

    fn order(&mut self, key: Key, order: Order) {
        self.trace.push(format!("{:?} order {order:?} {key} ({:?})", self.now, self.roster.phase(key)));
        let now = self.now;
        let outcome = match order {
            Order::Add => unreachable!(),
            Order::Start => self.roster.start(key, now),
            Order::Stop => Ok(self.roster.stop(key, now)),
            Order::Restart => self.roster.restart(key, now),
            Order::Delete => self.roster.delete(key, now),
            Order::Remove => Ok(self.roster.remove(key, now)),
            Order::Reset => self.roster.reset(key, now),
        };
        match outcome {
            Err(objection) => self.trace.push(format!("      !! {objection:?}")),
            Ok(actions) => {
                let child = self.children.get_mut(&key).unwrap();
                if matches!(order, Order::Start | Order::Restart | Order::Reset) {
                    child.allowed += 1;
                }
                if !(actions.is_empty() && order == Order::Reset) {
                    child.waiting.push(order);
                }
                self.apply(actions);
            }
        }
    }

    fn add(&mut self) {
        let policy = Self::policy(&mut self.rng);
        self.trace.push(format!("{:?} add {:?}", self.now, policy.restart));
        let temporary = policy.restart == RestartType::Temporary;
        if let Ok((key, actions)) = self.roster.add(Arc::new(policy), self.now) {
            self.children
                .insert(key, Child { temporary, allowed: 1, waiting: vec![Order::Add], ..Child::default() });
            self.apply(actions);
        }
    }

    fn step(&mut self) {
        let keys: Vec<Key> = self.children.keys().copied().collect();
        if keys.is_empty() || chance(&mut self.rng, 4) {
            if self.children.len() < 7 {
                self.add();
            }
            return;
        }
        let key = pick(&mut self.rng, &keys);
        let (live, starting, no_yield) = {
            let child = &self.children[&key];
            (child.live, child.starting, child.no_yield && child.ending)
        };
        match self.rng.u64(..100) {
            0..=44 if live && !no_yield => {
                if starting && chance(&mut self.rng, 75) {
                    self.ready(key);
                } else if starting && chance(&mut self.rng, 20) {
                    self.decline(key);
                } else {
                    let cause = pick(
                        &mut self.rng,
                        &[ExitCause::Panic, ExitCause::Panic, ExitCause::Normal, ExitCause::Killed],
                    );
                    let cause = if starting { ExitCause::Panic } else { cause };
                    self.exit(key, cause);
                }
            }
            45..=64 => {
                let order = pick(
                    &mut self.rng,
                    &[
                        Order::Start,
                        Order::Stop,
                        Order::Restart,
                        Order::Delete,
                        Order::Remove,
                        Order::Reset,
                        Order::Start,
                        Order::Restart,
                    ],
                );
                self.order(key, order);
            }
            65..=74 => self.now += Duration::from_millis(self.rng.u64(..1500)),
            75 if chance(&mut self.rng, 10) => {
                self.trace.push(format!("{:?} shut down", self.now));
                let actions = self.roster.shut_down(Ending::Asked, self.now);
                self.apply(actions);
            }
            _ => {
                if self.roster.next_wake().is_some() {
                    self.tick();
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        for (key, child) in &self.children {
            let Some(member) = self.roster.members.get(key) else { self.fail("not in roster") };
            if member.is_live() != child.live {
                self.fail(&format!("roster and world differ about {key}"));
            }
        }
        if self.roster.members.len() != self.children.len() {
            self.fail("roster knows others");
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        self.trace.push("drain".to_owned());
        for _ in 0..2000 {
            if self.finished > 0 {
                return;
            }
            let todo = self.children.iter().find(|(_, child)| {
                child.live && (child.starting || child.ending) && !(child.no_yield && child.ending)
            });
            if let Some((&key, child)) = todo {
                if child.ending {
                    self.exit(key, ExitCause::Normal);
                } else {
                    self.ready(key);
                }
                self.check();
                continue;
            }
            let watched_only = self
                .roster
                .members
                .values()
                .all(|member| matches!(member.phase, Phase::Running | Phase::Stopped | Phase::Failed));
            if watched_only && self.roster.round.is_none() {
                break;
            }
            if self.roster.next_wake().is_none() {
                break;
            }
            self.tick();
            self.check();
        }
        if self.roster.round.is_some() {
            self.fail("the round does not end");
        }
        for (key, child) in &self.children {
            if !child.waiting.is_empty() {
                self.fail(&format!("{key} has waiters for ever: {:?}", child.waiting));
            }
            match self.roster.members[key].phase {
                Phase::Running | Phase::Stopped | Phase::Failed => {}
                Phase::Stopping { then: Then::Rest, .. } if self.finished == 0 && child.no_yield => {}
                phase => self.fail(&format!("{key} rests in {phase:?}")),
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

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_happens_and_is_ordered_nobody_is_started_twice_or_forgotten_and_all_comes_to_an_end() {
    let seeds = match number("MAINSTAY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MAINSTAY_TRACES").unwrap_or(TRACES),
    };
    seeds.for_each(run);
}

fn run(seed: u64) {
    let mut seeded = Rng::with_seed(seed);
    let rng = &mut seeded;
    let strategy =
        pick(rng, &[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::RestForOne]);
    let dynamic = chance(rng, 10);
    let policy = SupervisorPolicy {
        strategy,
        dynamic,
        auto_shutdown: pick(
            rng,
            &[
                AutoShutdown::Never,
                AutoShutdown::Never,
                AutoShutdown::AnySignificant,
                AutoShutdown::AllSignificant,
            ],
        ),
        intensity: pick(
            rng,
            &[None, None, Some(Budget { restarts_max: 6, window: Duration::from_secs(10) })],
        ),
    };
    let mut world = World {
        roster: Roster::new(policy),
        rng: seeded,
        now: Duration::ZERO,
        children: BTreeMap::new(),
        finished: 0,
        came_up: 0,
        trace: vec![format!("MAINSTAY_SEED={seed} {policy:?}")],
        draining: false,
    };
    if !dynamic {
        for _ in 0..world.rng.u64(..5) {
            let mut policy = World::policy(&mut world.rng);
            policy.stuck_after = policy.stuck_after.filter(|_| chance(&mut world.rng, 30));
            let temporary = policy.restart == RestartType::Temporary;
            world.trace.push(format!("initial {policy:?}"));
            let key = world.roster.enlist(Arc::new(policy));
            world.children.insert(key, Child { temporary, allowed: 1, ..Child::default() });
        }
    }
    let actions = world.roster.come_up(Duration::ZERO);
    world.apply(actions);
    if chance(&mut world.rng, 70) {
        // Else little would ever come up undisturbed.
        while let Some((&key, _)) = world.children.iter().find(|(_, child)| child.starting) {
            world.ready(key);
        }
    }
    let steps = 5 + world.rng.u64(..60);
    for _ in 0..steps {
        if world.finished > 0 {
            break;
        }
        world.step();
    }
    world.drain();
    if world.finished == 0 {
        world.trace.push("final shut down".to_owned());
        let actions = world.roster.shut_down(Ending::Asked, world.now);
        world.apply(actions);
        for _ in 0..500 {
            if world.finished > 0 {
                break;
            }
            let todo = world.children.iter().find(|(_, child)| child.live && child.ending && !child.no_yield);
            if let Some((&key, _)) = todo {
                world.exit(key, ExitCause::Normal);
            } else if world.roster.next_wake().is_some() {
                world.tick();
            } else if let Some((&key, _)) =
                world.children.iter().find(|(_, child)| child.live && child.ending)
            {
                // It may take its time, and nobody kills it.
                world.exit(key, ExitCause::Normal);
            }
        }
        if world.finished != 1 {
            world.fail("does not finish");
        }
    }
}
