//! The driver, which owns the agent's process.

use mainstay_actors::{
    agent::{
        AgentMessage, AgentState, Driver, DriverError, MessageLimits, Observation, ProcessSetup,
        ReportedHealth, acp::AcpDriver,
    },
    error::Error,
    process::{Launch, ProcessManager, ProcessSpec, Readiness},
};
use tempfile::TempDir;

use super::*;
use crate::fixture::{arguments, example_path};

const TIMEOUT: Duration = Duration::from_secs(60);

struct AcpDriverFixture {
    driver: Arc<AcpDriver>,
    updates: UpdateSubscription,
    manager: ProcessManager,
    folder: TempDir,
}

async fn start_driver(command: Vec<String>, settle: impl FnOnce(&mut Launch)) -> AcpDriverFixture {
    let folder = tempfile::tempdir().unwrap();
    let manager = ProcessManager::open(Some(folder.path())).await.unwrap().manager;
    let mut spec = ProcessSpec::new("planner", command);
    spec.cwd = Some(folder.path().to_owned());
    let mut launch = Launch { spec, readiness: Readiness::None, ready_timeout: TIMEOUT, prepare: None };
    settle(&mut launch);
    let updates = UpdateBroadcast::default();
    let listener = updates.subscribe();
    let driver = AcpDriver::new(ProcessSetup { updates, ..ProcessSetup::new(launch, manager.clone()) });
    AcpDriverFixture { driver: Arc::new(driver), updates: listener, manager, folder }
}

/// Starts a driver whose agent stores its sessions in `sessions` and resumes them.
async fn resuming_driver(sessions: &Path) -> AcpDriverFixture {
    let switches = Switches { resume: true, sessions: Some(sessions.to_owned()), ..Switches::default() };
    let command = [vec![example_path().display().to_string()], arguments(&switches)].concat();
    let home = sessions.to_owned();
    start_driver(command, move |launch| launch.spec.cwd = Some(home)).await
}

