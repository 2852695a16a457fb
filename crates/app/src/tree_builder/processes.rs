//! Builds the launch of each program that the configuration names: of the agents and of the backend.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::agent::HealthProbe;
use mainstay_actors::network::urls::BaseUrl;
use mainstay_actors::process::{Launch, Probe, ProbeResult, ProcessManager, ProcessSpec, Readiness};
use mainstay_actors::request::Request;
use mainstay_actors::transport::{FailureKind, HttpSettings, HttpTransport, Transport};

use crate::config::{HealthSource, ReadyWhen};
use crate::tree_builder::error::BuildError;

/// The time between a program's request to end and its kill.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// The shortest limit for a program to become ready, where the configuration gives it less.
const READY_WITHIN_MIN: Duration = Duration::from_secs(1);

/// A program as the configuration describes it.
pub(crate) struct ProcessConfig<'a> {
    /// The name in the pid file.
    pub(crate) name: &'a str,
    pub(crate) command: &'a [String],
    pub(crate) cwd: &'a Path,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) ready: &'a ReadyWhen,
    pub(crate) startup_grace: Duration,
}

/// The parts that every program needs.
#[derive(Clone)]
pub(crate) struct ProcessFactory {
    pub(crate) process_manager: ProcessManager,
    /// The transport to the backend without layers: a failed probe of a backend that is not ready yet is no outage.
    pub(crate) transport: Arc<dyn Transport>,
}

impl ProcessFactory {
    pub(crate) fn launch(&self, program: &ProcessConfig<'_>) -> Result<Launch, BuildError> {
        let mut spec = ProcessSpec::new(program.name, program.command.iter().cloned());
        spec.cwd = Some(program.cwd).filter(|cwd| !cwd.as_os_str().is_empty()).map(Path::to_owned);
        spec.env.clone_from(program.env);
        spec.grace = SHUTDOWN_GRACE;
        spec.secrets = self.transport.secrets();
        let ready_within = program.startup_grace.max(READY_WITHIN_MIN);
        Ok(Launch { spec, readiness: self.readiness(program.ready)?, ready_timeout: ready_within })
    }

    fn readiness(&self, ready: &ReadyWhen) -> Result<Readiness, BuildError> {
        Ok(match ready {
            ReadyWhen::None => Readiness::None,
            ReadyWhen::Stdout(text) => Readiness::Stdout(text.clone()),
            ReadyWhen::Http(path) => Readiness::Probe(http_probe(Arc::clone(&self.transport), path.clone())),
            ReadyWhen::HttpAt(url) => Readiness::Probe(local_probe(url)?),
        })
    }

    /// Returns the sign of life that checks ask for.
    pub(crate) fn health_probe(&self, health: &HealthSource) -> Result<HealthProbe, BuildError> {
        Ok(match health {
            HealthSource::None => HealthProbe::None,
            HealthSource::Ping => HealthProbe::Ping,
            HealthSource::Http(path) => {
                HealthProbe::Server(http_probe(Arc::clone(&self.transport), path.clone()))
            }
            HealthSource::HttpAt(url) => HealthProbe::Server(local_probe(url)?),
        })
    }
}

/// Returns the probe of a server of its own on this machine.
fn local_probe(url: &BaseUrl) -> Result<Probe, BuildError> {
    let (origin, path) = url.split_path();
    let transport = HttpTransport::new(&HttpSettings::new(origin.to_string()))
        .map_err(|error| BuildError::Transport(Box::new(error)))?;
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
