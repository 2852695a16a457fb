//! What an agent asks.

use std::collections::BTreeSet;

use mainstay_actors::agent::acp::{AcpFault, AcpLimits};
use mainstay_actors::agent::{LetterId, UpdateKind};
use serde_json::json;

use crate::both;
use crate::scene::{Scene, Way, end_of, ended, talking, talking_within};

/// The name of the next question.
async fn asked(scene: &mut Scene) -> String {
    scene.hears_of(UpdateKind::Ask).await.ask.unwrap()
}

both!(a_question_is_put_to_whoever_listens_and_answered_later);
async fn a_question_is_put_to_whoever_listens_and_answered_later(way: Way) {
    let mut scene = talking(way).await;
    let turn = scene.starts(5, "ask");
    let ask = scene.hears().await;
    assert_eq!((ask.kind, ask.letter), (UpdateKind::Ask, Some(LetterId(5))));
    assert_eq!(ask.body["toolCall"]["title"], "Delete everything");
    assert_eq!(
        ask.body["options"][1],
        json!({ "optionId": "reject", "name": "Reject", "kind": "reject_once" })
    );
    assert!(scene.client.has_asks());

    let name = ask.ask.unwrap();
    let wrong = scene.client.answer(&name, "perhaps").unwrap_err();
    let words = "\"perhaps\" is no answer to that; it may be one of [\"allow\", \"reject\"]";
    assert_eq!(wrong.to_string(), words);
    assert_eq!(scene.client.answer("a99", "allow"), Err(AcpFault::NotAsked("a99".to_owned())));

    scene.client.answer(&name, "reject").unwrap();
    assert_eq!(end_of(turn).await, ended("end_turn", "reject "));
    let settled = scene.hears().await;
    assert_eq!((settled.kind, settled.ask.as_deref()), (UpdateKind::Settled, Some(&*name)));
    assert_eq!(settled.body, json!({ "outcome": "selected", "optionId": "reject" }));
    assert_eq!(scene.client.answer(&name, "allow"), Err(AcpFault::NotAsked(name)));
    assert!(!scene.client.has_asks());
}

both!(questions_are_cancelled_with_the_turn_that_they_belong_to);
async fn questions_are_cancelled_with_the_turn_that_they_belong_to(way: Way) {
    let mut scene = talking(way).await;
    let turn = scene.starts(5, "ask 3");
    let mut open: BTreeSet<String> = BTreeSet::new();
    for _ in 0..3 {
        open.insert(asked(&mut scene).await);
    }
    drop(turn);
    for _ in 0..3 {
        let settled = scene.hears_of(UpdateKind::Settled).await;
        assert_eq!((settled.letter, settled.body), (Some(LetterId(5)), json!({ "outcome": "cancelled" })));
        assert!(open.remove(&settled.ask.unwrap()));
    }
    // The agent was told so, and says it.
    for _ in 0..3 {
        assert_eq!(scene.hears_text().await, ("cancelled ".to_owned(), Some(LetterId(5))));
    }
    assert_eq!(scene.says(6, "next").await, ended("end_turn", "you said: next"));
}

both!(more_questions_than_may_be_open_are_refused_and_the_others_stay);
async fn more_questions_than_may_be_open_are_refused_and_the_others_stay(way: Way) {
    let mut scene = talking_within(way, AcpLimits { asks_max: 2, ..AcpLimits::default() }).await;
    let turn = scene.starts(5, "ask 3");
    let (first, second) = (asked(&mut scene).await, asked(&mut scene).await);
    assert_eq!(scene.hears_text().await.0, "refused (-32603) ");
    scene.client.answer(&second, "reject").unwrap();
    assert_eq!(scene.hears_text().await.0, "reject ");
    scene.client.answer(&first, "allow").unwrap();
    assert_eq!(end_of(turn).await, ended("end_turn", "refused (-32603) reject allow "));
}

both!(a_question_that_the_agent_takes_back_is_settled);
async fn a_question_that_the_agent_takes_back_is_settled(way: Way) {
    let mut scene = talking(way).await;
    let turn = scene.starts(5, "withdraw");
    let name = asked(&mut scene).await;
    let settled = scene.hears_of(UpdateKind::Settled).await;
    assert_eq!((settled.ask, settled.body), (Some(name.clone()), json!({ "outcome": "withdrawn" })));
    assert_eq!(end_of(turn).await, ended("end_turn", "withdrawn: true"));
    assert_eq!(scene.client.answer(&name, "allow"), Err(AcpFault::NotAsked(name)));
}

both!(questions_that_are_open_when_the_agent_is_gone_are_settled);
async fn questions_that_are_open_when_the_agent_is_gone_are_settled(way: Way) {
    let mut scene = talking(way).await;
    let turn = scene.starts(5, "ask");
    let name = asked(&mut scene).await;
    drop(std::mem::replace(&mut scene.body, crate::scene::Body::Here(tokio::task::JoinSet::new())));
    assert_eq!(end_of(turn).await, Err(AcpFault::Closed));
    let settled = scene.hears_of(UpdateKind::Settled).await;
    assert_eq!((settled.ask, settled.body), (Some(name), json!({ "outcome": "cancelled" })));
}
