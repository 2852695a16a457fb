//! Runs a runtime in this process against a foreign server: its journal, its frames, and its requests.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use mainstay::config::Config;
use mainstay::journal::Delivery;
use mainstay::{
    Error, FrameSubscription, Inbound, Mainstay, Request, RequestBuilder, Response, SendOutcome, Subscription,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::{RunningServer, ServerSpec};
use crate::support::TEST_TIMEOUT;

/// A runtime that lives as long as this does.
pub struct ForeignFixture {
    pub mainstay: Mainstay,
    events: Subscription,
    /// The events so far.
    pub seen_events: Vec<Value>,
    frames: FrameSubscription,
}

impl ForeignFixture {
    /// Starts a runtime against `server` with short delays; `setting` changes its configuration.
    pub async fn start(server: &RunningServer, setting: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.backend.url = server.url();
        config.connection.delay_min = millis(20);
        config.connection.delay_max = millis(100);
        config.connection.max_retries = 100_000;
        config.requests.retries = 2;
        config.requests.retry_delay_min = millis(10);
        config.requests.retry_delay_max = millis(50);
        config.requests.retry_budget = 100;
        setting(&mut config);
        let mainstay = Mainstay::builder().config(config).verbose(true).start().await.expect("it starts");
        let frames = mainstay.connection().frames();
        let events = mainstay.events();
        Self { mainstay, events, seen_events: Vec::new(), frames }
    }

    /// Starts a runtime that is connected to `server`.
    pub async fn start_connected(server: &RunningServer, setting: impl FnOnce(&mut Config)) -> Self {
        let mut fixture = Self::start(server, setting).await;
        fixture.wait_for_connection("connected").await;
        fixture
    }

    // === the journal ===

    /// Returns the next event for which `wanted` holds.
    pub async fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = match timeout(TEST_TIMEOUT, self.events.next()).await {
                Ok(Some(Delivery::Event(record))) => serde_json::to_value(record).expect("a record is JSON"),
                other => panic!("{what} never came: {other:?}; so far:\n{}", lines_of(&self.seen_events)),
            };
            self.seen_events.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Returns the next change of the connection to `state`.
    pub async fn wait_for_connection(&mut self, state: &str) -> Value {
        self.wait_for(state, |event| event["kind"] == "connection_state" && event["to"] == state).await
    }

    /// Returns the next event of this kind.
    pub async fn wait_for_event(&mut self, kind: &str) -> Value {
        self.wait_for(kind, |event| event["kind"] == kind).await
    }

    /// Returns the number of events of this kind so far.
    pub fn count(&self, kind: &str) -> usize {
        self.seen_events.iter().filter(|event| event["kind"] == kind).count()
    }

    // === the WebSocket ===

    /// Sends the server's end of the WebSocket a command, and waits until it is written.
    pub async fn send_command(&self, order: Value) {
        assert_eq!(self.send(order.to_string()).await, SendOutcome::Sent, "{order}");
    }

    /// Sends a text, and returns its outcome.
    pub async fn send(&self, text: String) -> SendOutcome {
        self.mainstay.connection().send(text, TEST_TIMEOUT).await.expect("the connection's actor answers")
    }

    /// Returns the next frame as it came.
    pub async fn text(&mut self) -> Arc<str> {
        loop {
            let inbound = timeout(TEST_TIMEOUT, self.frames.next()).await;
            let inbound =
                inbound.unwrap_or_else(|_| panic!("no frame came; events:\n{}", lines_of(&self.seen_events)));
            match inbound.expect("the connection is there") {
                Inbound::Text(text) => return text,
                // The journal records it as well.
                Inbound::Gap(_) | Inbound::Binary(_) => {}
                Inbound::Lagged(_) => panic!("frames were missed"),
            }
        }
    }

    /// Returns the next frame.
    pub async fn frame(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:.100}"))
    }

    /// Returns the numbers of the events until the server's last word, which this asks for. The server obeys in order,
    /// so every earlier command has taken effect by then.
    pub async fn seqs(&mut self) -> Vec<u64> {
        let end = json!({ "type": "end" });
        self.send_command(json!({ "do": "say", "text": end.to_string() })).await;
        let mut seqs = Vec::new();
        loop {
            let frame = self.frame().await;
            if frame == end {
                return seqs;
            }
            seqs.push(frame["seq"].as_u64().unwrap_or_else(|| panic!("no event: {frame}")));
        }
    }

    // === requests ===

    /// Makes a request, and returns its outcome.
    pub async fn request(&self, request: RequestBuilder) -> Result<Response, Error> {
        send_request(&self.mainstay, request).await
    }

    /// Returns the JSON of a response that must come.
    pub async fn request_json(&self, request: RequestBuilder) -> Value {
        let response = self.request(request).await.unwrap_or_else(|error| panic!("{error:?}"));
        response.json().unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Returns what the server has recorded under this name.
    pub async fn requests_seen(&self, name: &str) -> Vec<Value> {
        let mut seen = self.request_json(Request::get(format!("/seen?name={name}"))).await;
        serde_json::from_value(seen[name].take()).expect("it is a list")
    }
}

/// A server, and a runtime against it.
pub type ServerAndRuntime = (RunningServer, ForeignFixture);

/// Leaves a server to be started.
pub async fn to_start(spec: ServerSpec) -> ServerSpec {
    spec
}

/// Starts a server, and a runtime against it.
pub async fn started(spec: ServerSpec) -> ServerAndRuntime {
    let server = spec.start().await;
    let fixture = ForeignFixture::start(&server, |_| ()).await;
    (server, fixture)
}

/// Starts a server, and a runtime that is connected to it.
pub async fn connected(spec: ServerSpec) -> ServerAndRuntime {
    let (server, mut fixture) = started(spec).await;
    fixture.wait_for_connection("connected").await;
    (server, fixture)
}

/// The retries last long enough for a server to start again on a loaded machine.
pub fn retries_for_restart(config: &mut Config) {
    config.requests.retries = 10;
    config.requests.retry_delay_min = millis(1_000);
    config.requests.retry_delay_max = millis(2_000);
}

/// The outcome of a request.
pub async fn send_request(mainstay: &Mainstay, request: RequestBuilder) -> Result<Response, Error> {
    let request: Request = request.build().expect("the request is valid");
    timeout(TEST_TIMEOUT, mainstay.request(request)).await.expect("every request ends")
}

fn lines_of(values: &[impl Debug]) -> String {
    values.iter().map(|value| format!("{value:?}\n")).collect()
}

pub const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
