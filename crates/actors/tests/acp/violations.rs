//! Agents that break the protocol, or do not speak it.

use std::time::Duration;

use mainstay_actors::agent::acp::{AcpError, AcpLimits, AcpOptions};
use mainstay_actors::error::Reason;

use crate::agent::Switches;
use crate::both;
use crate::fixture::{AgentTransport, connected, connected_with_limits, open_client, turn_end, with_timeout};

both!(stray_lines_within_limit_are_ignored);
async fn stray_lines_within_limit_are_ignored(way: AgentTransport) {
    let limits = AcpLimits { stray_lines_max: 20, ..AcpLimits::default() };
    let scene = connected_with_limits(way, limits).await;
    assert_eq!(scene.prompt(1, "stray 20").await, turn_end("end_turn", "strayed"));
    assert_eq!(scene.prompt(2, "stray 20").await, turn_end("end_turn", "strayed"));
    let fault = scene.prompt(3, "stray 21").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote more than 20 lines that are no messages: \
                 \"loading model, part 20\"";
    assert_eq!(fault.to_string(), words);
}

both!(truncated_message_ends_connection_with_quote);
async fn truncated_message_ends_connection_with_quote(way: AgentTransport) {
    let scene = connected(way).await;
    let fault = scene.prompt(1, "broken").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a message that is not JSON: \
                 \"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\\\"session/upd\"";
    assert_eq!(fault.to_string(), words);
    assert_eq!(fault.to_turn_error().reason, Reason::OutcomeUnknown);
    assert_eq!(scene.client.ended().await, fault);
    assert_eq!(scene.prompt(2, "hello").await, Err(AcpError::AlreadyEnded(Box::new(fault))));
}

both!(oversized_message_ends_connection);
async fn oversized_message_ends_connection(way: AgentTransport) {
    let limits = AcpLimits { message_bytes_max: 100_000, ..AcpLimits::default() };
    let scene = connected_with_limits(way, limits).await;
    let fault = scene.prompt(1, "long 50000").await.unwrap_err();
    assert!(fault.to_string().contains("it wrote a message that is not JSON"), "{fault}");
    let scene = connected_with_limits(way, limits).await;
    let fault = scene.prompt(1, "long 3000000").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a line of more than 100000 bytes";
    assert_eq!(fault.to_string(), words);
}

both!(unanswered_requests_over_limit_end_connection);
async fn unanswered_requests_over_limit_end_connection(way: AgentTransport) {
    let limits = AcpLimits { unanswered_max: 10, asks_max: 20, ..AcpLimits::default() };
    let scene = connected_with_limits(way, limits).await;
    let fault = scene.prompt(1, "pile 50").await.unwrap_err();
    let words =
        "the agent broke the protocol: it asked more than 10 things without reading or waiting for an answer";
    assert!(fault.to_string().starts_with(words), "{fault}");
}

both!(login_required_is_auth_required_error);
async fn login_required_is_auth_required_error(way: AgentTransport) {
    let switches = Switches { login: true, ..Switches::default() };
    let scene = open_client(way, switches, AcpOptions::default()).await.unwrap();
    let fault = scene.start_session(None).await.unwrap_err();
    assert_eq!(fault, AcpError::AuthRequired(Vec::new()));
    assert_eq!(fault.to_error().reason, Reason::Unauthenticated);
}

both!(unsupported_version_is_rejected);
async fn unsupported_version_is_rejected(way: AgentTransport) {
    let switches = Switches { version: Some(7), ..Switches::default() };
    let fault = open_client(way, switches, AcpOptions::default()).await.err().unwrap();
    assert_eq!(fault, AcpError::UnsupportedVersion(7));
}

#[tokio::test(start_paused = true)]
async fn silent_agent_times_out() {
    let switches = Switches { mute: true, ..Switches::default() };
    let options = AcpOptions { setup_timeout: Duration::from_secs(5), ..AcpOptions::default() };
    let fault = open_client(AgentTransport::InProcess, switches, options).await.err().unwrap();
    assert_eq!(fault.to_string(), "the agent did not answer initialize within 5s");
}

#[cfg(unix)]
#[tokio::test]
async fn non_acp_program_is_rejected() {
    use crate::fixture::spawn_client;
    use tokio::process::Command;

    with_timeout(async {
        // `cat` repeats its input.
        let fault = spawn_client(Command::new("cat"), AcpOptions::default()).await.err().unwrap();
        assert_eq!(
            fault.to_string(),
            "the agent refused initialize: Method not found: initialize (code -32601)"
        );
        let mut short = Command::new("sh");
        short.args(["-c", "echo hello"]);
        assert_eq!(spawn_client(short, AcpOptions::default()).await.err().unwrap(), AcpError::Closed);
        let mut chatty = Command::new("yes");
        chatty.arg("hello");
        let fault = spawn_client(chatty, AcpOptions::default()).await.err().unwrap().to_string();
        assert!(fault.contains("it wrote more than 100 lines that are no messages: \"hello\""), "{fault}");
        let mut endless = Command::new("cat");
        endless.arg("/dev/zero");
        let fault = spawn_client(endless, AcpOptions::default()).await.err().unwrap().to_string();
        assert!(fault.contains("it wrote a line of more than 16777216 bytes"), "{fault}");
    })
    .await;
}
