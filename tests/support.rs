//! Provides the real binary, its output line by line, and its journal as a stream of events.
//!
//! Nothing here sleeps to wait. A scenario waits for a line or an event. If it does not come within [`TEST_TIMEOUT`], which
//! is no promise of speed, the failure shows the transcript so far.

#![allow(dead_code, reason = "each scenario uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use mainstay::Subscription;
use mainstay::journal::{Delivery, Record};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The limit after which a scenario has failed.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The interval of polls where no event signals a change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Returns the binary `mainstay`, as it was built together with this test.
pub fn mainstay_binary() -> PathBuf {
    built_binary(Path::new("mainstay"), "cargo build -p mainstay")
}

/// Returns the agent that speaks the Agent Client Protocol, an example of the actors' crate.
pub fn acp_agent_binary() -> PathBuf {
    built_binary(Path::new("examples/acp_agent"), "cargo build -p mainstay-actors --example acp_agent")
}

/// Returns an example of the crate `mainstay`.
pub fn example_binary(name: &str) -> PathBuf {
    built_binary(&Path::new("examples").join(name), &format!("cargo build -p mainstay --example {name}"))
}

/// Returns a program that cargo has built beside this test, and that is as new as its sources.
fn built_binary(program: &Path, order: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
    let file = folder.join(format!("{}{}", program.display(), std::env::consts::EXE_SUFFIX));
    let built = modified(&file).unwrap_or_else(|| panic!("{} is missing: run `{order}`", file.display()));
    let sources = fs::read_to_string(folder.join(program).with_extension("d")).unwrap_or_default();
    let newer =
        sources.split_whitespace().skip(1).map(Path::new).find(|source| modified(source) > Some(built));
    if let Some(newer) = newer {
        panic!("{} is older than {}: run `{order}`", file.display(), newer.display());
    }
    file
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Returns a command of the binary, in a data folder of its own.
pub fn mainstay(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(mainstay_binary());
    command.arg("--data-dir").arg(data).args(args).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_BACKTRACE").env_remove("COLUMNS").env("NO_COLOR", "1").env("TZ", "UTC");
    command
}

/// The output of a command that has ended.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Waits for something within the limit.
#[track_caller]
pub fn in_time<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move { timeout(TEST_TIMEOUT, what).await.unwrap_or_else(|_| panic!("it took too long: {place}")) }
}

