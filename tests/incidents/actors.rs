//! The incidents of the runtime's own actors, and of actors that an embedder adds.

use std::time::Duration;

use mainstay::journal::Record;
use mainstay::supervision::{
    Budget, Child, ChildPolicy, Context, Delay, Failure, Message, OnBudgetExhausted, Strategy,
    SupervisorPolicy, SupervisorSpec, Worker,
};

use crate::fixture::FaultyRuntime;

const NO_LINK: &str = "[connection]\nenabled = false\n";

/// Adds numbers, and panics over 0. It may be wrong at its start.
struct Adder {
    starts_from: Option<u64>,
}

#[derive(Debug)]
struct Add {
    number: u64,
    is_repeated: bool,
}

impl Message for Add {
    fn redelivery_clone(&mut self) -> Option<Self> {
        self.is_repeated.then_some(Self { ..*self })
    }
}

impl Worker for Adder {
    type Message = Add;
    type State = u64;
    type Snapshot = u64;

    async fn start(&self, _: &mut Context<Add>, kept: Option<u64>) -> Result<u64, Failure> {
        match kept.or(self.starts_from) {
            Some(13) => Err("13 is no sum".into()),
            sum => Ok(sum.unwrap_or_default()),
        }
    }

    async fn handle(&self, _: &mut Context<Add>, message: Add, sum: &mut u64) -> Result<(), Failure> {
        assert!(message.number > 0, "0 cannot be added");
        *sum += message.number;
        Ok(())
    }

    fn snapshot(&self, sum: &u64) -> Option<u64> {
        Some(*sum)
    }
}

fn quick() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::Fixed { delay: Duration::from_millis(10) },
        budget: Some(Budget { restarts_max: 2, window: Duration::from_secs(600) }),
        ..ChildPolicy::default()
    }
}

fn adder(name: &str) -> Child<Adder> {
    Child::new(name, Adder { starts_from: None }).policy(quick())
}

const fn add(number: u64) -> Add {
    Add { number, is_repeated: false }
}

async fn start() -> FaultyRuntime {
    FaultyRuntime::start(tempfile::tempdir().unwrap(), NO_LINK).await
}

fn is_restart(generation: u64) -> impl Fn(&Record) -> bool {
    move |record| record.kind == "actor_restarted" && record.generation == generation
}

/// Fault injection exists in debug builds only.
#[cfg(debug_assertions)]
#[tokio::test]
async fn panics_of_the_runtimes_actors_tell_their_story() {
    let mut runtime = start().await;
    for actor in ["queue", "cache", "connection"] {
        runtime.mainstay.inject_panic(actor).await.unwrap();
        runtime.wait_for(&format!("root/{actor}"), is_restart(2)).await;
        runtime.check(&format!("{actor}_panics"), &format!("root/{actor}"));
    }
    runtime.stop().await;
}

#[tokio::test]
async fn actors_of_an_embedder_tell_their_story() {
    let mut runtime = start().await;
    let supervisor = runtime.mainstay.supervisor().clone();
    let panicking = supervisor.add(adder("panicking")).await.unwrap();
    let poisoned = supervisor.add(adder("poisoned")).await.unwrap();
    let checkpointed =
        supervisor.add(adder("checkpointed").policy(ChildPolicy { budget: None, ..quick() })).await.unwrap();
    panicking.cast(add(0)).await.unwrap();
    runtime.wait_for("root/panicking", is_restart(2)).await;
    runtime.check("actor_panics", "root/panicking");
    poisoned.cast(Add { number: 0, is_repeated: true }).await.unwrap();
    runtime.wait_for("root/poisoned", is_restart(3)).await;
    runtime.wait_for("root/poisoned", |record| record.kind == "dead_letter").await;
    runtime.check("actor_poisoned", "root/poisoned");
    checkpointed.cast(add(13)).await.unwrap();
    checkpointed.cast(add(0)).await.unwrap();
    runtime.wait_for_kind("root/checkpointed", "checkpoint_discarded").await;
    runtime.wait_for("root/checkpointed", |record| record.kind == "actor_restarted").await;
    runtime.check("actor_checkpoint_discarded", "root/checkpointed");
    runtime.stop().await;
}

#[tokio::test]
async fn group_and_escalation_tell_their_story() {
    let mut runtime = start().await;
    let supervisor = runtime.mainstay.supervisor().clone();
    let mut group = SupervisorSpec::new("group")
        .policy(SupervisorPolicy { strategy: Strategy::OneForAll, ..SupervisorPolicy::default() });
    let first = group.child(adder("first")).unwrap();
    group.child(adder("second")).unwrap();
    supervisor.add_supervisor(group).await.unwrap();
    first.cast(add(0)).await.unwrap();
    runtime.wait_for("root/group/first", is_restart(2)).await;
    runtime.wait_for("root/group/second", is_restart(2)).await;
    runtime.check("group_restarts", "root/group");

    let policy = ChildPolicy {
        exhausted: OnBudgetExhausted::Escalate,
        budget: Some(Budget { restarts_max: 0, window: Duration::from_secs(600) }),
        ..quick()
    };
    let mut pool = SupervisorSpec::new("pool").as_child(quick());
    let worker = pool.child(adder("worker").policy(policy)).unwrap();
    pool.child(adder("helper")).unwrap();
    supervisor.add_supervisor(pool).await.unwrap();
    worker.cast(add(0)).await.unwrap();
    runtime.wait_for("root/pool", is_restart(2)).await;
    runtime.check("supervisor_escalates", "root/pool");
    runtime.stop().await;
}
