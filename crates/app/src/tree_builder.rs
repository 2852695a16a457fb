//! From the configuration to the tree: which actors there are, and by which policies they live.

pub(crate) mod agents;
pub(crate) mod processes;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use mainstay_actors::agent::AgentReports;
use mainstay_actors::cache::watch::{RootError, Roots, WatchActor, WatchPolicy};
use mainstay_actors::cache::{
    CacheActor, CacheHandle, CacheMessage, EntryOptions, FileCache, ResponseCache, WriteRule,
};
use mainstay_actors::connection::policy::{AfterFailed, ConnectionPolicy};
use mainstay_actors::connection::target::{SocketTarget, TargetError};
use mainstay_actors::connection::{ConnectionActor, ConnectionMessage, ConnectionView};
use mainstay_actors::error::{Error, is_sensitive_name};
use mainstay_actors::network::Route;
use mainstay_actors::network::proxy::{Proxy, ProxyUrlError, UnsupportedProxy};
use mainstay_actors::network::tls::{CaFileError, TlsTrust};
use mainstay_actors::process::ProcessManager;
use mainstay_actors::queue::{
    BudgetPolicy, Overflow, PriorityQueuePolicy, QueueActor, QueueHandle, QueuePolicy, QueueView, RetryPolicy,
};
use mainstay_actors::sidecar::SidecarActor;
use mainstay_actors::transport::{HttpSettings, HttpTransport, Transport};
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, Shutdown};
use mainstay_runtime::{Address, Child, SpecError, SupervisorSpec};
use thiserror::Error as ThisError;

use crate::agent_meter::{ActivityLayer, ActivityMeters};
use crate::config::{self, BackendConfig, Config};
use crate::environment::Environment;
use crate::inner::Handles;
use crate::invalidator::InvalidationLayer;
use crate::tree_builder::agents::{AgentFactory, AgentPolicies, agent_policy};
use crate::tree_builder::processes::{ProcessConfig, ProcessFactory};
use crate::witness::ReachabilityLayer;

/// How long the whole tree may take to stop.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// Why a configuration cannot be carried out.
#[derive(Debug, ThisError)]
pub enum BuildError {
    /// An environment variable that is to hold a secret does not.
    #[error(
        "{key} names the environment variable {name:?}, which is not set or is empty: set it, or take the key out"
    )]
    VariableMissing {
        /// The key that names it.
        key: String,
        /// The variable.
        name: String,
    },
    /// An environment variable holds what its header cannot.
    #[error(
        "backend.headers_env.{header} names the environment variable {name:?}, which holds characters that a header \
         cannot hold, such as the end of a line"
    )]
    HeaderValue {
        /// The header.
        header: String,
        /// The variable.
        name: String,
    },
    /// An environment variable holds no address of a proxy.
    #[error("backend.proxy_env names the environment variable {name:?}, whose value {fault}")]
    ProxyAddress {
        /// The variable.
        name: String,
        /// What is wrong with its value.
        fault: ProxyUrlError,
    },
    /// The system's proxy cannot be used.
    #[error("{0}: name another by backend.proxy, or set that to \"none\"")]
    SystemProxy(#[from] UnsupportedProxy),
    /// The file of certificates cannot be used.
    #[error("backend.ca_file: {0}")]
    CaFile(#[from] CaFileError),
    /// The agent's driver is one that this library was built without.
    #[error(
        "agent {id:?} has the driver {driver:?}, which this program was built without: use \"http\" or \"process\""
    )]
    DriverMissing {
        /// The agent.
        id: String,
        /// The driver.
        driver: &'static str,
    },
    /// The WebSocket's address or headers cannot be used.
    #[error("the WebSocket's address cannot be used: {0}")]
    Target(#[from] TargetError),
    /// The backend's address or headers cannot be used.
    #[error("the backend's address cannot be used: {}", .0.details.as_deref().unwrap_or(&.0.message))]
    Transport(Box<Error>),
    /// A folder to watch begins with `~`, and there is no home folder.
    #[error("cache.watch: {0:?} begins at the home folder, and HOME names none: give the whole path")]
    NoHome(PathBuf),
    /// A folder cannot be watched, wherever it may be.
    #[error("cache.watch: {0}")]
    Root(#[from] RootError),
    /// The tree cannot be as it was described.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// What the embedder brings beside the configuration.
#[derive(Default)]
pub(crate) struct Overrides {
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) trust: Option<TlsTrust>,
    pub(crate) write_rules: Vec<WriteRule>,
}

/// The tree before it runs, and who is in it.
pub(crate) struct TreeSpec {
    pub(crate) root: SupervisorSpec,
    pub(crate) handles: Handles,
    /// What the journal must never hold.
    pub(crate) secrets: Vec<String>,
}

impl BuildError {
    /// The key of the file that has to change, where it is a single one and not the environment.
    #[cfg(feature = "cli")]
    pub(crate) fn key(&self) -> Option<&'static str> {
        match self {
            Self::CaFile(_) => Some("backend.ca_file"),
            Self::Root(_) => Some("cache.watch"),
            _ => None,
        }
    }
}

