//! A runtime with an embedded backend, and sessions with it.

use super::*;

pub(super) struct BridgeFixture {
    pub(super) backend: Backend,
    pub(super) mainstay: Mainstay,
    pub(super) events: Subscription,
}

impl BridgeFixture {
    pub(super) async fn start() -> Self {
        let agents = ["planner", "coder", "later"].map(str::to_owned).into();
        let backend = Backend::bind(BackendOptions { agents, ..BackendOptions::default() }).await.unwrap();
        let config = format!(
            "[backend]\nurl = \"{}\"\n[agents]\nhealth_interval = \"50ms\"\nmax_restarts = 9\n\
             [[agent]]\nid = \"planner\"\n[[agent]]\nid = \"coder\"\n",
            backend.url()
        );
        let config = Config::from_toml(&config).unwrap();
        let mainstay = Mainstay::builder().config(config).verbose(true).start().await.unwrap();
        let events = mainstay.events();
        Self { backend, mainstay, events }
    }

    pub(super) async fn with_session() -> (Self, TestSession) {
        let fixture = Self::start().await;
        let session = TestSession::open(&fixture);
        (fixture, session)
    }

    pub(super) async fn fault(&self, fault: Value) {
        let url = format!("{}/_fault", self.backend.url());
        // The client speaks plain HTTP, but has to know a provider of TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sent = reqwest::Client::new().post(url).body(fault.to_string()).send().await.unwrap();
        assert!(sent.status().is_success(), "{fault}");
    }

    /// From now on the planner answers no message.
    pub(super) async fn delay_messages(&self) {
        let path = "/api/agents/planner/message";
        self.fault(json!({"kind": "slow", "path": path, "ms": 3_600_000, "times": 1000})).await;
    }

    pub(super) async fn wait_for_event(&mut self, kind: &str) -> Record {
        loop {
            let delivery = timeout(TEST_TIMEOUT, self.events.next()).await;
            let Some(Delivery::Event(record)) = delivery.unwrap_or_else(|_| panic!("no {kind} came")) else {
                panic!("events are missing")
            };
            if record.kind == kind {
                return *record;
            }
        }
    }

    pub(super) fn publish_update(&self, update: Value) {
        let handle = self.mainstay.agents().handle("planner").unwrap();
        handle.updates.publish(AgentUpdate::new(UpdateKind::Message, update));
    }

    pub(super) async fn stop(self) {
        self.mainstay.shutdown().await;
        self.backend.stop().await;
    }
}

pub(super) struct TestSession {
    pub(super) commands: mpsc::Sender<String>,
    pub(super) texts: mpsc::Receiver<String>,
    pub(super) _session: JoinSet<()>,
}

impl TestSession {
    pub(super) fn open(fixture: &BridgeFixture) -> Self {
        Self::of(&fixture.mainstay)
    }

    pub(super) fn of(mainstay: &Mainstay) -> Self {
        Self::with_room(mainstay, 1)
    }

    /// Opens a session whose client may leave so many texts untaken.
    pub(super) fn with_room(mainstay: &Mainstay, texts: usize) -> Self {
        let (commands, incoming) = mpsc::channel(1);
        let (outgoing, texts) = mpsc::channel(texts);
        let mut session = JoinSet::new();
        session.spawn(serve(mainstay.clone(), incoming, outgoing));
        Self { commands, texts, _session: session }
    }

    pub(super) async fn send_command(&self, id: u64, action: &str, members: Value) {
        let mut command = json!({"id": id, "type": "agent", "agent": "planner", "action": action});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.commands.send(command.to_string()).await.unwrap();
    }

    pub(super) async fn receive(&mut self) -> Value {
        serde_json::from_str(&self.receive_text().await).unwrap()
    }

    /// Returns the next text that is not the number of a request.
    pub(super) async fn receive_text(&mut self) -> String {
        loop {
            let text = timeout(TEST_TIMEOUT, self.texts.recv()).await.expect("it says something").unwrap();
            if !text.contains("\"accepted\":{\"request_id\"") {
                return text;
            }
        }
    }

    /// Sends a command, and returns its reply.
    pub(super) async fn command(&mut self, command: Value) -> Value {
        self.commands.send(with_id(1, &command)).await.unwrap();
        self.receive().await["ok"].take()
    }

    pub(super) async fn request(&mut self, action: &str, members: Value) -> Value {
        self.send_command(1, action, members).await;
        self.receive().await
    }

    /// Makes a request that is answered without a result.
    pub(super) async fn acknowledge(&mut self, action: &str) {
        assert_eq!(self.request(action, json!({})).await, json!({"id": 1, "ok": null}), "{action}");
    }

    /// Listens to the planner, and returns the number after which the updates begin.
    pub(super) async fn listen(&mut self, members: Value) -> Value {
        self.request("listen", members).await["ok"]["seq"].take()
    }

    /// Returns the next two replies, the one with the lower id first.
    pub(super) async fn two_replies(&mut self) -> [Value; 2] {
        let mut replies = [self.receive().await, self.receive().await];
        replies.sort_by_key(|reply| reply["id"].as_u64());
        replies
    }

    /// Sends a message, and returns its number.
    pub(super) async fn send_message(&mut self, id: u64) -> Value {
        self.send_command(id, "send", json!({"body": {"text": id}})).await;
        let mut frame = self.receive().await;
        assert_eq!((&frame["agent"], &frame["accepted"]["id"]), (&json!("planner"), &json!(id)), "{frame}");
        frame["accepted"]["message_id"].take()
    }

    pub(super) async fn connection(&mut self, id: u64, action: &str, members: Value) {
        let mut command = json!({"id": id, "type": "connection", "action": action});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.commands.send(command.to_string()).await.unwrap();
    }

    /// Returns the reply to a command and the frame that the backend sends because of it, in either order.
    pub(super) async fn reply_and_frame(&mut self) -> (Value, Value) {
        let (first, second) = (self.receive().await, self.receive().await);
        if first["frame"].is_null() { (first, second) } else { (second, first) }
    }
}

pub(super) fn with_id(id: u64, command: &Value) -> String {
    let mut command = command.clone();
    command["id"] = id.into();
    command.to_string()
}
