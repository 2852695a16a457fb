//! An agent that speaks the Agent Client Protocol over its standard input and output. It needs no model and no key,
//! and follows its prompts. For tests, and to try out a client:
//!
//! ```sh
//! cargo run -p mainstay-actors --example acp_agent -- --resume --load --sessions FOLDER
//! ```
//!
//! - `--resume` and `--load` offer to resume a session.
//! - `--sessions FOLDER` stores sessions there, which these need.
//! - `--login` requires a login first, which `authenticate` with the method `key` is.
//! - `--version N` speaks another version of the protocol.
//! - `--mute` never answers.
//! - `--fragile` exits when it is asked to resume a session.
//!
//! A prompt's first word is a command: `stream N`, `recall`, `ask N`, `withdraw`, `hang`, `deaf`, `files`, `fail`,
//! `crash`, `exit N`, `stray N`, `broken`, `notnumber`, `surrogate`, `latin1`, `long N`, `pile N`, `answer KIND`. So is
//! `json VALUE`, for JSON in every kind of line, and `line`, for the prompt as it came. Any other prompt is repeated.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    AgentCapabilities, AuthMethod, AuthMethodAgent, AuthenticateRequest, AuthenticateResponse,
    CancelNotification, ContentBlock, ContentChunk, CreateTerminalRequest, Implementation, InitializeRequest,
    InitializeResponse, LoadSessionRequest, LoadSessionResponse, NewSessionRequest, NewSessionResponse,
    PermissionOption, PermissionOptionKind, PromptRequest, PromptResponse, ReadTextFileRequest,
    RequestPermissionOutcome, RequestPermissionRequest, ResumeSessionRequest, ResumeSessionResponse,
    SessionCapabilities, SessionId, SessionNotification, SessionResumeCapabilities, SessionUpdate,
    StopReason, ToolCallUpdate, ToolCallUpdateFields,
};
use agent_client_protocol::{
    Agent, Builder, Client, ConnectTo, ConnectionTo, Error, Lines, on_receive_notification,
    on_receive_request,
};
use futures_util::future::join_all;
use futures_util::{sink, stream};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};

/// The agent's capabilities, and its behaviour from the start.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    /// The agent resumes sessions.
    pub resume: bool,
    /// The agent loads sessions.
    pub load: bool,
    /// The agent requires a login first.
    pub login: bool,
    /// The agent answers nothing.
    pub mute: bool,
    /// The agent exits when it is asked to resume a session.
    pub fragile: bool,
    /// The version of the protocol that it speaks, if not 1.
    pub version: Option<u16>,
    /// The folder of its sessions: one file each, one prompt a line.
    pub sessions: Option<PathBuf>,
}

impl Switches {
    fn of_arguments() -> Result<Self, String> {
        let mut switches = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--resume" => switches.resume = true,
                "--load" => switches.load = true,
                "--login" => switches.login = true,
                "--mute" => switches.mute = true,
                "--fragile" => switches.fragile = true,
                "--version" => switches.version = arguments.next().and_then(|version| version.parse().ok()),
                "--sessions" => switches.sessions = arguments.next().map(PathBuf::from),
                other => return Err(format!("{other:?} is no switch of this agent")),
            }
        }
        Ok(switches)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    let switches = Switches::of_arguments()?;
    serve(tokio::io::stdin(), tokio::io::stdout(), switches).await.map_err(|error| error.to_string())
}

