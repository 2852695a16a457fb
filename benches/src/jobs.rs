//! Measures the queue's own cost beside p-queue's: a hundred thousand waiting jobs that do nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use mainstay_actors::queue::{PriorityQueuePolicy, QueueActor, QueueHandle, QueuePolicy, QueueView};
use mainstay_actors::request::{Priority, Request, RequestId};
use mainstay_actors::transport::{FullResponse, StreamingResponse, Transport, TransportError};
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use tokio::sync::Notify;

use crate::contender::BenchError;
use crate::contender::mainstay::journal;
use crate::node::PQueue;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

const CONCURRENCY: usize = 5;
/// The queue's capacity, more than ever wait.
const QUEUE_CAPACITY: usize = 200_000;
/// The seed of the jobs' priorities.
const SEED: u32 = 7;
/// The peers: the current p-queue, and the last major version whose `shift` moves all waiting jobs.
const PEERS: &[&str] = &["p-queue 9", "p-queue 8"];
/// The rounds of the older version, which takes seconds a round.
const ROUNDS_OF_OLD_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PriorityMix {
    Equal,
    Mixed,
}

impl PriorityMix {
    const ALL: [Self; 2] = [Self::Equal, Self::Mixed];

    fn name(self) -> &'static str {
        match self {
            Self::Equal => "all of one priority",
            Self::Mixed => "of three priorities at random",
        }
    }

    /// Returns the requests of one round. They are built before the clock starts, and cloned while it runs.
    fn requests(self) -> Result<[Request; 3], BenchError> {
        let request = |priority| Request::get("/job").priority(priority).build();
        Ok(match self {
            Self::Equal => [Priority::Normal; 3].map(request),
            Self::Mixed => Priority::ALL.map(request),
        }
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .try_into()
        .map_err(|_| "there are three priorities")?)
    }
}

/// A mulberry32 generator: the same numbers as in the script.
struct Mulberry32(u32);

impl Mulberry32 {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let mut mixed = (self.0 ^ (self.0 >> 15)).wrapping_mul(self.0 | 1);
        mixed ^= mixed.wrapping_add((mixed ^ (mixed >> 7)).wrapping_mul(mixed | 61));
        mixed ^ (mixed >> 14)
    }
}

/// Responds at once as soon as the gate is open.
#[derive(Default)]
struct GatedTransport {
    is_open: AtomicBool,
    opened: Notify,
}

impl GatedTransport {
    fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.opened.notify_waiters();
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::Release);
    }

    async fn wait(&self) {
        let opened = self.opened.notified();
        if !self.is_open.load(Ordering::Acquire) {
            opened.await;
        }
    }
}

impl Transport for GatedTransport {
    fn send<'a>(
        &'a self,
        _: &'a Request,
        _: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        Box::pin(async {
            self.wait().await;
            Ok(StreamingResponse::from(FullResponse {
                status: hyper::StatusCode::OK,
                headers: hyper::HeaderMap::new(),
                body: hyper::body::Bytes::new(),
                is_redirected: false,
            }))
        })
    }
}

struct QueueRuntime {
    runtime: Runtime,
    handle: QueueHandle,
    view: QueueView,
    transport: Arc<GatedTransport>,
}

impl QueueRuntime {
    async fn start(dir: &Path) -> Result<Self, BenchError> {
        let transport = Arc::new(GatedTransport::default());
        let limits = PriorityQueuePolicy { queue_max: QUEUE_CAPACITY, ..PriorityQueuePolicy::default() };
        let policy = QueuePolicy { max_concurrent: CONCURRENCY, queue: limits, ..QueuePolicy::default() };
        let view = QueueView::default();
        let actor = QueueActor::new(Arc::clone(&transport) as _, policy, view.clone());
        let mut root = SupervisorSpec::new("root");
        // Every request is accepted at once, as p-queue accepts it; no caller waits for room.
        let address = root.child(Child::new("queue", actor).mailbox_capacity(QUEUE_CAPACITY))?;
        let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
        Ok(Self { runtime, handle: QueueHandle::new(address), view, transport })
    }

    /// Returns the nanoseconds of a job, from the first submission to the last response.
    async fn round(&self, mix: PriorityMix, jobs: usize) -> Result<f64, BenchError> {
        let mut random = Mulberry32(SEED);
        let requests = mix.requests()?;
        let order: Vec<_> = (0..jobs).map(|_| random.next() as usize % requests.len()).collect();
        let begun = Instant::now();
        let responses: Vec<_> =
            order.into_iter().map(|priority| self.handle.submit(requests[priority].clone()).1).collect();
        // No request has this id. Messages are handled in order, so all requests wait when this call returns.
        self.handle.cancel(RequestId(u64::MAX)).await?;
        let waiting = self.view.stats().waiting;
        self.transport.open();
        for response in responses {
            response.await?;
        }
        let took = begun.elapsed();
        self.transport.close();
        if waiting != jobs.saturating_sub(CONCURRENCY) {
            return Err(format!("{waiting} waited").into());
        }
        Ok(took.as_nanos() as f64 / jobs as f64)
    }
}

/// Measures the contenders in turns. The first round warms up.
pub(crate) async fn measure(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let jobs = settings.jobs;
    let mut peers = match crate::node::install() {
        Ok(folder) => Some([PQueue::start(&folder, "p-queue")?, PQueue::start(&folder, "p-queue-8")?]),
        Err(reason) => {
            println!("p-queue is not measured: {reason}\n");
            None
        }
    };
    let queue = QueueRuntime::start(&dir.join("jobs")).await?;
    let mut lines = Vec::new();
    for mix in PriorityMix::ALL {
        let what = format!("job that does nothing, {jobs} in line, {}", mix.name());
        let mut line = ScoreLine::against(PEERS, what, "ns");
        if peers.is_some() {
            // Ten times the throughput.
            line = line.target(ScoreTarget::OfFirst(0.1));
        }
        for number in 0..=settings.rounds {
            let ours = queue.round(mix, jobs).await?;
            if number > 0 {
                line.record_of(0, ours);
            }
            for (index, peer) in peers.iter_mut().flatten().enumerate() {
                if index == 1 && number > ROUNDS_OF_OLD_MAX {
                    continue;
                }
                let theirs = peer.round(mix == PriorityMix::Mixed, jobs, SEED)?;
                if number > 0 {
                    line.record_of(index + 1, theirs);
                }
            }
        }
        lines.push(line);
    }
    queue.runtime.shutdown().await;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mulberry32_matches_the_script() {
        let mut random = Mulberry32(SEED);
        // The result of `random(7)` in node/p_queue.mjs.
        assert_eq!([(); 4].map(|()| random.next()), [50_271_532, 266_108_690, 4_195_786_334, 3_002_305_430]);
    }
}
