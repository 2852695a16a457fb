//! The times of checks: one at a time, once after a clock jump, spread over the interval, and none from before a
//! restart.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::*;

/// A driver whose checks take time; each answer is fixed when its check begins.
#[derive(Default)]
struct SlowDriver {
    check_duration: Duration,
    answers: Mutex<VecDeque<Observation>>,
    after_restart: Vec<Observation>,
    restarts: AtomicUsize,
    check_starts: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl SlowDriver {
    fn with_answers(takes: Duration, answers: &[Observation]) -> Self {
        Self {
            check_duration: takes,
            answers: Mutex::new(answers.iter().cloned().collect()),
            ..Self::default()
        }
    }

    /// Returns the number of checks that began since `at`.
    fn checks_since(&self, at: Instant) -> usize {
        self.check_starts.lock().iter().filter(|begun| **begun >= at).count()
    }

    fn restarts(&self) -> usize {
        self.restarts.load(Ordering::SeqCst)
    }
}

/// Counts a check as in flight until dropped.
struct InFlightCheck<'a>(&'a AtomicUsize);

impl Drop for InFlightCheck<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Driver for SlowDriver {
    fn kind(&self) -> &'static str {
        "slow"
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
            tokio::time::sleep(self.check_duration).await;
            answer.unwrap()
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.restarts.fetch_add(1, Ordering::SeqCst);
        *self.answers.lock() = self.after_restart.iter().cloned().collect();
        std::future::ready(Ok(())).boxed()
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        std::future::ready(Ok(AgentState::Unsupported)).boxed()
    }

    fn write_state(&self, _: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Value, Error>> {
        std::future::ready(Ok(message.body)).boxed()
    }
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
    async fn start(drivers: &[Arc<SlowDriver>], health: HealthPolicy, first_check_within: Duration) -> Self {
        let (away, board) = (watch::Sender::new(false), AgentReports::default());
        let mut root = SupervisorSpec::new("root");
        let (health, mut all_debts) = (Arc::new(health), Vec::new());
        for (number, driver) in drivers.iter().enumerate() {
            let pending_recovery = Arc::<PendingRecovery>::default();
            all_debts.push(Arc::clone(&pending_recovery));
            let id = format!("a{number}");
            let actor = AgentActor {
                id: id.clone(),
                driver: Arc::clone(driver) as Arc<dyn Driver>,
                health: Arc::clone(&health),
                first_check_within,
                pending_replies: Arc::default(),
                pending_recovery,
                is_backend_unavailable: away.subscribe(),
                reports: board.clone(),
            };
            let policy = ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..ChildPolicy::default() };
            root.child(Child::new(id, actor).policy(policy)).unwrap();
        }
        let runtime = Runtime::builder().seed(50).start(root).await.unwrap();
        let events = runtime.journal().subscribe();
        Self { runtime, pending_recoveries: all_debts, reports: board, events, _backend_unavailable: away }
    }

    async fn start_one(driver: SlowDriver, health: HealthPolicy) -> (Self, Arc<SlowDriver>) {
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
        AgentGroup::start_one(SlowDriver::with_answers(s(100), &[healthy()]), policy()).await;
    wait(1000).await;
    // Each check takes 100 s, and the next begins 30 s after it.
    assert_eq!((driver.checks_since(start), driver.in_flight_max.load(Ordering::SeqCst)), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn clock_jump_runs_one_check() {
    let (_crowd, driver) =
        AgentGroup::start_one(SlowDriver::with_answers(Duration::ZERO, &[healthy()]), policy()).await;
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
    let mut driver = SlowDriver::with_answers(Duration::ZERO, &[healthy(), failed()]);
    driver.after_restart = vec![missed(), failed(), missed(), missed(), healthy()];
    let policy = HealthPolicy { interval: s(5), ..policy() };
    let (mut crowd, driver) = AgentGroup::start_one(driver, policy).await;
    wait(600).await;
    assert_eq!(driver.restarts(), 1);
    assert_eq!(crowd.statuses(), [Healthy, Failed, Healthy]);
}

#[tokio::test(start_paused = true)]
async fn check_in_flight_at_restart_is_dropped() {
    let mut driver = SlowDriver::with_answers(s(20), &[healthy(), failed()]);
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
        (0..AGENTS).map(|_| Arc::new(SlowDriver::with_answers(Duration::ZERO, &[healthy()]))).collect();
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