/// Serves one client, until it closes its side.
///
/// # Errors
///
/// Fails if the pipe breaks.
pub async fn serve(
    read: impl AsyncRead + Unpin + Send + 'static,
    mut write: impl AsyncWrite + Unpin,
    switches: Switches,
) -> Result<(), Error> {
    // All output goes through this channel, so that lines that are not messages can be written too.
    let (lines, mut written) = mpsc::channel::<Vec<u8>>(64);
    let outgoing = sink::unfold(lines.clone(), |lines, line: String| async move {
        lines.send(line.into_bytes()).await.map_err(io::Error::other)?;
        Ok(lines)
    });
    let last_line = Arc::new(Mutex::new(String::new()));
    let read = (BufReader::new(read).lines(), Arc::clone(&last_line));
    let incoming = stream::unfold(read, |(mut lines, last_line)| async move {
        let line = lines.next_line().await.transpose()?;
        if let Ok(line) = &line {
            last_line.lock().clone_from(line);
        }
        Some((line, (lines, last_line)))
    });
    let writing = async {
        while let Some(mut line) = written.recv().await {
            line.push(b'\n');
            write.write_all(&line).await?;
            write.flush().await?;
        }
        Ok::<(), io::Error>(())
    };
    let agent = ExampleAgent(Arc::new(ExampleState {
        switches,
        is_logged_in: AtomicBool::new(false),
        lines,
        last_line,
        sessions: Mutex::default(),
    }));
    tokio::select! {
        served = agent.serve(Lines::new(Box::pin(outgoing), Box::pin(incoming))) => served,
        written = writing => written.map_err(Error::into_internal_error),
    }
}

struct ExampleState {
    switches: Switches,
    is_logged_in: AtomicBool,
    lines: mpsc::Sender<Vec<u8>>,
    /// The last line of the client, as it came.
    last_line: Arc<Mutex<String>>,
    sessions: Mutex<HashMap<SessionId, ExampleSession>>,
}

struct ExampleSession {
    prompts: Vec<String>,
    is_cancelled: watch::Sender<bool>,
}

/// The agent. Cheap to clone.
#[derive(Clone)]
struct ExampleAgent(Arc<ExampleState>);

