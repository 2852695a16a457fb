//! Tests that what the runtime says of itself is so, whatever the clock does.

#![cfg(unix)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use mainstay::config::Config;
use mainstay::supervision::Clock;
use mainstay::{ConnectionState, Mainstay, Reason, SendOptions, StorageState, Subscription};
use serde_json::json;
use support::{MovedClock, assert_members, eventually, next_of_kind, next_record, run, run_json};

/// No backend, and an agent that dies at each start.
const CONFIG: &str = r#"
[backend]
url = "http://127.0.0.1:9"
[connection]
max_retries = 1
delay_min = "10ms"
delay_max = "10ms"
after_failed = "wait"
[agents]
restart_delay = "10ms"
restart_delay_max = "10ms"
max_restarts = 2
[[agent]]
id = "planner"
driver = "process"
command = ["sh", "-c", "exit 1"]
"#;

/// Returns the time at which the connection has failed, by the event, once the report shows it.
async fn connection_failed(mainstay: &Mainstay, events: &mut Subscription) -> Timestamp {
    let failed =
        next_record(events, |record| record.kind == "connection_state" && record.fields["to"] == "failed")
            .await;
    eventually("the report shows it", async || {
        mainstay.connection().report().state == ConnectionState::Failed
    })
    .await;
    failed.at.parse().unwrap()
}

/// Returns whether two times are the same, but for what a slow machine does between them.
fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() < SignedDuration::from_mins(10)
}

