//! Builds the launch of each program that the configuration names: of the agents and of the backend.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use mainstay_actors::agent::HealthProbe;
use mainstay_actors::connection::target::TargetError;
use mainstay_actors::credentials::Credentials;
use mainstay_actors::error::Error;
use mainstay_actors::logs::LogStore;
use mainstay_actors::network::BackendAddress;
use mainstay_actors::network::urls::BaseUrl;
use mainstay_actors::process::{
    Launch, LoginPath, PrepareStart, PreparedStart, Probe, ProbeResult, ProcessManager, ProcessSpec,
    Readiness, SpawnError,
};
use mainstay_actors::request::Request;
use mainstay_actors::transport::{FailureKind, HttpSettings, HttpTransport, Transport};
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::KnownSecrets;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::{HealthSource, ReadyWhen};
use crate::placeholders::{MissingPlaceholder, Placeholders};
use crate::tree_builder::error::BuildError;

/// The time between a program's request to end and its kill.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// The part of it in which an agent may save its state at the end of its input, before the signal to end.
pub(crate) const INPUT_GRACE: Duration = Duration::from_secs(1);
/// The longest time for which the start of a program waits until the backend's token is read.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(3);
/// The shortest limit for a program to become ready, where the configuration gives it less.
const READY_WITHIN_MIN: Duration = Duration::from_secs(1);

/// The address of an assigned backend without its port, for what depends on the host alone.
pub(crate) const ASSIGNED_BASE: &str = "http://127.0.0.1";

/// A program as the configuration describes it.
pub(crate) struct ProcessConfig<'a> {
    /// The name in the pid file, and of its log.
    pub(crate) name: &'a str,
    /// The names on the path of its actor, under which its exits are recorded.
    pub(crate) actor: &'a [&'a str],
    pub(crate) command: &'a [String],
    pub(crate) cwd: &'a Path,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) ready: &'a ReadyWhen,
    pub(crate) ready_within: Duration,
    /// The time between the end of its input and the signal to end.
    pub(crate) input_grace: Duration,
    /// The address that the program names, if each start of the backend is assigned one.
    pub(crate) named_address: Option<NamedAddress>,
}

/// The address of the backend that the program of an agent names. Clones share it.
#[derive(Clone)]
pub(crate) struct NamedAddress {
    assigned: watch::Receiver<Option<BackendAddress>>,
    /// The address with which the program was started last; `None` while a start waits for one.
    used: Arc<Mutex<Option<BackendAddress>>>,
}

impl NamedAddress {
    /// Returns whether a start of the program waits until the backend is ready.
    pub(crate) fn is_awaited(&self) -> bool {
        self.assigned.borrow().is_none()
    }

    /// Returns when the backend has no address. If the backend is gone for good, that is never.
    pub(crate) async fn wait_for_absence(&self) {
        if self.assigned.clone().wait_for(Option::is_none).await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns whether the program was started with the address of an earlier start of the backend.
    pub(crate) fn is_outdated(&self) -> bool {
        let used = self.used.lock();
        used.is_some()
            && self.assigned.borrow().as_ref().is_some_and(|assigned| used.as_ref() != Some(assigned))
    }

    /// Waits for the backend's address, and notes it as that of the program's start.
    async fn take(&mut self) -> Option<BackendAddress> {
        *self.used.lock() = None;
        loop {
            let address = self.assigned.wait_for(Option::is_some).await.ok()?.clone()?;
            *self.used.lock() = Some(address.clone());
            // Another start of the backend may have become ready before this was noted.
            if !self.is_outdated() {
                return Some(address);
            }
        }
    }
}

/// The parts that every program needs.
#[derive(Clone)]
pub(crate) struct ProcessFactory {
    pub(crate) process_manager: ProcessManager,
    pub(crate) logs: LogStore,
    /// The transport to the backend without layers: a failed probe of a backend that is not ready yet is no outage.
    pub(crate) transport: Arc<dyn Transport>,
    /// The values of placeholders that are known before the start.
    pub(crate) placeholders: Placeholders,
    /// The address of the backend's present start, if each start is assigned one.
    pub(crate) assigned: Option<watch::Receiver<Option<BackendAddress>>>,
    /// The secrets of the whole runtime, which programs may print.
    pub(crate) secrets: KnownSecrets,
    pub(crate) start_inputs: StartInputs,
}

/// The values for which each start of a program waits.
#[derive(Clone)]
pub(crate) struct StartInputs {
    /// The `PATH` of the login shell, if the configuration wants it.
    pub(crate) login_path: Option<LoginPath>,
    /// The first read of the backend's token, if its source may give another one later.
    pub(crate) token: Option<TokenRead>,
}

/// The first read of a token; clones share it. Once it has ended, the token is known and redacted.
pub(crate) type TokenRead = Shared<BoxFuture<'static, ()>>;

/// Returns the first read of the token, which begins when it is first awaited. It is bounded, because an embedder's
/// callback may need the backend that waits for it.
pub(crate) fn first_token(credentials: Credentials) -> TokenRead {
    async move {
        let _ = timeout(TOKEN_TIMEOUT, credentials.token()).await;
    }
    .boxed()
    .shared()
}

impl ProcessFactory {
    /// Makes the launch of an agent's program. If the program names an address that is assigned to each start of the
    /// backend, a launch waits for that.
    pub(crate) fn launch(&self, program: &ProcessConfig<'_>) -> Result<Launch, BuildError> {
        let template = self.spec(program);
        let missing = |fault| BuildError::Placeholder { program: program.name.to_owned(), fault };
        let ready_timeout = program.ready_within.max(READY_WITHIN_MIN);
        let unobservable = |error| match error {
            ReadinessError::Placeholder(fault) => missing(fault),
            ReadinessError::Transport(error) => BuildError::Transport(error),
        };
        if let Some(address) = &program.named_address {
            // What is missing for every start is reported now.
            let example = self.placeholders.clone().with_address(&example_address()?);
            expand_spec(&template, &example).map_err(missing)?;
            let readiness = readiness(program.ready, &example, &self.transport).map_err(unobservable)?;
            let prepare = Some(self.prepare_with(template.clone(), program.ready.clone(), address.clone()));
            return Ok(Launch { spec: template, readiness, ready_timeout, prepare });
        }
        let spec = expand_spec(&template, &self.placeholders).map_err(missing)?;
        let readiness =
            readiness(program.ready, &self.placeholders, &self.transport).map_err(unobservable)?;
        let prepare = self.start_inputs.prepare(&spec);
        Ok(Launch { spec, readiness, ready_timeout, prepare })
    }

