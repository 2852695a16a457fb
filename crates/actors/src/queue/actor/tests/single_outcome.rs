//! Tests that each request ends exactly once, whatever happens.

use std::collections::HashMap;

use futures_util::{TryFutureExt, future::BoxFuture};
use proptest::prelude::*;

use super::*;

/// The events that end a request.
pub(super) const END_EVENTS: [&str; 4] =
    ["request_done", "request_failed", "request_timed_out", "queue_overflow"];

#[derive(Debug, Clone)]
enum QueueStep {
    Submit(RequestPlan),
    Cancel(usize),
    DropCaller(usize),
    Crash,
    Restart,
    Availability(BackendAvailability),
    BackendSeen,
    AdvanceTime(Duration),
}

#[derive(Debug, Clone)]
struct RequestPlan {
    method: Method,
    priority: Priority,
    wait_ms: Option<u64>,
    plays: Vec<ScriptedResponse>,
    in_parts: bool,
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Get,
    Post,
    KeyedPost,
    /// One of two requests that all callers share.
    SharedGet,
}

fn scripted_response() -> impl Strategy<Value = ScriptedResponse> {
    prop_oneof![
        4 => Just(Respond(200)),
        4 => (0..4_000_u64).prop_map(|ms| After(Duration::from_millis(ms))),
        1 => Just(Respond(404)),
        2 => Just(Respond(500)),
        1 => (0..5_u64).prop_map(RetryAfter),
        2 => Just(Refuse),
        2 => Just(Reset),
        1 => Just(Hang),
        1 => Just(Panic),
        4 => scripted_stream(),
    ]
}

/// Few enough parts that the body ends although it is not read.
fn scripted_stream() -> impl Strategy<Value = ScriptedResponse> {
    use ScriptedEnd::{Break, Complete, Hang, Panic};
    let then = prop::sample::select(vec![Complete, Complete, Break, Hang, Panic]);
    let parts = (0..4_usize, 0..2_000_u64, then);
    parts.prop_map(|(parts, ms, then)| Stream(parts, Duration::from_millis(ms), then))
}

fn step() -> impl Strategy<Value = QueueStep> {
    let method = prop::sample::select(vec![Method::Get, Method::Post, Method::KeyedPost, Method::SharedGet]);
    let priority = prop::sample::select(Priority::ALL.to_vec());
    use BackendAvailability::{Down, Unknown, Up};
    let availability = prop::sample::select(vec![Up, Down, Unknown]);
    let wait_ms = prop::option::of(0..3_000_u64);
    let submit = (method, priority, wait_ms, prop::collection::vec(scripted_response(), 1..4), any::<bool>());
    prop_oneof![
        10 => submit.prop_map(|(method, priority, wait_ms, plays, in_parts)| {
            QueueStep::Submit(RequestPlan { method, priority, wait_ms, plays, in_parts })
        }),
        2 => any::<usize>().prop_map(QueueStep::Cancel),
        2 => any::<usize>().prop_map(QueueStep::DropCaller),
        1 => Just(QueueStep::Crash),
        1 => Just(QueueStep::Restart),
        1 => availability.prop_map(QueueStep::Availability),
        1 => Just(QueueStep::BackendSeen),
        6 => (0..2_000_u64).prop_map(|ms| QueueStep::AdvanceTime(Duration::from_millis(ms))),
    ]
}

type PendingAnswer = BoxFuture<'static, Result<(), Error>>;

struct RequestTrace {
    fixture: QueueFixture,
    /// `None` if the caller is gone.
    open: Vec<(RequestId, Option<PendingAnswer>)>,
}

impl RequestTrace {
    fn request(&self, request: RequestBuilder, in_parts: bool) -> (RequestId, PendingAnswer) {
        if !in_parts {
            let (id, answer) = self.fixture.submit(request);
            return (id, answer.map_ok(drop).boxed());
        }
        let (id, answer) = self.fixture.queue.submit_open(request.build().unwrap());
        (id, async move { read_to_end(&mut answer.await?).await.1 }.boxed())
    }

    async fn apply(&mut self, step: QueueStep) {
        match step {
            QueueStep::Submit(RequestPlan { method, priority, wait_ms, plays, in_parts }) => {
                let path = match method {
                    Method::SharedGet => format!("/shared-{}", self.open.len() % 2),
                    _ => format!("/{}", self.open.len()),
                };
                self.fixture.on(&path, plays);
                let request = match method {
                    Method::Get => get(&path),
                    Method::SharedGet => get(&path).shared(),
                    Method::Post => post(&path),
                    Method::KeyedPost => post(&path).generated_idempotency_key(),
                };
                let request = request.priority(priority).timeout(s(5));
                let request = match wait_ms {
                    Some(ms) => request.wait_timeout(Duration::from_millis(ms)),
                    None => request,
                };
                let (id, answer) = self.request(request, in_parts);
                self.open.push((id, Some(answer)));
            }
            QueueStep::Cancel(nth) if !self.open.is_empty() => {
                let (id, _) = self.open[nth % self.open.len()];
                self.fixture.queue.cancel(id).await.unwrap();
            }
            QueueStep::DropCaller(nth) if !self.open.is_empty() => {
                let nth = nth % self.open.len();
                self.open[nth].1 = None;
            }
            QueueStep::Cancel(_) | QueueStep::DropCaller(_) => {}
            QueueStep::Crash => drop(self.fixture.address.inject_panic().unwrap()),
            QueueStep::Restart => self.fixture.runtime.root().restart("queue").await.unwrap(),
            QueueStep::Availability(availability) => self.fixture.set_availability(availability),
            QueueStep::BackendSeen => self.fixture.address.cast(QueueMessage::BackendSeen).await.unwrap(),
            QueueStep::AdvanceTime(time) => advance_time(time).await,
        }
    }

