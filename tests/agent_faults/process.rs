//! Agents that are processes and speak lines of JSON.

use std::path::Path;
use std::time::Duration;

use expect_test::expect;
use mainstay::actors::agent::AgentStatus;
use mainstay::{LetterOptions, Reason, SentLetter};
use serde_json::json;
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene, gone};

/// Reads what it is told and answers each letter: `{"type":"message","id":N,…}` with its body's length in words.
const OBEDIENT: &str = r#"
echo ready
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in *'"message"'*) echo "{\"type\":\"reply\",\"id\":$id,\"body\":\"done\"}" ;; esac
done
"#;

async fn process(script: &str, more: &str) -> Scene {
    Scene::of_script(script, &format!("driver = \"process\"\nready = \"stdout:ready\"\n{more}")).await
}

fn on_a_letter(fault: &str) -> String {
    format!("echo ready\nIFS= read -r letter\n{fault}\n")
}

/// The story of an agent that ends over its first letter, and is back.
async fn provoked(fault: &str) -> Scene {
    let mut scene = process(&on_a_letter(fault), "").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits_with_0_unasked_is_restarted() {
    let scene = provoked("exit 0").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits_with_1_is_told_of_with_its_last_words() {
    let scene = provoked("echo 'no more tokens' >&2\nexit 1").await;
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
async fn one_that_is_killed_is_told_of_with_the_signal() {
    let scene = provoked("kill -9 $$").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn one_that_forks_leaves_none_of_its_children_behind() {
    let scene =
        provoked("sleep 3600 & echo $! > \"$1/pids\"\nsleep 3600 & echo $! >> \"$1/pids\"\nexit 1").await;
    let pids = scene.noted_pids();
    assert_eq!(pids.len(), 2);
    gone(&pids).await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_that_daemonises_leaves_no_daemon_behind() {
    let daemon = "(setsid sh -c 'echo $$ > \"$0/pids\"; : > \"$0/there\"; exec sleep 3600' \"$1\" &)\n\
                  while [ ! -e \"$1/there\" ]; do sleep 0.01; done\nexit 0";
    let scene = provoked(daemon).await;
    let pids = scene.noted_pids();
    assert_eq!(pids.len(), 1);
    gone(&pids).await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 0
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_its_output_is_well_and_nothing_grows() {
    let flood = "yes noise | head -c 2000000; echo\nyes noise | head -c 2000000 >&2\n";
    let mut scene = process(&OBEDIENT.replace("  case $line", &format!("{flood}  case $line")), "").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("now")).await, Ok(json!("done")));
    assert_eq!(scene.view().status, AgentStatus::Healthy);
    scene.expect(&expect![[r#"
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_over_a_letter_is_restarted_for_it() {
    let mut scene = process(&on_a_letter("exec sleep 3600"), "progress_timeout = \"300ms\"").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
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
async fn one_that_closes_its_input_and_lives_is_restarted_over_the_letter_that_it_cannot_be_told() {
    let mut scene = process("exec 0<&-\necho ready\nexec sleep 3600\n", "").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process has closed its input, and runs on
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_behind_one_over_which_the_agent_ends_is_kept_for_the_next_incarnation() {
    let ends = OBEDIENT.replace("  case $line", "  case $line in *'\"end\"'*) exit 1 ;; esac\n  case $line");
    let mut scene = process(&ends, "").await;
    scene.becomes("healthy").await;
    let agents = scene.mainstay.agents();
    let first = agents.send("x", json!("end"), LetterOptions::default()).await.unwrap();
    let second = agents.send("x", json!("live"), LetterOptions::default()).await.unwrap();
    let fate = async |letter: SentLetter| timeout(PATIENCE, letter.answer()).await.expect("its fate is told");
    assert_eq!(fate(first).await.unwrap_err().reason, Reason::OutcomeUnknown);
    assert_eq!(fate(second).await, Ok(json!("done")));
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: its process ended: it exited with code 1
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_being_asked_to_end_is_killed_after_its_grace() {
    let mut scene = process("trap '' TERM\necho ready\nwhile :; do sleep 3600; done\n", "").await;
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
async fn one_that_is_never_ready_is_given_up_when_its_restarts_are_spent() {
    let more = "startup_grace = \"200ms\"\nmax_restarts = 1";
    let mut scene = process("exec sleep 3600", more).await;
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
    let agent = scene.view();
    assert!(agent.next_step.contains("mainstay agent reset x"), "{}", agent.next_step);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_before_it_is_ready_is_told_of_at_once_with_its_last_words() {
    let more = "startup_grace = \"1h\"\nmax_restarts = 1";
    let mut scene = process("echo 'no such model' >&2\nexit 3", more).await;
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
        starting -> failed
        exited: error: before it was ready, it exited with code 3; its last words on stderr: no such model
        decision: restart, 1 of 1
        restarted, fresh
        starting -> failed
        exited: error: before it was ready, it exited with code 3; its last words on stderr: no such model
        decision: abandon, 1 of 1
        gave_up
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_over_the_state_that_it_is_given_back_starts_without_it_in_the_end() {
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
    let mut scene = process(script, "max_restarts = 9").await;
    scene.becomes("healthy").await;
    while scene.view().state_kept_at.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    // It ends over the state a moment after it was seen well, so that the story has one course.
    for _ in 0..3 {
        scene.becomes("healthy").await;
        std::fs::write(scene.dir.path().join("end"), "").unwrap();
    }
    scene.until(|record| record.kind == "agent_state_set_aside").await;
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
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
        agent_state_set_aside
        restarted, restored
        starting -> healthy
    "#]]);
    assert!(Path::new(&scene.dir.path().join("had")).exists());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_each_time_that_it_is_ready_is_given_up_however_well_it_starts() {
    let mut scene = process(&on_a_letter("exit 1"), "max_restarts = 2").await;
    for _ in 0..3 {
        scene.becomes("healthy").await;
        assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    }
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
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
    assert!(scene.view().next_step.contains("mainstay agent reset x"));
    scene.end().await;
}
