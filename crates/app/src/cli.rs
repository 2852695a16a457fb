//! The `mainstay` binary.
//!
//! - `args`: what can be typed
//! - `foreground`: `demo`, `run` and `backend`, which keep running
//! - `client`: asks a running runtime, over its bridge; `report`: shows the answers
//! - `agent`: what is asked of one agent; `agent_report`: how agents are shown
//! - `journal`: `events`, `dead_letters`, `replay`: they need no running runtime; `account`: an event as a sentence
//! - `failure`: why a command failed, and its exit code; `output`: where text goes, and in which colours

mod account;
mod agent;
mod agent_report;
mod args;
mod client;
mod dead_letters;
mod failure;
mod foreground;
mod journal;
mod output;
mod replay;
mod report;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::assembly;
use crate::bridge::{Command as BridgeCommand, ConnectionAction};
use crate::config::{Config, DEFAULT_TOML};
use args::{Args, Command, ConfigCommand};
use client::Client;
use failure::Failure;
use output::Output;

/// Runs the binary: reads the arguments, does what they say, and returns the exit code.
///
/// 0: done; 1: it failed; 2: usage or configuration; 3: no runtime is running.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(args)),
        Err(error) => Err(Failure::internal(format!("the runtime's threads cannot be started: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Logs go to stderr. Events are shown by the commands themselves, so they are logged only if asked for.
fn start_logging(args: &Args) {
    let filter = match args.log {
        Some(level) => EnvFilter::new(level.as_str()),
        None => EnvFilter::new("warn,mainstay=off,ractor=error"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::has_colours(&std::io::stderr()))
        .init();
}

async fn dispatch(args: Args) -> Result<(), Failure> {
    let mut out = Output::stdout();
    let is_verbose = args.log.is_some_and(args::LogLevel::is_verbose);
    match args.command {
        Command::Demo(demo) => foreground::demo(&mut out, demo, args.data_dir.folder()?, is_verbose).await,
        Command::Run(run) => foreground::run(&mut out, run, args.data_dir.folder()?, is_verbose).await,
        Command::Backend(backend) => foreground::backend(&mut out, backend).await,
        Command::Events(events) => journal::events(&mut out, events, args.data_dir.folder()?).await,
        Command::DeadLetters(shape) => {
            dead_letters::dead_letters(&mut out, shape.json, &args.data_dir.folder()?)
        }
        Command::Replay(arguments) => replay::replay(&mut out, arguments, &args.data_dir),
        Command::Config(ConfigCommand::Default) => out.text(&DEFAULT_TOML),
        Command::Config(ConfigCommand::Check { file }) => {
            let config = Config::load(&file)?;
            assembly::check(&config).map_err(|error| match error.key() {
                Some(key) => Config::problem_at(&file, key, &error.to_string()).into(),
                None => Failure::usage(error.to_string()),
            })?;
            out.line(&format!("{} is valid", file.display()))
        }
        command => ask(&mut out, command, &args.data_dir).await,
    }
}

/// The commands that ask a running runtime.
async fn ask(out: &mut Output, command: Command, data: &args::DataDirArg) -> Result<(), Failure> {
    let mut client = Client::connect(data.folder()?).await?;
    match command {
        Command::Status(shape) => {
            let status = client.ask(BridgeCommand::Status {}).await?;
            if shape.json { out.json(&status) } else { report::status(out, client.read(status)?) }
        }
        Command::Tree(shape) => {
            let tree = client.ask(BridgeCommand::Tree {}).await?;
            if shape.json { out.json(&tree) } else { report::tree(out, &client.read(tree)?) }
        }
        Command::Agents(shape) => {
            let agents = client.ask(BridgeCommand::Agents {}).await?;
            if shape.json {
                out.json(&agents)
            } else {
                agent_report::list(out, &client.read::<Vec<_>>(agents)?)
            }
        }
        Command::Agent(command) => agent::run(out, &mut client, command).await,
        Command::Connection(shape) => connection(out, &mut client, ConnectionAction::Show, shape.json).await,
        Command::Reconnect => connection(out, &mut client, ConnectionAction::Reconnect, false).await,
        Command::Disconnect => connection(out, &mut client, ConnectionAction::Disconnect, false).await,
        Command::Request(request) => {
            let json = request.json;
            let answer = client.ask(BridgeCommand::Request(Box::new(request.into_command()?))).await;
            report::response(out, answer, json)
        }
        #[cfg(debug_assertions)]
        Command::Panic { actor } => client.ask(BridgeCommand::Panic { actor }).await.map(|_| ()),
        Command::Demo(_)
        | Command::Run(_)
        | Command::Backend(_)
        | Command::Events(_)
        | Command::DeadLetters(_)
        | Command::Replay(_)
        | Command::Config(_) => Ok(()),
    }
}

async fn connection(
    out: &mut Output,
    client: &mut Client,
    action: ConnectionAction,
    json: bool,
) -> Result<(), Failure> {
    let connection = client.ask(BridgeCommand::Connection { action }).await?;
    if json { out.json(&connection) } else { report::connection(out, &client.read(connection)?) }
}
