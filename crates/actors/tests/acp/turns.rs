//! Turns, their text, and cancellation.

use mainstay_actors::agent::UPDATES_BUFFERED_MAX;

use super::*;
use crate::fixture::AgentHost;

both!(prompt_updates_carry_its_message_id);
async fn prompt_updates_carry_its_message_id(transport: AgentTransport) {
    let mut fixture = open_client(transport, Switches::default(), AcpOptions::default()).await.unwrap();
    assert_eq!(fixture.client.agent_name(), Some("acp_agent 1.0.0"));
    assert_eq!(fixture.prompt(1, "too early").await, Err(AcpError::NoSession));

    let start = fixture.start_session(None).await.unwrap();
    assert_eq!((start.id.as_str(), start.origin, start.lost), ("s1", SessionOrigin::New, None));
    assert_eq!(fixture.prompt(7, "hello").await, turn_end("end_turn", "you said: hello"));
    assert_eq!(fixture.next_text().await, ("you said: hello".to_owned(), Some(MessageId(7))));

    let blocks =
        json!({ "prompt": [{ "type": "text", "text": "two" }, { "type": "text", "text": "blocks" }] });
    let prompt = AcpPrompt::from_body(&blocks.into()).unwrap();
    let expected = turn_end("end_turn", "you said: two blocks");
    assert_eq!(fixture.client.prompt(MessageId(8), prompt).await, expected);
    assert_eq!(fixture.next_text().await, ("you said: two blocks".to_owned(), Some(MessageId(8))));
}

