//! Sessions about agents, against the embedded backend.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_actors::agent::{AgentUpdate, UPDATES_BUFFERED_MAX, UpdateKind};
use mainstay_actors::connection::status::{ConnectionState, ConnectionStatus};
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{Delivery, Record};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{BridgeCommand, serve};
use crate::Reason;
use crate::backend::{Backend, BackendOptions};
use crate::config::Config;
use crate::mainstay::Mainstay;
use crate::subscription::Subscription;

/// After this a test has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

struct BridgeFixture {
    backend: Backend,
    mainstay: Mainstay,
    events: Subscription,
}

impl BridgeFixture {
    async fn start() -> Self {
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

    async fn with_session() -> (Self, TestSession) {
        let fixture = Self::start().await;
        let session = TestSession::open(&fixture);
        (fixture, session)
    }

    async fn fault(&self, fault: Value) {
        let url = format!("{}/_fault", self.backend.url());
        // The client speaks plain HTTP, but has to know a provider of TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sent = reqwest::Client::new().post(url).body(fault.to_string()).send().await.unwrap();
        assert!(sent.status().is_success(), "{fault}");
    }

    /// From now on the planner answers no message.
    async fn delay_messages(&self) {
        let path = "/api/agents/planner/message";
        self.fault(json!({"kind": "slow", "path": path, "ms": 3_600_000, "times": 1000})).await;
    }

    async fn wait_for_event(&mut self, kind: &str) -> Record {
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

    fn publish_update(&self, update: Value) {
        let handle = self.mainstay.agents().handle("planner").unwrap();
        handle.updates.publish(AgentUpdate::new(UpdateKind::Message, update));
    }

    async fn stop(self) {
        self.mainstay.shutdown().await;
        self.backend.stop().await;
    }
}

struct TestSession {
    commands: mpsc::Sender<String>,
    texts: mpsc::Receiver<String>,
    _session: JoinSet<()>,
}

impl TestSession {
    fn open(fixture: &BridgeFixture) -> Self {
        Self::of(&fixture.mainstay)
    }

    fn of(mainstay: &Mainstay) -> Self {
        Self::with_room(mainstay, 1)
    }

    /// Opens a session whose client may leave so many texts untaken.
    fn with_room(mainstay: &Mainstay, texts: usize) -> Self {
        let (commands, incoming) = mpsc::channel(1);
        let (outgoing, texts) = mpsc::channel(texts);
        let mut session = JoinSet::new();
        session.spawn(serve(mainstay.clone(), incoming, outgoing));
        Self { commands, texts, _session: session }
    }

    async fn send_command(&self, id: u64, action: &str, members: Value) {
        let mut command = json!({"id": id, "type": "agent", "agent": "planner", "action": action});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.commands.send(command.to_string()).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        serde_json::from_str(&self.receive_text().await).unwrap()
    }

    /// Returns the next text that is not the number of a request.
    async fn receive_text(&mut self) -> String {
        loop {
            let text = timeout(TEST_TIMEOUT, self.texts.recv()).await.expect("it says something").unwrap();
            if !text.contains("\"accepted\":{\"request_id\"") {
                return text;
            }
        }
    }

    /// Sends a command, and returns its reply.
    async fn command(&mut self, command: Value) -> Value {
        self.commands.send(with_id(1, &command)).await.unwrap();
        self.receive().await["ok"].take()
    }

    async fn request(&mut self, action: &str, members: Value) -> Value {
        self.send_command(1, action, members).await;
        self.receive().await
    }

    /// Makes a request that is answered without a result.
    async fn acknowledge(&mut self, action: &str) {
        assert_eq!(self.request(action, json!({})).await, json!({"id": 1, "ok": null}), "{action}");
    }

    /// Returns the next two replies, the one with the lower id first.
    async fn two_replies(&mut self) -> [Value; 2] {
        let mut replies = [self.receive().await, self.receive().await];
        replies.sort_by_key(|reply| reply["id"].as_u64());
        replies
    }

    /// Sends a message, and returns its number.
    async fn send_message(&mut self, id: u64) -> Value {
        self.send_command(id, "send", json!({"body": {"text": id}})).await;
        let mut frame = self.receive().await;
        assert_eq!((&frame["agent"], &frame["accepted"]["id"]), (&json!("planner"), &json!(id)), "{frame}");
        frame["accepted"]["message_id"].take()
    }
}

#[tokio::test]
async fn message_is_acknowledged_then_answered_once() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    assert_eq!(session.send_message(1).await, 1);
    let reply = session.receive().await;
    assert_eq!((&reply["id"], &reply["ok"]["message_id"]), (&json!(1), &json!(1)), "{reply}");
    assert_eq!(reply["ok"]["answer"]["count"], 1, "{reply}");
    assert_eq!(session.send_message(2).await, 2);
    assert_eq!(session.receive().await["ok"]["answer"]["count"], 2);
    fixture.stop().await;
}

#[tokio::test]
async fn message_is_cancelled_once_and_its_sender_is_notified() {
    let fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let (mut session, mut other) = (TestSession::open(&fixture), TestSession::open(&fixture));
    let message_id = session.send_message(7).await;
    assert_eq!(
        other.request("cancel", json!({"message_id": message_id})).await["ok"],
        json!({"cancelled": true})
    );
    let reply = session.receive().await;
    assert_eq!((&reply["id"], &reply["error"]["reason"]), (&json!(7), &json!("cancelled")), "{reply}");
    assert_eq!(
        other.request("cancel", json!({"message_id": message_id})).await["ok"],
        json!({"cancelled": false})
    );
    fixture.stop().await;
}

#[tokio::test]
async fn session_end_cancels_its_own_messages_only() {
    let mut fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let (mut leaving, mut staying) = (TestSession::open(&fixture), TestSession::open(&fixture));
    let kept = staying.send_message(1).await;
    let left = [leaving.send_message(1).await, leaving.send_message(2).await];
    drop(leaving);
    let mut failed = Vec::new();
    for _ in left.iter() {
        let record = fixture.wait_for_event("message_failed").await;
        assert_eq!(record.fields["reason"], "cancelled");
        failed.push(record.fields["message_id"].clone());
    }
    failed.sort_by_key(Value::as_u64);
    assert_eq!(failed, left);
    staying.send_command(2, "cancel", json!({"message_id": kept})).await;
    // The reply about the message itself may come first.
    let replies = staying.two_replies().await;
    assert_eq!(replies[0]["error"]["reason"], "cancelled");
    assert_eq!(replies[1]["ok"], json!({"cancelled": true}));
    fixture.stop().await;
}

#[tokio::test]
async fn commands_are_answered_while_many_messages_wait() {
    let fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let mut session = TestSession::open(&fixture);
    // One, and 64 that wait: more than commands may be.
    let mut messages = BTreeSet::new();
    for id in 1..=65 {
        messages.insert(session.send_message(id).await.as_u64().unwrap());
    }
    assert_eq!(messages.len(), 65);
    let refused = session.request("send", json!({"body": null})).await;
    assert_eq!(refused["error"]["reason"], "queue_full", "{refused}");
    let shown = session.request("show", json!({})).await["ok"].take();
    assert_eq!(shown["messages_in_flight"], 1, "{shown}");
    assert_eq!(shown["messages_waiting"], 64, "{shown}");
    fixture.stop().await;
}

#[tokio::test]
async fn updates_are_pushed_until_unlisten_or_removal() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    fixture.publish_update(json!("before"));
    session.acknowledge("listen").await;
    session.acknowledge("listen").await;
    fixture.publish_update(json!("now"));
    let update = json!({"seq": 2, "kind": "message", "body": "now"});
    assert_eq!(session.receive().await, json!({"agent": "planner", "update": update}));
    session.acknowledge("unlisten").await;
    fixture.publish_update(json!("after"));
    session.acknowledge("listen").await;
    fixture.mainstay.agents().remove("planner").await.unwrap();
    assert_eq!(session.receive().await, json!({"agent": "planner", "ended": true}));
    fixture.stop().await;
}

