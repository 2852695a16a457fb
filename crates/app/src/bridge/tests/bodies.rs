//! Bodies of requests, as they were written.

use super::*;

#[tokio::test]
async fn bodies_are_json_text_or_base64() {
    let (fixture, mut session) = BridgeFixture::with_session().await;
    let echo = |members: Value| {
        let mut command = json!({"type": "request", "method": "POST", "path": "/api/echo"});
        command.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        command
    };
    let headers = json!({"content-type": "application/json"});
    let reply = session.command(echo(json!({"base64": "eyJhIjoxfQ==", "headers": headers}))).await;
    assert_eq!((&reply["status"], &reply["body"]), (&json!(200), &json!({"a": 1})), "{reply}");
    for wrong in [
        json!({"base64": "AP8=", "body": 1}),
        json!({"base64": "AP8=", "stream_body": true}),
        json!({"base64": "%"}),
        json!({"stream": true, "cache_ms": 1}),
        json!({"stream": true, "shared": true}),
    ] {
        session.commands.send(with_id(1, &echo(wrong.clone()))).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], "invalid_request", "{wrong}");
    }
    for (command, reason) in [
        (json!({"action": "write", "request": 99, "base64": ""}), "not_found"),
        (json!({"action": "end", "request": 99}), "not_found"),
        (json!({"action": "abort", "request": 99}), "not_found"),
        (json!({"action": "ack", "request": 99, "chunks": -1}), "invalid_request"),
    ] {
        let mut command = command;
        command["type"] = json!("body");
        session.commands.send(with_id(1, &command)).await.unwrap();
        assert_eq!(session.receive().await["error"]["reason"], reason, "{command}");
    }
    let ack = json!({"type": "body", "action": "ack", "request": 99, "chunks": 1});
    assert_eq!(session.command(ack).await, Value::Null, "it may come after the end");
    fixture.stop().await;
}

#[test]
fn parse_puts_the_last_body_in_its_place_as_written() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let parse = |command: &str, body: &str| {
        let text = format!("{{\"body\":7,\"id\":1,{command}, \"body\" : {body} }}");
        let (id, command) = crate::bridge::command::parse(&text);
        assert_eq!(id, Some(1), "{text}");
        command
    };
    let commands = [
        r#""type":"request","method":"POST","path":"/a""#,
        r#""type":"agent","agent":"planner","action":"send""#,
        r#""type":"agent","agent":"planner","action":"answer","ask":"a1""#,
    ];
    for command in commands {
        for body in [
            "1e999",
            "-0.0",
            r#""\ud83d""#,
            r#"{"b":18446744073709551616,"a":1.0,"b":1E2}"#,
            "true",
            &deep(127),
        ] {
            let placed = match parse(command, body).unwrap() {
                BridgeCommand::Request(request) => request.body.unwrap(),
                BridgeCommand::Agent(mut command) => command.action.body_mut().unwrap().clone(),
                other => panic!("{other:?}"),
            };
            assert_eq!(placed.as_str(), body, "{command}");
        }
        let error = parse(command, &deep(128)).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest);
        assert!(error.log_text().contains("127 levels"), "{error:?}");
    }
    let Ok(BridgeCommand::Request(request)) = parse(commands[0], "null") else { panic!("it is a request") };
    assert_eq!(request.body, None);
    assert!(parse(r#""type":"status""#, "null").is_err());
}

#[tokio::test]
async fn body_passes_through_a_session_as_it_was_written() {
    let fixture = BridgeFixture::start().await;
    let mut session = TestSession::open(&fixture);
    let body = r#"{"b":12345678901234567890123,"a":[1E2,1.10,1e999,-0.0,"\u00e4","\ud800"],"b":1.0}"#;
    let command = format!(
        "\u{feff}{{\"id\":1,\"type\":\"request\",\"method\":\"POST\",\"path\":\"/api/echo\",\"body\":{body}}}"
    );
    session.commands.send(command).await.unwrap();
    let reply = session.receive_text().await;
    assert!(reply.contains(&format!("\"body\":{body}")), "{reply}");
    fixture.stop().await;
}
