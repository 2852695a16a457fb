//! Tests the end of the real binary while its children refuse to end.

#![cfg(unix)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::{EventFollower, MainstayProcess, TEST_TIMEOUT, eventually, is_agent_health, run_json};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// Ignores the request to end and the end of its input. Its state is 7, and it reports that only when its input ends. Then
/// it notes that it was asked, waits until all six were, and notes that too.
const STUBBORN: &str = r#"
trap '' TERM
while IFS= read -r line; do
    case $line in *'"type":"restore"'*) echo "$line" >> restored ;; esac
done
echo '{"type":"state","state":7}'
echo >> asked
until [ "$(wc -l < asked)" -ge 6 ]; do sleep 0.1; done
echo >> asked-together
while :; do sleep 1; done"#;

/// Longer than a shutdown (5 s) and the stop of one agent (10 s) may take.
const STANDSTILL: Duration = Duration::from_secs(12);

const AGENTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Notes each state that it gets back. Once its input has ended and the file `go` is there, it reports a new state and
/// ends.
const PUNCTUAL: &str = r#"
trap '' TERM
echo '{"type":"state","state":1}'
while IFS= read -r line; do
    case $line in *'"type":"restore"'*) echo "$line" >> restored ;; esac
done
echo >> asked
until [ -e go ]; do sleep 0.1; done
echo '{"type":"state","state":2}'"#;

fn config(data: &Path, script: &str) -> PathBuf {
    let path = data.join("mainstay.toml");
    let agent = |id: &str| {
        format!(
            "[[agent]]\nid = \"{id}\"\ndriver = \"process\"\ncwd = '{}'\ncommand = [\"sh\", \"-c\", '''{script}''']\n",
            data.display()
        )
    };
    let text = format!(
        "[backend]\nurl = \"http://127.0.0.1:9\"\n[connection]\ndelay_min = \"1m\"\ndelay_max = \"1m\"\n\
         [agents]\nmin_uptime = \"100ms\"\n{}",
        AGENTS.map(agent).concat()
    );
    std::fs::write(&path, text).unwrap();
    path
}

async fn start(data: &Path, config: &Path) -> (MainstayProcess, EventFollower) {
    let runtime = MainstayProcess::start_traced(data, &["run", "--config", config.to_str().unwrap()]);
    let (mut events, pid) = (EventFollower::follow(data), runtime.pid());
    events.wait_for(|event| event["kind"] == "runtime_started" && event["pid"] == pid).await;
    let mark = events.mark();
    for agent in AGENTS {
        events.wait_since(mark, is_agent_health(agent, "healthy")).await;
    }
    (runtime, events)
}

/// Asks for the end, and returns the events up to it.
async fn stop(runtime: &mut MainstayProcess, events: &mut EventFollower) -> Vec<Value> {
    let mark = events.mark();
    runtime.signal("INT").await;
    events.wait_for_event("root", "runtime_stopped").await;
    let (status, output) = runtime.wait().await;
    assert_eq!(status.code(), Some(0), "{output}");
    events.events[mark..].to_vec()
}

#[tokio::test]
async fn six_stubborn_agents_end_together_and_keep_their_states() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), STUBBORN);
    let (mut runtime, mut events) = start(data.path(), &config).await;
    let ended = stop(&mut runtime, &mut events).await;
    let find = |kind: &str, actor: &str| {
        let found = ended.iter().find(|event| event["kind"] == kind && event["actor"] == actor);
        found.unwrap_or_else(|| panic!("{kind} of {actor} in {ended:#?}"))
    };
    // One after the other, only the last would have seen all others asked before it was killed.
    let together = std::fs::read_to_string(data.path().join("asked-together")).unwrap();
    assert_eq!(together.lines().count(), AGENTS.len(), "agents that were alive when all had been asked");
    for agent in AGENTS {
        let exit = find("actor_exited", &format!("root/agents/{agent}"));
        assert_eq!(exit["cause"], "killed");
        let message = exit["message"].as_str().unwrap();
        assert!(message.contains("did not end when it was asked to: it was ended by signal 9"), "{message}");
    }
    for path in ["root/agents", "root/queue", "root/connection", "root/cache", "root"] {
        assert_eq!(find("actor_exited", path)["cause"], "normal", "{path}");
    }
    // What each of them said last, after it was asked to end, is its state.
    let _started = start(data.path(), &config).await;
    let restored = std::fs::read_to_string(data.path().join("restored")).unwrap();
    let states = restored.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone());
    assert_eq!(states.collect::<Vec<_>>(), [7; 6]);
}

