//! The `mainstay` binary.
//!
//! - `args`: the commands and their options
//! - `run`: `demo`, `run` and `demo-backend`, which keep running until one of `signals`; `demo_faults`: breaks the running demo
//! - `client`: asks a running runtime, over its bridge; `report`: shows the answers; `watch`: shows them again each second;
//!   `screen`: the whole runtime on a terminal
//! - `requests`: commands about requests that have not ended; `cache`: about the cache
//! - `agent`: commands about one agent; `agent_report`: shows agents
//! - `journal`, `incidents`, `dead_letters`, `logs`, `replay`, `config_check`: need no running runtime
//! - `output`: standard output and its styles; `table`, `time`, `units`, `snippet`, `event_format`: the forms of what it shows
//! - `logging`: logs, which never block; `stderr`: error lines; `error`: why a command failed, and its exit code

mod agent;
mod agent_report;
mod args;
mod cache;
mod client;
mod config_check;
mod dead_letters;
mod demo_faults;
mod error;
mod event_format;
mod incidents;
mod journal;
mod logging;
mod logs;
mod output;
mod replay;
mod report;
mod request_wait;
mod requests;
mod run;
mod screen;
mod signals;
mod snippet;
mod stderr;
mod table;
mod time;
mod units;
mod watch;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use mainstay_actors::json::Json;
use serde_json::Value;

use crate::bridge::{BackendAction, BridgeCommand, ConnectionAction, CredentialsAction};
use crate::config::DEFAULT_TOML;
use crate::tree_place::BACKEND_NAME;
use args::{Args, BackendSubcommand, CliCommand, ConfigCommand, CredentialsCommand, DemoArgs, WatchedArgs};
use client::BridgeClient;
use error::CliError;
use output::{Output, OutputOptions};

/// Runs the binary: reads the arguments, does what they say, and returns the exit code.
///
/// 0: done; 1: it failed; 2: usage or configuration; 3: no runtime is running.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::read();
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
    let mut out = Output::stdout(OutputOptions { times: args.times(), is_wide: false });
    let is_verbose = args.log.is_some_and(args::LogLevel::is_verbose);
    match args.command {
        CliCommand::Demo(DemoArgs { fault: Some(fault), .. }) => {
            demo_faults::inject(&mut out, fault, args.data_dir.folder()?).await
        }
        CliCommand::Demo(demo) => run::demo(&mut out, demo, &args.data_dir, is_verbose).await,
        CliCommand::Run(run) => run::run(&mut out, run, args.data_dir.folder()?, is_verbose).await,
        CliCommand::DemoBackend(backend) => run::demo_backend(&mut out, backend).await,
        CliCommand::Events(events) => journal::events(&mut out, events, args.data_dir.folder()?).await,
        CliCommand::Logs { id, range } => logs::logs(&mut out, &id, range, args.data_dir.folder()?).await,
        CliCommand::Backend(BackendSubcommand::Logs(range)) => {
            logs::logs(&mut out, BACKEND_NAME, range, args.data_dir.folder()?).await
        }
        CliCommand::DeadLetters(shape) => {
            out.set_wide(shape.form().is_wide());
            dead_letters::dead_letters(&mut out, shape.form(), &args.data_dir.folder()?)
        }
        CliCommand::Incidents(shown) => incidents::list(&mut out, &shown, &args.data_dir.folder()?),
        CliCommand::Why { subject, output } => {
            incidents::why(&mut out, &subject, output.form(), &args.data_dir.folder()?)
        }
        // In a pipe, or with a form, the status is printed again each second.
        CliCommand::Status(WatchedArgs { watch: true, output })
            if out.is_screen() && io::stdin().is_terminal() && output.is_default() =>
        {
            screen::show(args.data_dir.folder()?, args.times()).await
        }
        CliCommand::Replay(arguments) => replay::replay(&mut out, arguments, &args.data_dir),
        CliCommand::Config(ConfigCommand::Default) => out.text(&DEFAULT_TOML),
        CliCommand::Config(ConfigCommand::Check { file, output }) => {
            config_check::check(&mut out, &file, output.json)
        }
        command => run_remote(&mut out, command, &args.data_dir).await,
    }
}

