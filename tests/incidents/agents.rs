//! The incidents of agents that are programs.

use mainstay::{Reason, SendOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fixture::FaultyRuntime;
use crate::support::{TEST_TIMEOUT, acp_agent_binary, eventually, send_signal};
use crate::tier;

/// Runs until a file `ID.go` is there, then does `fault`, in its first incarnation only.
fn once(fault: &str) -> String {
    format!(
        "echo ready\nif [ ! -e \"$1.had\" ]; then : > \"$1.had\"\nuntil [ -e \"$1.go\" ]; do sleep 0.01; done\n{fault}\nfi\n{REPLIES}"
    )
}

/// Answers each message.
const REPLIES: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in *'"message"'*) echo "{\"type\":\"reply\",\"id\":$id,\"body\":\"done\"}" ;; esac
done
"#;

/// Answers each ping.
const PONGS: &str = r#"
echo ready
while IFS= read -r line; do
  case $line in *'"ping"'*) echo '{"type":"pong"}' ;; esac
done
"#;

struct ScriptedAgents {
    folder: tempfile::TempDir,
    config: String,
}

impl ScriptedAgents {
    fn new(more: &str) -> Self {
        let config = format!(
            "[connection]\nenabled = false\n[agents]\nmin_uptime = '0s'\nhealth_interval = '50ms'\nrestart_delay = '10ms'\n\
             restart_delay_max = '10ms'\nstable_after = '1h'\n{more}\n"
        );
        Self { folder: tempfile::tempdir().unwrap(), config }
    }

    /// Adds an agent with this script, whose first argument is a path of its own.
    fn add(&mut self, id: &str, script: &str, more: &str) {
        let file = self.folder.path().join(format!("{id}.sh"));
        std::fs::write(&file, script).unwrap();
        let own = self.folder.path().join(id);
        self.config += &format!(
            "[[agent]]\nid = '{id}'\ndriver = 'process'\nready = 'stdout:ready'\ncommand = ['/bin/sh', {file:?}, {own:?}]\n\
             {more}\n"
        );
    }

    async fn start(self) -> FaultyRuntime {
        FaultyRuntime::start(self.folder, &self.config).await
    }
}

/// Lets the fault of an agent happen.
fn go(runtime: &FaultyRuntime, id: &str) {
    std::fs::write(runtime.folder.path().join(format!("{id}.go")), "").unwrap();
}

