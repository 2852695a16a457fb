//! Tests streamed responses.

use super::*;

/// Returns a fixture whose response at `/stream` has this many parts, one a second, and this end.
async fn streaming(parts: usize, then: ScriptedEnd) -> QueueFixture {
    with_plan("/stream", [Stream(parts, s(1), then)]).await
}

/// Returns the response at `/stream` after one part was read.
async fn started_download(fixture: &QueueFixture, request: RequestBuilder) -> Download {
    let mut download = fixture.open(request).await.unwrap();
    assert_eq!(download.chunk().await.unwrap().unwrap(), "part");
    download
}

fn stream() -> RequestBuilder {
    get("/stream")
}

async fn end_error(download: &mut Download) -> Error {
    read_to_end(download).await.1.unwrap_err()
}

/// Asserts that no attempt is left and that the next request runs.
async fn assert_idle(fixture: &QueueFixture) {
    run_until_idle().await;
    assert_eq!((fixture.transport.running(), fixture.view.stats().running), (0, 0));
    assert_eq!(status(fixture.request(get("/next")).await), 200);
    assert_eq!(fixture.transport.peak(), 1);
}

// === success ===

#[tokio::test(start_paused = true)]
async fn response_is_returned_at_its_start_and_parts_as_they_come() {
    let fixture = streaming(3, ScriptedEnd::Complete).await;
    let mut download = fixture.open(stream()).await.unwrap();
    assert_eq!((download.status.as_u16(), download.length, download.attempts), (200, Some(12), 1));
    assert_eq!(download.headers["content-length"], "12");
    assert_eq!(download.request_id, RequestId(1));
    for second in 1..=3 {
        assert_eq!(download.chunk().await.unwrap().unwrap(), "part");
        assert_eq!(fixture.runtime.now().as_secs(), second);
    }
    assert_eq!(download.chunk().await, Ok(None));
    assert_eq!(download.chunk().await, Ok(None));
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_done"]);
    let done: Vec<RequestDone> = fixture.events().await;
    assert_eq!((done[0].status, done[0].bytes, done[0].ms, done[0].attempts), (200, 12, 4000, 1));
    assert_idle(&fixture).await;
}

#[tokio::test(start_paused = true)]
async fn download_as_stream_yields_an_error_once() {
    let fixture = streaming(2, ScriptedEnd::Break).await;
    let download = fixture.open(stream()).await.unwrap();
    let parts: Vec<_> = download.map(|part| part.map_err(|error| error.reason)).collect().await;
    assert_eq!(parts, [Ok("part".into()), Ok("part".into()), Err(Reason::ConnectionReset)]);
}

