//! Tests files, search and echo, and the faults of requests.

use crate::*;

#[tokio::test]
async fn file_comes_as_text_with_its_media_type() {
    let bench = BackendClient::start().await;
    let response = bench.send(Method::GET, "/api/files/docs/tides.md", None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/markdown; charset=utf-8");
    assert!(response.text().await.unwrap().starts_with("# Tides\n"));
}

#[tokio::test]
async fn no_path_leads_out_of_the_files() {
    let bench = BackendClient::start().await;
    for path in [
        "/api/files/../../../../etc/passwd",
        "/api/files/%2e%2e/%2e%2e/etc/passwd",
        "/api/files/..%2f..%2fetc%2fpasswd",
        "/api/files//etc/passwd",
        "/api/files/docs/..%5c..%5cREADME.md",
        "/api/files/README.md%00",
        "/api/files/Cargo.toml",
    ] {
        // By hand, since URL parsers resolve dots before they send anything.
        let answer =
            raw(&bench, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn search_gives_the_same_lines_each_time() {
    let bench = BackendClient::start().await;
    let (status, found) = bench.get("/api/search?q=TIDE+table").await;
    assert_eq!(status, 200);
    let hit =
        json!({ "path": "notes/todo.txt", "line": 3, "text": "check the tide table against last year" });
    assert_eq!(found, json!({ "query": "TIDE table", "hits": [hit], "truncated": false }));
    assert_eq!(bench.get("/api/search?q=TIDE+table").await.1, found);
}

#[tokio::test]
async fn echo_returns_the_body_of_at_most_one_mebibyte() {
    let bench = BackendClient::start().await;
    let request = bench.request(Method::POST, "/api/echo", None);
    let request = request.header("content-type", "text/x-odd").header("idempotency-key", "k1").body("a\0b");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/x-odd");
    assert_eq!(response.headers()["idempotency-key"], "k1");
    assert_eq!(response.bytes().await.unwrap(), "a\0b");
    for (bytes, status) in [(1 << 20, 200), ((1 << 20) + 1, 413), (8 << 20, 413)] {
        let request = bench.request(Method::POST, "/api/echo", None).body(vec![b'x'; bytes]);
        assert_eq!(request.send().await.unwrap().status(), status, "{bytes} bytes");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let bench = BackendClient::start().await;
    let mut stream = bench.tcp().await;
    for _ in 0..3 {
        stream.write_all(b"GET /api/agents/planner/health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 17];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK\r\n");
        let end = br#""errorCount":0}"#;
        while !answer.ends_with(end) {
            answer.push(stream.read_u8().await.unwrap());
        }
    }
}

// === faults ===

/// Writes a request by hand and reads to the end of the connection.
async fn raw(bench: &BackendClient, request: &str) -> String {
    let mut stream = bench.tcp().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn status_fault_answers_as_often_as_it_says_below_its_path() {
    let bench = BackendClient::start().await;
    let fault =
        json!({ "kind": "status", "path": "/api/files", "status": 503, "times": 2, "retry_after": 7 });
    bench.fault(fault).await;
    assert_eq!(bench.get("/api/search?q=tide").await.0, 200);
    for _ in 0..2 {
        let response = bench.send(Method::GET, "/api/files/README.md", None).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(bench.send(Method::GET, "/api/files/README.md", None).await.status(), 200);
    // The request that it strikes is not carried out.
    bench.fault(json!({ "kind": "status", "path": "/api/agents/planner", "status": 429, "times": 1 })).await;
    let response = bench.send(Method::POST, "/api/agents/planner/message", Some(json!("hi"))).await;
    assert_eq!(response.status(), 429);
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(bench.message("again").await.1["count"], 1);
}

#[tokio::test]
async fn slow_fault_delays_as_often_as_it_says() {
    let bench = BackendClient::start().await;
    bench.fault(json!({ "kind": "slow", "path": "/api/echo", "ms": 150, "times": 1 })).await;
    let start = Instant::now();
    assert_eq!(bench.post("/api/echo", json!(1)).await.0, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
    // An hour for a path that nothing asks for: it must not be spent on another.
    bench.fault(json!({ "kind": "slow", "path": "/api/files", "ms": 3_600_000, "times": 1 })).await;
    assert_eq!(bench.post("/api/echo", json!(1)).await.0, 200);
}

#[tokio::test]
async fn reset_fault_resets_the_requests_connection_and_no_other() {
    let bench = BackendClient::start().await;
    let mut bystander = bench.tcp().await;
    bench.fault(json!({ "kind": "reset", "path": "/api/agents", "times": 1 })).await;
    let mut stream = bench.tcp().await;
    let request = "POST /api/agents/planner/message HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n\"hi\"";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(answer, b"");
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
    bystander.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 17];
    bystander.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
}

#[tokio::test]
async fn no_fault_strikes_the_fault_endpoint() {
    let bench = BackendClient::start().await;
    bench.fault(json!({ "kind": "reset", "path": "/", "times": 1 })).await;
    bench.agent_fault("heal_agent", "planner").await;
    let struck = bench.request(Method::GET, "/api/agents/planner/health", None).send().await;
    assert!(struck.is_err() || struck.unwrap().status() == 200, "a client may repeat a GET by itself");
    assert_eq!(bench.health("planner").await["status"], "healthy");
}
