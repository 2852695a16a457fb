//! The configuration: a TOML file in which every key is optional.
//!
//! - `schema` declares every section and key, once: meaning, type, default, rule. `section` has the macro.
//! - `parser` has the rules of values; `choice`, [`parse_duration`] and [`parse_size`] are their forms.
//! - `table` reads a table by these rules; `agents` adds the rules among agents, `backend` and `limits`
//!   those between their keys.
//! - [`ConfigBuilder`] makes a configuration in code; `value` writes values in the form of the file.
//! - `fault` is a fault found while reading; [`ConfigProblem`] is the same with line and column, for people.
//!
//! Reading continues after a fault, so a [`ConfigError`] has all of them. A message repeats keys of the file, but no
//! other text, which may be a secret in the wrong place.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::LazyLock;

use mainstay_runtime::private_files::explain_unread;
use serde::Serialize;
use toml::de::DeTable;

mod agents;
mod backend;
mod builder;
mod choice;
mod duration;
mod error;
mod fault;
mod limits;
mod parser;
mod schema;
mod section;
mod size;
mod table;
mod value;

pub use agents::AGENTS_MAX;
#[cfg(feature = "cli")]
pub(crate) use agents::parse_agent_block;
pub use builder::ConfigBuilder;
pub use choice::{DriverKind, HealthSource, ReadyWhen};
pub(crate) use fault::{ConfigFault, index_step, key_step};
pub use mainstay_actors::connection::policy::AfterFailed;
pub use mainstay_actors::network::proxy::{Proxy, ProxyChoice};
pub use mainstay_actors::network::urls::{BaseUrl, BaseUrlError};
pub use mainstay_actors::queue::{GROUPS_MAX, Overflow};
pub(crate) use parser::address::URL_AUTO;

pub use duration::{DURATION_MAX, ParseDurationError, format_duration, parse_duration};
pub use error::{ConfigError, ConfigProblem};
pub use schema::{
    AgentConfig, AgentOverrides, AgentsConfig, BackendConfig, CacheConfig, ConnectionConfig, ControlConfig,
    JournalConfig, LimitConfig, LogsConfig, RequestsConfig,
};
pub use size::{ParseSizeError, SIZE_MAX, format_size, parse_size};

use table::{ConfigSection, TableReader};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// The settings. The default has no agent, and otherwise the values of [`DEFAULT_TOML`].
///
/// Every change of a field takes effect, until the runtime starts. Serialized, it has every key, in the form of the file.
/// [`to_toml`](Self::to_toml) returns a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Config {
    /// The backend.
    pub backend: BackendConfig,
    /// The WebSocket to the backend.
    pub connection: ConnectionConfig,
    /// The requests to the backend.
    pub requests: RequestsConfig,
    /// The limits of groups of requests, at most [`GROUPS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limit: Vec<LimitConfig>,
    /// The cache.
    pub cache: CacheConfig,
    /// The defaults of every agent.
    pub agents: AgentsConfig,
    /// The agents, in the order of the file, at most [`AGENTS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agent: Vec<AgentConfig>,
    /// The journal.
    pub journal: JournalConfig,
    /// The logs.
    pub logs: LogsConfig,
    /// The control server.
    pub control: ControlConfig,
}

impl Config {
    /// Reads a config and checks every value of it.
    ///
    /// # Errors
    ///
    /// The text is larger than [`FILE_BYTES_MAX`]; or it is no TOML, which is one problem; or it has unknown keys or
    /// invalid values, each of which is a problem.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(ConfigError::new(vec![too_large()]));
        }
        Self::parse(text, ConfigSource::File)
    }

    fn parse(text: &str, source: ConfigSource) -> Result<Self, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| syntax_error(text, &error))?;
        let document = document.get_ref();
        let mut root = TableReader::new(document);
        let config = Self::read(&mut root);
        let mut faults = root.finish();
        faults.extend(backend::find_faults(document));
        faults.extend(limits::find_faults(document));
        faults.extend(agents::find_faults(text, source, document));
        if faults.is_empty() {
            return Ok(config);
        }
        let mut problems = ConfigProblem::locate(text, faults);
        if source == ConfigSource::Code {
            problems.iter_mut().for_each(|problem| (problem.line, problem.column) = (0, 0));
        }
        Err(ConfigError::new(problems))
    }

    /// Reads a file; see [`Config::from_toml`]. Blocks the thread.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not UTF-8, or does not pass [`Config::from_toml`]; the error names the file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        read_text(file).and_then(|text| Self::from_toml(&text)).map_err(|error| error.in_file(file))
    }

    /// Returns the problem of a key, such as `agent[0].command`: `message` with the place of its value, or with that of
    /// the file if it lacks the key.
    #[cfg(feature = "cli")]
    pub(crate) fn problem_at(text: &str, key: &str, message: &str) -> ConfigProblem {
        let document = DeTable::parse(text).ok();
        match document.and_then(|document| place_of(document.get_ref(), key)) {
            Some(at) => ConfigProblem { key: key.to_owned(), ..ConfigProblem::at(text, at, message) },
            None => ConfigProblem { key: key.to_owned(), ..ConfigProblem::whole(message) },
        }
    }

    /// Returns the texts in which placeholders stand, each with its program, `backend` or an agent's id, and its key.
    #[cfg(feature = "cli")]
    pub(crate) fn program_texts(&self) -> Vec<(&str, String, &str)> {
        let backend = &self.backend;
        let backend = ("backend", "backend".to_owned(), &backend.command, &backend.env, &backend.ready);
        let agents = self.agent.iter().enumerate().map(|(at, agent)| {
            (agent.id.as_str(), format!("agent[{at}]"), &agent.command, &agent.env, &agent.ready)
        });
        let mut texts = Vec::new();
        for (program, section, command, env, ready) in std::iter::once(backend).chain(agents) {
            let words = command.iter().enumerate();
            texts
                .extend(words.map(|(at, word)| (program, format!("{section}.command[{at}]"), word.as_str())));
            texts.extend(
                env.iter().map(|(name, value)| (program, format!("{section}.env.{name}"), value.as_str())),
            );
            if let ReadyWhen::Stdout(line) = ready {
                texts.push((program, format!("{section}.ready"), line.as_str()));
            }
        }
        texts
    }

    fn read(root: &mut TableReader<'_, '_>) -> Self {
        let agents: AgentsConfig = root.section();
        let inherited = AgentConfig { supervision: agents.clone().into(), ..AgentConfig::default() };
        Self {
            backend: root.section(),
            connection: root.section(),
            requests: root.section(),
            limit: root.sections(&LimitConfig::default(), GROUPS_MAX),
            cache: root.section(),
            agent: root.sections(&inherited, AGENTS_MAX),
            agents,
            journal: root.section(),
            logs: root.section(),
            control: root.section(),
        }
    }
}

