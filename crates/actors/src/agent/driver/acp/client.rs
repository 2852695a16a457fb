//! A connection to an agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    AuthMethod, AuthenticateRequest, CancelNotification, ClientCapabilities, Implementation,
    InitializeRequest, InitializeResponse, LoadSessionRequest, NewSessionRequest, ResumeSessionRequest,
};
use agent_client_protocol::{
    Agent, Builder, Channel, Client, ConnectionTo, Error as RpcError, JsonRpcRequest, JsonRpcResponse,
    UntypedMessage, is_connection_terminated, is_incoming_transport_closed,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::as_written::{unwrap, wrap};
use super::error::AcpError;
use super::handler::{ClientHandler, CloseGuard, SharedConnection};
use super::options::AcpOptions;
use super::prompt::{AcceptedContent, AcpPrompt};
use super::session::{
    LoginMethod, LostSession, NO_RESUME_METHOD, ResumeCapabilities, SessionOrigin, SessionStart,
    choose_login, resume_methods,
};
use super::session_state::AskOutcome;
use super::stdio::relay;
use super::turn::{TurnEnd, TurnGuard};
use crate::agent::{MessageId, UpdateBroadcast};
use crate::error::{excerpt, raw_excerpt};
use crate::json::{Json, Members};

/// The time that the protocol's task may take after the input has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The most ways to log in that are kept.
const LOGIN_METHODS_MAX: usize = 8;

/// The most characters of an agent's name.
const NAME_CHARS_MAX: usize = 100;

/// The method that begins a turn.
const PROMPT: &str = "session/prompt";

/// The agent's answer to `initialize`.
#[derive(Debug, Clone, Default)]
struct InitializeInfo {
    name: Option<String>,
    resume_capabilities: ResumeCapabilities,
    accepted_content: AcceptedContent,
    login_methods: Vec<LoginMethod>,
}

/// A connection to an agent, with at most one session.
///
/// Its background work is one task, which ends when this is dropped. Dropping it closes the pipe, but does not end
/// the agent. What the agent says beside its answers goes to an [`UpdateBroadcast`], which never makes the agent
/// wait.
pub struct AcpClient {
    shared: Arc<SharedConnection>,
    connection: ConnectionTo<Agent>,
    end: watch::Receiver<Option<AcpError>>,
    initialize_info: InitializeInfo,
    /// Allows one turn at a time: the permit is held until the agent has ended the turn, even if no caller waits for
    /// it.
    turns: Arc<Semaphore>,
    options: AcpOptions,
    _task: JoinSet<()>,
}

impl AcpClient {
    /// Connects to the agent at the other end of these pipes, and initializes the protocol.
    ///
    /// # Errors
    ///
    /// Fails if the agent does not answer within [`AcpOptions::setup_timeout`], supports no common version, or does
    /// not speak ACP.
    pub async fn open<R, W>(
        read: R,
        write: W,
        updates: UpdateBroadcast,
        options: AcpOptions,
    ) -> Result<Self, AcpError>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(SharedConnection::new(updates, &options));
        let (tell_end, end) = watch::channel(None);
        let guard = CloseGuard { shared: Arc::clone(&shared), end: tell_end };
        let (connected, connection) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(run_connection(read, write, guard, connected));
        let connection = connection.await.map_err(|_| AcpError::Closed)?;
        let mut client = Self {
            shared,
            connection,
            end,
            initialize_info: InitializeInfo::default(),
            turns: Arc::new(Semaphore::new(1)),
            options,
            _task: task,
        };
        client.initialize_info = client.initialize().await?;
        Ok(client)
    }

    async fn initialize(&self) -> Result<InitializeInfo, AcpError> {
        let us = Implementation::new("mainstay", env!("CARGO_PKG_VERSION")).title("Mainstay".to_owned());
        let request = InitializeRequest::new(ProtocolVersion::V1)
            .client_capabilities(ClientCapabilities::new())
            .client_info(us);
        let answer: InitializeResponse =
            self.request("initialize", request, self.options.setup_timeout, |_| ()).await?;
        if answer.protocol_version != ProtocolVersion::V1 {
            return Err(AcpError::UnsupportedVersion(answer.protocol_version.as_u16()));
        }
        let offered = &answer.agent_capabilities;
        let short = |text: &str| excerpt(text, NAME_CHARS_MAX);
        Ok(InitializeInfo {
            name: answer.agent_info.as_ref().map(|info| short(&format!("{} {}", info.name, info.version))),
            resume_capabilities: ResumeCapabilities {
                resume: offered.session_capabilities.resume.is_some(),
                load: offered.load_session,
            },
            accepted_content: AcceptedContent::from(&offered.prompt_capabilities),
            login_methods: answer.auth_methods.iter().take(LOGIN_METHODS_MAX).map(login_method).collect(),
        })
    }

    /// Returns the agent's name and version, cut to a maximum length.
    #[must_use]
    pub fn agent_name(&self) -> Option<&str> {
        self.initialize_info.name.as_deref()
    }

    /// Returns the session's id, once there is a session.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.shared.lock_state().session().map(str::to_owned)
    }

    /// Returns whether the agent waits for a person's answer.
    #[must_use]
    pub fn has_asks(&self) -> bool {
        self.shared.lock_state().has_asks()
    }

    /// Returns the number of lines that were skipped, since they were no messages or could not be read.
    #[must_use]
    pub fn lines_skipped(&self) -> u64 {
        self.shared.lines_skipped()
    }

    /// Logs in by a method that the agent offers, or by the only one for `None`. Call it before the session starts.
    ///
    /// # Errors
    ///
    /// Fails with [`AcpError::UnknownLogin`] if the agent does not offer that, and with [`AcpError::Refused`] if it
    /// refuses.
    pub async fn log_in(&self, method: Option<&str>) -> Result<(), AcpError> {
        let methods = &self.initialize_info.login_methods;
        let Some(chosen) = choose_login(methods, method) else {
            let given = method.map(str::to_owned);
            return Err(AcpError::UnknownLogin { given, methods: methods.clone() });
        };
        let request = AuthenticateRequest::new(chosen.id.clone());
        self.request("authenticate", request, self.options.login_timeout, |_| ()).await.map(|_| ())
    }

    /// Starts a session in the folder `cwd`, an absolute path. Resumes the session `saved` if the agent can, and
    /// otherwise reports why not. Call it once, before the first prompt.
    ///
    /// Updates that the agent repeats meanwhile are published as replay.
    ///
    /// # Errors
    ///
    /// Fails if no session started; with [`AcpError::AuthRequired`] if the agent requires a login first.
    pub async fn start_session(&self, cwd: &Path, saved: Option<&str>) -> Result<SessionStart, AcpError> {
        if !cwd.is_absolute() {
            return Err(AcpError::FolderNotAbsolute(cwd.to_owned()));
        }
        let Some(saved) = saved else { return self.new_session(cwd, None).await };
        let mut why = NO_RESUME_METHOD.to_owned();
        for way in resume_methods(self.initialize_info.resume_capabilities) {
            match self.resume_session(cwd, saved, way).await {
                Ok(()) => return Ok(SessionStart { id: saved.to_owned(), origin: way, lost: None }),
                // The agent lost the session or cannot read it: another method may work.
                Err(error @ (AcpError::Refused { .. } | AcpError::InvalidResponse { .. })) => {
                    why = error.to_string()
                }
                Err(error) => return Err(error),
            }
        }
        self.new_session(cwd, Some(LostSession { id: saved.to_owned(), message: why })).await
    }

    /// Returns whether the agent can resume sessions.
    pub(super) fn can_resume(&self) -> bool {
        resume_methods(self.initialize_info.resume_capabilities).next().is_some()
    }

    async fn new_session(&self, cwd: &Path, lost: Option<LostSession>) -> Result<SessionStart, AcpError> {
        let shared = Arc::clone(&self.shared);
        let answer = self
            .request("session/new", NewSessionRequest::new(cwd), self.options.setup_timeout, move |answer| {
                if let Ok(answer) = answer {
                    shared.lock_state().set_session(&answer.session_id.0);
                }
            })
            .await?;
        Ok(SessionStart { id: answer.session_id.0.to_string(), origin: SessionOrigin::New, lost })
    }

    async fn resume_session(&self, cwd: &Path, saved: &str, way: SessionOrigin) -> Result<(), AcpError> {
        let (shared, session) = (Arc::clone(&self.shared), saved.to_owned());
        let enter = move |is_back: bool| {
            let mut state = shared.lock_state();
            if is_back { state.set_session(&session) } else { state.clear_session() }
        };
        if way == SessionOrigin::Loaded {
            self.shared.lock_state().begin_replay(saved);
            let request = LoadSessionRequest::new(saved.to_owned(), cwd);
            let after = self.options.load_timeout;
            self.request("session/load", request, after, move |answer| enter(answer.is_ok()))
                .await
                .map(|_| ())
        } else {
            let request = ResumeSessionRequest::new(saved.to_owned(), cwd);
            let after = self.options.setup_timeout;
            self.request("session/resume", request, after, move |answer| enter(answer.is_ok()))
                .await
                .map(|_| ())
        }
    }

    /// Sends a prompt, and waits for the end of its turn. One turn runs at a time; the next waits for it.
    ///
    /// Dropping the future cancels the turn at the agent, and closes its open questions. The turn then continues
    /// until the agent confirms. [`AcpOptions::previous_turn_timeout`] bounds how long the next turn waits for that.
    ///
    /// # Errors
    ///
    /// [`AcpError::to_turn_error`] says which errors leave open whether the agent acted on the prompt.
    pub async fn prompt(&self, message: MessageId, prompt: AcpPrompt) -> Result<TurnEnd, AcpError> {
        prompt.check_accepted(self.initialize_info.accepted_content)?;
        let turns = Arc::clone(&self.turns).acquire_owned();
        let permit = match timeout(self.options.previous_turn_timeout, turns).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(AcpError::Closed),
            Err(_) => return Err(AcpError::PreviousTurnActive),
        };
        let session = self.session().ok_or(AcpError::NoSession)?;
        let params = prompt.to_params(&session);
        let (bytes, bytes_max) = (params.len(), self.options.limits.message_bytes_max);
        if bytes > bytes_max {
            return Err(AcpError::InvalidPrompt(format!(
                "a prompt has at most {bytes_max} bytes; this one has {bytes}"
            )));
        }
        let request = UntypedMessage::new(PROMPT, wrap(&params));
        let request = request.map_err(|error| AcpError::InvalidPrompt(error.to_string()))?;
        let (turn, number) = TurnGuard::begin(&self.shared, message, permit);
        let _calling_off = CancelTurnOnDrop { client: self, turn: number };
        let response = self.send_request(PROMPT, request, move |answer| (answer, turn.end()));
        let (answer, text) = response.await?;
        let answer = answer?;
        let stop_reason = Members::parse(answer.as_str()).ok().and_then(|answer| answer.read("stopReason"));
        let stop_reason: String = stop_reason.ok_or_else(|| invalid_response(PROMPT, &answer))?;
        let stop_reason = excerpt(&stop_reason, NAME_CHARS_MAX);
        Ok(TurnEnd { stop_reason, text: text.text, is_text_cut: text.is_cut })
    }

    /// Cancels the running turn, if there is one. Its [`prompt`](Self::prompt) returns with the stop reason
    /// `cancelled`, once the agent says so.
    pub fn cancel(&self) {
        self.cancel_turn(None);
    }

    fn cancel_turn(&self, turn: Option<u64>) {
        let (open, session) = {
            let mut state = self.shared.lock_state();
            let Some(open) = state.cancel_turn(turn) else { return };
            (open, state.session().map(str::to_owned))
        };
        if let Some(session) = session {
            // If the connection has ended, so has the turn.
            let _ = self.connection.send_notification(CancelNotification::new(session));
        }
        self.shared.cancel_asks(open);
    }

    /// Answers the agent's question `ask` with one of its options.
    ///
    /// # Errors
    ///
    /// Fails with [`AcpError::UnknownAsk`] if the question is not open. Fails with [`AcpError::NoSuchOption`] if it
    /// has no such option; the question then stays open.
    pub fn answer(&self, ask: &str, option: &str) -> Result<(), AcpError> {
        let open = self.shared.lock_state().answer_ask(ask, option)?;
        self.shared.settle_ask(ask.to_owned(), open, AskOutcome::Selected(option.to_owned()));
        Ok(())
    }

    /// Returns why the connection ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<AcpError> {
        self.end.borrow().clone()
    }

    /// Waits for the end of the connection, and returns its reason.
    pub fn ended(&self) -> impl Future<Output = AcpError> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            let end = end.wait_for(Option::is_some).await;
            end.ok().and_then(|end| end.clone()).unwrap_or(AcpError::Closed)
        }
    }

    /// Sends a request. Calls `in_order` with the answer before any later message of the agent is handled.
    async fn request<Req: JsonRpcRequest>(
        &self,
        method: &'static str,
        request: Req,
        after: Duration,
        in_order: impl FnOnce(&Result<Req::Response, AcpError>) + Send + 'static,
    ) -> Result<Req::Response, AcpError> {
        let request = request.to_untyped_message();
        let request = request.map_err(|error| AcpError::InvalidPrompt(error.to_string()))?;
        let response = self.send_request(method, request, move |answer: Result<Json, AcpError>| {
            let answer = answer.and_then(|answer| {
                let read = |tree| Req::Response::from_json(method, tree).ok();
                answer.read().ok().and_then(read).ok_or_else(|| invalid_response(method, &answer))
            });
            in_order(&answer);
            answer
        });
        timeout(after, response).await.map_err(|_| AcpError::TimedOut { method, after })??
    }

    async fn send_request<T: Send + 'static>(
        &self,
        method: &'static str,
        request: UntypedMessage,
        in_order: impl FnOnce(Result<Json, AcpError>) -> T + Send + 'static,
    ) -> Result<T, AcpError> {
        if let Some(error) = self.end() {
            return Err(AcpError::AlreadyEnded(Box::new(error)));
        }
        let (sender, answered) = oneshot::channel();
        let logins = self.initialize_info.login_methods.clone();
        let sent = self.connection.send_request(request).on_receiving_result(async move |answer| {
            let answer = match answer {
                // There was no answer: the caller gets the reason for which the connection ended.
                Err(error) if is_incoming_transport_closed(&error) || is_connection_terminated(&error) => {
                    return Ok(());
                }
                Err(error) => Err(AcpError::from_rpc_error(method, &error, &logins)),
                Ok(answer) => Json::parse(unwrap(&answer).unwrap_or_default()).map_err(|_| {
                    AcpError::InvalidResponse { method, quote: raw_excerpt(&answer.to_string()) }
                }),
            };
            // No caller waits if the future was dropped.
            let _ = sender.send(in_order(answer));
            Ok(())
        });
        match sent {
            Ok(()) => match answered.await {
                Ok(answer) => Ok(answer),
                Err(_) => Err(self.ended().await),
            },
            Err(_) => Err(self.ended().await),
        }
    }
}

