//! Tests supervised agents that speak the Agent Client Protocol: their conversation survives every kill, and no prompt
//! is sent twice.
#![cfg(unix)]

mod support;

use std::path::Path;

use mainstay::config::Config;
use mainstay::journal::{Delivery, Record};
use mainstay::{Error, Json, Mainstay, Reason, SendOptions};
use mainstay::{Subscription, UpdateEvent, UpdateKind, UpdateSubscription};
use serde_json::{Value, json};
use support::{TEST_TIMEOUT, acp_agent_binary, eventually};
use tokio::time::timeout;

struct ConversationFixture {
    mainstay: Mainstay,
    events: Subscription,
}

impl ConversationFixture {
    /// Starts a runtime with one agent, `x`, whose conversations are in `home`; `more` holds further keys of its
    /// configuration.
    async fn start(home: &Path, more: &str) -> Self {
        Self::start_with(home, "--resume", more).await
    }

    /// Starts the same, with an agent that has this switch.
    async fn start_with(home: &Path, switch: &str, more: &str) -> Self {
        let config = format!(
            "[backend]\nurl = \"http://127.0.0.1:9\"\n\
             [agents]\nmin_uptime = \"0s\"\nhealth_interval = \"50ms\"\nrestart_delay = \"10ms\"\nrestart_delay_max = \"10ms\"\n\
             [[agent]]\nid = \"x\"\ndriver = \"acp\"\ncwd = {home:?}\n\
             command = [{program:?}, {switch:?}, \"--sessions\", {home:?}]\n{more}",
            program = acp_agent_binary(),
        );
        let config = Config::from_toml(&config).unwrap_or_else(|error| panic!("{error}"));
        let builder = Mainstay::builder().config(config).data_dir(home.join("data"));
        let mainstay = builder.start().await.unwrap();
        let events = mainstay.events_after(mainstay.status().await.runtime.cursor());
        Self { mainstay, events }
    }

    async fn send(&self, text: &str) -> Result<Value, Error> {
        let options = SendOptions::default();
        let message = self.mainstay.agents().send("x", json!({ "text": text }), options).await?;
        let answer = timeout(TEST_TIMEOUT, message.answer()).await.expect("it has an outcome");
        answer.map(|answer| answer.read().unwrap())
    }

