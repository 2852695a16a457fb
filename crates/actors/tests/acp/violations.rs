//! Agents that break the protocol, or do not speak it.

use super::*;

both!(stray_lines_within_limit_are_ignored);
async fn stray_lines_within_limit_are_ignored(transport: AgentTransport) {
    let limits = AcpLimits { stray_lines_max: Some(20), ..AcpLimits::default() };
    let fixture = connected_with_limits(transport, limits).await;
    assert_eq!(fixture.prompt(1, "stray 20").await, turn_end("end_turn", "strayed"));
    assert_eq!(fixture.prompt(2, "stray 20").await, turn_end("end_turn", "strayed"));
    let error = fixture.prompt(3, "stray 21").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote more than 20 lines that are no messages: \
                 \"loading model, part 20\"";
    assert_eq!(error.to_string(), words);
}

both!(unreadable_notification_is_skipped_and_counted);
async fn unreadable_notification_is_skipped_and_counted(transport: AgentTransport) {
    let limits = AcpLimits { message_bytes_max: 100_000, ..AcpLimits::default() };
    let fixture = connected_with_limits(transport, limits).await;
    for (number, prompt) in [(1, "broken"), (2, "long 50000"), (3, "long 300000"), (4, "notnumber")] {
        assert_eq!(fixture.prompt(number, prompt).await, turn_end("end_turn", ""), "{prompt}");
        assert_eq!(fixture.client.lines_skipped(), number, "{prompt}");
    }
    assert_eq!(fixture.prompt(5, "surrogate").await, turn_end("end_turn", "half: \u{fffd}"));
    assert_eq!(fixture.prompt(6, "latin1").await, turn_end("end_turn", "caf\u{fffd}"));
}

both!(endless_line_ends_connection);
async fn endless_line_ends_connection(transport: AgentTransport) {
    let limits = AcpLimits { message_bytes_max: 100_000, ..AcpLimits::default() };
    let fixture = connected_with_limits(transport, limits).await;
    let error = fixture.prompt(1, "long 3000000").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a line of more than 400000 bytes";
    assert_eq!(error.to_string(), words);
    assert_eq!(error.to_turn_error().reason, Reason::OutcomeUnknown);
    assert_eq!(fixture.client.ended().await, error);
    assert_eq!(fixture.prompt(2, "hello").await, Err(AcpError::AlreadyEnded(Box::new(error))));
}

both!(unreadable_response_fails_its_prompt_alone);
async fn unreadable_response_fails_its_prompt_alone(transport: AgentTransport) {
    let fixture = connected(transport).await;
    for (number, prompt, words) in [
        (1, "answer nan", "it is no JSON"),
        (2, "answer both", "it has both a result and an error"),
        (3, "answer unknown", "it answers a request that was never sent"),
        (4, "answer nothing", "it does not say which request it answers"),
    ] {
        let error = fixture.prompt(number, prompt).await.unwrap_err();
        assert!(error.to_string().contains(words), "{prompt}: {error}");
        let turn_error = error.to_turn_error();
        assert_eq!((turn_error.reason, turn_error.retryable), (Reason::BadResponse, false), "{prompt}");
    }
    assert_eq!(fixture.prompt(5, "answer null").await, turn_end("end_turn", ""));
    assert_eq!(fixture.prompt(6, "answer text").await, turn_end("end_turn", ""));
    assert_eq!(fixture.prompt(7, "hello").await, turn_end("end_turn", "you said: hello"));
    assert_eq!(fixture.client.end(), None);
}

both!(unanswered_requests_over_limit_end_connection);
async fn unanswered_requests_over_limit_end_connection(transport: AgentTransport) {
    let limits = AcpLimits { unanswered_max: 10, asks_max: 20, ..AcpLimits::default() };
    let fixture = connected_with_limits(transport, limits).await;
    let error = fixture.prompt(1, "pile 50").await.unwrap_err();
    let words =
        "the agent broke the protocol: it asked more than 10 things without reading or waiting for an answer";
    assert!(error.to_string().starts_with(words), "{error}");
}

both!(login_required_is_auth_required_error);
async fn login_required_is_auth_required_error(transport: AgentTransport) {
    let switches = Switches { login: true, ..Switches::default() };
    let fixture = open_client(transport, switches, AcpOptions::default()).await.unwrap();
    let error = fixture.start_session(None).await.unwrap_err();
    let method = LoginMethod { id: "key".to_owned(), name: "By key".to_owned(), is_offered: true };
    assert_eq!(error, AcpError::AuthRequired(vec![method]));
    assert_eq!(error.to_error().reason, Reason::Unauthenticated);

    let unknown = fixture.client.log_in(Some("face")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the agent offers no login by \"face\" (it offers key (By key))");
    let mistyped = fixture.client.log_in(Some("keys")).await.unwrap_err();
    let expected = "the agent offers no login by \"keys\"; did you mean \"key\"? (it offers key (By key))";
    assert_eq!(mistyped.to_string(), expected);
    fixture.client.log_in(None).await.unwrap();
    assert_eq!(fixture.start_session(None).await.unwrap().origin, SessionOrigin::New);
}

both!(unsupported_version_is_rejected);
async fn unsupported_version_is_rejected(transport: AgentTransport) {
    let switches = Switches { version: Some(7), ..Switches::default() };
    let error = open_client(transport, switches, AcpOptions::default()).await.err().unwrap();
    assert_eq!(error, AcpError::UnsupportedVersion(7));
}

#[tokio::test(start_paused = true)]
async fn silent_agent_times_out() {
    let switches = Switches { mute: true, ..Switches::default() };
    let options = AcpOptions { setup_timeout: Duration::from_secs(5), ..AcpOptions::default() };
    let error = open_client(AgentTransport::InProcess, switches, options).await.err().unwrap();
    assert_eq!(error.to_string(), "the agent did not answer initialize within 5 s");
}

#[cfg(unix)]
timed!(non_acp_program_is_rejected);
#[cfg(unix)]
async fn non_acp_program_is_rejected() {
    let closed = AcpError::Closed.to_string();
    for (program, words) in [
        // `cat` repeats its input.
        (&["cat"][..], "the agent refused initialize: Method not found: initialize (code -32601)"),
        (&["sh", "-c", "echo hello"], closed.as_str()),
        (&["yes", "hello"], "it wrote more than 10000 lines that are no messages: \"hello\""),
        (&["cat", "/dev/zero"], "it wrote a line of more than 67108864 bytes"),
    ] {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]);
        let error = fixture::spawn_client(command, AcpOptions::default()).await.err().unwrap();
        assert!(error.to_string().contains(words), "{program:?}: {error}");
    }
}
