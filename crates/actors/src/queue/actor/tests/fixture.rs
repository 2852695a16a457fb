//! A runtime with a queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use mainstay_runtime::{
    Address, Child, Runtime, RuntimeBuilder, SupervisorSpec,
    clock::{Clock, SystemClock},
    journal::{Delivery, Event, Journal, JournalOptions, Record},
    policy::{ChildPolicy, Delay},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::scripted_transport::{ScriptedResponse, ScriptedTransport};
use crate::{
    error::{Error, Reason},
    network::{BackendAvailability, BackendEnds},
    queue::{
        BackendAbsence, Download, GroupLimit, Overflow, PriorityQueuePolicy, QueueActor, QueueHandle,
        QueueMessage, QueuePolicy, QueueView, RetryPolicy,
    },
    request::{Request, RequestBuilder, RequestId, Response},
    tests::s,
    transport::{HttpSettings, HttpTransport, Transport},
};

/// Returns a policy with one attempt at a time and retries after 1, 2, 4 s.
pub(super) fn policy() -> QueuePolicy {
    let delay = Delay::Exponential { min: s(1), max: s(30), factor: 2.0, jitter: false };
    QueuePolicy {
        max_concurrent: 1,
        retry: RetryPolicy { delay, ..RetryPolicy::default() },
        ..QueuePolicy::default()
    }
}

/// Returns the policy with room for this many requests.
pub(super) fn limited_policy(queue_max: usize, overflow: Overflow) -> QueuePolicy {
    let queue = PriorityQueuePolicy { queue_max, overflow, ..PriorityQueuePolicy::default() };
    QueuePolicy { queue, ..policy() }
}

/// Returns a policy that restarts at once, without limit.
pub(super) fn restart_policy() -> ChildPolicy {
    ChildPolicy { delay: Delay::NONE, budget: None, ..ChildPolicy::default() }
}

pub(super) struct QueueFixture {
    pub(super) runtime: Runtime,
    pub(super) address: Address<QueueMessage>,
    pub(super) queue: QueueHandle,
    pub(super) view: QueueView,
    pub(super) transport: Arc<ScriptedTransport>,
    pub(super) clock: Arc<SettableClock>,
    availability: watch::Sender<BackendAvailability>,
    absence: Arc<Mutex<Option<BackendAbsence>>>,
    pub(super) backend_ends: watch::Sender<BackendEnds>,
}

/// A wall clock that can be set.
#[derive(Default)]
pub(super) struct SettableClock(AtomicI64);

