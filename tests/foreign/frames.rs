//! What can be in a message: fragments, sizes, compression that nobody asked for, bytes.

use mainstay::actors::connection::outbound::SendOutcome;
use serde_json::json;

use crate::against;
use crate::fixture::ForeignFixture;
use crate::server::ServerSpec;

/// The largest message that the runtime takes or sends.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

against!(characters_that_are_split_between_fragments_arrive_whole: websockets, node);
async fn characters_that_are_split_between_fragments_arrive_whole(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    let text = json!({ "type": "note", "text": "ä 你 😀 👩\u{200d}💻" });
    scene.send_command(json!({ "do": "fragments", "text": text.to_string() })).await;
    assert_eq!(scene.frame().await, text);
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(scene.seqs().await, [1]);
}

against!(a_binary_frame_is_passed_over_and_harms_nothing: websockets, uvicorn, h11, node);
async fn a_binary_frame_is_passed_over_and_harms_nothing(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    scene.send_command(json!({ "do": "binary", "bytes": 100_000 })).await;
    scene.send_command(json!({ "do": "binary", "bytes": 0 })).await;
    scene.send_command(json!({ "do": "emit", "count": 2 })).await;
    assert_eq!(scene.seqs().await, [1, 2]);
}

against!(compression_is_not_asked_for_and_so_not_used: websockets, uvicorn, h11, node);
async fn compression_is_not_asked_for_and_so_not_used(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    scene.send_command(json!({ "do": "headers" })).await;
    let told = scene.frame().await;
    assert!(told["headers"]["sec-websocket-extensions"].is_null(), "{told}");
    assert!(told["extensions"].is_null(), "{told}");
    // Servers compress what is longer than a kilobyte or so, where they may.
    scene.send_command(json!({ "do": "large", "bytes": 100_000 })).await;
    assert_eq!(scene.text().await.len(), 100_000);
}

against!(a_message_at_the_limit_arrives_and_one_above_it_ends_that_connection: websockets, uvicorn, h11, node);
async fn a_message_at_the_limit_arrives_and_one_above_it_ends_that_connection(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    scene.send_command(json!({ "do": "large", "bytes": MESSAGE_BYTES_MAX })).await;
    assert_eq!(scene.frame().await["seq"], 1);
    assert_eq!(scene.text().await.len(), MESSAGE_BYTES_MAX);
    scene.send_command(json!({ "do": "large", "bytes": MESSAGE_BYTES_MAX + 1 })).await;
    let lost = scene.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "message_too_large", "{lost}");
    scene.wait_for_connection("connected").await;
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(scene.seqs().await, [2]);
}

against!(a_large_message_of_ours_arrives_whole_and_one_above_the_limit_is_refused_here: uvicorn, h11, node);
async fn a_large_message_of_ours_arrives_whole_and_one_above_the_limit_is_refused_here(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    let bare = json!({ "do": "measure", "text": "" }).to_string().len();
    let of_size = |size: usize| json!({ "do": "measure", "text": "x".repeat(size - bare) }).to_string();
    assert_eq!(scene.send(of_size(MESSAGE_BYTES_MAX)).await, SendOutcome::Sent);
    assert_eq!(scene.frame().await, json!({ "type": "measured", "bytes": MESSAGE_BYTES_MAX }));
    assert_eq!(scene.send(of_size(MESSAGE_BYTES_MAX + 1)).await, SendOutcome::TooLarge);
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(scene.seqs().await, [1]);
}

against!(a_message_that_the_server_finds_too_large_costs_one_connection: websockets, uvicorn, h11, node);
async fn a_message_that_the_server_finds_too_large_costs_one_connection(foreign: ServerSpec) {
    let server = foreign.with(["--max-size", "10000"]).start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    let text = json!({ "do": "measure", "text": "x".repeat(20_000) }).to_string();
    let fate = scene.send(text).await;
    assert!(matches!(fate, SendOutcome::Sent | SendOutcome::Unknown), "{fate:?}");
    let lost = scene.wait_for_connection("reconnecting").await;
    // What the server has not read when it hangs up can take its close frame along.
    let is_told = lost["error"]["close_code"] == 1009 && lost["reason"] == "closed";
    assert!(is_told || lost["reason"] == "lost", "{lost}");
    scene.wait_for_connection("connected").await;
    // What may have arrived is not sent again: else this would never end.
    scene.send_command(json!({ "do": "emit", "count": 1 })).await;
    assert_eq!(scene.seqs().await, [1]);
}

against!(the_limit_holds_for_all_fragments_of_a_message_together: websockets, node);
async fn the_limit_holds_for_all_fragments_of_a_message_together(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    scene.send_command(json!({ "do": "pieces", "bytes": 1 << 20, "count": 16 })).await;
    assert_eq!(scene.text().await.len(), MESSAGE_BYTES_MAX);
    scene.send_command(json!({ "do": "pieces", "bytes": 1 << 20, "count": 17 })).await;
    let lost = scene.wait_for_connection("reconnecting").await;
    assert_eq!(lost["reason"], "message_too_large", "{lost}");
    scene.wait_for_connection("connected").await;
}

against!(what_is_no_websocket_frame_ends_the_connection_and_is_told: websockets, node);
async fn what_is_no_websocket_frame_ends_the_connection_and_is_told(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start_connected(&server, |_| ()).await;
    for (what, hex) in [
        ("a reserved opcode", "8300"),
        ("a reserved bit, as if it were compressed", "c10161"),
        ("a text that is not UTF-8", "8102c328"),
        ("a continuation of nothing", "800161"),
        ("a ping in two fragments", "090161"),
        ("a ping of 126 bytes", &format!("897e007e{}", "00".repeat(126))),
    ] {
        scene.send_command(json!({ "do": "raw", "hex": hex })).await;
        let lost = scene.wait_for_connection("reconnecting").await;
        assert_eq!(lost["reason"], "protocol_violation", "{what}: {lost}");
        scene.wait_for_connection("connected").await;
    }
}
