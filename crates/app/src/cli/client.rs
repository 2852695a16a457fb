//! Asks a running runtime, over the bridge of its control server.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use mainstay_actors::json::{Json, parse_json};
use mainstay_runtime::journal::{millis, millis_text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::error::CliError;
use super::stderr::error_line;
use crate::bridge::BridgeCommand;
use crate::{ControlFile, DataDir, Error, Reason};

/// The time without a sign of life from the runtime after which that is said.
const SILENCE_NOTICED_AFTER: Duration = Duration::from_secs(3);
/// The longest wait for the runtime to accept the session.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for the runtime to take a whole command.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A command with its id.
#[derive(Serialize)]
struct CommandText {
    id: u64,
    #[serde(flatten)]
    command: BridgeCommand,
}

/// A reply, or another text whose members are not these.
#[derive(Deserialize)]
struct ReplyText {
    id: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    ok: Option<Json>,
    error: Option<Error>,
}

/// Reads a member that is there, also if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// A session with a running runtime.
pub(super) struct BridgeClient {
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
    /// The process of the runtime.
    pid: u32,
    /// The number of pings so far.
    pings: u64,
    /// True if the runtime has not answered the last ping.
    is_ping_open: bool,
    /// True if it is said already that the runtime does not answer.
    is_silence_noticed: bool,
    /// True if nothing is said on stderr.
    is_quiet: bool,
}

impl BridgeClient {
    /// Connects to the runtime that keeps `data`.
    pub(super) async fn connect(data: DataDir) -> Result<Self, CliError> {
        let not_running = || CliError::not_running(data.path());
        let control = data.read_control()?.ok_or_else(not_running)?;
        let pid = control.pid;
        // A server that refuses this token is not the runtime that wrote the file.
        let socket = within(HANDSHAKE_TIMEOUT, pid, "answered", shake_hands(&control)).await?;
        let socket = socket.ok_or_else(not_running)?;
        Ok(Self {
            socket,
            next_id: 1,
            pid,
            pings: 0,
            is_ping_open: false,
            is_silence_noticed: false,
            is_quiet: false,
        })
    }

    /// Says nothing on stderr: a screen has the terminal.
    pub(super) fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    /// Sends a command, and waits for its reply.
    pub(super) async fn request(&mut self, command: BridgeCommand) -> Result<Json, CliError> {
        let id = self.send(command).await?;
        loop {
            // A text without this id is about something else.
            match self.receive_reply().await? {
                (of, reply) if of == id => return reply,
                _ => {}
            }
        }
    }

    /// Sends a command, and returns its id.
    pub(super) async fn send(&mut self, command: BridgeCommand) -> Result<u64, CliError> {
        let id = self.next_id;
        self.next_id += 1;
        let text = serde_json::to_string(&CommandText { id, command }).map_err(CliError::internal)?;
        self.send_message(Message::text(text)).await?;
        self.ping().await?;
        Ok(id)
    }

    /// Returns the next reply, with the id of its command. Cancel safe.
    pub(super) async fn receive_reply(&mut self) -> Result<(u64, Result<Json, CliError>), CliError> {
        loop {
            match parse_json(&self.receive_text().await?) {
                Ok(ReplyText { id: Some(id), ok: Some(ok), .. }) => return Ok((id, Ok(ok))),
                Ok(ReplyText { id: Some(id), error: Some(error), .. }) => {
                    return Ok((id, Err(CliError::Remote(Box::new(error)))));
                }
                _ => {}
            }
        }
    }

    /// Returns the next text of the runtime.
    pub(super) async fn receive(&mut self) -> Result<Json, CliError> {
        let text = self.receive_text().await.map_err(|failure| match failure {
            CliError::Failed(Reason::Stopped, _) => {
                CliError::CheckFailed("the runtime has stopped".to_owned())
            }
            failure => failure,
        })?;
        parse_json(&text).map_err(CliError::internal)
    }

    /// Waits for a text. A runtime that answers no ping meanwhile does not run, which is said once.
    async fn receive_text(&mut self) -> Result<Utf8Bytes, CliError> {
        loop {
            match timeout(SILENCE_NOTICED_AFTER, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Ok(text),
                Ok(Some(Ok(Message::Pong(ping)))) if *ping == self.pings.to_be_bytes() => {
                    (self.is_ping_open, self.is_silence_noticed) = (false, false);
                }
                Ok(Some(Ok(Message::Close(Some(close))))) if close.code == CloseCode::Again => {
                    let message = format!("the runtime accepts no more sessions: {}", close.reason);
                    return Err(CliError::failed(Reason::QueueFull, message));
                }
                Ok(Some(Ok(_))) => {}
                Ok(_) => return Err(disconnected()),
                Err(_) if !self.is_ping_open => self.ping().await?,
                Err(_) if !self.is_silence_noticed && !self.is_quiet => {
                    self.is_silence_noticed = true;
                    notice_silence(self.pid);
                }
                Err(_) => {}
            }
        }
    }

    /// Asks for a sign of life: commands may take long.
    async fn ping(&mut self) -> Result<(), CliError> {
        self.is_ping_open = true;
        self.pings += 1;
        self.send_message(Message::Ping(Bytes::copy_from_slice(&self.pings.to_be_bytes()))).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), CliError> {
        // What is not taken whole is not carried out.
        let sent =
            within(SEND_TIMEOUT, self.pid, "taken the whole command", self.socket.send(message)).await?;
        sent.map_err(|_| disconnected())
    }

    /// Reads a reply as what it should be.
    pub(super) fn parse<T: DeserializeOwned>(&self, value: &Json) -> Result<T, CliError> {
        value.read().map_err(|error| {
            CliError::failed(Reason::BadResponse, format!("the runtime is of another version: {error}"))
        })
    }
}

/// Opens the session; `None` if no runtime accepts it.
async fn shake_hands(control: &ControlFile) -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", control.port)).await.ok()?;
    let mut request = format!("ws://127.0.0.1:{}/bridge", control.port).into_client_request().ok()?;
    let bearer = format!("Bearer {}", control.token).parse().ok()?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    client_async(request, stream).await.ok().map(|(socket, _)| socket)
}

