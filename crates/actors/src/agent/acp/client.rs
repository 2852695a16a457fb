//! One connection to an agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    CancelNotification, ClientCapabilities, Implementation, InitializeRequest, InitializeResponse,
    LoadSessionRequest, NewSessionRequest, PromptRequest, ResumeSessionRequest,
};
use agent_client_protocol::{
    Agent, Builder, Channel, Client, ConnectionTo, Error as RpcError, JsonRpcRequest, JsonRpcResponse,
    is_connection_terminated, is_incoming_transport_closed,
};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::desk::Choice;
use super::ears::{Ears, Ending, Shared};
use super::fault::AcpFault;
use super::options::AcpOptions;
use super::pipe::carry;
use super::prompt::{Accepts, AcpPrompt};
use super::session::{LostSession, NO_WAY_BACK, Offers, SessionHow, SessionStart, ways_back};
use super::turn::{Turn, TurnEnd};
use crate::agent::{AgentFeed, LetterId};
use crate::error::excerpt;

/// How long the bookkeeping may take to wind up once nothing comes in any more.
const WIND_UP_WITHIN: Duration = Duration::from_secs(5);

/// The most of an answer that an error shows, in characters.
const QUOTE_CHARS_MAX: usize = 200;

/// What an agent may be known by, in characters.
const NAME_CHARS_MAX: usize = 100;

/// What an agent said of itself.
#[derive(Debug, Clone, Default)]
struct Introduction {
    name: Option<String>,
    offers: Offers,
    accepts: Accepts,
    logins: Vec<String>,
}

/// One connection to an agent, with at most one conversation.
///
/// All that it does in the background is one task, which ends when this is dropped. Dropping it does not end the agent;
/// it closes the pipe. What the agent says beside its answers goes to an [`AgentFeed`], which never makes it wait.
pub struct AcpClient {
    shared: Arc<Shared>,
    connection: ConnectionTo<Agent>,
    end: watch::Receiver<Option<AcpFault>>,
    introduction: Introduction,
    /// One turn at a time: the permit is held until the agent has ended it, even where nobody waits for that.
    turns: Arc<Semaphore>,
    options: AcpOptions,
    _task: JoinSet<()>,
}

