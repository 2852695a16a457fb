//! A runtime with a queue in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use mainstay_runtime::{
    Address, Child, Runtime, SupervisorSpec,
    clock::{Clock, SystemClock},
    journal::{Delivery, Event, Journal, JournalConfig, Record},
    policy::{ChildPolicy, Delay},
};

use tokio::sync::watch;

use super::scripted_transport::ScriptedTransport;
use crate::{
    connection::{
        machine::Machine,
        policy::ConnectionPolicy,
        status::{ConnectionState, ConnectionStatus},
    },
    error::{Error, Reason},
    queue::{Download, QueueActor, QueueHandle, QueueMessage, QueuePolicy, QueueView, RetryPolicy},
    request::{Request, RequestBuilder, RequestId, Response},
    transport::Transport,
};

pub(super) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One attempt at a time; retries after 1, 2, 4 s.
pub(super) fn policy() -> QueuePolicy {
    let delay = Delay::Exponential { min: s(1), max: s(30), factor: 2.0, jitter: false };
    QueuePolicy {
        max_concurrent: 1,
        retry: RetryPolicy { delay, ..RetryPolicy::default() },
        ..QueuePolicy::default()
    }
}

/// Restarts at once, as often as need be.
pub(super) fn restart_policy() -> ChildPolicy {
    ChildPolicy { delay: Delay::NONE, budget: None, ..ChildPolicy::default() }
}

pub(super) struct QueueFixture {
    pub(super) runtime: Runtime,
    pub(super) address: Address<QueueMessage>,
    pub(super) queue: QueueHandle,
    pub(super) view: QueueView,
    pub(super) script: Arc<ScriptedTransport>,
    pub(super) clock: Arc<SettableClock>,
    link: watch::Sender<ConnectionStatus>,
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

    pub(super) async fn start_with(upkeep: ChildPolicy, policy: QueuePolicy) -> Self {
        let script = ScriptedTransport::new();
        let (view, clock) = (QueueView::default(), Arc::<SettableClock>::default());
        let journal = verbose_journal(Arc::clone(&clock) as Arc<dyn Clock>);
        let link = watch::Sender::new(Machine::new(ConnectionPolicy::default()).status());
        let actor = QueueActor::new(Arc::clone(&script) as Arc<dyn Transport>, policy, view.clone())
            .with_link_status(link.subscribe());
        let mut root = SupervisorSpec::new("root");
        let address = root.child(Child::new("queue", actor).policy(upkeep)).unwrap();
        let runtime = Runtime::builder().seed(1).journal(journal).start(root).await.unwrap();
        let queue = QueueHandle::new(address.clone());
        Self { runtime, address, queue, view, script, clock, link }
    }

    /// Lets the link be in that state.
    pub(super) fn set_link_state(&self, state: ConnectionState) {
        self.link.send_modify(|status| status.state = state);
    }

    pub(super) fn submit(
        &self,
        request: RequestBuilder,
    ) -> (RequestId, impl Future<Output = Result<Response, Error>> + Send + use<>) {
        self.queue.submit(request.build().unwrap())
    }

    /// Makes a request, and keeps no more of it than what will become of it.
    pub(super) fn request(
        &self,
        request: RequestBuilder,
    ) -> impl Future<Output = Result<Response, Error>> + Send + use<> {
        self.submit(request).1
    }

    /// Makes a request whose answer is wanted as it comes.
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

    /// Everything that the journal holds.
    pub(super) async fn journal_records(&self) -> Vec<Record> {
        let mut subscription = self.runtime.journal().subscribe();
        let mut story = Vec::new();
        while let Some(delivery) = subscription.try_next().await {
            let Delivery::Event(record) = delivery else { panic!("events are missing") };
            story.push(*record);
        }
        story
    }

    /// The kinds of the events about request `id`, in order, without those that only a verbose journal has.
    pub(super) async fn event_kinds_of(&self, id: RequestId) -> Vec<String> {
        let story = self.journal_records().await.into_iter();
        let about = story.filter(|record| record.fields.get("request_id") == Some(&id.0.into()));
        about.map(|record| record.kind).filter(|kind| !kind.ends_with("started")).collect()
    }

    /// The events of one kind.
    pub(super) async fn events<E: Event + serde::de::DeserializeOwned>(&self) -> Vec<E> {
        let story = self.journal_records().await.into_iter();
        story.filter(|record| record.kind == E::KIND).map(|record| record.decode().unwrap()).collect()
    }
}

pub(super) fn verbose_journal(clock: Arc<dyn Clock>) -> Journal {
    let config = JournalConfig { verbose: true, memory_lines_max: 100_000, ..JournalConfig::default() };
    Journal::in_memory("boot", clock, config)
}

pub(super) fn get(path: &str) -> RequestBuilder {
    Request::get(path)
}

pub(super) fn post(path: &str) -> RequestBuilder {
    Request::post(path)
}

/// Lets everything happen that is due now: a paused clock moves only when nothing is left to do.
pub(super) async fn run_until_idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(super) async fn advance_time(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Why a request failed, and after how many attempts.
pub(super) fn failure_reason(answer: Result<Response, Error>) -> (Reason, u32) {
    let error = answer.unwrap_err();
    assert_eq!(
        error.code,
        if error.reason == Reason::OutcomeUnknown { error.code } else { error.reason.code() }
    );
    (error.reason, error.attempts)
}

/// Reads an answer to its end: how many bytes came, and how it ended.
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

/// The status of an answer.
pub(super) fn status(answer: Result<Response, Error>) -> u16 {
    answer.unwrap().status.as_u16()
}
