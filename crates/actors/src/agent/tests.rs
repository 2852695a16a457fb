//! The agent's actor under its supervisor, with a scripted driver, on a paused clock.

mod checks;
mod liveness;
mod messages;

use parking_lot::Mutex;
use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay_runtime::journal::{Delivery, Event, JournalSubscription};
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

/// Answers by a script, and repeats its last answer.
#[derive(Default)]
struct ScriptedDriver {
    answers: Mutex<VecDeque<Observation>>,
    restarts: Mutex<u32>,
    written: Mutex<Vec<Value>>,
    /// The errors of the next restarts; later ones succeed.
    refused_restarts: Mutex<VecDeque<DriverError>>,
    /// The ends of the next deliveries; later ones are answered with their own body.
    deliveries: Mutex<VecDeque<DeliveryScript>>,
    delivered: Mutex<Vec<Value>>,
    meter: ActivityMeter,
    /// The errors of the next state writes; later ones succeed.
    refused_writes: Mutex<VecDeque<DriverError>>,
}

enum DeliveryScript {
    Never,
    Error(Error),
}

impl ScriptedDriver {
    fn answering(answers: impl IntoIterator<Item = Observation>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() })
    }

    fn set_answers(&self, answers: impl IntoIterator<Item = Observation>) {
        *self.answers.lock() = answers.into_iter().collect();
    }
}

impl Driver for ScriptedDriver {
    fn kind(&self) -> &'static str {
        "script"
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        let mut answers = self.answers.lock();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        std::future::ready(next.unwrap()).boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        if let Some(refusal) = self.refused_restarts.lock().pop_front() {
            return std::future::ready(Err(refusal)).boxed();
        }
        *self.restarts.lock() += 1;
        self.set_answers([healthy()]);
        std::future::ready(Ok(())).boxed()
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        std::future::ready(Ok(AgentState::Known(json!({"memory": 7})))).boxed()
    }

    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Value, Error>> {
        self.delivered.lock().push(message.body.clone());
        let ending = self.deliveries.lock().pop_front();
        match ending {
            None => std::future::ready(Ok(message.body)).boxed(),
            Some(DeliveryScript::Never) => std::future::pending().boxed(),
            Some(DeliveryScript::Error(error)) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn activity(&self) -> Activity {
        self.meter.activity()
    }

    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        self.meter.wait_for_work().boxed()
    }

    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        if let Some(refusal) = self.refused_writes.lock().pop_front() {
            return std::future::ready(Err(refusal)).boxed();
        }
        self.written.lock().push(state);
        std::future::ready(Ok(())).boxed()
    }
}

fn healthy() -> Observation {
    Observation::Answered { reported: ReportedHealth::Healthy, uptime_s: Some(1.0), error_count: Some(0) }
}

