//! Tests agents behind FastAPI, in the shape that the runtime expects of a backend.

use mainstay::config::{AgentConfig, Config};
use mainstay::{AgentStatus, Request};
use serde_json::{Value, json};

use crate::against;
use crate::fixture::{ForeignFixture, millis};
use crate::server::ServerSpec;
use crate::support::{eventually, is_agent_health};

/// Adds these agents, with frequent checks and short restart delays.
fn add_agents(config: &mut Config, ids: &[&str]) {
    for id in ids {
        let mut agent = AgentConfig { id: (*id).to_owned(), ..AgentConfig::default() };
        agent.supervision.health_interval = Some(millis(100));
        agent.supervision.restart_delay = Some(millis(100));
        config.agent.push(agent);
    }
}

against!(documented_health_reports_are_healthy_with_extra_fields: uvicorn, h11);
async fn documented_health_reports_are_healthy_with_extra_fields(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut fixture =
        ForeignFixture::start(&server, |config| add_agents(config, &["planner", "sparse", "odd"])).await;
    for agent in ["planner", "sparse", "odd"] {
        if !fixture.seen_events.iter().any(is_agent_health(agent, "healthy")) {
            fixture.wait_for(agent, is_agent_health(agent, "healthy")).await;
        }
        assert_eq!(fixture.mainstay.agents().get(agent).unwrap().report.status, AgentStatus::Healthy);
    }
    let figures = |id: &str| {
        let agent = fixture.mainstay.agents().get(id).unwrap();
        (agent.report.uptime_s, agent.report.error_count)
    };
    assert_eq!(figures("planner"), (Some(12.0), Some(0)));
    assert_eq!((figures("sparse"), figures("odd")), ((None, None), (None, None)));
}

against!(agent_that_fails_is_restarted_with_the_state_that_it_had: uvicorn, h11);
async fn agent_that_fails_is_restarted_with_the_state_that_it_had(foreign: ServerSpec) {
    let server = foreign.start().await;
    let before = ForeignFixture::start(&server, |_| ()).await;
    let memory = json!({ "notes": ["remember me", { "deep": [1, 2.5, null, "😀"] }] });
    before.request(Request::put("/api/agents/planner/state").json(&memory)).await.unwrap();

    let mut fixture = ForeignFixture::start(&server, |config| add_agents(config, &["planner"])).await;
    fixture.wait_for("healthy", is_agent_health("planner", "healthy")).await;
    eventually("its state is kept", async || {
        fixture.mainstay.agents().get("planner").unwrap().report.state_saved_at.is_some()
    })
    .await;
    fixture.request(Request::post("/api/agents/planner/fail").body("")).await.unwrap();
    fixture.wait_for("failed", is_agent_health("planner", "failed")).await;
    fixture.wait_for("healthy", is_agent_health("planner", "healthy")).await;
    assert_eq!(fixture.requests_seen("restart-planner").await.len(), 1);
    assert_eq!(fixture.request_json(Request::get("/api/agents/planner/state")).await, memory);
    assert_eq!(fixture.mainstay.agents().get("planner").unwrap().supervision.generation, 2);
}

against!(agents_of_a_frozen_server_are_unknown_and_not_restarted: uvicorn, h11);
async fn agents_of_a_frozen_server_are_unknown_and_not_restarted(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, |config| {
        // As in the default configuration, the connection notices the outage before an agent has missed so many checks.
        config.connection.ping_interval = millis(100);
        config.connection.ping_timeout = millis(2_000);
        config.connection.connect_timeout = millis(500);
        add_agents(config, &["planner"]);
    })
    .await;
    if !fixture.seen_events.iter().any(is_agent_health("planner", "healthy")) {
        fixture.wait_for("healthy", is_agent_health("planner", "healthy")).await;
    }
    server.freeze().await;
    fixture.wait_for("unknown", is_agent_health("planner", "unknown")).await;
    server.thaw().await;
    fixture.wait_for("healthy", is_agent_health("planner", "healthy")).await;
    let exits = fixture.seen_events.iter().filter(|event: &&Value| event["kind"] == "actor_exited").count();
    assert_eq!((exits, fixture.requests_seen("restart-planner").await.len()), (0, 0));
}
