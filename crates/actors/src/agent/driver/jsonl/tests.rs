//! The driver with real processes: shell scripts.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpSocket, time::Instant};

use super::{codec::OutgoingLine, *};
use crate::{
    agent::{
        agent_message::{MessageId, MessageLimits},
        driver::process::HealthProbe,
        health::ReportedHealth,
        updates::{AgentUpdate, UpdateBroadcast, UpdateEvent, UpdateKind, UpdateSubscription},
    },
    error::{Reason, tests::words::assert_message_helps},
    process::{Launch, ProbeResult, ProcessManager, ProcessSpec, Readiness},
    request::Request,
    tests::{read_head, reserve_address},
    transport::{
        FailureKind, HttpSettings, HttpTransport, Transport,
        crashing_server::{BreakPoint, CrashingServer, ServerAct},
    },
};

/// Longer than any wait, however slow the machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// For processes that never get ready, so no speed is assumed.
const SHORT: Duration = Duration::from_millis(300);

/// Answers every message with its own line.
const ECHO: &str = r#"
    while IFS= read -r line; do
        id=${line##*\"id\":}; id=${id%%,*}
        case $line in
            *'"type":"message"'*) printf '{"type":"reply","id":%s,"body":%s}\n' "$id" "$line" ;;
            *) printf '{"type":"got","line":%s}\n' "$line" ;;
        esac
    done"#;

struct JsonlFixture {
    driver: ProcessDriver,
    updates: UpdateSubscription,
    folder: TempDir,
}

impl JsonlFixture {
    async fn new(script: &str) -> Self {
        Self::with(script, Readiness::None, |_| ()).await
    }

    async fn with(script: &str, ready: Readiness, settle: impl FnOnce(&mut ProcessSetup)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manager = ProcessManager::open(Some(folder.path())).await.unwrap().manager;
        let mut spec = ProcessSpec::new("planner", ["sh", "-c", script]);
        // Ten times as long as any test waits, unless it says otherwise.
        spec.grace = TIMEOUT * 10;
        let updates = UpdateBroadcast::default();
        let listener = updates.subscribe();
        let launch = Launch { spec, readiness: ready, ready_timeout: TIMEOUT * 10, prepare: None };
        let mut setup = ProcessSetup { updates, ..ProcessSetup::new(launch, manager) };
        settle(&mut setup);
        Self { driver: ProcessDriver::new(setup), updates: listener, folder }
    }

    async fn started(script: &str) -> Self {
        let fixture = Self::new(script).await;
        fixture.restart().await.unwrap();
        fixture
    }

    async fn restart(&self) -> Result<(), DriverError> {
        timeout(TIMEOUT, self.driver.restart()).await.unwrap()
    }

    async fn send(&self, body: Value) -> Result<Value, Error> {
        let answer = timeout(TIMEOUT, self.driver.deliver(message(body))).await.unwrap();
        answer.map(|answer| answer.read().unwrap())
    }

    /// Starts a process that is ready once it wrote `words` to stdout.
    async fn ready_on(script: &str, words: &str) -> Self {
        Self::with(script, Readiness::Stdout(words.to_owned()), |_| ()).await
    }

    async fn next_update(&mut self) -> Arc<AgentUpdate> {
        next_update(&mut self.updates).await
    }

    /// Returns the line in the next update of an agent that repeats its lines.
    async fn next_line(&mut self) -> Value {
        self.next_update().await.body.read::<Value>().unwrap()["line"].clone()
    }

    async fn wait_for_failure(&self) -> Error {
        exit_error(timeout(TIMEOUT, self.driver.wait_for_failure()).await.unwrap())
    }

    /// Returns whether the pid file names a process.
    fn is_recorded(&self) -> bool {
        !std::fs::read_to_string(self.folder.path().join("processes")).unwrap().is_empty()
    }
}

async fn next_update(updates: &mut UpdateSubscription) -> Arc<AgentUpdate> {
    match timeout(TIMEOUT, updates.next()).await.unwrap() {
        Some(UpdateEvent::Update(update)) => update,
        other => panic!("{other:?}"),
    }
}

fn message(body: Value) -> AgentMessage {
    AgentMessage { id: MessageId(7), body: body.into(), deadline: None, limits: MessageLimits::default() }
}

fn exit_error(observation: Observation) -> Error {
    match observation {
        Observation::Exited { why } => {
            assert_message_helps(&why.message);
            why
        }
        other => panic!("{other:?}"),
    }
}

fn start_error(outcome: Result<(), DriverError>) -> Error {
    match outcome {
        Err(DriverError::Failed(why) | DriverError::Unrecoverable(why)) => {
            assert_message_helps(&why.message);
            why
        }
        other => panic!("{other:?}"),
    }
}

