//! Tests the content of messages: fragments, sizes, unrequested compression, bytes.

use mainstay::{SendFailure, SendOutcome};
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime};
use crate::server::ServerSpec;

/// The largest message that the runtime receives or sends.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

against!(characters_that_are_split_between_fragments_arrive_whole(connected): websockets, node);
async fn characters_that_are_split_between_fragments_arrive_whole((_server, mut fixture): ServerAndRuntime) {
    let text = json!({ "type": "note", "text": "ä 你 😀 👩\u{200d}💻" });
    fixture.send_command(json!({ "do": "fragments", "text": text.to_string() })).await;
    assert_eq!(fixture.frame().await, text);
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [1]);
}

against!(compression_is_not_asked_for_and_so_not_used(connected): websockets, uvicorn, h11, node);
async fn compression_is_not_asked_for_and_so_not_used((_server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "headers" })).await;
    let hello = fixture.frame().await;
    assert!(hello["headers"]["sec-websocket-extensions"].is_null(), "{hello}");
    assert!(hello["extensions"].is_null(), "{hello}");
    // Servers may compress what is longer than about a kilobyte.
    fixture.send_command(json!({ "do": "large", "bytes": 100_000 })).await;
    assert_eq!(fixture.text().await.len(), 100_000);
}

against!(outbound_message_over_limit_is_refused_locally(connected): uvicorn, h11, node);
async fn outbound_message_over_limit_is_refused_locally((_server, mut fixture): ServerAndRuntime) {
    let bare = json!({ "do": "measure", "text": "" }).to_string().len();
    let of_size = |size: usize| json!({ "do": "measure", "text": "x".repeat(size - bare) }).to_string();
    assert_eq!(fixture.send(of_size(MESSAGE_BYTES_MAX)).await, SendOutcome::Sent);
    assert_eq!(fixture.frame().await, json!({ "type": "measured", "bytes": MESSAGE_BYTES_MAX }));
    assert_eq!(
        fixture.send(of_size(MESSAGE_BYTES_MAX + 1)).await,
        SendOutcome::Failed(SendFailure::TooLarge)
    );
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [1]);
}

against!(message_too_large_for_server_costs_one_connection: websockets, uvicorn, h11, node);
async fn message_too_large_for_server_costs_one_connection(foreign: ServerSpec) {
    let server = foreign.with(["--max-size", "10000"]).start().await;
    let mut fixture = ForeignFixture::start_connected(&server, |_| ()).await;
    let text = json!({ "do": "measure", "text": "x".repeat(20_000) }).to_string();
    let outcome = fixture.send(text).await;
    assert!(matches!(outcome, SendOutcome::Sent | SendOutcome::Failed(SendFailure::Unknown)), "{outcome:?}");
    let lost = fixture.wait_for_connection("reconnecting").await;
    // A close drops unread bytes, and the server's close frame may be lost with them.
    let is_explained = lost["error"]["close_code"] == 1009 && lost["reason"] == "request_too_large";
    assert!(is_explained || lost["reason"] == "connection_reset", "{lost}");
    fixture.wait_for_connection("connected").await;
    // A message that may have arrived is not sent again; otherwise this would never end.
    fixture.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(fixture.seqs().await, [1]);
}

against!(limit_holds_for_all_fragments_of_a_message_together(connected): websockets, node);
async fn limit_holds_for_all_fragments_of_a_message_together((_server, mut fixture): ServerAndRuntime) {
    fixture.send_command(json!({ "do": "pieces", "bytes": 1 << 20, "count": 16 })).await;
    assert_eq!(fixture.text().await.len(), MESSAGE_BYTES_MAX);
    fixture.send_command(json!({ "do": "pieces", "bytes": 1 << 20, "count": 17 })).await;
    let lost = fixture.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "response_too_large", "{lost}");
    fixture.wait_for_connection("connected").await;
}

against!(invalid_websocket_frame_ends_the_connection_with_a_reason(connected): websockets, node);
async fn invalid_websocket_frame_ends_the_connection_with_a_reason((_server, mut fixture): ServerAndRuntime) {
    for (what, hex) in [
        ("a reserved opcode", "8300"),
        ("a reserved bit, as if it were compressed", "c10161"),
        ("a text that is not UTF-8", "8102c328"),
        ("a continuation of nothing", "800161"),
        ("a ping in two fragments", "090161"),
        ("a ping of 126 bytes", &format!("897e007e{}", "00".repeat(126))),
    ] {
        fixture.send_command(json!({ "do": "raw", "hex": hex })).await;
        let lost = fixture.wait_for_connection("reconnecting").await;
        assert_eq!(lost["reason"], "bad_response", "{what}: {lost}");
        fixture.wait_for_connection("connected").await;
    }
}
