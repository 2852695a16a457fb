//! The cache.

use super::*;

#[tokio::test]
async fn cache_keeps_values_as_written_and_bytes_as_base64() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let get = |key: &str| json!({"type": "cache", "action": "get", "key": key});
    assert_eq!(session.command(get("notes:a")).await, json!({"hit": false}));
    let value = r#"{"b":12345678901234567890123,"a":1E2}"#;
    let put = format!(r#"{{"id":1,"type":"cache","action":"put","key":"notes:a","value":{value}}}"#);
    session.commands.send(put).await.unwrap();
    assert_eq!(session.receive().await["ok"], Value::Null);
    session.commands.send(with_id(1, &get("notes:a"))).await.unwrap();
    let got = session.receive_text().await;
    assert_eq!(got, format!(r#"{{"id":1,"ok":{{"hit":true,"value":{value}}}}}"#));
    for (members, expected) in [
        (json!({"base64": "AP8="}), json!({"hit": true, "base64": "AP8="})),
        (json!({"value": null}), json!({"hit": true, "value": null})),
        (json!({"value": 1, "ttl_ms": 0}), json!({"hit": false})),
    ] {
        let mut put = json!({"type": "cache", "action": "put", "key": "notes:b"});
        put.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        assert_eq!(session.command(put).await, Value::Null, "{members}");
        assert_eq!(session.command(get("notes:b")).await, expected, "{members}");
    }
    for wrong in [
        json!({"action": "put", "key": "notes:c"}),
        json!({"action": "put", "key": "notes:c", "value": 1, "base64": ""}),
        json!({"action": "put", "key": "notes:c", "base64": "%"}),
        json!({"action": "put", "key": "http:/a", "value": 1}),
        json!({"action": "get"}),
    ] {
        let mut command = wrong.clone();
        command["type"] = json!("cache");
        session.commands.send(with_id(1, &command)).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], "invalid_request", "{wrong}");
    }
    fixture.stop().await;
}
