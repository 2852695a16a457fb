//! Tests the control server: access, and the bridge behind it.

mod support;

use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{EventFollower, MainstayProcess, TEST_TIMEOUT};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

fn control_file(data: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(data.join("control.json")).unwrap()).unwrap()
}

async fn start_demo(data: &Path) -> (MainstayProcess, u64, String) {
    let mut demo = MainstayProcess::start(data, &["demo", "--agents", "1"]);
    demo.line_containing("dashboard").await;
    let control = control_file(data);
    (demo, control["port"].as_u64().unwrap(), control["token"].as_str().unwrap().to_owned())
}

#[cfg(unix)]
#[tokio::test]
async fn deleted_control_file_or_folder_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (_demo, port, token) = start_demo(&data).await;
    let file = data.join("control.json");
    for harm in ["deleted", "emptied", "folder moved"] {
        match harm {
            "deleted" => std::fs::remove_file(&file).unwrap(),
            "emptied" => std::fs::write(&file, "").unwrap(),
            _ => std::fs::rename(&data, dir.path().join("moved")).unwrap(),
        }
        let is_whole = || std::fs::metadata(&file).is_ok_and(|found| found.len() > 0);
        support::eventually("control.json is there again", async || is_whole()).await;
        let control = control_file(&data);
        assert_eq!((&control["port"], &control["token"]), (&json!(port), &json!(token)), "{harm}");
        support::run_json(&data, &["status"]).await;
    }
}

#[tokio::test]
async fn next_run_has_the_address_of_the_last_one() {
    let data = tempfile::tempdir().unwrap();
    let (demo, port, token) = start_demo(data.path()).await;
    demo.kill().await;
    let (demo, port_after_kill, token_after_kill) = start_demo(data.path()).await;
    assert_eq!((port_after_kill, &token_after_kill), (port, &token));
    demo.stop().await;
    assert!(!data.path().join("control.json").exists());
    let (demo, port_after_stop, token_after_stop) = start_demo(data.path()).await;
    assert_eq!((port_after_stop, &token_after_stop), (port, &token));
    demo.stop().await;
    // A program that listens on that port now may have been sent the token by an open page.
    let _other = tokio::net::TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).await.unwrap();
    let (_demo, next_port, next_token) = start_demo(data.path()).await;
    assert!(next_port != port && next_token != token);
}

#[tokio::test]
async fn dashboards_page_needs_no_token_and_holds_none() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, port, token) = start_demo(data.path()).await;
    let url = format!("http://127.0.0.1:{port}/");
    let page = support::http_client().get(&url).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none';"));
    let text = page.text().await.unwrap();
    assert!(text.contains("<title>Mainstay</title>") && !text.contains(&token));
    assert_eq!(
        support::http_client().get(format!("{url}elsewhere")).send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    let wrong = support::http_client().post(&url).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    let problem: Value = serde_json::from_slice(&wrong.bytes().await.unwrap()).unwrap();
    assert_eq!((&problem["status"], &problem["reason"]), (&json!(405), &json!("method_not_allowed")));
}

#[tokio::test]
async fn prometheus_reads_the_status_with_the_token() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, port, token) = start_demo(data.path()).await;
    EventFollower::follow(data.path()).wait_for_agent("planner", "healthy").await;
    let url = format!("http://127.0.0.1:{port}/metrics");
    let bearer = format!("Bearer {token}");
    for _ in 0..2 {
        support::run_json(data.path(), &["request", "GET", "/api/search?q=a", "--cache", "1h"]).await;
    }
    let page = support::http_client().get(&url).header("authorization", &bearer).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = page.text().await.unwrap();
    for line in [
        "mainstay_connection_state{state=\"connected\"} 1",
        "mainstay_connection_state{state=\"failed\"} 0",
        "mainstay_agent_status{agent=\"planner\",status=\"healthy\"} 1",
        "mainstay_agent_restarts_total{agent=\"planner\"} 0",
        "mainstay_cache_hits_total 1",
        "mainstay_cache_misses_total 1",
        "mainstay_cache_loads_total 1",
        "mainstay_cache_entries 1",
        "mainstay_queue_running_requests 0",
        "mainstay_request_duration_seconds_count{priority=\"normal\"} 1",
        "mainstay_requests_failed_total{priority=\"normal\"} 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing:\n{text}");
    }
    assert!(!text.contains(&token));
    check_exposition(&text);
}

