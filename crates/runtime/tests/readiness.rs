//! Tests deferred readiness and unrecoverable failures.

use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::Record;

use crate::probe::settle;
use crate::*;

/// Warms up for a while, and then is ready or fails.
struct SlowStarter {
    warm_up: Duration,
    outcome: WarmUp,
}

#[derive(Clone, Copy)]
enum WarmUp {
    Ready,
    Failure,
    UnrecoverableFailure,
}

#[derive(Debug)]
struct WarmedUp;

impl Message for WarmedUp {}

impl Worker for SlowStarter {
    type Message = WarmedUp;
    type State = ();
    type Snapshot = ();

    async fn start(&self, ctx: &mut Context<WarmedUp>, _: Option<()>) -> Result<(), Failure> {
        ctx.defer_readiness();
        ctx.send_after(self.warm_up, WarmedUp);
        Ok(())
    }

    async fn handle(&self, ctx: &mut Context<WarmedUp>, _: WarmedUp, (): &mut ()) -> Result<(), Failure> {
        match self.outcome {
            WarmUp::Ready => ctx.report_ready(),
            WarmUp::Failure => return Err("out of memory".into()),
            WarmUp::UnrecoverableFailure => {
                return Err(UnrecoverableFailure::new("there is no model", "install the model").into());
            }
        }
        Ok(())
    }
}

/// Starts a tree of a slow starter and a probe after it.
async fn start_slow(outcome: WarmUp) -> Runtime {
    let mut root = SupervisorSpec::new("root");
    let slow = SlowStarter { warm_up: s(70), outcome };
    root.child(Child::new("slow", slow).policy(delayed_policy())).unwrap();
    root.child(Child::new("probe", TestProbe::default())).unwrap();
    Runtime::builder().seed(1).start(root).await.unwrap()
}

fn info(runtime: &Runtime) -> ActorInfo<WallTime> {
    runtime.tree().find("root/slow").unwrap().info.clone()
}

#[tokio::test(start_paused = true)]
async fn deferred_child_is_starting_and_delays_no_sibling() {
    let runtime = start_slow(WarmUp::Ready).await;
    assert_eq!(runtime.now(), Duration::ZERO, "the start of the tree does not wait for it");
    assert_eq!(info(&runtime).status, ActorStatus::Starting);
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.status, ActorStatus::Running);
    let mut events = JournalFollower::from_start(&runtime);
    let is_slow = |record: &Record| record.actor == "root/slow" && record.kind == "actor_ready";
    let ready = loop {
        let record = events.next("actor_ready").await;
        if is_slow(&record) {
            break record;
        }
    };
    assert_eq!(ready.fields["start_ms"], 70_000);
    settle().await;
    let info = info(&runtime);
    let since = runtime.journal().timeline().wall_time(s(70));
    assert_eq!((info.status, info.since.0), (ActorStatus::Running, since));
}

#[tokio::test(start_paused = true)]
async fn long_warm_up_that_fails_spends_the_budget() {
    let runtime = start_slow(WarmUp::Failure).await;
    let mut events = JournalFollower::from_start(&runtime);
    let records = events.read_until("gave_up").await;
    let of_slow: Vec<&str> = records
        .iter()
        .filter(|record| record.actor == "root/slow")
        .map(|record| record.kind.as_str())
        .collect();
    let life = ["actor_started", "actor_exited", "decision"];
    assert_eq!(
        of_slow,
        [&life[..], &life, &life, &["gave_up"]].concat(),
        "a minute makes it stable when ready"
    );
    let exits = records.iter().filter(|record| record.kind == "actor_exited");
    assert!(exits.clone().all(|exit| exit.fields["cause"] == "start_failed"));
    assert_eq!((exits.count(), info(&runtime).status), (3, ActorStatus::Failed));
}

#[tokio::test(start_paused = true)]
async fn unrecoverable_failure_is_given_up_at_once_with_next_step() {
    let runtime = start_slow(WarmUp::UnrecoverableFailure).await;
    let mut events = JournalFollower::from_start(&runtime);
    let records = events.read_until("gave_up").await;
    let gave_up = &records.last().unwrap().fields;
    assert_eq!((&gave_up["restarts"], &gave_up["unrecoverable"]), (&0.into(), &true.into()));
    assert_eq!(gave_up["next_step"], "install the model");
    let decision = records.iter().find(|record| record.kind == "decision").unwrap();
    assert_eq!(decision.fields["inputs"]["exit"]["unrecoverable"], true);
    assert_eq!(replay::check(records).differences, []);
    let shown = info(&runtime);
    assert_eq!((shown.status, shown.restarts), (ActorStatus::Failed, 0));
    assert_eq!(shown.last_error.as_deref(), Some("there is no model"));
    assert_eq!(shown.next_step.as_deref(), Some("install the model"));
    runtime.root().start("slow").await.unwrap();
    assert_eq!(events.next("gave_up").await.fields["unrecoverable"], true, "a start tries again");
}