#[tokio::test]
async fn slow_listener_gets_lagged_count_and_bounded_buffer() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.acknowledge("listen").await;
    let sent = 4 * UPDATES_BUFFERED_MAX;
    for number in 0..sent {
        fixture.publish_update(json!(number));
    }
    let (mut next, mut lost) = (0, 0);
    while next < sent {
        let frame = session.receive().await;
        match frame["lagged"].as_u64() {
            Some(count) => {
                lost += count;
                next += usize::try_from(count).unwrap();
            }
            None => {
                assert_eq!(
                    frame["update"]["body"],
                    json!(next),
                    "in order, and with no gap that is not counted"
                );
                next += 1;
            }
        }
    }
    assert!(lost >= (sent - UPDATES_BUFFERED_MAX - 2) as u64, "{lost}");
    fixture.stop().await;
}

#[tokio::test]
async fn agents_are_added_and_removed_with_errors_by_key() {
    let (mut fixture, mut session) = BridgeFixture::with_session().await;
    let ask = async |session: &mut TestSession, agent: &str, action: &str, members: Value| {
        let mut members = members;
        members["agent"] = json!(agent);
        session.request(action, members).await
    };
    let added = ask(&mut session, "later", "add", json!({"config": {"fail_after": 7}})).await;
    let shown = &added["ok"];
    assert_eq!(shown["id"], "later");
    assert_eq!(shown["fail_after"], 7);
    assert_eq!(shown["budget"]["max"], 9);
    while fixture.wait_for_event("agent_health").await.actor != "root/agents/later" {}
    for (agent, config, reason, named) in [
        ("later", json!({}), "conflict", "later"),
        ("planner", json!({}), "conflict", "planner"),
        ("more", json!({"id": "else"}), "invalid_request", "\"id\" in \"config\""),
        ("more", json!({"fail_after": 0}), "invalid_config", "\"fail_after\" must"),
        ("more", json!({"max_restart": 1}), "invalid_config", "\"max_restarts\""),
        ("no name", json!({}), "invalid_config", "\"id\" must"),
        ("more", json!({"driver": "process"}), "invalid_config", "\"command\" must"),
        ("more", json!(["id"]), "invalid_request", "\"config\" must be an object, not a list"),
    ] {
        let refused = ask(&mut session, agent, "add", json!({"config": config})).await;
        let error = &refused["error"];
        let details = error["details"].as_str().unwrap_or_default();
        assert_eq!(error["reason"].as_str(), Some(reason), "{agent} {config}: {refused}");
        assert!(details.contains(named), "{agent} {config}: {refused}");
    }
    assert_eq!(ask(&mut session, "later", "remove", json!({})).await["ok"], Value::Null);
    for action in ["remove", "show", "listen"] {
        assert_eq!(
            ask(&mut session, "later", action, json!({})).await["error"]["reason"],
            "agent_unknown",
            "{action}"
        );
    }
    let again = ask(&mut session, "later", "add", json!({"config": {}})).await;
    assert_eq!(again["ok"]["fail_after"], 3, "nothing of the first one is left");
    fixture.stop().await;
}