    async fn wait_for(&mut self, is_it: impl Fn(&Record) -> bool) {
        let found = async {
            loop {
                match self.events.next().await {
                    Some(Delivery::Event(record)) if record.actor == "root/agents/x" && is_it(&record) => {
                        return;
                    }
                    Some(Delivery::Event(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(TEST_TIMEOUT, found).await.expect("the event comes");
    }

    fn listen(&self) -> UpdateSubscription {
        self.mainstay.agents().listen("x").unwrap()
    }

    async fn stop(self) {
        timeout(TEST_TIMEOUT, self.mainstay.shutdown()).await.expect("it stops in order");
    }
}

/// Returns the name of the next question, or the next update of the session.
async fn next_update(listener: &mut UpdateSubscription, kind: UpdateKind) -> (Option<String>, Json) {
    loop {
        match timeout(TEST_TIMEOUT, listener.next()).await.expect("an update comes") {
            Some(UpdateEvent::Update(update)) if update.kind == kind => {
                return (update.ask.clone(), update.body.clone());
            }
            Some(_) => {}
            None => panic!("it is gone"),
        }
    }
}

fn turn(text: &str) -> Value {
    json!({ "stop_reason": "end_turn", "text": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn conversation_survives_restarts_without_repeated_prompts() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture = ConversationFixture::start(home.path(), "").await;
    assert_eq!(fixture.send("one").await.unwrap(), turn("you said: one"));
    let mut listener = fixture.listen();
    let error = fixture.send("crash").await.unwrap_err();
    assert_eq!((error.reason, error.retryable), (Reason::OutcomeUnknown, false));
    fixture.wait_for(|record| record.kind == "actor_restarted").await;
    assert_eq!(
        next_update(&mut listener, UpdateKind::Session).await.1,
        json!({ "id": "s1", "origin": "resumed" })
    );
    assert_eq!(fixture.send("recall").await.unwrap(), turn("one | crash | recall"));
    fixture.stop().await;

    let fixture = ConversationFixture::start(home.path(), "").await;
    assert_eq!(fixture.send("recall").await.unwrap(), turn("one | crash | recall | recall"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_question_is_in_reports_and_reaches_late_listener() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture = ConversationFixture::start(home.path(), "").await;
    let agents = fixture.mainstay.agents();
    let asking = agents.send("x", json!("ask"), SendOptions::default()).await.unwrap();
    fixture.wait_for(|record| record.kind == "agent_question").await;
    let question = agents.get("x").unwrap().report.questions.pop().unwrap();
    assert_eq!(question.message_id, Some(asking.id()));
    assert_eq!(question.body.read::<Value>().unwrap()["options"][0]["optionId"], "allow");
    let (ask, body) = next_update(&mut fixture.listen(), UpdateKind::Ask).await;
    assert_eq!((ask.as_deref(), &body), (Some(&*question.ask), &question.body));
    agents.answer("x", &question.ask, json!("allow")).unwrap();
    assert_eq!(timeout(TEST_TIMEOUT, asking.answer()).await.unwrap().unwrap(), turn("allow "));
    let is_answer = |record: &Record| record.fields.get("outcome") == Some(&json!("answered"));
    fixture.wait_for(|record| record.kind == "agent_question_settled" && is_answer(record)).await;
    assert!(agents.get("x").unwrap().report.questions.is_empty());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_json_reaches_embedder_and_journal_as_written() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture = ConversationFixture::start(home.path(), "").await;
    let mut listener = fixture.listen();
    let odd = r#"{"b":[18446744073709551616,1e999,-0.0,1.0],"a":{"k":1,"k":2}}"#;
    assert_eq!(fixture.send(&format!("json {odd}")).await.unwrap(), turn(""));
    let (_, update) = next_update(&mut listener, UpdateKind::Progress).await;
    assert_eq!(update.as_str(), format!(r#"{{"sessionUpdate":"plan","entries":{odd}}}"#));
    let (_, question) = next_update(&mut listener, UpdateKind::Ask).await;
    let expected = format!(r#"{{"toolCall":{odd},"options":[{{"optionId":"allow","own":{odd}}}]}}"#);
    assert_eq!(question.as_str(), expected);
    fixture.wait_for(|record| record.kind == "agent_question" && record.fields["text"] == expected).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_response_ends_the_message_and_is_journalled() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture = ConversationFixture::start(home.path(), "").await;
    let error = fixture.send("answer nan").await.unwrap_err();
    assert_eq!((error.reason, error.retryable), (Reason::BadResponse, false));
    assert!(error.log_text().contains("\"result\\\":NaN"), "{error:?}");
    fixture.wait_for(|record| record.kind == "agent_reply_lost").await;
    assert_eq!(fixture.send("hello").await.unwrap(), turn("you said: hello"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_needs_a_login_is_given_up_until_it_has_one() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture = ConversationFixture::start_with(home.path(), "--login", "").await;
    fixture.wait_for(|record| record.kind == "gave_up").await;
    let agents = fixture.mainstay.agents();
    let view = agents.get("x").unwrap();
    assert_eq!((view.supervision.restarts, view.supervision.gave_up), (0, true));
    assert!(view.next_step.contains("'mainstay agent login x key'"), "{}", view.next_step);
    let error = agents.log_in("x", Some("face".to_owned())).await.unwrap_err();
    assert!(error.log_text().contains("it offers key (By key)"), "{error:?}");
    agents.log_in("x", None).await.unwrap();
    assert_eq!(fixture.send("hello").await.unwrap(), turn("you said: hello"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_agent_is_restarted_but_not_while_a_question_waits() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture = ConversationFixture::start(home.path(), "progress_timeout = \"300ms\"").await;
    let mut listener = fixture.listen();
    let options = SendOptions::default();
    let asking = fixture.mainstay.agents().send("x", json!("ask"), options).await.unwrap();
    let ask = next_update(&mut listener, UpdateKind::Ask).await.0.unwrap();
    // The wait is longer than a few checks and the progress timeout.
    let (mut last, mut seen) = (None, 0);
    eventually("it is checked twelve times", async || {
        let now = fixture.mainstay.agents().get("x").unwrap().report.last_check;
        seen += usize::from(now != last);
        last = now;
        seen >= 12
    })
    .await;
    fixture.mainstay.agents().answer("x", &ask, json!("allow")).unwrap();
    let answered = timeout(TEST_TIMEOUT, asking.answer()).await.expect("it has an outcome");
    assert_eq!(answered.unwrap(), turn("allow "));

    assert_eq!(fixture.send("deaf").await.unwrap_err().reason, Reason::OutcomeUnknown);
    fixture.wait_for(|record| record.kind == "agent_stuck").await;
    assert_eq!(fixture.send("recall").await.unwrap(), turn("ask | deaf | recall"));
    fixture.stop().await;
}
