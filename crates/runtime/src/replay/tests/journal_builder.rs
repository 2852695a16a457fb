//! Writes journals as supervisors do, from random exits and commands, without any actor.

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

/// The records of one run, in order.
pub(super) struct JournalBuilder {
    pub(super) records: Vec<Record>,
    pub(super) now_ms: u64,
}

impl JournalBuilder {
    pub(super) fn new() -> Self {
        Self { records: Vec::new(), now_ms: 0 }
    }

    pub(super) fn record<E: Event>(&mut self, actor: &str, generation: u64, event: &E) -> u64 {
        let Value::Object(fields) = serde_json::to_value(event).unwrap() else { unreachable!() };
        let seq = self.records.len() as u64 + 1;
        self.records.push(Record {
            run: 1,
            seq,
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            mono_ms: self.now_ms,
            actor: actor.to_owned(),
            generation,
            kind: E::KIND.to_owned(),
            fields,
        });
        seq
    }

    /// Records the start of an incarnation that is ready at once, `down_ms` after its predecessor, if it had one.
    pub(super) fn record_start(&mut self, actor: &str, generation: u64, restored: Option<bool>) {
        self.record(actor, generation, &ActorStarted {});
        self.record(actor, generation, &ActorReady { start_ms: 0 });
        if let Some(restored) = restored {
            let state = if restored { StateOrigin::Restored } else { StateOrigin::Fresh };
            self.record(actor, generation, &ActorRestarted { downtime_ms: 0, state, backlog: 0 });
        }
    }

    pub(super) fn record_exit(&mut self, actor: &str, generation: u64, exit: Exit) {
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

    /// Decides, and records the decision.
    pub(super) fn record_decision(
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
        let moment = DecisionContext { now, jitter, significant_others };
        let decision = decide((child, supervisor), (history, siblings), exit, moment);
        let used = child.budget.map_or(0, |budget| history.used(budget, now));
        let alone = [actor.to_owned()];
        let scope = match decision {
            Decision::Restart { scope: RestartScope::All | RestartScope::Rest, .. } => group,
            _ => &alone,
        };
        let scope = scope.iter().map(|path| actor_path(path)).collect();
        self.record(actor, generation, &Decided::new(decision, used, scope, inputs));
        decision
    }
}

fn actor_path(text: &str) -> ActorPath {
    serde_json::from_value(json!(text)).unwrap()
}

/// A pool of children that goes through every possible event at random.
pub(super) struct SimulatedPool {
    pub(super) journal: JournalBuilder,
    rng: Rng,
    supervisor: SupervisorPolicy,
    generation: u64,
    siblings: SupervisorHistory,
    children: BTreeMap<u64, SimulatedChild>,
    next_id: u64,
}

struct SimulatedChild {
    path: String,
    policy: Arc<ChildPolicy>,
    history: ChildHistory,
    generation: u64,
    state: State,
    ready_ms: u64,
    restored: bool,
    /// Whether the next incarnation begins without a state.
    starts_fresh: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Due(Duration),
    Stopped,
}

impl SimulatedPool {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let supervisor = random_supervisor(&mut rng);
        let mut pool = Self {
            journal: JournalBuilder::new(),
            rng,
            supervisor,
            generation: 0,
            siblings: SupervisorHistory::default(),
            children: BTreeMap::new(),
            next_id: 0,
        };
        pool.journal.record(
            "root",
            0,
            &RuntimeStarted { pid: 1, version: "0".to_owned(), boot: "b".to_owned() },
        );
        pool.journal.record("root", 1, &ActorStarted {});
        pool.start_supervisor();
        for n in 0..pool.rng.u64(1..5) {
            pool.add_child(format!("{POOL}/c{n}"));
        }
        pool
    }

    /// Simulates `steps` events, and returns everything that was recorded.
    pub(super) fn run(mut self, steps: usize) -> Vec<Record> {
        for _ in 0..steps {
            let pause_ms = self.rng.u64(0..1500);
            self.advance(pause_ms);
            match self.rng.u8(0..12) {
                0 => self.reset_budget(),
                1 => self.order_start(),
                2 => self.replace_child(),
                _ => self.crash_child(),
            }
        }
        self.journal.records
    }

    fn start_supervisor(&mut self) {
        self.generation += 1;
        self.siblings = SupervisorHistory::default();
        self.journal.record_start(POOL, self.generation, (self.generation > 1).then_some(false));
    }

    fn add_child(&mut self, path: String) {
        let policy = Arc::new(random_child(&mut self.rng));
        let child = SimulatedChild {
            path,
            policy,
            history: ChildHistory::default(),
            generation: 0,
            state: State::Stopped,
            ready_ms: 0,
            restored: false,
            starts_fresh: true,
        };
        let key = self.next_id;
        self.next_id += 1;
        self.children.insert(key, child);
        self.start_child(key);
    }

    fn start_child(&mut self, key: u64) {
        let Some(child) = self.children.get_mut(&key) else { return };
        child.generation += 1;
        child.restored = child.generation > 1 && !child.starts_fresh && self.rng.u8(0..4) > 0;
        child.starts_fresh = false;
        child.state = State::Running;
        child.ready_ms = self.journal.now_ms;
        let restored = (child.generation > 1).then_some(child.restored);
        self.journal.record_start(&child.path, child.generation, restored);
    }

