//! Builds the tree from the configuration: its actors and their policies.

pub(crate) mod agents;
pub(crate) mod error;
pub(crate) mod owned_backend;
pub(crate) mod processes;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_actors::agent::{ActivityMeters, AgentReports};
use mainstay_actors::cache::watch::{FileFeed, Roots, WatchActor, WatchPolicy};
use mainstay_actors::cache::{
    CacheActor, CacheHandle, CacheMessage, EntryOptions, FileCache, WriteInvalidator, WriteRule,
};
use mainstay_actors::connection::policy::ConnectionPolicy;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::connection::target::{SocketTarget, TargetError};
use mainstay_actors::connection::{ConnectionActor, ConnectionMessage, ConnectionView};
use mainstay_actors::credentials::Credentials;
use mainstay_actors::error::is_sensitive_name;
use mainstay_actors::logs::{LogRate, LogSettings, LogStore};
use mainstay_actors::network::proxy::Proxy;
use mainstay_actors::network::tls::TlsTrust;
use mainstay_actors::network::urls::BaseUrl;
use mainstay_actors::network::{BackendAddress, BackendEnds, Route};
use mainstay_actors::process::{LoginPath, OwnedBackendView, ProcessManager, login_path};
use mainstay_actors::queue::{
    BudgetPolicy, GroupLimit, ObserveAbsence, PriorityQueuePolicy, QueueActor, QueueHandle, QueueMessage,
    QueuePolicy, QueueView, RetryPolicy,
};
use mainstay_actors::response_cache::ResponseCache;
use mainstay_actors::transport::layers::{ActivityLayer, InvalidationLayer, ReachabilityLayer};
use mainstay_actors::transport::{AddressedTransport, HttpSettings, HttpTransport, Transport};
use mainstay_runtime::journal::KnownSecrets;
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, Shutdown, StopOrder, SupervisorPolicy};
use mainstay_runtime::{Address, Child, SupervisorHandle, SupervisorSpec};
use tokio::sync::watch;

use crate::config::{self, Config};
use crate::environment::Environment;
use crate::inner::Handles;
use crate::owned_backend::absence;
use crate::placeholders::Placeholders;
use crate::tree_builder::agents::{AgentFactory, AgentHandle, AgentPolicies};
use crate::tree_builder::error::BuildError;
use crate::tree_builder::owned_backend::{
    OwnedBackendParts, OwnedBackendStage, ReadyListeners, add_owned_backend, assigns_address,
};
use crate::tree_builder::processes::{ASSIGNED_BASE, ProcessFactory, StartInputs, first_token};
use crate::tree_place::{AGENTS_NAME, ROOT_NAME};

/// The longest time that the stop of the whole tree may take. It is enough for each actor's own limit.
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);
/// The longest time for the stop of connection, queue or cache. They end at once, unless the machine is busy.
const CORE_SHUTDOWN_MAX: Duration = Duration::from_secs(2);
/// The longest time for the stop of all agents, which stop at the same time. It is more than that of one.
const AGENTS_SHUTDOWN_MAX: Duration = Duration::from_secs(12);
/// The queue's mailbox holds at least this many messages.
const QUEUE_MAILBOX_MIN: usize = 1024;

/// The address of the backend's present start, if each start is assigned one.
type AssignedAddress = watch::Receiver<Option<BackendAddress>>;

/// The embedder's parts beside the configuration.
#[derive(Default)]
pub(crate) struct Overrides {
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) trust: Option<TlsTrust>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) write_rules: Vec<WriteRule>,
    /// The data folder, for the programs that are to know it.
    pub(crate) data_dir: Option<PathBuf>,
}

/// The tree before it runs, with the handles of its actors.
pub(crate) struct TreeSpec {
    pub(crate) root: SupervisorSpec,
    pub(crate) handles: Handles,
    /// The texts that the journal must never hold.
    pub(crate) secrets: KnownSecrets,
}

/// Checks that a tree can be built from the configuration. Reads the files that it names, but not the environment,
/// which depends on the machine.
#[cfg(feature = "cli")]
pub(crate) fn check_config(config: &Config) -> Result<(), BuildError> {
    TreeSpec::build(config, &Environment::unknown(), Overrides::default()).map(|_| ())
}