// === messages ===

#[tokio::test]
async fn deliver_returns_reply_with_its_id() {
    let fixture = JsonlFixture::started(ECHO).await;
    for body in [json!({"ask": ["two\nlines", 1.5, null]}), json!("ä"), json!(null)] {
        let answer = fixture.send(body.clone()).await.unwrap();
        assert_eq!(answer, json!({"type": "message", "id": 7, "body": body}));
    }
    assert_eq!(fixture.driver.activity().in_flight, 0);
}

#[tokio::test]
async fn deliver_message_larger_than_a_pipe_succeeds() {
    let script = r#"n=$(head -n 1 | wc -c); echo "{\"type\":\"reply\",\"id\":7,\"body\":$n}"; read -r _"#;
    let fixture = JsonlFixture::started(script).await;
    let body = json!("x".repeat(1 << 20));
    let length = OutgoingLine::Message(&message(body.clone())).to_line().len();
    assert_eq!(fixture.send(body).await, Ok(json!(length)));
}

#[tokio::test]
async fn deliver_error_reply_shows_agent_text() {
    let script = r#"read -r _; echo '{"type":"reply","id":7,"error":"There is no model"}'; read -r _"#;
    let fixture = JsonlFixture::started(script).await;
    let error = fixture.send(json!("hello")).await.unwrap_err();
    assert_eq!((error.reason, error.message.as_str()), (Reason::ServerError, "There is no model"));
}

#[tokio::test]
async fn deliver_without_process_fails_undelivered() {
    let fixture = JsonlFixture::new("exit 0").await;
    let error = fixture.send(json!("hello")).await.unwrap_err();
    assert_eq!(error.reason, Reason::AgentFailed);
    fixture.restart().await.unwrap();
    fixture.wait_for_failure().await;
    let error = fixture.send(json!("hello")).await.unwrap_err();
    assert_eq!(error.reason, Reason::AgentFailed);
    assert_message_helps(&error.message);
}

#[tokio::test]
async fn deliver_process_exit_is_outcome_unknown() {
    let fixture = JsonlFixture::started("read -r _; echo no memory >&2; exit 3").await;
    let error = fixture.send(json!("hello")).await.unwrap_err();
    assert_eq!(error.reason, Reason::OutcomeUnknown);
    assert!(error.log_text().contains("code 3") && error.log_text().contains("no memory"), "{error:?}");
    assert_message_helps(&error.message);
}

#[tokio::test]
async fn output_before_exit_is_read() {
    let words =
        r#"read -r _; echo '{"type":"state","state":9}'; echo '{"type":"reply","id":7,"body":1}'; exit 0"#;
    let fixture = JsonlFixture::new(words).await;
    for _ in 0..10 {
        fixture.restart().await.unwrap();
        assert_eq!(fixture.send(json!("hello")).await.unwrap(), json!(1));
        fixture.wait_for_failure().await;
        assert_eq!(fixture.driver.read_state().await, Ok(AgentState::Known(json!(9).into())));
    }
}

#[tokio::test]
async fn deliver_dropped_sends_cancel() {
    let script = r#"while read -r line; do echo "{\"type\":\"got\",\"line\":$line}"; done"#;
    let mut fixture = JsonlFixture::started(script).await;
    let mut delivery = fixture.driver.deliver(message(json!("long")));
    let got = tokio::select! {
        answer = &mut delivery => panic!("{answer:?}"),
        got = next_update(&mut fixture.updates) => got,
    };
    assert_eq!(got.body.read::<Value>().unwrap()["line"]["type"], "message");
    assert_eq!(fixture.driver.activity().in_flight, 1);
    drop(delivery);
    assert_eq!(fixture.next_line().await, json!({"type": "cancel", "id": 7}));
    assert_eq!(fixture.driver.activity().in_flight, 0);
}

#[tokio::test]
async fn progress_counts_and_other_output_does_not() {
    let script = r#"read -r _; echo noise; echo '{"type":"health","status":"healthy"}'; echo '{"level":"info"}'
        read -r _; echo '{"type":"progress","id":7,"step":2}'; read -r _"#;
    let mut fixture = JsonlFixture::started(script).await;
    let mut delivery = fixture.driver.deliver(message(json!("long")));
    assert!((&mut delivery).now_or_never().is_none());
    let begun = fixture.driver.activity().progressed_at.unwrap();
    assert_eq!(next_update(&mut fixture.updates).await.body, json!({"level": "info"}));
    assert_eq!(fixture.driver.activity().progressed_at, Some(begun));
    fixture.driver.write_state(json!(null).into()).await.unwrap();
    let update = next_update(&mut fixture.updates).await;
    assert_eq!((update.kind, update.message_id), (UpdateKind::Progress, Some(MessageId(7))));
    assert_eq!(update.body, json!({"step": 2}));
    assert!(fixture.driver.activity().progressed_at.unwrap() > begun);
}

