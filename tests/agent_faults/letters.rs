//! Letters to agents that are not there: what becomes of them, when, and in what words.

use std::time::Duration;

use mainstay::actors::agent::AgentStatus;
use mainstay::{Error, LetterOptions, Reason};
use serde_json::json;
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene};

const LONG_DELAY: &str = "restart_delay = \"5m\"\nrestart_delay_max = \"5m\"";
/// How long a letter waits that is meant to wait in vain.
const BRIEFLY: Duration = Duration::from_millis(300);

/// A process that exits over its first letter.
async fn fragile(more: &str) -> Scene {
    let script = "echo ready\nIFS= read -r letter\nexit 1\n";
    let more = format!("driver = \"process\"\nready = \"stdout:ready\"\n{more}");
    let mut scene = Scene::of_script(script, &more).await;
    scene.becomes("healthy").await;
    scene
}

/// What becomes of a letter that waits for so long.
async fn fate(scene: &Scene, wait: Duration) -> Error {
    let options = LetterOptions { wait, ..LetterOptions::default() };
    let answer = async { scene.mainstay.agents().send("x", json!("hello"), options).await?.answer().await };
    timeout(PATIENCE, answer).await.expect("its fate is told when its time is over").unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_an_agent_that_waits_for_its_restart_expires_when_its_time_is_over() {
    let mut scene = fragile(LONG_DELAY).await;
    let agents = scene.mainstay.agents();
    // Its own fate is told by the next incarnation at the latest.
    let _first = agents.send("x", json!("now"), LetterOptions::default()).await.unwrap();
    let options = LetterOptions { wait: Duration::from_secs(2), ..LetterOptions::default() };
    let behind = agents.send("x", json!("behind"), options).await.unwrap();
    let waits = behind.id();
    let behind = timeout(PATIENCE, behind.answer()).await.expect("it expires").unwrap_err();
    assert_eq!((behind.reason, behind.retryable, behind.attempts), (Reason::Expired, true, 0));
    assert!(behind.message.contains("It was not handed to it"), "{}", behind.message);
    scene
        .until(|record| {
            record.kind == "letter_failed"
                && record.fields["letter"] == json!(waits)
                && record.fields["reason"] == "expired"
                && record.fields["attempts"] == 0
        })
        .await;

    while scene.view().status != AgentStatus::Restarting {
        tokio::task::yield_now().await;
    }
    // One that is sent while the agent waits for its restart.
    let late = fate(&scene, BRIEFLY).await;
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    assert_eq!(late.message, behind.message);
    let agent = scene.view();
    assert_eq!((agent.status, agent.process, agent.uptime_s), (AgentStatus::Restarting, None, None));
    assert!(agent.last_error.is_some() && agent.past_error.is_none(), "{agent:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_an_agent_behind_a_backend_that_is_away_expires_when_its_time_is_over() {
    let mut scene = Scene::with(tempfile::tempdir().unwrap(), "http://127.0.0.1:9", "").await;
    scene.becomes("unknown").await;
    let late = fate(&scene, BRIEFLY).await;
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    scene.until(|record| record.kind == "letter_failed" && record.fields["attempts"] == 0).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_an_agent_that_was_given_up_or_stopped_says_so_and_names_what_starts_it() {
    let mut scene = fragile("max_restarts = 0").await;
    let agents = scene.mainstay.agents();
    let first = agents.send("x", json!("now"), LetterOptions::default()).await.unwrap();
    let behind = agents.send("x", json!("behind"), LetterOptions::default()).await.unwrap();
    let (_, behind) =
        timeout(PATIENCE, async { tokio::join!(first.answer(), behind.answer()) }).await.unwrap();
    scene.until(|record| record.kind == "gave_up").await;
    for error in [behind.unwrap_err(), fate(&scene, PATIENCE).await] {
        assert_eq!(error.reason, Reason::Stopped);
        let words = "The agent was given up, as its restarts are used up. Start it with 'mainstay agent reset x', then \
                     send this again.";
        assert_eq!(error.message, words);
    }

    agents.reset("x").await.unwrap();
    scene.becomes("healthy").await;
    assert!(scene.view().process.is_some());
    agents.stop("x").await.unwrap();
    let error = fate(&scene, PATIENCE).await;
    assert_eq!(error.reason, Reason::Stopped);
    let words = "The agent was stopped. Start it with 'mainstay agent start x', then send this again.";
    assert_eq!(error.message, words);
    let agent = scene.view();
    assert_eq!((agent.status, agent.process, agent.uptime_s), (AgentStatus::Stopped, None, None));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_ended_over_is_past_once_it_is_well_again() {
    let mut scene = fragile("").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    let agent = scene.view();
    assert_eq!((agent.status, agent.last_error, agent.error), (AgentStatus::Healthy, None, None));
    let past = agent.past_error.unwrap();
    assert!(past.message.contains("it exited with code 1") && past.at.ends_with('Z'), "{past:?}");

    let unasked = scene.mainstay.agents().answer("x", "a1", json!(true)).unwrap_err();
    assert_eq!(unasked.reason, Reason::NotFound);
    assert_eq!(unasked.message, "The agent does not ask this, or not any more. Refresh the view.");
    scene.end().await;
}
