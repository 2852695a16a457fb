//! Asks a running runtime, over the bridge of its control server.

use futures_util::{SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use mainstay_actors::json::{Json, parse_json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::error::CliError;
use crate::bridge::BridgeCommand;
use crate::{DataDir, Error, Reason};

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
}

impl BridgeClient {
    /// Connects to the runtime that keeps `data`.
    pub(super) async fn connect(data: DataDir) -> Result<Self, CliError> {
        let not_running = || CliError::not_running(data.path());
        let control = data.read_control()?.ok_or_else(not_running)?;
        // A server that refuses this token is not the runtime that wrote the file.
        let stream = TcpStream::connect(("127.0.0.1", control.port)).await.map_err(|_| not_running())?;
        let mut request = format!("ws://127.0.0.1:{}/bridge", control.port)
            .into_client_request()
            .map_err(CliError::internal)?;
        let bearer = format!("Bearer {}", control.token).parse().map_err(|_| not_running())?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let (socket, _) = client_async(request, stream).await.map_err(|_| not_running())?;
        Ok(Self { socket, next_id: 1 })
    }

    /// Sends a command, and waits for its reply.
    pub(super) async fn request(&mut self, command: BridgeCommand) -> Result<Json, CliError> {
        let id = self.next_id;
        self.next_id += 1;
        let text = serde_json::to_string(&CommandText { id, command }).map_err(CliError::internal)?;
        self.socket.send(Message::text(text)).await.map_err(|_| disconnected())?;
        loop {
            let reply = self.receive_text().await?;
            // A text without this id is about something else.
            match parse_json(&reply) {
                Ok(ReplyText { id: Some(of), ok: Some(ok), .. }) if of == id => return Ok(ok),
                Ok(ReplyText { id: Some(of), error: Some(error), .. }) if of == id => {
                    return Err(CliError::Remote(Box::new(error)));
                }
                _ => {}
            }
        }
    }

    /// Returns the next text of the runtime.
    pub(super) async fn receive(&mut self) -> Result<Value, CliError> {
        parse_json(&self.receive_text().await?).map_err(CliError::internal)
    }

    async fn receive_text(&mut self) -> Result<Utf8Bytes, CliError> {
        loop {
            let Some(Ok(message)) = self.socket.next().await else { return Err(disconnected()) };
            if let Message::Text(text) = message {
                return Ok(text);
            }
        }
    }

    /// Reads a reply as what it should be.
    pub(super) fn parse<T: DeserializeOwned>(&self, value: &Json) -> Result<T, CliError> {
        value.read().map_err(|error| {
            CliError::failed(Reason::BadResponse, format!("the runtime is of another version: {error}"))
        })
    }
}

/// Makes the error for a runtime that ended before its reply. It may have carried out the command.
fn disconnected() -> CliError {
    CliError::failed(Reason::Stopped, "the runtime ended before it answered")
}