    /// Returns how often the journal ends each request.
    async fn end_counts(&self) -> HashMap<u64, usize> {
        let mut ends = HashMap::new();
        for record in self.fixture.journal_records().await {
            if END_EVENTS.contains(&record.kind.as_str()) {
                *ends.entry(record.fields["request_id"].as_u64().unwrap()).or_default() += 1;
            }
        }
        ends
    }
}

async fn run_steps(steps: Vec<QueueStep>, overflow: Overflow, is_stopped: bool) -> Result<(), TestCaseError> {
    let lanes = PriorityQueuePolicy { queue_max: 4, overflow, age_after: s(1) };
    let policy = QueuePolicy { max_concurrent: 2, queue: lanes, ..policy() };
    let delay = Delay::Fixed { delay: Duration::from_millis(100) };
    let fixture = QueueFixture::start_with(ChildPolicy { delay, ..restart_policy() }, policy).await;
    let mut trace = RequestTrace { fixture, open: Vec::new() };
    for step in steps {
        trace.apply(step).await;
    }
    if is_stopped {
        trace.fixture.runtime.shutdown().await;
        run_until_idle().await;
    } else {
        advance_time(s(600)).await;
    }
    let ends = trace.end_counts().await;
    for (id, answer) in &mut trace.open {
        let ended = ends.get(&id.0).copied().unwrap_or(0);
        let answer = answer.take().map(FutureExt::now_or_never);
        let was_never_accepted =
            is_stopped && matches!(&answer, Some(Some(Err(error))) if error.reason == Reason::Stopped);
        let has_gone_early = is_stopped && answer.is_none();
        let has_ended = ended == 1 || ended == 0 && (was_never_accepted || has_gone_early);
        prop_assert!(has_ended, "{id}: {ended} ends");
        prop_assert!(!matches!(answer, Some(None)), "{id} waits for ever");
        if let Some(Some(Err(error))) = answer {
            prop_assert_eq!(error.request_id, Some(*id));
        }
    }
    let (transport, stats) = (&trace.fixture.transport, trace.fixture.view.stats());
    prop_assert_eq!(transport.violations(), Vec::<String>::new());
    prop_assert!(transport.peak() <= 2);
    prop_assert_eq!((transport.running(), stats.running, stats.waiting), (0, 0, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(40, 300)))]

    #[test]
    fn request_ends_exactly_once_despite_crashes_and_cancels(
        steps in prop::collection::vec(step(), 1..40),
        overflow in prop::sample::select(vec![Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest]),
        is_stopped in any::<bool>(),
    ) {
        block_on_paused(run_steps(steps, overflow, is_stopped))?;
    }
}

/// Runs on several threads: a request can be cancelled just as its attempt ends, and a crash meets attempts that are
/// being polled elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn request_ends_exactly_once_on_several_threads() {
    let retry = RetryPolicy { delay: Delay::NONE, ..RetryPolicy::default() };
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 3, retry, ..policy() }).await;
    let answers = (0..400).map(|n| {
        let path = format!("/{n}");
        fixture.on(&path, [After(Duration::from_micros(n % 7 * 100))]);
        let (id, answer) = fixture.submit(post(&path).idempotency_key("k").retries(100));
        let (queue, address) = (fixture.queue.clone(), fixture.address.clone());
        async move {
            let mut answer = std::pin::pin!(answer);
            if n % 3 == 0 {
                tokio::task::yield_now().await;
                queue.cancel(id).await.unwrap();
            }
            if n % 100 == 50 {
                drop(address.inject_panic().unwrap());
            }
            answer.as_mut().await
        }
    });
    let mut callers: tokio::task::JoinSet<_> = answers.collect();
    while let Some(answer) = callers.join_next().await {
        if let Err(error) = answer.unwrap() {
            assert!(matches!(error.reason, Reason::Cancelled | Reason::Crashed), "{error:?}");
        }
    }
    assert!(fixture.transport.peak() <= 3 && fixture.transport.violations().is_empty());
    fixture.view.subscribe().wait_for(|stats| stats.running == 0 && stats.waiting == 0).await.unwrap();
}
