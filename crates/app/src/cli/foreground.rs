//! `demo`, `run` and `backend`: what keeps running until it is told to stop.

use std::time::Duration;

use mainstay_runtime::journal::Delivery;
use mainstay_runtime::policy::ExitCause;
use tokio::time::sleep;

use super::account;
use super::args::{BackendArgs, DemoArgs, RunArgs};
use super::failure::Failure;
use super::output::Output;
use crate::DataDir;
use crate::backend::{Backend, BackendConfig};
use crate::config::{AgentConfig, AgentsConfig, Config};
use crate::control::Control;
use crate::mainstay::Mainstay;

/// The agents of the demo, before they are numbered.
const DEMO_AGENTS: [&str; 3] = ["planner", "coder", "reviewer"];

/// The whole tree against the embedded backend.
pub(super) async fn demo(
    out: &mut Output,
    args: DemoArgs,
    data: DataDir,
    verbose: bool,
) -> Result<(), Failure> {
    let agents: Vec<String> = (1..=usize::from(args.agents)).map(demo_agent).collect();
    let backend_config = BackendConfig { agents: agents.clone(), ..BackendConfig::default() };
    let backend = Backend::bind(backend_config).await.map_err(|error| Failure::failed(error.to_string()))?;
    let mut config = demo_config(&agents);
    config.backend.url = backend.url();
    config.control.port = args.port;
    let crash = format!(
        "curl -d '{{\"kind\":\"crash_agent\",\"agent\":\"{}\"}}' {}/_fault",
        agents.first().map_or("planner", String::as_str),
        backend.url()
    );
    let served = serve(out, config, data, verbose, args.lasting, Some(&crash)).await;
    backend.stop().await;
    served
}

fn demo_agent(number: usize) -> String {
    DEMO_AGENTS.get(number - 1).map_or_else(|| format!("agent-{number}"), |name| (*name).to_owned())
}

/// The defaults, but with checks often enough to be watched.
fn demo_config(agents: &[String]) -> Config {
    let mut config = Config::default();
    let upkeep = AgentsConfig {
        health_interval: Duration::from_secs(1),
        health_timeout: Duration::from_secs(2),
        ..config.agents.clone()
    };
    config.agent = agents
        .iter()
        .map(|id| AgentConfig { id: id.clone(), upkeep: upkeep.clone(), ..AgentConfig::default() })
        .collect();
    config.agents = upkeep;
    config
}

/// The tree against a real backend.
pub(super) async fn run(
    out: &mut Output,
    args: RunArgs,
    data: DataDir,
    verbose: bool,
) -> Result<(), Failure> {
    let config = match args.config {
        Some(file) => Config::load(&file)?,
        None => Config::default(),
    };
    serve(out, config, data, verbose, None, None).await
}

/// The embedded backend alone.
pub(super) async fn backend(out: &mut Output, args: BackendArgs) -> Result<(), Failure> {
    let config = BackendConfig { port: args.port, agents: args.agents, ..BackendConfig::default() };
    let backend = Backend::bind(config).await.map_err(|error| Failure::failed(error.to_string()))?;
    out.line(&format!("listening on {}", backend.url()))?;
    told_to_stop().await?;
    backend.stop().await;
    Ok(())
}

/// Starts the tree and its control server, tells of every event, and stops in order.
async fn serve(
    out: &mut Output,
    config: Config,
    data: DataDir,
    verbose: bool,
    lasting: Option<Duration>,
    hint: Option<&str>,
) -> Result<(), Failure> {
    let (port, has_dashboard) = (config.control.port, config.control.dashboard);
    let backend_url = config.backend.url.clone();
    let mainstay = Mainstay::builder().config(config).data_dir(data.path()).verbose(verbose).start().await?;
    let control = match Control::start(&mainstay, data, port).await {
        Ok(control) => control,
        Err(error) => {
            mainstay.shutdown().await;
            return Err(error.into());
        }
    };
    let greeting = if has_dashboard {
        format!("dashboard {} backend {backend_url}", control.dashboard_url())
    } else {
        format!("backend {backend_url}")
    };
    out.line(&greeting)?;
    if let Some(hint) = hint {
        out.line(&format!("to crash an agent: {hint}"))?;
    }
    let told = tell_until_the_end(out, &mainstay, lasting).await;
    let ending = mainstay.shutdown().await;
    control.stop().await;
    told?;
    match (ending.cause, ending.message) {
        (ExitCause::Normal, _) => Ok(()),
        (_, message) => Err(Failure::failed(format!(
            "the tree could not go on: {}",
            message.unwrap_or_else(|| "its root was killed".to_owned())
        ))),
    }
}

/// Tells of every event until it is time to stop, then stops and tells of the rest.
async fn tell_until_the_end(
    out: &mut Output,
    mainstay: &Mainstay,
    lasting: Option<Duration>,
) -> Result<(), Failure> {
    let mut events = mainstay.events_after(mainstay.journal().began_after());
    let time_is_over = async {
        match lasting {
            Some(lasting) => sleep(lasting).await,
            None => std::future::pending().await,
        }
    };
    let stop = async {
        tokio::select! {
            told = told_to_stop() => told,
            () = time_is_over => Ok(()),
            _ = mainstay.finished() => Ok(()),
        }
    };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            delivery = events.next() => show(out, delivery)?,
            stopped = &mut stop => {
                stopped?;
                break;
            }
        }
    }
    mainstay.shutdown().await;
    while let Some(delivery) = events.try_next().await {
        show(out, delivery)?;
    }
    Ok(())
}

fn show(out: &mut Output, delivery: Delivery) -> Result<(), Failure> {
    match delivery {
        Delivery::Event(record) => account::tell(out, &record),
        Delivery::Lagged { from, to } => out.line(&format!("events {from} to {to} were not kept")),
    }
}

/// Returns when Ctrl-C is pressed or, on Unix, a SIGTERM or SIGHUP comes in.
async fn told_to_stop() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed?,
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c().await?)
}
