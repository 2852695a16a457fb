//! Holds the backend of one run, whose process can end and start again, and records what it carried out.

use std::net::SocketAddr;

use mainstay::backend::{Backend, BackendOptions, Fault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::schedule::{AGENTS, CHATTER, LEDGER, NOTES};

/// The embedded backend, or its address while it is down.
pub(crate) struct BackendFixture {
    history_max: usize,
    // A tokio mutex, since it is held while a backend ends.
    slot: Mutex<BackendSlot>,
}

struct BackendSlot {
    backend: Option<Backend>,
    record: BackendRecord,
}

/// The work that all backends of one run carried out.
#[derive(Debug, Default)]
pub(crate) struct BackendRecord {
    /// The messages to the ledger agent, in order.
    pub(crate) messages: Vec<Value>,
    /// The states of the notes agent at the end of each backend.
    pub(crate) notes: Vec<Value>,
    /// True if a backend has dropped a part of its record.
    pub(crate) forgotten: u64,
}

impl BackendFixture {
    pub(crate) async fn start(history_max: usize) -> (Self, SocketAddr) {
        let backend = start_backend(history_max).await;
        let address = backend.address();
        let life = BackendSlot { backend: Some(backend), record: BackendRecord::default() };
        (Self { history_max, slot: Mutex::new(life) }, address)
    }

    /// Stops the backend, if there is one, and records what it carried out.
    pub(crate) async fn stop(&self) {
        let mut life = self.slot.lock().await;
        if let Some(mut backend) = life.backend.take() {
            backend.close().await;
            life.record.record_state(&backend);
        }
    }

    /// Starts another backend, unless there is one, and returns its address.
    pub(crate) async fn restart(&self) -> SocketAddr {
        let mut life = self.slot.lock().await;
        match &life.backend {
            Some(backend) => backend.address(),
            None => life.backend.insert(start_backend(self.history_max).await).address(),
        }
    }

    /// Injects a fault into the backend, if there is one.
    pub(crate) async fn inject(&self, fault: Fault) {
        if let Some(backend) = &self.slot.lock().await.backend {
            backend.inject(fault).expect("schedules inject what can be injected");
        }
    }

    /// Sends a request past the proxy and ignores the response.
    pub(crate) async fn ask_directly(&self, method: &str, path: &str, body: &str) {
        let address = self.slot.lock().await.backend.as_ref().map(Backend::address);
        if let Some(address) = address {
            let _ = ask(address, method, path, body).await;
        }
    }

    /// Sends a message past the proxy, which becomes an event.
    pub(crate) async fn send_chatter(&self, text: &str) {
        let path = format!("/api/agents/{CHATTER}/message");
        self.ask_directly("POST", &path, &json!({ "text": text }).to_string()).await;
    }

    /// Stops the backend for good.
    pub(crate) async fn finish(self) -> BackendRecord {
        self.stop().await;
        self.slot.into_inner().record
    }
}

impl BackendRecord {
    fn record_state(&mut self, backend: &Backend) {
        let memory = backend.state_of(LEDGER).expect("there is a ledger");
        let messages = memory["messages"].as_array().expect("messages are an array");
        let count = memory["count"].as_u64().expect("they are counted");
        self.forgotten += count - messages.len() as u64;
        self.messages.extend(messages.iter().cloned());
        self.notes.push(backend.state_of(NOTES).expect("there are notes"));
    }
}

async fn start_backend(history_max: usize) -> Backend {
    let agents = AGENTS.iter().chain(&[LEDGER, NOTES, CHATTER]).map(|id| (*id).to_owned()).collect();
    let config = BackendOptions { agents, history_max, ..BackendOptions::default() };
    Backend::bind(config).await.expect("a backend can be started on any port")
}

/// Makes one request on a connection of its own, to the end of the response.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}
