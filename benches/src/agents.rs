//! Measures the processor time and memory of watching very many agents, each checked every 30 s.
//!
//! The embedded backend runs in one process, the whole tree in another, with its journal and its states on disk. The
//! figures are those of the second process, once every agent has been healthy.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::{AgentConfig, Config};
use mainstay::events::AgentHealth;
use mainstay::journal::Delivery;
use mainstay::{AgentStatus, Mainstay, Subscription};
use tokio::time::{sleep, timeout};

use crate::bridge_caller::BridgeCaller;
use crate::contender::BenchError;
use crate::machine;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The first argument of a process that serves agents.
pub(crate) const BACKEND_SUBCOMMAND: &str = "agents-backend";
/// The first argument of a process that watches agents.
pub(crate) const WATCH_SUBCOMMAND: &str = "agents-watch";
/// The longest time until every agent is healthy.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(120);
const MIB: f64 = 1024.0 * 1024.0;

fn ids(agents: usize) -> Vec<String> {
    (0..agents).map(|number| format!("agent-{number}")).collect()
}

// === in the process that serves ===

/// Prints the server's address, then serves `agents` agents until stdin ends.
pub(crate) async fn serve(agents: usize) -> Result<(), BenchError> {
    let backend = Backend::bind(BackendOptions { agents: ids(agents), ..BackendOptions::default() }).await?;
    println!("{}", backend.url());
    std::io::stdout().flush()?;
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await??;
    backend.stop().await;
    Ok(())
}

// === in the process that watches ===

/// Watches `agents` agents at `url`. Prints the share of one core in percent, the resident mebibytes, and the growth by
/// looks at all agents: by the last four, and by all of them. The last number is that of healthy agents at the end.
pub(crate) async fn watch(
    url: &str,
    agents: usize,
    measured: Duration,
    dir: &Path,
) -> Result<(), BenchError> {
    let mut config = Config::default();
    config.backend.url = url.to_owned();
    config.agent = ids(agents).into_iter().map(|id| AgentConfig { id, ..AgentConfig::default() }).collect();
    let mainstay = Mainstay::builder().config(config).data_dir(dir).start().await?;
    if timeout(STARTUP_TIMEOUT, wait_until_healthy(mainstay.events(), agents)).await.is_err() {
        return Err(format!("{} of {agents} agents are healthy", count_healthy(&mainstay)).into());
    }
    // The window before the measured one: in it, first states are saved and checks are spread over the period.
    sleep(measured).await;
    let (before, begun) = (cpu_seconds()?, Instant::now());
    sleep(measured).await;
    let percent = (cpu_seconds()? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let unseen = machine::resident_bytes()? as f64;
    // The first looks grow the buffers that the later ones use again.
    look(&mainstay, 2).await?;
    let seen = machine::resident_bytes()? as f64;
    look(&mainstay, 4).await?;
    let after = machine::resident_bytes()? as f64;
    let (resident, growth, whole) = (unseen / MIB, after / seen, after / unseen);
    println!("{percent} {resident} {growth} {whole} {}", count_healthy(&mainstay));
    mainstay.shutdown().await;
    Ok(())
}

/// Asks for the status, the tree and the agents so many times, as a window does over the bridge.
async fn look(mainstay: &Mainstay, times: usize) -> Result<(), BenchError> {
    let mut session = BridgeCaller::open(mainstay);
    for _ in 0..times {
        for kind in ["status", "tree", "agents"] {
            session.ask(kind, "").await?;
        }
    }
    session.close().await
}

/// Waits until that many agents are healthy at once. It follows the events, because a list of all agents costs too much
/// for each of them.
async fn wait_until_healthy(mut events: Subscription, agents: usize) {
    let mut healthy = HashSet::new();
    while healthy.len() < agents {
        let Some(Delivery::Event(record)) = events.next().await else { continue };
        match record.event::<AgentHealth>() {
            Some(AgentHealth { to: AgentStatus::Healthy, .. }) => drop(healthy.insert(record.actor)),
            Some(_) => drop(healthy.remove(&record.actor)),
            None => {}
        }
    }
}

fn count_healthy(mainstay: &Mainstay) -> usize {
    mainstay.agents().list().iter().filter(|agent| agent.report.status == AgentStatus::Healthy).count()
}

/// Returns the processor time of this process. Only Linux provides it.
fn cpu_seconds() -> Result<f64, BenchError> {
    // Reads each thread's nanoseconds, since `stat` counts in hundredths of a second.
    let mut nanos = 0_u64;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(nanos as f64 / 1e9)
}

// === in the process that asks ===

struct AgentsBackend {
    process: Child,
    url: String,
}

impl AgentsBackend {
    fn start(settings: &BenchSettings) -> Result<Self, BenchError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([BACKEND_SUBCOMMAND, &settings.agents.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut url)?;
        }
        Ok(Self { process, url: url.trim().to_owned() })
    }
}

impl Drop for AgentsBackend {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

pub(crate) fn measure(settings: &BenchSettings) -> Result<Vec<ScoreLine>, BenchError> {
    let agents = settings.agents;
    let backend = AgentsBackend::start(settings)?;
    let output = Command::new(std::env::current_exe()?)
        .args([
            WATCH_SUBCOMMAND,
            &agents.to_string(),
            &backend.url,
            &settings.agents_duration.as_secs().to_string(),
        ])
        .env("MAINSTAY_BENCHES_DIR", &settings.dir)
        .env("MAINSTAY_BENCHES_WORKERS", settings.workers.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [percent, resident, growth, whole, healthy] = figures[..] else {
        return Err(
            format!("the process that watches agents ended with {} and no figures", output.status).into()
        );
    };
    if healthy < agents as f64 {
        return Err(format!("{healthy} of {agents} agents were healthy at the end").into());
    }
    let what = |what: &str| format!("{what} of watching {agents} agents, each every 30 s");
    let mut cpu = ScoreLine::against(&[], what("share of one core"), "%").target(ScoreTarget::AtMost(10.0));
    cpu.record([percent]);
    let mut memory =
        ScoreLine::against(&[], what("resident memory"), "MiB").target(ScoreTarget::AtMost(150.0));
    memory.record([resident]);
    let what =
        format!("resident memory after four more looks at {agents} agents, to that after the first two");
    let mut looks = ScoreLine::against(&[], what, "times").target(ScoreTarget::AtMost(1.1));
    looks.record([growth]);
    let what = format!("resident memory after six looks at {agents} agents, to that before any");
    let mut all_looks = ScoreLine::against(&[], what, "times").target(ScoreTarget::AtMost(1.3));
    all_looks.record([whole]);
    Ok(vec![cpu, memory, looks, all_looks])
}