impl SettableClock {
    pub(super) fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl QueueFixture {
    pub(super) async fn start(policy: QueuePolicy) -> Self {
        Self::start_with(restart_policy(), policy).await
    }

    pub(super) async fn start_with(child_policy: ChildPolicy, policy: QueuePolicy) -> Self {
        Self::build(child_policy, policy, Vec::new()).await
    }

    /// Starts a queue that limits these groups.
    pub(super) async fn start_limited(policy: QueuePolicy, limits: [GroupLimit; 1]) -> Self {
        Self::build(restart_policy(), policy, limits.into()).await
    }

    async fn build(child_policy: ChildPolicy, policy: QueuePolicy, limits: Vec<GroupLimit>) -> Self {
        let transport = ScriptedTransport::new();
        let (view, clock) = (QueueView::default(), Arc::<SettableClock>::default());
        let journal = verbose_journal(Arc::clone(&clock) as Arc<dyn Clock>);
        let availability = watch::Sender::new(BackendAvailability::Unknown);
        let backend_ends = watch::Sender::default();
        let absence = Arc::<Mutex<Option<BackendAbsence>>>::default();
        let shown_absence = Arc::clone(&absence);
        let actor = QueueActor::new(Arc::clone(&transport) as Arc<dyn Transport>, policy, view.clone())
            .with_availability(availability.subscribe())
            .with_backend_ends(backend_ends.subscribe())
            .with_absence(Arc::new(move |_| shown_absence.lock().clone()))
            .with_limits(limits);
        let child = Child::new("queue", actor).policy(child_policy);
        let (runtime, queue, address) = start_queue(child, Runtime::builder().seed(1).journal(journal)).await;
        Self { runtime, address, queue, view, transport, clock, availability, absence, backend_ends }
    }

    pub(super) fn on(&self, path: &str, plays: impl IntoIterator<Item = ScriptedResponse>) {
        self.transport.on(path, plays);
    }

    pub(super) fn set_availability(&self, availability: BackendAvailability) {
        self.availability.send_replace(availability);
    }

    /// Shows an absence of the backend for this reason, or its end.
    pub(super) async fn set_absence(&self, text: Option<&str>, is_final: bool) {
        let absence = |text: &str| {
            let (summary, text) = ("The backend is away.".to_owned(), text.to_owned());
            BackendAbsence { summary, text, is_final, is_orderly_start: !is_final }
        };
        *self.absence.lock() = text.map(absence);
        self.address.cast(QueueMessage::AbsenceChanged).await.unwrap();
        run_until_idle().await;
    }

    pub(super) fn submit(
        &self,
        request: RequestBuilder,
    ) -> (RequestId, impl Future<Output = Result<Response, Error>> + Send + use<>) {
        self.queue.submit(request.build().unwrap())
    }

    /// Makes a request and returns its future result.
    pub(super) fn request(
        &self,
        request: RequestBuilder,
    ) -> impl Future<Output = Result<Response, Error>> + Send + use<> {
        self.submit(request).1
    }

    /// Makes a request whose response is streamed.
    pub(super) fn open(
        &self,
        request: RequestBuilder,
    ) -> impl Future<Output = Result<Download, Error>> + Send + use<> {
        self.queue.submit_open(request.build().unwrap()).1
    }

    pub(super) async fn crash(&self) {
        drop(self.address.inject_panic().unwrap());
        run_until_idle().await;
    }

    pub(super) fn generation(&self) -> u64 {
        self.runtime.tree().find("root/queue").unwrap().info.generation
    }

    /// Returns all records of the journal.
    pub(super) async fn journal_records(&self) -> Vec<Record> {
        let mut subscription = self.runtime.journal().subscribe();
        let mut records = Vec::new();
        while let Some(delivery) = subscription.try_next().await {
            let Delivery::Event(record) = delivery else { panic!("events are missing") };
            records.push(*record);
        }
        records
    }

    /// Returns the kinds of the events about request `id`, in order, without `…_started`.
    pub(super) async fn event_kinds_of(&self, id: RequestId) -> Vec<String> {
        let records = self.journal_records().await.into_iter();
        let about = records.filter(|record| record.fields.get("request_id") == Some(&id.0.into()));
        about.map(|record| record.kind).filter(|kind| !kind.ends_with("started")).collect()
    }

    /// Returns the events of one kind.
    pub(super) async fn events<E: Event + serde::de::DeserializeOwned>(&self) -> Vec<E> {
        let records = self.journal_records().await.into_iter();
        records.filter(|record| record.kind == E::KIND).map(|record| record.decode().unwrap()).collect()
    }
}

/// Returns a fixture with the usual policy whose backend answers at `path` as planned.
pub(super) async fn with_plan(path: &str, plays: impl IntoIterator<Item = ScriptedResponse>) -> QueueFixture {
    let fixture = QueueFixture::start(policy()).await;
    fixture.on(path, plays);
    fixture
}

/// Starts a runtime with this queue.
pub(super) async fn start_queue(
    queue: Child<QueueActor>,
    runtime: RuntimeBuilder,
) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(queue).unwrap();
    (runtime.start(root).await.unwrap(), QueueHandle::new(address.clone()), address)
}

/// Starts a queue over HTTP, with one permit, this delay between attempts and a verbose journal.
pub(super) async fn start_over_http(
    settings: &HttpSettings,
    delay: Delay,
) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    let retry = RetryPolicy { delay, ..RetryPolicy::default() };
    let ends = watch::Sender::default().subscribe();
    start_over_http_with(settings, QueuePolicy { retry, ..policy() }, ends).await
}

pub(super) async fn start_over_http_with(
    settings: &HttpSettings,
    policy: QueuePolicy,
    ends: watch::Receiver<BackendEnds>,
) -> (Runtime, QueueHandle, Address<QueueMessage>) {
    let transport = Arc::new(HttpTransport::new(settings).unwrap());
    let actor = QueueActor::new(transport, policy, QueueView::default()).with_backend_ends(ends);
    let runtime = Runtime::builder().journal(verbose_journal(Arc::new(SystemClock)));
    start_queue(Child::new("queue", actor).policy(restart_policy()), runtime).await
}

pub(super) fn verbose_journal(clock: Arc<dyn Clock>) -> Journal {
    let config = JournalOptions { verbose: true, memory_lines_max: 100_000, ..JournalOptions::default() };
    Journal::in_memory("boot", clock, config)
}

pub(super) fn get(path: &str) -> RequestBuilder {
    Request::get(path)
}

pub(super) fn post(path: &str) -> RequestBuilder {
    Request::post(path)
}

/// Runs everything that is due now: a paused clock advances only when all tasks are idle.
pub(super) async fn run_until_idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(super) async fn advance_time(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Returns the reason of a failure, and its number of attempts.
pub(super) fn failure_reason(answer: Result<Response, Error>) -> (Reason, u32) {
    let error = answer.unwrap_err();
    let expected = if error.reason == Reason::OutcomeUnknown { error.code } else { error.reason.code() };
    assert_eq!(error.code, expected);
    (error.reason, error.attempts)
}

/// Reads a body to its end, and returns its size and its end.
pub(super) async fn read_to_end(download: &mut Download) -> (u64, Result<(), Error>) {
    let mut bytes = 0;
    loop {
        match download.chunk().await {
            Ok(Some(part)) => bytes += part.len() as u64,
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// Returns the status of a response.
pub(super) fn status(answer: Result<Response, Error>) -> u16 {
    answer.unwrap().status.as_u16()
}
