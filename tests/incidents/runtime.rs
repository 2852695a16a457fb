//! The incidents of the runtime as a whole: its stop, its end without notice, its storage, its folders, its computer.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay::journal::Record;
use mainstay::supervision::Clock;
use serde_json::Value;

use crate::fixture::{FaultyRuntime, assert_golden, stories};
use crate::support::{EventFollower, MainstayProcess, MovedClock, is_agent_health, send_signal};

const NO_LINK: &str = "[connection]\nenabled = false\n";
const PLANNER: &str = "root/agents/planner";

#[tokio::test]
async fn standstill_tells_its_story() {
    let clock = Arc::new(MovedClock::default());
    let with_clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = FaultyRuntime::start_with(folder, NO_LINK, |builder| builder.clock(with_clock)).await;
    runtime.wait_for_kind("root", "actor_ready").await;
    clock.0.store(8 * 3600, Ordering::SeqCst);
    runtime.wait_for_kind("root", "woke_after").await;
    runtime.check_all("runtime_stood_still");
    runtime.stop().await;
}

/// Stops an agent by a command, then the runtime.
#[tokio::test]
async fn stops_tell_their_story() {
    let agents: String = ["planner", "deaf"]
        .map(|id| {
            let trap = if id == "deaf" { "trap \"\" TERM; " } else { "" };
            format!("[[agent]]\nid = '{id}'\ndriver = 'process'\ncommand = ['sh', '-c', '{trap}echo ready; while :; do sleep 1; done']\nready = 'stdout:ready'\n")
        })
        .concat();
    let config = format!("{NO_LINK}[agents]\nmin_uptime = '0s'\n{agents}");
    let mut runtime = FaultyRuntime::start(tempfile::tempdir().unwrap(), &config).await;
    runtime.wait_for_agent("planner", 1, "healthy").await;
    runtime.wait_for_agent("deaf", 1, "healthy").await;
    runtime.mainstay.agents().stop("planner").await.unwrap();
    runtime.wait_for_kind(PLANNER, "actor_exited").await;
    runtime.check_all("agent_is_stopped");
    runtime.mainstay.agents().start("planner").await.unwrap();
    runtime.wait_for_agent("planner", 2, "healthy").await;
    runtime.mainstay.agents().restart("planner").await.unwrap();
    runtime.wait_for_agent("planner", 3, "healthy").await;
    runtime.check_all("agent_is_restarted_by_command");
    runtime.stop().await;
    runtime.check("runtime_stops", "root");
}

#[tokio::test]
async fn watched_folder_tells_its_story() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("notes")).unwrap();
    let config = format!("{NO_LINK}[cache]\nwatch = ['{{folder}}/notes']\n");
    let mut runtime = FaultyRuntime::start(folder, &config).await;
    runtime.wait_for_kind("root/watch", "watch_started").await;
    let notes = runtime.folder.path().join("notes");
    fs::remove_dir(&notes).unwrap();
    runtime.wait_for_kind("root/watch", "watch_lost").await;
    runtime.check_all("folder_lost");
    fs::create_dir(&notes).unwrap();
    runtime.wait_for_kind("root/watch", "watch_regained").await;
    runtime.check_all("folder_lost_and_regained");
    runtime.stop().await;
}

#[tokio::test]
async fn storage_that_refuses_tells_its_story() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let logs = folder.path().join("data/logs");
    fs::write(&logs, "no folder").unwrap();
    let config = format!(
        "{NO_LINK}[[agent]]\nid = 'planner'\ndriver = 'process'\ncommand = ['sh', '-c', 'echo one; exec sleep 1000']\n"
    );
    let mut runtime = FaultyRuntime::start(folder, &config).await;
    let first = runtime.wait_for_kind("logs", "logs_degraded").await;
    runtime.check_all("logs_refused");
    fs::remove_file(&logs).unwrap();
    runtime.wait_for("logs", |record| record.kind == "logs_degraded" && record.seq > first.seq).await;
    runtime.check_all("logs_refused_and_taken");
    // A file is where the folder was.
    let (journal, moved) = (runtime.folder.path().join("data/journal"), runtime.folder.path().join("moved"));
    fs::rename(&journal, &moved).unwrap();
    fs::write(&journal, "").unwrap();
    // Any event will do.
    runtime.mainstay.agents().stop("planner").await.unwrap();
    let phase = |phase: &'static str| {
        move |record: &Record| record.kind == "journal_degraded" && record.fields["phase"] == phase
    };
    let refused = runtime.wait_for_any(phase("begins")).await;
    runtime.check("journal_refused", &refused.actor);
    fs::remove_file(&journal).unwrap();
    runtime.mainstay.agents().start("planner").await.unwrap();
    runtime.wait_for_any(phase("ends")).await;
    runtime.check("journal_refused_and_taken", &refused.actor);
    runtime.stop().await;
}

#[tokio::test]
async fn killed_runtime_tells_its_story() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("mainstay.toml");
    fs::write(&config, format!("{NO_LINK}[agents]\nmin_uptime = '0s'\n[[agent]]\nid = 'planner'\ndriver = 'process'\nready = 'stdout:ready'\ncommand = ['sh', '-c', 'echo ready; exec sleep 1000']\n[[agent]]\nid = 'broken'\ndriver = 'process'\nrestart_delay = '1h'\nrestart_delay_max = '1h'\ncommand = ['sh', '-c', 'echo no key >&2; exit 1']\n")).unwrap();
    let args = ["run", "--config", config.to_str().unwrap()];
    let mut runtime = MainstayProcess::start(data.path(), &args);
    let mut events = EventFollower::follow(data.path());
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let is_decision = |event: &Value| event["actor"] == "root/agents/broken" && event["kind"] == "decision";
    events.wait_since(0, is_decision).await;
    // A stopped runtime starts no second watchdog, so its agent outlives it.
    runtime.signal("STOP").await;
    send_signal(watchdog_of(runtime.pid()).await, "KILL").await;
    runtime.signal("KILL").await;
    runtime.wait_for_exit().await;
    let _next = MainstayProcess::start(data.path(), &args);
    let mark = events.mark();
    events.wait_since(mark, |event| event["kind"] == "process_orphan").await;
    events.wait_since(mark, is_decision).await;
    let records: Vec<Record> =
        events.events.iter().map(|event| serde_json::from_value(event.clone()).unwrap()).collect();
    assert_golden("runtime_killed", &stories(&records, data.path(), |_| true));
}

async fn watchdog_of(runtime: u32) -> u64 {
    let listed =
        tokio::process::Command::new("ps").args(["-A", "-o", "pid=,ppid=,args="]).output().await.unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let watchdog = listed.lines().filter(|line| line.contains("mainstay-watchdog")).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (pid, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
        (parent == runtime).then_some(pid)
    });
    watchdog.unwrap()
}
