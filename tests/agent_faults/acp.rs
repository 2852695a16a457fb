//! Tests agents that are processes and speak the Agent Client Protocol: the example of the actors' crate, started by a
//! script.

use expect_test::expect;
use mainstay::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fixture::{FaultyAgentFixture, TEST_TIMEOUT, wait_until_gone};
use crate::support::{acp_agent_binary, send_signal};

/// Returns a script that runs `first`, and then becomes the agent.
fn script(first: &str, switches: &str) -> String {
    format!("{first}\nexec {} --sessions \"$1\" {switches}\n", acp_agent_binary().display())
}

async fn start_acp(script: &str, more: &str) -> FaultyAgentFixture {
    FaultyAgentFixture::with_script(script, &format!("driver = \"acp\"\n{more}")).await
}

fn turn(text: &str) -> Value {
    json!({ "stop_reason": "end_turn", "text": text })
}

/// The events of an agent that ends over its first message, and is back with its session.
async fn start_and_crash(first: &str, message: &str) -> FaultyAgentFixture {
    let mut fixture = start_acp(&script(first, "--resume"), "").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!(message)).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_0_restarts_in_same_conversation() {
    let fixture = start_and_crash("", "exit 0").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(fixture.send(json!("recall")).await, Ok(turn("exit 0 | recall")));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_1_reports_last_stderr() {
    let fixture = start_and_crash("echo 'no more tokens' >&2", "exit 1").await;
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
async fn kill_while_idle_reports_signal() {
    let mut fixture = start_acp(&script("", "--resume"), "").await;
    fixture.wait_for_status("healthy").await;
    send_signal(fixture.view().process.unwrap().pid.into(), "KILL").await;
    fixture.wait_for_status("healthy").await;
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

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn forks_and_daemons_are_killed() {
    let first = "sleep 3600 & echo $! >> \"$1/pids\"\n\
                 rm -f \"$1/there\"\n\
                 (setsid sh -c 'echo $$ >> \"$0/pids\"; : > \"$0/there\"; exec sleep 3600' \"$1\" &)\n\
                 while [ ! -e \"$1/there\" ]; do sleep 0.01; done\n";
    let fixture = start_and_crash(first, "exit 0").await;
    let pids = fixture.recorded_pids();
    assert_eq!(pids.len(), 4, "two of each incarnation");
    wait_until_gone(&pids[..2]).await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
    wait_until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_sigterm_is_killed_after_grace() {
    let agent = acp_agent_binary();
    let stays =
        format!("trap '' TERM\n{} --sessions \"$1\"\nwhile :; do sleep 3600; done\n", agent.display());
    let mut fixture = start_acp(&stays, "").await;
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
async fn hang_on_message_restarts() {
    let mut fixture = start_acp(&script("", "--resume"), "progress_timeout = \"300ms\"").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("deaf")).await, Err(Reason::OutcomeUnknown));
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
async fn update_and_stderr_flood_is_bounded() {
    let mut fixture = start_acp(&script("(yes noise | head -c 4000000 >&2) &", ""), "").await;
    fixture.wait_for_status("healthy").await;
    // Its output is not read meanwhile, except for the answer.
    let answer = fixture.send(json!("stream 20000")).await.unwrap();
    assert!(answer["text"].as_str().unwrap().ends_with("19999 "));
    assert_eq!(fixture.send(json!("hello")).await, Ok(turn("you said: hello")));
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_invalid_lines_restarts() {
    let fixture = start_and_crash("", "stray 1000").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent broke the protocol: it wrote more than 100 lines that are no messages: "loading model, part 100"
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_line_restarts() {
    let fixture = start_and_crash("", "long 20000000").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent broke the protocol: it wrote a line of more than 16777216 bytes
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_ready_is_given_up() {
    let mut fixture = start_acp(&script("", "--mute"), "startup_grace = \"1s\"\nmax_restarts = 1").await;
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
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_each_ready_is_given_up() {
    let mut fixture = start_acp(&script("", "--resume"), "max_restarts = 2").await;
    for _ in 0..3 {
        fixture.wait_for_status("healthy").await;
        send_signal(fixture.view().process.unwrap().pid.into(), "KILL").await;
    }
    fixture.wait_for(|record| record.kind == "gave_up").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it was ended by signal 9 (KILL)
        decision: restart, 1 of 2
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it was ended by signal 9 (KILL)
        decision: restart, 2 of 2
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it was ended by signal 9 (KILL)
        decision: abandon, 2 of 2
        gave_up
    "#]]);
    assert!(fixture.view().next_step.contains("mainstay agent reset x"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_on_resume_starts_a_new_conversation() {
    let mut fixture = start_acp(&script("", "--resume --fragile"), "max_restarts = 9").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("exit 1")).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("recall")).await, Ok(turn("recall")));
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 9
        restarted, restored
        starting -> failed
        exited: error: before it was ready, it exited with code 4
        decision: restart, 2 of 9
        restarted, restored
        starting -> failed
        exited: error: before it was ready, it exited with code 4
        decision: restart, 3 of 9
        restarted, restored
        starting -> failed
        exited: error: before it was ready, it exited with code 4
        decision: restart, 4 of 9
        restarted, restored
        lost s1: 3 times in a row the agent ended over taking it up again
        starting -> healthy
    "#]]);
    fixture.stop().await;
}
