//! Measures how soon a runtime answers what was earlier, from a journal of agents that fail and are restarted.
//!
//! One process writes a journal of [`SEGMENTS`] full segments. Each round then starts a runtime beside it, in a process of
//! its own, and asks over the bridge as a page does.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay::config::Config;
use mainstay::events::{AgentHealth, MessageAnswered, MessageSent};
use mainstay::{AgentStatus, Mainstay, MessageId, WallTime};
use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Journal, JournalOptions, segment_files};
use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::rng::Rng;
use mainstay_runtime::{
    ActorPath, Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
};

use crate::bridge_caller::BridgeCaller;
use crate::contender::BenchError;
use crate::machine::resident_bytes;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The first argument of a process that asks.
pub(crate) const SUBCOMMAND: &str = "history-ask";
/// The full segments of the journal.
const SEGMENTS: usize = 8;
/// The most segments that are kept, so that none of these is deleted.
const SEGMENTS_MAX: usize = 2 * SEGMENTS;
const AGENTS: usize = 20;
/// The messages that each agent answers before it fails.
const MESSAGES: u64 = 4;
/// The rounds, each in a process of its own.
const ROUNDS: usize = 3;
/// The moments that are asked after the first one.
const MOMENTS: usize = 50;
const SEED: u64 = 20_260_301;
const MIB: f64 = 1024.0 * 1024.0;

// === the agents ===

#[derive(Debug)]
enum AgentMessage {
    Fail,
    Greet(Reply<()>),
}

impl Message for AgentMessage {}

struct FailingAgent;

impl Worker for FailingAgent {
    type Message = AgentMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<AgentMessage>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(
        &self,
        _: &mut Context<AgentMessage>,
        message: AgentMessage,
        (): &mut (),
    ) -> Result<(), Failure> {
        match message {
            AgentMessage::Fail => Err("3 checks in a row failed: the agent does not answer".into()),
            AgentMessage::Greet(reply) => {
                reply.send(());
                Ok(())
            }
        }
    }
}

// === the journal ===

/// A runtime that writes the journal, and its agents with their paths.
struct AgentTree {
    runtime: Runtime,
    agents: Vec<(ActorPath, Address<AgentMessage>)>,
    messages: u64,
}

impl AgentTree {
    async fn start(journal: Journal) -> Result<Self, BenchError> {
        // Each agent counts as stable at once, so that none is given up and none waits for its restart.
        let policy = ChildPolicy { stable_after: Duration::ZERO, ..ChildPolicy::default() };
        let mut group = SupervisorSpec::new("agents");
        let path = ActorPath::root("root")?.child("agents")?;
        let mut agents = Vec::new();
        for number in 0..AGENTS {
            let name = format!("agent-{number}");
            let address = group.child(Child::new(name.clone(), FailingAgent).policy(policy))?;
            agents.push((path.child(&name)?, address));
        }
        let mut root = SupervisorSpec::new("root");
        root.supervisor(group)?;
        let runtime = Runtime::builder().journal(journal).start(root).await?;
        Ok(Self { runtime, agents, messages: 0 })
    }

    /// Lets every agent answer some messages, fail and come back.
    async fn run_generation(&mut self, generation: u64) -> Result<(), BenchError> {
        let journal = self.runtime.journal();
        let health = |path: &ActorPath, from, to, misses| {
            journal.record(path, generation, &AgentHealth { from, to, misses, error: None });
        };
        for (path, address) in &self.agents {
            health(path, AgentStatus::Starting, AgentStatus::Healthy, 0);
            for _ in 0..MESSAGES {
                self.messages += 1;
                let message_id = MessageId(self.messages);
                journal.record(path, generation, &MessageSent { message_id, attempt: 1 });
                journal.record(path, generation, &MessageAnswered { message_id });
            }
            health(path, AgentStatus::Healthy, AgentStatus::Degraded, 1);
            address.cast(AgentMessage::Fail).await?;
        }
        for (_, address) in &self.agents {
            address.call(AgentMessage::Greet).await?;
        }
        // Only a bounded number of lines may wait for the disk.
        journal.flush().await;
        Ok(())
    }

    fn now(&self) -> WallTime {
        WallTime(self.runtime.journal().wall_time())
    }
}

