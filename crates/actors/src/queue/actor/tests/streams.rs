//! Answers that are read as they come.

use futures_util::{FutureExt, StreamExt};
use mainstay_runtime::{
    Reply,
    policy::{ChildPolicy, Delay},
};

use super::{
    scene::{Scene, get, pass, policy, post, read, s, settle, status, upkeep},
    script::{Play, Then},
};
use crate::{
    error::{Code, Error, Reason},
    queue::{
        Download, QueueMessage, QueuePolicy,
        events::{RequestDone, RequestFailed},
    },
    request::{Progress, RequestBuilder, RequestId},
};

/// A scene with an answer at `/stream` that comes in so many parts, one a second, and ends as said.
async fn streaming(parts: usize, then: Then) -> Scene {
    let scene = Scene::of(policy()).await;
    scene.script.on("/stream", [Play::Trickle(parts, s(1), then)]);
    scene
}

/// The answer at `/stream`, of which one part has been read.
async fn begun(scene: &Scene, request: RequestBuilder) -> Download {
    let mut download = scene.open(request).await.unwrap();
    assert_eq!(download.chunk().await.unwrap().unwrap(), "part");
    download
}

fn stream() -> RequestBuilder {
    get("/stream")
}

async fn end(download: &mut Download) -> Error {
    read(download).await.1.unwrap_err()
}

/// Nothing is left of any attempt, and the next request has its turn.
async fn is_free(scene: &Scene) {
    settle().await;
    assert_eq!((scene.script.running(), scene.view.stats().running), (0, 0));
    assert_eq!(status(scene.ask(get("/next")).await), 200);
    assert_eq!(scene.script.peak(), 1);
}

// === the good case ===