#[tokio::test]
async fn unchanged_states_are_equal_bytes_whatever_the_clock_does() {
    let clock = Arc::new(MovedClock::default());
    let builder = Mainstay::builder().config(Config::from_toml(CONFIG).unwrap());
    let mainstay = builder.clock(Arc::clone(&clock) as Arc<dyn Clock>).start().await.unwrap();
    let (mut events, mut gave_up) = (mainstay.events(), mainstay.events());
    next_of_kind(&mut gave_up, "gave_up").await;
    let failed = connection_failed(&mainstay, &mut events).await;
    // Nothing runs between two looks: this test has one thread, and waits for nothing.
    let snapshot = || {
        let (connection, agents) = (mainstay.connection().report(), mainstay.agents().list());
        serde_json::to_string(&(&connection, &agents, mainstay.tree())).unwrap()
    };
    // What the bridge's snapshot has, but for the two members that count from now.
    let status = async || {
        let mut status = serde_json::to_value(mainstay.status().await).unwrap();
        for (part, member) in [("runtime", "uptime_ms"), ("connection", "next_attempt_in_ms")] {
            assert!(status[part].as_object_mut().unwrap().remove(member).is_some(), "{status}");
        }
        status.to_string()
    };
    let (before, status_before) = (snapshot(), status().await);
    // A night of sleep, then the clock is set back by a day.
    for moved_s in [8 * 3600, -24 * 3600, 0] {
        clock.0.store(moved_s, Ordering::SeqCst);
        assert_eq!(snapshot(), before, "{moved_s}");
        assert_eq!(status().await, status_before, "{moved_s}");
    }
    assert!(is_near(failed, mainstay.connection().report().since.0));

    // A state that is entered after the step has its date by the new clock.
    clock.0.store(8 * 3600, Ordering::SeqCst);
    // Its outcome is in the events.
    let _ = mainstay.connection().reconnect().await;
    let failed = connection_failed(&mainstay, &mut events).await;
    let since = mainstay.connection().report().since.0;
    assert!(is_near(failed, since) && is_near(clock.now(), since), "{failed} {since}");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn standstill_of_the_runtime_is_an_event() {
    let clock = Arc::new(MovedClock::default());
    let builder = Mainstay::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let mainstay = builder.start().await.unwrap();
    let mut events = mainstay.events();
    next_of_kind(&mut events, "actor_ready").await;
    clock.0.store(3600, Ordering::SeqCst);
    let woke = next_of_kind(&mut events, "woke_after").await;
    assert!(woke.fields["stood_still_ms"].as_u64().unwrap() > 3_500_000, "{woke:?}");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn given_up_agent_says_what_is_so_now() {
    let mainstay = Mainstay::builder().config(Config::from_toml(CONFIG).unwrap()).start().await.unwrap();
    let mut events = mainstay.events();
    let gave_up = next_of_kind(&mut events, "gave_up").await;
    assert_eq!(gave_up.fields["restarts"], 2);
    let agent = mainstay.agents().get("planner").unwrap();
    assert_eq!((agent.supervision.gave_up, agent.supervision.budget_left), (true, Some(0)));
    let message = "The agent was given up after 2 restarts. Look into its last error, and then reset it.";
    assert_eq!(agent.report.error.as_ref().unwrap().message, message);
    assert!(agent.last_error.unwrap().starts_with(message));
    // It never had a state.
    let mut events = mainstay.events();
    for _ in 0..2 {
        assert_eq!(next_of_kind(&mut events, "actor_restarted").await.fields["state"], "fresh");
    }
    mainstay.shutdown().await;
}

#[tokio::test]
async fn message_to_an_agent_that_no_restart_helps_names_the_cause() {
    let text = "[[agent]]\nid = 'helper'\ndriver = 'process'\ncommand = ['mainstay-has-no-such-program']\n";
    let mainstay = Mainstay::builder().config(Config::from_toml(text).unwrap()).start().await.unwrap();
    next_of_kind(&mut mainstay.events(), "gave_up").await;
    let sent = mainstay.agents().send("helper", json!(1), SendOptions::default()).await;
    let error = sent.err().unwrap();
    let words = "The agent is given up, since no restart can help: The program of the agent cannot be started. Correct how \
                 it is configured. Then 'mainstay agent start helper' tries again.";
    assert_eq!((error.reason, &*error.message), (Reason::Stopped, words));
    let details = error.details.unwrap();
    assert!(details.contains("mainstay-has-no-such-program"), "{details}");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn degraded_journal_is_in_the_status_until_it_is_well() {
    let data = tempfile::tempdir().unwrap();
    let config = Config::from_toml(CONFIG).unwrap();
    let mainstay = Mainstay::builder().config(config).data_dir(data.path()).start().await.unwrap();
    assert_eq!(mainstay.status().await.storage, Default::default());
    // A file is where the folder was.
    let (journal, moved) = (data.path().join("journal"), data.path().join("moved"));
    fs::rename(&journal, &moved).unwrap();
    fs::write(&journal, "").unwrap();
    eventually("the journal is degraded", async || {
        // Any event will do.
        let _ = mainstay.connection().reconnect().await;
        matches!(mainstay.status().await.storage.journal, StorageState::Degraded(_))
    })
    .await;
    fs::remove_file(&journal).unwrap();
    eventually("it is well again", async || mainstay.status().await.storage.journal == StorageState::Ok)
        .await;
    mainstay.shutdown().await;
}

#[tokio::test]
async fn message_without_outcome_is_among_the_dead_letters() {
    let data = tempfile::tempdir().unwrap();
    let config =
        CONFIG.replace("exit 1", "read line; exit 1").replace("max_restarts = 2", "max_restarts = 0");
    let file = data.path().join("mainstay.toml");
    fs::write(&file, config).unwrap();
    let runtime = support::start_runtime(data.path(), &file);
    let mut events = support::EventFollower::follow(data.path());
    events.wait_for_agent("planner", "healthy").await;
    let sent = run(data.path(), &["agent", "send", "planner", "1"]).await;
    assert_eq!(sent.code, Some(1), "{sent:?}");
    events.wait_for_event("root/agents/planner", "message_failed").await;
    let shown = run(data.path(), &["dead-letters", "-o", "wide"]).await.stdout;
    assert!(shown.contains("  message 1  was interrupted: ") && shown.contains("outcome_unknown"), "{shown}");
    let status = run_json(data.path(), &["status"]).await;
    assert_members(&status["storage"], &json!({"journal": "ok", "state": "ok"}));
    runtime.stop().await;
}

#[tokio::test]
async fn message_answered_with_an_error_is_among_the_dead_letters() {
    let data = tempfile::tempdir().unwrap();
    let reply = r#"read line; echo '{\"type\":\"reply\",\"id\":1,\"error\":\"no model\"}'; read line"#;
    let file = data.path().join("mainstay.toml");
    fs::write(&file, CONFIG.replace("exit 1", reply)).unwrap();
    let runtime = support::start_runtime(data.path(), &file);
    let mut events = support::EventFollower::follow(data.path());
    events.wait_for_agent("planner", "healthy").await;
    assert_eq!(run(data.path(), &["agent", "send", "planner", "1"]).await.code, Some(1));
    events.wait_for_event("root/agents/planner", "message_failed").await;
    let shown = run(data.path(), &["dead-letters"]).await.stdout;
    assert!(shown.contains("  message 1  has failed: "), "{shown}");
    runtime.stop().await;
}