/// Writes the journal below `dir`. Returns the times at which its first and its last generation began.
async fn write_journal(dir: &Path, segment_bytes: u64) -> Result<(WallTime, WallTime), BenchError> {
    let journal = dir.join("journal");
    let options = JournalOptions {
        segment_bytes_max: segment_bytes,
        segments_max: SEGMENTS_MAX,
        ..JournalOptions::default()
    };
    std::fs::create_dir_all(dir)?;
    let mut tree =
        AgentTree::start(Journal::open(&journal, "bench", Arc::new(SystemClock), options)?).await?;
    let first = tree.now();
    let (mut last, mut generation) = (first, 0);
    while segment_files(&journal)?.len() <= SEGMENTS {
        (last, generation) = (tree.now(), generation + 1);
        tree.run_generation(generation).await?;
    }
    tree.runtime.shutdown().await;
    Ok((first, last))
}

// === in the process that asks ===

/// Starts a runtime in `dir`, and asks for moments from `first` to `last`. Prints the milliseconds of the first one, of
/// the slowest of the next ones, and of the lanes. The mebibytes that the first one added follow, and the milliseconds of
/// the incidents.
pub(crate) async fn run_subcommand(args: &[String]) -> Result<(), BenchError> {
    let [dir, segment_bytes, first, last] = args else {
        return Err("a subprocess has four arguments".into());
    };
    let (first, last) = (WallTime(first.parse()?), WallTime(last.parse()?));
    let mut config = Config::default();
    config.connection.enabled = false;
    config.journal.segment_bytes = segment_bytes.parse()?;
    config.journal.segments = SEGMENTS_MAX as u32;
    let mainstay = Mainstay::builder().config(config).data_dir(dir).start().await?;
    let mut session = BridgeCaller::open(&mainstay);
    let resident_before = resident_bytes()?;
    let first_ms = ask_moment(&mut session, last).await?;
    let added = resident_bytes()?.saturating_sub(resident_before) as f64 / MIB;
    let (rng, mut slowest) = (Rng::seeded(SEED), 0.0_f64);
    let span = Duration::try_from(last.0.duration_since(first.0))?;
    for _ in 0..MOMENTS {
        let at = WallTime(first.0.checked_add(span.mul_f64(rng.unit()))?);
        slowest = slowest.max(ask_moment(&mut session, at).await?);
    }
    let lanes_ms = ask(&mut session, "history", r#","action":"lanes""#, "\"lanes\":[{").await?;
    let incidents_ms = ask(&mut session, "incidents", "", "\"incidents\":[{").await?;
    println!("{first_ms} {slowest} {lanes_ms} {added} {incidents_ms}");
    session.close().await?;
    mainstay.shutdown().await;
    Ok(())
}

async fn ask_moment(session: &mut BridgeCaller, at: WallTime) -> Result<f64, BenchError> {
    ask(session, "history", &format!(r#","action":"at","at":"{at}""#), "root/agents/agent-0").await
}

/// Returns the milliseconds of a command whose reply has `expected` in it.
async fn ask(
    session: &mut BridgeCaller,
    kind: &str,
    members: &str,
    expected: &str,
) -> Result<f64, BenchError> {
    let begun = Instant::now();
    let reply = session.ask(kind, members).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    if !reply.contains(expected) {
        return Err(format!("the reply to {kind}{members} has no {expected}").into());
    }
    Ok(took)
}

// === in the process that writes ===

pub(crate) fn measure(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let (dir, segment_bytes) = (dir.join("history"), settings.segment_kib * 1024);
    let written = dir.clone();
    let (first, last) =
        crate::on_a_worker(settings.workers, async move { write_journal(&written, segment_bytes).await })?;
    let size = format!("{SEGMENTS} segments of {} KiB", settings.segment_kib);
    let line = |what: &str, unit| ScoreLine::against(&[], format!("{what}, {size}"), unit);
    let mut lines = [
        line("the first earlier moment after a start", "ms").target(ScoreTarget::AtMost(300.0)),
        line(&format!("the slowest of {MOMENTS} more moments"), "ms").target(ScoreTarget::AtMost(16.0)),
        line("the lanes of the whole journal", "ms"),
        line("memory that the first moment adds", "MiB"),
        line("the first list of incidents", "ms"),
    ];
    for _ in 0..ROUNDS {
        let output = Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .arg(&dir)
            .args([segment_bytes.to_string(), first.to_string(), last.to_string()])
            .env("MAINSTAY_BENCHES_WORKERS", settings.workers.to_string())
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if figures.len() != lines.len() {
            return Err(format!("the process that asks ended with {} and no figures", output.status).into());
        }
        lines.iter_mut().zip(figures).for_each(|(line, figure)| line.record([figure]));
    }
    Ok(lines.into())
}