#[tokio::test]
async fn malformed_command_names_the_wrong_member() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    for (action, members, named) in [
        ("send", json!({}), "\"body\" is"),
        (
            "send",
            json!({"body": 1, "may_repeat": "yes"}),
            "\"may_repeat\" must be true or false, not a string",
        ),
        ("send", json!({"body": 1, "wait": 5}), "\"wait\" is"),
        ("cancel", json!({}), "\"message_id\" is"),
        ("cancel", json!({"message_id": -1}), "\"message_id\" must be a whole number of at least 0"),
        ("answer", json!({"ask": "a1"}), "\"body\" is"),
        ("answer", json!({"body": 1}), "\"ask\" is"),
        ("add", json!({}), "\"config\" is"),
        ("show", json!({"surplus": 1}), "\"surplus\" is"),
        ("listen", json!({"after": "1"}), "\"after\" must be a whole number of at least 0, not a string"),
        ("unlisten", json!({"after": 1}), "\"after\" is"),
        ("dance", json!({}), "\"dance\" is"),
        ("sho", json!({}), "\"sho\" is not known here; did you mean \"show\"?"),
        ("show", json!({"agent": 5}), "\"agent\" must be a string, not an integer"),
    ] {
        let refused = session.request(action, members.clone()).await;
        let (reason, details) =
            (&refused["error"]["reason"], refused["error"]["details"].as_str().unwrap_or_default());
        assert_eq!(reason, &json!("invalid_request"), "{action} {members}: {refused}");
        assert!(details.contains(named), "{action} {members}: {refused}");
    }
    let asks_nothing = session.request("answer", json!({"ask": "a1", "body": 1})).await;
    assert_eq!(asks_nothing["error"]["reason"], "not_found", "{asks_nothing}");
    fixture.stop().await;
}

