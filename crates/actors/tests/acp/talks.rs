//! Turns, what is said in them, calling them off.

use std::time::Duration;

use mainstay_actors::agent::acp::{AcpFault, AcpLimits, AcpOptions, AcpPrompt, SessionHow};
use mainstay_actors::agent::{Heard, LetterId, UPDATES_KEPT};
use mainstay_actors::error::Reason;
use serde_json::json;

use crate::agent::Switches;
use crate::both;
use crate::scene::{Body, Way, end_of, ended, open, talking, talking_within, within};

both!(a_prompt_is_answered_and_what_the_agent_says_belongs_to_it);
async fn a_prompt_is_answered_and_what_the_agent_says_belongs_to_it(way: Way) {
    let mut scene = open(way, Switches::default(), AcpOptions::default()).await.unwrap();
    assert_eq!(scene.client.agent_name(), Some("acp_agent 1.0.0"));
    assert_eq!(scene.says(1, "too early").await, Err(AcpFault::NoSession));

    let start = scene.begin(None).await.unwrap();
    assert_eq!((start.id.as_str(), start.how, start.lost), ("s1", SessionHow::New, None));
    assert_eq!(scene.says(7, "hello").await, ended("end_turn", "you said: hello"));
    assert_eq!(scene.hears_text().await, ("you said: hello".to_owned(), Some(LetterId(7))));

    let blocks =
        json!({ "prompt": [{ "type": "text", "text": "two" }, { "type": "text", "text": "blocks" }] });
    let prompt = AcpPrompt::of_body(&blocks).unwrap();
    assert_eq!(scene.client.prompt(LetterId(8), prompt).await, ended("end_turn", "you said: two blocks"));
    assert_eq!(scene.hears_text().await, ("you said: two blocks".to_owned(), Some(LetterId(8))));
}

both!(a_flood_of_updates_reaches_the_answer_whole_and_a_slow_listener_is_told_what_it_missed);
async fn a_flood_of_updates_reaches_the_answer_whole_and_a_slow_listener_is_told_what_it_missed(way: Way) {
    const MANY: usize = 5000;
    let mut scene = talking(way).await;
    let whole: String = (0..MANY).map(|chunk| format!("{chunk} ")).collect();
    assert_eq!(scene.says(1, &format!("stream {MANY}")).await, ended("end_turn", &whole));
    let missed = u64::try_from(MANY - UPDATES_KEPT).unwrap();
    assert_eq!(scene.listener.next().await, Some(Heard::Missed(missed)));
    for chunk in MANY - UPDATES_KEPT..MANY {
        assert_eq!(scene.hears_text().await, (format!("{chunk} "), Some(LetterId(1))));
    }
}

both!(what_is_kept_of_a_turn_is_bounded_and_says_that_it_was_cut);
async fn what_is_kept_of_a_turn_is_bounded_and_says_that_it_was_cut(way: Way) {
    let scene = talking_within(way, AcpLimits { text_bytes_max: 5, ..AcpLimits::default() }).await;
    let end = scene.says(1, "stream 100").await.unwrap();
    assert_eq!((end.text.as_str(), end.is_text_cut), ("0 1 2", true));
    assert_eq!(scene.says(2, "stream 1").await, ended("end_turn", "0 "));
}

both!(a_turn_whose_caller_is_gone_is_called_off_at_the_agent);
async fn a_turn_whose_caller_is_gone_is_called_off_at_the_agent(way: Way) {
    let mut scene = talking(way).await;
    let turn = scene.starts(1, "hang");
    assert_eq!(scene.hears_text().await, ("hanging".to_owned(), Some(LetterId(1))));
    assert_eq!(scene.options.meter.activity().in_flight, 1);
    drop(turn);
    // It waits for the end of the one before, which hangs until it is told.
    assert_eq!(scene.says(2, "next").await, ended("end_turn", "you said: next"));
    assert_eq!(scene.options.meter.activity().in_flight, 0);
}

