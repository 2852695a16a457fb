//! The values that the configuration takes from the environment: secrets, and the system's proxies.
//!
//! They are read once, at the start, except the token, which may change. No other module reads them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::ready;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use mainstay_actors::credentials::{CredentialError, Credentials};
use mainstay_actors::network::proxy::{Proxy, ProxyChoice, ProxyVariables, SystemProxies};

use crate::config::{BackendConfig, Config};
use crate::tree_builder::error::BuildError;

/// The values of the environment for one configuration.
pub(crate) struct Environment {
    /// The source of the bearer token.
    pub(crate) credentials: Credentials,
    /// The headers that hold secrets, by name.
    pub(crate) headers: BTreeMap<String, String>,
    /// The home folder of the user.
    home: Option<PathBuf>,
    /// The login shell of the user.
    shell: Option<OsString>,
    proxy: Option<Proxy>,
    /// True if the system's proxies count.
    is_known: bool,
}

impl Environment {
    /// Reads what `config` names, from variables that `variable` knows.
    pub(crate) fn read(
        config: &Config,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BuildError> {
        let found = |key: &str, name: &str| {
            let missing = || BuildError::VariableMissing { key: key.to_owned(), name: name.to_owned() };
            variable(name).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let named = |key: &str, name: &String| match name.as_str() {
            "" => Ok(None),
            name => found(key, name).map(Some),
        };
        let backend = &config.backend;
        let mut headers = BTreeMap::new();
        for (header, name) in &backend.headers_env {
            let value = found(&format!("backend.headers_env.{header}"), name)?;
            if HeaderValue::from_str(&value).is_err() {
                return Err(BuildError::HeaderValue { header: header.clone(), name: name.clone() });
            }
            headers.insert(header.clone(), value);
        }
        let unreadable = |fault| BuildError::ProxyAddress { name: backend.proxy_env.clone(), fault };
        let proxy = named("backend.proxy_env", &backend.proxy_env)?;
        Ok(Self {
            credentials: credentials(backend, named("backend.token_env", &backend.token_env)?),
            headers,
            home: home(&variable),
            shell: variable("SHELL").map(OsString::from),
            proxy: proxy.map(|url| Proxy::parse(&url).map_err(unreadable)).transpose()?,
            is_known: true,
        })
    }

    /// Returns an unknown environment: that of another machine or time.
    #[cfg(feature = "cli")]
    pub(crate) fn unknown() -> Self {
        Self {
            credentials: Credentials::none(),
            headers: BTreeMap::new(),
            home: None,
            shell: None,
            proxy: None,
            is_known: false,
        }
    }

    /// Returns the proxy to use, if the file says `configured`.
    pub(crate) fn proxy(&self, configured: &ProxyChoice) -> ProxyChoice {
        self.proxy.clone().map_or_else(|| configured.clone(), ProxyChoice::Explicit)
    }

    /// Returns the login shell of the user, if it is known.
    pub(crate) fn shell(&self) -> Option<&OsStr> {
        self.shell.as_deref()
    }

    /// Replaces a leading `~` of a folder; `None` if the home folder is unknown.
    pub(crate) fn expand_home(&self, folder: &Path) -> Option<PathBuf> {
        match folder.strip_prefix("~") {
            Ok(rest) => self.home.as_ref().map(|home| home.join(rest)),
            Err(_) => Some(folder.to_owned()),
        }
    }

    /// Returns whether this is the environment in which the runtime will run.
    pub(crate) const fn is_known(&self) -> bool {
        self.is_known
    }

    pub(crate) fn system_proxies(&self) -> SystemProxies {
        if self.is_known {
            SystemProxies::from_system()
        } else {
            SystemProxies::from_variables(ProxyVariables::default())
        }
    }

    /// Returns the texts that must never be written. The proxy reports its own.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.credentials.seen().into_iter().chain(self.headers.values().cloned()).collect()
    }
}

/// Returns the configured source of the token. `first` is the value of `token_env` now; it may change later.
fn credentials(backend: &BackendConfig, first: Option<String>) -> Credentials {
    let BackendConfig { token_env: name, token_file, token_command, .. } = backend;
    if let Some(first) = first {
        let name = name.clone();
        let read = move |_| {
            let token = std::env::var(&name).ok().filter(|token| !token.is_empty());
            ready(token.map(Some).ok_or_else(|| CredentialError(format!("the variable {name:?} is not set"))))
        };
        Credentials::from_callback(read).with_known(&first)
    } else if !token_command.is_empty() {
        Credentials::from_command(token_command.clone())
    } else if !token_file.as_os_str().is_empty() {
        Credentials::from_file(token_file)
    } else {
        Credentials::none()
    }
}

/// The variable in which a program that the runtime starts finds the secret of its start.
pub(crate) const TOKEN_VARIABLE: &str = "MAINSTAY_TOKEN";

/// Returns the secret that this program was started with, if another runtime started it with one.
#[cfg(feature = "cli")]
pub(crate) fn start_token() -> Option<String> {
    std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
}

fn home(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = variable(if cfg!(windows) { "USERPROFILE" } else { "HOME" })?;
    Some(PathBuf::from(home)).filter(|home| home.is_absolute())
}

impl fmt::Debug for Environment {
    /// Shows names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("credentials", &self.credentials)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree_builder::{Overrides, TreeSpec};