/// Whether the configuration can be carried out, without doing so. Reads the files that it names, and not the
/// environment: that is a matter of where the runtime will run.
#[cfg(feature = "cli")]
pub(crate) fn check_config(config: &Config) -> Result<(), BuildError> {
    TreeSpec::build(config, &Environment::unknown(), Overrides::default()).map(|_| ())
}

impl TreeSpec {
    pub(crate) fn build(
        config: &Config,
        environment: &Environment,
        embedding: Overrides,
    ) -> Result<Self, BuildError> {
        let Overrides { transport, trust, write_rules } = embedding;
        let route = route(config, environment, trust)?;
        let mut secrets = environment.secrets();
        secrets.extend(route.proxy.iter().flat_map(Proxy::secrets).cloned());
        secrets.extend(secret_headers(config));
        let transport = match transport {
            Some(transport) => transport,
            None => http_transport(config, environment, &route)?,
        };
        let cache = CacheHandle::new(config.cache.max_bytes, entry_options(&config.cache));
        let cache_slot = Arc::<OnceLock<Address<CacheMessage>>>::default();
        let transport: Arc<dyn Transport> = Arc::new(InvalidationLayer {
            transport,
            cache: cache.clone(),
            actor: Arc::clone(&cache_slot),
            rules: write_rules.into(),
        });
        let mut root = SupervisorSpec::new("root")
            .as_child(ChildPolicy { shutdown: Shutdown::Graceful(SHUTDOWN_MAX), ..ChildPolicy::default() });

        let programs =
            ProcessFactory { process_manager: ProcessManager::new(), transport: Arc::clone(&transport) };
        let policy = connection_policy(&config.connection);
        let connection_view = ConnectionView::new(&policy);
        let target = socket_target(config, environment, route)?;
        let actor = ConnectionActor {
            target,
            policy,
            view: connection_view.clone(),
            invalidations: Some(Arc::new(cache.clone())),
        };
        let connection_slot = Arc::<OnceLock<Address<ConnectionMessage>>>::default();
        if !config.backend.command.is_empty() {
            let sidecar = sidecar(config, &programs, Arc::clone(&connection_slot))?;
            // Its children start in order, and no socket is dialled before there is something to dial.
            root.child(Child::new("backend", sidecar).policy(agent_policy(&config.agents, true)))?;
        }
        let connection = root.child(Child::new("connection", actor).policy(core_policy()))?;
        // Nothing runs yet, so nobody has set it.
        let _ = connection_slot.set(connection.clone());
        let witness = |queue| -> Arc<dyn Transport> {
            let (transport, connection) = (Arc::clone(&transport), connection.clone());
            Arc::new(ReachabilityLayer { transport, connection, view: connection_view.clone(), queue })
        };

        let queue_view = QueueView::default();
        let meters = ActivityMeters::default();
        let metered = Arc::new(ActivityLayer { transport: witness(None), meters: meters.clone() });
        let actor = QueueActor::new(metered, queue_policy(&config.requests), queue_view.clone())
            .with_availability(connection_view.availability.subscribe());
        let capacity = config.requests.queue_max.max(1024);
        let child = Child::new("queue", actor).policy(core_policy()).mailbox_capacity(capacity);
        let queue_address = root.child(child)?;
        let queue = QueueHandle::new(queue_address.clone());
        let transport = witness(Some((queue_address.clone(), queue_view.clone())));

        let actor = CacheActor { cache: cache.clone() };
        let cache_address = root.child(Child::new("cache", actor).policy(core_policy()))?;
        let _ = cache_slot.set(cache_address.clone());
        let roots = watch_roots(config, environment)?;
        if !roots.is_empty() {
            let actor = WatchActor {
                cache: cache.clone(),
                cache_address: cache_address.clone(),
                roots: roots.clone(),
                policy: WatchPolicy { debounce: config.cache.debounce, ..WatchPolicy::default() },
            };
            root.child(Child::new("watch", actor).policy(core_policy()))?;
        }
        let files = FileCache::new(cache.clone(), roots);
        let responses = ResponseCache::new(cache.clone(), queue.clone());

        let board = AgentReports::default();
        let mut agents = SupervisorSpec::new("agents")
            .as_child(ChildPolicy { shutdown: Shutdown::Graceful(SHUTDOWN_MAX), ..core_policy() });
        let factory = AgentFactory {
            transport,
            connection: connection_view.clone(),
            queue: queue.clone(),
            reports: board.clone(),
            meters,
            processes: programs.clone(),
            defaults: config.agents.clone(),
            default_policies: AgentPolicies::new(&config.agents, false),
        };
        let agent_lines = DashMap::new();
        for agent in &config.agent {
            let (child, line) = factory.make(agent, config.agent.len())?.split();
            let address = agents.child(child)?;
            agent_lines.insert(agent.id.clone(), line(address));
        }
        let agents = root.supervisor(agents)?;
        let members = Handles {
            connection,
            connection_view,
            queue,
            queue_address,
            queue_view,
            cache,
            cache_address,
            files,
            responses,
            agents,
            reports: board,
            agent_handles: agent_lines,
            factory,
            process_manager: programs.process_manager,
        };
        Ok(Self { root, handles: members, secrets })
    }
}

