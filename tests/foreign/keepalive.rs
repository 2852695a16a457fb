//! Tests which side answers pings, and what happens to a server that answers none.

use std::time::Duration;

use mainstay::config::Config;
use mainstay::{SendFailure, SendOutcome};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime, millis};
use crate::server::ServerSpec;

/// The limit for an unanswered ping in these scenarios, on either side.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// A time longer than either side waits for an answer to its pings.
const BEYOND_PING_TIMEOUT_MS: u64 = 3_500;

/// Pings are frequent and their limit is generous: a loaded machine must not count as a silent peer.
fn with_short_pings(config: &mut Config) {
    config.connection.ping_interval = millis(100);
    config.connection.ping_timeout = PING_TIMEOUT;
}

/// The server sends this after a time without text either way.
fn reply_after_silence(text: &Value) -> Value {
    json!({ "do": "say_later", "ms": BEYOND_PING_TIMEOUT_MS, "text": text.to_string() })
}

/// Stops the runtime, and checks that its connection was lost at no time.
async fn assert_never_lost(mut fixture: ForeignFixture) {
    fixture.mainstay.shutdown().await;
    fixture.wait_for_event("runtime_stopped").await;
    assert_eq!(fixture.count("connection_state"), 3, "connecting, connected, disconnected");
}

against!(servers_pings_are_answered: websockets, uvicorn, h11, node);
async fn servers_pings_are_answered(foreign: ServerSpec) {
    let ping_timeout = PING_TIMEOUT.as_secs().to_string();
    // Node's server, as its library's documentation has it, cuts off a client that did not answer the last ping by the
    // next one.
    let foreign = if foreign.is_node() {
        foreign.with(["--ping-interval", "1.5"])
    } else {
        foreign.with(["--ping-interval", "0.1", "--ping-timeout", &ping_timeout])
    };
    let server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, |_| ()).await;
    let text = json!({ "type": "still there" });
    fixture.send_command(reply_after_silence(&text)).await;
    assert_eq!(fixture.frame().await, text);
    assert_never_lost(fixture).await;
}

against!(ping_with_a_payload_is_answered_with_it(connected): websockets, node);
async fn ping_with_a_payload_is_answered_with_it((_server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "ping" })).await;
    assert_eq!(fixture.frame().await, json!({ "type": "ponged" }));
}

against!(our_pings_are_answered: websockets, uvicorn, h11, node);
async fn our_pings_are_answered(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, with_short_pings).await;
    let text = json!({ "type": "still there" });
    fixture.send_command(reply_after_silence(&text)).await;
    assert_eq!(fixture.frame().await, text);
    if server.spec.is_node() {
        fixture.send_command(json!({ "do": "pings" })).await;
        let pings = fixture.frame().await["count"].as_u64().unwrap();
        assert!(pings >= 1, "the silence was long enough for {pings}");
    }
    assert_never_lost(fixture).await;
}

against!(endpoint_at_work_is_not_taken_for_dead: uvicorn, h11);
async fn endpoint_at_work_is_not_taken_for_dead(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, with_short_pings).await;
    fixture.send_command(json!({ "do": "busy", "ms": BEYOND_PING_TIMEOUT_MS })).await;
    assert_eq!(fixture.frame().await, json!({ "type": "done" }));
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [1]);
    assert_never_lost(fixture).await;
}

// Uvicorn reads nothing, pings included, while a message waits for the application. An endpoint that works longer than
// both limits, with the next message waiting, looks like one that hangs.
against!(busy_endpoint_with_queued_message_misses_pings: uvicorn, h11);
async fn busy_endpoint_with_queued_message_misses_pings(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, with_short_pings).await;
    fixture.send_command(json!({ "do": "busy", "ms": 2 * BEYOND_PING_TIMEOUT_MS })).await;
    server.expect_line("busy").await;
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    let lost = fixture.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "timed_out", "{lost}");
    fixture.wait_for_connection("connected").await;
}

against!(server_that_is_frozen_is_declared_dead_and_thawed_resumed: websockets, uvicorn, h11, node);
async fn server_that_is_frozen_is_declared_dead_and_thawed_resumed(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, |config| {
        with_short_pings(config);
        config.connection.connect_timeout = millis(500);
    })
    .await;
    fixture.send_command(json!({ "do": "emit", "count": 3 })).await;
    assert_eq!(fixture.seqs().await, [1, 2, 3]);
    // The event is due in the middle of the freeze, so the thawed server sends it: to the dead socket, the next, or
    // both.
    fixture.send_command(json!({ "do": "emit_later", "ms": 1_000, "count": 4 })).await;
    assert_eq!(fixture.seqs().await, [0u64; 0], "it has taken the order");

    server.freeze().await;
    let frozen = Instant::now();
    let dead = fixture.wait_for_connection("reconnecting").await;
    assert_eq!((&dead["from"], &dead["reason"]), (&json!("connected"), &json!("timed_out")), "{dead}");
    let bound = millis(100) + PING_TIMEOUT;
    // The slack serves a loaded machine; without a deadline only TCP would notice, after many minutes.
    assert!(frozen.elapsed() < bound + Duration::from_secs(10), "it took {:?}", frozen.elapsed());
    // The kernel accepts connections for it, but no handshake is answered.
    let unanswered = |event: &Value| event["reason"] == "connect_timed_out";
    fixture.wait_for("a handshake without an answer", unanswered).await;
    fixture.wait_for("another one", unanswered).await;

    server.thaw().await;
    fixture.wait_for_connection("connected").await;
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    let mut seqs = Vec::new();
    while seqs.len() < 5 {
        seqs.push(fixture.frame().await["seq"].as_u64().unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, [4, 5, 6, 7, 8], "each once");
    assert_eq!(fixture.seqs().await, [0u64; 0]);
}

against!(send_to_frozen_server_has_unknown_outcome: websockets, uvicorn, h11, node);
async fn send_to_frozen_server_has_unknown_outcome(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut fixture = ForeignFixture::start_connected(&server, with_short_pings).await;
    server.freeze().await;
    // The size exceeds the kernel's buffers for a server that reads nothing.
    let text = json!({ "do": "measure", "text": "x".repeat(15 << 20) }).to_string();
    assert_eq!(fixture.send(text).await, SendOutcome::Failed(SendFailure::Unknown));
    let dead = fixture.wait_for_connection("reconnecting").await;
    assert_eq!(dead["reason"], "timed_out", "{dead}");
}
