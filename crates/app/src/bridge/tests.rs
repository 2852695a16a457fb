//! Sessions about agents, against the embedded backend.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_actors::agent::{AgentUpdate, UPDATES_KEPT, UpdateKind};
use mainstay_runtime::journal::{Delivery, Record, Subscription};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::serve;
use crate::backend::{Backend, BackendConfig};
use crate::config::Config;
use crate::mainstay::Mainstay;

/// After this a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    backend: Backend,
    mainstay: Mainstay,
    events: Subscription,
}

impl Scene {
    async fn start() -> Self {
        let agents = ["planner", "coder", "later"].map(str::to_owned).into();
        let backend = Backend::bind(BackendConfig { agents, ..BackendConfig::default() }).await.unwrap();
        let config = format!(
            "[backend]\nurl = \"{}\"\n[agents]\nhealth_interval = \"50ms\"\nmax_restarts = 9\n\
             [[agent]]\nid = \"planner\"\n[[agent]]\nid = \"coder\"\n",
            backend.url()
        );
        let config = Config::from_toml(&config).unwrap();
        let mainstay = Mainstay::builder().config(config).verbose(true).start().await.unwrap();
        let events = mainstay.events_after(0);
        Self { backend, mainstay, events }
    }

    async fn fault(&self, fault: Value) {
        let url = format!("{}/_fault", self.backend.url());
        let sent = reqwest::Client::new().post(url).body(fault.to_string()).send().await.unwrap();
        assert!(sent.status().is_success(), "{fault}");
    }

    /// From now on the planner answers no letter.
    async fn slow(&self) {
        let path = "/api/agents/planner/message";
        self.fault(json!({"kind": "slow", "path": path, "ms": 3_600_000, "times": 1000})).await;
    }

    async fn next(&mut self, kind: &str) -> Record {
        loop {
            let delivery = timeout(PATIENCE, self.events.next()).await;
            let Delivery::Event(record) = delivery.unwrap_or_else(|_| panic!("no {kind} came")) else {
                panic!("events are missing")
            };
            if record.kind == kind {
                return *record;
            }
        }
    }

    fn say(&self, update: Value) {
        let line = self.mainstay.agents().line("planner").unwrap();
        line.feed.publish(AgentUpdate::new(UpdateKind::Message, update));
    }

    async fn end(self) {
        self.mainstay.shutdown().await;
        self.backend.stop().await;
    }
}

struct Session {
    commands: mpsc::Sender<String>,
    texts: mpsc::Receiver<String>,
    _session: JoinSet<()>,
}

impl Session {
    fn open(scene: &Scene) -> Self {
        let (commands, incoming) = mpsc::channel(1);
        let (outgoing, texts) = mpsc::channel(1);
        let mut session = JoinSet::new();
        session.spawn(serve(scene.mainstay.clone(), incoming, outgoing));
        Self { commands, texts, _session: session }
    }