both!(a_turn_that_is_called_off_ends_as_cancelled);
async fn a_turn_that_is_called_off_ends_as_cancelled(way: Way) {
    let mut scene = talking(way).await;
    scene.client.cancel();
    let turn = scene.starts(1, "hang");
    scene.hears_text().await;
    scene.client.cancel();
    scene.client.cancel();
    assert_eq!(end_of(turn).await, ended("cancelled", "hanging"));
    assert_eq!(scene.says(2, "next").await, ended("end_turn", "you said: next"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_let_itself_be_called_off_counts_as_at_work_and_is_told_nothing_else() {
    let options = AcpOptions { turn_wait: Duration::from_secs(3), ..AcpOptions::default() };
    let mut scene = open(Way::Here, Switches::default(), options).await.unwrap();
    scene.begin(None).await.unwrap();
    let turn = scene.starts(1, "deaf");
    scene.hears_text().await;
    drop(turn);
    let refusal = scene.says(2, "next").await.unwrap_err();
    assert_eq!(refusal, AcpFault::TurnNotEnded);
    assert!(refusal.of_turn().retryable);
    assert_eq!(scene.options.meter.activity().in_flight, 1);
}

both!(what_the_agent_may_not_do_is_refused_as_the_protocol_says);
async fn what_the_agent_may_not_do_is_refused_as_the_protocol_says(way: Way) {
    let scene = talking(way).await;
    assert_eq!(scene.says(1, "files").await, ended("end_turn", "read -32601, run -32601"));
}

both!(an_agent_that_refuses_a_prompt_says_why_and_the_conversation_goes_on);
async fn an_agent_that_refuses_a_prompt_says_why_and_the_conversation_goes_on(way: Way) {
    let scene = talking(way).await;
    let refusal = scene.says(1, "fail").await.unwrap_err();
    let words = "the agent refused session/prompt: Internal error: as it was asked to (code -32603)";
    assert_eq!(refusal.to_string(), words);
    assert_eq!(refusal.of_turn().reason, Reason::ServerError);
    assert_eq!(scene.says(2, "next").await, ended("end_turn", "you said: next"));
}

#[tokio::test]
async fn what_an_agent_does_not_accept_or_is_too_large_is_not_sent() {
    within(async {
        let limits = AcpLimits { message_bytes_max: 10_000, ..AcpLimits::default() };
        let scene = talking_within(Way::Here, limits).await;
        let image = json!([{ "type": "image", "data": "AA==", "mimeType": "image/png" }]);
        let image = scene.client.prompt(LetterId(1), AcpPrompt::of_body(&image).unwrap()).await.unwrap_err();
        assert_eq!(image.to_string(), "block 0 is an image, which this agent does not accept");
        let large = scene.says(2, &"x".repeat(10_000)).await.unwrap_err();
        assert!(
            large.to_string().starts_with("a prompt has at most 10000 bytes; this one has 10"),
            "{large}"
        );
        assert_eq!(large.of_turn().reason, Reason::InvalidRequest);
        assert_eq!(scene.says(3, "recall").await, ended("end_turn", "recall"));
    })
    .await;
}

both!(nothing_is_left_of_a_client_that_is_dropped);
async fn nothing_is_left_of_a_client_that_is_dropped(way: Way) {
    let mut scene = talking(way).await;
    let turn = scene.starts(1, "hang");
    scene.hears_text().await;
    let ended = scene.client.ended();
    drop(turn);
    drop(scene.client);
    assert_eq!(ended.await, AcpFault::Closed);
    // The agent sees the end of its input, and ends by itself.
    match scene.body {
        Body::Here(mut agent) => agent.join_next().await.unwrap().unwrap(),
        Body::Process(mut agent) => assert!(agent.wait().await.unwrap().success()),
    }
    assert_eq!(scene.options.meter.activity().in_flight, 0);
    while scene.listener.next().await.is_some() {}
}
