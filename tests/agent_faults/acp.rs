//! Agents that are processes and speak the Agent Client Protocol: the example of the actors' crate, started by a script.

use expect_test::expect;
use mainstay::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene, gone};
use crate::support::{acp_agent, send_signal};

/// A script that does `first`, and is the agent then.
fn script(first: &str, switches: &str) -> String {
    format!("{first}\nexec {} --sessions \"$1\" {switches}\n", acp_agent().display())
}

async fn acp(script: &str, more: &str) -> Scene {
    Scene::of_script(script, &format!("driver = \"acp\"\n{more}")).await
}

fn turn(text: &str) -> Value {
    json!({ "stop_reason": "end_turn", "text": text })
}

/// The story of an agent that ends over its first letter, and is back with its conversation.
async fn provoked(first: &str, letter: &str) -> Scene {
    let mut scene = acp(&script(first, "--resume"), "").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!(letter)).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits_with_0_unasked_is_restarted_in_its_conversation() {
    let scene = provoked("", "exit 0").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(scene.says(json!("recall")).await, Ok(turn("exit 0 | recall")));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits_with_1_is_told_of_with_its_last_words() {
    let scene = provoked("echo 'no more tokens' >&2", "exit 1").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1; its last words on stderr: no more tokens
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_while_it_has_nothing_to_do_is_told_of_with_the_signal() {
    let mut scene = acp(&script("", "--resume"), "").await;
    scene.becomes("healthy").await;
    send_signal(scene.view().process.unwrap().pid.into(), "KILL").await;
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it was ended by signal 9 (KILL)
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_that_forks_and_daemonises_leaves_nothing_behind() {
    let first = "sleep 3600 & echo $! >> \"$1/pids\"\n\
                 rm -f \"$1/there\"\n\
                 (setsid sh -c 'echo $$ >> \"$0/pids\"; : > \"$0/there\"; exec sleep 3600' \"$1\" &)\n\
                 while [ ! -e \"$1/there\" ]; do sleep 0.01; done\n";
    let scene = provoked(first, "exit 0").await;
    let pids = scene.noted_pids();
    assert_eq!(pids.len(), 4, "two of each incarnation");
    gone(&pids[..2]).await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
    gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_being_asked_to_end_is_killed_after_its_grace() {
    let agent = acp_agent();
    let stays =
        format!("trap '' TERM\n{} --sessions \"$1\"\nwhile :; do sleep 3600; done\n", agent.display());
    let mut scene = acp(&stays, "").await;
    scene.becomes("healthy").await;
    let pid = scene.view().process.unwrap().pid;
    timeout(PATIENCE, scene.mainstay.agents().stop("x")).await.unwrap().unwrap();
    gone(&[pid]).await;
    scene.until(|record| record.kind == "actor_exited").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        exited: normal: 
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_over_a_letter_is_restarted_for_it() {
    let mut scene = acp(&script("", "--resume"), "progress_timeout = \"300ms\"").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("deaf")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        agent_stuck
        healthy -> failed
        exited: error: it has been at work without progress for longer than 300ms
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_its_updates_and_its_stderr_is_well_and_nothing_grows() {
    let mut scene = acp(&script("(yes noise | head -c 4000000 >&2) &", ""), "").await;
    scene.becomes("healthy").await;
    // Nobody reads what it says meanwhile, but for the answer.
    let answer = scene.says(json!("stream 20000")).await.unwrap();
    assert!(answer["text"].as_str().unwrap().ends_with("19999 "));
    assert_eq!(scene.says(json!("hello")).await, Ok(turn("you said: hello")));
    scene.expect(&expect![[r#"
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_with_what_is_no_message_is_restarted_for_it() {
    let scene = provoked("", "stray 1000").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent broke the protocol: it wrote more than 100 lines that are no messages: "loading model, part 100"
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_writes_a_message_without_end_is_restarted_for_it() {
    let scene = provoked("", "long 20000000").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent broke the protocol: it wrote a line of more than 16777216 bytes
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_never_ready_is_given_up_when_its_restarts_are_spent() {
    let mut scene = acp(&script("", "--mute"), "startup_grace = \"1s\"\nmax_restarts = 1").await;
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
        starting -> failed
        exited: error: it was not ready within 1s
        decision: restart, 1 of 1
        restarted, fresh
        starting -> failed
        exited: error: it was not ready within 1s
        decision: abandon, 1 of 1
        gave_up
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_each_time_that_it_is_ready_is_given_up_however_well_it_starts() {
    let mut scene = acp(&script("", "--resume"), "max_restarts = 2").await;
    for _ in 0..3 {
        scene.becomes("healthy").await;
        send_signal(scene.view().process.unwrap().pid.into(), "KILL").await;
    }
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
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
    assert!(scene.view().next_step.contains("mainstay agent reset x"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_over_the_conversation_that_it_is_to_take_up_begins_a_new_one_in_the_end() {
    let mut scene = acp(&script("", "--resume --fragile"), "max_restarts = 9").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("exit 1")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("recall")).await, Ok(turn("recall")));
    scene.expect(&expect![[r#"
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
    scene.end().await;
}
