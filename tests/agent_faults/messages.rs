//! Tests messages to agents that are down: their outcome, its time, and its words.

use std::time::Duration;

use mainstay::journal::Record;
use mainstay::{AgentStatus, Error, Reason, SendOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fixture::{FaultyAgentFixture, TEST_TIMEOUT};
use crate::support::eventually;

const LONG_DELAY: &str = "restart_delay = \"5m\"\nrestart_delay_max = \"5m\"";
/// The time limit of a message that waits in vain.
const SHORT_WAIT: Duration = Duration::from_millis(300);

/// A process that exits over its first message.
async fn start_fragile(more: &str) -> FaultyAgentFixture {
    let script = "echo ready\nIFS= read -r message\nexit 1\n";
    let more = format!("driver = \"process\"\nready = \"stdout:ready\"\n{more}");
    let mut fixture = FaultyAgentFixture::with_script(script, &more).await;
    fixture.wait_for_status("healthy").await;
    fixture
}

/// Returns the outcome of a message with this time limit.
async fn send_expecting_error(fixture: &FaultyAgentFixture, wait: Duration) -> Error {
    let options = SendOptions { wait_timeout: wait, ..SendOptions::default() };
    let answer = async { fixture.mainstay.agents().send("x", json!("hello"), options).await?.answer().await };
    timeout(TEST_TIMEOUT, answer).await.expect("it has an outcome when its time is over").unwrap_err()
}

/// Waits for the failure of a message with these fields.
async fn wait_for_failure(fixture: &mut FaultyAgentFixture, fields: &Value) {
    let fields = fields.as_object().unwrap();
    let is_it = |record: &Record| {
        record.kind == "message_failed" && fields.iter().all(|(name, value)| record.fields[name] == *value)
    };
    fixture.wait_for(is_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_to_restarting_agent_expires() {
    let mut fixture = start_fragile(LONG_DELAY).await;
    let agents = fixture.mainstay.agents();
    // The next incarnation reports its outcome at the latest.
    let _first = agents.send("x", json!("now"), SendOptions::default()).await.unwrap();
    let options = SendOptions { wait_timeout: Duration::from_secs(2), ..SendOptions::default() };
    let behind = agents.send("x", json!("behind"), options).await.unwrap();
    let waits = behind.id();
    let behind = timeout(TEST_TIMEOUT, behind.answer()).await.expect("it expires").unwrap_err();
    assert_eq!((behind.reason, behind.retryable, behind.attempts), (Reason::Expired, true, 0));
    assert!(behind.message.contains("was not sent to the agent"), "{}", behind.message);
    let expired = json!({ "message_id": waits, "reason": "expired", "attempts": 0 });
    wait_for_failure(&mut fixture, &expired).await;

    eventually("it waits for its restart", async || fixture.view().report.status == AgentStatus::Restarting)
        .await;
    // This message is sent while the agent waits for its restart.
    let late = send_expecting_error(&fixture, SHORT_WAIT).await;
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    assert_eq!(late.message, behind.message);
    let agent = fixture.view();
    assert_eq!(agent.report.status, AgentStatus::Restarting);
    assert_eq!(agent.report.process, None);
    assert_eq!(agent.report.uptime_s, None);
    assert!(agent.last_error.is_some() && agent.resolved_error.is_none(), "{agent:?}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_to_unreachable_agent_expires() {
    let mut fixture =
        FaultyAgentFixture::with_backend(tempfile::tempdir().unwrap(), "http://127.0.0.1:9", "").await;
    fixture.wait_for_status("unknown").await;
    let late = send_expecting_error(&fixture, SHORT_WAIT).await;
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    wait_for_failure(&mut fixture, &json!({ "attempts": 0 })).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_to_stopped_agent_names_the_start_command() {
    let mut fixture = start_fragile("max_restarts = 0").await;
    let agents = fixture.mainstay.agents();
    let first = agents.send("x", json!("now"), SendOptions::default()).await.unwrap();
    let behind = agents.send("x", json!("behind"), SendOptions::default()).await.unwrap();
    let (_, behind) =
        timeout(TEST_TIMEOUT, async { tokio::join!(first.answer(), behind.answer()) }).await.unwrap();
    fixture.wait_for(|record| record.kind == "gave_up").await;
    for error in [behind.unwrap_err(), send_expecting_error(&fixture, TEST_TIMEOUT).await] {
        assert_eq!(error.reason, Reason::Stopped);
        let words = "The agent is given up: its restarts are used up, so it stays as it is until 'mainstay agent reset \
                     x' gives them back and starts it.";
        assert_eq!(error.message, words);
    }

    agents.reset("x").await.unwrap();
    fixture.wait_for_status("healthy").await;
    assert!(fixture.view().report.process.is_some());
    agents.stop("x").await.unwrap();
    let error = send_expecting_error(&fixture, TEST_TIMEOUT).await;
    assert_eq!(error.reason, Reason::Stopped);
    let words = "The agent is stopped; 'mainstay agent start x' starts it.";
    assert_eq!(error.message, words);
    let agent = fixture.view();
    assert_eq!(agent.report.status, AgentStatus::Stopped);
    assert_eq!(agent.report.process, None);
    assert_eq!(agent.report.uptime_s, None);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_ends_its_agent_twice_is_quarantined() {
    let mut fixture = start_fragile("").await;
    let options = SendOptions { may_repeat: true, ..SendOptions::default() };
    let message = fixture.mainstay.agents().send("x", json!("poison"), options).await.unwrap();
    let error = timeout(TEST_TIMEOUT, message.answer()).await.expect("it ends").unwrap_err();
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::Quarantined, false, 2));
    assert!(error.message.starts_with("The agent died repeatedly"), "{error:?}");
    wait_for_failure(&mut fixture, &json!({ "reason": "quarantined", "attempts": 2 })).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_error_is_resolved_once_agent_is_healthy() {
    let mut fixture = start_fragile("").await;
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    let agent = fixture.view();
    assert_eq!(agent.report.status, AgentStatus::Healthy);
    assert_eq!(agent.last_error, None);
    assert_eq!(agent.report.error, None);
    let past = agent.resolved_error.unwrap();
    assert!(past.message.contains("it exited with code 1") && past.at <= agent.report.since, "{past:?}");

    let unasked = fixture.mainstay.agents().answer("x", "a1", json!(true)).unwrap_err();
    assert_eq!(unasked.reason, Reason::NotFound);
    assert_eq!(unasked.message, "The agent does not ask this, or not any more. Look at its open questions.");
    fixture.stop().await;
}
