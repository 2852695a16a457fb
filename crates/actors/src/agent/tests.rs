//! The agent's actor under its supervisor, with a scripted driver, on a paused clock.

mod checks;
mod liveness;
mod messages;
mod sends;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use AgentStatus::{Degraded, Failed, Healthy, Starting, Unknown};
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, StatusCode};
use mainstay_runtime::{
    Address, Child, Runtime, SupervisorSpec,
    journal::{Delivery, Event, JournalSubscription, Record},
    policy::{ChildPolicy, Delay},
    state::{MemoryStore, StateStore},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::*;
use crate::{
    error::{Error, Reason},
    json::Json,
    network::BackendEnds,
    tests::{next_event, next_record, s},
    transport::{FailureKind, ResponseHead, TransportError},
};

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
    /// The time that a check takes. Its answer is fixed when it begins.
    check_duration: Duration,
    /// Whether the driver starts the agent itself.
    owns_agent: bool,
    /// Whether the backend is asked about an agent that the driver starts.
    asks_backend: bool,
    /// The time that a restart takes.
    restart_duration: Duration,
    /// The answers after a restart; none stand for healthy ones.
    after_restart: Vec<Observation>,
    /// Whether the agent has no state, whose reading would cause further checks.
    is_stateless: bool,
    check_starts: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

/// Counts a check as in flight until dropped.
struct InFlightCheck<'a>(&'a AtomicUsize);

impl Drop for InFlightCheck<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

enum DeliveryScript {
    Never,
    Error(Error),
    ErrorAfter(Duration, Error),
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

    fn owns_agent(&self) -> bool {
        self.owns_agent
    }

    fn asks_backend(&self) -> bool {
        self.asks_backend || !self.owns_agent
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        async move {
            self.check_starts.lock().push(Instant::now());
            let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            let _in_flight = InFlightCheck(&self.in_flight);
            self.in_flight_max.fetch_max(in_flight, Ordering::SeqCst);
            let answer = {
                let mut answers = self.answers.lock();
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
            };
            if !self.check_duration.is_zero() {
                tokio::time::sleep(self.check_duration).await;
            }
            answer.unwrap()
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        if let Some(refusal) = self.refused_restarts.lock().pop_front() {
            return std::future::ready(Err(refusal)).boxed();
        }
        *self.restarts.lock() += 1;
        let answers =
            if self.after_restart.is_empty() { vec![healthy()] } else { self.after_restart.clone() };
        self.set_answers(answers);
        if self.restart_duration.is_zero() {
            return std::future::ready(Ok(())).boxed();
        }
        tokio::time::sleep(self.restart_duration).map(Ok).boxed()
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        let known = AgentState::Known(json!({"memory": 7}).into());
        std::future::ready(Ok(if self.is_stateless { AgentState::Unsupported } else { known })).boxed()
    }

    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Json, Error>> {
        self.delivered.lock().push(message.body.read().unwrap());
        let ending = self.deliveries.lock().pop_front();
        match ending {
            None => std::future::ready(Ok(message.body)).boxed(),
            Some(DeliveryScript::Never) => std::future::pending().boxed(),
            Some(DeliveryScript::Error(error)) => std::future::ready(Err(error)).boxed(),
            Some(DeliveryScript::ErrorAfter(delay, error)) => {
                tokio::time::sleep(delay).map(|()| Err(error)).boxed()
            }
        }
    }

    fn activity(&self) -> Activity {
        self.meter.activity()
    }

    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        self.meter.wait_for_work().boxed()
    }

    fn write_state(&self, state: Json) -> BoxFuture<'_, Result<(), DriverError>> {
        if let Some(refusal) = self.refused_writes.lock().pop_front() {
            return std::future::ready(Err(refusal)).boxed();
        }
        self.written.lock().push(state.read().unwrap());
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

/// A 401, after which there is a new token.
fn rejected() -> Error {
    let head = ResponseHead { status: StatusCode::UNAUTHORIZED, headers: HeaderMap::new() };
    Error::from(&TransportError::in_body(FailureKind::TokenRenewed, head, "it expired"))
}

fn rejected_check() -> Observation {
    Observation::Missed { why: rejected() }
}

fn broken_check() -> Observation {
    Observation::Missed { why: Error::new(Reason::ConnectionReset) }
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
        min_uptime: Duration::ZERO,
        quarantine_after: 2,
    }
}

/// Returns an agent's actor whose first check is due at once.
fn agent_actor(
    id: &str,
    driver: &Arc<ScriptedDriver>,
    health: HealthPolicy,
    away: &watch::Sender<bool>,
    ends: &watch::Sender<BackendEnds>,
    reports: &AgentReports,
) -> AgentActor {
    AgentActor {
        id: id.to_owned(),
        driver: Arc::clone(driver) as Arc<dyn Driver>,
        health: Arc::new(health),
        first_check_within: Duration::ZERO,
        pending_replies: Arc::default(),
        updates: UpdateBroadcast::default(),
        pending_recovery: Arc::default(),
        is_backend_unavailable: away.subscribe(),
        backend_ends: ends.subscribe(),
        reports: reports.clone(),
    }
}

