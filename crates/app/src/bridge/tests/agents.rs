//! Agents that are added and removed.

use super::*;

#[tokio::test]
async fn agents_are_added_and_removed_with_errors_by_key() {
    let (mut fixture, mut session) = BridgeFixture::with_session().await;
    let ask = async |session: &mut TestSession, agent: &str, action: &str, members: Value| {
        let mut members = members;
        members["agent"] = json!(agent);
        session.request(action, members).await
    };
    let added = ask(&mut session, "later", "add", json!({"config": {"fail_after": 7}})).await;
    let shown = &added["ok"];
    assert_eq!(shown["id"], "later");
    assert_eq!(shown["fail_after"], 7);
    assert_eq!(shown["budget"]["max"], 9);
    while fixture.wait_for_event("agent_health").await.actor != "root/agents/later" {}
    for (agent, config, reason, named) in [
        ("later", json!({}), "conflict", "later"),
        ("planner", json!({}), "conflict", "planner"),
        ("more", json!({"id": "else"}), "invalid_request", "\"id\" in \"config\""),
        ("more", json!({"fail_after": 0}), "invalid_config", "\"fail_after\" must"),
        ("more", json!({"max_restart": 1}), "invalid_config", "\"max_restarts\""),
        ("no name", json!({}), "invalid_config", "\"id\" must"),
        ("more", json!({"driver": "process"}), "invalid_config", "\"command\" must"),
        ("more", json!(["id"]), "invalid_request", "\"config\" must be an object, not a list"),
    ] {
        let refused = ask(&mut session, agent, "add", json!({"config": config})).await;
        let error = &refused["error"];
        let details = error["details"].as_str().unwrap_or_default();
        assert_eq!(error["reason"].as_str(), Some(reason), "{agent} {config}: {refused}");
        assert!(details.contains(named), "{agent} {config}: {refused}");
    }
    assert_eq!(ask(&mut session, "later", "remove", json!({})).await["ok"], Value::Null);
    for action in ["remove", "show", "listen"] {
        assert_eq!(
            ask(&mut session, "later", action, json!({})).await["error"]["reason"],
            "agent_unknown",
            "{action}"
        );
    }
    let again = ask(&mut session, "later", "add", json!({"config": {}})).await;
    assert_eq!(again["ok"]["fail_after"], 3, "nothing of the first one is left");
    fixture.stop().await;
}