#[tokio::test(start_paused = true)]
async fn an_answer_is_handed_out_when_it_begins_and_its_parts_as_they_come() {
    let scene = streaming(3, Then::End).await;
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
    assert_eq!(scene.fate(RequestId(1)).await, ["request_done"]);
    let done: Vec<RequestDone> = scene.told().await;
    assert_eq!((done[0].status, done[0].bytes, done[0].ms, done[0].attempts), (200, 12, 4000, 1));
    is_free(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_read_as_a_stream_that_tells_an_error_once() {
    let scene = streaming(2, Then::Break).await;
    let download = scene.open(stream()).await.unwrap();
    let parts: Vec<_> = download.map(|part| part.map_err(|error| error.reason)).collect().await;
    assert_eq!(parts, [Ok("part".into()), Ok("part".into()), Err(Reason::ConnectionReset)]);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_knows_no_parts_gives_its_answer_in_one() {
    let scene = Scene::of(policy()).await;
    let mut download = scene.open(get("/plain")).await.unwrap();
    assert_eq!((download.length, read(&mut download).await), (Some(2), (2, Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_part_can_be_given_up_without_losing_it() {
    let scene = streaming(2, Then::End).await;
    let mut download = scene.open(stream()).await.unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(s(1) / 4, download.chunk()).await.is_err());
    }
    assert_eq!(read(&mut download).await, (8, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn before_its_answer_begins_a_request_is_repeated_as_any_other() {
    let scene = Scene::of(policy()).await;
    let good = Play::Trickle(1, s(1), Then::End);
    scene.script.on("/stream", [Play::Answer(503), Play::AskToWait(5), Play::Reset, good]);
    let mut request = stream().build().unwrap();
    let mut progress = request.progress();
    let mut download = scene.queue.open(request).await.unwrap();
    assert_eq!((download.attempts, read(&mut download).await), (4, (4, Ok(()))));
    assert_eq!(scene.script.times("/stream"), [0, 1, 6, 10]);
    let fate = ["request_retry", "request_retry", "request_retry", "request_done"];
    assert_eq!(scene.fate(RequestId(1)).await, fate);
    let shown = *progress.borrow_and_update();
    let expected = Progress { attempt: 4, sent: 0, to_send: None, received: 4, to_receive: Some(4) };
    assert_eq!(shown, expected);
    assert!(progress.changed().await.is_err(), "the request is gone, and nobody can note anything");
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_a_failing_status_is_an_error_with_what_it_says() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/stream", [Play::Answer(404)]);
    let error = scene.open(stream()).await.unwrap_err();
    assert_eq!((error.reason, error.status, error.attempts), (Reason::NotFound, Some(404), 1));
    assert!(error.details.unwrap().contains("{}"));
    is_free(&scene).await;
}

// === time ===

#[tokio::test(start_paused = true)]
async fn an_answer_that_keeps_coming_may_take_longer_than_the_timeout() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/stream", [Play::Trickle(20, s(9), Then::End)]);
    let mut download = scene.open(stream().timeout(s(10))).await.unwrap();
    assert_eq!(read(&mut download).await, (80, Ok(())));
    assert_eq!(scene.runtime.now().as_secs(), 189);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stands_still_times_out_and_is_not_asked_for_again() {
    let scene = streaming(2, Then::Hang).await;
    let mut download = scene.open(stream().timeout(s(10))).await.unwrap();
    let (bytes, ended) = read(&mut download).await;
    let error = ended.unwrap_err();
    assert_eq!((bytes, error.code, error.reason), (8, Code::Timeout, Reason::TimedOut));
    assert_eq!((error.status, error.attempts, error.request_id), (Some(200), 1, Some(RequestId(1))));
    assert_eq!(scene.runtime.now().as_secs(), 12);
    assert_eq!(download.chunk().await, Err(error), "the end of an answer that broke off was silent");
    assert_eq!(scene.fate(RequestId(1)).await, ["request_timed_out"]);
    is_free(&scene).await;
    assert_eq!(scene.script.paths(), ["/stream", "/next"]);
}

#[tokio::test(start_paused = true)]
async fn the_time_in_which_nobody_reads_does_not_count_and_holds_the_backend_back() {
    let scene = streaming(100, Then::End).await;
    let mut download = begun(&scene, stream().timeout(s(2))).await;
    pass(s(3600)).await;
    let waiting = scene.script.parts();
    assert!(waiting < 8, "{waiting} parts were taken though nobody reads");
    assert_eq!(read(&mut download).await, (99 * 4, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_its_place_until_it_has_ended() {
    let scene = streaming(10, Then::End).await;
    let mut download = begun(&scene, stream()).await;
    let next = scene.ask(get("/next"));
    pass(s(20)).await;
    assert_eq!((scene.view.stats().running, scene.view.stats().waiting), (1, 1));
    assert_eq!(read(&mut download).await.1, Ok(()));
    assert_eq!(status(next.await), 200);
    is_free(&scene).await;
}

// === the bad cases ===

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_a_network_error_and_for_a_post_its_outcome_is_unknown() {
    for (request, reason) in [
        (stream(), Reason::ConnectionReset),
        (post("/stream").idempotency_key("k"), Reason::ConnectionReset),
        (post("/stream"), Reason::OutcomeUnknown),
    ] {
        let scene = streaming(2, Then::Break).await;
        let error = end(&mut begun(&scene, request).await).await;
        assert_eq!((error.code, error.reason, error.attempts), (Code::NetworkError, reason, 1));
        assert_eq!(scene.fate(RequestId(1)).await, ["request_failed"]);
        let told: Vec<RequestFailed> = scene.told().await;
        assert_eq!((told[0].reason, told[0].status), (reason, Some(200)));
        is_free(&scene).await;
        assert_eq!(scene.script.paths(), ["/stream", "/next"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_transport_panics_fails_alone() {
    let scene = streaming(2, Then::Panic).await;
    let mut download = begun(&scene, stream()).await;
    assert_eq!(end(&mut download).await.reason, Reason::Crashed);
    assert_eq!(scene.fate(RequestId(1)).await, ["request_failed"]);
    is_free(&scene).await;
    assert_eq!(scene.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn calling_a_request_off_breaks_its_answer_off_and_frees_its_place() {
    let scene = streaming(100, Then::End).await;
    let mut download = begun(&scene, stream()).await;
    assert_eq!(scene.queue.cancel(download.request_id).await, Ok(true));
    assert_eq!(scene.queue.cancel(download.request_id).await, Ok(false));
    let error = end(&mut download).await;
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 1, Some(RequestId(1))));
    assert_eq!((scene.runtime.now().as_secs(), scene.fate(RequestId(1)).await.len()), (1, 1));
    is_free(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_reader_drops_is_called_off_and_frees_its_place() {
    let scene = streaming(100, Then::End).await;
    // Once while a part is awaited from the backend, once while the backend is held back.
    for patience in [s(0), s(60)] {
        let download = begun(&scene, stream()).await;
        pass(patience).await;
        let id = download.request_id;
        drop(download);
        settle().await;
        assert_eq!(scene.fate(id).await, ["request_failed"]);
        assert_eq!(scene.told::<RequestFailed>().await.pop().unwrap().reason, Reason::Cancelled);
        is_free(&scene).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_before_the_answer_begins_or_just_then_leaves_nothing_behind() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/slow", [Play::AnswerAfter(s(5), 200)]);
    scene.script.on("/stream", [Play::Trickle(9, s(1), Then::End)]);
    let waits = scene.open(get("/slow"));
    pass(s(1)).await;
    drop(waits);
    settle().await;
    assert_eq!(scene.fate(RequestId(1)).await, ["request_failed"]);
    // The answer has begun and waits for a caller who never looks.
    let never_looks = scene.open(stream());
    settle().await;
    drop(never_looks);
    settle().await;
    assert_eq!(scene.fate(RequestId(2)).await, ["request_failed"]);
    is_free(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_in_line_for_an_answer_in_parts_expires_and_is_called_off_as_any_other() {
    let scene = streaming(100, Then::End).await;
    let _reader = begun(&scene, stream()).await;
    let late = scene.open(stream().wait_timeout(s(5)));
    let (id, called_off) = scene.queue.submit_open(stream().build().unwrap());
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(called_off.await.unwrap_err().reason, Reason::Cancelled);
    assert_eq!(late.await.unwrap_err().reason, Reason::Expired);
    assert_eq!(scene.script.paths().len(), 1);
}

// === crashes ===

#[tokio::test(start_paused = true)]
async fn a_crash_reaches_the_reader_at_once_and_the_next_incarnation_writes_it_down() {
    let delay = Delay::Fixed { delay: s(30) };
    for (request, reason) in [(stream(), Reason::Crashed), (post("/stream"), Reason::OutcomeUnknown)] {
        let scene = Scene::kept_by(ChildPolicy { delay, ..upkeep() }, policy()).await;
        scene.script.on("/stream", [Play::Trickle(100, s(1), Then::End)]);
        let mut download = begun(&scene, request).await;
        let waits = async { end(&mut download).await };
        let (error, ()) = tokio::join!(waits, scene.crash());
        assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, reason, 1));
        assert_eq!((error.request_id, scene.runtime.now().as_secs()), (Some(RequestId(1)), 1));
        assert!(scene.fate(RequestId(1)).await.is_empty(), "there is nobody yet to write it down");
        assert_eq!(scene.script.running(), 0);
        pass(s(31)).await;
        assert_eq!((scene.generation(), scene.fate(RequestId(1)).await), (2, vec!["request_failed".into()]));
        assert_eq!(scene.told::<RequestFailed>().await[0].reason, reason);
        is_free(&scene).await;
        assert_eq!(scene.script.paths(), ["/stream", "/next"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_request_was_called_off_just_before_a_crash_is_told_what_the_journal_says() {
    let scene = streaming(100, Then::End).await;
    let mut download = begun(&scene, stream()).await;
    // Both are handled before the task that brings the parts can notice either.
    let (reply, called_off) = Reply::channel();
    scene.address.cast(QueueMessage::Cancel { id: download.request_id, reply }).await.unwrap();
    scene.address.cast(QueueMessage::Panic).await.unwrap();
    let error = end(&mut download).await;
    assert_eq!(called_off.await, Ok(true));
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 1, Some(RequestId(1))));
    settle().await;
    assert_eq!((scene.generation(), scene.fate(RequestId(1)).await), (2, vec!["request_failed".into()]));
    assert_eq!(scene.told::<RequestFailed>().await[0].reason, Reason::Cancelled);
    is_free(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_answer_begins_costs_an_attempt_and_no_more() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/stream", [Play::Hang, Play::Trickle(2, s(1), Then::End)]);
    let opens = scene.open(stream());
    settle().await;
    scene.crash().await;
    let mut download = opens.await.unwrap();
    assert_eq!((download.attempts, read(&mut download).await), (2, (8, Ok(()))));
    assert_eq!(scene.fate(RequestId(1)).await, ["request_retry", "request_done"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_queue_is_stopped_its_readers_are_told() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/stream", [Play::Trickle(100, s(1), Then::End)]);
    let mut reader = begun(&scene, stream()).await;
    let mut in_doubt = begun(&scene, post("/stream")).await;
    scene.runtime.root().stop("queue").await.unwrap();
    assert_eq!(end(&mut reader).await.reason, Reason::Stopped);
    assert_eq!(end(&mut in_doubt).await.reason, Reason::OutcomeUnknown);
    let told: Vec<_> = scene.told::<RequestFailed>().await.iter().map(|event| event.reason).collect();
    assert_eq!(told, [Reason::Stopped, Reason::OutcomeUnknown]);
    assert_eq!(scene.script.running(), 0);
    assert_eq!(scene.open(stream()).await.unwrap_err().reason, Reason::Stopped);
}

#[tokio::test(start_paused = true)]
async fn when_the_runtime_is_dropped_no_reader_waits_for_ever_nor_takes_what_it_has_for_the_whole() {
    let scene = streaming(100, Then::End).await;
    let mut download = begun(&scene, stream()).await;
    let Scene { runtime, .. } = scene;
    drop(runtime);
    settle().await;
    let error = end(&mut download).now_or_never().unwrap();
    assert!(matches!(error.reason, Reason::Stopped | Reason::Crashed), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_never_given_twice_though_answers_end_in_every_way() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 3, ..policy() }).await;
    let ends = [Then::End, Then::Break, Then::Hang, Then::Panic];
    let mut readers = tokio::task::JoinSet::new();
    for (number, then) in ends.into_iter().cycle().take(40).enumerate() {
        let path = format!("/{number}");
        scene.script.on(&path, [Play::Trickle(number % 7, s(1), then)]);
        let opens = scene.open(get(&path).timeout(s(5)));
        let reads = async move { drop(read(&mut opens.await.unwrap()).await) };
        let leaves = number % 5 == 0;
        readers.spawn(async move {
            if leaves { drop(tokio::time::timeout(s(4), reads).await) } else { reads.await }
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    settle().await;
    assert_eq!((scene.script.peak(), scene.script.running(), scene.view.stats().running), (3, 0, 0));
}
