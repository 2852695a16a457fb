//! Holds all drivers to one contract: whatever the driver, a fault leads to the same events.

use futures_util::future::join_all;
use mainstay::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::acp::{script, start_acp, turn};
use crate::fixture::{FaultyAgentFixture, TEST_TIMEOUT, crash, wait_until_gone};
use crate::http::AgentBehaviour::{
    self, FailsOnMessages, FailsWhenReady, FloodsHealthReport, HangsOnChecks, HangsOnMessages, NeverHealthy,
    ReportsFailure,
};
use crate::http::{FakeBackend, start_http, start_then_set};
use crate::process::{on_message, start_process};
use crate::support::{acp_agent_binary, send_signal};

/// The reasons of exits that several faults share.
const EXITED_0: &str = "its process ended: it exited with code 0";
const EXITED_1: &str = "its process ended: it exited with code 1";
const KILLED: &str = "its process ended: it was ended by signal 9 (KILL)";
const NO_PROGRESS: &str = "it has worked without progress for longer than 300 ms";
const REPORTS_FAILURE: &str = "the agent reports that it failed";
const NO_TOKENS: &str = "its process ended: it exited with code 1; its last line on stderr: no more tokens";
const NOT_READY: &str = "it was not ready within 1 s";

#[derive(Debug, Clone)]
enum FaultyDriver {
    /// The script of a process that speaks lines of JSON.
    Process(String),
    /// The commands before the agent of the Agent Client Protocol, and its options.
    Acp(&'static str, &'static str),
    /// The behaviour of an agent in the backend.
    Http(AgentBehaviour),
}

