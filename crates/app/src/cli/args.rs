//! The commands and options of the binary.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use mainstay_actors::json::{Json, explain_syntax};
use mainstay_actors::suggestion::nearest;
use mainstay_runtime::journal::{Cursor, millis};
use mainstay_runtime::private_files::explain_unread;

use super::config_check::STDIN;
use super::error::CliError;
use super::output;
use super::time::TimeFormat;
use crate::bridge::RequestCommand;
use crate::config::parse_duration;
use crate::{DataDir, Priority};

/// The longest line of a help text, in columns.
const HELP_WIDTH_MAX: usize = 100;
/// The variable that names the data folder.
const DATA_DIR_VARIABLE: &str = "MAINSTAY_DATA_DIR";
/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";
/// The commit from which a release was built, with its date: ` (0123456789ab, 2026-11-29)`.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("MAINSTAY_COMMIT"));

/// Keeps a desktop shell connected to its backend, and the backend's agents alive.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version = VERSION, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) data_dir: DataDirArg,
    /// Log to stderr from this level on; `debug` also records the start and end of every request
    #[arg(long, global = true, value_name = "LEVEL", help_heading = GLOBAL)]
    pub(super) log: Option<LogLevel>,
    /// Show times in UTC instead of local time
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(super) utc: bool,
    /// Use colours
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto, help_heading = GLOBAL)]
    pub(super) color: ColorChoice,
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

impl Args {
    /// Reads the arguments of this process, or ends it: with help that fits the terminal, or with what is wrong.
    pub(super) fn read() -> Self {
        let mut color = color_choice(std::env::args_os().skip(1));
        let is_forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty());
        // Where `CI` is set, `anstream` and `clap` would give colours to a dumb terminal.
        if color == ColorChoice::Auto && !is_forced && output::is_dumb_terminal() {
            color = ColorChoice::Never;
        }
        match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        let mut command = Self::command().term_width(output::width().min(HELP_WIDTH_MAX)).color(color);
        if std::env::var_os(DATA_DIR_VARIABLE).is_some_and(|folder| folder.is_empty()) {
            // An empty variable is as good as none.
            command = command.mut_arg("data_dir", |arg| arg.env(None::<&str>));
        }
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Returns the form of times.
    pub(super) fn times(&self) -> TimeFormat {
        if self.utc { TimeFormat::utc() } else { TimeFormat::local() }
    }
}

/// Returns the value of `--color`, which rules help and usage errors, too, so that it counts before the rest is read. What is
/// wrong with it is an error later.
fn color_choice(args: impl Iterator<Item = OsString>) -> ColorChoice {
    let mut args = args.take_while(|arg| arg != "--");
    while let Some(arg) = args.next() {
        let value = match arg.to_str() {
            Some("--color") => args.next(),
            Some(arg) => arg.strip_prefix("--color=").map(OsString::from),
            None => None,
        };
        if let Some(value) = value {
            return value.to_str().and_then(|value| value.parse().ok()).unwrap_or_default();
        }
    }
    ColorChoice::default()
}

#[derive(Debug, clap::Args)]
pub(super) struct DataDirArg {
    /// The folder for the journal and the control file [default: the platform's data folder, mainstay/]
    #[arg(long, global = true, value_name = "DIR", env = DATA_DIR_VARIABLE, hide_env_values = true, help_heading = GLOBAL)]
    data_dir: Option<PathBuf>,
}

impl DataDirArg {
    pub(super) fn folder(&self) -> Result<DataDir, CliError> {
        let default = || dirs::data_dir().map(|dir| dir.join("mainstay"));
        self.data_dir.clone().or_else(default).map(DataDir::new).ok_or_else(|| {
            CliError::usage(
                "this system names no data folder: say which one with --data-dir DIR or MAINSTAY_DATA_DIR",
            )
        })
    }
}

impl DataDirArg {
    /// Returns the beginning of a command line for this program and this folder, for a person to copy.
    pub(super) fn this_program(&self) -> String {
        let word = |text: &str| quote(text, cfg!(windows));
        let program = std::env::args().next().map_or_else(|| "mainstay".to_owned(), |program| word(&program));
        match &self.data_dir {
            Some(folder) => format!("{program} --data-dir {}", word(&folder.display().to_string())),
            None => program,
        }
    }
}

