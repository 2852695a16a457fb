//! Tests agents that are processes and speak the Agent Client Protocol: the example of the actors' crate, started by a
//! script.

use expect_test::expect;
use mainstay::Reason;
use serde_json::{Value, json};

use crate::fixture::{FaultyAgentFixture, RESTORED, crash};
use crate::support::acp_agent_binary;

/// Returns a script that runs `first`, and then becomes the agent.
pub(crate) fn script(first: &str, switches: &str) -> String {
    format!("{first}\nexec {} --sessions \"$1\" {switches}\n", acp_agent_binary().display())
}

pub(crate) async fn start_acp(script: &str, more: &str) -> FaultyAgentFixture {
    FaultyAgentFixture::with_script(script, &format!("driver = \"acp\"\n{more}")).await
}

pub(crate) fn turn(text: &str) -> Value {
    json!({ "stop_reason": "end_turn", "text": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn update_and_stderr_flood_is_bounded() {
    let mut fixture = start_acp(&script("(yes noise | head -c 4000000 >&2) &", ""), "").await;
    fixture.wait_for_status("healthy").await;
    // Its output is not read meanwhile, except for the answer.
    let answer = fixture.send(json!("stream 20000")).await.unwrap();
    assert!(answer["text"].as_str().unwrap().ends_with("19999 "));
    assert_eq!(fixture.send(json!("hello")).await, Ok(turn("you said: hello")));
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_on_resume_starts_a_new_conversation() {
    let mut fixture = start_acp(&script("", "--resume --fragile"), "max_restarts = 9").await;
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("exit 1")).await, Err(Reason::OutcomeUnknown));
    fixture.wait_for_status("healthy").await;
    assert_eq!(fixture.send(json!("recall")).await, Ok(turn("recall")));
    let again: Vec<_> = (2..=4)
        .map(|number| crash("starting", "before it was ready, it exited with code 4", number, 9) + RESTORED)
        .collect();
    let expected = format!(
        "starting -> healthy\n{}{RESTORED}{}\
         lost s1: the agent ended 3 times in a row when it resumed the session\nstarting -> healthy\n",
        crash("healthy", "its process ended: it exited with code 1", 1, 9),
        again.concat()
    );
    assert_eq!(fixture.transcript(), expected);
    fixture.stop().await;
}
