//! The driver, which owns the agent's process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::agent::acp::AcpDriver;
use mainstay_actors::agent::{
    AgentFeed, AgentListener, AgentState, AgentUpdate, Driver, DriverError, Heard, Letter, LetterId,
    Observation, Reported, UpdateKind,
};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::process::{Launch, ProcessSpec, Readiness, Warden};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::agent::Switches;
use crate::scene::{arguments, program, within};

const LONG: Duration = Duration::from_secs(60);

struct Bed {
    driver: Arc<AcpDriver>,
    listener: AgentListener,
    warden: Warden,
    folder: TempDir,
}

async fn driving(command: Vec<String>, settle: impl FnOnce(&mut Launch)) -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let warden = Warden::open(Some(folder.path())).await.unwrap().warden;
    let mut spec = ProcessSpec::new("planner", command);
    spec.cwd = Some(folder.path().to_owned());
    let mut launch = Launch { spec, ready: Readiness::None, ready_within: LONG };
    settle(&mut launch);
    let feed = AgentFeed::default();
    let listener = feed.listen();
    let driver = AcpDriver::new(launch, warden.clone()).with_feed(feed);
    Bed { driver: Arc::new(driver), listener, warden, folder }
}

/// An agent that keeps its conversations in `sessions` and resumes them.
async fn resuming(sessions: &Path) -> Bed {
    let switches = Switches { resume: true, sessions: Some(sessions.to_owned()), ..Switches::default() };
    let command = [vec![program().display().to_string()], arguments(&switches)].concat();
    let home = sessions.to_owned();
    driving(command, move |launch| launch.spec.cwd = Some(home)).await
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn letter(id: u64, text: &str) -> Letter {
    Letter { id: LetterId(id), body: json!({ "text": text }), deadline: None }
}

impl Bed {
    async fn says(&self, id: u64, text: &str) -> Result<Value, Error> {
        self.driver.deliver(letter(id, text)).await
    }

    fn starts(&self, id: u64, text: &str) -> JoinSet<Result<Value, Error>> {
        let (driver, letter, mut task) = (Arc::clone(&self.driver), letter(id, text), JoinSet::new());
        task.spawn(async move { driver.deliver(letter).await });
        task
    }

    async fn hears_of(&mut self, kind: UpdateKind) -> Arc<AgentUpdate> {
        loop {
            match self.listener.next().await.unwrap() {
                Heard::Update(update) if update.kind == kind => return update,
                Heard::Update(_) => {}
                missed @ Heard::Missed(_) => panic!("{missed:?}"),
            }
        }
    }

    /// Whether anything of it is known to run.
    fn is_recorded(&self) -> bool {
        !std::fs::read_to_string(self.folder.path().join("processes")).unwrap().is_empty()
    }

    async fn end(self) {
        self.driver.stop().await;
        assert!(!self.is_recorded());
        self.warden.close().await;
    }
}

fn gone(observation: Observation) -> String {
    match observation {
        Observation::Gone { why } => why.for_log().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn failed(restarted: Result<(), DriverError>) -> Error {
    match restarted {
        Err(DriverError::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn turn(text: &str) -> Value {
    json!({ "stop_reason": "end_turn", "text": text })
}

#[tokio::test]
async fn an_agent_is_started_talked_to_and_stopped_and_nothing_is_left_of_it() {
    within(async {
        let sessions = tempfile::tempdir().unwrap();
        let mut bed = resuming(sessions.path()).await;
        let nobody = bed.says(1, "hello").await.unwrap_err();
        // It reached nobody, so it can be handed out again.
        assert_eq!(nobody.reason, Reason::AgentFailed);
        assert!(gone(bed.driver.check().await).contains("does not run"));
        assert_eq!(bed.driver.session(), None);

        bed.driver.restart().await.unwrap();
        let began = bed.hears_of(UpdateKind::Session).await;
        assert_eq!(began.body, json!({ "id": "s1", "how": "new" }));
        let Observation::Answered { reported: Reported::Healthy, .. } = bed.driver.check().await else {
            panic!()
        };
        assert_eq!(bed.driver.read_state().await, Ok(AgentState::Unsupported));
        assert_eq!(bed.says(2, "hello").await, Ok(turn("you said: hello")));
        assert_eq!(bed.driver.activity().in_flight, 0);

        let wrong =
            bed.driver.deliver(Letter { id: LetterId(3), body: json!(7), deadline: None }).await.unwrap_err();
        assert_eq!(wrong.reason, Reason::InvalidRequest);
        assert!(bed.is_recorded() && bed.driver.process().unwrap().pid > 0);
        bed.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_crashes_over_a_letter_leaves_its_outcome_open_and_goes_on_where_it_was() {
    within(async {
        let sessions = tempfile::tempdir().unwrap();
        let mut bed = resuming(sessions.path()).await;
        bed.driver.restart().await.unwrap();
        bed.says(1, "one").await.unwrap();
        let (incident, crash) = tokio::join!(bed.driver.incident(), bed.says(2, "crash"));
        let error = crash.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::OutcomeUnknown, false));
        assert!(error.for_log().contains("it exited with code 3"), "{error:?}");
        assert!(gone(incident).contains("it exited with code 3"));
        assert!(gone(bed.driver.check().await).contains("it exited with code 3"));
        assert_eq!(bed.says(3, "anybody there?").await.unwrap_err().reason, Reason::AgentFailed);

        bed.driver.restart().await.unwrap();
        bed.hears_of(UpdateKind::Session).await;
        assert_eq!(bed.hears_of(UpdateKind::Session).await.body, json!({ "id": "s1", "how": "resumed" }));
        // Nothing was said twice.
        assert_eq!(bed.says(4, "recall").await, Ok(turn("one | crash | recall")));
        bed.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_conversation_outlives_the_driver_by_what_it_hands_out_to_be_kept() {
    within(async {
        let sessions = tempfile::tempdir().unwrap();
        let bed = resuming(sessions.path()).await;
        bed.driver.restart().await.unwrap();
        bed.says(1, "one").await.unwrap();
        let kept = bed.driver.session().unwrap();
        bed.end().await;

        let mut bed = resuming(sessions.path()).await;
        bed.driver.recall(kept.clone());
        bed.driver.restart().await.unwrap();
        assert_eq!(bed.hears_of(UpdateKind::Session).await.body["how"], "resumed");
        assert_eq!(bed.says(2, "recall").await, Ok(turn("one | recall")));
        assert_eq!(bed.driver.session(), Some(kept.clone()));
        bed.end().await;

        // It is about that folder alone.
        let command = [program().display().to_string(), "--resume".to_owned()].to_vec();
        let mut bed = driving(command, |_| ()).await;
        bed.driver.recall(kept);
        bed.driver.restart().await.unwrap();
        let lost = json!({ "id": "s1", "why": "it was about another folder" });
        assert_eq!(
            bed.hears_of(UpdateKind::Session).await.body,
            json!({ "id": "s1", "how": "new", "lost": lost })
        );
        bed.driver.recall(json!("nonsense"));
        bed.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_question_is_answered_through_the_driver_and_whoever_waits_for_it_does_not_hang() {
    within(async {
        let sessions = tempfile::tempdir().unwrap();
        let mut bed = resuming(sessions.path()).await;
        bed.driver.restart().await.unwrap();
        let mut turn_of_two = bed.starts(1, "ask 2");
        let first = bed.hears_of(UpdateKind::Ask).await.ask.clone().unwrap();
        let second = bed.hears_of(UpdateKind::Ask).await.ask.clone().unwrap();
        let asked_at = bed.driver.activity().progressed_at.unwrap();
        while tokio::time::Instant::now() <= asked_at {
            tokio::task::yield_now().await;
        }
        assert!(bed.driver.activity().progressed_at.unwrap() > asked_at);
        assert_eq!(bed.driver.activity().in_flight, 1);

        assert_eq!(bed.driver.answer(&first, json!(true)).unwrap_err().reason, Reason::InvalidRequest);
        assert_eq!(bed.driver.answer(&first, json!("maybe")).unwrap_err().reason, Reason::InvalidRequest);
        assert_eq!(bed.driver.answer("a9", json!("allow")).unwrap_err().reason, Reason::NotFound);
        bed.driver.answer(&first, json!("allow")).unwrap();
        bed.driver.answer(&second, json!({ "optionId": "allow" })).unwrap();
        let end = turn_of_two.join_next().await.unwrap().unwrap();
        assert_eq!(end, Ok(turn("allow allow ")));
        bed.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_letter_that_is_dropped_is_called_off_at_the_agent() {
    within(async {
        let sessions = tempfile::tempdir().unwrap();
        let mut bed = resuming(sessions.path()).await;
        bed.driver.restart().await.unwrap();
        let hanging = bed.starts(1, "hang");
        bed.hears_of(UpdateKind::Message).await;
        drop(hanging);
        assert_eq!(bed.says(2, "next").await, Ok(turn("you said: next")));
        bed.end().await;
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn an_agent_that_ends_with_its_input_is_not_killed_and_its_end_is_told_as_a_stop() {
    within(async {
        let script = r#"trap '' TERM; "$0"; echo "$?" > farewell"#;
        let command = [shell(script), vec![program().display().to_string()]].concat();
        let mut bed = driving(command, |launch| launch.spec.grace = LONG * 10).await;
        bed.driver.restart().await.unwrap();
        let mut hanging = bed.starts(1, "hang");
        bed.hears_of(UpdateKind::Message).await;
        bed.driver.stop().await;
        let error = hanging.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.reason, Reason::OutcomeUnknown);
        assert!(error.for_log().contains("its process was stopped"), "{error:?}");
        assert_eq!(std::fs::read_to_string(bed.folder.path().join("farewell")).unwrap(), "0\n");
        bed.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_gone_though_it_runs() {
    within(async {
        let sessions = tempfile::tempdir().unwrap();
        let bed = resuming(sessions.path()).await;
        bed.driver.restart().await.unwrap();
        let (incident, broken) = tokio::join!(bed.driver.incident(), bed.says(2, "broken"));
        assert_eq!(broken.unwrap_err().reason, Reason::OutcomeUnknown);
        assert!(gone(incident).contains("the agent broke the protocol: it wrote a message that is not JSON"));
        assert!(gone(bed.driver.check().await).contains("the agent broke the protocol"));
        bed.driver.restart().await.unwrap();
        assert_eq!(bed.says(3, "recall").await, Ok(turn("broken | recall")));
        bed.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_agent_fails_its_start_with_the_reason_and_nothing_is_left_of_it() {
    within(async {
        let short = |launch: &mut Launch| launch.ready_within = Duration::from_millis(300);
        let long = |_: &mut Launch| ();
        let run = async |command: Vec<String>, settle: fn(&mut Launch)| {
            let bed = driving(command, settle).await;
            let why = failed(bed.driver.restart().await);
            gone(bed.driver.check().await);
            bed.end().await;
            why
        };
        let why = run(shell("echo no key >&2; exit 4"), long).await;
        assert!(why.for_log().contains("it exited with code 4; its last words on stderr: no key"), "{why:?}");
        let words = "echo refused: $KEY at https://me:pass@host/a?b=c >&2; exit 4";
        let secret =
            |launch: &mut Launch| drop(launch.spec.env.insert("KEY".to_owned(), "sk-4711-x".to_owned()));
        let why = run(shell(words), secret).await;
        let told = "refused: [redacted] at https://[redacted]@host/a?[redacted]";
        assert!(why.for_log().ends_with(told), "{why:?}");
        let why = run(shell("exec cat"), long).await;
        assert_eq!(why.for_log(), "the agent refused initialize: Method not found: initialize (code -32601)");
        assert_eq!(why.reason, Reason::AgentFailed);
        let why = run(shell("echo thinking >&2; sleep 1000"), short).await;
        assert!(why.for_log().contains("within 300ms; its last words on stderr: thinking"), "{why:?}");
        let why = run(vec!["mainstay-has-no-such-program".to_owned()], long).await;
        assert!(why.for_log().contains("there is no program"), "{why:?}");
        let why = run(shell("read -r _"), |launch| launch.ready = Readiness::Stdout("up".to_owned())).await;
        assert_eq!(why.reason, Reason::InvalidConfig);
        let why = run(vec![program().display().to_string(), "--login".to_owned()], long).await;
        assert_eq!(why.reason, Reason::Unauthenticated);
        let why = run([program().display().to_string(), "--version".into(), "2".into()].to_vec(), long).await;
        assert!(why.for_log().contains("version 2"), "{why:?}");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_abandoned_is_killed_and_one_that_takes_too_much_memory_is_to_be_restarted() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let warden = Warden::open(Some(folder.path())).await.unwrap().warden;
        let spec = ProcessSpec::new("planner", [program().display().to_string()]);
        let launch = Launch { spec, ready: Readiness::None, ready_within: LONG };
        let driver = AcpDriver::new(launch, warden.clone())
            .with_memory_ceiling(1)
            .with_memory_interval(Duration::from_millis(1));
        driver.restart().await.unwrap();
        assert!(gone(driver.incident().await).contains("memory"));
        assert!(gone(driver.check().await).contains("memory"));
        assert!(driver.process().is_none(), "it does not grow until its restart is due");
        driver.restart().await.unwrap();
        let mut hanging = driver.deliver(letter(1, "hang"));
        assert!(futures_util::FutureExt::now_or_never(&mut hanging).is_none());
        driver.abandon();
        assert!(hanging.await.is_err());
        warden.close().await;
        assert_eq!(std::fs::read_to_string(folder.path().join("processes")).unwrap(), "");
    })
    .await;
}