#[tokio::test]
async fn hello_says_who_answers() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let before = fixture.mainstay.now();
    let mut hello = session.command(json!({"type": "hello"})).await;
    let now: WallTime = serde_json::from_value(hello["now"].take()).unwrap();
    assert!(now.0.as_millisecond() >= before.0.as_millisecond() && now.0 <= fixture.mainstay.now().0);
    let journal = fixture.mainstay.journal();
    let capabilities = ["requests", "streams", "frames", "agents", "cache", "files", "logs", "incidents"];
    let expected = json!({
        "protocol": 1, "version": env!("CARGO_PKG_VERSION"), "run": journal.run(), "boot": journal.boot(),
        "now": null, "capabilities": capabilities,
    });
    assert_eq!(hello, expected);
    fixture.stop().await;
}

/// A client that comes back gets the rest of the conversation once, also of a message that outlived its session.
#[tokio::test]
async fn detached_message_outlives_session_and_its_end_is_kept() {
    let fixture = BridgeFixture::start().await;
    fixture.delay_messages().await;
    let mut leaving = TestSession::open(&fixture);
    leaving.send_command(1, "send", json!({"body": "stays", "detached": true})).await;
    let kept = leaving.receive().await["accepted"]["message_id"].take();
    let cancelled = leaving.send_message(2).await;
    drop(leaving);
    let mut session = TestSession::open(&fixture);
    session.send_command(1, "listen", json!({"after": 0})).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let text = session.receive().await;
        if text["id"].is_null() {
            seen.push(text["update"].clone());
        }
    }
    let about =
        |update: &Value| (update["seq"].clone(), update["kind"].clone(), update["message_id"].clone());
    assert_eq!(about(&seen[0]), (json!(1), json!("sent"), kept.clone()));
    assert_eq!(seen[0]["body"], "stays");
    assert_eq!(about(&seen[1]), (json!(2), json!("ended"), cancelled), "it was never delivered");
    session.send_command(2, "cancel", json!({"message_id": kept})).await;
    let mut last = session.receive().await;
    while last["update"].is_null() {
        last = session.receive().await;
    }
    assert_eq!(about(&last["update"]), (json!(3), json!("ended"), kept), "it ran until then");
    assert_eq!(last["update"]["body"]["error"]["reason"], "cancelled");
    let mut late = TestSession::open(&fixture);
    late.send_command(1, "listen", json!({"after": 2})).await;
    let texts = [late.receive().await, late.receive().await];
    assert!(texts.contains(&last) && texts.contains(&json!({"id": 1, "ok": null})), "{texts:?}");
    fixture.stop().await;
}

// === cache ===

