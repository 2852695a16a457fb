//! Tests pooled connections, and servers that close them while they are idle.

use futures_util::future::{join, join_all, join3};
use mainstay::{Reason, Request, RequestBuilder};
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime};
use crate::server::ServerSpec;

/// The time for which the servers keep an idle connection, in milliseconds.
const KEEP_ALIVE_MS: u64 = 250;
/// The distance from that moment at which requests are tried, in milliseconds.
const AROUND_MS: u64 = 25;

against!(requests_around_the_close_of_an_idle_connection_are_safe: uvicorn, h11, node);
async fn requests_around_the_close_of_an_idle_connection_are_safe(foreign: ServerSpec) {
    let server = foreign.with(["--keep-alive", "0.25"]).start().await;
    let mut fixture = ForeignFixture::start(&server, |config| config.requests.max_concurrent = 20).await;
    let mut lost = 0;
    for ms in KEEP_ALIVE_MS - AROUND_MS..=KEEP_ALIVE_MS + AROUND_MS {
        // Eight connections become idle at once; when the ninth has its response, the server is about to close them.
        let idle = join_all((0..8).map(|_| fixture.request(Request::get("/crowd?group=8"))));
        let (idle, slow) = join(idle, fixture.request(Request::get(format!("/slow?ms={ms}")))).await;
        assert!(slow.is_ok() && idle.iter().all(Result::is_ok), "{slow:?} {idle:?}");

        let gets = join_all((0..3).map(|_| fixture.request(Request::get("/echo"))));
        let post = |name: String| Request::post(format!("/flaky/{name}?failures=0")).json(&json!({ "n": 1 }));
        let plain = join_all((0..3).map(|n| fixture.request(post(format!("plain-{ms}-{n}")))));
        let keyed =
            |n: u64| -> RequestBuilder { post(format!("keyed-{ms}-{n}")).generated_idempotency_key() };
        let keyed = join_all((0..3).map(|n| fixture.request(keyed(n))));
        let (gets, plain, keyed) = join3(gets, plain, keyed).await;

        for get in gets {
            let get = get.unwrap_or_else(|error| panic!("after {ms} ms: {error:?}"));
            // One broken connection at most: after it, requests use new ones for a while.
            assert!((1..=2).contains(&get.attempts), "after {ms} ms: {} attempts", get.attempts);
        }
        for (n, answer) in plain.into_iter().enumerate() {
            let seen = fixture.requests_seen(&format!("plain-{ms}-{n}")).await.len();
            match answer {
                Ok(_) => assert_eq!(seen, 1, "after {ms} ms"),
                // The outcome is unknown, so the request is not sent again: that is the price of no key.
                Err(error) => {
                    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, 1), "{error:?}");
                    assert!(seen <= 1, "after {ms} ms it was carried out {seen} times");
                    lost += 1;
                }
            }
        }
        for (n, answer) in keyed.into_iter().enumerate() {
            answer.unwrap_or_else(|error| panic!("after {ms} ms: {error:?}"));
            let seen = fixture.requests_seen(&format!("keyed-{ms}-{n}")).await;
            assert!(seen.iter().all(|each| each["key"] == seen[0]["key"]), "{seen:?}");
        }
    }
    println!(
        "{lost} of {} POSTs without a key met a connection that was being closed",
        3 * (2 * AROUND_MS + 1)
    );
    fixture.mainstay.shutdown().await;
    fixture.wait_for_event("runtime_stopped").await;
    // A GET is repeated only after a kept connection broke, and then at once.
    let repeated_get =
        |event: &&serde_json::Value| event["kind"] == "request_retry" && event["method"] == "GET";
    assert!(fixture.seen_events.iter().filter(repeated_get).all(|event| event["delay_ms"] == 0));
}

against!(connection_is_used_again_while_the_server_keeps_it(started): uvicorn, h11, node);
async fn connection_is_used_again_while_the_server_keeps_it((_server, fixture): ServerAndRuntime) {
    let first = fixture.request_json(Request::get("/caller")).await;
    for _ in 0..20 {
        assert_eq!(fixture.request_json(Request::get("/caller")).await, first, "the port that it came from");
    }
}

// Uvicorn sends FastAPI's response to an exception without a close header, and then closes the connection.
against!(request_after_server_exception_avoids_closing_connection(started): uvicorn, h11, node);
async fn request_after_server_exception_avoids_closing_connection((_server, fixture): ServerAndRuntime) {
    for round in 0..200 {
        let error = fixture.request(Request::get("/raise").retries(0)).await.unwrap_err();
        assert_eq!((error.reason, error.status), (Reason::ServerError, Some(500)));
        let answer = fixture.request(Request::post("/echo").body("{}")).await;
        answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
    }
}
