//! The times of checks: one at a time, once after a clock jump, spread over the interval, and none from before a
//! restart.

use super::*;

impl ScriptedDriver {
    fn with_answers(check_duration: Duration, answers: &[Observation]) -> Self {
        let answers = Mutex::new(answers.iter().cloned().collect());
        Self { check_duration, answers, is_stateless: true, ..Self::default() }
    }

    /// Returns the number of checks that began since `at`.
    fn checks_since(&self, at: Instant) -> usize {
        self.check_starts.lock().iter().filter(|begun| **begun >= at).count()
    }

    fn restarts(&self) -> u32 {
        *self.restarts.lock()
    }
}

/// Returns the next event that says that a kind of calls is quarantined.
async fn next_quarantine(fixture: &mut AgentActorFixture) -> Record {
    loop {
        let paused = fixture.next_event_of(AgentCallPaused::KIND).await;
        if paused.fields["quarantined"] == true {
            return paused;
        }
    }
}

/// Tests a backend that dies over each check of its agent, and is back 10 s later. From the limit on the checks pause.
#[tokio::test(start_paused = true)]
async fn checks_that_kill_the_backend_pause_from_the_limit() {
    for limit in [1, 2, 3] {
        let driver = ScriptedDriver::answering([healthy()]);
        // Work starts during the pause, and would be checked sooner if it had a limit.
        let progress_timeout = s(u64::from(limit) - 1);
        let policy = HealthPolicy { quarantine_after: limit, progress_timeout, ..policy() };
        let mut fixture = AgentActorFixture::with(&driver, policy, None).await;
        assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
        driver.set_answers([broken_check()]);
        assert_eq!(fixture.next_status_change().await, (Healthy, Degraded));
        for _ in 1..limit {
            driver.set_answers([unreachable()]);
            fixture.backend_unavailable.send_replace(true);
            assert_eq!(fixture.next_status_change().await, (Degraded, Unknown));
            tokio::time::sleep(s(10)).await;
            driver.set_answers([broken_check()]);
            let up_at = fixture.runtime.now();
            fixture.backend_unavailable.send_replace(false);
            assert_eq!(fixture.next_status_change().await, (Unknown, Degraded));
            assert!(fixture.runtime.now() - up_at >= policy.interval, "it was up for a whole interval");
        }
        driver.set_answers([unreachable()]);
        fixture.backend_unavailable.send_replace(true);
        let quarantined = next_quarantine(&mut fixture).await;
        assert_eq!(quarantined.fields["deaths"], limit);
        assert_eq!(quarantined.fields["call"], "health_check");
        let report = fixture.reports.get("planner").unwrap();
        assert_eq!(report.error.map(|error| error.reason), Some(Reason::Quarantined));
        let pause = policy.interval * 8;
        assert_eq!(quarantined.fields["pause_ms"], pause.as_millis() as u64);
        driver.set_answers([healthy()]);
        let back_at = fixture.runtime.now();
        fixture.backend_unavailable.send_replace(false);
        // Neither the backend's return nor a message causes a check before the pause is over. A connection that flaps
        // does not prolong it.
        tokio::time::sleep(pause / 2).await;
        for is_unavailable in [true, false] {
            fixture.backend_unavailable.send_replace(is_unavailable);
            tokio::time::sleep(s(1)).await;
        }
        let (_, answer) = fixture.send("still answered", false).await;
        assert_eq!(answer.await.unwrap(), Ok(json!("still answered").into()));
        tokio::time::sleep(pause / 2 - s(3)).await;
        let later = fixture.reports.get("planner").unwrap();
        assert_eq!((later.status, later.last_check), (Degraded, report.last_check), "no check follows");
        if limit == 1 {
            fixture.runtime.root().restart("planner").await.unwrap();
            assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
        } else {
            assert_eq!(fixture.next_status_change().await, (Degraded, Healthy));
            assert_eq!(fixture.runtime.now() - back_at, pause, "the pause is over");
        }
    }
}