impl std::fmt::Debug for AcpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcpClient")
            .field("initialize_info", &self.initialize_info)
            .field("end", &*self.end.borrow())
            .finish_non_exhaustive()
    }
}

fn invalid_response(method: &'static str, answer: &Json) -> AcpError {
    AcpError::InvalidResponse { method, quote: raw_excerpt(answer.as_str()) }
}

/// Returns a way to log in. The id stays whole, since the agent is to know it again.
fn login_method(method: &AuthMethod) -> LoginMethod {
    LoginMethod {
        id: method.id().0.to_string(),
        name: excerpt(method.name(), NAME_CHARS_MAX),
        is_offered: matches!(method, AuthMethod::Agent(_)),
    }
}

/// Cancels a turn, unless it has ended.
struct CancelTurnOnDrop<'a> {
    client: &'a AcpClient,
    turn: u64,
}

impl Drop for CancelTurnOnDrop<'_> {
    fn drop(&mut self) {
        self.client.cancel_turn(Some(self.turn));
    }
}

/// Runs the connection's one task.
async fn run_connection(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    guard: CloseGuard,
    connected: oneshot::Sender<ConnectionTo<Agent>>,
) {
    let (ours, theirs) = Channel::duplex();
    let handler = ClientHandler(Arc::clone(&guard.shared));
    let protocol = Builder::new_with(Client, handler).connect_with(ours, async move |connection| {
        // If the client is gone, the send fails and this task ends as well.
        let _ = connected.send(connection.clone());
        connection.incoming_closed().await;
        Ok(())
    });
    let shared = &*guard.shared;
    // The pipes stay open until the end is published: an agent may exit over a closed pipe, and that exit would count
    // as the cause.
    let relay = relay(&mut read, &mut write, theirs, &shared.limits, shared);
    let (mut protocol, relay) = (std::pin::pin!(protocol), std::pin::pin!(relay));
    let error = tokio::select! {
        biased;
        error = relay => {
            // Messages from before the end are still handled.
            let _: Result<Result<(), RpcError>, _> = timeout(DRAIN_TIMEOUT, protocol).await;
            error
        }
        ended = &mut protocol => match ended {
            Ok(()) => AcpError::Closed,
            Err(error) => AcpError::violation("the session cannot continue", &error.to_string()),
        },
    };
    guard.set_end(error);
}