fn failed() -> Observation {
    Observation::Answered { reported: ReportedHealth::Failed, uptime_s: None, error_count: Some(1) }
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

struct AgentActorFixture {
    runtime: Runtime,
    planner: Address<AgentCommand>,
    pending_recovery: Arc<PendingRecovery>,
    pending_replies: Arc<PendingReplies>,
    reports: AgentReports,
    backend_unavailable: watch::Sender<bool>,
    events: JournalSubscription,
}

impl AgentActorFixture {
    async fn new(driver: &Arc<ScriptedDriver>) -> Self {
        Self::with(driver, policy(), None).await
    }

    async fn with_store(driver: &Arc<ScriptedDriver>, store: Option<&Arc<MemoryStore>>) -> Self {
        Self::with(driver, policy(), store).await
    }

    async fn with(
        driver: &Arc<ScriptedDriver>,
        health: HealthPolicy,
        store: Option<&Arc<MemoryStore>>,
    ) -> Self {
        let away = watch::Sender::new(false);
        let pending_recovery = Arc::<PendingRecovery>::default();
        let callers = Arc::<PendingReplies>::default();
        let board = AgentReports::default();
        let actor = AgentActor {
            id: "planner".to_owned(),
            driver: Arc::clone(driver) as Arc<dyn Driver>,
            health: Arc::new(health),
            first_check_within: Duration::ZERO,
            pending_replies: Arc::clone(&callers),
            pending_recovery: Arc::clone(&pending_recovery),
            is_backend_unavailable: away.subscribe(),
            reports: board.clone(),
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
        let events = runtime.journal().subscribe();
        Self {
            runtime,
            planner,
            pending_recovery,
            pending_replies: callers,
            reports: board,
            backend_unavailable: away,
            events,
        }
    }

    async fn next_event(&mut self) -> mainstay_runtime::journal::Record {
        let Delivery::Event(record) = self.events.next().await else { panic!("events are missing") };
        *record
    }

    /// Waits for the next change of the agent's health.
    async fn next_status_change(&mut self) -> (AgentStatus, AgentStatus) {
        let record = self.next_event_of(AgentHealth::KIND).await;
        let AgentHealth { from, to, .. } = record.decode().unwrap();
        (from, to)
    }

    async fn next_event_of(&mut self, kind: &str) -> mainstay_runtime::journal::Record {
        loop {
            let record = self.next_event().await;
            if record.kind == kind {
                return record;
            }
        }
    }

    fn status(&self) -> AgentStatus {
        self.reports.get("planner").unwrap().status
    }
}

use AgentStatus::{Degraded, Failed, Healthy, Starting, Unknown};

#[tokio::test(start_paused = true)]
async fn failed_agent_restarts_after_delay_with_its_state() {
    let driver = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    assert_eq!(fixture.next_status_change().await, (Healthy, Failed));
    let exited = fixture.next_event_of("actor_exited").await;
    assert_eq!(exited.fields["message"], "the agent reports that it failed");
    assert_eq!(*driver.restarts.lock(), 0);
    let restarted = fixture.next_event_of("actor_restarted").await;
    assert_eq!(restarted.mono_ms - exited.mono_ms, 5000);
    assert_eq!(*driver.restarts.lock(), 1);
    assert_eq!(*driver.written.lock(), [json!({"memory": 7})]);
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
}

#[tokio::test(start_paused = true)]
async fn state_read_just_before_failure_is_not_saved() {
    let driver = ScriptedDriver::answering([healthy(), failed()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(*driver.restarts.lock(), 1);
    assert!(driver.written.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn missed_check_during_outage_is_unknown() {
    let driver = ScriptedDriver::answering([healthy()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    driver.set_answers([missed()]);
    fixture.backend_unavailable.send_replace(true);
    assert_eq!(fixture.next_status_change().await, (Healthy, Unknown));
    tokio::time::sleep(s(600)).await;
    assert_eq!(fixture.status(), Unknown);
    assert_eq!(*driver.restarts.lock(), 0);
    driver.set_answers([healthy()]);
    let before = fixture.runtime.now();
    fixture.backend_unavailable.send_replace(false);
    assert_eq!(fixture.next_status_change().await, (Unknown, Healthy));
    assert_eq!(fixture.runtime.now(), before, "the agent is checked as soon as the link is back");
}

#[tokio::test(start_paused = true)]
async fn actor_crash_does_not_restart_healthy_agent() {
    let driver = ScriptedDriver::answering([healthy()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    drop(fixture.planner.inject_panic().unwrap());
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(*driver.restarts.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn requested_restart_of_healthy_agent_keeps_its_state() {
    let driver = ScriptedDriver::answering([healthy()]);
    let fixture = AgentActorFixture::new(&driver).await;
    while fixture.reports.get("planner").unwrap().state_saved_at.is_none() {
        tokio::time::sleep(s(1)).await;
    }
    fixture.pending_recovery.request_restart();
    fixture.runtime.root().restart("planner").await.unwrap();
    assert_eq!(fixture.planner.call(AgentCommand::AwaitRecovery).await, Ok(Ok(())));
    assert_eq!(*driver.restarts.lock(), 1);
    assert_eq!(*driver.written.lock(), [json!({"memory": 7})]);
}

#[tokio::test(start_paused = true)]
async fn missed_checks_degrade_before_they_fail() {
    let driver = ScriptedDriver::answering([healthy(), missed()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    assert_eq!(fixture.next_status_change().await, (Healthy, Degraded));
    assert_eq!(fixture.next_status_change().await, (Degraded, Failed));
}

#[tokio::test(start_paused = true)]
async fn failed_state_restore_is_retried_by_next_incarnation() {
    let driver = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    fixture.next_event_of("decision").await;
    // The restart succeeds, and then the state is refused three times.
    let refusal = || DriverError::failed("503");
    driver.refused_writes.lock().extend([refusal(), refusal(), refusal()]);
    for _ in 0..3 {
        fixture.next_event_of("decision").await;
        assert!(driver.written.lock().is_empty());
    }
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    assert_eq!(*driver.written.lock(), [json!({"memory": 7})]);
    assert_eq!(*driver.restarts.lock(), 1, "the agent itself was restarted once");
}

#[tokio::test(start_paused = true)]
async fn outage_during_restart_costs_no_budget_and_retries() {
    let driver = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    fixture.next_event_of("decision").await;
    let away = || DriverError::Unreachable(Error::new(Reason::ConnectionRefused));
    driver.refused_restarts.lock().extend([away(), away(), away()]);
    assert_eq!(fixture.next_status_change().await, (Starting, Unknown));
    assert_eq!(fixture.next_status_change().await, (Unknown, Healthy));
    assert_eq!((*driver.restarts.lock(), driver.written.lock().len()), (1, 1));
    assert_eq!(fixture.runtime.tree().find("root/planner").unwrap().info.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn external_restart_restores_state() {
    let says = |uptime_s: f64| Observation::Answered {
        reported: ReportedHealth::Healthy,
        uptime_s: Some(uptime_s),
        error_count: Some(0),
    };
    let driver = ScriptedDriver::answering([says(100.0), says(100.0), says(5.0)]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    tokio::time::sleep(s(40)).await;
    assert_eq!(*driver.written.lock(), [json!({"memory": 7})]);
    assert_eq!(*driver.restarts.lock(), 0);
}
