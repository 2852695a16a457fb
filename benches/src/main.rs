//! Measures Mainstay beside its alternatives, in one run, on one machine.
//!
//! The runtime beside plain ractor and kameo, from a task of the same tokio:
//!
//! - `contender`: the same counter, written for each of the three
//! - `messages`: messages and calls; `crash`: restarts; `children`: very many of them
//!
//! The actors:
//!
//! - `requests`: the queue beside plain reqwest, over a `server` in a process of its own
//! - `jobs`: the queue alone beside p-queue, which runs in `node`
//! - `reconnect`: the connection beside the delay that it announced
//! - `cache`: hits beside plain moka's, hits during an invalidation, and the delay after a change of files
//! - `agents`: very many of them, watched by the whole tree
//! - `history`: earlier moments, from a large journal
//!
//! `bridge_caller` asks as a window does.
//!
//! `scoreboard` holds the figures against their targets.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the machine's own clock, and its tasks are its own"
)]

mod agents;
mod bridge_caller;
mod cache;
mod children;
mod contender;
mod crash;
mod history;
mod jobs;
mod machine;
mod messages;
mod node;
mod reconnect;
mod requests;
mod scoreboard;
mod server;
mod settings;
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use contender::BenchError;
use scoreboard::ScoreLine;
use settings::BenchSettings;

/// The variable that enables backtraces. A backtrace takes longer than the rest of a restart.
const BACKTRACES: &str = "RUST_BACKTRACE";

fn main() -> ExitCode {
    if std::env::var_os(BACKTRACES).is_some_and(|value| value != "0") {
        return exit_code(without_backtraces());
    }
    crash::silence_panics();
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|first| first == children::SUBCOMMAND) {
        return exit_code(run_children_subcommand(args.skip(1).collect()));
    }
    if args
        .peek()
        .is_some_and(|first| first == agents::WATCH_SUBCOMMAND || first == agents::BACKEND_SUBCOMMAND)
    {
        return exit_code(run_agents_subcommand(args.collect()));
    }
    if args.peek().is_some_and(|first| first == history::SUBCOMMAND) {
        return exit_code(run_history_subcommand(args.skip(1).collect()));
    }
    if args.peek().is_some_and(|first| first == server::SUBCOMMAND) {
        return exit_code(server::serve().map(|()| ExitCode::SUCCESS));
    }
    if args.peek().is_some_and(|first| first == "--help") {
        print!("{}", settings::USAGE);
        return ExitCode::SUCCESS;
    }
    match BenchSettings::read(args) {
        Ok(settings) => exit_code(run(settings)),
        Err(reason) => {
            eprintln!("{reason}\n\n{}", settings::USAGE);
            ExitCode::from(2)
        }
    }
}

/// Runs everything in a process without backtraces, since only Mainstay captures them.
fn without_backtraces() -> Result<ExitCode, BenchError> {
    let mut process = std::process::Command::new(std::env::current_exe()?);
    let status = process.args(std::env::args_os().skip(1)).env(BACKTRACES, "0").status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn exit_code(outcome: Result<ExitCode, BenchError>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("the measurement itself failed: {error}");
        ExitCode::from(2)
    })
}

fn run(settings: BenchSettings) -> Result<ExitCode, BenchError> {
    println!("{}", machine::description(&settings));
    let dir = tempfile::Builder::new().prefix("mainstay-benches-").tempdir_in(&settings.dir)?;
    let mut lines = Vec::new();
    for part in ["cast", "call", "crash", "losses", "requests", "jobs", "connection", "hits", "files"] {
        if settings.includes(part) {
            eprintln!("measuring {part} ...");
            // Each part has a tokio runtime of its own, so that none inherits tasks of another.
            let (settings, dir) = (settings.clone(), dir.path().to_owned());
            lines.extend(on_a_worker(settings.workers, measure(part, settings, dir))?);
        }
    }
    if settings.includes("invalidation") {
        eprintln!("measuring invalidation ...");
        lines.extend(cache::measure_invalidations(&settings)?);
    }
    if settings.includes("agents") {
        eprintln!("measuring agents ...");
        lines.extend(agents::measure(&settings)?);
    }
    if settings.includes("history") {
        eprintln!("measuring history ...");
        lines.extend(history::measure(&settings, dir.path())?);
    }
    if settings.includes("memory") {
        eprintln!("measuring memory ...");
        lines.extend(children::measure_memory(&settings));
    }
    if settings.includes("children") {
        eprintln!("measuring children ...");
        lines.extend(children::measure_children(&settings));
    }
    println!("{}", scoreboard::tables(&lines));
    println!("load at the end  {}", machine::load());
    let tolerance = f64::from(settings.tolerance_percent) / 100.0;
    let missed = settings.check && lines.iter().any(|line| !line.passes(tolerance));
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn measure(
    part: &'static str,
    settings: BenchSettings,
    dir: PathBuf,
) -> Result<Vec<ScoreLine>, BenchError> {
    match part {
        "cast" => messages::measure_casts(&settings, &dir).await,
        "call" => messages::measure_calls(&settings, &dir).await,
        "crash" => crash::measure_recovery(&settings, &dir).await,
        "losses" => crash::count_losses(&settings, &dir).await,
        "requests" => requests::measure(&settings, &dir).await,
        "jobs" => jobs::measure(&settings, &dir).await,
        "hits" => cache::measure_hits(&settings).await,
        "files" => cache::measure_files(&settings, &dir).await,
        _ => reconnect::measure(&settings, &dir).await,
    }
}

/// Serves very many agents, or watches them, as `args` say.
fn run_agents_subcommand(args: Vec<String>) -> Result<ExitCode, BenchError> {
    let (workers, dir) = subcommand_settings()?;
    let path = dir.path().to_owned();
    on_a_worker(workers, async move {
        match &args[..] {
            [_, agents] => agents::serve(agents.parse()?).await,
            [_, agents, url, seconds] => {
                let measured = Duration::from_secs(seconds.parse()?);
                agents::watch(url, agents.parse()?, measured, &path).await
            }
            _ => Err("a subprocess of agents has one or three arguments".into()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a runtime for earlier moments.
fn run_history_subcommand(args: Vec<String>) -> Result<ExitCode, BenchError> {
    let (workers, _) = subcommand_settings()?;
    on_a_worker(workers, async move { history::run_subcommand(&args).await })?;
    Ok(ExitCode::SUCCESS)
}

/// Measures one figure about many children, in a process of its own.
fn run_children_subcommand(args: Vec<String>) -> Result<ExitCode, BenchError> {
    let (workers, dir) = subcommand_settings()?;
    let path: &Path = dir.path();
    let journals = path.to_owned();
    on_a_worker(workers, async move { children::run_subcommand(&args, &journals).await })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the number of workers of a subprocess and the folder for its files.
fn subcommand_settings() -> Result<(usize, tempfile::TempDir), BenchError> {
    let base = std::env::var("MAINSTAY_BENCHES_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let workers =
        std::env::var("MAINSTAY_BENCHES_WORKERS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let dir = tempfile::Builder::new().prefix("mainstay-benches-").tempdir_in(base)?;
    Ok((workers, dir))
}

/// Runs `work` as a task on a worker, as an embedder's code runs, and not on the thread that waits for it.
fn on_a_worker<T: Send + 'static>(
    workers: usize,
    work: impl Future<Output = Result<T, BenchError>> + Send + 'static,
) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async { tokio::spawn(work).await? })
}