/// Returns a word of a command line as a shell takes it whole: PowerShell and cmd, or one of Unix.
fn quote(word: &str, is_windows: bool) -> String {
    let is_plain_mark = |c| "/:._-".contains(c) || (is_windows && c == '\\');
    if !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || is_plain_mark(c)) {
        return word.to_owned();
    }
    match is_windows {
        true => format!("\"{word}\""),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            // Below debug, the spans of ractor say nothing but numbers.
            Self::Error => "error,ractor=error",
            Self::Warn => "warn,ractor=error",
            Self::Info => "info,ractor=error",
            Self::Debug => "debug",
            // The handshake of the WebSocket logs its headers at this level, the token among them.
            Self::Trace => "trace,tungstenite=debug,tokio_tungstenite=debug",
        }
    }

    pub(super) fn is_verbose(self) -> bool {
        matches!(self, Self::Debug | Self::Trace)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the whole tree against the embedded backend, with a dashboard
    Demo(DemoArgs),
    /// Run the tree against a real backend, in the foreground
    Run(RunArgs),
    /// Run the embedded backend alone
    DemoBackend(DemoBackendArgs),
    /// Show connection, queue, cache and agents of a running runtime
    Status(WatchedArgs),
    /// Show the supervision tree of a running runtime
    Tree(WatchedArgs),
    /// Read the journal; needs no running runtime
    Events(EventsArgs),
    /// Show the messages that actors did not handle, and those to agents that ended with an error, and
    /// why; needs no running runtime
    DeadLetters(OutputArgs),
    /// Recompute each decision of a journal: exit code 1 and the first difference if one differs
    Replay(ReplayArgs),
    /// Send one request through the queue of a running runtime
    Request(RequestArgs),
    /// List the requests that have not ended, or cancel or move one
    Requests(RequestsArgs),
    /// List the agents
    Agents(WatchedArgs),
    /// Show or control one agent
    #[command(subcommand)]
    Agent(AgentSubcommand),
    /// Show or control the backend's process, if the runtime starts the backend
    #[command(subcommand)]
    Backend(BackendSubcommand),
    /// Read what the backend or an agent has printed; needs no running runtime
    Logs {
        /// The agent, or `backend`
        id: String,
        #[command(flatten)]
        range: LogArgs,
    },
    /// Show the WebSocket's state
    Connection(WatchedArgs),
    /// Open a new WebSocket now, also in place of an open one, and wait for the outcome
    Reconnect,
    /// Close the WebSocket, and keep it closed until `reconnect`
    Disconnect,
    /// Show the cache, or invalidate entries of it
    Cache(CacheArgs),
    /// Control the token for the backend
    #[command(subcommand)]
    Credentials(CredentialsCommand),
    /// Print or check a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make an actor panic: connection, queue, cache, or an agent's id (debug builds only)
    #[cfg(debug_assertions)]
    #[command(hide = true)]
    Panic { actor: String },
}

#[derive(Debug, clap::Args)]
pub(super) struct JsonFlag {
    /// Print one JSON value and nothing else
    #[arg(long)]
    pub(super) json: bool,
}

/// The form of what a command prints.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct OutputArgs {
    /// Print a table that fits the terminal, a wide one with everything in it, or json
    #[arg(short, long, value_name = "FORM", default_value_t = OutputForm::Table, value_enum, hide_default_value = true)]
    output: OutputForm,
    /// Print one JSON value and nothing else, as -o json does
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl OutputArgs {
    pub(super) fn form(self) -> OutputForm {
        if self.json { OutputForm::Json } else { self.output }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputForm {
    // Without documentation, which would make every help text long.
    #[default]
    Table,
    Wide,
    Json,
}

impl OutputForm {
    pub(super) fn is_wide(self) -> bool {
        self == Self::Wide
    }
}

#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct WatchedArgs {
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// Show it again each second, until Ctrl-C
    #[arg(short, long)]
    pub(super) watch: bool,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    pub(super) fault: Option<DemoFault>,
    /// The number of agents of the backend
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) agents: u16,
    /// The port of the dashboard (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(super) port: u16,
    /// Stop after this long, such as 10s
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) run_for: Option<Duration>,
}