/// The backend's own process. When it is back after a restart, the connection tries at once.
fn sidecar(
    config: &Config,
    programs: &ProcessFactory,
    connection: Arc<OnceLock<Address<ConnectionMessage>>>,
) -> Result<SidecarActor, BuildError> {
    let BackendConfig { command, cwd, env, ready, .. } = &config.backend;
    let startup_grace = config.agents.startup_grace;
    let launch =
        programs.launch(&ProcessConfig { name: "backend", command, cwd, env, ready, startup_grace })?;
    Ok(SidecarActor {
        launch,
        warden: programs.process_manager.clone(),
        secrets: programs.transport.secrets().with_environment(env),
        when_back: Box::new(move || {
            if let Some(connection) = connection.get() {
                // With a full mailbox it has enough to do, and tries in its time.
                let _ = connection.try_cast(ConnectionMessage::Connect);
            }
        }),
    })
}

/// The values of the headers in the file whose names say that they are secret: they must reach no line of the journal.
/// What is cut out of errors is more than that, but there a hole does no harm.
fn secret_headers(config: &Config) -> impl Iterator<Item = String> {
    let headers = config.backend.headers.iter().filter(|(name, _)| is_sensitive_name(name));
    headers.map(|(_, value)| value.clone())
}

/// The folders to watch.
fn watch_roots(config: &Config, environment: &Environment) -> Result<Roots, BuildError> {
    let mut folders = Vec::new();
    for folder in &config.cache.watch {
        match environment.expand_home(folder) {
            Some(folder) => folders.push(folder),
            None if environment.is_known() => return Err(BuildError::NoHome(folder.clone())),
            // Where it will run there may be a home.
            None => {}
        }
    }
    Ok(Roots::new(folders)?)
}

/// The one way to the backend, for HTTP and the WebSocket.
fn route(config: &Config, environment: &Environment, trust: Option<TlsTrust>) -> Result<Route, BuildError> {
    let backend = &config.backend;
    let trust = match trust {
        Some(trust) => trust,
        None if backend.ca_file.as_os_str().is_empty() => TlsTrust::default(),
        None => TlsTrust::with_ca_file(&backend.ca_file)?,
    };
    // An address that cannot be read is told by those who connect to it.
    let proxy = match backend.url.parse::<Uri>() {
        Ok(url) => environment.proxy(&backend.proxy).resolve(&url, || environment.system_proxies())?,
        Err(_) => None,
    };
    Ok(Route { trust, proxy, proxy_timeout: config.connection.connect_timeout / 2 })
}

fn http_transport(
    config: &Config,
    environment: &Environment,
    route: &Route,
) -> Result<Arc<dyn Transport>, BuildError> {
    let usual = HttpSettings::new(&config.backend.url);
    let settings = HttpSettings {
        headers: headers(config, environment),
        bearer_token: environment.token.clone(),
        connect_timeout: config.connection.connect_timeout,
        route: route.clone(),
        // The agents have theirs checked beside the requests.
        idle_connections_max: usual.idle_connections_max.max(config.requests.max_concurrent),
        ..usual
    };
    let transport = HttpTransport::new(&settings).map_err(|error| BuildError::Transport(Box::new(error)))?;
    Ok(Arc::new(transport))
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
    route: Route,
) -> Result<SocketTarget, BuildError> {
    let mut target = SocketTarget::new(&config.backend.url, &config.connection.path)?.with_route(route);
    for (name, value) in config.backend.headers.iter().chain(&environment.headers) {
        target = target.with_header(name, value)?;
    }
    if let Some(token) = &environment.token {
        target = target.with_bearer(token)?;
    }
    Ok(target)
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

/// The connection, the queue and the cache come back fast: people wait for them.
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
        ..ChildPolicy::default()
    }
}

fn connection_policy(config: &config::ConnectionConfig) -> ConnectionPolicy {
    ConnectionPolicy {
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
        after_failed: match config.after_failed {
            config::AfterFailed::Wait => AfterFailed::Wait,
            config::AfterFailed::Probe => AfterFailed::Probe,
        },
        probe_interval: config.probe_interval,
        outbound_max: config.outbound_max,
        ..ConnectionPolicy::default()
    }
}

fn queue_policy(config: &config::RequestsConfig) -> QueuePolicy {
    QueuePolicy {
        max_concurrent: config.max_concurrent,
        queue: PriorityQueuePolicy {
            queue_max: config.queue_max,
            overflow: match config.overflow {
                config::Overflow::Reject => Overflow::Reject,
                config::Overflow::DropOldest => Overflow::DropOldest,
                config::Overflow::DropLowest => Overflow::DropLowest,
            },
            age_after: config.age_after,
        },
        timeout: config.timeout,
        wait_timeout: config.wait_timeout,
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
    }
}