/// Runs a command that asks a running runtime.
async fn run_remote(out: &mut Output, command: CliCommand, data: &args::DataDirArg) -> Result<(), CliError> {
    let mut client = BridgeClient::connect(data.folder()?).await?;
    match command {
        CliCommand::Status(args) => {
            let render = |out: &mut Output, client: &BridgeClient, status: &Json| {
                report::status(out, client.parse(status)?)
            };
            watch::show(out, &mut client, args, BridgeCommand::Status {}, render).await
        }
        CliCommand::Tree(args) => {
            let render = |out: &mut Output, client: &BridgeClient, tree: &Json| {
                report::tree(out, &client.parse(tree)?)
            };
            watch::show(out, &mut client, args, BridgeCommand::Tree {}, render).await
        }
        CliCommand::Agents(args) => {
            let render = |out: &mut Output, client: &BridgeClient, agents: &Json| {
                agent_report::list(out, &client.parse::<Vec<_>>(agents)?)
            };
            watch::show(out, &mut client, args, BridgeCommand::Agents {}, render).await
        }
        CliCommand::Agent(command) => agent::run(out, &mut client, command).await,
        CliCommand::Backend(command) => run_backend(out, &mut client, command).await,
        CliCommand::Cache(args) => cache::run(out, &mut client, args).await,
        CliCommand::Connection(args) => {
            run_connection(out, &mut client, ConnectionAction::Show {}, args).await
        }
        CliCommand::Reconnect => reconnect(out, &mut client).await,
        CliCommand::Disconnect => {
            run_connection(out, &mut client, ConnectionAction::Disconnect {}, WatchedArgs::default()).await
        }
        CliCommand::Credentials(CredentialsCommand::Reload) => reload_credentials(out, &mut client).await,
        CliCommand::Request(request) => {
            let (json, hint) = (request.json, request.method_hint());
            let answer = request_wait::send_request(&mut client, request.into_command()?).await;
            if let (Err(_), Some(hint)) = (&answer, hint) {
                stderr::error_line(&hint);
            }
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
        | CliCommand::Incidents(_)
        | CliCommand::Why { .. }
        | CliCommand::Logs { .. }
        | CliCommand::Replay(_)
        | CliCommand::Config(_) => Ok(()),
    }
}

async fn run_backend(
    out: &mut Output,
    client: &mut BridgeClient,
    command: BackendSubcommand,
) -> Result<(), CliError> {
    let (action, args) = match command {
        BackendSubcommand::Show(args) => (BackendAction::Show, args),
        BackendSubcommand::Start => (BackendAction::Start, WatchedArgs::default()),
        BackendSubcommand::Stop => (BackendAction::Stop, WatchedArgs::default()),
        BackendSubcommand::Restart => (BackendAction::Restart, WatchedArgs::default()),
        BackendSubcommand::Reset => (BackendAction::Reset, WatchedArgs::default()),
        // This command was run already.
        BackendSubcommand::Logs(_) => return Ok(()),
    };
    let render = |out: &mut Output, client: &BridgeClient, backend: &Json| {
        report::backend(out, &client.parse(backend)?)
    };
    watch::show(out, client, args, BridgeCommand::Backend { action }, render).await
}

async fn reconnect(out: &mut Output, client: &mut BridgeClient) -> Result<(), CliError> {
    let answer = client.request(BridgeCommand::Connection(ConnectionAction::Reconnect {})).await?;
    out.line(match client.parse::<Value>(&answer)?["reconnected"].as_str() {
        Some("replaced") => "a new socket has replaced the open one",
        _ => "connected",
    })?;
    report::connection(out, &client.parse(&answer)?)
}

async fn reload_credentials(out: &mut Output, client: &mut BridgeClient) -> Result<(), CliError> {
    let answer = client.request(BridgeCommand::Credentials { action: CredentialsAction::Reload }).await?;
    out.line(match client.parse::<Value>(&answer)?["changed"].as_bool() {
        Some(true) => "a new token is in use from now on",
        _ => "the token is the same as before",
    })
}

async fn run_connection(
    out: &mut Output,
    client: &mut BridgeClient,
    action: ConnectionAction,
    args: WatchedArgs,
) -> Result<(), CliError> {
    let render = |out: &mut Output, client: &BridgeClient, connection: &Json| {
        report::connection(out, &client.parse(connection)?)
    };
    watch::show(out, client, args, BridgeCommand::Connection(action), render).await
}
