//! Asks a running runtime, over the bridge of its control server.

use futures_util::{SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::failure::Failure;
use crate::bridge::Command;
use crate::{DataDir, Error, Reason};

/// One session with a running runtime.
pub(super) struct Client {
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
}

impl Client {
    /// Connects to the runtime that keeps `data`.
    pub(super) async fn connect(data: DataDir) -> Result<Self, Failure> {
        let not_running = || Failure::not_running(data.path());
        let control = data.read_control()?.ok_or_else(not_running)?;
        // Whatever does not let this token in is not the runtime that wrote the file.
        let stream = TcpStream::connect(("127.0.0.1", control.port)).await.map_err(|_| not_running())?;
        let mut request = format!("ws://127.0.0.1:{}/bridge", control.port)
            .into_client_request()
            .map_err(Failure::internal)?;
        let bearer = format!("Bearer {}", control.token).parse().map_err(|_| not_running())?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let (socket, _) = client_async(request, stream).await.map_err(|_| not_running())?;
        Ok(Self { socket, next_id: 1 })
    }

    /// Sends a command, and waits for its reply.
    pub(super) async fn ask(&mut self, command: Command) -> Result<Value, Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let mut text = serde_json::to_value(&command).map_err(Failure::internal)?;
        text["id"] = id.into();
        self.socket.send(Message::text(text.to_string())).await.map_err(|_| hung_up())?;
        loop {
            let mut reply = self.hear().await?;
            if reply["id"] != id {
                continue;
            }
            return match reply.get_mut("ok") {
                Some(ok) => Ok(ok.take()),
                None => Err(Failure::Answered(Box::new(self.read::<Error>(reply["error"].take())?))),
            };
        }
    }

    /// The next text of the runtime, whatever it is about.
    pub(super) async fn hear(&mut self) -> Result<Value, Failure> {
        loop {
            let Some(Ok(message)) = self.socket.next().await else { return Err(hung_up()) };
            if let Message::Text(text) = message {
                return serde_json::from_str(text.as_str()).map_err(Failure::internal);
            }
        }
    }

    /// Reads a reply as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, Failure> {
        serde_json::from_value(value).map_err(|error| {
            Failure::failed(Reason::BadResponse, format!("the runtime speaks another version: {error}"))
        })
    }
}

/// It may have done what it was asked.
fn hung_up() -> Failure {
    Failure::failed(Reason::Stopped, "the runtime ended before it answered")
}
