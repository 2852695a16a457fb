//! When checks happen: one at a time, once after a jump, spread over the period, and none from before a restart.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::*;

/// Takes its time for a check, whose answer is settled when it begins.
#[derive(Default)]
struct Slow {
    takes: Duration,
    answers: Mutex<VecDeque<Observation>>,
    after_restart: Vec<Observation>,
    restarts: AtomicUsize,
    begun: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl Slow {
    fn that(takes: Duration, answers: &[Observation]) -> Self {
        Self { takes, answers: Mutex::new(answers.iter().cloned().collect()), ..Self::default() }
    }

    /// How many checks have begun since `at`.
    fn begun_since(&self, at: Instant) -> usize {
        self.begun.lock().unwrap().iter().filter(|begun| **begun >= at).count()
    }

    fn restarts(&self) -> usize {
        self.restarts.load(Ordering::SeqCst)
    }
}

/// A check that is in flight, until this is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Driver for Slow {
    fn kind(&self) -> &'static str {
        "slow"
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        async move {
            self.begun.lock().unwrap().push(Instant::now());
            let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            let _in_flight = InFlight(&self.in_flight);
            self.in_flight_max.fetch_max(in_flight, Ordering::SeqCst);
            let answer = {
                let mut answers = self.answers.lock().unwrap();
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
            };
            tokio::time::sleep(self.takes).await;
            answer.unwrap()
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.restarts.fetch_add(1, Ordering::SeqCst);
        *self.answers.lock().unwrap() = self.after_restart.iter().cloned().collect();
        std::future::ready(Ok(())).boxed()
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        std::future::ready(Ok(AgentState::Unsupported)).boxed()
    }

    fn write_state(&self, _: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn deliver(&self, letter: Letter) -> BoxFuture<'_, Result<Value, Error>> {
        std::future::ready(Ok(letter.body)).boxed()
    }
}

/// These agents under one supervisor.
struct Crowd {
    runtime: Runtime,
    debts: Vec<Arc<AgentDebts>>,
    board: AgentBoard,
    story: Subscription,
    _away: watch::Sender<bool>,
}

impl Crowd {
    async fn of(drivers: &[Arc<Slow>], health: HealthPolicy, first_check_within: Duration) -> Self {
        let (away, board) = (watch::Sender::new(false), AgentBoard::default());
        let mut root = SupervisorSpec::new("root");
        let (health, mut all_debts) = (Arc::new(health), Vec::new());
        for (number, driver) in drivers.iter().enumerate() {
            let debts = Arc::<AgentDebts>::default();
            all_debts.push(Arc::clone(&debts));
            let id = format!("a{number}");
            let actor = AgentActor {
                id: id.clone(),
                driver: Arc::clone(driver) as Arc<dyn Driver>,
                health: Arc::clone(&health),
                first_check_within,
                callers: Arc::default(),
                debts,
                backend_seems_away: away.subscribe(),
                board: board.clone(),
            };
            let policy = ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..ChildPolicy::default() };
            root.child(Child::new(id, actor).policy(policy)).unwrap();
        }
        let runtime = Runtime::builder().seed(50).start(root).await.unwrap();
        let story = runtime.journal().subscribe_after(0);
        Self { runtime, debts: all_debts, board, story, _away: away }
    }

    async fn of_one(driver: Slow, health: HealthPolicy) -> (Self, Arc<Slow>) {
        let driver = Arc::new(driver);
        (Self::of(&[Arc::clone(&driver)], health, Duration::ZERO).await, driver)
    }

    /// The statuses that the first agent has come to so far.
    fn statuses(&mut self) -> Vec<AgentStatus> {
        let mut statuses = Vec::new();
        while let Some(Delivery::Event(record)) = self.story.try_next_in_memory() {
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
async fn a_check_that_takes_longer_than_its_period_is_never_one_of_two_in_flight() {
    let start = Instant::now();
    let (_crowd, driver) = Crowd::of_one(Slow::that(s(100), &[well()]), policy()).await;
    wait(1000).await;
    // Each takes 100 s, and the next begins 30 s after it.
    assert_eq!((driver.begun_since(start), driver.in_flight_max.load(Ordering::SeqCst)), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn after_the_clock_has_jumped_an_agent_is_checked_once_and_not_for_each_period_that_was_slept_through()
{
    let (_crowd, driver) = Crowd::of_one(Slow::that(Duration::ZERO, &[well()]), policy()).await;
    wait(100).await;
    tokio::time::advance(s(8 * 3600)).await;
    let awake = Instant::now();
    wait(1).await;
    assert_eq!(driver.begun_since(awake), 1);
    wait(60).await;
    assert_eq!(driver.begun_since(awake), 3, "and from then on as ever");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_up_slowly_after_its_restart_has_its_grace_and_is_not_restarted_again() {
    let mut driver = Slow::that(Duration::ZERO, &[well(), failed()]);
    driver.after_restart = vec![missed(), failed(), missed(), missed(), well()];
    let policy = HealthPolicy { interval: s(5), ..policy() };
    let (mut crowd, driver) = Crowd::of_one(driver, policy).await;
    wait(600).await;
    assert_eq!(driver.restarts(), 1);
    assert_eq!(crowd.statuses(), [Healthy, Failed, Healthy]);
}

#[tokio::test(start_paused = true)]
async fn a_check_from_before_a_restart_ends_with_it_and_its_answer_changes_nothing() {
    let mut driver = Slow::that(s(20), &[well(), failed()]);
    driver.after_restart = vec![well()];
    let (mut crowd, driver) = Crowd::of_one(driver, policy()).await;
    // The second check began at 50 s, and would say at 70 s that the agent has failed.
    wait(60).await;
    assert_eq!(driver.in_flight.load(Ordering::SeqCst), 1);
    crowd.debts[0].owe_restart();
    crowd.runtime.root().restart("a0").await.unwrap();
    wait(600).await;
    assert_eq!((driver.restarts(), driver.in_flight_max.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(crowd.statuses(), [Healthy, Healthy]);
    assert_eq!(crowd.board.get("a0").unwrap().status, Healthy);
}

#[tokio::test(start_paused = true)]
async fn the_checks_of_many_agents_are_spread_over_the_period() {
    const AGENTS: usize = 300;
    let drivers: Vec<_> = (0..AGENTS).map(|_| Arc::new(Slow::that(Duration::ZERO, &[well()]))).collect();
    let start = Instant::now();
    let _crowd = Crowd::of(&drivers, policy(), s(3)).await;
    wait(360).await;
    let begun = |from: Duration, to: Duration| {
        let is_within = |at: &&Instant| (from..to).contains(&at.duration_since(start));
        drivers
            .iter()
            .map(|driver| driver.begun.lock().unwrap().iter().filter(is_within).count())
            .sum::<usize>()
    };
    assert_eq!(begun(s(300), s(330)), AGENTS, "each once in a period");
    let busiest = (300..330).map(|second| begun(s(second), s(second + 1))).max().unwrap();
    // Even over half of the period it would be 20 a second.
    assert!(busiest <= 40, "{busiest} in one second");
}