impl FaultyDriver {
    /// Returns what a restart begins from. The scripts report no state, and an agent that fails at once had none read.
    fn state_of_restart(&self) -> &'static str {
        match self {
            Process(_) | Http(FailsWhenReady) => "fresh",
            Acp(..) | Http(_) => "checkpoint",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Trigger {
    Message(&'static str),
    Kill,
    /// The next check shows the fault.
    NextCheck,
}

use FaultyDriver::{Acp, Http, Process};
use Trigger::{Kill, Message, NextCheck};

/// A fault from which the agent returns with its state.
#[derive(Debug, Clone)]
struct CrashCase {
    driver: FaultyDriver,
    config: &'static str,
    trigger: Trigger,
    /// The events before the exit.
    symptoms: &'static str,
    /// The reason of the exit.
    reason: &'static str,
    /// The number of processes that the agent started, and of those that must end with the first incarnation.
    processes: (usize, usize),
    /// A message to the next incarnation, and its reply.
    afterwards: Option<(&'static str, Value)>,
}

impl CrashCase {
    fn new(driver: FaultyDriver, trigger: Trigger, reason: &'static str) -> Self {
        Self {
            driver,
            config: "",
            trigger,
            symptoms: "healthy -> failed\n",
            reason,
            processes: (0, 0),
            afterwards: None,
        }
    }

    fn process(fault: &str, reason: &'static str) -> Self {
        Self::new(Process(on_message(fault)), Message("now"), reason)
    }

    fn acp(first: &'static str, message: &'static str, reason: &'static str) -> Self {
        Self::new(Acp(first, "--resume"), Message(message), reason)
    }

    fn http(behaviour: AgentBehaviour, trigger: Trigger, reason: &'static str) -> Self {
        Self::new(Http(behaviour), trigger, reason)
    }

    fn with_hang(self) -> Self {
        Self { config: "progress_timeout = \"300ms\"", symptoms: "agent_stuck\nhealthy -> failed\n", ..self }
    }

    fn with_reply(self, message: &'static str, reply: Value) -> Self {
        Self { afterwards: Some((message, reply)), ..self }
    }

    async fn check(self) {
        let mut backend = None;
        let mut fixture = match &self.driver {
            Http(behaviour) => {
                let (started, fixture) = start_then_set(*behaviour, self.config).await;
                backend = Some(started);
                fixture
            }
            driver => {
                let mut fixture = start_local(driver, self.config).await;
                fixture.wait_for_status("healthy").await;
                fixture
            }
        };
        trigger(&fixture, self.trigger).await;
        fixture.wait_for_status("healthy").await;
        let pids = fixture.recorded_pids();
        assert_eq!(pids.len(), self.processes.0, "{self:?}");
        wait_until_gone(&pids[..self.processes.1]).await;
        let expected = format!(
            "starting -> healthy\n{}exited: error: {}\ndecision: restart, 1 of 5\nrestarted, {}\n\
             starting -> healthy\n",
            self.symptoms,
            self.reason,
            self.driver.state_of_restart()
        );
        assert_eq!(fixture.transcript(), expected, "{self:?}");
        if let Some(backend) = &backend {
            assert_eq!(backend.state(), json!({ "step": 7 }), "{self:?}");
        }
        if let Some((message, reply)) = &self.afterwards {
            assert_eq!(fixture.send(json!(message)).await.as_ref(), Ok(reply), "{self:?}");
        }
        fixture.stop().await;
        wait_until_gone(&pids).await;
    }
}

async fn start_local(driver: &FaultyDriver, config: &str) -> FaultyAgentFixture {
    match driver {
        Process(script) => start_process(script, config).await,
        Acp(first, options) => start_acp(&script(first, options), config).await,
        Http(_) => panic!("it is in the backend"),
    }
}

async fn trigger(fixture: &FaultyAgentFixture, trigger: Trigger) {
    match trigger {
        Message(message) => {
            assert_eq!(fixture.send(json!(message)).await, Err(Reason::OutcomeUnknown), "{message}");
        }
        Kill => send_signal(fixture.view().report.process.unwrap().pid.into(), "KILL").await,
        NextCheck => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn process_crash_restarts_without_state_afresh() {
    let forks = "sleep 3600 & echo $! > \"$1/pids\"\nsleep 3600 & echo $! >> \"$1/pids\"\nexit 1";
    let mut crashes = vec![
        CrashCase::process("exit 0", EXITED_0),
        CrashCase::process("echo 'no more tokens' >&2\nexit 1", NO_TOKENS),
        CrashCase::process("kill -9 $$", KILLED),
        CrashCase { processes: (2, 2), ..CrashCase::process(forks, EXITED_1) },
        CrashCase::process("exec sleep 3600", NO_PROGRESS).with_hang(),
        CrashCase::new(
            Process("exec 0<&-\necho ready\nexec sleep 3600\n".to_owned()),
            Message("now"),
            "its process has closed its input, and runs on",
        ),
    ];
    if cfg!(target_os = "linux") {
        let daemon = "(setsid sh -c 'echo $$ > \"$0/pids\"; : > \"$0/there\"; exec sleep 3600' \"$1\" &)\n\
                      while [ ! -e \"$1/there\" ]; do sleep 0.01; done\nexit 0";
        crashes.push(CrashCase { processes: (1, 1), ..CrashCase::process(daemon, EXITED_0) });
    }
    join_all(crashes.into_iter().map(CrashCase::check)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acp_crash_restarts_in_the_same_session() {
    let mut crashes = vec![
        CrashCase::acp("", "exit 0", EXITED_0).with_reply("recall", turn("exit 0 | recall")),
        CrashCase::acp("echo 'no more tokens' >&2", "exit 1", NO_TOKENS),
        CrashCase::new(Acp("", "--resume"), Kill, KILLED),
        CrashCase::acp("", "deaf", NO_PROGRESS).with_hang(),
        CrashCase::acp(
            "",
            "stray 10001",
            "the agent broke the protocol: it wrote more than 10000 lines that are no messages: \"loading model, part 10000\"",
        ),
    ];
    if cfg!(target_os = "linux") {
        let first = "sleep 3600 & echo $! >> \"$1/pids\"\n\
                     rm -f \"$1/there\"\n\
                     (setsid sh -c 'echo $$ >> \"$0/pids\"; : > \"$0/there\"; exec sleep 3600' \"$1\" &)\n\
                     while [ ! -e \"$1/there\" ]; do sleep 0.01; done\n";
        crashes.push(CrashCase { processes: (4, 2), ..CrashCase::acp(first, "exit 0", EXITED_0) });
    }
    join_all(crashes.into_iter().map(CrashCase::check)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_failure_restarts_with_state() {
    let degraded = "healthy -> degraded\ndegraded -> failed\n";
    let crashes = [
        CrashCase::http(ReportsFailure, NextCheck, REPORTS_FAILURE),
        CrashCase {
            config: "health_timeout = \"1s\"",
            symptoms: degraded,
            ..CrashCase::http(HangsOnChecks, NextCheck, "no answer in time")
        },
        CrashCase {
            symptoms: degraded,
            ..CrashCase::http(FloodsHealthReport, NextCheck, "the response has more than 16777216 bytes")
        },
        CrashCase::http(HangsOnMessages, Message("now"), NO_PROGRESS)
            .with_hang()
            .with_reply("now", json!("done")),
        CrashCase::http(FailsOnMessages, Message("now"), REPORTS_FAILURE).with_reply("now", json!("done")),
    ];
    join_all(crashes.map(CrashCase::check)).await;
}

/// An agent that fails until its restarts are used up.
#[derive(Debug)]
struct HopelessAgent {
    driver: FaultyDriver,
    config: &'static str,
    /// Ends the agent each time that it is healthy; `None` if it never is.
    trigger: Option<Trigger>,
    restarts_max: u32,
    reason: &'static str,
}

impl HopelessAgent {
    async fn check(self) {
        let config = format!("{}\nmax_restarts = {}", self.config, self.restarts_max);
        let mut backend = None;
        let mut fixture = match &self.driver {
            Http(behaviour) => {
                let started = backend.insert(FakeBackend::start(*behaviour).await);
                start_http(started, &config).await
            }
            driver => start_local(driver, &config).await,
        };
        if let Some(each_time) = self.trigger {
            for _ in 0..=self.restarts_max {
                fixture.wait_for_status("healthy").await;
                trigger(&fixture, each_time).await;
            }
        }
        fixture.wait_for(|record| record.kind == "gave_up").await;
        let failure = match self.trigger {
            Some(_) => "starting -> healthy\nhealthy",
            None => "starting",
        };
        let state = if self.trigger.is_some() { self.driver.state_of_restart() } else { "fresh" };
        let mut expected = String::new();
        let max = self.restarts_max;
        for restart in 1..=max {
            expected += &format!("{}restarted, {state}\n", crash(failure, self.reason, restart, max));
        }
        expected += &format!(
            "{failure} -> failed\nexited: error: {}\ndecision: give_up, {max} of {max}\ngave_up\n",
            self.reason
        );
        assert_eq!(fixture.transcript(), expected, "{self:?}");
        let next_step = fixture.view().next_step;
        assert!(next_step.contains("mainstay agent reset x"), "{self:?}: {next_step}");
        fixture.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_is_never_ready_is_given_up() {
    let never =
        |driver, config, reason| HopelessAgent { driver, config, trigger: None, restarts_max: 1, reason };
    let agents = [
        never(Process("exec sleep 3600".to_owned()), "startup_grace = \"200ms\"", NOT_READY),
        never(
            Process("echo 'no such model' >&2\nexit 3".to_owned()),
            "startup_grace = \"1h\"",
            "before it was ready, it exited with code 3; its last line on stderr: no such model",
        ),
        never(Acp("", "--mute"), "startup_grace = \"1s\"", NOT_READY),
        never(
            Http(NeverHealthy),
            "",
            "the backend answered 503 Service Unavailable to health: HTTP 503: warming up",
        ),
    ];
    join_all(agents.map(HopelessAgent::check)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_fails_after_each_restart_is_given_up() {
    let fails = |driver, trigger, reason| HopelessAgent {
        driver,
        config: "",
        trigger: Some(trigger),
        restarts_max: 2,
        reason,
    };
    let agents = [
        fails(Process(on_message("exit 1")), Message("now"), EXITED_1),
        fails(Acp("", "--resume"), Kill, KILLED),
        fails(Http(FailsWhenReady), NextCheck, REPORTS_FAILURE),
    ];
    join_all(agents.map(HopelessAgent::check)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_sigterm_is_killed_after_grace() {
    let process = start_process("trap '' TERM\necho ready\nwhile :; do sleep 3600; done\n", "").await;
    let agent = acp_agent_binary();
    let stays =
        format!("trap '' TERM\n{} --sessions \"$1\"\nwhile :; do sleep 3600; done\n", agent.display());
    let acp = start_acp(&stays, "").await;
    join_all([process, acp].map(async |mut fixture| {
        fixture.wait_for_status("healthy").await;
        let pid = fixture.view().report.process.unwrap().pid;
        timeout(TEST_TIMEOUT, fixture.mainstay.agents().stop("x")).await.unwrap().unwrap();
        wait_until_gone(&[pid]).await;
        fixture.wait_for(|record| record.kind == "actor_exited").await;
        let exit = "killed: its process did not end when it was asked to: it was ended by signal 9 (KILL)";
        assert_eq!(fixture.transcript(), format!("starting -> healthy\nexited: {exit}\n"));
        fixture.stop().await;
    }))
    .await;
}