#[tokio::test]
async fn cache_keeps_values_as_written_and_bytes_as_base64() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let get = |key: &str| json!({"type": "cache", "action": "get", "key": key});
    assert_eq!(session.command(get("notes:a")).await, json!({"hit": false}));
    let value = r#"{"b":12345678901234567890123,"a":1E2}"#;
    let put = format!(r#"{{"id":1,"type":"cache","action":"put","key":"notes:a","value":{value}}}"#);
    session.commands.send(put).await.unwrap();
    assert_eq!(session.receive().await["ok"], Value::Null);
    session.commands.send(with_id(1, &get("notes:a"))).await.unwrap();
    let got = session.receive_text().await;
    assert_eq!(got, format!(r#"{{"id":1,"ok":{{"hit":true,"value":{value}}}}}"#));
    for (members, expected) in [
        (json!({"base64": "AP8="}), json!({"hit": true, "base64": "AP8="})),
        (json!({"value": null}), json!({"hit": true, "value": null})),
        (json!({"value": 1, "ttl_ms": 0}), json!({"hit": false})),
    ] {
        let mut put = json!({"type": "cache", "action": "put", "key": "notes:b"});
        put.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        assert_eq!(session.command(put).await, Value::Null, "{members}");
        assert_eq!(session.command(get("notes:b")).await, expected, "{members}");
    }
    for wrong in [
        json!({"action": "put", "key": "notes:c"}),
        json!({"action": "put", "key": "notes:c", "value": 1, "base64": ""}),
        json!({"action": "put", "key": "notes:c", "base64": "%"}),
        json!({"action": "put", "key": "http:/a", "value": 1}),
        json!({"action": "get"}),
    ] {
        let mut command = wrong.clone();
        command["type"] = json!("cache");
        session.commands.send(with_id(1, &command)).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], "invalid_request", "{wrong}");
    }
    fixture.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_read_in_watched_folders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::write(root.join("text"), "hello").unwrap();
    std::fs::write(root.join("bytes"), [0, 0xff]).unwrap();
    std::fs::File::create(root.join("huge")).unwrap().set_len((16 << 20) + 1).unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link")).unwrap();
    let mut config = Config::default();
    config.cache.watch = vec![root.clone()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut session = TestSession::of(&mainstay);
    let file = |path: &std::path::Path| json!({"type": "cache", "action": "file", "path": path});
    assert_eq!(session.command(file(&root.join("text"))).await, json!({"text": "hello"}));
    assert_eq!(session.command(file(&root.join("bytes"))).await, json!({"base64": "AP8="}));
    for (path, reason) in [
        (root.join("missing"), "not_found"),
        (root.join("huge"), "response_too_large"),
        (root.join("link"), "forbidden"),
        (root.join("../").join(outside.path().file_name().unwrap()).join("secret"), "forbidden"),
        (outside.path().join("secret"), "forbidden"),
        (outside.path().join("missing"), "forbidden"),
        ("text".into(), "forbidden"),
    ] {
        session.commands.send(with_id(1, &file(&path))).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], reason, "{}", path.display());
    }
    mainstay.shutdown().await;
}

// === requests ===

#[tokio::test]
async fn bodies_are_json_text_or_base64() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let echo = |members: Value| {
        let mut command = json!({"type": "request", "method": "POST", "path": "/api/echo"});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        command
    };
    let headers = json!({"content-type": "application/json"});
    let reply = session.command(echo(json!({"base64": "eyJhIjoxfQ==", "headers": headers}))).await;
    assert_eq!((&reply["status"], &reply["body"]), (&json!(200), &json!({"a": 1})), "{reply}");
    for wrong in [
        json!({"base64": "AP8=", "body": 1}),
        json!({"base64": "AP8=", "stream_body": true}),
        json!({"base64": "%"}),
        json!({"stream": true, "cache_ms": 1}),
        json!({"stream": true, "shared": true}),
    ] {
        session.commands.send(with_id(1, &echo(wrong.clone()))).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], "invalid_request", "{wrong}");
    }
    for (command, reason) in [
        (json!({"action": "write", "request": 99, "base64": ""}), "not_found"),
        (json!({"action": "end", "request": 99}), "not_found"),
        (json!({"action": "abort", "request": 99}), "not_found"),
        (json!({"action": "ack", "request": 99, "chunks": -1}), "invalid_request"),
    ] {
        let mut command = command;
        command["type"] = json!("body");
        session.commands.send(with_id(1, &command)).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], reason, "{command}");
    }
    let ack = json!({"type": "body", "action": "ack", "request": 99, "chunks": 1});
    assert_eq!(session.command(ack).await, Value::Null, "it may come after the end");
    fixture.stop().await;
}