/// The origin of a text: problems of a text that was made of a configuration in code have no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    File,
    Code,
}

/// The default file, with a comment for each key. Reading it gives [`Config::default`]: the one `[[agent]]` and the one
/// `[[limit]]` in it are commented out.
pub static DEFAULT_TOML: LazyLock<String> = LazyLock::new(|| {
    let blocks = [
        section_toml::<BackendConfig>(),
        section_toml::<ConnectionConfig>(),
        section_toml::<RequestsConfig>(),
        example_toml::<LimitConfig>(),
        section_toml::<CacheConfig>(),
        section_toml::<AgentsConfig>(),
        example_toml::<AgentConfig>(),
        section_toml::<JournalConfig>(),
        section_toml::<LogsConfig>(),
        section_toml::<ControlConfig>(),
    ];
    // The comments are written for rustdoc; here, quotes replace the backticks of code.
    format!("{ABOUT}{}", blocks.concat()).replace('`', "\"")
});

const ABOUT: &str = "\
# The configuration of mainstay. Every key is optional, and stands here with its default.
# Durations are a whole number with ms, s, m or h. Sizes are a whole number of bytes, or one with KiB, MiB or GiB.
# No secret belongs in this file: token_env, headers_env and proxy_env name environment variables that hold one.
# Lines that begin with # and no space are an example: remove the # to use them.
";

fn section_toml<S: ConfigSection>() -> String {
    format!("\n{}{}\n{}", S::ABOUT, S::HEADER, S::KEYS)
}

/// Returns a section that the default does not have, as an example.
fn example_toml<S: ConfigSection>() -> String {
    let lines = section_toml::<S>();
    let lines = lines.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line if line.starts_with("# ") => format!("{line}\n"),
        setting => format!("#{setting}\n"),
    });
    lines.collect()
}

pub(crate) fn read_text(file: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    // One byte above the limit suffices to notice that the file is too large.
    let limit = FILE_BYTES_MAX as u64 + 1;
    File::open(file)
        .and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    text_of(bytes)
}

/// Returns the text of a file, which has at most [`FILE_BYTES_MAX`] bytes.
pub(crate) fn text_of(bytes: Vec<u8>) -> Result<String, ConfigError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ConfigError::new(vec![too_large()]));
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        ConfigError::new(vec![ConfigProblem::at(&text, sound, "this is not UTF-8; save the file as UTF-8")])
    })
}

/// Returns the byte at which the value of a key begins: `name`, then `.name` and `[index]` steps.
#[cfg(feature = "cli")]
fn place_of(document: &DeTable<'_>, key: &str) -> Option<usize> {
    let key = key.replace('[', ".[");
    let mut steps = key.split('.');
    let mut value = find_key(document, steps.next()?)?;
    for step in steps {
        value = match step.strip_prefix('[').and_then(|step| step.strip_suffix(']')) {
            Some(index) => value.get_ref().as_array()?.get(index.parse::<usize>().ok()?)?,
            None => find_key(value.get_ref().as_table()?, step)?,
        };
    }
    Some(value.span().start)
}

/// Returns the value of a key. Names of headers have no capitals once they are read.
#[cfg(feature = "cli")]
fn find_key<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t parser::TomlValue<'i>> {
    let found = table.iter().find(|(name, _)| name.get_ref().eq_ignore_ascii_case(key));
    found.map(|(_, value)| value)
}

pub(crate) fn unreadable(error: &io::Error) -> ConfigError {
    ConfigError::new(vec![ConfigProblem::whole(explain_unread(error))])
}

fn too_large() -> ConfigProblem {
    ConfigProblem::whole(format!("is too large: a config has at most {}", format_size(FILE_BYTES_MAX as u64)))
}

/// Takes only toml's message: its `Display` repeats the line of the file, which may hold a secret.
fn syntax_error(text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let message = error.message().replace('\n', " ");
    ConfigError::new(vec![ConfigProblem::at(text, at, format!("this is not TOML: {message}"))])
}

#[cfg(test)]
mod tests;