impl TreeSpec {
    /// Builds the tree that a configuration describes. Nothing runs yet.
    pub(crate) fn build(
        config: &Config,
        environment: &Environment,
        overrides: Overrides,
    ) -> Result<Self, BuildError> {
        let Overrides { transport, trust, credentials, write_rules, data_dir } = overrides;
        let credentials = credentials.unwrap_or_else(|| environment.credentials.clone());
        let route = route(config, environment, trust)?;
        let secrets = KnownSecrets::new(secrets(config, environment, &route));
        let backend = OwnedBackendStage {
            view: OwnedBackendView::default(),
            settings: http_settings(config, environment, &credentials, &route),
            listeners: ReadyListeners::default(),
        };
        let assigned = assigns_address(config).then(|| backend.view.address());
        let cache = CacheHandle::new(config.cache.max_bytes, entry_options(&config.cache));
        let transport = match transport {
            Some(transport) => transport,
            None => backend_transport(&backend.settings, assigned.as_ref())?,
        };
        let (transport, cache_slot) = invalidate_after_writes(transport, &cache, write_rules);
        let token = credentials.may_change().then(|| first_token(credentials.clone()));
        let processes = ProcessFactory {
            process_manager: ProcessManager::new(),
            logs: LogStore::new(log_settings(&config.logs)),
            transport: Arc::clone(&transport),
            placeholders: placeholders(config, environment, data_dir)?,
            assigned: assigned.clone(),
            secrets: secrets.clone(),
            start_inputs: StartInputs { login_path: wanted_login_path(config, environment), token },
        };
        let target = socket_target(config, environment, &credentials, route, assigned)?;
        let (policy, view) = connection_policy(&config.connection, &target);

        let mut root = SupervisorSpec::new(ROOT_NAME)
            .as_child(ChildPolicy { shutdown: Shutdown::Graceful(SHUTDOWN_MAX), ..ChildPolicy::default() });
        let listeners = backend.listeners.clone();
        let backend_ends = backend.view.ends();
        let owned_backend = add_owned_backend(&mut root, config, backend, &view, &processes)?;
        let connection = add_connection(&mut root, policy, target, &cache, view)?;
        let observed_backend = owned_backend.clone();
        let absence =
            observed_backend.map(|backend| -> ObserveAbsence { Arc::new(move |now| absence(&backend, now)) });
        let queue = add_queue(&mut root, config, &transport, &connection, absence, backend_ends.clone())?;
        listeners.fill(&connection.address, &queue.address);
        let cache = add_cache(&mut root, config, environment, cache)?;
        // Nothing runs yet, so the slot is empty.
        let _ = cache_slot.set(cache.address.clone());
        let observed = connection.observe(&transport, Some((queue.address.clone(), queue.view.clone())));
        let factory = AgentFactory {
            transport: observed,
            connection: connection.view.clone(),
            queue: queue.handle.clone(),
            backend_ends,
            reports: AgentReports::default(),
            meters: queue.meters.clone(),
            processes,
            owns_backend: owned_backend.is_some(),
            defaults: config.agents.clone(),
            default_policies: AgentPolicies::new(&config.agents, false),
        };
        let agents = add_agents(&mut root, config, factory)?;
        let handles = Stages { owned_backend, connection, queue, cache, agents }.into_handles(credentials);
        Ok(Self { root, handles, secrets })
    }
}

// === stages before the root: what its children share ===

/// Makes the transport to the configured backend, or to the address that each start of it is assigned.
fn backend_transport(
    settings: &HttpSettings,
    assigned: Option<&AssignedAddress>,
) -> Result<Arc<dyn Transport>, BuildError> {
    Ok(match assigned {
        Some(assigned) => Arc::new(AddressedTransport::new(settings.clone(), assigned.clone())),
        None => {
            let made = HttpTransport::new(settings);
            Arc::new(made.map_err(|error| BuildError::Transport(Box::new(error)))?)
        }
    })
}

/// Wraps a transport so that a write removes what it changed from the cache. Returns with it the slot for the address of
/// the cache's actor, which comes later.
fn invalidate_after_writes(
    transport: Arc<dyn Transport>,
    cache: &CacheHandle,
    rules: Vec<WriteRule>,
) -> (Arc<dyn Transport>, Arc<OnceLock<Address<CacheMessage>>>) {
    let actor = Arc::<OnceLock<_>>::default();
    let invalidator =
        WriteInvalidator { cache: cache.clone(), actor: Arc::clone(&actor), rules: rules.into() };
    (Arc::new(InvalidationLayer::new(transport, move |write| invalidator.outdated_by(write))), actor)
}

/// Returns the `PATH` of the login shell, if the configuration wants it.
fn wanted_login_path(config: &Config, environment: &Environment) -> Option<LoginPath> {
    let is_wanted = config.backend.login_env && environment.is_known();
    is_wanted.then(|| login_path(environment.shell()))
}

// === stages: each adds its children to the root ===