/// Runs a command to its end.
pub async fn run(data: &Path, args: &[&str]) -> CommandOutput {
    let output = timeout(TEST_TIMEOUT, mainstay(data, args).output()).await;
    let output = output.unwrap_or_else(|_| panic!("mainstay {args:?} did not end")).expect("it was started");
    CommandOutput {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command with `--json`, and parses its output.
pub async fn run_json(data: &Path, args: &[&str]) -> Value {
    let ended = run(data, &[args, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {ended:?}"))
}

/// Returns the metrics of the runtime in that data folder.
pub async fn metrics(data: &Path) -> String {
    let control: Value = serde_json::from_slice(&fs::read(data.join("control.json")).unwrap()).unwrap();
    let url = format!("http://127.0.0.1:{}/metrics", control["port"]);
    let asked = http_client().get(url).bearer_auth(control["token"].as_str().unwrap()).send().await.unwrap();
    assert!(asked.status().is_success(), "{asked:?}");
    asked.text().await.unwrap()
}

/// Returns the actor at `path` of the tree of the runtime in that data folder.
pub async fn tree_node(data: &Path, path: &str) -> Value {
    let mut nodes = vec![run_json(data, &["tree"]).await];
    while let Some(mut node) = nodes.pop() {
        if node["path"] == path {
            return node;
        }
        nodes.append(node["children"].take().as_array_mut().unwrap());
    }
    panic!("no {path} in the tree");
}

/// A running command. It is killed when this is dropped.
pub struct MainstayProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
    transcript: Vec<String>,
}

impl MainstayProcess {
    pub fn start(data: &Path, args: &[&str]) -> Self {
        Self::start_with(data, args, &[])
    }

    /// Starts it with these variables in its environment.
    pub fn start_with(data: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = mainstay(data, args);
        command.envs(variables.iter().copied());
        Self::spawn(command)
    }

    /// Starts it with its output as descriptor 3 as well, which all its descendants inherit.
    /// [`wait_gone`](Self::wait_gone) waits until all of them have ended.
    #[cfg(unix)]
    pub fn start_traced(data: &Path, args: &[&str]) -> Self {
        Self::start_in_shell(data, args, "exec \"$@\" 3>&1")
    }

    /// Starts it by a script of a shell, whose arguments are its command line.
    #[cfg(unix)]
    pub fn start_in_shell(data: &Path, args: &[&str], script: &str) -> Self {
        let inner = mainstay(data, args);
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        command.arg(inner.as_std().get_program()).args(inner.as_std().get_args()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("RUST_BACKTRACE").env("NO_COLOR", "1");
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary can be started");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (lines, stderr) = (BufReader::new(stdout).lines(), BufReader::new(stderr));
        Self { child, lines, stderr, transcript: Vec::new() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// Returns the next line of its output.
    pub async fn line(&mut self) -> String {
        match timeout(TEST_TIMEOUT, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => {
                self.transcript.push(line.clone());
                line
            }
            Ok(_) => {
                let mut errors = String::new();
                let _ = self.stderr.read_to_string(&mut errors).await;
                panic!("it ended; stderr: {errors}\nstdout:\n{}", self.transcript.join("\n"))
            }
            Err(_) => panic!("no further line came; so far:\n{}", self.transcript.join("\n")),
        }
    }

    /// Returns the next line on its stderr.
    pub async fn error_line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(TEST_TIMEOUT, self.stderr.read_line(&mut line)).await;
        read.expect("no line came on stderr").expect("stderr can be read");
        line.trim_end().to_owned()
    }

    /// Returns the next line that contains `part`.
    pub async fn line_containing(&mut self, part: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Kills it without a warning, as a power cut would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub async fn signal(&self, signal: &str) {
        send_signal(self.pid().into(), signal).await;
    }

    /// Asks it to stop, and waits until it has.
    #[cfg(unix)]
    pub async fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM").await;
        self.wait().await
    }

    /// Waits until its own process has ended, and not for descendants that hold its output open.
    pub async fn wait_for_exit(&mut self) {
        let ended = timeout(TEST_TIMEOUT, self.child.wait()).await;
        ended.expect("its process ends").expect("it can be waited for");
    }

    /// Returns whether its own process ends within this time.
    pub async fn ends_within(&mut self, limit: Duration) -> bool {
        timeout(limit, self.child.wait()).await.is_ok()
    }

    /// Waits until it has ended by itself, and returns its whole output.
    pub async fn wait(&mut self) -> (ExitStatus, String) {
        let rest = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.transcript.push(line);
            }
            self.child.wait().await.expect("it can be waited for")
        };
        let status = timeout(TEST_TIMEOUT, rest).await;
        let transcript = self.transcript.join("\n");
        (status.unwrap_or_else(|_| panic!("it did not end:\n{transcript}")), transcript)
    }
}

/// Sends a process a signal.
#[cfg(unix)]
pub async fn send_signal(pid: u64, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal]).arg(pid.to_string()).status().await;
    assert!(sent.expect("kill can be run").success(), "{pid} {signal}");
}

/// The embedded backend in a process of its own.
pub struct DemoBackend {
    process: MainstayProcess,
    pub url: String,
}

impl DemoBackend {
    pub async fn start(port: u16, agents: &str) -> Self {
        // The backend stores nothing; every command takes a folder.
        let nowhere = std::env::temp_dir();
        let args = ["demo-backend", "--port", &port.to_string(), "--agents", agents];
        let mut program = MainstayProcess::start(&nowhere, &args);
        let line = program.line().await;
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process: program, url }
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the address ends in a port")
    }

    pub async fn kill(self) {
        self.process.kill().await;
    }
}

/// The journal, event by event, through `mainstay events --follow --json` in a process of its own.
pub struct EventFollower {
    process: MainstayProcess,
    pub events: Vec<Value>,
}

