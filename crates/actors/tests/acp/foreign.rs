//! An agent that nobody here wrote: the example of the protocol's own package for Node. `tests/foreign/run` installs it,
//! and runs these.

use std::path::Path;

use mainstay_actors::agent::acp::{AcpOptions, LostSession, SessionHow};
use mainstay_actors::agent::{LetterId, UpdateKind};
use serde_json::Value;
use tokio::process::Command;

use crate::scene::{Scene, end_of, run, within};

async fn talking(kept: Option<&str>) -> (Scene, Option<LostSession>) {
    let modules = std::env::var_os("MAINSTAY_FOREIGN_NODE_MODULES").expect("tests/foreign/run sets it");
    let mut command = Command::new("node");
    command.arg(Path::new(&modules).join("@agentclientprotocol/sdk/dist/examples/agent.js"));
    let scene = run(command, AcpOptions::default()).await.unwrap();
    let start = scene.begin(kept).await.unwrap();
    assert_eq!(start.how, SessionHow::New);
    (scene, start.lost)
}

/// What kinds of updates come until the agent asks.
async fn heard_until_asked(scene: &mut Scene) -> (Vec<String>, String, Value) {
    let mut heard = Vec::new();
    loop {
        let update = scene.hears().await;
        if let (UpdateKind::Ask, Some(ask)) = (update.kind, update.ask) {
            return (heard, ask, update.body);
        }
        assert_eq!(update.letter, Some(LetterId(1)));
        heard.push(update.body["sessionUpdate"].as_str().unwrap().to_owned());
    }
}

#[tokio::test]
#[ignore = "tests/foreign/run installs the agent"]
async fn a_whole_turn_with_an_agent_on_node() {
    within(async {
        let (mut scene, lost) = talking(Some("of-another-life")).await;
        assert_eq!(lost.unwrap().id, "of-another-life");
        let turn = scene.starts(1, "Set the host, please.");
        let (heard, ask, body) = heard_until_asked(&mut scene).await;
        let expected =
            ["agent_message_chunk", "tool_call", "tool_call_update", "agent_message_chunk", "tool_call"];
        assert_eq!(heard, expected);
        assert_eq!(body["toolCall"]["toolCallId"], "call_2");
        assert!(scene.client.answer(&ask, "maybe").is_err());
        scene.client.answer(&ask, "allow").unwrap();
        let end = end_of(turn).await.unwrap();
        assert_eq!(end.stop_reason, "end_turn");
        assert!(end.text.ends_with("The changes have been applied."), "{}", end.text);
    })
    .await;
}

#[tokio::test]
#[ignore = "tests/foreign/run installs the agent"]
async fn a_turn_with_an_agent_on_node_is_called_off_and_the_next_one_runs() {
    within(async {
        let (mut scene, lost) = talking(None).await;
        assert_eq!(lost, None);
        let turn = scene.starts(1, "Do something.");
        scene.hears_text().await;
        scene.client.cancel();
        assert_eq!(end_of(turn).await.unwrap().stop_reason, "cancelled");

        let turn = scene.starts(1, "Do something else.");
        let (_, ask, _) = heard_until_asked(&mut scene).await;
        drop(turn);
        let settled = scene.hears_of(UpdateKind::Settled).await;
        assert_eq!((settled.ask, &settled.body["outcome"]), (Some(ask), &"cancelled".into()));
        let turn = scene.starts(1, "And now?");
        scene.hears_text().await;
        scene.client.cancel();
        assert_eq!(end_of(turn).await.unwrap().stop_reason, "cancelled");
    })
    .await;
}