/// A fault of the running demo, or its end.
#[derive(Debug, Subcommand)]
pub(super) enum DemoFault {
    /// Crash an agent: it fails, and loses its memory
    Crash {
        /// The agent
        agent: String,
    },
    /// Hang an agent: it answers nothing but a restart
    Hang {
        /// The agent
        agent: String,
    },
    /// Heal an agent
    Heal {
        /// The agent
        agent: String,
    },
    /// Cut every open WebSocket
    Drop,
    /// Refuse WebSockets for a while
    Refuse {
        /// For this long, up to an hour; 0s ends it
        #[arg(value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
        during: Duration,
    },
    /// Keep WebSockets open, but read, answer and send nothing
    HalfOpen {
        /// For this long, up to an hour; 0s ends it
        #[arg(value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
        during: Duration,
    },
    /// Answer requests with an error
    Fail {
        #[command(flatten)]
        requests: FaultRequests,
        /// The HTTP status of the answer, 400 to 599
        #[arg(long, value_name = "STATUS", default_value_t = 503, value_parser = clap::value_parser!(u16).range(400..=599))]
        status: u16,
        /// The `Retry-After` of the answer
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        retry_after: Option<Duration>,
    },
    /// Delay requests
    Slow {
        #[command(flatten)]
        requests: FaultRequests,
        /// The delay, up to an hour
        #[arg(long, value_name = "DUR", value_parser = parse_duration, default_value = "2s")]
        delay: Duration,
    },
    /// Reset the connections of requests
    Reset {
        #[command(flatten)]
        requests: FaultRequests,
    },
}

/// The requests that a fault hits.
#[derive(Debug, clap::Args)]
pub(super) struct FaultRequests {
    /// The beginning of their path
    #[arg(value_name = "PATH", default_value = "/api")]
    pub(super) path: String,
    /// The number of requests
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) times: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    pub(super) command: Option<CacheSubcommand>,
    #[command(flatten)]
    pub(super) watched: WatchedArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum CacheSubcommand {
    /// Show the cache's figures and the watched folders
    Show(WatchedArgs),
    /// Drop entries, so that the next lookup loads them again
    Invalidate(CacheScope),
}