/// Starts the same with its agent, and a folder of its own.
async fn started_driver() -> (AcpDriverFixture, TempDir) {
    let sessions = tempfile::tempdir().unwrap();
    let fixture = resuming_driver(sessions.path()).await;
    fixture.driver.restart().await.unwrap();
    (fixture, sessions)
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn message(id: u64, text: &str) -> AgentMessage {
    AgentMessage {
        id: MessageId(id),
        body: json!({ "text": text }).into(),
        deadline: None,
        limits: MessageLimits::default(),
    }
}

impl AcpDriverFixture {
    async fn prompt(&self, id: u64, text: &str) -> Result<Value, Error> {
        self.driver.deliver(message(id, text)).await.map(|end| end.read().unwrap())
    }

    fn spawn_prompt(&self, id: u64, text: &str) -> JoinSet<Result<Value, Error>> {
        let (driver, message, mut task) = (Arc::clone(&self.driver), message(id, text), JoinSet::new());
        task.spawn(async move { driver.deliver(message).await.map(|end| end.read().unwrap()) });
        task
    }

    async fn next_update_of(&mut self, kind: UpdateKind) -> Arc<AgentUpdate> {
        loop {
            match self.updates.next().await.unwrap() {
                UpdateEvent::Update(update) if update.kind == kind => return update,
                UpdateEvent::Update(_) => {}
                lagged @ UpdateEvent::Lagged(_) => panic!("{lagged:?}"),
            }
        }
    }

    /// Returns whether the pid file names a process.
    fn is_recorded(&self) -> bool {
        !std::fs::read_to_string(self.folder.path().join("processes")).unwrap().is_empty()
    }

    async fn stop(self) {
        self.driver.stop().await;
        assert!(!self.is_recorded());
        self.manager.close().await;
    }
}

fn exit_details(observation: Observation) -> String {
    match observation {
        Observation::Exited { why } => why.log_text().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn start_error(restarted: Result<(), DriverError>) -> Error {
    match restarted {
        Err(DriverError::Failed(why) | DriverError::Unrecoverable(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn turn_end(text: &str) -> Value {
    json!({ "stop_reason": "end_turn", "text": text })
}

timed!(driver_start_prompt_stop_leaves_nothing_running);
async fn driver_start_prompt_stop_leaves_nothing_running() {
    let sessions = tempfile::tempdir().unwrap();
    let mut fixture = resuming_driver(sessions.path()).await;
    let refused = fixture.prompt(1, "hello").await.unwrap_err();
    // The agent did not get it, so it can be delivered again.
    assert_eq!(refused.reason, Reason::AgentFailed);
    assert!(exit_details(fixture.driver.check().await).contains("does not run"));
    assert_eq!(fixture.driver.session(), None);

    fixture.driver.restart().await.unwrap();
    let began = fixture.next_update_of(UpdateKind::Session).await;
    assert_eq!(began.body, json!({ "id": "s1", "origin": "new" }));
    let Observation::Answered { reported: ReportedHealth::Healthy, .. } = fixture.driver.check().await else {
        panic!()
    };
    assert_eq!(fixture.driver.read_state().await, Ok(AgentState::Unsupported));
    assert_eq!(fixture.prompt(2, "hello").await, Ok(turn_end("you said: hello")));
    assert_eq!(fixture.driver.activity().in_flight, 0);

    let wrong = AgentMessage { body: json!(7).into(), ..message(3, "") };
    let wrong = fixture.driver.deliver(wrong).await.unwrap_err();
    assert_eq!(wrong.reason, Reason::InvalidRequest);
    assert!(fixture.is_recorded() && fixture.driver.process().unwrap().pid > 0);
    fixture.stop().await;
}

timed!(session_is_resumed_by_a_new_driver);
async fn session_is_resumed_by_a_new_driver() {
    let (fixture, sessions) = started_driver().await;
    fixture.prompt(1, "one").await.unwrap();
    let saved = fixture.driver.session().unwrap();
    fixture.stop().await;

    let mut fixture = resuming_driver(sessions.path()).await;
    fixture.driver.restore_session(saved.clone());
    fixture.driver.restart().await.unwrap();
    assert_eq!(
        fixture.next_update_of(UpdateKind::Session).await.body.read::<Value>().unwrap()["origin"],
        "resumed"
    );
    assert_eq!(fixture.prompt(2, "recall").await, Ok(turn_end("one | recall")));
    assert_eq!(fixture.driver.session(), Some(saved.clone()));
    fixture.stop().await;

    // A session belongs to its folder.
    let command = [example_path().display().to_string(), "--resume".to_owned()].to_vec();
    let mut fixture = start_driver(command, |_| ()).await;
    fixture.driver.restore_session(saved);
    fixture.driver.restart().await.unwrap();
    let lost = json!({ "id": "s1", "message": "it was about another folder" });
    let expected = json!({ "id": "s1", "origin": "new", "lost": lost });
    assert_eq!(fixture.next_update_of(UpdateKind::Session).await.body, expected);
    fixture.driver.restore_session(json!("nonsense"));
    fixture.stop().await;
}

timed!(answer_through_driver_ends_the_ask);
async fn answer_through_driver_ends_the_ask() {
    let (mut fixture, _sessions) = started_driver().await;
    let mut turn_of_two = fixture.spawn_prompt(1, "ask 2");
    let first = fixture.next_update_of(UpdateKind::Ask).await.ask.clone().unwrap();
    let second = fixture.next_update_of(UpdateKind::Ask).await.ask.clone().unwrap();
    let asked_at = fixture.driver.activity().progressed_at.unwrap();
    while tokio::time::Instant::now() <= asked_at {
        tokio::task::yield_now().await;
    }
    assert!(fixture.driver.activity().progressed_at.unwrap() > asked_at);
    assert_eq!(fixture.driver.activity().in_flight, 1);

    assert_eq!(fixture.driver.answer(&first, json!(true).into()).unwrap_err().reason, Reason::InvalidRequest);
    assert_eq!(
        fixture.driver.answer(&first, json!("maybe").into()).unwrap_err().reason,
        Reason::InvalidRequest
    );
    assert_eq!(fixture.driver.answer("a9", json!("allow").into()).unwrap_err().reason, Reason::NotFound);
    fixture.driver.answer(&first, json!("allow").into()).unwrap();
    fixture.driver.answer(&second, json!({ "optionId": "allow" }).into()).unwrap();
    let end = turn_of_two.join_next().await.unwrap().unwrap();
    assert_eq!(end, Ok(turn_end("allow allow ")));
    fixture.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn stop_exit_on_stdin_close_is_not_a_kill() {
    with_timeout(async {
        let script = r#"trap '' TERM; "$0"; echo "$?" > farewell"#;
        let command = [shell(script), vec![example_path().display().to_string()]].concat();
        let mut fixture = start_driver(command, |launch| launch.spec.grace = TIMEOUT * 10).await;
        fixture.driver.restart().await.unwrap();
        let mut hanging = fixture.spawn_prompt(1, "hang");
        fixture.next_update_of(UpdateKind::Message).await;
        fixture.driver.stop().await;
        let error = hanging.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.reason, Reason::OutcomeUnknown);
        assert!(error.log_text().contains("its process was stopped"), "{error:?}");
        assert_eq!(std::fs::read_to_string(fixture.folder.path().join("farewell")).unwrap(), "0\n");
        fixture.stop().await;
    })
    .await;
}

timed!(protocol_violation_is_exited_while_process_runs);
async fn protocol_violation_is_exited_while_process_runs() {
    let (fixture, _sessions) = started_driver().await;
    let (failure, broken) = tokio::join!(fixture.driver.wait_for_failure(), fixture.prompt(2, "stray 10001"));
    assert_eq!(broken.unwrap_err().reason, Reason::OutcomeUnknown);
    assert!(exit_details(failure).contains("the agent broke the protocol: it wrote more than 10000 lines"));
    assert!(exit_details(fixture.driver.check().await).contains("the agent broke the protocol"));
    fixture.driver.restart().await.unwrap();
    assert_eq!(fixture.prompt(3, "recall").await, Ok(turn_end("stray 10001 | recall")));
    fixture.stop().await;
}

timed!(start_without_acp_fails_and_leaves_nothing_running);
async fn start_without_acp_fails_and_leaves_nothing_running() {
    fn example(options: &[&str]) -> Vec<String> {
        let options = options.iter().map(|option| (*option).to_owned());
        std::iter::once(example_path().display().to_string()).chain(options).collect()
    }
    type Settle = fn(&mut Launch);
    let usual: Settle = |_| ();
    let short: Settle = |launch| launch.ready_timeout = Duration::from_millis(300);
    let on_stdout: Settle = |launch| launch.readiness = Readiness::Stdout("up".to_owned());
    let secret: Settle = |launch| drop(launch.spec.env.insert("KEY".to_owned(), "sk-4711-x".to_owned()));
    let leaks = "echo refused: $KEY at https://me:pass@host/a?b=c >&2; exit 4";
    let exited = "it exited with code 4; its last line on stderr: no key";
    let redacted = "refused: [redacted] at https://[redacted]@host/a?[redacted]";
    let late = "within 300 ms; its last line: thinking";
    let refused = "the agent refused initialize: Method not found: initialize (code -32601)";
    for (command, settle, reason, words) in [
        (shell("echo no key >&2; exit 4"), usual, None, exited),
        (shell(leaks), secret, None, redacted),
        (shell("exec cat"), usual, Some(Reason::AgentFailed), refused),
        (shell("echo thinking >&2; sleep 1000"), short, None, late),
        (vec!["mainstay-has-no-such-program".to_owned()], usual, None, "there is no program"),
        (shell("read -r _"), on_stdout, Some(Reason::InvalidConfig), ""),
        (example(&["--login"]), usual, Some(Reason::Unauthenticated), ""),
        (example(&["--version", "2"]), usual, None, "version 2"),
    ] {
        let fixture = start_driver(command, settle).await;
        let restarted = fixture.driver.restart().await;
        let needs_a_person = words == "there is no program"
            || words == "version 2"
            || reason.is_some_and(|reason| matches!(reason, Reason::InvalidConfig | Reason::Unauthenticated));
        assert_eq!(matches!(restarted, Err(DriverError::Unrecoverable(_))), needs_a_person, "{restarted:?}");
        let why = start_error(restarted);
        exit_details(fixture.driver.check().await);
        fixture.stop().await;
        assert!(why.log_text().contains(words), "{words}: {why:?}");
        assert!(words != redacted || why.log_text().ends_with(words), "{why:?}");
        assert!(words != refused || why.log_text() == words, "{why:?}");
        assert!(reason.is_none_or(|reason| why.reason == reason), "{reason:?}: {why:?}");
    }
}

timed!(abandon_kills_and_memory_over_ceiling_fails);
async fn abandon_kills_and_memory_over_ceiling_fails() {
    let folder = tempfile::tempdir().unwrap();
    let manager = ProcessManager::open(Some(folder.path())).await.unwrap().manager;
    let spec = ProcessSpec::new("planner", [example_path().display().to_string()]);
    let launch = Launch { spec, readiness: Readiness::None, ready_timeout: TIMEOUT, prepare: None };
    let driver = AcpDriver::new(ProcessSetup {
        memory_bytes_max: Some(1),
        memory_interval: Duration::from_millis(1),
        ..ProcessSetup::new(launch, manager.clone())
    });
    driver.restart().await.unwrap();
    assert!(exit_details(driver.wait_for_failure().await).contains("memory"));
    assert!(exit_details(driver.check().await).contains("memory"));
    assert!(driver.process().is_none(), "it does not grow until its restart is due");
    driver.restart().await.unwrap();
    let mut hanging = driver.deliver(message(1, "hang"));
    assert!(futures_util::FutureExt::now_or_never(&mut hanging).is_none());
    driver.abandon();
    assert!(hanging.await.is_err());
    manager.close().await;
    assert_eq!(std::fs::read_to_string(folder.path().join("processes")).unwrap(), "");
}
