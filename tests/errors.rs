//! Tests that every failure reaches its caller in one shape, at once, and without secrets.

mod support;

use std::time::Duration;

use mainstay::config::Config;
use mainstay::control::Control;
use mainstay::journal::Record;
use mainstay::{Code, DataDir, Error, Mainstay, Reason, Request, bridge};
use serde_json::{Value, json};
use support::{TEST_TIMEOUT, next_of_kind, next_record, read_head, run, serve_connections, start_runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const ONE_HOUR: Duration = Duration::from_secs(3600);

/// A backend that accepts every connection and never responds.
async fn silent_backend() -> (JoinSet<()>, String) {
    serve(|_| None).await
}

/// A backend that responds to each request with these bytes and closes; without bytes it never responds.
async fn serve(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + Clone + 'static,
) -> (JoinSet<()>, String) {
    let serve = move |mut stream: TcpStream| {
        let answer = answer.clone();
        async move {
            match answer(&read_head(&mut stream).await?) {
                Some(bytes) => stream.write_all(bytes.as_bytes()).await.ok()?,
                None => while stream.read_u8().await.is_ok() {},
            }
            Some(())
        }
    };
    let (port, tasks) = serve_connections(serve).await;
    (tasks, format!("http://127.0.0.1:{port}"))
}

async fn start_against(url: &str, more: &str) -> Mainstay {
    let text = format!("[backend]\nurl = \"{url}\"\n{more}");
    Mainstay::builder().config(Config::from_toml(&text).unwrap()).start().await.unwrap()
}

/// Returns the address of a port without a listener, and the socket that reserves it.
fn refusing_backend() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

/// Asserts code, reason and whether a retry may help.
fn assert_error(error: &Error, code: Code, reason: Reason, retryable: bool) {
    assert_eq!((error.code, error.reason, error.retryable), (code, reason, retryable), "{error:?}");
}

/// Asserts that the text is one or two sentences for a person, without anything that looks like an address.
fn assert_plain(message: &str) {
    assert!(message.ends_with('.') && message.contains(' '), "{message}");
    for mark in ["://", "/", "\\", "127.0.0.1", "localhost", "@", "="] {
        assert!(!message.contains(mark), "{message}");
    }
}

// === a panic reaches every waiting caller ===

#[cfg(debug_assertions)]
mod panics {
    use super::*;

    #[tokio::test]
    async fn panic_of_connection_queue_or_cache_fails_its_current_callers() {
        let (_backend, url) = silent_backend().await;
        let mainstay = start_against(&url, "").await;
        let connection = mainstay.connection();
        let (sent, injected) = tokio::join!(
            timeout(TEST_TIMEOUT, connection.send("hello", ONE_HOUR)),
            mainstay.inject_panic("connection")
        );
        injected.unwrap();
        let error = sent.expect("it has an answer").unwrap_err();
        assert_error(&error, Code::ServerError, Reason::Crashed, false);

        let get = Request::get("/x").retries(0).build().unwrap();
        let post = Request::post("/x").retries(0).build().unwrap();
        let (get, post, injected) = tokio::join!(
            timeout(TEST_TIMEOUT, mainstay.request(get)),
            timeout(TEST_TIMEOUT, mainstay.request(post)),
            mainstay.inject_panic("queue")
        );
        injected.unwrap();
        let error = get.expect("it has an answer").unwrap_err();
        assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, Reason::Crashed, 1));
        // The handler may have acted, and the caller has to know.
        let error = post.expect("it has an answer").unwrap_err();
        assert_eq!((error.code, error.reason), (Code::ServerError, Reason::OutcomeUnknown));
        assert!(error.details.unwrap().starts_with("crashed"), "it says what hid the outcome");

        let cache = mainstay.cache();
        let (crashed, behind) = tokio::join!(
            timeout(TEST_TIMEOUT, mainstay.inject_panic_into_call()),
            cache.invalidate(&mainstay::Pattern::All)
        );
        let error = crashed.expect("it has an answer").unwrap_err();
        assert_error(&error, Code::ServerError, Reason::Crashed, false);
        assert_eq!(behind, Ok(0), "it is handled by the next incarnation");
        mainstay.shutdown().await;
    }

    #[tokio::test]
    async fn agent_panic_fails_a_waiting_restart() {
        let (_backend, url) = silent_backend().await;
        let agent = "[agents]\nhealth_timeout = \"60s\"\nrestart_delay = \"10ms\"\nmax_restarts = 1000\n";
        let mainstay = start_against(&url, &format!("{agent}[[agent]]\nid = \"planner\"")).await;
        let agents = mainstay.agents();
        let mut events = mainstay.events_after(mainstay.journal().cursor());
        // At the first panic the caller may wait in the mailbox or in the handler; at a later one it waits in the
        // handler.
        let panics = async {
            loop {
                let is_ready =
                    |event: &Record| event.kind == "actor_ready" && event.actor.ends_with("/planner");
                next_record(&mut events, is_ready).await;
                mainstay.inject_panic("planner").await.unwrap();
            }
        };
        let error = tokio::select! {
            biased;
            restarted = timeout(TEST_TIMEOUT, agents.restart("planner")) => restarted.expect("it has an answer").unwrap_err(),
            () = panics => panic!("panics never end"),
        };
        assert_error(&error, Code::ServerError, Reason::Crashed, false);
        mainstay.shutdown().await;
    }
}

