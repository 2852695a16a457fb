//! The agent's actor under its supervisor, with a driver that follows a script, on a paused clock.

mod checks;
mod letters;
mod liveness;

use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay_runtime::journal::{Delivery, Event, Subscription};
use mainstay_runtime::policy::{ChildPolicy, Delay};
use mainstay_runtime::state::{MemoryStore, StateStore};
use mainstay_runtime::{Address, Child, Runtime, SupervisorSpec};
use serde_json::json;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::error::{Error, Reason};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Answers as it was told to; the last answer goes on.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Observation>>,
    restarts: Mutex<u32>,
    written: Mutex<Vec<Value>>,
    /// What the next restarts end with; then they succeed.
    refused_restarts: Mutex<VecDeque<DriverError>>,
    /// How the next letters end; then they are answered with what they say.
    endings: Mutex<VecDeque<Ending>>,
    delivered: Mutex<Vec<Value>>,
    meter: ActivityMeter,
    /// What the next writes end with; then they succeed.
    refused_writes: Mutex<VecDeque<DriverError>>,
}

enum Ending {
    Never,
    Error(Error),
}

impl Script {
    fn says(answers: impl IntoIterator<Item = Observation>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() })
    }

    fn then(&self, answers: impl IntoIterator<Item = Observation>) {
        *self.answers.lock().unwrap() = answers.into_iter().collect();
    }
}

impl Driver for Script {
    fn kind(&self) -> &'static str {
        "script"
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        let mut answers = self.answers.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        std::future::ready(next.unwrap()).boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        if let Some(refusal) = self.refused_restarts.lock().unwrap().pop_front() {
            return std::future::ready(Err(refusal)).boxed();
        }
        *self.restarts.lock().unwrap() += 1;
        self.then([well()]);
        std::future::ready(Ok(())).boxed()
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        std::future::ready(Ok(AgentState::Known(json!({"memory": 7})))).boxed()
    }

    fn deliver(&self, letter: Letter) -> BoxFuture<'_, Result<Value, Error>> {
        self.delivered.lock().unwrap().push(letter.body.clone());
        let ending = self.endings.lock().unwrap().pop_front();
        match ending {
            None => std::future::ready(Ok(letter.body)).boxed(),
            Some(Ending::Never) => std::future::pending().boxed(),
            Some(Ending::Error(error)) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn activity(&self) -> Activity {
        self.meter.activity()
    }

    fn work_begun(&self) -> BoxFuture<'_, ()> {
        self.meter.begun().boxed()
    }

    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        if let Some(refusal) = self.refused_writes.lock().unwrap().pop_front() {
            return std::future::ready(Err(refusal)).boxed();
        }
        self.written.lock().unwrap().push(state);
        std::future::ready(Ok(())).boxed()
    }
}

fn well() -> Observation {
    Observation::Answered { reported: Reported::Healthy, uptime_s: Some(1.0), error_count: Some(0) }
}

fn failed() -> Observation {
    Observation::Answered { reported: Reported::Failed, uptime_s: None, error_count: Some(1) }
}

fn missed() -> Observation {
    Observation::Missed { why: Error::new(Reason::TimedOut).with_details("no answer") }
}

fn unreachable() -> Observation {
    Observation::Unreachable { why: Error::new(Reason::ConnectionRefused) }
}

fn policy() -> HealthPolicy {
    HealthPolicy {
        interval: s(30),
        timeout: s(5),
        fail_after: 3,
        recover_after: 1,
        startup_grace: s(30),
        progress_timeout: Duration::ZERO,
    }
}

struct Scene {
    runtime: Runtime,
    planner: Address<AgentMessage>,
    debts: Arc<AgentDebts>,
    callers: Arc<Callers>,
    board: AgentBoard,
    away: watch::Sender<bool>,
    story: Subscription,
}

impl Scene {
    async fn of(script: &Arc<Script>) -> Self {
        Self::with(script, policy(), None).await
    }

    async fn stored(script: &Arc<Script>, store: Option<&Arc<MemoryStore>>) -> Self {
        Self::with(script, policy(), store).await
    }

    async fn with(script: &Arc<Script>, health: HealthPolicy, store: Option<&Arc<MemoryStore>>) -> Self {
        let away = watch::Sender::new(false);
        let debts = Arc::<AgentDebts>::default();
        let callers = Arc::<Callers>::default();
        let board = AgentBoard::default();
        let actor = AgentActor {
            id: "planner".to_owned(),
            driver: Arc::clone(script) as Arc<dyn Driver>,
            health: Arc::new(health),
            first_check_within: Duration::ZERO,
            callers: Arc::clone(&callers),
            debts: Arc::clone(&debts),
            backend_seems_away: away.subscribe(),
            board: board.clone(),
        };
        let policy = ChildPolicy {
            delay: Delay::Fixed { delay: s(5) },
            checkpoint_crashes_max: u32::MAX,
            ..ChildPolicy::default()
        };
        let mut root = SupervisorSpec::new("root");
        let planner = root.child(Child::new("planner", actor).policy(policy).durable()).unwrap();
        let mut builder = Runtime::builder();
        if let Some(store) = store {
            builder = builder.state_store(Arc::clone(store) as Arc<dyn StateStore>);
        }
        let runtime = builder.start(root).await.unwrap();
        let story = runtime.journal().subscribe_after(0);
        Self { runtime, planner, debts, callers, board, away, story }
    }

    async fn next(&mut self) -> mainstay_runtime::journal::Record {
        let Delivery::Event(record) = self.story.next().await else { panic!("events are missing") };
        *record
    }