/// The connection's actor in the tree.
struct ConnectionStage {
    address: Address<ConnectionMessage>,
    view: ConnectionView,
}

impl ConnectionStage {
    /// Wraps a transport so that an answer of the backend reaches the connection, and the queue if there is one.
    fn observe(
        &self,
        transport: &Arc<dyn Transport>,
        queue: Option<(Address<QueueMessage>, QueueView)>,
    ) -> Arc<dyn Transport> {
        let (connection, view) = (self.address.clone(), self.view.clone());
        // A full mailbox need not be waited for: the next response brings the hint again.
        Arc::new(ReachabilityLayer::new(Arc::clone(transport), move || {
            let state = view.status.borrow().state;
            if matches!(state, ConnectionState::Reconnecting | ConnectionState::Failed) {
                let _ = connection.try_cast(ConnectionMessage::BackendSeen);
            }
            if let Some((queue, view)) = &queue
                && view.outage().is_some()
            {
                let _ = queue.try_cast(QueueMessage::BackendSeen);
            }
        }))
    }
}

/// Adds the connection.
fn add_connection(
    root: &mut SupervisorSpec,
    policy: ConnectionPolicy,
    target: SocketTarget,
    cache: &CacheHandle,
    view: ConnectionView,
) -> Result<ConnectionStage, BuildError> {
    let invalidations = Some(Arc::new(cache.clone()) as _);
    let actor = ConnectionActor { target, policy, view: view.clone(), invalidations };
    let address = root.child(Child::new("connection", actor).policy(core_policy()))?;
    Ok(ConnectionStage { address, view })
}

/// The queue's actor in the tree.
struct QueueStage {
    handle: QueueHandle,
    address: Address<QueueMessage>,
    view: QueueView,
    meters: ActivityMeters,
}

/// Adds the queue. It notices by itself whether the backend answers, so its transport reports only to the connection.
fn add_queue(
    root: &mut SupervisorSpec,
    config: &Config,
    transport: &Arc<dyn Transport>,
    connection: &ConnectionStage,
    absence: Option<ObserveAbsence>,
    backend_ends: watch::Receiver<BackendEnds>,
) -> Result<QueueStage, BuildError> {
    let (view, meters) = (QueueView::default(), ActivityMeters::default());
    let counted = meters.clone();
    let transport = Arc::new(ActivityLayer::new(connection.observe(transport, None), move |agent| {
        let work = counted.get(agent)?.begin();
        Some(Box::new(move || work.note_progress()))
    }));
    let mut actor = QueueActor::new(transport, queue_policy(&config.requests), view.clone())
        .with_limits(group_limits(config)?)
        .with_availability(connection.view.availability.subscribe())
        .with_backend_ends(backend_ends);
    if let Some(absence) = absence {
        actor = actor.with_absence(absence);
    }
    let capacity = config.requests.queue_max.max(QUEUE_MAILBOX_MIN);
    let address = root.child(Child::new("queue", actor).policy(core_policy()).mailbox_capacity(capacity))?;
    Ok(QueueStage { handle: QueueHandle::new(address.clone()), address, view, meters })
}

/// The cache's actor in the tree.
struct CacheStage {
    handle: CacheHandle,
    address: Address<CacheMessage>,
    files: FileCache,
    feed: FileFeed,
}

/// Adds the cache, and the actor that watches folders if there are any.
fn add_cache(
    root: &mut SupervisorSpec,
    config: &Config,
    environment: &Environment,
    cache: CacheHandle,
) -> Result<CacheStage, BuildError> {
    let address =
        root.child(Child::new("cache", CacheActor { cache: cache.clone() }).policy(core_policy()))?;
    let (roots, feed) = (watch_roots(config, environment)?, FileFeed::default());
    if !roots.is_empty() {
        let actor = WatchActor {
            cache: cache.clone(),
            cache_address: address.clone(),
            roots: roots.clone(),
            policy: WatchPolicy { debounce: config.cache.debounce, ..WatchPolicy::default() },
            feed: feed.clone(),
        };
        root.child(Child::new("watch", actor).policy(core_policy()))?;
    }
    Ok(CacheStage { files: FileCache::new(cache.clone(), roots), handle: cache, address, feed })
}

/// The agents' supervisor in the tree, and what makes further agents.
struct AgentsStage {
    supervisor: SupervisorHandle,
    handles: DashMap<String, AgentHandle>,
    factory: AgentFactory,
}

