//! The commands and options of the binary.

mod agent;
mod cache;
mod data_dir;
mod demo;
mod json;
mod number;
mod output_form;
mod requests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use mainstay_runtime::journal::Cursor;

use self::data_dir::{DATA_DIR_VARIABLE, GLOBAL};
use self::number::whole_number;
use super::output;
use super::time::TimeFormat;
use crate::config::parse_duration;

pub(super) use agent::AgentSubcommand;
pub(super) use cache::{CacheArgs, CacheScope, CacheSubcommand};
pub(super) use data_dir::DataDirArg;
pub(super) use demo::{DemoArgs, DemoFault, FaultRequests};
pub(super) use json::{read_answer, read_json};
pub(super) use output_form::{JsonFlag, OutputArgs, OutputForm, WatchedArgs};
pub(super) use requests::{RequestArgs, RequestsArgs, RequestsSubcommand};

/// The longest line of a help text, in columns.
const HELP_WIDTH_MAX: usize = 100;
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
        let matches = command.try_get_matches().map_err(with_config_tip);
        matches.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit())
    }

    /// Returns the form of times.
    pub(super) fn times(&self) -> TimeFormat {
        if self.utc { TimeFormat::utc() } else { TimeFormat::local() }
    }
}

/// Adds to an error about a file that follows `run` how a configuration is named.
fn with_config_tip(mut error: clap::Error) -> clap::Error {
    let is_of_run =
        error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().contains("mainstay run "));
    if let (true, Some(ContextValue::String(arg))) = (is_of_run, error.get(ContextKind::InvalidArg))
        && !arg.starts_with('-')
    {
        let tip = format!("a configuration is named by '--config {arg}'");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
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
    /// List what went wrong, the newest last; needs no running runtime
    Incidents(IncidentsArgs),
    /// Explain in a few lines what went wrong, and why; needs no running runtime
    Why {
        /// An actor, such as queue or an agent's id; an incident or event, such as 3.17; a request's id, such as 17; or a
        /// message, such as planner:17
        subject: String,
        #[command(flatten)]
        output: OutputArgs,
    },
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
pub(super) struct RunArgs {
    /// The configuration; without it every key has its default
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoBackendArgs {
    /// The port on 127.0.0.1 (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 8000, value_parser = whole_number(0..=u16::MAX))]
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
pub(super) struct IncidentsArgs {
    /// Only incidents of the last while, such as 1h
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub(super) since: Option<Duration>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
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

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Print each further line when it is written
    #[arg(long, short)]
    pub(super) follow: bool,
    /// The number of last lines [default: 100, and all with --since]
    #[arg(long, short = 'n', value_name = "N", value_parser = whole_number(0..=usize::MAX))]
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
mod tests;