// === one shape, wherever it is asked for ===

/// A session of the bridge, as a user interface has it.
struct BridgeSession {
    commands: mpsc::Sender<String>,
    texts: mpsc::Receiver<String>,
    _session: JoinSet<()>,
}

impl BridgeSession {
    fn open(mainstay: &Mainstay) -> Self {
        let (commands, incoming) = mpsc::channel(16);
        let (outgoing, texts) = mpsc::channel(16);
        let mut session = JoinSet::new();
        session.spawn(bridge::serve(mainstay.clone(), incoming, outgoing));
        Self { commands, texts, _session: session }
    }

    /// Returns the bridge's answer to this text.
    async fn request(&mut self, text: &str) -> Value {
        self.commands.send(text.to_owned()).await.unwrap();
        loop {
            let answer = timeout(TEST_TIMEOUT, self.texts.recv()).await.expect("it answers").unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            // The number of a request comes before its answer.
            if answer.get("accepted").is_none() {
                return answer;
            }
        }
    }

    /// Returns the error of the answer, which must be complete.
    async fn request_error(&mut self, text: &str) -> Error {
        let answer = self.request(text).await;
        let json = answer.get("error").unwrap_or_else(|| panic!("{text}: {answer}"));
        for member in ["code", "reason", "message", "retryable", "attempts"] {
            assert!(
                json.get(member).is_some_and(|value| !value.is_null()),
                "{text}: {member} is missing: {json}"
            );
        }
        let error: Error = serde_json::from_value(json.clone()).unwrap();
        assert_ne!(error.reason, Reason::Other, "{json}");
        assert_plain(&error.message);
        error
    }
}