struct AgentActorFixture {
    runtime: Runtime,
    planner: Address<AgentCommand>,
    pending_recovery: Arc<PendingRecovery>,
    pending_replies: Arc<PendingReplies>,
    updates: UpdateBroadcast,
    reports: AgentReports,
    backend_unavailable: watch::Sender<bool>,
    backend_ends: watch::Sender<BackendEnds>,
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
        let (backend_unavailable, reports) = (watch::Sender::new(false), AgentReports::default());
        let backend_ends = watch::Sender::default();
        let actor = agent_actor("planner", driver, health, &backend_unavailable, &backend_ends, &reports);
        let pending_recovery = Arc::clone(&actor.pending_recovery);
        let pending_replies = Arc::clone(&actor.pending_replies);
        let updates = actor.updates.clone();
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
            pending_replies,
            updates,
            reports,
            backend_unavailable,
            backend_ends,
            events,
        }
    }

    /// Waits for the next change of the agent's health.
    async fn next_status_change(&mut self) -> (AgentStatus, AgentStatus) {
        let AgentHealth { from, to, .. } = next_event(&mut self.events).await;
        (from, to)
    }

    async fn next_event_of(&mut self, kind: &str) -> Record {
        next_record(&mut self.events, kind).await
    }

    fn status(&self) -> AgentStatus {
        self.reports.get("planner").unwrap().status
    }
}

/// Starts an agent with these answers to its checks.
async fn agent(answers: impl IntoIterator<Item = Observation>) -> (Arc<ScriptedDriver>, AgentActorFixture) {
    let driver = ScriptedDriver::answering(answers);
    let fixture = AgentActorFixture::new(&driver).await;
    (driver, fixture)
}

/// Starts a healthy agent whose first deliveries end so.
async fn agent_delivering(
    ends: impl IntoIterator<Item = DeliveryScript>,
) -> (Arc<ScriptedDriver>, AgentActorFixture) {
    let driver = ScriptedDriver::answering([healthy()]);
    driver.deliveries.lock().extend(ends);
    let fixture = AgentActorFixture::new(&driver).await;
    (driver, fixture)
}

#[tokio::test(start_paused = true)]
async fn failed_agent_restarts_after_delay_with_its_state() {
    let (driver, mut fixture) = agent([healthy(), healthy(), failed()]).await;
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
    let (driver, mut fixture) = agent([healthy(), failed()]).await;
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(*driver.restarts.lock(), 1);
    assert!(driver.written.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn missed_check_during_outage_is_unknown() {
    let (driver, mut fixture) = agent([healthy()]).await;
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
    let (driver, mut fixture) = agent([healthy()]).await;
    drop(fixture.planner.inject_panic().unwrap());
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(*driver.restarts.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn requested_restart_of_healthy_agent_keeps_its_state() {
    let (driver, fixture) = agent([healthy()]).await;
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
    let (_driver, mut fixture) = agent([healthy(), missed()]).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    assert_eq!(fixture.next_status_change().await, (Healthy, Degraded));
    assert_eq!(fixture.next_status_change().await, (Degraded, Failed));
}

#[tokio::test(start_paused = true)]
async fn failed_state_restore_is_retried_by_next_incarnation() {
    let (driver, mut fixture) = agent([healthy(), healthy(), failed()]).await;
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
async fn error_of_failed_start_is_reported_until_healthy() {
    let ended = Observation::Exited { why: Error::new(Reason::AgentFailed) };
    let answers = Mutex::new([ended].into());
    let restart_duration = s(60);
    let driver =
        Arc::new(ScriptedDriver { owns_agent: true, answers, restart_duration, ..Default::default() });
    let why = Error::new(Reason::AgentFailed).with_message("It cannot be started. Correct its command.");
    driver.refused_restarts.lock().push_back(DriverError::Failed(why.clone()));
    let mut fixture = AgentActorFixture::new(&driver).await;
    fixture.next_event_of("actor_restarted").await;
    let report = fixture.reports.get("planner").unwrap();
    assert_eq!((report.status, report.error), (Starting, Some(Box::new(why))));
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    assert_eq!(fixture.reports.get("planner").unwrap().error, None);
}

#[tokio::test(start_paused = true)]
async fn outage_during_restart_costs_no_budget_and_retries() {
    let (driver, mut fixture) = agent([healthy(), healthy(), failed()]).await;
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
    let (driver, mut fixture) = agent([says(100.0), says(100.0), says(5.0)]).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    tokio::time::sleep(s(40)).await;
    assert_eq!(*driver.written.lock(), [json!({"memory": 7})]);
    assert_eq!(*driver.restarts.lock(), 0);
}