impl EventFollower {
    pub fn follow(data: &Path) -> Self {
        Self { process: MainstayProcess::start(data, &["events", "--follow", "--json"]), events: Vec::new() }
    }

    /// Returns the next event for which `wanted` holds.
    pub async fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.process.line().await;
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            self.events.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Returns the number of events so far: a mark for [`since`](Self::since).
    pub fn mark(&self) -> usize {
        self.events.len()
    }

    /// Returns the first event from `mark` on for which `wanted` holds, whether it has come already or not. It serves
    /// events without a promised order.
    pub async fn wait_since(&mut self, mark: usize, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(event) = self.events[mark..].iter().find(|event| wanted(event)) {
            return event.clone();
        }
        self.wait_for(wanted).await
    }

    /// Returns the next event of `actor` and `kind`.
    pub async fn wait_for_event(&mut self, actor: &str, kind: &str) -> Value {
        self.wait_for(|event| event["actor"] == actor && event["kind"] == kind).await
    }

    /// Returns the next change of the connection to `state`.
    pub async fn wait_for_connection(&mut self, state: &str) -> Value {
        self.wait_for(is_connection_state(state)).await
    }

    /// Returns the next change of an agent's health to `status`.
    pub async fn wait_for_agent(&mut self, agent: &str, status: &str) -> Value {
        self.wait_for(is_agent_health(agent, status)).await
    }
}

/// Returns whether an event is an agent's change to `status`.
pub fn is_agent_health(agent: &str, status: &str) -> impl Fn(&Value) -> bool {
    let actor = format!("root/agents/{agent}");
    move |event| event["actor"] == actor.as_str() && event["kind"] == "agent_health" && event["to"] == status
}

/// Returns whether an event is a change of the connection to `state`.
pub fn is_connection_state(state: &str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == "connection_state" && event["to"] == state
}

/// Polls a condition that no event signals, until it holds. Between two polls, the processor is free for what is waited
/// for. Time alone bounds it: the number of polls depends on the machine's speed.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut pace = interval(POLL_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let polling = async {
        while !is_so().await {
            pace.tick().await;
        }
    };
    timeout(TEST_TIMEOUT, polling).await.unwrap_or_else(|_| panic!("it never came about: {what}"));
}

/// The runtime in a process of its own, against a backend in another one.
pub struct Scenario {
    pub data: tempfile::TempDir,
    pub backend: DemoBackend,
    pub runtime: MainstayProcess,
    pub events: EventFollower,
}

impl Scenario {
    /// Starts it with these agents in the backend; `more` holds further configuration.
    pub async fn start(agents: &str, more: &str) -> Self {
        let data = tempfile::tempdir().expect("there is room for a folder");
        let backend = DemoBackend::start(0, agents).await;
        let config = quick_config(data.path(), &backend.url, more);
        let runtime = start_runtime(data.path(), &config);
        let events = EventFollower::follow(data.path());
        Self { data, backend, runtime, events }
    }

    /// Starts it with `planner` alone, and waits until that is healthy.
    pub async fn with_planner(more: &str) -> Self {
        let mut scenario = Self::start("planner", &format!("{more}[[agent]]\nid = \"planner\"\n")).await;
        scenario.healthy(&["planner"]).await;
        scenario
    }

    /// Waits until these agents are healthy, or have been.
    pub async fn healthy(&mut self, agents: &[&str]) {
        for agent in agents {
            self.events.wait_since(0, is_agent_health(agent, "healthy")).await;
        }
    }

    /// Injects a fault into the backend.
    pub async fn fault(&self, fault: Value) {
        post_json(&format!("{}/_fault", self.backend.url), fault).await;
    }

    /// Runs a command, which must succeed, and returns its output.
    pub async fn run(&self, args: &[&str]) -> String {
        let ended = run(self.data.path(), args).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.stdout
    }

    /// Returns what `agent show` says of an agent, as JSON.
    pub async fn show(&self, agent: &str) -> Value {
        run_json(self.data.path(), &["agent", "show", agent]).await
    }
}