async fn outcome(
    runtime: &FaultyRuntime,
    id: &str,
    body: Value,
    options: SendOptions,
) -> Result<Value, Reason> {
    let message = runtime.mainstay.agents().send(id, body, options).await.unwrap();
    let answer = timeout(TEST_TIMEOUT, message.answer()).await.expect("it has an outcome");
    answer.map(|answer| answer.read().unwrap()).map_err(|error| error.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_end_tell_their_story() {
    let mut agents = ScriptedAgents::new("");
    let traceback = "echo 'Traceback (most recent call last):' >&2\necho '  File \"agent.py\", line 3, in step' >&2\n\
                     echo 'KeyError: \"plan\"' >&2\nexit 1";
    agents.add("exits", &once(traceback), "");
    agents.add("killed", &once("kill -s KILL $$"), "");
    agents.add("leaves", &once("exit 0"), "");
    agents.add("loops", "echo 'no such model: gpt' >&2\nexit 2", "max_restarts = 3");
    agents.add("silent", "exec sleep 1000", "startup_grace = '1s'\nmax_restarts = 1");
    agents.config +=
        "[[agent]]\nid = 'missing'\ndriver = 'process'\ncommand = ['{folder}/no-such-program']\n";
    let mut runtime = agents.start().await;
    for id in ["exits", "killed", "leaves"] {
        runtime.wait_for_agent(id, 1, "healthy").await;
        go(&runtime, id);
    }
    for id in ["exits", "killed", "leaves"] {
        runtime.wait_for_agent(id, 2, "healthy").await;
    }
    for id in ["loops", "silent", "missing"] {
        runtime.wait_for_kind(&format!("root/agents/{id}"), "gave_up").await;
    }
    for id in ["exits", "killed", "leaves", "loops", "silent", "missing"] {
        runtime.check(&format!("agent_{id}"), &format!("root/agents/{id}"));
    }
    runtime.stop().await;
}

/// Deletes the conversations of an agent, and kills it.
#[tokio::test(flavor = "multi_thread")]
async fn lost_session_tells_its_story() {
    let config = format!(
        "[connection]\nenabled = false\n[agents]\nmin_uptime = '0s'\nhealth_interval = '50ms'\nrestart_delay = '10ms'\n\
         [[agent]]\nid = 'forgetful'\ndriver = 'acp'\ncwd = '{{folder}}'\n\
         command = [{:?}, '--resume', '--sessions', '{{folder}}/sessions']\n",
        acp_agent_binary()
    );
    let folder = tempfile::tempdir().unwrap();
    let sessions = folder.path().join("sessions");
    std::fs::create_dir(&sessions).unwrap();
    let mut runtime = FaultyRuntime::start(folder, &config).await;
    runtime.wait_for_agent("forgetful", 1, "healthy").await;
    outcome(&runtime, "forgetful", json!({ "text": "one" }), SendOptions::default()).await.unwrap();
    for file in std::fs::read_dir(&sessions).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let agent = runtime.mainstay.agents().get("forgetful").unwrap();
    send_signal(agent.report.process.unwrap().pid.into(), "KILL").await;
    runtime.wait_for_kind("root/agents/forgetful", "agent_session_lost").await;
    runtime.wait_for_agent("forgetful", 2, "healthy").await;
    runtime.check("agent_forgetful", "root/agents/forgetful");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_fail_over_messages_tell_their_story() {
    let mut agents = ScriptedAgents::new("");
    agents.add("poisoned", "echo ready\nIFS= read -r message\nexit 1", "");
    agents.add(
        "fragile",
        &format!(
            "echo ready\n[ -e \"$1.had\" ] || {{ : > \"$1.had\"; IFS= read -r message; exit 1; }}\n{REPLIES}"
        ),
        "",
    );
    let ask = r#"echo '{"type":"ask","ask":"a1","id":1,"body":"May I delete the old files?"}'"#;
    agents.add("asking", &format!("echo ready\n[ -e \"$1.had\" ] || {{ : > \"$1.had\"; IFS= read -r message; {ask}; until [ -e \"$1.go\" ]; do sleep 0.01; done; exit 1; }}\n{REPLIES}"), "");
    let error = r#"echo '{"type":"reply","id":1,"error":"no model"}'"#;
    agents.add("refusing", &format!("echo ready\nIFS= read -r message\n{error}\n{REPLIES}"), "");
    agents.add("babbling", &once(r#"echo '{"type":"reply","id":77,"body":1}'"#), "");
    agents.add("stuck", &format!("echo ready\n[ -e \"$1.had\" ] || {{ : > \"$1.had\"; IFS= read -r message; exec sleep 1000; }}\n{REPLIES}"), "progress_timeout = '300ms'");
    let mut runtime = agents.start().await;
    for id in ["poisoned", "fragile", "asking", "refusing", "babbling", "stuck"] {
        runtime.wait_for_agent(id, 1, "healthy").await;
    }
    let repeated = || SendOptions { may_repeat: true, ..SendOptions::default() };
    assert_eq!(outcome(&runtime, "poisoned", json!("x"), repeated()).await, Err(Reason::Quarantined));
    assert_eq!(
        outcome(&runtime, "fragile", json!("x"), SendOptions::default()).await,
        Err(Reason::OutcomeUnknown)
    );
    assert!(outcome(&runtime, "refusing", json!("x"), SendOptions::default()).await.is_err());
    let asking =
        runtime.mainstay.agents().send("asking", json!("tidy up"), SendOptions::default()).await.unwrap();
    runtime.wait_for_kind("root/agents/asking", "agent_question").await;
    go(&runtime, "asking");
    go(&runtime, "babbling");
    let _ = timeout(TEST_TIMEOUT, asking.answer()).await.unwrap();
    assert!(outcome(&runtime, "stuck", json!("x"), SendOptions::default()).await.is_err());
    runtime.wait_for_agent("poisoned", 3, "healthy").await;
    for id in ["poisoned", "fragile", "asking", "stuck", "refusing"] {
        runtime.wait_for_kind(&format!("root/agents/{id}"), "message_failed").await;
    }
    for id in ["fragile", "asking", "stuck"] {
        runtime.wait_for_agent(id, 2, "healthy").await;
    }
    runtime.wait_for_kind("root/agents/babbling", "agent_reply_lost").await;
    for id in ["poisoned", "fragile", "asking", "refusing", "babbling", "stuck"] {
        runtime.check(&format!("agent_{id}"), &format!("root/agents/{id}"));
    }
    runtime.stop().await;
}

/// The memory is looked at seldom.
#[tokio::test(flavor = "multi_thread")]
async fn hungry_agent_tells_its_story() {
    if tier::cases(0, 1) == 0 {
        return;
    }
    let mut agents = ScriptedAgents::new("");
    agents.add(
        "hungry",
        "echo ready\nx=$(head -c 50000000 /dev/zero | tr '\\0' x)\nwhile :; do sleep 1; done",
        "memory_max = '20MiB'\nmax_restarts = 0",
    );
    let mut runtime = agents.start().await;
    runtime.wait_for_kind("root/agents/hungry", "gave_up").await;
    runtime.check_all("agent_hungry");
    runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_in_trouble_tell_their_story() {
    let mut agents = ScriptedAgents::new("");
    agents.add("frozen", PONGS, "health = 'ping'\nfail_after = 2\nhealth_interval = '200ms'");
    agents.add("noisy", &once("yes noise | head -n 20000"), "");
    let poison = r#"
echo ready
if [ ! -e "$1.had" ]; then : > "$1.had"; echo '{"type":"state","state":{"step":7}}'; fi
while IFS= read -r line; do
  case $line in
    *'"restore"'* | *'"message"'*) exit 1 ;;
  esac
done
"#;
    agents.add("haunted", poison, "max_restarts = 9");
    let mut runtime = agents.start().await;
    for id in ["frozen", "noisy", "haunted"] {
        runtime.wait_for_agent(id, 1, "healthy").await;
    }
    go(&runtime, "noisy");
    let mainstay = runtime.mainstay.clone();
    let report = |id: &str| mainstay.agents().get(id).unwrap().report;
    let process = report("frozen").process.unwrap().pid;
    eventually("its state is saved", async || report("haunted").state_saved_at.is_some()).await;
    send_signal(process.into(), "STOP").await;
    assert_eq!(
        outcome(&runtime, "haunted", json!("x"), SendOptions::default()).await,
        Err(Reason::OutcomeUnknown)
    );
    runtime.wait_for_kind("root/agents/haunted", "agent_state_quarantined").await;
    runtime.wait_for_agent("haunted", 5, "healthy").await;
    runtime.wait_for_agent("frozen", 2, "healthy").await;
    runtime.wait_for_kind("root/agents/noisy", "output_quiet").await;
    for id in ["frozen", "noisy", "haunted"] {
        runtime.check(&format!("agent_{id}"), &format!("root/agents/{id}"));
    }
    runtime.stop().await;
}
