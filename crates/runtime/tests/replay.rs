//! Replays the journals of real trees: each journal agrees with the policy, whatever happened to its tree.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]
#![allow(clippy::disallowed_methods, reason = "a test's tasks end with it")]

#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Cursor, Delivery, Entry, Journal, JournalOptions, Reader, Record};
use mainstay_runtime::policy::{
    AutoShutdown, Budget, ChildPolicy, Delay, OnBudgetExhausted, RestartType, Shutdown, Strategy,
    SupervisorPolicy,
};
use mainstay_runtime::replay::{self, Replay};
use mainstay_runtime::{Address, Child, Runtime, SupervisorHandle, SupervisorSpec};
use probe::{Probe, ProbeMessage, advance};
use tokio::task::JoinSet;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn random_child(rng: &mut Rng) -> ChildPolicy {
    use RestartType::{Permanent, Transient};
    let min = ms(rng.u64(0..300));
    ChildPolicy {
        restart: rng.choice([Permanent, Permanent, Transient]).unwrap(),
        delay: Delay::Exponential { min, max: min * 10, factor: 1.5, jitter: rng.bool() },
        budget: Some(Budget { restarts_max: rng.u32(1..5), window: ms(rng.u64(500..9000)) }),
        stable_after: ms(rng.u64(100..2000)),
        exhausted: if rng.u8(0..3) == 0 { OnBudgetExhausted::Escalate } else { OnBudgetExhausted::Abandon },
        shutdown: Shutdown::Graceful(ms(200)),
        stuck_after: Some(ms(400)),
        kill_timeout: ms(300),
        ..ChildPolicy::default()
    }
}

/// Pools of all strategies under a root that outlives them.
struct RandomTree {
    pools: Vec<SupervisorHandle>,
    probes: Vec<Address<ProbeMessage>>,
    runtime: Runtime,
    rng: Rng,
    commands: JoinSet<()>,
}

impl RandomTree {
    async fn start(seed: u64, journal: Journal) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut root = SupervisorSpec::new("root");
        let (mut pools, mut probes) = (Vec::new(), Vec::new());
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            let intensity = rng.bool().then_some(Budget { restarts_max: 6, window: ms(4000) });
            let policy = SupervisorPolicy {
                strategy,
                intensity,
                auto_shutdown: AutoShutdown::AnySignificant,
                dynamic: false,
            };
            let own = ChildPolicy { budget: None, stuck_after: None, ..random_child(&mut rng) };
            let mut pool = SupervisorSpec::new(format!("pool-{}", pools.len())).policy(policy).as_child(own);
            for n in 0..3 {
                let mut child = random_child(&mut rng);
                child.significant = child.restart == RestartType::Transient && rng.u8(0..3) == 0;
                probes.push(pool.child(Child::new(format!("p{n}"), probe()).policy(child)).unwrap());
            }
            pools.push(root.supervisor(pool).unwrap());
        }
        let runtime = Runtime::builder().seed(seed).journal(journal).start(root).await.unwrap();
        Self { pools, probes, runtime, rng, commands: JoinSet::new() }
    }

    /// Makes one thing happen, and then advances the clock.
    async fn step(&mut self) {
        let probe = self.rng.choice(&self.probes).unwrap();
        let act = match self.rng.u8(0..8) {
            0 => ProbeMessage::Stop,
            1 => ProbeMessage::Block,
            2 => ProbeMessage::PanicInTask,
            3 => ProbeMessage::Add(1),
            _ => ProbeMessage::Panic,
        };
        // A worker that was given up takes no message; the result does not matter.
        drop(probe.try_cast(act));
        if self.rng.u8(0..3) == 0 {
            self.send_command();
        }
        let pause = self.rng.choice([0, 1, 40, 350, 1500]).unwrap();
        advance(ms(pause)).await;
    }

    /// Sends a command, and lets the tree go on meanwhile.
    fn send_command(&mut self) {
        let pool = self.rng.choice(&self.pools).unwrap().clone();
        let name = format!("p{}", self.rng.u8(0..3));
        let (what, policy) = (self.rng.u8(0..6), random_child(&mut self.rng));
        self.commands.spawn(async move {
            // A command that is impossible now is refused; the result does not matter.
            match what {
                0 => drop(pool.stop(&name).await),
                1 => drop(pool.start(&name).await),
                2 => drop(pool.restart(&name).await),
                3 => drop(pool.reset(&name).await),
                4 => drop(pool.remove(&name).await),
                _ => drop(pool.add(Child::new(name, probe()).policy(policy)).await),
            }
        });
    }

    async fn shut_down(mut self) {
        self.commands.shutdown().await;
        self.runtime.shutdown().await;
    }
}

/// A probe that panics, ends or hangs for ever on demand.
fn probe() -> Probe {
    Probe::gated().0
}

fn memory_journal(seed: u64) -> Journal {
    let config = JournalOptions { memory_lines_max: 1_000_000, ..JournalOptions::default() };
    Journal::in_memory(seed.to_string(), Arc::new(SystemClock), config)
}

async fn records(journal: &Journal) -> Vec<Record> {
    let mut subscription = journal.subscribe();
    let mut records = Vec::new();
    while let Some(Delivery::Event(record)) = subscription.try_next().await {
        records.push(*record);
    }
    records
}

#[tokio::test(start_paused = true)]
async fn replay_of_random_trees_matches_the_policy() {
    let mut decided = std::collections::BTreeMap::new();
    for seed in 0..40 {
        let journal = memory_journal(seed);
        let mut tree = RandomTree::start(seed, journal.clone()).await;
        for _ in 0..60 {
            tree.step().await;
        }
        tree.shut_down().await;
        let records = records(&journal).await;
        for record in records.iter().filter(|record| record.kind == "decision") {
            *decided.entry(record.fields["decision"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        let report = replay::check(records);
        let first = report.differences.first().map(ToString::to_string);
        assert_eq!(first, None, "seed {seed}");
        assert_eq!((report.replayed, report.missing), (report.decisions, 0), "seed {seed}");
    }
    let kinds: Vec<&str> = decided.keys().map(String::as_str).collect();
    assert_eq!(
        kinds,
        ["abandon", "escalate", "leave", "restart", "shut_down"],
        "everything came about: {decided:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn replay_from_disk_spans_runs_and_missing_segments() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalOptions { segment_bytes_max: 60_000, segments_max: 3, ..JournalOptions::default() };
    for seed in 0..4 {
        let journal =
            Journal::open(dir.path(), seed.to_string(), Arc::new(SystemClock), config.clone()).unwrap();
        let mut tree = RandomTree::start(seed, journal).await;
        for _ in 0..40 {
            tree.step().await;
        }
        tree.shut_down().await;
    }
    let mut reader = Reader::after(dir.path(), Cursor::START);
    let mut replay = Replay::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert!(matches!(entry, Entry::Event(..)), "{entry:?}");
        replay.add_entry(&entry);
    }
    let report = replay.into_report();
    assert_eq!(report.differences.first().map(ToString::to_string), None);
    assert!(report.first > Some(Cursor::new(1, 1)), "the first segments are gone");
    assert!(report.runs > 1 && report.replayed > 10, "{report:?}");
}
