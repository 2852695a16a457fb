//! Who answers whose pings, and what becomes of a server that answers none.

use std::time::Duration;

use mainstay::actors::connection::outbound::SendOutcome;
use mainstay::config::Config;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::against;
use crate::fixture::{ForeignFixture, millis};
use crate::server::ServerSpec;

/// How long an unanswered ping is borne in these scenarios, on either side.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than a side that gets no answer to its pings would wait, whichever it is.
const BEYOND_PING_TIMEOUT_MS: u64 = 3_500;

/// Pings are sent soon, and borne for a while: a machine under load must not be taken for a silent one.
fn with_short_pings(config: &mut Config) {
    config.connection.ping_interval = millis(100);
    config.connection.ping_timeout = PING_TIMEOUT;
}

/// The server says this after a time in which no text is sent either way.
fn reply_after_silence(text: &Value) -> Value {
    json!({ "do": "say_later", "ms": BEYOND_PING_TIMEOUT_MS, "text": text.to_string() })
}

against!(the_servers_pings_are_answered: websockets, uvicorn, h11, node);
async fn the_servers_pings_are_answered(foreign: ServerSpec) {
    let patience = PING_TIMEOUT.as_secs().to_string();
    // Node's server, as its library's documentation has it, cuts off who did not answer the last ping by the next one.
    let foreign = if foreign.is_node() {
        foreign.with(["--ping-interval", "1.5"])
    } else {
        foreign.with(["--ping-interval", "0.1", "--ping-timeout", &patience])
    };
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    let text = json!({ "type": "still there" });
    scene.send_command(reply_after_silence(&text)).await;
    assert_eq!(scene.frame().await, text);
    scene.mainstay.shutdown().await;
    scene.wait_for_event("runtime_stopped").await;
    assert_eq!(scene.count("connection_state"), 3, "connecting, connected, disconnected");
}

against!(a_ping_with_a_payload_is_answered_with_it: websockets, node);
async fn a_ping_with_a_payload_is_answered_with_it(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    scene.send_command(json!({ "do": "ping" })).await;
    assert_eq!(scene.frame().await, json!({ "type": "ponged" }));
}

against!(our_pings_are_answered: websockets, uvicorn, h11, node);
async fn our_pings_are_answered(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, with_short_pings).await;
    let text = json!({ "type": "still there" });
    scene.send_command(reply_after_silence(&text)).await;
    assert_eq!(scene.frame().await, text);
    if server.spec.is_node() {
        scene.send_command(json!({ "do": "pings" })).await;
        let pings = scene.frame().await["count"].as_u64().unwrap();
        assert!(pings >= 1, "the silence was long enough for {pings}");
    }
    scene.mainstay.shutdown().await;
    scene.wait_for_event("runtime_stopped").await;
    assert_eq!(scene.count("connection_state"), 3, "connecting, connected, disconnected");
}

against!(an_endpoint_at_work_is_not_taken_for_dead: uvicorn, h11);
async fn an_endpoint_at_work_is_not_taken_for_dead(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, with_short_pings).await;
    scene.send_command(json!({ "do": "busy", "ms": BEYOND_PING_TIMEOUT_MS })).await;
    assert_eq!(scene.frame().await, json!({ "type": "done" }));
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(scene.seqs().await, [1]);
    scene.mainstay.shutdown().await;
    scene.wait_for_event("runtime_stopped").await;
    assert_eq!(scene.count("connection_state"), 3, "connecting, connected, disconnected");
}

// uvicorn reads nothing, pings included, while a message waits for the application. So an endpoint that works on one
// message for longer than both times together, with the next one waiting, cannot be told from one that hangs.
against!(an_endpoint_at_work_with_the_next_message_waiting_answers_no_ping: uvicorn, h11);
async fn an_endpoint_at_work_with_the_next_message_waiting_answers_no_ping(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, with_short_pings).await;
    scene.send_command(json!({ "do": "busy", "ms": 2 * BEYOND_PING_TIMEOUT_MS })).await;
    server.expect_line("busy").await;
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    let lost = scene.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "unanswered", "{lost}");
    scene.wait_for_connection("connected").await;
}

against!(a_server_that_is_frozen_is_declared_dead_and_thawed_resumed: websockets, uvicorn, h11, node);
async fn a_server_that_is_frozen_is_declared_dead_and_thawed_resumed(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |config| {
        with_short_pings(config);
        config.connection.connect_timeout = millis(500);
    })
    .await;
    scene.send_command(json!({ "do": "emit", "count": 3 })).await;
    assert_eq!(scene.seqs().await, [1, 2, 3]);
    // Due in the middle of the freeze, so done when it thaws: for the socket that is dead by then, or the next, or both.
    scene.send_command(json!({ "do": "emit_later", "ms": 1_000, "count": 4 })).await;
    assert_eq!(scene.seqs().await, [0u64; 0], "it has taken the order");

    server.freeze().await;
    let frozen = Instant::now();
    let dead = scene.wait_for_connection("reconnecting").await;
    assert_eq!((&dead["from"], &dead["reason"]), (&json!("connected"), &json!("unanswered")), "{dead}");
    let bound = millis(100) + PING_TIMEOUT;
    // The slack is for a machine under load; without a deadline, only TCP would find out, after many minutes.
    assert!(frozen.elapsed() < bound + Duration::from_secs(10), "it took {:?}", frozen.elapsed());
    // The kernel takes connections on its behalf, but nobody answers a handshake.
    let unanswered = |event: &Value| event["reason"] == "connect_timed_out";
    scene.wait_for("a handshake without an answer", unanswered).await;
    scene.wait_for("another one", unanswered).await;

    server.thaw().await;
    scene.wait_for_connection("connected").await;
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    let mut seqs = Vec::new();
    while seqs.len() < 5 {
        seqs.push(scene.frame().await["seq"].as_u64().unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, [4, 5, 6, 7, 8], "each once");
    assert_eq!(scene.seqs().await, [0u64; 0]);
}

against!(what_was_being_written_to_a_server_that_froze_may_have_arrived: websockets, uvicorn, h11, node);
async fn what_was_being_written_to_a_server_that_froze_may_have_arrived(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, with_short_pings).await;
    server.freeze().await;
    // More than the kernel holds for a server that reads nothing.
    let text = json!({ "do": "measure", "text": "x".repeat(15 << 20) }).to_string();
    assert_eq!(scene.send(text).await, SendOutcome::Unknown);
    let dead = scene.wait_for_connection("reconnecting").await;
    assert_eq!(dead["reason"], "unanswered", "{dead}");
}
