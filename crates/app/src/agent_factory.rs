//! From an agent's configuration to its actor, at the start and while the runtime runs.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "acp")]
use mainstay_actors::agent::acp::AcpDriver;
use mainstay_actors::agent::{
    AgentActor, AgentBoard, AgentDebts, AgentFeed, AgentMessage, Callers, Driver as AgentDriver,
    HealthPolicy, HttpDriver, ProcessDriver,
};
use mainstay_actors::connection::ConnectionView;
use mainstay_actors::process::Launch;
use mainstay_actors::queue::QueueHandle;
use mainstay_actors::transport::Transport;
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, Exhausted, Shutdown};
use mainstay_runtime::{Address, Child};

use crate::agent_meter::Meters;
use crate::assembly::AssemblyError;
use crate::config::{AgentConfig, AgentsConfig, Driver};
use crate::programs::{GRACE, Program, Programs};

/// Each agent adds so much to the time in which the first checks of all begin.
const FIRST_CHECK_SHARE: Duration = Duration::from_millis(10);

/// How one agent's actor is spoken to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AgentLine {
    pub(crate) address: Address<AgentMessage>,
    pub(crate) debts: Arc<AgentDebts>,
    pub(crate) driver: Arc<dyn AgentDriver>,
    pub(crate) feed: AgentFeed,
    pub(crate) callers: Arc<Callers>,
    pub(crate) terms: RestartTerms,
}

/// How much an agent may fail, for whoever shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestartTerms {
    pub(crate) fail_after: u32,
    pub(crate) budget: Option<Budget>,
    pub(crate) stable_after: Duration,
}

/// See the module's documentation.
pub(crate) struct AgentFactory {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) connection: ConnectionView,
    pub(crate) queue: QueueHandle,
    pub(crate) board: AgentBoard,
    pub(crate) meters: Meters,
    pub(crate) programs: Programs,
    /// What holds for an agent that does not say otherwise.
    pub(crate) usual: AgentsConfig,
    /// The same, as the actors of agents behind the backend take it: they are many, and share it.
    pub(crate) usual_rules: Rules,
}

/// The rules by which an agent is checked, and its actor restarted.
#[derive(Clone)]
pub(crate) struct Rules {
    health: Arc<HealthPolicy>,
    policy: Arc<ChildPolicy>,
}

impl Rules {
    pub(crate) fn of(upkeep: &AgentsConfig, owns_agent: bool) -> Self {
        Self { health: Arc::new(health_policy(upkeep)), policy: Arc::new(agent_policy(upkeep, owns_agent)) }
    }
}

/// An agent's actor that is not in the tree yet.
pub(crate) struct Draft {
    pub(crate) child: Child<AgentActor>,
    debts: Arc<AgentDebts>,
    driver: Arc<dyn AgentDriver>,
    feed: AgentFeed,
    callers: Arc<Callers>,
    terms: RestartTerms,
}

impl Draft {
    /// The actor's child for the tree, and what makes its line once it has an address.
    pub(crate) fn split(self) -> (Child<AgentActor>, impl FnOnce(Address<AgentMessage>) -> AgentLine) {
        let Self { child, debts, driver, feed, callers, terms } = self;
        (child, move |address| AgentLine { address, debts, driver, feed, callers, terms })
    }
}

impl AgentFactory {
    /// The actor of an agent, one of `agents` in all.
    pub(crate) fn make(&self, config: &AgentConfig, agents: usize) -> Result<Draft, AssemblyError> {
        let (debts, feed) = (Arc::<AgentDebts>::default(), AgentFeed::default());
        let callers = Arc::<Callers>::default();
        let driver = self.driver(config, &feed)?;
        let owns_agent = driver.owns_agent();
        let Rules { health, policy } = if !owns_agent && config.upkeep == self.usual {
            self.usual_rules.clone()
        } else {
            Rules::of(&config.upkeep, owns_agent)
        };
        let agents = u32::try_from(agents).unwrap_or(u32::MAX);
        let actor = AgentActor {
            id: config.id.clone(),
            driver: Arc::clone(&driver),
            first_check_within: FIRST_CHECK_SHARE.saturating_mul(agents).min(health.interval),
            health,
            debts: Arc::clone(&debts),
            callers: Arc::clone(&callers),
            backend_seems_away: self.connection.seems_away.subscribe(),
            board: self.board.clone(),
        };
        let terms = RestartTerms {
            fail_after: config.upkeep.fail_after,
            budget: policy.budget,
            stable_after: policy.stable_after,
        };
        let child = Child::new(&config.id, actor).policy(policy).durable();
        Ok(Draft { child, debts, driver, feed, callers, terms })
    }

