//! Writes journals as supervisors do, from random exits and orders, without any actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::events::*;
use crate::journal::{Event, Record};
use crate::path::ActorPath;
use crate::policy::*;

pub(super) const POOL: &str = "root/pool";

/// The records of one run, as they come.
pub(super) struct Scribe {
    pub(super) records: Vec<Record>,
    pub(super) boot: String,
    pub(super) now_ms: u64,
}

impl Scribe {
    pub(super) fn new(boot: &str) -> Self {
        Self { records: Vec::new(), boot: boot.to_owned(), now_ms: 0 }
    }

    pub(super) fn record<E: Event>(&mut self, actor: &str, generation: u64, event: &E) -> u64 {
        let Value::Object(fields) = serde_json::to_value(event).unwrap() else { unreachable!() };
        let seq = self.records.len() as u64 + 1;
        self.records.push(Record {
            seq,
            boot: self.boot.clone(),
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            mono_ms: self.now_ms,
            actor: actor.to_owned(),
            generation,
            kind: E::KIND.to_owned(),
            fields,
        });
        seq
    }

    /// An incarnation starts and is ready at once; `down_ms` after its predecessor, if it had one.
    pub(super) fn bring_up(&mut self, actor: &str, generation: u64, restored: Option<bool>) {
        self.record(actor, generation, &ActorStarted {});
        self.record(actor, generation, &ActorReady { start_ms: 0 });
        if let Some(restored) = restored {
            let state = if restored { StateOrigin::Restored } else { StateOrigin::Fresh };
            self.record(actor, generation, &ActorRestarted { downtime_ms: 0, state, backlog: 0 });
        }
    }

    pub(super) fn exit(&mut self, actor: &str, generation: u64, exit: Exit) {
        let Exit { cause, abandoned, .. } = exit;
        let exited = ActorExited {
            cause,
            message: None,
            location: None,
            backtrace: None,
            unexpected: false,
            abandoned,
        };
        self.record(actor, generation, &exited);
    }

    /// Decides, and records it.
    pub(super) fn decide(
        &mut self,
        (actor, generation): (&str, u64),
        policies: (&Arc<ChildPolicy>, &SupervisorPolicy),
        (history, siblings): (&mut ChildHistory, &mut SupervisorHistory),
        (exit, jitter, significant_others): (Exit, f64, u32),
        group: &[String],
    ) -> Decision {
        let now = Duration::from_millis(self.now_ms);
        let (child, supervisor) = policies;
        let inputs = DecisionInputs {
            now_ms: self.now_ms,
            jitter,
            significant_others,
            exit,
            history: history.clone(),
            siblings: siblings.clone(),
            child: Arc::clone(child),
            supervisor: *supervisor,
        };
        let moment = Moment { now, jitter, significant_others };
        let decision = decide((child, supervisor), (history, siblings), exit, moment);
        let used = child.budget.map_or(0, |budget| history.used(budget, now));
        let alone = [actor.to_owned()];
        let scope = match decision {
            Decision::Restart { scope: Scope::All | Scope::Rest, .. } => group,
            _ => &alone,
        };
        let scope = scope.iter().map(|path| path_of(path)).collect();
        self.record(actor, generation, &Decided::new(decision, used, scope, inputs));
        decision
    }
}

fn path_of(text: &str) -> ActorPath {
    serde_json::from_value(json!(text)).unwrap()
}

/// A pool of children to which everything happens that can happen to it, at random.
pub(super) struct Pool {
    pub(super) scribe: Scribe,
    rng: Rng,
    supervisor: SupervisorPolicy,
    generation: u64,
    siblings: SupervisorHistory,
    children: BTreeMap<u64, Child>,
    next_key: u64,
}