#[tokio::test]
async fn open_ask_counts_as_progress_until_answered() {
    let script =
        r#"read -r _; echo '{"type":"ask","ask":"a1","id":7,"body":"may I?"}'; read -r _; read -r _"#;
    let mut fixture = JsonlFixture::started(script).await;
    let mut delivery = fixture.driver.deliver(message(json!("long")));
    assert!((&mut delivery).now_or_never().is_none());
    let progressed_since = |at: Instant| fixture.driver.activity().progressed_at.unwrap() >= at;
    let update = next_update(&mut fixture.updates).await;
    assert_eq!(update.kind, UpdateKind::Ask);
    assert!(progressed_since(Instant::now()), "it waits for a person");
    let before = Instant::now();
    fixture.driver.answer("a1", json!(true).into()).unwrap();
    assert!(progressed_since(before), "the answer gives it its time again");
    let after = Instant::now();
    assert!(!progressed_since(after + Duration::from_nanos(1)), "and it is waited for");
}

#[tokio::test]
async fn ask_is_answered_once_and_ends_with_the_agent() {
    let script = r#"echo '{"type":"ask","ask":"a1","id":7,"body":"may I?"}'
        read -r line; echo "{\"type\":\"got\",\"line\":$line}"
        echo '{"type":"ask","ask":"a2"}'; read -r _"#;
    let mut fixture = JsonlFixture::started(script).await;
    let update = fixture.next_update().await;
    let shown = (update.kind, update.ask.as_deref(), &update.body);
    assert_eq!(shown, (UpdateKind::Ask, Some("a1"), &json!("may I?").into()));
    assert_eq!(fixture.driver.answer("a0", json!(true).into()).unwrap_err().reason, Reason::NotFound);
    fixture.driver.answer("a1", json!(true).into()).unwrap();
    assert_eq!(fixture.driver.answer("a1", json!(true).into()).unwrap_err().reason, Reason::NotFound);
    assert_eq!(fixture.next_update().await.kind, UpdateKind::Settled);
    let answer = json!({"type": "answer", "ask": "a1", "body": true});
    assert_eq!(fixture.next_line().await, answer);
    assert_eq!(fixture.next_update().await.ask.as_deref(), Some("a2"));
    fixture.driver.stop().await;
    let update = fixture.next_update().await;
    assert_eq!((update.kind, update.ask.as_deref()), (UpdateKind::Settled, Some("a2")));
    assert_eq!(fixture.driver.answer("a2", json!(true).into()).unwrap_err().reason, Reason::AgentFailed);
}

// === unreadable replies ===

#[tokio::test]
async fn unreadable_reply_fails_its_message_at_once() {
    let long =
        r#"printf '{"type":"reply","id":7,"body":"'; head -c 2000000 /dev/zero | tr '\0' x; echo '"}'"#;
    let long_backwards =
        r#"printf '{"body":"'; head -c 2000000 /dev/zero | tr '\0' x; echo '","type":"reply"}'"#;
    for (reply, words) in [
        (r#"echo '{"type":"reply","id":7}'"#, r#"a "body" or an "error": {"type":"reply","id":7}"#),
        (r#"echo '{"type":"reply","id":"seven","body":1}'"#, r#"needs the "id" of the message"#),
        (r#"echo '{"type":"reply","id":7,"body":NaN}'"#, "it is no JSON"),
        (r#"echo '{"type":"reply","id":8,"body":1}'"#, "it answers a message that was never sent"),
        (long, r#"it is longer than 1048576 bytes: {"type":"reply","id":7,"body":"xxx"#),
        (long_backwards, "it is longer than 1048576 bytes"),
    ] {
        let fixture = JsonlFixture::started(&format!("read -r _; {reply}; read -r _")).await;
        let error = fixture.send(json!(0)).await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::BadResponse, false), "{reply}");
        assert!(error.log_text().contains(words), "{reply}: {error:?}");
        assert_message_helps(&error.message);
        let (_, lost) = fixture.driver.host.setup.updates.take_unrecorded();
        assert_eq!(lost.map(|lost| lost.count), Some(1), "{reply}");
        assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }), "{reply}");
    }
}

