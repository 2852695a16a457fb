//! Builds the child of the backend's own process, if the runtime starts the backend.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::process::{
    Launch, OwnedBackendActor, OwnedBackendMessage, OwnedBackendView, PrepareLaunch, Readiness,
    SUSPENSION_LOOK_INTERVAL_MAX, SuspensionPolicy,
};
use mainstay_actors::queue::QueueMessage;
use mainstay_actors::transport::{AddressedTransport, HttpSettings, Transport};
use mainstay_runtime::policy::{ChildPolicy, Shutdown};
use mainstay_runtime::{Address, Child, SupervisorSpec};

use crate::config::{BackendConfig, Config, ReadyWhen, URL_AUTO};
use crate::environment::TOKEN_VARIABLE;
use crate::placeholders::{MissingPlaceholder, Placeholders};
use crate::supervision_report::RestartBudget;
use crate::tree_builder::agents::agent_policy;
use crate::tree_builder::error::BuildError;
use crate::tree_builder::processes::{
    ProcessConfig, ProcessFactory, ReadinessError, SHUTDOWN_GRACE, example_address, expand_spec, listening,
    readiness,
};
use crate::tree_place::{BACKEND_NAME, ROOT_NAME};

/// The parts of the owned backend that its handle needs.
#[derive(Clone)]
pub(crate) struct OwnedBackendParts {
    pub(crate) address: Address<OwnedBackendMessage>,
    pub(crate) view: OwnedBackendView,
    pub(crate) settings: OwnedBackendSettings,
    pub(crate) connection: ConnectionView,
}

/// The settings that the reports of the owned backend show.
#[derive(Debug, Clone)]
pub(crate) struct OwnedBackendSettings {
    /// The configured address; `None` if each start is given one.
    pub(crate) url: Option<String>,
    /// The sign that it is ready.
    pub(crate) awaits: String,
    pub(crate) ready_within: Duration,
    /// The time after which a process that a signal has stopped is started again.
    pub(crate) restart_suspended_after: Duration,
    pub(crate) budget: Option<RestartBudget>,
}

/// The actors that learn when the backend is ready. They come after it in the tree, so they are filled in later.
#[derive(Default, Clone)]
pub(crate) struct ReadyListeners {
    connection: Arc<OnceLock<Address<ConnectionMessage>>>,
    queue: Arc<OnceLock<Address<QueueMessage>>>,
}

impl ReadyListeners {
    pub(crate) fn fill(&self, connection: &Address<ConnectionMessage>, queue: &Address<QueueMessage>) {
        // Nothing runs yet, so both are empty.
        let _ = self.connection.set(connection.clone());
        let _ = self.queue.set(queue.clone());
    }

    /// Tells the queue that the backend is not ready, or will not be. A queue with a full mailbox looks by itself.
    fn notify_absence(&self) {
        if let Some(queue) = self.queue.get() {
            let _ = queue.try_cast(QueueMessage::AbsenceChanged);
        }
    }

    /// Lets the connection dial and the queue go on. One with a full mailbox is busy, and tries by itself.
    fn notify_ready(&self) {
        if let Some(connection) = self.connection.get() {
            let _ = connection.try_cast(ConnectionMessage::BackendStarted);
        }
        if let Some(queue) = self.queue.get() {
            let _ = queue.try_cast(QueueMessage::BackendSeen);
        }
    }
}

/// The backend's own process before it is a child: what its address depends on.
pub(crate) struct OwnedBackendStage {
    pub(crate) view: OwnedBackendView,
    /// The settings of a transport to one start, without address and token.
    pub(crate) settings: HttpSettings,
    pub(crate) listeners: ReadyListeners,
}

/// Returns whether each start of the backend is assigned an address.
pub(crate) fn assigns_address(config: &Config) -> bool {
    config.backend.url == URL_AUTO
}