impl AcpClient {
    /// Connects to the agent at the other end of these pipes, and has it introduce itself.
    ///
    /// # Errors
    ///
    /// The agent does not answer within [`AcpOptions::setup_timeout`], speaks no version that we do, or no ACP at all.
    pub async fn open<R, W>(read: R, write: W, feed: AgentFeed, options: AcpOptions) -> Result<Self, AcpFault>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared =
            Arc::new(Shared::new(feed, options.meter.clone(), options.limits, Arc::clone(&options.asks)));
        let (tell_end, end) = watch::channel(None);
        let ending = Ending { shared: Arc::clone(&shared), end: tell_end };
        let (connected, connection) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(run(read, write, ending, connected));
        let connection = connection.await.map_err(|_| AcpFault::Closed)?;
        let mut client = Self {
            shared,
            connection,
            end,
            introduction: Introduction::default(),
            turns: Arc::new(Semaphore::new(1)),
            options,
            _task: task,
        };
        client.introduction = client.introduce().await?;
        Ok(client)
    }

    async fn introduce(&self) -> Result<Introduction, AcpFault> {
        let us = Implementation::new("mainstay", env!("CARGO_PKG_VERSION")).title("Mainstay".to_owned());
        let request = InitializeRequest::new(ProtocolVersion::V1)
            .client_capabilities(ClientCapabilities::new())
            .client_info(us);
        let answer: InitializeResponse =
            self.ask("initialize", request, self.options.setup_timeout, |_| ()).await?;
        if answer.protocol_version != ProtocolVersion::V1 {
            return Err(AcpFault::Version(answer.protocol_version.as_u16()));
        }
        let offered = &answer.agent_capabilities;
        let short = |text: &str| excerpt(text, NAME_CHARS_MAX);
        Ok(Introduction {
            name: answer.agent_info.as_ref().map(|info| short(&format!("{} {}", info.name, info.version))),
            offers: Offers {
                resume: offered.session_capabilities.resume.is_some(),
                load: offered.load_session,
            },
            accepts: Accepts::from(&offered.prompt_capabilities),
            logins: answer.auth_methods.iter().take(8).map(|method| short(method.name())).collect(),
        })
    }

    /// What the agent calls itself, with its version; bounded.
    #[must_use]
    pub fn agent_name(&self) -> Option<&str> {
        self.introduction.name.as_deref()
    }

    /// What the agent accepts beside text.
    #[must_use]
    pub fn accepts(&self) -> Accepts {
        self.introduction.accepts
    }

    /// What the agent knows the conversation by, once there is one.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.shared.desk().session().map(str::to_owned)
    }

    /// Whether the agent waits for a person's answer.
    #[must_use]
    pub fn has_asks(&self) -> bool {
        self.shared.desk().has_asks()
    }

    /// Begins a conversation about the folder `cwd`, an absolute path; takes up the one known as `kept` again where the
    /// agent offers that, and says so where it cannot. To be called once, before the first prompt.
    ///
    /// What the agent tells again on the way is published as replay.
    ///
    /// # Errors
    ///
    /// No conversation has begun. [`AcpFault::LoginWanted`] where the agent wants that first.
    pub async fn start_session(&self, cwd: &Path, kept: Option<&str>) -> Result<SessionStart, AcpFault> {
        if !cwd.is_absolute() {
            return Err(AcpFault::FolderNotAbsolute(cwd.to_owned()));
        }
        let Some(kept) = kept else { return self.new_session(cwd, None).await };
        let mut why = NO_WAY_BACK.to_owned();
        for way in ways_back(self.introduction.offers) {
            match self.return_to(cwd, kept, way).await {
                Ok(()) => return Ok(SessionStart { id: kept.to_owned(), how: way, lost: None }),
                // It does not know it any more, or cannot read it: another way may be open.
                Err(fault @ (AcpFault::Refused { .. } | AcpFault::Unreadable { .. })) => {
                    why = fault.to_string()
                }
                Err(fault) => return Err(fault),
            }
        }
        self.new_session(cwd, Some(LostSession { id: kept.to_owned(), why })).await
    }

    /// Whether the agent takes conversations up again at all.
    pub(super) fn offers_a_way_back(&self) -> bool {
        ways_back(self.introduction.offers).next().is_some()
    }

    async fn new_session(&self, cwd: &Path, lost: Option<LostSession>) -> Result<SessionStart, AcpFault> {
        let shared = Arc::clone(&self.shared);
        let answer = self
            .ask("session/new", NewSessionRequest::new(cwd), self.options.setup_timeout, move |answer| {
                if let Ok(answer) = answer {
                    shared.desk().enter(&answer.session_id.0);
                }
            })
            .await?;
        Ok(SessionStart { id: answer.session_id.0.to_string(), how: SessionHow::New, lost })
    }

    async fn return_to(&self, cwd: &Path, kept: &str, way: SessionHow) -> Result<(), AcpFault> {
        let (shared, session) = (Arc::clone(&self.shared), kept.to_owned());
        let enter = move |is_back: bool| {
            let mut desk = shared.desk();
            if is_back { desk.enter(&session) } else { desk.leave() }
        };
        if way == SessionHow::Loaded {
            self.shared.desk().begin_replay(kept);
            let request = LoadSessionRequest::new(kept.to_owned(), cwd);
            let after = self.options.load_timeout;
            self.ask("session/load", request, after, move |answer| enter(answer.is_ok())).await.map(|_| ())
        } else {
            let request = ResumeSessionRequest::new(kept.to_owned(), cwd);
            let after = self.options.setup_timeout;
            self.ask("session/resume", request, after, move |answer| enter(answer.is_ok())).await.map(|_| ())
        }
    }

    /// Tells the agent something, and waits for the end of its turn. One turn runs at a time; the next waits for it.
    ///
    /// Dropping the future calls the turn off at the agent, and settles the questions that are open. The turn then goes
    /// on until the agent confirms that; [`AcpOptions::turn_wait`] bounds how long another one waits for it.
    ///
    /// # Errors
    ///
    /// [`AcpFault::of_turn`] says which of them leave open whether the agent acted on it.
    pub async fn prompt(&self, letter: LetterId, prompt: AcpPrompt) -> Result<TurnEnd, AcpFault> {
        prompt.check(self.introduction.accepts)?;
        let turns = Arc::clone(&self.turns).acquire_owned();
        let permit = match timeout(self.options.turn_wait, turns).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(AcpFault::Closed),
            Err(_) => return Err(AcpFault::TurnNotEnded),
        };
        let session = self.session().ok_or(AcpFault::NoSession)?;
        let request = PromptRequest::new(session.clone(), prompt.0);
        let bytes = serde_json::to_vec(&request).map_or(usize::MAX, |json| json.len());
        if bytes > self.options.limits.message_bytes_max {
            let max = self.options.limits.message_bytes_max;
            return Err(AcpFault::Unfit(format!("a prompt has at most {max} bytes; this one has {bytes}")));
        }
        let (turn, number) = Turn::begin(&self.shared, letter, permit);
        let _calling_off = CallOff { client: self, turn: number };
        let asked = self.ask_in_order("session/prompt", &request, move |answer| (answer, turn.end()));
        let (answer, said) = asked.await?;
        let answer = answer?;
        let stop_reason = answer["stopReason"].as_str().ok_or_else(|| AcpFault::Unreadable {
            method: "session/prompt",
            quote: excerpt(&answer.to_string(), QUOTE_CHARS_MAX),
        })?;
        let stop_reason = excerpt(stop_reason, NAME_CHARS_MAX);
        Ok(TurnEnd { stop_reason, text: said.text, is_text_cut: said.is_cut })
    }

    /// Calls off the turn that runs, if there is one: its [`prompt`](Self::prompt) then returns with the stop reason
    /// `cancelled`, once the agent says so.
    pub fn cancel(&self) {
        self.call_off(None);
    }

    fn call_off(&self, turn: Option<u64>) {
        let (open, session) = {
            let mut desk = self.shared.desk();
            let Some(open) = desk.call_off(turn) else { return };
            (open, desk.session().map(str::to_owned))
        };
        if let Some(session) = session {
            // Where the connection has ended, so has the turn.
            let _ = self.connection.send_notification(CancelNotification::new(session));
        }
        self.shared.call_off(open);
    }

    /// Answers the agent's question `ask` with one of the options that it offers.
    ///
    /// # Errors
    ///
    /// [`AcpFault::NotAsked`] where it does not ask that (any more), [`AcpFault::NoSuchOption`] where that is no answer;
    /// the question then stays open.
    pub fn answer(&self, ask: &str, option: &str) -> Result<(), AcpFault> {
        let open = self.shared.desk().choose(ask, option)?;
        self.shared.settle(ask.to_owned(), open, Choice::Option(option.to_owned()));
        Ok(())
    }

    /// Why the connection has ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<AcpFault> {
        self.end.borrow().clone()
    }

    /// Waits for the end of the connection, and says why it ended.
    pub fn ended(&self) -> impl Future<Output = AcpFault> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            let end = end.wait_for(Option::is_some).await;
            end.ok().and_then(|end| end.clone()).unwrap_or(AcpFault::Closed)
        }
    }

    /// Asks the agent, and hands its answer to `in_order` before anything that it sends later is looked at.
    async fn ask<Req: JsonRpcRequest>(
        &self,
        method: &'static str,
        request: Req,
        after: Duration,
        in_order: impl FnOnce(&Result<Req::Response, AcpFault>) + Send + 'static,
    ) -> Result<Req::Response, AcpFault> {
        let asked = self.ask_in_order(method, &request, move |answer: Result<Value, AcpFault>| {
            let answer = answer.and_then(|answer| {
                let quote = excerpt(&answer.to_string(), QUOTE_CHARS_MAX);
                Req::Response::from_json(method, answer).map_err(|_| AcpFault::Unreadable { method, quote })
            });
            in_order(&answer);
            answer
        });
        timeout(after, asked).await.map_err(|_| AcpFault::TimedOut { method, after })??
    }

    async fn ask_in_order<T: Send + 'static>(
        &self,
        method: &'static str,
        request: &impl JsonRpcRequest,
        in_order: impl FnOnce(Result<Value, AcpFault>) -> T + Send + 'static,
    ) -> Result<T, AcpFault> {
        if let Some(fault) = self.end() {
            return Err(AcpFault::Over(Box::new(fault)));
        }
        let untyped = request.to_untyped_message();
        let untyped =
            untyped.map_err(|error| AcpFault::Unfit(excerpt(&error.to_string(), QUOTE_CHARS_MAX)))?;
        let (told, answered) = oneshot::channel();
        let logins = self.introduction.logins.clone();
        let sent = self.connection.send_request(untyped).on_receiving_result(async move |answer| {
            let answer = match answer {
                // Nobody answered: what ended the connection is what whoever waits is told.
                Err(error) if is_incoming_transport_closed(&error) || is_connection_terminated(&error) => {
                    return Ok(());
                }
                Err(error) => Err(AcpFault::refused(method, &error, &logins)),
                Ok(answer) => Ok(answer),
            };
            // Nobody waits any more where the future was dropped.
            let _ = told.send(in_order(answer));
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
            .field("introduction", &self.introduction)
            .field("end", &*self.end.borrow())
            .finish_non_exhaustive()
    }
}

/// Calls a turn off, unless it has ended.
struct CallOff<'a> {
    client: &'a AcpClient,
    turn: u64,
}

