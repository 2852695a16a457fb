//! An agent and a client that talks to it.

use std::{fs, path::PathBuf, process::Stdio, time::SystemTime};

use mainstay_actors::agent::acp::{AcpClient, TurnEnd};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    process::Child,
};

use super::*;
use crate::agent::serve;

/// A scenario that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs a scenario with a time limit.
pub(crate) async fn with_timeout<T>(scenario: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, scenario).await.expect("nothing has happened for a minute")
}

/// The transport to the agent.
#[derive(Clone, Copy)]
pub(crate) enum AgentTransport {
    InProcess,
    Subprocess,
}

/// The agent that a client talks to.
pub(crate) enum AgentHost {
    InProcess(JoinSet<()>),
    Subprocess(Child),
}

/// A client and the updates that it receives.
pub(crate) struct AcpClientFixture {
    pub(crate) client: Arc<AcpClient>,
    pub(crate) updates: UpdateSubscription,
    pub(crate) host: AgentHost,
    pub(crate) options: AcpOptions,
}

/// Returns the path of the example, which is built together with this test.
pub(crate) fn example_path() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
    let program = folder.join("examples").join(format!("acp_agent{}", std::env::consts::EXE_SUFFIX));
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let order = "run `cargo build -p mainstay-actors --example acp_agent`";
    let built: SystemTime =
        modified(&program).unwrap_or_else(|| panic!("{} is missing: {order}", program.display()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/acp_agent.rs");
    assert!(modified(&source) <= Some(built), "{} is older than its source: {order}", program.display());
    program
}

pub(crate) fn arguments(switches: &Switches) -> Vec<String> {
    let flags = [
        (switches.resume, "--resume"),
        (switches.load, "--load"),
        (switches.login, "--login"),
        (switches.mute, "--mute"),
    ];
    let mut arguments: Vec<String> =
        flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.to_owned()).collect();
    if let Some(version) = switches.version {
        arguments.extend(["--version".to_owned(), version.to_string()]);
    }
    if let Some(folder) = &switches.sessions {
        arguments.extend(["--sessions".to_owned(), folder.display().to_string()]);
    }
    arguments
}

/// Opens a client of the agent at the other end of these pipes.
async fn connect(
    read: impl AsyncRead + Unpin + Send + 'static,
    write: impl AsyncWrite + Unpin + Send + 'static,
    host: AgentHost,
    options: AcpOptions,
) -> Result<AcpClientFixture, AcpError> {
    let broadcast = UpdateBroadcast::default();
    let updates = broadcast.subscribe();
    let client = Arc::new(AcpClient::open(read, write, broadcast, options.clone()).await?);
    Ok(AcpClientFixture { client, updates, host, options })
}

/// Opens a client of the process that `command` starts.
pub(crate) async fn spawn_client(
    mut command: Command,
    options: AcpOptions,
) -> Result<AcpClientFixture, AcpError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let (write, read) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    connect(read, write, AgentHost::Subprocess(child), options).await
}

/// Opens a client of an agent with these switches.
pub(crate) async fn open_client(
    transport: AgentTransport,
    switches: Switches,
    options: AcpOptions,
) -> Result<AcpClientFixture, AcpError> {
    match transport {
        AgentTransport::Subprocess => {
            let mut command = Command::new(example_path());
            command.args(arguments(&switches));
            spawn_client(command, options).await
        }
        AgentTransport::InProcess => {
            let (ours, theirs) = tokio::io::duplex(4096);
            let (read, write) = tokio::io::split(theirs);
            let mut body = JoinSet::new();
            body.spawn(async move { serve(read, write, switches).await.unwrap_or_default() });
            let (read, write) = tokio::io::split(ours);
            connect(read, write, AgentHost::InProcess(body), options).await
        }
    }
}

/// Opens a client that has started a session with a plain agent.
pub(crate) async fn connected(transport: AgentTransport) -> AcpClientFixture {
    connected_with_limits(transport, AcpLimits::default()).await
}

/// Opens the same with these limits.
pub(crate) async fn connected_with_limits(transport: AgentTransport, limits: AcpLimits) -> AcpClientFixture {
    let options = AcpOptions { limits, ..AcpOptions::default() };
    let fixture = open_client(transport, Switches::default(), options).await.unwrap();
    fixture.start_session(None).await.unwrap();
    fixture
}

impl AcpClientFixture {
    pub(crate) async fn start_session(&self, saved: Option<&str>) -> Result<SessionStart, AcpError> {
        self.client.start_session(&std::env::temp_dir(), saved).await
    }

    pub(crate) async fn prompt(&self, message: u64, text: &str) -> Result<TurnEnd, AcpError> {
        self.client.prompt(MessageId(message), AcpPrompt::text(text)).await
    }

    /// Sends a prompt in the background.
    pub(crate) fn spawn_prompt(&self, message: u64, text: &str) -> JoinSet<Result<TurnEnd, AcpError>> {
        let (client, prompt) = (Arc::clone(&self.client), AcpPrompt::text(text));
        let mut task = JoinSet::new();
        task.spawn(async move { client.prompt(MessageId(message), prompt).await });
        task
    }

    /// Returns the next update.
    pub(crate) async fn next_update(&mut self) -> AgentUpdate {
        match self.updates.next().await {
            Some(UpdateEvent::Update(update)) => (*update).clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the next update of this kind.
    pub(crate) async fn next_update_of(&mut self, kind: UpdateKind) -> AgentUpdate {
        loop {
            let update = self.next_update().await;
            if update.kind == kind {
                return update;
            }
        }
    }

    /// Returns the next text of the agent.
    pub(crate) async fn next_text(&mut self) -> (String, Option<MessageId>) {
        let update = self.next_update_of(UpdateKind::Message).await;
        (
            update.body.read::<Value>().unwrap()["content"]["text"].as_str().unwrap().to_owned(),
            update.message_id,
        )
    }
}

/// Waits for the end of a turn that runs in the background.
pub(crate) async fn join_turn(mut turn: JoinSet<Result<TurnEnd, AcpError>>) -> Result<TurnEnd, AcpError> {
    turn.join_next().await.unwrap().unwrap()
}

/// Returns the expected end of a successful turn.
pub(crate) fn turn_end(stop_reason: &str, text: &str) -> Result<TurnEnd, AcpError> {
    Ok(TurnEnd { stop_reason: stop_reason.to_owned(), text: text.to_owned(), is_text_cut: false })
}
