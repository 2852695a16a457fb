//! Tests forms of responses: in chunks, compressed, slow but alive, too large.

use mainstay::Request;
use mainstay::{Code, Reason};

use crate::against;
use crate::fixture::{ServerAndRuntime, millis};

against!(answer_in_chunks_arrives_whole(started): uvicorn, h11, node);
async fn answer_in_chunks_arrives_whole((_server, fixture): ServerAndRuntime) {
    for (parts, size) in [(0, 0), (1, 1), (26, 100_000)] {
        let response =
            fixture.request(Request::get(format!("/chunked?parts={parts}&size={size}"))).await.unwrap();
        assert_eq!(response.body.len(), parts * size);
        let message = |n: usize| b'a' + u8::try_from(n).unwrap();
        assert!(
            response
                .body
                .chunks(size.max(1))
                .enumerate()
                .all(|(n, part)| part.iter().all(|b| *b == message(n)))
        );
    }
}

against!(plain_body_is_asked_for(started): uvicorn, h11, node);
async fn plain_body_is_asked_for((_server, fixture): ServerAndRuntime) {
    let echo = fixture.request_json(Request::get("/echo")).await;
    assert_eq!(echo["headers"]["accept-encoding"], "identity");
    let response = fixture.request(Request::get("/text?size=5000")).await.unwrap();
    assert!(response.headers.get("content-encoding").is_none());
    assert_eq!(response.body, "x".repeat(5_000));
}

against!(unrequested_gzip_is_unpacked_and_brotli_an_error(started): uvicorn, h11, node);
async fn unrequested_gzip_is_unpacked_and_brotli_an_error((server, fixture): ServerAndRuntime) {
    let response = fixture.request(Request::get("/zipped")).await;
    if server.spec.is_node() {
        let error = response.unwrap_err();
        assert_eq!((error.code, error.reason), (Code::ServerError, Reason::UnknownEncoding));
        return;
    }
    let response = response.unwrap();
    assert!(response.headers.get("content-encoding").is_none());
    assert_eq!(response.json::<serde_json::Value>().unwrap()["text"], "x".repeat(1_000));
    // So is gzip that a caller asked for.
    let request = Request::get("/text?size=5000").header("accept-encoding", "gzip");
    let response = fixture.request(request).await.unwrap();
    assert!(response.headers.get("content-encoding").is_none());
    assert_eq!(response.body, "x".repeat(5_000));
}

against!(stream_that_lasts_longer_than_the_timeout_survives(started): uvicorn, h11, node);
async fn stream_that_lasts_longer_than_the_timeout_survives((_server, fixture): ServerAndRuntime) {
    let request = Request::get("/sse?count=12&ms=400").header("accept", "text/event-stream");
    let response = fixture.request(request.timeout(millis(2_000)).retries(0)).await.unwrap();
    assert_eq!(
        response.headers["content-type"].to_str().unwrap().split(';').next(),
        Some("text/event-stream")
    );
    let expected: String = (0..12).map(|number| format!("event: step\ndata: {number}\n\n")).collect();
    assert_eq!(response.body, expected);
    assert!(response.ms > 2_000, "{} ms", response.ms);
}

against!(stream_does_not_keep_other_requests_from_their_answers(started): uvicorn, h11, node);
async fn stream_does_not_keep_other_requests_from_their_answers((mut server, fixture): ServerAndRuntime) {
    tokio::select! {
        stream = fixture.request(Request::get("/begin/stream")) => panic!("it never ends: {stream:?}"),
        () = async {
            server.expect_line("begun stream").await;
            for _ in 0..10 {
                assert_eq!(fixture.request_json(Request::get("/echo")).await["method"], "GET");
            }
        } => (),
    }
}

against!(interim_responses_and_trailers_are_ignored(started): node);
async fn interim_responses_and_trailers_are_ignored((_server, fixture): ServerAndRuntime) {
    for _ in 0..2 {
        let response = fixture.request(Request::get("/interim")).await.unwrap();
        assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"the answer"[..]));
        assert_eq!(response.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.headers["x-note"].as_bytes(), b"d\xe9j\xe0 vu", "as it came");
    }
}

against!(not_modified_is_returned_to_the_caller(started): node);
async fn not_modified_is_returned_to_the_caller((_server, fixture): ServerAndRuntime) {
    let first = fixture.request(Request::get("/text?size=100")).await.unwrap();
    let tag = first.headers["etag"].to_str().unwrap();
    let again = fixture.request(Request::get("/text?size=100").header("if-none-match", tag)).await.unwrap();
    assert_eq!((again.status.as_u16(), again.body.len(), again.attempts), (304, 0, 1));
}