impl ExampleAgent {
    async fn serve(self, transport: impl ConnectTo<Agent> + 'static) -> Result<(), Error> {
        let (starting, opening, resuming) = (self.clone(), self.clone(), self.clone());
        let (loading, working, logging_in, cancelling) = (self.clone(), self.clone(), self.clone(), self);
        // This builder leaves the protocol's version to the caller.
        Builder::new(Agent)
            .on_receive_request(
                async move |request: InitializeRequest, responder, _| {
                    if starting.0.switches.mute {
                        std::future::pending::<()>().await;
                    }
                    responder.respond(starting.initialize_response(&request))
                },
                on_receive_request!(),
            )
            .on_receive_request(
                async move |request: AuthenticateRequest, responder, _| match &*request.method_id.0 {
                    "key" => {
                        logging_in.0.is_logged_in.store(true, Ordering::SeqCst);
                        responder.respond(AuthenticateResponse::new())
                    }
                    _ => responder.respond_with_error(Error::invalid_params()),
                },
                on_receive_request!(),
            )
            .on_receive_request(
                async move |_: NewSessionRequest, responder, _| match opening.new_session() {
                    Ok(session) => responder.respond(NewSessionResponse::new(session)),
                    Err(error) => responder.respond_with_error(error),
                },
                on_receive_request!(),
            )
            .on_receive_request(
                async move |request: ResumeSessionRequest, responder, _| match resuming
                    .resume(&request.session_id)
                {
                    Ok(_) => responder.respond(ResumeSessionResponse::new()),
                    Err(error) => responder.respond_with_error(error),
                },
                on_receive_request!(),
            )
            .on_receive_request(
                async move |request: LoadSessionRequest, responder, connection: ConnectionTo<Client>| {
                    match loading.resume(&request.session_id) {
                        Ok(prompts) => {
                            for prompt in prompts {
                                let chunk = SessionUpdate::UserMessageChunk(text_chunk(&prompt));
                                connection.send_notification(SessionNotification::new(
                                    request.session_id.clone(),
                                    chunk,
                                ))?;
                            }
                            responder.respond(LoadSessionResponse::new())
                        }
                        Err(error) => responder.respond_with_error(error),
                    }
                },
                on_receive_request!(),
            )
            .on_receive_request(
                async move |request: PromptRequest, responder, connection: ConnectionTo<Client>| {
                    let number = responder.raw_id().to_string();
                    let turn = working.clone().run_turn(request, connection.clone(), number);
                    connection.spawn(async move { responder.respond_with_result(turn.await) })
                },
                on_receive_request!(),
            )
            .on_receive_notification(
                async move |request: CancelNotification, _| {
                    if let Some(session) = cancelling.sessions().get(&request.session_id) {
                        session.is_cancelled.send_replace(true);
                    }
                    Ok(())
                },
                on_receive_notification!(),
            )
            .connect_to(transport)
            .await
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, ExampleSession>> {
        self.0.sessions.lock()
    }

    fn initialize_response(&self, request: &InitializeRequest) -> InitializeResponse {
        let switches = &self.0.switches;
        let resume = switches.resume.then(SessionResumeCapabilities::new);
        let version = match switches.version {
            Some(version) => ProtocolVersion::from(version),
            None => request.protocol_version,
        };
        let by_key = AuthMethodAgent::new("key", "By key");
        InitializeResponse::new(version)
            .agent_info(Implementation::new("acp_agent", "1.0.0"))
            .auth_methods(if switches.login { vec![AuthMethod::Agent(by_key)] } else { Vec::new() })
            .agent_capabilities(
                AgentCapabilities::new()
                    .load_session(switches.load)
                    .session_capabilities(SessionCapabilities::new().resume(resume)),
            )
    }

    fn new_session(&self) -> Result<SessionId, Error> {
        if self.0.switches.login && !self.0.is_logged_in.load(Ordering::SeqCst) {
            return Err(Error::auth_required());
        }
        let mut sessions = self.sessions();
        let kept = |id: &SessionId| self.session_file(id).is_some_and(|file| file.exists());
        let id = (1_u32..).map(|number| SessionId::new(format!("s{number}")));
        let id = id
            .into_iter()
            .find(|id| !sessions.contains_key(id) && !kept(id))
            .ok_or_else(Error::internal_error)?;
        self.save(&id, &[])?;
        sessions.insert(
            id.clone(),
            ExampleSession { prompts: Vec::new(), is_cancelled: watch::Sender::new(false) },
        );
        Ok(id)
    }

    /// Resumes a session, and returns its earlier prompts.
    fn resume(&self, id: &SessionId) -> Result<Vec<String>, Error> {
        if self.0.switches.fragile {
            std::process::exit(4);
        }
        let unknown = || Error::from(agent_client_protocol::v1::schema::Error::session_not_found(id.clone()));
        let file = self.session_file(id).ok_or_else(unknown)?;
        let kept = std::fs::read_to_string(file).map_err(|_| unknown())?;
        let prompts: Vec<String> = kept.lines().map(str::to_owned).collect();
        let session = ExampleSession { prompts: prompts.clone(), is_cancelled: watch::Sender::new(false) };
        self.sessions().insert(id.clone(), session);
        Ok(prompts)
    }

    fn session_file(&self, id: &SessionId) -> Option<PathBuf> {
        let folder = self.0.switches.sessions.as_deref()?;
        let name = Path::new(&*id.0).file_name()?;
        Some(folder.join(name))
    }

    fn save(&self, id: &SessionId, prompts: &[String]) -> Result<(), Error> {
        let Some(file) = self.session_file(id) else { return Ok(()) };
        let text: String = prompts.iter().map(|prompt| prompt.replace('\n', " ") + "\n").collect();
        std::fs::write(file, text).map_err(Error::into_internal_error)
    }

    async fn run_turn(
        self,
        request: PromptRequest,
        client: ConnectionTo<Client>,
        number: String,
    ) -> Result<PromptResponse, Error> {
        let id = request.session_id.clone();
        let text = request.prompt.iter().filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        });
        let text = text.collect::<Vec<_>>().join(" ");
        let (prompts, cancelled) = {
            let mut sessions = self.sessions();
            let session = sessions.get_mut(&id).ok_or_else(Error::invalid_params)?;
            session.is_cancelled.send_replace(false);
            session.prompts.push(text.clone());
            (session.prompts.clone(), session.is_cancelled.subscribe())
        };
        self.save(&id, &prompts)?;
        let turn = ExampleTurn { agent: self, id, client, cancelled, number };
        turn.run(&text, &prompts).await.map(PromptResponse::new)
    }
}

