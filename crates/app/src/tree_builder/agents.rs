//! Makes an agent's actor from its configuration, at the start and while the runtime runs.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "acp")]
use mainstay_actors::agent::acp::AcpDriver;
use mainstay_actors::agent::{
    ActivityMeters, AgentActor, AgentCommand, AgentReports, Driver as AgentDriver, HealthPolicy, HttpDriver,
    PendingRecovery, PendingReplies, ProcessDriver, ProcessSetup, UpdateBroadcast,
};
use mainstay_actors::connection::ConnectionView;
use mainstay_actors::network::BackendEnds;
use mainstay_actors::queue::QueueHandle;
use mainstay_actors::transport::Transport;
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, OnBudgetExhausted, Shutdown};
use mainstay_runtime::{Address, Child};
use tokio::sync::watch;

use crate::config::{AgentConfig, AgentsConfig, DriverKind};
use crate::supervision_report::RestartBudget;
use crate::tree_builder::error::BuildError;
use crate::tree_builder::processes::{
    INPUT_GRACE, NamedAddress, ProcessConfig, ProcessFactory, SHUTDOWN_GRACE,
};
use crate::tree_place::{AGENTS_NAME, BACKEND_NAME, ROOT_NAME};

/// The time by which each agent lengthens the period over which first checks are spread.
const FIRST_CHECK_SPACING: Duration = Duration::from_millis(10);

/// The handle of one agent's actor. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AgentHandle {
    pub(crate) address: Address<AgentCommand>,
    pub(crate) pending_recovery: Arc<PendingRecovery>,
    pub(crate) driver: Arc<dyn AgentDriver>,
    pub(crate) updates: UpdateBroadcast,
    pub(crate) pending_replies: Arc<PendingReplies>,
    pub(crate) restart_limits: RestartLimits,
    /// The backend's address that its program names, if each start of the backend is assigned one.
    pub(crate) named_address: Option<NamedAddress>,
}

impl AgentHandle {
    /// Returns whether a start of the agent's program waits until the backend is ready.
    pub(crate) fn awaits_backend(&self) -> bool {
        self.named_address.as_ref().is_some_and(NamedAddress::is_awaited)
    }

    /// Returns when a start of the agent's program would wait for the backend. If it names no address, that is never.
    pub(crate) async fn wait_for_absence(&self) {
        if let Some(address) = &self.named_address {
            address.wait_for_absence().await;
        } else {
            std::future::pending().await
        }
    }
}

/// The limits of an agent's failures, for its view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestartLimits {
    pub(crate) fail_after: u32,
    pub(crate) budget: Option<RestartBudget>,
}

/// Makes agents' actors from their configuration.
pub(crate) struct AgentFactory {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) connection: ConnectionView,
    pub(crate) queue: QueueHandle,
    pub(crate) backend_ends: watch::Receiver<BackendEnds>,
    pub(crate) reports: AgentReports,
    pub(crate) meters: ActivityMeters,
    pub(crate) processes: ProcessFactory,
    /// True if the runtime starts the backend, whose log has the name of its actor.
    pub(crate) owns_backend: bool,
    /// The settings for agents that have none of their own.
    pub(crate) defaults: AgentsConfig,
    /// The same as policies, which the actors of agents behind the backend share, because they are many.
    pub(crate) default_policies: AgentPolicies,
}

/// The policies of an agent's checks and of its actor's restarts.
#[derive(Clone)]
pub(crate) struct AgentPolicies {
    health: Arc<HealthPolicy>,
    child: Arc<ChildPolicy>,
}

impl AgentPolicies {
    pub(crate) fn new(supervision: &AgentsConfig, owns_agent: bool) -> Self {
        Self {
            health: Arc::new(health_policy(supervision, owns_agent)),
            child: Arc::new(agent_policy(supervision, owns_agent)),
        }
    }
}

/// Makes an agent's handle once its actor has an address.
type ToHandle = Box<dyn FnOnce(Address<AgentCommand>) -> AgentHandle + Send>;

impl AgentFactory {
    /// Makes the child for an agent's actor, one of `agents` in all, and the function that makes its handle once it has an
    /// address.
    pub(crate) fn make(
        &self,
        config: &AgentConfig,
        agents: usize,
    ) -> Result<(Child<AgentActor>, ToHandle), BuildError> {
        let (pending_recovery, updates) = (Arc::<PendingRecovery>::default(), UpdateBroadcast::default());
        let pending_replies = Arc::<PendingReplies>::default();
        let supervision = &config.supervision.over(&self.defaults);
        let named_address = self.processes.named_address(&config.command, &config.env, &config.ready);
        let driver = self.driver(config, supervision, &updates, named_address.as_ref())?;
        let owns_agent = driver.owns_agent();
        let AgentPolicies { health, child: policy } = if !owns_agent && *supervision == self.defaults {
            self.default_policies.clone()
        } else {
            AgentPolicies::new(supervision, owns_agent)
        };
        let agents = u32::try_from(agents).unwrap_or(u32::MAX);
        let actor = AgentActor {
            id: config.id.clone(),
            driver: Arc::clone(&driver),
            first_check_within: FIRST_CHECK_SPACING.saturating_mul(agents).min(health.interval),
            health,
            pending_recovery: Arc::clone(&pending_recovery),
            pending_replies: Arc::clone(&pending_replies),
            updates: updates.clone(),
            backend_ends: self.backend_ends.clone(),
            is_backend_unavailable: self.connection.seems_unreachable.subscribe(),
            reports: self.reports.clone(),
        };
        let restart_limits =
            RestartLimits { fail_after: supervision.fail_after, budget: RestartBudget::of_policy(&policy) };
        let child = Child::new(&config.id, actor).policy(policy).durable();
        let to_handle = move |address| AgentHandle {
            address,
            pending_recovery,
            driver,
            updates,
            pending_replies,
            restart_limits,
            named_address,
        };
        Ok((child, Box::new(to_handle)))
    }

