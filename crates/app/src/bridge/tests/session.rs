//! A session itself: bad commands, the greeting, panics, readiness, logs.

use super::*;

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
    let capabilities =
        ["requests", "streams", "frames", "agents", "cache", "files", "logs", "incidents", "history"];
    let expected = json!({
        "protocol": 1, "version": env!("CARGO_PKG_VERSION"), "run": journal.run(), "boot": journal.boot(),
        "now": null, "capabilities": capabilities,
    });
    assert_eq!(hello, expected);
    fixture.stop().await;
}

tokio::task_local! {
    static READS_BROKEN_CLOCK: ();
}

/// A clock that panics when the session of the test reads it.
struct BrokenClock(Arc<AtomicBool>);

impl Clock for BrokenClock {
    fn now(&self) -> Timestamp {
        let is_broken = READS_BROKEN_CLOCK.try_with(|()| self.0.load(Ordering::Relaxed));
        assert_ne!(is_broken, Ok(true), "a panic injected into the clock");
        SystemClock.now()
    }
}

#[tokio::test]
async fn panic_behind_subscribe_is_one_internal_error() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let clock = Arc::new(BrokenClock(Arc::clone(&is_broken)));
    let mainstay = Mainstay::builder().clock(clock).start().await.unwrap();
    let (commands, incoming) = mpsc::channel(1);
    let (outgoing, texts) = mpsc::channel(1);
    let mut session = JoinSet::new();
    session.spawn(READS_BROKEN_CLOCK.scope((), serve(mainstay.clone(), incoming, outgoing)));
    let mut session = TestSession { commands, texts, _session: session };
    let subscribe = json!({"type": "subscribe"});
    session.commands.send(with_id(1, &subscribe)).await.unwrap();
    let reply = session.receive().await;
    assert_eq!((&reply["id"], &reply["error"]["reason"]), (&json!(1), &json!("internal")), "{reply}");
    is_broken.store(false, Ordering::Relaxed);
    session.commands.send(with_id(2, &subscribe)).await.unwrap();
    assert_eq!(session.receive().await, json!({"id": 2, "ok": null}), "the session goes on");
    assert!(session.receive().await["snapshot"].is_object());
    mainstay.shutdown().await;
}

#[tokio::test]
async fn ready_names_what_is_missing() {
    let fixture = BridgeFixture::start().await;
    timeout(TEST_TIMEOUT, fixture.mainstay.ready()).await.unwrap().unwrap();
    let mut session = TestSession::open(&fixture);
    let ready = json!({"type": "ready"});
    assert_eq!(session.command(ready.clone()).await, json!({"is_ready": true}));
    session.connection(2, "disconnect", json!({})).await;
    session.receive().await;
    let reply = session.command(ready).await;
    assert_eq!(reply["is_ready"], false, "{reply}");
    assert!(reply["pending"].as_str().unwrap().contains("connection"), "{reply}");
    fixture.stop().await;
}

#[tokio::test]
async fn logs_are_listed_by_their_ids() {
    let ids = json!({"type": "logs", "action": "ids"});
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("logs")).unwrap();
    for file in ["planner.log", "backend.log", "notes.txt"] {
        std::fs::write(data.path().join("logs").join(file), "").unwrap();
    }
    let mainstay = Mainstay::builder().data_dir(data.path()).start().await.unwrap();
    assert_eq!(TestSession::of(&mainstay).command(ids.clone()).await, json!({"ids": ["backend", "planner"]}));
    mainstay.shutdown().await;
    let mainstay = Mainstay::builder().start().await.unwrap();
    assert_eq!(TestSession::of(&mainstay).command(ids).await, json!({"ids": []}), "it has no data folder");
    mainstay.shutdown().await;
}
