//! The reasons why no tree can be built from a configuration.

use std::path::PathBuf;

use mainstay_actors::cache::PatternError;
use mainstay_actors::cache::watch::RootError;
use mainstay_actors::connection::target::TargetError;
use mainstay_actors::error::Error;
use mainstay_actors::network::proxy::{ProxyUrlError, UnsupportedProxy};
use mainstay_actors::network::tls::CaFileError;
use mainstay_runtime::SpecError;
use thiserror::Error as ThisError;

#[cfg(feature = "cli")]
use crate::config::Config;
use crate::placeholders::MissingPlaceholder;

/// The reasons why no tree can be built from a configuration.
#[derive(Debug, ThisError)]
pub enum BuildError {
    /// An environment variable that must hold a secret is unset or empty.
    #[error(
        "{key} names the environment variable {name:?}, which is not set or is empty: set it, or take the key out"
    )]
    VariableMissing {
        /// The key that names it.
        key: String,
        /// The variable.
        name: String,
    },
    /// An environment variable holds a value that no header can have.
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
    /// An environment variable holds no valid address of a proxy.
    #[error("backend.proxy_env names the environment variable {name:?}, whose value {fault}")]
    ProxyAddress {
        /// The variable.
        name: String,
        /// The problem of its value.
        fault: ProxyUrlError,
    },
    /// The system's proxy cannot be used.
    #[error("{0}: name another by backend.proxy, or set that to \"none\"")]
    SystemProxy(#[from] UnsupportedProxy),
    /// The file of certificates cannot be used.
    #[error("backend.ca_file: {0}")]
    CaFile(#[from] CaFileError),
    /// The pattern of a group's paths is invalid.
    #[error("limit.path: {0}")]
    Limit(#[from] PatternError),
    /// The id of an agent is the name of the backend's own process.
    #[error("agent {id:?} has the name of the log of backend.command: choose another id")]
    ReservedId {
        /// The id.
        id: String,
    },
    /// The library was built without the agent's driver.
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
    /// The path of a folder to watch is invalid.
    #[error("cache.watch: {0}")]
    Root(#[from] RootError),
    /// A placeholder in a program's command, environment or readiness has no value.
    #[error("{program}: {fault}")]
    Placeholder {
        /// The program: `backend`, or the agent's id.
        program: String,
        /// The placeholder.
        fault: MissingPlaceholder,
    },
    /// The description of the tree is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl BuildError {
    /// Returns the key of `config` that has to change, if it is a single one.
    #[cfg(feature = "cli")]
    pub(crate) fn key(&self, config: &Config) -> Option<String> {
        let of_agent = |id: &String, key: &str| {
            let at = config.agent.iter().position(|agent| agent.id == *id)?;
            Some(format!("agent[{at}].{key}"))
        };
        let key = match self {
            Self::ReservedId { id } => return of_agent(id, "id"),
            Self::DriverMissing { id, .. } => return of_agent(id, "driver"),
            Self::VariableMissing { key, .. } => key,
            Self::HeaderValue { header, .. } => return Some(format!("backend.headers_env.{header}")),
            Self::ProxyAddress { .. } => "backend.proxy_env",
            Self::CaFile(_) => "backend.ca_file",
            Self::NoHome(_) | Self::Root(_) => "cache.watch",
            Self::Transport(_) => "backend.url",
            Self::Placeholder { program, fault } => return placeholder_key(config, program, *fault),
            Self::SystemProxy(_) | Self::Limit(_) | Self::Target(_) | Self::Spec(_) => return None,
        };
        Some(key.to_owned())
    }
}

/// Returns the key of a program that holds a placeholder without a value.
#[cfg(feature = "cli")]
fn placeholder_key(config: &Config, program: &str, fault: MissingPlaceholder) -> Option<String> {
    let mut texts = config.program_texts().into_iter();
    let found = texts.find(|(of, _, text)| *of == program && fault.is_in(text));
    found.map(|(_, key, _)| key)
}