#[tokio::test]
async fn request_number_comes_before_its_reply() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let request = json!({"type": "request", "method": "POST", "path": "/api/echo", "body": 1});
    session.commands.send(with_id(5, &request)).await.unwrap();
    let mut next = async || serde_json::from_str::<Value>(&session.texts.recv().await.unwrap()).unwrap();
    let (accepted, reply) = (next().await, next().await);
    assert_eq!(accepted["request"], 5);
    assert_eq!(accepted["accepted"]["request_id"], reply["ok"]["request_id"], "{accepted} {reply}");
    fixture.stop().await;
}

/// Sends a request that gets no answer.
async fn hold_request(fixture: &BridgeFixture) -> Value {
    fixture.fault(json!({"kind": "slow", "path": "/api/files", "ms": 3_600_000, "times": 1000})).await;
    json!({"type": "request", "method": "GET", "path": "/api/files"})
}

fn with_id(id: u64, command: &Value) -> String {
    let mut command = command.clone();
    command["id"] = id.into();
    command.to_string()
}

#[tokio::test]
async fn request_is_cancelled_once_by_its_command_id() {
    let mut fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::open(&fixture);
    session.commands.send(with_id(8, &request)).await.unwrap();
    fixture.wait_for_event("request_started").await;
    session.commands.send(with_id(9, &json!({"type": "cancel", "request": 8}))).await.unwrap();
    let [cancelled, cancel] = session.two_replies().await;
    assert_eq!((&cancelled["id"], &cancelled["error"]["reason"]), (&json!(8), &json!("cancelled")));
    assert_eq!((&cancel["id"], &cancel["ok"]), (&json!(9), &json!({"cancelled": true})));
    assert_eq!(
        fixture.wait_for_event("request_failed").await.fields["reason"],
        "cancelled",
        "and at the queue as well"
    );
    session.commands.send(with_id(10, &json!({"type": "cancel", "request": 8}))).await.unwrap();
    assert_eq!(session.receive().await["ok"], json!({"cancelled": false}));
    fixture.stop().await;
}

#[tokio::test]
async fn waiting_requests_do_not_block_other_commands() {
    let fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::with_room(&fixture.mainstay, 256);
    for id in 1..=200 {
        session.commands.send(with_id(id, &request)).await.unwrap();
    }
    let reconnect = json!({"type": "connection", "action": "reconnect"});
    session.commands.send(with_id(201, &reconnect)).await.unwrap();
    assert_eq!(session.receive().await["id"], 201);
    fixture.stop().await;
}

impl TestSession {
    async fn connection(&mut self, id: u64, action: &str, members: Value) {
        let mut command = json!({"id": id, "type": "connection", "action": action});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.commands.send(command.to_string()).await.unwrap();
    }

    /// Returns the reply to a command and the frame that the backend sends because of it, in either order.
    async fn reply_and_frame(&mut self) -> (Value, Value) {
        let (first, second) = (self.receive().await, self.receive().await);
        if first["frame"].is_null() { (first, second) } else { (second, first) }
    }
}