#[tokio::test]
async fn bridge_errors_have_code_reason_and_retryable() {
    let (_port, url) = refusing_backend();
    let mainstay =
        start_against(&url, "[requests]\nwait_timeout = \"1s\"\n[[agent]]\nid = \"planner\"").await;
    let mut session = BridgeSession::open(&mainstay);
    let invalid = (Code::InvalidInput, Reason::InvalidRequest);
    let unknown = (Code::NotFound, Reason::AgentUnknown);
    // These requests wait for the backend until they expire.
    let away = (Code::NetworkError, Reason::Disconnected);
    for (text, expected) in [
        ("no json", invalid),
        ("[1]", invalid),
        (r#"{"type":"status"}"#, invalid),
        (r#"{"id":-1,"type":"status"}"#, invalid),
        (r#"{"id":1}"#, invalid),
        (r#"{"id":1,"type":"no_such_thing"}"#, invalid),
        (r#"{"id":1,"type":"status","surplus":1}"#, invalid),
        (r#"{"id":1,"type":"agent","agent":"nobody","action":"show"}"#, unknown),
        (r#"{"id":1,"type":"agent","agent":"nobody","action":"restart"}"#, unknown),
        (r#"{"id":1,"type":"agent","agent":"nobody","action":"stop"}"#, unknown),
        (r#"{"id":1,"type":"agent","agent":"nobody","action":"start"}"#, unknown),
        (r#"{"id":1,"type":"agent","agent":"nobody","action":"reset"}"#, unknown),
        (r#"{"id":1,"type":"agent","agent":"planner","action":"dance"}"#, invalid),
        (r#"{"id":1,"type":"cache","action":"invalidate"}"#, invalid),
        (r#"{"id":1,"type":"cache","action":"invalidate","by":"all","pattern":"x"}"#, invalid),
        (r#"{"id":1,"type":"request","method":"GET","path":"no-slash"}"#, invalid),
        (r#"{"id":1,"type":"request","method":"not a method","path":"/"}"#, invalid),
        (r#"{"id":1,"type":"request","method":"GET","path":"/","headers":{"host":"x"}}"#, invalid),
        (r#"{"id":1,"type":"request","method":"GET","path":"/x?token=1"}"#, away),
        (r#"{"id":1,"type":"request","method":"POST","path":"/x","body":{}}"#, away),
    ] {
        let error = session.request_error(text).await;
        assert_eq!((error.code, error.reason), expected, "{text}: {error:?}");
    }
    let away = session.request_error(r#"{"id":1,"type":"agent","agent":"planner","action":"restart"}"#).await;
    assert_error(&away, Code::NetworkError, Reason::Disconnected, true);

    mainstay.shutdown().await;
    for text in [
        r#"{"id":1,"type":"agent","agent":"planner","action":"restart"}"#,
        r#"{"id":1,"type":"agent","agent":"planner","action":"stop"}"#,
        r#"{"id":1,"type":"connection","action":"reconnect"}"#,
        r#"{"id":1,"type":"connection","action":"disconnect"}"#,
        r#"{"id":1,"type":"cache","action":"invalidate","by":"all"}"#,
        r#"{"id":1,"type":"request","method":"GET","path":"/"}"#,
    ] {
        let error = session.request_error(text).await;
        assert_eq!((error.code, error.reason), (Code::ServerError, Reason::Stopped), "{text}");
    }
}

#[tokio::test]
async fn connection_and_the_agents_show_their_last_error_whole() {
    let (_port, url) = refusing_backend();
    let mainstay =
        start_against(&url, "[agents]\nhealth_interval = \"20ms\"\n[[agent]]\nid = \"planner\"").await;
    let mut link = mainstay.connection().watch();
    timeout(TEST_TIMEOUT, link.wait_for(|link| link.last_error.is_some())).await.unwrap().unwrap();
    let mut events = mainstay.events();
    let health = next_of_kind(&mut events, "agent_health").await;
    let status = mainstay.status().await;

    let error = status.connection.error.clone().unwrap();
    assert_error(&error, Code::NetworkError, Reason::ConnectionRefused, true);
    assert_eq!(status.connection.last_error.as_deref(), Some(error.message.as_str()));
    assert_plain(&error.message);
    let error = status.agents[0].report.error.clone().unwrap();
    assert_error(&error, Code::NetworkError, Reason::ConnectionRefused, true);
    assert_eq!(status.agents[0].last_error.as_deref(), Some(error.message.as_str()));

    // The same error as JSON, as the bridge and `status --json` have it.
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["connection"]["error"]["code"], "NETWORK_ERROR");
    assert_eq!(json["connection"]["error"]["retryable"], true);
    assert!(json["connection"]["last_error"].is_string());
    assert_eq!(json["agents"][0]["error"]["reason"], "connection_refused");
    assert_eq!(health.fields["error"]["reason"], "connection_refused");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn start_errors_have_code_and_reason() {
    let start = async |config: &str, data: Option<&std::path::Path>| {
        let builder = Mainstay::builder().config(Config::from_toml(config).unwrap());
        let builder = match data {
            Some(data) => builder.data_dir(data),
            None => builder,
        };
        builder.start().await
    };
    let refusal = async |config: &str, data: Option<&std::path::Path>| {
        let error = Error::from(&start(config, data).await.expect_err("it does not start"));
        assert_plain(&error.message);
        assert!(!error.retryable && error.details.is_some());
        (error.code, error.reason)
    };
    let invalid = (Code::InvalidInput, Reason::InvalidConfig);
    assert_eq!(refusal("[backend]\ntoken_env = \"MAINSTAY_TEST_NO_SUCH_TOKEN\"", None).await, invalid);
    let headers = "[backend.headers]\nupgrade = \"x\"";
    assert_eq!(refusal(headers, None).await, invalid);

    let data = tempfile::tempdir().unwrap();
    let first = start("", Some(data.path())).await.unwrap();
    assert_eq!(refusal("", Some(data.path())).await, (Code::InvalidInput, Reason::InUse));
    first.shutdown().await;
    // The handle still exists, and the folder is free all the same.
    start("", Some(data.path())).await.unwrap().shutdown().await;
    drop(first);
    let file = data.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(refusal("", Some(&file)).await, (Code::ServerError, Reason::DataUnusable));
}

#[tokio::test]
async fn control_refusals_are_problem_details_with_error_members() {
    let data = tempfile::tempdir().unwrap();
    let (_port, url) = refusing_backend();
    let mainstay = start_against(&url, "").await;
    let folder = DataDir::new(data.path());
    let control = Control::start(&mainstay, folder.clone(), 0, true).await.unwrap();
    let token = folder.read_control().unwrap().unwrap().token;
    let client = support::http_client();
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = client.get(format!("http://{}{path}", control.address()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let status = response.status().as_u16();
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&json!(status), &json!("about:blank")));
        assert_eq!(problem["detail"], problem["message"]);
        let error: Error = serde_json::from_value(problem).unwrap();
        assert_plain(&error.message);
        (status, error.code, error.reason)
    };
    let bearer = format!("Bearer {token}");
    let known = ("authorization", bearer.as_str());
    let (foreign, rebound) = (("origin", "http://evil.example"), ("host", "evil.example"));
    for path in ["/bridge", "/metrics"] {
        for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
            let refused = (403, Code::PermissionDenied, Reason::Unauthenticated);
            assert_eq!(ask(path, headers).await, refused, "{path} {headers:?}");
        }
        for header in [foreign, rebound] {
            let refused = (403, Code::PermissionDenied, Reason::Forbidden);
            assert_eq!(ask(path, &[known, header]).await, refused, "{path} {header:?}");
        }
    }
    assert_eq!(ask("/", &[rebound]).await, (403, Code::PermissionDenied, Reason::Forbidden));
    assert_eq!(ask("/nothing", &[known]).await, (404, Code::NotFound, Reason::NotFound));
    assert_eq!(ask("/bridge", &[known]).await, (400, Code::InvalidInput, Reason::BadRequest));
    control.stop().await;
    mainstay.shutdown().await;
}

#[tokio::test]
async fn command_that_fails_says_its_code_and_its_reason_on_stderr() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (args, expected) in [
        (vec!["demo-backend", "--port", &port], "INVALID_INPUT in_use: port"),
        (vec!["demo", "--port", &port], "INVALID_INPUT in_use: port"),
        (vec!["events"], "NOT_FOUND: there is no journal"),
        (vec!["replay"], "NOT_FOUND: there is no journal"),
    ] {
        let empty = tempfile::tempdir_in(data.path()).unwrap();
        let ended = run(empty.path(), &args).await;
        assert!(ended.stderr.contains(expected), "{args:?}: {ended:?}");
        assert_eq!(ended.code, Some(1), "{args:?}: {ended:?}");
    }
}

// === nothing secret, anywhere ===

const TOKEN: &str = "s3cret/t0ken+with=marks==";
const API_KEY: &str = "k3y-of-the-configuration";
const PRIVATE_QUERY: &str = "my private question";

/// Echoes every request, in an unusual form of JSON.
fn echo_problem(head: &str) -> Option<String> {
    let coded: String = head.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let slashed = head.replace('\r', "").replace('\n', " ").replace('"', "\\\"").replace('/', "\\/");
    let body = format!(r#"{{"title":"You said {slashed}","detail":"{coded}","type":"{slashed}"}}"#);
    let length = body.len();
    let head = "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-type: application/problem+json";
    Some(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

#[tokio::test]
async fn echoing_backend_leaks_no_secret_anywhere() {
    let data = tempfile::tempdir().unwrap();
    let (_backend, url) = serve(echo_problem).await;
    let config = support::quick_config(
        data.path(),
        &url,
        &format!("[[agent]]\nid = \"planner\"\n[backend.headers]\nx-tenant-key = \"{API_KEY}\"\n"),
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replacen("[backend]\n", "[backend]\ntoken_env = \"MAINSTAY_TEST_TOKEN\"\n", 1);
    std::fs::write(&config, text).unwrap();
    let mut command = support::mainstay(data.path(), &["run", "--config", config.to_str().unwrap()]);
    let mut runtime = command.env("MAINSTAY_TEST_TOKEN", TOKEN).spawn().unwrap();
    support::EventFollower::follow(data.path()).wait_for_connection("failed").await;

    let mut outputs = Vec::new();
    for args in [
        &["request", "GET", "/x?q=my+private%20question&n=1", "--json"][..],
        &["request", "POST", "/x?q=my%20private+question", "--idempotency-key", "k3y-of-the-request"],
        &["request", "POST", "/x?q=my%20private+question", "--json"],
        &["status", "--json"],
        &["status"],
        &["tree", "--json"],
        &["agents", "--json"],
        &["agent", "restart", "planner"],
        &["connection", "--json"],
        &["dead-letters", "--json"],
        &["events", "--json"],
        &["events"],
    ] {
        let ended = run(data.path(), args).await;
        outputs.push((format!("{args:?}"), ended.stdout + &ended.stderr));
    }
    // The error on stdout comes before the text on stderr.
    let failed =
        serde_json::Deserializer::from_str(&outputs[0].1).into_iter::<Value>().next().unwrap().unwrap();
    assert_eq!((&failed["code"], &failed["reason"]), (&json!("INVALID_INPUT"), &json!("conflict")));
    assert!(
        failed["details"].as_str().unwrap().contains("[redacted]"),
        "it was repeated, so it was cut out: {failed}"
    );
    runtime.kill().await.unwrap();
    let mut lines = String::new();
    runtime.stdout.take().unwrap().read_to_string(&mut lines).await.unwrap();
    runtime.stderr.take().unwrap().read_to_string(&mut lines).await.unwrap();
    outputs.push(("run".to_owned(), lines));
    for file in std::fs::read_dir(data.path().join("journal")).unwrap() {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        if !text.is_empty() {
            outputs.push(("the journal".to_owned(), String::from_utf8_lossy(&text).into_owned()));
        }
    }
    assert_eq!(outputs.last().unwrap().0, "the journal");
    for (whose, text) in outputs {
        assert!(!text.is_empty() || whose.contains("dead-letters"), "{whose} says nothing");
        for secret in [TOKEN, API_KEY, PRIVATE_QUERY, "my+private", "my%20private", "s3cret", "k3y-of"] {
            assert!(!text.contains(secret), "{whose}: {secret} stands in {text}");
        }
    }
}

#[tokio::test]
async fn unanswered_request_prints_a_json_error() {
    let data = tempfile::tempdir().unwrap();
    let (_backend, url) = silent_backend().await;
    let config = support::quick_config(data.path(), &url, "");
    let mut runtime = start_runtime(data.path(), &config);
    runtime.line_containing("dashboard").await;
    let asking = run(data.path(), &["request", "GET", "/x", "--json"]);
    let killing = async {
        // The request is in flight once the queue shows it.
        support::eventually("the request runs", async || {
            support::run_json(data.path(), &["status"]).await["queue"]["running"] == 1
        })
        .await;
        runtime.kill().await;
    };
    let (ended, ()) = tokio::join!(asking, killing);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error: Error = serde_json::from_str(&ended.stdout).unwrap();
    assert_error(&error, Code::ServerError, Reason::Stopped, false);
    assert!(ended.stderr.contains("SERVER_ERROR stopped"), "{ended:?}");
}