    async fn say(&self, id: u64, action: &str, members: Value) {
        let mut command = json!({"id": id, "type": "agent", "agent": "planner", "action": action});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.commands.send(command.to_string()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let text = timeout(PATIENCE, self.texts.recv()).await.expect("it says something").unwrap();
        serde_json::from_str(&text).unwrap()
    }

    async fn ask(&mut self, action: &str, members: Value) -> Value {
        self.say(1, action, members).await;
        self.hear().await
    }

    /// Hands in a letter, and returns its number.
    async fn send(&mut self, id: u64) -> Value {
        self.say(id, "send", json!({"body": {"text": id}})).await;
        let mut told = self.hear().await;
        assert_eq!((&told["agent"], &told["accepted"]["id"]), (&json!("planner"), &json!(id)), "{told}");
        told["accepted"]["letter"].take()
    }
}

#[tokio::test]
async fn a_letter_is_answered_once_with_the_agents_answer_and_its_number_comes_before() {
    let scene = Scene::start().await;
    let mut session = Session::open(&scene);
    assert_eq!(session.send(1).await, 1);
    let reply = session.hear().await;
    assert_eq!((&reply["id"], &reply["ok"]["letter"]), (&json!(1), &json!(1)), "{reply}");
    assert_eq!(reply["ok"]["answer"]["count"], 1, "{reply}");
    assert_eq!(session.send(2).await, 2);
    assert_eq!(session.hear().await["ok"]["answer"]["count"], 2);
    scene.end().await;
}

#[tokio::test]
async fn a_letter_is_called_off_by_its_number_once_and_its_sender_is_told() {
    let scene = Scene::start().await;
    scene.slow().await;
    let (mut session, mut other) = (Session::open(&scene), Session::open(&scene));
    let letter = session.send(7).await;
    assert_eq!(other.ask("call_off", json!({"letter": letter})).await["ok"], json!({"called_off": true}));
    let reply = session.hear().await;
    assert_eq!((&reply["id"], &reply["error"]["reason"]), (&json!(7), &json!("cancelled")), "{reply}");
    assert_eq!(other.ask("call_off", json!({"letter": letter})).await["ok"], json!({"called_off": false}));
    scene.end().await;
}

#[tokio::test]
async fn a_session_that_ends_calls_its_letters_off_and_those_of_others_go_on() {
    let mut scene = Scene::start().await;
    scene.slow().await;
    let (mut leaving, mut staying) = (Session::open(&scene), Session::open(&scene));
    let kept = staying.send(1).await;
    let left = [leaving.send(1).await, leaving.send(2).await];
    drop(leaving);
    let mut failed = Vec::new();
    for _ in left.iter() {
        let record = scene.next("letter_failed").await;
        assert_eq!(record.fields["reason"], "cancelled");
        failed.push(record.fields["letter"].clone());
    }
    failed.sort_by_key(Value::as_u64);
    assert_eq!(failed, left);
    staying.say(2, "call_off", json!({"letter": kept})).await;
    // The letter's own end may be told before.
    let mut replies = [staying.hear().await, staying.hear().await];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    assert_eq!(replies[0]["error"]["reason"], "cancelled");
    assert_eq!(replies[1]["ok"], json!({"called_off": true}));
    scene.end().await;
}

#[tokio::test]
async fn many_letters_may_be_under_way_and_commands_are_answered_beside_them() {
    let scene = Scene::start().await;
    scene.slow().await;
    let mut session = Session::open(&scene);
    // One, and 64 that wait: more than commands may be.
    let mut letters = BTreeSet::new();
    for id in 1..=65 {
        letters.insert(session.send(id).await.as_u64().unwrap());
    }
    assert_eq!(letters.len(), 65);
    let refused = session.ask("send", json!({"body": null})).await;
    assert_eq!(refused["error"]["reason"], "queue_full", "{refused}");
    let shown = session.ask("show", json!({})).await["ok"].take();
    assert_eq!((&shown["letters_under_way"], &shown["letters_waiting"]), (&json!(1), &json!(64)), "{shown}");
    scene.end().await;
}

#[tokio::test]
async fn what_an_agent_says_is_pushed_to_those_who_listen_until_they_do_not() {
    let scene = Scene::start().await;
    let mut session = Session::open(&scene);
    scene.say(json!("before"));
    assert_eq!(session.ask("listen", json!({})).await, json!({"id": 1, "ok": null}));
    assert_eq!(session.ask("listen", json!({})).await, json!({"id": 1, "ok": null}), "once is enough");
    scene.say(json!("now"));
    let update = json!({"kind": "message", "body": "now"});
    assert_eq!(session.hear().await, json!({"agent": "planner", "update": update}));
    assert_eq!(session.ask("unlisten", json!({})).await, json!({"id": 1, "ok": null}));
    scene.say(json!("after"));
    assert_eq!(session.ask("listen", json!({})).await, json!({"id": 1, "ok": null}));
    scene.mainstay.agents().remove("planner").await.unwrap();
    assert_eq!(session.hear().await, json!({"agent": "planner", "ended": true}));
    scene.end().await;
}

#[tokio::test]
async fn a_slow_client_is_told_how_much_it_missed_and_nothing_is_kept_for_it_without_bound() {
    let scene = Scene::start().await;
    let mut session = Session::open(&scene);
    assert_eq!(session.ask("listen", json!({})).await, json!({"id": 1, "ok": null}));
    let said = 4 * UPDATES_KEPT;
    for number in 0..said {
        scene.say(json!(number));
    }
    let (mut next, mut missed) = (0, 0);
    while next < said {
        let told = session.hear().await;
        match told["missed"].as_u64() {
            Some(count) => {
                missed += count;
                next += usize::try_from(count).unwrap();
            }
            None => {
                assert_eq!(told["update"]["body"], json!(next), "in order, and with no gap that is not told");
                next += 1;
            }
        }
    }
    assert!(missed >= (said - UPDATES_KEPT - 2) as u64, "{missed}");
    scene.end().await;
}

#[tokio::test]
async fn an_agent_is_taken_in_and_removed_and_what_is_wrong_with_one_is_told_by_key() {
    let mut scene = Scene::start().await;
    let mut session = Session::open(&scene);
    let ask = async |session: &mut Session, agent: &str, action: &str, members: Value| {
        let mut members = members;
        members["agent"] = json!(agent);
        session.ask(action, members).await
    };
    let added = ask(&mut session, "later", "add", json!({"config": {"fail_after": 7}})).await;
    let shown = &added["ok"];
    assert_eq!(
        (&shown["id"], &shown["fail_after"], &shown["budget"]["max"]),
        (&json!("later"), &json!(7), &json!(9))
    );
    while scene.next("agent_health").await.actor != "root/agents/later" {}
    for (agent, config, reason, named) in [
        ("later", json!({}), "conflict", "later"),
        ("planner", json!({}), "conflict", "planner"),
        ("more", json!({"id": "else"}), "invalid_request", "\"id\" in \"config\""),
        ("more", json!({"fail_after": 0}), "invalid_config", "\"fail_after\" must"),
        ("more", json!({"max_restart": 1}), "invalid_config", "\"max_restarts\""),
        ("no name", json!({}), "invalid_config", "\"id\" must"),
        ("more", json!({"driver": "process"}), "invalid_config", "\"command\" must"),
        ("more", json!(["id"]), "invalid_request", "expected a map"),
    ] {
        let refused = ask(&mut session, agent, "add", json!({"config": config})).await;
        let error = &refused["error"];
        let details = error["details"].as_str().unwrap_or_default();
        assert_eq!(
            (error["reason"].as_str(), details.contains(named)),
            (Some(reason), true),
            "{agent} {config}: {refused}"
        );
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
    scene.end().await;
}

#[tokio::test]
async fn a_command_that_lacks_a_member_or_has_one_too_many_is_told_its_name() {
    let scene = Scene::start().await;
    let mut session = Session::open(&scene);
    for (action, members, named) in [
        ("send", json!({}), "`body`"),
        ("send", json!({"body": 1, "may_repeat": "yes"}), "a boolean"),
        ("send", json!({"body": 1, "wait": 5}), "`wait`"),
        ("call_off", json!({}), "`letter`"),
        ("call_off", json!({"letter": -1}), "u64"),
        ("answer", json!({"ask": "a1"}), "`body`"),
        ("answer", json!({"body": 1}), "`ask`"),
        ("add", json!({}), "`config`"),
        ("show", json!({"surplus": 1}), "`surplus`"),
        ("listen", json!({"after": 1}), "`after`"),
        ("dance", json!({}), "`dance`"),
        ("show", json!({"agent": 5}), "\"agent\" must be a string"),
    ] {
        let refused = session.ask(action, members.clone()).await;
        let (reason, details) =
            (&refused["error"]["reason"], refused["error"]["details"].as_str().unwrap_or_default());
        assert_eq!(
            (reason, details.contains(named)),
            (&json!("invalid_request"), true),
            "{action} {members}: {refused}"
        );
    }
    let asks_nothing = session.ask("answer", json!({"ask": "a1", "body": 1})).await;
    assert_eq!(asks_nothing["error"]["reason"], "not_found", "{asks_nothing}");
    scene.end().await;
}

// === requests ===

/// A request that is answered by nobody from now on.
async fn unanswered(scene: &Scene) -> Value {
    scene.fault(json!({"kind": "slow", "path": "/api/files", "ms": 3_600_000, "times": 1000})).await;
    json!({"type": "request", "method": "GET", "path": "/api/files"})
}

fn numbered(id: u64, command: &Value) -> String {
    let mut command = command.clone();
    command["id"] = id.into();
    command.to_string()
}

#[tokio::test]
async fn a_request_is_called_off_by_its_command_once_and_is_answered_as_cancelled() {
    let mut scene = Scene::start().await;
    let request = unanswered(&scene).await;
    let mut session = Session::open(&scene);
    session.commands.send(numbered(8, &request)).await.unwrap();
    scene.next("request_started").await;
    session.commands.send(numbered(9, &json!({"type": "cancel", "request": 8}))).await.unwrap();
    let mut replies = [session.hear().await, session.hear().await];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    let [called_off, cancel] = replies;
    assert_eq!((&called_off["id"], &called_off["error"]["reason"]), (&json!(8), &json!("cancelled")));
    assert_eq!((&cancel["id"], &cancel["ok"]), (&json!(9), &json!({"cancelled": true})));
    assert_eq!(scene.next("request_failed").await.fields["reason"], "cancelled", "and at the queue as well");
    session.commands.send(numbered(10, &json!({"type": "cancel", "request": 8}))).await.unwrap();
    assert_eq!(session.hear().await["ok"], json!({"cancelled": false}));
    scene.end().await;
}

#[tokio::test]
async fn requests_that_wait_keep_no_other_command_waiting() {
    let scene = Scene::start().await;
    let request = unanswered(&scene).await;
    let mut session = Session::open(&scene);
    for id in 1..=200 {
        session.commands.send(numbered(id, &request)).await.unwrap();
    }
    let reconnect = json!({"type": "connection", "action": "reconnect"});
    session.commands.send(numbered(201, &reconnect)).await.unwrap();
    assert_eq!(session.hear().await["id"], 201);
    scene.end().await;
}
