//! Tests agents that are processes and speak lines of JSON.

use std::path::Path;
use std::time::Duration;

use expect_test::expect;
use mainstay::AgentStatus;
use mainstay::{PendingReply, Reason, SendOptions};
use serde_json::json;
use tokio::time::timeout;

use crate::fixture::{FaultyAgentFixture, TEST_TIMEOUT, wait_until_gone};

/// Reads its input and answers each message `{"type":"message","id":N,…}` with the number of words in its body.
const REPLYING_AGENT: &str = r#"
echo ready
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in *'"message"'*) echo "{\"type\":\"reply\",\"id\":$id,\"body\":\"done\"}" ;; esac
done
"#;

async fn start_process(script: &str, more: &str) -> FaultyAgentFixture {
    FaultyAgentFixture::with_script(
        script,
        &format!("driver = \"process\"\nready = \"stdout:ready\"\n{more}"),
    )
    .await
}

fn on_message(fault: &str) -> String {
    format!("echo ready\nIFS= read -r letter\n{fault}\n")
}

/// The events of an agent that ends over its first message, and is back.
async fn start_and_crash(fault: &str) -> FaultyAgentFixture {
    let mut fixture = start_process(&on_message(fault), "").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_0_restarts() {
    let fixture = start_and_crash("exit 0").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_1_reports_last_stderr() {
    let fixture = start_and_crash("echo 'no more tokens' >&2\nexit 1").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1; its last lines on stderr: no more tokens
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_reports_signal() {
    let fixture = start_and_crash("kill -9 $$").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it was ended by signal 9 (KILL)
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forked_children_are_killed() {
    let fixture =
        start_and_crash("sleep 3600 & echo $! > \"$1/pids\"\nsleep 3600 & echo $! >> \"$1/pids\"\nexit 1")
            .await;
    let pids = fixture.recorded_pids();
    assert_eq!(pids.len(), 2);
    wait_until_gone(&pids).await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn daemon_is_killed() {
    let daemon = "(setsid sh -c 'echo $$ > \"$0/pids\"; : > \"$0/there\"; exec sleep 3600' \"$1\" &)\n\
                  while [ ! -e \"$1/there\" ]; do sleep 0.01; done\nexit 0";
    let fixture = start_and_crash(daemon).await;
    let pids = fixture.recorded_pids();
    assert_eq!(pids.len(), 1);
    wait_until_gone(&pids).await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_flood_is_bounded() {
    let flood = "yes noise | head -c 2000000; echo\nyes noise | head -c 2000000 >&2\n";
    let mut fixture =
        start_process(&REPLYING_AGENT.replace("  case $line", &format!("{flood}  case $line")), "").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("now")).await, Ok(json!("done")));
    assert_eq!(fixture.view().status, AgentStatus::Healthy);
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hang_on_message_restarts() {
    let mut fixture = start_process(&on_message("exec sleep 3600"), "progress_timeout = \"300ms\"").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        agent_stuck
        healthy -> failed
        exited: error: it has worked without progress for longer than 300ms
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_stdin_restarts_on_next_message() {
    let mut fixture = start_process("exec 0<&-\necho ready\nexec sleep 3600\n", "").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process has closed its input, and runs on
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
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
    let fate = async |message: PendingReply| {
        timeout(TEST_TIMEOUT, message.answer()).await.expect("its fate is told")
    };
    assert_eq!(fate(first).await.unwrap_err().reason, Reason::OutcomeUnknown);
    assert_eq!(fate(second).await, Ok(json!("done")));
    fixture.wait_for_status("healthy").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_sigterm_is_killed_after_grace() {
    let mut fixture = start_process("trap '' TERM\necho ready\nwhile :; do sleep 3600; done\n", "").await;
    fixture.wait_for_status("healthy").await;
    let pid = fixture.view().process.unwrap().pid;
    timeout(TEST_TIMEOUT, fixture.mainstay.agents().stop("x")).await.unwrap().unwrap();
    wait_until_gone(&[pid]).await;
    fixture.wait_for(|record| record.kind == "actor_exited").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        exited: normal: 
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_ready_is_given_up() {
    let more = "startup_grace = \"200ms\"\nmax_restarts = 1";
    let mut fixture = start_process("exec sleep 3600", more).await;
    fixture.wait_for(|record| record.kind == "gave_up").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> failed
        exited: error: it was not ready within 1s
        decision: restart, 1 of 1
        restarted, fresh
        starting -> failed
        exited: error: it was not ready within 1s
        decision: abandon, 1 of 1
        gave_up
    "#]]);
    let agent = fixture.view();
    assert!(agent.next_step.contains("mainstay agent reset x"), "{}", agent.next_step);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_before_ready_is_reported_at_once_with_stderr() {
    let more = "startup_grace = \"1h\"\nmax_restarts = 1";
    let mut fixture = start_process("echo 'no such model' >&2\nexit 3", more).await;
    fixture.wait_for(|record| record.kind == "gave_up").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> failed
        exited: error: before it was ready, it exited with code 3; its last lines on stderr: no such model
        decision: restart, 1 of 1
        restarted, fresh
        starting -> failed
        exited: error: before it was ready, it exited with code 3; its last lines on stderr: no such model
        decision: abandon, 1 of 1
        gave_up
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
    while fixture.view().state_saved_at.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    // The agent ends over the state a moment after it was healthy, so that the events have one order.
    for _ in 0..3 {
        fixture.wait_for_status("healthy").await;
        std::fs::write(fixture.dir.path().join("end"), "").unwrap();
    }
    fixture.wait_for(|record| record.kind == "agent_state_quarantined").await;
    fixture.wait_for_status("healthy").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 9
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 2 of 9
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 3 of 9
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 4 of 9
        agent_state_quarantined
        restarted, restored
        starting -> healthy
    "#]]);
    assert!(Path::new(&fixture.dir.path().join("had")).exists());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_each_ready_is_given_up() {
    let mut fixture = start_process(&on_message("exit 1"), "max_restarts = 2").await;
    for _ in 0..3 {
        fixture.wait_for_status("healthy").await;
        assert_eq!(fixture.send(json!("now")).await, Err(Reason::OutcomeUnknown));
    }
    fixture.wait_for(|record| record.kind == "gave_up").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 2
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 2 of 2
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: abandon, 2 of 2
        gave_up
    "#]]);
    assert!(fixture.view().next_step.contains("mainstay agent reset x"));
    fixture.stop().await;
}