    /// Waits for the next change of the agent's health.
    async fn change(&mut self) -> (AgentStatus, AgentStatus) {
        let record = self.until(AgentHealth::KIND).await;
        let AgentHealth { from, to, .. } = record.decode().unwrap();
        (from, to)
    }

    async fn until(&mut self, kind: &str) -> mainstay_runtime::journal::Record {
        loop {
            let record = self.next().await;
            if record.kind == kind {
                return record;
            }
        }
    }

    fn status(&self) -> AgentStatus {
        self.board.get("planner").unwrap().status
    }
}

use AgentStatus::{Degraded, Failed, Healthy, Starting, Unknown};

#[tokio::test(start_paused = true)]
async fn an_agent_that_failed_is_restarted_after_the_delay_with_the_state_that_it_had() {
    let script = Script::says([well(), well(), failed()]);
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Healthy));
    assert_eq!(scene.change().await, (Healthy, Failed));
    let exited = scene.until("actor_exited").await;
    assert_eq!(exited.fields["message"], "the agent reports that it failed");
    assert_eq!(*script.restarts.lock().unwrap(), 0);
    let restarted = scene.until("actor_restarted").await;
    assert_eq!(restarted.mono_ms - exited.mono_ms, 5000);
    assert_eq!(*script.restarts.lock().unwrap(), 1);
    assert_eq!(*script.written.lock().unwrap(), [json!({"memory": 7})]);
    assert_eq!(scene.change().await, (Starting, Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_read_just_before_the_agent_failed_is_not_kept() {
    let script = Script::says([well(), failed()]);
    let mut scene = Scene::of(&script).await;
    scene.until("actor_restarted").await;
    assert_eq!(*script.restarts.lock().unwrap(), 1);
    assert!(script.written.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_while_the_backend_seems_away_is_unknown_and_is_not_restarted() {
    let script = Script::says([well()]);
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Healthy));
    script.then([missed()]);
    scene.away.send_replace(true);
    assert_eq!(scene.change().await, (Healthy, Unknown));
    tokio::time::sleep(s(600)).await;
    assert_eq!(scene.status(), Unknown);
    assert_eq!(*script.restarts.lock().unwrap(), 0);
    script.then([well()]);
    let before = scene.runtime.now();
    scene.away.send_replace(false);
    assert_eq!(scene.change().await, (Unknown, Healthy));
    assert_eq!(scene.runtime.now(), before, "the agent is checked as soon as the link is back");
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_crashed_does_not_restart_an_agent_that_is_well() {
    let script = Script::says([well()]);
    let mut scene = Scene::of(&script).await;
    scene.planner.cast(AgentMessage::Panic).await.unwrap();
    scene.until("actor_restarted").await;
    assert_eq!(*script.restarts.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_well_is_restarted_when_somebody_asks_for_it_and_keeps_its_state() {
    let script = Script::says([well()]);
    let scene = Scene::of(&script).await;
    while scene.board.get("planner").unwrap().state_kept_at.is_none() {
        tokio::time::sleep(s(1)).await;
    }
    scene.debts.owe_restart();
    scene.runtime.root().restart("planner").await.unwrap();
    assert_eq!(scene.planner.call(AgentMessage::AwaitRevival).await, Ok(Ok(())));
    assert_eq!(*script.restarts.lock().unwrap(), 1);
    assert_eq!(*script.written.lock().unwrap(), [json!({"memory": 7})]);
}

#[tokio::test(start_paused = true)]
async fn misses_degrade_an_agent_before_they_fail_it() {
    let script = Script::says([well(), missed()]);
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Healthy));
    assert_eq!(scene.change().await, (Healthy, Degraded));
    assert_eq!(scene.change().await, (Degraded, Failed));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_could_not_be_given_back_is_still_owed_to_the_next_incarnation() {
    let script = Script::says([well(), well(), failed()]);
    let mut scene = Scene::of(&script).await;
    scene.until("decision").await;
    // The restart succeeds, and then three times the state is not taken.
    let refusal = || DriverError::failed("503");
    script.refused_writes.lock().unwrap().extend([refusal(), refusal(), refusal()]);
    for _ in 0..3 {
        scene.until("decision").await;
        assert!(script.written.lock().unwrap().is_empty());
    }
    assert_eq!(scene.change().await, (Starting, Healthy));
    assert_eq!(*script.written.lock().unwrap(), [json!({"memory": 7})]);
    assert_eq!(*script.restarts.lock().unwrap(), 1, "the agent itself was restarted once");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_goes_away_during_a_restart_costs_no_budget_and_the_restart_is_still_owed() {
    let script = Script::says([well(), well(), failed()]);
    let mut scene = Scene::of(&script).await;
    scene.until("decision").await;
    let away = || DriverError::Unreachable(Error::new(Reason::ConnectionRefused));
    script.refused_restarts.lock().unwrap().extend([away(), away(), away()]);
    assert_eq!(scene.change().await, (Starting, Unknown));
    assert_eq!(scene.change().await, (Unknown, Healthy));
    assert_eq!((*script.restarts.lock().unwrap(), script.written.lock().unwrap().len()), (1, 1));
    assert_eq!(scene.runtime.tree().find("root/planner").unwrap().vitals.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_restarted_by_somebody_else_gets_its_state_back() {
    let says = |uptime_s: f64| Observation::Answered {
        reported: Reported::Healthy,
        uptime_s: Some(uptime_s),
        error_count: Some(0),
    };
    let script = Script::says([says(100.0), says(100.0), says(5.0)]);
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Healthy));
    tokio::time::sleep(s(40)).await;
    assert_eq!(*script.written.lock().unwrap(), [json!({"memory": 7})]);
    assert_eq!(*script.restarts.lock().unwrap(), 0);
}