#[tokio::test]
async fn signals_of_one_moment_are_one_request_to_end() {
    let data = tempfile::tempdir().unwrap();
    let (mut runtime, mut events) = start(data.path(), &config(data.path(), STUBBORN)).await;
    // One command, so that the signals come in one moment, as from a closed terminal or from `timeout`.
    let pid = runtime.pid();
    let kills = format!("kill -s HUP {pid}; kill -s TERM {pid}; kill -s TERM {pid}");
    assert!(Command::new("sh").args(["-c", &kills]).status().await.unwrap().success());
    events.wait_for_event("root", "runtime_stopped").await;
    let (status, output) = runtime.wait().await;
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test]
async fn second_signal_ends_at_once_and_leaves_no_process() {
    let data = tempfile::tempdir().unwrap();
    let (mut runtime, mut events) = start(data.path(), &config(data.path(), STUBBORN)).await;
    let agent = run_json(data.path(), &["agent", "show", "a"]).await["process"]["pid"].as_u64().unwrap();
    runtime.signal("INT").await;
    events.wait_for_event("root", "runtime_stopping").await;
    eventually("the status says that it stops, and which agents it waits for", async || {
        let status = run_json(data.path(), &["status"]).await;
        let (finding, since) = (&status["verdict"]["finding"], &status["runtime"]["stopping_since"]);
        finding == &json!({ "type": "stopping", "since": since, "names": ["a", "b", "c"], "more": 3 })
    })
    .await;
    // A repeat in the same moment is the same request, so a person presses again.
    let insisting = async {
        while !runtime.ends_within(Duration::from_millis(200)).await {
            runtime.signal("INT").await;
        }
    };
    timeout(TEST_TIMEOUT, insisting).await.unwrap();
    // Its end is the end of all its descendants, which hold its output open.
    let (status, output) = runtime.wait().await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(!Path::new(&format!("/proc/{agent}")).exists());
    let stopped = support::run(data.path(), &["events", "--kind", "runtime_stopped", "--json"]).await;
    let stopped: Value = serde_json::from_str(&stopped.stdout).unwrap();
    assert_eq!(
        (&stopped["cause"], &stopped["message"]),
        (&json!("killed"), &json!("a second signal ended it at once"))
    );
    let exits = support::run(data.path(), &["events", "--kind", "actor_exited", "--json"]).await.stdout;
    assert!(exits.contains("root/agents/a"), "{exits}");
    assert!(!exits.contains("did not in time"), "its time was not over: {exits}");
    let (mut runtime, mut events) = start(data.path(), &config(data.path(), STUBBORN)).await;
    let is_interrupted = |event: &Value| event["kind"] == "run_interrupted";
    assert!(!events.events.iter().any(is_interrupted), "the journal has how it ended");
    stop(&mut runtime, &mut events).await;
}

/// Returns the number of agents that were asked to end.
fn asked(data: &Path) -> usize {
    std::fs::read_to_string(data.join("asked")).unwrap_or_default().lines().count()
}

/// Stops the process for longer than a stop may take. The agents end meanwhile.
async fn stand_still(data: &Path, runtime: &MainstayProcess, agents: usize) {
    eventually("the agents are asked to end", async || asked(data) == agents).await;
    runtime.signal("STOP").await;
    std::fs::write(data.join("go"), "").unwrap();
    // The length of the standstill. Nothing is expected to happen meanwhile.
    sleep(STANDSTILL).await;
    runtime.signal("CONT").await;
}

/// Returns the states that the agents get back from the next run.
async fn restored_states(data: &Path, config: &Path) -> Vec<Value> {
    let (mut runtime, mut events) = start(data, config).await;
    stop(&mut runtime, &mut events).await;
    let restored = std::fs::read_to_string(data.join("restored")).unwrap();
    restored.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone()).collect()
}

/// Returns the causes of the exits, by actor.
fn exit_causes(events: &[Value]) -> Vec<(&str, &str)> {
    let exits = events.iter().filter(|event| event["kind"] == "actor_exited");
    exits.map(|exit| (exit["actor"].as_str().unwrap(), exit["cause"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn agents_that_end_in_a_standstill_of_the_shutdown_keep_states() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), PUNCTUAL);
    let (mut runtime, mut events) = start(data.path(), &config).await;
    let mark = events.mark();
    let (ended, ()) = {
        runtime.signal("INT").await;
        let standstill = stand_still(data.path(), &runtime, AGENTS.len());
        tokio::join!(events.wait_for_event("root", "runtime_stopped"), standstill)
    };
    let (status, output) = runtime.wait().await;
    assert_eq!((status.code(), &ended["cause"]), (Some(0), &json!("normal")), "{output}");
    let ended = &events.events[mark..];
    let causes = exit_causes(ended);
    assert!(causes.len() > AGENTS.len() && causes.iter().all(|(_, cause)| *cause == "normal"), "{causes:?}");
    let exits = ended.iter().filter(|event| event["kind"] == "process_exited" && event["code"] == 0);
    assert_eq!(exits.count(), AGENTS.len(), "{ended:#?}");
    assert_eq!(restored_states(data.path(), &config).await, [2; 6]);
}

#[tokio::test]
async fn agent_that_ends_in_a_standstill_of_its_stop_keeps_its_state() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), PUNCTUAL);
    let (mut runtime, mut events) = start(data.path(), &config).await;
    let mark = events.mark();
    let stopping = support::run(data.path(), &["agent", "stop", "a"]);
    let (stopped, ()) = tokio::join!(stopping, stand_still(data.path(), &runtime, 1));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    events.wait_since(mark, |event| event["kind"] == "actor_exited").await;
    assert_eq!(exit_causes(&events.events[mark..]), [("root/agents/a", "normal")]);
    stop(&mut runtime, &mut events).await;
    assert_eq!(restored_states(data.path(), &config).await, [2; 6]);
}
