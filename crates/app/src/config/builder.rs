//! Makes a configuration in code, and checks and writes one that was made or changed in code.

use serde::Serialize;
use toml::{Table, Value};

use super::choice::DriverKind;
use super::error::{ConfigError, ConfigProblem};
use super::schema::{
    AgentConfig, AgentsConfig, BackendConfig, CacheConfig, ConnectionConfig, ControlConfig, JournalConfig,
    LimitConfig, RequestsConfig,
};
use super::{Config, ConfigSource};

/// Makes a [`Config`] in code. Each method changes one section, which has its defaults otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::config::{AgentConfig, Config};
///
/// # fn main() -> Result<(), mainstay::config::ConfigError> {
/// let config = Config::builder()
///     .backend(|backend| backend.url = "http://127.0.0.1:9000".to_owned())
///     .requests(|requests| requests.timeout = Duration::from_secs(120))
///     .agents(|agents| agents.max_restarts = 10)
///     .agent(AgentConfig::http("planner"))
///     .agent(AgentConfig::process("coder", ["coder", "--stdio"]))
///     .build()?;
/// # assert_eq!(Config::from_toml(&config.to_toml()?)?, config);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it makes no configuration without build"]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Changes `[backend]`.
    pub fn backend(mut self, change: impl FnOnce(&mut BackendConfig)) -> Self {
        change(&mut self.0.backend);
        self
    }

    /// Changes `[connection]`.
    pub fn connection(mut self, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        change(&mut self.0.connection);
        self
    }

    /// Changes `[requests]`.
    pub fn requests(mut self, change: impl FnOnce(&mut RequestsConfig)) -> Self {
        change(&mut self.0.requests);
        self
    }

    /// Adds a `[[limit]]`: of the requests whose path matches `path`, at most `max_concurrent` run at the same time.
    pub fn limit(mut self, path: impl Into<String>, max_concurrent: usize) -> Self {
        self.0.limit.push(LimitConfig { path: path.into(), max_concurrent });
        self
    }

    /// Changes `[cache]`.
    pub fn cache(mut self, change: impl FnOnce(&mut CacheConfig)) -> Self {
        change(&mut self.0.cache);
        self
    }

    /// Changes `[agents]`, the defaults of every agent.
    pub fn agents(mut self, change: impl FnOnce(&mut AgentsConfig)) -> Self {
        change(&mut self.0.agents);
        self
    }

    /// Adds an `[[agent]]`.
    pub fn agent(mut self, agent: AgentConfig) -> Self {
        self.0.agent.push(agent);
        self
    }

    /// Changes `[journal]`.
    pub fn journal(mut self, change: impl FnOnce(&mut JournalConfig)) -> Self {
        change(&mut self.0.journal);
        self
    }

    /// Changes `[control]`.
    pub fn control(mut self, change: impl FnOnce(&mut ControlConfig)) -> Self {
        change(&mut self.0.control);
        self
    }

    /// Returns the configuration.
    ///
    /// # Errors
    /// Each value that a file could not have either, by its key.
    pub fn build(self) -> Result<Config, ConfigError> {
        self.0.check()?;
        Ok(self.0)
    }
}

impl AgentConfig {
    /// Returns an agent behind the backend's endpoints.
    #[must_use]
    pub fn http(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// Returns an agent that is a child process with JSON lines on stdin and stdout.
    #[must_use]
    pub fn process(id: impl Into<String>, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self { id: id.into(), driver: DriverKind::Process, command, ..Self::default() }
    }

    /// Returns an agent that is a child process and speaks the Agent Client Protocol.
    #[must_use]
    pub fn acp(id: impl Into<String>, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { driver: DriverKind::Acp, ..Self::process(id, command) }
    }
}

impl Config {
    /// Returns a builder with the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Checks every value, and the rules among them, as reading a file does. [`MainstayBuilder::start`] checks as well,
    /// so this serves those who change a configuration in code and start later.
    ///
    /// # Errors
    /// Each problem, by its key.
    ///
    /// [`MainstayBuilder::start`]: crate::MainstayBuilder::start
    pub fn check(&self) -> Result<(), ConfigError> {
        self.read_back().map(|_| ())
    }

    /// Returns the text of a file for this configuration: each key with a value other than its default. Reading it gives
    /// the same configuration; a duration has no fractions of a millisecond there. No secret stands in it but those in the
    /// environment of programs.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        self.check()?;
        self.to_text()
    }

    fn read_back(&self) -> Result<Self, ConfigError> {
        Self::parse(&self.to_text()?, ConfigSource::Code)
    }

    fn to_text(&self) -> Result<String, ConfigError> {
        let mut table = to_table(self)?;
        remove_defaults(&mut table, &to_table(&Self::default())?);
        // A list without a section of it in the default has keys that must be there.
        remove_defaults_of_each(&mut table, "agent", &to_table(&AgentConfig::default())?, "id");
        remove_defaults_of_each(&mut table, "limit", &to_table(&LimitConfig::default())?, "path");
        toml::to_string(&table).map_err(|error| unwritable(&error))
    }
}

fn to_table(section: &impl Serialize) -> Result<Table, ConfigError> {
    Table::try_from(section).map_err(|error| unwritable(&error))
}

/// Returns the error for a value that no text can hold, such as a path that is not Unicode.
fn unwritable(error: &impl std::fmt::Display) -> ConfigError {
    ConfigError::new(vec![ConfigProblem::whole(format!("it cannot be written as a file: {error}"))])
}

/// Removes the values that are as in `defaults`, in each section.
fn remove_defaults(table: &mut Table, defaults: &Table) {
    table.retain(|key, value| {
        let default = defaults.get(key);
        if let (Value::Table(section), Some(Value::Table(default))) = (&mut *value, default) {
            remove_defaults(section, default);
        }
        default != Some(value) && *value != Value::Table(Table::new())
    });
}

/// Removes the default values of each table in a list, except the key `kept`.
fn remove_defaults_of_each(table: &mut Table, list: &str, defaults: &Table, kept: &str) {
    let Some(Value::Array(items)) = table.get_mut(list) else { return };
    let mut defaults = defaults.clone();
    defaults.remove(kept);
    for item in items.iter_mut().filter_map(Value::as_table_mut) {
        remove_defaults(item, &defaults);
    }
}