/// Waits for a step of the runtime, at most for `limit`, and says if that takes long. `done` names the step in the error.
async fn within<T>(
    limit: Duration,
    pid: u32,
    done: &str,
    step: impl Future<Output = T>,
) -> Result<T, CliError> {
    tokio::pin!(step);
    if let Ok(outcome) = timeout(SILENCE_NOTICED_AFTER, &mut step).await {
        return Ok(outcome);
    }
    notice_silence(pid);
    timeout(limit.saturating_sub(SILENCE_NOTICED_AFTER), step).await.map_err(|_| frozen(pid, done, limit))
}

fn notice_silence(pid: u32) {
    error_line(&format!(
        "mainstay: the runtime (process {pid}, from control.json) does not answer; waiting for it"
    ));
}

fn frozen(pid: u32, done: &str, limit: Duration) -> CliError {
    let limit = millis_text(millis(limit));
    let message = format!(
        "the runtime (process {pid}, from control.json) has not {done} within {limit}: it is stopped or overloaded; let \
         that process go on, or end it"
    );
    CliError::failed(Reason::TimedOut, message)
}

/// Makes the error for a runtime that ended before its reply. It may have carried out the command.
fn disconnected() -> CliError {
    CliError::failed(Reason::Stopped, "the runtime ended before it answered")
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;
    use tokio_tungstenite::accept_async;

    use super::*;
    use crate::bridge::RequestCommand;

    /// Writes the control file of a runtime that listens so.
    fn data_of(folder: &tempfile::TempDir, listener: &TcpListener) -> DataDir {
        let data = DataDir::new(folder.path());
        let control = ControlFile {
            pid: 4711,
            port: listener.local_addr().unwrap().port(),
            token: "secret".to_owned(),
            boot: "b".to_owned(),
            demo: false,
        };
        data.write_control(&control).unwrap();
        data
    }

    #[tokio::test(start_paused = true)]
    async fn handshake_with_a_frozen_runtime_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        // The system accepts connections for a process that is stopped.
        let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let Err(CliError::Failed(reason, message)) = BridgeClient::connect(data_of(&folder, &frozen)).await
        else {
            panic!("it has answered")
        };
        assert_eq!((reason, begun.elapsed()), (Reason::TimedOut, HANDSHAKE_TIMEOUT));
        assert!(message.contains("process 4711") && message.contains("10 s"), "{message}");
    }

    #[tokio::test]
    async fn large_command_to_a_frozen_runtime_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1 << 16).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let accepting = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
        let (client, _frozen) = tokio::join!(BridgeClient::connect(data_of(&folder, &listener)), accepting);
        let mut client = client.unwrap();
        tokio::time::pause();
        let begun = Instant::now();
        // More than the system buffers for a reader that is stopped.
        let body = Json::from_serialize(&"x".repeat(16 << 20)).unwrap();
        let command = RequestCommand { body: Some(body), ..RequestCommand::new("POST", "/") };
        let command = BridgeCommand::Request(Box::new(command));
        let Err(CliError::Failed(reason, message)) = client.request(command).await else {
            panic!("it has answered")
        };
        // The clock of a paused runtime counts milliseconds, and each timeout rounds up.
        assert_eq!((reason, begun.elapsed().as_secs()), (Reason::TimedOut, SEND_TIMEOUT.as_secs()));
        assert!(message.contains("has not taken the whole command within 30 s"), "{message}");
    }
}
