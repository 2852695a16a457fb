//! Conversations that are taken up again, or cannot be.

use std::path::Path;

use mainstay_actors::agent::UpdateKind;
use mainstay_actors::agent::acp::{AcpFault, AcpOptions, LostSession, SessionHow, SessionStart};
use mainstay_actors::error::Reason;

use crate::agent::Switches;
use crate::scene::{Scene, Way, ended, open, within};

fn offering(folder: &Path, resume: bool, load: bool) -> Switches {
    Switches { resume, load, sessions: Some(folder.to_owned()), ..Switches::default() }
}

/// An agent that has crashed in the middle of its third prompt: what is left of it is its folder.
async fn crashed(switches: &Switches) -> (String, AcpOptions) {
    let mut scene = open(Way::Process, switches.clone(), AcpOptions::default()).await.unwrap();
    let start = scene.begin(None).await.unwrap();
    scene.says(1, "one").await.unwrap();
    scene.says(2, "two").await.unwrap();
    scene.hears_text().await;
    scene.hears_text().await;
    let fault = scene.says(3, "crash").await.unwrap_err();
    assert_eq!(fault, AcpFault::Closed);
    // Whether it did anything before it crashed, nobody knows; so nobody may simply say it again.
    let error = fault.of_turn();
    assert_eq!((error.reason, error.retryable), (Reason::OutcomeUnknown, false));
    assert_eq!(scene.hears_text().await.0, "crashing");
    assert_eq!(scene.client.end(), Some(AcpFault::Closed));
    let nobody = scene.says(4, "anybody there?").await.unwrap_err();
    assert_eq!(nobody, AcpFault::Over(Box::new(AcpFault::Closed)));
    assert_eq!(nobody.of_turn().reason, Reason::AgentFailed);
    (start.id, scene.options)
}

async fn back(switches: Switches, options: AcpOptions, kept: &str) -> (Scene, SessionStart) {
    let scene = open(Way::Process, switches, options).await.unwrap();
    let start = scene.begin(Some(kept)).await.unwrap();
    (scene, start)
}

#[tokio::test]
async fn after_a_crash_the_conversation_is_resumed_where_the_agent_offers_that() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let switches = offering(folder.path(), true, true);
        let (kept, options) = crashed(&switches).await;
        let (mut scene, start) = back(switches, options, &kept).await;
        assert_eq!(start, SessionStart { id: kept.clone(), how: SessionHow::Resumed, lost: None });
        assert_eq!(scene.client.session(), Some(kept));
        // Nothing was told again, and no prompt was sent again.
        assert_eq!(scene.says(5, "recall").await, ended("end_turn", "one | two | crash | recall"));
        assert_eq!(scene.hears_text().await.0, "one | two | crash | recall");
    })
    .await;
}

#[tokio::test]
async fn where_it_can_only_be_loaded_what_is_told_again_is_marked_as_replay() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let switches = offering(folder.path(), false, true);
        let (kept, options) = crashed(&switches).await;
        let (mut scene, start) = back(switches, options, &kept).await;
        assert_eq!((start.how, start.lost), (SessionHow::Loaded, None));
        for text in ["one", "two", "crash"] {
            let update = scene.hears().await;
            assert!(update.is_replay && update.letter.is_none(), "{update:?}");
            assert_eq!(
                (update.kind, update.body["content"]["text"].as_str()),
                (UpdateKind::Progress, Some(text))
            );
        }
        assert_eq!(scene.says(5, "news").await, ended("end_turn", "you said: news"));
        let update = scene.hears().await;
        assert!(!update.is_replay && update.letter.is_some(), "{update:?}");
    })
    .await;
}

#[tokio::test]
async fn where_neither_is_offered_another_conversation_begins_and_says_so() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let switches = offering(folder.path(), false, false);
        let (kept, options) = crashed(&switches).await;
        let (scene, start) = back(switches, options, &kept).await;
        let why = "the agent offers neither session/resume nor session/load".to_owned();
        let lost = Some(LostSession { id: kept, why });
        assert_eq!(start, SessionStart { id: "s2".to_owned(), how: SessionHow::New, lost });
        assert_eq!(scene.says(5, "recall").await, ended("end_turn", "recall"));
    })
    .await;
}

#[tokio::test]
async fn a_conversation_that_the_agent_does_not_know_any_more_is_lost_and_says_why() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let switches = offering(folder.path(), true, true);
        let (kept, options) = crashed(&switches).await;
        std::fs::remove_file(folder.path().join(&kept)).unwrap();
        let (scene, start) = back(switches, options, &kept).await;
        let lost = start.lost.unwrap();
        assert_eq!((start.how, lost.id), (SessionHow::New, kept));
        assert!(lost.why.starts_with("the agent refused session/load: "), "{}", lost.why);
        assert_eq!(scene.says(5, "recall").await, ended("end_turn", "recall"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_a_question_of_before_the_crash_meets_no_question_of_after_it() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let switches = offering(folder.path(), true, false);
        let mut scene = open(Way::Process, switches.clone(), AcpOptions::default()).await.unwrap();
        let start = scene.begin(None).await.unwrap();
        let turn = scene.starts(1, "ask");
        let old = scene.hears_of(UpdateKind::Ask).await.ask.unwrap();
        drop((turn, scene.client, scene.body));
        let (mut scene, _) = back(switches, scene.options, &start.id).await;
        let _turn = scene.starts(2, "ask");
        let new = scene.hears_of(UpdateKind::Ask).await.ask.unwrap();
        assert_ne!(old, new);
        assert_eq!(scene.client.answer(&old, "allow"), Err(AcpFault::NotAsked(old)));
    })
    .await;
}

#[tokio::test]
async fn a_conversation_is_about_an_absolute_folder() {
    within(async {
        let scene = open(Way::Here, Switches::default(), AcpOptions::default()).await.unwrap();
        let refusal = scene.client.start_session(Path::new("here"), None).await.unwrap_err();
        assert_eq!(refusal.to_string(), "the working directory \"here\" has to be an absolute path");
        assert_eq!(refusal.as_error().reason, Reason::InvalidConfig);
    })
    .await;
}
