//! Sessions that resume, or cannot.

use tempfile::TempDir;

use super::*;

fn switches_with(folder: &Path, resume: bool, load: bool) -> Switches {
    Switches { resume, load, sessions: Some(folder.to_owned()), ..Switches::default() }
}

/// Crashes an agent in its third prompt, which leaves its folder behind.
async fn crash_in_third_prompt(switches: &Switches) -> (String, AcpOptions) {
    let mut fixture =
        open_client(AgentTransport::Subprocess, switches.clone(), AcpOptions::default()).await.unwrap();
    let start = fixture.start_session(None).await.unwrap();
    fixture.prompt(1, "one").await.unwrap();
    fixture.prompt(2, "two").await.unwrap();
    fixture.next_text().await;
    fixture.next_text().await;
    let error = fixture.prompt(3, "crash").await.unwrap_err();
    assert_eq!(error, AcpError::Closed);
    // The agent may have acted before it crashed, so the prompt must not be repeated.
    let error = error.to_turn_error();
    assert_eq!((error.reason, error.retryable), (Reason::OutcomeUnknown, false));
    assert_eq!(fixture.next_text().await.0, "crashing");
    assert_eq!(fixture.client.end(), Some(AcpError::Closed));
    let refused = fixture.prompt(4, "anybody there?").await.unwrap_err();
    assert_eq!(refused, AcpError::AlreadyEnded(Box::new(AcpError::Closed)));
    assert_eq!(refused.to_turn_error().reason, Reason::AgentFailed);
    (start.id, fixture.options)
}

async fn reconnect(switches: Switches, options: AcpOptions, saved: &str) -> (AcpClientFixture, SessionStart) {
    let fixture = open_client(AgentTransport::Subprocess, switches, options).await.unwrap();
    let start = fixture.start_session(Some(saved)).await.unwrap();
    (fixture, start)
}

/// Crashes an agent, and asks its next process, which resumes or loads sessions, for the session.
async fn reconnect_after_crash(
    resume: bool,
    load: bool,
) -> (AcpClientFixture, SessionStart, String, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let switches = switches_with(folder.path(), resume, load);
    let (saved, options) = crash_in_third_prompt(&switches).await;
    let (fixture, start) = reconnect(switches, options, &saved).await;
    (fixture, start, saved, folder)
}

timed!(crashed_session_is_resumed_if_offered);
async fn crashed_session_is_resumed_if_offered() {
    let (mut fixture, start, saved, _folder) = reconnect_after_crash(true, true).await;
    assert_eq!(start, SessionStart { id: saved.clone(), origin: SessionOrigin::Resumed, lost: None });
    assert_eq!(fixture.client.session(), Some(saved));
    // Nothing was repeated, and no prompt was sent again.
    assert_eq!(fixture.prompt(5, "recall").await, turn_end("end_turn", "one | two | crash | recall"));
    assert_eq!(fixture.next_text().await.0, "one | two | crash | recall");
}

timed!(loaded_session_marks_updates_as_replay);
async fn loaded_session_marks_updates_as_replay() {
    let (mut fixture, start, _saved, _folder) = reconnect_after_crash(false, true).await;
    assert_eq!((start.origin, start.lost), (SessionOrigin::Loaded, None));
    for text in ["one", "two", "crash"] {
        let update = fixture.next_update().await;
        assert!(update.is_replay && update.message_id.is_none(), "{update:?}");
        let expected = (UpdateKind::Progress, Some(text));
        assert_eq!((update.kind, update.body.read::<Value>().unwrap()["content"]["text"].as_str()), expected);
    }
    assert_eq!(fixture.prompt(5, "news").await, turn_end("end_turn", "you said: news"));
    let update = fixture.next_update().await;
    assert!(!update.is_replay && update.message_id.is_some(), "{update:?}");
}

timed!(no_resume_method_starts_new_session);
async fn no_resume_method_starts_new_session() {
    let (fixture, start, saved, _folder) = reconnect_after_crash(false, false).await;
    let why = "the agent offers neither session/resume nor session/load".to_owned();
    let lost = Some(LostSession { id: saved, message: why });
    assert_eq!(start, SessionStart { id: "s2".to_owned(), origin: SessionOrigin::New, lost });
    assert_eq!(fixture.prompt(5, "recall").await, turn_end("end_turn", "recall"));
}

timed!(unknown_session_is_lost_with_reason);
async fn unknown_session_is_lost_with_reason() {
    let folder = tempfile::tempdir().unwrap();
    let switches = switches_with(folder.path(), true, true);
    let (saved, options) = crash_in_third_prompt(&switches).await;
    std::fs::remove_file(folder.path().join(&saved)).unwrap();
    let (fixture, start) = reconnect(switches, options, &saved).await;
    let lost = start.lost.unwrap();
    assert_eq!((start.origin, lost.id), (SessionOrigin::New, saved));
    assert!(lost.message.starts_with("the agent refused session/load: "), "{}", lost.message);
    assert_eq!(fixture.prompt(5, "recall").await, turn_end("end_turn", "recall"));
}

timed!(answer_to_ask_before_crash_is_unknown_after_it);
async fn answer_to_ask_before_crash_is_unknown_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let switches = switches_with(folder.path(), true, false);
    let mut fixture =
        open_client(AgentTransport::Subprocess, switches.clone(), AcpOptions::default()).await.unwrap();
    let start = fixture.start_session(None).await.unwrap();
    let turn = fixture.spawn_prompt(1, "ask");
    let old = fixture.next_update_of(UpdateKind::Ask).await.ask.unwrap();
    drop((turn, fixture.client, fixture.host));
    let (mut fixture, _) = reconnect(switches, fixture.options, &start.id).await;
    let _turn = fixture.spawn_prompt(2, "ask");
    let new = fixture.next_update_of(UpdateKind::Ask).await.ask.unwrap();
    assert_ne!(old, new);
    assert_eq!(fixture.client.answer(&old, "allow"), Err(AcpError::UnknownAsk(old)));
}

timed!(start_session_relative_folder_errors);
async fn start_session_relative_folder_errors() {
    let fixture =
        open_client(AgentTransport::InProcess, Switches::default(), AcpOptions::default()).await.unwrap();
    let refusal = fixture.client.start_session(Path::new("here"), None).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the working directory \"here\" has to be an absolute path");
    assert_eq!(refusal.to_error().reason, Reason::InvalidConfig);
}