#[tokio::test]
async fn frames_are_sent_with_outcome_and_pushed_by_filter() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.connection(1, "listen", json!({"types": ["po*"]})).await;
    assert_eq!(session.receive().await, json!({"id": 1, "ok": null}));
    let ping = json!({"text": r#"{"type":"ping"}"#});
    session.connection(2, "send", ping.clone()).await;
    let (reply, frame) = session.reply_and_frame().await;
    assert_eq!(reply, json!({"id": 2, "ok": {"outcome": "sent"}}));
    assert_eq!(frame, json!({"frame": {"text": r#"{"type":"pong"}"#}}));

    // The backend answers a binary frame by an error, which the filter leaves out.
    session.connection(3, "send", json!({"base64": "AP8="})).await;
    assert_eq!(session.receive().await["ok"]["outcome"], "sent");
    session.connection(4, "send", ping).await;
    assert_eq!(session.reply_and_frame().await.1, frame);
    session.connection(5, "listen", json!({"types": ["error"]})).await;
    session.receive().await;
    session.connection(6, "send", json!({"base64": "AP8="})).await;
    let text = session.reply_and_frame().await.1["frame"]["text"].take();
    assert!(text.as_str().unwrap().contains("binary"), "{text}");
    fixture.stop().await;
}

#[tokio::test]
async fn frame_that_cannot_be_sent_is_an_error() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    for members in [json!({}), json!({"text": "a", "base64": ""}), json!({"base64": "%"})] {
        session.connection(1, "send", members.clone()).await;
        let reply = session.receive().await;
        assert_eq!(reply["error"]["reason"], "invalid_request", "{members} {reply}");
    }
    session.connection(2, "disconnect", json!({})).await;
    assert_eq!(session.receive().await["ok"]["state"], "disconnected");
    session.connection(3, "send", json!({"text": "late", "wait_timeout_ms": 1})).await;
    assert_eq!(session.receive().await["error"]["reason"], "expired");
    fixture.stop().await;
}

#[tokio::test]
async fn reconnect_tells_what_was_done() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let mut status = fixture.mainstay.connection().watch();
    let is_connected = |status: &ConnectionStatus| status.state == ConnectionState::Connected;
    timeout(TEST_TIMEOUT, status.wait_for(is_connected)).await.unwrap().unwrap();
    session.connection(1, "reconnect", json!({})).await;
    let reply = session.receive().await;
    assert_eq!(
        (&reply["ok"]["state"], &reply["ok"]["reconnected"]),
        (&json!("connected"), &json!("replaced"))
    );
    session.connection(2, "disconnect", json!({})).await;
    session.receive().await;
    session.connection(3, "reconnect", json!({})).await;
    assert_eq!(session.receive().await["ok"]["reconnected"], "opened");
    fixture.backend.stop().await;
    session.connection(4, "reconnect", json!({})).await;
    assert_eq!(session.receive().await["error"]["reason"], "connection_refused");
    fixture.mainstay.shutdown().await;
}

#[tokio::test]
async fn slow_listener_of_frames_learns_how_many_it_lost() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    session.connection(1, "listen", json!({})).await;
    session.receive().await;
    let connection = fixture.mainstay.connection();
    let mut frames = connection.frames();
    // The session's channel holds one text, and this test takes none meanwhile.
    for _ in 0..2000 {
        connection.send(r#"{"type":"ping"}"#, TEST_TIMEOUT).await.unwrap();
        timeout(TEST_TIMEOUT, frames.next()).await.unwrap().unwrap();
    }
    let (mut got, mut lost) = (0, 0);
    while got + lost < 2000 {
        let frame = session.receive().await["frame"].take();
        match frame["lagged"].as_u64() {
            Some(count) => lost += count,
            None => got += 1,
        }
    }
    assert!(lost > 0 && got > 1000, "{got} {lost}");
    fixture.stop().await;
}

#[test]
fn parse_puts_the_last_body_in_its_place_as_written() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let parse = |command: &str, body: &str| {
        let text = format!("{{\"body\":7,\"id\":1,{command}, \"body\" : {body} }}");
        let (id, command) = super::command::parse(&text);
        assert_eq!(id, Some(1), "{text}");
        command
    };
    let commands = [
        r#""type":"request","method":"POST","path":"/a""#,
        r#""type":"agent","agent":"planner","action":"send""#,
        r#""type":"agent","agent":"planner","action":"answer","ask":"a1""#,
    ];
    for command in commands {
        for body in [
            "1e999",
            "-0.0",
            r#""\ud83d""#,
            r#"{"b":18446744073709551616,"a":1.0,"b":1E2}"#,
            "true",
            &deep(127),
        ] {
            let placed = match parse(command, body).unwrap() {
                BridgeCommand::Request(request) => request.body.unwrap(),
                BridgeCommand::Agent(mut command) => command.action.body_mut().unwrap().clone(),
                other => panic!("{other:?}"),
            };
            assert_eq!(placed.as_str(), body, "{command}");
        }
        let error = parse(command, &deep(128)).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest);
        assert!(error.log_text().contains("127 levels"), "{error:?}");
    }
    let Ok(BridgeCommand::Request(request)) = parse(commands[0], "null") else { panic!("it is a request") };
    assert_eq!(request.body, None);
    assert!(parse(r#""type":"status""#, "null").is_err());
}

#[tokio::test]
async fn body_passes_through_a_session_as_it_was_written() {
    let fixture = BridgeFixture::start().await;
    let mut session = TestSession::open(&fixture);
    let body = r#"{"b":12345678901234567890123,"a":[1E2,1.10,1e999,-0.0,"\u00e4","\ud800"],"b":1.0}"#;
    let command = format!(
        "\u{feff}{{\"id\":1,\"type\":\"request\",\"method\":\"POST\",\"path\":\"/api/echo\",\"body\":{body}}}"
    );
    session.commands.send(command).await.unwrap();
    let reply = session.receive_text().await;
    assert!(reply.contains(&format!("\"body\":{body}")), "{reply}");
    fixture.stop().await;
}

#[tokio::test]
async fn request_of_another_session_is_listed_moved_and_cancelled() {
    let mut fixture = BridgeFixture::start().await;
    let request = hold_request(&fixture).await;
    let mut session = TestSession::with_room(&fixture.mainstay, 16);
    let mut other = TestSession::open(&fixture);
    // Five run, and the sixth waits.
    for id in 1..=6 {
        session.commands.send(with_id(id, &request)).await.unwrap();
    }
    for _ in 1..=5 {
        fixture.wait_for_event("request_started").await;
    }
    let list = json!({"type": "requests", "action": "show"});
    let waiting = loop {
        let listed = other.command(list.clone()).await;
        let waiting =
            listed.as_array().unwrap().iter().find(|request| request["phase"] == "waiting").cloned();
        if let Some(waiting) = waiting {
            break waiting;
        }
    };
    assert_eq!((&waiting["path"], &waiting["priority"]), (&json!("/api/files"), &json!("normal")));
    let id = &waiting["request_id"];
    let prioritize =
        json!({"type": "requests", "action": "prioritize", "request_id": id, "priority": "high"});
    assert_eq!(other.command(prioritize.clone()).await, json!({"prioritized": true}));
    let listed = other.command(list).await;
    let is_moved = |request: &Value| request["request_id"] == *id && request["priority"] == "high";
    assert!(listed.as_array().unwrap().iter().any(is_moved), "{listed}");
    let cancel = json!({"type": "requests", "action": "cancel", "request_id": id});
    assert_eq!(other.command(cancel.clone()).await, json!({"cancelled": true}));
    assert_eq!(session.receive().await["error"]["reason"], "cancelled");
    assert_eq!(other.command(cancel).await, json!({"cancelled": false}));
    assert_eq!(other.command(prioritize).await, json!({"prioritized": false}));
    fixture.stop().await;
}

// === files ===

#[tokio::test]
async fn changes_of_files_are_pushed_to_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    let mut config = Config::default();
    config.cache.watch = vec![root.clone()];
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let mut events = mainstay.events();
    while !matches!(events.next().await, Some(Delivery::Event(record)) if record.kind == "watch_started") {}
    let mut session = TestSession::of(&mainstay);
    let files = |action: &str| json!({"type": "files", "action": action});
    assert_eq!(session.command(files("listen")).await, Value::Null);
    std::fs::write(root.join("new"), "new").unwrap();
    let change = loop {
        let change = session.receive().await;
        // The folder itself changes as well.
        if change["file"]["path"] == json!(root.join("new")) {
            break change;
        }
    };
    assert_eq!(change["file"]["kind"], "created");
    assert_eq!(session.command(files("unlisten")).await, Value::Null);
    mainstay.shutdown().await;
}