/// The entries to drop.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct CacheScope {
    /// The entry with this key
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Every entry whose key begins so
    #[arg(long)]
    pub(super) prefix: Option<String>,
    /// Every entry whose key matches this pattern
    #[arg(long, value_name = "PATTERN")]
    pub(super) glob: Option<String>,
    /// Every entry
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The configuration; without it every key has its default
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoBackendArgs {
    /// The port on 127.0.0.1 (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(super) port: u16,
    /// The ids of the agents
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', default_value = "planner")]
    pub(super) agents: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Print each further event as it happens
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only events after this one, such as 3.17: event 17 of run 3
    #[arg(long, value_name = "RUN.SEQ", default_value_t = Cursor::START, hide_default_value = true)]
    pub(super) after: Cursor,
    /// Only events of the last while, such as 5m
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub(super) since: Option<Duration>,
    /// Only events of this actor: a path, or a pattern such as 'root/agents/*'
    #[arg(long, value_name = "PATH-OR-GLOB")]
    pub(super) actor: Option<String>,
    /// Only events of these kinds
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub(super) kind: Vec<String>,
    /// Print the stored lines
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// A journal's folder, a data folder, a file of events one a line, or - for stdin [default: the data folder's journal]
    #[arg(value_name = "DIR or FILE")]
    pub(super) source: Option<PathBuf>,
    /// Print one JSON value and nothing else
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PriorityArg {
    High,
    Normal,
    Low,
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::High => Self::High,
            PriorityArg::Normal => Self::Normal,
            PriorityArg::Low => Self::Low,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct RequestsArgs {
    #[command(subcommand)]
    pub(super) command: Option<RequestsSubcommand>,
    #[command(flatten)]
    pub(super) watched: WatchedArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum RequestsSubcommand {
    /// Cancel a request; one that is under way may have reached the backend
    Cancel {
        /// The request's number, as the list shows it
        id: u64,
    },
    /// Change the priority of a waiting request
    Priority {
        /// The request's number, as the list shows it
        id: u64,
        /// The new priority
        #[arg(value_enum)]
        priority: PriorityArg,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct RequestArgs {
    /// The HTTP method, also one of the backend's own
    #[arg(value_parser = |method: &str| Ok::<_, Infallible>(method.to_uppercase()))]
    method: String,
    /// The path on the backend, with its query
    path: String,
    /// The body: JSON, @FILE with JSON in it, or - for standard input
    #[arg(long, value_name = "JSON, @FILE or -")]
    body: Option<String>,
    /// The priority in the queue
    #[arg(long, value_enum, default_value_t = PriorityArg::Normal)]
    priority: PriorityArg,
    /// The longest time that one attempt may make no progress
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// The longest wait in the queue and for the backend
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// The longest time in all, waits and retries included; 0s for no limit
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// The number of retries
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Accept a cached response that is at most this old, and cache the response
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    cache: Option<Duration>,
    /// Follow 301, 302 and 303 after a write, mostly with a GET
    #[arg(long)]
    follow_redirected_writes: bool,
    /// The key that every attempt carries, so that the backend acts once
    #[arg(long, value_name = "K")]
    idempotency_key: Option<String>,
    /// Print one JSON value and nothing else
    #[arg(long)]
    pub(super) json: bool,
}

impl RequestArgs {
    /// Returns a hint if the method, which is sent as it is, may be a slip for a common one.
    pub(super) fn method_hint(&self) -> Option<String> {
        const COMMON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let near = nearest(&self.method, &COMMON).filter(|near| *near != self.method)?;
        Some(format!("the method {} was sent as it is; did you mean {near}?", self.method.escape_debug()))
    }

    pub(super) fn into_command(self) -> Result<RequestCommand, CliError> {
        Ok(RequestCommand {
            body: self.body.as_deref().map(|body| read_json(body, "--body")).transpose()?,
            priority: self.priority.into(),
            timeout_ms: self.timeout.map(millis),
            wait_timeout_ms: self.wait.map(millis),
            deadline_ms: self.deadline.map(millis),
            retries: self.retries,
            follow_redirected_writes: self.follow_redirected_writes,
            cache_ms: self.cache.map(millis),
            idempotency_key: self.idempotency_key,
            ..RequestCommand::new(self.method, self.path)
        })
    }
}

/// Reads an answer as [`read_json_or_file`] does. A text that cannot be meant as JSON is taken as it is: most answers are a word.
pub(super) fn read_answer(text: &str) -> Result<Json, CliError> {
    let is_plain = !text.trim_start().starts_with(['{', '[', '"', '@']);
    match read_json_or_file(text, "the answer") {
        Err(_) if is_plain => Ok(Json::from(serde_json::Value::from(text))),
        read => read,
    }
}

/// Reads JSON as [`read_json_or_file`] does, or from standard input for a dash.
pub(super) fn read_json(text: &str, name: &str) -> Result<Json, CliError> {
    if !["-", "@-"].contains(&text) {
        return read_json_or_file(text, name);
    }
    let mut text = Vec::new();
    let read = io::stdin().read_to_end(&mut text);
    read.map_err(|error| CliError::usage(format!("{name}: {STDIN} {}", explain_unread(&error))))?;
    parse_json(&text, STDIN)
}

/// Reads JSON, or the file with JSON that is named after an @; `name` is what the argument is called.
fn read_json_or_file(text: &str, name: &str) -> Result<Json, CliError> {
    let Some(file) = text.strip_prefix('@') else { return parse_json(text.as_bytes(), name) };
    let text = std::fs::read(file)
        .map_err(|error| CliError::usage(format!("{name}: {file} {}", explain_unread(&error))))?;
    parse_json(&text, file)
}

fn parse_json(text: &[u8], what: &str) -> Result<Json, CliError> {
    Json::parse(text).map_err(|error| match error.is_data() {
        true => CliError::usage(format!("{what} cannot be passed on: {error}")),
        false => CliError::usage(format!("{what} {}", explain_syntax(text, &error))),
    })
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Print each further line when it is written
    #[arg(long, short)]
    pub(super) follow: bool,
    /// The number of last lines [default: 100, and all with --since]
    #[arg(long, short = 'n', value_name = "N")]
    pub(super) lines: Option<usize>,
    /// Only lines of the last while, such as 10m
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub(super) since: Option<Duration>,
    /// Print one JSON value a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum BackendSubcommand {
    /// Show the backend's process
    Show(WatchedArgs),
    /// Start the backend after a stop, or after it was given up
    Start,
    /// Stop the backend until it is started again
    Stop,
    /// Stop the backend and start it again; this uses no budget
    Restart,
    /// Restore the backend's restart budget, and start the backend if it was given up
    Reset,
    /// Read what the backend has printed; needs no running runtime
    Logs(LogArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum AgentSubcommand {
    /// Show the agent, and its last events
    Show {
        /// The agent
        id: String,
        #[command(flatten)]
        watched: WatchedArgs,
    },
    /// Restart the agent now; this uses no budget
    Restart {
        /// The agent
        id: String,
    },
    /// Restart an ACP agent that needs a login, and log in
    Login {
        /// The agent
        id: String,
        /// The login's id, as the agent's last error names it [default: the only one that the agent offers]
        method: Option<String>,
    },
    /// Stop the agent and its health checks until it is started again; end its process if it has one
    Stop {
        /// The agent
        id: String,
    },
    /// Start the agent after a stop
    Start {
        /// The agent
        id: String,
    },
    /// Restore the agent's restart budget, and start the agent if it was given up
    Reset {
        /// The agent
        id: String,
    },
    /// Send the agent a message and print the answer; Ctrl-C cancels the message
    Send {
        /// The agent
        id: String,
        /// The message: JSON, @FILE with JSON in it, or - for standard input
        #[arg(value_name = "JSON, @FILE or -")]
        message: String,
        /// Permit up to two more deliveries if the agent or the runtime ends before the answer
        #[arg(long)]
        repeat: bool,
        /// The longest wait for the delivery [default: 60s]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        wait: Option<Duration>,
        /// The longest silence of the agent, 0s for no limit; a person's answer is waited for without limit [default: 10m]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        timeout: Option<Duration>,
        /// The longest time in all, 0s for no limit [default: 0s]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        deadline: Option<Duration>,
        #[command(flatten)]
        output: JsonFlag,
    },
    /// Follow the agent's updates, until Ctrl-C
    Listen {
        /// The agent
        id: String,
        /// Print one JSON value a line
        #[arg(long)]
        json: bool,
    },
    /// Answer a question of the agent
    Answer {
        /// The agent
        id: String,
        /// The question's name, as `show` and `listen` show it
        #[arg(value_name = "QUESTION")]
        ask: String,
        /// The answer: JSON, a plain word, or @FILE with JSON in it
        #[arg(value_name = "VALUE")]
        answer: String,
    },
    /// Add an agent, until the runtime ends
    Add {
        /// A file with one [[agent]] block, or - for standard input
        file: PathBuf,
    },
    /// Stop the agent, and delete it with its state
    Remove {
        /// The agent
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CredentialsCommand {
    /// Ask for a new token, and let a waiting or failed connection try it
    Reload,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the default configuration, with comments
    Default,
    /// Check a configuration: name its errors, and warn about what is not there on this computer
    Check {
        /// The file, or - for stdin
        file: PathBuf,
        #[command(flatten)]
        output: JsonFlag,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answer_is_json_or_a_plain_word() {
        for (text, expected) in [
            ("allow", json!("allow")),
            ("true", json!(true)),
            ("7", json!(7)),
            ("\"7\"", json!("7")),
            ("", json!("")),
        ] {
            assert_eq!(read_answer(text).unwrap(), expected, "{text}");
        }
        for text in ["{\"a\":", "[1", "\"open", "@absent.json"] {
            assert!(read_answer(text).is_err(), "{text}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "\u{feff}[1]").unwrap();
        assert_eq!(read_answer(&format!("@{}", file.path().display())).unwrap(), json!([1]));
    }

    #[test]
    fn any_method_is_sent_and_a_slip_has_a_hint() {
        for (given, method, near) in [
            ("get", "GET", None),
            ("PATCH", "PATCH", None),
            ("GTE", "GTE", Some("GET")),
            ("delet", "DELET", Some("DELETE")),
            ("SET", "SET", Some("GET")),
            ("propfind", "PROPFIND", None),
        ] {
            let args = Args::try_parse_from(["mainstay", "request", given, "/"]).unwrap();
            let CliCommand::Request(request) = args.command else { panic!("{given}") };
            let hint =
                near.map(|near| format!("the method {method} was sent as it is; did you mean {near}?"));
            assert_eq!((&*request.method, request.method_hint()), (method, hint));
        }
    }

    #[test]
    fn folder_is_quoted_as_the_shell_takes_it() {
        for (text, expected) in [
            ("/home/me/.local", "/home/me/.local"),
            ("/home/me/my data", "'/home/me/my data'"),
            ("/tmp/$HOME`id`", "'/tmp/$HOME`id`'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quote(text, false), expected);
        }
        assert_eq!(quote(r"C:\My Data", true), "\"C:\\My Data\"");
    }

    #[test]
    fn color_is_known_before_the_rest_is_read() {
        for (args, expected) in [
            (&["--color", "never", "statuss"][..], ColorChoice::Never),
            (&["status", "--color=always", "--help"], ColorChoice::Always),
            (&["status"], ColorChoice::Auto),
            (&["--color"], ColorChoice::Auto),
            (&["--color", "pink"], ColorChoice::Auto),
            (&["request", "--", "--color", "never"], ColorChoice::Auto),
        ] {
            assert_eq!(color_choice(args.iter().map(OsString::from)), expected, "{args:?}");
        }
    }

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