    fn driver(
        &self,
        config: &AgentConfig,
        supervision: &AgentsConfig,
        updates: &UpdateBroadcast,
        address: Option<&NamedAddress>,
    ) -> Result<Arc<dyn AgentDriver>, BuildError> {
        match config.driver {
            DriverKind::Http => {
                let meter = self.meters.get_or_create(&config.id);
                let driver =
                    HttpDriver::new(Arc::clone(&self.transport), &config.id, supervision.health_timeout);
                Ok(Arc::new(driver.with_queue(self.queue.clone()).with_meter(meter)))
            }
            DriverKind::Process => {
                Ok(Arc::new(ProcessDriver::new(self.process_setup(config, supervision, updates, address)?)))
            }
            #[cfg(feature = "acp")]
            DriverKind::Acp => {
                let stray_lines_max = (config.stray_lines_max > 0).then_some(config.stray_lines_max);
                let driver = AcpDriver::new(self.process_setup(config, supervision, updates, address)?);
                Ok(Arc::new(driver.with_stray_lines_max(stray_lines_max)))
            }
            #[cfg(not(feature = "acp"))]
            DriverKind::Acp => Err(BuildError::DriverMissing { id: config.id.clone(), driver: "acp" }),
        }
    }

    /// Returns how an agent's program is started and watched.
    fn process_setup(
        &self,
        config: &AgentConfig,
        supervision: &AgentsConfig,
        updates: &UpdateBroadcast,
        address: Option<&NamedAddress>,
    ) -> Result<ProcessSetup, BuildError> {
        if config.id == BACKEND_NAME && self.owns_backend {
            return Err(BuildError::ReservedId { id: config.id.clone() });
        }
        let launch = self.processes.launch(&ProcessConfig {
            name: &config.id,
            actor: &[ROOT_NAME, AGENTS_NAME, &config.id],
            command: &config.command,
            cwd: &config.cwd,
            env: &config.env,
            ready: &config.ready,
            ready_within: supervision.startup_grace,
            input_grace: INPUT_GRACE,
            named_address: address.cloned(),
        })?;
        Ok(ProcessSetup {
            updates: updates.clone(),
            memory_bytes_max: (config.memory_max > 0).then_some(config.memory_max),
            health: self.processes.health_probe(&config.health)?,
            health_timeout: supervision.health_timeout,
            ..ProcessSetup::new(launch, self.processes.process_manager.clone())
        })
    }

    /// Deletes the state kept for a removed agent.
    pub(crate) fn remove(&self, id: &str) {
        self.meters.remove(id);
        self.processes.logs.forget(id);
        self.reports.remove(id);
    }
}

pub(crate) fn agent_policy(agents: &AgentsConfig, owns_agent: bool) -> ChildPolicy {
    // An actor that starts its agent is ready before the agent, which may take up to the startup grace.
    let stable_after =
        if owns_agent { agents.stable_after + agents.startup_grace } else { agents.stable_after };
    let shutdown =
        if owns_agent { Shutdown::Graceful(SHUTDOWN_GRACE * 2) } else { ChildPolicy::default().shutdown };
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
        exhausted: OnBudgetExhausted::GiveUp,
        // A failed restart is the fault of the agent or the backend, never of the kept state.
        checkpoint_crashes_max: u32::MAX,
        ..ChildPolicy::default()
    }
}

fn health_policy(agents: &AgentsConfig, owns_agent: bool) -> HealthPolicy {
    HealthPolicy {
        interval: agents.health_interval,
        timeout: agents.health_timeout,
        fail_after: agents.fail_after,
        recover_after: agents.recover_after,
        startup_grace: agents.startup_grace,
        progress_timeout: agents.progress_timeout,
        min_uptime: if owns_agent { agents.min_uptime } else { Duration::ZERO },
        quarantine_after: agents.quarantine_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::environment::Environment;
    use crate::tree_builder::{Overrides, TreeSpec};

    #[test]
    fn agents_restart_after_five_seconds_by_default() {
        let delay = agent_policy(&AgentsConfig::default(), true).delay;
        let waits_s: Vec<u64> = (1..=6).map(|attempt| delay.before(attempt, 0.0).as_secs()).collect();
        assert_eq!(waits_s, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn agent_has_time_between_the_end_of_its_input_and_the_signal() {
        let file = "[[agent]]\nid = 'planner'\ndriver = 'process'\ncommand = ['cat']\n";
        let config = Config::from_toml(file).unwrap();
        let tree = TreeSpec::build(&config, &Environment::unknown(), Overrides::default()).unwrap();
        let (factory, updates) = (tree.handles.factory, UpdateBroadcast::default());
        let setup = factory.process_setup(&config.agent[0], &config.agents, &updates, None).unwrap();
        let spec = setup.launch.spec;
        assert_eq!((spec.grace, spec.input_grace), (SHUTDOWN_GRACE, Duration::from_secs(1)));
    }

    #[test]
    fn started_program_counts_as_healthy_after_a_second_by_default() {
        let min_uptime = |owns_agent| health_policy(&AgentsConfig::default(), owns_agent).min_uptime;
        assert_eq!([min_uptime(true), min_uptime(false)], [Duration::from_secs(1), Duration::ZERO]);
    }
}