    /// Returns the address that a program names, if each start of the backend is assigned one. It may stand in its
    /// command, its environment or the line that reports its readiness.
    pub(crate) fn named_address(
        &self,
        command: &[String],
        env: &BTreeMap<String, String>,
        ready: &ReadyWhen,
    ) -> Option<NamedAddress> {
        let line = if let ReadyWhen::Stdout(line) = ready { Some(line) } else { None };
        let mut texts = command.iter().chain(env.values()).chain(line);
        let names_address = texts.any(|text| {
            matches!(self.placeholders.expand(text), Err(MissingPlaceholder::Url | MissingPlaceholder::Token))
        });
        let assigned = self.assigned.clone().filter(|_| names_address)?;
        Some(NamedAddress { assigned, used: Arc::default() })
    }

    /// Describes the process, with its placeholders.
    pub(crate) fn spec(&self, program: &ProcessConfig<'_>) -> ProcessSpec {
        let mut spec = ProcessSpec::new(program.name, program.command.iter().cloned());
        spec.cwd = Some(program.cwd).filter(|cwd| !cwd.as_os_str().is_empty()).map(Path::to_owned);
        spec.env.clone_from(program.env);
        (spec.grace, spec.input_grace) = (SHUTDOWN_GRACE, program.input_grace);
        spec.secrets = self.transport.secrets().with_shared(&self.secrets);
        spec.log = self.logs.get_or_create(program.name, actor_path(program.actor));
        spec
    }

    /// Returns the sign of life that checks ask for.
    pub(crate) fn health_probe(&self, health: &HealthSource) -> Result<HealthProbe, BuildError> {
        Ok(match health {
            HealthSource::None => HealthProbe::None,
            HealthSource::Ping => HealthProbe::Ping,
            HealthSource::Http(path) => {
                HealthProbe::Backend { transport: Arc::clone(&self.transport), path: path.clone() }
            }
            HealthSource::HttpAt(url) => {
                HealthProbe::Server(local_probe(url).map_err(BuildError::Transport)?)
            }
        })
    }

    /// Prepares each start once the backend has an address.
    fn prepare_with(&self, template: ProcessSpec, ready: ReadyWhen, address: NamedAddress) -> PrepareStart {
        let (placeholders, start_inputs) = (self.placeholders.clone(), self.start_inputs.clone());
        Arc::new(move || {
            let (mut address, template, ready) = (address.clone(), template.clone(), ready.clone());
            let (placeholders, start_inputs) = (placeholders.clone(), start_inputs.clone());
            Box::pin(async move {
                let address = address.take().await.ok_or(SpawnError::NoAddress)?;
                let values = placeholders.with_address(&address);
                let missing = |_| SpawnError::NoAddress;
                let spec = expand_spec(&template, &values).map_err(missing)?;
                let readiness = match &ready {
                    ReadyWhen::Stdout(line) => Some(Readiness::Stdout(values.expand(line).map_err(missing)?)),
                    _ => None,
                };
                Ok(PreparedStart { spec: start_inputs.apply(spec).await, readiness })
            })
        })
    }
}

/// Returns the path of an actor from the names of those above it and its own.
fn actor_path(names: &[&str]) -> Option<ActorPath> {
    let (root, below) = names.split_first()?;
    below.iter().try_fold(ActorPath::root(root).ok()?, |path, name| path.child(name).ok())
}

impl StartInputs {
    /// Makes the preparation of a spec's starts, if there is something to wait for.
    pub(crate) fn prepare(&self, spec: &ProcessSpec) -> Option<PrepareStart> {
        let Self { login_path, token } = self;
        if login_path.is_none() && token.is_none() {
            return None;
        }
        let (start_inputs, spec) = (self.clone(), spec.clone());
        Some(Arc::new(move || {
            let (start_inputs, spec) = (start_inputs.clone(), spec.clone());
            Box::pin(
                async move { Ok(PreparedStart { spec: start_inputs.apply(spec).await, readiness: None }) },
            )
        }))
    }