struct Child {
    path: String,
    policy: Arc<ChildPolicy>,
    history: ChildHistory,
    generation: u64,
    state: State,
    ready_ms: u64,
    restored: bool,
    /// Whether its next incarnation begins from nothing.
    fresh: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Due(Duration),
    AtRest,
}

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let supervisor = random_supervisor(&mut rng);
        let mut pool = Self {
            scribe: Scribe::new("boot"),
            rng,
            supervisor,
            generation: 0,
            siblings: SupervisorHistory::default(),
            children: BTreeMap::new(),
            next_key: 0,
        };
        pool.scribe.record("root", 0, &RuntimeStarted { pid: 1, version: "0".to_owned() });
        pool.scribe.record("root", 1, &ActorStarted {});
        pool.come_up();
        for n in 0..pool.rng.u64(1..5) {
            pool.add(format!("{POOL}/c{n}"));
        }
        pool
    }

    /// Lets `steps` things happen, and returns everything that was recorded.
    pub(super) fn live(mut self, steps: usize) -> Vec<Record> {
        for _ in 0..steps {
            let pause_ms = self.rng.u64(0..1500);
            self.pass(pause_ms);
            match self.rng.u8(0..12) {
                0 => self.reset(),
                1 => self.order_start(),
                2 => self.replace(),
                _ => self.crash(),
            }
        }
        self.scribe.records
    }

    fn come_up(&mut self) {
        self.generation += 1;
        self.siblings = SupervisorHistory::default();
        self.scribe.bring_up(POOL, self.generation, (self.generation > 1).then_some(false));
    }

    fn add(&mut self, path: String) {
        let policy = Arc::new(random_child(&mut self.rng));
        let child = Child {
            path,
            policy,
            history: ChildHistory::default(),
            generation: 0,
            state: State::AtRest,
            ready_ms: 0,
            restored: false,
            fresh: true,
        };
        let key = self.next_key;
        self.next_key += 1;
        self.children.insert(key, child);
        self.launch(key);
    }

    fn launch(&mut self, key: u64) {
        let Some(child) = self.children.get_mut(&key) else { return };
        child.generation += 1;
        child.restored = child.generation > 1 && !child.fresh && self.rng.u8(0..4) > 0;
        child.fresh = false;
        child.state = State::Running;
        child.ready_ms = self.scribe.now_ms;
        let restored = (child.generation > 1).then_some(child.restored);
        self.scribe.bring_up(&child.path, child.generation, restored);
    }

    /// Time passes, and who is due starts.
    fn pass(&mut self, pause_ms: u64) {
        let until = self.scribe.now_ms + pause_ms;
        loop {
            let due = self.children.iter().filter_map(|(key, child)| match child.state {
                State::Due(due) => Some((ceil_ms(due), *key)),
                _ => None,
            });
            let Some((at, key)) = due.min().filter(|(at, _)| *at <= until) else { break };
            self.scribe.now_ms = self.scribe.now_ms.max(at);
            self.launch(key);
        }
        self.scribe.now_ms = until;
    }

    fn any(&mut self, wanted: impl Fn(&Child) -> bool) -> Option<u64> {
        let keys: Vec<u64> =
            self.children.iter().filter(|(_, child)| wanted(child)).map(|(key, _)| *key).collect();
        self.rng.choice(keys)
    }

    fn crash(&mut self) {
        let Some(key) = self.any(|child| child.state == State::Running) else { return };
        let concerned = self.concerned(key);
        let Some(child) = self.children.get_mut(&key) else { return };
        let exit = random_exit(&mut self.rng, child);
        self.scribe.exit(&child.path, child.generation, exit);
        let significant_others = self.rng.u32(0..2);
        let decision = self.scribe.decide(
            (&child.path, child.generation),
            (&child.policy, &self.supervisor),
            (&mut child.history, &mut self.siblings),
            (exit, self.rng.f64(), significant_others),
            &concerned.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>(),
        );
        child.state = State::AtRest;
        match decision {
            Decision::Restart { scope, delay, state, .. } => {
                child.fresh = state == StateSource::Fresh;
                let due = Duration::from_millis(self.scribe.now_ms) + delay;
                let group = if scope == Scope::One { &concerned[..0] } else { &concerned[..] };
                self.postpone(key, due);
                for (other, _) in group.iter().filter(|(other, _)| *other != key) {
                    self.stop(*other);
                    self.postpone(*other, due);
                }
            }
            Decision::Leave | Decision::Abandon => {}
            Decision::Escalate | Decision::ShutDown => self.go_down_and_up(),
        }
    }

    /// Whom a restart of the group of `key` concerns.
    fn concerned(&self, key: u64) -> Vec<(u64, String)> {
        let from = if self.supervisor.strategy == Strategy::RestForOne { key } else { 0 };
        let active = self.children.range(from..).filter(|(_, child)| child.state != State::AtRest);
        active.map(|(key, child)| (*key, child.path.clone())).collect()
    }

    fn postpone(&mut self, key: u64, due: Duration) {
        if let Some(child) = self.children.get_mut(&key) {
            child.state = match child.state {
                State::Due(own) => State::Due(own.max(due)),
                _ => State::Due(due),
            };
        }
    }

    /// Ends a child that runs, in order: nobody decides about that.
    fn stop(&mut self, key: u64) {
        let Some(child) = self.children.get_mut(&key).filter(|child| child.state == State::Running) else {
            return;
        };
        self.scribe.exit(&child.path, child.generation, Exit::of(ExitCause::Normal));
        child.state = State::AtRest;
    }

    fn go_down_and_up(&mut self) {
        for key in self.children.keys().copied().collect::<Vec<_>>() {
            self.stop(key);
        }
        self.come_up();
        for key in self.children.keys().copied().collect::<Vec<_>>() {
            if let Some(child) = self.children.get_mut(&key) {
                child.history = ChildHistory::default();
            }
            self.launch(key);
        }
    }

    // === by hand ===

    fn reset(&mut self) {
        let Some(key) = self.any(|_| true) else { return };
        let Some(child) = self.children.get_mut(&key) else { return };
        child.history.reset();
        self.scribe.record(&child.path, child.generation, &BudgetReset {});
        if child.state == State::AtRest {
            self.launch(key);
        }
    }

    fn order_start(&mut self) {
        let Some(key) = self.any(|child| child.state != State::Running) else { return };
        let Some(child) = self.children.get(&key) else { return };
        let order = StartOrder::Restart;
        self.scribe.record(&child.path, child.generation, &StartOrdered { order });
        self.launch(key);
    }

    /// A child is removed, and another one added under its name.
    fn replace(&mut self) {
        let Some(key) = self.any(|_| true) else { return };
        self.stop(key);
        if let Some(child) = self.children.remove(&key) {
            self.add(child.path);
        }
    }
}

