//! Tests agents and backends as child processes, through the real binary: their start, checks, restarts and end.

#![cfg(unix)]

mod support;
mod tier;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use support::{
    EventFollower, MainstayProcess, assert_members, eventually, is_agent_health, is_connection_state,
    mainstay_binary, run, run_json as ask, send_signal, tree_node,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Counts its messages; the count is its state.
const COUNTER: &str = r#"
n=0
while IFS= read -r line; do
    case $line in
        *'"type":"restore"'*) n=${line#*\"state\":}; n=${n%%[,\}]*} ;;
        *'"type":"message"'*)
            n=$((n + 1)); id=${line##*\"id\":}; id=${id%%[,\}]*}
            echo "{\"type\":\"state\",\"state\":$n}"; echo "{\"type\":\"reply\",\"id\":$id,\"body\":$n}" ;;
    esac
done"#;

/// Counts its messages, and reports its state only when its input ends.
const SAVES_STATE_ON_EXIT: &str = r#"
trap '' TERM
n=0
while IFS= read -r line; do
    case $line in
        *'"type":"restore"'*) n=${line#*\"state\":}; n=${n%%[,\}]*} ;;
        *'"type":"message"'*)
            n=$((n + 1)); id=${line##*\"id\":}; id=${id%%[,\}]*}
            echo "{\"type\":\"reply\",\"id\":$id,\"body\":$n}" ;;
    esac
done
echo "{\"type\":\"state\",\"state\":$n}""#;

/// Returns an agent that runs this shell script.
fn agent(id: &str, script: &str, more: &str) -> String {
    format!(
        "[[agent]]\nid = \"{id}\"\ndriver = \"process\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n"
    )
}

/// Writes a configuration for a backend at `port`; `backend` holds further keys.
fn config(data: &Path, port: u16, backend: &str, agents: &str) -> PathBuf {
    let path = data.join("mainstay.toml");
    let text = format!(
        "[backend]\nurl = \"http://127.0.0.1:{port}\"\n{backend}\n\
         [connection]\ndelay_min = \"1m\"\ndelay_max = \"1m\"\n\
         [agents]\nmin_uptime = \"50ms\"\nhealth_interval = \"100ms\"\nrestart_delay = \"50ms\"\nrestart_delay_max = \"50ms\"\n{agents}"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns a port without a listener.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(data: &Path, config: &Path) -> (MainstayProcess, EventFollower) {
    let runtime = MainstayProcess::start_traced(data, &["run", "--config", config.to_str().unwrap()]);
    (runtime, EventFollower::follow(data))
}

/// Starts a runtime with no backend, or with what `backend` says, and these agents.
fn start_with(backend: &str, agents: &str) -> (tempfile::TempDir, MainstayProcess, EventFollower) {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), free_port(), backend, agents);
    let (runtime, events) = start(data.path(), &config);
    (data, runtime, events)
}

/// Asks a runtime to stop, and waits until all its processes have ended.
async fn stop(mut runtime: MainstayProcess) {
    runtime.signal("TERM").await;
    assert!(runtime.wait().await.0.success());
}

async fn send_and_count(data: &Path, agent: &str) -> Value {
    ask(data, &["agent", "send", agent, "null"]).await["answer"].clone()
}

async fn pid(data: &Path, agent: &str) -> u64 {
    ask(data, &["agent", "show", agent]).await["process"]["pid"].as_u64().unwrap()
}

// === agents ===

#[tokio::test]
async fn killed_agent_or_runtime_restores_agent_state() {
    let data = tempfile::tempdir().unwrap();
    let agents = agent("planner", COUNTER, "") + &agent("coder", COUNTER, "");
    let config = config(data.path(), free_port(), "", &agents);
    let (mut runtime, mut events) = start(data.path(), &config);
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    events.wait_since(0, is_agent_health("coder", "healthy")).await;
    assert_eq!(send_and_count(data.path(), "planner").await, 1);
    assert_eq!(send_and_count(data.path(), "planner").await, 2);
    let (first, neighbour) = (pid(data.path(), "planner").await, pid(data.path(), "coder").await);

    let mark = events.mark();
    send_signal(first, "KILL").await;
    let failed = events.wait_since(mark, is_agent_health("planner", "failed")).await;
    let details = failed["error"]["details"].as_str().unwrap();
    assert_eq!(details, "its process ended: it was ended by signal 9 (KILL)");
    events.wait_for_agent("planner", "healthy").await;
    assert_eq!(send_and_count(data.path(), "planner").await, 3);
    assert_ne!(pid(data.path(), "planner").await, first);
    assert_eq!(pid(data.path(), "coder").await, neighbour);

    // A state is saved with the answer after it, and is on disk soon afterwards.
    eventually("the state is kept", async || {
        let shown = ask(data.path(), &["agent", "show", "planner"]).await;
        shown["state_saved_at"].as_str() > failed["at"].as_str()
    })
    .await;
    runtime.signal("KILL").await;
    runtime.wait().await;
    let (runtime, mut events) = start(data.path(), &config);
    let second = runtime.pid();
    events.wait_for(|event| event["kind"] == "runtime_started" && event["pid"] == second).await;
    events.wait_for_agent("planner", "healthy").await;
    let counted = send_and_count(data.path(), "planner").await;
    assert!(counted == 4 || counted == 3, "the last state but one at least: {counted}");
    stop(runtime).await;
}

#[tokio::test]
async fn reported_state_is_restored_after_stop_without_check() {
    let data = tempfile::tempdir().unwrap();
    let rarely = "health_interval = \"1h\"";
    let agents = agent("planner", COUNTER, rarely) + &agent("parting", SAVES_STATE_ON_EXIT, rarely);
    let config = config(data.path(), free_port(), "", &agents);
    let (runtime, mut events) = start(data.path(), &config);
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    events.wait_since(0, is_agent_health("parting", "healthy")).await;
    for id in ["planner", "parting"] {
        assert_eq!(send_and_count(data.path(), id).await, 1, "{id}");
        for (round, orders) in [(2, &["restart"][..]), (3, &["stop", "start"])] {
            for order in orders {
                let done = run(data.path(), &["agent", order, id]).await;
                assert_eq!(done.code, Some(0), "{done:?}");
            }
            assert_eq!(send_and_count(data.path(), id).await, round, "{id} after {orders:?}");
        }
    }
    stop(runtime).await;
    let (runtime, mut events) = start(data.path(), &config);
    let second = runtime.pid();
    events.wait_for(|event| event["kind"] == "runtime_started" && event["pid"] == second).await;
    let mark = events.mark();
    for id in ["planner", "parting"] {
        events.wait_since(mark, is_agent_health(id, "healthy")).await;
        assert_eq!(send_and_count(data.path(), id).await, 4, "{id}");
    }
    stop(runtime).await;
}

#[tokio::test]
async fn unsolicited_state_is_saved_at_once() {
    // The agent reports its state after its answer.
    let script = COUNTER.replace(r#"echo "{\"type\":\"state\",\"state\":$n}"; "#, "").replace(
        " ;;\n    esac",
        "\n            sleep 1; echo \"{\\\"type\\\":\\\"state\\\",\\\"state\\\":$n}\" ;;\n    esac",
    );
    let (data, runtime, mut events) = start_with("", &agent("planner", &script, "health_interval = \"1h\""));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    assert_eq!(send_and_count(data.path(), "planner").await, 1);
    eventually("the state is kept", async || {
        ask(data.path(), &["agent", "show", "planner"]).await["state_saved_at"].is_string()
    })
    .await;
    stop(runtime).await;
}

#[tokio::test]
async fn adding_or_removing_an_agent_updates_the_pid_file() {
    let (data, runtime, mut events) = start_with("", &agent("planner", COUNTER, ""));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let file = data.path().join("coder.toml");
    std::fs::write(&file, agent("coder", COUNTER, "")).unwrap();
    let added = run(data.path(), &["agent", "add", file.to_str().unwrap()]).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    events.wait_since(0, is_agent_health("coder", "healthy")).await;
    assert_eq!(send_and_count(data.path(), "coder").await, 1);
    let recorded = || std::fs::read_to_string(data.path().join("processes")).unwrap();
    assert_eq!(recorded().lines().count(), 2);
    for id in ["planner", "coder"] {
        let removed = run(data.path(), &["agent", "remove", id]).await;
        assert_eq!(removed.code, Some(0), "{removed:?}");
    }
    assert_eq!(recorded(), "");
    stop(runtime).await;
}

/// Asks before it answers, and says the answer.
const ASKS: &str = r#"
while IFS= read -r line; do
    case $line in
        *'"type":"message"'*)
            id=${line##*\"id\":}; id=${id%%[,\}]*}
            echo "{\"type\":\"ask\",\"ask\":\"a1\",\"id\":$id,\"body\":\"May I?\"}" ;;
        *'"type":"answer"'*)
            body=${line##*\"body\":}; echo "{\"type\":\"reply\",\"id\":\"$id\",\"body\":${body%\}}}" ;;
    esac
done"#;

#[tokio::test]
async fn open_question_is_shown_everywhere_until_answered() {
    let (data, runtime, mut events) = start_with("", &agent("planner", ASKS, ""));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let mut sender = JoinSet::new();
    sender.spawn({
        let data = data.path().to_owned();
        async move { ask(&data, &["agent", "send", "planner", "null"]).await }
    });
    let asked = events.wait_for_event("root/agents/planner", "agent_question").await;
    assert_members(&asked, &json!({ "ask": "a1", "message_id": 1, "text": "May I?" }));

    let shown = ask(data.path(), &["agent", "show", "planner"]).await;
    let question = &shown["questions"][0];
    assert_members(question, &json!({ "ask": "a1", "message_id": 1, "body": "May I?" }));
    let again = ask(data.path(), &["agent", "show", "planner"]).await;
    assert_eq!(again["questions"], shown["questions"], "its time stays");
    let next = shown["next_step"].as_str().unwrap();
    assert!(next.contains("`mainstay agent answer planner a1 VALUE`"), "{next}");
    let status = ask(data.path(), &["status"]).await;
    assert_eq!(status["agents"][0]["questions"], shown["questions"]);
    let agents = run(data.path(), &["agents"]).await.stdout;
    assert!(agents.contains("1 question"), "{agents}");

    // A listener that comes after the question gets it.
    let mut listener =
        support::mainstay(data.path(), &["agent", "listen", "planner", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let update: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_members(&update["update"], &json!({ "kind": "ask", "ask": "a1", "body": "May I?" }));

    let other = run(data.path(), &["agent", "answer", "planner", "a2", "certainly"]).await;
    let expected = "mainstay: NOT_FOUND: there is no open question \"a2\"; did you mean \"a1\"?\n";
    assert_eq!((other.code, other.stderr.as_str()), (Some(1), expected));
    let answered = run(data.path(), &["agent", "answer", "planner", "a1", "certainly"]).await;
    assert_eq!(answered.code, Some(0), "{answered:?}");
    let sent = sender.join_next().await.unwrap().unwrap();
    assert_eq!(sent["answer"], "certainly");
    let settled = events.wait_for_event("root/agents/planner", "agent_question_settled").await;
    assert_eq!(settled["outcome"], "answered");
    eventually("it is settled", async || {
        ask(data.path(), &["agent", "show", "planner"]).await["questions"] == json!([])
    })
    .await;
    stop(runtime).await;
}

/// Returns JSON that a reader and writer of trees changes or refuses. A line of an agent with it has the most levels.
fn odd_json() -> String {
    let deep = "[".repeat(125) + &"]".repeat(125);
    let numbers = "[9007199254740993,18446744073709551616,1e999,-0.0,1.0,1E2]";
    format!(r#"{{"b":{numbers},"a":{{"k":1,"k":"\u00e4\/"}},"half":"\ufffd","deep":{deep}}}"#)
}

/// Sends the agent a message, and answers its question. It repeats the JSON in every kind of line.
#[tokio::test]
async fn json_reaches_everyone_as_it_was_written() {
    let data = tempfile::tempdir().unwrap();
    let (odd, seen) = (odd_json(), data.path().join("seen"));
    let script = format!(
        r#"
        odd='{}'
        while IFS= read -r line; do
            printf '%s\n' "$line" >> '{}'
            case $line in
                *'"type":"message"'*) printf '{{"type":"ask","ask":"a1","id":1,"body":%s}}\n' "$odd" ;;
                *'"type":"answer"'*)
                    printf '{{"type":"progress","id":1,"n":%s}}\n' "$odd"
                    printf '{{"type":"state","state":%s}}\n' "$odd"
                    printf '{{"type":"reply","id":1,"body":%s}}\n' "$odd" ;;
            esac
        done"#,
        odd.replace("\\ufffd", "\\ud83d"),
        seen.display(),
    );
    let config = config(data.path(), free_port(), "", &agent("planner", &script, ""));
    let (runtime, mut events) = start(data.path(), &config);
    events.wait_since(0, is_agent_health("planner", "healthy")).await;

    let mut sender =
        support::mainstay(data.path(), &["agent", "send", "planner", &odd, "--json"]).spawn().unwrap();
    let mut sent = BufReader::new(sender.stdout.take().unwrap());
    let asked = events.wait_for_event("root/agents/planner", "agent_question").await;
    assert_eq!(asked["text"].as_str().unwrap(), format!("{}…", odd.chars().take(300).collect::<String>()));
    let compact = |text: &str| text.split_whitespace().collect::<String>();
    for command in [&["agent", "show", "planner", "--json"][..], &["status", "--json"]] {
        let shown = run(data.path(), command).await.stdout;
        assert!(compact(&shown).contains(&format!("\"body\":{odd}")), "{shown}");
    }
    let mut listener =
        support::mainstay(data.path(), &["agent", "listen", "planner", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let question = lines.next_line().await.unwrap().unwrap();
    assert!(question.contains(&format!("\"body\":{odd}")), "{question}");
    let answered = run(data.path(), &["agent", "answer", "planner", "a1", &odd]).await;
    assert_eq!(answered.code, Some(0), "{answered:?}");
    let mut progress = String::new();
    while !progress.contains("\"progress\"") {
        progress = lines.next_line().await.unwrap().unwrap();
    }
    assert!(progress.contains(&format!("\"body\":{{\"n\":{odd}}}")), "{progress}");
    let mut answer = String::new();
    sent.read_to_string(&mut answer).await.unwrap();
    assert!(compact(&answer).contains(&format!("\"answer\":{odd}")), "{answer}");
    stop(runtime).await;

    let (runtime, _) = start(data.path(), &config);
    let restored = format!("{{\"type\":\"restore\",\"state\":{odd}}}");
    eventually("the state is restored", async || {
        std::fs::read_to_string(&seen).unwrap().lines().any(|line| line == restored)
    })
    .await;
    let seen = std::fs::read_to_string(&seen).unwrap();
    for kind in ["message", "answer"] {
        let line = seen.lines().find(|line| line.contains(&format!("\"type\":\"{kind}\""))).unwrap();
        assert!(line.contains(&format!("\"body\":{odd}")), "{line}");
    }
    stop(runtime).await;
}

#[tokio::test]
async fn unreadable_reply_ends_the_message_and_is_journalled() {
    let script = r#"while IFS= read -r line; do echo '{"type":"reply","id":1,"body":NaN}'; done"#;
    let (data, runtime, mut events) = start_with("", &agent("planner", script, ""));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let mark = events.mark();
    let sent = run(data.path(), &["agent", "send", "planner", "null", "--json"]).await;
    let error: Value = serde_json::from_str(&sent.stdout).unwrap();
    assert_eq!((sent.code, &error["reason"]), (Some(1), &json!("bad_response")), "{sent:?}");
    assert!(error["details"].as_str().unwrap().contains(r#"{"type":"reply","id":1,"body":NaN}"#), "{error}");
    let lost = events.wait_since(mark, |event| event["kind"] == "agent_reply_lost").await;
    assert_members(&lost, &json!({ "count": 1, "text": r#"{"type":"reply","id":1,"body":NaN}"# }));
    let failed = events.wait_since(mark, |event| event["kind"] == "message_failed").await;
    assert_eq!(failed["reason"], "bad_response");
    assert_eq!(ask(data.path(), &["agent", "show", "planner"]).await["status"], "healthy");
    stop(runtime).await;
}

#[tokio::test]
async fn program_that_dies_at_once_is_never_healthy() {
    let more = "min_uptime = \"1h\"\nmax_restarts = 2";
    let (_data, runtime, mut events) = start_with("", &agent("planner", "sleep 0.3; exit 1", more));
    events.wait_since(0, |event| event["kind"] == "gave_up").await;
    let is_green = is_agent_health("planner", "healthy");
    assert!(!events.events.iter().any(is_green), "{:#?}", events.events);
    stop(runtime).await;
}

#[tokio::test]
async fn exits_of_programs_have_the_generation_of_their_actor() {
    let (data, runtime, mut events) = start_with("", &agent("planner", "exit 3", "max_restarts = 1"));
    events.wait_since(0, |event| event["kind"] == "gave_up").await;
    let exits = events.events.iter().filter(|event| event["kind"] == "process_exited");
    assert_eq!(exits.map(|exit| &exit["generation"]).collect::<Vec<_>>(), [1, 2]);
    let text = run(data.path(), &["events", "--kind", "process_exited"]).await.stdout;
    assert_eq!(text.matches("root/agents/planner #2 ").count(), 1, "{text}");
    stop(runtime).await;
}

#[tokio::test]
async fn suspended_program_is_degraded_then_restarted() {
    let (data, runtime, mut events) = start_with("", &agent("planner", COUNTER, "startup_grace = \"0s\""));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let first = pid(data.path(), "planner").await;
    let mark = events.mark();
    send_signal(first, "STOP").await;
    let degraded = events.wait_since(mark, is_agent_health("planner", "degraded")).await;
    assert_eq!(
        degraded["error"]["message"],
        "The agent's process is stopped by a signal or a debugger. Restart the agent, or let its process continue."
    );
    events.wait_since(mark, is_agent_health("planner", "failed")).await;
    events.wait_since(mark, is_agent_health("planner", "healthy")).await;
    assert_ne!(pid(data.path(), "planner").await, first);
    stop(runtime).await;
}

#[tokio::test]
async fn suspended_program_is_noticed_long_before_its_next_check() {
    // The next check is beyond the time limit of a wait for an event.
    let more = "startup_grace = \"0s\"\nhealth_interval = \"1h\"";
    let (data, runtime, mut events) = start_with("", &agent("planner", COUNTER, more));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let pid = pid(data.path(), "planner").await;
    for (signal, status) in [("STOP", "degraded"), ("CONT", "healthy")] {
        let mark = events.mark();
        send_signal(pid, signal).await;
        events.wait_since(mark, is_agent_health("planner", status)).await;
    }
    stop(runtime).await;
}

#[tokio::test]
async fn suspended_program_is_in_the_tree_until_it_continues() {
    let more = "startup_grace = \"0s\"\nfail_after = 1000";
    let (data, runtime, mut events) = start_with("", &agent("planner", COUNTER, more));
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let pid = pid(data.path(), "planner").await;
    let mark = events.mark();
    send_signal(pid, "STOP").await;
    let degraded = events.wait_since(mark, is_agent_health("planner", "degraded")).await;
    let shown = ask(data.path(), &["agent", "show", "planner"]).await;
    assert_eq!((&shown["status"], &shown["suspended"]), (&json!("degraded"), &json!(true)), "{shown}");
    let node = tree_node(data.path(), "root/agents/planner").await;
    assert_eq!(
        (&node["suspended"], &node["last_error"]),
        (&json!(true), &degraded["error"]["message"]),
        "{node}"
    );
    assert!(run(data.path(), &["tree"]).await.stdout.contains("running, suspended"));
    assert!(run(data.path(), &["agents"]).await.stdout.contains("degraded, suspended"));
    let mark = events.mark();
    send_signal(pid, "CONT").await;
    events.wait_since(mark, is_agent_health("planner", "healthy")).await;
    assert_eq!(tree_node(data.path(), "root/agents/planner").await.get("suspended"), None);
    stop(runtime).await;
}

#[tokio::test]
async fn hanging_program_fails_its_pings() {
    let script = r#"
        while IFS= read -r line; do case $line in
            *'"type":"ping"'*) [ -e hung ] || echo '{"type":"pong"}' ;;
        esac; done"#;
    let data = tempfile::tempdir().unwrap();
    let more = format!("health = \"ping\"\nhealth_timeout = \"300ms\"\ncwd = '{}'", data.path().display());
    let config = config(data.path(), free_port(), "", &agent("planner", script, &more));
    let (runtime, mut events) = start(data.path(), &config);
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let mark = events.mark();
    std::fs::write(data.path().join("hung"), "").unwrap();
    let failed = events.wait_since(mark, is_agent_health("planner", "failed")).await;
    assert_eq!(failed["error"]["details"], "it answered no ping within 300 ms");
    std::fs::remove_file(data.path().join("hung")).unwrap();
    events.wait_since(mark, is_agent_health("planner", "healthy")).await;
    stop(runtime).await;
}

// === the backend ===

fn sidecar(port: u16) -> String {
    let program = mainstay_binary();
    format!(
        "command = ['{}', 'demo-backend', '--port', '{port}', '--agents', 'planner']\nready = \"stdout:listening on\"",
        program.display()
    )
}

#[tokio::test]
async fn owned_backend_starts_first_restarts_and_ends_with_runtime() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = config(data.path(), port, &sidecar(port), "[[agent]]\nid = \"planner\"\n");
    let (runtime, mut events) = start(data.path(), &config);
    let started = events.wait_for(|event| event["kind"] == "backend_started").await;
    let is_dial = |event: &Value| event["kind"] == "connection_state";
    assert!(!events.events.iter().any(is_dial), "it was not dialled before there was something to dial");
    // The connection would wait for a minute after a failed attempt.
    events.wait_for_connection("connected").await;
    events.wait_since(0, is_agent_health("planner", "healthy")).await;

    let mark = events.mark();
    send_signal(started["pid"].as_u64().unwrap(), "KILL").await;
    let again = events.wait_since(mark, |event| event["kind"] == "backend_started").await;
    assert_ne!(again["pid"], started["pid"]);
    events.wait_since(mark, is_connection_state("connected")).await;
    let exit = events.events[mark..].iter().find(|event| event["kind"] == "actor_exited").unwrap();
    assert_eq!(exit["actor"], "root/backend");
    assert_eq!(exit["message"], "the backend's process ended: it was ended by signal 9 (KILL)");

    stop(runtime).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn process_environment_secrets_are_not_journalled() {
    let script = "echo no $DB_PASSWORD for db://me:$DB_PASSWORD@host/x?y=z >&2; exit 3";
    let env = "env = { DB_PASSWORD = \"s3same-0pen\" }";
    let backend = format!("command = ['sh', '-c', '{script}']\nready = \"http:/health\"\n{env}");
    let agents = format!("max_restarts = 1\n{}", agent("planner", script, env));
    let (_data, runtime, mut events) = start_with(&backend, &agents);
    events.wait_since(0, |event| event["kind"] == "gave_up" && event["actor"] == "root/backend").await;
    events.wait_since(0, |event| event["kind"] == "gave_up" && event["actor"] == "root/agents/planner").await;
    stop(runtime).await;
    let lines: Vec<String> = events.events.iter().map(Value::to_string).collect();
    let words = "no [redacted] for db://[redacted]@host/x?[redacted]";
    for whose in ["root/backend", "root/agents/planner"] {
        assert!(
            lines.iter().any(|event| event.contains(whose) && event.contains(words)),
            "{whose}: {lines:#?}"
        );
    }
    assert!(!lines.iter().any(|event| event.contains("s3same") || event.contains("y=z")), "{lines:#?}");
}

/// No request has read the token before the program prints it.
#[tokio::test]
async fn token_of_a_file_is_redacted_in_what_programs_print() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("token");
    std::fs::write(&file, "f1le-t0ken-4711\n").unwrap();
    let script = format!("cat {} >&2; exit 4", file.display());
    let text = format!(
        "[backend]\nurl = 'http://127.0.0.1:{}'\ntoken_file = '{}'\n[connection]\nenabled = false\n{}",
        free_port(),
        file.display(),
        agent("planner", &script, "max_restarts = 0")
    );
    let config = data.path().join("mainstay.toml");
    std::fs::write(&config, text).unwrap();
    let (runtime, mut events) = start(data.path(), &config);
    let exited = events.wait_for_event("root/agents/planner", "process_exited").await;
    assert_eq!(exited["output"], serde_json::json!(["[redacted]"]));
    events.wait_for_event("root/agents/planner", "gave_up").await;
    for command in [&["agents"][..], &["status"], &["agent", "show", "planner"], &["logs", "planner"]] {
        let shown = run(data.path(), command).await.stdout;
        let json = run(data.path(), &[command, &["--json"]].concat()).await.stdout;
        assert!(shown.contains("[redacted]") || command == ["status"], "{shown}");
        assert!(!shown.contains("f1le-t0ken") && !json.contains("f1le-t0ken"), "{shown}{json}");
    }
    stop(runtime).await;
    assert!(!events.events.iter().any(|event| event.to_string().contains("f1le-t0ken")));
}

#[tokio::test]
async fn backend_that_ends_on_stdin_eof_is_not_killed() {
    let data = tempfile::tempdir().unwrap();
    let script = r#"trap "" TERM; echo up; while read -r _; do :; done; echo bye > last-words"#;
    let backend = format!(
        "command = ['sh', '-c', '{script}']\ncwd = '{}'\nready = \"stdout:up\"",
        data.path().display()
    );
    let config = config(data.path(), free_port(), &backend, "");
    let (runtime, mut events) = start(data.path(), &config);
    events.wait_for(|event| event["kind"] == "backend_started").await;
    stop(runtime).await;
    assert_eq!(std::fs::read_to_string(data.path().join("last-words")).unwrap(), "bye\n");
}

#[tokio::test]
async fn backend_that_never_starts_is_given_up_with_its_last_line() {
    let backend = "command = ['sh', '-c', 'echo no database >&2; exit 3']\nready = \"http:/health\"";
    let agents = format!("max_restarts = 2\n{}", agent("planner", COUNTER, ""));
    let (data, runtime, mut events) = start_with(backend, &agents);
    events.wait_since(0, |event| event["kind"] == "gave_up" && event["actor"] == "root/backend").await;
    let of_backend = events.events.iter().filter(|event| event["actor"] == "root/backend");
    let exits: Vec<&Value> =
        of_backend.filter(|event| event["kind"] == "actor_exited").map(|event| &event["message"]).collect();
    let words = "the backend's process did not become ready: before it was ready, it exited with code 3; \
                 its last line on stderr: no database";
    assert_eq!(exits, [words; 3]);
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    assert_eq!(send_and_count(data.path(), "planner").await, 1);
    stop(runtime).await;
}

#[tokio::test]
async fn backend_with_taken_port_is_not_started() {
    let data = tempfile::tempdir().unwrap();
    let other = support::DemoBackend::start(0, "planner").await;
    let port = other.port();
    let backend = "command = ['sh', '-c', 'touch it-ran']\nready = \"http:/api/agents/planner/health\"";
    let config = config(
        data.path(),
        port,
        &format!("{backend}\ncwd = '{}'", data.path().display()),
        "max_restarts = 0\n",
    );
    let (runtime, mut events) = start(data.path(), &config);
    events.wait_since(0, |event| event["kind"] == "gave_up").await;
    let exit = events.events.iter().find(|event| event["kind"] == "actor_exited").unwrap();
    assert!(exit["message"].as_str().unwrap().contains("another server answers"), "{exit}");
    assert!(!data.path().join("it-ran").exists());
    stop(runtime).await;
}

// === the runtime is killed ===

#[tokio::test]
async fn next_runtime_kills_and_reports_orphans() {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), free_port(), "", &agent("planner", "exec sleep 1000", ""));
    let (mut runtime, mut events) = start(data.path(), &config);
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let left = pid(data.path(), "planner").await;
    // A stopped runtime starts no second watchdog.
    runtime.signal("STOP").await;
    send_signal(watchdog_of(runtime.pid()).await, "KILL").await;
    runtime.signal("KILL").await;
    // Until its process is gone, the data folder is in use.
    runtime.wait_for_exit().await;
    let (next, mut events) = start(data.path(), &config);
    let orphan = events.wait_for(|event| event["kind"] == "process_orphan").await;
    assert_members(&orphan, &json!({ "name": "planner", "pid": left, "processes": 1 }));
    assert_eq!(orphan["survivors"], json!([]));
    events.wait_for_agent("planner", "healthy").await;
    stop(next).await;
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
    watchdog.expect("a runtime with processes has a watchdog")
}

/// The number of runtimes that are killed at a random moment.
const QUICK_KILLS: u32 = 5;
const KILLS: u32 = 300;

/// The longest life of a process after its runtime. Only a long run checks it, since it has the machine to itself.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// The number of runtimes at the same time.
const AT_ONCE: usize = 12;

#[tokio::test]
async fn killed_runtime_leaves_no_process() {
    let kills = u64::from(tier::cases(QUICK_KILLS, KILLS));
    let took = futures_util::stream::iter((0..kills).map(kill_once)).buffer_unordered(AT_ONCE);
    let slowest = took.fold(Duration::ZERO, async |slowest, took| slowest.max(took)).await;
    println!("{kills} kills; the last process was gone after at most {slowest:?}");
    assert!(kills <= u64::from(QUICK_KILLS) || slowest < GONE_AFTER, "{slowest:?}");
}

/// Kills a runtime at an arbitrary moment, and returns the time until its last process has ended.
async fn kill_once(number: u64) -> Duration {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let agents = agent("planner", COUNTER, "")
        + &agent("forks", "sleep 1000 & (sleep 1000 & (trap '' TERM; exec sleep 1000)) & wait", "")
        + &agent("daemonises", "(setsid sh -c '(trap \"\" TERM; exec sleep 1000) &' &); sleep 1000", "")
        + &agent("flaps", "sleep 0.01; exit 1", "max_restarts = 1000\nrestart_delay = \"10ms\"");
    let config = config(data.path(), port, &sidecar(port), &agents);
    let mut runtime =
        MainstayProcess::start_traced(data.path(), &["run", "--config", config.to_str().unwrap()]);
    // The moments spread over the start and what follows; the golden ratio leaves no gaps.
    sleep(Duration::from_micros(number.wrapping_mul(618_034) % 1_000_000)).await;
    runtime.signal("KILL").await;
    #[allow(clippy::disallowed_methods, reason = "there is no runtime here whose clock could be asked")]
    let killed = Instant::now();
    runtime.wait().await;
    killed.elapsed()
}
