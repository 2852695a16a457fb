//! Tests agents, and the faults of agents.

use crate::*;

#[tokio::test]
async fn agent_remembers_its_messages() {
    let bench = BackendClient::start().await;
    assert_eq!(bench.message("one").await.1["count"], 1);
    let (status, answer) = bench.message("two").await;
    assert_eq!(status, 200);
    assert_eq!(answer, json!({ "id": "planner", "count": 2, "reply": "planner has received 2 messages" }));
    let memory = json!({ "messages": [{ "text": "one" }, { "text": "two" }], "count": 2 });
    assert_eq!(bench.get("/api/agents/planner/state").await, (StatusCode::OK, memory.clone()));
    assert_eq!(bench.backend.state_of("planner"), Some(memory));
    assert_eq!(bench.backend.state_of("coder").unwrap()["count"], 0);
    assert_eq!(bench.backend.state_of("absent"), None);
}

#[tokio::test]
async fn crashed_agent_is_empty_until_restarted_and_written_back() {
    let bench = BackendClient::start().await;
    bench.message("one").await;
    let path = "/api/agents/planner/state";
    let (_, saved) = bench.get(path).await;
    bench.agent_fault("crash_agent", "planner").await;
    let failed = json!({ "id": "planner", "status": "failed", "uptime": 0, "errorCount": 1 });
    assert_eq!(bench.health("planner").await, failed);
    let (status, problem) = bench.message("two").await;
    assert_eq!(status, 503);
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["title"], "Service Unavailable");
    assert_eq!(problem["detail"], "agent \"planner\" has crashed; restart it first");
    assert_eq!(bench.get(path).await.0, 503);
    assert_eq!(bench.call(Method::PUT, path, Some(saved.clone())).await.0, 503);
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
    assert_eq!(bench.health("coder").await["status"], "healthy");
    let (status, health) = bench.restart().await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("healthy")));
    assert_eq!(bench.health("planner").await["errorCount"], 1);
    assert_eq!(bench.get(path).await.1, json!({ "messages": [], "count": 0 }));
    let written = bench.call(Method::PUT, path, Some(saved.clone())).await;
    assert_eq!(written, (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(bench.get(path).await.1, saved);
    assert_eq!(bench.message("two").await.1["count"], 2);
    bench.agent_fault("crash_agent", "planner").await;
    bench.agent_fault("heal_agent", "planner").await;
    assert_eq!(bench.health("planner").await["status"], "healthy");
    assert_eq!(bench.message("healed without a restart").await.1["count"], 1);
}

#[tokio::test]
async fn hung_agent_holds_requests_until_healed() {
    let bench = BackendClient::start().await;
    bench.message("one").await;
    bench.agent_fault("hang_agent", "planner").await;
    let mut open = JoinSet::new();
    let message = json!({ "text": "two" });
    for request in [
        bench.request(Method::GET, "/api/agents/planner/health", None),
        bench.request(Method::GET, "/api/agents/planner/state", None),
        bench.request(Method::POST, "/api/agents/planner/message", Some(message)),
    ] {
        open.spawn(async move { request.send().await.unwrap().status() });
    }
    let gone = bench.request(Method::POST, "/api/agents/planner/message", Some(json!("lost")));
    assert!(gone.timeout(Duration::from_millis(50)).send().await.unwrap_err().is_timeout());
    bench.yield_for_requests().await;
    assert!(open.try_join_next().is_none(), "a hung agent answered");
    assert_eq!(bench.health("coder").await["status"], "healthy");
    bench.agent_fault("heal_agent", "planner").await;
    assert_eq!(open.join_all().await, [StatusCode::OK; 3]);
    let memory = json!({ "messages": [{ "text": "one" }, { "text": "two" }], "count": 2 });
    assert_eq!(bench.backend.state_of("planner"), Some(memory));
}

#[tokio::test]
async fn hung_agent_can_be_restarted_and_what_waited_for_it_is_lost() {
    let bench = BackendClient::start().await;
    bench.agent_fault("hang_agent", "planner").await;
    let waiting = bench.request(Method::POST, "/api/agents/planner/message", Some(json!("hi")));
    let mut open = JoinSet::new();
    open.spawn(waiting.send());
    bench.yield_for_requests().await;
    assert!(open.try_join_next().is_none());
    assert_eq!(bench.restart().await.1["status"], "healthy");
    assert_eq!(open.join_next().await.unwrap().unwrap().unwrap().status(), 503);
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
}

#[tokio::test]
async fn refused_request_is_a_problem_that_names_the_reason() {
    let bench = BackendClient::start().await;
    let no_agent = "there is no agent \"absent\"; there is planner, coder";
    let long = format!("/api/search?q={}", "x".repeat(257));
    let search = "/api/search?q=tides";
    let crash = |agent: &str| Some(json!({ "kind": "crash_agent", "agent": agent }));
    for (method, path, body, status, detail) in [
        (Method::GET, "/api/agents/absent/health", None, 404, no_agent),
        (Method::POST, "/api/agents/absent/restart", None, 404, no_agent),
        (Method::GET, "/api/agents/absent/state", None, 404, no_agent),
        (Method::PUT, "/api/agents/absent/state", Some(json!(1)), 404, no_agent),
        (Method::POST, "/api/agents/absent/message", Some(json!(1)), 404, no_agent),
        (Method::POST, "/api/agents/planner/message", Some(json!("x".repeat(5000))), 413, "at most 4096"),
        (Method::GET, "/api/agents/%ff/health", None, 400, ""),
        (Method::GET, "/api/search", None, 400, search),
        (Method::GET, "/api/search?q=", None, 400, search),
        (Method::GET, "/api/search?p=tides", None, 400, search),
        (Method::GET, &long, None, 400, search),
        (Method::GET, "/api/nothing", None, 404, "nothing answers at /api/nothing"),
        (Method::POST, "/_fault", Some(json!({ "kind": "explode" })), 400, "crash_agent"),
        (Method::POST, "/_fault", crash("absent"), 400, "there is planner, coder"),
    ] {
        let (answered, problem) = bench.call(method.clone(), path, body).await;
        assert_eq!(answered.as_u16(), status, "{method} {path}: {problem}");
        assert_eq!(problem["status"], json!(status), "{method} {path}: {problem}");
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"].as_str(), answered.canonical_reason());
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{method} {path}: {problem}");
    }
    let broken = bench.request(Method::POST, "/api/agents/planner/message", None).body("{");
    assert_eq!(broken.send().await.unwrap().status(), 400);
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
    for (method, path, status, header, value) in [
        (Method::DELETE, "/api/agents/planner/state", 405, "allow", "GET,HEAD,PUT"),
        (Method::GET, "/ws", 426, "upgrade", "websocket"),
    ] {
        let response = bench.send(method, path, None).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()[header], value, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
}
