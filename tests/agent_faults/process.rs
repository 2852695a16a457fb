//! Tests agents that are processes and speak lines of JSON.

use std::path::Path;

use expect_test::expect;
use mainstay::{PendingReply, Reason, SendOptions};
use serde_json::json;
use tokio::time::timeout;

use crate::fixture::{FaultyAgentFixture, RESTORED, TEST_TIMEOUT, crash};

/// Reads its input and answers each message `{"type":"message","id":N,…}` with the number of words in its body.
const REPLYING_AGENT: &str = r#"
echo ready
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in *'"message"'*) echo "{\"type\":\"reply\",\"id\":$id,\"body\":\"done\"}" ;; esac
done
"#;

pub(crate) async fn start_process(script: &str, more: &str) -> FaultyAgentFixture {
    FaultyAgentFixture::with_script(
        script,
        &format!("driver = \"process\"\nready = \"stdout:ready\"\n{more}"),
    )
    .await
}

/// Returns a script that does `fault` over its first message.
pub(crate) fn on_message(fault: &str) -> String {
    format!("echo ready\nIFS= read -r message\n{fault}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn message_behind_a_crash_reaches_next_incarnation() {
    let ends =
        REPLYING_AGENT.replace("  case $line", "  case $line in *'\"end\"'*) exit 1 ;; esac\n  case $line");
    let mut fixture = start_process(&ends, "").await;
    fixture.wait_for_status("healthy").await;
    let agents = fixture.mainstay.agents();
    let first = agents.send("x", json!("end"), SendOptions::default()).await.unwrap();
    let second = agents.send("x", json!("live"), SendOptions::default()).await.unwrap();
    let outcome = async |message: PendingReply| {
        timeout(TEST_TIMEOUT, message.answer()).await.expect("it has an outcome")
    };
    assert_eq!(outcome(first).await.unwrap_err().reason, Reason::OutcomeUnknown);
    assert_eq!(outcome(second).await, Ok(json!("done").into()));
    fixture.wait_for_status("healthy").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 5
        restarted, checkpoint
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_on_restored_state_quarantines_it() {
    let script = r#"
echo ready
if [ ! -e "$1/had" ]; then : > "$1/had"; echo '{"type":"state","state":{"poison":true}}'; fi
while IFS= read -r line; do
  case $line in
    *'"restore"'*) while [ ! -e "$1/end" ]; do sleep 0.01; done; rm "$1/end"; exit 1 ;;
    *'"message"'*) exit 1 ;;
  esac
done
"#;
    let mut fixture = start_process(script, "max_restarts = 9").await;
    fixture.wait_for_status("healthy").await;
    fixture.wait_for_saved_state().await;
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    // The agent ends over the state a moment after it was healthy, so that the events have one order.
    for _ in 0..3 {
        fixture.wait_for_status("healthy").await;
        std::fs::write(fixture.dir.path().join("end"), "").unwrap();
    }
    fixture.wait_for(|record| record.kind == "agent_state_quarantined").await;
    fixture.wait_for_status("healthy").await;
    let reason = "its process ended: it exited with code 1";
    let crashes: Vec<_> =
        (1..=4).map(|number| crash("starting -> healthy\nhealthy", reason, number, 9)).collect();
    let crashes = crashes.join(RESTORED);
    let expected = format!("{crashes}agent_state_quarantined\n{RESTORED}starting -> healthy\n");
    assert_eq!(fixture.transcript(), expected);
    assert!(Path::new(&fixture.dir.path().join("had")).exists());
    fixture.stop().await;
}