#[tokio::test]
async fn repairable_reply_is_an_answer() {
    for (reply, expected) in [
        (r#"printf '{"type":"reply","id":"7","body":"a"}\n'"#, json!("a")),
        (r#"printf '\357\273\277{"type":"reply","id":7,"body":"b"}\r\n'"#, json!("b")),
        (r#"printf '{"type":"reply","id":7,"body":"caf\351"}\n'"#, json!("caf\u{fffd}")),
        (r#"printf '50%% … '; printf '{"type":"reply","id":7,"body":"c"}\n'"#, json!("c")),
        (r#"printf '[{"type":"reply","id":7,"body":"d"}]\n'"#, json!("d")),
        (r#"printf '%s\n' '{"type":"reply","id":7.0,"body":"\ud83d","error":null}'"#, json!("\u{fffd}")),
    ] {
        let fixture = JsonlFixture::started(&format!("read -r _; {reply}; read -r _")).await;
        assert_eq!(fixture.send(json!(0)).await, Ok(expected), "{reply}");
    }
}

#[tokio::test]
async fn lost_reply_shows_no_secret() {
    let script = r#"read -r _; echo "{\"type\":\"reply\",\"key\":\"$ACME_TOKEN\"}"; read -r _"#;
    let settle = |setup: &mut ProcessSetup| {
        setup.launch.spec.env.insert("ACME_TOKEN".to_owned(), "sk-4711-x".to_owned());
    };
    let fixture = JsonlFixture::with(script, Readiness::None, settle).await;
    fixture.restart().await.unwrap();
    let error = fixture.send(json!(0)).await.unwrap_err();
    let (_, lost) = fixture.driver.host.setup.updates.take_unrecorded();
    let start = lost.unwrap().last.unwrap().1;
    for text in [error.log_text(), &start] {
        assert!(text.contains("[redacted]") && !text.contains("4711"), "{text}");
    }
}

#[tokio::test]
async fn closed_output_ends_the_message_and_the_agent() {
    for script in ["read -r _; exec >&-; read -r _", "exec >&-; while read -r _; do :; done"] {
        let fixture = JsonlFixture::started(script).await;
        let error = fixture.send(json!(0)).await.unwrap_err();
        assert_eq!(error.reason, Reason::OutcomeUnknown, "{script}");
        let words = "its process has closed its output, and runs on";
        assert!(error.log_text().contains(words), "{script}: {error:?}");
        assert!(fixture.wait_for_failure().await.log_text().contains(words), "{script}");
    }
}

#[tokio::test]
async fn closed_output_without_a_message_is_no_failure() {
    let script = r#"echo '"up"'; exec >&-; while read -r _; do :; done"#;
    let mut fixture = JsonlFixture::started(script).await;
    assert_eq!(fixture.next_update().await.body, json!("up"));
    assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
}

// === health and state ===

#[tokio::test]
async fn check_returns_last_reported_health() {
    let script = r#"while read -r line; do
            echo '{"type":"health","status":"degraded"}'; echo '{"type":"reply","id":7,"body":0}'
        done"#;
    let fixture = JsonlFixture::started(script).await;
    let reported = async || match fixture.driver.check().await {
        Observation::Answered { reported, uptime_s, .. } => {
            assert!(uptime_s.unwrap() < 600.0);
            reported
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(reported().await, ReportedHealth::Healthy);
    fixture.send(json!(0)).await.unwrap();
    assert_eq!(reported().await, ReportedHealth::Degraded);
    fixture.restart().await.unwrap();
    assert_eq!(reported().await, ReportedHealth::Healthy);
}

/// After a standstill a check may come before the exit is read.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn check_of_an_unread_exit_is_no_answer() {
    let mut fixture =
        JsonlFixture::started(r#"echo "{\"type\":\"up\",\"pid\":$$}"; while read -r _; do :; done"#).await;
    let pid = fixture.next_update().await.body.read::<Value>().unwrap()["pid"].as_i64().unwrap();
    assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // No task runs meanwhile, because this does not await.
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let observation = fixture.driver.check().await;
    assert!(matches!(observation, Observation::Exited { .. }), "{observation:?}");
}

#[tokio::test]
async fn malformed_or_long_line_is_dropped_and_counted() {
    let script = r#"echo starting; head -c 2000000 /dev/zero | tr '\0' x; echo
        echo '{"type":"reply"}'; echo '{"type":"up"}'; read -r _"#;
    let mut fixture = JsonlFixture::started(script).await;
    assert_eq!(fixture.next_update().await.body, json!({"type": "up"}));
    let Observation::Answered { error_count, .. } = fixture.driver.check().await else {
        panic!("it is there")
    };
    assert_eq!(error_count, Some(3));
    let (_, lost) = fixture.driver.host.setup.updates.take_unrecorded();
    let lost = lost.unwrap();
    assert_eq!((lost.count, &*lost.last.unwrap().1), (1, r#"{"type":"reply"}"#));
}

#[tokio::test]
async fn output_flood_does_not_block() {
    let script = r#"read -r _; i=0; while [ $i -lt 50 ]; do i=$((i+1))
            head -c 1000000 /dev/zero | tr '\0' '\n'; head -c 100000 /dev/zero | tr '\0' x; echo
            head -c 100000 /dev/zero | tr '\0' x >&2
        done; echo '{"type":"reply","id":7,"body":"done"}'; read -r _"#;
    let fixture = JsonlFixture::started(script).await;
    assert_eq!(fixture.send(json!(0)).await, Ok(json!("done")));
}

#[tokio::test]
async fn write_state_restores_reported_state() {
    let script = format!("echo '{{\"type\":\"state\",\"state\":[1,2]}}'; echo '\"up\"'; {ECHO}");
    let mut fixture = JsonlFixture::started(&script).await;
    assert_eq!(fixture.next_update().await.body, json!("up"));
    assert_eq!(fixture.driver.read_state().await, Ok(AgentState::Known(json!([1, 2]).into())));
    fixture.driver.write_state(json!([1, 2]).into()).await.unwrap();
    assert_eq!(fixture.next_line().await, json!({"type": "restore", "state": [1, 2]}));
    assert_eq!(fixture.driver.stop().await.state, Some(json!([1, 2]).into()));
    assert_eq!(fixture.driver.read_state().await, Ok(AgentState::None));
    assert_eq!(fixture.driver.stop().await.state, None);
    start_error(fixture.driver.write_state(json!(1).into()).await);
}

fn missed_error(observation: Observation) -> Error {
    match observation {
        Observation::Missed { why } | Observation::Suspended { why } => {
            assert_message_helps(&why.message);
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ping_without_pong_is_a_missed_check() {
    let answers = r#"while read -r line; do
            case $line in *ping*) echo '{"type":"pong"}' ;; esac
        done"#;
    let settle = |setup: &mut ProcessSetup| {
        (setup.health, setup.health_timeout) = (HealthProbe::Ping, TIMEOUT);
    };
    let fixture = JsonlFixture::with(answers, Readiness::None, settle).await;
    fixture.restart().await.unwrap();
    let progressed_at = fixture.driver.activity().progressed_at;
    for _ in 0..3 {
        assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
    }
    assert_eq!(fixture.driver.activity().progressed_at, progressed_at, "a pong is no progress");

    let settle = |setup: &mut ProcessSetup| {
        (setup.health, setup.health_timeout) = (HealthProbe::Ping, SHORT);
    };
    let fixture = JsonlFixture::with("while read -r _; do :; done", Readiness::None, settle).await;
    fixture.restart().await.unwrap();
    let why = missed_error(fixture.driver.check().await);
    assert_eq!((why.reason, why.log_text()), (Reason::TimedOut, "it answered no ping within 300 ms"));
}

#[tokio::test]
async fn server_that_does_not_answer_is_a_missed_check() {
    let (socket, ready) = reserve_probed_address();
    let Readiness::Probe(probe) = ready else { panic!("it probes") };
    let settle = |setup: &mut ProcessSetup| {
        (setup.health, setup.health_timeout) = (HealthProbe::Server(probe), TIMEOUT);
    };
    let fixture = JsonlFixture::with("read -r _", Readiness::None, settle).await;
    fixture.restart().await.unwrap();
    let why = missed_error(fixture.driver.check().await);
    assert!(why.log_text().starts_with("its server does not accept connections"), "{why:?}");
    let listener = socket.listen(16).unwrap();
    let (observation, ()) =
        tokio::join!(fixture.driver.check(), respond(&listener, "500 Internal Server Error"));
    assert!(missed_error(observation).log_text().starts_with("its server does not answer with success"));
    let (observation, ()) = tokio::join!(fixture.driver.check(), respond(&listener, "200 OK"));
    assert!(matches!(observation, Observation::Answered { .. }));
}

/// Only an answer of the backend says something about the program.
#[tokio::test]
async fn backend_that_is_gone_says_nothing_about_the_program() {
    let server = CrashingServer::start();
    let transport = Arc::new(HttpTransport::new(&HttpSettings::new(server.url())).unwrap());
    let settle = |setup: &mut ProcessSetup| {
        setup.health = HealthProbe::Backend { transport, path: "/worker".to_owned() };
    };
    let fixture = JsonlFixture::with("read -r _", Readiness::None, settle).await;
    fixture.restart().await.unwrap();
    assert!(fixture.driver.asks_backend());
    server.plan("/worker", &[ServerAct::Crash(BreakPoint::BeforeAnswer), ServerAct::Fail]);
    let broken = fixture.driver.check().await;
    assert!(matches!(broken, Observation::Unreachable { .. }) && broken.is_break(), "{broken:?}");
    let refused = fixture.driver.check().await;
    assert!(refused.is_refusal() && !refused.is_break(), "{refused:?}");
    server.restart();
    let why = missed_error(fixture.driver.check().await);
    assert!(why.log_text().starts_with("the backend does not answer with success"), "{why:?}");
    assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
}

#[tokio::test]
async fn suspended_process_is_not_healthy() {
    let mut fixture = JsonlFixture::started(r#"echo '"up"'; kill -s STOP $$; echo '"on"'; read -r _"#).await;
    assert_eq!(fixture.next_update().await.body, json!("up"));
    let pid = fixture.driver.process().unwrap().pid.to_string();
    loop {
        // It stops itself a moment after its line.
        if let Observation::Suspended { why } = fixture.driver.check().await {
            assert_message_helps(&why.message);
            break;
        }
    }
    let continued = std::process::Command::new("kill").args(["-s", "CONT", &pid]).status().unwrap();
    assert!(continued.success());
    assert_eq!(fixture.next_update().await.body, json!("on"));
    assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
}

// === exits ===

#[tokio::test]
async fn exit_is_reported_at_once_with_last_stderr_line() {
    for (script, words) in [
        ("exit 0", "it exited with code 0"),
        ("echo no model >&2; exit 1", "it exited with code 1; its last line on stderr: no model"),
        ("kill -s KILL $$", "it was ended by signal 9 (KILL)"),
        ("(sleep 1000 &) ; exit 0", "it exited with code 0"),
        ("exec sleep-that-is-not-there 2>/dev/null", "it exited with code 127"),
    ] {
        let fixture = JsonlFixture::started(script).await;
        let why = fixture.wait_for_failure().await;
        assert!(why.log_text().contains(words), "{script}: {why:?}");
        assert_eq!(exit_error(fixture.driver.check().await), why);
        fixture.driver.stop().await;
        assert!(!fixture.is_recorded());
    }
}

#[tokio::test]
async fn restart_replaces_the_process() {
    // It says when its traps are set: without them, what it started would last for the whole grace.
    let script = r#"(trap '' TERM; exec sleep 1000) & trap 'kill -s KILL 0' TERM; echo '"up"'; wait"#;
    let mut fixture = JsonlFixture::started(script).await;
    assert_eq!(fixture.next_update().await.body, json!("up"));
    let first = fixture.driver.process().unwrap().pid;
    fixture.restart().await.unwrap();
    assert_eq!(fixture.next_update().await.body, json!("up"));
    let second = fixture.driver.process().unwrap().pid;
    assert_ne!(first, second);
    assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
    fixture.driver.stop().await;
    assert_eq!(fixture.driver.process(), None);
    assert!(!fixture.is_recorded());
    // Idempotent.
    fixture.driver.stop().await;
}

#[tokio::test]
async fn stop_exit_on_stdin_close_is_not_a_kill() {
    let script = r#"trap '' TERM; echo '"up"'; while read -r _; do echo '"got"'; done; echo bye > farewell"#;
    let mut fixture = JsonlFixture::new(script).await;
    fixture.driver.host.setup.launch.spec.cwd = Some(fixture.folder.path().to_owned());
    fixture.restart().await.unwrap();
    assert_eq!(fixture.next_update().await.body, json!("up"));
    let mut delivery = fixture.driver.deliver(message(json!(0)));
    let got = tokio::select! {
        answer = &mut delivery => panic!("{answer:?}"),
        got = next_update(&mut fixture.updates) => got,
    };
    assert_eq!(got.body, json!("got"));
    let (answer, _) =
        tokio::join!(delivery, async { timeout(TIMEOUT, fixture.driver.stop()).await.unwrap() });
    let error = answer.unwrap_err();
    assert_eq!(error.reason, Reason::OutcomeUnknown);
    assert!(error.log_text().contains("its process was stopped"), "{error:?}");
    assert_eq!(std::fs::read_to_string(fixture.folder.path().join("farewell")).unwrap(), "bye\n");
}

#[tokio::test]
async fn abandon_kills_the_process() {
    let mut fixture =
        JsonlFixture::started(r#"trap '' TERM; echo '"up"'; while :; do sleep 1000; done"#).await;
    fixture.next_update().await;
    let mut delivery = fixture.driver.deliver(message(json!(0)));
    assert!((&mut delivery).now_or_never().is_none());
    fixture.driver.abandon();
    assert!(timeout(TIMEOUT, delivery).await.unwrap().is_err());
    timeout(TIMEOUT, fixture.driver.host.setup.manager.close()).await.unwrap();
    assert!(!fixture.is_recorded());
}

fn limit_memory(setup: &mut ProcessSetup, bytes_max: u64) {
    (setup.memory_bytes_max, setup.memory_interval) = (Some(bytes_max), Duration::from_millis(1));
}

#[tokio::test]
async fn memory_over_ceiling_reports_failure() {
    let settle = |setup: &mut ProcessSetup| limit_memory(setup, 1);
    let parting = format!("trap '' TERM; echo up; {ECHO}; echo '{{\"type\":\"state\",\"state\":7}}'");
    let fixture = JsonlFixture::with(&parting, Readiness::Stdout("up".to_owned()), settle).await;
    fixture.restart().await.unwrap();
    let why = fixture.wait_for_failure().await;
    assert!(why.log_text().contains("memory"), "{why:?}");
    // It must not grow until its restart is due, and its last state is known.
    assert!(fixture.driver.process().is_none());
    assert_eq!(fixture.driver.read_state().await, Ok(AgentState::Known(json!(7).into())));
    assert_eq!(exit_error(fixture.driver.check().await), why);
    fixture.restart().await.unwrap();
    assert!(matches!(fixture.driver.check().await, Observation::Answered { .. }));
}

#[tokio::test]
async fn memory_within_ceiling_reports_nothing() {
    let settle = |setup: &mut ProcessSetup| limit_memory(setup, 1 << 40);
    let fixture = JsonlFixture::with("read -r _; exit 7", Readiness::None, settle).await;
    fixture.restart().await.unwrap();
    let mut failure = fixture.driver.wait_for_failure();
    // Until the memory was measured.
    while fixture.driver.process().unwrap().memory_bytes.is_none() {
        assert!(timeout(Duration::from_millis(10), &mut failure).await.is_err());
    }
    let _ = fixture.send(json!(0)).await;
    assert!(exit_error(timeout(TIMEOUT, failure).await.unwrap()).log_text().contains("code 7"));
}

// === starts ===

#[tokio::test]
async fn start_failure_explains_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    std::fs::write(&notes, "text").unwrap();
    for (command, cwd, words) in [
        (vec!["mainstay-has-no-such-program"], None, "there is no program `mainstay-has-no-such-program`"),
        (vec![notes.to_str().unwrap()], None, "cannot be run"),
        (vec!["sh"], Some(folder.path().join("missing")), "does not exist"),
    ] {
        let mut fixture = JsonlFixture::new("").await;
        fixture.driver.host.setup.launch.spec.command = command.into_iter().map(str::to_owned).collect();
        fixture.driver.host.setup.launch.spec.cwd = cwd;
        let restarted = fixture.restart().await;
        assert!(matches!(restarted, Err(DriverError::Unrecoverable(_))), "{restarted:?}");
        let why = start_error(restarted);
        assert!(why.log_text().contains(words), "{why:?}");
        exit_error(fixture.driver.check().await);
        assert!(!fixture.is_recorded(), "{why:?}");
    }
}

#[tokio::test]
async fn stdout_readiness_waits_for_the_line() {
    let script = r#"echo loading; read -r _ < go; echo "now listening on 1234"; echo '"up"'; read -r _"#;
    let mut fixture = JsonlFixture::ready_on(script, "listening on").await;
    let go = fixture.folder.path().join("go");
    assert!(std::process::Command::new("mkfifo").arg(&go).status().unwrap().success());
    fixture.driver.host.setup.launch.spec.cwd = Some(fixture.folder.path().to_owned());
    let (restarted, ()) = tokio::join!(fixture.restart(), async {
        // Opening a pipe waits for its other end, and the agent then waits for the line.
        let mut go = tokio::fs::OpenOptions::new().write(true).open(&go).await.unwrap();
        let checked = fixture.driver.check().now_or_never().map(exit_error);
        assert_eq!(checked.map(|why| why.reason), Some(Reason::AgentFailed));
        go.write_all(b"\n").await.unwrap();
        go.flush().await.unwrap();
    });
    restarted.unwrap();
    assert_eq!(fixture.next_update().await.body, json!("up"));
    let Observation::Answered { error_count, .. } = fixture.driver.check().await else {
        panic!("it is there")
    };
    assert_eq!(error_count, Some(1), "the line that says that it is ready is no mistake");
}

#[tokio::test]
async fn last_line_hides_secrets_and_addresses() {
    let words = "echo refused: $ACME_TOKEN at https://me:pass@host/a?b=c, $MODEL >&2; exit 2";
    let expected =
        "its last line on stderr: refused: [redacted] at https://[redacted]@host/a?[redacted] large-one";
    let agent = |ready| async {
        let settle = |setup: &mut ProcessSetup| {
            let variables = [("ACME_TOKEN", "sk-4711-x"), ("MODEL", "large-one")];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            setup.launch.spec.env = variables.into();
        };
        JsonlFixture::with(words, ready, settle).await
    };
    let fixture = agent(Readiness::Stdout("up".to_owned())).await;
    let why = start_error(fixture.restart().await);
    assert!(why.log_text().contains(expected), "{why:?}");
    let fixture = agent(Readiness::None).await;
    fixture.restart().await.unwrap();
    let why = fixture.wait_for_failure().await;
    assert!(why.log_text().contains(expected), "{why:?}");
}

#[tokio::test]
async fn process_that_is_not_ready_fails_its_start_and_is_gone() {
    let taken = "before it was ready, it exited with code 2; its last line on stderr: port 80 is taken";
    for (script, ready_timeout, words) in [
        ("echo port 80 is taken >&2; exit 2", TIMEOUT * 10, taken),
        ("echo still loading >&2; echo down; read -r _", SHORT, "it was not ready within 300 ms"),
    ] {
        let mut fixture = JsonlFixture::ready_on(script, "up").await;
        fixture.driver.host.setup.launch.ready_timeout = ready_timeout;
        let why = start_error(fixture.restart().await);
        assert!(why.log_text().contains(words), "{script}: {why:?}");
        assert!(!fixture.is_recorded(), "{script}");
        assert_eq!(fixture.driver.process(), None, "{script}");
    }
}

#[tokio::test]
async fn start_ends_on_stop_or_drop() {
    let fixture = JsonlFixture::ready_on("read -r _", "up").await;
    let stopped = async {
        while fixture.driver.process().is_none() {
            tokio::task::yield_now().await;
        }
        fixture.driver.stop().await;
    };
    let (restarted, ()) = tokio::join!(fixture.restart(), stopped);
    assert!(start_error(restarted).log_text().contains("before it was ready"));
    assert!(!fixture.is_recorded());

    let mut restart = fixture.driver.restart();
    while fixture.driver.process().is_none() {
        assert!((&mut restart).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(restart);
    // The process runs, and no caller waited until it was ready.
    exit_error(fixture.driver.check().await);
    fixture.driver.abandon();
    fixture.driver.host.setup.manager.close().await;
    assert!(!fixture.is_recorded());
}

/// Reserves an address, and returns its probe.
fn reserve_probed_address() -> (TcpSocket, Readiness) {
    let (socket, address) = reserve_address();
    let transport = Arc::new(HttpTransport::new(&HttpSettings::new(format!("http://{address}"))).unwrap());
    let probe = move |time_limit| {
        let transport = Arc::clone(&transport);
        async move {
            let request = Request::get("/ready").build().unwrap();
            match transport.collect(&request, time_limit).await {
                Ok(response) if response.status.is_success() => ProbeResult::Ready,
                Err(failure) if failure.kind == FailureKind::Refused => ProbeResult::NoListener,
                _ => ProbeResult::NotReady,
            }
        }
        .boxed()
    };
    (socket, Readiness::Probe(Arc::new(probe)))
}

async fn respond(listener: &tokio::net::TcpListener, status: &str) {
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("GET /ready "));
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn http_readiness_waits_for_success_status() {
    let (socket, ready) = reserve_probed_address();
    let mut fixture = JsonlFixture::with(r#"echo '"started"'; read -r _"#, ready, |_| ()).await;
    let JsonlFixture { driver, updates: listener, .. } = &mut fixture;
    let served = async {
        assert!(matches!(listener.next().await, Some(UpdateEvent::Update(_))));
        let listener = socket.listen(16).unwrap();
        for status in ["503 Service Unavailable", "404 Not Found", "200 OK"] {
            respond(&listener, status).await;
        }
    };
    let (restarted, ()) = tokio::join!(timeout(TIMEOUT, driver.restart()), served);
    restarted.unwrap().unwrap();
}

#[tokio::test]
async fn http_readiness_occupied_address_is_in_use() {
    for status in ["200 OK", "500 Internal Server Error"] {
        let (socket, ready) = reserve_probed_address();
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("it-ran");
        let fixture = JsonlFixture::with(&format!("touch {}", marker.display()), ready, |_| ()).await;
        let listener = socket.listen(16).unwrap();
        let (restarted, ()) = tokio::join!(fixture.restart(), respond(&listener, status));
        let why = start_error(restarted);
        assert_eq!(why.reason, Reason::InUse);
        assert!(!marker.exists());
    }
}
