//! Agents that break the protocol, or speak none.

use std::time::Duration;

use mainstay_actors::agent::acp::{AcpFault, AcpLimits, AcpOptions};
use mainstay_actors::error::Reason;

use crate::agent::Switches;
use crate::both;
use crate::scene::{Way, ended, open, talking, talking_within, within};

both!(lines_that_are_no_messages_are_passed_over_as_long_as_they_are_few);
async fn lines_that_are_no_messages_are_passed_over_as_long_as_they_are_few(way: Way) {
    let limits = AcpLimits { strays_max: 20, ..AcpLimits::default() };
    let scene = talking_within(way, limits).await;
    assert_eq!(scene.says(1, "stray 20").await, ended("end_turn", "strayed"));
    assert_eq!(scene.says(2, "stray 20").await, ended("end_turn", "strayed"));
    let fault = scene.says(3, "stray 21").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote more than 20 lines that are no messages: \
                 \"loading model, part 20\"";
    assert_eq!(fault.to_string(), words);
}

both!(half_a_message_ends_the_connection_with_its_beginning_as_the_reason);
async fn half_a_message_ends_the_connection_with_its_beginning_as_the_reason(way: Way) {
    let scene = talking(way).await;
    let fault = scene.says(1, "broken").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a message that is not JSON: \
                 \"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\\\"session/upd\"";
    assert_eq!(fault.to_string(), words);
    assert_eq!(fault.of_turn().reason, Reason::OutcomeUnknown);
    assert_eq!(scene.client.ended().await, fault);
    assert_eq!(scene.says(2, "hello").await, Err(AcpFault::Over(Box::new(fault))));
}

both!(a_message_beyond_the_limit_ends_the_connection_and_is_not_kept);
async fn a_message_beyond_the_limit_ends_the_connection_and_is_not_kept(way: Way) {
    let limits = AcpLimits { message_bytes_max: 100_000, ..AcpLimits::default() };
    let scene = talking_within(way, limits).await;
    let fault = scene.says(1, "long 50000").await.unwrap_err();
    assert!(fault.to_string().contains("it wrote a message that is not JSON"), "{fault}");
    let scene = talking_within(way, limits).await;
    let fault = scene.says(1, "long 3000000").await.unwrap_err();
    let words = "the agent broke the protocol: it wrote a line of more than 100000 bytes";
    assert_eq!(fault.to_string(), words);
}

both!(an_agent_that_piles_up_requests_is_cut_off);
async fn an_agent_that_piles_up_requests_is_cut_off(way: Way) {
    let limits = AcpLimits { unanswered_max: 10, asks_max: 20, ..AcpLimits::default() };
    let scene = talking_within(way, limits).await;
    let fault = scene.says(1, "pile 50").await.unwrap_err();
    let words =
        "the agent broke the protocol: it asked more than 10 things without reading or waiting for an answer";
    assert!(fault.to_string().starts_with(words), "{fault}");
}

both!(an_agent_that_wants_a_login_says_so);
async fn an_agent_that_wants_a_login_says_so(way: Way) {
    let switches = Switches { login: true, ..Switches::default() };
    let scene = open(way, switches, AcpOptions::default()).await.unwrap();
    let fault = scene.begin(None).await.unwrap_err();
    assert_eq!(fault, AcpFault::LoginWanted(Vec::new()));
    assert_eq!(fault.as_error().reason, Reason::Unauthenticated);
}

both!(an_agent_of_another_version_is_not_talked_to);
async fn an_agent_of_another_version_is_not_talked_to(way: Way) {
    let switches = Switches { version: Some(7), ..Switches::default() };
    let fault = open(way, switches, AcpOptions::default()).await.err().unwrap();
    assert_eq!(fault, AcpFault::Version(7));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_nothing_has_a_limited_time_for_it() {
    let switches = Switches { mute: true, ..Switches::default() };
    let options = AcpOptions { setup_timeout: Duration::from_secs(5), ..AcpOptions::default() };
    let fault = open(Way::Here, switches, options).await.err().unwrap();
    assert_eq!(fault.to_string(), "the agent did not answer initialize within 5s");
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_speaks_no_acp_is_told_from_one_that_does() {
    use crate::scene::run;
    use tokio::process::Command;

    within(async {
        // It repeats what it is told.
        let fault = run(Command::new("cat"), AcpOptions::default()).await.err().unwrap();
        assert_eq!(
            fault.to_string(),
            "the agent refused initialize: Method not found: initialize (code -32601)"
        );
        let mut short = Command::new("sh");
        short.args(["-c", "echo hello"]);
        assert_eq!(run(short, AcpOptions::default()).await.err().unwrap(), AcpFault::Closed);
        let mut chatty = Command::new("yes");
        chatty.arg("hello");
        let fault = run(chatty, AcpOptions::default()).await.err().unwrap().to_string();
        assert!(fault.contains("it wrote more than 100 lines that are no messages: \"hello\""), "{fault}");
        let mut endless = Command::new("cat");
        endless.arg("/dev/zero");
        let fault = run(endless, AcpOptions::default()).await.err().unwrap().to_string();
        assert!(fault.contains("it wrote a line of more than 16777216 bytes"), "{fault}");
    })
    .await;
}
