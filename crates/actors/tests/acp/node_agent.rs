//! An agent of another project: the example of the protocol's own package for Node. `tests/foreign/run` installs it,
//! and runs these tests.

use super::*;
use crate::fixture::spawn_client;

async fn connect(saved: Option<&str>) -> (AcpClientFixture, Option<LostSession>) {
    let modules = std::env::var_os("MAINSTAY_FOREIGN_NODE_MODULES").expect("tests/foreign/run sets it");
    let mut command = Command::new("node");
    command.arg(Path::new(&modules).join("@agentclientprotocol/sdk/dist/examples/agent.js"));
    let fixture = spawn_client(command, AcpOptions::default()).await.unwrap();
    let start = fixture.start_session(saved).await.unwrap();
    assert_eq!(start.origin, SessionOrigin::New);
    (fixture, start.lost)
}

/// Returns the kinds of updates until the agent asks.
async fn updates_until_ask(fixture: &mut AcpClientFixture) -> (Vec<String>, String, Value) {
    let mut updates = Vec::new();
    loop {
        let update = fixture.next_update().await;
        if let (UpdateKind::Ask, Some(ask)) = (update.kind, update.ask) {
            return (updates, ask, update.body.read().unwrap());
        }
        assert_eq!(update.message_id, Some(MessageId(1)));
        updates.push(update.body.read::<Value>().unwrap()["sessionUpdate"].as_str().unwrap().to_owned());
    }
}

#[tokio::test]
#[ignore = "tests/foreign/run installs the agent"]
async fn node_agent_turn_completes() {
    with_timeout(async {
        let (mut fixture, lost) = connect(Some("of-another-life")).await;
        assert_eq!(lost.unwrap().id, "of-another-life");
        let turn = fixture.spawn_prompt(1, "Set the host, please.");
        let (updates, ask, body) = updates_until_ask(&mut fixture).await;
        let expected =
            ["agent_message_chunk", "tool_call", "tool_call_update", "agent_message_chunk", "tool_call"];
        assert_eq!(updates, expected);
        assert_eq!(body["toolCall"]["toolCallId"], "call_2");
        assert!(fixture.client.answer(&ask, "maybe").is_err());
        fixture.client.answer(&ask, "allow").unwrap();
        let end = join_turn(turn).await.unwrap();
        assert_eq!(end.stop_reason, "end_turn");
        assert!(end.text.ends_with("The changes have been applied."), "{}", end.text);
    })
    .await;
}

#[tokio::test]
#[ignore = "tests/foreign/run installs the agent"]
async fn node_agent_cancelled_turn_allows_the_next() {
    with_timeout(async {
        let (mut fixture, lost) = connect(None).await;
        assert_eq!(lost, None);
        let turn = fixture.spawn_prompt(1, "Do something.");
        fixture.next_text().await;
        fixture.client.cancel();
        assert_eq!(join_turn(turn).await.unwrap().stop_reason, "cancelled");

        let turn = fixture.spawn_prompt(1, "Do something else.");
        let (_, ask, _) = updates_until_ask(&mut fixture).await;
        drop(turn);
        let settled = fixture.next_update_of(UpdateKind::Settled).await;
        assert_eq!(
            (settled.ask, &settled.body.read::<Value>().unwrap()["outcome"]),
            (Some(ask), &"cancelled".into())
        );
        let turn = fixture.spawn_prompt(1, "And now?");
        fixture.next_text().await;
        fixture.client.cancel();
        assert_eq!(join_turn(turn).await.unwrap().stop_reason, "cancelled");
    })
    .await;
}
