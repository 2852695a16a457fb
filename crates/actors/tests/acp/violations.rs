//! Agents that break the protocol, or do not speak it.

use super::*;

both!(stray_lines_within_limit_are_ignored);
async fn stray_lines_within_limit_are_ignored(transport: AgentTransport) {
    let limits = AcpLimits { stray_lines_max: 20, ..AcpLimits::default() };
    let fixture = connected_with_limits(transport, limits).await;
    assert_eq!(fixture.prompt(1, "stray 20").await, turn_end("end_turn", "strayed"));
    assert_eq!(fixture.prompt(2, "stray 20").await, turn_end("end_turn", "strayed"));
    let error = fixture.prompt(3, "stray 21").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote more than 20 lines that are no messages: \
                 \"loading model, part 20\"";
    assert_eq!(error.to_string(), words);
}

both!(truncated_message_ends_connection_with_quote);
async fn truncated_message_ends_connection_with_quote(transport: AgentTransport) {
    let fixture = connected(transport).await;
    let error = fixture.prompt(1, "broken").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a message that is not JSON: \
                 \"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\\\"session/upd\"";
    assert_eq!(error.to_string(), words);
    assert_eq!(error.to_turn_error().reason, Reason::OutcomeUnknown);
    assert_eq!(fixture.client.ended().await, error);
    assert_eq!(fixture.prompt(2, "hello").await, Err(AcpError::AlreadyEnded(Box::new(error))));
}

both!(oversized_message_ends_connection);
async fn oversized_message_ends_connection(transport: AgentTransport) {
    let limits = AcpLimits { message_bytes_max: 100_000, ..AcpLimits::default() };
    let fixture = connected_with_limits(transport, limits).await;
    let error = fixture.prompt(1, "long 50000").await.unwrap_err();
    assert!(error.to_string().contains("it wrote a message that is not JSON"), "{error}");
    let fixture = connected_with_limits(transport, limits).await;
    let error = fixture.prompt(1, "long 3000000").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a line of more than 100000 bytes";
    assert_eq!(error.to_string(), words);
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
    assert_eq!(error, AcpError::AuthRequired(Vec::new()));
    assert_eq!(error.to_error().reason, Reason::Unauthenticated);
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
    assert_eq!(error.to_string(), "the agent did not answer initialize within 5s");
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
        (&["yes", "hello"], "it wrote more than 100 lines that are no messages: \"hello\""),
        (&["cat", "/dev/zero"], "it wrote a line of more than 16777216 bytes"),
    ] {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]);
        let error = fixture::spawn_client(command, AcpOptions::default()).await.err().unwrap();
        assert!(error.to_string().contains(words), "{program:?}: {error}");
    }
}
