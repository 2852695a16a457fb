//! What goes wrong with an agent that is a process, case by case, with the journal that it leaves beside it.
//!
//! The agents are shell scripts. They misbehave when they are told to, by a letter, so that each story has one course.
#![cfg(unix)]

use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};
use mainstay::actors::agent::AgentStatus;
use mainstay::config::Config;
use mainstay::runtime::journal::{Delivery, Record, Subscription};
use mainstay::{LetterOptions, Mainstay, Reason};
use serde_json::{Value, json};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// Reads what it is told and answers each letter: `{"type":"message","id":N,…}` with its body's length in words.
const OBEDIENT: &str = r#"
echo ready
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in *'"message"'*) echo "{\"type\":\"reply\",\"id\":$id,\"body\":\"done\"}" ;; esac
done
"#;

struct Scene {
    mainstay: Mainstay,
    story: Subscription,
    told: Vec<Record>,
    dir: tempfile::TempDir,
}

impl Scene {
    /// A runtime with one agent, `x`, that runs this script; `more` is further keys of its configuration.
    async fn of(script: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.sh");
        std::fs::write(&file, script).unwrap();
        let config = format!(
            "[backend]\nurl = \"http://127.0.0.1:9\"\n\
             [agents]\nhealth_interval = \"50ms\"\nrestart_delay = \"10ms\"\nrestart_delay_max = \"10ms\"\n\
             stable_after = \"1h\"\n\
             [[agent]]\nid = \"x\"\ndriver = \"process\"\nready = \"stdout:ready\"\n\
             command = [\"/bin/sh\", {file:?}, {dir:?}]\n{more}",
            dir = dir.path(),
        );
        let config = Config::from_toml(&config).unwrap_or_else(|error| panic!("{error}"));
        let mainstay =
            Mainstay::builder().config(config).data_dir(dir.path().join("data")).start().await.unwrap();
        let story = mainstay.events_after(0);
        Self { mainstay, story, told: Vec::new(), dir }
    }

    /// Follows the agent's story up to the first event for which `is_last` holds.
    async fn until(&mut self, is_last: impl Fn(&Record) -> bool) {
        loop {
            let next = timeout(PATIENCE, self.story.next()).await;
            let next = next.unwrap_or_else(|_| panic!("it does not go on after\n{}", self.account()));
            let Delivery::Event(record) = next else { panic!("events are missing") };
            if record.actor != "root/agents/x" {
                continue;
            }
            let is_last = is_last(&record);
            self.told.push(*record);
            if is_last {
                return;
            }
        }
    }

    async fn becomes(&mut self, status: &str) {
        self.until(|record| record.kind == "agent_health" && record.fields["to"] == status).await;
    }

    /// Tells the agent to misbehave, and waits for what becomes of that.
    async fn provoke(&self) -> Result<Value, Reason> {
        let letter = self.mainstay.agents().send("x", json!("now"), LetterOptions::default()).await.unwrap();
        timeout(PATIENCE, letter.answer()).await.expect("its fate is told").map_err(|error| error.reason)
    }

    /// What the journal says of exits, decisions and health, with what differs from run to run left out.
    fn account(&self) -> String {
        let lines = self.told.iter().filter_map(|Record { kind, fields, .. }| {
            let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
            Some(match kind.as_str() {
                "agent_health" => format!("{} -> {}", text("from"), text("to")),
                "actor_exited" => format!("exited: {}: {}", text("cause"), text("message")),
                "decision" => {
                    let (used, max) = (&fields["budget"]["used"], &fields["budget"]["max"]);
                    format!("decision: {}, {used} of {max}", text("decision"))
                }
                "actor_restarted" => format!("restarted, {}", text("state")),
                "gave_up" | "agent_state_set_aside" => kind.clone(),
                "agent_stuck" => "agent_stuck".to_owned(),
                _ => return None,
            })
        });
        lines.map(|line| line + "\n").collect()
    }

    fn expect(&self, account: &Expect) {
        account.assert_eq(&self.account());
    }

    /// The process ids that the agent has written down.
    fn noted_pids(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.dir.path().join("pids")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    async fn end(self) {
        timeout(PATIENCE, self.mainstay.shutdown()).await.expect("it stops in order");
    }
}

/// Waits until these processes are gone. Nothing tells of the end of a process that is not one's own child.
async fn gone(pids: &[u32]) {
    let is_there = |pid: &&u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // One that nobody has reaped yet is no process any more.
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let all_gone = async {
        while pids.iter().any(|pid| is_there(&pid)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, all_gone).await.unwrap_or_else(|_| panic!("some of {pids:?} are still there"));
}

fn on_a_letter(fault: &str) -> String {
    format!("echo ready\nIFS= read -r letter\n{fault}\n")
}

/// The story of an agent that ends over its first letter, and is back.
async fn provoked(fault: &str) -> Scene {
    let mut scene = Scene::of(&on_a_letter(fault), "").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.provoke().await, Err(Reason::OutcomeUnknown));
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
    let mut scene = Scene::of(&OBEDIENT.replace("  case $line", &format!("{flood}  case $line")), "").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.provoke().await, Ok(json!("done")));
    assert_eq!(scene.mainstay.agents().get("x").unwrap().status, AgentStatus::Healthy);
    scene.expect(&expect![[r#"
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_over_a_letter_is_restarted_for_it() {
    let mut scene = Scene::of(&on_a_letter("exec sleep 3600"), "progress_timeout = \"300ms\"").await;
    scene.becomes("healthy").await;
    assert_eq!(scene.provoke().await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        agent_stuck
        healthy -> failed
        exited: error: it has been at work for 0 s without progress
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_being_asked_to_end_is_killed_after_its_grace() {
    let mut scene = Scene::of("trap '' TERM\necho ready\nwhile :; do sleep 3600; done\n", "").await;
    scene.becomes("healthy").await;
    let pid = scene.mainstay.agents().get("x").unwrap().process.unwrap().pid;
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
    let mut scene = Scene::of("exec sleep 3600", more).await;
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
        starting -> failed
        exited: error: it was not ready within 1 s
        decision: restart, 1 of 1
        restarted, fresh
        starting -> failed
        exited: error: it was not ready within 1 s
        decision: abandon, 1 of 1
        gave_up
    "#]]);
    let agent = scene.mainstay.agents().get("x").unwrap();
    assert!(agent.next_step.contains("mainstay agent reset x"), "{}", agent.next_step);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_before_it_is_ready_is_told_of_at_once_with_its_last_words() {
    let more = "startup_grace = \"1h\"\nmax_restarts = 1";
    let mut scene = Scene::of("echo 'no such model' >&2\nexit 3", more).await;
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
    *'"restore"'*) exit 1 ;;
    *'"message"'*) exit 1 ;;
  esac
done
"#;
    let mut scene = Scene::of(script, "max_restarts = 9").await;
    scene.becomes("healthy").await;
    while scene.mainstay.agents().get("x").unwrap().state_kept_at.is_none() {
        scene.mainstay.agents().get("x").unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(scene.provoke().await, Err(Reason::OutcomeUnknown));
    scene.until(|record| record.kind == "agent_state_set_aside").await;
    scene.becomes("healthy").await;
    assert!(Path::new(&scene.dir.path().join("had")).exists());
    scene.end().await;
}