fn ceil_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap()
}

fn random_supervisor(rng: &mut Rng) -> SupervisorPolicy {
    use AutoShutdown::*;
    use Strategy::*;
    let intensity = Budget { restarts_max: rng.u32(1..8), window: Duration::from_secs(5) };
    SupervisorPolicy {
        strategy: rng.choice([OneForOne, OneForAll, RestForOne]).unwrap(),
        intensity: rng.bool().then_some(intensity),
        auto_shutdown: rng.choice([Never, AnySignificant, AllSignificant]).unwrap(),
        dynamic: rng.u8(0..4) == 0,
    }
}

fn random_child(rng: &mut Rng) -> ChildPolicy {
    use RestartType::*;
    let min = Duration::from_millis(rng.u64(0..500));
    let budget = Budget { restarts_max: rng.u32(0..6), window: Duration::from_millis(rng.u64(1..20_000)) };
    ChildPolicy {
        restart: rng.choice([Permanent, Permanent, Transient, Temporary]).unwrap(),
        delay: match rng.u8(0..3) {
            0 => Delay::Fixed { delay: min },
            spread => Delay::Exponential { min, max: min * 8, factor: 1.7, jitter: spread == 1 },
        },
        budget: (rng.u8(0..4) > 0).then_some(budget),
        stable_after: Duration::from_millis(rng.u64(1..3000)),
        exhausted: if rng.bool() { Exhausted::Abandon } else { Exhausted::Escalate },
        checkpoint_crashes_max: rng.u32(1..4),
        abandoned: if rng.bool() { Abandoned::Fail } else { Abandoned::Replace },
        significant: rng.bool(),
        ..ChildPolicy::default()
    }
}

fn random_exit(rng: &mut Rng, child: &Child) -> Exit {
    use ExitCause::*;
    let cause = rng.choice([Normal, Shutdown, Error, Panic, Panic, Killed, Stuck]).unwrap();
    Exit {
        cause,
        ready_since: Some(Duration::from_millis(child.ready_ms)),
        restored: child.restored,
        progressed: rng.bool(),
        on_suspect: rng.u8(0..4) == 0,
        abandoned: cause == Stuck && rng.bool(),
    }
}
