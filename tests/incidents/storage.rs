//! The incidents of what the runtime keeps: a state of a later version, a file that is no database, a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};

use mainstay::backend::{Backend, BackendOptions};
use mainstay::journal::Record;
use mainstay::supervision::{ActorPath, PendingSnapshot, RedbConfig, RedbStore, StateStore, StoredState};
use serde_json::{Value, json};
#[cfg(target_os = "linux")]
use tokio::process::Command;

use crate::fixture::{FaultyRuntime, assert_golden, stories};
use crate::support::{EventFollower, MainstayProcess, eventually, http_client};
#[cfg(target_os = "linux")]
use crate::support::{metrics, run_json};

const PLANNER: &str = "root/agents/planner";

/// A backend with agents, and the configuration of a runtime for them.
struct StatefulAgents {
    backend: Backend,
    config: String,
    ids: Vec<String>,
}

impl StatefulAgents {
    async fn start(ids: &[&str], state: &Value) -> Self {
        let ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
        let options = BackendOptions { agents: ids.clone(), ..BackendOptions::default() };
        let backend = Backend::bind(options).await.unwrap();
        let mut config = format!(
            "[backend]\nurl = '{}'\n[connection]\nenabled = false\n[agents]\nhealth_interval = '50ms'\n",
            backend.url()
        );
        ids.iter().for_each(|id| config += &format!("[[agent]]\nid = '{id}'\n"));
        let agents = Self { backend, config, ids };
        agents.put_states(state).await;
        agents
    }

    async fn put_states(&self, state: &Value) {
        for id in &self.ids {
            let url = format!("{}/api/agents/{id}/state", self.backend.url());
            let answer = http_client().put(url).body(state.to_string()).send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        }
    }

    /// Runs until the states are kept, then applies `fault` to their file, and starts again.
    async fn restart_after(&self, fault: impl AsyncFnOnce(&Path)) -> FaultyRuntime {
        let mut runtime = FaultyRuntime::start(tempfile::tempdir().unwrap(), &self.config).await;
        let mainstay = runtime.mainstay.clone();
        let is_kept =
            async || mainstay.agents().list().iter().all(|agent| agent.report.state_saved_at.is_some());
        eventually("the states are kept", is_kept).await;
        runtime.stop().await;
        fault(&runtime.folder.path().join("data/state.redb")).await;
        FaultyRuntime::start(runtime.folder, &self.config).await
    }
}

/// Keeps the state of the planner as one of a later version, as a program leaves it that is then downgraded.
async fn raise_version(file: &Path) {
    let store = RedbStore::open(file, RedbConfig::default()).unwrap();
    let planner = ActorPath::root("root").unwrap().child("agents").unwrap().child("planner").unwrap();
    let state = store.load(&planner).unwrap().unwrap();
    store.save(&planner, PendingSnapshot::from_state(StoredState { version: state.version + 1, ..state }));
    store.close().await;
}

#[tokio::test]
async fn state_of_a_later_version_tells_its_story() {
    let agents = StatefulAgents::start(&["planner"], &json!({ "list": "eggs and milk" })).await;
    let mut runtime = agents.restart_after(raise_version).await;
    runtime.wait_for_kind(PLANNER, "state_refused").await;
    runtime.wait_for(PLANNER, |record| record.run == 2 && record.kind == "agent_health").await;
    runtime.check("state_refused", PLANNER);
    runtime.stop().await;
    agents.backend.stop().await;
}

#[tokio::test]
async fn damaged_state_file_tells_its_story() {
    let agents = StatefulAgents::start(&["planner"], &json!({ "list": "eggs and milk" })).await;
    let mut runtime = agents.restart_after(async |file| fs::write(file, "no database").unwrap()).await;
    let degraded = runtime.wait_for_any(|record| record.kind == "state_degraded").await;
    runtime.wait_for(PLANNER, |record| record.run == 2 && record.kind == "agent_health").await;
    runtime.check("state_file_damaged", &degraded.actor);
    runtime.stop().await;
    agents.backend.stop().await;
}

/// A runtime that may not make a file larger than a limit, as on a full disk.
struct LimitedRuntime {
    process: MainstayProcess,
    events: EventFollower,
    data: PathBuf,
}

impl LimitedRuntime {
    fn start(folder: &Path, config: &str, blocks: u32) -> Self {
        let (file, data) = (folder.join("mainstay.toml"), folder.join("data"));
        fs::write(&file, config).unwrap();
        // The write fails as on a full disk, and no signal ends the process. A block has 512 bytes.
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$@\"");
        let process =
            MainstayProcess::start_in_shell(&data, &["run", "--config", file.to_str().unwrap()], &script);
        Self { process, events: EventFollower::follow(&data), data }
    }

    /// Takes the limit away, as if space was freed on the disk.
    #[cfg(target_os = "linux")]
    async fn free_space(&self) {
        let pid = self.process.pid().to_string();
        let freed = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &pid]).status().await;
        assert!(freed.expect("prlimit can be run").success());
    }

    /// Waits for an event in this phase of a fault, and compares the stories about its actor.
    async fn check(&mut self, golden: &str, kind: &str, phase: &str) {
        let is_it = |event: &Value| event["kind"] == kind && event["phase"] == phase;
        let actor = self.events.wait_since(0, is_it).await["actor"].clone();
        let records = self.events.events.iter().map(|event| serde_json::from_value(event.clone()).unwrap());
        let records: Vec<Record> = records.collect();
        assert_golden(golden, &stories(&records, &self.data, |incident| actor == incident.actor));
    }
}

/// Asserts what the status and the metrics say of the states, and returns the former.
#[cfg(target_os = "linux")]
async fn storage_of_states(data: &Path, is_degraded: bool) -> Value {
    let sample = format!("mainstay_storage_degraded{{part=\"state\"}} {}\n", u8::from(is_degraded));
    let metrics = metrics(data).await;
    assert!(metrics.contains(&sample), "{metrics}");
    run_json(data, &["status"]).await["storage"]["state"].take()
}

/// The states of all agents are larger than the file may be.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk_under_the_states_tells_its_story() {
    let agents = StatefulAgents::start(&["a", "b", "c", "d", "e", "f"], &json!("x".repeat(900_000))).await;
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = LimitedRuntime::start(folder.path(), &agents.config, 8192);
    runtime.check("state_disk_full", "state_degraded", "begins").await;
    assert_eq!(storage_of_states(&runtime.data, true).await, "the disk refuses states");
    runtime.free_space().await;
    runtime.check("state_disk_full_and_free", "state_degraded", "ends").await;
    assert_eq!(storage_of_states(&runtime.data, false).await, "ok");
    runtime.process.stop().await;
    agents.backend.stop().await;
}

/// A program that ends at once fills the file. The next file takes what waits.
#[tokio::test]
async fn full_disk_under_the_journal_tells_its_story() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[connection]\nenabled = false\n";
    let mut runtime = FaultyRuntime::start(folder, config).await;
    runtime.stop().await;
    let agent = "[agents]\nrestart_delay = '10ms'\nrestart_delay_max = '10ms'\nmax_restarts = 1000\n\
                 [[agent]]\nid = 'loops'\ndriver = 'process'\ncommand = ['sh', '-c', 'exit 1']\n";
    let mut limited = LimitedRuntime::start(runtime.folder.path(), &format!("{config}{agent}"), 64);
    limited.check("journal_disk_full", "journal_degraded", "begins").await;
    limited.check("journal_disk_full_and_free", "journal_degraded", "ends").await;
    limited.process.kill().await;
}