/// Adds the agents' supervisor with the agents of the configuration below it.
fn add_agents(
    root: &mut SupervisorSpec,
    config: &Config,
    factory: AgentFactory,
) -> Result<AgentsStage, BuildError> {
    let mut supervisor = SupervisorSpec::new(AGENTS_NAME)
        .as_child(ChildPolicy { shutdown: Shutdown::Graceful(AGENTS_SHUTDOWN_MAX), ..core_policy() })
        .policy(SupervisorPolicy { stop_order: StopOrder::Together, ..SupervisorPolicy::default() });
    let handles = DashMap::new();
    for agent in &config.agent {
        let (child, to_handle) = factory.make(agent, config.agent.len())?;
        let address = supervisor.child(child)?;
        handles.insert(agent.id.clone(), to_handle(address));
    }
    Ok(AgentsStage { supervisor: root.supervisor(supervisor)?, handles, factory })
}

/// The children of the root.
struct Stages {
    owned_backend: Option<OwnedBackendParts>,
    connection: ConnectionStage,
    queue: QueueStage,
    cache: CacheStage,
    agents: AgentsStage,
}

impl Stages {
    fn into_handles(self, credentials: Credentials) -> Handles {
        let Self {
            owned_backend,
            connection,
            queue,
            cache,
            agents: AgentsStage { supervisor, handles, factory },
        } = self;
        Handles {
            connection: connection.address,
            connection_view: connection.view,
            responses: ResponseCache::new(cache.handle.clone(), queue.handle.clone()),
            queue: queue.handle,
            queue_address: queue.address,
            queue_view: queue.view,
            cache: cache.handle,
            cache_address: cache.address,
            files: cache.files,
            file_feed: cache.feed,
            agents: supervisor,
            reports: factory.reports.clone(),
            agent_handles: handles,
            process_manager: factory.processes.process_manager.clone(),
            logs: factory.processes.logs.clone(),
            credentials,
            login_path: factory.processes.start_inputs.login_path.clone(),
            owned_backend,
            factory,
        }
    }
}

// === settings from the configuration ===

/// Returns the texts that the journal must never hold.
fn secrets(config: &Config, environment: &Environment, route: &Route) -> Vec<String> {
    let mut secrets = environment.secrets();
    secrets.extend(route.proxy.iter().flat_map(Proxy::secrets).cloned());
    secrets.extend(secret_headers(config));
    secrets
}

/// Returns the values of the file's headers with sensitive names: the journal must never contain them. Errors are
/// redacted more widely, because there a needless gap does no harm.
fn secret_headers(config: &Config) -> impl Iterator<Item = String> {
    let headers = config.backend.headers.iter().filter(|(name, _)| is_sensitive_name(name));
    headers.map(|(_, value)| value.clone())
}

/// Returns the folders to watch.
fn watch_roots(config: &Config, environment: &Environment) -> Result<Roots, BuildError> {
    let mut folders = Vec::new();
    for folder in &config.cache.watch {
        match environment.expand_home(folder) {
            Some(folder) => folders.push(folder),
            None if environment.is_known() => return Err(BuildError::NoHome(folder.clone())),
            // The machine on which it will run may have a home folder.
            None => {}
        }
    }
    Ok(Roots::new(folders)?)
}

/// Builds the route to the backend, for HTTP and the WebSocket.
fn route(config: &Config, environment: &Environment, trust: Option<TlsTrust>) -> Result<Route, BuildError> {
    let backend = &config.backend;
    let trust = match trust {
        Some(trust) => trust,
        None if backend.ca_file.as_os_str().is_empty() => TlsTrust::default(),
        None => TlsTrust::with_ca_file(&backend.ca_file)?,
    };
    let url = BaseUrl::parse(base(config)).map_err(TargetError::Base)?;
    let proxy = environment.proxy(&backend.proxy).resolve(&url, || environment.system_proxies())?;
    Ok(Route { trust, proxy, proxy_timeout: config.connection.connect_timeout / 2 })
}

fn http_settings(
    config: &Config,
    environment: &Environment,
    credentials: &Credentials,
    route: &Route,
) -> HttpSettings {
    let usual = HttpSettings::new(&config.backend.url);
    HttpSettings {
        headers: headers(config, environment),
        credentials: credentials.clone(),
        connect_timeout: config.connection.connect_timeout,
        route: route.clone(),
        // Checks of agents do not pass through the queue.
        idle_connections_max: usual.idle_connections_max.max(config.requests.max_concurrent),
        ..usual
    }
}

/// Returns the values of placeholders that are known before the start.
fn placeholders(
    config: &Config,
    environment: &Environment,
    data_dir: Option<PathBuf>,
) -> Result<Placeholders, BuildError> {
    // On the machine where it will run there may be a data folder.
    let data_dir = data_dir.or_else(|| (!environment.is_known()).then(PathBuf::new));
    let url = match assigns_address(config) {
        true => None,
        false => Some(BaseUrl::parse(&config.backend.url).map_err(TargetError::Base)?),
    };
    Ok(Placeholders { url, token: None, data_dir })
}