both!(json_reaches_both_sides_as_it_was_written);
async fn json_reaches_both_sides_as_it_was_written(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    // The line of the question has the most levels.
    let deep = "[".repeat(122) + &"]".repeat(122);
    let odd =
        format!(r#"{{"b": [18446744073709551616,1e999,-0.0,1.0],"a":{{"k":1,"k":"\u00e4"}},"d":{deep}}}"#);
    assert_eq!(fixture.prompt(1, &format!("json {odd}")).await, turn_end("end_turn", ""));
    for (kind, expected) in [
        (UpdateKind::Progress, format!(r#"{{"sessionUpdate":"plan","entries":{odd}}}"#)),
        (UpdateKind::Ask, format!(r#"{{"toolCall":{odd},"options":[{{"optionId":"allow","own":{odd}}}]}}"#)),
    ] {
        assert_eq!(fixture.next_update_of(kind).await.body.as_str(), expected);
    }
    assert_eq!(fixture.client.lines_skipped(), 0);
    let blocks = r#"[{"text":"line", "type":"text","_meta":{"b":18446744073709551616,"a":1.0,"a":-0.0}}]"#;
    let prompt = AcpPrompt::from_body(&Json::parse(blocks).unwrap()).unwrap();
    let line = fixture.client.prompt(MessageId(2), prompt).await.unwrap().text;
    assert!(line.contains(&format!("\"prompt\":{blocks}")), "{line}");
}

both!(update_flood_keeps_text_whole_and_counts_lost);
async fn update_flood_keeps_text_whole_and_counts_lost(transport: AgentTransport) {
    const MANY: usize = 5000;
    let mut fixture = connected(transport).await;
    let whole: String = (0..MANY).map(|chunk| format!("{chunk} ")).collect();
    assert_eq!(fixture.prompt(1, &format!("stream {MANY}")).await, turn_end("end_turn", &whole));
    let lost = u64::try_from(MANY - UPDATES_BUFFERED_MAX).unwrap();
    assert_eq!(fixture.updates.next().await, Some(UpdateEvent::Lagged(lost)));
    for chunk in MANY - UPDATES_BUFFERED_MAX..MANY {
        assert_eq!(fixture.next_text().await, (format!("{chunk} "), Some(MessageId(1))));
    }
}

both!(turn_text_over_limit_is_cut);
async fn turn_text_over_limit_is_cut(transport: AgentTransport) {
    let fixture =
        connected_with_limits(transport, AcpLimits { text_bytes_max: 5, ..AcpLimits::default() }).await;
    let end = fixture.prompt(1, "stream 100").await.unwrap();
    assert_eq!((end.text.as_str(), end.is_text_cut), ("0 1 2", true));
    assert_eq!(fixture.prompt(2, "stream 1").await, turn_end("end_turn", "0 "));
}

both!(prompt_dropped_cancels_the_turn);
async fn prompt_dropped_cancels_the_turn(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    let turn = fixture.spawn_prompt(1, "hang");
    assert_eq!(fixture.next_text().await, ("hanging".to_owned(), Some(MessageId(1))));
    assert_eq!(fixture.options.meter.activity().in_flight, 1);
    drop(turn);
    // It waits for the end of the previous turn, which hangs until it is cancelled.
    assert_eq!(fixture.prompt(2, "next").await, turn_end("end_turn", "you said: next"));
    assert_eq!(fixture.options.meter.activity().in_flight, 0);
}

both!(cancel_ends_turn_as_cancelled);
async fn cancel_ends_turn_as_cancelled(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    fixture.client.cancel();
    let turn = fixture.spawn_prompt(1, "hang");
    fixture.next_text().await;
    fixture.client.cancel();
    fixture.client.cancel();
    assert_eq!(join_turn(turn).await, turn_end("cancelled", "hanging"));
    assert_eq!(fixture.prompt(2, "next").await, turn_end("end_turn", "you said: next"));
}

#[tokio::test(start_paused = true)]
async fn uncancellable_turn_blocks_the_next_prompt() {
    let options = AcpOptions { previous_turn_timeout: Duration::from_secs(3), ..AcpOptions::default() };
    let mut fixture = open_client(AgentTransport::InProcess, Switches::default(), options).await.unwrap();
    fixture.start_session(None).await.unwrap();
    let turn = fixture.spawn_prompt(1, "deaf");
    fixture.next_text().await;
    drop(turn);
    let refusal = fixture.prompt(2, "next").await.unwrap_err();
    assert_eq!(refusal, AcpError::PreviousTurnActive);
    assert!(refusal.to_turn_error().retryable);
    assert_eq!(fixture.options.meter.activity().in_flight, 1);
}

both!(unsupported_agent_requests_are_refused);
async fn unsupported_agent_requests_are_refused(transport: AgentTransport) {
    let fixture = connected(transport).await;
    assert_eq!(fixture.prompt(1, "files").await, turn_end("end_turn", "read -32601, run -32601"));
}

both!(refused_prompt_errors_and_session_continues);
async fn refused_prompt_errors_and_session_continues(transport: AgentTransport) {
    let fixture = connected(transport).await;
    let refusal = fixture.prompt(1, "fail").await.unwrap_err();
    let words = "the agent refused session/prompt: Internal error: as it was asked to (code -32603)";
    assert_eq!(refusal.to_string(), words);
    assert_eq!(refusal.to_turn_error().reason, Reason::ServerError);
    assert_eq!(fixture.prompt(2, "next").await, turn_end("end_turn", "you said: next"));
}

timed!(unaccepted_or_oversized_prompt_is_not_sent);
async fn unaccepted_or_oversized_prompt_is_not_sent() {
    let limits = AcpLimits { message_bytes_max: 10_000, ..AcpLimits::default() };
    let fixture = connected_with_limits(AgentTransport::InProcess, limits).await;
    let image = json!([{ "type": "image", "data": "AA==", "mimeType": "image/png" }]);
    let image =
        fixture.client.prompt(MessageId(1), AcpPrompt::from_body(&image.into()).unwrap()).await.unwrap_err();
    assert_eq!(image.to_string(), "block 0 is an image, which this agent does not accept");
    let large = fixture.prompt(2, &"x".repeat(10_000)).await.unwrap_err();
    assert!(large.to_string().starts_with("a prompt has at most 10000 bytes; this one has 10"), "{large}");
    assert_eq!(large.to_turn_error().reason, Reason::InvalidRequest);
    assert_eq!(fixture.prompt(3, "recall").await, turn_end("end_turn", "recall"));
}

both!(dropped_client_leaves_nothing_running);
async fn dropped_client_leaves_nothing_running(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    let turn = fixture.spawn_prompt(1, "hang");
    fixture.next_text().await;
    let ended = fixture.client.ended();
    drop(turn);
    drop(fixture.client);
    assert_eq!(ended.await, AcpError::Closed);
    // The agent sees the end of its input, and exits.
    match fixture.host {
        AgentHost::InProcess(mut agent) => agent.join_next().await.unwrap().unwrap(),
        AgentHost::Subprocess(mut agent) => assert!(agent.wait().await.unwrap().success()),
    }
    assert_eq!(fixture.options.meter.activity().in_flight, 0);
    while fixture.updates.next().await.is_some() {}
}