#[tokio::test(start_paused = true)]
async fn transport_without_streaming_yields_one_part() {
    let fixture = QueueFixture::start(policy()).await;
    let mut download = fixture.open(get("/plain")).await.unwrap();
    assert_eq!((download.length, read_to_end(&mut download).await), (Some(2), (2, Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn chunk_future_dropped_loses_no_part() {
    let fixture = streaming(2, ScriptedEnd::Complete).await;
    let mut download = fixture.open(stream()).await.unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(s(1) / 4, download.chunk()).await.is_err());
    }
    assert_eq!(read_to_end(&mut download).await, (8, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn request_is_retried_until_its_response_starts() {
    let fixture = QueueFixture::start(policy()).await;
    let good = Stream(1, s(1), ScriptedEnd::Complete);
    fixture.on("/stream", [Respond(503), RetryAfter(5), Reset, good]);
    let mut request = stream().build().unwrap();
    let mut progress = request.progress();
    let mut download = fixture.queue.open(request).await.unwrap();
    assert_eq!((download.attempts, read_to_end(&mut download).await), (4, (4, Ok(()))));
    assert_eq!(fixture.transport.times("/stream"), [0, 1, 6, 10]);
    let kinds = ["request_retry", "request_retry", "request_retry", "request_done"];
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, kinds);
    let shown = *progress.borrow_and_update();
    let expected = TransferProgress { attempt: 4, sent: 0, to_send: None, received: 4, to_receive: Some(4) };
    assert_eq!(shown, expected);
    assert!(progress.changed().await.is_err(), "the request is gone, so no progress follows");
}

#[tokio::test(start_paused = true)]
async fn error_status_gives_an_error_with_its_body() {
    let fixture = with_plan("/stream", [Respond(404)]).await;
    let error = fixture.open(stream()).await.unwrap_err();
    assert_eq!((error.reason, error.status, error.attempts), (Reason::NotFound, Some(404), 1));
    assert!(error.details.unwrap().contains("{}"));
    assert_idle(&fixture).await;
}

// === time ===

#[tokio::test(start_paused = true)]
async fn moving_response_may_exceed_the_timeout() {
    let fixture = with_plan("/stream", [Stream(20, s(9), ScriptedEnd::Complete)]).await;
    let mut download = fixture.open(stream().timeout(s(10))).await.unwrap();
    assert_eq!(read_to_end(&mut download).await, (80, Ok(())));
    assert_eq!(fixture.runtime.now().as_secs(), 189);
}

#[tokio::test(start_paused = true)]
async fn stalled_response_times_out_and_is_not_retried() {
    let fixture = streaming(2, ScriptedEnd::Hang).await;
    let mut download = fixture.open(stream().timeout(s(10))).await.unwrap();
    let (bytes, ended) = read_to_end(&mut download).await;
    let error = ended.unwrap_err();
    assert_eq!((bytes, error.code, error.reason), (8, Code::Timeout, Reason::TimedOut));
    assert_eq!((error.status, error.attempts, error.request_id), (Some(200), 1, Some(RequestId(1))));
    assert_eq!(fixture.runtime.now().as_secs(), 12);
    assert_eq!(download.chunk().await, Err(error), "the end of an answer that broke off was silent");
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_timed_out"]);
    assert_idle(&fixture).await;
    assert_eq!(fixture.transport.paths(), ["/stream", "/next"]);
}

#[tokio::test(start_paused = true)]
async fn unread_time_does_not_count_and_applies_backpressure() {
    let fixture = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&fixture, stream().timeout(s(2))).await;
    advance_time(s(3600)).await;
    let waiting = fixture.transport.parts();
    assert!(waiting < 8, "{waiting} parts were taken without a reader");
    assert_eq!(read_to_end(&mut download).await, (99 * 4, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn response_holds_its_permit_until_it_ends() {
    let fixture = streaming(10, ScriptedEnd::Complete).await;
    let mut download = started_download(&fixture, stream()).await;
    let next = fixture.request(get("/next"));
    advance_time(s(20)).await;
    assert_eq!((fixture.view.stats().running, fixture.view.stats().waiting), (1, 1));
    assert_eq!(read_to_end(&mut download).await.1, Ok(()));
    assert_eq!(status(next.await), 200);
    assert_idle(&fixture).await;
}

// === failures ===

#[tokio::test(start_paused = true)]
async fn interrupted_response_is_a_network_error_or_unknown() {
    for (request, reason) in [
        (stream(), Reason::ConnectionReset),
        (post("/stream").idempotency_key("k"), Reason::ConnectionReset),
        (post("/stream"), Reason::OutcomeUnknown),
    ] {
        let fixture = streaming(2, ScriptedEnd::Break).await;
        let error = end_error(&mut started_download(&fixture, request).await).await;
        assert_eq!((error.code, error.reason, error.attempts), (Code::NetworkError, reason, 1));
        assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_failed"]);
        let recorded: Vec<RequestFailed> = fixture.events().await;
        assert_eq!((recorded[0].reason, recorded[0].status), (reason, Some(200)));
        assert_idle(&fixture).await;
        assert_eq!(fixture.transport.paths(), ["/stream", "/next"]);
    }
}

#[tokio::test(start_paused = true)]
async fn answer_whose_transport_panics_fails_alone() {
    let fixture = streaming(2, ScriptedEnd::Panic).await;
    let mut download = started_download(&fixture, stream()).await;
    assert_eq!(end_error(&mut download).await.reason, Reason::Crashed);
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_failed"]);
    assert_idle(&fixture).await;
    assert_eq!(fixture.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_interrupts_the_response_and_frees_its_permit() {
    let fixture = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&fixture, stream()).await;
    assert_eq!(fixture.queue.cancel(download.request_id).await, Ok(true));
    assert_eq!(fixture.queue.cancel(download.request_id).await, Ok(false));
    let error = end_error(&mut download).await;
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 1, Some(RequestId(1))));
    assert_eq!((fixture.runtime.now().as_secs(), fixture.event_kinds_of(RequestId(1)).await.len()), (1, 1));
    assert_idle(&fixture).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_download_is_cancelled_and_frees_its_permit() {
    let fixture = streaming(100, ScriptedEnd::Complete).await;
    // Once while a part is expected from the backend, once while the backend is held back.
    for wait_timeout in [s(0), s(60)] {
        let download = started_download(&fixture, stream()).await;
        advance_time(wait_timeout).await;
        let id = download.request_id;
        drop(download);
        run_until_idle().await;
        assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
        assert_eq!(fixture.events::<RequestFailed>().await.pop().unwrap().reason, Reason::Cancelled);
        assert_idle(&fixture).await;
    }
}

#[tokio::test(start_paused = true)]
async fn caller_dropped_before_the_response_leaves_nothing() {
    let fixture = with_plan("/slow", [After(s(5))]).await;
    fixture.on("/stream", [Stream(9, s(1), ScriptedEnd::Complete)]);
    let waits = fixture.open(get("/slow"));
    advance_time(s(1)).await;
    drop(waits);
    run_until_idle().await;
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_failed"]);
    // The response has started and waits for a caller that never reads it.
    let never_looks = fixture.open(stream());
    run_until_idle().await;
    drop(never_looks);
    run_until_idle().await;
    assert_eq!(fixture.event_kinds_of(RequestId(2)).await, ["request_failed"]);
    assert_idle(&fixture).await;
}

#[tokio::test(start_paused = true)]
async fn queued_stream_request_expires_and_cancels_as_others() {
    let fixture = streaming(100, ScriptedEnd::Complete).await;
    let _reader = started_download(&fixture, stream()).await;
    let late = fixture.open(stream().wait_timeout(s(5)));
    let (id, cancelled) = fixture.queue.submit_open(stream().build().unwrap());
    assert_eq!(fixture.queue.cancel(id).await, Ok(true));
    assert_eq!(cancelled.await.unwrap_err().reason, Reason::Cancelled);
    assert_eq!(late.await.unwrap_err().reason, Reason::Expired);
    assert_eq!(fixture.transport.paths().len(), 1);
}

// === crashes ===

#[tokio::test(start_paused = true)]
async fn crash_fails_the_reader_at_once_and_is_recorded_later() {
    let delay = Delay::Fixed { delay: s(30) };
    for (request, reason) in [(stream(), Reason::Crashed), (post("/stream"), Reason::OutcomeUnknown)] {
        let fixture = QueueFixture::start_with(ChildPolicy { delay, ..restart_policy() }, policy()).await;
        fixture.on("/stream", [Stream(100, s(1), ScriptedEnd::Complete)]);
        let mut download = started_download(&fixture, request).await;
        let waits = async { end_error(&mut download).await };
        let (error, ()) = tokio::join!(waits, fixture.crash());
        assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, reason, 1));
        assert_eq!((error.request_id, fixture.runtime.now().as_secs()), (Some(RequestId(1)), 1));
        assert!(fixture.event_kinds_of(RequestId(1)).await.is_empty(), "no incarnation has recorded it yet");
        assert_eq!(fixture.transport.running(), 0);
        advance_time(s(31)).await;
        let expected = (2, vec!["request_failed".into()]);
        assert_eq!((fixture.generation(), fixture.event_kinds_of(RequestId(1)).await), expected);
        assert_eq!(fixture.events::<RequestFailed>().await[0].reason, reason);
        assert_idle(&fixture).await;
        assert_eq!(fixture.transport.paths(), ["/stream", "/next"]);
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_before_a_crash_gives_the_reader_the_recorded_error() {
    let fixture = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&fixture, stream()).await;
    // Both are handled before the task that forwards the body can notice either.
    let (reply, cancelled) = Reply::channel();
    fixture.address.cast(QueueMessage::Cancel { id: download.request_id, reply }).await.unwrap();
    drop(fixture.address.inject_panic().unwrap());
    let error = end_error(&mut download).await;
    assert_eq!(cancelled.await, Ok(true));
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 1, Some(RequestId(1))));
    run_until_idle().await;
    let expected = (2, vec!["request_failed".into()]);
    assert_eq!((fixture.generation(), fixture.event_kinds_of(RequestId(1)).await), expected);
    assert_eq!(fixture.events::<RequestFailed>().await[0].reason, Reason::Cancelled);
    assert_idle(&fixture).await;
}

#[tokio::test(start_paused = true)]
async fn crash_before_the_response_costs_one_attempt() {
    let fixture = with_plan("/stream", [Hang, Stream(2, s(1), ScriptedEnd::Complete)]).await;
    let opens = fixture.open(stream());
    run_until_idle().await;
    fixture.crash().await;
    let mut download = opens.await.unwrap();
    assert_eq!((download.attempts, read_to_end(&mut download).await), (2, (8, Ok(()))));
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_retry", "request_done"]);
}

#[tokio::test(start_paused = true)]
async fn stop_or_dropped_runtime_fails_all_readers() {
    for is_dropped in [false, true] {
        let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
        fixture.on("/stream", [Stream(100, s(1), ScriptedEnd::Complete)]);
        let mut reader = started_download(&fixture, stream()).await;
        let mut in_doubt = started_download(&fixture, post("/stream")).await;
        if is_dropped {
            drop(fixture.runtime);
            run_until_idle().await;
            let error = end_error(&mut reader).now_or_never().unwrap();
            assert!(matches!(error.reason, Reason::Stopped | Reason::Crashed), "{error:?}");
            continue;
        }
        fixture.runtime.root().stop("queue").await.unwrap();
        assert_eq!(end_error(&mut reader).await.reason, Reason::Stopped);
        assert_eq!(end_error(&mut in_doubt).await.reason, Reason::OutcomeUnknown);
        let recorded = fixture.events::<RequestFailed>().await.into_iter().map(|event| event.reason);
        assert_eq!(recorded.collect::<Vec<_>>(), [Reason::Stopped, Reason::OutcomeUnknown]);
        assert_eq!(fixture.transport.running(), 0);
        assert_eq!(fixture.open(stream()).await.unwrap_err().reason, Reason::Stopped);
    }
}