/// Returns the backend's address, or its part that is known if each start is assigned one.
fn base(config: &Config) -> &str {
    if assigns_address(config) { ASSIGNED_BASE } else { &config.backend.url }
}

fn headers(config: &Config, environment: &Environment) -> HeaderMap {
    let open = config.backend.headers.iter().map(|(name, value)| (name, value, false));
    let secret = environment.headers.iter().map(|(name, value)| (name, value, true));
    let parsed = open.chain(secret).filter_map(|(name, value, is_secret)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(is_secret);
        Some((HeaderName::try_from(name).ok()?, value))
    });
    parsed.collect()
}

fn socket_target(
    config: &Config,
    environment: &Environment,
    credentials: &Credentials,
    route: Route,
    assigned: Option<AssignedAddress>,
) -> Result<SocketTarget, BuildError> {
    let config::ConnectionConfig { path, subprotocols, token_query, .. } = &config.connection;
    let mut target = SocketTarget::new(base(config), path)?
        .with_route(route)
        .with_token_query(token_query)
        .with_subprotocols(subprotocols.iter().cloned())?;
    for (name, value) in config.backend.headers.iter().chain(&environment.headers) {
        target = target.with_header(name, value)?;
    }
    let target = target.with_credentials(credentials.clone())?;
    Ok(match assigned {
        Some(assigned) => target.with_assigned_address(assigned, path),
        None => target,
    })
}

// === policies ===

const fn entry_options(config: &config::CacheConfig) -> EntryOptions {
    EntryOptions {
        ttl: config.ttl,
        stale_for: config.stale_for,
        negative_ttl: config.negative_ttl,
        depends_on_connection: false,
    }
}

/// Returns the policy of connection, queue and cache. They restart fast, because people wait for them.
fn core_policy() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::Exponential {
            min: Duration::from_millis(100),
            max: Duration::from_secs(5),
            factor: 2.0,
            jitter: false,
        },
        budget: Some(Budget { restarts_max: 10, window: Duration::from_secs(60) }),
        stable_after: Duration::from_secs(30),
        shutdown: Shutdown::Graceful(CORE_SHUTDOWN_MAX),
        ..ChildPolicy::default()
    }
}

/// Returns the connection's policy, and the view that begins with it.
fn connection_policy(
    config: &config::ConnectionConfig,
    target: &SocketTarget,
) -> (ConnectionPolicy, ConnectionView) {
    let policy = ConnectionPolicy {
        enabled: config.enabled,
        max_retries: config.max_retries,
        delay: Delay::Exponential {
            min: config.delay_min,
            max: config.delay_max,
            factor: config.factor,
            jitter: config.jitter,
        },
        connect_timeout: config.connect_timeout,
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        stable_after: config.stable_after,
        after_failed: config.after_failed,
        probe_interval: config.probe_interval,
        outbound_max: config.outbound_max,
        renews_token: target.renews_token(),
        ..ConnectionPolicy::default()
    };
    let view = ConnectionView::new(&policy);
    (policy, view)
}

fn log_settings(config: &config::LogsConfig) -> LogSettings {
    let config::LogsConfig { file_bytes, files, lines_per_second, bytes_per_second } = *config;
    LogSettings { file_bytes, files: files as usize, rate: LogRate { lines_per_second, bytes_per_second } }
}

fn group_limits(config: &Config) -> Result<Vec<GroupLimit>, BuildError> {
    let limits = config.limit.iter().map(|limit| GroupLimit::new(&limit.path, limit.max_concurrent));
    Ok(limits.collect::<Result<_, _>>()?)
}

fn queue_policy(config: &config::RequestsConfig) -> QueuePolicy {
    QueuePolicy {
        max_concurrent: config.max_concurrent,
        queue: PriorityQueuePolicy {
            queue_max: config.queue_max,
            overflow: config.overflow,
            age_after: config.age_after,
        },
        timeout: config.timeout,
        wait_timeout: config.wait_timeout,
        deadline: config.deadline,
        retry: RetryPolicy {
            retries: config.retries,
            delay: Delay::Exponential {
                min: config.retry_delay_min,
                max: config.retry_delay_max,
                factor: config.retry_factor,
                jitter: true,
            },
            ..RetryPolicy::default()
        },
        budget: BudgetPolicy { percent: config.retry_budget.into(), ..BudgetPolicy::default() },
        quarantine_after: config.quarantine_after,
    }
}
