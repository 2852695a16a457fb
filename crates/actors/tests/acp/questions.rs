//! The questions of an agent.

use std::collections::BTreeSet;

use super::*;
use crate::fixture::AgentHost;
use mainstay_actors::agent::QuestionOutcome;

/// Returns the name of the next question.
async fn next_ask(fixture: &mut AcpClientFixture) -> String {
    fixture.next_update_of(UpdateKind::Ask).await.ask.unwrap()
}

both!(ask_is_published_and_answered_later);
async fn ask_is_published_and_answered_later(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    let turn = fixture.spawn_prompt(5, "ask");
    let ask = fixture.next_update().await;
    assert_eq!((ask.kind, ask.message_id), (UpdateKind::Ask, Some(MessageId(5))));
    assert_eq!(ask.body.read::<Value>().unwrap()["toolCall"]["title"], "Delete everything");
    let expected = json!({ "optionId": "reject", "name": "Reject", "kind": "reject_once" });
    assert_eq!(ask.body.read::<Value>().unwrap()["options"][1], expected);
    assert!(fixture.client.has_asks());

    let name = ask.ask.unwrap();
    let wrong = fixture.client.answer(&name, "perhaps").unwrap_err();
    let words = "\"perhaps\" is no answer to that; it may be one of [\"allow\", \"reject\"]";
    assert_eq!(wrong.to_string(), words);
    assert_eq!(fixture.client.answer("a99", "allow"), Err(AcpError::UnknownAsk("a99".to_owned())));

    fixture.client.answer(&name, "reject").unwrap();
    assert_eq!(join_turn(turn).await, turn_end("end_turn", "reject "));
    let settled = fixture.next_update().await;
    assert_eq!((settled.kind, settled.ask.as_deref()), (UpdateKind::Settled, Some(&*name)));
    assert_eq!(settled.outcome, Some(QuestionOutcome::Answered));
    assert_eq!(settled.body, json!({ "outcome": "selected", "optionId": "reject" }));
    assert_eq!(fixture.client.answer(&name, "allow"), Err(AcpError::UnknownAsk(name)));
    assert!(!fixture.client.has_asks());
}

both!(cancelled_turn_cancels_its_asks);
async fn cancelled_turn_cancels_its_asks(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    let turn = fixture.spawn_prompt(5, "ask 3");
    let mut open: BTreeSet<String> = BTreeSet::new();
    for _ in 0..3 {
        open.insert(next_ask(&mut fixture).await);
    }
    drop(turn);
    for _ in 0..3 {
        let settled = fixture.next_update_of(UpdateKind::Settled).await;
        let expected = (Some(MessageId(5)), json!({ "outcome": "cancelled" }));
        assert_eq!((settled.message_id, settled.body.read().unwrap()), expected);
        assert_eq!(settled.outcome, Some(QuestionOutcome::Cancelled));
        assert!(open.remove(&settled.ask.unwrap()));
    }
    // The agent received the answer, and repeats it.
    for _ in 0..3 {
        assert_eq!(fixture.next_text().await, ("cancelled ".to_owned(), Some(MessageId(5))));
    }
    assert_eq!(fixture.prompt(6, "next").await, turn_end("end_turn", "you said: next"));
}

both!(asks_over_limit_are_refused);
async fn asks_over_limit_are_refused(transport: AgentTransport) {
    let mut fixture =
        connected_with_limits(transport, AcpLimits { asks_max: 2, ..AcpLimits::default() }).await;
    let turn = fixture.spawn_prompt(5, "ask 3");
    let (first, second) = (next_ask(&mut fixture).await, next_ask(&mut fixture).await);
    assert_eq!(fixture.next_text().await.0, "refused (-32603) ");
    fixture.client.answer(&second, "reject").unwrap();
    assert_eq!(fixture.next_text().await.0, "reject ");
    fixture.client.answer(&first, "allow").unwrap();
    assert_eq!(join_turn(turn).await, turn_end("end_turn", "refused (-32603) reject allow "));
}

both!(withdrawn_ask_is_settled);
async fn withdrawn_ask_is_settled(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    let turn = fixture.spawn_prompt(5, "withdraw");
    let name = next_ask(&mut fixture).await;
    let settled = fixture.next_update_of(UpdateKind::Settled).await;
    assert_eq!(settled.outcome, Some(QuestionOutcome::Withdrawn));
    assert_eq!(
        (settled.ask, settled.body.read().unwrap()),
        (Some(name.clone()), json!({ "outcome": "withdrawn" }))
    );
    assert_eq!(join_turn(turn).await, turn_end("end_turn", "withdrawn: true"));
    assert_eq!(fixture.client.answer(&name, "allow"), Err(AcpError::UnknownAsk(name)));
}

both!(agent_exit_settles_open_asks);
async fn agent_exit_settles_open_asks(transport: AgentTransport) {
    let mut fixture = connected(transport).await;
    let turn = fixture.spawn_prompt(5, "ask");
    let name = next_ask(&mut fixture).await;
    drop(std::mem::replace(&mut fixture.host, AgentHost::InProcess(JoinSet::new())));
    assert_eq!(join_turn(turn).await, Err(AcpError::Closed));
    let settled = fixture.next_update_of(UpdateKind::Settled).await;
    assert_eq!((settled.ask, settled.body.read().unwrap()), (Some(name), json!({ "outcome": "cancelled" })));
}