impl Drop for CallOff<'_> {
    fn drop(&mut self) {
        self.client.call_off(Some(self.turn));
    }
}

/// The connection's one task.
async fn run(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    ending: Ending,
    connected: oneshot::Sender<ConnectionTo<Agent>>,
) {
    let (ours, theirs) = Channel::duplex();
    let ears = Ears(Arc::clone(&ending.shared));
    let bookkeeping = Builder::new_with(Client, ears).connect_with(ours, async move |connection| {
        // Nobody wants it where the client is gone, and then this task ends as well.
        let _ = connected.send(connection.clone());
        connection.incoming_closed().await;
        Ok(())
    });
    let shared = &*ending.shared;
    // The pipes stay open until the end is told: an agent that is cut off may end over a pipe that closes, and that would
    // be taken for the cause.
    let carried = carry(&mut read, &mut write, theirs, &shared.limits, shared);
    let (mut bookkeeping, carried) = (std::pin::pin!(bookkeeping), std::pin::pin!(carried));
    let fault = tokio::select! {
        biased;
        fault = carried => {
            // What came before the end is still dealt with.
            let _: Result<Result<(), RpcError>, _> = timeout(WIND_UP_WITHIN, bookkeeping).await;
            fault
        }
        ended = &mut bookkeeping => match ended {
            Ok(()) => AcpFault::Closed,
            Err(error) => AcpFault::violation("the conversation cannot go on", &error.to_string()),
        },
    };
    ending.tell(fault);
}