/// Adds the backend's own process, if the configuration has one. Children start in order, and this one delays none.
pub(crate) fn add_owned_backend(
    root: &mut SupervisorSpec,
    config: &Config,
    stage: OwnedBackendStage,
    connection: &ConnectionView,
    processes: &ProcessFactory,
) -> Result<Option<OwnedBackendParts>, BuildError> {
    let OwnedBackendStage { view, settings, listeners } = stage;
    let BackendConfig { url, command, ready, ready_within, .. } = &config.backend;
    if command.is_empty() {
        return Ok(None);
    }
    let is_assigned = assigns_address(config);
    let awaits = match ready {
        ReadyWhen::None if is_assigned => ReadyWhen::Listening.describe(),
        ready => ready.describe(),
    };
    // As an agent that misses so many checks.
    let suspension = SuspensionPolicy {
        look_interval: config.agents.health_interval.min(SUSPENSION_LOOK_INTERVAL_MAX),
        restart_after: config.agents.health_interval.saturating_mul(config.agents.fail_after),
    };
    connection.set_backend_up(false);
    let (connection, of_queue) = (connection.clone(), connection.clone());
    let actor = OwnedBackendActor {
        prepare: prepare_launch(&config.backend, is_assigned, settings, processes)?,
        assigns_address: is_assigned,
        awaits: awaits.clone(),
        manager: processes.process_manager.clone(),
        suspension,
        view: view.clone(),
        on_change: Arc::new(move |is_ready| {
            connection.set_backend_up(is_ready);
            if is_ready {
                listeners.notify_ready();
            } else {
                listeners.notify_absence();
            }
        }),
    };
    let policy = ChildPolicy {
        // Its process has a grace of its own to end, and its descendants another.
        shutdown: Shutdown::Graceful(SHUTDOWN_GRACE * 2),
        ..agent_policy(&config.agents, false)
    };
    let settings = OwnedBackendSettings {
        url: (!is_assigned).then(|| url.clone()),
        awaits,
        ready_within: *ready_within,
        restart_suspended_after: suspension.restart_after,
        budget: RestartBudget::of_policy(&policy),
    };
    let address = root.child(Child::new(BACKEND_NAME, actor).policy(policy))?;
    Ok(Some(OwnedBackendParts { address, view, settings, connection: of_queue }))
}

/// Makes the launch of each start: one and the same, or one for the address that the start is assigned.
fn prepare_launch(
    config: &BackendConfig,
    is_assigned: bool,
    settings: HttpSettings,
    processes: &ProcessFactory,
) -> Result<PrepareLaunch, BuildError> {
    let BackendConfig { command, cwd, env, ready, ready_within, .. } = config;
    let program = ProcessConfig {
        name: BACKEND_NAME,
        actor: &[ROOT_NAME, BACKEND_NAME],
        command,
        cwd,
        env,
        ready,
        ready_within: *ready_within,
        // It reads no input.
        input_grace: Duration::ZERO,
        named_address: None,
    };
    if !is_assigned {
        let launch = processes.launch(&program)?;
        return Ok(Box::new(move |_| Ok(launch.clone())));
    }
    let template = processes.spec(&program);
    let missing = |fault| BuildError::Placeholder { program: BACKEND_NAME.to_owned(), fault };
    let placeholders = processes.placeholders.clone();
    // What is missing for every start is reported now.
    let example = placeholders.clone().with_address(&example_address()?);
    expand_spec(&template, &example).map_err(missing)?;
    if let ReadyWhen::Stdout(text) = ready {
        expand_ready_line(text, &example).map_err(missing)?;
    }
    let (ready, ready_timeout, processes) = (ready.clone(), *ready_within, processes.clone());
    Ok(Box::new(move |address| {
        let invalid = |details: &str| Error::new(Reason::InvalidConfig).with_details(details);
        let address = address.ok_or_else(|| invalid("this start was assigned no address"))?;
        let values = placeholders.clone().with_address(address);
        let mut spec = expand_spec(&template, &values).map_err(|fault| invalid(&fault.to_string()))?;
        if let Some(token) = &address.token {
            spec.env.entry(TOKEN_VARIABLE.to_owned()).or_insert_with(|| token.clone());
        }
        let transport: Arc<dyn Transport> = Arc::new(AddressedTransport::connect_to(&settings, address)?);
        let readiness = match &ready {
            ReadyWhen::None => listening(&address.url),
            ReadyWhen::Stdout(text) => Readiness::Stdout(
                expand_ready_line(text, &values).map_err(|fault| invalid(&fault.to_string()))?,
            ),
            ready => readiness(ready, &values, &transport).map_err(|error| match error {
                ReadinessError::Placeholder(fault) => invalid(&fault.to_string()),
                ReadinessError::Transport(error) => *error,
            })?,
        };
        let prepare = processes.start_inputs.prepare(&spec);
        Ok(Launch { spec, readiness, ready_timeout, prepare })
    }))
}

/// Replaces the placeholders in the line that reports readiness, but for `{url}`, which stands for the address that the
/// program reports.
fn expand_ready_line(text: &str, values: &Placeholders) -> Result<String, MissingPlaceholder> {
    let parts: Result<Vec<String>, _> = text.split("{url}").map(|part| values.expand(part)).collect();
    Ok(parts?.join("{url}"))
}
