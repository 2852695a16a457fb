//! The `mainstay` binary.
//!
//! - `args`: the commands and their options
//! - `run`: `demo`, `run` and `demo-backend`, which keep running
//! - `client`: asks a running runtime, over its bridge; `report`: shows the answers
//! - `requests`: commands about requests that have not ended
//! - `agent`: commands about one agent; `agent_report`: shows agents
//! - `journal`, `dead_letters`, `replay`: need no running runtime; `event_format`: an event as a sentence
//! - `logging`: logs, which never block; `stderr`: error lines
//! - `error`: why a command failed, and its exit code; `output`: standard output and its styles

mod agent;
mod agent_report;
mod args;
mod client;
mod dead_letters;
mod error;
mod event_format;
mod journal;
mod logging;
mod output;
mod replay;
mod report;
mod requests;
mod run;
mod stderr;

use std::process::ExitCode;

use clap::Parser;

use crate::bridge::{BackendAction, BridgeCommand, ConnectionAction, CredentialsAction};
use crate::config::{Config, DEFAULT_TOML};
use crate::tree_builder;
use args::{Args, BackendSubcommand, CliCommand, ConfigCommand, CredentialsCommand};
use client::BridgeClient;
use error::CliError;
use output::Output;

/// Runs the binary: reads the arguments, does what they say, and returns the exit code.
///
/// 0: done; 1: it failed; 2: usage or configuration; 3: no runtime is running.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let _log = logging::start(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(args)),
        Err(error) => Err(CliError::internal(format!("the runtime's threads cannot be started: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn dispatch(args: Args) -> Result<(), CliError> {
    let mut out = Output::stdout();
    let is_verbose = args.log.is_some_and(args::LogLevel::is_verbose);
    match args.command {
        CliCommand::Demo(demo) => run::demo(&mut out, demo, args.data_dir.folder()?, is_verbose).await,
        CliCommand::Run(run) => run::run(&mut out, run, args.data_dir.folder()?, is_verbose).await,
        CliCommand::DemoBackend(backend) => run::demo_backend(&mut out, backend).await,
        CliCommand::Events(events) => journal::events(&mut out, events, args.data_dir.folder()?).await,
        CliCommand::DeadLetters(shape) => {
            dead_letters::dead_letters(&mut out, shape.json, &args.data_dir.folder()?)
        }
        CliCommand::Replay(arguments) => replay::replay(&mut out, arguments, &args.data_dir),
        CliCommand::Config(ConfigCommand::Default) => out.text(&DEFAULT_TOML),
        CliCommand::Config(ConfigCommand::Check { file }) => {
            let config = Config::load(&file)?;
            tree_builder::check_config(&config).map_err(|error| match error.key() {
                Some(key) => Config::problem_at(&file, key, &error.to_string()).into(),
                None => CliError::usage(error.to_string()),
            })?;
            out.line(&format!("{} is valid", file.display()))
        }
        command => run_remote(&mut out, command, &args.data_dir).await,
    }
}

/// Runs a command that asks a running runtime.
async fn run_remote(out: &mut Output, command: CliCommand, data: &args::DataDirArg) -> Result<(), CliError> {
    let mut client = BridgeClient::connect(data.folder()?).await?;
    match command {
        CliCommand::Status(shape) => {
            let status = client.request(BridgeCommand::Status {}).await?;
            if shape.json { out.json(&status) } else { report::status(out, client.parse(&status)?) }
        }
        CliCommand::Tree(shape) => {
            let tree = client.request(BridgeCommand::Tree {}).await?;
            if shape.json { out.json(&tree) } else { report::tree(out, &client.parse(&tree)?) }
        }
        CliCommand::Agents(shape) => {
            let agents = client.request(BridgeCommand::Agents {}).await?;
            if shape.json {
                out.json(&agents)
            } else {
                agent_report::list(out, &client.parse::<Vec<_>>(&agents)?)
            }
        }
        CliCommand::Agent(command) => agent::run(out, &mut client, command).await,
        CliCommand::Backend(command) => {
            let (action, json) = match command {
                BackendSubcommand::Show(shape) => (BackendAction::Show, shape.json),
                BackendSubcommand::Start => (BackendAction::Start, false),
                BackendSubcommand::Stop => (BackendAction::Stop, false),
                BackendSubcommand::Restart => (BackendAction::Restart, false),
                BackendSubcommand::Reset => (BackendAction::Reset, false),
            };
            let backend = client.request(BridgeCommand::Backend { action }).await?;
            if json { out.json(&backend) } else { report::backend(out, &client.parse(&backend)?) }
        }
        CliCommand::Connection(shape) => {
            run_connection(out, &mut client, ConnectionAction::Show {}, shape.json).await
        }
        CliCommand::Reconnect => {
            let answer = client.request(BridgeCommand::Connection(ConnectionAction::Reconnect {})).await?;
            out.line(match answer.to_value()["reconnected"].as_str() {
                Some("replaced") => "a new socket has replaced the open one",
                _ => "connected",
            })?;
            report::connection(out, &client.parse(&answer)?)
        }
        CliCommand::Disconnect => {
            run_connection(out, &mut client, ConnectionAction::Disconnect {}, false).await
        }
        CliCommand::Credentials(CredentialsCommand::Reload) => {
            let action = CredentialsAction::Reload;
            let answer = client.request(BridgeCommand::Credentials { action }).await?;
            out.line(match answer.to_value()["changed"].as_bool() {
                Some(true) => "a new token is in use from now on",
                _ => "the token is the same as before",
            })
        }
        CliCommand::Request(request) => {
            let json = request.json;
            let answer = client.request(BridgeCommand::Request(Box::new(request.into_command()?))).await;
            report::response(out, &client, answer, json)
        }
        CliCommand::Requests(command) => requests::run(out, &mut client, command).await,
        #[cfg(debug_assertions)]
        CliCommand::Panic { actor } => client.request(BridgeCommand::Panic { actor }).await.map(|_| ()),
        CliCommand::Demo(_)
        | CliCommand::Run(_)
        | CliCommand::DemoBackend(_)
        | CliCommand::Events(_)
        | CliCommand::DeadLetters(_)
        | CliCommand::Replay(_)
        | CliCommand::Config(_) => Ok(()),
    }
}

async fn run_connection(
    out: &mut Output,
    client: &mut BridgeClient,
    action: ConnectionAction,
    json: bool,
) -> Result<(), CliError> {
    let connection = client.request(BridgeCommand::Connection(action)).await?;
    if json { out.json(&connection) } else { report::connection(out, &client.parse(&connection)?) }
}
