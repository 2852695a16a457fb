//! Runs a runtime with one agent, and renders its journal.

use expect_test::Expect;
use mainstay::config::Config;
use mainstay::journal::{Delivery, Record};
use mainstay::{AgentView, Mainstay, Reason, SendOptions, Subscription};
use serde_json::Value;
use tokio::time::timeout;

pub(crate) use crate::support::TEST_TIMEOUT;
use crate::support::eventually;

pub(crate) struct FaultyAgentFixture {
    pub(crate) mainstay: Mainstay,
    pub(crate) dir: tempfile::TempDir,
    subscription: Subscription,
    events: Vec<Record>,
}

impl FaultyAgentFixture {
    /// Starts a runtime with one agent, `x`, that runs this shell script, whose first argument is a folder of its own.
    /// `more` holds further keys of its configuration, its driver among them.
    pub(crate) async fn with_script(script: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.sh");
        std::fs::write(&file, script).unwrap();
        let command = format!("command = [\"/bin/sh\", {file:?}, {:?}]\n{more}", dir.path());
        Self::with_backend(dir, "http://127.0.0.1:9", &command).await
    }

    /// Starts a runtime with one agent, `x`, with this configuration.
    pub(crate) async fn with_backend(dir: tempfile::TempDir, backend: &str, agent: &str) -> Self {
        let config = format!(
            "[backend]\nurl = \"{backend}\"\n[connection]\ndelay_min = \"10ms\"\ndelay_max = \"10ms\"\nmax_retries = 100000\n\
             [agents]\nmin_uptime = \"0s\"\nhealth_interval = \"50ms\"\nrestart_delay = \"10ms\"\nrestart_delay_max = \"10ms\"\n\
             stable_after = \"1h\"\n[[agent]]\nid = \"x\"\n{agent}"
        );
        let config = Config::from_toml(&config).unwrap_or_else(|error| panic!("{error}"));
        let mainstay =
            Mainstay::builder().config(config).data_dir(dir.path().join("data")).start().await.unwrap();
        let subscription = mainstay.events();
        Self { mainstay, dir, subscription, events: Vec::new() }
    }

    /// Follows the agent's events up to the first for which `is_last` holds.
    pub(crate) async fn wait_for(&mut self, is_last: impl Fn(&Record) -> bool) {
        loop {
            let next = timeout(TEST_TIMEOUT, self.subscription.next()).await;
            let next = next.unwrap_or_else(|_| panic!("it does not go on after\n{}", self.transcript()));
            let Some(Delivery::Event(record)) = next else { panic!("events are missing") };
            if record.actor != "root/agents/x" {
                continue;
            }
            let is_last = is_last(&record);
            self.events.push(*record);
            if is_last {
                return;
            }
        }
    }

    pub(crate) async fn wait_for_status(&mut self, status: &str) {
        self.wait_for(|record| record.kind == "agent_health" && record.fields["to"] == status).await;
    }

    /// Sends the agent a message, and returns its outcome.
    pub(crate) async fn send(&self, body: Value) -> Result<Value, Reason> {
        let message = self.mainstay.agents().send("x", body, SendOptions::default()).await.unwrap();
        timeout(TEST_TIMEOUT, message.answer())
            .await
            .expect("it has an outcome")
            .map(|answer| answer.read().unwrap())
            .map_err(|error| error.reason)
    }

    pub(crate) fn view(&self) -> AgentView {
        self.mainstay.agents().get("x").unwrap()
    }

    /// Renders exits, decisions and health, without what differs from run to run.
    pub(crate) fn transcript(&self) -> String {
        let lines = self.events.iter().filter_map(|Record { kind, fields, .. }| {
            let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
            Some(match kind.as_str() {
                // If the connection is slower than the first check, the health is unknown for a moment.
                "agent_health" if [text("from"), text("to")].contains(&"unknown".to_owned()) => return None,
                "agent_health" => format!("{} -> {}", text("from"), text("to")),
                "actor_exited" => format!("exited: {}: {}", text("cause"), text("message")),
                "decision" => {
                    let (used, max) = (&fields["budget"]["used"], &fields["budget"]["max"]);
                    format!("decision: {}, {used} of {max}", text("decision"))
                }
                "actor_restarted" => format!("restarted, {}", text("state")),
                "gave_up" | "agent_state_quarantined" => kind.clone(),
                "agent_session_lost" => format!("lost {}: {}", text("id"), text("message")),
                "agent_stuck" => "agent_stuck".to_owned(),
                _ => return None,
            })
        });
        lines.map(|line| line + "\n").collect()
    }

    pub(crate) fn assert_transcript(&self, expected: &Expect) {
        expected.assert_eq(&self.transcript());
    }

    /// Waits until the runtime has saved the agent's state, which no event reports.
    pub(crate) async fn wait_for_saved_state(&self) {
        eventually("its state is saved", async || self.view().report.state_saved_at.is_some()).await;
    }

    /// Returns the process ids that the agent has written down.
    pub(crate) fn recorded_pids(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.dir.path().join("pids")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    pub(crate) async fn stop(self) {
        timeout(TEST_TIMEOUT, self.mainstay.shutdown()).await.expect("it stops in order");
    }
}

/// Waits until these processes are gone. No event reports the end of a process that is no child of this one.
pub(crate) async fn wait_until_gone(pids: &[u32]) {
    let is_there = |pid: &&u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie counts as gone.
        !stat.is_empty() && !stat.contains(") Z ")
    };
    eventually(&format!("{pids:?} are gone"), async || !pids.iter().any(|pid| is_there(&pid))).await;
}

/// The transcript of a restart with the agent's state.
pub(crate) const RESTORED: &str = "restarted, checkpoint\n";

/// Returns the transcript of one failure and of the decision that follows.
pub(crate) fn crash(from: &str, reason: &str, number: u32, max: u32) -> String {
    format!("{from} -> failed\nexited: error: {reason}\ndecision: restart, {number} of {max}\n")
}