struct ExampleTurn {
    agent: ExampleAgent,
    id: SessionId,
    client: ConnectionTo<Client>,
    cancelled: watch::Receiver<bool>,
    /// The id of the request on the wire.
    number: String,
}

impl ExampleTurn {
    async fn run(mut self, text: &str, prompts: &[String]) -> Result<StopReason, Error> {
        let mut words = text.split(' ');
        let (word, detail) = (words.next(), words.next().unwrap_or_default());
        let number = detail.parse::<usize>().unwrap_or(1);
        match word.unwrap_or_default() {
            "stream" => {
                for chunk in 0..number {
                    self.say(&format!("{chunk} "))?;
                }
            }
            "recall" => self.say(&prompts.join(" | "))?,
            "ask" => {
                let asked = async || self.say(&format!("{} ", self.ask().await));
                join_all((0..number).map(|_| asked())).await.into_iter().collect::<Result<(), _>>()?;
                if *self.cancelled.borrow() {
                    return Ok(StopReason::Cancelled);
                }
            }
            "withdraw" => {
                let asked = self.client.send_request(self.permission_request());
                asked.cancel()?;
                let answer = asked.block_task().await;
                self.say(&format!("withdrawn: {}", answer.is_err()))?;
            }
            "hang" => {
                self.say("hanging")?;
                let _ = self.cancelled.wait_for(|is_cancelled| *is_cancelled).await;
                return Ok(StopReason::Cancelled);
            }
            "deaf" => {
                self.say("deaf")?;
                std::future::pending::<()>().await;
            }
            "files" => self.say(&self.try_files().await)?,
            "fail" => return Err(Error::internal_error().data("as it was asked to")),
            "crash" => {
                self.say("crashing")?;
                self.wait_until_flushed().await;
                std::process::exit(3);
            }
            "exit" => std::process::exit(i32::try_from(number).unwrap_or(1)),
            "stray" => {
                for line in 0..number {
                    self.write(format!("loading model, part {line}")).await?;
                }
                self.say("strayed")?;
            }
            "broken" => self.write(r#"{"jsonrpc":"2.0","method":"session/upd"#.to_owned()).await?,
            "notnumber" => {
                self.write(r#"{"jsonrpc":"2.0","method":"session/update","params":NaN}"#.to_owned()).await?;
            }
            "surrogate" => self.write_chunk(br"half: \ud83d").await?,
            "latin1" => self.write_chunk(b"caf\xe9").await?,
            "answer" => {
                self.write(odd_response(detail, &self.number)).await?;
                // That was the answer.
                std::future::pending::<()>().await;
            }
            "json" => {
                self.write_json(text.split_once(' ').map_or("null", |(_, json)| json)).await?;
                // The last line was the answer.
                std::future::pending::<()>().await;
            }
            "line" => {
                let line = self.agent.0.last_line.lock().clone();
                self.say(&line)?;
            }
            "long" => self.write(format!(r#"{{"jsonrpc":"2.0","x":"{}"#, "x".repeat(number))).await?,
            "pile" => {
                for _ in 0..number {
                    self.client.send_request(self.permission_request()).detach();
                }
                std::future::pending::<()>().await;
            }
            _ => self.say(&format!("you said: {text}"))?,
        }
        Ok(StopReason::EndTurn)
    }

    fn say(&self, text: &str) -> Result<(), Error> {
        let update = SessionUpdate::AgentMessageChunk(text_chunk(text));
        self.client.send_notification(SessionNotification::new(self.id.clone(), update))
    }

    async fn write(&self, line: String) -> Result<(), Error> {
        self.write_bytes(line.into_bytes()).await
    }

    async fn write_bytes(&self, line: Vec<u8>) -> Result<(), Error> {
        self.agent.0.lines.send(line).await.map_err(Error::into_internal_error)
    }

    /// Says a text that need not be UTF-8, as it stands between the quotes.
    async fn write_chunk(&self, text: &[u8]) -> Result<(), Error> {
        let update = r#""update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":""#;
        let head = format!(
            r#"{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":"{}",{update}"#,
            self.id
        );
        self.write_bytes([head.as_bytes(), text, br#""}}}}"#].concat()).await
    }

    /// Writes an update, a question and the answer to the prompt, each with this JSON as it stands.
    async fn write_json(&self, json: &str) -> Result<(), Error> {
        let Self { id, number, .. } = self;
        let update =
            format!(r#"{{"sessionId":"{id}","update":{{"sessionUpdate":"plan","entries":{json}}}}}"#);
        let options = format!(r#"[{{"optionId":"allow","own":{json}}}]"#);
        let question = format!(r#"{{"toolCall":{json},"sessionId":"{id}","options":{options}}}"#);
        for line in [
            format!(r#"{{"jsonrpc":"2.0","method":"session/update","params":{update}}}"#),
            format!(
                r#"{{"jsonrpc":"2.0","id":"own","method":"session/request_permission","params":{question}}}"#
            ),
            format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"stopReason":"end_turn","own":{json}}}}}"#),
        ] {
            self.write(line).await?;
        }
        Ok(())
    }

    /// Waits until earlier messages were written: a request has been answered.
    async fn wait_until_flushed(&self) {
        let _ = self
            .client
            .send_request(ReadTextFileRequest::new(self.id.clone(), "/flushed"))
            .block_task()
            .await;
    }

    fn permission_request(&self) -> RequestPermissionRequest {
        let fields = ToolCallUpdateFields::new().title("Delete everything".to_owned());
        RequestPermissionRequest::new(
            self.id.clone(),
            ToolCallUpdate::new("call-1", fields),
            vec![
                PermissionOption::new("allow", "Allow", PermissionOptionKind::AllowOnce),
                PermissionOption::new("reject", "Reject", PermissionOptionKind::RejectOnce),
            ],
        )
    }

    async fn ask(&self) -> String {
        match self
            .client
            .send_request(self.permission_request())
            .block_task()
            .await
            .map(|answer| answer.outcome)
        {
            Ok(RequestPermissionOutcome::Selected(selected)) => selected.option_id.0.to_string(),
            Ok(_) => "cancelled".to_owned(),
            Err(error) => format!("refused ({})", i32::from(error.code)),
        }
    }

    async fn try_files(&self) -> String {
        let read = ReadTextFileRequest::new(self.id.clone(), "/etc/hostname");
        let read = self.client.send_request(read).block_task().await;
        let run =
            self.client.send_request(CreateTerminalRequest::new(self.id.clone(), "ls")).block_task().await;
        let code = |error: Option<Error>| error.map_or(0, |error| i32::from(error.code));
        format!("read {}, run {}", code(read.err()), code(run.err()))
    }
}

/// Returns an odd response to the request with this id.
fn odd_response(kind: &str, id: &str) -> String {
    let result = r#""result":{"stopReason":"end_turn"}"#;
    match kind {
        "nan" => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":NaN}}"#),
        "both" => format!(r#"{{"jsonrpc":"2.0","id":{id},{result},"error":{{}}}}"#),
        "unknown" => format!(r#"{{"jsonrpc":"2.0","id":999,{result}}}"#),
        "nothing" => format!(r#"{{"jsonrpc":"2.0","id":null,{result}}}"#),
        "null" => format!(r#"{{"jsonrpc":"2.0","id":"{id}",{result},"error":null}}"#),
        _ => format!(r#"Loading... {{"jsonrpc":"2.0","id":{id},{result}}}"#),
    }
}

fn text_chunk(text: &str) -> ContentChunk {
    ContentChunk::new(ContentBlock::from(text))
}
