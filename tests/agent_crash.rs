//! Tests that a crashed agent restarts after the delay with its state, and that the journal records each step.

mod support;

use mainstay::supervision::{Clock, SystemClock};
use serde_json::{Value, json};
use support::{EventFollower, get_json, post_json, run_json as ask, start_demo};

const PLANNER: &str = "root/agents/planner";

fn now() -> jiff::Timestamp {
    SystemClock.now()
}

/// The last readable state of the planner was saved after `at`.
async fn wait_for_saved_state(data: &std::path::Path, at: jiff::Timestamp) {
    support::eventually("the planner's state is kept", async || {
        let agent = ask(data, &["agent", "show", "planner"]).await;
        let kept = agent["state_saved_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        kept.is_some_and(|kept| kept > at)
    })
    .await;
}

#[tokio::test]
async fn crashed_agent_is_restored_and_journalled_in_order() {
    let data = tempfile::tempdir().unwrap();
    let (demo, backend) = start_demo(data.path(), "2").await;
    assert!(backend.starts_with("http://127.0.0.1:"), "{backend}");
    let mut events = EventFollower::follow(data.path());
    events.wait_for_agent("planner", "healthy").await;

    post_json(&format!("{backend}/api/agents/planner/message"), json!({"text": "remember me"})).await;
    let before = get_json(&format!("{backend}/api/agents/planner/state")).await;
    assert_eq!(before["count"], 1);
    wait_for_saved_state(data.path(), now()).await;

    post_json(&format!("{backend}/_fault"), json!({"kind": "crash_agent", "agent": "planner"})).await;
    events.wait_for_agent("planner", "failed").await;
    let from = events.events.len();
    let restarted = events.wait_for_event(PLANNER, "actor_restarted").await;
    let records: Vec<&Value> =
        events.events[from..].iter().filter(|event| event["actor"] == PLANNER).collect();
    let kinds: Vec<&str> = records.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["actor_exited", "decision", "actor_started", "actor_ready", "actor_restarted"]);
    assert_eq!(records[0]["cause"], "error");
    assert_eq!(records[0]["message"], "the agent reports that it failed");
    let decision = records[1];
    assert_eq!(decision["decision"], "restart");
    assert_eq!((&decision["attempt"], &decision["delay_ms"]), (&json!(1), &json!(5000)));
    assert_eq!(decision["budget"], json!({"used": 1, "max": 5, "window_ms": 600_000}));
    assert!(restarted["downtime_ms"].as_u64().unwrap() >= 5000);
    assert_eq!(restarted["state"], "checkpoint");

    events.wait_for_agent("planner", "healthy").await;
    assert_eq!(get_json(&format!("{backend}/api/agents/planner/state")).await, before);
    let agents = ask(data.path(), &["agents"]).await;
    assert_eq!((&agents[0]["generation"], &agents[0]["budget_left"]), (&json!(2), &json!(4)));
    assert_eq!(agents[1]["generation"], 1, "its neighbour was not touched");

    let (status, records) = demo.stop().await;
    assert!(status.success(), "{status}");
    assert!(records.contains("decided: restart in 5 s, attempt 1 (1 of 5 restarts used)"), "{records}");
}

#[tokio::test]
async fn demo_for_duration_stops_and_journals_its_end() {
    let data = tempfile::tempdir().unwrap();
    let ended = support::run(data.path(), &["demo", "--for", "1s"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let events = support::run(data.path(), &["events", "--json"]).await;
    let kinds: Vec<Value> = events.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds.first().unwrap()["kind"], "runtime_started");
    assert_eq!(kinds.last().unwrap()["kind"], "runtime_stopped");
    assert_eq!(kinds.last().unwrap()["cause"], "normal");
}

#[tokio::test]
async fn status_and_tree_have_the_members_that_programs_rely_on() {
    let data = tempfile::tempdir().unwrap();
    let _demo = start_demo(data.path(), "1").await;
    EventFollower::follow(data.path()).wait_for_agent("planner", "healthy").await;
    let status = ask(data.path(), &["status"]).await;
    let members = [
        ("runtime", &["run", "boot", "pid", "uptime_ms", "seq"][..]),
        ("connection", &["state", "since", "attempt", "max", "next_attempt_at", "last_error"]),
        ("queue", &["waiting", "running", "max_concurrent", "by_priority"]),
        ("cache", &["entries", "bytes", "hits", "misses"]),
    ];
    for (part, members) in members {
        for member in members {
            assert!(status[part].get(member).is_some(), "{part}.{member}: {status}");
        }
    }
    let agent = ["id", "driver", "status", "since", "generation", "restarts", "budget_left", "last_error"];
    assert!(agent.iter().all(|member| status["agents"][0].get(member).is_some()), "{status}");
    let tree = ask(data.path(), &["tree"]).await;
    let node = ["path", "kind", "status", "generation", "restarts", "mailbox", "children"];
    assert!(node.iter().all(|member| tree.get(member).is_some()), "{tree}");
    let paths: Vec<_> =
        tree["children"].as_array().unwrap().iter().map(|child| child["path"].clone()).collect();
    assert_eq!(paths, ["root/connection", "root/queue", "root/cache", "root/agents"]);
    assert_eq!(tree["children"][3]["children"][0]["path"], PLANNER);
}