    const FILE: &str = r#"
        [backend]
        token_env = "TOKEN"
        headers_env = { X-Api-Key = "KEY" }
        proxy_env = "PROXY"
    "#;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, String> {
        let config = Config::from_toml(FILE).unwrap();
        let value =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, it)| (*it).to_owned());
        Environment::read(&config, value).map_err(|error| format!("{error} {error:?}"))
    }

    #[test]
    fn secrets_come_from_named_variables_and_are_redacted() {
        let environment =
            read(&[("TOKEN", "t0ken"), ("KEY", "k3y"), ("PROXY", "http://user:hu%73h@127.0.0.1:1")]).unwrap();
        assert!(!format!("{environment:?}").contains("k3y"), "{environment:?}");
        let assembly =
            TreeSpec::build(&Config::from_toml(FILE).unwrap(), &environment, Overrides::default()).unwrap();
        for secret in ["t0ken", "k3y", "hush", "hu%73h", "dXNlcjpodXNo"] {
            assert_eq!(assembly.secrets.redaction().redact(secret), "[redacted]");
        }
    }

    #[cfg(unix)]
    #[test]
    fn folder_to_watch_may_begin_at_home_where_there_is_one() {
        let config = Config::from_toml("cache.watch = [\"~/notes\", \"/b\"]").unwrap();
        let watched = |home: Option<&str>| {
            let variable = |name: &str| home.filter(|_| name == "HOME").map(ToOwned::to_owned);
            let environment = Environment::read(&config, variable).unwrap();
            let assembly = TreeSpec::build(&config, &environment, Overrides::default())
                .map_err(|error| error.to_string())?;
            let standing = assembly.handles.files.roots().statuses();
            Ok::<_, String>(standing.map(|(root, _)| root.to_owned()).collect::<Vec<_>>())
        };
        let expected = [PathBuf::from("/home/me/notes"), PathBuf::from("/b")];
        assert_eq!(watched(Some("/home/me")).unwrap(), expected);
        let refusal = watched(None).unwrap_err();
        assert!(refusal.contains("~/notes") && refusal.contains("cache.watch"), "{refusal}");
    }

    #[test]
    fn missing_variable_is_named_with_its_config_key() {
        let all = [("TOKEN", "t"), ("KEY", "k"), ("PROXY", "http://127.0.0.1:1")];
        for (missing, key) in [
            ("TOKEN", "backend.token_env"),
            ("KEY", "backend.headers_env.x-api-key"),
            ("PROXY", "backend.proxy_env"),
        ] {
            for value in [None, Some("")] {
                let others = all.iter().filter(|(name, _)| *name != missing).copied();
                let variables: Vec<_> = others.chain(value.map(|value| (missing, value))).collect();
                let error = read(&variables).unwrap_err();
                assert!(error.starts_with(key) && error.contains(&format!("{missing:?}")), "{error}");
            }
        }
    }

    #[test]
    fn invalid_variable_is_named_without_its_value() {
        let broken_key = [("TOKEN", "t"), ("KEY", "hush\n"), ("PROXY", "http://127.0.0.1:1")];
        let error = read(&broken_key).unwrap_err();
        assert!(
            error.contains("x-api-key") && error.contains("\"KEY\"") && !error.contains("hush"),
            "{error}"
        );
        let broken_proxy = [("TOKEN", "t"), ("KEY", "k"), ("PROXY", "user:hush@proxy")];
        let error = read(&broken_proxy).unwrap_err();
        assert!(error.contains("\"PROXY\"") && error.contains("must start with"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