/// Starts `run` with this configuration.
pub fn start_runtime(data: &Path, config: &Path) -> MainstayProcess {
    MainstayProcess::start(data, &["run", "--config", config.to_str().expect("the path is UTF-8")])
}

/// Starts `demo` with so many agents, and returns it with the backend's address.
pub async fn start_demo(data: &Path, agents: &str) -> (MainstayProcess, String) {
    let mut demo = MainstayProcess::start(data, &["demo", "--agents", agents]);
    let line = demo.line_containing("dashboard ").await;
    let url = line.rsplit(' ').next().unwrap_or_else(|| panic!("{line}")).to_owned();
    (demo, url)
}

/// Returns the next event of a runtime in this process for which `wanted` holds.
pub async fn next_record(events: &mut Subscription, wanted: impl Fn(&Record) -> bool) -> Record {
    loop {
        let next = timeout(TEST_TIMEOUT, events.next()).await.expect("the event came");
        let Some(Delivery::Event(record)) = next else { panic!("events are missing: {next:?}") };
        if wanted(&record) {
            return *record;
        }
    }
}

/// Returns the next event of this kind of a runtime in this process.
pub async fn next_of_kind(events: &mut Subscription, kind: &str) -> Record {
    next_record(events, |record| record.kind == kind).await
}

/// Serves connections to a port of its own as long as the tasks live.
pub async fn serve_connections<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, JoinSet<()>)
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let port = listener.local_addr().expect("it listens").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.expect("it accepts");
            connections.spawn(serve(socket));
            while connections.try_join_next().is_some() {}
        }
    });
    (port, tasks)
}

/// Reads the head of a request, with the empty line behind it.
pub async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Returns a header of a request's head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Returns the response that opens a WebSocket, if the request asks for one.
pub fn websocket_response(head: &str) -> Option<String> {
    let accept = derive_accept_key(header(head, "sec-websocket-key")?.as_bytes());
    Some(format!(
        "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    ))
}

/// Asserts that a JSON object has these members, and objects in it theirs.
#[track_caller]
pub fn assert_members(value: &Value, members: &Value) {
    for (name, expected) in members.as_object().expect("members are an object") {
        match expected {
            Value::Object(_) => assert_members(&value[name], expected),
            _ => assert_eq!(value.get(name), Some(expected), "{name} in {value}"),
        }
    }
}

/// Returns a client for plain HTTP. It has to know a provider of TLS all the same.
pub fn http_client() -> reqwest::Client {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client can be made")
}

/// Posts JSON to a backend.
pub async fn post_json(url: &str, body: Value) -> Value {
    let sent = http_client()
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    assert!(sent.status().is_success(), "{url}: {}", sent.status());
    serde_json::from_slice(&sent.bytes().await.expect("there is a body")).unwrap_or(Value::Null)
}

/// Gets JSON from a backend.
pub async fn get_json(url: &str) -> Value {
    let got = http_client().get(url).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    serde_json::from_slice(&got.bytes().await.expect("there is a body")).expect("it is JSON")
}

/// Returns a configuration for a backend at `url`, with short times; `more` is appended.
pub fn quick_config(dir: &Path, url: &str, more: &str) -> PathBuf {
    let path = dir.join("mainstay.toml");
    let text = format!(
        "[backend]\nurl = \"{url}\"\n\
         [connection]\ndelay_min = \"50ms\"\ndelay_max = \"200ms\"\nmax_retries = 100000\n\
         [requests]\nretry_delay_min = \"10ms\"\nretry_delay_max = \"50ms\"\nretries = 2\n\
         [agents]\nhealth_interval = \"100ms\"\nrestart_delay = \"300ms\"\nrestart_delay_max = \"1s\"\n{more}"
    );
    fs::write(&path, text).expect("the configuration can be written");
    path
}

/// The computer's clock, moved by so many seconds.
#[derive(Default)]
pub struct MovedClock(pub std::sync::atomic::AtomicI64);

impl mainstay::supervision::Clock for MovedClock {
    fn now(&self) -> jiff::Timestamp {
        mainstay::supervision::SystemClock.now()
            + jiff::SignedDuration::from_secs(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