/// Checks the text format: each name has its type once, before its samples, which are consecutive numbers.
fn check_exposition(text: &str) {
    let mut introduced = Vec::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split_once(' ').expect("a help has words").0;
            assert!(!introduced.contains(&name), "{name} comes twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            introduced.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name has a kind");
            assert_eq!(Some(&name), introduced.last());
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let (sample, figure) = line.rsplit_once(' ').expect("a sample has a figure");
            let name = sample.split('{').next().expect("a sample has a name");
            // A summary has two samples with names of their own.
            let name = ["_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert_eq!(Some(&name), introduced.last(), "{line}");
            assert!(figure.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        }
    }
    assert!(introduced.len() > 20, "{introduced:?}");
}

type BridgeSocket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn send_text(socket: &mut BridgeSocket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

/// Returns the next message for which `wanted` holds.
async fn receive_until(socket: &mut BridgeSocket, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = timeout(TEST_TIMEOUT, socket.next()).await.expect("no message came").unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let value: Value = serde_json::from_str(text.as_str()).unwrap();
        if wanted(&value) {
            return value;
        }
    }
}

#[tokio::test]
async fn bridge_answers_once_and_streams_events_after_snapshot() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, port, token) = start_demo(data.path()).await;
    EventFollower::follow(data.path()).wait_for_agent("planner", "healthy").await;
    let url = format!("ws://127.0.0.1:{port}/bridge?token={token}");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();

    send_text(&mut socket, r#"{"id":1,"type":"request","method":"POST","path":"/api/echo","body":{"a":1}}"#)
        .await;
    let answer = receive_until(&mut socket, |message| message["id"] == 1).await;
    assert_eq!((&answer["ok"]["status"], &answer["ok"]["body"]), (&json!(200), &json!({"a": 1})));

    for (text, entries) in [
        (r#"{"id":5,"type":"request","method":"GET","path":"/api/search?q=a","cache_ms":60000}"#, None),
        (r#"{"id":5,"type":"cache","action":"invalidate","by":"prefix","pattern":"http:/api/"}"#, Some(1)),
        (r#"{"id":5,"type":"cache","action":"invalidate","by":"key","pattern":"none"}"#, Some(0)),
        (r#"{"id":5,"type":"cache","action":"invalidate","by":"all"}"#, Some(0)),
        (r#"{"id":5,"type":"cache","action":"show"}"#, Some(0)),
    ] {
        send_text(&mut socket, text).await;
        let answer = receive_until(&mut socket, |message| message["id"] == 5).await;
        assert!(answer.get("ok").is_some(), "{text}: {answer}");
        if let Some(entries) = entries {
            assert_eq!(answer["ok"]["entries"], entries, "{text}");
        }
    }

    for (text, reason) in [
        (r#"{"id":2,"type":"cache","action":"invalidate","by":"key"}"#, "invalid_request"),
        (r#"{"id":2,"type":"subscribe","after":2}"#, "invalid_request"),
        (r#"{"id":2,"type":"subscribe","after":"2"}"#, "invalid_request"),
    ] {
        send_text(&mut socket, text).await;
        let answer = receive_until(&mut socket, |message| message["id"] == 2).await;
        assert_eq!(answer["error"]["reason"], reason, "{text}");
    }
    send_text(&mut socket, "rubbish").await;
    let answer = receive_until(&mut socket, |message| message.get("error").is_some()).await;
    assert_eq!(answer["id"], Value::Null);

    send_text(&mut socket, r#"{"id":3,"type":"subscribe","after":"1.2"}"#).await;
    receive_until(&mut socket, |message| message["id"] == 3).await;
    let snapshot = receive_until(&mut socket, |message| message.get("snapshot").is_some()).await;
    assert_eq!(snapshot["snapshot"]["tree"]["path"], "root");
    let batch = receive_until(&mut socket, |message| message.get("events").is_some()).await;
    assert_eq!((&batch["events"][0]["run"], &batch["events"][0]["seq"]), (&json!(1), &json!(3)));
    send_text(&mut socket, r#"{"id":4,"type":"agent","agent":"planner","action":"stop"}"#).await;
    let is_exit = |event: &Value| event["actor"] == "root/agents/planner" && event["kind"] == "actor_exited";
    receive_until(&mut socket, |message| {
        message["events"].as_array().is_some_and(|events| events.iter().any(is_exit))
    })
    .await;
}

#[tokio::test]
async fn cli_request_options_reach_the_queue() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, ..) = start_demo(data.path()).await;
    let ask = async |args: &[&str]| support::run_json(data.path(), &[&["request"], args].concat()).await;
    let echoed =
        ask(&["POST", "/api/echo", "--body", r#"{"n":7}"#, "--idempotency-key", "k1", "--priority", "high"])
            .await;
    assert_eq!((&echoed["body"], &echoed["headers"]["idempotency-key"]), (&json!({"n": 7}), &json!("k1")));
    let first = ask(&["GET", "/api/search?q=rust", "--cache", "1m"]).await;
    let second = ask(&["GET", "/api/search?q=rust", "--cache", "1m"]).await;
    assert_eq!((&first["cached"], &second["cached"]), (&json!(false), &json!(true)));
    assert_eq!(first["body"], second["body"]);
    let with_body = ask(&["GET", "/api/search?q=rust", "--cache", "1m", "--body", "{}"]).await;
    assert_eq!(with_body["cached"], false, "{with_body}");
    let missing = support::run(data.path(), &["request", "GET", "/nothing-here", "--json"]).await;
    assert_eq!(missing.code, Some(1));
    let error: Value = serde_json::from_str(&missing.stdout).unwrap();
    assert_eq!((&error["code"], &error["status"]), (&json!("NOT_FOUND"), &json!(404)));
}

#[tokio::test]
async fn cli_passes_a_body_on_as_it_was_written() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, ..) = start_demo(data.path()).await;
    let file = data.path().join("body.json");
    std::fs::write(
        &file,
        "\u{feff}{\"b\": 12345678901234567890123, \"a\": 1E2, \"c\": 1e999, \"d\": \"\\ud800\"}",
    )
    .unwrap();
    let body = format!("@{}", file.display());
    for more in [&["--json"][..], &[]] {
        let args = [&["request", "POST", "/api/echo", "--body", &body], more].concat();
        let echoed = support::run(data.path(), &args).await;
        assert_eq!(echoed.code, Some(0), "{echoed:?}");
        let (big, exponent) =
            (echoed.stdout.find("\"b\": 12345678901234567890123"), echoed.stdout.find("\"a\": 1E2"));
        assert!(big.is_some() && big < exponent && echoed.stdout.contains("\"c\": 1e999"), "{echoed:?}");
        assert!(echoed.stdout.contains(r#""d": "\ud800""#), "{echoed:?}");
    }
}

#[tokio::test]
async fn cli_reads_a_body_from_standard_input() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, ..) = start_demo(data.path()).await;
    let file = data.path().join("body.json");
    let post = async |body: &str, input: &str| {
        std::fs::write(&file, input).unwrap();
        let mut command =
            support::mainstay(data.path(), &["request", "POST", "/api/echo", "--body", body, "--json"]);
        command.stdin(std::fs::File::open(&file).unwrap());
        timeout(TEST_TIMEOUT, command.output()).await.unwrap().unwrap()
    };
    for dash in ["-", "@-"] {
        let echoed = post(dash, "{\"n\": 7}\n").await;
        let echoed: Value = serde_json::from_slice(&echoed.stdout).unwrap();
        assert_eq!(echoed["body"], json!({"n": 7}), "{dash}: {echoed}");
    }
    let refused = post("-", "[1, -]").await;
    let words = "stdin is not JSON at line 1, column 6: a number is incomplete, or begins with a zero";
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && stderr.contains(words), "{stderr}");
}

#[tokio::test]
async fn cli_lists_requests_and_refuses_an_ended_one() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, ..) = start_demo(data.path()).await;
    assert_eq!(support::run_json(data.path(), &["requests"]).await, json!([]));
    assert_eq!(support::run(data.path(), &["requests"]).await.stdout, "no request waits or runs\n");
    let ended = support::run_json(data.path(), &["request", "GET", "/api/search?q=a"]).await;
    let id = ended["request_id"].to_string();
    for command in [&["cancel", &id][..], &["prioritize", &id, "high"]] {
        let refused = support::run(data.path(), &[&["requests"], command].concat()).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("ended"), "{refused:?}");
    }
}

/// Two of the four slow requests may run at once. A waiting one is moved, another is cancelled, and others are not held.
#[tokio::test]
async fn full_group_waits_and_its_requests_are_moved_and_cancelled() {
    let may_answer = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&may_answer);
    let (port, _server) = support::serve_connections(move |mut socket| {
        let permits = Arc::clone(&permits);
        async move {
            while let Some(head) = support::read_head(&mut socket).await {
                if head.starts_with("GET /slow/") {
                    permits.acquire().await.unwrap().forget();
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                socket.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("mainstay.toml");
    let text = format!(
        "[backend]\nurl = 'http://127.0.0.1:{port}'\n[connection]\nenabled = false\n\
         [[limit]]\npath = '/slow/**'\nmax_concurrent = 2\n"
    );
    std::fs::write(&config, text).unwrap();
    let runtime = support::start_runtime(data.path(), &config);
    let is_up = async || support::run(data.path(), &["status"]).await.code == Some(0);
    support::eventually("the runtime runs", is_up).await;
    let start =
        |number: u32| MainstayProcess::start(data.path(), &["request", "GET", &format!("/slow/{number}")]);
    let list = async || support::run_json(data.path(), &["requests"]).await;
    let count = |list: &Value, phase: &str| {
        list.as_array().unwrap().iter().filter(|request| request["phase"] == phase).count()
    };
    let (mut slow, mut ids) = (Vec::new(), Vec::new());
    for number in 1..=4_usize {
        slow.push(start(u32::try_from(number).unwrap()));
        let is_known = async || {
            let list = list().await;
            (count(&list, "running"), count(&list, "waiting")) == (number.min(2), number.saturating_sub(2))
        };
        support::eventually("it runs or waits", is_known).await;
        let path = format!("/slow/{number}");
        let listed = list().await;
        ids.push(
            listed.as_array().unwrap().iter().find(|one| one["path"] == path.as_str()).unwrap()["request_id"]
                .to_string(),
        );
    }
    let groups = async || support::run_json(data.path(), &["status"]).await["queue"]["groups"].take();
    let group = |waiting: u32, running: u32| json!([{ "path": "/slow/**", "waiting": waiting, "running": running, "max_concurrent": 2 }]);
    assert_eq!(groups().await, group(2, 2));
    let status = async |args: &[&str]| support::run(data.path(), &[&["status"], args].concat()).await.stdout;
    assert!(status(&[]).await.contains(" limit /slow/**: 2 running of 2, 2 waiting\n"));
    assert_eq!(support::run(data.path(), &["request", "GET", "/quick"]).await.code, Some(0));
    assert_eq!(slow[0].error_line().await, "waits for the answer of the backend");
    assert_eq!(slow[2].error_line().await, "waits for its turn: as many of its group run as may");
    let moved = support::run(data.path(), &["requests", "prioritize", &ids[3], "high"]).await;
    assert_eq!(moved.stdout, format!("request {} has priority high\n", ids[3]));
    may_answer.add_permits(1);
    let is_next = async || {
        let listed = list().await;
        listed.as_array().unwrap().iter().any(|one| one["path"] == "/slow/4" && one["phase"] == "running")
    };
    support::eventually("the moved one runs before the third", is_next).await;
    let cancelled = support::run(data.path(), &["requests", "cancel", &ids[2]]).await;
    assert_eq!(cancelled.stdout, format!("request {} is cancelled\n", ids[2]));
    may_answer.add_permits(2);
    for (at, request) in slow.iter_mut().enumerate() {
        assert_eq!(request.wait().await.0.code(), Some(i32::from(at == 2)), "{at}");
    }
    assert_eq!(groups().await, group(0, 0));
    assert!(!status(&[]).await.contains("/slow/**"), "nothing of it waits");
    let wide = status(&["-o", "wide"]).await;
    assert!(wide.contains(" limit /slow/**: 0 running of 2, 0 waiting\n"));
    // Without `--log debug`, which would put each request into the journal.
    assert!(wide.contains(" half of the last requests took at most "), "{wide}");
    let latency = support::run_json(data.path(), &["status"]).await["queue"]["latency"].take();
    assert_eq!((&latency["all"]["count"], &latency["all"]["failed"]), (&json!(4), &json!(0)));
    runtime.stop().await;
}

#[tokio::test]
async fn too_long_command_closes_session_with_reason() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, port, token) = start_demo(data.path()).await;
    let url = format!("ws://127.0.0.1:{port}/bridge?token={token}");
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (mut sink, mut source) = socket.split();
    let send = async { sink.send(Message::text("x".repeat(20 * 1024 * 1024 + 1))).await };
    let (_, received) = tokio::join!(send, timeout(TEST_TIMEOUT, source.next()));
    let Some(Ok(Message::Close(Some(frame)))) = received.expect("nothing came") else {
        panic!("no close frame came");
    };
    assert_eq!(u16::from(frame.code), 1009);
    assert!(frame.reason.as_str().contains("20971520 bytes"), "{frame}");
}

#[tokio::test]
async fn client_that_breaks_the_protocol_gets_its_close_code() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, port, token) = start_demo(data.path()).await;
    // Each with a mask of zeros, except the one without a mask.
    for (frame, code) in [
        (&[0x81, 0x82, 0, 0, 0, 0, b'a', 0xff][..], 1007),
        (&[0x88, 0x84, 0, 0, 0, 0, 0x0f, 0xa0, 0xff, 0xfe], 1007),
        (&[0xf1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x01, b'a'], 1002),
        (&[0x82, 0x81, 0, 0, 0, 0, 1], 1003),
    ] {
        let url = format!("ws://127.0.0.1:{port}/bridge?token={token}");
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.get_mut().write_all(frame).await.unwrap();
        let received = timeout(TEST_TIMEOUT, socket.next()).await.expect("nothing came");
        let Some(Ok(Message::Close(Some(close)))) = received else {
            panic!("no close frame came for {frame:x?}, but {received:?}");
        };
        assert_eq!(u16::from(close.code), code, "{frame:x?}");
    }
}
