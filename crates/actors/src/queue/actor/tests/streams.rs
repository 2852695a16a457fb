//! Answers that are read as they come.

use futures_util::{FutureExt, StreamExt};
use mainstay_runtime::{
    Reply,
    policy::{ChildPolicy, Delay},
};

use super::{
    fixture::{
        QueueFixture, advance_time, get, policy, post, read_to_end, restart_policy, run_until_idle, s, status,
    },
    scripted_transport::{ScriptedEnd, ScriptedResponse},
};
use crate::{
    error::{Code, Error, Reason},
    queue::{
        Download, QueueMessage, QueuePolicy,
        events::{RequestDone, RequestFailed},
    },
    request::{RequestBuilder, RequestId, TransferProgress},
};

/// A scene with an answer at `/stream` that comes in so many parts, one a second, and ends as said.
async fn streaming(parts: usize, then: ScriptedEnd) -> QueueFixture {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/stream", [ScriptedResponse::Stream(parts, s(1), then)]);
    scene
}

/// The answer at `/stream`, of which one part has been read.
async fn started_download(scene: &QueueFixture, request: RequestBuilder) -> Download {
    let mut download = scene.open(request).await.unwrap();
    assert_eq!(download.chunk().await.unwrap().unwrap(), "part");
    download
}

fn stream() -> RequestBuilder {
    get("/stream")
}

async fn end_error(download: &mut Download) -> Error {
    read_to_end(download).await.1.unwrap_err()
}

/// Nothing is left of any attempt, and the next request has its turn.
async fn assert_idle(scene: &QueueFixture) {
    run_until_idle().await;
    assert_eq!((scene.script.running(), scene.view.stats().running), (0, 0));
    assert_eq!(status(scene.request(get("/next")).await), 200);
    assert_eq!(scene.script.peak(), 1);
}

// === the good case ===

