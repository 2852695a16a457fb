//! Connections that are kept, and servers that close them while they are idle.

use futures_util::future::{join, join_all, join3};
use mainstay::Request;
use mainstay::actors::error::Reason;
use mainstay::actors::request::RequestBuilder;
use serde_json::json;

use crate::against;
use crate::fixture::ForeignFixture;
use crate::server::ServerSpec;

/// How long the servers keep an idle connection, in milliseconds.
const KEEP_ALIVE_MS: u64 = 250;
/// How far around that moment a request is tried, in milliseconds.
const AROUND_MS: u64 = 25;

against!(requests_around_the_close_of_an_idle_connection_are_safe: uvicorn, h11, node);
async fn requests_around_the_close_of_an_idle_connection_are_safe(foreign: ServerSpec) {
    let server = foreign.with(["--keep-alive", "0.25"]).start().await;
    let mut scene = ForeignFixture::start(&server, |config| config.requests.max_concurrent = 20).await;
    let mut lost = 0;
    for ms in KEEP_ALIVE_MS - AROUND_MS..=KEEP_ALIVE_MS + AROUND_MS {
        // Eight connections become idle at once; when the ninth has its answer, the server is about to close them.
        let idle = join_all((0..8).map(|_| scene.request(Request::get("/crowd?group=8"))));
        let (idle, slow) = join(idle, scene.request(Request::get(format!("/slow?ms={ms}")))).await;
        assert!(slow.is_ok() && idle.iter().all(Result::is_ok), "{slow:?} {idle:?}");

        let gets = join_all((0..3).map(|_| scene.request(Request::get("/echo"))));
        let post = |name: String| Request::post(format!("/flaky/{name}?failures=0")).json(&json!({ "n": 1 }));
        let plain = join_all((0..3).map(|n| scene.request(post(format!("plain-{ms}-{n}")))));
        let keyed =
            |n: u64| -> RequestBuilder { post(format!("keyed-{ms}-{n}")).generated_idempotency_key() };
        let keyed = join_all((0..3).map(|n| scene.request(keyed(n))));
        let (gets, plain, keyed) = join3(gets, plain, keyed).await;

        for get in gets {
            let get = get.unwrap_or_else(|error| panic!("after {ms} ms: {error:?}"));
            assert_eq!(get.attempts, 1, "after {ms} ms");
        }
        for (n, answer) in plain.into_iter().enumerate() {
            let seen = scene.requests_seen(&format!("plain-{ms}-{n}")).await.len();
            match answer {
                Ok(_) => assert_eq!(seen, 1, "after {ms} ms"),
                // There is no telling, so it is not sent again: that is what it costs to do without a key.
                Err(error) => {
                    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, 1), "{error:?}");
                    assert!(seen <= 1, "after {ms} ms it was carried out {seen} times");
                    lost += 1;
                }
            }
        }
        for (n, answer) in keyed.into_iter().enumerate() {
            answer.unwrap_or_else(|error| panic!("after {ms} ms: {error:?}"));
            let seen = scene.requests_seen(&format!("keyed-{ms}-{n}")).await;
            assert!(seen.iter().all(|each| each["key"] == seen[0]["key"]), "{seen:?}");
        }
    }
    println!(
        "{lost} of {} POSTs without a key met a connection that was being closed",
        3 * (2 * AROUND_MS + 1)
    );
    scene.mainstay.shutdown().await;
    scene.wait_for_event("runtime_stopped").await;
    // The GETs' second tries are the transport's own affair; what is seen here are those of the POSTs with a key.
    let retried = |event: &&serde_json::Value| event["kind"] == "request_retry";
    assert!(scene.seen_events.iter().filter(retried).all(|event| event["method"] == "POST"));
}

against!(a_connection_is_used_again_while_the_server_keeps_it: uvicorn, h11, node);
async fn a_connection_is_used_again_while_the_server_keeps_it(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let first = scene.request_json(Request::get("/caller")).await;
    for _ in 0..20 {
        assert_eq!(scene.request_json(Request::get("/caller")).await, first, "the port that it came from");
    }
}

// uvicorn sends FastAPI's answer to an exception as one of many on its connection, and then closes that.
against!(a_request_after_a_fault_of_the_application_does_not_meet_the_close_that_follows_it: uvicorn, h11, node);
async fn a_request_after_a_fault_of_the_application_does_not_meet_the_close_that_follows_it(
    foreign: ServerSpec,
) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    for round in 0..200 {
        let error = scene.request(Request::get("/raise").retries(0)).await.unwrap_err();
        assert_eq!((error.reason, error.status), (Reason::ServerError, Some(500)));
        let answer = scene.request(Request::post("/echo").body("{}")).await;
        answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
    }
}
