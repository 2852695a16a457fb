//! Asks a running runtime, over the bridge of its control server.

use futures_util::{SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::error::CliError;
use crate::bridge::BridgeCommand;
use crate::{DataDir, Error, Reason};

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
    pub(super) async fn request(&mut self, command: BridgeCommand) -> Result<Value, CliError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut text = serde_json::to_value(&command).map_err(CliError::internal)?;
        text["id"] = id.into();
        self.socket.send(Message::text(text.to_string())).await.map_err(|_| disconnected())?;
        loop {
            let mut reply = self.receive().await?;
            if reply["id"] != id {
                continue;
            }
            return match reply.get_mut("ok") {
                Some(ok) => Ok(ok.take()),
                None => Err(CliError::Remote(Box::new(self.parse::<Error>(reply["error"].take())?))),
            };
        }
    }

    /// Returns the next text of the runtime.
    pub(super) async fn receive(&mut self) -> Result<Value, CliError> {
        loop {
            let Some(Ok(message)) = self.socket.next().await else { return Err(disconnected()) };
            if let Message::Text(text) = message {
                return serde_json::from_str(text.as_str()).map_err(CliError::internal);
            }
        }
    }

    /// Reads a reply as what it should be.
    pub(super) fn parse<T: DeserializeOwned>(&self, value: Value) -> Result<T, CliError> {
        serde_json::from_value(value).map_err(|error| {
            CliError::failed(Reason::BadResponse, format!("the runtime is of another version: {error}"))
        })
    }
}

/// Makes the error for a runtime that ended before its reply. It may have carried out the command.
fn disconnected() -> CliError {
    CliError::failed(Reason::Stopped, "the runtime ended before it answered")
}