    fn driver(&self, config: &AgentConfig, feed: &AgentFeed) -> Result<Arc<dyn AgentDriver>, AssemblyError> {
        match config.driver {
            Driver::Http => {
                let meter = self.meters.of(&config.id);
                let driver =
                    HttpDriver::new(Arc::clone(&self.transport), &config.id, config.upkeep.health_timeout);
                Ok(Arc::new(driver.with_queue(self.queue.clone()).with_meter(meter)))
            }
            Driver::Process => {
                let launch = self.launch(config)?;
                let driver = ProcessDriver::new(launch, self.programs.warden.clone())
                    .with_feed(feed.clone())
                    .with_secrets(self.transport.secrets());
                Ok(Arc::new(match config.memory_max {
                    0 => driver,
                    bytes_max => driver.with_memory_ceiling(bytes_max),
                }))
            }
            #[cfg(feature = "acp")]
            Driver::Acp => {
                let launch = self.launch(config)?;
                let driver = AcpDriver::new(launch, self.programs.warden.clone())
                    .with_feed(feed.clone())
                    .with_secrets(self.transport.secrets());
                Ok(Arc::new(match config.memory_max {
                    0 => driver,
                    bytes_max => driver.with_memory_ceiling(bytes_max),
                }))
            }
            #[cfg(not(feature = "acp"))]
            Driver::Acp => Err(AssemblyError::DriverMissing { id: config.id.clone(), driver: "acp" }),
        }
    }

    /// How the program of an agent that is one is started.
    fn launch(&self, config: &AgentConfig) -> Result<Launch, AssemblyError> {
        self.programs.launch(&Program {
            name: &config.id,
            command: &config.command,
            cwd: &config.cwd,
            env: &config.env,
            ready: &config.ready,
            startup_grace: config.upkeep.startup_grace,
        })
    }

    /// Forgets what was kept for an agent that has been removed.
    pub(crate) fn forget(&self, id: &str) {
        self.meters.forget(id);
        self.board.remove(id);
    }
}

pub(crate) fn agent_policy(agents: &AgentsConfig, owns_agent: bool) -> ChildPolicy {
    // One that starts its agent counts as ready before the agent is, which may take up to the startup grace.
    let stable_after =
        if owns_agent { agents.stable_after + agents.startup_grace } else { agents.stable_after };
    let shutdown = if owns_agent { Shutdown::Graceful(GRACE * 2) } else { ChildPolicy::default().shutdown };
    ChildPolicy {
        delay: Delay::Exponential {
            min: agents.restart_delay,
            max: agents.restart_delay_max,
            factor: 2.0,
            jitter: false,
        },
        budget: Some(Budget { restarts_max: agents.max_restarts, window: agents.window }),
        stable_after,
        shutdown,
        exhausted: Exhausted::Abandon,
        // A restart that fails is the agent's fault or the backend's, never that of the state we keep for it.
        checkpoint_crashes_max: u32::MAX,
        ..ChildPolicy::default()
    }
}

fn health_policy(agents: &AgentsConfig) -> HealthPolicy {
    HealthPolicy {
        interval: agents.health_interval,
        timeout: agents.health_timeout,
        fail_after: agents.fail_after,
        recover_after: agents.recover_after,
        startup_grace: agents.startup_grace,
        progress_timeout: agents.progress_timeout,
    }
}