/// A program is asked about at the backend, which dies over each of these checks.
#[tokio::test(start_paused = true)]
async fn backend_that_dies_over_checks_of_a_program_fails_no_program() {
    let driver = Arc::new(ScriptedDriver {
        answers: Mutex::new([healthy()].into()),
        owns_agent: true,
        asks_backend: true,
        ..ScriptedDriver::default()
    });
    let policy = HealthPolicy { fail_after: 1, ..policy() };
    let mut fixture = AgentActorFixture::with(&driver, policy, None).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    driver.set_answers([Observation::Unreachable { why: Error::new(Reason::ConnectionReset) }]);
    for deaths in 1..=3 {
        let started = driver.check_starts.lock().len();
        while driver.check_starts.lock().len() == started {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fixture.backend_ends.send_modify(|ends| ends.exits += 1);
        let (_, answer) = fixture.send("still answered", false).await;
        assert_eq!(answer.await.unwrap(), Ok(json!("still answered").into()));
        let paused = fixture.next_event_of(AgentCallPaused::KIND).await;
        assert_eq!(
            (&paused.fields["call"], &paused.fields["deaths"]),
            (&json!("health_check"), &json!(deaths))
        );
        assert_eq!(paused.fields["quarantined"], deaths >= policy.quarantine_after);
    }
    assert_eq!((fixture.status(), *driver.restarts.lock()), (Degraded, 0));
    driver.set_answers([healthy()]);
    assert_eq!(fixture.next_status_change().await, (Degraded, Healthy));
}

/// The process ends within each check or right after it, and is back before the next one.
#[tokio::test(start_paused = true)]
async fn exit_over_a_check_is_a_death_unless_the_runtime_stops_it() {
    for (is_within, is_stop) in [(true, false), (false, false), (true, true), (false, true)] {
        let answers = Mutex::new([healthy()].into());
        let (check_duration, is_stateless) = (s(1), true);
        let driver = ScriptedDriver { is_stateless, answers, check_duration, ..ScriptedDriver::default() };
        let driver = Arc::new(driver);
        let policy = HealthPolicy { fail_after: 9, ..policy() };
        let mut fixture = AgentActorFixture::with(&driver, policy, None).await;
        assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
        driver.set_answers([broken_check()]);
        let ends = &fixture.backend_ends;
        for _ in 0..2 {
            let started = driver.check_starts.lock().len();
            while driver.check_starts.lock().len() == started {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tokio::time::sleep(if is_within { Duration::from_millis(500) } else { s(2) }).await;
            ends.send_modify(|ends| if is_stop { ends.stops += 1 } else { ends.exits += 1 });
        }
        tokio::time::sleep(policy.interval).await;
        let is_quarantined = fixture.reports.get("planner").unwrap().error.map(|error| error.reason)
            == Some(Reason::Quarantined);
        assert_eq!(is_quarantined, !is_stop, "{is_within}");
    }
}

/// The WebSocket reconnects for a reason of its own, while checks and a message break at a backend that lives.
#[tokio::test(start_paused = true)]
async fn breaks_while_the_websocket_reconnects_are_no_deaths() {
    let answers = Mutex::new([healthy()].into());
    let driver = Arc::new(ScriptedDriver { is_stateless: true, answers, ..ScriptedDriver::default() });
    let (mut fixture, broken) = (AgentActorFixture::new(&driver).await, Error::new(Reason::ConnectionReset));
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    driver.deliveries.lock().push_back(DeliveryScript::Error(Error::outcome_unknown(broken)));
    driver.set_answers([broken_check()]);
    let (_, answer) = fixture.send("again", true).await;
    fixture.backend_unavailable.send_replace(true);
    while fixture.next_status_change().await.1 != Unknown {}
    tokio::time::sleep(s(600)).await;
    assert_eq!(fixture.status(), Unknown, "no check is quarantined");
    driver.set_answers([healthy()]);
    fixture.backend_unavailable.send_replace(false);
    assert_eq!(fixture.next_status_change().await, (Unknown, Healthy));
    assert_eq!(answer.await.unwrap(), Ok(json!("again").into()));
}

/// A group of agents under one supervisor.
struct AgentGroup {
    runtime: Runtime,
    pending_recoveries: Vec<Arc<PendingRecovery>>,
    reports: AgentReports,
    events: JournalSubscription,
    _backend_unavailable: watch::Sender<bool>,
}

impl AgentGroup {
    async fn start(
        drivers: &[Arc<ScriptedDriver>],
        health: HealthPolicy,
        first_check_within: Duration,
    ) -> Self {
        let (backend_unavailable, reports) = (watch::Sender::new(false), AgentReports::default());
        let mut root = SupervisorSpec::new("root");
        let mut pending_recoveries = Vec::new();
        for (number, driver) in drivers.iter().enumerate() {
            let id = format!("a{number}");
            let actor =
                agent_actor(&id, driver, health, &backend_unavailable, &watch::Sender::default(), &reports);
            pending_recoveries.push(Arc::clone(&actor.pending_recovery));
            let policy = ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..ChildPolicy::default() };
            let actor = AgentActor { first_check_within, ..actor };
            root.child(Child::new(id, actor).policy(policy)).unwrap();
        }
        let runtime = Runtime::builder().seed(50).start(root).await.unwrap();
        let events = runtime.journal().subscribe();
        Self { runtime, pending_recoveries, reports, events, _backend_unavailable: backend_unavailable }
    }

    async fn start_one(driver: ScriptedDriver, health: HealthPolicy) -> (Self, Arc<ScriptedDriver>) {
        let driver = Arc::new(driver);
        (Self::start(&[Arc::clone(&driver)], health, Duration::ZERO).await, driver)
    }

    /// Returns the statuses of the first agent so far.
    fn statuses(&mut self) -> Vec<AgentStatus> {
        let mut statuses = Vec::new();
        while let Some(Delivery::Event(record)) = self.events.try_next_in_memory() {
            if record.kind == AgentHealth::KIND {
                statuses.push(record.decode::<AgentHealth>().unwrap().to);
            }
        }
        statuses
    }
}

async fn wait(seconds: u64) {
    tokio::time::sleep(s(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn slow_check_never_overlaps_the_next() {
    let start = Instant::now();
    let (_crowd, driver) =
        AgentGroup::start_one(ScriptedDriver::with_answers(s(100), &[healthy()]), policy()).await;
    wait(1000).await;
    // Each check takes 100 s, and the next begins 30 s after it.
    assert_eq!((driver.checks_since(start), driver.in_flight_max.load(Ordering::SeqCst)), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn clock_jump_runs_one_check() {
    let (_crowd, driver) =
        AgentGroup::start_one(ScriptedDriver::with_answers(Duration::ZERO, &[healthy()]), policy()).await;
    wait(100).await;
    tokio::time::advance(s(8 * 3600)).await;
    let awake = Instant::now();
    wait(1).await;
    assert_eq!(driver.checks_since(awake), 1);
    wait(60).await;
    assert_eq!(driver.checks_since(awake), 3, "and from then on as ever");
}

#[tokio::test(start_paused = true)]
async fn slow_start_after_restart_stays_within_grace() {
    let mut driver = ScriptedDriver::with_answers(Duration::ZERO, &[healthy(), failed()]);
    driver.after_restart = vec![missed(), failed(), missed(), missed(), healthy()];
    let policy = HealthPolicy { interval: s(5), ..policy() };
    let (mut crowd, driver) = AgentGroup::start_one(driver, policy).await;
    wait(600).await;
    assert_eq!(driver.restarts(), 1);
    assert_eq!(crowd.statuses(), [Healthy, Failed, Healthy]);
}

#[tokio::test(start_paused = true)]
async fn check_with_a_rejected_token_is_repeated_once_at_once() {
    let answers = [rejected_check(), healthy(), rejected_check(), healthy(), rejected_check()];
    let start = Instant::now();
    let (mut crowd, driver) =
        AgentGroup::start_one(ScriptedDriver::with_answers(Duration::ZERO, &answers), policy()).await;
    wait(70).await;
    assert_eq!(driver.checks_since(start), 6, "three checks, two times each");
    // The last two are rejected both. That is a miss.
    assert_eq!(crowd.statuses(), [Healthy, Degraded]);
    assert_eq!(crowd.reports.get("a0").unwrap().misses, 1);
}

#[tokio::test(start_paused = true)]
async fn recovery_with_a_rejected_token_is_repeated_at_no_cost() {
    let (driver, mut fixture) = agent([healthy()]).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    driver.set_answers([rejected_check(), healthy()]);
    drop(fixture.planner.inject_panic().unwrap());
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    assert_eq!(driver.restarts(), 0, "a rejected check is no reason for a restart");

    driver.refused_restarts.lock().push_back(DriverError::Failed(rejected()));
    fixture.pending_recovery.request_restart();
    fixture.runtime.root().restart("planner").await.unwrap();
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    let generation = fixture.runtime.tree().find("root/planner").unwrap().info.generation;
    assert_eq!((driver.restarts(), generation), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn check_in_flight_at_restart_is_dropped() {
    let mut driver = ScriptedDriver::with_answers(s(20), &[healthy(), failed()]);
    driver.after_restart = vec![healthy()];
    let (mut crowd, driver) = AgentGroup::start_one(driver, policy()).await;
    // The second check began at 50 s, and would report at 70 s that the agent failed.
    wait(60).await;
    assert_eq!(driver.in_flight.load(Ordering::SeqCst), 1);
    crowd.pending_recoveries[0].request_restart();
    crowd.runtime.root().restart("a0").await.unwrap();
    wait(600).await;
    assert_eq!((driver.restarts(), driver.in_flight_max.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(crowd.statuses(), [Healthy, Healthy]);
    assert_eq!(crowd.reports.get("a0").unwrap().status, Healthy);
}

#[tokio::test(start_paused = true)]
async fn checks_of_many_agents_are_spread_over_interval() {
    const AGENTS: usize = 300;
    let drivers: Vec<_> =
        (0..AGENTS).map(|_| Arc::new(ScriptedDriver::with_answers(Duration::ZERO, &[healthy()]))).collect();
    let start = Instant::now();
    let _crowd = AgentGroup::start(&drivers, policy(), s(3)).await;
    wait(360).await;
    let begun = |from: Duration, to: Duration| {
        let is_within = |at: &&Instant| (from..to).contains(&at.duration_since(start));
        drivers
            .iter()
            .map(|driver| driver.check_starts.lock().iter().filter(is_within).count())
            .sum::<usize>()
    };
    assert_eq!(begun(s(300), s(330)), AGENTS, "each once in a period");
    let busiest = (300..330).map(|second| begun(s(second), s(second + 1))).max().unwrap();
    // Even spread over half of the interval it would be 20 a second.
    assert!(busiest <= 40, "{busiest} in one second");
}

/// A program that waited for the backend has its whole grace afterwards.
#[tokio::test(start_paused = true)]
async fn grace_of_an_owned_agent_begins_when_it_has_started() {
    let driver = Arc::new(ScriptedDriver {
        answers: Mutex::new([missed()].into()),
        after_restart: vec![missed()],
        owns_agent: true,
        restart_duration: s(100),
        ..ScriptedDriver::default()
    });
    let policy = HealthPolicy { interval: s(5), ..policy() };
    let fixture = AgentActorFixture::with(&driver, policy, None).await;
    tokio::time::sleep(s(128)).await;
    assert_eq!((fixture.status(), *driver.restarts.lock()), (Starting, 1));
    tokio::time::sleep(s(3)).await;
    assert_eq!(fixture.status(), Failed);
}