    /// Lets time pass, and starts the children that are due.
    fn advance(&mut self, pause_ms: u64) {
        let until = self.journal.now_ms + pause_ms;
        loop {
            let due = self.children.iter().filter_map(|(key, child)| match child.state {
                State::Due(due) => Some((ceil_ms(due), *key)),
                _ => None,
            });
            let Some((at, key)) = due.min().filter(|(at, _)| *at <= until) else { break };
            self.journal.now_ms = self.journal.now_ms.max(at);
            self.start_child(key);
        }
        self.journal.now_ms = until;
    }

    fn pick_child(&mut self, wanted: impl Fn(&SimulatedChild) -> bool) -> Option<u64> {
        let keys: Vec<u64> =
            self.children.iter().filter(|(_, child)| wanted(child)).map(|(key, _)| *key).collect();
        self.rng.choice(keys)
    }

    fn crash_child(&mut self) {
        let Some(key) = self.pick_child(|child| child.state == State::Running) else { return };
        let concerned = self.affected_children(key);
        let Some(child) = self.children.get_mut(&key) else { return };
        let exit = random_exit(&mut self.rng, child);
        self.journal.record_exit(&child.path, child.generation, exit);
        let significant_others = self.rng.u32(0..2);
        let decision = self.journal.record_decision(
            (&child.path, child.generation),
            (&child.policy, &self.supervisor),
            (&mut child.history, &mut self.siblings),
            (exit, self.rng.f64(), significant_others),
            &concerned.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>(),
        );
        child.state = State::Stopped;
        match decision {
            Decision::Restart { scope, delay, state, .. } => {
                child.starts_fresh = state == StateSource::Fresh;
                let due = Duration::from_millis(self.journal.now_ms) + delay;
                let group = if scope == RestartScope::One { &concerned[..0] } else { &concerned[..] };
                self.delay_start(key, due);
                for (other, _) in group.iter().filter(|(other, _)| *other != key) {
                    self.stop_child(*other);
                    self.delay_start(*other, due);
                }
            }
            Decision::Leave | Decision::Abandon => {}
            Decision::Escalate | Decision::ShutDown => self.restart_supervisor(),
        }
    }

    /// Returns the children that a restart of the group of `key` concerns.
    fn affected_children(&self, key: u64) -> Vec<(u64, String)> {
        let from = if self.supervisor.strategy == Strategy::RestForOne { key } else { 0 };
        let active = self.children.range(from..).filter(|(_, child)| child.state != State::Stopped);
        active.map(|(key, child)| (*key, child.path.clone())).collect()
    }

    fn delay_start(&mut self, key: u64, due: Duration) {
        if let Some(child) = self.children.get_mut(&key) {
            child.state = match child.state {
                State::Due(own) => State::Due(own.max(due)),
                _ => State::Due(due),
            };
        }
    }

    /// Ends a running child in order. No decision follows.
    fn stop_child(&mut self, key: u64) {
        let Some(child) = self.children.get_mut(&key).filter(|child| child.state == State::Running) else {
            return;
        };
        self.journal.record_exit(&child.path, child.generation, Exit::of(ExitCause::Normal));
        child.state = State::Stopped;
    }

    fn restart_supervisor(&mut self) {
        for key in self.children.keys().copied().collect::<Vec<_>>() {
            self.stop_child(key);
        }
        self.start_supervisor();
        for key in self.children.keys().copied().collect::<Vec<_>>() {
            if let Some(child) = self.children.get_mut(&key) {
                child.history = ChildHistory::default();
            }
            self.start_child(key);
        }
    }

    // === commands ===

    fn reset_budget(&mut self) {
        let Some(key) = self.pick_child(|_| true) else { return };
        let Some(child) = self.children.get_mut(&key) else { return };
        child.history.reset();
        self.journal.record(&child.path, child.generation, &BudgetReset {});
        if child.state == State::Stopped {
            self.start_child(key);
        }
    }

    fn order_start(&mut self) {
        let Some(key) = self.pick_child(|child| child.state != State::Running) else { return };
        let Some(child) = self.children.get(&key) else { return };
        let order = StartOrder::Restart;
        self.journal.record(&child.path, child.generation, &StartOrdered { order });
        self.start_child(key);
    }

    /// Removes a child, and adds another one under its name.
    fn replace_child(&mut self) {
        let Some(key) = self.pick_child(|_| true) else { return };
        self.stop_child(key);
        if let Some(child) = self.children.remove(&key) {
            self.add_child(child.path);
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
        exhausted: if rng.bool() { OnBudgetExhausted::Abandon } else { OnBudgetExhausted::Escalate },
        checkpoint_crashes_max: rng.u32(1..4),
        abandoned: if rng.bool() { AbandonedPolicy::Fail } else { AbandonedPolicy::Replace },
        significant: rng.bool(),
        ..ChildPolicy::default()
    }
}

fn random_exit(rng: &mut Rng, child: &SimulatedChild) -> Exit {
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