    /// Waits for the token, and adds the login shell's `PATH` unless the program has one of its own. Without it, the
    /// runtime's own counts.
    async fn apply(self, mut spec: ProcessSpec) -> ProcessSpec {
        if let Some(token) = self.token {
            token.await;
        }
        if let Some(login_path) = self.login_path
            && !spec.env.contains_key("PATH")
            && let Ok(path) = login_path.await
        {
            spec.env.insert("PATH".to_owned(), path.to_string());
        }
        spec
    }
}

/// Returns an address to check a command with.
pub(crate) fn example_address() -> Result<BackendAddress, BuildError> {
    let url = BaseUrl::parse(ASSIGNED_BASE).map_err(TargetError::Base)?;
    Ok(BackendAddress { url, token: Some(String::new()) })
}

/// Replaces the placeholders in a command and its environment.
pub(crate) fn expand_spec(
    spec: &ProcessSpec,
    values: &Placeholders,
) -> Result<ProcessSpec, MissingPlaceholder> {
    let mut expanded = spec.clone();
    for text in expanded.command.iter_mut().chain(expanded.env.values_mut()) {
        *text = values.expand(text)?;
    }
    Ok(expanded)
}

/// The reasons why a readiness cannot be observed.
pub(crate) enum ReadinessError {
    Placeholder(MissingPlaceholder),
    Transport(Box<Error>),
}

/// Makes the readiness of a program; `transport` reaches the backend.
pub(crate) fn readiness(
    ready: &ReadyWhen,
    values: &Placeholders,
    transport: &Arc<dyn Transport>,
) -> Result<Readiness, ReadinessError> {
    Ok(match ready {
        ReadyWhen::None => Readiness::None,
        ReadyWhen::Listening => {
            let url = values.url.as_ref().ok_or(MissingPlaceholder::Url);
            listening(url.map_err(ReadinessError::Placeholder)?)
        }
        ReadyWhen::Stdout(text) => {
            Readiness::Stdout(values.expand(text).map_err(ReadinessError::Placeholder)?)
        }
        ReadyWhen::Http(path) => Readiness::Probe(http_probe(Arc::clone(transport), path.clone())),
        ReadyWhen::HttpAt(url) => Readiness::Probe(local_probe(url).map_err(ReadinessError::Transport)?),
    })
}

/// Returns the readiness of a process that accepts connections at this address.
pub(crate) fn listening(url: &BaseUrl) -> Readiness {
    let (host, port): (Arc<str>, u16) = (url.host().into(), url.port());
    Readiness::Probe(Arc::new(move |time_limit| {
        let host = Arc::clone(&host);
        Box::pin(async move {
            let connected = timeout(time_limit, TcpStream::connect((&*host, port))).await;
            if matches!(connected, Ok(Ok(_))) { ProbeResult::Ready } else { ProbeResult::NoListener }
        })
    }))
}

/// Returns the probe of a server of its own on this computer.
fn local_probe(url: &BaseUrl) -> Result<Probe, Box<Error>> {
    let (origin, path) = url.split_path();
    let transport = HttpTransport::new(&HttpSettings::new(origin.to_string())).map_err(Box::new)?;
    Ok(http_probe(Arc::new(transport), path.to_owned()))
}

/// Returns the probe of a server, which is ready if it answers 2xx at `path`.
fn http_probe(transport: Arc<dyn Transport>, path: String) -> Probe {
    Arc::new(move |time_limit| {
        let (transport, path) = (Arc::clone(&transport), path.clone());
        Box::pin(async move {
            let Ok(request) = Request::get(path).build() else { return ProbeResult::NoListener };
            match transport.collect(&request, time_limit).await {
                Ok(response) if response.status.is_success() => ProbeResult::Ready,
                Err(failure) if is_unreachable(failure.kind) => ProbeResult::NoListener,
                // A server that accepts a connection is there, whatever its answer.
                Ok(_) | Err(_) => ProbeResult::NotReady,
            }
        })
    })
}

const fn is_unreachable(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Refused
            | FailureKind::HostNotFound
            | FailureKind::Connect
            | FailureKind::ConnectTimedOut
            | FailureKind::ProxyUnreachable
            | FailureKind::ProxyUnauthenticated
            | FailureKind::ProxyRefused
            | FailureKind::BadRequest
    )
}