#[tokio::test(start_paused = true)]
async fn response_is_returned_at_its_start_and_parts_as_they_come() {
    let scene = streaming(3, ScriptedEnd::Complete).await;
    let mut download = scene.open(stream()).await.unwrap();
    assert_eq!((download.status.as_u16(), download.length, download.attempts), (200, Some(12), 1));
    assert_eq!(download.headers["content-length"], "12");
    assert_eq!(download.request_id, RequestId(1));
    for second in 1..=3 {
        assert_eq!(download.chunk().await.unwrap().unwrap(), "part");
        assert_eq!(scene.runtime.now().as_secs(), second);
    }
    assert_eq!(download.chunk().await, Ok(None));
    assert_eq!(download.chunk().await, Ok(None));
    assert_eq!(scene.event_kinds_of(RequestId(1)).await, ["request_done"]);
    let done: Vec<RequestDone> = scene.events().await;
    assert_eq!((done[0].status, done[0].bytes, done[0].ms, done[0].attempts), (200, 12, 4000, 1));
    assert_idle(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn download_as_stream_yields_an_error_once() {
    let scene = streaming(2, ScriptedEnd::Break).await;
    let download = scene.open(stream()).await.unwrap();
    let parts: Vec<_> = download.map(|part| part.map_err(|error| error.reason)).collect().await;
    assert_eq!(parts, [Ok("part".into()), Ok("part".into()), Err(Reason::ConnectionReset)]);
}

#[tokio::test(start_paused = true)]
async fn transport_without_streaming_yields_one_part() {
    let scene = QueueFixture::start(policy()).await;
    let mut download = scene.open(get("/plain")).await.unwrap();
    assert_eq!((download.length, read_to_end(&mut download).await), (Some(2), (2, Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn chunk_future_dropped_loses_no_part() {
    let scene = streaming(2, ScriptedEnd::Complete).await;
    let mut download = scene.open(stream()).await.unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(s(1) / 4, download.chunk()).await.is_err());
    }
    assert_eq!(read_to_end(&mut download).await, (8, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn request_is_retried_until_its_response_starts() {
    let scene = QueueFixture::start(policy()).await;
    let good = ScriptedResponse::Stream(1, s(1), ScriptedEnd::Complete);
    scene.script.on(
        "/stream",
        [ScriptedResponse::Respond(503), ScriptedResponse::RetryAfter(5), ScriptedResponse::Reset, good],
    );
    let mut request = stream().build().unwrap();
    let mut progress = request.progress();
    let mut download = scene.queue.open(request).await.unwrap();
    assert_eq!((download.attempts, read_to_end(&mut download).await), (4, (4, Ok(()))));
    assert_eq!(scene.script.times("/stream"), [0, 1, 6, 10]);
    let fate = ["request_retry", "request_retry", "request_retry", "request_done"];
    assert_eq!(scene.event_kinds_of(RequestId(1)).await, fate);
    let shown = *progress.borrow_and_update();
    let expected = TransferProgress { attempt: 4, sent: 0, to_send: None, received: 4, to_receive: Some(4) };
    assert_eq!(shown, expected);
    assert!(progress.changed().await.is_err(), "the request is gone, and nobody can note anything");
}

#[tokio::test(start_paused = true)]
async fn error_status_gives_an_error_with_its_body() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/stream", [ScriptedResponse::Respond(404)]);
    let error = scene.open(stream()).await.unwrap_err();
    assert_eq!((error.reason, error.status, error.attempts), (Reason::NotFound, Some(404), 1));
    assert!(error.details.unwrap().contains("{}"));
    assert_idle(&scene).await;
}

// === time ===

#[tokio::test(start_paused = true)]
async fn moving_response_may_exceed_the_timeout() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/stream", [ScriptedResponse::Stream(20, s(9), ScriptedEnd::Complete)]);
    let mut download = scene.open(stream().timeout(s(10))).await.unwrap();
    assert_eq!(read_to_end(&mut download).await, (80, Ok(())));
    assert_eq!(scene.runtime.now().as_secs(), 189);
}

#[tokio::test(start_paused = true)]
async fn stalled_response_times_out_and_is_not_retried() {
    let scene = streaming(2, ScriptedEnd::Hang).await;
    let mut download = scene.open(stream().timeout(s(10))).await.unwrap();
    let (bytes, ended) = read_to_end(&mut download).await;
    let error = ended.unwrap_err();
    assert_eq!((bytes, error.code, error.reason), (8, Code::Timeout, Reason::TimedOut));
    assert_eq!((error.status, error.attempts, error.request_id), (Some(200), 1, Some(RequestId(1))));
    assert_eq!(scene.runtime.now().as_secs(), 12);
    assert_eq!(download.chunk().await, Err(error), "the end of an answer that broke off was silent");
    assert_eq!(scene.event_kinds_of(RequestId(1)).await, ["request_timed_out"]);
    assert_idle(&scene).await;
    assert_eq!(scene.script.paths(), ["/stream", "/next"]);
}

#[tokio::test(start_paused = true)]
async fn unread_time_does_not_count_and_applies_backpressure() {
    let scene = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&scene, stream().timeout(s(2))).await;
    advance_time(s(3600)).await;
    let waiting = scene.script.parts();
    assert!(waiting < 8, "{waiting} parts were taken though nobody reads");
    assert_eq!(read_to_end(&mut download).await, (99 * 4, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn response_holds_its_permit_until_it_ends() {
    let scene = streaming(10, ScriptedEnd::Complete).await;
    let mut download = started_download(&scene, stream()).await;
    let next = scene.request(get("/next"));
    advance_time(s(20)).await;
    assert_eq!((scene.view.stats().running, scene.view.stats().waiting), (1, 1));
    assert_eq!(read_to_end(&mut download).await.1, Ok(()));
    assert_eq!(status(next.await), 200);
    assert_idle(&scene).await;
}

// === the bad cases ===

#[tokio::test(start_paused = true)]
async fn interrupted_response_is_a_network_error_or_unknown() {
    for (request, reason) in [
        (stream(), Reason::ConnectionReset),
        (post("/stream").idempotency_key("k"), Reason::ConnectionReset),
        (post("/stream"), Reason::OutcomeUnknown),
    ] {
        let scene = streaming(2, ScriptedEnd::Break).await;
        let error = end_error(&mut started_download(&scene, request).await).await;
        assert_eq!((error.code, error.reason, error.attempts), (Code::NetworkError, reason, 1));
        assert_eq!(scene.event_kinds_of(RequestId(1)).await, ["request_failed"]);
        let told: Vec<RequestFailed> = scene.events().await;
        assert_eq!((told[0].reason, told[0].status), (reason, Some(200)));
        assert_idle(&scene).await;
        assert_eq!(scene.script.paths(), ["/stream", "/next"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_transport_panics_fails_alone() {
    let scene = streaming(2, ScriptedEnd::Panic).await;
    let mut download = started_download(&scene, stream()).await;
    assert_eq!(end_error(&mut download).await.reason, Reason::Crashed);
    assert_eq!(scene.event_kinds_of(RequestId(1)).await, ["request_failed"]);
    assert_idle(&scene).await;
    assert_eq!(scene.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_interrupts_the_response_and_frees_its_permit() {
    let scene = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&scene, stream()).await;
    assert_eq!(scene.queue.cancel(download.request_id).await, Ok(true));
    assert_eq!(scene.queue.cancel(download.request_id).await, Ok(false));
    let error = end_error(&mut download).await;
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 1, Some(RequestId(1))));
    assert_eq!((scene.runtime.now().as_secs(), scene.event_kinds_of(RequestId(1)).await.len()), (1, 1));
    assert_idle(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_download_is_cancelled_and_frees_its_permit() {
    let scene = streaming(100, ScriptedEnd::Complete).await;
    // Once while a part is awaited from the backend, once while the backend is held back.
    for patience in [s(0), s(60)] {
        let download = started_download(&scene, stream()).await;
        advance_time(patience).await;
        let id = download.request_id;
        drop(download);
        run_until_idle().await;
        assert_eq!(scene.event_kinds_of(id).await, ["request_failed"]);
        assert_eq!(scene.events::<RequestFailed>().await.pop().unwrap().reason, Reason::Cancelled);
        assert_idle(&scene).await;
    }
}

#[tokio::test(start_paused = true)]
async fn caller_dropped_before_the_response_leaves_nothing() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/slow", [ScriptedResponse::RespondAfter(s(5), 200)]);
    scene.script.on("/stream", [ScriptedResponse::Stream(9, s(1), ScriptedEnd::Complete)]);
    let waits = scene.open(get("/slow"));
    advance_time(s(1)).await;
    drop(waits);
    run_until_idle().await;
    assert_eq!(scene.event_kinds_of(RequestId(1)).await, ["request_failed"]);
    // The answer has begun and waits for a caller who never looks.
    let never_looks = scene.open(stream());
    run_until_idle().await;
    drop(never_looks);
    run_until_idle().await;
    assert_eq!(scene.event_kinds_of(RequestId(2)).await, ["request_failed"]);
    assert_idle(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn queued_stream_request_expires_and_cancels_as_others() {
    let scene = streaming(100, ScriptedEnd::Complete).await;
    let _reader = started_download(&scene, stream()).await;
    let late = scene.open(stream().wait_timeout(s(5)));
    let (id, called_off) = scene.queue.submit_open(stream().build().unwrap());
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(called_off.await.unwrap_err().reason, Reason::Cancelled);
    assert_eq!(late.await.unwrap_err().reason, Reason::Expired);
    assert_eq!(scene.script.paths().len(), 1);
}

// === crashes ===

#[tokio::test(start_paused = true)]
async fn crash_fails_the_reader_at_once_and_is_recorded_later() {
    let delay = Delay::Fixed { delay: s(30) };
    for (request, reason) in [(stream(), Reason::Crashed), (post("/stream"), Reason::OutcomeUnknown)] {
        let scene = QueueFixture::start_with(ChildPolicy { delay, ..restart_policy() }, policy()).await;
        scene.script.on("/stream", [ScriptedResponse::Stream(100, s(1), ScriptedEnd::Complete)]);
        let mut download = started_download(&scene, request).await;
        let waits = async { end_error(&mut download).await };
        let (error, ()) = tokio::join!(waits, scene.crash());
        assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, reason, 1));
        assert_eq!((error.request_id, scene.runtime.now().as_secs()), (Some(RequestId(1)), 1));
        assert!(scene.event_kinds_of(RequestId(1)).await.is_empty(), "there is nobody yet to write it down");
        assert_eq!(scene.script.running(), 0);
        advance_time(s(31)).await;
        assert_eq!(
            (scene.generation(), scene.event_kinds_of(RequestId(1)).await),
            (2, vec!["request_failed".into()])
        );
        assert_eq!(scene.events::<RequestFailed>().await[0].reason, reason);
        assert_idle(&scene).await;
        assert_eq!(scene.script.paths(), ["/stream", "/next"]);
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_before_a_crash_gives_the_reader_the_recorded_error() {
    let scene = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&scene, stream()).await;
    // Both are handled before the task that brings the parts can notice either.
    let (reply, called_off) = Reply::channel();
    scene.address.cast(QueueMessage::Cancel { id: download.request_id, reply }).await.unwrap();
    drop(scene.address.inject_panic().unwrap());
    let error = end_error(&mut download).await;
    assert_eq!(called_off.await, Ok(true));
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 1, Some(RequestId(1))));
    run_until_idle().await;
    assert_eq!(
        (scene.generation(), scene.event_kinds_of(RequestId(1)).await),
        (2, vec!["request_failed".into()])
    );
    assert_eq!(scene.events::<RequestFailed>().await[0].reason, Reason::Cancelled);
    assert_idle(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn crash_before_the_response_costs_one_attempt() {
    let scene = QueueFixture::start(policy()).await;
    scene
        .script
        .on("/stream", [ScriptedResponse::Hang, ScriptedResponse::Stream(2, s(1), ScriptedEnd::Complete)]);
    let opens = scene.open(stream());
    run_until_idle().await;
    scene.crash().await;
    let mut download = opens.await.unwrap();
    assert_eq!((download.attempts, read_to_end(&mut download).await), (2, (8, Ok(()))));
    assert_eq!(scene.event_kinds_of(RequestId(1)).await, ["request_retry", "request_done"]);
}

#[tokio::test(start_paused = true)]
async fn stop_fails_all_readers() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/stream", [ScriptedResponse::Stream(100, s(1), ScriptedEnd::Complete)]);
    let mut reader = started_download(&scene, stream()).await;
    let mut in_doubt = started_download(&scene, post("/stream")).await;
    scene.runtime.root().stop("queue").await.unwrap();
    assert_eq!(end_error(&mut reader).await.reason, Reason::Stopped);
    assert_eq!(end_error(&mut in_doubt).await.reason, Reason::OutcomeUnknown);
    let told: Vec<_> = scene.events::<RequestFailed>().await.iter().map(|event| event.reason).collect();
    assert_eq!(told, [Reason::Stopped, Reason::OutcomeUnknown]);
    assert_eq!(scene.script.running(), 0);
    assert_eq!(scene.open(stream()).await.unwrap_err().reason, Reason::Stopped);
}

#[tokio::test(start_paused = true)]
async fn dropped_runtime_fails_all_readers() {
    let scene = streaming(100, ScriptedEnd::Complete).await;
    let mut download = started_download(&scene, stream()).await;
    let QueueFixture { runtime, .. } = scene;
    drop(runtime);
    run_until_idle().await;
    let error = end_error(&mut download).now_or_never().unwrap();
    assert!(matches!(error.reason, Reason::Stopped | Reason::Crashed), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn permit_is_never_given_twice_whatever_the_end() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 3, ..policy() }).await;
    let ends = [ScriptedEnd::Complete, ScriptedEnd::Break, ScriptedEnd::Hang, ScriptedEnd::Panic];
    let mut readers = tokio::task::JoinSet::new();
    for (number, then) in ends.into_iter().cycle().take(40).enumerate() {
        let path = format!("/{number}");
        scene.script.on(&path, [ScriptedResponse::Stream(number % 7, s(1), then)]);
        let opens = scene.open(get(&path).timeout(s(5)));
        let reads = async move { drop(read_to_end(&mut opens.await.unwrap()).await) };
        let leaves = number % 5 == 0;
        readers.spawn(async move {
            if leaves { drop(tokio::time::timeout(s(4), reads).await) } else { reads.await }
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    run_until_idle().await;
    assert_eq!((scene.script.peak(), scene.script.running(), scene.view.stats().running), (3, 0, 0));
}
